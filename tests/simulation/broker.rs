//! A broker's topic and a consumer of it.
//!
//! It owns what stands at each offset: a row, a record that is no row, a
//! tombstone, or nothing (markers, aborted and compacted records).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::error::{Error, ErrorKind};
use thalweg::ids::{Offset, Partition};
use thalweg::protocol::anchor::Watermarks;
use thalweg::source::{Assignment, Event, RecordBatch, Slot, Source};

use crate::chance::Chance;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    Row(i64),
    /// A row where new fields are ignored, no row where they are refused.
    Doubtful(i64),
    Malformed,
    Tombstone,
    /// A marker or an aborted record: never delivered.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub content: Content,
    /// Gone by now: whoever has not read it will not.
    pub compacted: bool,
}

#[derive(Clone, Default, Debug)]
pub struct PartitionLog {
    pub low: i64,
    pub entries: Vec<Entry>,
}

impl PartitionLog {
    pub fn end(&self) -> i64 {
        self.low + self.entries.len() as i64
    }

    pub fn at(&self, offset: i64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset - self.low).ok()?)
    }
}

#[derive(Default)]
pub struct Broker {
    pub partitions: Vec<PartitionLog>,
    next_id: i64,
}

pub type SharedBroker = Arc<Mutex<Broker>>;

impl Broker {
    pub fn add_partition(&mut self, chance: &mut Chance) {
        let low = if chance.one_in(2) { 0 } else { chance.below(50) as i64 };
        self.partitions.push(PartitionLog { low, entries: Vec::new() });
    }

    pub fn produce(&mut self, partition: usize, count: u64, chance: &mut Chance) {
        for _ in 0..count {
            let content = match chance.below(20) {
                0 => Content::Malformed,
                1 => Content::Tombstone,
                4 | 5 => {
                    self.next_id += 1;
                    Content::Doubtful(self.next_id)
                }
                2 | 3 => Content::Nothing,
                _ => {
                    self.next_id += 1;
                    Content::Row(self.next_id)
                }
            };
            self.partitions[partition].entries.push(Entry { content, compacted: false });
        }
        if chance.one_in(3) {
            // A transaction's end marker.
            self.partitions[partition].entries.push(Entry { content: Content::Nothing, compacted: false });
        }
    }

    pub fn compact(&mut self, chance: &mut Chance) {
        let partition = chance.index(self.partitions.len());
        let entries = &mut self.partitions[partition].entries;
        if !entries.is_empty() {
            let index = chance.index(entries.len());
            entries[index].compacted = true;
        }
    }

    pub fn watermarks(&self, latest: bool) -> BTreeMap<Partition, Watermarks> {
        let marks = |log: &PartitionLog| Watermarks {
            low: Offset(log.low),
            end: Offset(log.end()),
            first_run: Offset(if latest { log.end() } else { log.low }),
        };
        (0i32..).zip(&self.partitions).map(|(number, log)| (Partition(number), marks(log))).collect()
    }
}

/// What a consumer does wrong, where a test plants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SourceBug {
    #[default]
    None,
    /// A record is passed over now and then.
    Loses,
    /// A record's bytes are delivered at the offset of the next one.
    Shifts,
}

pub struct SimSource {
    broker: SharedBroker,
    chance: Chance,
    /// By slot; `None` after a release.
    reading: Vec<Option<Reader>>,
    batch_max: u64,
    /// One poll in so many loses a partition; 0: none does.
    lost_one_in: u64,
    bug: SourceBug,
    /// What was polled and not told.
    events: VecDeque<(Event, RecordBatch)>,
}

struct Reader {
    partition: usize,
    position: i64,
    start: i64,
    /// The end that was told last.
    told: Option<i64>,
}

