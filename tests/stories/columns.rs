//! What stands in the columns: keys, headers and raw bytes as they were, numbers as times, names that are refused.

use std::fs;

use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Value, json};

use crate::program::{TIMEOUT, run_until_end, start};
use crate::services::{python, tool};
use crate::story::{EPOCH_MS, Story};

/// Every cell of the table, as pyarrow reads it, by offset.
fn cells(location: &str) -> Value {
    let script = format!("{}/tests/oracle/cells.py", env!("CARGO_MANIFEST_DIR"));
    let printed = tool("python", &[&script, location, "--reader", "pyarrow", "--key", "_offset"]);
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

#[test]
fn keys_headers_and_raw_bytes_arrive_as_they_were() {
    let Some(story) = Story::begin("columns-raw") else { return };
    let topic = story.topic("bytes", 1);
    let header = |key, value| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("a", Some(&b"1"[..])))
        .insert(header("a", None))
        .insert(header("b", Some(&b"\xff"[..])));
    story.produce_raw(&topic, Some(b"\xff\x00"), b"\x00\xfe", Some(headers));
    story.produce_raw(&topic, None, b"", None);
    let location = story.place("bytes");
    let table = format!(
        "[[table]]\nid = \"b\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nformat = \"raw\"\n\
         metadata_columns = [\"_offset\", \"_topic\", \"_timestamp\", \"_timestamp_type\", \"_key\", \"_headers\"]\n"
    );
    run_until_end(&story.config("raw", &table)).with(0);
    let topic = format!("text:{topic}");
    let time = "time:2023-11-14T22:13:20.000000+00:00";
    assert_eq!(EPOCH_MS, 1_700_000_000_000, "the time below");
    let headers = json!([
        {"key": "text:a", "value": "bytes:31"},
        {"key": "text:a", "value": null},
        {"key": "text:b", "value": "bytes:ff"},
    ]);
    let expected = json!({
        "0": {"_offset": 0, "_topic": topic, "_timestamp": time, "_timestamp_type": "text:CreateTime",
              "_key": "bytes:ff00", "_headers": headers, "value": "bytes:00fe"},
        "1": {"_offset": 1, "_topic": topic, "_timestamp": time, "_timestamp_type": "text:CreateTime",
              "_headers": [], "value": "bytes:"},
    });
    assert_eq!(cells(&location), expected);
}

#[test]
fn numbers_become_times_and_what_does_not_fit_no_row() {
    let Some(story) = Story::begin("columns-json") else { return };
    let topic = story.topic("times", 1);
    let records = [
        r#"{"at":1718000000123,"s":{"at":1718000000.1234567},"d":1.25,"new":false,"note":null}"#,
        r#"{"at":253402300800000}"#,
        r#"{"d":1.255}"#,
        r#"{"at":"2024-06-10T08:13:20+02:00","d":"1.5","at":null}"#,
    ];
    story.produce_texts(&topic, 0, (0..).zip(records).map(|(number, text)| (number, text.to_owned())));
    let location = story.place("times");
    let table = format!(
        "[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\non_bad_record = \"skip\"\n\
         schema = \"at TIMESTAMP, s STRUCT<at: TIMESTAMP>, d DECIMAL(5, 2)\"\nmetadata_columns = [\"_offset\"]\n\
         timestamps = {{ at = \"ms\", s.at = \"s\" }}\n"
    );
    run_until_end(&story.config("times", &table)).with(0);
    let expected = json!({
        "0": {"_offset": 0, "at": "time:2024-06-10T06:13:20.123000+00:00",
              "s": {"at": "time:2024-06-10T06:13:20.123456+00:00"}, "d": "decimal:1.25",
              "_rescued": "text:{\"new\":false}"},
        "3": {"_offset": 3, "d": "decimal:1.5"},
    });
    assert_eq!(cells(&location), expected);
}

#[test]
fn a_column_that_would_be_filled_wrongly_stops_the_start() {
    let Some(story) = Story::begin("columns-names") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..3);
    let make = "
import sys, pyarrow as pa, deltalake
deltalake.DeltaTable.create(sys.argv[1], pa.schema([('id', pa.int64()), (sys.argv[2], pa.float64())]))
";
    for (column, word) in [("_Offset", "_Offset"), ("_key", "_key")] {
        let location = story.place(column);
        fs::create_dir_all(&location).unwrap();
        python(make, &[&location, column]);
        let table = format!("[[table]]\nid = \"n\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\n");
        let config = story.config(column, &table);
        for command in [&["check"][..], &["run", "--until-end"]] {
            start(command, &config).end(TIMEOUT).with(73).saying(word);
        }
    }
    // A path that names no TIMESTAMP column.
    let location = story.place("paths");
    let table = format!(
        "[[table]]\nid = \"p\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"id BIGINT, at TIMESTAMP\"\n\
         timestamps = {{ id = \"ms\" }}\n"
    );
    let config = story.config("paths", &table);
    start(&["run", "--until-end"], &config).end(TIMEOUT).with(78).saying("`id`").saying("`at`");
}
