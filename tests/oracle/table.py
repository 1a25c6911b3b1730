"""Judges a table as an independent reader sees it, at every version of its log.

Replays the Delta log in plain Python and checks
  log      versions without a hole; no path added twice; removed files were live; every checkpoint equals the replay
  files    every live file exists with the size that the log says
  stats    numRecords, nullCount, minValues and maxValues against the Parquet data
  rows     no (_partition, _offset) twice over the files that tell their ranges, but for offsets that were moved back over
  txn      every app id only moves forward, but for moves by hand: those are told by thalweg/gap/.../from-to in the same commit
  ranges   the offset ranges in tags["thalweg.ranges"] and in commitInfo chain per partition without a hole, end at
           the txn of the same commit, and name as many rows as the file holds, all of them inside the range;
           offsets without rows (dead letters, markers) may stand in commitInfo alone
  readers  duckdb, deltalake and polars open the table and count the rows that the log says
Prints one JSON line with figures and "violations" (their number); each
violation is a line on stderr. Exit 0 without violations, 1 with, 2 when it
could not judge.
"""
import datetime
import decimal
import json
import re
import sys
import urllib.parse
from collections import Counter, defaultdict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import lake

RANGES = "thalweg.ranges"
PLACE = ["_partition", "_offset"]
APP_ID = re.compile(r"^thalweg/([^/]+)/([^/]+)/([^/]+)/(\d+)$")
JUMP = re.compile(r"^thalweg/gap/(.+)/(\d+)-(\d+)$")
VERSION_FILE = re.compile(r"^(\d{20})\.json$")
CHECKPOINT_FILE = re.compile(r"^(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet$")
VIOLATIONS_SHOWN = 50


class Table:
    """The files of a table and what was found wrong with it."""

    def __init__(self, place):
        from pyarrow import fs

        self.store, self.root = place.filesystem()
        self.violations = []
        selector = fs.FileSelector(self.root, recursive=True)
        found = [entry for entry in self.store.get_file_info(selector) if entry.is_file]
        self.sizes = {entry.path[len(self.root):].lstrip("/"): entry.size for entry in found}
        log = [path.removeprefix("_delta_log/") for path in self.sizes if path.startswith("_delta_log/")]
        self.versions = {int(m[1]): m[0] for m in map(VERSION_FILE.match, log) if m}
        self.checkpoints = defaultdict(list)
        for match in filter(None, map(CHECKPOINT_FILE.match, sorted(log))):
            self.checkpoints[int(match[1])].append((match[0], int(match[3] or 1)))

    def wrong(self, what):
        self.violations.append(what)
        if len(self.violations) <= VIOLATIONS_SHOWN:
            print(f"violation: {what}", file=sys.stderr)

    def bytes(self, path):
        with self.store.open_input_file(f"{self.root}/{path}") as file:
            return file.read()

    def parquet(self, path):
        return pq.ParquetFile(self.store.open_input_file(f"{self.root}/{path}"), page_checksum_verification=True)

    def actions(self, version):
        for line in self.bytes(f"_delta_log/{self.versions[version]}").splitlines():
            if line.strip():
                (kind, action), = json.loads(line).items()
                yield kind, action


class State:
    """What the log says up to a version: live files, txns, and where the tags of each partition end."""

    def __init__(self):
        self.live, self.ever, self.txns = {}, set(), {}
        self.schema = self.protocol = None
        self.tagged_to = {}  # app id -> the offset that the ranges of files reach
        self.rowless = defaultdict(list)  # app id -> ranges that only commitInfo tells: no row, so no file
        self.commits = Counter()


def partition_of(app_id):
    match = APP_ID.match(app_id)
    return (match[2], match[3], int(match[4])) if match else None


def jumps_of(txns):
    """Moves by hand among txns: app id -> (from, to, times)."""
    found = ((JUMP.match(app_id), times) for app_id, times in txns.items())
    return [(f"thalweg/{match[1]}", int(match[2]), int(match[3]), times) for match, times in found if match]


def ranges_by_partition(ranges):
    found = defaultdict(list)
    for span in ranges:
        found[(span["topic"], span["topic_id"], span["partition"])].append(span)
    return {key: sorted(spans, key=lambda span: (span["start"], span["next"])) for key, spans in found.items()}


def file_ranges(add):
    text = (add.get("tags") or {}).get(RANGES)
    return json.loads(text) if text else []


