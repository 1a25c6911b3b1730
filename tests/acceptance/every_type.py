"""Every type, every column: what a JSON value becomes, and which are refused.

Owns the table of cases. What a value must become is read here from the same
text by Python's Decimal, Fraction and datetime and by pyarrow's casts, never
by thalweg; the table is read back by pyarrow and by Spark.
"""
import base64
import datetime
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench import ROOT, TOOLS, expect, oracle, refused, say

sys.path.append(f"{ROOT}/tests/oracle")
from cells import plain  # noqa: E402

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"s": 10**6, "ms": 10**3, "us": 1, "ns": Fraction(1, 1000)}
OTHERS = ["true", "1", "1.5", '"x"', "[]", "[1]", "{}", '{"a":1}']
REFUSED = object()


# ---- what a text must become -------------------------------------------------------------------------------------


class Misfit(Exception):
    """The documented answer is: no row."""


def integer(bits):
    def read(text):
        if not re.fullmatch(r"-?\d+", text) or not -(1 << bits - 1) <= int(text) < 1 << bits - 1:
            raise Misfit
        return int(text)
    return read


def floating(kind):
    def read(text):
        value = pa.array([number(text)]).cast(kind)[0].as_py()
        if value in (float("inf"), float("-inf")):
            raise Misfit
        return value
    return read


def number(text):
    if not re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text):
        raise Misfit
    return text


def exact(precision, scale):
    def read(text):
        text = json.loads(text) if text.startswith('"') else text
        value = Fraction(number(text))
        unscaled = value * 10**scale
        if unscaled.denominator != 1 or abs(unscaled) >= 10**precision:
            raise Misfit
        return Decimal((int(unscaled < 0), tuple(map(int, str(abs(int(unscaled))))), -scale))
    return read


def texts(then):
    def read(text):
        value = json.loads(text)
        if not isinstance(value, str):
            raise Misfit
        try:
            return then(value)
        except ValueError:
            raise Misfit from None
    return read


def boolean(text):
    if text not in ("true", "false"):
        raise Misfit
    return text == "true"


def date(text):
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise Misfit
    return datetime.date.fromisoformat(text)


def instant(text):
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", text)
    if not found:
        raise Misfit
    day, time, fraction, offset = found.groups()
    micros = ((fraction or ".") + "000000")[1:7]
    offset = "+00:00" if offset in (None, "Z", "z") else offset
    return moment((datetime.datetime.fromisoformat(f"{day}T{time}.{micros}{offset}")))


def moment(value):
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Misfit from None


def counted(unit):
    def read(text):
        if text.startswith('"'):
            return texts(instant)(text)
        micros = Fraction(number(text)) * UNITS[unit] // 1
        try:
            return EPOCH + datetime.timedelta(microseconds=micros)
        except OverflowError:
            raise Misfit from None
    return read


def unpadded(text):
    if not re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text):
        raise Misfit
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


