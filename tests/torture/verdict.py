"""Whether a table holds what its topic holds, after a round.

Owns which oracle judges which table. A table of JSON is compared field by
field, one of raw bytes by a hash of each value; then its log, at every
version, its files and its dead letters. Nothing here asks the program under
test but `table verify`, which has to agree.
"""
import subprocess

import compare
import lake
from bench import COMPARED, expect, oracle


def judge(bench, table, dump, found):
    """Every oracle on one table; returns the records of the topic that were verified."""
    storage = bench.storage(table.store)
    if table.schema is None:
        raw(bench, table, dump)
    else:
        more = ["--skip-bad"] if table.bad else []
        result = oracle("compare.py", "--dump", dump, "--table", table.place, "--schema", table.schema, *storage, *more)
        expect(not any(result[name] for name in COMPARED), f"{table.place}: {result}")
    if table.bad:
        letters(bench, table, dump)
    told = oracle("table.py", table.place, "--readers", "duckdb", *storage)
    for app_id, at in told["offsets"].items():
        end = found["partitions"][app_id.rsplit("/", 1)[1]]["end"]
        expect(at == end, f"{table.place}: {app_id} stands at {at}, the last stable offset is {end}")
    verified = subprocess.run([bench.thalweg(), "table", "verify", table.place, *bench.verify_storage(table.store)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    expect(verified.returncode == 0, f"table verify {table.place}: exit {verified.returncode}\n{verified.stdout[-2000:]}")
    return found["records"]


def raw(bench, table, dump):
    """Each offset once, with the bytes that the topic has."""
    duck = lake.duck(lake.location(table.place, bench.storage(table.store)[1:]), memory="3GB", directory=bench.work)
    duck.execute(f'CREATE TABLE e AS SELECT partition p, "offset" o, hash(value) h FROM read_parquet({lake.literal(dump)})')
    duck.execute(f"CREATE TABLE a AS SELECT _partition p, _offset o, hash(value) h FROM delta_scan({lake.literal(table.place)})")
    one = lambda sql: duck.execute(sql).fetchone()[0]  # noqa: E731
    result = {
        "missing": one("SELECT count(*) FROM e ANTI JOIN a USING (p, o)"),
        "extra": one("SELECT count(*) FROM a ANTI JOIN e USING (p, o)"),
        "different": one("SELECT count(*) FROM e JOIN a USING (p, o) WHERE e.h IS DISTINCT FROM a.h"),
        "doubled": one("SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT p, o FROM a)) FROM a"),
    }
    expect(not any(result.values()), f"{table.place}: {result}")


def letters(bench, table, dump):
    """The records that our own reading of their bytes calls bad, each once and byte for byte."""
    place = table.place + "_dead_letters"
    duck = lake.duck(lake.location(place, bench.storage(table.store)[1:]))
    duck.register("bad", compare.bad_offsets([dump], lake.ddl(table.schema)))
    expected = duck.execute(f'SELECT partition, "offset", value FROM read_parquet({lake.literal(dump)}) '
                            'SEMI JOIN bad USING (partition, "offset") ORDER BY 1, 2').fetchall()
    kept = duck.execute(f'SELECT partition, "offset", value FROM delta_scan({lake.literal(place)}) ORDER BY 1, 2').fetchall()
    expect(kept == expected, f"{place}: {len(kept)} letters, {len(set(kept))} different ones; {len(expected)} bad records")
    oracle("table.py", place, "--readers", "duckdb", *bench.storage(table.store))
