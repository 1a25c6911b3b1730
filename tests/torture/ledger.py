"""What was run so far: a line of JSON for each run, and their sums.

Owns `ledger.jsonl` beside this file. A run adds to it when it is told to.
"""
import json
import os
from collections import Counter

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ledger.jsonl")
SUMMED = ("minutes", "rounds", "kills", "kills at a system call", "zombies", "rebalances", "records verified", "violations")


def append(entry):
    with open(FILE, "a") as file:
        file.write(json.dumps(entry) + "\n")


def entries():
    if not os.path.exists(FILE):
        return []
    with open(FILE) as file:
        return [json.loads(line) for line in file if line.strip()]


def shown():
    found = entries()
    sums = {name: sum(entry[name] for entry in found) for name in SUMMED}
    faults = sum((Counter(entry["faults"]) for entry in found), Counter())
    commits = len({entry["commit"] for entry in found})
    lines = [f"{len(found)} runs of {commits} commits"]
    lines += [f"{sums[name]:>14,.0f}  {name}" for name in SUMMED]
    lines += [f"{count:>14,}  {name}" for name, count in sorted(faults.items())]
    return "\n".join(lines)
