"""Checkpoints on checkpoints, ours and others', while delta-rs and Spark delete and compact in between."""
import glob
import json
import subprocess

import pyarrow.parquet as pq

from bench import ROOT, TOOLS, call, drain, expect, oracle, say

RECORDS, RATE = 45_000, 1_500  # thirty seconds
VERSIONS = 320  # three checkpoints of ours
CHECKSUMS = b"thalweg.crc32"

DELTA_RS = """
import sys, json, deltalake
table = deltalake.DeltaTable(sys.argv[1])
deleted = table.delete("_partition = 1 AND _offset % 97 = 0")["num_deleted_rows"]
table.optimize.compact(target_size=60_000)
print(json.dumps({"deleted": deleted, "version": table.version()}))
"""

SPARK = """
import sys, json
sys.path.append(sys.argv[2])
import spark
session = spark.session()
before = session.read.format("delta").load(sys.argv[1]).count()
session.sql(f"DELETE FROM delta.`{sys.argv[1]}` WHERE _partition = 2 AND _offset % 501 = 0")
log = session._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(session._jsparkSession, sys.argv[1])
log.checkpoint()
after = session.read.format("delta").load(sys.argv[1]).count()
print(json.dumps({"spark": session.version, "before": before, "deleted": before - after, "rows": after}), flush=True)
session.stop()
"""


def checkpoints(bench):
    """checkpoints over DELETE, OPTIMIZE and checkpoints of delta-rs and Spark: the replay and five readers agree"""
    topic, place = bench.fresh("checkpoints"), bench.location("local", bench.fresh("checkpoints"))
    schema = bench.workload(topic, "w1", 1000)
    config = bench.config([(topic, topic, place, schema)], max_latency="10ms")
    rows, figures = 1000, []
    for moves in (delta_rs, spark, None):
        rows += ingest(bench, topic, config, place)
        copied = in_common(place)
        expect(copied > 0, f"{place}: no checkpoint has a row group of the one before")
        figures.append(f"{copied} row groups copied")
        judge(place, rows)
        if moves:
            rows -= moves(place, rows)
            judge(place, rows)
    checkpointed = json.load(open(f"{place}/_delta_log/_last_checkpoint"))
    figures.append(f"{checkpointed['size']} actions in the last")
    seen = run_spark(place)
    expect(seen["before"] == rows, f"Spark counts {seen}, {rows} are there")
    return f"{rows:,} rows; " + ", ".join(figures) + f"; Spark {seen['spark']}, delta-rs, DuckDB and Polars agree"


def ingest(bench, topic, config, place):
    """Commits until three more checkpoints are due; returns the records."""
    records = 0
    run = bench.start(config)
    first = last = newest(place)
    while last < first + VERSIONS:
        bench.generate("--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", RECORDS // 10,
                       "--rate", RATE, "--seed", bench.options.seed + last)
        records += RECORDS // 10
        expect(run.poll() is None, f"the run ended: {run.returncode}")
        last = newest(place)
    drain(run)
    bench.run_to_end(config, 60)
    say(f"{records:,} records, versions {first} to {newest(place)}")
    return records


def newest(place):
    return max((int(name[-25:-5]) for name in glob.glob(f"{place}/_delta_log/*[0-9].json")), default=0)


def in_common(place):
    """Row groups that stand in two checkpoints of ours, by the checksums in their footers."""
    names = sorted(glob.glob(f"{place}/_delta_log/*.checkpoint.parquet"))[-3:]
    footers = [pq.read_metadata(name).metadata or {} for name in names]
    groups = [set(footer.get(CHECKSUMS, b"").split()) for footer in footers]
    return sum(len(before & after) for before, after in zip(groups, groups[1:]))


def judge(place, rows):
    """table.py replays the log beside every checkpoint and asks DuckDB, delta-rs and Polars."""
    found = oracle("table.py", place)
    expect(found["rows"] == rows, f"{place}: {rows} rows are there, the live files hold {found['rows']}")


def delta_rs(place, rows):
    moved = json.loads(call(f"{TOOLS}/python", "-c", DELTA_RS, place))
    say(f"delta-rs: {moved}")
    expect(moved["deleted"] > 0, "delta-rs deleted nothing")
    return moved["deleted"]


def spark(place, rows):
    moved = run_spark(place)
    say(f"Spark: {moved}")
    expect(moved["before"] == rows and moved["deleted"] > 0, f"Spark: {moved}, {rows} are there")
    return moved["deleted"]


def run_spark(place):
    said = call(f"{TOOLS}/python", "--spark", "-c", SPARK, place, f"{ROOT}/tests/oracle", stderr=subprocess.DEVNULL)
    return json.loads(said.splitlines()[-1])


ROWS = [checkpoints]
