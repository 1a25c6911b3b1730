"""The network is cut and comes back, and a cluster's leaders die one after the other."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import time

from bench import TOOLS, call, cache, expect, say, tail, wait

RECORDS = 400_000
RATE = 4_000
NAMESPACE, OUTER, INNER = "thalweg-cut", "10.203.7.1", "10.203.7.2"
CUTS_SECONDS = (1, 4, 20, 45)
RESUMES_WITHIN_SECONDS = 40
DEATHS = 6


class Link:
    """A namespace whose only way out is a link that can be cut; 127.0.0.1's servers are behind forwarders."""

    def __init__(self, ports):
        self.children = []
        self.down_first()
        call("ip", "netns", "add", NAMESPACE)
        call("ip", "link", "add", "tw-outer", "type", "veth", "peer", "name", "tw-inner")
        call("ip", "link", "set", "tw-inner", "netns", NAMESPACE)
        call("ip", "addr", "add", f"{OUTER}/30", "dev", "tw-outer")
        call("ip", "link", "set", "tw-outer", "up")
        self.inside("ip", "addr", "add", f"{INNER}/30", "dev", "tw-inner")
        self.inside("ip", "link", "set", "tw-inner", "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.forward([], [f"{OUTER}:{port}=127.0.0.1:{port}" for port in ports])
        self.forward(self.command(), [f"127.0.0.1:{port}={OUTER}:{port}" for port in ports])

    @staticmethod
    def down_first():
        """What an earlier run may have left."""
        for command in (["ip", "link", "del", "tw-outer"], ["ip", "netns", "del", NAMESPACE]):
            subprocess.run(command, stderr=subprocess.DEVNULL)

    @staticmethod
    def command():
        return ["ip", "netns", "exec", NAMESPACE]

    def inside(self, *command):
        call(*self.command(), *command)

    def forward(self, prefix, pairs):
        child = subprocess.Popen([*prefix, sys.executable, f"{TOOLS}/services/forward.py", *pairs], stdout=subprocess.PIPE)
        self.children.append(child)
        expect(child.stdout.readline() == b"ready\n", f"no forwarder of {pairs}")

    def cut(self):
        call("ip", "link", "set", "tw-outer", "down")

    def mend(self):
        call("ip", "link", "set", "tw-outer", "up")

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.down_first()


def started_in(bench, prefix, config):
    log = f"{bench.work}/{bench.fresh('run')}.log"
    with open(log, "w") as out:
        run = subprocess.Popen([*prefix, bench.thalweg(), "run", "-c", config], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    run.log = log
    return run


def versions(log):
    return len(glob.glob(f"{log}/{'[0-9]' * 20}.json"))


def grows(run, log, seconds):
    """Waits for another version of the table; returns how long that took."""
    before, began = versions(log), time.monotonic()
    while versions(log) <= before:
        expect(run.poll() is None, f"it ended: {run.returncode}\n{tail(run)}")
        expect(time.monotonic() - began < seconds, f"no commit within {seconds} s\n{tail(run, 40)}")
        time.sleep(0.02)
    return time.monotonic() - began


def load(bench, brokers, topic, records):
    return subprocess.Popen([bench.binary("generate", "thalweg-generate"), "--brokers", brokers, "--topic", topic, "--workload",
                             "w1", "--records", str(records), "--partitions", "4", "--rate", str(RATE), "--seed", "5"],
                            stdout=subprocess.DEVNULL)


def network(bench):
    """the network of an instance is cut and comes back: rows exact, ingestion resumes by itself; needs root"""
    topic = bench.fresh("cut")
    schema = bench.generate("--workload", "w1", "--ddl").strip()
    bench.generate("--brokers", bench.broker(), "--topic", topic, "--workload", "w1", "--records", 1000, "--partitions", 4,
                   "--create", "--seed", 1)
    place = bench.location("s3", topic)
    log = f"{bench.work}/s3/data/lake/{topic}/_delta_log"
    config = bench.config([(topic, topic, place, schema)], "s3", max_latency="200ms")
    link = Link([bench.broker().rsplit(":", 1)[1], bench.s3().rsplit(":", 1)[1]])
    records = max(20_000, int(RECORDS * bench.options.scale))
    producing = load(bench, bench.broker(), topic, records)
    run = started_in(bench, link.command(), config)
    resumed = []
    try:
        grows(run, log, 60)
        for seconds in CUTS_SECONDS:
            link.cut()
            time.sleep(seconds)
            expect(run.poll() is None, f"it ended in the cut: {run.returncode}\n{tail(run)}")
            link.mend()
            resumed.append(grows(run, log, RESUMES_WITHIN_SECONDS))
            say(f"cut for {seconds} s: the next commit {resumed[-1]:.1f} s after its end")
            if producing.poll() is None:
                time.sleep(1)
        expect(producing.wait(300) == 0, "the load generator failed")
        run.send_signal(signal.SIGTERM)
        wait(run, 15)
        expect(run.returncode == 0, f"SIGTERM: exit {run.returncode}\n{tail(run)}")
    finally:
        for process in (run, producing):
            if process.poll() is None:
                process.kill()
                process.wait()
        link.close()
    bench.run_to_end(config, 300)
    rows = bench.judge(topic, place, schema, "s3", ["duckdb"])["rows"]
    return (f"cuts of {', '.join(map(str, CUTS_SECONDS))} s, resumed after "
            f"{', '.join(f'{seconds:.1f}' for seconds in resumed)} s, {rows:,} rows exact")


class Cluster:
    """Three brokers that are also the controllers."""

    def __init__(self, bench):
        self.bench = bench
        ports = call("bash", "-c", f"source {TOOLS}/lib.sh; free_ports 6").split()
        self.ports, self.controllers = ports[:3], ports[3:]
        voters = ",".join(f"{node + 1}@127.0.0.1:{port}" for node, port in enumerate(self.controllers))
        self.settings = [f"controller.quorum.voters={voters}", "offsets.topic.replication.factor=3", "min.insync.replicas=2",
                         "transaction.state.log.replication.factor=3", "transaction.state.log.min.isr=2",
                         "broker.session.timeout.ms=9000"]
        call(f"{TOOLS}/kafka", "fetch")
        formatted = max(glob.glob(f"{cache('kafka-*-storage')}/data"), key=os.path.getmtime)
        for node in range(3):
            shutil.copytree(formatted, f"{self.directory(node)}/data")
            meta = f"{self.directory(node)}/data/meta.properties"
            with open(meta) as file:
                lines = [line for line in file if not line.startswith(("node.id", "directory.id"))]
            with open(meta, "w") as file:
                file.write("".join(lines) + f"node.id={node + 1}\n")
        starting = [self.starting(node) for node in range(3)]
        expect(all(one.wait(180) == 0 for one in starting), "the cluster did not start")

    def directory(self, node):
        return f"{self.bench.work}/cluster/{node}"

    def starting(self, node):
        settings = [*self.settings, f"node.id={node + 1}",
                    f"listeners=PLAINTEXT://127.0.0.1:{self.ports[node]},CONTROLLER://127.0.0.1:{self.controllers[node]}"]
        command = [f"{TOOLS}/kafka", "start", "--dir", self.directory(node), "--port", self.ports[node], "--while", str(os.getpid())]
        for setting in settings:
            command += ["--set", setting]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"THALWEG_KAFKA_HEAP": "320m"})

    def bootstrap(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def create(self, topic, partitions):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.bootstrap()})
        admin.create_topics([NewTopic(topic, partitions, 3, config={"min.insync.replicas": "2"})])[topic].result(60)
        del admin  # it had to outlive its futures

    def leaders(self, topic):
        from confluent_kafka.admin import AdminClient

        found = AdminClient({"bootstrap.servers": self.bootstrap(), "log_level": 0}).list_topics(topic, timeout=30)
        return [of.leader for of in found.topics[topic].partitions.values()]

    def kill(self, node):
        call(f"{TOOLS}/kafka", "kill", "--dir", self.directory(node))

    def close(self):
        for node in range(3):
            subprocess.run([f"{TOOLS}/kafka", "kill", "--dir", self.directory(node)])


