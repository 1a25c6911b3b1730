"""A store that fails: every twentieth request refused, answered with 500 or cut, stops in between, an outage."""
import json
import os
import subprocess
import time
import urllib.error
import urllib.request

from bench import ROOT, TOOLS, call, drain, expect, oracle, say, tail, text_of, wait

KINDS = ["503", "500", "500-after", "cut-before", "cut-request", "cut-after", "cut-reply"]
# Kinds whose request took effect although nobody was told.
LANDED = {"500-after", "cut-after", "cut-reply"}


def faults(bench):
    """2 M records to S3 while every twentieth request fails"""
    records = 2_000_000
    schema = bench.workload("faults", "w1", records)
    endpoint, directory = proxy(bench)
    try:
        return under_faults(bench, schema, endpoint, directory)
    finally:
        call(f"{TOOLS}/faults", "stop", "--dir", directory)


def proxy(bench):
    directory = f"{bench.work}/faults"
    upstream = bench.s3()
    line = call(f"{TOOLS}/faults", "start", "--dir", directory, "--upstream", upstream, "--while", os.getpid(),
                f"seed={bench.options.seed}")
    return line.split()[0].removeprefix("endpoint="), directory


def settings(directory, *pairs):
    call(f"{TOOLS}/faults", "set", "--dir", directory, *pairs)


def under_faults(bench, schema, endpoint, directory):
    name = bench.fresh("faults")
    small, large = (bench.location("s3", f"{name}/{size}") for size in ("small", "large"))
    # Small files make many puts and commits; large ones go in parts.
    configs = [bench.config([(f"{name}-small", "faults", small, schema)], "s3", endpoint=endpoint,
                            max_latency="200ms", target_file_size="1MiB"),
               bench.config([(f"{name}-large", "faults", large, schema)], "s3", endpoint=endpoint,
                            max_latency="1h", target_file_size="32MiB", compression="none")]
    settings(directory, "rate=0.05", f"kinds={','.join(KINDS)}")
    seconds, drains = 0.0, []
    for config, place in zip(configs, (small, large)):
        for seconds_of_reading in (1.0, 3.0):
            took = stopped(bench, config, seconds_of_reading)
            orphans = oracle("orphans.py", place, *bench.storage("s3"))
            drains += took
            say(f"{place}: stopped after {seconds_of_reading:.0f} s of reading, {orphans['files']} files, 0 orphans")
        seconds += bench.run_to_end(config, 1800)
        oracle("orphans.py", place, *bench.storage("s3"))
    log = requests(directory)
    rows = [bench.judge("faults", place, schema, "s3", ["duckdb"])["rows"] for place in (small, large)]
    met = {kind: sum(entry["kind"] == kind for entry in log) for kind in KINDS}
    expect(all(met.values()) or bench.options.scale < 1, f"a kind of fault was never met: {met}")
    lost_creates = sum(entry["kind"] in LANDED and entry["method"] == "POST" and entry["path"].endswith("?uploads")
                       for entry in log)
    parts = sum(entry["method"] == "PUT" and "partNumber=" in entry["path"] for entry in log)
    left = call(f"{TOOLS}/s3", "uploads", "--dir", f"{bench.work}/s3", "lake").split()
    expect(len(left) <= lost_creates, f"{len(left)} uploads are open, {lost_creates} were begun and lost: {left}")
    named = killed(bench, schema, endpoint)
    ready = outage(bench, schema, endpoint, directory)
    return (f"{rows[0]:,} + {rows[1]:,} rows exact, {len(log):,} requests ({parts} parts), {sum(met.values())} faults "
            f"{met}, {len(drains)} drains of at most {max(drains, default=0):.1f} s, 0 orphans, {len(left)} uploads open "
            f"of {lost_creates} whose begin was lost; {named}; {ready}; {seconds:.0f} s to the end")


def stopped(bench, config, seconds):
    """Reads for a while and is stopped in order; what that took, unless it could not start under the faults."""
    run = bench.start(config)
    if not reads(run):
        return []
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        return [drain(run)]
    expect(False, f"exit {run.returncode} by itself\n{tail(run)}")


