//! Bugs in the code under test: the oracles must find every one.
//!
//! It owns the search for a seed that shows a bug and runs well without it.

use thalweg::protocol::planted::{ALL, Bug, plant};

use crate::world::Bugs;
use crate::{on_all_cores, run, setting};

/// After so many seeds a bug counts as missed.
const SEEDS_MAX: u64 = 2_000;

/// Seeds that are tried before all threads are asked whether one has found it.
const AT_ONCE: u64 = 20;

struct Found {
    seed: u64,
    finding: String,
}

/// The first seed that fails with the bug and not without it.
fn seek(bug: Bug, seeds: u64) -> Option<Found> {
    let with = |seed, bug| {
        plant(bug);
        let outcome = run(seed, Bugs::default(), false);
        plant(None);
        outcome.err()
    };
    (0..seeds.div_ceil(AT_ONCE)).find_map(|chunk| {
        let seeds = chunk * AT_ONCE..(chunk + 1) * AT_ONCE;
        let findings = on_all_cores(AT_ONCE, |index| {
            let seed = seeds.start + index;
            let finding = with(seed, Some(bug))?;
            with(seed, None).is_none().then_some(Found { seed, finding })
        });
        findings.into_iter().flatten().next()
    })
}

#[test]
fn every_planted_bug_is_found() {
    let wanted = std::env::var("THALWEG_SIM_BUG").ok();
    let seeds = setting("THALWEG_SIM_SEEDS").unwrap_or(SEEDS_MAX);
    let is_wanted = |bug: &&Bug| wanted.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
    let mut missed = Vec::new();
    for bug in ALL.iter().filter(is_wanted) {
        match seek(*bug, seeds) {
            Some(Found { seed, finding }) => {
                let first = finding.lines().next().unwrap_or_default();
                eprintln!("{:<30} seed {seed:>5}  {first}", format!("{bug:?}"));
            }
            None => {
                eprintln!("{:<30} NOT FOUND in {seeds} seeds", format!("{bug:?}"));
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
