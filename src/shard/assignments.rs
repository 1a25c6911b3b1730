//! What a consumer group has assigned to a shard.

use crate::exchange::RequestId;
use crate::ids::TopicPartition;
use crate::protocol::membership::AssignmentEpoch;

/// What a shard has of a partition that the group assigned and did not take back.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupAssignment {
    pub(super) assignment_epoch: AssignmentEpoch,
    /// What it waits for before it is read.
    pub(super) waits: Option<RequestId>,
}

/// Where a shard says that it is through with a partition of a table. If nobody listens, or there is no
/// room, the deadline does.
pub type GroupLink = crossbeam_channel::Sender<(usize, TopicPartition, AssignmentEpoch)>;
