"""The cost of a table's size: a commit, a start and a checkpoint at 1,000,000 files and at 1,000."""
import json
import os
import subprocess

from bench import TOOLS, Failure, expect, say

FILES, VERSION_FILES = 1_000_000, 10_000


def commits(bench):
    """a commit, a start and a checkpoint of 1,000,000 files: row 12's limits, and delta-rs beside"""
    files = max(1000, int(FILES * bench.options.scale))
    table = f"{bench.work}/tables/{bench.fresh('commits')}"
    limits = [] if bench.options.scale >= 1 else ["--no-limits"]
    command = [bench.criterion("commit"), "limits", "--files", files, "--version-files", VERSION_FILES, "--keep", table]
    done = subprocess.run([*map(str, command), *limits], stdout=subprocess.PIPE, text=True)
    say(done.stdout.strip())
    expect(done.returncode in (0, 1), f"exit {done.returncode}")
    figures = json.loads(done.stdout.splitlines()[-1])
    expect(done.returncode == 0, f"past a limit: {figures['past']}")
    counted = twin("count", table)
    expect(counted["checkpoint"] == counted["version"], f"the last checkpoint is not of the last version: {counted}")
    for name in ("files", "in_checkpoint", "different"):
        expect(counted[name] == figures["files"], f"{figures['files']} files were added, readers see {counted}")
    delta_rs = {what: twin(what, table) for what in ("load", "commit", "checkpoint")}
    say(f"delta-rs: {json.dumps(delta_rs)}")
    return (f"{files:,} files: commit {figures['commit_cpu_us']} µs CPU ({figures['commit_ratio']} x), "
            f"{figures['commit_more_mib']} MiB more; load {figures['load_ms']} ms; "
            f"checkpoint {figures['checkpoint_ms']} ms, {figures['checkpoint_more_mib']} MiB more; delta-rs: commit "
            f"{delta_rs['commit']['cpu_ms']} ms, load {delta_rs['load']['wall_ms']} ms, "
            f"checkpoint {delta_rs['checkpoint']['wall_ms']} ms, {delta_rs['checkpoint']['more_mib']} MiB more")


def twin(*arguments):
    """The same with another implementation, in a process of its own."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "commits_twin.py")
    done = subprocess.run([f"{TOOLS}/python", script, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failure(f"{arguments}: exit {done.returncode}")
    return json.loads(done.stdout)


ROWS = [commits]
