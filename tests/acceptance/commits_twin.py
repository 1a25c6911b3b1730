"""What other implementations need for a table, each figure from a process of its own.

  commits_twin.py load | commit | checkpoint TABLE     with delta-rs
  commits_twin.py count TABLE                          the files that independent readers see
"""
import json
import resource
import sys
import time

COMMITS = 5


def main(what, table):
    print(json.dumps({"load": load, "commit": commit, "checkpoint": checkpoint, "count": count}[what](table)))


def load(table):
    import deltalake
    before = peak_mib()
    began = time.monotonic()
    opened = deltalake.DeltaTable(table)
    wall = time.monotonic() - began
    return {"wall_ms": ms(wall), "more_mib": peak_mib() - before, "version": opened.version()}


def commit(table):
    """Commits of four files and eight transactions, from an open table, without a checkpoint or a clean-up."""
    import deltalake
    from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, Transaction
    before = peak_mib()
    opened = deltalake.DeltaTable(table)
    began, cpu = time.monotonic(), cpu_seconds()
    for number in range(COMMITS):
        files = [AddAction(f"twin-{opened.version()}-{of}.parquet", 700_000, {}, 1_767_225_600_000, True,
                           '{"numRecords":20000}') for of in range(4)]
        transactions = [Transaction(f"twin/{partition}", number) for partition in range(8)]
        opened.create_write_transaction(
            files, "append", opened.schema(),
            commit_properties=CommitProperties(app_transactions=transactions),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False))
    wall, cpu = time.monotonic() - began, cpu_seconds() - cpu
    return {"wall_ms": ms(wall / COMMITS), "cpu_ms": ms(cpu / COMMITS), "more_mib": peak_mib() - before}


def checkpoint(table):
    import deltalake
    opened = deltalake.DeltaTable(table)
    before, began, cpu = peak_mib(), time.monotonic(), cpu_seconds()
    opened.create_checkpoint()
    wall, cpu = time.monotonic() - began, cpu_seconds() - cpu
    return {"wall_ms": ms(wall), "cpu_ms": ms(cpu), "more_mib": peak_mib() - before}


def count(table):
    """The live files as delta-rs lists them, and the checkpoint's rows as DuckDB reads them."""
    import deltalake
    import duckdb
    opened = deltalake.DeltaTable(table)
    with open(f"{table}/_delta_log/_last_checkpoint") as hint:
        version = json.load(hint)["version"]
    file = f"{table}/_delta_log/{version:020}.checkpoint.parquet"
    rows = duckdb.execute("SELECT count(add.path), count(DISTINCT add.path) FROM read_parquet($file)", {"file": file})
    in_checkpoint, different = rows.fetchone()
    return {"files": len(opened.file_uris()), "checkpoint": version, "version": opened.version(),
            "in_checkpoint": in_checkpoint, "different": different}


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def ms(seconds):
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
