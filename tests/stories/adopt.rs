//! Tables that are taken over: copied, written under another id, or of a topic that was created again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::judge::{self, range};
use crate::offsets::{committed, config, counts, set, verified};
use crate::program::{TIMEOUT, run, run_until_end, start};
use crate::services::python;
use crate::story::{FLAT, Story};

#[test]
fn a_copied_table_goes_on_behind_its_rows_once_it_is_adopted() {
    let Some(story) = Story::begin("adopt-copy") else { return };
    let topic = story.topic("events", 2);
    let (original, copy) = (story.place("original"), story.place("copy"));
    (0..2).for_each(|partition| story.produce(&topic, partition, 0..100));
    run_until_end(&config(&story, "original", ("adopt", &topic, &original), "50ms")).with(0);
    python(COPY, &[&original, &copy]);
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
    // It names the entry that took its offsets.
    running.end(TIMEOUT).with(75).saying("thalweg/adopt/new-name/").saying("gives way");
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
    let shown = start(&["offsets", "show", "--json"], &config).end(TIMEOUT).with(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["tables"][0]["partitions"][0]["next"], 30);

    // Whoever reads on under the new id begins again like any, whatever it once was.
    let mut running = run(&config);
    let address = running.address();
    running.until("table open");
    set(&config, &["--to", "20", "--execute", "--accept-duplicates"]).with(0);
    story.produce(&topic, 0, 30..40);
    running.until("offsets were overridden");
    committed(&mut running, &address, 20.0);
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
    assert_eq!(counts(&location).values().sum::<i64>(), 100 + 30 + 10 + 10);
}
