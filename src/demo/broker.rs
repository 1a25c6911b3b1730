//! A Kafka broker in this process, and the producer that fills it.
//!
//! It owns librdkafka's mock cluster and its limits: it keeps
//! [`KEPT_BYTES`] and [`KEPT_RECORDS`] of a partition and drops the oldest
//! without a word. The producer therefore never runs further ahead of the
//! table than a part of that. What counts as produced is what the broker
//! acknowledged, offset by offset.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DefaultProducerContext, DeliveryResult, Producer as _, ProducerContext,
};

use super::record;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

pub const TOPIC: &str = "events";
pub const PARTITIONS: usize = 4;

/// What the mock cluster keeps of a partition.
const KEPT_BYTES: usize = 5 << 20;
const KEPT_RECORDS: usize = 100_000;
/// The part of it that may be ahead of the table, in percent.
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

pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Broker {
    pub fn start() -> Result<Broker> {
        let cluster = MockCluster::new(1).map_err(|error| failed(&error))?;
        cluster.create_topic(TOPIC, PARTITIONS as i32, 1).map_err(|error| failed(&error))?;
        Ok(Broker { cluster })
    }

    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

fn failed(error: &KafkaError) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the demo's broker: {error}"))
}

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

/// Hears of every record's fate.
struct Reports(Arc<Shared>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = match result {
            Ok(message) => message,
            Err((error, _)) => return self.0.failed(format!("a record was not taken: {error}")),
        };
        let of = &self.0.partitions[message.partition() as usize];
        let expected = of.produced.load(Ordering::Relaxed);
        let payload = message.payload().unwrap_or_default();
        match record::id_in(payload) {
            Some(id)
                if message.offset() == expected && id == record::id_at(message.partition(), expected) =>
            {
                of.produced.store(expected + 1, Ordering::Relaxed);
                of.checksum.fetch_add(id as u64, Ordering::Relaxed);
                of.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
            }
            _ => self.0.failed(format!(
                "record {expected} of partition {} stands at offset {}",
                message.partition(),
                message.offset()
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
    pub fn start(broker: &Broker) -> Result<Producer> {
        let shared = Arc::new(Shared::default());
        let client: BaseProducer<Reports> = ClientConfig::new()
            .set("bootstrap.servers", broker.address())
            .set("linger.ms", "5")
            .set("batch.size", "524288")
            // Order is what makes an offset predictable.
            .set("max.in.flight.requests.per.connection", "1")
            .set("acks", "all")
            .create_with_context(Reports(Arc::clone(&shared)))
            .map_err(|error| failed(&error))?;
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

fn produce(client: &BaseProducer<Reports>, shared: &Shared) {
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
                let message = BaseRecord::<(), [u8]>::to(TOPIC).partition(partition as i32).payload(&record);
                match client.send(message) {
                    Ok(()) => *sent += 1,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => break,
                    Err((error, _)) => return shared.failed(error.to_string()),
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
