//! Bad records: the code, the words, and nothing past them. What is wrong before
//! the first record is in `setups`.

use std::path::PathBuf;
use std::time::Duration;

use crate::judge;
use crate::program::start;
use crate::story::{FLAT, Story};

/// What a person waits for at most.
const WITHIN: Duration = Duration::from_secs(15);

fn table(topic: &str, location: &str) -> String {
    format!("[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n")
}

fn nothing_at(location: &str) {
    assert!(!PathBuf::from(location).exists(), "{location} was created");
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
