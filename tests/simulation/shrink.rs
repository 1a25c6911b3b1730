//! Makes a failing seed's history simpler while it still fails.
//!
//! It owns what can be left out. A part that is left out draws as before, so
//! that the rest of the history is the same up to the first time it matters.

use crate::chance::Chance;
use crate::finding::Finding;
use crate::setup::{Bugs, Setup};
use crate::world::{Tally, run_setup};
use crate::{caught, setting};

type Part = (&'static str, fn(&mut Setup));

const PARTS: [Part; 21] = [
    ("end", |setup| setup.mix.end = None),
    ("burst", |setup| setup.mix.burst = false),
    ("foreign", |setup| setup.mix.foreign = 0),
    ("group", |setup| setup.plan.group = None),
    ("out", |setup| setup.plan.group.iter_mut().for_each(|options| options.wrongly_out_one_in = 0)),
    ("hand", |setup| setup.mix.hand = 0),
    ("instances", |setup| setup.mix.instances = 1),
    ("shards", |setup| setup.plan.shards = 1),
    ("policies", |setup| setup.mix.policies_change = false),
    ("ids", |setup| setup.mix.without_ids = false),
    ("retain", |setup| setup.mix.retain = 0),
    ("grow", |setup| setup.mix.grow = 0),
    ("jump", |setup| setup.mix.offset_override = 0),
    ("stop", |setup| setup.mix.stop = 0),
    ("drain", |setup| setup.mix.drain = 0),
    ("crash", |setup| setup.mix.crash = 0),
    ("lost", |setup| setup.plan.lost_one_in = 0),
    ("silent", |setup| setup.plan.silent = 0),
    ("refused", |setup| setup.faults.refused = 0),
    ("slow", |setup| setup.faults.slow = 0),
    ("unclear", |setup| {
        setup.faults.reply_lost = 0;
        setup.faults.conflict = 0;
        setup.faults.own_retry = 0;
        setup.faults.late = 0;
    }),
];

/// A seed with some of its parts left out.
#[derive(Clone)]
pub struct Replay {
    seed: u64,
    steps: Option<u64>,
    without: Vec<&'static str>,
}

impl Replay {
    /// What the environment asks for.
    pub fn asked_for() -> Option<Replay> {
        let without = std::env::var("THALWEG_SIM_WITHOUT").unwrap_or_default();
        let without: Vec<&str> = without.split(',').collect();
        Some(Replay {
            seed: setting("THALWEG_SIM_SEED")?,
            steps: setting("THALWEG_SIM_STEPS"),
            without: PARTS.iter().map(|part| part.0).filter(|name| without.contains(name)).collect(),
        })
    }

    pub fn run(&self, traced: bool) -> Result<Tally, Finding> {
        let mut chance = Chance::new(self.seed);
        let mut setup = Setup::drawn(&mut chance, Bugs::default());
        setup.mix.steps = self.steps.unwrap_or(setup.mix.steps);
        for (_, leave_out) in PARTS.iter().filter(|(name, _)| self.without.contains(name)) {
            leave_out(&mut setup);
        }
        caught(|| run_setup(chance, setup, traced))
    }

    /// The command that runs it.
    pub fn command(&self) -> String {
        let steps = self.steps.map(|steps| format!(" --steps {steps}")).unwrap_or_default();
        let without = match self.without.is_empty() {
            true => String::new(),
            false => format!(" --without {}", self.without.join(",")),
        };
        format!("tools/simulate --replay {}{steps}{without}", self.seed)
    }
}

/// A simpler history of the seed that still fails, and how it does.
pub fn shrink(seed: u64, finding: Finding) -> (Replay, Finding) {
    let mut best = (Replay { seed, steps: None, without: Vec::new() }, finding);
    let attempt = |replay: Replay, best: &mut (Replay, Finding)| match replay.run(false) {
        // Another thing that is wrong is no shorter history of this one.
        Err(finding) if finding.class == best.1.class => {
            *best = (replay, finding);
            true
        }
        _ => false,
    };
    for (name, _) in PARTS {
        let mut replay = best.0.clone();
        replay.without.push(name);
        attempt(replay, &mut best);
    }
    let mut steps = Setup::drawn(&mut Chance::new(seed), Bugs::default()).mix.steps;
    let mut cut = steps / 2;
    while cut > 0 {
        let fewer = Replay { steps: Some(steps - cut), ..best.0.clone() };
        if attempt(fewer, &mut best) {
            steps -= cut;
        } else {
            cut /= 2;
        }
        cut = cut.min(steps / 2);
    }
    best
}
