//! What travels between shards and committers.
//!
//! It owns the messages, so that the two loops know the messages and not each
//! other. Work flows down; what flows up is "this much is committed" and
//! "begin again from here". Tables are known by their place in the config.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::columnar::{RecordFormat, Transform};
use crate::config::{Compression, Decoding, OnBadRecord};
use crate::delta::data_file::DataFile;
use crate::error::Error;
use crate::ids::{Offset, TopicPartition};
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::ledger::Work;
use crate::protocol::membership::AssignmentEpoch;
use crate::schema::Schema;
use crate::source::identity_check::IdentityCheck;
use crate::status::Board;
use crate::stores::orphan_cleaner::OrphanCleaner;
use crate::stores::store::Store;

/// Rises with every reset of a table; work from before a reset is discarded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ResetEpoch(pub u64);

#[derive(Debug)]
pub enum ToCommitter {
    /// A file and its ranges, or ranges alone, from a shard.
    Finished { reset_epoch: ResetEpoch, work: Work<DataFile> },
    /// A file is lost: its ranges must be read again.
    UploadFailed { reset_epoch: ResetEpoch, error: Error, hopeless: bool },
    /// The group assigned partitions to a shard: where does it read on?
    Join { shard: usize, sources: Vec<TopicPartition>, request_id: RequestId },
    /// A shard is through with a partition that the group takes back: all that it read of it, up to
    /// `at`, is handed over. `None`: it had not begun.
    Leave {
        shard: usize,
        reset_epoch: ResetEpoch,
        source: TopicPartition,
        assignment_epoch: AssignmentEpoch,
        at: Option<Offset>,
    },
    /// A shard drops partitions with all that is uncommitted of them.
    Abandon(Abandoned),
}

/// Rises with each time that a shard asks where to read on: only the answer to the last one counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct RequestId(pub u64);

/// What a shard dropped, see `protocol::membership::orphan`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Abandoned {
    pub shard: usize,
    pub reset_epoch: ResetEpoch,
    pub lost: Vec<TopicPartition>,
    /// Of what the shard handed over under numbers below this, only `kept` counts.
    pub since: u64,
    pub kept: BTreeSet<u64>,
    /// Partitions of discarded files: read again from there, or from the table's offset if that is further.
    pub rewound: Vec<(TopicPartition, Offset)>,
    pub request_id: RequestId,
}

/// What a shard must know of a table.
#[derive(Clone)]
pub struct TableContext {
    /// The table's place in the config.
    pub table: usize,
    pub table_id: String,
    pub store: Store,
    /// Where bad records go; `None` where they are not kept.
    pub dead_letters: Option<Store>,
    pub schema: Arc<Schema>,
    pub decoding: Decoding,
    /// What reads the records.
    pub format: Arc<dyn RecordFormat>,
    /// What changes the rows before they are encoded; no config sets one.
    pub transform: Option<Arc<dyn Transform>>,
    pub on_bad_record: OnBadRecord,
    pub max_latency: Duration,
    pub target_file_size: u64,
    pub compression: Compression,
    pub to_committer: mpsc::UnboundedSender<ToCommitter>,
    /// What of its files must not stay in the store.
    pub orphan_cleaner: OrphanCleaner,
    pub board: Arc<Board>,
    /// Vouches for the topic while files are on their way.
    pub identity_check: IdentityCheck,
}

impl fmt::Debug for TableContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("table_id", &self.table_id).finish_non_exhaustive()
    }
}

/// A partition of one of the shard's tables.
#[derive(Clone, Debug)]
pub struct Reading {
    pub table: usize,
    pub source: TopicPartition,
    pub start: Offset,
    /// What stands as a dead letter already, from `start` on, growing.
    pub held: Vec<Offset>,
    /// Where a bounded run ends.
    pub end: Option<Offset>,
}

#[derive(Clone, Debug)]
pub enum ToShard {
    /// Read these partitions of a table that the shard does not have open.
    Open { table_context: Box<TableContext>, readings: Vec<Reading> },
    /// Read no more of the table, hand over what there is, and let go of it when that is committed.
    Close { table: usize },
    /// Forget what is uncommitted of this table and read from these offsets.
    Reset {
        table: usize,
        reset_epoch: ResetEpoch,
        schema: Arc<Schema>,
        starts: BTreeMap<TopicPartition, Offset>,
        /// Above these offsets, what stands as a dead letter already.
        held: Arc<AlreadyDeadLettered>,
    },
    /// These units of work are in the table.
    Committed { table: usize, reset_epoch: ResetEpoch, units: Vec<u64> },
    /// Hand over what was read of this partition, and let shard `to` read on.
    Release { table: usize, source: TopicPartition, to: usize },
    /// Read this partition, which another shard let go.
    Take(Moved),
    /// The group assigned partitions: ask the committer where to begin.
    Join { table: usize, sources: Vec<TopicPartition>, assignment_epoch: AssignmentEpoch },
    /// The committer's answer.
    Own(Owned),
    /// The group takes partitions back: hand over what was read, and say when it is committed.
    Leave { table: usize, sources: Vec<TopicPartition> },
    /// The committer: nothing of it is uncommitted.
    Left { table: usize, source: TopicPartition, assignment_epoch: AssignmentEpoch },
    /// The group took partitions away, or handing over takes too long: drop what is uncommitted of them.
    Abandon { table: usize, sources: Vec<TopicPartition> },
    /// The table goes no further; other tables do.
    Stop { table: usize },
    /// Read no more, hand over what there is, and end when it is committed.
    Drain,
}

/// A partition on its way from one shard to another.
///
/// What was read of it before `start` is handed over: the ranges of both
/// shards chain, and the committer takes them in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    pub table: usize,
    pub source: TopicPartition,
    pub start: Offset,
    /// What stands as a dead letter already, from `start` on, growing.
    pub held: Vec<Offset>,
    /// `start` is of this generation: a later reset says where to begin instead.
    pub reset_epoch: ResetEpoch,
}

/// A partition of the group that a shard reads from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    pub table: usize,
    pub source: TopicPartition,
    pub request_id: RequestId,
    pub start: Offset,
    /// What stands as a dead letter already, from `start` on, growing; `None`: as the shard knows it.
    pub held: Option<Vec<Offset>>,
}
