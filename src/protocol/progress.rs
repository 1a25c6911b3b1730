//! How far one partition has been read, and the range that the next file settles.
//!
//! It owns the open range `[start, position)` of a partition and its counts.
//! It does not own the rows: those are in the columns.
//!
//! Invariant: ranges that leave [`Progress::cut`] chain. Each starts where the
//! one before ended, whatever was delivered twice, skipped or compacted away.

use super::planted::{Bug, planted};
use crate::ids::{Offset, OffsetRange, TopicPartition};

#[derive(Clone, Debug)]
pub struct Progress {
    source: TopicPartition,
    start: Offset,
    position: Offset,
    rows: u64,
    more_rows: u64,
    skipped: u64,
    tombstones: u64,
    dead_letters: u64,
}

/// What became of a record that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordFate {
    /// So many, at least one.
    Rows(u64),
    Skipped,
    DeadLetter,
    Tombstone,
}

impl Progress {
    pub fn new(source: TopicPartition, start: Offset) -> Progress {
        Progress {
            source,
            start,
            position: start,
            rows: 0,
            more_rows: 0,
            skipped: 0,
            tombstones: 0,
            dead_letters: 0,
        }
    }

    pub fn source(&self) -> &TopicPartition {
        &self.source
    }

    /// The next offset that is to be read.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// Where the open range begins.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// A record below the position was settled before: a consumer may deliver
    /// records from before a seek.
    pub fn is_due(&self, offset: Offset) -> bool {
        offset >= self.position || planted(Bug::TakesWhatWasDeliveredBefore)
    }

    /// Accounts for a due record.
    pub fn take(&mut self, offset: Offset, outcome: RecordFate) {
        assert!(self.is_due(offset), "offset {offset} is below the position {}", self.position);
        match outcome {
            RecordFate::Rows(rows) => {
                self.rows += rows;
                self.more_rows += rows - 1;
            }
            RecordFate::Skipped if planted(Bug::CountsSkippedAsRows) => self.rows += 1,
            RecordFate::Skipped => self.skipped += 1,
            RecordFate::DeadLetter => self.dead_letters += 1,
            RecordFate::Tombstone => self.tombstones += 1,
        }
        self.position = Offset(offset.0 + 1);
    }

    /// Moves past offsets that hold no record: markers, aborted or compacted records.
    pub fn pass(&mut self, next: Offset) {
        self.position = self.position.max(next);
    }

    /// Something is read and not yet handed to a commit.
    pub fn is_open(&self) -> bool {
        self.position > self.start
    }

    /// Rows or other records stand in the open range: more than an idle tail.
    pub fn has_records(&self) -> bool {
        self.rows + self.skipped + self.tombstones + self.dead_letters > 0
    }

    /// Closes the open range; the next one starts at its end.
    pub fn cut(&mut self) -> Option<OffsetRange> {
        if !self.is_open() {
            return None;
        }
        if planted(Bug::RangeEndsTooLate) {
            self.position.0 += 1;
        }
        let too_early = planted(Bug::RangeEndsTooEarly) && self.position.0 > self.start.0 + 1;
        let next = if too_early { Offset(self.position.0 - 1) } else { self.position };
        let range = OffsetRange {
            source: self.source.clone(),
            start: self.start,
            next,
            rows: std::mem::take(&mut self.rows),
            more_rows: std::mem::take(&mut self.more_rows),
            skipped: std::mem::take(&mut self.skipped),
            tombstones: std::mem::take(&mut self.tombstones),
            dead_letters: std::mem::take(&mut self.dead_letters),
        };
        self.start = next;
        Some(range)
    }

    /// Forgets everything that was read and begins again at `start`.
    pub fn rewind(&mut self, start: Offset) {
        *self = Progress::new(self.source.clone(), start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, TopicId};

    fn progress(start: i64) -> Progress {
        let source =
            TopicPartition { topic: "t".into(), topic_id: TopicId::unknown(), partition: Partition(0) };
        Progress::new(source, Offset(start))
    }

    #[test]
    fn ranges_chain_over_holes() {
        let mut progress = progress(10);
        progress.take(Offset(12), RecordFate::Rows(1));
        progress.take(Offset(13), RecordFate::Skipped);
        let first = progress.cut().unwrap();
        assert_eq!((first.start, first.next, first.rows, first.skipped), (Offset(10), Offset(14), 1, 1));
        progress.pass(Offset(20));
        assert!(progress.is_open() && !progress.has_records());
        let second = progress.cut().unwrap();
        assert_eq!((second.start, second.next, second.rows), (Offset(14), Offset(20), 0));
        assert_eq!(progress.cut(), None);
    }

    #[test]
    fn what_was_delivered_before_is_not_due_again() {
        let mut progress = progress(10);
        assert!(!progress.is_due(Offset(9)));
        progress.take(Offset(10), RecordFate::Rows(1));
        assert!(!progress.is_due(Offset(10)));
        progress.pass(Offset(5));
        assert_eq!(progress.position(), Offset(11));
    }

    #[test]
    fn a_rewind_forgets_the_open_range() {
        let mut progress = progress(10);
        progress.take(Offset(10), RecordFate::Rows(1));
        progress.rewind(Offset(4));
        assert!(!progress.is_open());
        progress.take(Offset(4), RecordFate::Tombstone);
        let range = progress.cut().unwrap();
        assert_eq!((range.start, range.next, range.rows, range.tombstones), (Offset(4), Offset(5), 0, 1));
    }
}