NUMBERS = ["0", "-0", "1e2", "1.0", "0.1", "-7", "1e999", "-1e999", '"1"', '"NaN"', "123456789012345678901234567890"]
INTEGERS = [str(sign * (1 << bits) + more) for bits in (7, 15, 31, 63) for sign in (1, -1) for more in (-1, 0)]
# name: (DDL, texts beside those that every type meets, the reading)
TYPES = {
    "boolean": ("BOOLEAN", ["false"], boolean),
    "tinyint": ("TINYINT", INTEGERS + NUMBERS, integer(8)),
    "smallint": ("SMALLINT", INTEGERS + NUMBERS, integer(16)),
    "int": ("INT", INTEGERS + NUMBERS, integer(32)),
    "bigint": ("BIGINT", INTEGERS + NUMBERS, integer(64)),
    "float": ("FLOAT", NUMBERS + ["3.4028234663852886e38", "-3.4028234663852886e38", "3.5e38", "1e-45", "16777217",
                                  "1.000000059604644775390625000001"], floating(pa.float32())),
    "double": ("DOUBLE", NUMBERS + ["1.7976931348623157e308", "-1.7976931348623157e308", "5e-324",
                                    "9007199254740993"], floating(pa.float64())),
    "decimal": ("DECIMAL(9, 3)", NUMBERS + ["999999.999", "-999999.999", "1000000", "0.0005", "1.2345", "15e-1",
                                            '"12.345"', '"1e2"'], exact(9, 3)),
    "decimal38": ("DECIMAL(38, 10)", NUMBERS + ["9999999999999999999999999999.9999999999", "1e28", "1e-10",
                                                "1e-11"], exact(38, 10)),
    "string": ("STRING", ['""', '"null"', r'"\u0000 \ud83d\ude00 \n"', '"' + "é" * 50 + '"'], texts(str)),
    "binary": ("BINARY", ['""', '"AP8="', '"AP8"', '"A"', '"%"'], texts(unpadded)),
    "date": ("DATE", ['"0001-01-01"', '"1582-10-04"', '"1969-12-31"', '"9999-12-31"', '"2023-02-29"', '"10000-01-01"',
                      '"2024-06-10T00:00:00Z"'], texts(date)),
    "timestamp": ("TIMESTAMP", ['"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"2024-06-10T06:13:20"',
                                '"2024-06-10 06:13:20.5"', '"2024-06-10T08:13:20.123456789+02:00"', '"1969-12-31T23:59:59.9999999Z"',
                                '"2024-06-10"', '"2024-02-30T00:00:00Z"', '"9999-12-31T23:59:59-01:00"', "1718000000"],
                  texts(instant)),
    **{f"epoch_{unit}": ("TIMESTAMP", ["0", "-1", "1718000000", "1718000000123", "1718000000123456", "1718000000123456789",
                                       "1718000000.1234567", "1.718e9", "-0.0000001", "-62135596800", "253402300799",
                                       "253402300800", '"2024-06-10T08:13:20+02:00"', '"1718000000"'], counted(unit))
       for unit in UNITS},
}
PLACES = {
    "top": ("{0}", "{0}", lambda value: value),
    "struct": ("STRUCT<x: {0}>", '{{"x":{0}}}', lambda value: {"x": value}),
    "array": ("ARRAY<{0}>", "[{0}]", lambda value: [value]),
    "map": ("MAP<STRING, {0}>", '{{"k":{0}}}', lambda value: {"k": value}),
    "deep": ("ARRAY<STRUCT<m: MAP<STRING, ARRAY<{0}>>>>", '[{{"m":{{"k":[null,{0}]}}}}]',
             lambda value: [{"m": {"k": [None, value]}}]),
}
# Whole values of nested types, by hand: column, text, what it becomes.
NESTED = [
    ("struct_bigint", "{}", {"x": None}), ("struct_bigint", "null", None), ("struct_bigint", '{"x":null}', {"x": None}),
    ("struct_bigint", "[]", REFUSED), ("struct_bigint", "1", REFUSED), ("struct_bigint", '"x"', REFUSED),
    ("array_bigint", "[]", []), ("array_bigint", "null", None), ("array_bigint", "[null]", [None]),
    ("array_bigint", "{}", REFUSED), ("array_bigint", "1", REFUSED), ("array_bigint", "[[]]", REFUSED),
    ("map_bigint", "{}", {}), ("map_bigint", "null", None), ("map_bigint", '{"":null}', {"": None}),
    ("map_bigint", '{"a":1,"a":2}', {"a": 2}), ("map_bigint", "[]", REFUSED), ("map_bigint", '"x"', REFUSED),
    ("deep_bigint", "[null]", [None]), ("deep_bigint", '[{"m":null}]', [{"m": None}]), ("deep_bigint", "[{}]", [{"m": None}]),
    ("deep_bigint", '[{"m":{"k":null}}]', [{"m": {"k": None}}]), ("deep_bigint", '[{"m":{"k":[]}}]', [{"m": {"k": []}}]),
]
# Whole payloads after `{"case":N` by hand: what follows, and the row's cells beside its case.
WHOLE = [
    (b"}", {}),
    (b',"always_null":null}', {}),
    (b',"top_bigint":1,"top_bigint":2}', {"top_bigint": 2}),
    (b',"new":1.50,"struct_bigint":{"more":[1, 2]}}',
     {"struct_bigint": {"x": None}, "_rescued": '{"new":1.50,"struct_bigint.more":[1, 2]}'}),
    (b',"new":null,"struct_bigint":{"more":null}}', {"struct_bigint": {"x": None}}),
    (b',"_offset":5,"TOP_BIGINT":6}', {"_rescued": '{"_offset":5,"TOP_BIGINT":6}'}),
    (b',"u":' + b"[" * 9 + b"]" * 9 + b"}", {"_rescued": '{"u":' + "[" * 9 + "]" * 9 + "}"}),
    (b',"u":' + b"[" * 10 + b"]" * 10 + b"}", REFUSED),  # max_depth = 10
    (b',"top_string":"' + b"x" * 4096 + b'"}', REFUSED),  # max_record_size = "4KiB"
    (b',"top_string":"\xff"}', REFUSED),
    (b',"top_string":"\\ud800"}', REFUSED),
    (b',}', REFUSED),
    (b"", REFUSED),
    (b"} {}", REFUSED),
]
FOREIGN = [b"[1]", b"null", b'"text"', b"1", b"", b"{}"]  # no object, or without the column that is NOT NULL


