//! A consumer group's coordinator, and a seat in the group for each shard.
//!
//! It owns who is assigned what, when members are asked to give partitions
//! up, and when a silent one is out. What a member makes of it is the real
//! `member::Delegate` and `protocol::membership`.
//!
//! | the coordinator | as in Kafka |
//! |---|---|
//! | cooperative | only what goes to another member is revoked, and assigned once it is given up |
//! | eager | everything of everybody is revoked, then everything is assigned |
//! | out | who is silent for the session's time, or does not give up in time, loses all: others are assigned it at once, and it hears so when it asks again |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::clock::Clock;
use thalweg::error::Result;
use thalweg::ids::{Offset, Partition};
use thalweg::source::group::{Decision, GroupPartition, Seat};

use crate::broker::SharedBroker;
use crate::chance::Chance;
use crate::oracle::TOPIC;
use crate::time::SimClock;

/// How a group is run.
#[derive(Clone, Copy, Debug)]
pub struct GroupSettings {
    pub eager: bool,
    /// Who is silent for so long is out.
    pub session: Duration,
    /// Who does not give up in this time is out.
    pub max_poll: Duration,
    /// A member is put out for no reason, once in so many looks; 0: never.
    pub wrongly_out_one_in: u64,
    /// What is decided takes its time to be heard: so many questions in a hundred bring nothing.
    pub deaf: u64,
}

pub struct Coordinator {
    options: GroupSettings,
    clock: Arc<SimClock>,
    broker: SharedBroker,
    chance: Chance,
    members: BTreeMap<u64, Member>,
    joined: u64,
    /// Partitions are to be shared out anew.
    due: bool,
    /// Everybody gives everything up first.
    collecting: bool,
    /// What the group was told last, by the topic's id as the one who told knew it.
    pub told: BTreeMap<(String, i32), i64>,
    pub rebalances: usize,
    pub put_out: usize,
}

pub type SharedCoordinator = Arc<Mutex<Coordinator>>;

struct Member {
    process: String,
    /// As the coordinator has it.
    owned: BTreeSet<i32>,
    /// As the member was told.
    believed: BTreeSet<i32>,
    /// Since when it is asked to give these up.
    asked: Option<(Duration, BTreeSet<i32>)>,
    unheard: VecDeque<Decision>,
    seen: Duration,
    is_out: bool,
}

fn places(partitions: &BTreeSet<i32>) -> Vec<GroupPartition> {
    partitions.iter().map(|&number| (TOPIC.to_owned(), Partition(number))).collect()
}

fn numbers(places: &[GroupPartition]) -> BTreeSet<i32> {
    places.iter().map(|(_, partition)| partition.0).collect()
}

impl Coordinator {
    pub fn new(
        options: GroupSettings,
        clock: Arc<SimClock>,
        broker: SharedBroker,
        chance: Chance,
    ) -> Coordinator {
        Coordinator {
            options,
            clock,
            broker,
            chance,
            members: BTreeMap::new(),
            joined: 0,
            due: false,
            collecting: false,
            told: BTreeMap::new(),
            rebalances: 0,
            put_out: 0,
        }
    }

    /// A process's members leave in order.
    pub fn leave(&mut self, process: &str) {
        let before = self.members.len();
        self.members.retain(|_, member| member.process != process);
        self.due |= self.members.len() != before;
    }

    /// Nobody is put out wrongly any more, nor for being slow.
    pub fn heal(&mut self) {
        let long = Duration::from_secs(10);
        self.options =
            GroupSettings { session: long, max_poll: long, wrongly_out_one_in: 0, deaf: 0, ..self.options };
    }

    /// Puts out who is silent or late, and shares out what is free.
    pub fn look(&mut self) {
        let now = self.clock.boot();
        let one_in = self.options.wrongly_out_one_in;
        for member in self.members.values_mut().filter(|member| !member.is_out) {
            let is_silent = now.saturating_sub(member.seen) > self.options.session;
            let is_late = member
                .asked
                .as_ref()
                .is_some_and(|(since, _)| now.saturating_sub(*since) > self.options.max_poll);
            if is_silent || is_late || (one_in > 0 && self.chance.one_in(one_in)) {
                member.put_out();
                self.put_out += 1;
                self.due = true;
            }
        }
        if self.due {
            self.share_out(now);
        }
    }

    fn share_out(&mut self, now: Duration) {
        let all: BTreeSet<i32> = (0..self.broker.lock().unwrap().partitions.len() as i32).collect();
        if self.options.eager && !self.collecting && self.members.values().any(Member::has_something) {
            self.collecting = true;
            for member in self.members.values_mut().filter(|member| !member.is_out) {
                let everything = member.owned.clone();
                member.ask(everything, now);
            }
        }
        if self.collecting && self.members.values().any(Member::has_something) {
            return;
        }
        self.collecting = false;
        let target = self.target(&all);
        let owned: BTreeSet<i32> =
            self.members.values().flat_map(|member| member.owned.iter().copied()).collect();
        let (mut is_stable, mut is_new) = (true, false);
        for (id, member) in &mut self.members {
            let Some(wanted) = target.get(id) else { continue };
            let gone: BTreeSet<i32> = member.owned.difference(wanted).copied().collect();
            is_stable &= gone.is_empty();
            if !gone.is_empty() && member.asked.is_none() {
                member.ask(gone, now);
            }
            let fresh: BTreeSet<i32> = wanted.difference(&owned).copied().collect();
            is_stable &= wanted.iter().all(|of| member.owned.contains(of) || fresh.contains(of));
            if !fresh.is_empty() || self.options.eager {
                member.owned.extend(&fresh);
                member.unheard.push_back(Decision::Assigned(places(&fresh)));
                is_new = true;
            }
        }
        self.rebalances += usize::from(is_new);
        self.due = !is_stable;
    }

