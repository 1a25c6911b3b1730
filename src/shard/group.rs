//! Partitions that a consumer group assigns to the shard and takes back.
//!
//! It owns the shard's half: begin where the committer says, hand over before
//! leaving, forget what is lost. What the group's words mean, and which files
//! are discarded, is `protocol::membership`; who speaks to the group is above.
//!
//! Invariant: ranges of one assignment epoch chain onto the table's offset that its
//! first [`Owned`] named. What is handed over after a partition was dropped
//! has numbers from `since` on, so that the committer tells discarded work from
//! work that counts, in whatever order uploads arrive. A partition that waits
//! for the committer is read from the answer to its last question, and from no
//! other: an earlier one may be on its way.

use std::collections::BTreeSet;

use super::assignments::GroupAssignment;
use super::partition::PartitionState;
use super::turn::Shard;
use crate::error::Result;
use crate::exchange::Reading;
use crate::exchange::{Abandoned, Owned, RequestId, ToCommitter};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::membership::{AssignmentEpoch, discard};
use crate::protocol::planted::{Bug, planted};
use crate::source::Source;
use crate::status::Part;

impl<S: Source> Shard<S> {
    pub(super) fn join(
        &mut self,
        table: usize,
        sources: Vec<TopicPartition>,
        assignment_epoch: AssignmentEpoch,
    ) {
        let request_id = self.next_request();
        let group_assignment = GroupAssignment { assignment_epoch, waits: Some(request_id) };
        self.group_assignments
            .extend(sources.iter().map(|source| ((table, source.clone()), group_assignment)));
        let place = self.place(table);
        let join = ToCommitter::Join { shard: self.dependencies.index, sources, request_id };
        // A committer that is gone has told why.
        let _ = self.tables[place].table_context.to_committer.send(join);
    }

    fn next_request(&mut self) -> RequestId {
        self.asked.0 += 1;
        self.asked
    }

    /// Reads a partition on from the table's offset.
    pub(super) fn own(&mut self, owned: Owned) -> Result<()> {
        let Owned { table, source, request_id, start, held } = owned;
        let place = self.place(table);
        let state = &self.tables[place];
        let Some(group_assignment) = self.group_assignments.get_mut(&(table, source.clone())) else {
            return Ok(());
        };
        if self.draining || state.is_over() || group_assignment.waits != Some(request_id) {
            return Ok(());
        }
        group_assignment.waits = None;
        let assignment_epoch = group_assignment.assignment_epoch;
        let known = self.index_of(table, &source);
        let held = match (held, known) {
            (Some(held), _) => held,
            (None, Some(index)) => std::mem::take(&mut self.partitions[index].held),
            (None, None) => Vec::new(),
        };
        let held = if planted(Bug::AssignmentForgetsDeadLetters) { Vec::new() } else { held };
        let reading = Reading { table, source, start, held, end: None };
        let fresh = PartitionState { assignment_epoch, ..PartitionState::new(place, reading) };
        let index = self.put(known, fresh);
        self.assign(&[index])
    }

    /// Hands over what was read of these partitions; the committer says when it is in the table.
    pub(super) fn leave(&mut self, table: usize, sources: Vec<TopicPartition>) -> Result<()> {
        let place = self.place(table);
        let mut is_open = false;
        for source in &sources {
            if let Some(index) = self.index_of(table, source) {
                is_open |= self.partitions[index].progress.is_open();
                self.stop_reading(index);
            }
        }
        if is_open && !self.tables[place].stopped {
            if planted(Bug::ForgetsBuffersOnARevoke) {
                self.tables[place].forget();
            }
            self.cut(place)?;
        }
        for source in sources {
            let Some(GroupAssignment { assignment_epoch, .. }) =
                self.group_assignments.remove(&(table, source.clone()))
            else {
                continue;
            };
            let at = self.index_of(table, &source).and_then(|index| {
                self.put_away(index);
                let partition = &self.partitions[index];
                (partition.assignment_epoch == assignment_epoch).then(|| partition.progress.position())
            });
            let (shard, reset_epoch, left) =
                (self.dependencies.index, self.tables[place].reset_epoch, source.clone());
            let leave = ToCommitter::Leave { shard, reset_epoch, source, assignment_epoch, at };
            if self.tables[place].stopped
                || self.tables[place].table_context.to_committer.send(leave).is_err()
            {
                self.left(table, left, assignment_epoch);
            }
        }
        Ok(())
    }

    pub(super) fn left(&self, table: usize, source: TopicPartition, assignment_epoch: AssignmentEpoch) {
        if let Some(group) = &self.dependencies.group {
            let _ = group.try_send((table, source, assignment_epoch));
        }
    }

    /// Drops partitions, and every file of ours that holds one of them.
    pub(super) fn abandon(&mut self, table: usize, sources: Vec<TopicPartition>) {
        let place = self.place(table);
        let open: Vec<(TopicPartition, Offset)> = self
            .partitions
            .iter()
            .filter(|partition| partition.table == place && partition.progress.is_open())
            .map(|partition| (partition.progress.source().clone(), partition.progress.start()))
            .collect();
        let lost: BTreeSet<TopicPartition> = sources.into_iter().collect();
        let discarded = discard(&self.tables[place].uncommitted, &open, &lost);
        if discarded.open {
            self.tables[place].forget();
        }
        for source in &lost {
            self.group_assignments.remove(&(table, source.clone()));
            if let Some(index) = self.index_of(table, source) {
                let progress = &mut self.partitions[index].progress;
                progress.rewind(progress.start());
            }
        }
        let request_id = self.next_request();
        let mut rewound = Vec::new();
        for (source, from) in discarded.rewound {
            if let Some(index) = self.index_of(table, &source) {
                self.partitions[index].progress.rewind(from);
            }
            // What is leaving and not committed is among the lost ones.
            if let Some(group_assignment) = self.group_assignments.get_mut(&(table, source.clone())) {
                group_assignment.waits = Some(request_id);
                rewound.push((source, from));
            }
        }
        for source in lost.iter().chain(rewound.iter().map(|(source, _)| source)) {
            if let Some(index) = self.index_of(table, source) {
                if !planted(Bug::ReadsOnWhatWasLost) {
                    self.stop_reading(index);
                }
                self.put_away(index);
            }
        }
        let state = &mut self.tables[place];
        state.uncommitted.retain(|unit| discarded.kept.contains(&unit.id));
        let abandoned = Abandoned {
            shard: self.dependencies.index,
            reset_epoch: state.reset_epoch,
            lost: Vec::from_iter(lost),
            since: state.next_unit,
            kept: discarded.kept,
            rewound,
            request_id,
        };
        // A committer that is gone commits nothing of it.
        let _ = state.table_context.to_committer.send(ToCommitter::Abandon(abandoned));
    }

    /// The partition is another one's, or ours again when the committer says so.
    fn put_away(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        partition.moved = true;
        let source = partition.progress.source();
        let table = &self.tables[partition.table];
        // How it stands is its new owner's to say.
        table.table_context.board.forget(&Part::partition(&table.table_context.table_id, source));
    }
}

#[cfg(test)]
mod tests;
