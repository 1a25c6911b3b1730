//! One history of several tables in one process, sick ones among them.
//!
//! It owns what happens to tables and processes, and when each must be over.
//! It comes in three parts, each judged at every step by an oracle of each
//! table:
//!
//! | part | what happens | what must be |
//! |---|---|---|
//! | faults | stores and topics get sick and heal, processes die, another one takes a table | exactly once |
//! | one is sick | some tables are sick all the time, the others have no trouble | these reach the end of their topics; a sick one holds no more than its share |
//! | healed | nothing is wrong any more | who was sick goes on by itself, who was stopped after a start; a drained process ends |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::error::ErrorKind;

use super::process::{Config, End, Plan, Process};
use crate::broker::{Broker, SharedBroker};
use crate::chance::Chance;
use crate::finding::{Class, Finding};
use crate::oracle::{Names, Oracle};
use crate::store::{Faults, Sickness, SimStore, StoreBug};
use crate::time::SimClock;

/// Steps after which a healthy table must have committed everything.
const LIVENESS_STEPS: u32 = 4_000;
/// Units of work that a shard may have uncommitted of a table, and some more: those of a turn, and what is
/// put again.
const WAITING_MAX: usize = 64 + 8;
/// Steps in which records come in until a sick table is full.
pub const FLOOD_STEPS: u64 = 160;

const NAMES: [Names; 4] = [
    Names { table_ids: ["sim0", "mis0"], topic: "t0" },
    Names { table_ids: ["sim1", "mis1"], topic: "t1" },
    Names { table_ids: ["sim2", "mis2"], topic: "t2" },
    Names { table_ids: ["sim3", "mis3"], topic: "t3" },
];

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    Store(Sickness),
    /// Nobody leads the topic's partitions.
    Silent,
    /// The topic is created again: a person must decide.
    CreatedAgain,
    /// Another process reads the table, too: one of the two gives way.
    Rival,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Store(Sickness::Stalls),
    Trouble::Store(Sickness::Stalls),
    Trouble::Store(Sickness::Refuses),
    Trouble::Store(Sickness::Full),
    Trouble::Silent,
    Trouble::CreatedAgain,
    Trouble::Rival,
];

/// What can happen, and how often: drawn from the seed.
#[derive(Clone, Debug)]
pub struct Mix {
    pub tables: usize,
    pub steps: u64,
    pub crash: u64,
    pub drain: u64,
    pub stop: u64,
    pub grow: u64,
    /// A table gets into trouble.
    pub sick: u64,
    pub faults: Faults,
    pub plan: Plan,
    /// When some tables are sick for long, who runs goes on; otherwise a new process starts.
    pub live_on: bool,
    /// What is wrong with those then; `None`: anything.
    pub trouble: Option<Trouble>,
    /// Requests of the others that fail then, in percent: they go on all the same.
    pub still_faulty: u64,
    /// Steps over which records come in then: a table is full after some.
    pub flood: u64,
}

impl Mix {
    pub fn drawn(chance: &mut Chance) -> Mix {
        let mut percent = |most: u64| if chance.one_in(3) { 0 } else { chance.below(most + 1) };
        let faults = Faults {
            refused: percent(10),
            reply_lost: percent(10),
            conflict: percent(8),
            own_retry: percent(10),
            late: percent(10),
            slow: percent(50),
        };
        Mix {
            crash: percent(3),
            drain: percent(2),
            stop: percent(2),
            grow: percent(2),
            sick: percent(8),
            faults,
            tables: 2 + chance.index(3),
            steps: 30 + chance.below(90),
            plan: Plan {
                shards: 1 + chance.index(2),
                max_latency: Duration::from_millis(if chance.one_in(2) { 0 } else { chance.below(60) }),
                memory: if chance.one_in(2) { 4 << 20 } else { 64 << 20 },
                most_at_once: 1 + chance.below(4),
                strict: chance.one_in(2),
                checkpoint_every: if chance.one_in(2) { 100 } else { 4 + chance.below(12) },
                silent: if chance.one_in(2) { 0 } else { chance.below(30) },
                until_end: false,
            },
            live_on: chance.one_in(2),
            trouble: None,
            still_faulty: 0,
            flood: if chance.one_in(3) { FLOOD_STEPS } else { 40 },
        }
    }
}

