"""The systems that are measured side by side: one file each, found by its name.

A person adds a peer by adding a file here. It is a module with

  ABOUT           what it is built of, in a few words
  EXACTLY_ONCE    how its rows and its offsets become one commit
  prepare(tools)  makes what it needs, once a bench; returns {part: version}.
                  tools.binary(package, name), tools.python(environment),
                  tools.fail(reason): see harness/tools.py
  command(job)    the words of a command that moves `job.topic`, from its
                  beginning to the end that it has when the command starts, into a
                  new Delta table at `job.table`, and then exits with 0
  LACKS           may be there: {workload: why this system cannot read it}
  SKIPS           may be there, and true: with `job.bad_records` it skips records that
                  are no rows; without it, it does not get a topic with such records

The command is measured with everything that it starts. It gets `job.cores`
threads, cuts a file at `job.file_bytes_max` or after `job.latency_s`, writes
Parquet with zstd level 1, and adds the columns `_partition INT`, `_offset BIGINT`
and `_timestamp TIMESTAMP` to those of `job.schema` (Spark DDL): its table is
compared with the topic by them. `job.scratch` is an empty directory of its
own. It may print one line `{"startup": {"cpu_s": …, "wall_s": …}}`: what was
spent before it could begin, for a second figure without it.
"""
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Job:
    """One run of one system."""

    brokers: str
    topic: str
    schema: str
    table: Path
    scratch: Path
    cores: int
    latency_s: int
    file_bytes_max: int
    bad_records: bool = False


def names():
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name):
    return importlib.import_module(f"{__name__}.{name}")
