//! Bad records: dead letters byte for byte, and their verdict after a crash.

use std::fs;
use std::path::Path;

use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Value, json};

use crate::judge;
use crate::program::run_until_end;
use crate::services::python;
use crate::story::{EPOCH_MS, FLAT, Story};

const DEAD_LETTERS: &str = "
import json, sys, deltalake
table = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_table().sort_by('offset')
columns = [table[name].to_pylist() for name in ('topic', 'partition', 'offset', 'value', 'reason')]
print(json.dumps([[topic, *at, value.decode(), reason] for topic, *at, value, reason in zip(*columns)]))
";

fn dead_letters(location: &str) -> Value {
    serde_json::from_str(&python(DEAD_LETTERS, &[location])).unwrap()
}

/// Takes back every commit of rows: where a crash right after the dead letters' commit would leave a table.
fn forget_rows(location: &str) {
    let mut versions: Vec<_> = fs::read_dir(Path::new(location).join("_delta_log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    versions.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    versions.sort();
    let first = versions.iter().position(|path| fs::read_to_string(path).unwrap().contains("\"add\""));
    versions.drain(first.expect("rows were committed")..).for_each(|path| fs::remove_file(path).unwrap());
}

#[test]
fn a_dead_letter_stays_one_when_the_config_changes_between_a_crash_and_the_restart() {
    let Some(story) = Story::begin("dead-letters") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..20);
    let bad = [(20, "{".to_owned()), (21, r#"{"id":21,"new":1}"#.to_owned())];
    story.produce_texts(&topic, 0, bad.into_iter());
    story.produce(&topic, 0, 22..40);
    let location = story.place("table");
    let config = |name: &str, on_new_field: &str, more: &str| {
        let table = format!("[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\n");
        story.config(name, &format!("{table}schema = \"{FLAT}\"\non_new_field = \"{on_new_field}\"\n{more}"))
    };
    let expected_rows = || judge::range(0, 0..20).chain(judge::range(0, 22..40)).collect();
    let expected_dead_letters =
        json!([[topic, 0, 20, "{", "syntax"], [topic, 0, 21, r#"{"id":21,"new":1}"#, "unknown_field"]]);
    let (first, second) = (format!("{location}_dead_letters"), story.place("elsewhere"));

    run_until_end(&config("strict", "fail", "")).with(0);
    assert_eq!(judge::offsets(&location), expected_rows());
    assert_eq!(dead_letters(&first), expected_dead_letters);

    // By this config, record 21 is a row; by the dead letters' table it is settled.
    forget_rows(&location);
    run_until_end(&config("mild", "ignore", &format!("dlq = \"{second}\"\n"))).with(0);
    assert_eq!(judge::offsets(&location), expected_rows());
    assert_eq!(dead_letters(&first), expected_dead_letters);
    assert_eq!(dead_letters(&second), json!([]));

    // The same where bad records are not kept any more.
    forget_rows(&location);
    run_until_end(&config("skipping", "ignore", "on_bad_record = \"skip\"\n")).with(0);
    assert_eq!(judge::offsets(&location), expected_rows());
    assert_eq!(dead_letters(&first), expected_dead_letters);
    judge::sound(&location);
}

const HEADERS: &str = "
import json, sys, deltalake
table = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_table().sort_by('offset')
text = lambda value: None if value is None else value.decode()
pairs = [[[header['key'], text(header['value'])] for header in headers] for headers in table['headers'].to_pylist()]
print(json.dumps(list(zip(table['offset'].to_pylist(), pairs))))
";

#[test]
fn a_dead_letter_keeps_the_headers_of_its_own_record() {
    let Some(story) = Story::begin("dead-letter-headers") else { return };
    let topic = story.topic("events", 1);
    let header = |key, value: Option<&'static str>| OwnedHeaders::new().insert(Header { key, value });
    story.produce(&topic, 0, 0..3);
    story.produce_raw(
        &topic,
        None,
        b"{",
        Some(header("a", Some("1")).insert(Header::<&str> { key: "b", value: None })),
    );
    story.produce_raw(&topic, None, br#"{"id":4}"#, Some(header("of a row", Some("4"))));
    story.produce_raw(&topic, None, b"[", None);
    story.produce_raw(&topic, None, b"}", Some(header("c", Some("6"))));
    let location = story.place("table");
    let table = format!("[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\n");
    run_until_end(&story.config("config", &format!("{table}schema = \"{FLAT}\"\n"))).with(0);
    let dead_letters = python(HEADERS, &[&format!("{location}_dead_letters")]);
    let expected = json!([[3, [["a", "1"], ["b", null]]], [5, []], [6, [["c", "6"]]]]);
    assert_eq!(serde_json::from_str::<Value>(&dead_letters).unwrap(), expected);
}

#[test]
fn a_record_time_that_readers_cannot_show_is_null_in_both_tables_and_said() {
    let Some(story) = Story::begin("record-times") else { return };
    let any_time = "9223372036854775807";
    let settings =
        [("message.timestamp.before.max.ms", any_time), ("message.timestamp.after.max.ms", any_time)];
    let topic = story.topic_with("events", 1, &settings);
    // Microseconds where Kafka has milliseconds (the year 55840), the first instant of the year 10000,
    // the last one before it, and 1969.
    let times = [1_700_000_000_000_000, 253_402_300_800_000, 253_402_300_799_000, -5_000];
    for (place, text) in [(0, "{"), (4, r#"{"id":1}"#)] {
        for (index, ms) in (0..).zip(times) {
            assert_eq!((ms - EPOCH_MS) % 1000, 0, "record {}", place + index);
            story.produce_texts(&topic, 0, [((ms - EPOCH_MS) / 1000, text.to_owned())].into_iter());
        }
    }
    let location = story.place("table");
    let table = format!(
        "[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n"
    );
    run_until_end(&story.config("times", &table)).with(0).saying("outside of the years 0001 to 9999");
    let script = "
import sys, deltalake
for location, offset, time in [(sys.argv[1], '_offset', '_timestamp'), (sys.argv[2], 'offset', 'timestamp')]:
    table = deltalake.DeltaTable(location).to_pyarrow_table().sort_by(offset)
    print([at and at.isoformat() for at in table[time].to_pylist()])
";
    let printed = python(script, &[&location, &format!("{location}_dead_letters")]);
    let expected = "[None, None, '9999-12-31T23:59:59+00:00', '1969-12-31T23:59:55+00:00']";
    assert_eq!(printed.lines().collect::<Vec<_>>(), [expected, expected]);
}
