//! One history from one seed: a broker, a store, instances that come and go,
//! other writers, a group's coordinator, and what happens to them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::error::ErrorKind;

use crate::broker::{Broker, SharedBroker, SourceBug};
use crate::chance::Chance;
use crate::foreign::{Deed, EVERYDAY, Foreign};
use crate::group::{self, Coordinator, SharedCoordinator};
use crate::hand::{self, Hand};
use crate::instance::{End, Instance, Plan};
use crate::oracle::{LETTER_ROOTS, Oracle, TABLE_IDS};
use crate::store::{Faults, SimStore, Single, StoreBug};
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
#[derive(Clone, Debug)]
pub struct Mix {
    pub steps: u64,
    pub partitions: usize,
    pub instances: usize,
    pub crash: u64,
    pub drain: u64,
    /// An instance stands still for a while, and another one may start.
    pub stop: u64,
    /// Another writer does something, one of these.
    pub foreign: u64,
    pub deeds: Vec<Deed>,
    /// A person sets offsets, changes the table id, or replays dead letters.
    pub hand: u64,
    pub jump: u64,
    pub grow: u64,
    /// Retention deletes records, read or not.
    pub retain: u64,
    /// Foreign commits at once, so that a checkpoint falls due.
    pub burst: bool,
    /// Configs differ from one instance to the next in where bad records go.
    pub policies_change: bool,
    /// The broker tells no topic ids, and begins to at some time.
    pub without_ids: bool,
    /// What happens once, after so many steps, and ends the run: nothing of ours may follow.
    pub end: Option<(u64, Ending)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    CreatedAgain,
    Another(Deed),
}

/// Everything that is fixed before a world begins.
#[derive(Clone)]
pub struct Setup {
    pub faults: Faults,
    pub mix: Mix,
    pub plan: Plan,
    /// The one fault of a world that has no other.
    pub single: Option<Single>,
    pub bugs: Bugs,
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
    /// Offsets set and replays, as far as they came to their end.
    pub by_hand: usize,
    pub checkpoints: usize,
    /// Times that partitions of a group were assigned, and members put out of it.
    pub rebalances: usize,
    pub put_out: usize,
    /// Requests to the store.
    pub operations: u64,
    pub fingerprint: u64,
}

struct World {
    chance: Chance,
    clock: Arc<SimClock>,
    store: SimStore,
    broker: SharedBroker,
    coordinator: SharedCoordinator,
    oracle: Oracle,
    setup: Setup,
    running: Vec<Instance>,
    hand: Option<Hand>,
    /// What a person does is drawn apart: without it the rest is the same.
    hands: Chance,
    started: u32,
    step: u64,
    healthy: bool,
    tally: Tally,
}

impl Setup {
    /// A mix of faults from a seed.
    pub fn drawn(chance: &mut Chance, bugs: Bugs) -> Setup {
        let mut percent = |most: u64| if chance.one_in(3) { 0 } else { chance.below(most + 1) };
        let faults = Faults {
            refused: percent(15),
            reply_lost: percent(15),
            conflict: percent(10),
            own_retry: percent(15),
            late: percent(20),
            slow: percent(60),
        };
        let mut rare = |most: u64| if chance.one_in(3) { 0 } else { chance.below(most + 1) };
        let mut mix = Mix {
            crash: rare(6),
            drain: rare(3),
            stop: rare(2),
            foreign: rare(10),
            jump: rare(6),
            grow: rare(2),
            retain: if rare(4) == 1 { 2 } else { 0 },
            burst: rare(20) == 1,
            policies_change: rare(1) == 1,
            without_ids: rare(6) == 1,
            steps: 40 + chance.below(120),
            partitions: 1 + chance.index(3),
            instances: if chance.one_in(3) { 2 } else { 1 },
            deeds: EVERYDAY.to_vec(),
            hand: 0,
            end: None,
        };
        if chance.one_in(8) {
            let endings =
                [Ending::CreatedAgain, Ending::Another(Deed::Restore), Ending::Another(Deed::Unknown)];
            mix.end = Some((chance.below(mix.steps), endings[chance.index(endings.len())]));
        }
        let plan = Plan {
            table_id: TABLE_IDS[0],
            shards: 1 + chance.index(2),
            max_latency: Duration::from_millis(if chance.one_in(2) { 0 } else { chance.below(100) }),
            memory: if chance.one_in(3) { 1 } else { 1 << 20 },
            until_end: false,
            latest: chance.one_in(4),
            rivals_show: chance.one_in(4),
            lost_one_in: if chance.one_in(4) { 40 } else { 0 },
            checkpoint_every: if chance.one_in(2) { 100 } else { 2 + chance.below(12) },
            silent: if chance.one_in(2) { 0 } else { chance.below(30) },
            bug: bugs.source,
            strict: chance.one_in(2),
            letters: if chance.one_in(4) { None } else { Some(LETTER_ROOTS[0]) },
            group: chance.one_in(3).then(|| group::Terms {
                eager: chance.one_in(2),
                session: Duration::from_millis(200 + chance.below(2_000)),
                max_poll: Duration::from_millis(200 + chance.below(3_000)),
                wrongly_out_one_in: if chance.one_in(2) { 0 } else { 40 + chance.below(100) },
            }),
        };
        if plan.group.is_some() {
            mix.instances = 1 + chance.index(3);
        }
        // Drawn apart: the other parts of a seed are what they were.
        let mut apart = chance.clone().fork();
        if apart.one_in(3) {
            mix.hand = 1 + apart.below(8);
        }
        Setup { faults, mix, plan, single: None, bugs }
    }