struct Site {
    names: Names,
    store: SimStore,
    broker: SharedBroker,
    oracle: Oracle,
    /// What is wrong, and for how many steps.
    trouble: Option<(Trouble, u64)>,
    /// Its topic was created again.
    is_over: bool,
}

/// What happened, for those who want to know that enough does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub versions: usize,
    pub crashes: usize,
    pub troubles: usize,
    /// Tables that stopped alone.
    pub stopped: usize,
    /// Steps that a store held as much as a shard lets go.
    pub full: usize,
    pub fingerprint: u64,
}

pub struct World {
    chance: Chance,
    clock: Arc<SimClock>,
    sites: Vec<Site>,
    mix: Mix,
    /// The first is the one of all tables; others are rivals, with one table.
    running: Vec<Process>,
    started: u32,
    /// The one of all tables ran beside nobody since it started.
    is_alone: bool,
    tally: Tally,
}

type Outcome<T = ()> = Result<T, Finding>;

/// Runs a mix to its end. The error says what is wrong with a table.
pub fn run(mut chance: Chance, mix: Mix, traced: bool) -> Outcome<Tally> {
    let clock = Arc::new(SimClock::new(chance.fork()));
    let site = |names: &Names, place: usize, chance: &mut Chance| {
        let faults = if chance.one_in(2) { mix.faults } else { Faults::default() };
        let store = SimStore::new(chance.fork(), Arc::clone(&clock), faults, StoreBug::None, None, traced);
        let mut broker = Broker::new(true, chance.one_in(6)).named(names.topic, place as i64 * 1_000_000);
        for partition in 0..1 + chance.index(2) {
            broker.add_partition(chance);
            let count = chance.below(12);
            broker.produce(partition, count, chance);
        }
        Site {
            names: *names,
            store: store.named(names.table_ids[0]),
            broker: Arc::new(Mutex::new(broker)),
            oracle: Oracle::of(*names, false),
            trouble: None,
            is_over: false,
        }
    };
    let sites = NAMES
        .iter()
        .take(mix.tables)
        .enumerate()
        .map(|(place, names)| site(names, place, &mut chance))
        .collect();
    let mut world = World {
        chance,
        clock,
        sites,
        mix,
        running: Vec::new(),
        started: 0,
        is_alone: true,
        tally: Tally::default(),
    };
    world.note(|world| format!("{:?}", world.mix));
    let outcome = world.live();
    for site in &world.sites {
        for line in site.store.take_trace() {
            eprintln!("{} {line}", site.names.topic);
        }
    }
    outcome.map(|()| Tally {
        versions: world.sites.iter().map(|site| site.oracle.log.len()).sum(),
        fingerprint: world
            .sites
            .iter()
            .fold(0, |sum: u64, site| sum.rotate_left(7) ^ site.store.fingerprint()),
        ..world.tally
    })
}

impl World {
    fn live(&mut self) -> Outcome {
        for _ in 0..self.mix.steps {
            self.something_happens();
            self.step()?;
        }
        let sick = self.some_are_sick()?;
        self.all_heal(&sick)?;
        for site in &mut self.sites {
            site.oracle.conclude(&site.store, &site.broker.lock().unwrap())?;
        }
        Ok(())
    }

    fn note(&self, text: impl FnOnce(&World) -> String) {
        self.sites[0].store.note(|| text(self));
    }

    // ---- everybody ----

    /// Moves one process on, and looks at all tables.
    fn step(&mut self) -> Outcome {
        if !self.running.is_empty() {
            let index = self.chance.index(self.running.len());
            if let Some(end) = self.running[index].step() {
                self.ended(index, end)?;
            }
        }
        for index in 0..self.running.len() {
            self.what_stopped_may_stop(index)?;
        }
        for site in &mut self.sites {
            site.store.tick();
            let broker = site.broker.lock().unwrap();
            let seen = site.oracle.observe(&site.store, &broker);
            seen.map_err(|error| format!("{}: {error}", site.names.topic))?;
        }
        self.memory_is_bounded()
    }

