//! Which finished files may be committed now.
//!
//! It owns the next offset of every partition as the table has it, and the
//! finished work that waits for its turn. It does not own the table: the
//! committer tells it what was committed.
//!
//! Invariant: a unit of work is handed out only if, for each of its ranges,
//! the table's offset equals the range's start, counting the work handed out
//! before it. So offsets have no overlap and no gap, in whatever order
//! uploads finish.

use std::collections::BTreeMap;

use super::planted::{Bug, planted};
use crate::ids::{Offset, OffsetRange, TopicPartition};

/// A finished file (or none, for offsets that moved without rows) and what it settles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work<F> {
    /// The shard that did it, to be told when it is committed.
    pub shard: usize,
    /// The shard's number for it, growing.
    pub unit: u64,
    pub file: Option<F>,
    /// Its dead letters, to be committed first.
    pub dead_letters: Option<F>,
    pub ranges: Vec<OffsetRange>,
    /// The topic was the known one after all of this was fetched.
    pub confirmed: bool,
}

#[derive(Debug)]
pub struct Ledger<F> {
    next_offsets: BTreeMap<TopicPartition, Offset>,
    waiting: Vec<Work<F>>,
}

/// Why work was not accepted. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Offered {
    Accepted,
    /// The range begins below the table's offset: it was settled before.
    Stale(OffsetRange),
    /// The partition has no offset in the table: nobody anchored it.
    Unanchored(TopicPartition),
}

impl<F> Ledger<F> {
    pub fn new(next_offsets: BTreeMap<TopicPartition, Offset>) -> Ledger<F> {
        Ledger { next_offsets, waiting: Vec::new() }
    }

