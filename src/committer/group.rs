//! Partitions that a consumer group assigns to this process and takes back.
//!
//! It owns taking a partition over (the log followed to its tip, dead letters
//! claimed), seeing one off when all of it is committed, and dropping what is
//! void. Whether that is so is decided in `protocol::membership`.
//!
//! The ledger knows the partitions that are ours now, and no others: commits
//! of the group's other members move partitions that are none of ours, and
//! stand beside ours like any writer's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{debug, info};

use super::Committer;
use crate::error::Result;
use crate::exchange::{Abandoned, DataFile, Generation, Owned, Question, ToCommitter, ToShard};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::dead_letters::Held;
use crate::protocol::ledger::Work;
use crate::protocol::membership::Tenure;
use crate::protocol::planted::{Bug, planted};
use crate::table::log::Settled;

/// What is known of the group's decisions.
#[derive(Default)]
pub(super) struct Tenants {
    joins: Vec<Join>,
    /// Which of our shards has a partition. What the others say of it comes late.
    owners: BTreeMap<TopicPartition, usize>,
    leaving: BTreeMap<TopicPartition, Leaving>,
    /// Of each shard that dropped something: which of its units count.
    valid: BTreeMap<usize, Valid>,
    /// Partitions of void files, to be handed to their shards again.
    rewound: Vec<Rewound>,
    /// What stands and what does not can only be told by a fresh look.
    pub(super) must_reset: bool,
    /// What the last reset found to be dead letters.
    pub(super) held: Arc<Held>,
}

/// A partition that a shard wants to read.
struct Join {
    shard: usize,
    source: TopicPartition,
    question: Question,
}

struct Leaving {
    shard: usize,
    tenure: Tenure,
    at: Offset,
}

/// A partition that its shard reads again, from where its void files began.
struct Rewound {
    shard: usize,
    generation: Generation,
    source: TopicPartition,
    question: Question,
    from: Offset,
}

struct Valid {
    since: u64,
    kept: BTreeSet<u64>,
}

impl Tenants {
    /// Whether the shard still stands behind this work.
    pub(super) fn count(&self, work: &Work<DataFile>) -> bool {
        let of = self.valid.get(&work.shard);
        of.is_none_or(|valid| work.unit >= valid.since || valid.kept.contains(&work.unit))
    }

    /// A shard wants a partition no more. False: it never had it, or another one has it by now.
    fn withdraw(&mut self, shard: usize, source: &TopicPartition) -> bool {
        self.joins.retain(|join| (join.shard, &join.source) != (shard, source));
        self.owners.get(source) == Some(&shard)
    }
}

impl Committer {
    /// Takes in what a group's decision means here. Messages of other kinds come back.
    pub(super) fn heed(&mut self, message: ToCommitter) -> Option<ToCommitter> {
        match message {
            ToCommitter::Join { shard, sources, question } => {
                let joins = sources.into_iter().map(|source| Join { shard, source, question });
                self.tenants.joins.extend(joins);
            }
            ToCommitter::Leave { shard, generation, source, tenure, at } => {
                if !self.tenants.withdraw(shard, &source) {
                    self.tell_left(source, shard, tenure);
                    return None;
                }
                // What was handed over before a reset is void: nothing is waited for.
                let at = at.filter(|_| generation == self.generation).unwrap_or(Offset(i64::MIN));
                self.tenants.leaving.insert(source, Leaving { shard, tenure, at });
                self.see_off();
            }
            ToCommitter::Abandon(abandoned) => self.abandon(abandoned),
            other => return Some(other),
        }
        None
    }

    /// Lets partitions go of which nothing is uncommitted any more, and tells where the others stand.
    pub(super) fn see_off(&mut self) {
        let tips = self.ledger.tips();
        let through = |source: &TopicPartition, leaving: &Leaving| {
            tips.get(source).is_none_or(|&tip| leaving.at <= tip)
        };
        let gone: Vec<(TopicPartition, Leaving)> =
            self.tenants.leaving.extract_if(.., |source, leaving| through(source, leaving)).collect();
        for (source, Leaving { shard, tenure, .. }) in gone {
            self.let_leave(source, shard, tenure);
        }
        self.tell_tips();
    }

    /// The same when nothing that is uncommitted will be.
    pub(super) fn see_all_off(&mut self) {
        for (source, Leaving { shard, tenure, .. }) in std::mem::take(&mut self.tenants.leaving) {
            self.let_leave(source, shard, tenure);
        }
    }

    fn let_leave(&mut self, source: TopicPartition, shard: usize, tenure: Tenure) {
        self.let_go_of(&source);
        self.tell_left(source, shard, tenure);
    }

    fn let_go_of(&mut self, source: &TopicPartition) {
        self.tenants.owners.remove(source);
        self.ledger.leave(source);
    }

    fn tell_left(&self, source: TopicPartition, shard: usize, tenure: Tenure) {
        let left = ToShard::Left { table: self.wiring.table, source, tenure };
        // The deadline is waited for instead if there is no room.
        let _ = self.wiring.shards[shard].try_send(left);
    }

