//! Offsets overridden: to each kind of place, under a running writer, in a
//! group, past what is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::judge::{self, range};
use crate::program::{Ended, Running, TIMEOUT, metric, program, run, run_until_end, start};
use crate::services::python;
use crate::story::{EPOCH_MS, FLAT, Story};

/// How many rows have each place, as deltalake-python reads them.
const COUNTS: &str = "
import json, sys, deltalake
from collections import Counter
read = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_table(columns=['_partition', '_offset'])
counts = Counter(zip(read['_partition'].to_pylist(), read['_offset'].to_pylist()))
print(json.dumps([[*place, count] for place, count in counts.items()]))
";

/// More than there are versions between two checkpoints.
const COMMITS: i64 = 104;

pub fn counts(location: &str) -> BTreeMap<(i64, i64), i64> {
    let rows: Vec<(i64, i64, i64)> = serde_json::from_str(&python(COUNTS, &[location])).unwrap();
    rows.into_iter().map(|(partition, offset, count)| ((partition, offset), count)).collect()
}

/// The table alone in a config; `latency` of its commits.
pub fn config(
    story: &Story,
    name: &str,
    (id, topic, location): (&str, &str, &str),
    latency: &str,
) -> PathBuf {
    let quick = "[kafka.librdkafka]\n\"fetch.wait.max.ms\" = \"10\"\n";
    let table = format!(
        "[[table]]\nid = \"{id}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\nmax_latency = \"{latency}\"\n"
    );
    story.config(name, &format!("{quick}{table}"))
}

pub fn set(config: &Path, options: &[&str]) -> Ended {
    start(&[&["offsets", "set"], options].concat(), config).end(TIMEOUT)
}

