"""Compares a table with dumps of its topic: every offset once, every field equal.

The dump's JSON is parsed by DuckDB (and, with --skip-bad, judged by Python's
json first), the table is read by --reader. Both sides become one 128-bit
checksum a row over all columns of the schema, nested ones included, beside
the row's partition, offset and timestamp; the checksums are joined on
(partition, offset). Prints one JSON line:
  rows       rows of the table
  missing    offsets of the dump that the table does not hold
  doubled    rows beyond the first of an offset
  extra      rows whose offset the dump does not hold
  different  rows that differ in any field
  skipped    records that are no rows: tombstones, and with --skip-bad broken ones
Exit 0 when missing, doubled, extra and different are all 0, else 1 with
examples on stderr. Exit 2 when it could not compare.
"""
import json
import math
import os
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

import lake

EXAMPLES = 5
ROW = "@row@"  # stands in a query for what is made of its row
INTEGERS = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}


# ---- which records are bad, by our own reading of the bytes ------------------------------------------------------


class Bad(Exception):
    pass


def no_constant(name):
    raise Bad(f"{name} is not JSON")


def checked(value, kind):
    """Raises Bad unless the JSON value fits the type; null is judged by the field."""
    if value is None:
        return
    if kind.kind == "STRUCT":
        fits(value, kind.children)
    elif kind.kind == "LIST":
        require(isinstance(value, list))
        for element in value:
            checked(element, kind.children[0])
    elif kind.kind == "MAP":
        require(isinstance(value, dict))
        for element in value.values():
            checked(element, kind.children[1])
    elif kind.kind in INTEGERS:
        require(isinstance(value, int) and not isinstance(value, bool))
        require(-(1 << INTEGERS[kind.kind]) <= value < 1 << INTEGERS[kind.kind])
    elif kind.kind in ("DOUBLE", "FLOAT"):
        require(isinstance(value, (int, float)) and not isinstance(value, bool))
        require(math.isfinite(value))
    elif kind.kind == "BOOLEAN":
        require(isinstance(value, bool))
    elif kind.kind.startswith("DECIMAL"):
        require(isinstance(value, (int, float, str)) and not isinstance(value, bool))
    elif kind.kind.startswith("TIMESTAMP"):
        require(isinstance(value, (int, str)) and not isinstance(value, bool))
    else:
        require(isinstance(value, str))


def require(condition):
    if not condition:
        raise Bad


def fits(value, fields):
    require(isinstance(value, dict))
    for member in fields:
        found = value.get(member.name)
        require(member.nullable or found is not None)
        checked(found, member.type)


def is_bad(data, fields):
    try:
        text = data.decode("utf-8")
        fits(json.loads(text, parse_constant=no_constant), fields)
        if "\\u" in text:
            json.loads(text, object_pairs_hook=str).encode("utf-8")  # a lone surrogate cannot be encoded
    except (Bad, ValueError, RecursionError):
        return True
    return False


def bad_offsets(dumps, fields):
    found = {"partition": [], "offset": []}
    for file in dumps:
        for batch in pq.ParquetFile(file).iter_batches(columns=["partition", "offset", "value"]):
            partitions, offsets, values = (batch.column(i).to_pylist() for i in range(3))
            for partition, offset, value in zip(partitions, offsets, values):
                if value is not None and is_bad(value, fields):
                    found["partition"].append(partition)
                    found["offset"].append(offset)
    return pa.table(found, schema=pa.schema([("partition", pa.int32()), ("offset", pa.int64())]))


# ---- both sides as (p, o, row checksum) --------------------------------------------------------------------------


def struct_of(pairs):
    return "struct_pack(" + ", ".join(f"{lake.quoted(name)} := {value}" for name, value in pairs) + ")"


def checksum(pairs):
    return f"md5_number(CAST(to_json({struct_of(pairs)}) AS VARCHAR))"


def expected_rows(dumps, fields, table_columns):
    """SQL, with ROW to fill in, of what the table should hold: p, o, r (the row), u (has a value, not null, that the schema does not know)."""
    files = "[" + ", ".join(lake.literal(os.path.abspath(file)) for file in dumps) + "]"
    structure = json.dumps({f.name: f.type.json_structure() for f in fields})
    known = "[" + ", ".join(lake.literal(f.name) for f in fields) + "]"
    kind = "json_type(t, '/' || replace(replace(k, '~', '~0'), '/', '~1'))"
    unknown = f"len(list_filter(json_keys(t), lambda k: NOT list_contains({known}, k) AND {kind} <> 'NULL')) > 0"
    pairs = [(f.name, f"s.{lake.quoted(f.name)}") for f in fields]
    if "_timestamp" in table_columns:
        pairs.append(("_timestamp", "timestamp_ms * 1000"))
    return (
        f'SELECT "partition" p, "offset" o, {ROW} r, '
        f"{unknown if '_rescued' in table_columns else 'false'} u FROM ("
        f"SELECT *, json_transform(t, {lake.literal(structure)}) s FROM ("
        f'SELECT *, decode("value") t FROM read_parquet({files}) d WHERE "value" IS NOT NULL '
        f'AND NOT EXISTS (SELECT 1 FROM bad b WHERE b."partition" = d."partition" AND b."offset" = d."offset")))'
    ), pairs


def actual_rows(fields, table_columns):
    pairs = [(f.name, f"CAST({lake.quoted(f.name)} AS {f.type.duckdb()})") for f in fields]
    if "_timestamp" in table_columns:
        pairs.append(("_timestamp", "epoch_us(_timestamp)"))
    rescued = "_rescued IS NOT NULL" if "_rescued" in table_columns else "false"
    return f"SELECT _partition p, _offset o, {ROW} r, {rescued} u FROM actual_table", pairs


