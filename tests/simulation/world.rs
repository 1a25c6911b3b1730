//! One history from one seed: a broker, a store, instances that come and go,
//! and what happens to them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use thalweg::clock::Clock;

use crate::broker::{Broker, SharedBroker, SourceBug};
use crate::chance::Chance;
use crate::instance::{self, End, Instance, Plan};
use crate::oracle::{LETTER_ROOTS, Oracle, version_path};
use crate::store::{Faults, SimStore, StoreBug};
use crate::time::SimClock;

/// Slices after which a healthy instance must have committed everything.
const LIVENESS_STEPS: u32 = 4_000;

/// What a test plants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bugs {
    pub store: StoreBug,
    pub source: SourceBug,
}

/// What can happen, and how often: drawn from the seed, so that seeds differ in kind.
#[derive(Clone, Copy, Debug)]
struct Mix {
    steps: u64,
    instances: usize,
    crash: u64,
    drain: u64,
    foreign: u64,
    jump: u64,
    grow: u64,
    /// Foreign commits at once, so that a checkpoint falls due.
    burst: bool,
    /// Configs differ from one instance to the next in where bad records go.
    policies_change: bool,
}

/// What happened, for those who want to know that enough does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub versions: usize,
    pub crashes: usize,
    pub fenced: usize,
    pub done: usize,
    pub failed: usize,
    pub foreign: usize,
    pub checkpoints: usize,
    pub fingerprint: u64,
}

struct World {
    chance: Chance,
    clock: Arc<SimClock>,
    store: SimStore,
    broker: SharedBroker,
    oracle: Oracle,
    plan: Plan,
    mix: Mix,
    running: Vec<Instance>,
    started: u32,
    healthy: bool,
    tally: Tally,
}

/// Runs a seed to its end. The error says what is wrong with the table.
pub fn run(seed: u64, bugs: Bugs, traced: bool) -> Result<Tally, String> {
    let mut world = World::new(seed, bugs, traced);
    world.store.note(|| format!("{:?} {:?}", world.mix, world.plan.max_latency));
    let outcome = world.live();
    for line in world.store.take_trace() {
        eprintln!("{line}");
    }
    outcome.map(|()| Tally {
        versions: world.oracle.versions(),
        checkpoints: world
            .store
            .names()
            .iter()
            .filter(|path| path.as_ref().ends_with(".checkpoint.parquet"))
            .count(),
        fingerprint: world.store.fingerprint(),
        ..world.tally
    })
}

