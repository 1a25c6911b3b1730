"""What acceptance rows share: services, binaries, topics, configs, runs, and the judges.

Owns: starting and stopping what a row needs, once for all rows. It does not
decide what a row shows: that is in the row's own file.
"""
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = f"{ROOT}/tools"
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
    command = [f"{TOOLS}/python", f"{ROOT}/tests/oracle/{script}", *map(str, arguments)]
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

    def criterion(self, name):
        """The program of a bench, which also measures what a bench cannot."""
        given = getattr(self.options, f"{name}_bench")
        if given:
            return os.path.abspath(given)
        say(f"building the bench {name} (release)")
        os.environ.setdefault("CARGO_TARGET_DIR", cache("target"))
        built = call("cargo", "bench", "--quiet", "--locked", "--bench", name, "--no-run", "--message-format=json", cwd=ROOT)
        messages = (json.loads(line) for line in built.splitlines())
        return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == name)

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

    def workload(self, topic, workload, records, *more, partitions=4):
        """A topic of the load generator, filled once, and its schema."""
        records = max(1000, int(records * self.options.scale))
        marker = f"{self.work}/topic-{topic}"
        broker = self.broker()
        if not os.path.exists(marker):
            say(f"filling {topic}: {records:,} records of {workload}")
            self.generate("--brokers", broker, "--topic", topic, "--workload", workload, "--records", records,
                          "--partitions", partitions, "--codec", "lz4", "--seed", self.options.seed, "--create", *more)
            open(marker, "w").close()
        return self.generate("--workload", workload, "--ddl").strip()

    def produce(self, topic, *arguments):
        oracle("produce.py", "--brokers", self.broker(), "--topic", topic, *arguments)
        return call(f"{TOOLS}/python", f"{ROOT}/tests/oracle/produce.py", "--ddl").strip()

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


def quiet(config):
    """Two shards that are not pinned, the least memory: the kill is measured, not the machine."""
    with open(config) as lines:
        text = lines.read()
    with open(config, "w") as out:
        out.write(text.replace("[[table]]", '[limits]\ncores = 2\npin = false\nmemory = "160MiB"\n[admin]\nlisten = '
                               '"127.0.0.1:0"\n[[table]]', 1))
    return config
