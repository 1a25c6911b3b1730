"""Bad records: each policy under kills, and configs that change between them.

Which records are bad is decided here, from the bytes of the dump and the
schema that produce.py prints, not by thalweg.
"""
import json
import os
import subprocess

import lake
import pyarrow
from bench import expect, oracle, say, tail

RECORDS = 300_000
LONG = range(-(2**63), 2**63)


def classify(value):
    """good, bad, or unknown: good only where members that the schema does not know are allowed."""
    try:
        record = json.loads(value.decode())
    except ValueError:
        return "bad"
    if not isinstance(record, dict) or type(record.get("id")) is not int or record["id"] not in LONG:
        return "bad"
    if not isinstance(record.get("actor"), (dict, type(None))):
        return "bad"
    return "unknown" if "unknown" in record else "good"


class Topic:
    """A topic's records by what they are, from an independent dump."""

    def __init__(self, bench, per_mille, unknown=False):
        self.name = bench.fresh("bad")
        records = max(3000, int(RECORDS * bench.options.scale))
        more = ["--unknown"] if unknown else []
        self.ddl = bench.produce(self.name, "--mode", "malformed", "--bad", per_mille, "--records", records,
                                 "--partitions", 4, "--seed", bench.options.seed, *more)
        self.file, _ = bench.dump(self.name)
        duck = lake.duck()
        found = duck.execute("SELECT partition, \"offset\", key, value, timestamp_ms FROM read_parquet(?)",
                             [self.file]).fetchall()
        self.records = {(partition, offset): (key, value, at) for partition, offset, key, value, at in found}
        self.kinds = {"good": set(), "bad": set(), "unknown": set()}
        for at, (_, value, _) in self.records.items():
            self.kinds[classify(value)].add(at)
        self.good_file = f"{bench.work}/{self.name}-good.parquet"
        duck.register("good", pyarrow.table({"partition": [partition for partition, _ in self.kinds["good"]],
                                             "offset": [offset for _, offset in self.kinds["good"]]}))
        duck.execute(f"COPY (SELECT d.* FROM read_parquet({lake.literal(self.file)}) d JOIN good USING (partition, \"offset\")) "
                     f"TO {lake.literal(self.good_file)}")


def positions(place, partition="_partition", offset="_offset"):
    """(partition, offset) of every row of a table, doubled ones refused; nothing where there is no table."""
    if not os.path.exists(f"{place}/_delta_log"):
        return set()
    rows = lake.duck().execute(f'SELECT {partition}, "{offset}" FROM delta_scan({lake.literal(place)})').fetchall()
    expect(len(set(rows)) == len(rows), f"{place}: {len(rows) - len(set(rows))} of {len(rows)} rows stand twice")
    return set(rows)


def letters(topic, *places):
    """Positions of all dead letters, each compared with its record byte for byte."""
    found = set()
    for place in places:
        here = positions(place, "partition", "offset")
        expect(not found & here, f"{len(found & here)} dead letters stand in two tables")
        found |= here
        if here:
            rows = lake.duck().execute('SELECT topic, partition, "offset", epoch_ms("timestamp"), key, value, reason, error '
                                       f"FROM delta_scan({lake.literal(place)})").fetchall()
            for name, partition, offset, at, key, value, reason, error in rows:
                expect(name == topic.name and (key, value, at) == topic.records[(partition, offset)],
                       f"the dead letter {partition} {offset} is not its record")
                expect(reason and error, f"the dead letter {partition} {offset} says not why")
    return found


def skipped(place):
    """Records that the log says were left out."""
    count = 0
    for name in sorted(os.listdir(f"{place}/_delta_log")):
        if name.endswith(".json"):
            with open(f"{place}/_delta_log/{name}") as lines:
                for line in lines:
                    facts = json.loads(line).get("commitInfo", {}).get("thalweg", {})
                    count += sum(of["skipped"] for of in facts.get("ranges", []))
    return count


def killed(bench, configs, kills, ends=(0,)):
    """Runs that are killed at random moments, each with the next config; then one to the end. Returns the kills."""
    done = turn = 0
    while done < kills:
        run = bench.start(configs[turn % len(configs)], "--until-end")
        turn += 1
        try:
            run.wait(bench.random.uniform(0.05, 1.2))
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            done += 1
        else:
            expect(run.returncode in ends, f"exit {run.returncode} after {done} kills\n{tail(run)}")
            break
    run = bench.start(configs[turn % len(configs)], "--until-end")
    run.wait(600)
    expect(run.returncode in ends, f"exit {run.returncode} at the end\n{tail(run)}")
    return done


