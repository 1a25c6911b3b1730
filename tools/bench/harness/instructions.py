"""Instructions per row of a stage, by callgrind, against a checked-in table.

The counts repeat to a fraction of a per cent on any load, which no time does.
Owns the counting, the table and the verdict; the stages are
benches/instructions.rs. A row's cost is (Ir(2N) - Ir(N)) / N, so that making
the rows, warming up and starting cost nothing.
"""
import json
import os
import platform
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.tools import BENCH, ROOT, Failed, Tools, call, say

TABLE = BENCH / "instructions.tsv"
OURS = ("decode", "encode", "turn")
WORSE = 0.03
LISTED = 8

# How many times fewer instructions than a twin a stage is meant to take.
GOALS = {
    ("decode/w1_stable", "arrow_json/w1_stable"): 6,
    ("decode/w1_stable", "sonic_typed/w1_stable"): 3,
    ("decode/w3_nested", "arrow_json/w3_nested"): 6,
    ("decode/w3_events", "arrow_json/w3_events"): 6,
    ("encode/w1_stable", "arrow_writer_tuned/w1_stable"): 2,
    ("encode/w3_nested", "arrow_writer_tuned/w3_nested"): 1.5,
} | {
    (f"decode/{workload}_{less_friendly}", f"arrow_json/{workload}_{less_friendly}"): 2
    for workload in ("w1", "w3")
    for less_friendly in ("shuffled", "missing", "escapes", "shapes")
}

# sonic-rs into a typed struct knows W1 alone.
TYPED = "w1_"


def measure(options, scratch):
    stages = {name: stage for name, stage in listed(options, scratch).items() if re.search(options.only or "", name)}

    before, where = read_table()

    def is_worse(name, found):
        return name.split("/")[0] in OURS and found > before.get(name, found) * (1 + WORSE)

    def count(name):
        found = per_row(name, stages[name], scratch)
        if where == here() and is_worse(name, found):
            # Hash seeds are random: what is worse must be so twice.
            found = min(found, per_row(name, stages[name], scratch))
        say(f"{name}: {found:,.0f}")
        return found

    with ThreadPoolExecutor(options.jobs) as pool:
        counts = dict(zip(stages, pool.map(count, stages)))
    listings = listings_of(stages, scratch) if options.json or options.markdown or options.docs else {}
    if options.write:
        write_table((before if where == here() else {}) | counts)
    elif where != here():
        say(f"the table is of other compilers or libraries, so nothing is compared: {where}; here: {here()}")
        before = {}
    worse = [name for name, found in counts.items() if is_worse(name, found)]
    return {"kind": "instructions", "counts": counts, "before": before, "listings": listings,
            "bytes": {name: stage.bytes for name, stage in stages.items()},
            "worse": worse, "exit": 1 if worse and not options.write else 0}


@dataclass
class Stage:
    """A command that wants a number of passes as its last word, the rows of a pass, the bytes of a row."""

    command: list
    rows: int
    bytes: int


def listed(options, scratch):
    """The stages of benches/instructions.rs by name, and the twin that is a program of its own."""
    binary = executable(options.build)
    lines = [line.split() for line in call(binary).splitlines()]
    stages = {name: Stage([binary, name], int(rows), int(size)) for name, rows, size in lines}
    wanted = [name for name in stages if name.startswith(f"decode/{TYPED}")]
    wanted = [name for name in wanted if re.search(options.only or "", typed_name(name))]
    typed = Tools(options.build).binary("thalweg-typed", "typed") if wanted else None
    for name in wanted:
        rows = scratch / f"{name.split('/')[1]}.ndjson"
        rows.write_text(call(binary, "rows", name.split("/")[1]))
        stages[typed_name(name)] = Stage([typed, rows], len(rows.read_text().splitlines()), stages[name].bytes)
    return stages


def typed_name(decode):
    return decode.replace("decode/", "sonic_typed/")


def executable(build):
    """The stages' program, of the release profile."""
    if build:
        call("cargo", "build", "--release", "--locked", "--quiet", "--example", "instructions", cwd=ROOT)
    found = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples" / "instructions"
    if not found.exists():
        raise Failed("no binary is there: cargo build --release --example instructions")
    return found