impl SimSource {
    pub fn new(broker: SharedBroker, mut chance: Chance, lost_one_in: u64, bug: SourceBug) -> SimSource {
        let batch_max = 1 + chance.below(12);
        SimSource {
            broker,
            chance,
            reading: Vec::new(),
            batch_max,
            lost_one_in,
            bug,
            events: VecDeque::new(),
        }
    }

    fn poll_slot(&mut self, slot: usize) {
        let Some(reader) = &mut self.reading[slot] else { return };
        let broker = self.broker.lock().unwrap();
        let log = &broker.partitions[reader.partition];
        let mut batch = RecordBatch::default();
        let slot = Slot(slot as u32);
        let mut filling = batch.start(slot);
        let wanted = 1 + self.chance.below(self.batch_max);
        // A consumer may deliver records from before a seek.
        let from = if reader.position == reader.start && self.chance.one_in(4) {
            (reader.position - 3).max(log.low)
        } else {
            reader.position
        };
        let mut at = from;
        while at < log.end() && (filling.len() as u64) < wanted {
            let entry = log.entries[(at - log.low) as usize];
            let told_at = if self.bug == SourceBug::Shifts && self.chance.one_in(20) { at + 1 } else { at };
            let lost = self.bug == SourceBug::Loses && self.chance.one_in(20);
            at = told_at + 1;
            if entry.compacted || lost {
                continue;
            }
            let text;
            let value = match entry.content {
                Content::Row(id) => {
                    text = format!("{{\"id\":{id}}}");
                    Some(text.as_bytes())
                }
                Content::Doubtful(id) => {
                    text = format!("{{\"id\":{id},\"new\":1}}");
                    Some(text.as_bytes())
                }
                Content::Malformed => Some(&b"{\"id\":"[..]),
                Content::Tombstone => None,
                Content::Nothing => continue,
            };
            filling.push(Offset(told_at), Some(told_at), None, value);
        }
        reader.position = reader.position.max(at);
        drop(filling);
        if !batch.is_empty() {
            self.events.push_back((Event::Records, batch));
        }
        if reader.position >= log.end() && reader.told != Some(log.end()) && !self.chance.one_in(3) {
            reader.told = Some(log.end());
            let end = Event::End { slot, next: Offset(log.end()) };
            self.events.push_back((end, RecordBatch::default()));
        }
    }
}

impl Source for SimSource {
    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        for assignment in assignments {
            let slot = assignment.slot.index();
            if self.reading.len() <= slot {
                self.reading.resize_with(slot + 1, || None);
            }
            self.reading[slot] = Some(Reader {
                partition: assignment.partition.0 as usize,
                position: assignment.start.0,
                start: assignment.start.0,
                told: None,
            });
        }
        Ok(())
    }

    fn release(&mut self, slot: Slot) {
        self.reading[slot.index()] = None;
    }

    fn poll(&mut self, _wait: Duration) {
        if self.reading.is_empty() {
            return;
        }
        let first = self.chance.index(self.reading.len());
        for step in 0..self.reading.len() {
            let slot = (first + step) % self.reading.len();
            if self.chance.one_in(3) {
                continue;
            }
            if self.lost_one_in > 0 && self.chance.one_in(self.lost_one_in) && self.reading[slot].is_some() {
                let error = Error::new(ErrorKind::Disagree, "the partition cannot be read on");
                let lost = Event::Lost { slot: Slot(slot as u32), error };
                self.events.push_back((lost, RecordBatch::default()));
                continue;
            }
            self.poll_slot(slot);
        }
    }

    fn next(&mut self, batch: &mut RecordBatch) -> Option<Event> {
        let (event, records) = self.events.pop_front()?;
        *batch = records;
        Some(event)
    }

    fn headers(&self, _index: usize, out: &mut Vec<u8>) {
        out.clear();
    }

    fn end(&self, slot: Slot) -> Option<Offset> {
        let reader = self.reading.get(slot.index())?.as_ref()?;
        Some(Offset(self.broker.lock().unwrap().partitions[reader.partition].end()))
    }
}
