//! Records of a topic, to look at: from the beginning, the middle and the end
//! of every partition.
//!
//! It owns which records are read, and the bounds of time, number and memory.
//! What is made of them is the caller's.
//!
//! A partition of many offsets is cut into three spans that begin where a
//! sample begins. Of each span the first records are taken, and a span ends
//! where the next one begins: no record is read twice, and where compaction
//! left a few records in a wide span, all of them are found. A partition of
//! few offsets is one span.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::columnar::RecordFacts;
use crate::config::Kafka;
use crate::error::Result;
use crate::ids::{Offset, Partition};
use crate::protocol::anchor::Watermarks;
use crate::record::{Headers, Record};
use crate::source::catalog::Topic;
use crate::source::kafka::KafkaSource;
use crate::source::prefetch::Prefetch;
use crate::source::{Assignment, Event, RecordBatch, Slot, Source};

/// How long reading a sample may take; each span has its share.
const TIMEOUT: Duration = Duration::from_secs(6);
/// Keys, headers and payloads that are kept at once; each span has its share.
const BYTES_MAX: usize = 48 << 20;
/// Beginning, middle and end.
const SPANS: usize = 3;

/// A record that was read to look at it.
#[derive(Debug)]
pub struct Sampled {
    pub partition: Partition,
    pub offset: Offset,
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    /// In the form of [`Headers`].
    headers: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Sampled {
    fn of(partition: Partition, record: &Record<'_>) -> Sampled {
        Sampled {
            partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            headers: record.headers.bytes().to_vec(),
            payload: record.value.map(|value| value.to_vec()).unwrap_or_default(),
        }
    }

    /// For a row that nobody keeps: whatever fits in any case is left open.
    pub(super) fn facts(&self) -> RecordFacts<'_> {
        let record = Record {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            log_append_time: Some(false),
            key: self.key.as_deref(),
            value: None,
            headers: Headers::over(&self.headers),
        };
        RecordFacts { topic: "", partition: self.partition.0, record }
    }
}

/// Reads about `records_max` records, at least one of each span, tombstones left out; in the order of
/// partitions and offsets.
pub fn sample(
    kafka: &Kafka,
    topic: &Topic,
    watermarks: &BTreeMap<Partition, Watermarks>,
    records_max: usize,
    clock: &SharedClock,
) -> Result<Vec<Sampled>> {
    let filled: Vec<_> = watermarks.iter().filter(|(_, marks)| marks.end > marks.low).collect();
    if filled.is_empty() {
        return Ok(Vec::new());
    }
    let share = records_max.div_ceil(filled.len()).max(SPANS);
    let plans = filled.iter().map(|&(&partition, marks)| Plan::new(partition, marks, share)).collect();
    let mut source = KafkaSource::new(kafka, Prefetch::for_a_sample())?;
    let mut reading = Reading { topic, plans, sampled: Vec::new(), bytes: 0, bytes_max: 0 };
    reading.begin(&mut source)?;
    let begun = clock.boot();
    for span in 1..=SPANS {
        let part = |whole: Duration| whole * u32::try_from(span).expect("three") / 3;
        reading.bytes_max = BYTES_MAX / SPANS * span;
        reading.read(&mut source, span, || clock.boot() < begun + part(TIMEOUT))?;
    }
    reading.sampled.sort_by_key(|record| (record.partition, record.offset));
    Ok(reading.sampled)
}

/// Offsets of which the first records are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    start: Offset,
    end: Offset,
    /// Records that are still wanted.
    wanted: usize,
}

/// Cuts the offsets of a partition.
fn spans(marks: &Watermarks, share: usize) -> Vec<Span> {
    let (low, end, third) = (marks.low.0, marks.end.0, share / SPANS);
    let (all, step) = [share, third].map(|records| i64::try_from(records).unwrap_or(i64::MAX)).into();
    if end - low <= all {
        return vec![Span { start: marks.low, end: marks.end, wanted: share }];
    }
    let (middle, last) = (low + (end - low - step) / 2, end - step);
    let span = |start, end, wanted| Span { start: Offset(start), end: Offset(end), wanted };
    vec![span(low, middle, share - 2 * third), span(middle, last, third), span(last, end, third)]
}

/// What is read of one partition.
struct Plan {
    partition: Partition,
    /// The spans that were not begun, the last one first.
    ahead: Vec<Span>,
    /// The one that is read; `None`: the partition is done.
    span: Option<Span>,
    /// Offsets before this were looked at, or are not wanted.
    next: Offset,
}

impl Plan {
    fn new(partition: Partition, marks: &Watermarks, share: usize) -> Plan {
        let mut ahead = spans(marks, share);
        ahead.reverse();
        let span = ahead.pop();
        Plan { partition, ahead, span, next: marks.low }
    }

    /// The number of the span that is read, the last one being [`SPANS`]; `None`: the partition is done.
    fn at(&self) -> Option<usize> {
        self.span.map(|_| SPANS - self.ahead.len())
    }

    /// Whether a record that was delivered is part of the sample.
    fn takes(&mut self, offset: Offset, is_tombstone: bool) -> bool {
        let Some(span) = self.span.as_mut().filter(|span| self.next <= offset && offset < span.end) else {
            // It was fetched ahead for the span before, or is beyond this one.
            return false;
        };
        self.next = Offset(offset.0 + 1);
        if is_tombstone || span.wanted == 0 {
            return false;
        }
        span.wanted -= 1;
        true
    }

    /// Whether nothing more is wanted of the span once the offset `last` was delivered.
    fn is_over(&self, last: Offset) -> bool {
        self.span.is_some_and(|span| span.wanted == 0 || last.0 + 1 >= span.end.0)
    }