# ---- the log -----------------------------------------------------------------------------------------------------


def replay(table):
    """Goes through every version that is there; returns the state at the end and the first version."""
    if not table.versions and not table.checkpoints:
        raise ValueError(f"no Delta table: {table.root}")
    state = State()
    first = min(table.versions, default=None)
    if first != 0:
        # The log's head was cleaned up: begin at the oldest checkpoint whose successors are all there.
        base = min(v for v in table.checkpoints if v + 1 in table.versions or not table.versions or
                   v == max(table.versions))
        load_checkpoint(table, base, state)
        first = base + 1
    last = max(list(table.versions) + list(table.checkpoints))
    for version in range(first, last + 1):
        if version not in table.versions:
            table.wrong(f"version {version} is missing, the log reaches {last}")
            continue
        apply(table, version, state)
        if version in table.checkpoints:
            check_checkpoint(table, version, state)
    return state, first, last


def apply(table, version, state):
    adds, txns, info = [], {}, {}
    for kind, action in table.actions(version):
        if kind == "add":
            adds.append(action)
        elif kind == "remove":
            if state.live.pop(action["path"], None) is None:
                table.wrong(f"version {version} removes {action['path']}, which is not live")
        elif kind == "txn":
            if action["appId"] in txns:
                table.wrong(f"version {version} holds two txns of {action['appId']}")
            txns[action["appId"]] = action["version"]
        elif kind == "metaData":
            state.schema = json.loads(action["schemaString"])
        elif kind == "protocol":
            state.protocol = action
        elif kind == "commitInfo":
            info = action
    for add in adds:
        if add["path"] in state.ever:
            table.wrong(f"version {version} adds {add['path']} a second time")
        state.ever.add(add["path"])
        state.live[add["path"]] = add
    state.commits["with files" if adds else "without files"] += 1
    # Compaction and the like rewrite rows that are settled already: their tags move nothing.
    fresh = [add for add in adds if add.get("dataChange", True)]
    check_ranges(table, version, state, fresh, txns, (info.get("thalweg") or {}).get("ranges"))
    state.txns |= txns


def check_ranges(table, version, state, adds, txns, info_ranges):
    in_files = ranges_by_partition(span for add in adds for span in file_ranges(add))
    in_info = ranges_by_partition(info_ranges or [])
    moved = {}
    by_hand = {app_id: (start, end) for app_id, start, end, _ in jumps_of(txns)}
    for app_id, new in txns.items():
        partition, old = partition_of(app_id), state.txns.get(app_id)
        if partition is None:
            if old is not None and new < old:
                table.wrong(f"version {version} moves txn {app_id} back from {old} to {new}")
            continue
        if app_id in by_hand:
            start, end = by_hand[app_id]
            if (old is not None and old != start) or new != end or partition in in_files or partition in in_info:
                table.wrong(f"version {version} moves {app_id} by hand from {start} to {end}: it stood at {old}, now {new}")
            state.tagged_to[app_id] = new
            state.rowless[app_id] = []
            moved[partition] = None
            continue
        if old is not None and new < old:
            table.wrong(f"version {version} moves txn {app_id} back from {old} to {new}")
        moved[partition] = (app_id, old, new)
    for partition in (set(in_files) | set(in_info)) - set(moved):
        table.wrong(f"version {version} has ranges of {name(partition)} and no txn for it")

    for partition, (app_id, old, new) in ((at, told) for at, told in moved.items() if told):
        spans = in_files.get(partition, [])
        if old is None and not spans:
            state.tagged_to[app_id] = new  # the anchor: where reading begins
            continue
        if old is None:
            old = 0  # a new partition of a known topic begins at its beginning, and may skip the anchor
            state.tagged_to[app_id] = min(spans[0]["start"], new)
        told = in_info.get(partition, [])
        rowless = state.rowless[app_id]
        rowless.extend((span["start"], span["next"]) for span in told if not span["rows"])
        reached = chain(table, f"version {version}, files", spans, state.tagged_to[app_id], new if spans else None, rowless=rowless)
        state.tagged_to[app_id] = reached
        state.rowless[app_id] = [span for span in rowless if span[1] > reached]
        if info_ranges is not None and new != old:
            chain(table, f"version {version}, commitInfo", told, None, new, old)
            rows = [sum(span["rows"] for span in of) for of in (told, spans)]
            if rows[0] != rows[1]:
                table.wrong(f"version {version} tells {rows[0]} rows of {name(partition)}, its files {rows[1]}")


