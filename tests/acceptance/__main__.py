"""Shows at full size that thalweg does what it promises: real Kafka, real S3, independent readers.

  tools/accept                          every row
  tools/accept kills fence              these two
  tools/accept kills --scale 0.01 --kills 3    a quick look

Builds thalweg and the load generator (release) unless --thalweg and
--generate name them. Each row prints PASS or FAIL with its figures, each case
a line on stderr. State is kept in --work, and in a temporary directory
removed at the end without it (unless something failed). Exit 0 when every
row passed.

A row is a function of a module beside this one, listed in its ROWS; it
returns its figures and raises Failure.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "oracle"))

import lake  # noqa: E402
from bench import Bench, Failure  # noqa: E402
import checkpoints  # noqa: E402
import commits  # noqa: E402
import dead_letters  # noqa: E402
import every_type  # noqa: E402
import faults  # noqa: E402
import groups  # noqa: E402
import main_job  # noqa: E402
import memory  # noqa: E402
import neighbours  # noqa: E402
import network  # noqa: E402
import restarts  # noqa: E402
import replay  # noqa: E402
import setups  # noqa: E402
import topics  # noqa: E402
import verify  # noqa: E402

MODULES = [
    main_job, dead_letters, replay, faults, every_type, setups, topics, verify, memory, checkpoints, commits, groups,
    restarts, network, neighbours,
]
ROWS = {row.__name__.replace("_", "-"): row for module in MODULES for row in module.ROWS}


def main():
    listing = "".join(f"  {name:14} {row.__doc__}\n" for name, row in ROWS.items())
    parser = lake.arguments(f"{__doc__}\nRows:\n{listing}")
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*ROWS, []], help="none: all")
    parser.add_argument("--work", metavar="DIR", help="keep everything there")
    parser.add_argument("--thalweg", metavar="BINARY")
    parser.add_argument("--generate", metavar="BINARY")
    parser.add_argument("--commit-bench", metavar="BINARY", help="built from benches/commit")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of records")
    parser.add_argument("--kills", type=int, default=20, help="of a row that kills, on each store")
    parser.add_argument("--writers", type=lambda text: [int(count) for count in text.split(",")], default=[1, 2, 4, 8],
                        help="how many write one table, for the row of that name")
    parser.add_argument("--stores", type=lambda text: text.split(","), default=["local", "s3"], help="local,s3")
    parser.add_argument("--seed", type=int, default=20261122)
    options = parser.parse_args()
    rows = options.rows or list(ROWS)
    work = os.path.abspath(options.work) if options.work else tempfile.mkdtemp(prefix="thalweg-accept-")
    os.makedirs(f"{work}/tables", exist_ok=True)
    bench, failed = Bench(options, work), []
    try:
        for name in rows:
            began = time.monotonic()
            try:
                outcome, text = "PASS", ROWS[name](bench)
            except (Failure, subprocess.TimeoutExpired) as failure:
                outcome, text = "FAIL", str(failure)
                failed.append(name)
            print(f"{outcome} {name}  {text}  ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        bench.stop()
        if options.work or failed:
            print(f"kept {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{len(rows) - len(failed)} of {len(rows)} rows passed" + (f", failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    lake.run(main)
