"""The main job: equal rows, kills, ends, fences, refusals, readers."""
import json
import os
import re
import socket
import subprocess
import sys
import time

import lake
from bench import (REFUSE_SECONDS, TOOLS, ROOT, call, drain, expect, oracle, refused, say, tail, text_of)


def clone(bench):
    """fresh clone: the demo and tools/check"""
    clone = f"{bench.work}/clone"
    call("git", "clone", "--quiet", "--no-hardlinks", ROOT, clone)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CARGO_TARGET", "THALWEG"))}
    environment |= {"THALWEG_CACHE": f"{bench.work}/fresh-cache"}
    began = time.monotonic()
    call("cargo", "build", "--release", "--quiet", cwd=clone, env=environment)
    built = time.monotonic()
    shown = call("cargo", "run", "--release", "--quiet", "--", "demo", cwd=clone, env=environment)
    demo = time.monotonic() - built
    proof = re.search(r"produced ([\d,]+)\s+in table ([\d,]+)\s+missing 0\s+duplicate 0\s+kills 2", shown)
    expect(proof, f"the demo's proof is not in its output:\n{shown[-2000:]}")
    expect(proof[1] == proof[2], f"produced and in table differ: {proof[0]}")
    expect(demo < 45, f"the demo took {demo:.0f} s")
    began_check = time.monotonic()
    checked = call(f"{clone}/tools/check", cwd=clone, env=environment)
    minutes = (time.monotonic() - began_check) / 60
    expect(minutes < 45, f"tools/check took {minutes:.0f} minutes from cold")
    return f"build {built - began:.0f} s, demo {demo:.0f} s ({proof[1]} rows), check {minutes:.1f} min: {checked.splitlines()[-1]}"


def four_topics(bench):
    """[(id, topic, schema)]: two of W1, two of W3, 8 M records at full size."""
    sizes = {"clicks_a": ("w1", 3_000_000), "clicks_b": ("w1", 3_000_000),
             "events_a": ("w3", 1_000_000), "events_b": ("w3", 1_000_000)}
    return [(topic, bench.workload(topic, *size)) for topic, size in sizes.items()]


def four_tables(bench, store, round_name):
    topics = four_topics(bench)
    return [(f"{topic}_{round_name}", topic, bench.location(store, f"{round_name}/{topic}"), schema)
            for topic, schema in topics]


def equality(bench):
    """8 M records to local disk and to S3, every field equal"""
    figures = []
    for store in bench.options.stores:
        tables = four_tables(bench, store, bench.fresh("plain"))
        seconds = bench.run_to_end(bench.config(tables, store), 1800)
        found = [bench.judge(topic, place, schema, store, ["duckdb", "deltalake"])
                 for _, topic, place, schema in tables]
        rows, files = sum(t["rows"] for t in found), sum(t["files"] for t in found)
        figures.append(f"{store}: {rows:,} rows in {files} files, {seconds:.0f} s")
        say(figures[-1])
    return "; ".join(figures) + "; duckdb and deltalake equal in every field"


def kills(bench):
    """kill -9 at random moments"""
    figures = []
    for store in bench.options.stores:
        kills = rounds = late = 0
        slowest = 0.0
        while kills < bench.options.kills:
            rounds += 1
            tables = four_tables(bench, store, bench.fresh("killed"))
            config = bench.config(tables, store, max_latency="300ms")
            ended = False
            while kills < bench.options.kills and not ended:
                run = bench.start(config, "--until-end")
                moment = bench.random.uniform(0.02, 3.0)
                try:
                    run.wait(moment)
                except subprocess.TimeoutExpired:
                    run.kill()
                    run.wait()
                    kills += 1
                else:
                    # It was through before the moment came: this round is over, the next has fresh tables.
                    expect(run.returncode == 0, f"exit {run.returncode} after {kills} kills\n{tail(run)}")
                    ended, late = True, late + 1
            slowest = max(slowest, bench.run_to_end(config, 1800))
            for _, topic, place, schema in tables:
                bench.judge(topic, place, schema, store, ["duckdb"])
            say(f"{store} round {rounds}: {kills} kills so far, 0 missing, 0 doubled")
        figures.append(f"{store}: {kills} kills in {rounds} rounds ({late} ended before their kill)")
    return "; ".join(figures) + f"; 0 missing, 0 doubled, seed {bench.options.seed}"


