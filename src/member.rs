//! One shard's membership in the consumer group: a thread of its own.
//!
//! It owns the loop between the group and the shard: what the group decides
//! becomes messages to the shard, what the shard is through with is given up,
//! and the table's offsets are told to the group now and then. It decides
//! nothing: that is `protocol::membership`. A shard that is busy, or waits for
//! its store, keeps its membership, because this thread answers the group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::config::{Group, Kafka};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ToShard;
use crate::ids::{NextOffsets, Offset, Partition, TopicPartition};
use crate::metrics;
use crate::protocol::membership::{Act, AssignmentEpoch, Membership, Told, drain_timeout};
use crate::source::group::{Decision, GroupPartition, Member, Seat};

/// How long a decision, or the end of a hand-over, may go unseen.
const POLL_WAIT: Duration = Duration::from_millis(20);
/// How often offsets are told to the group.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The group may have missed something: all of it is told again.
const TELL_ALL_EVERY: Duration = Duration::from_secs(30);
/// A hand-over takes no longer than a drain.
const HAND_OVER_MAX: Duration = Duration::from_secs(9);
/// How long the end waits for the group to hear the last offsets.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What a topic is to us.
#[derive(Clone, Debug)]
pub struct Known {
    pub table: usize,
    /// One of each partition that the table has an offset for.
    pub sources: BTreeMap<Partition, TopicPartition>,
    /// Partitions that nobody can read on.
    pub stopped: BTreeSet<Partition>,
    /// Where the table stands, as its committer says.
    pub next_offsets: watch::Receiver<NextOffsets>,
}

/// What everybody's membership is about.
pub struct GroupSettings {
    pub group: Group,
    pub topics: BTreeMap<String, Known>,
    pub clock: SharedClock,
}

/// What a member tells the ingester, each at most once.
#[derive(Debug)]
pub enum News {
    /// The group assigns a partition that nobody has an offset for, or what it assigns cannot be taken:
    /// all must begin again.
    Outdated,
    Ended(Result<()>),
}

/// The members of this process. They leave when this is dropped.
pub struct Members {
    pub news: Receiver<News>,
    running: usize,
    /// For each member the topics that it is to leave to others. Closed, it leaves the group.
    renounced: Vec<Sender<String>>,
}

impl Members {
    /// Where every partition is read by us.
    pub fn none() -> Members {
        Members { news: crossbeam_channel::never(), running: 0, renounced: Vec::new() }
    }

    /// Joins the group once for each shard; `left` is where a shard says what it is through with.
    pub fn join(
        kafka: &Kafka,
        settings: GroupSettings,
        shards: &[Sender<ToShard>],
        left: Vec<Receiver<(usize, TopicPartition, AssignmentEpoch)>>,
    ) -> Result<Members> {
        let settings = std::sync::Arc::new(settings);
        let (news_out, news) = bounded(2 * shards.len());
        let topics: BTreeSet<String> = settings.topics.keys().cloned().collect();
        let mut renounced = Vec::new();
        for (index, (shard, left)) in shards.iter().zip(left).enumerate() {
            let (renounce, renounces) = bounded(topics.len());
            renounced.push(renounce);
            let member = Member::join(kafka, &settings.group, index, &topics)?;
            let dependencies =
                MemberDependencies { shard: shard.clone(), left, renounces, news: news_out.clone() };
            let delegate = Delegate::new(member, std::sync::Arc::clone(&settings), index, dependencies);
            let news = news_out.clone();
            std::thread::Builder::new()
                .name(format!("member-{index}"))
                .spawn(move || {
                    let outcome = delegate.run();
                    // There is room for the end of each.
                    let _ = news.try_send(News::Ended(outcome));
                })
                .map_err(|error| {
                    Error::new(ErrorKind::Io, format!("a member's thread cannot start: {error}"))
                })?;
        }
        Ok(Members { news, running: shards.len(), renounced })
    }

    /// Leaves a topic to other processes: its table goes no further here.
    pub fn renounce(&self, topic: &str) {
        for member in &self.renounced {
            // There is room for every topic; a member that has ended has nothing.
            let _ = member.try_send(topic.to_owned());
        }
    }

