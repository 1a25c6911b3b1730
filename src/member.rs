//! One shard's membership in the consumer group: a thread of its own.
//!
//! It owns the loop between the group and the shard: what the group decides
//! becomes messages to the shard, what the shard is through with is given up,
//! and the table's offsets are told to the group now and then. It decides
//! nothing: that is `protocol::membership`. A shard that is busy, or waits for
//! its store, keeps its membership, because this thread answers the group.

use std::collections::BTreeMap;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::config::{Group, Kafka};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Tips, ToShard};
use crate::ids::{Offset, Partition, TopicPartition};
use crate::metrics;
use crate::protocol::membership::{Act, Membership, Tenure, Told, drain_patience};
use crate::source::group::{Decision, Member, Place};

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
    /// Where the table stands, as its committer says.
    pub tips: watch::Receiver<Tips>,
}

/// What everybody's membership is about.
pub struct Terms {
    pub kafka: Kafka,
    pub group: Group,
    pub topics: BTreeMap<String, Known>,
    pub clock: SharedClock,
}

/// What a member tells the ingester.
#[derive(Debug)]
pub enum News {
    /// The group assigns a partition that nobody has an offset for: the topic grew.
    Grew,
    Ended(Result<()>),
}

/// The members of this process. They leave when this is dropped.
pub struct Members {
    pub news: Receiver<News>,
    running: usize,
    _stop: Option<Sender<()>>,
}

impl Members {
    /// Where every partition is read by us.
    pub fn none() -> Members {
        Members { news: crossbeam_channel::never(), running: 0, _stop: None }
    }

    /// Joins the group once for each shard; `left` is where a shard says what it is through with.
    pub fn join(
        terms: Terms,
        shards: &[Sender<ToShard>],
        left: Vec<Receiver<(usize, TopicPartition, Tenure)>>,
    ) -> Result<Members> {
        let terms = std::sync::Arc::new(terms);
        let (stop, stopped) = bounded::<()>(0);
        let (news_out, news) = bounded(2 * shards.len());
        let topics: Vec<&str> = terms.topics.keys().map(String::as_str).collect();
        for (index, (shard, left)) in shards.iter().zip(left).enumerate() {
            let group = &terms.group;
            let membership = Membership::new(drain_patience(group.session, group.max_poll, HAND_OVER_MAX));
            let one = One {
                member: Member::join(&terms.kafka, group, index, &topics)?,
                membership,
                terms: std::sync::Arc::clone(&terms),
                shard: shard.clone(),
                left,
                told: BTreeMap::new(),
                tell_at: Duration::ZERO,
                tell_all_at: Duration::ZERO,
                index,
                news: news_out.clone(),
            };
            let (stopped, news) = (stopped.clone(), news_out.clone());
            std::thread::Builder::new()
                .name(format!("member-{index}"))
                .spawn(move || {
                    let outcome = one.run(&stopped);
                    // There is room for the end of each.
                    let _ = news.try_send(News::Ended(outcome));
                })
                .map_err(|error| {
                    Error::new(ErrorKind::Io, format!("a member's thread cannot start: {error}"))
                })?;
        }
        Ok(Members { news, running: shards.len(), _stop: Some(stop) })
    }

    /// One has ended.
    pub fn ended(&mut self) {
        self.running -= 1;
    }

    /// Has all of them leave the group, within a time: a broker that is down is not waited for.
    pub fn leave(mut self, patience: Duration) {
        self._stop = None;
        let deadline = crossbeam_channel::after(patience);
        while self.running > 0 {
            crossbeam_channel::select! {
                recv(self.news) -> news => match news {
                    Ok(News::Ended(_)) => self.running -= 1,
                    Ok(News::Grew) => {}
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

struct One {
    member: Member,
    membership: Membership<Place>,
    terms: std::sync::Arc<Terms>,
    shard: Sender<ToShard>,
    left: Receiver<(usize, TopicPartition, Tenure)>,
    /// What the group was told last.
    told: BTreeMap<Place, Offset>,
    tell_at: Duration,
    tell_all_at: Duration,
    index: usize,
    news: Sender<News>,
}

impl One {
    fn run(mut self, stopped: &Receiver<()>) -> Result<()> {
        while stopped.try_recv() != Err(TryRecvError::Disconnected) {
            let decision = self.member.poll(POLL_WAIT)?;
            let now = self.terms.clock.boot();
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
                let acts = self.membership.hear(told, now);
                for act in acts {
                    self.act(act);
                }
                match self.left.try_recv() {
                    Ok((_, source, tenure)) => told = Told::Left((source.topic, source.partition), tenure),
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
        }
        self.told.clear();
        self.tell_offsets();
        let _ = self.member.poll(LAST_WORDS);
        Ok(())
    }

    fn decided(&self, decision: Decision) -> Told<Place> {
        let (kind, places) = match &decision {
            Decision::Assigned(places) => ("assigned", places),
            Decision::Revoked(places) => ("revoked", places),
            Decision::Lost(places) => ("lost", places),
        };
        let partitions: Vec<String> =
            places.iter().map(|(topic, partition)| format!("{topic} [{partition}]")).collect();
        info!(group = self.terms.group.name, shard = self.index, ?partitions, "{kind} by the group");
        metrics::rebalance(kind);
        match decision {
            Decision::Assigned(places) => Told::Assigned(places),
            Decision::Revoked(places) => Told::Revoked(places),
            Decision::Lost(places) => Told::Lost(places),
        }
    }

    fn act(&mut self, act: Act<Place>) {
        match act {
            Act::Accept(places) => self.member.accept(&places),
            Act::GiveUp(places) => {
                self.told.retain(|place, _| !places.contains(place));
                self.member.give_up(&places);
            }
            Act::Join(places, tenure) => {
                self.send(&places, |table, sources| ToShard::Join { table, sources, tenure });
            }
            Act::Leave(places) => self.send(&places, |table, sources| ToShard::Leave { table, sources }),
            Act::Abandon(places) => {
                warn!(
                    group = self.terms.group.name,
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
    fn send(&self, places: &[Place], message: impl Fn(usize, Vec<TopicPartition>) -> ToShard) {
        let mut tables: BTreeMap<usize, Vec<TopicPartition>> = BTreeMap::new();
        for (topic, partition) in places {
            let known = self.terms.topics.get(topic);
            match known.and_then(|known| Some((known.table, known.sources.get(partition)?))) {
                Some((table, source)) => tables.entry(table).or_default().push(source.clone()),
                None => {
                    // Once is enough.
                    let _ = self.news.try_send(News::Grew);
                }
            }
        }
        for (table, sources) in tables {
            // A shard that has ended has nothing left; the deadline sees to what is leaving.
            let _ = self.shard.send(message(table, sources));
        }
    }

    fn tell_offsets(&mut self) {
        let mut news = BTreeMap::new();
        for place in self.membership.held() {
            let Some(known) = self.terms.topics.get(&place.0) else { continue };
            let Some(source) = known.sources.get(&place.1) else { continue };
            let tip = known.tips.borrow().get(source).copied();
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
