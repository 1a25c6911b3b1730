"""Dead letters that are tried again: killed on the way, beside a running ingester, judged by the topic's dump.

Which records become rows is decided here, from the bytes of the dump and the
schema that produce.py prints, not by thalweg.
"""
import json
import subprocess

import lake
import pyarrow
from bench import COMPARED, drain, expect, oracle, say
from dead_letters import Topic, letters

BAD_PER_MILLE = 150


def chosen(bench, topic, kinds):
    """A dump of the records of these kinds only."""
    file = f"{bench.work}/{topic.name}-{'-'.join(kinds)}.parquet"
    places = sorted(set().union(*(topic.kinds[kind] for kind in kinds)))
    duck = lake.duck()
    duck.register("wanted", pyarrow.table({"partition": [partition for partition, _ in places],
                                           "offset": [offset for _, offset in places]}))
    duck.execute(f"COPY (SELECT d.* FROM read_parquet({lake.literal(topic.file)}) d JOIN wanted USING (partition, \"offset\")) "
                 f"TO {lake.literal(file)}")
    return file


def command(bench, config, *options):
    return subprocess.Popen([bench.thalweg(), "dlq", "replay", "-c", config, "--json", *options],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(run, seconds=600):
    """What a replay that was not killed says of itself."""
    said, log = run.communicate(timeout=seconds)
    expect(run.returncode == 0, f"dlq replay: exit {run.returncode}\n{said[-1000:]}{log[-2000:]}")
    return json.loads(said)


def killed(bench, config, wanted):
    """Replays that are killed at random moments. Returns the kills; fewer than wanted when nothing was left."""
    kills = 0
    while kills < wanted:
        run = command(bench, config)
        try:
            run.communicate(timeout=bench.random.uniform(0.02, 0.8))
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            kills += 1
            continue
        expect(run.returncode == 0, f"dlq replay: exit {run.returncode} after {kills} kills")
        break
    return kills


def equal(bench, place, store, schema, dump):
    result = oracle("compare.py", "--dump", dump, "--table", place, "--schema", schema, *bench.storage(store))
    expect(not any(result[kind] for kind in COMPARED), f"{place}: {result}")
    return result["rows"]


def sound(bench, place, store, replayed):
    """The log as table.py sees it, and the files as verify does; `replayed` letters are told."""
    oracle("table.py", place, *bench.storage(store))
    done = subprocess.run([bench.thalweg(), "table", "verify", "--json", place, *bench.verify_storage(store)],
                          stdout=subprocess.PIPE, text=True)
    expect(done.returncode == 0, f"table verify {place}: exit {done.returncode}\n{done.stdout[-2000:]}")
    told = sum(one["replayed"] for one in json.loads(done.stdout)["partitions"])
    expect(told == replayed, f"{place}: verify tells {told} replayed letters, {replayed} became rows")


def replay(bench):
    """a third of the records are dead letters; with another config half of those become rows, under kills, once"""
    topic = Topic(bench, BAD_PER_MILLE, unknown=True)
    unknown, bad = topic.kinds["unknown"], topic.kinds["bad"]
    expect(unknown and bad, "the topic has no bad records")
    before, after = chosen(bench, topic, ["good"]), chosen(bench, topic, ["good", "unknown"])
    kills = rounds = 0
    for store in bench.options.stores:
        here = 0
        while here < bench.options.kills:
            rounds += 1
            name = bench.fresh("replay")
            place = bench.location(store, name)
            config = lambda policy: bench.config(  # noqa: E731
                [(name, topic.name, place, topic.ddl)], store=store, on_new_field=policy, max_latency="200ms",
                target_file_size="32KiB")
            strict, mild = config("fail"), config("ignore")
            bench.run_to_end(strict, 600)
            equal(bench, place, store, topic.ddl, before)
            beside = bench.start(strict)
            here += killed(bench, mild, bench.options.kills - here)
            ended = finished(command(bench, mild))
            drain(beside)
            rows = equal(bench, place, store, topic.ddl, after)
            sound(bench, place, store, len(unknown))
            if store == "local":
                found = letters(topic, f"{place}_dead_letters")
                expect(found == bad | unknown, "the dead-letter table has changed")
            again = finished(command(bench, mild, "--again"))
            expect((again["rows"], again["rows_before"], again["tried"]) == (0, len(unknown), len(bad)), f"--again: {again}")
            expect(rounds < 40, "the replays end before their kill")
            say(f"{store}: {here} kills, {ended['commits']} commits in the last run, {rows:,} rows")
        kills += here
    return (f"{kills} kills in {rounds} rounds on {', '.join(bench.options.stores)}; {len(unknown):,} of "
            f"{len(unknown) + len(bad):,} letters are rows, once and equal to the topic")


ROWS = [replay]
