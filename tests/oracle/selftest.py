"""Tests the oracles: clean tables pass, every planted bug is caught, by the right part.

Needs no broker: the dump is made here, of produce.py's own records. Prints a
line a case and at the end a line as cargo prints it.
"""
import contextlib
import io
import json
import os
import random
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

import compare
import dump
import lake
import plant
import produce
import table

RECORDS, PARTITIONS = 4_000, 3
# What must be said of each bug; compare.py names a kind, table.py a text.
ROW_BUGS = {"drop": "missing", "double": "doubled", "change": "different", "nested": "different",
            "extra": "extra", "timestamp": "different"}
LOG_BUGS = {"hole": "does not begin at", "rewind": "back from", "twice": "a second time", "stats": "max of _offset",
            "size": "the log says", "lost-file": "not in the store", "count": "names", "unfiled": "its files 0",
            "gone-version": "is missing", "neighbour": "stand twice", "truncated": "the log says", "flipped": "cannot be read"}


def make_dump(file, bad_in_1000):
    """As dump.py would write it: offsets with holes, tombstones, broken records."""
    choose = random.Random(7)
    rows, offsets = [], dict.fromkeys(range(PARTITIONS), 0)
    for number in range(RECORDS):
        partition = choose.randrange(PARTITIONS)
        record = produce.record(choose, number)
        value = produce.json.dumps(record).encode()
        if choose.random() < bad_in_1000 / 1000:
            value = choose.choice(produce.BROKEN)(record)
        elif choose.random() < 0.01:
            value = None
        rows.append({"topic": "selftest", "partition": partition, "offset": offsets[partition],
                     "timestamp_ms": 1_700_000_000_000 + number, "key": None, "value": value})
        offsets[partition] += choose.choice([1, 1, 1, 2])
    pq.write_table(pa.Table.from_pylist(rows, schema=dump.SCHEMA), file)


def options(**given):
    return type("Options", (), given)()


def compared(file, directory, reader="duckdb"):
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
        return compare.compare(
            options(dump=[file], table=directory, schema=produce.DDL, storage=[], reader=reader, skip_bad=True,
                    memory="1GB"), scratch)


def judged(directory):
    with contextlib.redirect_stderr(io.StringIO()):
        found = table.Table(lake.location(directory, []))
        state, _, _ = table.replay(found)
        table.check_files(found, state)
    return found.violations


def planted(file, directory, bug):
    plant.write(options(dump=file, table=directory, schema=produce.DDL, bug=bug))


@contextlib.contextmanager
def otherwise(file, field):
    """A version whose file the checkpoint knows by another value of `field`."""
    with open(file) as log:
        text = log.read()
    actions = [json.loads(line) for line in text.splitlines()]
    add = next(action["add"] for action in actions if "add" in action)
    stats = json.dumps(json.loads(add["stats"]) | {"numRecords": 0})
    add[field] = {"size": 1, "stats": stats, "tags": {table.RANGES: "[]"}}[field]
    with open(file, "w") as log:
        log.writelines(json.dumps(action) + "\n" for action in actions)
    yield
    with open(file, "w") as log:
        log.write(text)


def cases(scratch):
    file = f"{scratch}/dump.parquet"
    make_dump(file, bad_in_1000=20)
    kinds = ("missing", "doubled", "extra", "different")
    clean = f"{scratch}/clean"
    planted(file, clean, None)
    for reader in ("duckdb", "deltalake", "polars"):
        result = compared(file, clean, reader)
        yield f"a correct table passes, read by {reader}", not any(result[k] for k in kinds) and result["skipped"] > 80
    yield "a correct log passes", judged(clean) == []
    from deltalake import DeltaTable

    DeltaTable(clean).create_checkpoint()
    yield "a correct checkpoint passes", judged(clean) == []
    for field in ("size", "stats", "tags"):
        with otherwise(f"{clean}/_delta_log/{2:020d}.json", field):
            said = judged(clean)
        yield f"a checkpoint with other {field} is caught", any("tells another size" in text for text in said)
    for version in range(6):
        os.remove(f"{clean}/_delta_log/{version:020d}.json")
    yield "a log whose head was cleaned up passes", judged(clean) == []
    for bug, kind in ROW_BUGS.items():
        planted(file, f"{scratch}/{bug}", bug)
        result = compared(file, f"{scratch}/{bug}")
        yield f"bug {bug} is caught", {k: result[k] for k in kinds} == {k: int(k == kind) for k in kinds}
    for bug, text in LOG_BUGS.items():
        planted(file, f"{scratch}/{bug}", bug)
        yield f"bug {bug} is caught", any(text in violation for violation in judged(f"{scratch}/{bug}"))


def main():
    lake.arguments(__doc__).parse_args()
    failed = passed = 0
    with tempfile.TemporaryDirectory(prefix="thalweg-selftest-") as scratch:
        for case, ok in cases(scratch):
            print(f"test oracle: {case} ... {'ok' if ok else 'FAILED'}", flush=True)
            passed, failed = passed + ok, failed + (not ok)
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    lake.run(main)