def past(at, to, rowless):
    """How far ranges without rows lead from `at` towards `to`."""
    for start, end in rowless:
        if start == at and end <= to:
            at = end
    return at


def chain(table, where, spans, start, end, not_after=None, rowless=()):
    """The spans must follow each other from `start` (if not None) to `end` (if not None)."""
    at = start
    for span in spans:
        text = f"{where}: {name((span['topic'], span['topic_id'], span['partition']))} [{span['start']}, {span['next']})"
        if at is not None and span["start"] != past(at, span["start"], rowless):
            table.wrong(f"{text} does not begin at {at}")
        if span["next"] < span["start"]:
            table.wrong(f"{text} ends before it begins")
        if span["rows"] + span["skipped"] + span["tombstones"] > span["next"] - span["start"]:
            table.wrong(f"{text} counts more records than it has offsets")
        at = span["next"]
    if end is not None and past(at, end, rowless) != end:
        table.wrong(f"{where}: ranges end at {at}, the txn of the same commit at {end}")
    if not_after is not None and spans and spans[0]["start"] > not_after:
        table.wrong(f"{where}: ranges begin at {spans[0]['start']}, the txn stood at {not_after}")
    return at


def name(partition):
    return f"{partition[0]}/{partition[2]}"


# ---- checkpoints -------------------------------------------------------------------------------------------------


def parts_of(table, version):
    parts = table.checkpoints[version]
    if len(parts) != parts[0][1]:
        table.wrong(f"checkpoint {version} has {len(parts)} of {parts[0][1]} parts")
    return parts


def checkpoint_actions(table, version):
    for file, _ in parts_of(table, version):
        for batch in table.parquet(f"_delta_log/{file}").iter_batches():
            for row in batch.to_pylist():
                yield from ((kind, action) for kind, action in row.items() if action is not None)


def load_checkpoint(table, version, state):
    for kind, action in checkpoint_actions(table, version):
        if kind == "add":
            action["tags"] = dict(action.get("tags") or [])
            state.live[action["path"]] = action
            state.ever.add(action["path"])
        elif kind == "txn":
            state.txns[action["appId"]] = action["version"]
        elif kind == "metaData":
            state.schema = json.loads(action["schemaString"])
        elif kind == "protocol":
            state.protocol = action
    # Where the tags of live files end; without files of a partition its txn is all there is to go by.
    reached = ranges_by_partition(span for add in state.live.values() for span in file_ranges(add))
    for app_id, at in state.txns.items():
        spans = reached.get(partition_of(app_id))
        jumped = any(of == app_id for of, _, _, _ in jumps_of(state.txns))
        state.tagged_to[app_id] = spans[-1]["next"] if spans and not jumped else at
        # What was settled without a row was told by versions that are gone.
        state.rowless[app_id] = [(state.tagged_to[app_id], at)]


def check_checkpoint(table, version, state):
    """By columns: a long log has hundreds of checkpoints, and the later ones name every file."""
    live, txns, counted = set(), {}, Counter()
    wanted = [f"add.{field}" for field in ("path", "size", "stats", "tags")]
    for file, _ in parts_of(table, version):
        for batch in table.parquet(f"_delta_log/{file}").iter_batches(columns=[*wanted, "txn", "metaData", "protocol"]):
            present = {kind: batch[kind].drop_null() for kind in batch.schema.names}
            counted.update({kind: len(actions) for kind, actions in present.items()})
            txns |= {action["appId"]: action["version"] for action in present["txn"].to_pylist()}
            adds = present["add"]
            columns = {field.name: adds.field(field.name).to_pylist() for field in adds.type}
            live.update(columns["path"])
            absent = [None] * len(adds)
            for path, size, stats, tags in zip(*(columns.get(field.removeprefix("add."), absent) for field in wanted)):
                logged = state.live.get(path)
                if logged and not tells_the_same(logged, size, stats, dict(tags or [])):
                    table.wrong(f"checkpoint {version} tells another size, other ranges or statistics of {path}")
    if live != state.live.keys():
        missing, extra = sorted(state.live.keys() - live)[:3], sorted(live - state.live.keys())[:3]
        table.wrong(f"checkpoint {version} has {len(live)} files, the replay {len(state.live)}; lost {missing}, more {extra}")
    if counted["add"] != len(live):
        table.wrong(f"checkpoint {version} names a file twice")
    if txns != state.txns:
        table.wrong(f"checkpoint {version} differs in txns: {sorted(set(txns.items()) ^ set(state.txns.items()))[:4]}")
    if counted["metaData"] != 1 or counted["protocol"] != 1:
        table.wrong(f"checkpoint {version} holds {counted['metaData']} metaData and {counted['protocol']} protocol actions")


