//! What stands on stderr under `--log-format json`: nothing but JSON objects, one a line.

use std::time::Duration;

use crate::program::{program, program_with};

/// Ends with this code, and says this in JSON.
fn ends(environment: &[(&str, &str)], arguments: &[&str], code: i32, says: &str) {
    let ended = program_with(environment, arguments).end(Duration::from_secs(30)).with(code);
    let lines = ended.json_lines();
    let is_told = |line: &&serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.contains(says)) && line["exit_code"] == code
    };
    let told = lines.iter().find(is_told);
    let told = told.unwrap_or_else(|| panic!("{arguments:?}: {says:?} is not in {lines:#?}"));
    assert_eq!(told["level"], "ERROR", "{told:#}");
    assert!(told["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{told:#}");
}

#[test]
fn mistakes_of_the_command_line_the_config_and_the_filter_are_json() {
    let missing = "/nonexistent/thalweg.toml";
    ends(&[], &["run", "--log-format", "json", "--nonsense"], 2, "--nonsense");
    ends(&[], &["--log-format=json"], 2, "Usage");
    ends(&[], &["run", "-c", missing, "--log-format", "json"], 78, missing);
    ends(&[], &["check", "-c", missing, "--log-format=json"], 78, missing);
    ends(&[("RUST_LOG", "thalweg=loud")], &["run", "-c", missing, "--log-format", "json"], 2, "RUST_LOG");
    ends(&[("RUST_LOG", "off")], &["run", "-c", missing, "--log-format", "json"], 78, missing);
}

#[test]
fn a_broker_that_nobody_reaches_is_told_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("thalweg.toml");
    let text = "version = 1\n[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.librdkafka]\ndebug = \"all\"\n\
                [[table]]\nid = \"t\"\ntopic = \"t\"\nlocation = \"lake\"\n";
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    for command in ["run", "check"] {
        ends(
            &[("RUST_LOG", "debug,librdkafka=debug")],
            &[command, "-c", config, "--log-format", "json"],
            69,
            "127.0.0.1:1",
        );
    }
}

#[test]
fn help_is_a_result_and_stays_text() {
    let ended = program(&["run", "--help", "--log-format", "json"]).end(Duration::from_secs(30)).with(0);
    assert!(ended.stdout.contains("Usage") && ended.stderr.is_empty());
}