    fn ended(&mut self, index: usize, end: End) -> Outcome {
        let ended = self.running.remove(index);
        self.note(|_| format!("{} ends: {end:?}", ended.name));
        match end {
            End::Done => Ok(()),
            End::Failed(error) => Err(Finding::ended(&ended.name, &error)),
            End::Panicked(why) => {
                Err(Finding { class: Class::Panicked, said: format!("{} panicked: {why}", ended.name) })
            }
        }
    }

    /// A table stops because its topic is another one, or because somebody else writes it; nothing else does.
    fn what_stopped_may_stop(&self, index: usize) -> Outcome {
        let process = &self.running[index];
        for table in process.tables() {
            let Some(error) = process.stopped(table) else { continue };
            let site = &self.sites[table];
            let may = match error.kind {
                ErrorKind::Disagree => site.broker.lock().unwrap().was_created_again(),
                ErrorKind::Fenced => !self.is_alone,
                _ => false,
            };
            if !may {
                let name = format!("{} of {}", site.names.topic, process.name);
                return Err(Finding::ended(&name, error));
            }
        }
        Ok(())
    }

    /// A store that does not answer is not sent more and more.
    fn memory_is_bounded(&mut self) -> Outcome {
        let shards: usize = self.running.iter().map(Process::shards_count).sum();
        for site in &self.sites {
            let waiting = site.store.waiting();
            self.tally.full += usize::from(waiting >= 64);
            if waiting > shards * WAITING_MAX {
                let said = format!("{waiting} files of {} wait for their store", site.names.topic);
                return Err(Finding::from(said));
            }
        }
        Ok(())
    }

    fn kill(&mut self, index: usize) {
        self.tally.crashes += 1;
        let killed = self.running.remove(index);
        self.note(|_| format!("{} is killed", killed.name));
    }

    fn start(&mut self, tables: BTreeSet<usize>) {
        self.started += 1;
        let name = format!("p{}", self.started);
        self.is_alone = self.running.is_empty() && !self.sites.iter().any(|site| site.store.has_pending());
        self.note(|_| format!("{name} starts with {tables:?}"));
        let configs = tables.into_iter().map(|table| (table, self.sites[table].config())).collect();
        let (plan, chance) = (self.mix.plan.clone(), self.chance.fork());
        let process = Process::start(name, plan, chance, configs, &self.clock).expect("shards start");
        match self.is_main(&process) {
            true => self.running.insert(0, process),
            false => self.running.push(process),
        }
    }

    fn start_main(&mut self) {
        self.start((0..self.sites.len()).collect());
    }

    fn is_main(&self, process: &Process) -> bool {
        process.tables().count() == self.sites.len()
    }

    fn main(&mut self) -> Option<&mut Process> {
        let tables = self.sites.len();
        self.running.first_mut().filter(|process| process.tables().count() == tables)
    }

    fn has_main(&mut self) -> bool {
        self.main().is_some()
    }

    // ---- faults ----

    fn something_happens(&mut self) {
        if !self.has_main() && self.chance.one_in(3) {
            self.start_main();
        }
        for table in 0..self.sites.len() {
            self.produce(table, 5, 4);
            let chance = &mut self.chance;
            let mut broker = self.sites[table].broker.lock().unwrap();
            if chance.percent(self.mix.grow) && broker.partitions.len() < 3 && !broker.was_created_again() {
                broker.add_partition(chance);
                let partition = broker.partitions.len() - 1;
                broker.produce(partition, 3, chance);
            }
        }
        if self.chance.percent(self.mix.sick) {
            let table = self.chance.index(self.sites.len());
            let trouble = TROUBLES[self.chance.index(TROUBLES.len())];
            let steps = 10 + self.chance.below(60);
            self.fall_sick(table, trouble, steps);
        }
        self.some_get_well();
        if self.running.is_empty() {
            return;
        }
        let index = self.chance.index(self.running.len());
        if self.chance.percent(self.mix.crash) {
            self.kill(index);
            return;
        }
        if self.chance.percent(self.mix.drain) {
            self.note(|world| format!("{} is drained", world.running[index].name));
            self.running[index].drain();
        }
        if self.chance.percent(self.mix.stop) {
            self.running[index].stopped_for = 10 + self.chance.below(40) as u32;
        }
    }

