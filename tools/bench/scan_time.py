"""Reads tables with DuckDB and with Polars, in turns, and says what each query cost.

usage: tools/python tools/bench/scan_time.py --schema DDL --rounds N NAME=LOCATION...

One thread, files in the page cache after a first pass that does not count. CPU
time, since other work shares the machine. Prints one JSON line for each round,
engine, query and table. The answers of all tables have to be the same.
"""
import json
import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "oracle"))
import lake  # noqa: E402


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("tables", nargs="+", metavar="NAME=LOCATION")
    parser.add_argument("--schema", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    fields = lake.ddl(f"{options.schema}, _partition INT, _offset BIGINT")
    tables = {name: files(place) for name, _, place in (word.partition("=") for word in options.tables)}
    engines = {"duckdb": duckdb_queries(fields), "polars": polars_queries(fields)}
    answers = {}
    for number in range(options.rounds + 1):
        for engine, queries in engines.items():
            for query, run in queries.items():
                for name, paths in tables.items():
                    began = time.process_time()
                    answer = run(paths)
                    spent = time.process_time() - began
                    expected = answers.setdefault((engine, query), answer)
                    if answer != expected:
                        raise SystemExit(f"{engine} {query}: {name} says {answer}, not {expected}")
                    if number > 0:
                        print(json.dumps({"round": number, "engine": engine, "query": query, "table": name, "cpu_s": spent}))
    return 0


def files(location):
    import deltalake

    return sorted(deltalake.DeltaTable(location).file_uris())


def leaves(fields, path=()):
    """Every column that holds values: (path, type), lists whole."""
    for field in fields:
        if field.type.kind == "STRUCT":
            yield from leaves(field.type.children, (*path, field.name))
        else:
            yield (*path, field.name), field.type.kind


# A part of the offsets, for row groups and pages that can be left out, and of a column that nothing orders.
OFFSETS = (100_000, 101_000)


def duckdb_queries(fields):
    connection = lake.duck()
    connection.execute("SET threads=1")

    def whole(path, kind):
        column = ".".join(lake.quoted(part) for part in path)
        if kind == "VARCHAR":
            return f"sum(strlen({column}))"
        if kind == "LIST":
            return f"sum(len({column}))"
        if kind == "BOOLEAN":
            return f"count_if({column})"
        # Spark's INT96 comes without a time zone; the instant is the same.
        return f"epoch_us(max({column}))" if kind.startswith("TIMESTAMP") else f"sum(CAST({column} AS BIGINT))"

    every = ", ".join(whole(path, kind) for path, kind in leaves(fields))
    text = next(path for path, kind in leaves(fields) if kind == "VARCHAR" and path[-1] not in ("id", "type", "event_type"))
    column = ".".join(lake.quoted(part) for part in text)

    def query(select, where=""):
        def run(paths):
            return [str(value) for value in connection.execute(f"SELECT {select} FROM read_parquet(?) {where}", [paths]).fetchone()]

        return run

    return {
        "everything": query(every),
        "one text column": query(f"sum(strlen({column}))"),
        "rows of an offset range": query(every, f"WHERE _offset BETWEEN {OFFSETS[0]} AND {OFFSETS[1]}"),
        "rows by a text's value": query("count(*), sum(_offset)", f"WHERE {column} LIKE '%7'"),
    }


def polars_queries(fields):
    import polars

    def reference(path):
        column = polars.col(path[0])
        for part in path[1:]:
            column = column.struct.field(part)
        return column

    def whole(path, kind):
        column = reference(path)
        if kind == "VARCHAR":
            found = column.str.len_bytes().sum()
        elif kind == "LIST":
            found = column.list.len().sum()
        elif kind == "DOUBLE":
            # Sums of doubles depend on their order.
            found = column.round().cast(polars.Int64).sum()
        else:
            found = column.max().dt.timestamp("us") if kind.startswith("TIMESTAMP") else column.sum()
        return found.alias(".".join(path))

    every = [whole(path, kind) for path, kind in leaves(fields)]
    text = next(path for path, kind in leaves(fields) if kind == "VARCHAR" and path[-1] not in ("id", "type", "event_type"))

    def query(select, where=None):
        def run(paths):
            frame = polars.scan_parquet(paths)
            frame = frame if where is None else frame.filter(where)
            return [str(value) for value in frame.select(select).collect().row(0)]

        return run

    return {
        "everything": query(every),
        "one text column": query([whole(text, "VARCHAR")]),
        "rows of an offset range": query(every, polars.col("_offset").is_between(*OFFSETS)),
        "rows by a text's value": query([polars.len(), polars.col("_offset").sum()], reference(text).str.ends_with("7")),
    }


if __name__ == "__main__":
    lake.run(main)
