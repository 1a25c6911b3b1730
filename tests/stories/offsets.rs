//! Offsets moved by hand, under a running writer and past what is gone; tables
//! that are adopted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::judge::{self, range};
use crate::program::{Ended, PATIENCE, Running, metric, program, run, run_until_end, start};
use crate::services::tool;
use crate::story::{FLAT, Story};

/// How many rows have each place, as deltalake-python reads them.
const COUNTS: &str = "
import json, os, sys, deltalake
from collections import Counter
read = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_table(columns=['_partition', '_offset'])
counts = Counter(zip(read['_partition'].to_pylist(), read['_offset'].to_pylist()))
print(json.dumps([[*place, count] for place, count in counts.items()]), flush=True)
os._exit(0)  # its threads may abort an orderly exit
";

/// A checkpoint by another writer, and none of the versions before it.
const CHECKPOINT: &str = "import sys, deltalake; deltalake.DeltaTable(sys.argv[1]).create_checkpoint()";

fn counts(location: &str) -> BTreeMap<(i64, i64), i64> {
    let rows: Vec<(i64, i64, i64)> =
        serde_json::from_str(&tool("python", &["-c", COUNTS, location])).unwrap();
    rows.into_iter().map(|(partition, offset, count)| ((partition, offset), count)).collect()
}

/// The table alone in a config; `latency` of its commits.
fn config(story: &Story, name: &str, (id, topic, location): (&str, &str, &str), latency: &str) -> PathBuf {
    let quick = "[kafka.librdkafka]\n\"fetch.wait.max.ms\" = \"10\"\n";
    let table = format!(
        "[[table]]\nid = \"{id}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\nmax_latency = \"{latency}\"\n"
    );
    story.config(name, &format!("{quick}{table}"))
}

fn set(config: &Path, options: &[&str]) -> Ended {
    start(&[&["offsets", "set"], options].concat(), config).end(PATIENCE)
}

/// What `table verify` says, with no violation.
fn verified(location: &str) -> Value {
    let ended = program(&["table", "verify", "--json", location]).end(PATIENCE).with(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn spans(of: &Value) -> Vec<(i64, i64)> {
    let spans = of.as_array().unwrap().iter();
    spans.map(|span| (span["start"].as_i64().unwrap(), span["next"].as_i64().unwrap())).collect()
}

fn consumed(running: &mut Running, address: &str, records: f64) {
    running
        .watch_until("the records are read", || metric(address, "thalweg_records_consumed_total") >= records);
}

fn committed(running: &mut Running, address: &str, rows: f64) {
    running.watch_until("the rows are committed", || metric(address, "thalweg_rows_committed_total") >= rows);
}

#[test]
fn a_running_writer_reads_on_from_offsets_that_were_set_by_hand() {
    let Some(story) = Story::begin("set-back") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = config(&story, "config", ("set-back", &topic, &location), "50ms");
    (0..2).for_each(|partition| story.produce(&topic, partition, 0..100));
    let mut running = run(&config);
    let address = running.address();
    committed(&mut running, &address, 200.0);

    let back = ["--to", "40", "--partition", "0"];
    set(&config, &back).with(0).saying("60 offsets are read again").saying("--accept-duplicates --execute");
    set(&config, &[&back[..], &["--execute"]].concat()).with(2).saying("`--accept-duplicates`");
    set(&config, &[&back[..], &["--execute", "--accept-loss"]].concat()).with(2);
    assert_eq!(verified(&location)["partitions"][0]["next"], 100, "nothing was moved yet");
    set(&config, &[&back[..], &["--execute", "--accept-duplicates"]].concat())
        .with(0)
        .saying("done: version");

    (0..2).for_each(|partition| story.produce(&topic, partition, 100..110));
    running.until("offsets were set by hand");
    committed(&mut running, &address, 280.0);
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);

    let twice = |place: &(i64, i64)| if place.0 == 0 && (40..100).contains(&place.1) { 2 } else { 1 };
    let expected: BTreeMap<(i64, i64), i64> =
        range(0, 0..110).chain(range(1, 0..110)).map(|place| (place, twice(&place))).collect();
    assert_eq!(counts(&location), expected);
    let zero = &verified(&location)["partitions"][0];
    assert_eq!((spans(&zero["read_again"]), zero["rows_again"].as_i64()), (vec![(40, 100)], Some(60)));
    assert_eq!((zero["verdict"].as_str(), zero["next"].as_i64()), (Some("proven"), Some(110)));
    judge::sound(&location);
    start(&["offsets", "show"], &config)
        .end(PATIENCE)
        .with(0)
        .saying("read again: offsets 40..100 of partition 0");
}

#[test]
fn nothing_that_a_writer_had_read_lands_after_its_offsets_were_moved() {
    let Some(story) = Story::begin("set-fences") else { return };
    let topic = story.topic("events", 1);
    let location = story.place("table");
    let quick = config(&story, "quick", ("set-fences", &topic, &location), "50ms");
    story.produce(&topic, 0, 0..50);
    run_until_end(&quick).with(0);
    // What it reads it keeps, until it is asked to stop.
    let mut running = run(&config(&story, "slow", ("set-fences", &topic, &location), "1h"));
    let address = running.address();
    story.produce(&topic, 0, 50..100);
    consumed(&mut running, &address, 50.0);
    set(&quick, &["--to", "latest", "--execute"]).with(2).saying("50 offsets would never be read");
    set(&quick, &["--to", "latest", "--execute", "--accept-loss"]).with(0).saying("50 offsets are given up");
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0).saying("offsets were set by hand");
    story.produce(&topic, 0, 100..120);
    run_until_end(&quick).with(0);
    assert_eq!(judge::offsets(&location), range(0, 0..50).chain(range(0, 100..120)).collect());
    let zero = &verified(&location)["partitions"][0];
    assert_eq!(spans(&zero["given_up"]), [(50, 100)]);
    assert_eq!(zero["verdict"], "proven besides what was given up");
    judge::sound(&location);
}

