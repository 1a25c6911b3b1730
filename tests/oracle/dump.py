"""Writes what a topic holds for a read_committed reader into a Parquet file.

Every partition is read from its beginning to its last stable offset as seen
at the start: an open transaction ends its partition there, aborted records
and markers are left out. Columns: topic, partition, offset, timestamp_ms,
key, value. Prints one JSON line: records, and per partition the log's start,
the last stable offset and the records found.
"""
import json
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from lake import arguments

SCHEMA = pa.schema(
    [
        ("topic", pa.dictionary(pa.int32(), pa.string())),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)
ROWS_PER_GROUP = 200_000
SILENCE_SECONDS = 60


def consumer(brokers):
    return Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "thalweg-oracle-dump",  # required by the client; no offset is ever stored
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 500_000,
            "queued.max.messages.kbytes": 262_144,
            "fetch.message.max.bytes": 8_388_608,
        }
    )


def partitions(source, topic):
    found = source.list_topics(topic, timeout=30).topics[topic]
    if found.error is not None:
        raise SystemExit(f"topic {topic}: {found.error}")
    return sorted(found.partitions)


def batches(source, open_ends):
    """Messages with offsets below their partition's end, in batches; `open_ends` empties as partitions finish."""
    last_seen = time.monotonic()
    while open_ends:
        messages = source.consume(num_messages=20_000, timeout=1.0)
        if messages:
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > SILENCE_SECONDS:
            raise SystemExit(f"nothing arrived for {SILENCE_SECONDS} s, still open: {open_ends}")
        kept = []
        for message in messages:
            error, partition = message.error(), message.partition()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            end = open_ends.get(partition)
            if end is None:
                continue
            if error is None and message.offset() < end:
                kept.append(message)
            if message.offset() >= (end - 1 if error is None else end):
                del open_ends[partition]
        if kept:
            yield kept


def columns(topic, messages):
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * len(messages), pa.int32()), pa.array([topic]))
    return pa.record_batch(
        [
            dictionary,
            pa.array([m.partition() for m in messages], pa.int32()),
            pa.array([m.offset() for m in messages], pa.int64()),
            pa.array([m.timestamp()[1] for m in messages], pa.int64()),
            pa.array([m.key() for m in messages], pa.binary()),
            pa.array([m.value() for m in messages], pa.binary()),
        ],
        schema=SCHEMA,
    )


def dump(brokers, topic, out):
    source = consumer(brokers)
    ids = partitions(source, topic)
    # Under read_committed the high watermark that a client is told is the last stable offset.
    bounds = {p: source.get_watermark_offsets(TopicPartition(topic, p), timeout=30) for p in ids}
    open_ends = {p: end for p, (start, end) in bounds.items() if end > start}
    source.assign([TopicPartition(topic, p, bounds[p][0]) for p in open_ends])
    counts = dict.fromkeys(ids, 0)
    with pq.ParquetWriter(out, SCHEMA, compression="zstd", compression_level=1) as writer:
        waiting, rows = [], 0
        for messages in batches(source, open_ends):
            for message in messages:
                counts[message.partition()] += 1
            waiting.append(columns(topic, messages))
            rows += len(messages)
            if rows >= ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(waiting, SCHEMA))
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, SCHEMA))
    source.close()
    ranges = {str(p): {"start": bounds[p][0], "end": bounds[p][1], "records": counts[p]} for p in ids}
    return {"topic": topic, "records": sum(counts.values()), "partitions": ranges}


def main():
    parser = arguments(__doc__)
    parser.add_argument("--brokers", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--out", required=True, metavar="FILE.parquet")
    options = parser.parse_args()
    print(json.dumps(dump(options.brokers, options.topic, options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
