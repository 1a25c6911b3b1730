"""Reads a table with pyarrow (through deltalake) or Spark, and prints every cell in one form for both.

Prints one JSON object: for each row, under the text of its --key column, the
columns that are not null. Run with --reader spark through `tools/python
--spark`. The form: floats by their bits, decimals by their digits without
zeros at the end, bytes in hex, dates and timestamps (UTC, microseconds) in
ISO 8601; a struct's members that are null stay.
"""
import argparse
import datetime
import decimal
import json
import os
import struct

import lake


def plain(value):
    """A cell as JSON says it without loss."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return "double:" + struct.pack(">d", value).hex()
    if isinstance(value, decimal.Decimal):
        digits = f"{value:f}"
        return "decimal:" + (digits.rstrip("0").rstrip(".") if "." in digits else digits)
    if isinstance(value, str):
        return "text:" + value
    if isinstance(value, (bytes, bytearray)):
        return "bytes:" + bytes(value).hex()
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=value.tzinfo or datetime.timezone.utc).astimezone(datetime.timezone.utc)
        return "time:" + value.isoformat(timespec="microseconds")
    if isinstance(value, datetime.date):
        return "date:" + value.isoformat()
    if hasattr(value, "asDict"):
        value = value.asDict()
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    raise TypeError(type(value))


def maps_as_dicts(value, kind):
    """pyarrow gives a map as pairs."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: maps_as_dicts(member, kind.item_type) for key, member in value}
    if pa.types.is_struct(kind):
        return {field.name: maps_as_dicts(value[field.name], field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [maps_as_dicts(element, kind.value_type) for element in value]
    return value


def rows_of_pyarrow(place):
    from deltalake import DeltaTable

    table = DeltaTable(place).to_pyarrow_table()
    for row in table.to_pylist():
        yield {field.name: maps_as_dicts(row[field.name], field.type) for field in table.schema}


def rows_of_spark(place):
    import spark
    from pyspark.sql.types import TimestampType

    # Python's own conversion from seconds, which PySpark uses, fails in the year 1.
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    TimestampType.fromInternal = lambda _, micros: None if micros is None else epoch + datetime.timedelta(microseconds=micros)
    session = spark.session()
    for row in session.read.format("delta").load(place).collect():
        yield row.asDict()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("location", metavar="DIRECTORY")
    parser.add_argument("--reader", choices=["pyarrow", "spark"], required=True)
    parser.add_argument("--key", required=True, help="the column that names a row")
    options = parser.parse_args()
    read = {"pyarrow": rows_of_pyarrow, "spark": rows_of_spark}[options.reader]
    cells = {}
    for row in read(os.path.abspath(options.location)):
        key = str(row[options.key])
        if key in cells:
            raise SystemExit(f"two rows are {options.key} {key}")
        cells[key] = {name: plain(value) for name, value in row.items() if value is not None}
    print(json.dumps(cells))
    return 0


if __name__ == "__main__":
    lake.run(main)