#[test]
fn what_retention_took_is_given_up_by_name_and_stays_named_behind_a_checkpoint() {
    let Some(story) = Story::begin("accept-loss") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = config(&story, "config", ("accept-loss", &topic, &location), "50ms");
    (0..2).for_each(|partition| story.produce(&topic, partition, 0..100));
    run_until_end(&config).with(0);
    (0..2).for_each(|partition| story.produce(&topic, partition, 100..150));
    story.delete_records(&topic, 0, 120);
    run_until_end(&config).with(76).saying("offsets 100..120").saying("run --accept-loss");
    start(&["offsets", "show"], &config).end(PATIENCE).with(0).saying("offsets 100..120 were deleted");
    start(&["run", "--until-end", "--accept-loss"], &config)
        .end(PATIENCE)
        .with(0)
        .saying("offsets are given up");
    let expected = range(0, 0..100).chain(range(0, 120..150)).chain(range(1, 0..150));
    assert_eq!(judge::offsets(&location), expected.collect());
    judge::sound(&location);

    // The log is cleaned up: only the checkpoint tells.
    tool("python", &["-c", CHECKPOINT, &location]);
    let log = Path::new(&location).join("_delta_log");
    for entry in fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "json") {
            fs::remove_file(entry).unwrap();
        }
    }
    let zero = &verified(&location)["partitions"][0];
    assert_eq!(
        (spans(&zero["given_up"]), spans(&zero["proven"])),
        (vec![(100, 120)], vec![(0, 100), (120, 150)])
    );
    story.produce(&topic, 0, 150..160);
    run_until_end(&config).with(0);
    assert_eq!(judge::offsets(&location).len(), 140 + 150);
    assert_eq!(spans(&verified(&location)["partitions"][0]["given_up"]), [(100, 120)]);
    judge::sound(&location);
}

