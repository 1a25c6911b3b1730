//! The way to the broker: creates the topic, sends, waits for every delivery report.
//!
//! It owns the producer and what was counted on the way. Idempotent, acks=all,
//! batches as large as the broker takes them.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, Message};
use thalweg_workloads::{Checksum, Random, Record, Stream, Variation, Workload};

/// Delivery reports are served at least this often, in records.
const POLL_EVERY: u64 = 1_000;

/// Longest wait for the reports of what is queued at the end.
const FLUSH: Duration = Duration::from_secs(300);

pub struct Plan<'a> {
    pub brokers: &'a str,
    pub topic: &'a str,
    pub workload: Workload,
    pub records: u64,
    pub partitions: i32,
    pub codec: &'a str,
    pub seed: u64,
    pub malformed_share: f64,
    pub variation: Variation,
    pub records_per_second: Option<f64>,
    pub skew: bool,
}

/// What the topic was given.
pub struct Sent {
    pub partitions: Vec<PartitionSent>,
    /// Records whose delivery the broker confirmed.
    pub delivered: u64,
    pub elapsed: Duration,
}

#[derive(Clone, Default)]
pub struct PartitionSent {
    pub checksum: Checksum,
    pub malformed: u64,
    /// Payload bytes, before compression.
    pub bytes: u64,
    /// Of the first and after the last record, by the delivery reports.
    pub offset_first: Option<i64>,
    pub offset_next: Option<i64>,
}

pub fn create_topic(brokers: &str, topic: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .context("cannot make an admin client")?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
        .set("retention.ms", "-1")
        .set("compression.type", "producer");
    let results = futures::executor::block_on(admin.create_topics([&new], &AdminOptions::new()))
        .with_context(|| format!("cannot create topic `{topic}` on {brokers}"))?;
    for result in results {
        result.map_err(|(name, code)| anyhow!("cannot create topic `{name}`: {code}"))?;
    }
    Ok(())
}

pub fn run(plan: &Plan<'_>) -> Result<Sent> {
    let producer = producer(plan)?;
    let mut partitions = vec![PartitionSent::default(); plan.partitions as usize];
    let mut stream = Stream::new(plan.workload, plan.seed, plan.records)
        .malformed(plan.malformed_share)
        .varied(plan.variation, plan.seed);
    let mut placement = Random::new(plan.seed.rotate_left(32));
    let mut schedule = plan.records_per_second.map(Schedule::start);
    let mut payload = Vec::with_capacity(4096);
    let started = Instant::now();
    for index in 0..plan.records {
        let record = stream.next_record(&mut payload);
        let partition = match plan.skew {
            true => placement.skewed(plan.partitions as u64) as usize,
            false => (index % plan.partitions as u64) as usize,
        };
        let timestamp_ms = schedule.as_mut().map(|schedule| schedule.wait(index, &producer));
        send(&producer, plan.topic, partition, &payload, timestamp_ms)?;
        count(&mut partitions[partition], record, payload.len());
        if index % POLL_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH).context("not every record was delivered")?;
    let elapsed = started.elapsed();
    finish(&producer, partitions, elapsed)
}

fn producer(plan: &Plan<'_>) -> Result<BaseProducer<Reports>> {
    // On a schedule the ticks make the batches.
    let linger_ms = if plan.records_per_second.is_some() { "1" } else { "100" };
    let reports = Reports(Mutex::new(Delivered {
        offsets: vec![None; plan.partitions as usize],
        count: 0,
        first_error: None,
    }));
    ClientConfig::new()
        .set("bootstrap.servers", plan.brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", plan.codec)
        .set("linger.ms", linger_ms)
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "400000")
        .set("queue.buffering.max.kbytes", "262144")
        .create_with_context(reports)
        .context("cannot make a producer")
}

/// Sends one record; a full queue is waited for.
fn send(
    producer: &BaseProducer<Reports>,
    topic: &str,
    partition: usize,
    payload: &[u8],
    timestamp_ms: Option<i64>,
) -> Result<()> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(payload).partition(partition as i32);
    record.timestamp = timestamp_ms;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                record = returned;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => bail!("cannot produce to `{topic}` partition {partition}: {error}"),
        }
    }
}

fn count(partition: &mut PartitionSent, record: Record, bytes: usize) {
    partition.bytes += bytes as u64;
    match record {
        Record::Row(hash) => partition.checksum.add(hash),
        Record::Malformed => partition.malformed += 1,
    }
}

/// Joins what was sent with what the broker confirmed.
fn finish(
    producer: &BaseProducer<Reports>,
    mut partitions: Vec<PartitionSent>,
    elapsed: Duration,
) -> Result<Sent> {
    let delivered = producer.context().0.lock().expect("no thread panics with the lock");
    if let Some(error) = &delivered.first_error {
        bail!("a record was not delivered: {error}");
    }
    for (partition, offsets) in partitions.iter_mut().zip(&delivered.offsets) {
        partition.offset_first = offsets.map(|(first, _)| first);
        partition.offset_next = offsets.map(|(_, last)| last + 1);
    }
    Ok(Sent { partitions, delivered: delivered.count, elapsed })
}

/// Records are sent this often, so up to this late. With a wake-up for each, or with a linger that ends
/// all the time (librdkafka spins for its last millisecond), the producer would take a core from what is measured.
const TICK: Duration = Duration::from_millis(4);

/// An open loop: record `n` is due at `n / rate`, whatever became of the ones before it.
struct Schedule {
    started: Instant,
    started_wall: Duration,
    records_per_second: f64,
}

impl Schedule {
    fn start(records_per_second: f64) -> Schedule {
        let started_wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        Schedule { started: Instant::now(), started_wall, records_per_second }
    }

    /// Waits until record `index` is due, or was so for up to a tick; the intended time in Unix milliseconds.
    fn wait(&mut self, index: u64, producer: &BaseProducer<Reports>) -> i64 {
        let due = Duration::from_secs_f64(index as f64 / self.records_per_second);
        while self.started.elapsed() < due {
            producer.poll(Duration::ZERO);
            std::thread::sleep(TICK);
        }
        (self.started_wall + due).as_millis() as i64
    }
}

/// Delivery reports, collected where librdkafka hands them over.
struct Reports(Mutex<Delivered>);

struct Delivered {
    /// First and last offset per partition.
    offsets: Vec<Option<(i64, i64)>>,
    count: u64,
    first_error: Option<String>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut delivered = self.0.lock().expect("no thread panics with the lock");
        match result {
            Ok(message) => {
                delivered.count += 1;
                let offset = message.offset();
                let Some(range) = delivered.offsets.get_mut(message.partition() as usize) else { return };
                *range = match *range {
                    None => Some((offset, offset)),
                    Some((first, last)) => Some((first.min(offset), last.max(offset))),
                };
            }
            Err((error, _)) => {
                delivered.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
