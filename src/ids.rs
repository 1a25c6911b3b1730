//! The words everything shares: topic, partition, offset, version, and the
//! half-open offset range that a commit settles.
//!
//! It owns their meaning and their printed form. It does not own any decision
//! about them: those are in `protocol`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A Kafka offset. In a table's `txn` it is the *next* offset to read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

/// A Kafka partition number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub i32);

/// A version of a Delta table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

/// The id that a broker gives to one incarnation of a topic.
///
/// A topic that is deleted and created again keeps its name and gets another
/// id. Brokers that tell no id (librdkafka's mock cluster, Kafka before 2.8)
/// leave it [`TopicId::unknown`], which equals nothing but itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub String);

impl TopicId {
    pub fn unknown() -> TopicId {
        TopicId("-".to_owned())
    }

    pub fn is_unknown(&self) -> bool {
        self.0 == "-"
    }
}

/// One partition of one incarnation of a topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: String,
    pub topic_id: TopicId,
    pub partition: Partition,
}

/// What a commit settles of one partition: every offset in `[start, next)`.
///
/// Holes inside a range are normal (compaction, transaction markers, aborted
/// records): a settled offset is a row, a skipped record, a tombstone, or
/// a dead letter, or nothing. `rows - more_rows + skipped + tombstones +
/// dead_letters <= next - start`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OffsetRange {
    #[serde(flatten)]
    pub source: TopicPartition,
    pub start: Offset,
    pub next: Offset,
    pub rows: u64,
    /// Rows beyond the first of a record that became several.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more_rows: u64,
    pub skipped: u64,
    pub tombstones: u64,
    #[serde(default)]
    pub dead_letters: u64,
}

impl OffsetRange {
    /// The records that it tells of.
    pub fn records(&self) -> u64 {
        self.rows - self.more_rows.min(self.rows) + self.skipped + self.tombstones + self.dead_letters
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.topic, self.partition)
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}..{}", self.source, self.start, self.next)
    }
}

/// Where partitions are read on.
pub type NextOffsets = BTreeMap<TopicPartition, Offset>;