def passes_of(stage):
    """Some tens of thousands of rows, or one file's: enough for a steady figure, seconds of waiting."""
    return max(1, 16_384 // stage.rows)


def per_row(name, stage, scratch):
    passes = passes_of(stage)
    once, twice = (instructions(name, stage, passes * times, scratch) for times in (1, 2))
    return (twice - once) / (passes * stage.rows)


def profile(name, passes, scratch):
    return scratch / f"{name.replace('/', '-')}-{passes}"


def last(name, stage, scratch):
    return profile(name, 2 * passes_of(stage), scratch)


def instructions(name, stage, passes, scratch):
    out = profile(name, passes, scratch)
    words = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--log-file=/dev/null", *stage.command, passes]
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failed(f"{name} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    total = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
    return int(total[1])


def listings_of(stages, scratch):
    """By stage of ours, the functions that take most of it."""
    ours = {name: stage for name, stage in stages.items() if name.split("/")[0] in OURS}
    return {name: listing(last(name, stage, scratch)) for name, stage in ours.items()}


def listing(out):
    """The functions of a stage that take most of it: (share, function). Ours and the compressor's, so that making the rows is left out."""
    found, total = {}, 0
    words = ["callgrind_annotate", "--threshold=100", out]
    # It warns of sources that it does not find, and finds those of no crate.
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    for line in said.splitlines():
        match = re.match(r"\s*([\d,]+) \([ \d.]+%\)\s+\S*?:(.+?)(?: \[[^\]]*\])?$", line)
        if match and re.match(r"<?thalweg::(?!ids)|ZSTD|HUF_|HIST_|FSE_|simdutf8", match[2]):
            count = int(match[1].replace(",", ""))
            name = re.sub(r"::h[0-9a-f]{16}|'\d+$", "", match[2]).strip()
            found[name] = found.get(name, 0) + count
            total += count
    most = sorted(found.items(), key=lambda item: -item[1])[:LISTED]
    return [(count / total, name) for name, count in most]


def here():
    """What counts depend on besides the code: compiler, C library, the instruction sets that a program sees."""
    compiler = call("rustc", "--version").split()[1]
    with open("/proc/cpuinfo") as text:
        flags = set(re.search(r"^flags\s*:(.*)$", text.read(), re.MULTILINE)[1].split())
    sets = "+".join(name for name in ("avx2", "bmi2", "erms", "fsrm") if name in flags)
    return f"rustc {compiler}, {' '.join(platform.libc_ver())}, {sets}"


def read_table():
    """The counts by stage, and where they were made."""
    if not TABLE.exists():
        return {}, ""
    first, *lines = TABLE.read_text().splitlines()
    counts = [line.split("\t") for line in lines if not line.startswith("#")]
    return {name: float(count) for name, count in counts}, first.removeprefix("# ")


def write_table(counts):
    lines = [f"# {here()}", "# stage\tinstructions a row; tools/bench/instructions --write"]
    TABLE.write_text("\n".join(lines + [f"{name}\t{count:.0f}" for name, count in sorted(counts.items())]) + "\n")


# ---- figures ----------------------------------------------------------------------------------------------------


def text(result):
    lines = ["", f"{'stage':<34} {'instructions/row':>16} {'table':>10} {'change':>8}"]
    for name, count in result["counts"].items():
        before = result["before"].get(name)
        change = f"{count / before - 1:+.1%}" if before else "new"
        lines.append(f"{name:<34} {count:>16,.0f} {before or 0:>10,.0f} {change:>8}")
    for (ours, twin), goal, ratio in ratios(result):
        verdict = "reached" if ratio >= goal else "NOT reached"
        lines.append(f"{ours}: 1/{ratio:.1f} of {twin}; asked for 1/{goal:g}, {verdict}")
    for name in result["worse"]:
        lines.append(f"{name} takes more than {WORSE:.0%} more instructions than tools/bench/instructions.tsv says")
    return "\n".join(lines)


def ratios(result):
    counts = result["counts"]
    return [((ours, twin), goal, counts[twin] / counts[ours]) for (ours, twin), goal in GOALS.items()
            if ours in counts and twin in counts]


def markdown(result):
    lines = table(result, "decode", ("arrow_json", "sonic_typed")) + [""]
    lines += table(result, "encode", ("arrow_writer_tuned", "arrow_writer"), more=("turn",))
    lines += [""] if result["listings"] else []
    for name, functions in result["listings"].items():
        shares = "; ".join(f"{share:.0%} `{function}`" for share, function in functions)
        lines.append(f"- {name}: {shares}")
    return "\n".join(lines)


def table(result, kind, twins, more=()):
    """A row for each of a stage's workloads: ours, the twins and how many times as much they take, what was asked for."""
    counts, goals = result["counts"], {ours: [] for ours, _ in GOALS}
    for (ours, twin), goal in GOALS.items():
        goals[ours].append(f"{goal:g} × {twin.split('/')[0]}")
    lines = ["| " + " | ".join(["rows", kind, *twins, "asked for", *more]) + " |", "|---" * (3 + len(twins) + len(more)) + "|"]
    for name in (name for name in counts if name.startswith(f"{kind}/")):
        rows = name.split("/")[1]
        cells = [f"{rows}, {result['bytes'][name]} B", f"{counts[name]:,.0f}"]
        for twin in (counts.get(f"{twin}/{rows}") for twin in twins):
            cells.append(f"{twin:,.0f}: {twin / counts[name]:.1f} ×" if twin else "")
        cells.append(", ".join(goals.get(name, [])))
        cells += [f"{counts[other]:,.0f}" if (other := f"{one}/{rows}") in counts else "" for one in more]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def plots(_result):
    return {}
