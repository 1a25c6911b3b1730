"""Twelve tables in one process, one of them sick: what the others still commit, and what memory it takes."""
import contextlib
import os
import subprocess
import threading
import time
import urllib.request

import confluent_kafka
import confluent_kafka.admin
from bench import TOOLS, call, drain, expect, say, tail, text_of
from memory import resident_peak

TABLES, RECORDS_PER_SECOND, LIMIT_MIB = 12, 200, 256
SICK_SECONDS = 180
FLOOD_RECORDS, FLOOD_BYTES = 150_000, 1_400
RATE_SHARE, PEAK_SHARE, HEALS_WITHIN = 0.95, 1.25, 120
SCHEMA = "id BIGINT NOT NULL, name STRING"
MIB = 1 << 20


def neighbours(bench):
    """eleven of twelve tables keep 95 % of their rate while the store of one stands still, or its disk is full"""
    cases = [("stalled", stalled_store, False), ("flooded", stalled_store, True), ("full disk", full_disk, False)]
    return "; ".join(one_sick(bench, name, sicken, flood) for name, sicken, flood in cases)


def one_sick(bench, name, sicken, flood):
    topics = [bench.fresh("neighbour") for _ in range(TABLES)]
    servers = {"bootstrap.servers": bench.broker()}
    admin = confluent_kafka.admin.AdminClient(servers)
    for created in admin.create_topics([confluent_kafka.admin.NewTopic(topic, 1, 1) for topic in topics]).values():
        created.result()
    sick = sicken(bench)
    try:
        places = [sick.place] + [bench.location("local", topic) for topic in topics[1:]]
        config = bench.config([(topic, topic, place, SCHEMA) for topic, place in zip(topics, places)],
                              max_latency="100ms")
        with open(config, "a") as out:
            out.write(f'{sick.options}[limits]\nmemory = "{LIMIT_MIB}MiB"\ncores = 2\n[admin]\nlisten = "127.0.0.1:0"\n')
        run = bench.start(config)
        load = Load(servers, topics)
        try:
            return watched(bench, name, run, load, sick, topics, places, flood)
        finally:
            load.stop()
            if run.poll() is None:
                run.kill()
                run.wait()
    finally:
        sick.end()


def watched(bench, name, run, load, sick, topics, places, flood):
    address = until(run, "an address", lambda: next((line.split("address=")[1].split()[0]
                                                    for line in text_of(run).splitlines() if "address=" in line), None))
    until(run, "every table has rows", lambda: all(rows(address).get(topic, 0) > 0 for topic in topics))
    before = rates(run, address, topics, 10)
    sick.begin()
    if flood:
        load.flood(topics[0])
    time.sleep(5)
    seconds = max(20, SICK_SECONDS * bench.options.scale)
    during = rates(run, address, topics, seconds)
    sick.heal()
    began = time.monotonic()
    load.stop()
    until(run, "all of it is committed", lambda: all(rows(address).get(topic, 0) >= load.sent[topic] for topic in topics),
          HEALS_WITHIN)
    healed = time.monotonic() - began
    peak = resident_peak(run.pid)
    drain(run)
    least = min(during[topic] for topic in topics[1:])
    kept = sum(during[topic] for topic in topics[1:]) / sum(before[topic] for topic in topics[1:])
    figures = (f"{name} for {seconds:.0f} s: the others {100 * kept:.0f} % of their rate (the slowest {least:.0f}/s of "
               f"{RECORDS_PER_SECOND}), the sick one {during[topics[0]]:.0f}/s and all of it {healed:.0f} s afterwards, "
               f"peak {peak / MIB:.0f} of {LIMIT_MIB} MiB")
    say(figures)
    expect(kept >= RATE_SHARE, f"{figures}\n{tail(run)}")
    expect(least >= 0.9 * RECORDS_PER_SECOND, f"{figures}\n{tail(run)}")
    expect(peak <= PEAK_SHARE * LIMIT_MIB * MIB, figures)
    for topic, place in list(zip(topics, places))[1:3]:
        bench.judge(topic, place, SCHEMA, "local", ["duckdb"])
    return figures


class stalled_store:
    """A store that takes connections and answers nothing."""

    def __init__(self, bench):
        self.directory = f"{bench.work}/{bench.fresh('stalled')}"
        line = call(f"{TOOLS}/faults", "start", "--dir", self.directory, "--upstream", bench.s3(), "--while", os.getpid(),
                    "stall=3600", "kinds=stall", "rate=0")
        endpoint = line.split()[0].removeprefix("endpoint=")
        self.place = f"s3://lake/{bench.fresh('sick')}"
        self.options = (f'[storage.options]\nendpoint = "{endpoint}"\naccess_key_id = "test"\n'
                        'secret_access_key = "testtest1"\nregion = "us-east-1"\nallow_http = "true"\n')

    def set(self, *pairs):
        call(f"{TOOLS}/faults", "set", "--dir", self.directory, *pairs)

    def begin(self):
        self.set("rate=1")

    def heal(self):
        self.set("rate=0")

    def end(self):
        call(f"{TOOLS}/faults", "stop", "--dir", self.directory)


class full_disk:
    """A small disk of its own that somebody else fills."""

    options = ""

    def __init__(self, bench):
        self.mount = f"{bench.work}/{bench.fresh('disk')}"
        os.makedirs(self.mount)
        call("mount", "-t", "tmpfs", "-o", "size=64m", "thalweg", self.mount)
        self.place = f"{self.mount}/table"

    def begin(self):
        with contextlib.suppress(OSError), open(f"{self.mount}/ballast", "wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 12)):
                pass

    def heal(self):
        os.remove(f"{self.mount}/ballast")

    def end(self):
        subprocess.run(["umount", "-l", self.mount], check=False)


class Load:
    """So many records a second into each topic, from a thread of its own."""

    def __init__(self, servers, topics):
        self.sent = dict.fromkeys(topics, 0)
        self.producer = confluent_kafka.Producer(servers | {"linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        began, rounds = time.monotonic(), 0
        while not self.stopping.wait(max(0.0, began + rounds / 20 - time.monotonic())):
            for topic in self.sent:
                for _ in range(RECORDS_PER_SECOND // 20):
                    self.put(topic, f'{{"id":{self.sent[topic]},"name":"river"}}')
            self.producer.poll(0)
            rounds += 1

    def put(self, topic, value):
        while True:
            try:
                self.producer.produce(topic, value, partition=0)
                break
            except BufferError:
                self.producer.poll(0.1)
        self.sent[topic] += 1

    def flood(self, topic):
        for number in range(FLOOD_RECORDS):
            self.put(topic, f'{{"id":{number},"name":"{os.urandom(FLOOD_BYTES // 2).hex()}"}}')

    def stop(self):
        self.stopping.set()
        self.thread.join()
        expect(self.producer.flush(60) == 0, "the producer is not done")


def rates(run, address, topics, seconds):
    """Rows that each table commits in a second."""
    first, began = rows(address), time.monotonic()
    while time.monotonic() - began < seconds:
        expect(run.poll() is None, f"it ended: {run.returncode}\n{tail(run)}")
        time.sleep(0.2)
    last, took = rows(address), time.monotonic() - began
    return {topic: (last[topic] - first[topic]) / took for topic in topics}


def rows(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    name = 'thalweg_rows_committed_total{table="'
    return {line[len(name):].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)}


def until(run, what, found, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        expect(run.poll() is None, f"it ended before {what}: {run.returncode}\n{tail(run)}")
        value = found()
        if value:
            return value
        time.sleep(0.1)
    expect(False, f"not in time: {what}\n{tail(run)}")


ROWS = [neighbours]
