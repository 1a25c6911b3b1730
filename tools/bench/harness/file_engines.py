"""thalweg from Kafka to a committed table, beside DuckDB from a local file of the same records to Parquet.

DuckDB has less to do: no broker, no offsets, no table. Owns the file, the
rounds and the figures, in CPU nanoseconds a record. DuckDB runs on one thread
and only its COPY counts, not its start.
"""
import json
import os
import shutil
import statistics

import peers
from harness.judge import judge
from harness.measured import measured
from harness.tools import BENCH, TOOLS, Failed, Generator, Services, Tools, call, machine, say


def measure(options, scratch):
    tools, before = Tools(options.build), machine()
    thalweg = peers.load("thalweg")
    thalweg.prepare(tools)
    workloads = {}
    with Services(scratch, options.brokers) as services:
        generator = Generator(tools, services.brokers())
        for workload in options.workloads:
            workloads[workload] = compared(options, scratch, thalweg, generator, workload)
    versions = tools.packages(tools.python(), "duckdb")
    return {"kind": "file_engines", "machine": before, "versions": versions, "workloads": workloads}


def compared(options, scratch, thalweg, generator, workload):
    schema = generator.schema(workload)
    sent = generator.fill(f"file-{workload}-{os.getpid()}", workload, getattr(options, workload), 4, seed=options.seed)
    lines = scratch / f"{workload}.ndjson"
    convert = [TOOLS / "python", BENCH / "duckdb_file.py"]
    call(*convert, "fetch", "--brokers", generator.brokers, "--topic", sent["topic"], "--out", lines)
    rounds = []
    for number in range(1, options.rounds + 1):
        here = scratch / "run"
        shutil.rmtree(here, ignore_errors=True)
        (here / "job").mkdir(parents=True)
        job = peers.Job(generator.brokers, sent["topic"], schema, here / "table", here / "job", options.cores, 10, 128 << 20)
        cost = measured("thalweg", thalweg.command(job), job.scratch)
        judge("thalweg", sent, job.table, schema)
        said = json.loads(call(*convert, "copy", "--file", lines, "--schema", schema, "--out", here / "out.parquet"))
        if said["rows"] != sent["rows"]:
            raise Failed(f"DuckDB wrote {said['rows']} rows of {sent['rows']}")
        rounds.append({"thalweg": cost["cpu_s"] / sent["rows"] * 1e9, "duckdb": said["cpu_s"] / sent["rows"] * 1e9})
        say(f"{workload} round {number}: " + ", ".join(f"{name} {ns:,.0f} ns" for name, ns in rounds[-1].items()))
    lines.unlink()
    return {"rows": sent["rows"], "bytes": sent["bytes"], "rounds": rounds}


def spread(figures, name):
    values = [found[name] for found in figures["rounds"]]
    return min(values), statistics.median(values), max(values)


def ratio(figures):
    return statistics.median(found["duckdb"] / found["thalweg"] for found in figures["rounds"])


def text(result):
    lines = [""]
    for workload, figures in result["workloads"].items():
        lines.append(f"{workload.upper()}, {figures['rows']:,} records of {figures['bytes'] / figures['rows']:.0f} B, CPU ns a record")
        for name in ("thalweg", "duckdb"):
            low, middle, high = spread(figures, name)
            lines.append(f"  {name:<8} {middle:>8,.0f}  ({low:,.0f}–{high:,.0f})")
        lines.append(f"  DuckDB / thalweg, median {ratio(figures):.2f}")
    return "\n".join(lines)


def markdown(result):
    lines = ["| workload | thalweg: Kafka → committed table, CPU ns a record | DuckDB: local file → Parquet, one thread | DuckDB takes |",
             "|---|---|---|---|"]
    for workload, figures in result["workloads"].items():
        each = ["{1:,.0f} ({0:,.0f}–{2:,.0f})".format(*spread(figures, name)) for name in ("thalweg", "duckdb")]
        size = figures["bytes"] / figures["rows"]
        lines.append(f"| {workload.upper()}, {figures['rows']:,} × {size:.0f} B | {each[0]} | {each[1]} | {ratio(figures):.2f} × |")
    return "\n".join([*lines, "", f"DuckDB {result['versions']['duckdb']}; medians (min–max)."])


def plots(_result):
    return {}
