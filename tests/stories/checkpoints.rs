//! A table with checkpoints of ours is what every reader expects.

use std::fs;
use std::time::Duration;

use crate::judge;
use crate::program::{run, run_until_end};
use crate::story::{FLAT, Story};

/// More than there are versions between two checkpoints.
const COMMITS: i64 = 104;

#[test]
fn a_table_that_we_checkpointed_opens_everywhere_with_equal_rows() {
    let Some(story) = Story::begin("checkpoints") else { return };
    let topic = story.topic("events", 1);
    let location = story.place("table");
    let config = story.config(
        "checkpoints",
        &format!(
            "[[table]]\nid = \"checkpoints\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\nmax_latency = \"10ms\"\n"
        ),
    );
    let mut running = run(&config);
    running.until("table open");
    for number in 0..COMMITS {
        story.produce(&topic, 0, number * 3..number * 3 + 3);
        running.until("committed");
    }
    let hint = format!("{location}/_delta_log/_last_checkpoint");
    running.watch_until("a checkpoint is written", || fs::exists(&hint).unwrap());
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
    // The next start loads the checkpoint.
    story.produce(&topic, 0, COMMITS * 3..COMMITS * 3 + 3);
    run_until_end(&config).with(0);
    let rows = judge::equal(&story, &location, &topic, FLAT, &["duckdb", "deltalake", "polars"]);
    assert_eq!(rows, ((COMMITS + 1) * 3).unsigned_abs());
    assert!(judge::sound(&location)["checkpoints"].as_u64().unwrap() >= 1);
}
