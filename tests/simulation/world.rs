//! One history from one seed: a broker, a store, instances that come and go,
//! other writers, a group's coordinator, and what happens to them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::error::ErrorKind;

use object_store::path::Path;

use crate::administrator::{self, ManualClock};
use crate::broker::{Broker, SharedBroker};
use crate::chance::Chance;
use crate::finding::{Class, Finding};
use crate::foreign::{Deed, Foreign, TO_DEAD_LETTERS};
use crate::group::{self, Coordinator, SharedCoordinator};
use crate::instance::{End, Instance, Plan};
use crate::oracle::{DEAD_LETTER_ROOTS, Oracle, ROOT, TABLE_IDS};
use crate::setup::{Bugs, Ending, Setup};
use crate::store::SimStore;
use crate::time::SimClock;

/// Slices after which a healthy instance must have committed everything.
const LIVENESS_STEPS: u32 = 4_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

type Outcome<T = ()> = Result<T, Finding>;

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
    pub offset_overrides: usize,
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
    hand: Option<ManualClock>,
    /// What a person does is drawn apart: without it the rest is the same.
    admin: Chance,
    started: u32,
    step: u64,
    /// Files that other writers are about to remove, one in a step.
    to_remove: VecDeque<Path>,
    /// No fault happens any more.
    healthy: bool,
    /// Who was started when no fault happened any more, and who of them ran beside nobody.
    fresh: BTreeSet<String>,
    alone: BTreeSet<String>,
    /// Who ran while records were gone that the table did not have: it may have looked then.
    out_of_reach: BTreeSet<String>,
    /// Of the fresh ones, who ended well and who did not.
    fresh_done: usize,
    fresh_failed: usize,
    tally: Tally,
}

/// Runs a seed to its end. The error says what is wrong with the table.
pub fn run(seed: u64, bugs: Bugs, traced: bool) -> Outcome<Tally> {
    let mut chance = Chance::new(seed);
    let setup = Setup::drawn(&mut chance, bugs);
    run_setup(chance, setup, traced)
}