def ends(bench):
    """transactions, an empty topic, a silent partition, an open transaction"""
    records = max(300, int(200_000 * bench.options.scale))
    ddl = None
    cases = {
        "aborted": ["--mode", "transactional", "--records", records],
        "holes": ["--mode", "gaps", "--records", records],
        "compacted": ["--mode", "compacted", "--records", records],
        "empty": ["--records", 0],
        "silent": ["--records", records, "--fill", 3],
    }
    for topic, arguments in cases.items():
        ddl = bench.produce(f"row4-{topic}", *arguments)
    command = [f"{TOOLS}/python", f"{ROOT}/tests/oracle/produce.py", "--brokers", bench.broker(), "--topic", "row4-open",
               "--mode", "transactional", "--records", str(records), "--leave-open"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            expect(holder.stdout.readline(), "the producer with an open transaction did not come up")
            total = 0
            for topic in [*cases, "open"]:
                name = f"row4-{topic}"
                place = bench.location("local", bench.fresh(name))
                seconds = bench.run_to_end(bench.config([(name, name, place, ddl)]), 120)
                # A cleaner may still be at work on the compacted topic: its dump comes after the run, and
                # what was compacted away in between is no row that thalweg made up.
                table = bench.judge(name, place, ddl, "local", ["duckdb"]) if topic != "compacted" else \
                    compacted(bench, name, place, ddl)
                total += table["rows"]
                say(f"{topic}: ended by itself in {seconds:.1f} s, {table['rows']:,} rows exact")
        finally:
            holder.stdin.close()
    return f"{len(cases) + 1} topics ended by themselves, {total:,} rows exact"


def compacted(bench, topic, place, ddl):
    file, _ = bench.dump(topic)
    command = [f"{TOOLS}/python", f"{ROOT}/tests/oracle/compare.py", "--dump", file, "--table", place, "--schema", ddl]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    expect(not any(result[name] for name in ("missing", "doubled", "different")), f"{place}: {result}")
    return oracle("table.py", place)


def fence(bench):
    """two ingesters with one table id"""
    rate = 20_000
    records = max(20 * rate, int(1_200_000 * bench.options.scale))
    topic = bench.fresh("row5")
    ddl = bench.generate("--workload", "w1", "--ddl").strip()
    bench.generate("--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", 1000,
                   "--partitions", 4, "--codec", "lz4", "--seed", 7, "--create")
    place = bench.location("local", topic)
    config = bench.config([("contested", topic, place, ddl)], max_latency="500ms")
    load = subprocess.Popen([bench.binary("generate", "thalweg-generate"), "--brokers", bench.broker(), "--topic", topic,
                             "--workload", "w1", "--records", str(records), "--partitions", "4", "--rate", str(rate)],
                            stdout=subprocess.DEVNULL)
    runs = [bench.start(config), bench.start(config)]
    try:
        deadline = time.monotonic() + 120
        while all(run.poll() is None for run in runs):
            expect(time.monotonic() < deadline, f"after 120 s neither is fenced\n{tail(runs[0])}\n{tail(runs[1])}")
            time.sleep(0.05)
        loser, winner = sorted(runs, key=lambda run: run.poll() is None)
        expect(loser.returncode == 75, f"exit {loser.returncode}, not 75\n{tail(loser)}")
        said = text_of(loser)
        expect(str(winner.pid) in said and socket.gethostname() in said,
               f"the fenced one does not name the other (pid {winner.pid})\n{tail(loser)}")
        expect(load.wait(300) == 0, "the load generator failed")
        expect(winner.poll() is None, f"the other ended, too: exit {winner.poll()}\n{tail(winner)}")
        seconds = drain(winner)
    finally:
        for process in [*runs, load]:
            if process.poll() is None:
                process.kill()
                process.wait()
    bench.run_to_end(config, 300)
    table = bench.judge(topic, place, ddl, "local", ["duckdb"])
    return f"one exited 75 and named pid {winner.pid}, the other drained in {seconds:.1f} s; {table['rows']:,} rows exact"


def refusals(bench):
    """what goes wrong at start"""
    ddl = bench.produce("row6", "--records", 1000)
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))  # bound and never listening: nobody else gets it, every connection is refused
    nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    place = lambda: bench.location("local", bench.fresh("row6"))  # noqa: E731
    seconds = []

    at = place()
    config = bench.config([("row6", "row6", at, ddl)], brokers=nobody)
    seconds.append(refused(bench, "unreachable broker", config, 69, [nobody], place=at))
    at = place()
    config = bench.config([("row6", "row6-nowhere", at, ddl)])
    seconds.append(refused(bench, "unknown topic", config, 69, ["row6-nowhere"], place=at))
    at = place()
    config = bench.config([("row6", "row6", at, ddl)], max_latncy="1s")
    seconds.append(refused(bench, "misspelt key", config, 78, ["max_latncy", "max_latency"], place=at))
    config = bench.config([("row6", "row6", "s3://no-such-bucket/row6", ddl)], "s3")
    seconds.append(refused(bench, "missing bucket", config, 69, ["no-such-bucket"]))
    seconds.append(malformed(bench, place()))
    losing_store(bench, ddl)
    closed.close()
    return f"5 refusals, the slowest after {max(seconds):.1f} s; s3mock refused, s3proxy accepted"


