"""Memory: what the process takes at most of what it was given, at full speed and while the store stands still,
and what it takes after many commits."""
import json
import os
import signal
import threading
import time
import urllib.request

import confluent_kafka
import confluent_kafka.admin
from bench import drain, expect, refused, say, tail, text_of

PARTITIONS, RECORDS = 64, 2_000_000
WIDE_COLUMNS, WIDE_RECORDS = 200, 150_000
STALL_SECONDS = 60
PEAK_SHARE = 1.25
COMMITS, COMMITS_FIRST, LOOKED_AT_EVERY, RECORDS_PER_SECOND = 100_000, 5_000, 5_000, 500
GROWTH = 1.10
MIB = 1 << 20


def memory(bench):
    """peak memory within 1.25 of the limit, with a store that stands still for 60 s"""
    schema = bench.workload("memory", "w3", RECORDS, partitions=PARTITIONS)
    wide = wide_topic(bench, "memory-wide")
    cases = [
        # (name, topic, schema, store, cores, MiB, does the store stand still)
        ("s3, stalled", "memory", schema, "s3", 2, 256, True),
        ("s3, stalled, one core", "memory", schema, "s3", 1, 128, True),
        ("local", "memory", schema, "local", 2, 256, False),
        ("local, one core, the least", "memory", schema, "local", 1, LEAST_MIB, False),
        (f"local, {WIDE_COLUMNS} columns", "memory-wide", wide, "local", 2, 256, False),
    ]
    figures = []
    for name, topic, schema, store, cores, limit, stalls in cases:
        if store not in bench.options.stores:
            continue
        place = bench.location(store, bench.fresh("memory"))
        config = limited(bench.config([("memory", topic, place, schema)], store, max_latency="2s"), cores, limit)
        peak, seconds = run(bench, config, stalls)
        table = bench.judge(topic, place, schema, store, ["duckdb"])
        figures.append(f"{name}: {peak / MIB:.0f} of {limit} MiB")
        say(f"{figures[-1]}, {table['rows']:,} rows exact in {table['files']} files, {seconds:.0f} s")
        expect(peak <= PEAK_SHARE * limit * MIB, f"{figures[-1]}: more than {PEAK_SHARE} of the limit")
    place = bench.location("local", bench.fresh("memory"))
    config = bench.config([("memory", "memory", place, None)])
    refused(bench, "too little memory", limited(config, 1, LEAST_MIB - 1), 78, [f"{LEAST_MIB}MiB", "cores"])
    return "peak " + "; ".join(figures)


# What the config says is the least for one core.
LEAST_MIB = 80


def limited(config, cores, mib):
    with open(config, "a") as out:
        out.write(f'[limits]\nmemory = "{mib}MiB"\ncores = {cores}\n')
    return config


def run(bench, config, stalls):
    """Runs to the end, the store standing still after the first commit; the peak in bytes, and seconds."""
    began = time.monotonic()
    process = bench.start(config, "--until-end")
    peak, stalled, over = 0, None, False
    store = store_pid(bench) if stalls else None
    try:
        while process.poll() is None:
            peak = max(peak, resident_peak(process.pid))
            now = time.monotonic()
            expect(now - began < 1800, f"still running after {now - began:.0f} s\n{tail(process)}")
            if store and stalled is None and "committed" in text_of(process):
                os.kill(store, signal.SIGSTOP)
                stalled = now
            if stalled and not over and now - stalled >= STALL_SECONDS:
                os.kill(store, signal.SIGCONT)
                over = True
            time.sleep(0.05)
    finally:
        if stalled and not over:
            os.kill(store, signal.SIGCONT)
        if process.poll() is None:
            process.kill()
            process.wait()
    expect(process.returncode == 0, f"exit {process.returncode}\n{tail(process)}")
    expect(over or not stalls, f"it was through before the store stood still: {tail(process)}")
    return peak, time.monotonic() - began


def store_pid(bench):
    bench.s3()
    with open(f"{bench.work}/s3/pid") as file:
        return int(file.read())