    /// Up to so many records, once in so many steps.
    fn produce(&mut self, table: usize, most: u64, one_in: u64) {
        let chance = &mut self.chance;
        let mut broker = self.sites[table].broker.lock().unwrap();
        if chance.one_in(one_in) {
            let partition = chance.index(broker.partitions.len());
            let count = 1 + chance.below(most);
            broker.produce(partition, count, chance);
        }
    }

    fn fall_sick(&mut self, table: usize, trouble: Trouble, steps: u64) {
        if self.sites[table].trouble.is_some() || self.sites[table].is_over {
            return;
        }
        match trouble {
            Trouble::Store(sickness) => self.sites[table].store.sicken(Some(sickness)),
            Trouble::Silent => self.sites[table].broker.lock().unwrap().is_silent = true,
            Trouble::CreatedAgain => {
                // Before a table knows its topic's id it cannot be told from another one.
                if self.sites[table].oracle.topic_id.is_none() {
                    return;
                }
                let mut broker = self.sites[table].broker.lock().unwrap();
                broker.delete_or_create(&mut self.chance);
                broker.delete_or_create(&mut self.chance);
                drop(broker);
                self.sites[table].is_over = true;
            }
            Trouble::Rival if self.running.is_empty() => return,
            Trouble::Rival => self.start([table].into()),
        }
        self.tally.troubles += 1;
        self.note(|world| format!("{} is sick: {trouble:?}", world.sites[table].names.topic));
        self.sites[table].trouble = Some((trouble, steps));
    }

    fn some_get_well(&mut self) {
        for table in 0..self.sites.len() {
            match &mut self.sites[table].trouble {
                Some((_, 0)) => self.get_well(table),
                Some((_, steps)) => *steps -= 1,
                None => {}
            }
        }
    }

    fn get_well(&mut self, table: usize) {
        let site = &mut self.sites[table];
        site.trouble = None;
        site.store.sicken(None);
        site.broker.lock().unwrap().is_silent = false;
        let is_rival = |process: &Process| process.tables().eq([table]);
        if let Some(index) = self.running.iter().position(is_rival) {
            self.kill(index);
        }
        self.note(|world| format!("{} is well", world.sites[table].names.topic));
    }

    // ---- some are sick, the others are not ----

    /// Those that are well reach the ends of their topics; returns the others.
    fn some_are_sick(&mut self) -> Outcome<BTreeSet<usize>> {
        self.note(|_| "some are sick for long".to_owned());
        let may_live_on = self.mix.live_on && self.has_main();
        while self.running.len() > usize::from(may_live_on) {
            let last = self.running.len() - 1;
            self.kill(last);
        }
        for table in 0..self.sites.len() {
            self.get_well(table);
            self.sites[table].store.heal_to(Faults { refused: self.mix.still_faulty, ..Faults::default() });
            self.sites[table].store.land_all();
        }
        self.mix.plan.silent = 0;
        // Who gave way or is about to end is started again; so is who may yet give way to one that was killed.
        let is_over: Vec<bool> = self.sites.iter().map(|site| site.is_over).collect();
        let must_end =
            self.running.iter().any(|process| process.is_ending() || is_over_for(process, &is_over));
        if must_end || !self.is_alone {
            self.running.clear();
        }
        let healthy: Vec<usize> = (0..self.sites.len()).filter(|&table| !self.sites[table].is_over).collect();
        let well = healthy.get(self.chance.index(healthy.len().max(1))).copied();
        let (mut sick, starts_sick) = (BTreeSet::new(), self.chance.one_in(2));
        if !starts_sick && self.running.is_empty() {
            self.start_main();
            self.some_steps(20)?;
        }
        for table in healthy.iter().copied().filter(|&table| Some(table) != well) {
            if sick.is_empty() || self.chance.one_in(3) {
                let drawn = TROUBLES[self.chance.index(TROUBLES.len())];
                let trouble = self.mix.trouble.unwrap_or(drawn);
                if trouble != Trouble::Rival || !starts_sick {
                    self.fall_sick(table, trouble, u64::MAX);
                    sick.insert(table);
                }
            }
        }
        if !self.has_main() {
            self.start_main();
        }
        for step in 0..self.mix.flood {
            for table in 0..self.sites.len() {
                match sick.contains(&table) {
                    true => self.produce(table, 8, 1),
                    false => self.produce(table, 4, 3),
                }
            }
            if step == self.mix.flood / 2 {
                self.calm_topics();
            }
            self.step()?;
        }
        self.calm_topics();
        self.reach_the_end(|world, table| !sick.contains(&table) && world.goes_on(table), "is well")?;
        Ok(sick)
    }

