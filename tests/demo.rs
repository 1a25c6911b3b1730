//! The demo as a user runs it: the real binary, real kills, a real table.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(["demo", "--seconds", "3", "--dir"]).arg(folder.path().join("demo")).args(arguments);
    let output = command.output().unwrap();
    let shown = format!(
        "{}\n--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, shown)
}

/// The figures of the proof line: produced, in table, missing, duplicate, kills.
fn figures(shown: &str) -> [u64; 5] {
    let line = shown.lines().find(|line| line.starts_with("produced ")).expect(shown);
    ["produced ", "in table ", "missing ", "duplicate ", "kills "].map(|name| {
        let (_, rest) = line.split_once(name).expect(line);
        rest.split(' ').next().unwrap().replace(',', "").parse().expect(line)
    })
}

#[test]
fn two_kills_lose_and_double_nothing() {
    let (output, shown) = demo(&[]);
    println!("{shown}");
    assert!(output.status.success(), "{shown}");
    let [produced, in_table, missing, duplicate, kills] = figures(&shown);
    assert!(produced > 0, "{shown}");
    assert_eq!((in_table, missing, duplicate, kills), (produced, 0, 0, 2), "{shown}");
    assert!(shown.contains("Try:   duckdb -c"), "{shown}");
}

#[test]
fn a_lost_file_fails_the_proof() {
    let (output, shown) = demo(&["--tamper", "lose"]);
    println!("{shown}");
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let [produced, in_table, missing, duplicate, _] = figures(&shown);
    assert!(missing > 0 && duplicate == 0 && in_table + missing == produced, "{shown}");
    assert!(shown.contains("missing: partition "), "{shown}");
}