def tells_the_same(logged, size, stats, tags):
    ranges = (logged.get("tags") or {}).get(RANGES)
    return logged["size"] == size and same_json(ranges, tags.get(RANGES)) and (
        stats is None or same_json(logged.get("stats"), stats))


def same_json(text, other):
    return text == other or (text and other and json.loads(text) == json.loads(other))


# ---- files and their statistics ----------------------------------------------------------------------------------


def check_files(table, state):
    rows, places = 0, []
    for path, add in state.live.items():
        file = urllib.parse.unquote(path)
        if file not in table.sizes:
            table.wrong(f"{path} is in the log and not in the store")
            continue
        if table.sizes[file] != add["size"]:
            table.wrong(f"{path} has {table.sizes[file]} bytes, the log says {add['size']}")
        try:
            data = table.parquet(file).read()
        except (pa.ArrowException, OSError) as error:
            table.wrong(f"{path} cannot be read: {error}")
            continue
        rows += data.num_rows
        check_statistics(table, path, add, data)
        check_rows_in_ranges(table, path, add, data)
        if file_ranges(add) and set(PLACE) <= set(data.column_names):
            places.append(data.select(PLACE))
    check_doubles(table, state, places)
    return rows


def check_doubles(table, state, places):
    if not places:
        return
    counted = pa.concat_tables(places).group_by(PLACE).aggregate([([], "count_all")])
    doubled = counted.filter(pc.greater(counted["count_all"], 1))
    back = [(partition_of(app_id)[2], end, start, times) for app_id, start, end, times in jumps_of(state.txns) if end < start]
    copies = lambda row: 1 + sum(  # noqa: E731
        times for number, low, high, times in back if number == row["_partition"] and low <= row["_offset"] < high)
    doubled = [row for row in doubled.to_pylist() if row["count_all"] > copies(row)]
    if doubled:
        table.wrong(f"{len(doubled)} rows stand twice: {doubled[:3]}")


def check_statistics(table, path, add, data):
    if not add.get("stats"):
        return
    stats = json.loads(add["stats"], parse_float=decimal.Decimal)
    if stats.get("numRecords") != data.num_rows:
        table.wrong(f"{path}: numRecords {stats.get('numRecords')}, the file has {data.num_rows}")
    leaves = dict(leaf_columns(data))
    for path_in_stats, value in flat(stats.get("nullCount", {})):
        column = leaves.get(path_in_stats)
        if column is None or column.null_count != value:
            table.wrong(f"{path}: nullCount of {dotted(path_in_stats)} {value}, the data has {column and column.null_count}")
    low, high = dict(flat(stats.get("minValues", {}))), dict(flat(stats.get("maxValues", {})))
    for leaf in set(low) | set(high):
        column = leaves.get(leaf)
        bounds = {"min": None, "max": None} if column is None else pc.min_max(without_nan(column)).as_py()
        if bounds["min"] is None:
            table.wrong(f"{path}: min or max of {dotted(leaf)}, which has no value")
            continue
        check_bound(table, f"{path}: min of {dotted(leaf)}", low.get(leaf), bounds["min"], -1)
        check_bound(table, f"{path}: max of {dotted(leaf)}", high.get(leaf), bounds["max"], 1)


def without_nan(column):
    if pa.types.is_string_view(column.type):
        return column.cast(pa.string())  # as other writers say they had them; views have no min and max
    if pa.types.is_floating(column.type):
        return column.filter(pc.fill_null(pc.invert(pc.is_nan(column)), False))
    return column