def open_table(connection, place, reader, directory):
    """Makes the view actual_table over what the reader reads; returns its column names."""
    if reader == "duckdb":
        source = f"delta_scan({lake.literal(place.url)})"
    else:
        # Handed over as a file: DuckDB 1.5 misreads sliced Arrow structs within structs.
        file = os.path.join(directory, "read.parquet")
        {"deltalake": read_by_deltalake, "polars": read_by_polars}[reader](place, file)
        source = f"read_parquet({lake.literal(file)})"
    connection.execute(f"CREATE VIEW actual_table AS SELECT * FROM {source}")
    return [row[0] for row in connection.execute("DESCRIBE actual_table").fetchall()]


def read_by_deltalake(place, file):
    from deltalake import DeltaTable

    dataset = DeltaTable(place.url, storage_options=place.delta_options()).to_pyarrow_dataset()
    with pq.ParquetWriter(file, dataset.schema, compression="lz4") as writer:
        for batch in dataset.to_batches():
            writer.write_batch(batch)


def read_by_polars(place, file):
    import polars

    polars.scan_delta(place.url, storage_options=place.delta_options()).sink_parquet(file, compression="lz4")


def compare(options, directory):
    fields = lake.ddl(options.schema)
    place = lake.location(options.table, options.storage)
    connection = lake.duck(place, options.memory, directory)
    table_columns = open_table(connection, place, options.reader, directory)
    lacking = [n for n in ["_partition", "_offset"] + [f.name for f in fields] if n not in table_columns]
    if lacking:
        raise ValueError(f"the table has no column {', '.join(lacking)}")

    bad = bad_offsets(options.dump if options.skip_bad else [], fields)
    connection.register("bad", bad)
    expected, expected_pairs = expected_rows(options.dump, fields, table_columns)
    actual, actual_pairs = actual_rows(fields, table_columns)
    connection.execute(f"CREATE TABLE e AS {expected.replace(ROW, checksum(expected_pairs))}")
    connection.execute(f"CREATE TABLE a AS {actual.replace(ROW, checksum(actual_pairs))}")

    # Only without nested structs does a top-level look tell all about unknown fields.
    flat = not any("STRUCT" in f.type.duckdb() for f in fields)
    wrong = "(e.r <> a.r OR (e.u AND NOT a.u)" + (" OR (a.u AND NOT e.u))" if flat else ")")
    queries = {
        "missing": "SELECT p, o FROM e WHERE NOT EXISTS (SELECT 1 FROM a WHERE a.p = e.p AND a.o = e.o)",
        "extra": "SELECT p, o FROM a WHERE NOT EXISTS (SELECT 1 FROM e WHERE a.p = e.p AND a.o = e.o)",
        "different": f"SELECT e.p, e.o FROM e JOIN a ON a.p = e.p AND a.o = e.o WHERE {wrong}",
        "doubled": "SELECT p, o, count(*) - 1 n FROM a GROUP BY p, o HAVING count(*) > 1",
    }
    one = lambda sql: connection.execute(sql).fetchone()[0]  # noqa: E731
    result = {"rows": one("SELECT count(*) FROM a")}
    for name, sql in queries.items():
        amount = "coalesce(sum(n), 0)::BIGINT" if name == "doubled" else "count(*)"
        result[name] = one(f"SELECT {amount} FROM ({sql})")
    result["skipped"] = sum(pq.ParquetFile(f).metadata.num_rows for f in options.dump) - one("SELECT count(*) FROM e")

    for name, sql in queries.items():
        if result[name]:
            places = connection.execute(f"{sql} ORDER BY 1, 2 LIMIT {EXAMPLES}").fetchall()
            print(f"{name}: (partition, offset) {[row[:2] for row in places]}", file=sys.stderr)
    if result["different"]:
        show_difference(connection, queries["different"], (expected, expected_pairs), (actual, actual_pairs))
    return result


def show_difference(connection, different, expected, actual):
    """Prints the columns in which the first differing rows differ."""
    connection.execute(f"CREATE TABLE sample AS {different} ORDER BY 1, 2 LIMIT {EXAMPLES}")
    texts = []
    for sql, pairs in (expected, actual):
        row = f"CAST(to_json({struct_of(pairs)}) AS VARCHAR)"
        query = f"SELECT p, o, r, u FROM ({sql.replace(ROW, row)}) x SEMI JOIN sample USING (p, o)"
        texts.append({(p, o): (json.loads(r), u) for p, o, r, u in connection.execute(query).fetchall()})
    for key, (row, unknown) in sorted(texts[0].items()):
        other, rescued = texts[1][key]
        for name, value in row.items():
            if value != other.get(name):
                print(f"{key} {name}: topic {value!r:.200}, table {other.get(name)!r:.200}", file=sys.stderr)
        if unknown != rescued:
            print(f"{key} _rescued: unknown field in topic {unknown}, set in table {rescued}", file=sys.stderr)


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("--dump", nargs="+", required=True, metavar="FILE", help="files of dump.py, of one topic")
    parser.add_argument("--table", required=True, metavar="LOCATION")
    parser.add_argument("--schema", required=True, metavar="DDL", help="the record's columns, as in the config")
    parser.add_argument("--reader", choices=["duckdb", "deltalake", "polars"], default="duckdb")
    parser.add_argument("--skip-bad", action="store_true", help="broken records are no rows (else an error)")
    parser.add_argument("--memory", default="4GB", help="DuckDB's limit; the rest goes to a temporary directory")
    lake.add_storage_argument(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thalweg-compare-") as directory:
        result = compare(options, directory)
    print(json.dumps(result))
    return 1 if any(result[name] for name in ("missing", "doubled", "extra", "different")) else 0


if __name__ == "__main__":
    lake.run(main)
