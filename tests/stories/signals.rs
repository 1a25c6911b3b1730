//! Asked to stop: drained, or at once.

use std::time::Duration;

use crate::judge;
use crate::program::{metric, run, run_until_end};
use crate::services;
use crate::story::{FLAT, Story};

/// An hour: only the drain commits.
const PATIENT: &str = "max_latency = \"1h\"\n";

#[test]
fn a_drain_commits_all_that_was_read_and_a_restart_doubles_nothing() {
    let Some(story) = Story::begin("drain") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = story.config(
        "drain",
        &format!("[[table]]\nid = \"drain\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n{PATIENT}"),
    );
    for (signal, total) in [("-TERM", 3_000), ("-INT", 6_000)] {
        let mut running = run(&config);
        let address = running.address();
        for partition in 0..2 {
            story.produce(&topic, partition, total - 3_000..total);
        }
        running.watch_until("all is read", || metric(&address, "thalweg_records_consumed_total") >= 6_000.0);
        running.signal(signal);
        let ended = running.end(Duration::from_secs(10)).with(0);
        assert!(ended.stdout.is_empty(), "{}", ended.stdout);
        let rows = judge::equal(&story, &location, &topic, FLAT, &["deltalake"]);
        assert_eq!(rows, total.unsigned_abs() * 2);
    }
    run_until_end(&config).with(0);
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb"]), 12_000);
}

#[test]
fn a_second_signal_ends_at_once() {
    let Some(story) = Story::begin("abort") else { return };
    let topic = story.topic("events", 1);
    let s3 = services::own_s3("abort-s3", "s3proxy");
    s3.bucket("abort");
    let table = format!("[[table]]\nid = \"abort\"\ntopic = \"{topic}\"\nschema = \"{FLAT}\"\n{PATIENT}");
    let config = story.config("abort", &format!("{}{table}location = \"s3://abort/t\"\n", s3.options()));
    let mut running = run(&config);
    let address = running.address();
    story.produce(&topic, 0, 0..500);
    running.watch_until("all is read", || metric(&address, "thalweg_records_consumed_total") >= 500.0);
    // Nothing can be committed any more: the drain has to wait.
    s3.kill();
    running.signal("-TERM");
    running.until("stopping");
    running.signal("-TERM");
    let ended = running.end(Duration::from_secs(3));
    assert!(ended.code > 0, "{ended:?}");
}

#[test]
fn a_drain_that_cannot_commit_gives_up_within_ten_seconds() {
    let Some(story) = Story::begin("undrained") else { return };
    let topic = story.topic("events", 1);
    let s3 = services::own_s3("undrained-s3", "s3proxy");
    s3.bucket("undrained");
    let config = story.config(
        "undrained",
        &format!(
            "{}[[table]]\nid = \"undrained\"\ntopic = \"{topic}\"\nschema = \"{FLAT}\"\n{PATIENT}location = \"s3://undrained/t\"\n",
            s3.options()
        ),
    );
    let mut running = run(&config);
    let address = running.address();
    story.produce(&topic, 0, 0..500);
    running.watch_until("all is read", || metric(&address, "thalweg_records_consumed_total") >= 500.0);
    s3.kill();
    running.signal("-TERM");
    running.end(Duration::from_secs(12)).with(69).saying("nothing is lost");
}