    /// Leaves the span; tells where the next one begins.
    fn go_on(&mut self) -> Option<Offset> {
        self.span = self.ahead.pop();
        self.next = self.span?.start;
        Some(self.next)
    }

    /// The partition's end was reached: later spans hold no record either.
    fn finish(&mut self) {
        self.ahead.clear();
        self.span = None;
    }
}

/// A sample while it is read.
struct Reading<'a> {
    topic: &'a Topic,
    /// By slot.
    plans: Vec<Plan>,
    sampled: Vec<Sampled>,
    bytes: usize,
    bytes_max: usize,
}

impl Reading<'_> {
    fn begin(&self, source: &mut KafkaSource) -> Result<()> {
        let starts = self.plans.iter().map(|plan| plan.next).enumerate();
        let assignments: Vec<Assignment> = starts.map(|(index, start)| self.from(index, start)).collect();
        source.assign(&assignments)
    }

    fn from(&self, index: usize, start: Offset) -> Assignment {
        Assignment {
            slot: slot(index),
            topic: self.topic.name.clone(),
            partition: self.plans[index].partition,
            start,
            headers: true,
        }
    }

    /// Reads until every partition has left its spans up to this one. Who is too slow or too large for
    /// that goes on with the next span all the same.
    fn read(&mut self, source: &mut KafkaSource, span: usize, in_time: impl Fn() -> bool) -> Result<()> {
        let mut batch = RecordBatch::default();
        let is_open = |plan: &Plan| plan.at().is_some_and(|at| at <= span);
        while in_time() && self.bytes < self.bytes_max && self.plans.iter().any(is_open) {
            source.poll(Duration::from_millis(50));
            while let Some(event) = source.next(&mut batch) {
                match event {
                    Event::Records => self.take(source, &batch)?,
                    Event::End { slot, .. } => {
                        self.plans[slot.index()].finish();
                        source.release(slot);
                    }
                    // What comes next of it is waited for as long as all else.
                    Event::Troubled { .. } => {}
                    Event::Lost { error, .. } => return Err(error),
                }
            }
        }
        for index in 0..self.plans.len() {
            if is_open(&self.plans[index]) {
                self.go_on(source, index)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, source: &mut KafkaSource, batch: &RecordBatch) -> Result<()> {
        let index = batch.slot().index();
        let plan = &mut self.plans[index];
        let mut last = Offset(plan.next.0 - 1);
        for record in batch.records() {
            last = record.offset;
            if self.bytes < self.bytes_max && plan.takes(record.offset, record.value.is_none()) {
                self.bytes += record.size();
                self.sampled.push(Sampled::of(plan.partition, &record));
            }
        }
        if plan.is_over(last) { self.go_on(source, index) } else { Ok(()) }
    }

    fn go_on(&mut self, source: &mut KafkaSource, index: usize) -> Result<()> {
        match self.plans[index].go_on() {
            Some(start) => source.assign(&[self.from(index, start)])?,
            None => source.release(slot(index)),
        }
        Ok(())
    }
}

fn slot(index: usize) -> Slot {
    Slot(u32::try_from(index).expect("a topic has fewer than 4 billion partitions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets that a sample of a partition takes, which holds some of the offsets up to `end`.
    fn taken(low: i64, end: i64, share: usize, holds: impl Fn(i64) -> bool) -> Vec<i64> {
        let marks = Watermarks { low: Offset(low), end: Offset(end), first_run: Offset(low) };
        let mut plan = Plan::new(Partition(0), &marks, share);
        let (mut taken, mut at) = (Vec::new(), low);
        while plan.span.is_some() {
            match (at..end).find(|offset| holds(*offset)) {
                None => plan.finish(),
                Some(offset) => {
                    taken.extend(plan.takes(Offset(offset), false).then_some(offset));
                    at = offset + 1;
                    if plan.is_over(Offset(offset)) {
                        at = plan.go_on().map_or(end, |start| start.0);
                    }
                }
            }
        }
        taken
    }

    #[test]
    fn beginning_middle_and_end_of_a_long_partition_are_sampled() {
        let found = taken(0, 4000, 9, |_| true);
        assert_eq!(found, [0, 1, 2, 1998, 1999, 2000, 3997, 3998, 3999]);
        assert_eq!(taken(100, 2_000_000_100, 3, |_| true), [100, 1_000_000_099, 2_000_000_099]);
    }

    #[test]
    fn a_short_partition_is_sampled_whole_and_once() {
        for end in 1..40 {
            let found = taken(0, end, 12, |_| true);
            let mut once = found.clone();
            once.dedup();
            assert_eq!(found, once);
            assert_eq!(found.len(), usize::try_from(end).unwrap().min(12), "{found:?} of {end}");
        }
    }

    #[test]
    fn the_few_records_that_compaction_left_are_all_found() {
        let kept = [5, 70_000, 480_000, 480_001, 700_000, 990_000];
        assert_eq!(taken(0, 1_000_000, 30, |offset| kept.contains(&offset)), kept);
        assert_eq!(taken(0, 1_000_000, 30, |_| false), [0_i64; 0]);
    }

    #[test]
    fn what_was_fetched_ahead_for_the_span_before_is_not_taken_twice() {
        let marks = Watermarks { low: Offset(0), end: Offset(100), first_run: Offset(0) };
        let mut plan = Plan::new(Partition(0), &marks, 3);
        assert!(plan.takes(Offset(0), false) && plan.is_over(Offset(0)));
        let middle = plan.go_on().unwrap();
        assert!(!plan.takes(Offset(1), false), "of the span before");
        assert!(plan.takes(middle, false));
        assert!(!plan.takes(middle, false), "again");
        plan.go_on();
        assert!(!plan.takes(middle, false));
    }
}
