//! Partitions that a consumer group assigns to this process and takes back.
//!
//! It owns having a partition taken over, seeing one off when all of it is
//! committed, and dropping what is discarded. Whether that is so is decided in
//! `protocol::membership`.
//!
//! The ledger knows the partitions that are ours now, and no others: commits
//! of the group's other members move partitions that are none of ours, and
//! stand beside ours like any writer's.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{debug, info};

use super::assignments::{Join, Leaving, Rewound, Valid};
use super::queue::Committer;
use crate::error::Result;
use crate::exchange::{Abandoned, Owned, RequestId, ToCommitter, ToShard};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::membership::AssignmentEpoch;
use crate::sink::Sink;

impl<S: Sink> Committer<S> {
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
        self.sink.discard(discarded);
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
        debug!(table = self.dependencies.table_id, shard, rewound = rewound.len(), "partitions were dropped");
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
        let held = match self.sink.join(self.ledger.next_offsets(), &sources).await? {
            Some(begun) => {
                self.ledger.join(begun.starts);
                Arc::new(begun.held)
            }
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
            info!(table = self.dependencies.table_id, partition = %source, shard, offset = %start, "reading on");
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

    /// Before a reset: what was handed over is discarded, and what the group decided meanwhile counts.
    pub(super) fn heed_what_waits(&mut self) -> Result<()> {
        while let Ok(message) = self.dependencies.inbox.try_recv() {
            match self.heed(message) {
                Some(ToCommitter::Finished { work, .. }) => self.sink.discard(vec![work]),
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
