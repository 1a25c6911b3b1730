"""One round: tables of one topic, instances that die and freeze, services that fail, and the verdict.

Owns what happens to the instances, and the order of it. What happens to the
services meanwhile is `service_faults`; whether all is well afterwards `verdict`.
"""
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass

import load
import verdict
from bench import TOOLS, Failure, call, expect, say, toml
from instances import COULD_NOT_START, Instance, can_inject
from service_faults import ServiceFaults

MEMORY_MIB = 192
SESSION_MS, FROZEN_SECONDS = 1_000, (1.6, 2.8)
# Exits of a drain: done; not all committed in time.
UNDRAINED = {0, 69}
SLOW_SECONDS, STANDS_STILL_SECONDS, GIVES_WAY_SECONDS = 45, 90, 45
TMPFS = "48m"
# System calls of a file's, a version's or a request's way; and at which of a thread's the kill comes at most.
LOCAL_CALLS = [("linkat", 5), ("fsync", 12), ("openat", 40), ("unlink", 5), ("write", 60), ("sendto", 15), ("sendmsg", 40)]
S3_CALLS = [("sendto", 25), ("writev", 15), ("recvfrom", 30), ("connect", 5), ("epoll_wait", 150), ("sendmsg", 40)]
# So long one waits for its call before it is killed like any other.
INJECTED_SECONDS = 8


@dataclass
class Table:
    id: str
    place: str
    store: str
    disk: str
    schema: str | None
    bad: bool
    """Where the log's files lie on this machine's disk: s3proxy keeps objects as files."""
    log: str
    config: str = ""


