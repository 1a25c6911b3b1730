//! A Kafka broker inside this process, and a producer for it: for the demo.
//!
//! It owns librdkafka's mock cluster and how it is spoken to. The cluster keeps
//! [`KEPT_BYTES`] and [`KEPT_RECORDS`] of a partition and drops the oldest
//! without an error: whoever produces must not run further ahead of its reader.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DefaultProducerContext, DeliveryResult, Producer as _, ProducerContext,
};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition};

/// What the broker keeps of a partition.
pub const KEPT_BYTES: usize = 5 << 20;
pub const KEPT_RECORDS: usize = 100_000;

pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    pub fn start(topic: &str, partitions: usize) -> Result<EmbeddedBroker> {
        let cluster = MockCluster::new(1).map_err(|error| failed(&error))?;
        let partitions = i32::try_from(partitions).expect("a demo has few partitions");
        cluster.create_topic(topic, partitions, 1).map_err(|error| failed(&error))?;
        Ok(EmbeddedBroker { cluster })
    }

    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

fn failed(error: &KafkaError) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the embedded broker: {error}"))
}

/// A record that the broker has acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    pub partition: Partition,
    pub offset: Offset,
    pub value: &'a [u8],
}

/// Learns of every record whether the broker took it, in the order of each partition.
pub trait Deliveries: Send + Sync + 'static {
    fn delivered(&self, outcome: Result<Delivered<'_>>);
}

struct Context<D>(D);

impl<D: Deliveries> ClientContext for Context<D> {}

impl<D: Deliveries> ProducerContext for Context<D> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.delivered(match result {
            Ok(message) => Ok(Delivered {
                partition: Partition(message.partition()),
                offset: Offset(message.offset()),
                value: message.payload().unwrap_or_default(),
            }),
            Err((error, _)) => Err(failed(error)),
        });
    }
}

pub struct EmbeddedProducer<D: Deliveries> {
    client: BaseProducer<Context<D>>,
    topic: String,
}

impl<D: Deliveries> EmbeddedProducer<D> {
    pub fn connect(broker: &EmbeddedBroker, topic: &str, deliveries: D) -> Result<EmbeddedProducer<D>> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", broker.address())
            .set("linger.ms", "5")
            .set("batch.size", "524288")
            // Order is what makes an offset predictable.
            .set("max.in.flight.requests.per.connection", "1")
            .set("acks", "all")
            .create_with_context(Context(deliveries))
            .map_err(|error| failed(&error))?;
        Ok(EmbeddedProducer { client, topic: topic.to_owned() })
    }

    /// False: the queue is full, and takes more after a poll.
    pub fn send(&self, partition: Partition, value: &[u8]) -> Result<bool> {
        let message = BaseRecord::<(), [u8]>::to(&self.topic).partition(partition.0).payload(value);
        match self.client.send(message) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(failed(&error)),
        }
    }

    /// Serves deliveries; waits up to `wait` if there are none.
    pub fn poll(&self, wait: Duration) {
        self.client.poll(wait);
    }

    /// Returns once everything sent was delivered.
    pub fn flush(&self, within: Duration) -> Result<()> {
        self.client.flush(within).map_err(|error| failed(&error))
    }
}