#[test]
fn a_copied_table_goes_on_behind_its_rows_once_it_is_adopted() {
    let Some(story) = Story::begin("adopt-copy") else { return };
    let topic = story.topic("events", 2);
    let (original, copy) = (story.place("original"), story.place("copy"));
    (0..2).for_each(|partition| story.produce(&topic, partition, 0..100));
    run_until_end(&config(&story, "original", ("adopt", &topic, &original), "50ms")).with(0);
    tool("python", &["-c", COPY, &original, &copy]);
    let config = config(&story, "copy", ("adopt", &topic, &copy), "50ms");
    (0..2).for_each(|partition| story.produce(&topic, partition, 100..130));
    run_until_end(&config).with(76).saying("it may be a clone").saying("offsets set --adopt");
    set(&config, &["--adopt"]).with(0).saying("100").saying("dry run");
    run_until_end(&config).with(76);
    set(&config, &["--adopt", "--execute"]).with(0).saying("a clone");
    run_until_end(&config).with(0);
    assert_eq!(judge::offsets(&copy), range(0, 0..130).chain(range(1, 0..130)).collect());
    let verdict = verified(&copy);
    assert!(verdict["notes"].to_string().contains("behind the rows"), "{verdict:#}");
    assert_eq!(verdict["partitions"][0]["verdict"], "proven");
    set(&config, &["--adopt", "--execute"]).with(2).saying("nothing to adopt");
}

/// A clone as Spark makes one: the files, and a log that begins with all of them.
const COPY: &str = r"
import json, pathlib, shutil, sys
shutil.copytree(sys.argv[1], sys.argv[2])
log = sorted(pathlib.Path(sys.argv[2], '_delta_log').glob('*.json'))
lines = [json.loads(line) for file in log for line in file.read_text().splitlines()]
kept = [line for line in lines if set(line) & {'protocol', 'metaData', 'add'}]
[file.unlink() for file in log]
begun = [{'commitInfo': {'operation': 'CLONE'}}] + kept
log[0].write_text(''.join(json.dumps(line) + '\n' for line in begun))
";

#[test]
fn a_table_id_that_changed_is_adopted_and_the_former_writer_ends_for_good() {
    let Some(story) = Story::begin("adopt-rename") else { return };
    let topic = story.topic("events", 1);
    let location = story.place("table");
    story.produce(&topic, 0, 0..100);
    let old = config(&story, "old", ("old-name", &topic, &location), "50ms");
    let new = config(&story, "new", ("new-name", &topic, &location), "50ms");
    let mut running = run(&old);
    let address = running.address();
    committed(&mut running, &address, 100.0);
    run_until_end(&new).with(76).saying("`old-name`").saying("offsets set --adopt");
    set(&new, &["--adopt", "--execute"]).with(0).saying("goes on here");
    story.produce(&topic, 0, 100..150);
    running.end(PATIENCE).with(75).saying("gives way");
    run_until_end(&old).with(76).saying("handed over to the table id `new-name`");
    run_until_end(&new).with(0);
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb"]), 150);
    let verdict = verified(&location);
    assert_eq!(verdict["partitions"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&verdict["partitions"][0]["table_id"], &verdict["partitions"][0]["verdict"]),
        (&"new-name".into(), &"proven".into())
    );
}

#[test]
fn a_topic_that_was_created_again_is_adopted_from_its_first_record() {
    let Some(story) = Story::begin("adopt-again") else { return };
    let topic = story.topic("events", 1);
    let location = story.place("table");
    let config = config(&story, "config", ("again", &topic, &location), "50ms");
    story.produce(&topic, 0, 0..100);
    run_until_end(&config).with(0);
    story.create_again(&topic, 1);
    story.produce(&topic, 0, 0..30);
    run_until_end(&config).with(76).saying("created again").saying("offsets set --adopt");
    set(&config, &["--to", "earliest", "--execute"]).with(76);
    set(&config, &["--adopt", "--execute"]).with(0).saying("begins here");
    run_until_end(&config).with(0);
    let expected: BTreeMap<(i64, i64), i64> =
        range(0, 0..100).map(|place| (place, if place.1 < 30 { 2 } else { 1 })).collect();
    assert_eq!(counts(&location), expected, "offsets of two topics");
    let verdict = verified(&location);
    assert_eq!(verdict["partitions"].as_array().unwrap().len(), 2);
    let shown = start(&["offsets", "show", "--json"], &config).end(PATIENCE).with(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["tables"][0]["partitions"][0]["next"], 30);
}
