"""Makes a table from a dump with deltalake, optionally with a planted bug: the oracles are tested by it.

The table is what an ingester should have written, commit by commit: rows in
offset order, a txn per partition, ranges in the tags of the files, and in
commitInfo where offsets were settled without a row. With
--bug one thing is wrong, and an oracle must say so:
  drop, double, change, nested, extra, timestamp   rows (compare.py)
  hole, rewind, twice, stats, size, lost-file, count, unfiled, gone-version   log and files (table.py)
  neighbour (a row in the place of the next), truncated, flipped     bytes of a file (table.py)
"""
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

import compare
import lake

BUGS = ["drop", "double", "change", "nested", "extra", "timestamp",
        "hole", "rewind", "twice", "stats", "size", "lost-file", "count", "unfiled", "gone-version",
        "neighbour", "truncated", "flipped"]
META = [("_partition", pa.int32()), ("_offset", pa.int64()), ("_timestamp", pa.timestamp("us", "UTC"))]
APP, TOPIC_ID = "thalweg/planted", "AAAAAAAAAAAAAAAAAAAAAA"
SCALARS = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "INTEGER": pa.int32(), "DOUBLE": pa.float64(),
           "BOOLEAN": pa.bool_(), "FLOAT": pa.float32(), "SMALLINT": pa.int16(), "TINYINT": pa.int8()}


def arrow(kind):
    if kind.kind == "STRUCT":
        return pa.struct([pa.field(f.name, arrow(f.type), f.nullable) for f in kind.children])
    if kind.kind == "LIST":
        return pa.list_(arrow(kind.children[0]))
    return SCALARS[kind.kind]


def rows_of(dump, fields):
    for row in pq.read_table(dump).sort_by([("partition", "ascending"), ("offset", "ascending")]).to_pylist():
        if row["value"] is not None and not compare.is_bad(row["value"], fields):
            value = json.loads(row["value"])
            value |= {"_partition": row["partition"], "_offset": row["offset"], "_timestamp": row["timestamp_ms"] * 1000}
            yield row["topic"], value


def damage_rows(rows, bug):
    middle = len(rows) // 2
    if bug == "drop":
        del rows[middle]
    elif bug == "double":
        rows.insert(middle, rows[middle])
    elif bug == "change":
        rows[middle] = rows[middle] | {"id": rows[middle]["id"] ^ 1}
    elif bug == "nested":
        index = next(i for i, row in enumerate(rows) if row.get("actor") and row["actor"].get("login"))
        rows[index] = rows[index] | {"actor": rows[index]["actor"] | {"login": None}}
    elif bug == "extra":
        rows.append(rows[-1] | {"_offset": rows[-1]["_offset"] + 1_000_000})
    elif bug == "timestamp":
        rows[middle] = rows[middle] | {"_timestamp": rows[middle]["_timestamp"] + 1000}


