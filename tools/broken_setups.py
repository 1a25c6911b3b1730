"""usage: tools/python tools/broken_setups.py --thalweg BINARY --kafka LINE [--s3 LINE] [--write] [CASE]...

Broken set-ups, one directory each in tests/setups:
  thalweg.toml   the config; what differs between machines comes from the environment
  prepare.py     optional: brings the world into the state that is wrong (`world`, below)
  expected.txt   `exit CODE`, and the screen that a person sees

Each is met by `thalweg check` and by `thalweg run --until-end`. Both must end
within 15 s with the same code and the same screen, without a panic, and leave
every table as it was, also one that is not there. expected-check.txt stands
where `check` says it in other words.

LINE is what `tools/kafka start --sasl-ssl` and `tools/s3 start` print. Without
--s3 the cases on S3 are left out. --write writes the screens anew: read the
difference before you commit it.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

CASES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "setups"
SECONDS_MAX = 15
COMMANDS = {"check": ["check"], "run": ["run", "--until-end"]}
# One record of each topic that a case makes; `id` is the number of the record.
RECORD = '{"id":%d,"name":"river","_offset":%d}'
S3_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest1", "AWS_REGION": "us-east-1"}


class World:
    """What one case can bring about, and what it looks at afterwards."""

    def __init__(self, case, services, directory):
        self.case, self.services, self.dir = case, services, directory
        self.place = directory / "table"
        self.tables = []
        self.wrap = []
        self.held = []
        self.env = {**services.env, "DIR": str(directory), "TOPIC": services.topic}

    # -- Kafka

    def topic(self, partitions=1, records=0, **settings):
        """A topic of this case's own: TOPIC for its config."""
        self.env["TOPIC"] = name = f"{self.case}-{os.getpid()}"
        self.services.create(name, partitions, settings)
        self.produce(range(records))
        return name

    def produce(self, numbers=(), texts=()):
        texts = [*(RECORD % (number, number) for number in numbers), *texts]
        self.services.produce(self.env["TOPIC"], texts)

    def delete_topic(self):
        self.services.delete(self.env["TOPIC"])

    def delete_records(self, before):
        self.services.delete_records(self.env["TOPIC"], before)

    # -- tables on this disk

    def thalweg(self, *arguments, config=None, code=0):
        """Runs thalweg in the world as it is, before it is broken."""
        arguments = arguments or ("run", "--until-end")
        file = self.dir / "prepare.toml"
        file.write_text(config or self.config())
        done = subprocess.run([self.services.thalweg, *arguments, "-c", str(file)], cwd=self.dir, text=True,
                              env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == code, f"{self.case}: preparing ends with {done.returncode}\n{done.stdout}"

    def config(self):
        return (CASES / self.case / "thalweg.toml").read_text()

    def table(self, *columns, protocol=(1, 2), features=None, properties=None, partitioned=(), more=()):
        """Version 0 of a table as another writer makes it; a column is (name, type[, metadata])."""
        fields = [{"name": name, "type": kind, "nullable": True, "metadata": (rest or [{}])[0]}
                  for name, kind, *rest in columns]
        reader, writer = protocol
        told = {"minReaderVersion": reader, "minWriterVersion": writer}
        if features is not None:
            told |= {"readerFeatures": [], "writerFeatures": features}
        metadata = {"id": "00000000-0000-0000-0000-000000000000", "format": {"provider": "parquet", "options": {}},
                    "schemaString": json.dumps({"type": "struct", "fields": fields}),
                    "partitionColumns": list(partitioned), "configuration": properties or {}, "createdTime": 0}
        self.commit(0, {"commitInfo": {"timestamp": 0, "operation": "CREATE TABLE"}}, {"protocol": told},
                    {"metaData": metadata}, *more)

    def commit(self, version, *actions):
        """A version as another writer writes it."""
        text = "".join(json.dumps(action) + "\n" for action in actions)
        self.log_file(f"{version:020}.json").write_text(text)

    def log_file(self, name):
        log = self.place / "_delta_log"
        log.mkdir(parents=True, exist_ok=True)
        return log / name

    def versions(self):
        return sorted(int(path.stem) for path in (self.place / "_delta_log").glob("*.json"))

    # -- the rest

    def in_a_mount(self, options):
        """DIR/mount is a file system of its own, seen by thalweg only."""
        (self.dir / "mount").mkdir()
        script = 'mount -t tmpfs -o "$1" thalweg "$2" && shift 2 && exec "$@"'
        self.wrap = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]),
                     "sh", "-ec", script, "sh", options, str(self.dir / "mount")]
        tried = subprocess.run([*self.wrap, "true"], stderr=subprocess.PIPE, text=True)
        if tried.returncode != 0:
            raise LeftOut(f"no mounts here: {tried.stderr.strip()}")

    def as_nobody(self):
        """DIR belongs to somebody else than who runs thalweg."""
        if os.geteuid() == 0:
            self.dir.chmod(0o755)
            self.wrap = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            if subprocess.run([*self.wrap, "test", "-x", self.services.thalweg]).returncode != 0:
                raise LeftOut("nobody cannot run the program")
        else:
            self.dir.chmod(0o555)

    def listen(self):
        """A port that somebody listens on: PORT for the config."""
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        self.held.append(taken)
        self.env["PORT"] = str(taken.getsockname()[1])

    def closed(self):
        """A port that nobody listens on, and nobody gets meanwhile."""
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        self.held.append(closed)
        self.env["PORT"] = str(closed.getsockname()[1])

    def environment(self):
        kept = {key: value for key, value in os.environ.items()
                if not key.startswith(("THALWEG", "AWS_", "RUST_"))}
        return {**kept, "NO_COLOR": "1", **{key: value for key, value in self.env.items() if value is not None}}

    def state(self):
        """Every file below the case's directory and the bucket, by its bytes."""
        roots = [self.dir] + ([self.services.bucket_dir] if self.services.bucket_dir else [])
        found = {}
        for root in roots:
            for path in root.rglob("*"):
                if path.is_file() and "_thalweg_probe" not in str(path):
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def normal(self, text):
        """Words for what differs between machines and runs."""
        names = {value: f"${name}" for name, value in self.env.items()
                 if value and len(value) > 3 and name not in S3_KEYS and not name.startswith("THALWEG")}
        for value in sorted(names, key=len, reverse=True):
            text = text.replace(value, names[value])
        # A long remedy goes over several lines, which depends on how long the names are.
        text = text.replace("\n" + 10 * " ", " ")
        text = re.sub(r"\bin [\d.]+m?s\b", "in TIME", text)
        text = re.sub(r"\b(its id is|the table knows) [\w-]{22}\b", r"\1 ID", text)
        return re.sub(r"/[\w-]{22}/(?=\d)", "/ID/", text)


