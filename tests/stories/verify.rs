//! `table verify --deep` over a table that other engines rewrote.

use std::fs;

use serde_json::Value;

use crate::program::{Ended, TIMEOUT, program, run_until_end};
use crate::services::python;
use crate::story::{FLAT, Story};

const OPTIMIZE: &str = "import sys, deltalake; deltalake.DeltaTable(sys.argv[1]).optimize.compact()";
const DELETE: &str = "import sys, deltalake; deltalake.DeltaTable(sys.argv[1]).delete('_offset % 5 = 2')";

fn deep(location: &str) -> Ended {
    program(&["table", "verify", "--deep", "--json", location]).end(TIMEOUT)
}

/// Exit 0, and what is said of each partition.
fn verdicts(location: &str) -> Vec<(String, u64)> {
    let ended = deep(location).with(0);
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(!ended.stdout.contains("missing"), "{}", ended.stdout);
    let partitions = answer["partitions"].as_array().unwrap();
    partitions
        .iter()
        .map(|one| (one["verdict"].as_str().unwrap().to_owned(), one["rows"].as_u64().unwrap()))
        .collect()
}

fn all(word: &str, rows: u64) -> Vec<(String, u64)> {
    vec![(word.to_owned(), rows); 2]
}

#[test]
fn what_others_rewrote_is_told_by_its_rows_and_what_they_deleted_is_unknown() {
    let Some(story) = Story::begin("deep") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let table = format!(
        "[[table]]\nid = \"deep\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n"
    );
    let config = story.config("deep", &table);
    for round in 0..3 {
        for partition in 0..2 {
            story.produce(&topic, partition, round * 500..round * 500 + 500);
        }
        run_until_end(&config).with(0);
    }
    assert_eq!(verdicts(&location), all("proven", 1_500));
    python(OPTIMIZE, &[&location]);
    assert_eq!(verdicts(&location), all("rows only", 1_500));
    python(DELETE, &[&location]);
    assert_eq!(verdicts(&location), all("unknown", 1_200));

    // One byte of a live file changes.
    for partition in 0..2 {
        story.produce(&topic, partition, 1_500..2_000);
    }
    run_until_end(&config).with(0);
    let newest = fs::read_dir(&location)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .max_by_key(|entry| entry.metadata().unwrap().modified().unwrap())
        .unwrap();
    let mut bytes = fs::read(newest.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest.path(), bytes).unwrap();
    let name = newest.file_name().into_string().unwrap();
    deep(&location).with(1).saying(&name).saying("holds other bytes than were written");
}