    /// A short run in which nothing goes wrong.
    pub fn calm() -> Setup {
        Setup {
            faults: Faults::default(),
            mix: Mix {
                steps: 40,
                partitions: 2,
                instances: 1,
                crash: 0,
                drain: 0,
                stop: 0,
                foreign: 0,
                deeds: Vec::new(),
                hand: 0,
                jump: 0,
                grow: 0,
                retain: 0,
                burst: false,
                policies_change: false,
                without_ids: false,
                end: None,
            },
            plan: Plan {
                table_id: TABLE_IDS[0],
                shards: 1,
                max_latency: Duration::ZERO,
                memory: 1 << 20,
                until_end: false,
                latest: false,
                rivals_show: false,
                lost_one_in: 0,
                checkpoint_every: 100,
                silent: 0,
                group: None,
                bug: SourceBug::None,
                strict: true,
                letters: Some(LETTER_ROOTS[0]),
            },
            single: None,
            bugs: Bugs::default(),
        }
    }
}

/// Runs a seed to its end. The error says what is wrong with the table.
pub fn run(seed: u64, bugs: Bugs, traced: bool) -> Result<Tally, String> {
    let mut chance = Chance::new(seed);
    let setup = Setup::drawn(&mut chance, bugs);
    run_setup(chance, setup, traced)
}

/// Runs a world that is set up.
pub fn run_setup(chance: Chance, setup: Setup, traced: bool) -> Result<Tally, String> {
    let mut world = World::new(chance, setup, traced);
    world.store.note(|| format!("{:?} {:?}", world.setup.mix, world.setup.plan));
    let outcome = world.live();
    for line in world.store.take_trace() {
        eprintln!("{line}");
    }
    let (rebalances, put_out) = {
        let coordinator = world.coordinator.lock().unwrap();
        (coordinator.rebalances, coordinator.put_out)
    };
    outcome.map(|()| Tally {
        versions: world.oracle.versions(),
        checkpoints: world
            .store
            .names()
            .iter()
            .filter(|path| path.as_ref().ends_with(".checkpoint.parquet"))
            .count(),
        rebalances,
        put_out,
        operations: world.store.operations(),
        fingerprint: world.store.fingerprint(),
        ..world.tally
    })
}

