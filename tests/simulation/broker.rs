//! A broker's topic, what happens to it, and a consumer of it.
//!
//! It owns what stands at each offset: a row, a record that is no row, a
//! tombstone, or nothing (markers, aborted and compacted records). Nothing is
//! forgotten of what once stood there: the oracle asks for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::error::{Error, ErrorKind, Result};
use thalweg::ids::{Offset, Partition, TopicId};
use thalweg::protocol::anchor::Watermarks;
use thalweg::source::catalog::Topic;
use thalweg::source::identity_check::Topics;
use thalweg::source::{Assignment, Event, RecordBatch, Slot, Source};

use crate::chance::Chance;
use crate::oracle::TOPIC;

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

impl Content {
    /// What a record of it holds; `None` where there is none, or it is empty.
    pub fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Content::Row(id) => Some(format!("{{\"id\":{id}}}").into_bytes()),
            Content::Doubtful(id) => Some(format!("{{\"id\":{id},\"new\":1}}").into_bytes()),
            Content::Malformed => Some(b"{\"id\":".to_vec()),
            Content::Tombstone | Content::Nothing => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub content: Content,
    /// Gone by now: whoever has not read it will not.
    pub compacted: bool,
}

#[derive(Clone, Default, Debug)]
pub struct PartitionLog {
    /// The first offset that ever was.
    pub first: i64,
    /// The first that retention has left.
    pub low: i64,
    /// From `first` on.
    pub entries: Vec<Entry>,
    /// Where an open transaction begins: nothing is read from there on.
    open: Option<i64>,
}

impl PartitionLog {
    fn beginning_at(first: i64) -> PartitionLog {
        PartitionLog { first, low: first, ..PartitionLog::default() }
    }

    /// The last stable offset: what can be read ends here.
    pub fn end(&self) -> i64 {
        self.open.unwrap_or(self.first + self.entries.len() as i64)
    }

    pub fn at(&self, offset: i64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset - self.first).ok()?)
    }

    fn push(&mut self, content: Content) {
        self.entries.push(Entry { content, compacted: false });
    }

    fn begin_transaction(&mut self) {
        self.open.get_or_insert(self.first + self.entries.len() as i64);
    }

    /// Ends the open transaction; all that came since was part of it.
    fn end_transaction(&mut self, abort: bool) {
        let Some(begun) = self.open.take() else { return };
        if abort {
            for entry in &mut self.entries[(begun - self.first) as usize..] {
                entry.content = Content::Nothing;
            }
        }
        self.push(Content::Nothing);
    }
}

pub struct Broker {
    /// Of the topic.
    name: &'static str,
    pub partitions: Vec<PartitionLog>,
    /// The topic that the table is of, once there is another one of its name.
    former: Option<Vec<PartitionLog>>,
    exists: bool,
    /// An old broker tells no topic ids.
    tells_ids: bool,
    /// Much of what is produced is a row for one config and none for another.
    is_doubtful: bool,
    /// Nobody leads its partitions: nothing is read, and no question about it is answered.
    pub is_silent: bool,
    next_id: i64,
}

pub type SharedBroker = Arc<Mutex<Broker>>;

/// The logs of a topic that was created again have the numbers of its partitions and so much.
const AGAIN: i32 = 100;

/// The number of a partition's log; `None` for a topic that never was.
pub fn number(topic_id: &str, partition: i32) -> Option<i32> {
    match topic_id {
        "-" | "A" => Some(partition),
        "B" => Some(AGAIN + partition),
        _ => None,
    }
}

impl Broker {
    pub fn new(tells_ids: bool, is_doubtful: bool) -> Broker {
        Broker {
            name: TOPIC,
            partitions: Vec::new(),
            former: None,
            exists: true,
            tells_ids,
            is_doubtful,
            is_silent: false,
            next_id: 0,
        }
    }

    /// One topic among others: no row of it has the id of another one's.
    pub fn named(self, name: &'static str, next_id: i64) -> Broker {
        Broker { name, next_id, ..self }
    }

