//! Killed at any moment, and run twice at once: nothing lost, nothing doubled.

use std::time::Duration;

use crate::judge;
use crate::program::{TIMEOUT, program, run, run_until_end};
use crate::story::{Choices, FLAT, Story};

const KILLS: i64 = 6;
/// Records that each round adds to each of two partitions.
const ROUND: i64 = 6_000;

#[test]
fn kills_at_random_moments_lose_and_double_nothing() {
    let Some(story) = Story::begin("kills") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = story.config(
        "kills",
        &format!(
            "[[table]]\nid = \"kills\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n\
             max_latency = \"20ms\"\n"
        ),
    );
    let mut choices = Choices(20);
    for round in 0..KILLS {
        for partition in 0..2 {
            let from = round * ROUND;
            story.produce(&topic, partition, from..from + ROUND);
        }
        let mut running = run(&config);
        // Some die while they start, most while they commit.
        if choices.below(4) > 0 {
            running.until("table open");
        }
        running.watch(Duration::from_millis(choices.below(400)));
        running.kill();
    }
    run_until_end(&config).with(0);
    let rows = judge::equal(&story, &location, &topic, FLAT, &["duckdb"]);
    assert_eq!(rows, (KILLS * ROUND * 2).unsigned_abs());
    program(&["table", "verify", &location]).end(TIMEOUT).with(0);
}

#[test]
fn of_two_ingesters_one_gives_way_and_names_the_other() {
    let Some(story) = Story::begin("rivals") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = story.config(
        "rivals",
        &format!(
            "[[table]]\nid = \"rivals\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n\
             max_latency = \"50ms\"\n"
        ),
    );
    story.produce(&topic, 0, 0..2_000);
    let (mut first, mut second) = (run(&config), run(&config));
    // Rivals meet only where there is something to commit.
    let mut produced = 2_000;
    let (loser, winner) = loop {
        story.produce(&topic, 0, produced..produced + 200);
        story.produce(&topic, 1, produced..produced + 200);
        produced += 200;
        assert!(produced < 60_000, "both went on");
        if !first.watch(Duration::from_millis(100)) {
            break (first, second);
        }
        if !second.watch(Duration::from_millis(100)) {
            break (second, first);
        }
    };
    let winner_pid = winner.pid();
    loser.end(TIMEOUT).with(75).saying(&format!("pid {winner_pid}")).saying("on host");
    winner.signal("-TERM");
    winner.end(Duration::from_secs(10)).with(0);
    run_until_end(&config).with(0);
    let rows = judge::equal(&story, &location, &topic, FLAT, &["duckdb"]);
    assert_eq!(rows, (produced + produced - 2_000).unsigned_abs());
}