    fn some_steps(&mut self, steps: u32) -> Outcome {
        (0..steps).try_for_each(|_| self.step())
    }

    fn calm_topics(&mut self) {
        for site in &self.sites {
            site.broker.lock().unwrap().calm_down(&mut self.chance);
        }
    }

    /// The process is to read the table on.
    fn goes_on(&mut self, table: usize) -> bool {
        let is_stopped = self.main().is_none_or(|process| process.stopped(table).is_some());
        !self.sites[table].is_over && !is_stopped
    }

    /// Each of these tables is committed up to the end of its topic, without another start.
    fn reach_the_end(&mut self, of: impl Fn(&mut World, usize) -> bool, what: &str) -> Outcome {
        let wanted: Vec<usize> = (0..self.sites.len()).filter(|&table| of(self, table)).collect();
        let mut lacks = None;
        for _ in 0..LIVENESS_STEPS {
            lacks = wanted.iter().find_map(|&table| {
                let site = &self.sites[table];
                let missing = site.oracle.has_all(&site.broker.lock().unwrap()).err()?;
                Some(format!("{} {what}, and does not go on: {missing}", site.names.topic))
            });
            if lacks.is_none() {
                return Ok(());
            }
            if !self.has_main() {
                return Err(Finding::from("the process ended although tables go on".to_owned()));
            }
            self.step()?;
        }
        Err(Finding::from(lacks.unwrap_or_default()))
    }

    // ---- nothing is wrong any more ----

    fn all_heal(&mut self, sick: &BTreeSet<usize>) -> Outcome {
        let stopped: Vec<usize> = sick.iter().copied().filter(|&table| !self.goes_on(table)).collect();
        self.tally.stopped += stopped.len();
        for table in 0..self.sites.len() {
            self.get_well(table);
            self.sites[table].store.heal();
        }
        self.calm_topics();
        self.reach_the_end(World::goes_on, "has healed")?;
        self.ends_when_it_is_drained()?;
        self.is_alone = true;
        self.sites.iter().for_each(|site| site.store.land_all());
        self.mix.plan.until_end = self.chance.one_in(2);
        self.start_main();
        if self.mix.plan.until_end {
            self.ends("has an end")?;
            return self.reach_the_end(World::is_left, "was read to its end");
        }
        if (0..self.sites.len()).any(|table| self.is_left(table)) {
            self.reach_the_end(World::is_left, "was started again")?;
            self.ends_when_it_is_drained()?;
        }
        Ok(())
    }

    fn is_left(&mut self, table: usize) -> bool {
        !self.sites[table].is_over
    }

    fn ends_when_it_is_drained(&mut self) -> Outcome {
        self.note(|_| "all is drained".to_owned());
        self.running.iter_mut().for_each(Process::drain);
        self.ends("was drained")
    }

    fn ends(&mut self, why: &str) -> Outcome {
        for _ in 0..LIVENESS_STEPS {
            if self.running.is_empty() {
                return Ok(());
            }
            self.step()?;
        }
        Err(Finding::from(format!("{} {why} and does not end", self.running[0].name)))
    }
}

/// The process has given a table up that is to be read.
fn is_over_for(process: &Process, is_over: &[bool]) -> bool {
    process.tables().any(|table| process.stopped(table).is_some() && !is_over[table])
}

impl Site {
    fn config(&self) -> Config {
        Config {
            table_id: self.names.table_ids[0],
            store: self.store.clone(),
            broker: Arc::clone(&self.broker),
        }
    }
}

/// What a world is made of by name: for those who look for a bug.
pub type Aim = fn(&mut Mix);

pub fn summary(tallies: &[Tally]) -> BTreeMap<&'static str, usize> {
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum();
    BTreeMap::from([
        ("versions", sum(|tally| tally.versions)),
        ("crashes", sum(|tally| tally.crashes)),
        ("troubles", sum(|tally| tally.troubles)),
        ("tables stopped", sum(|tally| tally.stopped)),
        ("steps with a full shard", sum(|tally| tally.full)),
    ])
}
