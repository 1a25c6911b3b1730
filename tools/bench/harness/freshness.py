"""How old a row is when an independent reader can first see it.

An open-loop producer sends on schedule and writes the time at which each
record was meant to be sent, whatever became of the ones before it. A reader
looks at the table's log every few milliseconds and notes when each version
appeared. After the run the versions' files say which records those were. Owns
that, and the quantiles; the table is compared with its topic like any other.
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import peers
from harness import plot, watch
from harness.judge import judge
from harness.rounds import where
from harness.tools import BENCH, TOOLS, Failed, Generator, Services, Tools, call, machine, say

QUANTILES = (0.5, 0.99, 0.999, 1.0)

# Store, records a second, and what is asked for: p50 and p99 in milliseconds.
CASES = {
    "disk-20k": ("disk", 20_000, (25, 100)),
    "disk-200k": ("disk", 200_000, (50, 250)),
    "s3-20k": ("s3", 20_000, (350, 1_000)),
}
S3_WRITE_S = 0.075


def measure(options, scratch):
    tools, before = Tools(options.build), machine()
    thalweg = peers.load("thalweg")
    versions = thalweg.prepare(tools)
    with Services(scratch, options.brokers) as services:
        generator = Generator(tools, services.brokers())
        cases = {}
        for name in options.cases:
            runs = []
            for number in range(options.rounds):
                run = Run(options, scratch, services, generator, f"{name}-{number}", CASES[name])
                runs.append(run.measure(thalweg))
                say(f"{name}: {line(runs[-1])}")
            cases[name] = {"runs": runs, "target_ms": CASES[name][2], "store": CASES[name][0], "rate": CASES[name][1]}
    return {
        "kind": "freshness",
        "machine": before,
        "versions": versions,
        "settings": {"max_latency": options.max_latency, "poll_ms": options.poll_ms, "warm_up_s": options.warm_up,
                     "duration_s": options.duration, "cores": options.cores, "s3_write_s": S3_WRITE_S},
        "cases": cases,
    }


class Run:
    """One case: its topic, its table, the reader and the producer."""

    def __init__(self, options, scratch, services, generator, name, case):
        self.options, self.generator, self.name = options, generator, name
        self.store, self.rate, _ = case
        self.scratch = scratch / name
        self.scratch.mkdir()
        self.topic = f"fresh-{name}-{os.getpid()}"
        if self.store == "s3":
            endpoint = services.s3()
            slow = services.slow_s3("rate=1", "kinds=slow", f"slow={S3_WRITE_S}", "only=^PUT ")
            self.location, self.storage = f"s3://lake/{self.topic}", [f"endpoint={endpoint}"]
            self.seen_at, self.config = f"{endpoint}/lake/{self.topic}", storage_options(slow)
        else:
            self.location, self.storage = self.scratch / "table", []
            self.seen_at, self.config = self.location, ""

    def measure(self, thalweg):
        empty = self.generator.words(self.topic, "w1", 0, self.options.partitions)
        call(*empty)
        schema = self.generator.schema("w1")
        watcher = self.start("reader", sys.executable, BENCH / "harness" / "watch.py", self.seen_at,
                             "--poll-ms", self.options.poll_ms, "--out", self.scratch / "seen")
        config = self.scratch / "thalweg.toml"
        job = peers.Job(self.generator.brokers, self.topic, schema, self.location, self.scratch, self.options.cores, 1, 128 << 20)
        config.write_text(thalweg.configuration(job, self.options.max_latency, self.config))
        ingester = self.start("thalweg", thalweg.binary, "run", "-c", config)
        try:
            self.await_versions(1, ingester)
            sent, cost = self.produce(ingester)
            self.await_offsets({n: found["offset_next"] for n, found in sent["partitions"].items()}, ingester)
            stop(ingester)
            if ingester.returncode != 0:
                raise Failed(f"thalweg ended with {ingester.returncode}:\n{self.log('thalweg')}")
            time.sleep(0.1)  # the reader's next look
        finally:
            for process in (ingester, watcher):
                stop(process)
        table = judge("thalweg", sent, self.location, schema, self.storage)
        return self.latencies() | cost | {"versions": table["version"] + 1, "files": table["files"], "rows": table["rows"]}

    def start(self, name, *words):
        with open(self.scratch / f"{name}.log", "w") as log:
            return subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self, name):
        return (self.scratch / f"{name}.log").read_text(errors="replace")[-3000:]

    def await_versions(self, count, ingester):
        deadline = time.monotonic() + 60
        seen = self.scratch / "seen"
        while not (seen.exists() and seen.stat().st_size > 0 and seen.read_text().count("\n") >= count):
            if ingester.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"thalweg made no table:\n{self.log('thalweg')}")
            time.sleep(0.05)

    def await_offsets(self, ends, ingester):
        """Until the table's own offsets are the topic's ends."""
        read, version, reached = watch.reader(str(self.seen_at)), 0, {}
        deadline = time.monotonic() + 120
        while reached != ends:
            actions = read(version)
            if actions is None:
                if ingester.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"thalweg stands at {reached}, not at {ends}:\n{self.log('thalweg')}")
                time.sleep(0.05)
                continue
            for action in map(json.loads, actions.splitlines()):
                if "txn" in action:
                    partition = action["txn"]["appId"].rpartition("/")[2]
                    if partition in ends:
                        reached[partition] = action["txn"]["version"]
            version += 1

    def produce(self, ingester):
        """What was sent, and thalweg's CPU time meanwhile; the warm-up is in neither's quantiles."""
        records = int(self.rate * (self.options.warm_up + self.options.duration))
        words = self.generator.words(self.topic, "w1", records, self.options.partitions, more=["--rate", self.rate])
        words.remove("--create")
        began, spent = time.monotonic(), cpu_s(ingester.pid)
        self.began_ms = time.time() * 1e3
        sent = json.loads(call(*words))
        wall = time.monotonic() - began
        cost = {"cpu_share": (cpu_s(ingester.pid) - spent) / wall, "rss_max_bytes": peak_memory(ingester.pid),
                "behind_s": sent["seconds"] - records / self.rate}
        return sent, cost

    def latencies(self):
        """Quantiles over the rows that were due after the warm-up."""
        words = [TOOLS / "python", BENCH / "seen.py", self.location]
        rows_of = call(*words, *[word for pair in self.storage for word in ("--storage", pair)])
        seen = dict(line.split() for line in (self.scratch / "seen").read_text().splitlines())
        from_ms = self.began_ms + self.options.warm_up * 1e3
        counts, commits = {}, 0
        for text in rows_of.splitlines():
            version = json.loads(text)
            at = seen.get(str(version["version"]))
            if at is None:
                raise Failed(f"version {version['version']} was never seen by the reader")
            commits += 1
            for sent_ms, rows in version["sent_ms"].items():
                if float(sent_ms) >= from_ms:
                    latency = float(at) - float(sent_ms)
                    counts[latency] = counts.get(latency, 0) + rows
        found = quantiles(counts)
        return {"quantiles_ms": dict(zip(map(str, QUANTILES), found)), "rows_measured": sum(counts.values()),
                "commits": commits}


def storage_options(endpoint):
    keys = {"endpoint": endpoint, "access_key_id": "test", "secret_access_key": "testtest1", "region": "us-east-1",
            "allow_http": "true"}
    return "[storage.options]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def quantiles(counts):
    """Nearest rank, of values counted."""
    total, passed, found = sum(counts.values()), 0, []
    if not total:
        raise Failed("no row was due after the warm-up")
    wanted = [max(1, -(-total * round(q * 1000) // 1000)) for q in QUANTILES]
    for value in sorted(counts):
        passed += counts[value]
        while len(found) < len(wanted) and passed >= wanted[len(found)]:
            found.append(value)
    return found


def cpu_s(process):
    with open(f"/proc/{process}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(process):
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# ---- figures ----------------------------------------------------------------------------------------------------


def line(run):
    p50, p99, p999, most = (run["quantiles_ms"][str(q)] for q in QUANTILES)
    return (
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, p99.9 {p999:.0f} ms, max {most:.0f} ms; {run['cpu_share'] * 100:.0f} % of a "
        f"core, {run['commits']} commits, {run['rss_max_bytes'] / 1e6:.0f} MB, producer {run['behind_s']:.2f} s behind"
    )


def text(result):
    lines = [""]
    for name, case in result["cases"].items():
        p50, p99 = case["target_ms"]
        lines.append(f"{name}, asked for p50 {p50} ms, p99 {p99} ms")
        lines += [f"  {line(run)}" for run in case["runs"]]
    return "\n".join(lines)


def described(name, result):
    case = result["cases"][name]
    store = "local disk, synced" if case["store"] == "disk" else f"S3, {result['settings']['s3_write_s'] * 1e3:.0f} ms a write"
    return f"{store}, {case['rate']:,} rec/s"


def middle(runs, quantile):
    return statistics.median(run["quantiles_ms"][str(quantile)] for run in runs)


def markdown(result):
    lines = ["| store and rate | p50 ms | p99 ms | p99.9 ms | max ms | CPU, of one core | commits a second | peak RSS |",
             "|---|---|---|---|---|---|---|---|"]
    for name, case in result["cases"].items():
        runs = case["runs"]
        seconds = result["settings"]["warm_up_s"] + result["settings"]["duration_s"]
        quantile = [f"{middle(runs, q):,.0f}" for q in QUANTILES]
        share = statistics.median(run["cpu_share"] for run in runs) * 100
        rate = statistics.median(run["commits"] for run in runs) / seconds
        memory = max(run["rss_max_bytes"] for run in runs) / 1e6
        lines.append(f"| {described(name, result)} | {' | '.join(quantile)} | {share:.0f} % | {rate:.0f} | {memory:.0f} MB |")
    settings = result["settings"]
    lines += ["", f"`max_latency = \"{settings['max_latency']}\"`, {settings['cores']} shards, {settings['duration_s']} s "
              f"after {settings['warm_up_s']} s of warm-up; the reader looks every {settings['poll_ms']:g} ms. Medians of "
              f"{len(next(iter(result['cases'].values()))['runs'])} runs, each table equal to its topic. {where(result)}"]
    return "\n".join(lines)


def plots(result):
    rows = []
    for name, case in result["cases"].items():
        p50, p99 = middle(case["runs"], 0.5), middle(case["runs"], 0.99)
        rows.append((name, p50, p50, p99, f"{p50:,.0f} / {p99:,.0f} ms"))
    note = "milliseconds from the intended send time to an independent reader; bar p50, whisker p99"
    return {"freshness": plot.bars("Freshness", note, rows, own="")}