/// What `table verify` says, with no violation.
pub fn verified(location: &str) -> Value {
    let ended = program(&["table", "verify", "--json", location]).end(TIMEOUT).with(0);
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

pub fn committed(running: &mut Running, address: &str, rows: f64) {
    running.watch_until("the rows are committed", || metric(address, "thalweg_rows_committed_total") >= rows);
}

#[test]
fn a_running_writer_reads_on_from_offsets_that_were_set_by_an_administrator() {
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
    // The line names the entry of the log.
    assert!(running.until("offsets were overridden").contains("/0/100-40"));
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
        .end(TIMEOUT)
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
    set(&quick, &["--to", "latest", "--execute"])
        .with(2)
        .saying("50 offsets would never be read: set-fences-events [0] 50..100");
    set(&quick, &["--to", "latest", "--execute", "--accept-loss"]).with(0).saying("50 offsets are given up");
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0).saying("offsets were overridden");
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
    let config = config(&story, "config", ("accept-loss", &topic, &location), "10ms");
    (0..2).for_each(|partition| story.produce(&topic, partition, 0..100));
    run_until_end(&config).with(0);
    (0..2).for_each(|partition| story.produce(&topic, partition, 100..150));
    story.delete_records(&topic, 0, 120);
    run_until_end(&config).with(76).saying("offsets 100..120").saying("run --accept-loss");
    start(&["offsets", "show"], &config).end(TIMEOUT).with(0).saying("offsets 100..120 were deleted");
    start(&["run", "--until-end", "--accept-loss"], &config)
        .end(TIMEOUT)
        .with(0)
        .saying("offsets are given up");
    let expected = range(0, 0..100).chain(range(0, 120..150)).chain(range(1, 0..150));
    assert_eq!(judge::offsets(&location), expected.collect());
    judge::sound(&location);

    // The log is cleaned up: only our checkpoint tells.
    let mut running = run(&config);
    running.until("table open");
    let one_by_one = (150..150 + COMMITS).inspect(|number| {
        if *number > 150 {
            running.until("committed");
        }
    });
    story.produce(&topic, 0, one_by_one);
    running.until("committed");
    let hint = Path::new(&location).join("_delta_log/_last_checkpoint");
    running.watch_until("the checkpoint is written", || hint.exists());
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
    let hint: Value = serde_json::from_str(&fs::read_to_string(hint).unwrap()).unwrap();
    for version in 0..=hint["version"].as_u64().unwrap() {
        fs::remove_file(Path::new(&location).join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let end = 150 + COMMITS;
    let zero = &verified(&location)["partitions"][0];
    assert_eq!(
        (spans(&zero["given_up"]), spans(&zero["proven"])),
        (vec![(100, 120)], vec![(0, 100), (120, end)])
    );
    assert_eq!(zero["verdict"], "proven besides what was given up");
    story.produce(&topic, 0, end..end + 10);
    run_until_end(&config).with(0);
    let expected = range(0, 0..100).chain(range(0, 120..end + 10)).chain(range(1, 0..150));
    assert_eq!(judge::offsets(&location), expected.collect());
    assert_eq!(spans(&verified(&location)["partitions"][0]["given_up"]), [(100, 120)]);
    judge::sound(&location);
}

/// Where `offsets set --json` would move partitions, or has moved them.
fn moves(ended: &Ended) -> Vec<(i64, i64)> {
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    let number = |one: &Value, key: &str| one[key].as_i64().unwrap();
    let moves = told["moves"].as_array().unwrap().iter();
    moves.map(|one| (number(one, "partition"), number(one, "to"))).collect()
}

#[test]
fn every_kind_of_place_is_the_one_that_the_topic_has_for_the_named_partitions_or_all() {
    let Some(story) = Story::begin("set-forms") else { return };
    let topic = story.topic("events", 3);
    let location = story.place("table");
    let config = config(&story, "config", ("set-forms", &topic, &location), "50ms");
    (0..3).for_each(|partition| story.produce(&topic, partition, 0..100));
    run_until_end(&config).with(0);
    (0..3).for_each(|partition| story.produce(&topic, partition, 100..120 + i64::from(partition)));
    story.delete_records(&topic, 2, 7);

    let second =
        |number: i64| jiff::Timestamp::from_millisecond(EPOCH_MS + number * 1000).unwrap().to_string();
    let (inside, before, after) = (second(60), second(-5), second(9_999));
    let all = |zero, one, two| vec![(0, zero), (1, one), (2, two)];
    for (options, expected) in [
        (&["--to", "earliest"][..], all(0, 0, 7)),
        (&["--to", "earliest", "--partition", "2"], vec![(2, 7)]),
        (&["--to", "latest"], all(120, 121, 122)),
        (&["--to", "latest", "--partition", "0,1"], vec![(0, 120), (1, 121)]),
        (&["--to", &inside], all(60, 60, 60)),
        (&["--to", &before], all(0, 0, 7)),
        (&["--to", &after], all(120, 121, 122)),
        (&["--to", &inside, "--partition", "1"], vec![(1, 60)]),
        (&["--to", "90"], all(90, 90, 90)),
        (&["--to", "110", "--partition", "2"], vec![(2, 110)]),
        // It stands there.
        (&["--to", "100"], vec![]),
    ] {
        let ended = set(&config, &[options, &["--json"]].concat()).with(0);
        assert_eq!(moves(&ended), expected, "{options:?}");
    }
    set(&config, &["--to", "121"]).with(2).saying("the topic has offsets 0..120, and 121 is not among them");
    set(&config, &["--to", "6", "--partition", "2"]).with(2).saying("7..122");
    set(&config, &["--to", "9", "--partition", "3"]).with(2).saying("no partition 3");
    set(&config, &["--to", "yesterday"]).with(2).saying("2026-11-22T00:00:00Z");
    assert_eq!(verified(&location)["partitions"][1]["next"], 100, "nothing was moved yet");

    let accepted = ["--execute", "--json", "--accept-loss", "--accept-duplicates"];
    for (options, expected) in [
        (["--to", "latest", "--partition", "0"], (0, 120)),
        (["--to", &inside, "--partition", "1"], (1, 60)),
        (["--to", "110", "--partition", "2"], (2, 110)),
    ] {
        assert_eq!(moves(&set(&config, &[&options[..], &accepted].concat()).with(0)), [expected]);
    }
    run_until_end(&config).with(0);
    let expected: BTreeMap<(i64, i64), i64> = range(0, 0..100)
        .chain(range(1, 0..121))
        .chain(range(2, 0..100).chain(range(2, 110..122)))
        .map(|place| (place, if place.0 == 1 && (60..100).contains(&place.1) { 2 } else { 1 }))
        .collect();
    assert_eq!(counts(&location), expected);
    let verdict = verified(&location);
    let told = |partition: usize, key: &str| spans(&verdict["partitions"][partition][key]);
    assert_eq!((told(0, "given_up"), told(2, "given_up")), (vec![(100, 120)], vec![(100, 110)]));
    assert_eq!(told(1, "read_again"), [(60, 100)]);
    judge::sound(&location);
}

#[test]
fn the_member_of_a_group_that_owns_the_moved_partition_reads_on_from_there_and_no_other() {
    let Some(story) = Story::begin("set-group") else { return };
    let topic = story.topic("events", 4);
    let location = story.place("table");
    let quick =
        "\"session.timeout.ms\" = 2000\n\"heartbeat.interval.ms\" = 300\n\"fetch.wait.max.ms\" = 10\n";
    let kafka =
        format!("brokers = \"{}\"\ngroup = \"set-group\"\n[kafka.librdkafka]\n{quick}", story.brokers);
    let table = format!(
        "[[table]]\nid = \"set-group\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\nmax_latency = \"50ms\"\n"
    );
    let config = story.config_with(&kafka, "config", &table);
    let (mut first, mut second) = (run(&config), run(&config));
    let of = [first.address(), second.address()];
    first.until("reading on");
    second.until("reading on");
    let rows = |members: [&mut Running; 2], wanted: f64| {
        let [one, other] = members;
        one.watch_until("all rows are committed", || {
            of.iter().map(|address| metric(address, "thalweg_rows_committed_total")).sum::<f64>() >= wanted
        });
        assert!(other.watch(Duration::ZERO), "both members stay");
    };
    (0..4).for_each(|partition| story.produce(&topic, partition, 0..200));
    rows([&mut first, &mut second], 800.0);
    set(&config, &["--to", "150", "--partition", "2", "--execute", "--accept-duplicates"]).with(0);
    (0..4).for_each(|partition| story.produce(&topic, partition, 200..250));
    rows([&mut first, &mut second], 800.0 + 50.0 + 4.0 * 50.0);
    let told = [&mut first, &mut second].map(|member| member.times_said("offsets were overridden"));
    assert_eq!(told.iter().sum::<usize>(), 1, "only its owner is told: {told:?}");
    for member in [first, second] {
        member.signal("-TERM");
        member.end(Duration::from_secs(12)).with(0);
    }
    let twice = |place: &(i64, i64)| if place.0 == 2 && (150..200).contains(&place.1) { 2 } else { 1 };
    let expected: BTreeMap<(i64, i64), i64> =
        (0..4).flat_map(|partition| range(partition, 0..250)).map(|place| (place, twice(&place))).collect();
    assert_eq!(counts(&location), expected);
    assert_eq!(spans(&verified(&location)["partitions"][2]["read_again"]), [(150, 200)]);
    judge::sound(&location);
}

#[test]
fn dead_letters_that_are_read_again_stay_the_dead_letters_that_they_are() {
    let Some(story) = Story::begin("set-letters") else { return };
    let topic = story.topic("events", 1);
    let location = story.place("table");
    // Every third record has a member that the schema does not know.
    let strange = |number: i64| match number % 3 {
        0 => (number, format!("{{\"id\":{number},\"new\":1}}")),
        _ => (number, format!("{{\"id\":{number}}}")),
    };
    story.produce_texts(&topic, 0, (0..90).map(strange));
    let config = |name: &str, on_new_field: &str| {
        let table = format!("[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\n");
        story.config(
            name,
            &format!(
                "{table}schema = \"{FLAT}\"\non_new_field = \"{on_new_field}\"\nmax_latency = \"50ms\"\n"
            ),
        )
    };
    let (strict, mild) = (config("strict", "fail"), config("mild", "ignore"));
    run_until_end(&strict).with(0);
    // By this config they would be rows; they were settled as dead letters.
    set(&mild, &["--to", "30", "--execute", "--accept-duplicates"]).with(0);
    run_until_end(&mild).with(0);
    let rows = (0..90).filter(|number| number % 3 > 0);
    let expected: BTreeMap<(i64, i64), i64> =
        rows.map(|number| ((0, number), if number < 30 { 1 } else { 2 })).collect();
    assert_eq!(counts(&location), expected);
    start(&["dlq", "stats"], &mild).end(TIMEOUT).with(0).saying("30 dead letters");

    // The same under a running ingester.
    let mut running = run(&mild);
    let address = running.address();
    running.until("table open");
    set(&mild, &["--to", "60", "--execute", "--accept-duplicates"]).with(0);
    story.produce_texts(&topic, 0, (90..93).map(strange));
    running.until("offsets were overridden");
    committed(&mut running, &address, 20.0 + 3.0);
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
    assert_eq!(counts(&location).values().sum::<i64>(), 60 + 40 + 20 + 3);
    start(&["dlq", "stats"], &mild).end(TIMEOUT).with(0).saying("30 dead letters");

    // Trying them again is a replay's, and each becomes one row.
    start(&["dlq", "replay"], &mild).end(TIMEOUT).with(0).saying("30 of 30 dead letters became rows");
    assert_eq!(counts(&location).values().sum::<i64>(), 60 + 40 + 20 + 3 + 30);
    verified(&location);
}
