//! What a shard holds of one partition.

use std::time::Duration;

use crate::columnar::SchemaName;
use crate::exchange::Reading;
use crate::ids::Offset;
use crate::protocol::membership::AssignmentEpoch;
use crate::protocol::planted::{Bug, planted};
use crate::protocol::progress::Progress;
use crate::source::Slot;

pub(super) struct PartitionState {
    pub(super) table: usize,
    pub(super) progress: Progress,
    /// What stands as a dead letter already and is passed over, growing.
    pub(super) held: Vec<Offset>,
    pub(super) end: Option<Offset>,
    pub(super) reading: bool,
    /// Boot time at which the broker last had no records of it for us, and said why.
    pub(super) troubled: Option<Duration>,
    /// Another one reads it now.
    pub(super) moved: bool,
    /// It is read on once this is known.
    pub(super) needs: Option<SchemaName>,
    /// Of the assignment by which it is read.
    pub(super) assignment_epoch: AssignmentEpoch,
    /// Time that it took since the last report.
    pub(super) busy: Duration,
}

impl PartitionState {
    pub(super) fn new(table: usize, reading: Reading) -> PartitionState {
        PartitionState {
            table,
            reading: reading.end.is_none_or(|end| reading.start < end),
            end: reading.end,
            progress: Progress::new(reading.source, reading.start),
            held: reading.held,
            troubled: None,
            moved: false,
            needs: None,
            assignment_epoch: AssignmentEpoch::default(),
            busy: Duration::ZERO,
        }
    }

    pub(super) fn is_held(&self, offset: Offset) -> bool {
        self.held.last().is_some_and(|&last| offset <= last)
            && self.held.binary_search(&offset).is_ok()
            && !planted(Bug::JudgesDeadLettersAgain)
    }
}

pub(super) fn slot(index: usize) -> Slot {
    Slot(u32::try_from(index).expect("a shard has fewer than 4 billion partitions"))
}