    /// The logs of a topic, by number.
    pub fn logs(&self, topic_id: &str) -> impl Iterator<Item = (i32, &PartitionLog)> {
        let first = number(topic_id, 0).unwrap_or(0);
        let logs = match &self.former {
            Some(former) if first == 0 => &former[..],
            None if first > 0 => &[],
            _ => &self.partitions[..],
        };
        (first..).zip(logs)
    }

    pub fn log(&self, number: i32) -> Option<&PartitionLog> {
        let topic_id = if number < AGAIN { "A" } else { "B" };
        self.logs(topic_id).find(|(of, _)| *of == number).map(|(_, log)| log)
    }

    /// What ever stood at an offset of a log.
    pub fn content(&self, (number, offset): (i32, i64)) -> Option<Content> {
        self.log(number)?.at(offset).map(|entry| entry.content)
    }

    /// The log that a row came from: two topics have records at the same offsets, with other ids.
    pub fn number_of_row(&self, partition: i32, offset: i64, id: i64) -> Option<i32> {
        let is_it = |number: &i32| matches!(self.content((*number, offset)), Some(Content::Row(of) | Content::Doubtful(of)) if of == id);
        [partition, AGAIN + partition].into_iter().find(is_it)
    }

    pub fn was_created_again(&self) -> bool {
        self.former.is_some()
    }

    /// The topic as the broker tells it now.
    pub fn topic(&self) -> Option<Topic> {
        let id = match (self.tells_ids, &self.former) {
            (false, _) => TopicId::unknown(),
            (true, None) => TopicId("A".to_owned()),
            (true, Some(_)) => TopicId("B".to_owned()),
        };
        let partitions = (0..self.partitions.len() as i32).map(Partition).collect();
        self.exists.then(|| Topic { name: self.name.to_owned(), id, partitions })
    }

    pub fn tell_ids(&mut self) {
        self.tells_ids = true;
    }

    /// The topic is deleted, or, where it was, created again with other records at the same offsets.
    pub fn delete_or_create(&mut self, chance: &mut Chance) {
        if std::mem::replace(&mut self.exists, false) {
            return;
        }
        self.exists = true;
        let fresh = vec![PartitionLog::default(); self.partitions.len()];
        let former = std::mem::replace(&mut self.partitions, fresh);
        self.former.get_or_insert(former);
        for partition in 0..self.partitions.len() {
            // Longer or shorter than what was read of the topic before.
            let count = chance.below(80);
            self.produce(partition, count, chance);
        }
    }

    pub fn add_partition(&mut self, chance: &mut Chance) {
        let first = if chance.one_in(2) { 0 } else { chance.below(50) as i64 };
        self.partitions.push(PartitionLog::beginning_at(first));
    }

    pub fn produce(&mut self, partition: usize, count: u64, chance: &mut Chance) {
        if chance.one_in(8) {
            self.partitions[partition].begin_transaction();
        }
        for _ in 0..count {
            let content = match chance.below(20) {
                0 => Content::Malformed,
                1 => Content::Tombstone,
                kind if kind == 4 || kind == 5 || (self.is_doubtful && kind > 10) => {
                    self.next_id += 1;
                    Content::Doubtful(self.next_id)
                }
                2 | 3 => Content::Nothing,
                _ => {
                    self.next_id += 1;
                    Content::Row(self.next_id)
                }
            };
            self.partitions[partition].push(content);
        }
        if chance.one_in(3) {
            self.partitions[partition].end_transaction(chance.one_in(3));
        }
        if chance.one_in(3) {
            // The marker of a transaction of another partition's records.
            self.partitions[partition].push(Content::Nothing);
        }
    }

    /// Every transaction comes to its end, and a deleted topic is there again.
    pub fn calm_down(&mut self, chance: &mut Chance) {
        if !self.exists {
            self.delete_or_create(chance);
        }
        for log in &mut self.partitions {
            log.end_transaction(chance.one_in(3));
        }
    }

    pub fn compact(&mut self, chance: &mut Chance) {
        let partition = chance.index(self.partitions.len());
        let log = &mut self.partitions[partition];
        let stable = (log.end() - log.first) as usize;
        if stable > 0 {
            let index = chance.index(stable);
            log.entries[index].compacted = true;
        }
    }

