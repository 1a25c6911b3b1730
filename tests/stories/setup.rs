//! What is wrong before the first record: the code, the words, and nothing created.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::judge;
use crate::program::start;
use crate::services;
use crate::story::{FLAT, Story};

/// What a person waits for at most.
const WITHIN: Duration = Duration::from_secs(15);

/// `run` and `check` end with the code and say the words.
fn both_end_with(config: &Path, code: i32, words: &[&str]) {
    for command in [&["run", "--until-end"][..], &["check"]] {
        let mut ended = start(command, config).end(WITHIN).with(code);
        for word in words {
            ended = ended.saying(word);
        }
    }
}

fn table(topic: &str, location: &str) -> String {
    format!("[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n")
}

/// A story with a topic that is in order, and a table directory that must not appear.
fn begin(name: &'static str) -> Option<(Story, String, String)> {
    let story = Story::begin(name)?;
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..10);
    let location = story.place("table");
    Some((story, topic, location))
}

fn nothing_at(location: &str) {
    assert!(!PathBuf::from(location).exists(), "{location} was created");
}

#[test]
fn a_broker_that_does_not_answer_is_unavailable() {
    let Some((story, topic, location)) = begin("no-broker") else { return };
    // Bound and not listening to Kafka's words would hang; bound and dropped refuses.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string();
    both_end_with(&story.config_of(&free, "refused", &table(&topic, &location)), 69, &[&free]);
    // One that accepts and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    both_end_with(&story.config_of(&address, "silent", &table(&topic, &location)), 69, &[&address]);
    nothing_at(&location);
}

#[test]
fn a_topic_that_does_not_exist_is_unavailable() {
    let Some((story, _, location)) = begin("no-topic") else { return };
    both_end_with(&story.config("config", &table("evnts", &location)), 69, &["evnts"]);
    nothing_at(&location);
}

#[test]
fn a_misspelt_key_is_shown_with_its_place_and_a_suggestion() {
    let Some((story, topic, location)) = begin("misspelt") else { return };
    let config = story.config("config", &table(&topic, &location).replace("schema", "shcema"));
    both_end_with(&config, 78, &["shcema", "schema", "config.toml:"]);
    nothing_at(&location);
}

#[test]
fn a_missing_bucket_is_unavailable() {
    let Some((story, topic, _)) = begin("no-bucket") else { return };
    let body = services::s3().options() + &table(&topic, "s3://no-such-bucket/t");
    both_end_with(&story.config("config", &body), 69, &["no-such-bucket"]);
}

#[test]
fn a_wrong_secret_is_refused_credentials() {
    let Some((story, topic, _)) = begin("wrong-secret") else { return };
    services::s3().bucket("guarded");
    let secret = "canary-0f6c1d";
    let body = services::s3().options_with_secret(secret) + &table(&topic, "s3://guarded/t");
    let config = story.config("config", &body);
    both_end_with(&config, 77, &["s3://guarded/t"]);
    let ended = start(&["check"], &config).end(WITHIN);
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(secret), "the secret was shown");
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let Some((story, topic, _)) = begin("not-writable") else { return };
    // Below a file: file modes mean nothing to root.
    fs::write(story.dir.join("file"), "").unwrap();
    let location = story.place("file/table");
    both_end_with(&story.config("config", &table(&topic, &location)), 73, &[&story.place("file")]);
}

#[test]
fn a_bad_record_under_fail_ends_the_run_after_the_good_ones_before_it() {
    let Some(story) = Story::begin("bad-record") else { return };
    let topic = story.topic("events", 2);
    story.produce(&topic, 0, 0..20);
    story.produce_texts(&topic, 0, [(20, r#"{"id":"twenty"}"#.to_owned())].into_iter());
    story.produce(&topic, 0, 21..40);
    story.produce(&topic, 1, 0..30);
    let location = story.place("table");
    let config = story.config("config", &format!("{}on_bad_record = \"fail\"\n", table(&topic, &location)));
    start(&["check"], &config).end(WITHIN).with(65).saying("partition 0 offset 20");
    nothing_at(&location);
    for _ in 0..2 {
        let ended = start(&["run", "--until-end"], &config).end(WITHIN).with(65);
        ended.saying(&topic).saying("offset 20").saying("twenty");
        let expected = judge::range(0, 0..20).chain(judge::range(1, 0..30)).collect();
        assert_eq!(judge::offsets(&location), expected);
    }
    judge::sound(&location);
}

#[test]
fn skipped_bad_records_are_no_rows_and_the_rest_is() {
    let Some(story) = Story::begin("skipped") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..20);
    story.produce_texts(&topic, 0, [(20, "{".to_owned())].into_iter());
    story.produce(&topic, 0, 21..40);
    story.produce_texts(&topic, 0, [(40, "[]".to_owned())].into_iter());
    let location = story.place("table");
    let config = story.config("config", &format!("{}on_bad_record = \"skip\"\n", table(&topic, &location)));
    start(&["run", "--until-end"], &config).end(WITHIN).with(0);
    let expected = judge::range(0, 0..20).chain(judge::range(0, 21..40)).collect();
    assert_eq!(judge::offsets(&location), expected);
    let offsets = judge::sound(&location)["offsets"].clone();
    assert_eq!(offsets.as_object().unwrap().values().collect::<Vec<_>>(), [41]);
}
