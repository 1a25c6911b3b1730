"""One measured run of a command: what it cost, and what it said."""
import json
import subprocess
import sys

from harness.tools import BENCH, Failed


def measured(name, command, scratch, timeout_s=1800, cpus=None):
    """CPU seconds, wall time, peak memory of the command and everything that it starts; Failed if it fails."""
    figures, log = scratch / "figures.json", scratch / "log"
    pinned = ["taskset", "-c", cpus] if cpus else []
    words = [*pinned, sys.executable, BENCH / "measure.py", "--out", figures, "--timeout", timeout_s, "--", *command]
    with open(log, "w") as stream:
        status = subprocess.run([str(word) for word in words], stdout=stream, stderr=stream).returncode
    said = log.read_text(errors="replace")
    if status != 0:
        raise Failed(f"{name} ended with {status}:\n{said[-4000:]}")
    return json.loads(figures.read_text()) | startup(said)


def startup(said):
    for line in said.splitlines():
        if line.startswith('{"startup"'):
            return json.loads(line)
    return {}