    /// One has ended.
    pub fn ended(&mut self) {
        self.running -= 1;
    }

    /// Has all of them leave the group, within a time: a broker that is down is not waited for.
    pub fn leave(mut self, timeout: Duration) {
        self.renounced.clear();
        let deadline = crossbeam_channel::after(timeout);
        while self.running > 0 {
            crossbeam_channel::select! {
                recv(self.news) -> news => match news {
                    Ok(News::Ended(_)) => self.running -= 1,
                    Ok(News::Outdated) => {}
                    Err(_) => return,
                },
                recv(deadline) -> _ => {
                    warn!("the group does not hear that this process leaves; it will notice");
                    return;
                }
            }
        }
    }
}

/// The ends of what connects a member with its shard and the ingester.
pub struct MemberDependencies {
    pub shard: Sender<ToShard>,
    /// Where the shard says what it is through with.
    pub left: Receiver<(usize, TopicPartition, AssignmentEpoch)>,
    /// Topics that are left to others. Closed: it leaves the group.
    pub renounces: Receiver<String>,
    pub news: Sender<News>,
}

/// Stands between the group and one shard.
pub struct Delegate<M> {
    member: M,
    topics: BTreeSet<String>,
    renounces: Receiver<String>,
    membership: Membership<GroupPartition>,
    settings: std::sync::Arc<GroupSettings>,
    shard: Sender<ToShard>,
    left: Receiver<(usize, TopicPartition, AssignmentEpoch)>,
    /// What the group was told last.
    told: BTreeMap<GroupPartition, Offset>,
    tell_at: Duration,
    tell_all_at: Duration,
    index: usize,
    /// Gone once it has said what there is to say.
    news: Option<Sender<News>>,
}

impl<M: Seat> Delegate<M> {
    pub fn new(
        member: M,
        settings: std::sync::Arc<GroupSettings>,
        index: usize,
        dependencies: MemberDependencies,
    ) -> Delegate<M> {
        let timeout = drain_timeout(settings.group.session, settings.group.max_poll, HAND_OVER_MAX);
        let MemberDependencies { shard, left, renounces, news } = dependencies;
        Delegate {
            member,
            topics: settings.topics.keys().cloned().collect(),
            renounces,
            membership: Membership::new(timeout),
            settings,
            shard,
            left,
            told: BTreeMap::new(),
            tell_at: Duration::ZERO,
            tell_all_at: Duration::ZERO,
            index,
            news: Some(news),
        }
    }

    fn run(mut self) -> Result<()> {
        while self.turn(POLL_WAIT)? {}
        self.told.clear();
        self.tell_offsets();
        let _ = self.member.poll(LAST_WORDS);
        // A decision that waits for an answer keeps the client from closing.
        if self.membership.is_leaving() {
            self.hear(Told::Lost(Vec::new()), self.settings.clock.boot());
        }
        Ok(())
    }