class Round:
    def __init__(self, bench, services, number, seed, plan):
        self.bench, self.services, self.number, self.plan = bench, services, number, plan
        self.random = random.Random(f"{seed}/{number}")
        self.done = Counter()
        self.running, self.all, self.kept = [], [], []
        self.tmpfs = None
        self.topic = plan.topic or f"torture-{seed}-{number}"
        self.partitions = plan.partitions

    # -- what there is

    def run(self, seconds, kills=None):
        """Returns how many records of tables were verified."""
        began = time.monotonic()
        producer = None
        faults = None
        try:
            if not self.plan.topic:
                self.create_topic()
            self.tables = [self.table(index, store, raw) for index, (store, raw) in enumerate(self.plan.tables)]
            for table in self.tables:
                self.write_config(table)
            if not self.plan.topic:
                producer = self.produce()
            faults = ServiceFaults(self.bench.work, f"{self.topic}/{self.number}", self.proxy(), self.tmpfs,
                              None if self.plan.topic else lambda: self.grow(producer), self.plan.broker_deaths).begin()
            self.act(began + seconds, kills)
            faults.end()
            self.done.update({f"faults {name}": count for name, count in faults.met.items()})
            faults = None
            self.finish(producer)
            producer = None
            verified = self.judge()
        finally:
            if faults:
                faults.stop.set()
                faults.thread.join()
            for instance in self.all:
                instance.kill()
            if producer:
                producer.kill()
                producer.wait()
            kept = self.tmpfs
            if kept:
                subprocess.run(["umount", "-l", kept])
        self.forget()
        return verified

    def proxy(self):
        return self.services.proxy if any(store == "s3" for store, _ in self.plan.tables) else None

    def table(self, index, store, raw):
        name = f"r{self.number}-{index}"
        if store == "s3":
            place, log = f"s3://lake/{name}", f"{self.bench.work}/s3/data/lake/{name}/_delta_log"
        else:
            root = f"{self.bench.work}/tables"
            if store == "small":
                root = self.small_disk()
            place = f"{root}/{name}"
            log = f"{place}/_delta_log"
        schema = None if raw else (self.plan.schema or load.DDL)
        return Table(name, place, "s3" if store == "s3" else "local", store, schema, bool(self.plan.bad) and not raw, log)

    def small_disk(self):
        if not self.tmpfs:
            path = f"{self.bench.work}/small-{self.number}"
            os.makedirs(path)
            call("mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "none", path)
            self.tmpfs = path
        return self.tmpfs

    def write_config(self, table):
        """A process has one table: a topic feeds only one of each process."""
        lines = ["version = 1", "[kafka]", f"brokers = {toml(self.bench.broker())}"]
        if self.plan.assignor:
            lines += [f"group = {toml(self.topic)}", f"assignor = {toml(self.plan.assignor)}"]
        lines += ["[kafka.librdkafka]", '"reconnect.backoff.max.ms" = 1000']
        if self.plan.assignor:
            lines += [f'"session.timeout.ms" = {SESSION_MS}', '"heartbeat.interval.ms" = 200']
        latency, size = self.random.choice(["20ms", "100ms", "300ms"]), self.random.choice(["1MiB", "16MiB"])
        lines += ["[limits]", "cores = 2", "pin = false", f'memory = "{MEMORY_MIB}MiB"', "[admin]", 'listen = "127.0.0.1:0"',
                  "[storage.options]", f"endpoint = {toml(self.services.proxy)}", 'access_key_id = "test"',
                  'secret_access_key = "testtest1"', 'region = "us-east-1"',
                  "[[table]]", f"id = {toml(table.id)}", f"topic = {toml(self.topic)}", f"location = {toml(table.place)}",
                  f'max_latency = "{latency}"', f'target_file_size = "{size}"',
                  *(['format = "raw"', 'schema = "value BINARY"'] if table.schema is None else [f"schema = {toml(table.schema)}"])]
        table.config = f"{self.bench.work}/{table.id}.toml"
        with open(table.config, "w") as out:
            out.write("\n".join(lines) + "\n")

    def create_topic(self):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.bench.broker()})
        admin.create_topics([NewTopic(self.topic, self.partitions, 1)])[self.topic].result(60)
        del admin  # it had to outlive its futures

    def grow(self, producer):
        from confluent_kafka.admin import AdminClient, NewPartitions

        self.partitions += 2
        admin = AdminClient({"bootstrap.servers": self.bench.broker()})
        admin.create_partitions([NewPartitions(self.topic, self.partitions)])[self.topic].result(60)
        del admin  # it had to outlive its futures
        producer.stdin.write(f"partitions {self.partitions}\n")
        producer.stdin.flush()

    def produce(self):
        command = [f"{TOOLS}/python", f"{os.path.dirname(os.path.abspath(__file__))}/load.py", "--brokers", self.bench.broker(),
                   "--topic", self.topic, "--partitions", self.partitions, "--rate", self.plan.rate, "--bad", self.plan.bad,
                   "--seed", self.random.randrange(1 << 30), "--transactional"]
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    # -- what happens

    def start(self, table, inject=None):
        log = f"{self.bench.work}/{self.bench.fresh('run')}.log"
        others = self.services.others if table.disk != "small" else []
        binary = self.random.choice([self.bench.thalweg()] * 2 + others)
        self.done["starts of another version"] += binary in others
        instance = Instance(binary, table.config, log, inject)
        instance.table = table
        self.running.append(instance)
        self.all.append(instance)
        self.done["starts"] += 1
        return instance

    def act(self, deadline, kills):
        while time.monotonic() < deadline and (kills is None or self.done["kills"] < kills):
            self.look_after()
            if self.plan.topic and self.caught_up():
                return
            turn = self.group_turn if self.plan.assignor else self.lone_turn
            turn()

    def look_after(self):
        """Nobody ends by himself, but who was told to, or met a fault at his start."""
        for instance in list(self.running):
            instance.sample()
            if not instance.ended():
                continue
            self.running.remove(instance)
            code = instance.process.returncode
            if instance.killed_by_strace():
                self.done["kills"] += 1
                self.done["kills at a system call"] += 1
            elif code in COULD_NOT_START and not instance.opened():
                self.done["could not start"] += 1
            elif code == 75 and instance.unwelcome:
                self.done["gave way"] += 1
            elif instance.leaving and code in UNDRAINED | COULD_NOT_START:
                self.done["left undrained"] += code in UNDRAINED and code != 0
            else:
                raise Failure(f"it ended by itself: exit {code}\n{instance.tail()}")
            instance.sound(MEMORY_MIB)

    def lone_turn(self):
        """Something for one of the tables, each of which has a process of its own."""
        for table in self.tables:
            if not self.of(table):
                inject = self.injection(table) if self.services.injects and self.random.random() < 0.4 else None
                self.start(table, inject)
        # Some die while they start, most while they commit.
        self.rest(self.random.choice([0.05, 0.3, 0.8, 1.5]) * self.random.random() * 2)
        free = [instance for instance in self.running if not instance.awaits_its_call(INJECTED_SECONDS)]
        if free and self.random.random() < 0.15:
            return self.zombie(self.random.choice(free))
        for instance in [instance for instance in free if self.random.random() < 0.7]:
            instance.sample()
            self.done["kills"] += instance.kill()
            self.running.remove(instance)

    def of(self, table):
        return [instance for instance in self.running if instance.table is table]

    def rest(self, seconds):
        """Passes time; what strace kills meanwhile is noticed at the next turn."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not all(instance.ended() for instance in self.running):
            time.sleep(0.02)
        self.look_after()

    def injection(self, table):
        calls = S3_CALLS if table.store == "s3" or self.random.random() < 0.2 else LOCAL_CALLS
        name, most = self.random.choice(calls)
        return name, self.random.randint(1, most)

    def zombie(self, old):
        """One is frozen, another takes over, and the first comes back: one of the two gives way."""
        if not self.until(lambda: old.opened() or old.ended(), 20) or old.ended():
            return
        old.unwelcome = True
        old.freeze()
        new = self.start(old.table)
        new.unwelcome = True
        before = len(names(old.table))
        if not self.until(lambda: new.ended() or (new.opened() and len(names(old.table)) > before), 20) or new.ended():
            return self.put_away(old)
        self.done["zombies"] += 1
        old.thaw()
        # Where nothing is left to commit they do not meet.
        met = self.until(lambda: old.ended() or new.ended(), GIVES_WAY_SECONDS)
        if not met and not self.plan.topic:
            raise Failure(f"after {GIVES_WAY_SECONDS} s neither gave way\n{old.tail()}\n{new.tail()}")
        self.look_after()
        for extra in self.of(old.table)[1:]:
            self.put_away(extra)
        for instance in self.of(old.table):
            instance.unwelcome = False

    def put_away(self, instance):
        instance.thaw()
        self.done["kills"] += instance.kill()
        self.running.remove(instance)

    def group_turn(self):
        choice = self.random.choices(["join", "leave", "kill", "freeze"], [3, 2, 5, 4])[0]
        if len(self.running) < 2 or (choice == "join" and len(self.running) < 3):
            table = self.tables[0]
            self.start(table, self.injection(table) if self.services.injects and self.random.random() < 0.4 else None)
        elif choice == "freeze":
            frozen = self.random.sample(self.running, self.random.randint(1, len(self.running) - 1))
            for instance in frozen:
                instance.freeze()
            self.done["freezes"] += len(frozen)
            time.sleep(self.random.uniform(*FROZEN_SECONDS))
            for instance in frozen:
                instance.thaw()
        elif choice in ("leave", "kill"):
            # Asked twice to stop, it would end at once.
            instance = self.random.choice([one for one in self.running if not one.leaving] or self.running)
            if instance.awaits_its_call(INJECTED_SECONDS) or (instance.leaving and choice == "leave"):
                pass
            elif choice == "kill":
                instance.sample()
                self.done["kills"] += instance.kill()
                self.running.remove(instance)
            else:
                # In bad faults a drain may fail, and says so.
                instance.signal(signal.SIGTERM)
                instance.leaving = True
                self.done["leaves"] += 1
        self.rest(self.random.uniform(0.1, 1.2))

    def until(self, holds, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if holds():
                return True
            time.sleep(0.03)
        return False

    # -- how it ends

    def finish(self, producer):
        """Faults have stopped: the lag goes to 0 in time, and everybody ends in order."""
        if producer:
            producer.stdin.close()
            expect(producer.wait(180) == 0, "the producer failed")
            sent = json.loads(producer.stdout.read())
            self.done["records produced"] += sent["good"] + sent["bad"] + sent["in transactions"]
        self.look_after()
        began = moved = time.monotonic()
        left = None
        while behind := self.behind():
            self.look_after()
            for table in self.tables:
                if not [instance for instance in self.of(table) if not instance.leaving]:
                    self.start(table)
            if behind != left:
                left, moved = behind, time.monotonic()
            # How fast is a matter of the machine and of what else it does.
            expect(time.monotonic() - moved < STANDS_STILL_SECONDS,
                   f"nothing has moved for {STANDS_STILL_SECONDS} s, and no fault is left: {behind}\n{self.tails(behind)}")
            time.sleep(0.1)
        took = time.monotonic() - began
        self.done["slowest catch-up ms"] = int(1000 * took)
        if took > SLOW_SECONDS:
            self.kept = [instance.log for instance in self.running]
            say(f"round {self.number}: it took {took:.0f} s until the lag was 0; kept {' '.join(self.kept)}")
        for instance in self.running:
            if instance.leaving:
                self.until(instance.ended, 15)
            elif self.until(lambda: instance.opened() or instance.ended(), 30) and not instance.ended():
                instance.leaving = True
                self.done["slowest drain ms"] = max(self.done["slowest drain ms"], int(1000 * instance.drain()))
                self.done["leaves"] += 1
        self.look_after()
        for instance in self.all:
            instance.sound(MEMORY_MIB)
        self.done["zombies"] += sum(instance.text().count("lost by the group") > 0 for instance in self.all)
        self.done["highest memory MiB"] = max(instance.memory_peak for instance in self.all)

    def tails(self, behind):
        tables = {table for table, *_ in behind}
        return "\n".join(instance.tail(40) for instance in self.running if instance.table.id in tables)

    def caught_up(self):
        return not self.behind()

    def behind(self):
        """Partitions whose txn in a table is not yet the last stable offset: (table, partition, txn, end)."""
        ends = self.ends()
        found = []
        for table in self.tables:
            at = self.tips(table)
            found += [(table.id, partition, at.get(partition), end) for partition, end in ends.items() if at.get(partition) != end]
        return found

    def ends(self):
        from confluent_kafka import Consumer, TopicPartition

        if self.plan.topic and hasattr(self, "_ends"):
            return self._ends
        consumer = Consumer({"bootstrap.servers": self.bench.broker(), "group.id": "torture-ends",
                             "isolation.level": "read_committed", "log_level": 0})
        try:
            known = consumer.list_topics(self.topic, timeout=30).topics[self.topic].partitions
            self._ends = {p: consumer.get_watermark_offsets(TopicPartition(self.topic, p), timeout=30)[1] for p in known}
        finally:
            consumer.close()
        return self._ends

    def tips(self, table):
        """Our own reading of the log's txns."""
        seen, at = getattr(table, "seen", -1), getattr(table, "at", {})
        for name in names(table):
            version = int(name[:20])
            if version <= seen:
                continue
            with open(f"{table.log}/{name}") as lines:
                for line in lines:
                    if '"txn"' in line:
                        txn = json.loads(line).get("txn")
                        if txn and txn["appId"].startswith(f"thalweg/{table.id}/"):
                            at[int(txn["appId"].rsplit("/", 1)[1])] = txn["version"]
            seen = version
        table.seen, table.at = seen, at
        return at

    def judge(self):
        dump, found = self.bench.dump(self.topic)
        verified = sum(verdict.judge(self.bench, table, dump, found) for table in self.tables)
        self.done["records verified"] = verified
        if self.plan.assignor:
            for log in glob.glob(f"{self.bench.work}/kafka/log*"):
                with open(log, errors="replace") as lines:
                    told = re.findall(rf"Stabilized group {re.escape(self.topic)} generation", lines.read())
                self.done["rebalances"] += len(told)
        return verified

    def forget(self):
        """What was judged and found good is not kept."""
        for table in self.tables:
            for suffix in ("", "_dead_letters"):
                shutil.rmtree(os.path.dirname(table.log) + suffix, ignore_errors=True)
        for instance in self.all:
            if instance.log not in self.kept:
                os.unlink(instance.log)
        if not self.plan.topic:
            os.unlink(self.bench.dump(self.topic)[0])


def names(table):
    try:
        return sorted(name for name in os.listdir(table.log) if re.fullmatch(r"\d{20}\.json", name))
    except FileNotFoundError:
        return []
