//! A table with checkpoints of ours is what every reader expects.

use std::fs;
use std::time::Duration;

use crate::judge;
use crate::program::{run, run_until_end};
use crate::services::python;
use crate::story::{FLAT, Story};

/// Three times as many as there are versions between two checkpoints, and a few: some later one
/// copies row groups of one before.
const COMMITS: i64 = 306;

/// How many row groups stand in two checkpoints, by the checksums in their footers.
const COPIED: &str = "
import glob, sys, pyarrow.parquet as pq
files = sorted(glob.glob(sys.argv[1] + '/_delta_log/*.checkpoint.parquet'))
groups = [set(pq.read_metadata(file).metadata[b'thalweg.crc32'].split()) for file in files]
print(sum(len(before & after) for before, after in zip(groups, groups[1:])))
";

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
    // One record, one commit.
    let committed_before = |number: &i64| {
        if *number > 0 {
            running.until("committed");
        }
    };
    story.produce(&topic, 0, (0..COMMITS).inspect(committed_before));
    running.until("committed");
    let hint = format!("{location}/_delta_log/_last_checkpoint");
    let names_the_third = || fs::read_to_string(&hint).is_ok_and(|hint| hint.contains("\"version\":30"));
    running.watch_until("the third checkpoint is written", names_the_third);
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
    // The next start loads the checkpoint.
    story.produce(&topic, 0, COMMITS..COMMITS + 3);
    run_until_end(&config).with(0);
    let rows = judge::equal(&story, &location, &topic, FLAT, &["duckdb", "deltalake", "polars"]);
    assert_eq!(rows, (COMMITS + 3).unsigned_abs());
    assert!(judge::sound(&location)["checkpoints"].as_u64().unwrap() >= 3);
    assert!(python(COPIED, &[&location]).trim() != "0", "nothing was copied");
}
