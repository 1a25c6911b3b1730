"""How soon a killed process reads again, whatever the table's size; and what a drain under full load takes."""
import json
import os
import re
import subprocess
import time
import urllib.request

from bench import DRAIN_SECONDS, expect, oracle, quiet, say, tail, text_of
from groups import in_group

RECORDS = 8_000_000
PARTITIONS = 4
COMMITS = 10_000
BACKLOG = 400_000
FILES = 1_000_000
KILLS_AT_LEAST = 20
WITHIN_SECONDS = 1.0
SESSION_SECONDS = 2


def metric(address, name):
    """The sum over its labels; 0 where it is absent; None where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def address_of(run):
    found = re.search(r"serving /metrics.* address=(\S+)", text_of(run))
    return found and found[1]


def reading(run):
    """Waits until it has taken records from the broker; returns when that was first seen."""
    deadline = time.monotonic() + 60
    address = None
    while time.monotonic() < deadline:
        expect(run.poll() is None, f"it ended: {run.returncode}\n{tail(run)}")
        address = address or address_of(run)
        if address and (metric(address, "thalweg_records_consumed_total") or 0) > 0:
            return time.monotonic()
        time.sleep(0.003)
    expect(False, f"nothing is read\n{tail(run)}")


def restart(bench):
    """SIGKILL to records again: 10 and 10,000 commits, 1,000,000 files, as a group's member; at least 20 kills each"""
    figures = []
    for name, prepare in (("10 commits", few), ("10,000 commits", many), ("1,000,000 files", large)):
        table = a_table(bench)
        prepare(bench, table)
        figures.append(f"{name}: " + killed(bench, table, lambda config: config, WITHIN_SECONDS))
        say(figures[-1])
    # The broker keeps what a dead member had until its session is over; a static one it knows again.
    for name, instance_id, seconds in (("in a group", None, SESSION_SECONDS), ("in a group, static", "one", 0)):
        table = a_table(bench)
        few(bench, table)
        member = lambda config: in_group(config, table[0], "cooperative-sticky", 1000 * SESSION_SECONDS, instance_id)  # noqa: B023, E731
        figures.append(f"{name}: " + killed(bench, table, member, seconds + WITHIN_SECONDS))
        say(figures[-1])
    return "; ".join(figures)


def a_table(bench):
    topic = bench.fresh("restart")
    schema = bench.generate("--workload", "w1", "--ddl").strip()
    return topic, topic, bench.location("local", topic), schema


def killed(bench, table, member, within):
    """Kills and starts, over and over; the figures."""
    kills = max(KILLS_AT_LEAST, bench.options.kills)
    bench.generate(*filling(bench, table[1], BACKLOG), "--seed", 2)
    # Rows wait for an hour: none of the kills meets an empty topic.
    config = quiet(member(bench.config([table], max_latency="1h")))
    took = []
    run = bench.start(config)
    reading(run)
    for _ in range(kills):
        began = time.monotonic()
        run.kill()
        run.wait()
        run = bench.start(config)
        took.append(reading(run) - began)
        time.sleep(0.05)
    run.kill()
    run.wait()
    took.sort()
    p50, p99 = took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.99))]
    figure = f"{versions(table[2]):,} versions, p50 {p50:.2f} s, p99 {p99:.2f} s of {kills}"
    expect(p99 <= within or bench.options.scale < 1, figure)
    return figure


def versions(place):
    if not os.path.isdir(f"{place}/_delta_log"):
        return 0
    return len([name for name in os.listdir(f"{place}/_delta_log") if re.fullmatch(r"\d{20}\.json", name)])


def filling(bench, topic, records):
    return ["--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", records, "--partitions", PARTITIONS]


def commit_until(bench, table, count):
    """Runs until the table has so many versions: a few records each."""
    topic, place = table[1], table[2]
    bench.generate(*filling(bench, topic, 1000), "--create")
    trickle = [bench.binary("generate", "thalweg-generate"), *map(str, filling(bench, topic, 100_000_000)), "--rate", "2000"]
    trickle = subprocess.Popen(trickle, stdout=subprocess.DEVNULL)
    run = bench.start(quiet(bench.config([table], max_latency="10ms")))
    deadline = time.monotonic() + 1200
    try:
        while versions(place) < count:
            expect(run.poll() is None, f"it ended: {run.returncode}\n{tail(run)}")
            expect(time.monotonic() < deadline, f"{versions(place)} versions only\n{tail(run)}")
            time.sleep(0.1)
    finally:
        for process in (trickle, run):
            process.kill()
            process.wait()