def statistics(table):
    """numRecords, and min, max, nullCount of the top-level columns that have an order."""
    import pyarrow.compute as pc

    low, high, nulls = {}, {}, {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_nested(column.type):
            continue
        nulls[name] = column.null_count
        if pa.types.is_integer(column.type) or pa.types.is_string(column.type) or pa.types.is_floating(column.type):
            bounds = pc.min_max(column).as_py()
            if bounds["min"] is not None:
                low[name], high[name] = bounds["min"], bounds["max"]
    return {"numRecords": table.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}


def damage_bytes(file, bug):
    size = os.path.getsize(file)
    if bug == "truncated":
        return os.truncate(file, size - 1)
    with open(file, "r+b") as out:
        out.seek(size // 2)
        byte = out.read(1)[0]
        out.seek(size // 2)
        out.write(bytes([byte ^ 1]))


def split(own):
    """Where a partition's rows have a hole, about in the middle."""
    return next(at for at in range(len(own) // 2, len(own)) if own[at]["_offset"] > own[at - 1]["_offset"] + 1)


class Log:
    """A Delta log written by hand on local disk."""

    def __init__(self, directory, schema):
        from deltalake import CommitProperties, DeltaTable

        DeltaTable.create(directory, schema=schema, commit_properties=CommitProperties())
        self.directory, self.version = directory, 0

    def commit(self, actions):
        self.version += 1
        with open(f"{self.directory}/_delta_log/{self.version:020d}.json", "x") as file:
            file.writelines(json.dumps(action) + "\n" for action in actions)


def without_rows(topic, partition, position, end, rows):
    """A commit that settles offsets up to `end` and adds no file."""
    span = {"topic": topic, "topic_id": TOPIC_ID, "partition": partition, "start": position[partition], "next": end,
            "rows": rows, "skipped": 0, "tombstones": 0}
    position[partition] = end
    return [{"commitInfo": {"operation": "STREAMING UPDATE", "thalweg": {"ranges": [span]}}},
            {"txn": {"appId": f"{APP}/{topic}/{TOPIC_ID}/{partition}", "version": end}}]


def write(options):
    fields = lake.ddl(options.schema)
    found = list(rows_of(options.dump, fields))
    topic, rows = found[0][0], [row for _, row in found]
    damage_rows(rows, options.bug)
    schema = pa.schema([pa.field(f.name, arrow(f.type), f.nullable) for f in fields] + META)
    log = Log(options.table, schema)
    partitions = sorted({row["_partition"] for row in rows})
    log.commit([{"txn": {"appId": f"{APP}/{topic}/{TOPIC_ID}/{p}", "version": 0}} for p in partitions])

    position, last_add = dict.fromkeys(partitions, 0), None
    for number, partition in enumerate(p for p in partitions for _ in range(2)):
        own = [row for row in rows if row["_partition"] == partition]
        half = own[: split(own)] if number % 2 == 0 else own[split(own) :]
        bug = options.bug if number == 3 else None
        if bug == "neighbour":
            half[5] = half[4]
        table = pa.Table.from_pylist(half, schema=schema)
        name = f"part-{number:05d}.parquet"
        pq.write_table(table, f"{options.table}/{name}", compression="zstd", write_page_checksum=True)
        if number % 2:
            log.commit(without_rows(topic, partition, position, half[0]["_offset"], int(bug == "unfiled")))
        start, end = position[partition], half[-1]["_offset"] + 1
        position[partition] = end
        if bug == "hole":
            start += 1
        stats = statistics(table)
        if bug == "stats":
            stats["maxValues"]["_offset"] -= 1
        size = os.path.getsize(f"{options.table}/{name}") + (bug == "size")
        span = {"topic": topic, "topic_id": TOPIC_ID, "partition": partition, "start": start, "next": end,
                "rows": len(half) - (bug == "count"), "skipped": 0, "tombstones": 0}
        add = {"add": {"path": name, "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": True,
                       "stats": json.dumps(stats), "tags": {"thalweg.ranges": json.dumps([span])}}}
        txn = {"txn": {"appId": f"{APP}/{topic}/{TOPIC_ID}/{partition}", "version": end - 5000 * (bug == "rewind")}}
        log.commit([add, txn] + ([last_add] if bug == "twice" else []))
        last_add = add
        if bug == "lost-file":
            os.remove(f"{options.table}/{name}")
        if bug in ("truncated", "flipped"):
            damage_bytes(f"{options.table}/{name}", bug)
    if options.bug == "gone-version":
        os.remove(f"{options.table}/_delta_log/{2:020d}.json")


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("--dump", required=True)
    parser.add_argument("--table", required=True, metavar="DIRECTORY")
    parser.add_argument("--schema", required=True, metavar="DDL")
    parser.add_argument("--bug", choices=BUGS)
    write(parser.parse_args())
    return 0


if __name__ == "__main__":
    sys.exit(main())
