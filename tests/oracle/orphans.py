"""Lists what lies in a table's place and is named by none of its versions.

Reads every version of the log in plain Python and lists the store. Needs all
versions from 0 on: a table whose old versions were cleaned up cannot be
judged (exit 2). A name below a folder that begins with `_`, as the log and
the probe's mark, is no data file to any engine. Prints one JSON line: "orphans" (their paths) and "files".
Exit 0 without orphans, 1 with.
"""
import json
import sys
import urllib.parse

import lake
from table import Table


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("location", metavar="LOCATION")
    lake.add_storage_argument(parser)
    options = parser.parse_args()
    table = Table(lake.location(options.location, options.storage))
    if sorted(table.versions) != list(range(len(table.versions))) or not table.versions:
        raise SystemExit("versions are missing: what they named is unknown")
    named = {urllib.parse.unquote(action["path"]) for version in table.versions
             for kind, action in table.actions(version) if kind == "add"}
    lying = {path for path in table.sizes if not path.startswith("_")}
    orphans = sorted(lying - named)
    for path in orphans:
        print(f"orphan: {path}, {table.sizes[path]} bytes", file=sys.stderr)
    print(json.dumps({"files": len(named), "orphans": orphans}))
    return 1 if orphans else 0


if __name__ == "__main__":
    lake.run(main)
