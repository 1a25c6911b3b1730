"""Systems side by side: the same topics, one broker, interleaved rounds, every table compared with its topic.

Owns the order of things and the figures that follow: records per CPU-second
of everything that a system starts, ratios within a round, wall time, peak
memory, files and bytes. Wall time is secondary, since the broker and the
systems share the cores.
"""
import os
import shutil
import statistics

import peers
from harness import plot
from harness.judge import judge
from harness.measured import measured
from harness.tools import Failed, Generator, Services, Tools, machine, say

OWN = "thalweg"


def measure(options, scratch):
    tools, before = Tools(options.build), machine()
    systems = {name: peers.load(name) for name in options.systems}
    versions = {name: peer.prepare(tools) for name, peer in systems.items()}
    with Services(scratch, options.brokers) as services:
        bench = Bench(options, scratch, systems, Generator(tools, services.brokers()))
        workloads = {workload: bench.workload(workload) for workload in options.workloads}
    return {
        "kind": "rounds",
        "machine": before,
        "settings": {"cores": options.cores, "latency_s": options.latency, "rounds": options.rounds},
        "systems": {
            name: {"about": peer.ABOUT, "exactly_once": peer.EXACTLY_ONCE, "versions": versions[name]}
            for name, peer in systems.items()
        },
        "workloads": workloads,
    }


class Bench:
    """The topics of one broker, and the runs over them."""

    def __init__(self, options, scratch, systems, generator):
        self.options, self.scratch, self.systems, self.generator = options, scratch, systems, generator

    def workload(self, workload):
        topic, schema = f"bench-{workload}-{os.getpid()}", self.generator.schema(workload)
        sent = self.generator.fill(
            topic, workload, getattr(self.options, workload), self.options.partitions,
            codec=self.options.codec, seed=self.options.seed, more=self.options.generate,
        )  # fmt: skip
        left_out = {name: reason for name in self.systems if (reason := self.reason_without(name, workload, sent))}
        for name, reason in left_out.items():
            say(f"{workload} is left out for {name}: {reason}")
        if len(left_out) == len(self.systems):
            raise Failed(f"{workload}: no system is left")
        rounds = []
        for number in range(1, self.options.rounds + 1):
            runs = {}
            for name in (name for name in self.systems if name not in left_out):
                runs[name] = self.run(name, sent, schema)
                say(f"{workload} round {number} {line(name, runs[name])}")
            rounds.append(runs)
        return {"sent": sent, "rounds": rounds, "left_out": left_out} | summarized(rounds)

    def reason_without(self, name, workload, sent):
        """Why this system does not read this topic; None if it does."""
        peer = self.systems[name]
        if sent["malformed"] and not getattr(peer, "SKIPS", False):
            return "it ends at a record that is no row"
        return getattr(peer, "LACKS", {}).get(workload)

    def run(self, name, sent, schema):
        scratch = self.scratch / "job"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        job = peers.Job(
            brokers=self.generator.brokers, topic=sent["topic"], schema=schema, table=self.scratch / "table",
            scratch=scratch, cores=self.options.cores, latency_s=self.options.latency, file_bytes_max=128 << 20,
            bad_records=sent["malformed"] > 0,
        )  # fmt: skip
        shutil.rmtree(job.table, ignore_errors=True)
        cost = measured(name, self.systems[name].command(job), scratch)
        table = judge(name, sent, job.table, schema)
        cost["records_per_cpu_s"] = sent["rows"] / cost["cpu_s"]
        if "startup" in cost:
            cost["records_per_cpu_s_started"] = sent["rows"] / (cost["cpu_s"] - cost["startup"]["cpu_s"])
        return cost | table


def line(name, run):
    return (
        f"{name}: {run['records_per_cpu_s']:,.0f} records/CPU-s, {run['cpu_s']:.2f} s CPU, {run['wall_s']:.2f} s wall, "
        f"{run['rss_max_bytes'] / 1e6:.0f} MB, {run['files']} files of {run['bytes'] / 1e6:.1f} MB"
    )


# ---- figures ----------------------------------------------------------------------------------------------------


def summarized(rounds):
    summary = {name: system_summary([runs[name] for runs in rounds]) for name in rounds[0]}
    return {"summary": summary, "ratios": ratios(rounds)}


def system_summary(runs):
    """Spread of the rate that counts; median of wall time, largest memory, the last run's files."""
    spread = lambda values: [min(values), statistics.median(values), max(values)]
    summary = {
        "records_per_cpu_s": spread([run["records_per_cpu_s"] for run in runs]),
        "wall_s": spread([run["wall_s"] for run in runs]),
        "rss_max_bytes": max(run["rss_max_bytes"] for run in runs),
        "files": runs[-1]["files"],
        "bytes": runs[-1]["bytes"],
    }
    if all("startup" in run for run in runs):
        summary["records_per_cpu_s_started"] = spread([run["records_per_cpu_s_started"] for run in runs])
        summary["startup_cpu_s"] = statistics.median(run["startup"]["cpu_s"] for run in runs)
    return summary