def few(bench, table):
    commit_until(bench, table, 10)


def many(bench, table):
    commit_until(bench, table, max(200, int(COMMITS * min(1.0, bench.options.scale))))


def large(bench, table):
    """A checkpoint of a real table, with a million files more in it that nobody opens."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    commit_until(bench, table, 210)
    log = f"{table[2]}/_delta_log"
    with open(f"{log}/_last_checkpoint") as file:
        version = json.load(file)["version"]
    path = f"{log}/{version:020}.checkpoint.parquet"
    checkpoint = pq.read_table(path)
    adds = checkpoint.filter(pc.is_valid(checkpoint["add"]))
    files = max(1000, int(FILES * min(1.0, bench.options.scale)))
    with pq.ParquetWriter(f"{path}.more", checkpoint.schema, compression="zstd") as writer:
        writer.write_table(checkpoint)
        for start in range(0, files, 50_000):
            rows = adds.take(pa.array([number % adds.num_rows for number in range(50_000)])).combine_chunks()
            add = rows["add"].combine_chunks()
            fields = {add.type.field(i).name: add.field(i) for i in range(add.type.num_fields)}
            fields["path"] = pa.array([f"part-{start + number:032x}.zstd.parquet" for number in range(50_000)],
                                      fields["path"].type)
            more = pa.StructArray.from_arrays(list(fields.values()), fields=list(add.type))
            writer.write_table(rows.set_column(rows.schema.get_field_index("add"), "add", more).cast(checkpoint.schema))
    os.replace(f"{path}.more", path)
    say(f"{path}: {os.path.getsize(path) >> 20} MiB")


def drained(bench):
    """SIGTERM under full load: the drain's time, and what is read again afterwards"""
    topic = "restarts"
    schema = bench.workload(topic, "w1", RECORDS, partitions=PARTITIONS)
    figures = []
    for store in bench.options.stores:
        place = bench.location(store, bench.fresh("drained"))
        config = quiet(bench.config([(bench.fresh("drained"), topic, place, schema)], store, max_latency="10s"))
        slowest, rounds, consumed = 0.0, 0, 0
        for moment in (0.4, 0.8, 1.2):
            run = bench.start(config)
            reading(run)
            time.sleep(moment)
            expect(run.poll() is None, f"it ended\n{tail(run)}")
            address = address_of(run)
            began = time.monotonic()
            run.terminate()
            last = 0
            while run.poll() is None and time.monotonic() - began < DRAIN_SECONDS + 5:
                last = metric(address, "thalweg_records_consumed_total") or last
                time.sleep(0.005)
            took = time.monotonic() - began
            run.wait(5)
            expect(run.returncode == 0, f"SIGTERM: exit {run.returncode}\n{tail(run)}")
            expect(took <= DRAIN_SECONDS, f"the drain took {took:.1f} s")
            consumed += last
            slowest, rounds = max(slowest, took), rounds + 1
            rows = oracle("table.py", place, "--readers", "duckdb", *bench.storage(store))["rows"]
            # Whatever was read is committed: what comes after is read for the first time.
            expect(consumed == rows, f"{consumed:,.0f} records were read by now, {rows:,} are rows: {consumed - rows:,.0f} are read again")
        bench.run_to_end(quiet(bench.config([(config_id(config), topic, place, schema)], store)), 900)
        total = bench.judge(topic, place, schema, store, ["duckdb"])["rows"]
        figures.append(f"{store}: {rounds} drains under full load of at most {slowest:.1f} s, {consumed:,.0f} records read until "
                       f"then, 0 read twice, {total:,} rows exact")
        say(figures[-1])
    return "; ".join(figures)


def config_id(config):
    with open(config) as lines:
        return re.search(r'^id = "(.*)"$', lines.read(), re.M)[1]


ROWS = [restart, drained]
