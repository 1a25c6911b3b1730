//! Short runs with one fault each: at every request to the store, of every kind.
//!
//! It owns the scenarios and the kinds. A request is everything that lasts:
//! what happens in an instance between two requests is gone with it, so a crash
//! there is a crash before the next one.

use std::time::Duration;

use crate::chance::Chance;
use crate::finding::Finding;
use crate::foreign::Deed;
use crate::setup::Setup;
use crate::store::{Fate, Single};
use crate::world::{Tally, run_setup};
use crate::{caught, on_all_cores, setting};

/// Under a plain `cargo test` one run in so many; it has no divisor in common with the kinds.
const ONE_IN: usize = 7;

/// What may befall one request.
const KINDS: [Fate; 6] =
    [Fate::Refused, Fate::ReplyLost, Fate::Late, Fate::Slow, Fate::CrashBefore, Fate::CrashAfter];

struct Scenario {
    name: &'static str,
    seed: u64,
    change: fn(&mut Setup),
}

const SCENARIOS: [Scenario; 10] = [
    Scenario { name: "one shard, dead letters", seed: 1, change: |_| {} },
    Scenario {
        name: "no dead letters, a first run at the end",
        seed: 2,
        change: |setup| {
            setup.plan.dead_letters = None;
            setup.plan.latest = true;
        },
    },
    Scenario {
        name: "two shards, partitions move",
        seed: 3,
        change: |setup| {
            setup.plan.shards = 2;
            setup.mix.partitions = 3;
            setup.plan.max_latency = Duration::from_millis(60);
        },
    },
    Scenario { name: "runs that end and begin again", seed: 4, change: |setup| setup.mix.drain = 12 },
    Scenario {
        name: "configs change where dead letters go",
        seed: 5,
        change: |setup| {
            setup.mix.drain = 12;
            setup.mix.policies_change = true;
        },
    },
    Scenario {
        name: "another writer changes rows and schema",
        seed: 6,
        change: |setup| {
            setup.mix.foreign = 30;
            setup.mix.deeds = vec![Deed::Append, Deed::Alter, Deed::Delete, Deed::Merge, Deed::Optimize];
        },
    },
    Scenario {
        name: "checkpoints, ours and others'",
        seed: 7,
        change: |setup| {
            setup.plan.checkpoint_every = 3;
            setup.mix.foreign = 15;
            setup.mix.deeds = vec![Deed::Delete, Deed::Checkpoint];
        },
    },
    Scenario { name: "two instances on one table", seed: 8, change: |setup| setup.mix.instances = 2 },
    Scenario { name: "a process stands still and comes back", seed: 9, change: |setup| setup.mix.stop = 8 },
    Scenario {
        name: "old versions go while a week passes",
        seed: 10,
        change: |setup| {
            setup.plan.checkpoint_every = 4;
            setup.mix.offset_override = 8;
            setup.mix.foreign = 10;
            setup.mix.deeds =
                vec![Deed::ShortenRetention, Deed::Append, Deed::Checkpoint, Deed::CleanUp, Deed::Vacuum];
        },
    },
];

fn run(scenario: usize, single: Option<Single>, traced: bool) -> Result<Tally, Finding> {
    let Scenario { seed, change, .. } = &SCENARIOS[scenario];
    let mut setup = Setup::calm();
    change(&mut setup);
    setup.single = single;
    caught(|| run_setup(Chance::new(*seed), setup, traced))
}

#[test]
fn no_single_fault_at_any_request_loses_or_doubles_a_record() {
    if let (Some(scenario), Some(at), Some(kind)) =
        (setting("THALWEG_SIM_SCENARIO"), setting("THALWEG_SIM_AT"), setting("THALWEG_SIM_KIND"))
    {
        let outcome = run(scenario as usize, Some(Single { at, fate: KINDS[kind as usize] }), true);
        eprintln!("{outcome:?}");
        outcome.unwrap();
        return;
    }
    let mut all = Vec::new();
    for (scenario, Scenario { name, .. }) in SCENARIOS.iter().enumerate() {
        let requests =
            run(scenario, None, false).unwrap_or_else(|error| panic!("{name}: {error}")).operations;
        eprintln!("{name}: {requests} requests");
        all.extend((1..=requests).flat_map(|at| (0..KINDS.len()).map(move |kind| (scenario, at, kind))));
    }
    if setting("THALWEG_SIM_ALL").is_none() {
        all = all.into_iter().step_by(ONE_IN).collect();
    }
    let failures: Vec<String> = on_all_cores(all.len() as u64, |index| {
        let (scenario, at, kind) = all[index as usize];
        let error = run(scenario, Some(Single { at, fate: KINDS[kind] }), false).err()?;
        let name = SCENARIOS[scenario].name;
        Some(format!(
            "tools/simulate --replay {scenario}:{at}:{kind}   ({name}, request {at}, {:?})\n  {error}",
            KINDS[kind]
        ))
    })
    .into_iter()
    .flatten()
    .collect();
    eprintln!("{} runs with one fault each: {} violations", all.len(), failures.len());
    assert!(failures.is_empty(), "{} runs failed\n{}", failures.len(), failures.join("\n"));
}