def expected(read, text):
    try:
        return None if text == "null" else read(text)
    except Misfit:
        return REFUSED


def cases():
    """(payload, the row's cells or REFUSED), each with its number in it."""
    records = []
    for name, (_, own, read) in TYPES.items():
        for place, (_, shape, around) in PLACES.items():
            for text in dict.fromkeys(["null", *OTHERS, *own]):
                value = expected(read, text)
                cell = REFUSED if value is REFUSED else around(value)
                records.append((f',"{place}_{name}":{shape.format(text)}}}'.encode(), {f"{place}_{name}": cell}))
    records += [(f',"{column}":{text}}}'.encode(), {column: value}) for column, text, value in NESTED]
    records += [(rest, {"": REFUSED} if row is REFUSED else row) for rest, row in WHOLE]
    numbered = [(f'{{"case":{at}'.encode() + rest, row) for at, (rest, row) in enumerate(records)]
    return numbered + [(payload, {"": REFUSED}) for payload in FOREIGN]


# ---- topics and tables -------------------------------------------------------------------------------------------


def produce(bench, topic, records, partitions=1, **settings):
    """Records (value, key, headers, timestamp) of one topic, in order."""
    admin = AdminClient({"bootstrap.servers": bench.broker()})
    settings = {key.replace("_", "."): str(value) for key, value in ({"retention_ms": -1} | settings).items()}
    for created in admin.create_topics([NewTopic(topic, partitions, 1, config=settings)]).values():
        created.result(30)
    producer = Producer({"bootstrap.servers": bench.broker(), "enable.idempotence": True})
    failed = []
    for value, key, headers, timestamp in records:
        producer.produce(topic, value, key, partition=0, headers=headers, timestamp=timestamp,
                         on_delivery=lambda error, _: error and failed.append(error))
        producer.poll(0)
    left = producer.flush(60)
    expect(not left and not failed, f"{topic}: {left} not sent, {failed[:1]}")


def cells(place, reader, key):
    python = [f"{TOOLS}/python"] + (["--spark"] if reader == "spark" else [])
    command = python + [f"{ROOT}/tests/oracle/cells.py", place, "--reader", reader, "--key", key]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 0, f"{reader} on {place}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(found, wanted, where, ignored=()):
    """Rows by key, cell by cell; returns the number of cells compared."""
    missing, extra = sorted(set(wanted) - set(found))[:5], sorted(set(found) - set(wanted))[:5]
    expect(not missing and not extra, f"{where}: rows that are not there {missing}, that should not be there "
                                      f"{extra}: {[found[key] for key in extra]}")
    for key, row in wanted.items():
        actual = {name: value for name, value in found[key].items() if name not in ignored}
        expect(actual == row, f"{where}: row {key} is {actual}, not {row}")
    return sum(len(row) for row in wanted.values())


def matrix(bench, readers):
    """Every type in every place."""
    topic, place = bench.fresh("types"), bench.location("local", bench.fresh("types"))
    columns = {f"{at}_{name}": shape.format(ddl) for at, (shape, _, _) in PLACES.items()
               for name, (ddl, _, _) in TYPES.items()}
    schema = "case BIGINT NOT NULL, always_null STRING, " + ", ".join(f"{name} {ddl}" for name, ddl in columns.items())
    suffixes = {"top": "", "struct": ".x", "array": "[]", "map": "[]", "deep": "[].m[][]"}
    units = {f"{at}_epoch_{unit}{suffix}": unit for at, suffix in suffixes.items() for unit in UNITS}
    records = cases()
    produce(bench, topic, [(payload, None, None, 0) for payload, _ in records])
    config = bench.config([("types", topic, place, schema)], on_bad_record="skip", max_depth=10, max_record_size="4KiB")
    with open(config, "a") as out:
        out.write("[table.timestamps]\n" + "".join(f"{json.dumps(path)} = {json.dumps(unit)}\n" for path, unit in units.items()))
    bench.run_to_end(config, 120)
    wanted = {}
    for at, (_, row) in enumerate(records):
        if REFUSED not in row.values():
            wanted[str(at)] = {"case": at} | {name: plain(value) for name, value in row.items() if value is not None}
    facts = ("_partition", "_offset", "_timestamp")
    compared = [compare(cells(place, reader, "case"), wanted, reader, facts) for reader in readers]
    table = oracle("table.py", place)
    expect(table["rows"] == len(wanted), f"{table['rows']} rows in the files, {len(wanted)} expected")
    return (f"{len(records)} records of {len(TYPES)} types in {len(PLACES)} places: {len(wanted)} rows, "
            f"{len(records) - len(wanted)} refused, {compared[0]} cells equal by {' and '.join(readers)}")


