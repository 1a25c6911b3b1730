//! Shards: a hot partition leaves the shard of another hot one, and nothing is lost or doubled.

use std::time::Duration;

use crate::judge::{self, range};
use crate::program::run;
use crate::story::{FLAT, Story};

/// Records that a hot partition gets at once.
const PIECE: i64 = 50_000;

#[test]
#[ignore = "a shard that is faster than the producer is never busy: needs a load that does not depend on the machine"]
fn two_hot_partitions_part_and_no_row_is_lost_or_doubled() {
    let Some(story) = Story::begin("shards-balance") else { return };
    let topic = story.topic("events", 4);
    let location = story.place("table");
    let table = format!("[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\n");
    let config = story.config("config", &format!("{table}schema = \"{FLAT}\"\nmax_latency = \"200ms\"\n"));
    // Of two shards, one begins with 0 and 2, the other with 1 and 3.
    story.produce(&topic, 1, 0..100);
    story.produce(&topic, 3, 0..100);
    let mut running = run(&config);
    let address = running.address();
    let mut produced = 0;
    while !running.has_said("a partition moves to another shard") {
        assert!(produced < 100 * PIECE, "nothing moves");
        for partition in [0, 2] {
            story.produce(&topic, partition, produced..produced + PIECE);
        }
        produced += PIECE;
    }
    // The shard that has it now reads on.
    for partition in [0, 2] {
        story.produce(&topic, partition, produced..produced + 1000);
    }
    produced += 1000;
    let rows = (2 * produced + 200) as f64;
    running.watch_until("all is committed", || {
        crate::program::metric(&address, "thalweg_rows_committed_total") >= rows
    });
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
    let hot = [0, 2].into_iter().flat_map(|partition| range(partition, 0..produced));
    let cold = [1, 3].into_iter().flat_map(|partition| range(partition, 0..100));
    assert_eq!(judge::offsets(&location), hot.chain(cold).collect());
    judge::sound(&location);
}
