//! The demo's broker, and the thread that produces to it.
//!
//! It owns what is produced, and how fast: never further ahead of the table
//! than a part of what the broker keeps. What counts as produced is what the
//! broker acknowledged, offset by offset. The broker is `source::embedded`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::record;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Partition;
use crate::source::embedded::{
    Delivered, Deliveries, EmbeddedBroker, EmbeddedProducer, KEPT_BYTES, KEPT_RECORDS,
};

pub const TOPIC: &str = "events";
pub const PARTITIONS: usize = 4;

/// The part of what the broker keeps that may be ahead of the table, in percent.
const AHEAD_PERCENT: usize = 40;
/// What Kafka's record format adds to a record, at most.
const FRAMING: usize = 16;
/// Records of a partition that may be ahead of the table.
const AHEAD_MAX: i64 = {
    let by_bytes = KEPT_BYTES * AHEAD_PERCENT / 100 / (record::BYTES_MAX + FRAMING);
    let by_count = KEPT_RECORDS * AHEAD_PERCENT / 100;
    (if by_bytes < by_count { by_bytes } else { by_count }) as i64
};
/// Records sent to a partition before the next one has its turn.
const BURST: i64 = 500;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// What was acknowledged of one partition, and how far the table has it.
#[derive(Default)]
pub struct Progress {
    /// Every offset below it was acknowledged once.
    pub produced: AtomicI64,
    /// The wrapping sum of the acknowledged ids.
    pub checksum: AtomicU64,
    pub bytes: AtomicU64,
    /// The table's next offset, told by whoever reads its log.
    pub committed: AtomicI64,
}

/// What producer and story share.
#[derive(Default)]
pub struct Shared {
    pub partitions: [Progress; PARTITIONS],
    stop: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Shared {
    pub fn produced(&self) -> i64 {
        self.partitions.iter().map(|of| of.produced.load(Ordering::Relaxed)).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.partitions.iter().map(|of| of.bytes.load(Ordering::Relaxed)).sum()
    }

    /// The broker said something that makes the count worthless.
    pub fn check(&self) -> Result<()> {
        match self.fault.lock().expect("nobody panics with the fault in hand").clone() {
            Some(fault) => Err(Error::new(ErrorKind::Unavailable, format!("the demo's broker: {fault}"))),
            None => Ok(()),
        }
    }

    fn failed(&self, fault: String) {
        self.fault.lock().expect("nobody panics with the fault in hand").get_or_insert(fault);
    }
}

/// Counts what the broker acknowledges.
struct Counts(Arc<Shared>);

impl Deliveries for Counts {
    fn delivered(&self, outcome: Result<Delivered<'_>>) {
        let record = match outcome {
            Ok(record) => record,
            Err(error) => return self.0.failed(format!("a record was not taken: {error}")),
        };
        let Partition(partition) = record.partition;
        let of = &self.0.partitions[partition as usize];
        let expected = of.produced.load(Ordering::Relaxed);
        match record::id_in(record.value) {
            Some(id) if record.offset.0 == expected && id == record::id_at(partition, expected) => {
                of.produced.store(expected + 1, Ordering::Relaxed);
                of.checksum.fetch_add(id as u64, Ordering::Relaxed);
                of.bytes.fetch_add(record.value.len() as u64, Ordering::Relaxed);
            }
            _ => self.0.failed(format!(
                "record {expected} of partition {partition} stands at offset {}",
                record.offset
            )),
        }
    }
}

/// A thread that produces until it is stopped.
pub struct Producer {
    pub shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    pub fn start(broker: &EmbeddedBroker) -> Result<Producer> {
        let shared = Arc::new(Shared::default());
        let client = EmbeddedProducer::connect(broker, TOPIC, Counts(Arc::clone(&shared)))?;
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("producer".to_owned())
            .spawn(move || produce(&client, &of_thread))
            .map_err(|error| Error::new(ErrorKind::Io, format!("the producer cannot start: {error}")))?;
        Ok(Producer { shared, thread: Some(thread) })
    }

    /// Sends no more; returns when everything sent was acknowledged.
    pub fn stop(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Err(Error::new(ErrorKind::Internal, "the demo's producer panicked"));
        }
        self.shared.check()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Stopped already, or an error is on its way that matters more.
        let _ = self.stop();
    }
}

fn produce(client: &EmbeddedProducer<Counts>, shared: &Shared) {
    let mut sent = [0; PARTITIONS];
    let mut record = Vec::with_capacity(record::BYTES_MAX);
    while !shared.stop.load(Ordering::Relaxed) && shared.check().is_ok() {
        let before = sent;
        let time = time_text();
        for (partition, sent) in sent.iter_mut().enumerate() {
            let limit = shared.partitions[partition].committed.load(Ordering::Relaxed) + AHEAD_MAX;
            let until = limit.min(*sent + BURST);
            while *sent < until {
                record.clear();
                record::write(&mut record, partition as i32, *sent, &time);
                match client.send(Partition(partition as i32), &record) {
                    Ok(true) => *sent += 1,
                    Ok(false) => break,
                    Err(error) => return shared.failed(error.to_string()),
                }
            }
        }
        client.poll(Duration::from_millis(if sent == before { 2 } else { 0 }));
    }
    if let Err(error) = client.flush(FLUSH_TIMEOUT) {
        shared.failed(format!("not every record was acknowledged: {error}"));
    }
    let produced = shared.produced();
    if produced != sent.iter().sum::<i64>() {
        shared.failed(format!("{produced} of {} records were acknowledged", sent.iter().sum::<i64>()));
    }
}

fn time_text() -> String {
    let now = jiff::Timestamp::from_millisecond(SystemClock.wall_ms()).unwrap_or_default();
    format!("{now:.3}")
}
