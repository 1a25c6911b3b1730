"""Shows at full size that thalweg does what it promises: real Kafka, real S3, independent readers.

  tools/accept            every row
  tools/accept 2 3        rows 2 and 3
  tools/accept 3 --scale 0.01 --kills 3    a quick look

  1  fresh clone: the demo and tools/check
  2  4 tables x 4 partitions, 8 M records of W1 and W3, lz4, to local disk and to S3: every field equal
  3  the same with kill -9 at 20 random moments: nothing missing, nothing doubled
  4  aborted transactions, an empty topic, a silent partition, an open transaction; --until-end ends by itself
  5  two ingesters with one table id: one goes on, the other says by whom it is fenced, exit 75
  6  what goes wrong at start: the right words and exit code within 15 s, no panic, no partial table
  7  ahead of the plain pipeline on W1 and W3 (tools/bench/run)
  8  DuckDB, Polars, deltalake and Spark open the tables; statistics equal the data

Builds thalweg and the load generator (release) unless --thalweg and
--generate name them. Each row prints PASS or FAIL with its figures, each case
a line on stderr. State is kept in --work, and in a temporary directory
removed at the end without it (unless something failed). Exit 0 when every
row passed.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import lake

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(TOOLS)
COMPARED = ("missing", "doubled", "extra", "different")
DRAIN_SECONDS, REFUSE_SECONDS = 10, 15


class Failure(Exception):
    """The program under test did not do what it should."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def call(*command, **options):
    """A command that has to succeed; returns what it printed."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise Failure(f"exit {done.returncode}: {' '.join(map(str, command))[:300]}\n{done.stdout[-2000:]}")
    return done.stdout


def oracle(script, *arguments):
    """An oracle's JSON line; its findings are a Failure with the examples that it printed."""
    command = [f"{TOOLS}/python", f"{TOOLS}/oracle/{script}", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 0, f"{script} {arguments[:2]}: exit {done.returncode}\n{done.stdout}{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def toml(value):
    return json.dumps(value)  # a JSON string or number is a TOML one, too


class Bench:
    """The services, binaries and topics that the rows share; made when first asked for."""

    def __init__(self, options, work):
        self.options, self.work = options, work
        self.random = random.Random(options.seed)
        self._binaries, self._broker, self._s3, self._dumps = {}, None, None, {}
        self.number = 0

    # -- binaries

    def binary(self, name, package):
        given = getattr(self.options, name)
        if given:
            return os.path.abspath(given)
        if name not in self._binaries:
            say(f"building {name} (release)")
            target = os.environ.setdefault("CARGO_TARGET_DIR", cache("target"))
            call("cargo", "build", "--release", "--quiet", "--locked", "-p", package, "--bin", name, cwd=ROOT)
            self._binaries[name] = f"{target}/release/{name}"
        return self._binaries[name]

    def thalweg(self):
        return self.binary("thalweg", "thalweg")

    def generate(self, *arguments):
        return call(self.binary("generate", "thalweg-generate"), *arguments)

    # -- services

    def broker(self):
        if self._broker is None:
            line = call(f"{TOOLS}/kafka", "start", "--dir", f"{self.work}/kafka", "--while", os.getpid())
            self._broker = line.split()[0].removeprefix("bootstrap=")
        return self._broker

    def s3(self):
        if self._s3 is None:
            line = call(f"{TOOLS}/s3", "start", "--dir", f"{self.work}/s3", "--while", os.getpid())
            self._s3 = line.split()[0].removeprefix("endpoint=")
            call(f"{TOOLS}/s3", "bucket", "--dir", f"{self.work}/s3", "lake")
        return self._s3

    def stop(self):
        for tool, running in (("kafka", self._broker), ("s3", self._s3)):
            if running:
                subprocess.run([f"{TOOLS}/{tool}", "stop", "--dir", f"{self.work}/{tool}"])

    # -- topics

    def workload(self, topic, workload, records, *more):
        """A topic of the load generator, filled once, and its schema."""
        records = max(1000, int(records * self.options.scale))
        marker = f"{self.work}/topic-{topic}"
        broker = self.broker()
        if not os.path.exists(marker):
            say(f"filling {topic}: {records:,} records of {workload}")
            self.generate("--brokers", broker, "--topic", topic, "--workload", workload, "--records", records,
                          "--partitions", 4, "--codec", "lz4", "--seed", self.options.seed, "--create", *more)
            open(marker, "w").close()
        return self.generate("--workload", workload, "--ddl").strip()

    def produce(self, topic, *arguments):
        oracle("produce.py", "--brokers", self.broker(), "--topic", topic, *arguments)
        return call(f"{TOOLS}/python", f"{TOOLS}/oracle/produce.py", "--ddl").strip()

    def dump(self, topic):
        if topic not in self._dumps:
            file = f"{self.work}/dump-{topic}.parquet"
            found = oracle("dump.py", "--brokers", self.broker(), "--topic", topic, "--out", file)
            self._dumps[topic] = (file, found)
        return self._dumps[topic]

    # -- configs and runs

    def fresh(self, name):
        self.number += 1
        return f"{name}-{self.number}"

    def location(self, store, name):
        return f"s3://lake/{name}" if store == "s3" else f"{self.work}/tables/{name}"

    def storage(self, store):
        return ["--storage", f"endpoint={self.s3()}"] if store == "s3" else []

    def config(self, tables, store="local", brokers=None, endpoint=None, **defaults):
        """A config file for tables [(id, topic, location, schema)]; `defaults` go to every table."""
        lines = ["version = 1", "[kafka]", f"brokers = {toml(brokers or self.broker())}"]
        if store == "s3":
            keys = {"endpoint": endpoint or self.s3(), "access_key_id": "test", "secret_access_key": "testtest1",
                    "region": "us-east-1", "allow_http": "true"}
            lines += ["[storage.options]"] + [f"{key} = {toml(value)}" for key, value in keys.items()]
        for table_id, topic, place, schema in tables:
            keys = {"id": table_id, "topic": topic, "location": place, "schema": schema} | defaults
            lines += ["[[table]]"] + [f"{key} = {toml(value)}" for key, value in keys.items() if value is not None]
        file = f"{self.work}/{self.fresh('config')}.toml"
        with open(file, "w") as out:
            out.write("\n".join(lines) + "\n")
        return file

    def start(self, config, *arguments):
        log = f"{self.work}/{self.fresh('run')}.log"
        with open(log, "w") as out:
            run = subprocess.Popen([self.thalweg(), "run", "-c", config, *arguments], stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out)
        run.log = log
        return run

    def run_to_end(self, config, seconds):
        began = time.monotonic()
        run = self.start(config, "--until-end")
        wait(run, seconds)
        expect(run.returncode == 0, f"run --until-end: exit {run.returncode}\n{tail(run)}")
        return time.monotonic() - began

    def judge(self, topic, place, schema, store, readers, *more):
        """The table against the dump of its topic with each reader, then its log and files; returns the rows."""
        file, found = self.dump(topic)
        for reader in readers:
            result = oracle("compare.py", "--dump", file, "--table", place, "--schema", schema, "--reader", reader,
                            *self.storage(store), *more)
            expect(not any(result[name] for name in COMPARED), f"{place}: {result}")
        table = oracle("table.py", place, *self.storage(store))
        expect(table["rows"] == result["rows"], f"{place}: {table['rows']} rows in files, {result['rows']} read")
        for app_id, at in table["offsets"].items():
            end = found["partitions"][app_id.rsplit("/", 1)[1]]["end"]
            expect(at == end, f"{place}: {app_id} stands at {at}, the last stable offset is {end}")
        verified = subprocess.run([self.thalweg(), "table", "verify", place, *self.verify_storage(store)],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        expect(verified.returncode == 0, f"table verify {place}: exit {verified.returncode}\n{verified.stdout[-2000:]}")
        return table

    def verify_storage(self, store):
        if store != "s3":
            return []
        keys = {"endpoint": self.s3(), "access_key_id": "test", "secret_access_key": "testtest1",
                "region": "us-east-1", "allow_http": "true"}
        return [part for key, value in keys.items() for part in ("--storage", f"{key}={value}")]


def cache(name):
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(os.environ.get("THALWEG_CACHE") or f"{home}/thalweg", name)


def tail(run, lines=15):
    with open(run.log, errors="replace") as log:
        text = log.readlines()
    return f"{run.log}:\n" + "".join(text[-lines:])


def text_of(run):
    with open(run.log, errors="replace") as log:
        return log.read()


def wait(run, seconds):
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
        raise Failure(f"still running after {seconds} s\n{tail(run)}") from None


def drain(run):
    """SIGTERM, and the exit that has to follow within 10 s."""
    began = time.monotonic()
    run.send_signal(signal.SIGTERM)
    wait(run, DRAIN_SECONDS)
    expect(run.returncode == 0, f"SIGTERM: exit {run.returncode}\n{tail(run)}")
    return time.monotonic() - began


# ---- rows --------------------------------------------------------------------------------------------------------


def row_1(bench):
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


def row_2(bench):
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


def row_3(bench):
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


def row_4(bench):
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
    command = [f"{TOOLS}/python", f"{TOOLS}/oracle/produce.py", "--brokers", bench.broker(), "--topic", "row4-open",
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
    command = [f"{TOOLS}/python", f"{TOOLS}/oracle/compare.py", "--dump", file, "--table", place, "--schema", ddl]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    expect(not any(result[name] for name in ("missing", "doubled", "different")), f"{place}: {result}")
    return oracle("table.py", place)


def row_5(bench):
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


def refused(bench, case, config, code, words, also_check=True, place=None):
    """`run` (and `check`) end within 15 s with the code and the words, without a panic or a table."""
    began = time.monotonic()
    run = bench.start(config, "--until-end")
    wait(run, REFUSE_SECONDS)
    seconds = time.monotonic() - began
    said = text_of(run)
    expect(run.returncode == code, f"{case}: exit {run.returncode}, not {code}\n{tail(run)}")
    expect("panicked" not in said, f"{case}: a panic\n{tail(run)}")
    for word in words:
        expect(word in said, f"{case}: `{word}` is not said\n{tail(run)}")
    if also_check:
        checked = subprocess.run([bench.thalweg(), "check", "-c", config], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, timeout=4 * REFUSE_SECONDS)
        expect(checked.returncode == code, f"{case}: check says {checked.returncode}, run {code}\n{checked.stdout}")
    if place:
        expect(not os.path.exists(f"{place}/_delta_log"), f"{case}: a table was left in {place}")
    say(f"{case}: exit {code} after {seconds:.1f} s")
    return seconds


def row_6(bench):
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


def row_7(bench):
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


def row_8(bench):
    """every reader opens the tables"""
    figures = []
    for topic, workload, records in (("row8_w1", "w1", 300_000), ("row8_w3", "w3", 100_000)):
        schema = bench.workload(topic, workload, records)
        for store in bench.options.stores:
            place = bench.location(store, bench.fresh(topic))
            bench.run_to_end(bench.config([(topic, topic, place, schema)], store, max_latency="1s"), 300)
            table = bench.judge(topic, place, schema, store, ["duckdb", "deltalake", "polars"])
            if store == "local":
                spark = json.loads(call(f"{TOOLS}/python", "--spark", f"{TOOLS}/oracle/spark.py", place,
                                        stderr=subprocess.DEVNULL).splitlines()[-1])
                sums = lake.duck().execute(f"SELECT count(*), sum(_offset) FROM delta_scan({lake.literal(place)})")
                expect((spark["count"], int(spark["sum _offset"])) == tuple(map(int, sums.fetchone())),
                       f"Spark {spark['spark']} counts {spark}")
                figures.append(f"Spark {spark['spark']} {spark['count']:,}")
            figures.append(f"{workload} on {store} {table['rows']:,}")
            say(figures[-1])
    return "rows: " + ", ".join(figures) + "; statistics equal the data"


ROWS = {number: globals()[f"row_{number}"] for number in range(1, 9)}


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW", help="1 to 8; none: all")
    parser.add_argument("--work", metavar="DIR", help="keep everything there")
    parser.add_argument("--thalweg", metavar="BINARY")
    parser.add_argument("--generate", metavar="BINARY")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of records")
    parser.add_argument("--kills", type=int, default=20, help="of row 3, on each store")
    parser.add_argument("--stores", type=lambda text: text.split(","), default=["local", "s3"], help="local,s3")
    parser.add_argument("--seed", type=int, default=20261122)
    options = parser.parse_args()
    rows = options.rows or list(ROWS)
    if set(rows) - set(ROWS):
        parser.error("rows are 1 to 8")
    work = os.path.abspath(options.work) if options.work else tempfile.mkdtemp(prefix="thalweg-accept-")
    os.makedirs(f"{work}/tables", exist_ok=True)
    bench, failed = Bench(options, work), []
    try:
        for number in rows:
            began = time.monotonic()
            try:
                outcome, text = "PASS", ROWS[number](bench)
            except (Failure, subprocess.TimeoutExpired) as failure:
                outcome, text = "FAIL", str(failure)
                failed.append(number)
            print(f"{outcome} {number}  {text}  ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        bench.stop()
        if options.work or failed:
            print(f"kept {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{len(rows) - len(failed)} of {len(rows)} rows passed" + (f", failed: {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    lake.run(main)
