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

use bytes::Bytes;
use tracing::{debug, info};

use super::log_tip::RetryPolicy;
use super::{Committer, NotCommitted};
use crate::error::Result;
use crate::exchange::{Abandoned, Owned, RequestId, ResetEpoch, ToCommitter, ToShard};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::ledger::Work;
use crate::protocol::membership::AssignmentEpoch;
use crate::protocol::planted::{Bug, planted};
use crate::table::commit_body::CommitBody;
use crate::table::data_file::DataFile;
use crate::table::transaction::{self, Outcome, Tip, Transaction};

/// What is known of the group's decisions.
#[derive(Default)]
pub(super) struct GroupAssignments {
    joins: Vec<Join>,
    /// Which of our shards has a partition. What the others say of it comes late.
    owners: BTreeMap<TopicPartition, usize>,
    leaving: BTreeMap<TopicPartition, Leaving>,
    /// Of each shard that dropped something: which of its units count.
    valid: BTreeMap<usize, Valid>,
    /// Partitions of discarded files, to be handed to their shards again.
    rewound: Vec<Rewound>,
    /// What stands and what does not can only be told by a fresh look.
    pub(super) must_reset: bool,
    /// What the last reset found to be dead letters.
    pub(super) held: Arc<AlreadyDeadLettered>,
}

/// A partition that a shard wants to read.
struct Join {
    shard: usize,
    source: TopicPartition,
    request_id: RequestId,
}

struct Leaving {
    shard: usize,
    assignment_epoch: AssignmentEpoch,
    at: Offset,
}

/// A partition that its shard reads again, from where its discarded files began.
struct Rewound {
    shard: usize,
    reset_epoch: ResetEpoch,
    source: TopicPartition,
    request_id: RequestId,
    from: Offset,
}

struct Valid {
    since: u64,
    kept: BTreeSet<u64>,
}

