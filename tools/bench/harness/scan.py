"""How fast others read our files: DuckDB and Polars, over the tables that each system wrote from the same topic.

Owns the making of the tables and the ratios; the queries are ../scan_time.py.
"""
import json
import os
import statistics

import peers
from harness.judge import judge
from harness.measured import measured
from harness.rounds import OWN
from harness.tools import BENCH, TOOLS, Generator, Services, Tools, call, machine, say


def measure(options, scratch):
    tools, before = Tools(options.build), machine()
    systems = {name: peers.load(name) for name in options.systems}
    for peer in systems.values():
        peer.prepare(tools)
    workloads = {}
    with Services(scratch, options.brokers) as services:
        generator = Generator(tools, services.brokers())
        for workload in options.workloads:
            workloads[workload] = compared(options, scratch, systems, generator, workload)
    return {"kind": "scan", "machine": before, "workloads": workloads}


def compared(options, scratch, systems, generator, workload):
    schema = generator.schema(workload)
    sent = generator.fill(f"scan-{workload}-{os.getpid()}", workload, getattr(options, workload), 4, seed=options.seed)
    tables = {}
    for name, peer in systems.items():
        here = scratch / f"{workload}-{name}"
        (here / "job").mkdir(parents=True)
        job = peers.Job(generator.brokers, sent["topic"], schema, here / "table", here / "job", 2, 60, 128 << 20)
        measured(name, peer.command(job), job.scratch)
        tables[name] = judge(name, sent, job.table, schema) | {"location": str(job.table)}
        say(f"{workload} {name}: {tables[name]['files']} files, {tables[name]['bytes'] / sent['rows']:.2f} B a row")
    places = [f"{name}={table['location']}" for name, table in tables.items()]
    said = call(TOOLS / "python", BENCH / "scan_time.py", "--schema", schema, "--rounds", options.rounds, *places)
    times = [json.loads(line) for line in said.splitlines()]
    return {"rows": sent["rows"], "tables": tables, "times": times}


def ratios(figures):
    """Our time to each other system's, by engine, query and round."""
    found = {}
    at = {(one["round"], one["engine"], one["query"], one["table"]): one["cpu_s"] for one in figures["times"]}
    for (number, engine, query, table), spent in at.items():
        if table != OWN and (number, engine, query, OWN) in at:
            found.setdefault((engine, query, table), []).append(at[number, engine, query, OWN] / spent)
    return found


def middle(figures, engine, query, table):
    return statistics.median(one["cpu_s"] for one in figures["times"]
                             if (one["engine"], one["query"], one["table"]) == (engine, query, table))


def text(result):
    lines = []
    for workload, figures in result["workloads"].items():
        lines += ["", f"{workload.upper()}, {figures['rows']:,} rows; bytes a row: " + ", ".join(
            f"{name} {table['bytes'] / figures['rows']:.2f}" for name, table in figures["tables"].items())]
        for (engine, query, table), each in ratios(figures).items():
            lines.append(f"{engine:<7} {query:<24} ours {middle(figures, engine, query, OWN) * 1e3:>7.1f} ms, of {table} "
                         f"{middle(figures, engine, query, table) * 1e3:>7.1f} ms: {statistics.median(each):.2f} × "
                         f"({min(each):.2f}–{max(each):.2f})")
    return "\n".join(lines)


def markdown(result):
    lines = ["| workload | engine | query | our files, ms | of | theirs, ms | ours is, median (min–max) |", "|---|---|---|---|---|---|---|"]
    for workload, figures in result["workloads"].items():
        for (engine, query, table), each in ratios(figures).items():
            lines.append(f"| {workload.upper()} | {engine} | {query} | {middle(figures, engine, query, OWN) * 1e3:.0f} | {table} | "
                         f"{middle(figures, engine, query, table) * 1e3:.0f} | {statistics.median(each):.2f} × "
                         f"({min(each):.2f}–{max(each):.2f}) |")
    lines.append("")
    for workload, figures in result["workloads"].items():
        sizes = ", ".join(f"{name} {table['bytes'] / figures['rows']:.2f}" for name, table in figures["tables"].items())
        lines.append(f"{workload.upper()}: {figures['rows']:,} rows; bytes a row: {sizes}.")
    return "\n".join(lines)


def plots(_result):
    return {}
