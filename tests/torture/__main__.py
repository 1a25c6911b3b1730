"""Kills, freezes and starves instances of thalweg on real Kafka and real S3, and proves after each round
that every record is a row or a dead letter, once.

  tools/torture --minutes 60           rounds until the hour is over
  tools/torture --kills 30             the short form of CI
  tools/torture --round 7 --seed 3     that round again (what is drawn repeats, moments do not)
  tools/torture --ledger               what was run so far, added up

A round has a topic (one that is produced into meanwhile, with aborted
transactions and broken records, or one that is full already), one to three
tables on local disk, on S3 behind tools/faults or on a small tmpfs, and one
instance or up to three of a group. Instances are killed at random moments and
at chosen system calls (strace), frozen beyond their session and thawed; the
broker is killed and paused, S3 refuses, forgets, cuts, stalls and denies, the
disk is full, partitions are added. Then faults stop, and the oracles judge:
lag goes to 0 in time, every instance ends in order, each record of an
independent read_committed dump stands in each table once and equal, and the
log is sound at every version.

Exit 0 without violations, 1 with: the state is kept then.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
for name in ("oracle", "acceptance"):
    sys.path.append(os.path.join(os.path.dirname(HERE), name))

import lake  # noqa: E402
import ledger  # noqa: E402
from bench import ROOT, TOOLS, Bench, Failure, call, say  # noqa: E402
from instances import can_inject  # noqa: E402
from round import Round  # noqa: E402

ROUND_SECONDS = 60
UNJUDGED_MAX = 3
FULL_TOPIC = "torture-full"
FULL_PARTITIONS = 8


@dataclass
class Plan:
    """What a round is made of. `tables`: (store, raw bytes)."""

    tables: list
    assignor: str | None = None
    bad: float = 0
    rate: int = 4_000
    partitions: int = 6
    topic: str | None = None
    schema: str | None = None
    broker_deaths: bool = True


def plans(full_schema, small):
    """The rounds, over and over. Three tables verify what is produced three times."""
    full = {"topic": FULL_TOPIC, "partitions": FULL_PARTITIONS, "schema": full_schema, "broker_deaths": False}
    return [
        Plan([("local", False), ("s3", True), small], bad=10),
        Plan([("s3", False)], assignor="cooperative-sticky", bad=5),
        Plan([("local", True), ("s3", True), ("local", True)], **full),
        Plan([("local", False)], assignor="range", bad=5),
        Plan([("s3", False), small], bad=10),
        Plan([("local", True)], assignor="cooperative-sticky", **full),
        Plan([("s3", True), ("local", False)], **full),
        Plan([("s3", True)], assignor="range"),
    ]


class Services:
    """What all rounds share beside the bench's services."""

    def __init__(self, bench, injects, others):
        self.injects, self.others = injects, others
        self.directory = f"{bench.work}/faults"
        line = call(f"{TOOLS}/faults", "start", "--dir", self.directory, "--upstream", bench.s3(), "--while", os.getpid())
        self.proxy = line.split()[0].removeprefix("endpoint=")

    def stop(self):
        subprocess.run([f"{TOOLS}/faults", "stop", "--dir", self.directory])


def mounts():
    """Whether a small file system can be had."""
    with tempfile.TemporaryDirectory() as directory:
        tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", directory], stderr=subprocess.DEVNULL)
        if tried.returncode == 0:
            subprocess.run(["umount", directory])
        return tried.returncode == 0


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("--minutes", type=float, help="rounds until then")
    parser.add_argument("--kills", type=int, help="rounds until so many kills")
    parser.add_argument("--round", type=int, help="only this one")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--records", type=int, default=2_000_000, help="of the topic that is full from the start")
    parser.add_argument("--work", metavar="DIR", help="keep everything there")
    parser.add_argument("--thalweg", metavar="BINARY", help="without it: built, release")
    parser.add_argument("--other", metavar="BINARY", action="append", default=[],
                        help="an older version that some instances run: a rolling upgrade")
    parser.add_argument("--generate", metavar="BINARY", help="the load generator; likewise")
    parser.add_argument("--without", type=lambda text: text.split(","), default=[], metavar="NAME,...",
                        help="leave out: inject, disk")
    parser.add_argument("--note", action="store_true", help="add the figures to the ledger")
    parser.add_argument("--ledger", action="store_true", help="show the ledger's sums and end")
    options = parser.parse_args()
    if options.ledger:
        print(ledger.shown())
        return 0
    if options.minutes is None and options.kills is None and options.round is None:
        parser.error("one of --minutes, --kills, --round")
    options.scale = 1.0
    work = os.path.abspath(options.work) if options.work else tempfile.mkdtemp(prefix="thalweg-torture-")
    os.makedirs(f"{work}/tables", exist_ok=True)
    bench = Bench(options, work)
    return torture(bench, options)