def ratios(rounds):
    """Of our rate to each other system's in the same round."""
    found = {}
    for name in rounds[0] if OWN in rounds[0] else ():
        if name != OWN:
            each = [runs[OWN]["records_per_cpu_s"] / runs[name]["records_per_cpu_s"] for runs in rounds]
            found[name] = {"rounds": each, "min": min(each), "median": statistics.median(each), "max": max(each)}
    return found


def heading(workload, result):
    sent = result["sent"]
    return (
        f"{workload.upper()}: {sent['rows']:,} records of {sent['bytes'] / sent['records']:.0f} B, {sent['codec']}, "
        f"{len(sent['partitions'])} partitions, {len(result['rounds'])} rounds; every table equal to its topic"
    )


def text(result):
    lines = []
    for workload, figures in result["workloads"].items():
        lines += ["", heading(workload, figures)]
        lines.append(f"{'system':<16} {'records/CPU-s: min':>19} {'median':>10} {'max':>10} {'wall s':>8} {'peak RSS MB':>12} "
                     f"{'files':>6} {'table MB':>9}")
        for name, one in figures["summary"].items():
            low, middle, high = one["records_per_cpu_s"]
            lines.append(f"{name:<16} {low:>19,.0f} {middle:>10,.0f} {high:>10,.0f} {one['wall_s'][1]:>8.2f} "
                         f"{one['rss_max_bytes'] / 1e6:>12.0f} {one['files']:>6} {one['bytes'] / 1e6:>9.1f}")
            if "records_per_cpu_s_started" in one:
                low, middle, high = one["records_per_cpu_s_started"]
                lines.append(f"{'  without start':<16} {low:>19,.0f} {middle:>10,.0f} {high:>10,.0f}")
        for name, ratio in figures["ratios"].items():
            each = ", ".join(f"{value:.2f}" for value in ratio["rounds"])
            lines.append(f"{OWN} / {name}: median {ratio['median']:.2f}, rounds {each}")
        lines += left_out(figures)
    return "\n".join(lines)


def markdown(result):
    lines = []
    for workload, figures in result["workloads"].items():
        lines += [
            heading(workload, figures) + ".", "",
            "| system | records per CPU-second, median (min–max) | thalweg is, median (min–max) | wall s | peak RSS | files | table |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for name, one in fastest_first(figures):
            ratio = figures["ratios"].get(name)
            times = f"{ratio['median']:.1f} × ({ratio['min']:.1f}–{ratio['max']:.1f})" if ratio else "–"
            lines.append(
                f"| {named(result, name)} | {thousands(one['records_per_cpu_s'])} | {times} | {one['wall_s'][1]:.1f} | "
                f"{one['rss_max_bytes'] / 1e6:.0f} MB | {one['files']} | {one['bytes'] / 1e6:.1f} MB |"
            )
            if "records_per_cpu_s_started" in one:
                lines.append(f"| … without its start ({one['startup_cpu_s']:.1f} CPU-s) | "
                             f"{thousands(one['records_per_cpu_s_started'])} | "
                             f"{figures['summary'][OWN]['records_per_cpu_s'][1] / one['records_per_cpu_s_started'][1]:.1f} × "
                             "| | | | |" if OWN in figures["summary"] else "")
        lines += [f"\n{one}." for one in left_out(figures)] + [""]
    return "\n".join(lines + [f"{where(result)} Versions: {versions(result)}."])


def left_out(figures):
    return [f"Without {name}: {reason}" for name, reason in figures.get("left_out", {}).items()]


def fastest_first(figures):
    return sorted(figures["summary"].items(), key=lambda item: -item[1]["records_per_cpu_s"][1])


def named(result, name):
    about = result["systems"][name]["about"]
    return f"**{name}**" if name == OWN else about


def thousands(spread):
    low, middle, high = (f"{value / 1e3:,.0f} k" for value in spread)
    return f"{middle} ({low}–{high})"


def where(result):
    found = result["machine"]
    return f"{found['cores']} cores of {found['cpu']}, {found['memory_bytes'] / 2**30:.0f} GiB, Linux {found['kernel']}."


def versions(result):
    each = lambda system: ", ".join(f"{part} {version}" for part, version in system["versions"].items())
    return "; ".join(f"{name}: {each(system)}" for name, system in result["systems"].items())


def plots(result):
    found = {}
    for workload, figures in result["workloads"].items():
        rows = [(name, *one["records_per_cpu_s"], f"{one['records_per_cpu_s'][1] / 1e3:,.0f} k")
                for name, one in fastest_first(figures)]
        sent = figures["sent"]
        note = (f"{sent['rows']:,} JSON records of {sent['bytes'] / sent['records']:.0f} B, {sent['codec']}, Kafka to Delta, "
                f"exactly once; median of {len(figures['rounds'])} rounds, min and max")
        found[f"rounds-{workload}"] = plot.bars(f"{workload.upper()}: records per CPU-second", note, rows)
    return found