def reads(run):
    """Waits until the table is open. False: it could not start under the faults, which is exit 69."""
    deadline = time.monotonic() + 90
    while "table open" not in text_of(run):
        if run.poll() is not None:
            expect(run.returncode == 69, f"exit {run.returncode} at start\n{tail(run)}")
            say("it could not start under the faults: exit 69")
            return False
        expect(time.monotonic() < deadline, f"no table in time\n{tail(run)}")
        time.sleep(0.05)
    return True


def killed(bench, schema, endpoint):
    """What SIGKILLs leave behind is what `table info --orphans` names, and no row is lost."""
    place = bench.location("s3", bench.fresh("killed"))
    config = bench.config([("faults-killed", "faults", place, schema)], "s3", endpoint=endpoint,
                          max_latency="100ms", target_file_size="256KiB")
    for _ in range(5):
        run = bench.start(config)
        if reads(run):
            time.sleep(bench.random.uniform(0.2, 1.5))
            run.kill()
            run.wait()
    bench.run_to_end(config, 1800)
    lying = orphans_by_oracle(bench, place)
    said = json.loads(call(bench.thalweg(), "table", "info", place, "--json", "--orphans", "--older-than", "0s",
                           *bench.verify_storage("s3")))["orphans"]
    told = sorted(one["path"] for one in said["listed"])
    expect(told == [path for path in lying if "/" not in path], f"orphans: the oracle finds {lying}, info {told}")
    bench.judge("faults", place, schema, "s3", ["duckdb"])
    return f"5 SIGKILLs left {len(lying)} orphans, all of them named by table info"


def orphans_by_oracle(bench, place):
    command = [f"{TOOLS}/python", f"{ROOT}/tests/oracle/orphans.py", place, *bench.storage("s3")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    expect(done.returncode in (0, 1), f"orphans.py {place}: exit {done.returncode}")
    return json.loads(done.stdout)["orphans"]


def outage(bench, schema, endpoint, directory):
    """Everything is refused for a while: alive, not ready and saying why, and then nothing is missing."""
    topic = bench.fresh("outage")
    bench.generate("--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", 1000,
                   "--partitions", 4, "--codec", "lz4", "--seed", 7, "--create")
    place = bench.location("s3", topic)
    settings(directory, "rate=0")
    run = bench.start(bench.config([(topic, topic, place, schema)], "s3", endpoint=endpoint, max_latency="200ms"))
    try:
        address = until(run, lambda: next((line.split("address=")[1].split()[0] for line in text_of(run).splitlines()
                                           if "address=" in line), None))
        until(run, lambda: status(address, "/readyz")[0] == 200)
        settings(directory, "rate=1", "kinds=503")
        bench.generate("--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", 20_000,
                       "--partitions", 4, "--codec", "lz4", "--seed", 8)
        began = time.monotonic()
        said = until(run, lambda: (lambda code, body: body if code == 503 and "SlowDown" in body else None)(
            *status(address, "/readyz")))
        noticed = time.monotonic() - began
        for _ in range(20):
            time.sleep(1)
            expect(status(address, "/livez")[0] == 200, f"not alive in the outage\n{tail(run)}")
        expect(status(address, "/readyz")[0] == 503, "ready in the outage")
        settings(directory, "rate=0")
        began = time.monotonic()
        until(run, lambda: status(address, "/readyz")[0] == 200)
        recovered = time.monotonic() - began
        drain(run)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    bench.run_to_end(bench.config([(topic, topic, place, schema)], "s3"), 300)
    rows = bench.judge(topic, place, schema, "s3", ["duckdb"])["rows"]
    oracle("orphans.py", place, *bench.storage("s3"))
    expect("SlowDown" in said, said)
    return f"outage of 20 s: /readyz said so after {noticed:.1f} s and was ready {recovered:.1f} s after its end, {rows:,} rows exact"


def until(run, found):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        expect(run.poll() is None, f"it ended: {run.returncode}\n{tail(run)}")
        value = found()
        if value:
            return value
        time.sleep(0.1)
    run.kill()
    wait(run, 10)
    expect(False, f"not in time\n{tail(run)}")


def status(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def requests(directory):
    with open(f"{directory}/requests.jsonl") as lines:
        return [json.loads(line) for line in lines]


ROWS = [faults]
