//! What the queue knows of a consumer group's decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::delta::data_file::DataFile;
use crate::exchange::{RequestId, ResetEpoch};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::ledger::Work;
use crate::protocol::membership::AssignmentEpoch;

/// What is known of the group's decisions.
#[derive(Default)]
pub(super) struct GroupAssignments {
    pub(super) joins: Vec<Join>,
    /// Which of our shards has a partition. What the others say of it comes late.
    pub(super) owners: BTreeMap<TopicPartition, usize>,
    pub(super) leaving: BTreeMap<TopicPartition, Leaving>,
    /// Of each shard that dropped something: which of its units count.
    pub(super) valid: BTreeMap<usize, Valid>,
    /// Partitions of discarded files, to be handed to their shards again.
    pub(super) rewound: Vec<Rewound>,
    /// What stands and what does not can only be told by a fresh look.
    pub(super) must_reset: bool,
    /// What the last reset found to be dead letters.
    pub(super) held: Arc<AlreadyDeadLettered>,
}

/// A partition that a shard wants to read.
pub(super) struct Join {
    pub(super) shard: usize,
    pub(super) source: TopicPartition,
    pub(super) request_id: RequestId,
}

pub(super) struct Leaving {
    pub(super) shard: usize,
    pub(super) assignment_epoch: AssignmentEpoch,
    pub(super) at: Offset,
}

/// A partition that its shard reads again, from where its discarded files began.
pub(super) struct Rewound {
    pub(super) shard: usize,
    pub(super) reset_epoch: ResetEpoch,
    pub(super) source: TopicPartition,
    pub(super) request_id: RequestId,
    pub(super) from: Offset,
}

pub(super) struct Valid {
    pub(super) since: u64,
    pub(super) kept: BTreeSet<u64>,
}

impl GroupAssignments {
    /// Whether the shard still stands behind this work.
    pub(super) fn count(&self, work: &Work<DataFile>) -> bool {
        let of = self.valid.get(&work.shard);
        of.is_none_or(|valid| work.unit >= valid.since || valid.kept.contains(&work.unit))
    }

    /// A shard wants a partition no more. False: it never had it, or another one has it by now.
    pub(super) fn withdraw(&mut self, shard: usize, source: &TopicPartition) -> bool {
        self.joins.retain(|join| (join.shard, &join.source) != (shard, source));
        self.owners.get(source) == Some(&shard)
    }
}