def facts(bench, readers):
    """Metadata columns and the raw format: keys, headers, both kinds of timestamps."""
    headers = [None, [], [("a", b"1"), ("a", None), ("b", b""), ("a", b"\xff\x00")], [("ü", "ö".encode())]]
    keys = [None, b"", b"\xff\x00", "key".encode()]
    values = [b"", b'{"a":1}', b"\x00\xff", b"null"]
    records = [(value, key, some, 1_700_000_000_123 + at)
               for at, (value, key, some) in enumerate((v, k, h) for v in values for k in keys for h in headers)]
    records.append((None, b"tombstone", None, 1_700_000_000_000))
    columns = ["_offset", "_partition", "_topic", "_timestamp", "_timestamp_type", "_key", "_headers"]
    rows = 0
    for kind, name in (("CreateTime", "CreateTime"), ("LogAppendTime", "LogAppendTime")):
        topic, place = bench.fresh("facts"), bench.location("local", bench.fresh("facts"))
        produce(bench, topic, records, message_timestamp_type=kind)
        bench.run_to_end(bench.config([("facts", topic, place, None)], format="raw", metadata_columns=columns), 60)
        wanted = {}
        for message in consumed(bench, topic, len(records)):
            if message.value() is None:
                continue
            stamp = EPOCH + datetime.timedelta(milliseconds=message.timestamp()[1])
            told = [{"key": key, "value": value} for key, value in message.headers() or []]
            row = {"_offset": message.offset(), "_partition": 0, "_topic": topic, "_timestamp": stamp,
                   "_timestamp_type": name, "_key": message.key(), "_headers": told, "value": message.value()}
            wanted[str(message.offset())] = {name: plain(value) for name, value in row.items() if value is not None}
        expect(len(wanted) == len(records) - 1, f"{topic}: {len(wanted)} records were consumed")
        for reader in readers:
            compare(cells(place, reader, "_offset"), wanted, f"{reader}, {kind}")
        rows += len(wanted)
    return f"{rows} raw records with keys, headers and both timestamp types equal"