class LeftOut(Exception):
    """The machine cannot bring the case about."""


class Services:
    """The broker and the S3 server that all cases share."""

    def __init__(self, thalweg, kafka, s3):
        import confluent_kafka.admin
        self.thalweg = os.path.abspath(thalweg)
        words = dict(word.split("=", 1) for word in kafka.split() if "=" in word)
        # localhost is the certificate's name; the same place by its number is not.
        self.env = {"KAFKA": words["bootstrap"], "SASL_SSL": words["sasl_ssl"], "SSL": words["ssl"],
                    "TLS": words["tls"], "SASL_SSL_BY_NUMBER": words["sasl_ssl"].replace("localhost", "127.0.0.1"),
                    "S3": None}
        self.bucket_dir = None
        self.admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": words["bootstrap"]})
        self.producer = confluent_kafka.Producer({"bootstrap.servers": words["bootstrap"]})
        if s3:
            words = dict(word.split("=", 1) for word in s3.split() if "=" in word)
            tool = pathlib.Path(__file__).resolve().parent / "s3"
            subprocess.run([tool, "bucket", "--dir", words["dir"], "setups"], check=True)
            self.env |= {"S3": words["endpoint"], **S3_KEYS}
            self.bucket_dir = pathlib.Path(words["dir"]) / "data" / "setups"
        self.topic = f"setups-{os.getpid()}"
        self.create(self.topic, 1, {})
        self.produce(self.topic, [RECORD.replace(',"_offset":%d', "") % number for number in range(10)])

    def create(self, name, partitions, settings):
        from confluent_kafka.admin import NewTopic
        wanted = NewTopic(name, partitions, 1, config={"retention.ms": "-1", **settings})
        self.admin.create_topics([wanted])[name].result()

    def delete(self, name):
        self.admin.delete_topics([name], operation_timeout=10)[name].result()
        while name in self.admin.list_topics(timeout=10).topics:
            time.sleep(0.05)

    def delete_records(self, name, before):
        from confluent_kafka import TopicPartition
        at = TopicPartition(name, 0, before)
        self.admin.delete_records([at])[at].result()

    def produce(self, name, texts):
        for text in texts:
            self.producer.produce(name, text, partition=0)
        assert self.producer.flush(30) == 0, f"{name}: records are not delivered"


