//! The ingester in a simulated world: the real shards, committers, uploads and
//! log, over a store, a broker and a clock that one seed drives.
//!
//! | file | owns |
//! |---|---|
//! | `chance` | randomness from a seed |
//! | `time` | virtual time, seeded names |
//! | `broker` | a topic, and a consumer as the `Source` of shards |
//! | `store` | an object store whose every answer may be a fault |
//! | `instance` | one run of the ingester, moved on slice by slice |
//! | `world` | what happens to all of these, and when it must be over |
//! | `oracle` | whether the table is right, at every version |
//!
//! `THALWEG_SIM_SEEDS=n` runs n seeds; `THALWEG_SIM_SEED=s` runs one and prints
//! what happens in it. The same seed is the same history.

#![allow(clippy::unwrap_used, reason = "a broken harness is a failed test")]

mod broker;
mod chance;
mod instance;
mod oracle;
mod store;
mod time;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use broker::SourceBug;
use store::StoreBug;
use world::{Bugs, Tally};

const SEEDS: u64 = 1_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// A panic of the code under test is a finding like any other.
fn run(seed: u64, bugs: Bugs, traced: bool) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, bugs, traced))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    })
}

/// Runs seeds on all cores; each seed by itself is one thread.
fn run_all(seeds: u64, bugs: Bugs) -> Vec<(u64, Result<Tally, String>)> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            let mut outcomes = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return outcomes;
                }
                outcomes.push((seed, run(seed, bugs, false)));
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    outcomes.sort_by_key(|(seed, _)| *seed);
    outcomes
}

#[test]
fn every_record_is_in_the_table_once_whatever_fails() {
    if let Some(seed) = setting("THALWEG_SIM_SEED") {
        let outcome = run(seed, Bugs::default(), true);
        eprintln!("{outcome:?}");
        outcome.unwrap();
        return;
    }
    let outcomes = run_all(setting("THALWEG_SIM_SEEDS").unwrap_or(SEEDS), Bugs::default());
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|(seed, outcome)| {
            let error = outcome.as_ref().err()?;
            Some(format!(
                "THALWEG_SIM_SEED={seed} cargo test --test simulation every_record -- --nocapture\n  {error}"
            ))
        })
        .collect();
    let tallies = || outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().ok());
    let sum = |of: fn(&Tally) -> usize| tallies().map(of).sum::<usize>();
    eprintln!(
        "{} seeds: {} versions, {} crashes, {} fenced, {} done, {} failed starts, {} foreign commits, {} checkpoints",
        outcomes.len(),
        sum(|tally| tally.versions),
        sum(|tally| tally.crashes),
        sum(|tally| tally.fenced),
        sum(|tally| tally.done),
        sum(|tally| tally.failed),
        sum(|tally| tally.foreign),
        sum(|tally| tally.checkpoints),
    );
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..20 {
        let fingerprint = || run(seed, Bugs::default(), false).map(|tally| tally.fingerprint);
        assert_eq!(fingerprint(), fingerprint(), "seed {seed}");
    }
}

/// An oracle that finds nothing wrong with a planted bug is no oracle.
fn is_caught(bugs: Bugs, expected: &[&str]) {
    let outcomes = run_all(40, bugs);
    let findings: Vec<&String> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
    assert!(!findings.is_empty(), "{bugs:?} was not noticed");
    assert!(
        findings.iter().any(|finding| expected.iter().any(|text| finding.contains(text))),
        "{bugs:?} was noticed as something else: {findings:#?}"
    );
}

#[test]
fn a_store_that_lets_two_win_is_caught() {
    is_caught(Bugs { store: StoreBug::TwoWin, ..Bugs::default() }, &["was overwritten"]);
}

#[test]
fn a_commit_with_another_offset_than_was_put_is_caught() {
    is_caught(Bugs { store: StoreBug::AltersTxn, ..Bugs::default() }, &["is no row", "its txn at"]);
}

#[test]
fn a_store_that_forgets_a_file_is_caught() {
    is_caught(Bugs { store: StoreBug::Forgets, ..Bugs::default() }, &["does not exist"]);
}

#[test]
fn a_store_that_keeps_half_a_file_is_caught() {
    is_caught(Bugs { store: StoreBug::Truncates, ..Bugs::default() }, &["the log says"]);
}

#[test]
fn a_source_that_loses_a_record_is_caught() {
    is_caught(Bugs { source: SourceBug::Loses, ..Bugs::default() }, &["and is no row"]);
}

#[test]
fn a_source_that_shifts_a_record_is_caught() {
    is_caught(Bugs { source: SourceBug::Shifts, ..Bugs::default() }, &["the topic"]);
}
