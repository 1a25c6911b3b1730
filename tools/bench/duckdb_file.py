"""DuckDB's part of `file_engines`: a topic to a file of lines, and that file to Parquet.

usage: tools/python tools/bench/duckdb_file.py fetch --brokers B --topic T --out FILE
       tools/python tools/bench/duckdb_file.py copy --file FILE --schema DDL --out FILE

copy prints {"cpu_s": …, "rows": …}: CPU time of the COPY statement alone, on one thread, zstd level 1.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "oracle"))
import lake  # noqa: E402


def main():
    parser = lake.arguments(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetching, copying = commands.add_parser("fetch"), commands.add_parser("copy")
    for name in ("brokers", "topic", "out"):
        fetching.add_argument(f"--{name}", required=True)
    for name in ("file", "schema", "out"):
        copying.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    fetch(options) if options.command == "fetch" else copy(options)
    return 0


def fetch(options):
    import confluent_kafka as kafka

    consumer = kafka.Consumer({"bootstrap.servers": options.brokers, "group.id": "file", "enable.auto.commit": False,
                               "enable.partition.eof": True, "auto.offset.reset": "error"})
    partitions = consumer.list_topics(options.topic, timeout=15).topics[options.topic].partitions
    consumer.assign([kafka.TopicPartition(options.topic, number, 0) for number in partitions])
    left = len(partitions)
    with open(options.out, "wb") as out:
        while left:
            for message in consumer.consume(10_000, timeout=1):
                if message.error() is None:
                    out.write(message.value() + b"\n")
                elif message.error().code() == kafka.KafkaError._PARTITION_EOF:
                    left -= 1
                else:
                    raise kafka.KafkaException(message.error())


def copy(options):
    connection = lake.duck()
    connection.execute("SET threads=1")
    columns = ", ".join(f"{lake.literal(field.name)}: {lake.literal(field.type.duckdb())}" for field in lake.ddl(options.schema))
    began = time.process_time()
    rows = connection.execute(
        f"COPY (SELECT * FROM read_json({lake.literal(options.file)}, format = 'newline_delimited', columns = {{{columns}}})) "
        f"TO {lake.literal(options.out)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
    ).fetchone()[0]
    print(json.dumps({"cpu_s": time.process_time() - began, "rows": rows}))


if __name__ == "__main__":
    lake.run(main)
