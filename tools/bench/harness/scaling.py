"""What a second core brings: one process on two cores against two processes that share nothing.

Owns three ways of the same records: one process on one core; two processes on
a core each, each with half of the partitions; one process on two cores. The
second is the most that any sharing could reach beside the same broker. Wall
time is what a second core is for, so it counts here; CPU time is beside it.
"""
import os
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor

import peers
from harness.judge import judge
from harness.measured import measured
from harness.rounds import where
from harness.tools import Failed, Generator, Services, Tools, machine, say

WAYS = ("one", "copies", "two")


def measure(options, scratch):
    tools, before = Tools(options.build), machine()
    thalweg = peers.load("thalweg")
    thalweg.prepare(tools)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Failed("two cores are needed")
    with Services(scratch, options.brokers) as services:
        generator = Generator(tools, services.brokers())
        runs = Runs(options, scratch, thalweg, generator, cpus)
        rounds = [runs.round(number) for number in range(1, options.rounds + 1)]
    return {"kind": "scaling", "machine": before, "records": options.records, "workload": options.workload, "rounds": rounds}


class Runs:
    def __init__(self, options, scratch, thalweg, generator, cpus):
        self.options, self.scratch, self.thalweg, self.generator, self.cpus = options, scratch, thalweg, generator, cpus
        self.schema = generator.schema(options.workload)
        fill = lambda name, records, partitions: generator.fill(
            f"scaling-{name}-{os.getpid()}", options.workload, records, partitions, seed=options.seed
        )
        partitions = options.partitions
        self.whole = fill("whole", options.records, partitions)
        self.halves = [fill(f"half-{half}", options.records // 2, partitions // 2) for half in (0, 1)]

    def round(self, number):
        one, two = self.cpus[:1], self.cpus[:2]
        figures = {"one": [self.run("one", self.whole, one)]}
        with ThreadPoolExecutor(2) as pool:
            each = [pool.submit(self.run, f"copy-{half}", self.halves[half], [self.cpus[half]]) for half in (0, 1)]
            figures["copies"] = [run.result() for run in each]
        figures["two"] = [self.run("two", self.whole, two)]
        found = {way: totals(runs) for way, runs in figures.items()}
        say(f"round {number}: " + ", ".join(f"{way} {one['records_per_s']:,.0f}/s" for way, one in found.items()))
        return found

    def run(self, name, sent, cpus):
        scratch = self.scratch / name
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "job").mkdir(parents=True)
        job = peers.Job(self.generator.brokers, sent["topic"], self.schema, scratch / "table", scratch / "job", len(cpus), 10, 128 << 20)
        words = self.thalweg.command(job)
        # The port of /metrics is one for all: whoever comes second does without it.
        cost = measured(name, words, job.scratch, cpus=",".join(map(str, cpus)))
        judge(name, sent, job.table, self.schema)
        return cost | {"rows": sent["rows"]}


def totals(runs):
    """Of processes that ran at the same time: the slowest ends it."""
    rows, wall, cpu = sum(run["rows"] for run in runs), max(run["wall_s"] for run in runs), sum(run["cpu_s"] for run in runs)
    return {"records_per_s": rows / wall, "records_per_cpu_s": rows / cpu, "wall_s": wall, "cpu_s": cpu}


def shares(result, key):
    """Of two copies' rate, what two cores in one process reach, by round."""
    return [found["two"][key] / found["copies"][key] for found in result["rounds"]]


def text(result):
    lines = ["", f"{result['workload'].upper()}, {result['records']:,} records, broker on the same cores"]
    for way in WAYS:
        for key, unit in (("records_per_s", "records/s"), ("records_per_cpu_s", "records/CPU-s")):
            values = [found[way][key] for found in result["rounds"]]
            lines.append(f"{way:<8} {unit:<14} median {statistics.median(values):>12,.0f}  ({min(values):,.0f}–{max(values):,.0f})")
    for key, what in (("records_per_s", "throughput"), ("records_per_cpu_s", "records per CPU-second")):
        each = shares(result, key)
        lines.append(f"two cores / two copies, {what}: median {statistics.median(each):.1%}, "
                     f"rounds {', '.join(f'{value:.1%}' for value in each)}")
    return "\n".join(lines)


def markdown(result):
    lines = ["| | records a second | records per CPU-second |", "|---|---|---|"]
    names = {"one": "one process, one core", "copies": "two processes, a core and half of the partitions each",
             "two": "one process, two cores"}
    middle = lambda way, key: statistics.median(found[way][key] for found in result["rounds"])
    for way in WAYS:
        lines.append(f"| {names[way]} | {middle(way, 'records_per_s') / 1e3:,.0f} k | {middle(way, 'records_per_cpu_s') / 1e3:,.0f} k |")
    both = [statistics.median(shares(result, key)) for key in ("records_per_s", "records_per_cpu_s")]
    lines += [f"| **two cores of two copies** | **{both[0]:.0%}** | **{both[1]:.0%}** |", "",
              f"{result['workload'].upper()}, {result['records']:,} records, {len(result['rounds'])} rounds, the broker on the "
              f"same cores. {where(result)}"]
    return "\n".join(lines)


def plots(_result):
    return {}