    fn abandon(&mut self, abandoned: Abandoned) {
        let Abandoned { shard, generation, lost, since, kept, rewound, question } = abandoned;
        self.tenants.valid.insert(shard, Valid { since, kept });
        let tenants = &self.tenants;
        let void = self.ledger.void(|work| work.shard == shard && !tenants.count(work));
        // Letters that stand while their offsets do not: only a fresh look tells what is settled.
        let in_doubt = void
            .iter()
            .any(|unit| unit.letters.is_none() && unit.ranges.iter().any(|range| range.dead_letters > 0));
        self.discard(void);
        for source in lost {
            if !self.tenants.withdraw(shard, &source) {
                continue;
            }
            match self.tenants.leaving.remove(&source) {
                Some(Leaving { tenure, .. }) => self.let_leave(source, shard, tenure),
                None => self.let_go_of(&source),
            }
        }
        self.tell_tips();
        debug!(table = self.identity.table_id, shard, rewound = rewound.len(), "partitions were dropped");
        self.tenants.must_reset |= in_doubt && !rewound.is_empty();
        // Of a partition that was dropped before, the earlier question is void.
        self.tenants
            .rewound
            .retain(|of| of.shard != shard || !rewound.iter().any(|(again, _)| *again == of.source));
        let rewound =
            rewound.into_iter().map(|(source, from)| Rewound { shard, generation, source, question, from });
        self.tenants.rewound.extend(rewound);
    }

    /// Lets shards read on where their void files began.
    async fn hand_back(&mut self) {
        for Rewound { shard, generation, source, question, from } in std::mem::take(&mut self.tenants.rewound)
        {
            let Some(&tip) = self.ledger.tips().get(&source) else { continue };
            // A reset voids what stood before `from`, too, and has looked for dead letters.
            let (start, held) = if generation < self.generation {
                (tip, Some(self.tenants.held.get(&source).cloned().unwrap_or_default()))
            } else {
                (tip.max(from), None)
            };
            self.hand(shard, source, question, start, held).await;
        }
    }

    async fn hand(
        &self,
        shard: usize,
        source: TopicPartition,
        question: Question,
        start: Offset,
        held: Option<Vec<Offset>>,
    ) {
        let table = self.wiring.table;
        self.tell(shard, ToShard::Own(Owned { table, source, question, start, held })).await;
    }

    /// Takes over what was assigned, or is to be read again. What another shard of ours has not let go yet waits.
    pub(super) async fn join(&mut self) -> Result<()> {
        loop {
            if std::mem::take(&mut self.tenants.must_reset) {
                self.reset().await?;
            }
            self.hand_back().await;
            let tips = self.ledger.tips();
            let owners = &mut self.tenants.owners;
            let mut is_free = |join: &Join| {
                let is_free = !tips.contains_key(&join.source) && !owners.contains_key(&join.source);
                if is_free {
                    owners.insert(join.source.clone(), join.shard);
                }
                is_free
            };
            let joins: Vec<Join> = self.tenants.joins.extract_if(.., |join| is_free(join)).collect();
            // A reset takes in what else the group decided: nobody is woken for that.
            if joins.is_empty() && !self.tenants.must_reset && self.tenants.rewound.is_empty() {
                return Ok(());
            }
            self.join_these(joins).await?;
        }
    }

    async fn join_these(&mut self, joins: Vec<Join>) -> Result<()> {
        if joins.is_empty() {
            return Ok(());
        }
        let sources: BTreeSet<TopicPartition> = joins.iter().map(|join| join.source.clone()).collect();
        let held = match self.admit(&sources).await? {
            Some(held) => Arc::new(held),
            None => {
                self.ledger.join(sources.iter().map(|source| (source.clone(), Offset(0))).collect());
                self.reset().await?;
                Arc::clone(&self.tenants.held)
            }
        };
        self.show_offsets(self.ledger.tips());
        self.tell_tips();
        for Join { shard, source, question } in joins {
            // It may have been taken back meanwhile.
            let Some(&start) = self.ledger.tips().get(&source) else { continue };
            info!(table = self.identity.table_id, partition = %source, shard, offset = %start, "reading on");
            let of_it = held.get(&source).cloned().unwrap_or_default();
            self.hand(shard, source, question, start, Some(of_it)).await;
        }
        Ok(())
    }

    /// Tells the group's members where their partitions stand, for those who look at its lag.
    pub(super) fn tell_tips(&self) {
        let Some(told) = &self.wiring.tips else { return };
        let tips = self.ledger.tips();
        told.send_modify(|told| {
            told.retain(|source, _| tips.contains_key(source));
            for (source, tip) in tips {
                match told.get_mut(source) {
                    Some(told) => *told = *tip,
                    None => drop(told.insert(source.clone(), *tip)),
                }
            }
        });
    }

    /// Takes partitions over beside those that we have, whose work goes on. `None`: all must begin again.
    async fn admit(&mut self, sources: &BTreeSet<TopicPartition>) -> Result<Option<Held>> {
        // With nothing to keep, a fresh look is less than following the log.
        if self.ledger.tips().is_empty() || !self.catch_up().await? {
            return Ok(None);
        }
        let tips = self.tips_in(&self.head.snapshot, sources.iter())?;
        self.ledger.join(tips.clone());
        while let Some(claim) = self.claim(&tips).filter(|_| !planted(Bug::NoClaimOfAnAssignment)) {
            if !self.still_fits(&[]).await? {
                return Ok(None);
            }
            match self.put(claim).await? {
                Settled::Won if self.head.is_trusted(self.wiring.clock.boot()) => break,
                // It may have landed where nobody looks any more.
                Settled::Won => return Ok(None),
                Settled::Lost(winner) if self.give_way(&winner).await? => {}
                Settled::Lost(_) => return Ok(None),
            }
        }
        let held = self.take_letters_over(&tips).await?;
        // A later claim is somebody else's, and so may be what was taken over since.
        Ok(if self.catch_up().await? { Some(held) } else { None })
    }

    /// Before a reset: what was handed over is void, and what the group decided meanwhile counts.
    pub(super) fn heed_what_waits(&mut self) -> Result<()> {
        while let Ok(message) = self.wiring.inbox.try_recv() {
            match self.heed(message) {
                Some(ToCommitter::Finished { work, .. }) => self.discard(vec![work]),
                // Its records are read again anyway.
                Some(ToCommitter::UploadFailed { error, hopeless: true, .. }) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