    /// Retention deletes the oldest records of a partition, read or not.
    pub fn retain(&mut self, chance: &mut Chance) {
        let partition = chance.index(self.partitions.len());
        let log = &mut self.partitions[partition];
        log.low += chance.below((log.end() - log.low + 1) as u64) as i64;
    }

    /// As the catalog does it: asked for the offsets, then once more for the topic.
    pub fn watermarks_of_the_same(
        &self,
        known: &Topic,
        latest: bool,
    ) -> Result<BTreeMap<Partition, Watermarks>> {
        if let Some(now) = self.topic() {
            known.is_still(&now.id)?;
        }
        Ok(self.watermarks(latest))
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

fn place_of(brokers: &[SharedBroker], name: &str) -> usize {
    brokers.iter().position(|broker| broker.lock().unwrap().name == name).expect("a topic of the world")
}

/// What the broker tells of topics, now and then nothing.
pub struct SimTopics {
    /// Of each topic.
    pub brokers: Vec<SharedBroker>,
    pub chance: Mutex<Chance>,
    /// In percent of questions.
    pub silent: u64,
}

impl Topics for SimTopics {
    fn confirms(&self, known: &Topic) -> bool {
        !known.id.is_unknown() && matches!(self.find(&known.name), Ok(Some(topic)) if topic.id == known.id)
    }

    fn find(&self, name: &str) -> Result<Option<Topic>> {
        let broker = self.brokers[place_of(&self.brokers, name)].lock().unwrap();
        if self.chance.lock().unwrap().percent(self.silent) || broker.is_silent {
            return Err(Error::new(ErrorKind::Unavailable, "the broker does not answer"));
        }
        Ok(broker.topic())
    }

    /// Nobody looks at the lag.
    fn ends(&self, _: &Topic) -> Result<BTreeMap<Partition, Offset>> {
        Ok(BTreeMap::new())
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
    /// Of each topic.
    brokers: Vec<SharedBroker>,
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
    /// Its topic's place.
    topic: usize,
    partition: usize,
    position: i64,
    start: i64,
    /// The end that was told last.
    told: Option<i64>,
}

impl SimSource {
    pub fn new(
        brokers: Vec<SharedBroker>,
        mut chance: Chance,
        most_at_once: Option<u64>,
        lost_one_in: u64,
        bug: SourceBug,
    ) -> SimSource {
        let drawn = 1 + chance.below(12);
        let batch_max = most_at_once.unwrap_or(drawn);
        SimSource {
            brokers,
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
        let broker = self.brokers[reader.topic].lock().unwrap();
        if !broker.exists || broker.is_silent {
            return;
        }
        let log = &broker.partitions[reader.partition];
        if !(log.low..=log.end()).contains(&reader.position) {
            let error = Error::new(ErrorKind::Disagree, "the next offset is no longer in the topic");
            self.events.push_back((Event::Lost { slot: Slot(slot as u32), error }, RecordBatch::default()));
            return;
        }
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
            let entry = log.entries[(at - log.first) as usize];
            let told_at = if self.bug == SourceBug::Shifts && self.chance.one_in(20) { at + 1 } else { at };
            let lost = self.bug == SourceBug::Loses && self.chance.one_in(20);
            at = told_at + 1;
            if entry.compacted || lost {
                continue;
            }
            if entry.content == Content::Nothing {
                continue;
            }
            let value = entry.content.bytes();
            filling.push(Offset(told_at), Some(told_at), None, value.as_deref());
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
    fn assign(&mut self, assignments: &[Assignment]) -> Result<()> {
        for assignment in assignments {
            let slot = assignment.slot.index();
            if self.reading.len() <= slot {
                self.reading.resize_with(slot + 1, || None);
            }
            self.reading[slot] = Some(Reader {
                topic: place_of(&self.brokers, &assignment.topic),
                partition: assignment.partition.0 as usize,
                position: assignment.start.0,
                start: assignment.start.0,
                told: None,
            });
        }
        Ok(())
    }

    fn release(&mut self, slot: Slot) {
        // A partition of a paused table may never have been assigned.
        if let Some(reader) = self.reading.get_mut(slot.index()) {
            *reader = None;
        }
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
        Some(Offset(self.brokers[reader.topic].lock().unwrap().partitions[reader.partition].end()))
    }
}
