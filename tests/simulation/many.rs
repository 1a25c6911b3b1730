//! Several tables in one process: what is wrong with one harms no other.
//!
//! It owns which seeds run and what is said of them.
//!
//! | file | owns |
//! |---|---|
//! | `process` | one run of an ingester of several tables |
//! | `world` | what happens to tables and processes, and when each must be over |

mod process;
mod world;

pub use world::{Aim, Mix, Tally, Trouble};

use crate::chance::Chance;
use crate::finding::Finding;
use crate::{caught, on_all_cores, setting};

/// Under a plain `cargo test`; `tools/simulate --tables` runs more.
const SEEDS: u64 = 100;

/// A seed's world with its mix changed.
pub fn run(seed: u64, aim: Aim, traced: bool) -> Result<Tally, Finding> {
    caught(|| {
        let mut chance = Chance::new(seed);
        let mut mix = Mix::drawn(&mut chance);
        aim(&mut mix);
        world::run(chance, mix, traced)
    })
}

/// As it was drawn.
pub fn anything(_: &mut Mix) {}

/// A store takes requests and does not answer, for long, and nothing else is wrong.
#[cfg_attr(not(feature = "planted"), allow(dead_code, reason = "only for planted bugs"))]
pub fn a_store_stalls(mix: &mut Mix) {
    use crate::store::{Faults, Sickness};
    mix.trouble = Some(Trouble::Store(Sickness::Stalls));
    mix.steps = 30;
    (mix.crash, mix.drain, mix.stop, mix.grow, mix.sick) = (0, 0, 0, 0, 0);
    mix.faults = Faults::default();
    mix.plan.max_latency = std::time::Duration::ZERO;
    mix.plan.most_at_once = 1;
    mix.live_on = true;
    mix.flood = world::FLOOD_STEPS;
}

/// The same while partitions move between shards, and uploads of all tables fail now and then.
#[cfg_attr(not(feature = "planted"), allow(dead_code, reason = "only for planted bugs"))]
pub fn a_store_stalls_between_resets(mix: &mut Mix) {
    a_store_stalls(mix);
    mix.plan.shards = 2;
    mix.still_faulty = 6;
}

/// Another process takes a table.
#[cfg_attr(not(feature = "planted"), allow(dead_code, reason = "only for planted bugs"))]
pub fn a_table_is_taken(mix: &mut Mix) {
    a_store_stalls(mix);
    mix.trouble = Some(Trouble::Rival);
    mix.plan.max_latency = std::time::Duration::from_millis(50);
}

#[test]
fn tables_that_are_well_go_on_while_others_are_sick() {
    if let Some(seed) = setting("THALWEG_SIM_SEED") {
        let outcome = run(seed, anything, true);
        eprintln!("{outcome:?}");
        outcome.unwrap();
        return;
    }
    let first = setting("THALWEG_SIM_FIRST").unwrap_or(0);
    let count = setting("THALWEG_SIM_SEEDS").unwrap_or(SEEDS);
    let outcomes = on_all_cores(count, |index| (first + index, run(first + index, anything, false)));
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|(seed, outcome)| {
            Some(format!("tools/simulate --tables --replay {seed}\n  {}", outcome.as_ref().err()?))
        })
        .collect();
    let tallies: Vec<Tally> = outcomes.iter().filter_map(|(_, outcome)| outcome.clone().ok()).collect();
    let (violations, summary) = (failures.len(), world::summary(&tallies));
    eprintln!("{count} seeds from {first}: {violations} violations; {summary:?}");
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_history_of_several_tables() {
    for seed in 0..5 {
        let fingerprint = || run(seed, anything, false).map(|tally| tally.fingerprint);
        assert_eq!(fingerprint(), fingerprint(), "seed {seed}");
    }
}