def torture(bench, options):
    injects, small = can_inject(), ("small", False)
    if "inject" in options.without:
        injects = False
    elif not injects:
        say("LEFT OUT: kills at chosen system calls, there is no strace that may trace here")
    if "disk" in options.without:
        small = ("local", False)
    elif not mounts():
        say("LEFT OUT: full disks, no tmpfs can be mounted here (root can)")
        small = ("local", False)
    services = Services(bench, injects, options.other)
    began, total, rounds, broken, unjudged = time.monotonic(), Counter(), 0, None, []
    try:
        chosen = plans(None, small)
        if options.kills is None:
            chosen = plans(full_topic(bench, options), small)
        else:
            chosen = [plan for plan in chosen if not plan.topic]
        number = options.round or 0
        while goes_on(options, began, total, rounds):
            plan = chosen[number % len(chosen)]
            # Most of them where a round has a process for each of three tables, the others in a group.
            kills = options.kills and min(max(5, options.kills * 2 // 3), options.kills - total["kills"])
            round_ = Round(bench, services, number, options.seed, plan)
            began_round = time.monotonic()
            try:
                round_.run(ROUND_SECONDS, kills)
            except Failure as failure:
                broken = failure
            except Exception as error:  # a service of ours that did not come back is no finding
                unjudged.append(error)
                say(f"round {number} could not be judged: {error!r:.500}")
                if len(unjudged) > UNJUDGED_MAX:
                    raise
                number += 1
                continue
            for name, count in round_.done.items():
                total[name] = max(total[name], count) if name.startswith(("slowest", "highest")) else total[name] + count
            rounds += 1
            outcome = "VIOLATED" if broken else "ok"
            say(f"round {number} {outcome} ({time.monotonic() - began_round:.0f} s): {dict(sorted(round_.done.items()))}")
            if broken:
                print(f"VIOLATION in round {number} of seed {options.seed}: {broken}\n"
                      f"again: tools/torture --seed {options.seed} --round {number}")
                break
            number += 1
    except KeyboardInterrupt:
        say("interrupted: what was judged until now counts")
    finally:
        services.stop()
        bench.stop()
        if broken or options.work:
            print(f"kept {bench.work}", file=sys.stderr)
        else:
            shutil.rmtree(bench.work, ignore_errors=True)
    entry = figures(bench, options, began, rounds, total, broken)
    if options.note:
        ledger.append(entry)
    print("; ".join(f"{name} {value}" for name, value in entry.items()))
    return 1 if broken else 0


def goes_on(options, began, total, rounds):
    if options.round is not None:
        return rounds == 0
    if options.kills is not None:
        return total["kills"] < options.kills
    return time.monotonic() - began < options.minutes * 60


def full_topic(bench, options):
    """A topic that several rounds read, dumped once; its schema."""
    return bench.workload(FULL_TOPIC, "w1", options.records, partitions=FULL_PARTITIONS)


def figures(bench, options, began, rounds, total, broken):
    version = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=8", "HEAD"], stdout=subprocess.PIPE, text=True)
    faults = {name.removeprefix("faults "): count for name, count in sorted(total.items())
              if name.startswith("faults ") or name in ("starts of another version", "freezes", "could not start", "gave way", "leaves", "starts")}
    return {
        "date": time.strftime("%Y-%m-%d"), "commit": version.stdout.strip(), "seed": options.seed,
        "minutes": round((time.monotonic() - began) / 60, 1), "rounds": rounds, "kills": total["kills"],
        "kills at a system call": total["kills at a system call"], "zombies": total["zombies"],
        "rebalances": total["rebalances"], "records verified": total["records verified"],
        "slowest catch-up s": total["slowest catch-up ms"] / 1000, "slowest drain s": total["slowest drain ms"] / 1000,
        "highest memory MiB": total["highest memory MiB"], "violations": 1 if broken else 0, "faults": faults,
    }


if __name__ == "__main__":
    lake.run(main)