impl GroupAssignments {
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
            ToCommitter::Join { shard, sources, request_id } => {
                let joins = sources.into_iter().map(|source| Join { shard, source, request_id });
                self.group_assignments.joins.extend(joins);
            }
            ToCommitter::Leave { shard, reset_epoch, source, assignment_epoch, at } => {
                if !self.group_assignments.withdraw(shard, &source) {
                    self.tell_left(source, shard, assignment_epoch);
                    return None;
                }
                // What was handed over before a reset is discarded: nothing is waited for.
                let at = at.filter(|_| reset_epoch == self.reset_epoch).unwrap_or(Offset(i64::MIN));
                self.group_assignments.leaving.insert(source, Leaving { shard, assignment_epoch, at });
                self.see_off();
            }
            ToCommitter::Abandon(abandoned) => self.abandon(abandoned),
            other => return Some(other),
        }
        None
    }

    /// Lets partitions go of which nothing is uncommitted any more, and tells where the others stand.
    pub(super) fn see_off(&mut self) {
        let next_offsets = self.ledger.next_offsets();
        let through = |source: &TopicPartition, leaving: &Leaving| {
            next_offsets.get(source).is_none_or(|&tip| leaving.at <= tip)
        };
        let gone: Vec<(TopicPartition, Leaving)> = self
            .group_assignments
            .leaving
            .extract_if(.., |source, leaving| through(source, leaving))
            .collect();
        for (source, Leaving { shard, assignment_epoch, .. }) in gone {
            self.let_leave(source, shard, assignment_epoch);
        }
        self.tell_next_offsets();
    }

    /// The same when nothing that is uncommitted will be.
    pub(super) fn see_all_off(&mut self) {
        for (source, Leaving { shard, assignment_epoch, .. }) in
            std::mem::take(&mut self.group_assignments.leaving)
        {
            self.let_leave(source, shard, assignment_epoch);
        }
    }

    fn let_leave(&mut self, source: TopicPartition, shard: usize, assignment_epoch: AssignmentEpoch) {
        self.let_go_of(&source);
        self.tell_left(source, shard, assignment_epoch);
    }

    fn let_go_of(&mut self, source: &TopicPartition) {
        self.group_assignments.owners.remove(source);
        self.ledger.leave(source);
    }

    fn tell_left(&self, source: TopicPartition, shard: usize, assignment_epoch: AssignmentEpoch) {
        let left = ToShard::Left { table: self.dependencies.table, source, assignment_epoch };
        // The deadline is waited for instead if there is no room.
        let _ = self.dependencies.shards[shard].try_send(left);
    }

    fn abandon(&mut self, abandoned: Abandoned) {
        let Abandoned { shard, reset_epoch, lost, since, kept, rewound, request_id } = abandoned;
        self.group_assignments.valid.insert(shard, Valid { since, kept });
        let group_assignments = &self.group_assignments;
        let discarded = self.ledger.discard(|work| work.shard == shard && !group_assignments.count(work));
        // Dead letters that stand while their offsets do not: only a fresh look tells what is settled.
        let in_doubt = discarded.iter().any(|unit| {
            unit.dead_letters.is_none() && unit.ranges.iter().any(|range| range.dead_letters > 0)
        });
        self.discard(discarded);
        for source in lost {
            if !self.group_assignments.withdraw(shard, &source) {
                continue;
            }
            match self.group_assignments.leaving.remove(&source) {
                Some(Leaving { assignment_epoch, .. }) => self.let_leave(source, shard, assignment_epoch),
                None => self.let_go_of(&source),
            }
        }
        self.tell_next_offsets();
        debug!(table = self.identity.table_id, shard, rewound = rewound.len(), "partitions were dropped");
        self.group_assignments.must_reset |= in_doubt && !rewound.is_empty();
        // Of a partition that was dropped before, the earlier request is discarded.
        self.group_assignments
            .rewound
            .retain(|of| of.shard != shard || !rewound.iter().any(|(again, _)| *again == of.source));
        let rewound = rewound.into_iter().map(|(source, from)| Rewound {
            shard,
            reset_epoch,
            source,
            request_id,
            from,
        });
        self.group_assignments.rewound.extend(rewound);
    }

    /// Lets shards read on where their discarded files began.
    async fn hand_back(&mut self) {
        for Rewound { shard, reset_epoch, source, request_id, from } in
            std::mem::take(&mut self.group_assignments.rewound)
        {
            let Some(&tip) = self.ledger.next_offsets().get(&source) else { continue };
            // A reset voids what stood before `from`, too, and has looked for dead letters.
            let (start, held) = if reset_epoch < self.reset_epoch {
                (tip, Some(self.group_assignments.held.get(&source).cloned().unwrap_or_default()))
            } else {
                (tip.max(from), None)
            };
            self.hand(shard, source, request_id, start, held).await;
        }
    }

    async fn hand(
        &self,
        shard: usize,
        source: TopicPartition,
        request_id: RequestId,
        start: Offset,
        held: Option<Vec<Offset>>,
    ) {
        let table = self.dependencies.table;
        self.tell(shard, ToShard::Own(Owned { table, source, request_id, start, held })).await;
    }

    /// Takes over what was assigned, or is to be read again. What another shard of ours has not let go yet waits.
    pub(super) async fn join(&mut self) -> Result<()> {
        loop {
            if std::mem::take(&mut self.group_assignments.must_reset) {
                self.reset().await?;
            }
            self.hand_back().await;
            let next_offsets = self.ledger.next_offsets();
            let owners = &mut self.group_assignments.owners;
            let mut is_free = |join: &Join| {
                let is_free = !next_offsets.contains_key(&join.source) && !owners.contains_key(&join.source);
                if is_free {
                    owners.insert(join.source.clone(), join.shard);
                }
                is_free
            };
            let joins: Vec<Join> =
                self.group_assignments.joins.extract_if(.., |join| is_free(join)).collect();
            // A reset takes in what else the group decided: nobody is woken for that.
            if joins.is_empty()
                && !self.group_assignments.must_reset
                && self.group_assignments.rewound.is_empty()
            {
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
        let held = match self.check(&sources).await? {
            Some(held) => Arc::new(held),
            None => {
                self.ledger.join(sources.iter().map(|source| (source.clone(), Offset(0))).collect());
                self.reset().await?;
                Arc::clone(&self.group_assignments.held)
            }
        };
        self.show_offsets(self.ledger.next_offsets());
        self.tell_next_offsets();
        for Join { shard, source, request_id } in joins {
            // It may have been taken back meanwhile.
            let Some(&start) = self.ledger.next_offsets().get(&source) else { continue };
            info!(table = self.identity.table_id, partition = %source, shard, offset = %start, "reading on");
            let of_it = held.get(&source).cloned().unwrap_or_default();
            self.hand(shard, source, request_id, start, Some(of_it)).await;
        }
        Ok(())
    }

    /// Tells the group's members where their partitions stand, for those who look at its lag.
    pub(super) fn tell_next_offsets(&self) {
        let Some(told) = &self.dependencies.next_offsets else { return };
        let next_offsets = self.ledger.next_offsets();
        told.send_modify(|told| {
            told.retain(|source, _| next_offsets.contains_key(source));
            for (source, tip) in next_offsets {
                match told.get_mut(source) {
                    Some(told) => *told = *tip,
                    None => drop(told.insert(source.clone(), *tip)),
                }
            }
        });
    }

    /// Takes partitions over beside those that we have, whose work goes on. `None`: all must begin again.
    async fn check(&mut self, sources: &BTreeSet<TopicPartition>) -> Result<Option<AlreadyDeadLettered>> {
        // With nothing to keep, a fresh look is less than following the log.
        if self.ledger.next_offsets().is_empty() || !self.catch_up().await? {
            return Ok(None);
        }
        let next_offsets = self.next_offsets_in(self.log_tip.snapshot(), sources.iter())?;
        self.ledger.join(next_offsets.clone());
        if self.claim(&next_offsets).is_some() && !planted(Bug::NoClaimOfAnAssignment) {
            let clock = Arc::clone(&self.dependencies.clock);
            let mut claim = Claim { committer: self, next_offsets: &next_offsets };
            match transaction::commit(&mut claim, &clock).await? {
                Outcome::Landed { .. } => {}
                // It may have landed where nobody looks any more.
                Outcome::Unsure | Outcome::Moved(NotCommitted::Misfits | NotCommitted::Waits) => {
                    return Ok(None);
                }
                Outcome::Moved(NotCommitted::Failed(error)) => return Err(error),
            }
        }
        let held = self.take_dead_letters_over(&next_offsets).await?;
        // A later claim is somebody else's, and so may be what was taken over since.
        Ok(if self.catch_up().await? { Some(held) } else { None })
    }

    /// Before a reset: what was handed over is discarded, and what the group decided meanwhile counts.
    pub(super) fn heed_what_waits(&mut self) -> Result<()> {
        while let Ok(message) = self.dependencies.inbox.try_recv() {
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

/// The claim of partitions beside those that are read, whose work goes on.
struct Claim<'a> {
    committer: &'a mut Committer,
    next_offsets: &'a BTreeMap<TopicPartition, Offset>,
}

impl Transaction for Claim<'_> {
    type Moved = NotCommitted;
    type Waits = RetryPolicy;

    fn tip(&mut self) -> &mut Tip {
        &mut self.committer.log_tip.tip
    }

    async fn body(&mut self) -> Result<CommitBody, NotCommitted> {
        NotCommitted::unless(self.committer.still_fits(&[]).await)?;
        self.committer.claim(self.next_offsets).ok_or(NotCommitted::Misfits)
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), NotCommitted> {
        NotCommitted::unless(self.committer.give_way(winner).await)
    }

    fn waits(&self) -> &RetryPolicy {
        &self.committer.retry_policy
    }
}

#[cfg(test)]
mod tests;
