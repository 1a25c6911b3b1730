//! Kafka to records: our batches from the consumer queue beside one `poll` a message.
//!
//! The broker is librdkafka's mock cluster, in a process of its own, so that
//! only the consumer's CPU counts. It keeps 5 MiB of a partition and answers a
//! fetch with one batch of each partition, so there are many partitions and
//! more round trips than with a real broker: read the ratios. Ours copies each
//! record into its arena, the twin only looks at it where it lies. A Fetch
//! path of our own does not exist yet.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, Throughput};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{Message, Offset as KafkaOffset};
use thalweg::config::{Kafka, Security};
use thalweg::ids::{Offset, Partition};
use thalweg::source::kafka::{KafkaSource, client_config};
use thalweg::source::prefetch::Prefetch;
use thalweg::source::{Assignment, Event, RecordBatch, Slot, Source};

use crate::cpu_time::CpuTime;
use crate::workload;

const CODECS: [&str; 3] = ["none", "lz4", "zstd"];
const SIZES: [usize; 3] = [31, 200, 1000];
const PARTITIONS: usize = 16;
/// What a partition is given: less than what the mock cluster keeps of it.
const PARTITION_BYTES: usize = 3 << 20;
const PARTITION_RECORDS: usize = 30_000;
/// Of a record in its batch, at most.
const FRAMING: usize = 16;
/// What a client may hold: the share of one of two shards.
const PREFETCH_BYTES: usize = 32 << 20;
const TIMEOUT: Duration = Duration::from_millis(100);

/// Set for the process that is the broker.
const BROKER: &str = "THALWEG_BENCH_BROKER";

fn records_of_partition(size: usize) -> usize {
    (PARTITION_BYTES / (size + FRAMING)).min(PARTITION_RECORDS)
}

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    let broker = Broker::start();
    let kafka = Kafka {
        brokers: broker.address.clone(),
        security: Security::None,
        group: None,
        librdkafka: Default::default(),
    };
    for size in SIZES {
        for codec in CODECS {
            let (topic, records) = (topic(codec, size), PARTITIONS * records_of_partition(size));
            let mut group = criterion.benchmark_group(format!("source/{size}B_{codec}"));
            group.throughput(Throughput::Elements(records as u64)).sample_size(10);
            group.bench_function("batch", |bencher| {
                let prefetch = Prefetch::within(PREFETCH_BYTES, 1);
                let mut source = KafkaSource::new(&kafka, prefetch).expect("librdkafka takes our settings");
                let mut batch = RecordBatch::default();
                bencher.iter(|| batches(&mut source, &mut batch, &topic, records));
            });
            group.bench_function("poll", |bencher| {
                let mut config = client_config(&kafka);
                Prefetch::within(PREFETCH_BYTES, 1).set(&mut config);
                let consumer: BaseConsumer<Quiet> =
                    config.create_with_context(Quiet).expect("librdkafka takes our settings");
                bencher.iter(|| polls(&consumer, &topic, records));
            });
        }
    }
}

/// Bytes of all values, each of which is looked at.
fn batches(source: &mut KafkaSource, batch: &mut RecordBatch, topic: &str, records: usize) -> usize {
    let assignment = |partition: usize| Assignment {
        slot: Slot(partition as u32),
        topic: topic.to_owned(),
        partition: Partition(partition as i32),
        start: Offset(0),
        headers: false,
    };
    source.assign(&(0..PARTITIONS).map(assignment).collect::<Vec<_>>()).expect("the partitions are there");
    let (mut seen, mut bytes) = (0, 0);
    while seen < records {
        source.poll(TIMEOUT);
        while let Some(event) = source.next(batch) {
            match event {
                Event::Records => {
                    seen += batch.len();
                    bytes += batch
                        .records()
                        .filter_map(|record| record.value)
                        .map(|value| look(&value))
                        .sum::<usize>();
                }
                Event::End { .. } => {}
                Event::Troubled { error, .. } | Event::Lost { error, .. } => panic!("{error}"),
            }
        }
    }
    bytes
}

fn polls(consumer: &BaseConsumer<Quiet>, topic: &str, records: usize) -> usize {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let added = list.add_partition_offset(topic, partition as i32, KafkaOffset::Offset(0));
        added.expect("an offset of a partition");
    }
    consumer.assign(&list).expect("the partitions are there");
    let (mut seen, mut bytes) = (0, 0);
    while seen < records {
        match consumer.poll(TIMEOUT) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => panic!("{error}"),
            Some(Ok(message)) => {
                seen += 1;
                bytes += message.payload().map_or(0, look);
            }
        }
    }
    bytes
}

fn look(value: &[u8]) -> usize {
    value.len() + usize::from(value[0])
}

struct Quiet;

impl rdkafka::ClientContext for Quiet {}

impl ConsumerContext for Quiet {}

// ---- the broker ---------------------------------------------------------------------------------------------------

/// A child of this process; it ends with its input.
struct Broker {
    child: Child,
    address: String,
}

impl Broker {
    fn start() -> Broker {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .env(BROKER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let mut address = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut address).expect("the broker tells where it listens");
        Broker { child, address: address.trim().to_owned() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub fn is_broker() -> bool {
    std::env::var_os(BROKER).is_some()
}

/// Is the broker: fills its topics, tells its address, and stays until nobody holds its input.
pub fn serve() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).expect("a mock cluster");
    for codec in CODECS {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("compression.type", codec)
            .set("linger.ms", "100")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .expect("librdkafka takes these settings");
        for size in SIZES {
            cluster.create_topic(&topic(codec, size), PARTITIONS as i32, 1).expect("a new topic");
            fill(&producer, codec, size);
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", cluster.bootstrap_servers()).and_then(|()| out.flush()).expect("somebody reads it");
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn topic(codec: &str, size: usize) -> String {
    format!("{codec}-{size}")
}

/// Pieces of W1's text, as compressible as it is.
fn fill(producer: &BaseProducer, codec: &str, size: usize) {
    let text = workload::named("w1_stable", workload::ROWS).payloads.concat();
    let mut pieces = text.chunks_exact(size).cycle();
    for _ in 0..records_of_partition(size) {
        for partition in 0..PARTITIONS as i32 {
            let piece = pieces.next().expect("they begin again");
            send(producer, BaseRecord::to(&topic(codec, size)).payload(piece).partition(partition));
        }
    }
    producer.flush(Duration::from_secs(60)).expect("the mock cluster takes everything");
}

fn send(producer: &BaseProducer, mut record: BaseRecord<'_, (), [u8]>) {
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                producer.poll(TIMEOUT);
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
}
