"""A Python service: confluent-kafka in batches, pyarrow's JSON reader, deltalake's writer.

Imported, it is the peer; run, it is the service. What costs time is native
code: librdkafka, Arrow's C++ parser, delta-rs's writer. Python handles a message
four times (value, partition, offset, time) and a batch of them once.
"""
import sys
from pathlib import Path

ABOUT = "Python: confluent-kafka, pyarrow.json, deltalake"
EXACTLY_ONCE = "one Delta commit with the files and an application transaction for each partition"
LACKS = {
    "w4": "pyarrow's JSON reader takes no dates as text",
    "w4schema": "pyarrow's JSON reader takes no dates as text",
    "w5": "pyarrow's JSON reader has no maps",
}

MESSAGES_MAX = 20_000
BYTES_PER_BLOCK = 4 << 20
# Arrow tables wait in memory for their file; they are about four times as large as it.
MEMORY_PER_FILE_BYTE = 4

interpreter = None


def prepare(tools):
    global interpreter
    interpreter = tools.python("default")
    return tools.packages(interpreter, "confluent-kafka", "pyarrow", "deltalake")


def command(job):
    return [
        *[interpreter, __file__, "--brokers", job.brokers, "--topic", job.topic, "--table", job.table],
        *["--schema", job.schema, "--latency", job.latency_s, "--file-bytes-max", job.file_bytes_max],
    ]


# ---- the service ------------------------------------------------------------------------------------------------


def main(options):
    import deltalake

    payload = arrow_schema(options.schema)
    metadata = arrow_schema("_partition INT, _offset BIGINT, _timestamp TIMESTAMP")
    schema = payload
    for field in metadata:
        schema = schema.append(field)
    table = deltalake.DeltaTable.create(options.table, schema, mode="ignore")
    sink = Sink(table, options.topic)
    reader = Reader(options, sink.next_offsets)
    began, waiting = time.monotonic(), []
    while not reader.at_end():
        messages = reader.poll()
        if messages:
            rows, last = decode(messages, payload, schema)
            waiting.append(rows)
            reader.next.update((partition, offset + 1) for partition, offset in last.items())
        too_large = sum(part.nbytes for part in waiting) >= options.file_bytes_max * MEMORY_PER_FILE_BYTE
        if waiting and (too_large or time.monotonic() - began >= options.latency):
            sink.commit(waiting, reader.next)
            began, waiting = time.monotonic(), []
    if waiting:
        sink.commit(waiting, reader.next)
    reader.consumer.close()


class Reader:
    """The topic's partitions from the table's offsets to the ends that they have now."""

    def __init__(self, options, next_offsets):
        import confluent_kafka as kafka

        self.kafka = kafka
        self.consumer = kafka.Consumer(
            {
                "bootstrap.servers": options.brokers,
                "group.id": "python",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.min.messages": 100_000,
                "queued.max.messages.kbytes": 65_536,
                "fetch.queue.backoff.ms": 5,
                "fetch.message.max.bytes": 4 << 20,
            }
        )
        partitions = self.consumer.list_topics(options.topic, timeout=15).topics[options.topic].partitions
        self.next, self.open = {}, set()
        for number in partitions:
            first, end = self.consumer.get_watermark_offsets(kafka.TopicPartition(options.topic, number), timeout=15)
            self.next[number] = next_offsets(number, first)
            if self.next[number] < end:
                self.open.add(number)
        self.consumer.assign([kafka.TopicPartition(options.topic, n, self.next[n]) for n in self.open])

    def at_end(self):
        return not self.open

    def poll(self):
        """Up to MESSAGES_MAX messages; a partition's end closes it."""
        found = self.consumer.consume(MESSAGES_MAX, timeout=0.1)
        messages = [message for message in found if message.error() is None]
        for message in found if len(messages) < len(found) else ():
            error = message.error()
            if error is None:
                continue
            if error.code() != self.kafka.KafkaError._PARTITION_EOF:
                raise self.kafka.KafkaException(error)
            self.next[message.partition()] = message.offset()
            self.open.discard(message.partition())
        return messages


def decode(messages, payload, schema):
    """The messages' rows, and each partition's last offset; what is not exactly one row ends the service."""
    import pyarrow
    from pyarrow import json

    text = b"\n".join([message.value() for message in messages])
    table = json.read_json(
        pyarrow.BufferReader(text),
        read_options=json.ReadOptions(block_size=BYTES_PER_BLOCK),
        parse_options=json.ParseOptions(explicit_schema=payload, unexpected_field_behavior="ignore"),
    )
    if table.num_rows != len(messages):
        raise ValueError(f"{len(messages)} messages are {table.num_rows} rows")
    partitions = [message.partition() for message in messages]
    offsets = [message.offset() for message in messages]
    times = pyarrow.array([message.timestamp()[1] for message in messages], pyarrow.timestamp("ms", "UTC"))
    columns = [table.column(name) for name in payload.names]
    columns += [pyarrow.array(partitions, pyarrow.int32()), pyarrow.array(offsets, pyarrow.int64())]
    columns += [times.cast(pyarrow.timestamp("us", "UTC"))]
    return pyarrow.Table.from_arrays(columns, schema=schema), dict(zip(partitions, offsets))


class Sink:
    """The table, and how far each partition is in it."""

    def __init__(self, table, topic):
        self.table, self.topic = table, topic

    def app_id(self, partition):
        return f"python/{self.topic}/{partition}"

    def next_offsets(self, partition, first):
        known = self.table.transaction_version(self.app_id(partition))
        return first if known is None else known

    def commit(self, tables, next_offsets):
        import deltalake
        import pyarrow

        transactions = [deltalake.Transaction(self.app_id(n), offset) for n, offset in next_offsets.items()]
        deltalake.write_deltalake(
            self.table,
            pyarrow.concat_tables(tables),
            mode="append",
            writer_properties=deltalake.WriterProperties(compression="ZSTD", compression_level=1),
            commit_properties=deltalake.CommitProperties(app_transactions=transactions),
        )


def arrow_schema(text):
    import lake
    import pyarrow

    simple = {
        "BOOLEAN": pyarrow.bool_(), "INTEGER": pyarrow.int32(), "BIGINT": pyarrow.int64(), "FLOAT": pyarrow.float32(),
        "DOUBLE": pyarrow.float64(), "VARCHAR": pyarrow.string(), "DATE": pyarrow.date32(),
        "TIMESTAMP WITH TIME ZONE": pyarrow.timestamp("us", "UTC"),
    }  # fmt: skip

    def arrow(kind):
        if kind.kind == "STRUCT":
            return pyarrow.struct([pyarrow.field(field.name, arrow(field.type)) for field in kind.children])
        if kind.kind == "LIST":
            return pyarrow.list_(arrow(kind.children[0]))
        if kind.kind.startswith("DECIMAL"):
            return pyarrow.decimal128(*map(int, kind.kind[8:-1].split(",")))
        return simple[kind.kind]

    return pyarrow.schema([pyarrow.field(field.name, arrow(field.type)) for field in lake.ddl(text)])


if __name__ == "__main__":
    import argparse
    import time

    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "oracle"))
    parser = argparse.ArgumentParser()
    for name in ("brokers", "topic", "table", "schema"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--latency", type=float, required=True)
    parser.add_argument("--file-bytes-max", type=int, required=True)
    main(parser.parse_args())
