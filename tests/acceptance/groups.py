"""Consumer groups: instances that come, go, die and freeze under load; and many writers on one table."""
import json
import re
import signal
import threading
import time
import urllib.request

import lake
from bench import expect, oracle, quiet, say, tail, text_of, toml, wait

RECORDS = 3_000_000
PARTITIONS = 12
SESSION_MS, FROZEN_SECONDS = 1_200, 2.2
INSTANCES = 3
LATENCY = "200ms"
WRITERS_SECONDS = 600


def in_group(config, name, assignor, session_ms, instance_id=None):
    """Makes whoever runs this config a member."""
    with open(config) as lines:
        lines = lines.read().splitlines()
    kafka = [f"group = {toml(name)}", f"assignor = {toml(assignor)}"]
    kafka += [f"instance_id = {toml(instance_id)}"] if instance_id else []
    kafka += ["[kafka.librdkafka]", f'"session.timeout.ms" = {session_ms}', '"heartbeat.interval.ms" = 200']
    at = next(number for number, line in enumerate(lines) if line.startswith("brokers")) + 1
    with open(config, "w") as out:
        out.write("\n".join(lines[:at] + kafka + lines[at:]) + "\n")
    return config


class Group:
    """Up to three instances that share one topic out."""

    def __init__(self, bench, topic, place, schema, assignor, store, **defaults):
        self.bench, self.topic, self.place = bench, topic, place
        self.config = bench.config([(topic, topic, place, schema)], store, max_latency=LATENCY, **defaults)
        quiet(in_group(self.config, topic, assignor, SESSION_MS))
        self.running, self.logs = [], []

    def start(self):
        run = self.bench.start(self.config)
        self.running.append(run)
        self.logs.append(run.log)
        return run

    def end(self, *runs):
        """Ends instances in order, side by side."""
        for run in runs:
            run.send_signal(signal.SIGTERM)
        for run in runs:
            wait(run, 15)
            expect(run.returncode == 0, f"SIGTERM: exit {run.returncode}\n{tail(run, 40)}")

    def count(self, pattern):
        found = 0
        for log in self.logs:
            with open(log, errors="replace") as lines:
                found += len(re.findall(pattern, lines.read()))
        return found

    def alive(self):
        for run in self.running:
            expect(run.poll() is None, f"an instance ended: exit {run.returncode}\n{tail(run, 40)}")
            expect("panicked" not in text_of(run), f"a panic\n{tail(run, 40)}")


def random_turn(bench, group, done):
    """One thing that happens to one instance."""
    choice = bench.random.choice(["join", "leave", "kill", "freeze", "freeze", "freeze"])
    if len(group.running) < 2 or (choice == "join" and len(group.running) < INSTANCES):
        group.start()
        done["joins"] += 1
    elif choice in ("leave", "kill"):
        run = group.running.pop(bench.random.randrange(len(group.running)))
        if choice == "leave":
            group.end(run)
            done["leaves"] += 1
        else:
            run.kill()
            run.wait()
            done["kills"] += 1
    else:
        runs = bench.random.sample(group.running, bench.random.randint(1, len(group.running) - 1))
        for run in runs:
            run.send_signal(signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS if bench.random.random() < 0.8 else 0.5)
        for run in runs:
            run.send_signal(signal.SIGCONT)
        done["freezes"] += len(runs)


