//! The start-up probe: a store that lets two writers win is refused.

use crate::judge;
use crate::program::{TIMEOUT, run_until_end, start};
use crate::services;
use crate::story::{FLAT, Story};

fn config(story: &Story, s3: &services::S3, topic: &str) -> std::path::PathBuf {
    let table = format!(
        "[[table]]\nid = \"probe\"\ntopic = \"{topic}\"\nlocation = \"s3://probe/t\"\nschema = \"{FLAT}\"\n"
    );
    story.config("probe", &(s3.options() + &table))
}

#[test]
fn a_store_that_arbitrates_is_accepted() {
    let Some(story) = Story::begin("s3proxy") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..10);
    services::s3().bucket("probe");
    let config = config(&story, services::s3(), &topic);
    start(&["check"], &config).end(TIMEOUT).with(0).saying("racing creates have one winner");
    run_until_end(&config).with(0);
    assert_eq!(judge::equal(&story, "s3://probe/t", &topic, FLAT, &["duckdb"]), 10);
}

#[test]
#[ignore = "s3mock takes most of a minute to start"]
fn a_store_that_loses_the_race_is_refused() {
    let Some(story) = Story::begin("s3mock") else { return };
    let topic = story.topic("events", 1);
    let s3 = services::own_s3("s3mock", "s3mock");
    s3.bucket("probe");
    let config = config(&story, &s3, &topic);
    for command in [&["check"][..], &["run", "--until-end"]] {
        start(command, &config).end(TIMEOUT).with(73);
    }
}