impl World {
    fn new(seed: u64, bugs: Bugs, traced: bool) -> World {
        let mut chance = Chance::new(seed);
        let clock = Arc::new(SimClock::new(chance.fork()));
        let mut percent = |most: u64| if chance.one_in(3) { 0 } else { chance.below(most + 1) };
        let faults = Faults {
            refused: percent(15),
            reply_lost: percent(15),
            own_retry: percent(15),
            late: percent(20),
            slow: percent(60),
        };
        let store = SimStore::new(chance.fork(), Arc::clone(&clock), faults, bugs.store, traced);
        let mut rare = |most: u64| if chance.one_in(3) { 0 } else { chance.below(most + 1) };
        let mix = Mix {
            crash: rare(6),
            drain: rare(3),
            foreign: rare(8),
            jump: rare(6),
            grow: rare(2),
            burst: rare(20) == 1,
            policies_change: rare(1) == 1,
            steps: 40 + chance.below(120),
            instances: if chance.one_in(3) { 2 } else { 1 },
        };
        let plan = Plan {
            shards: 1 + chance.index(2),
            max_latency: Duration::from_millis(if chance.one_in(2) { 0 } else { chance.below(100) }),
            memory: if chance.one_in(3) { 1 } else { 1 << 20 },
            until_end: false,
            latest: chance.one_in(4),
            rivals_show: chance.one_in(4),
            lost_one_in: if chance.one_in(4) { 40 } else { 0 },
            bug: bugs.source,
            strict: chance.one_in(2),
            letters: if chance.one_in(4) { None } else { Some(LETTER_ROOTS[0]) },
        };
        let mut broker = Broker::default();
        for partition in 0..1 + chance.index(3) {
            broker.add_partition(&mut chance);
            let count = chance.below(20);
            broker.produce(partition, count, &mut chance);
        }
        World {
            oracle: Oracle::new(plan.latest),
            broker: Arc::new(Mutex::new(broker)),
            running: Vec::new(),
            started: 0,
            healthy: false,
            tally: Tally::default(),
            chance,
            clock,
            store,
            plan,
            mix,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        for _ in 0..self.mix.steps {
            self.something_happens()?;
            self.look()?;
        }
        self.settle_down()
    }

    fn look(&mut self) -> Result<(), String> {
        self.store.tick();
        self.oracle.observe(&self.store, &self.broker.lock().unwrap())
    }

    fn something_happens(&mut self) -> Result<(), String> {
        let mix = self.mix;
        if self.running.len() < mix.instances && self.chance.one_in(3) {
            let until_end = self.chance.one_in(3);
            self.start(until_end, self.plan.lost_one_in);
        }
        if self.running.is_empty() {
            return Ok(());
        }
        let index = self.chance.index(self.running.len());
        if self.chance.percent(mix.crash) {
            self.tally.crashes += 1;
            let killed = self.running.remove(index);
            killed_note(&self.store, &killed);
            return Ok(());
        }
        if self.chance.percent(mix.drain) {
            self.store.note(|| format!("{} is drained", self.running[index].name));
            self.running[index].drain();
        }
        if self.chance.percent(mix.foreign) {
            self.foreign_commits();
        }
        if self.chance.percent(mix.jump) {
            let days = if self.chance.one_in(10) { 7 } else { 0 };
            let time = Duration::from_secs(61 + days * 24 * 3600);
            self.store.note(|| format!("{time:?} pass"));
            self.clock.advance(time);
        }
        if self.chance.one_in(4) {
            let mut broker = self.broker.lock().unwrap();
            let partition = self.chance.index(broker.partitions.len());
            let count = 1 + self.chance.below(6);
            broker.produce(partition, count, &mut self.chance);
            if self.chance.one_in(3) {
                broker.compact(&mut self.chance);
            }
        }
        if self.chance.percent(mix.grow) {
            let mut broker = self.broker.lock().unwrap();
            if broker.partitions.len() < 4 {
                broker.add_partition(&mut self.chance);
                let partition = broker.partitions.len() - 1;
                broker.produce(partition, 3, &mut self.chance);
            }
        }
        self.step(index)
    }

    fn start(&mut self, until_end: bool, lost_one_in: u64) {
        self.started += 1;
        let name = format!("i{}", self.started);
        let plan = Plan { until_end, lost_one_in, ..self.plan.clone() };
        let plan = if self.mix.policies_change { self.other_policies(plan) } else { plan };
        if plan.letters.is_none() {
            self.oracle.may_skip = true;
        }
        self.store.note(|| {
            format!(
                "{name} starts, until_end={} strict={} letters={:?}",
                plan.until_end, plan.strict, plan.letters
            )
        });
        let chance = self.chance.fork();
        let instance = Instance::start(name, plan, chance, &self.store, &self.clock, &self.broker);
        self.running.push(instance);
    }

    fn other_policies(&mut self, plan: Plan) -> Plan {
        let place = self.chance.index(LETTER_ROOTS.len() + 1);
        Plan { strict: self.chance.one_in(2), letters: LETTER_ROOTS.get(place).copied(), ..plan }
    }

    /// Moves an instance on; its end must be one that an operator may see.
    fn step(&mut self, index: usize) -> Result<(), String> {
        let restart = self.running[index].has_stopped_partition() && self.chance.one_in(5);
        let Some(end) = self.running[index].step() else {
            if restart {
                self.running.remove(index);
            }
            return Ok(());
        };
        let ended = self.running.remove(index);
        self.store.note(|| format!("{} ends: {end:?}", ended.name));
        self.look()?;
        match end {
            End::Done(offsets) => {
                self.tally.done += 1;
                for (source, offset) in offsets {
                    let txn = self.oracle.txns.get(&source.partition.0).copied().unwrap_or(-1);
                    if txn < offset.0 {
                        return Err(format!(
                            "{} ended at {source} {offset}, the table is at {txn}",
                            ended.name
                        ));
                    }
                }
                Ok(())
            }
            End::Failed(error) if instance::is_expected(&error, self.healthy) => {
                if error.kind == thalweg::error::ErrorKind::Fenced {
                    self.tally.fenced += 1;
                } else {
                    self.tally.failed += 1;
                }
                Ok(())
            }
            End::Failed(error) => Err(format!("{} failed: {:?} {error}", ended.name, error.kind)),
            End::Panicked(why) => Err(format!("{} panicked: {why}", ended.name)),
        }
    }

    /// Faults stop. One instance is left, and must commit all there is: one
    /// that goes on for ever, with partitions that move, or one that ends.
    fn settle_down(&mut self) -> Result<(), String> {
        self.running.clear();
        self.store.heal();
        self.healthy = true;
        self.store.note(|| "faults stop".to_owned());
        let until_end = self.chance.one_in(2);
        let done_before = self.tally.done;
        for _ in 0..LIVENESS_STEPS {
            if self.running.is_empty() {
                self.start(until_end, 0);
            }
            self.step(0)?;
            self.look()?;
            let broker = self.broker.lock().unwrap();
            if self.tally.done > done_before || (!until_end && self.oracle.has_all(&broker).is_ok()) {
                return self.oracle.conclude(&self.store, &broker);
            }
        }
        Err(format!("not all is committed after {LIVENESS_STEPS} steps"))
    }

    // ---- another writer ----

    fn foreign_commits(&mut self) {
        let count = if self.mix.burst { 120 } else { 1 };
        for _ in 0..count {
            let version = self.oracle.versions();
            if version == 0 {
                return;
            }
            let body = if self.chance.one_in(3) { self.schema_change() } else { self.append() };
            self.store.note(|| format!("another writer commits version {version}"));
            let landed = self.store.apply(&version_path(version), &body, true).is_ok();
            self.tally.foreign += usize::from(landed);
            if self.oracle.observe(&self.store, &self.broker.lock().unwrap()).is_err() {
                return;
            }
        }
    }

    fn append(&mut self) -> Bytes {
        let info = json!({"commitInfo": {"timestamp": self.clock.wall_ms(), "operation": "WRITE"}});
        let txn = json!({"txn": {"appId": "spark", "version": self.chance.below(9)}});
        format!("{info}\n{txn}\n").into()
    }

    /// A nullable column comes or goes.
    fn schema_change(&mut self) -> Bytes {
        let mut metadata = self.oracle.metadata();
        let text = metadata["metaData"]["schemaString"].as_str().unwrap();
        let mut schema: Value = serde_json::from_str(text).unwrap();
        let fields = schema["fields"].as_array_mut().unwrap();
        let before = fields.len();
        fields.retain(|field| field["name"] != "extra");
        if fields.len() == before {
            fields.push(json!({"name": "extra", "type": "string", "nullable": true, "metadata": {}}));
        }
        metadata["metaData"]["schemaString"] = schema.to_string().into();
        let info = json!({"commitInfo": {"timestamp": self.clock.wall_ms(), "operation": "ALTER TABLE"}});
        format!("{info}\n{metadata}\n").into()
    }
}

fn killed_note(store: &SimStore, killed: &Instance) {
    store.note(|| format!("{} is killed", killed.name));
}
