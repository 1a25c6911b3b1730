//! One thread: polls its partitions, decodes, writes its file, cuts it by size or time.
//!
//! It owns a consumer and the offsets up to which it has read. What is
//! committed is the committer's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::Sender;
use deltalake::kernel::Add;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::columns::{Columns, Layout};
use crate::file::DataFile;

/// Longest wait for the broker's answers at start.
const START: Duration = Duration::from_secs(15);

/// Longest wait for a message before the clock is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// Where the records come from.
pub struct Source {
    pub brokers: String,
    pub topic: String,
    /// Settings over our own.
    pub librdkafka: Vec<(String, String)>,
}

/// A closed file and how far it takes its partitions.
pub struct Finished {
    pub add: Add,
    pub rows: u64,
    /// Partition to next offset.
    pub next: BTreeMap<i32, i64>,
}

/// Partition, next offset if the table knows one, and the end to stop at.
pub type Assignment = Vec<(i32, Option<i64>, Option<i64>)>;

pub struct Shard {
    pub source: Arc<Source>,
    pub layout: Arc<Layout>,
    pub directory: PathBuf,
    pub latency: Duration,
    pub target_file_bytes: usize,
    pub files: Sender<Finished>,
    /// Set when another part has failed.
    pub stop: Arc<AtomicBool>,
}

impl Source {
    /// The end offset of each partition, under `read_committed` its last stable one.
    pub fn ends(&self) -> Result<Vec<i64>> {
        let consumer: BaseConsumer = self.config().create()?;
        let metadata =
            consumer.fetch_metadata(Some(&self.topic), START).context("cannot reach the broker")?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let partitions = topic.map_or(0, |topic| topic.partitions().len());
        anyhow::ensure!(partitions > 0, "topic `{}` does not exist", self.topic);
        (0..partitions).map(|p| Ok(consumer.fetch_watermarks(&self.topic, p as i32, START)?.1)).collect()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "plain")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "65536")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.message.max.bytes", "4194304");
        for (key, value) in &self.librdkafka {
            config.set(key, value);
        }
        config
    }

    fn consumer(&self, assignment: &Assignment) -> Result<BaseConsumer> {
        let consumer: BaseConsumer = self.config().create()?;
        let mut list = TopicPartitionList::new();
        for (partition, next, _) in assignment {
            let offset = next.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(&self.topic, *partition, offset)?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }
}

impl Shard {
    pub fn run(self, assignment: Assignment) -> Result<()> {
        let result = self.ingest(&assignment);
        if result.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        result
    }

    fn ingest(&self, assignment: &Assignment) -> Result<()> {
        let mut ends: BTreeMap<i32, i64> =
            assignment.iter().filter_map(|&(p, _, end)| Some((p, end?))).collect();
        let is_bounded = !ends.is_empty();
        ends.retain(|partition, end| {
            let next = assignment.iter().find(|(p, ..)| p == partition).and_then(|(_, next, _)| *next);
            next.unwrap_or(0) < *end
        });
        let consumer = self.source.consumer(assignment)?;
        let mut open = OpenFile::new(self)?;
        while !(is_bounded && ends.is_empty() || self.stop.load(Ordering::Relaxed)) {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let partition = message.partition();
                    if is_bounded && !ends.contains_key(&partition) {
                        continue;
                    }
                    open.append(&message)?;
                    if ends.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
                        ends.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ends.remove(&partition);
                    open.cut_if_late()?;
                }
                Some(Err(error)) => return Err(error).context("cannot consume"),
                None => open.cut_if_late()?,
            }
        }
        open.cut()
    }
}

/// The file being written, with the batch that goes into it next.
struct OpenFile<'a> {
    shard: &'a Shard,
    columns: Columns,
    file: Option<DataFile>,
    rows: u64,
    next: BTreeMap<i32, i64>,
}

impl<'a> OpenFile<'a> {
    fn new(shard: &'a Shard) -> Result<OpenFile<'a>> {
        let columns = Columns::new(shard.layout.clone())?;
        Ok(OpenFile { shard, columns, file: None, rows: 0, next: BTreeMap::new() })
    }

    fn append(&mut self, message: &BorrowedMessage<'_>) -> Result<()> {
        if self.file.is_none() {
            self.file = Some(DataFile::create(&self.shard.directory, self.shard.layout.table.clone())?);
        }
        self.columns.append(message)?;
        self.next.insert(message.partition(), message.offset() + 1);
        self.rows += 1;
        if self.columns.is_full() {
            let bytes = self.write_batch()?;
            if bytes >= self.shard.target_file_bytes {
                return self.cut();
            }
            return self.cut_if_late();
        }
        Ok(())
    }

    fn cut_if_late(&mut self) -> Result<()> {
        match &self.file {
            Some(file) if file.opened.elapsed() >= self.shard.latency => self.cut(),
            _ => Ok(()),
        }
    }

    fn cut(&mut self) -> Result<()> {
        self.write_batch()?;
        let Some(file) = self.file.take() else { return Ok(()) };
        let add = file.finish()?;
        let finished =
            Finished { add, rows: std::mem::take(&mut self.rows), next: std::mem::take(&mut self.next) };
        self.shard.files.send(finished).map_err(|_| anyhow!("the committer has ended"))
    }

    /// Writes what is decoded; the file's size so far.
    fn write_batch(&mut self) -> Result<usize> {
        let Some(file) = &mut self.file else { return Ok(0) };
        if let Some(batch) = self.columns.finish()? {
            file.write(&batch)?;
        }
        Ok(file.bytes())
    }
}
