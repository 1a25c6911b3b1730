"""What becomes of topics: compaction, retention, created again, grown, large records, a log that was cut."""
import os
import signal
import subprocess
import time

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

import lake
from bench import TOOLS, call, drain, expect, say, tail, text_of, wait

DDL = "id BIGINT, kind STRING"
LATENCY = "100ms"


class Topic:
    """A topic of flat records that say of which incarnation of the topic they are."""

    def __init__(self, bench, name, partitions=1, brokers=None, **settings):
        self.name, self.brokers = bench.fresh(f"topics-{name}"), brokers or bench.broker()
        self.admin = AdminClient({"bootstrap.servers": self.brokers})
        self.producer = self.fresh_producer()
        self.settings = {"retention.ms": "-1"} | settings
        self.create(partitions)

    def fresh_producer(self):
        return Producer({"bootstrap.servers": self.brokers, "linger.ms": 2, "message.max.bytes": 8_000_000})

    def create(self, partitions):
        deadline = time.monotonic() + 60
        while True:
            try:
                wanted = NewTopic(self.name, partitions, 1, config=self.settings)
                return self.admin.create_topics([wanted])[self.name].result(60)
            except KafkaException as error:  # the name is free once the broker has let go of it
                expect("TOPIC_ALREADY_EXISTS" in str(error) and time.monotonic() < deadline, str(error))

    def again(self, partitions=1, pause=0.0):
        self.admin.delete_topics([self.name])[self.name].result(60)
        time.sleep(pause)
        self.create(partitions)

    def grow(self, partitions):
        self.admin.create_partitions([NewPartitions(self.name, partitions)])[self.name].result(60)
        while len(self.admin.list_topics(self.name, timeout=60).topics[self.name].partitions) < partitions:
            time.sleep(0.05)
        self.producer = self.fresh_producer()  # the old one learns of partitions minutes later

    def delete_before(self, partition, offset):
        for future in self.admin.delete_records([TopicPartition(self.name, partition, offset)]).values():
            future.result(60)

    def send(self, count, kind, partition=0, start=0, key=None):
        for number in range(start, start + count):
            value = b'{"id":%d,"kind":"%s"}' % (number, kind.encode())
            while True:
                try:
                    self.producer.produce(self.name, value, key, partition)
                    break
                except BufferError:
                    self.producer.poll(0.05)
        expect(self.producer.flush(60) == 0, f"{self.name}: not all was produced")