def ends_of(bench, topic):
    """Where each partition of the topic ends."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bench.broker(), "group.id": "thalweg-acceptance-ends"})
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1]
            for p in consumer.list_topics(topic, timeout=30).topics[topic].partitions}
    consumer.close()
    return ends


def group_offsets(bench, topic):
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bench.broker(), "group.id": topic})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    told = consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=30)
    consumer.close()
    return {of.partition: of.offset for of in told}


def caught_up(bench, group, seconds=240):
    """Waits until lag tools see none, with every instance still running."""
    deadline = time.monotonic() + seconds
    ends = ends_of(bench, group.topic)
    while group_offsets(bench, group.topic) != ends:
        group.alive()
        expect(time.monotonic() < deadline,
               f"lag is left: {group_offsets(bench, group.topic)} of {ends}\n{tail(group.running[0], 40)}")
        time.sleep(0.5)


def shared_out(bench, assignor, store, turns, malformed):
    """One topic under load while `turns` things happen; returns what did."""
    topic = bench.fresh("group")
    records = max(20_000, int(RECORDS * bench.options.scale))
    schema = bench.generate("--workload", "w1", "--ddl").strip()
    bench.generate("--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", 1000,
                   "--partitions", PARTITIONS, "--create", "--seed", 1)
    place = bench.location(store, topic)
    group = Group(bench, topic, place, schema, assignor, store)
    rate = max(1000, int(records / max(20.0, turns * 4.0)))
    load = threading.Thread(target=bench.generate, args=(
        "--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", records, "--partitions",
        PARTITIONS, "--rate", rate, "--malformed", malformed, "--seed", bench.options.seed))
    group.start()
    load.start()
    done = dict.fromkeys(["joins", "leaves", "kills", "freezes"], 0)
    try:
        while sum(done.values()) < turns:
            random_turn(bench, group, done)
            time.sleep(bench.random.uniform(0.2, 1.2))
            group.alive()
        load.join()
        while len(group.running) < 2:
            group.start()
        caught_up(bench, group)
        group.end(*group.running)
    finally:
        for run in group.running:
            if run.poll() is None:
                run.send_signal(signal.SIGCONT)
                run.kill()
                run.wait()
        load.join()
    done["rows"] = judged(bench, topic, place, schema, store, malformed)
    done["rebalances"] = group.count(r"(?:revoked|lost) by the group|assigned by the group .*\[[^\]]")
    done["zombies"] = group.count("lost by the group")
    done["dropped"] = group.count("of lost partitions is dropped")
    done["fenced"] = group.count("a member of the group moved offsets")
    say(f"{assignor} on {store}, bad {malformed}: {done}")
    return done


def judged(bench, topic, place, schema, store, malformed):
    """Every record is a row or a dead letter, once, by our own reading of its bytes."""
    if not malformed:
        return bench.judge(topic, place, schema, store, ["duckdb"])["rows"]
    file, found = bench.dump(topic)
    duck = lake.duck()
    rows = duck.execute(f"SELECT _partition, _offset FROM delta_scan({lake.literal(place)})").fetchall()
    letters = duck.execute(
        f'SELECT partition, "offset", value FROM delta_scan({lake.literal(place + "_dead_letters")})').fetchall()
    records = {(p, o): v for p, o, v in duck.execute(
        'SELECT partition, "offset", value FROM read_parquet(?)', [file]).fetchall()}
    expect(len(rows) == len(set(rows)), f"{place}: {len(rows) - len(set(rows))} rows stand twice")
    kept = [(p, o) for p, o, _ in letters]
    expect(len(kept) == len(set(kept)), f"{place}: {len(kept) - len(set(kept))} dead letters stand twice")
    good = {at for at, value in records.items() if is_row(value)}
    expect(set(rows) == good, f"{place}: {len(good - set(rows))} rows missing, {len(set(rows) - good)} too many")
    expect(set(kept) == set(records) - good, f"{place}: dead letters differ from the bad records")
    expect(all(records[(p, o)] == value for p, o, value in letters), f"{place}: a dead letter is not its record")
    table = oracle("table.py", place, *bench.storage(store))
    for app_id, at in table["offsets"].items():
        end = found["partitions"][app_id.rsplit("/", 1)[1]]["end"]
        expect(at == end, f"{place}: {app_id} stands at {at}, the last stable offset is {end}")
    return len(rows) + len(kept)


def is_row(value):
    """Of what the generator makes: its bad records are no JSON, or their id is no number."""
    try:
        return type(json.loads(value)["id"]) is int
    except ValueError:
        return False


def groups(bench):
    """instances come, go, die and freeze; cooperative and eager; rows and dead letters exact"""
    turns = max(4, bench.options.kills)
    total = dict.fromkeys(["joins", "leaves", "kills", "freezes", "rows", "rebalances", "zombies", "dropped", "fenced"], 0)
    for store in bench.options.stores:
        cases = [("cooperative-sticky", 0), ("range", 0)]
        cases += [("cooperative-sticky", 0.01)] if store == "local" else []
        for assignor, malformed in cases:
            for key, value in shared_out(bench, assignor, store, turns, malformed).items():
                total[key] += value
    expect(total["zombies"] > 0 and total["rebalances"] > turns, f"too little happened: {total}")
    return ", ".join(f"{value:,} {key}" for key, value in total.items()) + "; 0 lost, 0 doubled"


# ---- writers


def metric(run, name):
    address = re.search(r"serving /metrics.* address=(\S+)", text_of(run))[1]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def writers(bench):
    """1, 2, 4 and 8 instances of a group on one table: commits a second, conflicts, fairness, rows"""
    figures = []
    for store in bench.options.stores:
        for count in bench.options.writers:
            figures.append(f"{store} {written(bench, store, count)}")
            say(figures[-1])
    return "; ".join(figures)


def written(bench, store, count):
    seconds = max(15, int(WRITERS_SECONDS * bench.options.scale))
    topic = bench.fresh("writers")
    schema = bench.generate("--workload", "w1", "--ddl").strip()
    partitions, rate = 8, 4_000
    bench.generate("--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", 1000,
                   "--partitions", partitions, "--create", "--seed", 1)
    place = bench.location(store, topic)
    group = Group(bench, topic, place, schema, "cooperative-sticky", store)
    with open(group.config) as lines:
        text = lines.read().replace("cores = 2", "cores = 1").replace(f'"{LATENCY}"', '"20ms"')
    with open(group.config, "w") as out:
        out.write(text.replace('memory = "160MiB"', 'memory = "80MiB"'))
    for _ in range(count):
        group.start()
    deadline = time.monotonic() + 120
    while sum(metric(run, "thalweg_partitions_assigned") for run in group.running if "serving" in text_of(run)) < partitions \
            or any("reading on" not in text_of(run) for run in group.running):
        group.alive()
        expect(time.monotonic() < deadline, f"not all have partitions\n{tail(group.running[0], 40)}")
        time.sleep(0.2)
    load = threading.Thread(target=bench.generate, args=(
        "--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", rate * (seconds + 10),
        "--partitions", partitions, "--rate", rate, "--seed", bench.options.seed))
    load.start()
    time.sleep(5)
    names = ("thalweg_commits_total", "thalweg_commit_conflicts_total", "thalweg_rows_committed_total")
    before = [[metric(run, name) for name in names] for run in group.running]
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    after = [[metric(run, name) for name in names] for run in group.running]
    load.join()
    caught_up(bench, group)
    group.end(*group.running)
    rows = bench.judge(topic, place, schema, store, ["duckdb"])["rows"]
    gained = [[b - a for a, b in zip(old, new)] for old, new in zip(before, after)]
    commits, conflicts = [of[0] for of in gained], sum(of[1] for of in gained)
    mean = sum(commits) / count
    expect(min(commits) >= mean / 2, f"{count} writers: the slowest has {min(commits):.0f} commits, the mean is {mean:.0f}")
    share = conflicts / (conflicts + sum(commits))
    return (f"{count} writers: {sum(commits) / took:.1f} commits/s, {share:.0%} of puts lost, slowest/mean "
            f"{min(commits) / mean:.2f}, {rows:,} rows exact ({took:.0f} s)")


ROWS = [groups, writers]
