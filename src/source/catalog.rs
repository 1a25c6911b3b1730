//! What a broker says of topics: identity, partitions, offsets.
//!
//! It owns the questions that are asked at start and by `check`. Every
//! question is bounded in time, and its failure says what the operator does.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::kafka::client_config;
use crate::config::{Kafka, Start};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition, TopicId};
use crate::protocol::anchor::Watermarks;

/// How long a question to the broker may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// A topic without an id is read all the same, so nobody waits long for it.
const TOPIC_ID_PATIENCE_MS: i32 = 1_500;
/// librdkafka's word for the controller, where a broker's number is asked for.
const ANY_BROKER: i32 = -1;

pub struct Catalog {
    consumer: BaseConsumer<Complaints>,
    brokers: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<Partition>,
}

/// What librdkafka says in passing; the answer to a question only says that it failed.
#[derive(Default)]
struct Complaints(Mutex<Vec<(RDKafkaErrorCode, String)>>);

impl ClientContext for Complaints {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code()
            && let Ok(mut complaints) = self.0.lock()
        {
            complaints.push((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Complaints {}

impl Catalog {
    /// Connects, and fails if no broker answers.
    pub fn connect(kafka: &Kafka) -> Result<Catalog> {
        let consumer: BaseConsumer<Complaints> =
            client_config(kafka).create_with_context(Complaints::default()).map_err(|error| {
                Error::new(ErrorKind::Config, format!("[kafka.librdkafka]: {error}"))
                    .remedy("compare the setting with librdkafka's CONFIGURATION.md")
            })?;
        let catalog = Catalog { consumer, brokers: kafka.brokers.clone() };
        // Any topic name does: the answer proves that a broker is there.
        match catalog.consumer.fetch_metadata(Some("thalweg-is-anybody-there"), PATIENCE) {
            Ok(_) => Ok(catalog),
            Err(error) => Err(catalog.unreachable(&error)),
        }
    }

    pub fn topic(&self, name: &str) -> Result<Topic> {
        let metadata =
            self.consumer.fetch_metadata(Some(name), PATIENCE).map_err(|error| self.unreachable(&error))?;
        let unknown = || {
            Error::new(ErrorKind::Unavailable, format!("topic `{name}` does not exist on {}", self.brokers))
                .remedy("create the topic, or correct `topic`")
        };
        let topic = metadata.topics().iter().find(|topic| topic.name() == name).ok_or_else(unknown)?;
        if let Some(code) = topic.error().map(RDKafkaErrorCode::from) {
            return Err(match code {
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::InvalidTopic => unknown(),
                RDKafkaErrorCode::TopicAuthorizationFailed => {
                    Error::new(ErrorKind::Denied, format!("topic `{name}`: the broker refuses access"))
                        .remedy("allow this principal to describe and read the topic")
                }
                other => Error::new(ErrorKind::Unavailable, format!("topic `{name}`: {other}")),
            });
        }
        let mut partitions: Vec<Partition> =
            topic.partitions().iter().map(|partition| Partition(partition.id())).collect();
        partitions.sort_unstable();
        // The leader is asked for offsets next, so that its connection is wanted anyway.
        let leader = topic.partitions().iter().map(|partition| partition.leader()).find(|&id| id >= 0);
        let id = self.topic_id(name, leader.unwrap_or(ANY_BROKER))?;
        Ok(Topic { name: name.to_owned(), id, partitions })
    }

    /// Offsets of every partition; `start` says where a first run begins.
    pub fn watermarks(&self, topic: &Topic, start: Start) -> Result<BTreeMap<Partition, Watermarks>> {
        let at_time = match start {
            Start::Time(time_ms) => self.offsets_at(topic, time_ms)?,
            Start::Earliest | Start::Latest => BTreeMap::new(),
        };
        let mut watermarks = BTreeMap::new();
        for &partition in &topic.partitions {
            // Under `read_committed` the high watermark is the last stable offset.
            let (low, end) =
                self.consumer.fetch_watermarks(&topic.name, partition.0, PATIENCE).map_err(|error| {
                    self.unreachable(&error).context(format!("offsets of {} [{partition}]", topic.name))
                })?;
            let first_run = match start {
                Start::Earliest => low,
                Start::Latest => end,
                Start::Time(_) => at_time.get(&partition).copied().unwrap_or(end).clamp(low, end),
            };
            watermarks.insert(
                partition,
                Watermarks { low: Offset(low), end: Offset(end), first_run: Offset(first_run) },
            );
        }
        Ok(watermarks)
    }

    fn offsets_at(&self, topic: &Topic, time_ms: i64) -> Result<BTreeMap<Partition, i64>> {
        let mut question = TopicPartitionList::new();
        for partition in &topic.partitions {
            question
                .add_partition_offset(&topic.name, partition.0, rdkafka::Offset::Offset(time_ms))
                .map_err(|error| self.unreachable(&error))?;
        }
        let answer =
            self.consumer.offsets_for_times(question, PATIENCE).map_err(|error| self.unreachable(&error))?;
        let offsets = answer.elements().into_iter().filter_map(|element| match element.offset() {
            rdkafka::Offset::Offset(offset) => Some((Partition(element.partition()), offset)),
            // No record is that young: begin at the end.
            _ => None,
        });
        Ok(offsets.collect())
    }

    /// The answer to a question failed: say why, as far as librdkafka told.
    fn unreachable(&self, error: &KafkaError) -> Error {
        // Complaints are handed over while polling.
        for _ in 0..20 {
            let _ = self.consumer.poll(Duration::ZERO);
        }
        let complaints = self.consumer.context().0.lock().map(|list| list.clone()).unwrap_or_default();
        let denied = complaints.iter().find(|(code, reason)| is_denial(*code, reason));
        if let Some((_, reason)) = denied {
            return Error::new(ErrorKind::Denied, format!("{}: {reason}", self.brokers))
                .remedy("check the user, the password and the mechanism in [kafka.librdkafka]");
        }
        let reason = complaints
            .iter()
            .rev()
            .find(|(code, _)| *code != RDKafkaErrorCode::AllBrokersDown)
            .map_or_else(|| error.to_string(), |(_, reason)| reason.clone());
        Error::new(ErrorKind::Unavailable, format!("no answer from the broker at {}: {reason}", self.brokers))
            .remedy("check that `brokers` is right and that the broker is running and reachable")
    }

    fn topic_id(&self, name: &str, broker: i32) -> Result<TopicId> {
        let name = CString::new(name)
            .map_err(|_| Error::new(ErrorKind::Config, "a topic name holds a NUL character"))?;
        Ok(describe_topic(&self.consumer, &name, broker).unwrap_or_else(TopicId::unknown))
    }
}

fn is_denial(code: RDKafkaErrorCode, reason: &str) -> bool {
    matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
        || reason.contains("Authentication fail")
}

/// Asks for a topic's id; `None` when the broker does not tell.
///
/// Any broker answers this. Left alone, librdkafka would look for the controller, which a cluster may
/// not show (librdkafka's mock cluster names one that is not there).
#[expect(unsafe_code, reason = "rdkafka has no safe form of DescribeTopics")]
fn describe_topic(consumer: &BaseConsumer<Complaints>, name: &CStr, broker: i32) -> Option<TopicId> {
    // SAFETY: every object made here is destroyed here, after its last use; the names array and
    // the name outlive the call that reads them; the event outlives the result taken from it.
    unsafe {
        let client = consumer.client().native_ptr();
        let queue = c::rd_kafka_queue_new(client);
        let options =
            c::rd_kafka_AdminOptions_new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        c::rd_kafka_AdminOptions_set_request_timeout(options, TOPIC_ID_PATIENCE_MS, std::ptr::null_mut(), 0);
        c::rd_kafka_AdminOptions_set_broker(options, broker, std::ptr::null_mut(), 0);
        let mut names = [name.as_ptr()];
        let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        c::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = c::rd_kafka_queue_poll(queue, TOPIC_ID_PATIENCE_MS + 500);
        let id = if event.is_null() { None } else { read_topic_id(event) };
        if !event.is_null() {
            c::rd_kafka_event_destroy(event);
        }
        c::rd_kafka_TopicCollection_destroy(topics);
        c::rd_kafka_AdminOptions_destroy(options);
        c::rd_kafka_queue_destroy(queue);
        id
    }
}

/// # Safety
/// `event` is a live event of the queue that `DescribeTopics` answered to.
#[expect(unsafe_code, reason = "reads librdkafka's answer")]
unsafe fn read_topic_id(event: *mut c::rd_kafka_event_t) -> Option<TopicId> {
    // SAFETY: the caller keeps the event alive; everything read here is owned by it.
    unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count != 1 {
            return None;
        }
        let topic = *topics;
        let error = c::rd_kafka_TopicDescription_error(topic);
        if !error.is_null()
            && c::rd_kafka_error_code(error) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return None;
        }
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return None;
        }
        let text = CStr::from_ptr(c::rd_kafka_Uuid_base64str(id)).to_string_lossy().into_owned();
        // Kafka's own notation: the alphabet of URLs, no padding. A zero id is how an old broker
        // says that it has none.
        let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
        let told = !text.bytes().all(|byte| byte == b'A');
        told.then_some(TopicId(text))
    }
}
