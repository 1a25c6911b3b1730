//! The ingester in a simulated world: the real shards, committers, uploads and
//! log, over a store, a broker and a clock that one seed drives.
//!
//! | file | owns |
//! |---|---|
//! | `chance` | randomness from a seed |
//! | `time` | virtual time, seeded names |
//! | `broker` | a topic, and a consumer as the `Source` of shards |
//! | `store` | an object store whose every answer may be a fault |
//! | `foreign` | other writers of the table |
//! | `group` | a consumer group's coordinator |
//! | `hand` | what a person does by hand: offsets set or adopted, losses accepted, dead letters replayed |
//! | `instance` | one run of the ingester, moved on slice by slice |
//! | `world` | what happens to all of these, and when it must be over |
//! | `setup` | how often what happens |
//! | `oracle` | whether the table is right, at every version |
//! | `dead_letters` | the same of the places of dead letters |
//! | `log` | whether others can read a table's log: hint, checkpoints, versions |
//! | `finding` | what is wrong, and who says so |
//! | `many` | several tables in one process, sick ones among them |
//! | `swarm` | many seeds, each with its own mix of faults |
//! | `shrink` | what of a failing seed can be left out |
//! | `systematic` | short runs, one fault each: at every request, of every kind |
//! | `aims` | worlds in which one kind of trouble comes all the time |
//! | `regressions` | what seeds found once: a named test each |
//! | `planted` | bugs in the code under test, which must be found |
//!
//! `tools/simulate` runs these at length. `THALWEG_SIM_SEED=s` runs one seed and
//! prints what happens in it. The same seed is the same history.

#![allow(clippy::unwrap_used, reason = "a broken harness is a failed test")]

mod administrator;
#[cfg_attr(not(feature = "planted"), allow(dead_code, reason = "some worlds are only for planted bugs"))]
mod aims;
mod broker;
mod chance;
mod dead_letters;
mod finding;
mod foreign;
mod group;
mod instance;
mod later_schemas;
mod log;
mod many;
mod oracle;
#[cfg(feature = "planted")]
mod planted;
mod regressions;
mod setup;
mod shrink;
mod store;
mod swarm;
mod systematic;
mod time;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use broker::SourceBug;
use finding::{Class, Finding};
use setup::{Bugs, Setup};
use store::StoreBug;
use world::Tally;

/// As in the program; half of a world's time goes into small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// A panic of the code under test is a finding like any other.
fn caught<T>(run: impl FnOnce() -> Result<T, Finding>) -> Result<T, Finding> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(Finding { class: Class::Panicked, said: format!("a panic: {}", text.unwrap_or_default()) })
    })
}

fn run(seed: u64, bugs: Bugs, traced: bool) -> Result<Tally, Finding> {
    caught(|| world::run(seed, bugs, traced))
}

/// A seed's world with its mix changed.
fn run_aimed(seed: u64, aim: aims::Aim) -> Result<Tally, Finding> {
    caught(|| {
        let mut chance = chance::Chance::new(seed);
        let mut setup = Setup::drawn(&mut chance, Bugs::default());
        setup.plan.later_schemas = false;
        aim(&mut setup);
        world::run_setup(chance, setup, false)
    })
}

/// Calls `work` with `0..count`, on all cores; the answers in their order.
fn on_all_cores<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes: Vec<(u64, T)> = std::thread::scope(|scope| {
        let body = || {
            let mut outcomes = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return outcomes;
                }
                outcomes.push((index, work(index)));
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(body)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..20 {
        let fingerprint = || run(seed, Bugs::default(), false).map(|tally| tally.fingerprint);
        assert_eq!(fingerprint(), fingerprint(), "seed {seed}");
    }
}

/// An oracle that finds nothing wrong with a store or a source that errs is no oracle.
fn is_caught(bugs: Bugs, expected: &[&str]) {
    let findings: Vec<Finding> =
        on_all_cores(40, |seed| run(seed, bugs, false).err()).into_iter().flatten().collect();
    assert!(!findings.is_empty(), "{bugs:?} was not noticed");
    assert!(
        findings.iter().any(|finding| expected.iter().any(|text| finding.said.contains(text))),
        "{bugs:?} was noticed as something else: {findings:#?}"
    );
}

#[test]
fn a_store_that_lets_two_win_is_caught() {
    is_caught(Bugs { store: StoreBug::TwoWin, ..Bugs::default() }, &["was overwritten", "the table is at"]);
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
