"""Compares two Parquet files that hold the same rows, as one reader sees them.

    pages.py READER OURS THEIRS

READER is pyarrow, duckdb, polars, chdb or spark (then run through
`tools/python --spark`). Every value of every row must be equal, and rows
found through a range of `id` too: a filter lets readers skip by bounds of
row groups and pages. Prints one JSON line: reader, rows, found.
"""
import json
import os
import sys


def pyarrow_rows(path, low, high):
    import pyarrow.parquet as pq

    found = pq.read_table(path, filters=[("id", ">=", low), ("id", "<", high)])
    return pq.read_table(path), found


def duckdb_rows(path, low, high):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    every = connection.execute("SELECT * FROM read_parquet(?)", [path]).fetchall()
    where = "SELECT * FROM read_parquet(?) WHERE id >= ? AND id < ?"
    return every, connection.execute(where, [path, low, high]).fetchall()


def polars_rows(path, low, high):
    import polars

    found = polars.scan_parquet(path).filter((polars.col("id") >= low) & (polars.col("id") < high)).collect()
    return polars.read_parquet(path), found


def chdb_rows(path, low, high):
    import chdb

    def rows(where):
        return str(chdb.query(f"SELECT * FROM file('{path}', Parquet) {where}", "JSONEachRow")).splitlines()

    return rows("ORDER BY id"), rows(f"WHERE id >= {low} AND id < {high} ORDER BY id")


def spark_rows(path, low, high):
    from spark import session

    table = session().read.parquet(path)

    def rows(table):
        return [tuple(row) for row in table.orderBy("id").collect()]

    return rows(table), rows(table.where(f"id >= {low} AND id < {high}"))


def differs(ours, theirs):
    """The first row that differs; tables compare themselves, and are told as a whole."""
    if hasattr(ours, "equals"):
        return None if ours.equals(theirs) else "the tables"
    rows = enumerate(zip(ours, theirs, strict=True))
    return next((f"row {at}: {row} is not {wanted}" for at, (row, wanted) in rows if row != wanted), None)


def main():
    reader, ours, theirs = sys.argv[1:]
    read = globals()[f"{reader}_rows"]
    low, high = 1_000_000 + 30_000, 1_000_000 + 30_100
    (every, found), expected = read(ours, low, high), read(theirs, low, high)
    for rows, wanted in zip((every, found), expected):
        difference = differs(rows, wanted)
        assert difference is None, f"{reader}: {difference}"
    assert len(found) == high - low, f"{reader}: {len(found)} rows found"
    print(json.dumps({"reader": reader, "rows": len(every), "found": len(found)}), flush=True)
    os._exit(0)  # threads of a reader may abort an orderly exit


main()