def leaders(bench):
    """three brokers, and whoever leads most partitions is killed, again and again: rows exact"""
    cluster = Cluster(bench)
    # The judges ask this cluster.
    alone, bench._broker = bench._broker, cluster.bootstrap()
    run = producing = None
    try:
        topic = bench.fresh("led")
        schema = bench.generate("--workload", "w1", "--ddl").strip()
        cluster.create(topic, 4)
        place = bench.location("local", topic)
        log = f"{place}/_delta_log"
        config = bench.config([(topic, topic, place, schema)], max_latency="200ms")
        records = max(20_000, int(RECORDS * bench.options.scale))
        producing = load(bench, cluster.bootstrap(), topic, records)
        run = bench.start(config)
        grows(run, log, 90)
        changes, slowest = 0, 0.0
        for _ in range(DEATHS):
            before = cluster.leaders(topic)
            node = max(set(before) - {-1}, key=before.count) - 1
            cluster.kill(node)
            took = grows(run, log, 90)
            again = cluster.starting(node)
            expect(again.wait(180) == 0, f"broker {node + 1} did not come back")
            changes += sum(old != new for old, new in zip(before, cluster.leaders(topic)))
            slowest = max(slowest, took)
            say(f"broker {node + 1} killed: the next commit after {took:.1f} s, {changes} changes of a leader so far")
        expect(producing.wait(300) == 0, "the load generator failed")
        run.send_signal(signal.SIGTERM)
        wait(run, 15)
        expect(run.returncode == 0, f"SIGTERM: exit {run.returncode}\n{tail(run)}")
        bench.run_to_end(config, 300)
        rows = bench.judge(topic, place, schema, "local", ["duckdb"])["rows"]
    finally:
        for process in (run, producing):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        cluster.close()
        bench._broker = alone
    return f"{DEATHS} brokers killed, {changes} changes of a leader, the slowest next commit after {slowest:.1f} s, {rows:,} rows exact"


ROWS = [network, leaders]
