"""Is the table its topic? Counts, checksums and offsets, read by others than the writer."""
import json

from harness.tools import BENCH, TOOLS, Failed, call


def judge(system, sent, table, schema, storage=()):
    """Rows, files and bytes of the table; Failed unless it holds the topic exactly once."""
    more = [word for pair in storage for word in ("--storage", pair)]
    found = json.loads(call(TOOLS / "python", BENCH / "table_checksum.py", table, "--schema", schema, *more))
    problems = differences(sent, found)
    if problems:
        raise Failed(f"{system}: the table is not the topic\n  " + "\n  ".join(problems))
    return {key: found[key] for key in ("rows", "checksum", "version", "files", "bytes")}


def differences(sent, found):
    """What is not as it was sent: as many rows, the same hashes, each offset once."""
    problems = [
        f"{key}: sent {sent[key]}, in table {found[key]}" for key in ("rows", "checksum") if sent[key] != found[key]
    ]
    if "partitions" not in found:
        return [*problems, "no columns `_partition` and `_offset`"]
    for partition, expected in sent["partitions"].items():
        got = found["partitions"].get(partition)
        if got is None:
            if expected["rows"]:
                problems.append(f"partition {partition}: nothing in table")
            continue
        if got["offsets"] != got["rows"]:
            problems.append(f"partition {partition}: {got['rows'] - got['offsets']} rows are doubled")
        keys = ["rows", "checksum"]
        if not expected["malformed"]:
            keys += ["offset_first", "offset_next"]
        for key in keys:
            if got[key] != expected[key]:
                problems.append(f"partition {partition} {key}: sent {expected[key]}, in table {got[key]}")
    return problems
