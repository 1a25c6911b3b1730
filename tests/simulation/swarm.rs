//! Many seeds, each with its own mix of faults.
//!
//! It owns which seeds run and what is said of them.

use crate::finding::Finding;
use crate::setup::Bugs;
use crate::shrink::{Replay, shrink};
use crate::world::Tally;
use crate::{on_all_cores, run, setting};

/// Under a plain `cargo test`; `tools/simulate` runs more.
const SEEDS: u64 = 500;

/// Failing seeds that are made simpler; more come of the same cause.
const SHRUNK_MAX: usize = 3;

#[test]
fn every_record_is_in_the_table_once_whatever_fails() {
    if let Some(replay) = Replay::asked_for() {
        let outcome = replay.run(true);
        eprintln!("{outcome:?}");
        outcome.unwrap();
        return;
    }
    let first = setting("THALWEG_SIM_FIRST").unwrap_or(0);
    let count = setting("THALWEG_SIM_SEEDS").unwrap_or(SEEDS);
    let outcomes = on_all_cores(count, |index| (first + index, run(first + index, Bugs::default(), false)));
    let failed: Vec<(u64, &Finding)> =
        outcomes.iter().filter_map(|(seed, outcome)| Some((*seed, outcome.as_ref().err()?))).collect();
    let failures: Vec<String> = failed
        .iter()
        .enumerate()
        .map(|(index, (seed, error))| {
            let said = format!("tools/simulate --replay {seed}\n  {error}");
            if index >= SHRUNK_MAX {
                return said;
            }
            let (replay, error) = shrink(*seed, (*error).clone());
            format!("{said}\n  shorter: {}\n  {error}", replay.command())
        })
        .collect();
    let tallies = || outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().ok());
    let sum = |of: fn(&Tally) -> usize| tallies().map(of).sum::<usize>();
    eprintln!(
        "{count} seeds from {first}: {} violations; {} requests, {} versions, {} crashes, {} fenced, {} done, {} \
         failed, {} commits of others, {} by hand, {} checkpoints, {} rebalances, {} members put out",
        failures.len(),
        sum(|tally| tally.operations as usize),
        sum(|tally| tally.versions),
        sum(|tally| tally.crashes),
        sum(|tally| tally.fenced),
        sum(|tally| tally.done),
        sum(|tally| tally.failed),
        sum(|tally| tally.foreign),
        sum(|tally| tally.offset_overrides),
        sum(|tally| tally.checkpoints),
        sum(|tally| tally.rebalances),
        sum(|tally| tally.put_out),
    );
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), failures.join("\n"));
}
