"""`table verify --deep`: sound tables, tables that others rewrote, and planted faults."""
import json
import os
import shutil
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

import plant
from bench import expect, say

CHECKSUM = "thalweg.crc32"


def verified(bench, place, code, store="local", case="sound"):
    """The answer of `table verify --deep --json`, and how long it took."""
    began = time.monotonic()
    done = subprocess.run([bench.thalweg(), "table", "verify", "--deep", "--json", place, *bench.verify_storage(store)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    expect(done.returncode == code, f"{case}: exit {done.returncode}, not {code}\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    expect("panicked" not in done.stderr, f"{case}: a panic\n{done.stderr[-2000:]}")
    return json.loads(done.stdout), time.monotonic() - began


def words(answer):
    return sorted({partition["verdict"] for partition in answer["partitions"]})


class Planted:
    """A copy of a table with one file, and its line of the log, changed."""

    def __init__(self, bench, place, fault):
        self.place = bench.location("local", bench.fresh(f"planted-{fault}"))
        shutil.copytree(place, self.place)
        log = f"{self.place}/_delta_log"
        for name in sorted(os.listdir(log)):
            with open(f"{log}/{name}") as file:
                lines = [json.loads(line) for line in file] if name.endswith(".json") else []
            adds = [line["add"] for line in lines if "add" in line]
            if adds:
                self.log, self.lines, self.add = f"{log}/{name}", lines, adds[0]
                break
        self.file = f"{self.place}/{self.add['path']}"
        globals()["plant_" + fault.replace("-", "_")](self)
        with open(self.log, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)

    def resized(self):
        """The log tells the new size, and no checksum: only the content can give the fault away."""
        self.add["size"] = os.path.getsize(self.file)
        self.add["tags"].pop(CHECKSUM)


def plant_doubled_row(planted):
    """A row takes the place of its neighbour: the count is right."""
    data = pq.read_table(planted.file)
    kept = list(range(data.num_rows))
    kept[1] = kept[2]
    pq.write_table(data.take(pa.array(kept)), planted.file, write_page_checksum=True)
    planted.resized()


def plant_statistic(planted):
    stats = json.loads(planted.add["stats"])
    stats["maxValues"]["_offset"] -= 1
    planted.add["stats"] = json.dumps(stats)


def plant_null_count(planted):
    stats = json.loads(planted.add["stats"])
    stats["nullCount"]["_offset"] += 1
    planted.add["stats"] = json.dumps(stats)


def plant_truncated(planted):
    os.truncate(planted.file, os.path.getsize(planted.file) - 100)


def plant_truncated_and_resized(planted):
    os.truncate(planted.file, os.path.getsize(planted.file) - 100)
    planted.resized()


def flip(file, place):
    with open(file, "r+b") as out:
        out.seek(place)
        byte = out.read(1)
        out.seek(place)
        out.write(bytes([byte[0] ^ 1]))


def plant_flipped_byte(planted):
    flip(planted.file, os.path.getsize(planted.file) // 2)


def plant_flipped_byte_of_another_writer(planted):
    """Without our checksum: the pages have theirs."""
    data = pq.read_table(planted.file)
    pq.write_table(data, planted.file, compression="none", write_page_checksum=True, use_dictionary=False)
    planted.resized()
    flip(planted.file, os.path.getsize(planted.file) // 2)


def plant_lost_file(planted):
    os.remove(planted.file)


FAULTS = {
    "doubled-row": "there twice", "statistic": "maximum of _offset", "null-count": "nulls of _offset",
    "truncated": "bytes, the log says", "truncated-and-resized": "is not readable Parquet",
    "flipped-byte": "holds other bytes than were written",
    "flipped-byte-of-another-writer": "is not readable Parquet", "lost-file": "not in the store",
}


# What the oracle's planted bugs look like to it; a log that cannot be loaded is no table to judge.
BUGS = {"double": "there twice", "neighbour": "there twice", "hole": "skips offsets", "rewind": "back from",
        "twice": "again", "stats": "maximum of _offset", "size": "the log says", "lost-file": "not in the store",
        "count": "the range says", "truncated": "the log says", "flipped": "is not readable Parquet"}


def bugs(bench, figures):
    """Tables that deltalake-python made from a dump, each with one bug."""
    topic = bench.fresh("verify-planted")
    ddl = bench.produce(topic, "--records", 4000)
    file, _ = bench.dump(topic)
    for bug in [None, *BUGS]:
        place = bench.location("local", bench.fresh("bug"))
        plant.write(type("Options", (), {"dump": file, "table": place, "schema": ddl, "bug": bug}))
        answer, _ = verified(bench, place, 1 if bug else 0, case=f"bug {bug}")
        if bug:
            found = answer["violations"]
            expect(any(BUGS[bug] in violation for violation in found), f"bug {bug}: {found}")
    figures.append(f"{len(BUGS)} bugs of the oracle's own tables found")


def verify(bench):
    """verify --deep: sound, rewritten and planted tables"""
    figures = []
    bugs(bench, figures)
    topic = "verify_w1"
    schema = bench.workload(topic, "w1", 3_000_000)
    for store in bench.options.stores:
        place = bench.location(store, bench.fresh(topic))
        config = bench.config([(topic, topic, place, schema)], store, max_latency="300ms")
        bench.run_to_end(config, 1800)
        answer, seconds = verified(bench, place, 0, store)
        expect(words(answer) == ["proven"] and answer["checksums"] == answer["files"], f"{place}: {answer}")
        figures.append(f"{store}: {answer['rows']:,} rows proven in {answer['files']} files, every byte, {seconds:.1f} s")
        say(figures[-1])
        local = place if store == "local" else None
        if local:
            faults(bench, local)
            rewritten(bench, local, figures)
    return "; ".join(figures)


def faults(bench, place):
    for fault, text in FAULTS.items():
        planted = Planted(bench, place, fault)
        answer, _ = verified(bench, planted.place, 1, case=fault)
        expect(any(text in violation for violation in answer["violations"]), f"{fault}: {answer['violations']}")
        say(f"{fault}: exit 1, {answer['violations'][0][:110]}")
        shutil.rmtree(planted.place)


def rewritten(bench, place, figures):
    """What another engine does to the table, one after the other."""
    rows = DeltaTable(place).to_pyarrow_dataset().count_rows()
    DeltaTable(place).optimize.compact()
    answer, _ = verified(bench, place, 0, case="OPTIMIZE")
    expect(words(answer) == ["rows only"] and answer["rows"] == rows, f"OPTIMIZE: {words(answer)} {answer['notes']}")
    DeltaTable(place).create_checkpoint()
    answer, _ = verified(bench, place, 0, case="OPTIMIZE and checkpoint")
    expect(words(answer) == ["rows only"], f"OPTIMIZE and checkpoint: {words(answer)}")
    deleted = DeltaTable(place).delete("_offset % 7 = 3")["num_deleted_rows"]
    answer, _ = verified(bench, place, 0, case="DELETE")
    expect(words(answer) == ["unknown"] and answer["rows"] == rows - deleted, f"DELETE: {words(answer)}, {answer['rows']}")
    expect("missing" not in json.dumps(answer), "DELETE: what a user deleted is called missing")
    figures.append(f"OPTIMIZE: rows only; DELETE of {deleted:,} rows: unknown; {len(FAULTS)} planted faults found")


ROWS = [verify]