class Table:
    """One table of a config, and what DuckDB reads of it."""

    def __init__(self, bench, topic):
        self.bench, self.topic, self.name = bench, topic, topic.name
        self.place = bench.location("local", bench.fresh(topic.name))
        self.entry = (topic.name, topic.name, self.place, DDL)

    def config(self, *others):
        return self.bench.config([self.entry, *(other.entry for other in others)], brokers=self.topic.brokers,
                                 max_latency=LATENCY)

    def rows(self):
        """{(kind, partition): (rows, distinct offsets, lowest, highest)}"""
        if not os.path.exists(f"{self.place}/_delta_log/{0:020}.json"):
            return {}
        sql = (f"SELECT kind, _partition, count(*), count(DISTINCT _offset), min(_offset), max(_offset) "
               f"FROM delta_scan({lake.literal(self.place)}) GROUP BY ALL")
        return {(kind, partition): tuple(figures) for kind, partition, *figures in
                lake.duck().execute(sql).fetchall()}

    def expect_rows(self, case, expected):
        """`expected`: {(kind, partition): (first offset, next offset)}, each offset a row."""
        wanted = {at: (end - start, end - start, start, end - 1) for at, (start, end) in expected.items()}
        found = self.rows()
        expect(found == wanted, f"{case}: rows {found}, not {wanted}")
        verified = subprocess.run([self.bench.thalweg(), "table", "verify", "--deep", self.place],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        expect(verified.returncode == 0, f"{case}: table verify: {verified.stdout[-2000:]}")

    def wait_rows(self, run, count, seconds=60):
        deadline = time.monotonic() + seconds
        while sum(figures[0] for figures in self.rows().values()) < count:
            expect(run.poll() is None, f"it ended: exit {run.returncode}\n{tail(run)}")
            expect(time.monotonic() < deadline, f"{count} rows are not there in time: {self.rows()}\n{tail(run)}")
            time.sleep(0.1)


def hold(run):
    """Stops the process where it has no question at the broker any more: what comes now it has not been sent."""
    run.send_signal(signal.SIGSTOP)
    time.sleep(1)  # a fetch waits for 500 ms at most


def wait_said(run, words, seconds=60):
    deadline = time.monotonic() + seconds
    while not all(word in text_of(run) for word in words):
        expect(run.poll() is None, f"it ended without {words}: exit {run.returncode}\n{tail(run)}")
        expect(time.monotonic() < deadline, f"{words} is not said in time\n{tail(run)}")
        time.sleep(0.05)


def ends_with(bench, case, config, code, words, *arguments):
    run = bench.start(config, *arguments)
    wait(run, 60)
    expect(run.returncode == code, f"{case}: exit {run.returncode}, not {code}\n{tail(run)}")
    for word in words:
        expect(word in text_of(run), f"{case}: `{word}` is not said\n{tail(run)}")
    expect("panicked" not in text_of(run), f"{case}: a panic\n{tail(run)}")


def compaction(bench, figures):
    records = max(20_000, int(400_000 * bench.options.scale))
    name = bench.fresh("topics-compacted")
    ddl = bench.produce(name, "--mode", "compacted", "--records", records)
    time.sleep(3)
    bench.produce(name, "--mode", "compacted", "--records", 2000, "--seed", 5)
    before, deadline = None, time.monotonic() + 120
    while True:
        bench._dumps.pop(name, None)
        _, found = bench.dump(name)
        spans = {p: (span["end"], span["records"]) for p, span in found["partitions"].items()}
        holes = sum(end - records for end, records in spans.values())
        if spans == before and holes > records / 4:
            break
        expect(time.monotonic() < deadline, f"the broker has compacted too little: {spans}")
        before = spans
        time.sleep(2)
    place = bench.location("local", bench.fresh(name))
    bench.run_to_end(bench.config([(name, name, place, ddl)]), 300)
    table = bench.judge(name, place, ddl, "local", ["duckdb"])
    figures.append(f"compacted: {holes:,} holes, {table['rows']:,} rows exact")


def retention(bench, figures):
    count = max(1000, int(50_000 * bench.options.scale))
    topic = Topic(bench, "retention", 3)
    table = Table(bench, topic)
    for partition in range(3):
        topic.send(count, "old", partition)
    config = table.config()
    bench.run_to_end(config, 120)
    for partition in range(3):
        topic.send(count, "old", partition, start=count)
    lost = count + count // 2
    topic.delete_before(0, lost)
    ends_with(bench, "retention passed while down", config, 76, [f"offsets {count}..{lost}", "retention"], "--until-end")
    healthy = {("old", 1): (0, 2 * count), ("old", 2): (0, 2 * count)}
    table.expect_rows("retention passed while down", {("old", 0): (0, count)} | healthy)

    # Without an end the process stays for the healthy ones, until it is told to end.
    run = bench.start(config)
    topic.send(100, "late", 1)
    table.wait_rows(run, 5 * count + 100)
    expect(run.poll() is None, f"it ended: {tail(run)}")
    # Under the running process: held while records come and go.
    hold(run)
    topic.send(count, "late", 2)
    topic.delete_before(2, 2 * count + 50)
    topic.send(100, "late", 1)
    run.send_signal(signal.SIGCONT)
    wait_said(run, [f"offsets {2 * count}..{2 * count + 50}"])
    table.wait_rows(run, 5 * count + 200)
    drain(run)
    table.expect_rows("retention passed a running process",
                      {("old", 0): (0, count), ("late", 1): (2 * count, 2 * count + 200)} | healthy)

    # Nothing else is left: exit 76 by itself.
    topic.delete_before(1, 2 * count + 200)
    topic.send(1, "late", 1)
    topic.delete_before(1, 2 * count + 201)
    ends_with(bench, "retention passed everywhere", config, 76, ["retention"])
    figures.append(f"retention: offsets {count}..{lost} named, exit 76, others exact, down and running")


def created_again(bench, figures):
    count = max(1000, int(20_000 * bench.options.scale))
    rounds = 0
    for more in (0.4, 3):
        new = int(count * more)
        # While down.
        topic, other = Topic(bench, "again"), Topic(bench, "beside")
        table, beside = Table(bench, topic), Table(bench, other)
        topic.send(count, "old")
        config = table.config(beside)
        bench.run_to_end(config, 120)
        topic.again()
        topic.send(new, "new")
        other.send(count, "old")
        ends_with(bench, "created again while down", config, 76, ["created again"], "--until-end")
        table.expect_rows("created again while down", {("old", 0): (0, count)})
        beside.expect_rows("beside it", {("old", 0): (0, count)})
        ends_with(bench, "created again, alone", table.config(), 76, ["created again"])
        # Under the running process: held, or at whatever it is doing.
        for pause in (None, 0.0, 0.2, 1.0):
            rounds += 1
            topic, other = Topic(bench, "again"), Topic(bench, "beside")
            table, beside = Table(bench, topic), Table(bench, other)
            topic.send(count, "old")
            run = bench.start(table.config(beside))
            table.wait_rows(run, count)
            if pause is None:
                hold(run)
            topic.again(pause=pause or 0.0)
            topic.send(new, "new")
            if pause is None:
                run.send_signal(signal.SIGCONT)
            wait_said(run, ["has stopped"])
            other.send(count, "old")
            beside.wait_rows(run, count)
            seconds = drain(run)
            table.expect_rows(f"created again with {new} records under a run", {("old", 0): (0, count)})
            beside.expect_rows("beside it", {("old", 0): (0, count)})
            say(f"created again with {new:,} records after {count:,}, pause {pause}: 0 rows of it, drained in {seconds:.1f} s")
    figures.append(f"created again: {rounds} times under a run and twice while down, shorter and longer: no row of the new topic")


def growth(bench, figures):
    count = max(500, int(20_000 * bench.options.scale))
    topic = Topic(bench, "growth")
    table = Table(bench, topic)
    topic.send(count, "old")
    config = table.config()
    bench.run_to_end(config, 120)
    topic.grow(2)
    topic.send(count, "down", 1)
    bench.run_to_end(config, 120)
    expected = {("old", 0): (0, count), ("down", 1): (0, count)}
    table.expect_rows("grown while down", expected)
    run = bench.start(config)
    wait_said(run, ["table open"])
    topic.grow(4)
    # Nothing is committed that would make it look: the next look is at most ten seconds away.
    topic.send(count, "up", 3)
    topic.send(count, "up", 2)
    began = time.monotonic()
    table.wait_rows(run, 4 * count)
    seconds = time.monotonic() - began
    drain(run)
    table.expect_rows("grown while running", expected | {("up", 2): (0, count), ("up", 3): (0, count)})
    figures.append(f"grown: partitions added down and running read from offset 0, the latter {seconds:.0f} s later")


def large(bench, figures):
    topic = Topic(bench, "large", **{"max.message.bytes": "8000000"})
    table = Table(bench, topic)
    topic.send(10, "small")
    value = b'{"id":10,"kind":"' + b"x" * 5_000_000 + b'"}'
    topic.producer.produce(topic.name, value, partition=0)
    topic.send(10, "small", start=11)
    config = table.config()
    with open(config, "a") as file:
        file.write('[limits]\nmemory = "80MiB"\ncores = 1\n')  # the least: a response is smaller than the record
    bench.run_to_end(config, 60)
    sql = f"SELECT count(*), max(length(kind)), sum(id) FROM delta_scan({lake.literal(table.place)})"
    found = lake.duck().execute(sql).fetchone()
    expect(found == (21, 5_000_000, 210), f"large record: {found}")
    figures.append("a 5 MB record passed the fetch limits of 80 MiB of memory")


def cut_log(bench, figures):
    """An unclean end of a lone broker that loses the log's tail."""
    directory = f"{bench.work}/{bench.fresh('cut-kafka')}"
    start = lambda: call(f"{TOOLS}/kafka", "start", "--dir", directory, "--while", os.getpid()).split()[0]  # noqa: E731
    brokers = start().removeprefix("bootstrap=")
    try:
        topic = Topic(bench, "cut", brokers=brokers)
        table = Table(bench, topic)
        count = 2000
        for start_at in range(0, count, 100):
            topic.send(100, "old", start=start_at)
        config = table.config()
        running = bench.start(config)
        table.wait_rows(running, count)
        call(f"{TOOLS}/kafka", "kill", "--dir", directory)
        folder = f"{directory}/data/{topic.name}-0"
        log = f"{folder}/{0:020}.log"
        with open(log, "r+b") as file:
            file.truncate(os.path.getsize(log) // 2)
        for name in os.listdir(folder):
            if name.endswith((".index", ".timeindex", ".snapshot")):
                os.remove(f"{folder}/{name}")
        expect(start().removeprefix("bootstrap=") == brokers, "the broker came back elsewhere")
        wait(running, 90)
        expect(running.returncode == 76, f"cut log, running: exit {running.returncode}\n{tail(running)}")
        table.expect_rows("cut log, running", {("old", 0): (0, count)})
        ends_with(bench, "cut log, while down", config, 76, ["beyond the topic's end"])
        table.expect_rows("cut log, while down", {("old", 0): (0, count)})
    finally:
        subprocess.run([f"{TOOLS}/kafka", "stop", "--dir", directory])
    figures.append("a log cut behind the table's offset: exit 76, running and while down")


CASES = [compaction, retention, created_again, growth, large, cut_log]


def topics(bench):
    """compaction, retention, topics created again and grown, large records"""
    figures = []
    started, start = [], bench.start

    def noted(*arguments):
        started.append(start(*arguments))
        return started[-1]

    bench.start = noted
    try:
        for case in CASES:
            case(bench, figures)
            say(figures[-1])
    finally:
        bench.start = start
        for run in started:
            if run.poll() is None:
                run.kill()
                run.wait()
    return "; ".join(figures)


ROWS = [topics]