    /// Who is to have what: as even as can be, and where it is if that is as good.
    fn target(&mut self, all: &BTreeSet<i32>) -> BTreeMap<u64, BTreeSet<i32>> {
        let live: Vec<u64> =
            self.members.iter().filter(|(_, member)| !member.is_out).map(|(id, _)| *id).collect();
        let mut target: BTreeMap<u64, BTreeSet<i32>> = live.iter().map(|id| (*id, BTreeSet::new())).collect();
        if live.is_empty() {
            return target;
        }
        let most = all.len().div_ceil(live.len());
        let mut free = Vec::new();
        for &partition in all {
            let owner = live.iter().find(|id| self.members[id].owned.contains(&partition));
            match owner.filter(|id| target[id].len() < most) {
                Some(owner) => drop(target.get_mut(owner).unwrap().insert(partition)),
                None => free.push(partition),
            }
        }
        for partition in free {
            let least = *target.iter().min_by_key(|(_, has)| has.len()).unwrap().0;
            target.get_mut(&least).unwrap().insert(partition);
        }
        target
    }
}

impl Member {
    fn has_something(&self) -> bool {
        !self.is_out && !self.owned.is_empty()
    }

    fn ask(&mut self, partitions: BTreeSet<i32>, now: Duration) {
        if !partitions.is_empty() {
            self.unheard.push_back(Decision::Revoked(places(&partitions)));
            self.asked = Some((now, partitions));
        }
    }

    /// Others may have what it had; it hears so the next time that it asks.
    fn put_out(&mut self) {
        self.is_out = true;
        self.owned.clear();
        // What it was heard to give up is given up by itself.
        let in_hand = match self.asked.take() {
            Some((_, asked)) if !self.unheard.iter().any(|of| matches!(of, Decision::Revoked(_))) => asked,
            _ => BTreeSet::new(),
        };
        self.unheard.clear();
        let rest: BTreeSet<i32> = self.believed.difference(&in_hand).copied().collect();
        self.unheard.push_back(Decision::Lost(places(&rest)));
    }
}

/// One shard's place in the group.
pub struct SimSeat {
    coordinator: SharedCoordinator,
    id: u64,
    topic_id: String,
}

impl SimSeat {
    pub fn join(coordinator: &SharedCoordinator, process: &str, topic_id: &str) -> SimSeat {
        let mut inner = coordinator.lock().unwrap();
        inner.joined += 1;
        inner.due = true;
        let id = inner.joined;
        let member = Member {
            process: process.to_owned(),
            owned: BTreeSet::new(),
            believed: BTreeSet::new(),
            asked: None,
            unheard: VecDeque::new(),
            seen: inner.clock.boot(),
            is_out: false,
        };
        inner.members.insert(id, member);
        drop(inner);
        SimSeat { coordinator: Arc::clone(coordinator), id, topic_id: topic_id.to_owned() }
    }
}

impl Seat for SimSeat {
    fn subscribe(&self, _topics: &BTreeSet<String>) -> Result<()> {
        Ok(())
    }

    fn poll(&self, _wait: Duration) -> Result<Option<Decision>> {
        let mut inner = self.coordinator.lock().unwrap();
        let now = inner.clock.boot();
        let session = inner.options.session;
        // The session may have ended while nobody looked.
        if inner
            .members
            .get(&self.id)
            .is_some_and(|member| !member.is_out && now.saturating_sub(member.seen) > session)
        {
            inner.look();
        }
        let deaf = inner.options.deaf;
        let is_heard = !inner.chance.one_in(3) && (deaf == 0 || !inner.chance.percent(deaf));
        let Some(member) = inner.members.get_mut(&self.id) else { return Ok(None) };
        member.seen = now;
        if !is_heard {
            return Ok(None);
        }
        let decision = member.unheard.pop_front();
        if let Some(Decision::Assigned(places)) = &decision {
            member.believed.extend(numbers(places));
        }
        Ok(decision)
    }

    fn is_lost(&self) -> bool {
        self.coordinator.lock().unwrap().members.get(&self.id).is_none_or(|member| member.is_out)
    }

    fn accept(&self, _places: &[GroupPartition]) -> Result<()> {
        Ok(())
    }

    fn give_up(&self, places: &[GroupPartition]) -> Result<()> {
        let mut inner = self.coordinator.lock().unwrap();
        inner.due = true;
        let Some(member) = inner.members.get_mut(&self.id) else { return Ok(()) };
        for number in numbers(places) {
            member.believed.remove(&number);
            member.owned.remove(&number);
        }
        member.asked = None;
        // Who is out joins again once it holds nothing and has nothing to hear.
        if member.is_out && member.unheard.is_empty() {
            member.is_out = false;
            member.believed.clear();
        }
        Ok(())
    }

    fn tell(&self, offsets: &BTreeMap<GroupPartition, Offset>) {
        let mut inner = self.coordinator.lock().unwrap();
        let named = |((_, partition), offset): (&GroupPartition, &Offset)| {
            ((self.topic_id.clone(), partition.0), offset.0)
        };
        inner.told.extend(offsets.iter().map(named));
    }
}