def malformed(bench, place):
    """One broken record in the middle: exit 65 naming it, and a table with nothing from it on."""
    topic = bench.fresh("row6-malformed")
    ddl = bench.produce(topic, "--records", 500, "--partitions", 1)
    bench.produce(topic, "--records", 1, "--partitions", 1, "--mode", "malformed", "--bad", 1000)
    bench.produce(topic, "--records", 500, "--partitions", 1)
    config = bench.config([("row6", topic, place, ddl)], on_bad_record="fail")
    # `check` looks at a sample, which need not hold the record.
    seconds = refused(bench, "malformed record", config, 65, [topic, "500"], also_check=False)
    if os.path.exists(f"{place}/_delta_log"):
        table = oracle("table.py", place)
        expect(table["rows"] <= 500 and all(at <= 500 for at in table["offsets"].values()),
               f"the table goes past the broken record: {table}")
    return seconds


def losing_store(bench, ddl):
    """A store that loses put-if-absent races is refused at start with 73."""
    directory = f"{bench.work}/{bench.fresh('s3mock')}"
    line = call(f"{TOOLS}/s3", "start", "--server", "s3mock", "--dir", directory, "--while", os.getpid())
    try:
        call(f"{TOOLS}/s3", "bucket", "--dir", directory, "lake")
        endpoint = line.split()[0].removeprefix("endpoint=")
        config = bench.config([("row6", "row6", "s3://lake/row6", ddl)], "s3", endpoint=endpoint)
        refused(bench, "s3mock", config, 73, [])
    finally:
        call(f"{TOOLS}/s3", "stop", "--dir", directory)
    place = bench.location("s3", bench.fresh("row6"))
    bench.run_to_end(bench.config([("row6", "row6", place, ddl)], "s3"), 120)
    bench.judge("row6", place, ddl, "s3", ["duckdb"])


def faster(bench):
    """ahead of the plain pipeline"""
    file = f"{bench.work}/bench.json"
    scale = bench.options.scale
    shown = call(f"{TOOLS}/bench/run", "--json", file, "--dir", bench.work,
                 "--w1", max(10_000, int(3_000_000 * scale)), "--w3", max(2_000, int(500_000 * scale)))
    print(shown, file=sys.stderr)
    with open(file) as text:
        ratios = {workload: result["ratio"]["median"] for workload, result in json.load(text).items()}
    expect(all(ratio > 1 for ratio in ratios.values()), f"thalweg / plain per CPU-second: {ratios}")
    return "thalweg / plain, records per CPU-second, median: " + ", ".join(f"{w} {r:.2f}" for w, r in ratios.items())


def readers(bench):
    """every reader opens the tables"""
    figures = []
    for topic, workload, records in (("row8_w1", "w1", 300_000), ("row8_w3", "w3", 100_000)):
        schema = bench.workload(topic, workload, records)
        for store in bench.options.stores:
            place = bench.location(store, bench.fresh(topic))
            bench.run_to_end(bench.config([(topic, topic, place, schema)], store, max_latency="1s"), 300)
            table = bench.judge(topic, place, schema, store, ["duckdb", "deltalake", "polars"])
            if store == "local":
                spark = json.loads(call(f"{TOOLS}/python", "--spark", f"{ROOT}/tests/oracle/spark.py", place,
                                        stderr=subprocess.DEVNULL).splitlines()[-1])
                sums = lake.duck().execute(f"SELECT count(*), sum(_offset) FROM delta_scan({lake.literal(place)})")
                expect((spark["count"], int(spark["sum _offset"])) == tuple(map(int, sums.fetchone())),
                       f"Spark {spark['spark']} counts {spark}")
                figures.append(f"Spark {spark['spark']} {spark['count']:,}")
            figures.append(f"{workload} on {store} {table['rows']:,}")
            say(figures[-1])
    return "rows: " + ", ".join(figures) + "; statistics equal the data"


ROWS = [clone, equality, kills, ends, fence, refusals, faster, readers]
