"""Binaries, interpreters, services and small commands.

Owns how a thing is made or started; what is measured with it is not its
business. Everything that it starts ends with this process.
"""
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
TOOLS = BENCH.parent
ROOT = TOOLS.parent


class Failed(Exception):
    """A run that cannot go on; its text is for a person."""


def call(*command, cwd=None, environment=None):
    """What the command prints; Failed if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)[:500]}: exit code {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def say(text):
    print(text, file=sys.stderr, flush=True)


class Tools:
    """What a peer may ask for while it prepares itself."""

    def __init__(self, build):
        self.build = build
        self.made = {}

    def fail(self, reason):
        raise Failed(reason)

    def binary(self, package, name):
        """A release binary of this workspace, built alone: built together, packages would share features."""
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        if name not in self.made:
            if self.build:
                say(f"building {name} (release)")
                call("cargo", "build", "--release", "--quiet", "--locked", "-p", package, "--bin", name, cwd=ROOT)
            self.made[name] = target / "release" / name
        if not self.made[name].exists():
            raise Failed(f"{self.made[name]} is missing: cargo build --release -p {package} --bin {name}")
        return self.made[name]

    def locked(self, *crates):
        """Versions in Cargo.lock."""
        text = (ROOT / "Cargo.lock").read_text()
        found = dict(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', text))
        return {crate: found[crate] for crate in crates if crate in found}

    def python(self, environment="default"):
        """The interpreter of `default` (tools/requirements.txt) or `spark` (requirements-spark.txt)."""
        more = [] if environment == "default" else [f"--{environment}"]
        return Path(call(TOOLS / "python", "--where", *more).strip()) / "bin" / "python"

    def packages(self, interpreter, *names):
        code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
        return json.loads(call(interpreter, "-c", code, *names))

    def spark_jars(self):
        """Delta's and Kafka's jars for Spark, fetched once."""
        location = ROOT / "tests" / "oracle" / "spark.py"
        specification = importlib.util.spec_from_file_location("oracle_spark", location)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return [Path(jar) for jar in module.jars()]


class Services:
    """A broker, an S3 server, a proxy in front of it: started when asked for, stopped together."""

    def __init__(self, directory, brokers=None):
        self.directory, self.given = directory, brokers
        self.running = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in reversed(list(self.running)):
            subprocess.run([TOOLS / name, "stop", "--dir", self.directory / name])

    def start(self, name, *arguments):
        if name not in self.running:
            words = ["start", "--dir", self.directory / name, "--while", os.getpid(), *arguments]
            self.running[name] = dict(word.split("=", 1) for word in call(TOOLS / name, *words).split())
        return self.running[name]

    def brokers(self):
        return self.given or self.start("kafka")["bootstrap"]

    def s3(self):
        endpoint = self.start("s3")["endpoint"]
        call(TOOLS / "s3", "bucket", "--dir", self.directory / "s3", "lake")
        return endpoint

    def slow_s3(self, *settings):
        """S3 behind a proxy with these settings of tools/faults."""
        endpoint = self.start("faults", "--upstream", self.s3())["endpoint"]
        call(TOOLS / "faults", "set", "--dir", self.directory / "faults", *settings)
        return endpoint


class Generator:
    """The load generator and the topics that it filled."""

    def __init__(self, tools, brokers):
        self.binary, self.brokers = tools.binary("thalweg-generate", "generate"), brokers

    def schema(self, workload):
        return call(self.binary, "--workload", workload, "--ddl").strip()

    def words(self, topic, workload, records, partitions, codec="lz4", seed=42, more=()):
        return [
            *[self.binary, "--brokers", self.brokers, "--topic", topic, "--create", "--workload", workload],
            *["--records", records, "--partitions", partitions, "--codec", codec, "--seed", seed, *more],
        ]

    def fill(self, topic, workload, records, partitions, **options):
        """What the topic holds now: rows and checksum of each partition, bytes, codec."""
        sent = json.loads(call(*self.words(topic, workload, records, partitions, **options)))
        say(f"{topic}: {sent['records']:,} records of {sent['bytes'] / sent['records']:.0f} B")
        return sent


def machine():
    """What the figures were made on, for those who read them."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": model.group(1).strip() if model else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory.group(1)) * 1024,
        "kernel": os.uname().release,
        "load_before": os.getloadavg()[0],
    }
