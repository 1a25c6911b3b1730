"""When rows were meant to be sent, by the version that holds them.

usage: tools/python tools/bench/seen.py LOCATION [--storage KEY=VALUE]...

Owns the reading, after the run: the log's own actions for the files of each
version, DuckDB for their `_timestamp`. Prints one JSON line for each version
that added rows: {"version": V, "sent_ms": {MILLISECONDS: ROWS}}.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "oracle"))
import lake  # noqa: E402


def main():
    options = lake.arguments(__doc__)
    options.add_argument("location")
    lake.add_storage_argument(options)
    options = options.parse_args()
    place = lake.location(options.location, options.storage)
    connection = lake.duck(place)
    version_of = files(connection, place)
    counted = connection.execute(
        "SELECT filename, epoch_ms(_timestamp) AS ms, count(*) FROM read_parquet(?, filename = true) GROUP BY ALL",
        [list(version_of)],
    )
    found = {}
    for name, sent_ms, rows in counted.fetchall():
        times = found.setdefault(version_of[name], {})
        times[sent_ms] = times.get(sent_ms, 0) + rows
    for version, times in sorted(found.items()):
        print(json.dumps({"version": version, "sent_ms": times}))
    return 0


def files(connection, place):
    """Every data file's address and the version that added it."""
    actions = connection.execute(
        "SELECT filename, json->>'$.add.path' AS path FROM read_json_objects(?, format = 'newline_delimited', "
        "filename = true) WHERE path IS NOT NULL",
        [f"{place.url}/_delta_log/*.json"],
    )
    return {f"{place.url}/{path}": int(log.rpartition("/")[2][:20]) for log, path in actions.fetchall()}


if __name__ == "__main__":
    lake.run(main)