def consumed(bench, topic, count):
    consumer = Consumer({"bootstrap.servers": bench.broker(), "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = []
    while len(messages) < count:
        message = consumer.poll(30)
        expect(message is not None and message.error() is None, f"{topic}: {message and message.error()}")
        messages.append(message)
    consumer.close()
    return messages


def declared_text(bench, readers):
    """Keys, headers and raw values that are declared STRING; other bytes are no rows."""
    text, bytes_ = "ü".encode(), b"\xff"
    records = [(text, text, [("h", text), ("n", None)], 0), (bytes_, text, None, 0), (text, bytes_, None, 0),
               (text, text, [("h", bytes_)], 0), (b"", None, None, 0)]
    topic, place = bench.fresh("text"), bench.location("local", bench.fresh("text"))
    produce(bench, topic, records)
    columns = ["_offset", "_key STRING", "_headers ARRAY<STRUCT<key: STRING, value: STRING>>"]
    bench.run_to_end(bench.config([("text", topic, place, "value STRING")], format="raw", metadata_columns=columns,
                                  on_bad_record="skip"), 60)
    told = [{"key": "h", "value": "ü"}, {"key": "n", "value": None}]
    wanted = {"0": {"_offset": 0, "_key": "ü", "_headers": told, "value": "ü"}, "4": {"_offset": 4, "_headers": [], "value": ""}}
    wanted = {key: {name: plain(value) for name, value in row.items()} for key, row in wanted.items()}
    for reader in readers:
        compare(cells(place, reader, "_offset"), wanted, f"{reader}, declared text")
    return "text where declared"


def inference(bench):
    """A schema from samples: five types and nests of them; the rest is rescued."""
    samples = [
        b'{"n":1,"x":1,"ok":true,"s":"a","at":"2024-06-10T06:13:20Z","ms":1718000000123,"l":[1],"o":{"d":1.5}}',
        b'{"n":-2,"x":2.5,"ok":null,"s":"2024-06-10T06:13:20Z","at":"2024-06-10T06:13:20","l":[],"o":{"e":[{"f":"g"}]},'
        b'"nil":null,"empty":[],"mixed":1,"N":1,"a b":1,"_offset":7,"big":18446744073709551615}',
        b'{"n":3,"mixed":"1","nil":null}',
    ]
    later = b'{"n":4,"nil":"now a text","empty":[{"x":1}],"mixed":[1]}'
    topic, place = bench.fresh("inferred"), bench.location("local", bench.fresh("inferred"))
    produce(bench, topic, [(sample, None, None, 0) for sample in samples])
    config = bench.config([("inferred", topic, place, None)])
    with open(config, "a") as out:
        out.write('timestamps = { ms = "ms" }\n')
    bench.run_to_end(config, 60)
    from deltalake import DeltaTable

    found = {field.name: field.type.to_json() for field in DeltaTable(place).schema().fields}
    wanted = {"n": '"long"', "x": '"double"', "ok": '"boolean"', "s": '"string"', "at": '"timestamp"', "ms": '"timestamp"',
              "big": '"decimal(38,0)"'}
    expect({name: found.get(name) for name in wanted} == wanted, f"inferred {found}")
    others = ["_partition", "_offset", "_timestamp", "l", "o", "_rescued"]
    expect(sorted(found) == sorted([*wanted, *others]), f"columns {sorted(found)}")
    producer = Producer({"bootstrap.servers": bench.broker()})
    producer.produce(topic, later, partition=0)
    producer.flush(30)
    bench.run_to_end(config, 60)
    rows = cells(place, "pyarrow", "n")
    expect(json.loads(rows["4"]["_rescued"].removeprefix("text:")) == {"nil": "now a text", "empty": [{"x": 1}], "mixed": [1]},
           f"the later record: {rows['4']}")
    rescued = json.loads(rows["-2"]["_rescued"].removeprefix("text:"))
    expect(sorted(rescued) == ["N", "_offset", "a b", "empty", "mixed"], f"rescued {rescued}")
    return f"{len(found) - 4} columns inferred, {len(rescued)} fields left out and rescued"


def names(bench):
    """Names that cannot be columns: refused where they are written or found."""
    topic = bench.fresh("names")
    produce(bench, topic, [(b'{"id":1}', None, None, 0)])
    wrong = {"id BIGINT, ID STRING": "only in case", "s STRUCT<a: INT, A: INT>": "only in case",
             "`a b` BIGINT": "Spark refuse", "s STRUCT<`k=v`: INT>": "Spark refuse",
             "id BIGINT, _OFFSET BIGINT": "thalweg writes", "_headers STRING": "thalweg writes"}
    for schema, words in wrong.items():
        place = bench.location("local", bench.fresh("names"))
        config = bench.config([("names", topic, place, schema)])
        refused(bench, f"names: {schema}", config, 78, [words], place=place)
    from deltalake import DeltaTable

    existing = {"a b": "Spark refuse", "_Offset": "not its type", "_key": "not its type"}
    for name, words in existing.items():
        place = bench.location("local", bench.fresh("names"))
        os.makedirs(place)
        DeltaTable.create(place, pa.schema([("id", pa.int64()), (name, pa.float64())]))
        refused(bench, f"names: a table with {name}", bench.config([("names", topic, place, None)]), 73, [name, words])
    return f"{len(wrong) + len(existing)} names refused"


def types(bench):
    """every type, every column, raw, keys and headers, inference, names; pyarrow and Spark"""
    readers = ["pyarrow", "spark"]
    parts = []
    for part in (lambda: matrix(bench, readers), lambda: facts(bench, readers), lambda: declared_text(bench, readers),
                 lambda: inference(bench), lambda: names(bench)):
        parts.append(part())
        say(parts[-1])
    return "; ".join(parts)


ROWS = [types]