def rounds(bench, topic, name, judge, configs, ends=(0,)):
    """Fresh tables until there were enough kills, each judged."""
    kills = count = 0
    while kills < bench.options.kills:
        count += 1
        place = bench.location("local", bench.fresh(name))
        made = [bench.config([(name, topic.name, place, topic.ddl)], max_latency="200ms", **one) for one in configs(place)]
        kills += killed(bench, made, bench.options.kills - kills, ends)
        judge(place)
        table = oracle("table.py", place)
        verified = subprocess.run([bench.thalweg(), "table", "verify", place], stdout=subprocess.PIPE, text=True)
        expect(verified.returncode == 0, f"table verify {place}: {verified.stdout[-1500:]}")
        expect(count < 40, f"{kills} kills in {count} rounds: the runs end before their kill")
    say(f"{topic.name} {name}: {kills} kills in {count} rounds, {table['rows']:,} rows in the last")
    return kills


def dead_letters(bench):
    """0.1 % and 10 % bad records: dlq, skip and fail under kills, and configs that change between kills"""
    kills = 0
    for per_mille in (1, 100):
        topic = Topic(bench, per_mille)
        good, bad = topic.kinds["good"], topic.kinds["bad"]
        expect(bad, "no record is bad")

        def equal(place):
            result = oracle("compare.py", "--dump", topic.good_file, "--table", place, "--schema", topic.ddl)
            expect(not any(result[kind] for kind in ("missing", "doubled", "extra", "different")), f"{place}: {result}")

        def kept(place):
            equal(place)
            found = letters(topic, f"{place}_dead_letters")
            expect(found == bad, f"{len(bad - found)} dead letters are missing, {len(found - bad)} are not bad")

        def left_out(place):
            equal(place)
            expect(not os.path.exists(f"{place}_dead_letters"), "a dead-letter table was made")
            expect(skipped(place) == len(bad), f"{skipped(place)} skipped of {len(bad)}")

        def stopped(place):
            first = {}
            for partition, offset in bad:
                first[partition] = min(offset, first.get(partition, offset))
            expected = {(partition, offset) for partition, offset in good
                        if offset < first.get(partition, offset + 1)}
            found = positions(place)
            expect(found == expected, f"{len(found)} rows, {len(expected)} stand before the first bad record")

        kills += rounds(bench, topic, "dlq", kept, lambda place: [{}])
        kills += rounds(bench, topic, "skip", left_out, lambda place: [{"on_bad_record": "skip"}])
        kills += rounds(bench, topic, "fail", stopped, lambda place: [{"on_bad_record": "fail"}], ends=(65,))
        kills += changing(bench, per_mille)
    return f"{kills} kills; good rows all there, dead letters exactly once, no record in both or in neither"


def changing(bench, per_mille):
    """Between kills the config changes: policy for new fields, for bad records, and the letters' place."""
    topic = Topic(bench, per_mille, unknown=True)
    good, bad, unknown = topic.kinds["good"], topic.kinds["bad"], topic.kinds["unknown"]
    expect(unknown, "no record has an unknown member")

    def configs(skip):
        return lambda place: [
            {"on_new_field": "ignore"},
            {"on_new_field": "fail"},
            {"on_new_field": "fail", "dlq": f"{place}_other_letters"},
            {"on_new_field": "ignore"},
            {"on_new_field": "fail", "on_bad_record": "skip"} if skip else {"on_new_field": "fail"},
        ]

    def judge(skip):
        def check(place):
            rows = positions(place)
            found = letters(topic, f"{place}_dead_letters", f"{place}_other_letters")
            expect(not rows & found, f"{len(rows & found)} records are a row and a dead letter")
            expect(good <= rows, f"{len(good - rows)} good records are no rows")
            expect(rows <= good | unknown and found <= bad | unknown, "a record stands where it cannot")
            neither = (bad | unknown) - rows - found
            out = skipped(place)
            expect(len(neither) == out, f"{len(neither)} records are neither, {out} were skipped")
            expect(skip or not neither, f"{len(neither)} records are neither")
            say(f"of {len(unknown):,} doubtful records {len(unknown & rows):,} are rows, "
                f"{len(unknown & found):,} dead letters")
        return check

    return sum(rounds(bench, topic, name, judge(skip), configs(skip))
               for name, skip in (("changing", False), ("changing-skip", True)))


ROWS = [dead_letters]
