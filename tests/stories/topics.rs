//! What becomes of topics: retention, created again, grown, large records.
//! The rows are exact, or the partition stops and says why; others go on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::judge::{self, range};
use crate::program::{Running, TIMEOUT, get, metric, program, run, run_until_end};
use crate::story::{Choices, FLAT, Story};

fn table(story: &Story, id: &str, topic: &str) -> String {
    let location = story.place(id);
    format!(
        "[[table]]\nid = \"{id}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\nmax_latency = \"50ms\"\n"
    )
}

fn config(story: &Story, tables: &[(&str, &str)]) -> PathBuf {
    // A fetch waits for a moment only: a process that is held has no question at the broker.
    let quick = "[kafka.librdkafka]\n\"fetch.wait.max.ms\" = \"10\"\n";
    let tables: String = tables.iter().map(|(id, topic)| table(story, id, topic)).collect();
    story.config("config", &format!("{quick}{tables}"))
}

fn committed(running: &mut Running, address: &str, rows: f64) {
    running.watch_until("the rows are committed", || metric(address, "thalweg_rows_committed_total") >= rows);
}

/// The process stays, and says on `/readyz` what does not go on.
fn stays_not_ready(running: &mut Running, address: &str, words: &[&str]) {
    running.watch_until("it is not ready", || {
        let (status, body) = get(address, "/readyz");
        status.contains("503") && words.iter().all(|word| body.contains(word))
    });
}

fn ends_in_order(running: Running) {
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
}

#[test]
fn retention_that_passed_while_down_stops_its_partition_and_names_the_offsets() {
    let Some(story) = Story::begin("retention-down") else { return };
    let topic = story.topic("events", 2);
    story.produce(&topic, 0, 0..100);
    story.produce(&topic, 1, 0..100);
    let config = config(&story, &[("table", &topic)]);
    run_until_end(&config).with(0);
    story.produce(&topic, 0, 100..150);
    story.produce(&topic, 1, 100..150);
    story.delete_records(&topic, 0, 120);
    run_until_end(&config).with(76).saying("offsets 100..120").saying("retention");
    let expected = range(0, 0..100).chain(range(1, 0..150)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);

    // A run without an end stays for the healthy partition, and says so.
    let mut running = run(&config);
    let address = running.address();
    story.produce(&topic, 1, 150..160);
    committed(&mut running, &address, 10.0);
    stays_not_ready(&mut running, &address, &["offsets 100..120"]);
    ends_in_order(running);
    judge::sound(&story.place("table"));
}

#[test]
fn retention_that_passes_a_running_process_stops_its_partition_only() {
    let Some(story) = Story::begin("retention-up") else { return };
    let topic = story.topic("events", 2);
    story.produce(&topic, 0, 0..100);
    story.produce(&topic, 1, 0..100);
    let config = config(&story, &[("table", &topic)]);
    let mut running = run(&config);
    let address = running.address();
    committed(&mut running, &address, 200.0);
    // Held while the records come and go.
    running.signal("-STOP");
    story.produce(&topic, 0, 100..150);
    story.delete_records(&topic, 0, 130);
    story.produce(&topic, 1, 100..120);
    running.signal("-CONT");
    committed(&mut running, &address, 220.0);
    stays_not_ready(&mut running, &address, &["offsets 100..130", "retention"]);
    ends_in_order(running);
    let expected = range(0, 0..100).chain(range(1, 0..120)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);
    judge::sound(&story.place("table"));
}

#[test]
fn a_topic_created_again_while_down_is_refused_and_other_tables_go_on() {
    let Some(story) = Story::begin("again-down") else { return };
    let (topic, other) = (story.topic("events", 1), story.topic("other", 1));
    story.produce(&topic, 0, 0..100);
    story.produce(&other, 0, 0..10);
    let config = config(&story, &[("table", &topic), ("other", &other)]);
    run_until_end(&config).with(0);
    for records in [40, 400] {
        story.create_again(&topic, 1);
        story.produce(&topic, 0, 0..records);
        story.produce(&other, 0, 0..10);
        run_until_end(&config).with(76).saying("created again");
        assert_eq!(judge::offsets(&story.place("table")), range(0, 0..100).collect());
        assert_eq!(states_shown(&config), ["stopped", "ok"], "of the one partition of each table");
    }
    assert_eq!(judge::offsets(&story.place("other")), range(0, 0..30).collect());
    judge::sound(&story.place("table"));
}