def check_bound(table, where, said, actual, direction):
    """A bound must cover the value; only strings (truncated) and timestamps (to milliseconds) may be loose."""
    if said is None:
        return
    if isinstance(actual, str):
        # Python orders by code point, as UTF-8 bytes do.
        ok = said <= actual if direction < 0 else said >= actual
        tight = said == actual or len(actual.encode()) > 31
        ok = ok and (direction > 0 or actual.startswith(said)) and tight
    elif isinstance(actual, datetime.datetime):
        told = datetime.datetime.fromisoformat(said.replace("Z", "+00:00"))
        actual = actual if actual.tzinfo else actual.replace(tzinfo=datetime.timezone.utc)
        told = told if told.tzinfo else told.replace(tzinfo=datetime.timezone.utc)
        gap = (told - actual) * direction
        ok = datetime.timedelta(0) <= gap <= datetime.timedelta(milliseconds=1)
    elif isinstance(actual, datetime.date):
        ok = said == actual.isoformat()
    elif isinstance(actual, float):
        ok = float(said) == actual
    elif isinstance(actual, bool):
        ok = said == actual
    else:
        ok = decimal.Decimal(said) == decimal.Decimal(actual)
    if not ok:
        table.wrong(f"{where} is {said}, the data's is {actual}")


def leaf_columns(data, prefix=()):
    """(path, column) of every column and struct member that may have statistics; a null struct has null members."""
    for field in data.schema:
        column = data[field.name]
        yield from leaves_of((field.name,), column.combine_chunks() if hasattr(column, "combine_chunks") else column)


def leaves_of(path, column):
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_struct(column.type):
        for index, member in enumerate(column.type):
            yield from leaves_of(path + (member.name,), pc.struct_field(column, [index]))
    else:
        yield path, column


def flat(values, prefix=()):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, prefix + (key,))
        else:
            yield prefix + (key,), value


def dotted(path):
    return ".".join(path)


def check_rows_in_ranges(table, path, add, data):
    spans = file_ranges(add)
    if not spans or not {"_partition", "_offset"} <= set(data.column_names):
        return
    if sum(span["rows"] for span in spans) != data.num_rows:
        table.wrong(f"{path}: its ranges name {sum(s['rows'] for s in spans)} rows, the file has {data.num_rows}")
    covered = 0
    for span in spans:
        inside = pc.and_(
            pc.equal(data["_partition"], span["partition"]),
            pc.and_(pc.greater_equal(data["_offset"], span["start"]), pc.less(data["_offset"], span["next"])),
        )
        count = pc.sum(pc.cast(inside, pa.int64())).as_py() or 0
        covered += count
        if count != span["rows"]:
            table.wrong(f"{path}: {name((span['topic'], '', span['partition']))} [{span['start']}, {span['next']}) names "
                        f"{span['rows']} rows and holds {count}")
    if covered != data.num_rows:
        table.wrong(f"{path}: {data.num_rows - covered} rows are outside its ranges")


# ---- other readers -----------------------------------------------------------------------------------------------


def count_duckdb(place):
    sql = f"SELECT count(*) FROM delta_scan({lake.literal(place.url)})"
    return lake.duck(place).execute(sql).fetchone()[0]


def count_deltalake(place):
    from deltalake import DeltaTable

    return DeltaTable(place.url, storage_options=place.delta_options()).to_pyarrow_dataset().count_rows()


def count_polars(place):
    import polars

    scan = polars.scan_delta(place.url, storage_options=place.delta_options())
    return scan.select(polars.len()).collect().item()


READERS = {"duckdb": count_duckdb, "deltalake": count_deltalake, "polars": count_polars}


def main():
    parser = lake.arguments(__doc__)
    parser.add_argument("location", metavar="LOCATION")
    parser.add_argument("--readers", default="duckdb,deltalake,polars", help="which of them to open the table with")
    lake.add_storage_argument(parser)
    options = parser.parse_args()
    place = lake.location(options.location, options.storage)
    table = Table(place)
    state, first, last = replay(table)
    rows = check_files(table, state)
    counts = {}
    for reader in filter(None, options.readers.split(",")):
        try:
            counts[reader] = READERS[reader](place)
        except Exception as error:  # a reader that refuses the table is a finding
            counts[reader] = None
            table.wrong(f"{reader} cannot read the table: {error}")
        else:
            if counts[reader] != rows:
                table.wrong(f"{reader} counts {counts[reader]} rows, the files hold {rows}")
    print(json.dumps({
        "versions": [first, last], "files": len(state.live), "bytes": sum(a["size"] for a in state.live.values()),
        "rows": rows, "commits": dict(state.commits), "checkpoints": len(table.checkpoints), "readers": counts,
        "offsets": {app_id: at for app_id, at in sorted(state.txns.items()) if partition_of(app_id)}, "violations": len(table.violations),
    }))
    return 1 if table.violations else 0


if __name__ == "__main__":
    lake.run(main)
