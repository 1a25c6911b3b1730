"""Runs a command and says what it cost, with everything that it started.

usage: measure.py --out FILE [--timeout SECONDS] -- COMMAND…

Owns the accounting: user and system time, wall time, peak resident memory of
the largest process. It makes itself the reaper of orphans, so that a process
that leaves its parent (as pyspark's JVM does) is counted and waited for. Exits
as the command does; 124 after the timeout.
"""
import argparse
import ctypes
import json
import os
import resource
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", required=True)
    options.add_argument("--timeout", type=int, default=900)
    options.add_argument("command", nargs="+")
    options = options.parse_args()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the reaper of orphans")
    started = time.monotonic()
    status = run(options.command, options.timeout)
    wall = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "exit": status,
        "cpu_user_s": usage.ru_utime,
        "cpu_system_s": usage.ru_stime,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": wall,
        "rss_max_bytes": usage.ru_maxrss * 1024,
    }
    with open(options.out, "w") as out:
        json.dump(result, out)
    sys.exit(status)


def run(command, timeout):
    """The command's exit status, after the last of its descendants has ended."""
    child = os.posix_spawnp(command[0], command, os.environ, setpgroup=0)
    timed_out = False

    def late(_signal, _frame):
        nonlocal timed_out
        timed_out = True
        for process in descendants():
            os.kill(process, signal.SIGKILL)

    signal.signal(signal.SIGALRM, late)
    signal.alarm(timeout)
    status = None
    while True:
        try:
            pid, raw = os.wait()
        except ChildProcessError:
            return 124 if timed_out else status
        if pid == child:
            code = os.waitstatus_to_exitcode(raw)
            status = code if code >= 0 else 128 - code


def descendants():
    """Every process below this one; orphans of theirs are, too, since this one reaps them."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                parents[int(name)] = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found = {os.getpid()}
    while True:
        more = {process for process, parent in parents.items() if parent in found} - found
        if not more:
            return found - {os.getpid()}
        found |= more


if __name__ == "__main__":
    main()
