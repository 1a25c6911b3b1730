//! Four topics become four tables, every field equal.

use crate::judge;
use crate::program::run_until_end;
use crate::services::{self, tool};
use crate::story::{FLAT, Story};

const PARTITIONS: i32 = 3;
/// Records of each topic.
const RECORDS: i64 = 6_000;

/// Two topics of hostile nested records and two of flat ones, all lz4: name and schema.
fn topics(story: &Story) -> Vec<(String, String)> {
    let nested = tool("python", &[&script(), "--ddl"]).trim().to_owned();
    let mut topics = Vec::new();
    for seed in ["1", "2"] {
        let topic = format!("{}-nested-{seed}", story.name);
        produce_nested(story, &topic, seed);
        topics.push((topic, nested.clone()));
    }
    for suffix in ["flat-1", "flat-2"] {
        let topic = story.topic(suffix, PARTITIONS);
        for partition in 0..PARTITIONS {
            let from = i64::from(partition) * RECORDS;
            story.produce(&topic, partition, from..from + RECORDS / i64::from(PARTITIONS));
        }
        topics.push((topic, FLAT.to_owned()));
    }
    topics
}

fn script() -> String {
    format!("{}/tests/oracle/produce.py", env!("CARGO_MANIFEST_DIR"))
}

fn produce_nested(story: &Story, topic: &str, seed: &str) {
    let (partitions, records) = (PARTITIONS.to_string(), RECORDS.to_string());
    let load = ["--codec", "lz4", "--seed", seed, "--partitions", &partitions, "--records", &records];
    tool("python", &[&[script().as_str(), "--brokers", story.brokers, "--topic", topic][..], &load].concat());
}

/// Runs all four together and judges each by the readers.
fn become_equal_tables(story: &Story, options: &str, place: impl Fn(&str) -> String) {
    let topics = topics(story);
    let tables: String = topics
        .iter()
        .map(|(topic, schema)| {
            let location = place(topic);
            format!("[[table]]\nid = \"{topic}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{schema}\"\non_bad_record = \"fail\"\n")
        })
        .collect();
    let config = story.config("four", &format!("{options}{tables}"));
    run_until_end(&config).with(0);
    for (number, (topic, schema)) in topics.iter().enumerate() {
        // Every reader sees nested and flat records over the two places.
        let readers: &[&str] =
            [&["duckdb", "deltalake"][..], &["deltalake"], &["duckdb", "polars"], &["duckdb"]][number];
        let rows = judge::equal(story, &place(topic), topic, schema, readers);
        assert_eq!(rows, RECORDS.unsigned_abs(), "{topic}");
    }
}

#[test]
fn four_tables_on_local_disk_equal_their_topics() {
    let Some(story) = Story::begin("four-local") else { return };
    become_equal_tables(&story, "", |topic| story.place(topic));
}

#[test]
fn four_tables_on_s3_equal_their_topics() {
    let Some(story) = Story::begin("four-s3") else { return };
    let s3 = services::s3();
    s3.bucket("four");
    become_equal_tables(&story, &s3.options(), |topic| format!("s3://four/tables/{topic}"));
}