    /// One pass of the loop, waiting at most `wait` for a decision. False: it is to leave the group.
    pub fn turn(&mut self, wait: Duration) -> Result<bool> {
        match self.renounces.try_recv() {
            Ok(topic) => {
                self.topics.remove(&topic);
                self.member.subscribe(&self.topics)?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(false),
        }
        let decision = self.member.poll(wait)?;
        let now = self.settings.clock.boot();
        let mut told = match decision {
            Some(decision) => {
                // Offsets that were told in the middle of a rebalance were not heard.
                self.told.clear();
                self.decided(decision)
            }
            // What is being handed over may be taken away meanwhile.
            None if self.membership.is_leaving() && self.member.is_lost() => Told::Lost(Vec::new()),
            None => Told::Nothing,
        };
        loop {
            self.hear(told, now);
            match self.left.try_recv() {
                Ok((_, source, assignment_epoch)) => {
                    told = Told::Left((source.topic, source.partition), assignment_epoch)
                }
                Err(_) => break,
            }
        }
        if now >= self.tell_all_at {
            self.tell_all_at = now + TELL_ALL_EVERY;
            self.told.clear();
        }
        if now >= self.tell_at {
            self.tell_at = now + TELL_EVERY;
            self.tell_offsets();
        }
        Ok(true)
    }

    fn hear(&mut self, told: Told<GroupPartition>, now: Duration) {
        for act in self.membership.hear(told, now) {
            self.act(act);
        }
    }

    fn decided(&self, decision: Decision) -> Told<GroupPartition> {
        let (kind, places) = match &decision {
            Decision::Assigned(places) => ("assigned", places),
            Decision::Revoked(places) => ("revoked", places),
            Decision::Lost(places) => ("lost", places),
        };
        let partitions: Vec<String> =
            places.iter().map(|(topic, partition)| format!("{topic} [{partition}]")).collect();
        info!(group = self.settings.group.name, shard = self.index, ?partitions, "{kind} by the group");
        metrics::rebalance(kind);
        match decision {
            Decision::Assigned(places) => Told::Assigned(places),
            Decision::Revoked(places) => Told::Revoked(places),
            Decision::Lost(places) => Told::Lost(places),
        }
    }

    fn act(&mut self, act: Act<GroupPartition>) {
        match act {
            Act::Accept(places) => {
                let taken = self.member.accept(&places);
                self.answered("assigned", taken);
            }
            Act::GiveUp(places) => {
                self.told.retain(|place, _| !places.contains(place));
                let freed = self.member.give_up(&places);
                self.answered("given up", freed);
            }
            Act::Join(places, assignment_epoch) => {
                self.send(&places, |table, sources| ToShard::Join { table, sources, assignment_epoch });
            }
            Act::Leave(places) => self.send(&places, |table, sources| ToShard::Leave { table, sources }),
            Act::Abandon(places) => {
                warn!(
                    group = self.settings.group.name,
                    shard = self.index,
                    partitions = places.len(),
                    "what was read of lost partitions is dropped; who has them reads it again"
                );
                self.send(&places, |table, sources| ToShard::Abandon { table, sources });
            }
        }
        metrics::partitions_assigned(self.index, self.membership.held().count());
    }

    /// A message to the shard for each table. Of a partition that no table has an offset for nothing is
    /// read: the ingester begins again with it.
    fn send(&mut self, places: &[GroupPartition], message: impl Fn(usize, Vec<TopicPartition>) -> ToShard) {
        let mut tables: BTreeMap<usize, Vec<TopicPartition>> = BTreeMap::new();
        for (topic, partition) in places {
            let known = self.settings.topics.get(topic);
            match known.and_then(|known| Some((known.table, known.sources.get(partition)?))) {
                Some((table, source)) => tables.entry(table).or_default().push(source.clone()),
                // Why it is not read was told when the table was opened.
                None if known.is_some_and(|known| known.stopped.contains(partition)) => {}
                None => self.is_outdated(),
            }
        }
        for (table, sources) in tables {
            // A shard that has ended has nothing left; the deadline sees to what is leaving.
            let _ = self.shard.send(message(table, sources));
        }
    }

    /// The group waits for ever for an answer that could not be given.
    fn answered(&mut self, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            warn!(
                group = self.settings.group.name, shard = self.index, %error,
                "partitions could not be {what}: joining the group again"
            );
            self.is_outdated();
        }
    }

    fn is_outdated(&mut self) {
        if let Some(news) = self.news.take() {
            // There is room for one of each member.
            let _ = news.try_send(News::Outdated);
        }
    }

    fn tell_offsets(&mut self) {
        let mut news = BTreeMap::new();
        for place in self.membership.held() {
            let Some(known) = self.settings.topics.get(&place.0) else { continue };
            let Some(source) = known.sources.get(&place.1) else { continue };
            let tip = known.next_offsets.borrow().get(source).copied();
            if let Some(offset) = tip.filter(|tip| self.told.get(place) != Some(tip)) {
                news.insert(place.clone(), offset);
            }
        }
        if !news.is_empty() {
            self.member.tell(&news);
            self.told.extend(news);
        }
    }
}
