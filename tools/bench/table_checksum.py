"""Counts a Delta table and sums its rows' hashes, for comparison with what `generate` sent.

usage: tools/python tools/bench/table_checksum.py LOCATION --schema DDL

Owns the reading: DuckDB's own Delta reader for the rows, the log's `add`
actions for files and bytes. The canonical text of a row is defined in
workloads/src/lib.rs. Prints one JSON line; a table with `_partition` and
`_offset` is also counted by partition.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "oracle"))
import lake  # noqa: E402


def main():
    options = lake.arguments(__doc__)
    options.add_argument("location")
    options.add_argument("--schema", required=True, help="Spark DDL; the order of its leaves is the checksum's")
    lake.add_storage_argument(options)
    options = options.parse_args()
    place = lake.location(options.location, options.storage)
    print(json.dumps(files(place) | rows(place, lake.ddl(options.schema))))


def files(place):
    """Version, files and bytes of the table as it is now."""
    import deltalake

    table = deltalake.DeltaTable(place.url, storage_options=place.delta_options())
    sizes = table.get_add_actions(flatten=True).column("size_bytes").to_pylist()
    return {"version": table.version(), "files": len(sizes), "bytes": sum(sizes)}


def rows(place, fields):
    connection = lake.duck(place)
    table = f"delta_scan({lake.literal(place.url)})"
    names = [column[0] for column in connection.execute(f"SELECT * FROM {table} LIMIT 0").description]
    text = " || ".join(canonical(lake.quoted(field.name), field.type) for field in fields)
    source = f"(SELECT *, md5_number_lower({text}) AS hash FROM {table})"
    totals = "count(*), CAST(coalesce(sum(hash), 0) AS VARCHAR)"
    if "_partition" not in names or "_offset" not in names:
        count, checksum = connection.execute(f"SELECT {totals} FROM {source}").fetchone()
        return {"rows": count, "checksum": checksum}
    found = connection.execute(
        f"SELECT _partition, {totals}, count(DISTINCT _offset), min(_offset), max(_offset) "
        f"FROM {source} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    partitions = {
        str(partition): {
            "rows": count,
            "checksum": checksum,
            "offsets": offsets,
            "offset_first": first,
            "offset_next": last + 1,
        }
        for partition, count, checksum, offsets, first, last in found
    }
    return {
        "rows": sum(partition["rows"] for partition in partitions.values()),
        "checksum": str(sum(int(partition["checksum"]) for partition in partitions.values())),
        "partitions": partitions,
    }


def canonical(value, kind, depth=0):
    """SQL for the canonical text of `value`, which never is null."""
    if kind.kind == "STRUCT":
        leaves = (
            canonical(f"struct_extract({value}, {lake.literal(field.name)})", field.type, depth)
            for field in kind.children
        )
        return " || ".join(leaves)
    if kind.kind == "LIST":
        item = f"item_{depth}"
        inner = canonical(item, kind.children[0], depth + 1)
        text = f"'[' || array_to_string(list_transform({value}, lambda {item}: {inner}), '') || ']'"
    elif kind.kind == "MAP":
        entry = f"item_{depth}"
        key, its_value = (canonical(f"{entry}.{part}", of, depth + 1) for part, of in zip(("key", "value"), kind.children))
        entries = f"list_transform(map_entries({value}), lambda {entry}: {key} || {its_value})"
        text = f"'[' || array_to_string({entries}, '') || ']'"
    elif kind.kind == "DOUBLE":
        text = f"CAST(CAST(CAST({value} AS BIT) AS BIGINT) AS VARCHAR)"
    elif kind.kind.startswith("TIMESTAMP"):
        text = f"CAST(epoch_us({value}) AS VARCHAR)"
    else:
        text = f"CAST({value} AS VARCHAR)"
    return f"coalesce({text}, '~') || '|'"


if __name__ == "__main__":
    main()