    pub fn next_offsets(&self) -> &BTreeMap<TopicPartition, Offset> {
        &self.next_offsets
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn offer(&mut self, work: Work<F>) -> Offered {
        for range in &work.ranges {
            assert!(range.start < range.next, "an empty range settles nothing: {range}");
            match self.next_offsets.get(&range.source) {
                None => return Offered::Unanchored(range.source.clone()),
                Some(&tip) if range.start < tip => return Offered::Stale(range.clone()),
                Some(_) => {}
            }
        }
        self.waiting.push(work);
        Offered::Accepted
    }

    /// Takes the work that chains onto the table's offsets, at most `max` units.
    pub fn take_ready(&mut self, max: usize) -> Vec<Work<F>> {
        let mut next_offsets = self.next_offsets.clone();
        let mut ready = Vec::new();
        // Work mostly arrives in order, so one pass usually finds all of it.
        loop {
            let before = ready.len();
            let mut index = 0;
            while index < self.waiting.len() && ready.len() < max {
                let chains = self.waiting[index]
                    .ranges
                    .iter()
                    .all(|range| next_offsets.get(&range.source) == Some(&range.start));
                if chains || planted(Bug::NoTxnCompare) {
                    let work = self.waiting.remove(index);
                    advance(&mut next_offsets, &work);
                    ready.push(work);
                } else {
                    index += 1;
                }
            }
            if ready.len() == before || ready.len() == max {
                return ready;
            }
        }
    }

    /// The table holds this work now.
    pub fn committed(&mut self, work: &[Work<F>]) {
        for unit in work {
            advance(&mut self.next_offsets, unit);
        }
    }

    /// Work that was handed out and not committed waits again, before what came after it.
    pub fn give_back(&mut self, work: Vec<Work<F>>) {
        self.waiting.splice(0..0, work);
    }

    /// Reads on in more partitions, from the table's offsets.
    pub fn join(&mut self, next_offsets: BTreeMap<TopicPartition, Offset>) {
        self.next_offsets.extend(next_offsets);
    }

    /// Knows the partition no more. No work of it may wait.
    pub fn leave(&mut self, source: &TopicPartition) {
        self.next_offsets.remove(source);
    }

    /// Takes the waiting work out that nobody stands behind any more.
    pub fn discard(&mut self, is_discarded: impl Fn(&Work<F>) -> bool) -> Vec<Work<F>> {
        self.waiting.extract_if(.., |work| is_discarded(work)).collect()
    }

    /// Begins again from the table's offsets; all waiting work is dropped.
    pub fn reset(&mut self, next_offsets: BTreeMap<TopicPartition, Offset>) -> Vec<Work<F>> {
        self.next_offsets = next_offsets;
        if planted(Bug::LedgerOutlivesAReset) {
            return Vec::new();
        }
        std::mem::take(&mut self.waiting)
    }
}

fn advance<F>(next_offsets: &mut BTreeMap<TopicPartition, Offset>, work: &Work<F>) {
    for range in &work.ranges {
        let tip = next_offsets.get_mut(&range.source).expect("work is accepted for known partitions only");
        assert!(*tip == range.start || planted(Bug::NoTxnCompare), "work must chain onto {tip}: {range}");
        *tip = range.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, TopicId};

    fn source(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), topic_id: TopicId::unknown(), partition: Partition(partition) }
    }

    fn work(name: &'static str, ranges: &[(i32, i64, i64)]) -> Work<&'static str> {
        let ranges = ranges
            .iter()
            .map(|&(partition, start, next)| OffsetRange {
                source: source(partition),
                start: Offset(start),
                next: Offset(next),
                rows: (next - start) as u64,
                more_rows: 0,
                skipped: 0,
                tombstones: 0,
                dead_letters: 0,
            })
            .collect();
        Work { shard: 0, unit: 0, file: Some(name), dead_letters: None, ranges, confirmed: false }
    }

    fn ledger() -> Ledger<&'static str> {
        Ledger::new([(source(0), Offset(0)), (source(1), Offset(100))].into())
    }

    fn names(work: &[Work<&'static str>]) -> Vec<&'static str> {
        work.iter().filter_map(|unit| unit.file).collect()
    }

    #[test]
    fn uploads_that_finish_out_of_order_are_committed_in_order() {
        let mut ledger = ledger();
        assert_eq!(ledger.offer(work("third", &[(0, 20, 30)])), Offered::Accepted);
        assert_eq!(ledger.offer(work("second", &[(0, 10, 20), (1, 100, 105)])), Offered::Accepted);
        assert!(ledger.take_ready(10).is_empty());
        assert_eq!(ledger.offer(work("first", &[(0, 0, 10)])), Offered::Accepted);
        let ready = ledger.take_ready(10);
        assert_eq!(names(&ready), ["first", "second", "third"]);
        ledger.committed(&ready);
        assert_eq!(ledger.next_offsets()[&source(0)], Offset(30));
        assert_eq!(ledger.next_offsets()[&source(1)], Offset(105));
    }

    #[test]
    fn a_gap_holds_back_only_what_lies_behind_it() {
        let mut ledger = ledger();
        assert_eq!(ledger.offer(work("behind a gap", &[(0, 5, 10)])), Offered::Accepted);
        assert_eq!(ledger.offer(work("free", &[(1, 100, 101)])), Offered::Accepted);
        assert_eq!(names(&ledger.take_ready(10)), ["free"]);
        assert_eq!(ledger.waiting(), 1);
    }

    #[test]
    fn resolved_offsets_are_refused() {
        let mut ledger = ledger();
        assert!(matches!(ledger.offer(work("again", &[(1, 90, 110)])), Offered::Stale(_)));
        assert!(matches!(ledger.offer(work("unknown", &[(7, 0, 1)])), Offered::Unanchored(_)));
        assert_eq!(ledger.waiting(), 0);
    }

    #[test]
    fn work_that_was_given_back_goes_first_and_what_came_meanwhile_goes_along() {
        let mut ledger = ledger();
        assert_eq!(ledger.offer(work("first", &[(0, 0, 10)])), Offered::Accepted);
        let taken = ledger.take_ready(10);
        assert_eq!(ledger.offer(work("second", &[(0, 10, 20)])), Offered::Accepted);
        assert!(ledger.take_ready(10).is_empty());
        ledger.give_back(taken);
        assert_eq!(names(&ledger.take_ready(10)), ["first", "second"]);
    }

    #[test]
    fn partitions_come_and_go_beside_the_others() {
        let mut ledger = ledger();
        assert_eq!(ledger.offer(work("stays", &[(0, 0, 10)])), Offered::Accepted);
        assert_eq!(ledger.offer(work("goes", &[(1, 100, 110)])), Offered::Accepted);
        assert_eq!(names(&ledger.discard(|unit| unit.file == Some("goes"))), ["goes"]);
        ledger.leave(&source(1));
        assert!(matches!(ledger.offer(work("late", &[(1, 100, 110)])), Offered::Unanchored(_)));
        ledger.join([(source(1), Offset(150))].into());
        assert_eq!(ledger.offer(work("back", &[(1, 150, 160)])), Offered::Accepted);
        assert_eq!(names(&ledger.take_ready(10)), ["stays", "back"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut ledger = ledger();
        for n in 0..5 {
            assert_eq!(ledger.offer(work("x", &[(0, n, n + 1)])), Offered::Accepted);
        }
        assert_eq!(ledger.take_ready(2).len(), 2);
        assert_eq!(ledger.waiting(), 3);
    }
}