impl World {
    fn new(mut chance: Chance, setup: Setup, traced: bool) -> World {
        let clock = Arc::new(SimClock::new(chance.fork()));
        let store = SimStore::new(
            chance.fork(),
            Arc::clone(&clock),
            setup.faults,
            setup.bugs.store,
            setup.single,
            traced,
        );
        let mut broker = Broker::new(!setup.mix.without_ids);
        for partition in 0..setup.mix.partitions {
            broker.add_partition(&mut chance);
            let count = chance.below(20);
            broker.produce(partition, count, &mut chance);
        }
        let broker = Arc::new(Mutex::new(broker));
        // Without a group nobody asks it anything.
        let terms = setup.plan.group.unwrap_or(group::Terms {
            eager: false,
            session: Duration::MAX,
            max_poll: Duration::MAX,
            wrongly_out_one_in: 0,
        });
        let coordinator =
            Coordinator::new(terms, Arc::clone(&clock), Arc::clone(&broker), chance.clone().fork());
        World {
            oracle: Oracle::new(setup.plan.latest),
            broker,
            coordinator: Arc::new(Mutex::new(coordinator)),
            running: Vec::new(),
            hand: None,
            hands: chance.clone().fork().fork(),
            started: 0,
            step: 0,
            healthy: false,
            tally: Tally::default(),
            chance,
            clock,
            store,
            setup,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        for step in 0..self.setup.mix.steps {
            self.step = step;
            self.something_happens()?;
            self.look()?;
        }
        self.settle_down()
    }

    fn look(&mut self) -> Result<(), String> {
        self.store.tick();
        let dead: Vec<usize> =
            (0..self.running.len()).filter(|&index| self.store.is_dead(&self.running[index].name)).collect();
        if self.hand.as_ref().is_some_and(|hand| self.store.is_dead(&hand.name)) {
            self.hand = None;
        }
        for index in dead.into_iter().rev() {
            self.kill(index);
        }
        self.oracle.observe(&self.store, &self.broker.lock().unwrap())?;
        self.group_goes_on()
    }

    /// The coordinator looks at its members; what it was told must stand in the table.
    fn group_goes_on(&mut self) -> Result<(), String> {
        let mut coordinator = self.coordinator.lock().unwrap();
        coordinator.look();
        for (number, told) in &coordinator.told {
            let txn = self.oracle.reached.get(number).copied().unwrap_or(-1);
            if *told > txn {
                return Err(format!(
                    "the group was told {told} of partition {number}, the table is at {txn}"
                ));
            }
        }
        Ok(())
    }

    fn kill(&mut self, index: usize) {
        self.tally.crashes += 1;
        let killed = self.running.remove(index);
        self.store.note(|| format!("{} is killed", killed.name));
    }

    fn something_happens(&mut self) -> Result<(), String> {
        let (crash, drain, stop, foreign, jump) = {
            let mix = &self.setup.mix;
            (mix.crash, mix.drain, mix.stop, mix.foreign, mix.jump)
        };
        self.the_end_comes();
        let moving = self.running.iter().filter(|instance| instance.stopped_for == 0).count();
        if moving < self.setup.mix.instances && self.chance.one_in(3) {
            let until_end = self.chance.one_in(3);
            self.start(until_end, self.setup.plan.lost_one_in);
        }
        self.by_hand()?;
        if self.running.is_empty() {
            return Ok(());
        }
        let index = self.chance.index(self.running.len());
        if self.chance.percent(crash) {
            self.kill(index);
            return Ok(());
        }
        if self.chance.percent(drain) {
            self.store.note(|| format!("{} is drained", self.running[index].name));
            self.running[index].drain();
        }
        if self.chance.percent(stop) {
            self.store.note(|| format!("{} stands still", self.running[index].name));
            self.running[index].stopped_for = 10 + self.chance.below(40) as u32;
        }
        if self.chance.percent(foreign) {
            self.another_writes();
        }
        if self.chance.percent(jump) {
            self.time_passes();
        }
        self.the_topic_changes();
        self.step(index)
    }

    /// A person begins something, or what was begun goes on or is killed.
    fn by_hand(&mut self) -> Result<(), String> {
        let Some(hand) = &mut self.hand else {
            // Nobody is asked to touch what must not be written.
            let is_over = self.oracle.is_over(&self.broker.lock().unwrap());
            if !is_over && self.hands.percent(self.setup.mix.hand) {
                let deed = hand::Deed::drawn(&mut self.hands, &self.broker);
                self.begin_by_hand(deed);
            }
            return Ok(());
        };
        if self.hands.percent(self.setup.mix.crash) {
            self.store.note(|| format!("{} is killed", hand.name));
            self.hand = None;
            return Ok(());
        }
        let table_id = hand.table_id;
        let Some(end) = hand.step() else { return self.look() };
        self.store.note(|| format!("{} ends: {end:?}", hand.name));
        self.hand = None;
        self.look()?;
        match end {
            Ok(_) => {
                self.tally.by_hand += 1;
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Usage || self.is_expected(error.kind, table_id) => Ok(()),
            Err(error) => Err(format!("by hand: {:?} {error}", error.kind)),
        }
    }

    fn begin_by_hand(&mut self, deed: hand::Deed) {
        self.started += 1;
        let name = format!("h{}", self.started);
        self.store.note(|| format!("{name} begins: {deed:?}"));
        let chance = self.hands.fork();
        self.hand = Some(Hand::start(
            name,
            deed,
            chance,
            &self.store,
            &self.clock,
            &self.broker,
            self.oracle.table_id,
        ));
    }

    fn time_passes(&mut self) {
        let days = if self.chance.one_in(4) { 7 } else { 0 };
        if days > 0 {
            self.store.age();
        }
        let time = Duration::from_secs(61 + days * 24 * 3600);
        self.store.note(|| format!("{time:?} pass"));
        self.clock.advance(time);
        if days > 0 && self.chance.one_in(2) {
            // Somebody keeps house meanwhile.
            for deed in [Deed::Append, Deed::Append, Deed::Checkpoint, Deed::CleanUp, Deed::Vacuum] {
                if self.setup.mix.deeds.contains(&deed) {
                    self.does(deed);
                }
            }
        }
    }

    fn the_topic_changes(&mut self) {
        let (mix, chance) = (&self.setup.mix, &mut self.chance);
        let mut broker = self.broker.lock().unwrap();
        if chance.one_in(4) {
            let partition = chance.index(broker.partitions.len());
            let count = 1 + chance.below(6);
            broker.produce(partition, count, chance);
            if chance.one_in(3) {
                broker.compact(chance);
            }
        }
        if chance.percent(mix.retain) {
            broker.retain(chance);
        }
        if mix.without_ids && chance.one_in(20) {
            broker.tell_ids();
        }
        if chance.percent(mix.grow) && broker.partitions.len() < 4 && !broker.was_created_again() {
            broker.add_partition(chance);
            let partition = broker.partitions.len() - 1;
            broker.produce(partition, 3, chance);
        }
    }

    /// What ends the run happens when its time has come and it can happen.
    fn the_end_comes(&mut self) {
        let Some((at, ending)) = self.setup.mix.end.filter(|(at, _)| *at <= self.step) else { return };
        match ending {
            Ending::CreatedAgain => {
                // A topic that had no id cannot be told from another one.
                if self.oracle.topic_id.as_deref() != Some("A") {
                    return;
                }
                let mut broker = self.broker.lock().unwrap();
                if self.step == at || self.chance.one_in(4) {
                    self.store.note(|| "the topic is deleted or created again".to_owned());
                    broker.delete_or_create(&mut self.chance);
                }
                if broker.was_created_again() {
                    self.setup.mix.end = None;
                }
            }
            Ending::Another(deed) => {
                if self.does(deed) {
                    self.setup.mix.end = None;
                    // What is cleaned up is not seen any more.
                    self.setup.mix.deeds.clear();
                }
            }
        }
    }

    fn start(&mut self, until_end: bool, lost_one_in: u64) {
        if self.broker.lock().unwrap().topic().is_none() {
            return;
        }
        self.started += 1;
        let name = format!("i{}", self.started);
        // A bounded run of a group is refused.
        let until_end = until_end && self.setup.plan.group.is_none();
        let table_id = self.table_id();
        let plan = Plan { until_end, lost_one_in, table_id, ..self.setup.plan.clone() };
        let plan = if self.setup.mix.policies_change { self.other_policies(plan) } else { plan };
        if plan.letters.is_none() {
            self.oracle.may_skip = true;
        }
        self.store.note(|| {
            format!(
                "{name} starts as {table_id}, until_end={} strict={} letters={:?}",
                plan.until_end, plan.strict, plan.letters
            )
        });
        let chance = self.chance.fork();
        let instance =
            Instance::start(name, plan, chance, &self.store, &self.clock, &self.broker, &self.coordinator);
        self.running.push(instance);
    }

    /// As the config names the table: now and then somebody forgot to change it.
    fn table_id(&mut self) -> &'static str {
        let is_other = !self.healthy && self.oracle.versions() > 0 && self.setup.mix.hand > 0;
        let is_other = is_other && self.hands.one_in(10);
        let ids = TABLE_IDS.into_iter();
        ids.into_iter().find(|id| (*id != self.oracle.table_id) == is_other).expect("there are two")
    }

    fn other_policies(&mut self, plan: Plan) -> Plan {
        let place = self.chance.index(LETTER_ROOTS.len() + 1);
        Plan { strict: self.chance.one_in(2), letters: LETTER_ROOTS.get(place).copied(), ..plan }
    }

    /// Moves an instance on; its end must be one that an operator may see.
    fn step(&mut self, index: usize) -> Result<(), String> {
        // A restart helps where a partition was lost, not where its records are gone.
        let helps = !self.oracle.is_out_of_reach(&self.broker.lock().unwrap());
        let restart = self.running[index].has_stopped_partition()
            && (helps || !self.healthy)
            && self.chance.one_in(if helps { 5 } else { 80 });
        let Some(end) = self.running[index].step() else {
            if restart {
                self.running.remove(index);
            }
            return Ok(());
        };
        let ended = self.running.remove(index);
        self.store.note(|| format!("{} ends: {end:?}", ended.name));
        self.coordinator.lock().unwrap().leave(&ended.name);
        self.look()?;
        match end {
            End::Done(offsets) => {
                self.tally.done += 1;
                for (source, offset) in offsets {
                    let txn = self.oracle.reached.get(&source.partition.0).copied().unwrap_or(-1);
                    if txn < offset.0 {
                        return Err(format!(
                            "{} ended at {source} {offset}, the table is at {txn}",
                            ended.name
                        ));
                    }
                }
                Ok(())
            }
            End::Failed(error) if self.is_expected(error.kind, ended.table_id()) => {
                if error.kind == ErrorKind::Fenced {
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

    /// Whether an operator may see this kind of error now.
    fn is_expected(&self, kind: ErrorKind, table_id: &str) -> bool {
        let broker = self.broker.lock().unwrap();
        match kind {
            ErrorKind::Fenced => true,
            ErrorKind::Unavailable => !self.healthy || self.setup.single.is_some(),
            // Also to who looked at the table under a table id that was not the one that went on then.
            ErrorKind::Disagree => {
                self.oracle.is_over(&broker)
                    || self.oracle.is_out_of_reach(&broker)
                    || self.oracle.table_id != table_id
                    || (self.oracle.handovers > 0 && !self.healthy)
            }
            ErrorKind::CannotWrite => self.oracle.over.is_some(),
            _ => false,
        }
    }

    /// Faults stop. One instance is left, and must commit all there is: one that goes on for ever, with
    /// partitions that move, or one that ends. A table that is to be written no more must be refused.
    fn settle_down(&mut self) -> Result<(), String> {
        self.running.clear();
        self.hand = None;
        self.store.heal();
        self.broker.lock().unwrap().settle(&mut self.chance);
        self.healthy = true;
        self.setup.plan.silent = 0;
        self.store.note(|| "faults stop".to_owned());
        self.coordinator.lock().unwrap().heal();
        let until_end = self.chance.one_in(2) && self.setup.plan.group.is_none();
        let (done_before, failed_before) = (self.tally.done, self.tally.failed);
        for _ in 0..LIVENESS_STEPS {
            if self.running.is_empty() {
                self.start(until_end, 0);
            }
            self.step(0)?;
            self.look()?;
            let broker = self.broker.lock().unwrap();
            let over = self.oracle.is_over(&broker);
            let has_all = self.oracle.has_all(&broker);
            if over && self.tally.done > done_before {
                return Err("a run ended well on a table that it must not write".to_owned());
            }
            let is_left = if over || self.oracle.is_out_of_reach(&broker) {
                self.tally.failed > failed_before || (!over && has_all.is_ok())
            } else {
                self.tally.done > done_before || (!until_end && has_all.is_ok())
            };
            if is_left {
                self.oracle.conclude(&self.store, &broker)?;
                return if over { Ok(()) } else { has_all };
            }
        }
        Err(format!("not all is committed after {LIVENESS_STEPS} steps"))
    }

    fn another_writes(&mut self) {
        if self.setup.mix.deeds.is_empty() {
            return;
        }
        let count = if self.setup.mix.burst { 120 } else { 1 };
        for _ in 0..count {
            let deed = self.setup.mix.deeds[self.chance.index(self.setup.mix.deeds.len())];
            self.does(if count > 1 { Deed::Append } else { deed });
        }
    }

    /// Another writer does something; true where it came to a new version.
    fn does(&mut self, deed: Deed) -> bool {
        let store = self.store.sure();
        let (oracle, clock, chance) = (&self.oracle, &*self.clock, &mut self.chance);
        let landed = Foreign { store: &store, oracle, clock, chance }.does(deed);
        self.tally.foreign += usize::from(landed);
        // What is wrong is told again at the next look.
        let _ = self.oracle.observe(&self.store, &self.broker.lock().unwrap());
        landed
    }
}