/// Runs a world that is set up.
pub fn run_setup(chance: Chance, setup: Setup, traced: bool) -> Outcome<Tally> {
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
        versions: world.oracle.log.len(),
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
        let mut broker = Broker::new(!setup.mix.without_ids, setup.mix.is_doubtful);
        for partition in 0..setup.mix.partitions {
            broker.add_partition(&mut chance);
            let count = chance.below(20);
            broker.produce(partition, count, &mut chance);
        }
        let broker = Arc::new(Mutex::new(broker));
        // Without a group nobody asks it anything.
        let options = setup.plan.group.unwrap_or(group::GroupSettings {
            eager: false,
            session: Duration::MAX,
            max_poll: Duration::MAX,
            wrongly_out_one_in: 0,
            deaf: 0,
        });
        let coordinator =
            Coordinator::new(options, Arc::clone(&clock), Arc::clone(&broker), chance.clone().fork());
        World {
            oracle: Oracle::new(setup.plan.latest),
            broker,
            coordinator: Arc::new(Mutex::new(coordinator)),
            running: Vec::new(),
            hand: None,
            admin: chance.clone().fork().fork(),
            started: 0,
            step: 0,
            to_remove: VecDeque::new(),
            healthy: false,
            fresh: BTreeSet::new(),
            alone: BTreeSet::new(),
            out_of_reach: BTreeSet::new(),
            fresh_done: 0,
            fresh_failed: 0,
            tally: Tally::default(),
            chance,
            clock,
            store,
            setup,
        }
    }

    fn live(&mut self) -> Outcome {
        for step in 0..self.setup.mix.steps {
            self.step = step;
            self.something_happens()?;
            self.look()?;
        }
        self.calm_down()
    }

    fn look(&mut self) -> Outcome {
        self.store.tick();
        if self.setup.mix.cleans_between == 0
            && self.chance.one_in(3)
            && let Some(path) = self.to_remove.pop_front()
        {
            self.store.sure().remove(&path);
        }
        let dead: Vec<usize> =
            (0..self.running.len()).filter(|&index| self.store.is_dead(&self.running[index].name)).collect();
        if self.hand.as_ref().is_some_and(|hand| self.store.is_dead(&hand.name)) {
            self.hand = None;
        }
        for index in dead.into_iter().rev() {
            self.kill(index);
        }
        let dead_letters = self.oracle.dead_letters.versions();
        self.oracle.observe(&self.store, &self.broker.lock().unwrap())?;
        if self.oracle.dead_letters.versions() > dead_letters && !self.running.is_empty() {
            self.dead_letters_came();
        }
        if self.setup.mix.stop_over_dead_letters > 0 {
            self.dead_letters_are_taken_over();
        }
        self.group_goes_on()
    }

    fn dead_letters_came(&mut self) {
        let index = self.chance.index(self.running.len());
        if self.chance.percent(self.setup.mix.stop_after_dead_letters) {
            self.stands_still(index);
        } else if self.chance.percent(self.setup.mix.crash_after_dead_letters) {
            self.kill(index);
        }
    }

    /// Who has just looked which dead letters there are may stand still before it claims them.
    fn dead_letters_are_taken_over(&mut self) {
        for who in self.store.take_listed(&DEAD_LETTER_ROOTS) {
            let index = self.running.iter().position(|instance| instance.name == who);
            if let Some(index) = index.filter(|_| self.chance.percent(self.setup.mix.stop_over_dead_letters))
            {
                self.stands_still(index);
            }
        }
    }

    fn stands_still(&mut self, index: usize) {
        self.store.note(|| format!("{} stands still", self.running[index].name));
        self.running[index].stopped_for = 10 + self.chance.below(40) as u32;
    }

    /// The coordinator looks at its members; what it was told must stand in the table.
    fn group_goes_on(&mut self) -> Outcome {
        let mut coordinator = self.coordinator.lock().unwrap();
        coordinator.look();
        for ((topic_id, partition), told) in &coordinator.told {
            let txn = self.oracle.reached(topic_id, *partition);
            if *told > txn {
                return Err(Finding::from(format!(
                    "the group was told {told} of partition {partition}, the table is at {txn}"
                )));
            }
        }
        Ok(())
    }

    fn kill(&mut self, index: usize) {
        self.tally.crashes += 1;
        let killed = self.running.remove(index);
        self.store.note(|| format!("{} is killed", killed.name));
    }

    fn something_happens(&mut self) -> Outcome {
        let (crash, drain, stop, foreign, offset_override) = {
            let mix = &self.setup.mix;
            (mix.crash, mix.drain, mix.stop, mix.foreign, mix.offset_override)
        };
        self.the_end_comes();
        let moving = self.running.iter().filter(|instance| instance.stopped_for == 0).count();
        if moving < self.setup.mix.instances && self.chance.one_in(3) {
            let until_end = self.chance.one_in(3);
            self.start(until_end, self.setup.plan.lost_one_in);
        }
        self.offset_overrides()?;
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
            self.stands_still(index);
        }
        if self.chance.percent(foreign) {
            self.another_writes();
        }
        if self.chance.percent(offset_override) {
            self.time_passes();
        }
        self.the_topic_changes();
        self.step(index)
    }

    /// A person begins something, or what was begun goes on or is killed.
    fn offset_overrides(&mut self) -> Outcome {
        let Some(hand) = &mut self.hand else {
            // Nobody is asked to touch what must not be written.
            let is_new = self.oracle.is_of_a_former_topic(&self.broker.lock().unwrap());
            let may = self.oracle.over.is_none();
            if may && self.admin.percent(self.setup.mix.hand) {
                let deed = match self.setup.mix.only_replays {
                    _ if is_new => administrator::Deed::adoption_of_the_new_topic(&mut self.admin),
                    true => administrator::Deed::Replay { strict: false, root: DEAD_LETTER_ROOTS[0] },
                    false => administrator::Deed::drawn(&mut self.admin, &self.broker),
                };
                self.begin_by_an_administrator(deed, is_new);
            }
            return Ok(());
        };
        if self.admin.percent(self.setup.mix.crash) {
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
                self.tally.offset_overrides += 1;
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Usage || self.is_expected(error.kind, table_id, false) => {
                Ok(())
            }
            Err(error) => Err(Finding::ended("by hand", &error)),
        }
    }

    fn begin_by_an_administrator(&mut self, deed: administrator::Deed, is_new: bool) {
        self.started += 1;
        let name = format!("h{}", self.started);
        self.store.note(|| format!("{name} begins: {deed:?}"));
        let chance = self.admin.fork();
        // A new topic may be adopted by who had the one before.
        let is_other = deed.adopts() && !(is_new && self.admin.one_in(2));
        let mut ids = TABLE_IDS.into_iter();
        let table_id = ids.find(|id| (*id != self.oracle.table_id) == is_other).expect("there are two");
        self.hand =
            Some(ManualClock::start(name, deed, chance, &self.store, &self.clock, &self.broker, table_id));
    }

    fn time_passes(&mut self) {
        let weeks = if self.chance.one_in(4) { 1 + self.chance.below(4) } else { 0 };
        self.store.note(|| format!("a minute and {weeks} weeks pass"));
        if weeks > 0 {
            self.store.age();
        }
        self.clock.advance(Duration::from_secs(61));
        for _ in 0..weeks {
            self.finish_removing();
            self.clock.advance(7 * DAY);
            if self.chance.one_in(2) {
                self.somebody_keeps_house();
            }
        }
        // Others may still be at it when one goes on that stood still.
        if weeks > 0 && self.chance.one_in(2) {
            let index = self.chance.index(self.running.len());
            self.stands_still(index);
        }
    }

    /// A clean-up that was begun long ago has come to its end.
    fn finish_removing(&mut self) {
        for path in std::mem::take(&mut self.to_remove).into_iter().chain(self.store.take_going()) {
            self.store.sure().remove(&path);
        }
    }

    fn somebody_keeps_house(&mut self) {
        for deed in [Deed::Append, Deed::Append, Deed::Checkpoint, Deed::CleanUp, Deed::Vacuum] {
            if self.setup.mix.deeds.contains(&deed) {
                self.does(deed, ROOT);
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
                // A topic that had no id cannot be told from another one, nor by who began when it had none.
                let mut began_before = self.running.iter().filter(|instance| instance.knows_no_topic_id());
                if self.oracle.topic_id.as_deref() != Some("A") || began_before.next().is_some() {
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
                if self.does(deed, ROOT) {
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
        if plan.dead_letters.is_none() {
            self.oracle.may_skip = true;
        }
        self.store.note(|| {
            format!(
                "{name} starts as {table_id}, until_end={} strict={} letters={:?}",
                plan.until_end, plan.strict, plan.dead_letters
            )
        });
        if self.healthy {
            self.fresh.insert(name.clone());
            if self.running.is_empty() && !self.store.has_pending() {
                self.alone.insert(name.clone());
            }
        }
        let chance = self.chance.fork();
        let instance =
            Instance::start(name, plan, chance, &self.store, &self.clock, &self.broker, &self.coordinator);
        self.running.push(instance);
    }

    /// As the config names the table: now and then somebody forgot to change it.
    fn table_id(&mut self) -> &'static str {
        let is_other = !self.healthy && self.oracle.log.len() > 0 && self.setup.mix.hand > 0;
        let is_other = is_other && self.admin.one_in(10);
        let mut ids = TABLE_IDS.into_iter();
        ids.find(|id| (*id != self.oracle.table_id) == is_other).expect("there are two")
    }

    fn other_policies(&mut self, plan: Plan) -> Plan {
        let place = self.chance.index(DEAD_LETTER_ROOTS.len() + 1);
        Plan { strict: self.chance.one_in(2), dead_letters: DEAD_LETTER_ROOTS.get(place).copied(), ..plan }
    }

    /// Moves an instance on; its end must be one that an operator may see.
    fn step(&mut self, index: usize) -> Outcome {
        // A restart helps where a partition was lost, not where its records are gone.
        let helps = !self.oracle.is_out_of_reach(&self.broker.lock().unwrap());
        if !helps {
            self.out_of_reach.insert(self.running[index].name.clone());
        }
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
        let is_fresh = self.fresh.contains(&ended.name);
        match end {
            End::Done(offsets) => {
                self.tally.done += 1;
                self.fresh_done += usize::from(is_fresh);
                for (source, offset) in offsets {
                    let txn = self.oracle.reached(&source.topic_id.0, source.partition.0);
                    if txn < offset.0 {
                        return Err(Finding::from(format!(
                            "{} ended at {source} {offset}, the table is at {txn}",
                            ended.name
                        )));
                    }
                }
                Ok(())
            }
            End::Failed(error)
                if self.may_end(&ended, error.kind)
                    // What lands late, or is overridden, may settle what was out of its reach.
                    || (error.kind == ErrorKind::Disagree && self.out_of_reach.contains(&ended.name)) =>
            {
                // Whoever gave way to a late commit of one that was killed is started again.
                self.fresh_failed += usize::from(is_fresh && error.kind != ErrorKind::Fenced);
                if error.kind == ErrorKind::Fenced {
                    self.tally.fenced += 1;
                } else {
                    self.tally.failed += 1;
                }
                Ok(())
            }
            End::Failed(error) => Err(Finding::ended(&ended.name, &error)),
            End::Panicked(why) => {
                Err(Finding { class: Class::Panicked, said: format!("{} panicked: {why}", ended.name) })
            }
        }
    }

    /// Whether an operator may see this instance end so.
    fn may_end(&self, ended: &Instance, kind: ErrorKind) -> bool {
        let name = &ended.name;
        match kind {
            // Nobody fences who is alone.
            ErrorKind::Fenced => !self.alone.contains(name),
            kind => self.is_expected(kind, ended.table_id(), self.fresh.contains(name)),
        }
    }

    /// Whether an operator may see this kind of error now.
    fn is_expected(&self, kind: ErrorKind, table_id: &str, is_fresh: bool) -> bool {
        let broker = self.broker.lock().unwrap();
        match kind {
            ErrorKind::Fenced => true,
            // Who was there before may have asked when the store did not answer.
            ErrorKind::Unavailable => !is_fresh || self.setup.single.is_some(),
            // Also to who looked at the table under a table id that was not the one that went on then.
            ErrorKind::Disagree => {
                self.oracle.is_over(&broker)
                    || self.oracle.is_out_of_reach(&broker)
                    || self.oracle.may_stop_over_dead_letters()
                    || self.oracle.table_id != table_id
                    || (self.oracle.identity_transfers > 0 && !is_fresh)
            }
            ErrorKind::CannotWrite => self.oracle.over.is_some(),
            _ => false,
        }
    }

    /// Faults stop. Whoever runs goes on, or one new instance does, for ever or to the end: all there is
    /// must be committed. A table that is to be written no more must be refused.
    fn calm_down(&mut self) -> Outcome {
        self.hand = None;
        self.store.heal();
        self.broker.lock().unwrap().calm_down(&mut self.chance);
        // Who has nothing more to commit does not look whether it may.
        let broker = self.broker.lock().unwrap();
        let is_stopped = self.oracle.is_over(&broker) || self.oracle.is_out_of_reach(&broker);
        drop(broker);
        if !self.setup.mix.live_on || is_stopped {
            self.running.clear();
        }
        self.healthy = true;
        self.setup.plan.silent = 0;
        self.store.note(|| "faults stop".to_owned());
        self.coordinator.lock().unwrap().heal();
        let until_end = self.chance.one_in(2) && self.setup.plan.group.is_none();
        for _ in 0..LIVENESS_STEPS {
            if self.running.is_empty() {
                self.start(until_end, 0);
            }
            let index = self.chance.index(self.running.len());
            self.step(index)?;
            self.look()?;
            if let Some(end) = self.is_through(until_end) {
                self.finish_removing();
                self.oracle.conclude(&self.store, &self.broker.lock().unwrap())?;
                return end;
            }
        }
        let lacks = self.oracle.has_all(&self.broker.lock().unwrap()).err().unwrap_or_default();
        Err(Finding::from(format!("not all is committed after {LIVENESS_STEPS} steps: {lacks}")))
    }

    /// What the world has come to, if nothing more will happen in it.
    fn is_through(&self, until_end: bool) -> Option<Outcome> {
        let broker = self.broker.lock().unwrap();
        if self.oracle.is_over(&broker) {
            let wrong = || Err("a run ended well on a table that it must not write".to_owned().into());
            return if self.fresh_done > 0 {
                Some(wrong())
            } else {
                (self.fresh_failed > 0).then_some(Ok(()))
            };
        }
        if self.oracle.may_stop_over_dead_letters() && self.fresh_failed > 0 {
            return Some(Ok(()));
        }
        let has_all = self.oracle.has_all(&broker).map_err(Finding::from);
        let has_ended = match until_end {
            // Who is to end does, unless it cannot read on, or was there before.
            true => self.fresh_done > 0 || self.fresh.is_empty(),
            false => true,
        };
        let is_left = match self.oracle.is_out_of_reach(&broker) {
            true => self.fresh_failed > 0 || has_all.is_ok(),
            false => self.fresh_done > 0 || (has_ended && has_all.is_ok()),
        };
        is_left.then_some(has_all)
    }

    fn another_writes(&mut self) {
        if self.setup.mix.deeds.is_empty() {
            return;
        }
        let count = if self.setup.mix.burst { 120 } else { 1 };
        for _ in 0..count {
            let deed = self.setup.mix.deeds[self.chance.index(self.setup.mix.deeds.len())];
            let deed = if count > 1 { Deed::Append } else { deed };
            let of_dead_letters = TO_DEAD_LETTERS.contains(&deed) && self.chance.one_in(4);
            let root = if of_dead_letters {
                DEAD_LETTER_ROOTS[self.chance.index(DEAD_LETTER_ROOTS.len())]
            } else {
                ROOT
            };
            self.does(deed, root);
        }
    }

    /// Another writer does something to one of the tables; true where it came to a new version.
    fn does(&mut self, deed: Deed, root: &str) -> bool {
        let store = self.store.sure();
        let log = self.oracle.log_of(root);
        log.others_clean_up |= deed == Deed::CleanUp;
        let (oracle, clock, chance) = (&self.oracle, &*self.clock, &mut self.chance);
        let log = oracle.logs().find(|log| log.root == root).expect("one of them");
        let done = Foreign { store: &store, log, named: &oracle.named, clock, chance }.does(deed);
        match self.setup.mix.cleans_between {
            0 => self.to_remove.extend(done.to_remove),
            percent => self.store.will_go(done.to_remove, percent),
        }
        self.tally.foreign += usize::from(done.landed);
        // What is wrong is told again at the next look.
        let _ = self.oracle.observe(&self.store, &self.broker.lock().unwrap());
        done.landed
    }
}
