//! What a shard runs on, and what it tells the ingester.

use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::runtime::Handle;

use super::assignments::GroupLink;
use crate::budget::Budget;
use crate::clock::SharedClock;
use crate::error::Error;
use crate::exchange::{Moved, ToShard};
use crate::ids::TopicPartition;
use crate::protocol::balance::Load;

/// Bytes decoded before they are encoded, for wide rows.
pub(super) const BATCH_BYTES: usize = 4 << 20;

/// Offsets that moved without rows are committed this much later.
pub(super) const IDLE_TAIL: Duration = Duration::from_secs(30);

/// What a shard tells the ingester.
#[derive(Debug)]
pub enum Report {
    /// A partition goes no further; others do.
    Stopped { table: usize, source: TopicPartition, error: Error },
    /// Shard `to` is to read on where `from` ended.
    Released { from: usize, to: usize, moved: Moved },
}

/// What a shard runs on.
pub struct ShardDependencies {
    pub index: usize,
    pub inbox: Receiver<ToShard>,
    pub reports: crossbeam_channel::Sender<Report>,
    /// Who balances shards; `None` where partitions do not move.
    pub loads: Option<crossbeam_channel::Sender<Load>>,
    /// Who speaks to the consumer group; `None` where every partition is read.
    pub group: Option<GroupLink>,
    /// Tables may be opened at any time: the shard ends only when it is told to drain.
    pub stays: bool,
    pub clock: SharedClock,
    pub runtime: Handle,
    /// What is decoded, open and on its way to the store, all tables together.
    pub budget: Budget,
}