def screen(text):
    """What stands on stderr from the error on."""
    at = text.find("error: ") if text.startswith("error: ") else text.find("\nerror: ") + 1
    return text[at:] if at > 0 or text.startswith("error: ") else ""


def meet(world, name):
    """One command in the broken world: its exit code and screen, and how long it took."""
    began = time.monotonic()
    command = [*world.wrap, world.services.thalweg, *COMMANDS[name], "-c", "thalweg.toml"]
    done = subprocess.run(command, cwd=CASES / world.case, env=world.environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=4 * SECONDS_MAX)
    seconds = time.monotonic() - began
    for secret in ("USER_PASSWORD", "S3_SECRET"):
        value = world.env.get(secret)
        assert not value or value not in done.stdout + done.stderr, f"{name}: {secret} is shown\n{done.stderr}"
    assert "panicked" not in done.stderr, f"{name}: a panic\n{done.stderr}"
    shown = screen(done.stderr)
    assert shown or done.returncode == 0, f"{name}: exit {done.returncode} without a screen\n{done.stderr}"
    if shown:
        assert "remedy: " in shown, f"{name}: no remedy\n{shown}"
    return f"exit {done.returncode}\n{world.normal(shown)}", seconds


def judge(case, services, write):
    """None if both commands say what they should; else what is wrong. And the slower one's seconds."""
    if b"${env:S3}" in (CASES / case / "thalweg.toml").read_bytes() and not services.env["S3"]:
        raise LeftOut("no S3 server")
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"setup-{case}-"))
    world, wrong, slowest = World(case, services, directory), [], 0
    try:
        prepare = CASES / case / "prepare.py"
        if prepare.exists():
            exec(compile(prepare.read_text(), str(prepare), "exec"), {"world": world})
        before = world.state()
        for name in COMMANDS:
            said, seconds = meet(world, name)
            slowest = max(slowest, seconds)
            own = CASES / case / f"expected-{name}.txt"
            file = own if own.exists() else CASES / case / "expected.txt"
            if write and (name == "check" or own.exists()):
                file.write_text(said)
            expected = file.read_text() if file.exists() else "nothing is expected yet\n"
            if said != expected:
                wrong.append(f"{name} says\n{said}instead of\n{expected}")
            if seconds > SECONDS_MAX:
                wrong.append(f"{name} took {seconds:.1f} s")
            after = world.state()
            if after != before:
                changed = sorted(set(after.items()) ^ set(before.items()))
                wrong.append(f"{name} left something behind: {sorted({path for path, _ in changed})}")
    except (AssertionError, subprocess.SubprocessError) as problem:
        wrong.append(str(problem))
    finally:
        for held in world.held:
            held.close()
        shutil.rmtree(directory, ignore_errors=True)
    return "\n".join(wrong) or None, slowest


def judge_all(services, cases=(), write=False, at_once=4):
    """Figures of the cases that passed, and the failures by name."""
    cases = sorted(cases or (path.name for path in CASES.iterdir() if path.is_dir()))
    passed, failed, left_out = {}, {}, {}
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(judge, case, services, write): case for case in cases}
        for done in concurrent.futures.as_completed(running):
            case = running[done]
            try:
                wrong, seconds = done.result()
            except LeftOut as reason:
                left_out[case] = str(reason)
                continue
            if wrong:
                failed[case] = wrong
            else:
                passed[case] = seconds
    return passed, failed, left_out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage=argparse.SUPPRESS)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--thalweg", required=True)
    parser.add_argument("--kafka", required=True, metavar="LINE")
    parser.add_argument("--s3", metavar="LINE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    services = Services(options.thalweg, options.kafka, options.s3)
    passed, failed, left_out = judge_all(services, options.cases, options.write)
    for case, wrong in sorted(failed.items()):
        print(f"FAILED {case}: {wrong}")
    for case, reason in sorted(left_out.items()):
        print(f"LEFT OUT {case}: {reason}")
    slowest = max(passed.items(), key=lambda of: of[1], default=("", 0))
    print(f"{len(passed)} passed, {len(failed)} failed, {len(left_out)} left out; "
          f"the slowest {slowest[0]}, {slowest[1]:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