def resident_peak(pid):
    """VmHWM in bytes: it never falls, so the last look before the end counts."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return max((int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:")), default=0)
    except OSError:
        return 0


def wide_topic(bench, topic):
    """A topic of rows with many integers; returns its schema."""
    schema = ", ".join(f"c{column} BIGINT" for column in range(WIDE_COLUMNS))
    marker = f"{bench.work}/topic-{topic}"
    if os.path.exists(marker):
        return schema
    records = max(1000, int(WIDE_RECORDS * bench.options.scale))
    say(f"filling {topic}: {records:,} records of {WIDE_COLUMNS} integers")
    servers = {"bootstrap.servers": bench.broker()}
    admin = confluent_kafka.admin.AdminClient(servers)
    new = confluent_kafka.admin.NewTopic(topic, PARTITIONS, 1)
    for created in admin.create_topics([new]).values():
        created.result()
    producer = confluent_kafka.Producer(servers | {"compression.type": "lz4", "linger.ms": 50,
                                                   "queue.buffering.max.messages": 1_000_000})
    for record in range(records):
        row = {f"c{column}": bench.random.getrandbits(20 + column % 30) for column in range(WIDE_COLUMNS)}
        while True:
            try:
                producer.produce(topic, json.dumps(row), partition=record % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    expect(producer.flush(60) == 0, "the producer is not done")
    open(marker, "w").close()
    return schema


def many_commits(bench):
    """resident memory grows by no more than 10 % from the 5,000th commit at 10 ms to the 100,000th"""
    topic = bench.fresh("many-commits")
    servers = {"bootstrap.servers": bench.broker()}
    admin = confluent_kafka.admin.AdminClient(servers)
    for created in admin.create_topics([confluent_kafka.admin.NewTopic(topic, 1, 1)]).values():
        created.result()
    place, schema = bench.location("local", topic), "id BIGINT NOT NULL, name STRING"
    config = limited(bench.config([(topic, topic, place, schema)], max_latency="10ms"), 2, 256)
    with open(config, "a") as out:
        out.write('[admin]\nlisten = "127.0.0.1:0"\n')
    wanted = max(COMMITS_FIRST * 2, int(COMMITS * bench.options.scale))
    run = bench.start(config)
    stop = threading.Event()
    load = threading.Thread(target=trickle, args=(servers, topic, stop))
    load.start()
    try:
        looks = resident_over(run, address_of(run), wanted)
    finally:
        stop.set()
        load.join()
        if run.poll() is None:
            drain(run)
    first, most = looks[0][1], max(resident for _, resident in looks)
    figures = (f"{first / MIB:.1f} MiB after {looks[0][0]:,} commits, {looks[-1][1] / MIB:.1f} after {looks[-1][0]:,}, "
               f"at most {most / MIB:.1f}: {100 * most / first - 100:+.0f} %")
    expect(most <= GROWTH * first, figures)
    return figures


def resident_over(run, address, wanted):
    """Resident bytes at every so many commits: the median of what is seen since the look before."""
    looks, seen, began = [], [], time.monotonic()
    while not looks or looks[-1][0] < wanted:
        expect(run.poll() is None, f"it ended: {run.returncode}\n{tail(run)}")
        time.sleep(0.5)
        commits, resident = commits_of(address), resident_now(run.pid)
        seen.append(resident)
        if commits >= (len(looks) + 1) * LOOKED_AT_EVERY:
            looks.append((commits, sorted(seen)[len(seen) // 2]))
            seconds = time.monotonic() - began
            say(f"{commits:7,} commits: {looks[-1][1] / MIB:.1f} MiB (now {resident / MIB:.1f}, of it no file's "
                f"{resident_now(run.pid, 'RssAnon:') / MIB:.1f}; {len(os.listdir(f'/proc/{run.pid}/task'))} threads), {commits / seconds:.0f} commits/s")
            seen = []
    return looks


def trickle(servers, topic, stop):
    producer = confluent_kafka.Producer(servers | {"linger.ms": 0})
    began, sent = time.monotonic(), 0
    while not stop.wait(max(0.0, began + sent / RECORDS_PER_SECOND - time.monotonic())):
        producer.produce(topic, f'{{"id":{sent},"name":"river"}}', partition=0)
        producer.poll(0)
        sent += 1
    expect(producer.flush(60) == 0, "the producer is not done")


def address_of(run, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for line in text_of(run).splitlines():
            if "address=" in line:
                return line.split("address=")[1].split()[0]
        expect(run.poll() is None, f"it ended: {run.returncode}\n{tail(run)}")
        time.sleep(0.1)
    expect(False, f"no address\n{tail(run)}")


def commits_of(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("thalweg_commits_total{")))


def resident_now(pid, name="VmRSS:"):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))


ROWS = [memory, many_commits]