/// The states that `offsets show` has for the partitions of all tables.
fn states_shown(config: &Path) -> Vec<String> {
    let shown = program(&["offsets", "show", "--json", "-c", config.to_str().unwrap()]).end(TIMEOUT).with(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let tables = shown["tables"].as_array().unwrap();
    let partitions = tables.iter().flat_map(|table| table["partitions"].as_array().unwrap());
    partitions.map(|partition| partition["state"].as_str().unwrap().to_owned()).collect()
}

/// A topic that is replaced under a running process by one with `records` records.
fn created_again_under(name: &'static str, records: i64) {
    let Some(story) = Story::begin(name) else { return };
    let (topic, other) = (story.topic("events", 1), story.topic("other", 1));
    story.produce(&topic, 0, 0..100);
    story.produce(&other, 0, 0..10);
    let config = config(&story, &[("table", &topic), ("other", &other)]);
    let mut running = run(&config);
    let address = running.address();
    committed(&mut running, &address, 110.0);
    // Held, so that it meets the new topic and never a topic that is gone.
    running.signal("-STOP");
    story.create_again(&topic, 1);
    story.produce(&topic, 0, 0..records);
    running.signal("-CONT");
    running.until("created again");
    stays_not_ready(&mut running, &address, &["table table"]);
    story.produce(&other, 0, 10..20);
    committed(&mut running, &address, 120.0);
    ends_in_order(running);
    assert_eq!(judge::offsets(&story.place("table")), range(0, 0..100).collect());
    assert_eq!(judge::offsets(&story.place("other")), range(0, 0..20).collect());
    judge::sound(&story.place("table"));
}

#[test]
fn not_a_record_of_a_longer_topic_created_again_under_a_run_becomes_a_row() {
    created_again_under("again-longer", 300);
}

#[test]
fn a_shorter_topic_created_again_under_a_run_stops_its_table_only() {
    created_again_under("again-shorter", 30);
}

#[test]
fn a_topic_that_is_deleted_under_a_run_is_told_and_waited_for_and_other_tables_go_on() {
    let Some(story) = Story::begin("deleted") else { return };
    let (topic, other) = (story.topic("events", 2), story.topic("other", 1));
    story.produce(&topic, 0, 0..100);
    story.produce(&topic, 1, 0..50);
    story.produce(&other, 0, 0..10);
    let config = config(&story, &[("table", &topic), ("other", &other)]);
    let mut running = run(&config);
    let address = running.address();
    committed(&mut running, &address, 160.0);
    story.delete(&topic);
    stays_not_ready(&mut running, &address, &[&format!("topic {topic}"), "does not exist any more"]);
    story.produce(&other, 0, 10..20);
    committed(&mut running, &address, 170.0);
    // It comes back as another one.
    story.create_of_that_name(&topic, 2);
    story.produce(&topic, 0, 0..300);
    running.until("created again");
    stays_not_ready(&mut running, &address, &["table table", "created again"]);
    story.produce(&other, 0, 20..30);
    committed(&mut running, &address, 180.0);
    ends_in_order(running);
    let expected = range(0, 0..100).chain(range(1, 0..50)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);
    assert_eq!(judge::offsets(&story.place("other")), range(0, 0..30).collect());
    judge::sound(&story.place("table"));
}

#[test]
fn partitions_added_under_a_run_are_read_from_their_first_record() {
    let Some(story) = Story::begin("grows") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..50);
    let config = config(&story, &[("table", &topic)]);
    let mut running = run(&config);
    let address = running.address();
    committed(&mut running, &address, 50.0);
    story.grow(&topic, 3);
    story.produce(&topic, 2, 0..30);
    story.produce(&topic, 1, 0..20);
    // A commit is when topics are looked at, besides every ten seconds.
    story.produce(&topic, 0, 50..60);
    committed(&mut running, &address, 110.0);
    ends_in_order(running);
    let expected = range(0, 0..60).chain(range(1, 0..20)).chain(range(2, 0..30)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);
    judge::sound(&story.place("table"));
}

#[test]
fn a_record_larger_than_every_fetch_setting_is_read() {
    let Some(story) = Story::begin("large") else { return };
    let topic = story.topic_with("events", 1, &[("max.message.bytes", "8000000")]);
    // Nothing that a codec makes small: a response of ours is 2 MiB at most.
    let mut choices = Choices(5);
    let name: String = (0..320_000).map(|_| format!("{:016x}", choices.below(u64::MAX))).collect();
    let large = format!(r#"{{"id":1,"name":"{name}"}}"#);
    assert!(large.len() > 5_000_000);
    let records = [(0, r#"{"id":0}"#.to_owned()), (1, large), (2, r#"{"id":2}"#.to_owned())];
    story.produce_texts(&topic, 0, records.into_iter());
    let body = table(&story, "table", &topic);
    let config = story.config("config", &body);
    run_until_end(&config).with(0);
    assert_eq!(judge::equal(&story, &story.place("table"), &topic, FLAT, &["duckdb"]), 3);
}
