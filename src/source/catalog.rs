//! What a broker says of topics: identity, partitions, offsets.
//!
//! It owns the questions that are asked at start, by `check`, and now and
//! then during a run. Every question is bounded in time, and its failure says
//! what the operator does (`client_errors`).

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client_errors::{self, Cause, ClientErrors};
use super::kafka::{bad_setting, client_config};
use crate::backoff::Backoff;
use crate::clock::{Clock, SystemClock};
use crate::config::{Kafka, Start};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition, TopicId};
use crate::protocol::anchor::Watermarks;

/// How long a question to the broker may take.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How long its first slice is; each further one is twice as long.
const FIRST_SLICE: Duration = Duration::from_millis(500);
const BETWEEN_SLICES: Duration = Duration::from_millis(50);
/// How long the second look at a certificate may take.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// That a broker breaks off is no warning to librdkafka.
const HEARD: RDKafkaLogLevel = RDKafkaLogLevel::Info;
/// A topic without an id is read all the same, so nobody waits long for it.
const TOPIC_ID_TIMEOUT_MS: i32 = 1_500;
/// librdkafka's word for the controller, where a broker's number is asked for.
const ANY_BROKER: i32 = -1;

pub struct Catalog {
    consumer: BaseConsumer<ClientErrors>,
    kafka: Kafka,
    /// Any broker tells a topic's id: this one led a partition when it was last looked at.
    asked_for_ids: AtomicI32,
    /// How many brokers there were at the start.
    pub brokers_count: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// Whether this is the topic that now has the name. An id that is not told says nothing.
    pub fn is_still(&self, now: &TopicId) -> Result<()> {
        if self.id == *now || self.id.is_unknown() || now.is_unknown() {
            return Ok(());
        }
        let message = format!("topic `{}` was created again just now: its id is {now}", self.name);
        Err(Error::new(ErrorKind::Unavailable, message).remedy("nothing was read of it: it is opened anew"))
    }
}

impl Catalog {
    /// Connects, and fails if no broker answers.
    pub fn connect(kafka: &Kafka) -> Result<Catalog> {
        let mut config = client_config(kafka);
        config.set_log_level(HEARD);
        let consumer = client_errors::client(&config, ClientErrors::silent())
            .map_err(|error| bad_setting(kafka, &error))?;
        let mut catalog = Catalog {
            consumer,
            kafka: kafka.clone(),
            asked_for_ids: AtomicI32::new(ANY_BROKER),
            brokers_count: 0,
        };
        // Any topic name does: the answer proves that a broker is there.
        let request = |consumer: &BaseConsumer<_>, wait| {
            consumer.fetch_metadata(Some("thalweg-is-anybody-there"), wait)
        };
        catalog.brokers_count = catalog.ask(request)?.brokers().len();
        Ok(catalog)
    }

    /// Asks until there is an answer, time is up, or waiting is of no use.
    ///
    /// librdkafka connects again and again whatever the reason was, so the
    /// question is put in ever longer slices, with a look between them at what
    /// was heard meanwhile.
    fn ask<T>(&self, request: impl Fn(&BaseConsumer<ClientErrors>, Duration) -> KafkaResult<T>) -> Result<T> {
        let heard = self.consumer.context();
        let deadline = SystemClock.boot() + TIMEOUT;
        let mut slices = Backoff::new(FIRST_SLICE, TIMEOUT);
        loop {
            let left = deadline.saturating_sub(SystemClock.boot());
            let error = match request(&self.consumer, slices.pause().min(left)) {
                Ok(answer) => {
                    heard.forget();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.listen();
            if !is_passing(&error) || left.is_zero() || heard.is_final() {
                return Err(self.no_answer(&error));
            }
        }
    }

    /// Takes what librdkafka has to say; rests for a moment if that is nothing.
    fn listen(&self) {
        let mut wait = BETWEEN_SLICES;
        while self.consumer.poll(wait).is_some() {
            wait = Duration::ZERO;
        }
    }

    /// A question failed: say why, as far as librdkafka told.
    fn no_answer(&self, error: &KafkaError) -> Error {
        match self.consumer.context().worst() {
            Some(client_error)
                if client_error.cause == Cause::Untrusted && self.is_signed_for_another_host() =>
            {
                client_error.of_another_host(&self.kafka)
            }
            Some(client_error) => client_error.explained(&self.kafka),
            None if is_passing(error) => {
                let nothing = format!("nothing was heard from it within {} s", TIMEOUT.as_secs());
                client_errors::unreachable(&self.kafka.brokers, &nothing)
            }
            None => client_errors::unreachable(&self.kafka.brokers, &error.to_string()),
        }
    }

    /// Whether the certificate is good but for its host name. TLS says only
    /// that a certificate is not accepted, so we look again without comparing
    /// names; nothing secret is sent on that connection.
    fn is_signed_for_another_host(&self) -> bool {
        let mut config = client_config(&self.kafka);
        config.set_log_level(HEARD);
        config.set("security.protocol", "ssl");
        config.set("ssl.endpoint.identification.algorithm", "none");
        for key in ["sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"] {
            config.remove(key);
        }
        let Ok(consumer) = client_errors::client(&config, ClientErrors::silent()) else {
            return false;
        };
        // A broker that wants SASL closes the connection after the handshake: no answer is no failure.
        let answer = consumer.fetch_metadata(Some("thalweg-is-anybody-there"), SECOND_LOOK);
        let _ = consumer.poll(BETWEEN_SLICES);
        let heard = consumer.context();
        answer.is_ok() || heard.worst().is_some_and(|client_error| client_error.cause == Cause::WantsSasl)
    }

    pub fn topic(&self, name: &str) -> Result<Topic> {
        self.find(name)?.ok_or_else(|| {
            let message = format!("topic `{name}` does not exist on {}", self.kafka.brokers);
            Error::new(ErrorKind::Unavailable, message).remedy("create the topic, or correct `topic`")
        })
    }

    /// `None` where there is no such topic.
    pub fn find(&self, name: &str) -> Result<Option<Topic>> {
        let metadata = self.ask(|consumer, wait| consumer.fetch_metadata(Some(name), wait))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        if let Some(code) = topic.error().map(RDKafkaErrorCode::from) {
            return Err(match code {
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::InvalidTopic => {
                    return Ok(None);
                }
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
        self.asked_for_ids.store(leader.unwrap_or(ANY_BROKER), Ordering::Relaxed);
        let id = self.topic_id(name)?;
        Ok(Some(Topic { name: name.to_owned(), id, partitions }))
    }

    /// Whether a broker says, in one short question, that the topic has this id. No says nothing.
    pub fn confirms(&self, topic: &Topic) -> bool {
        !topic.id.is_unknown() && self.topic_id(&topic.name).is_ok_and(|id| id == topic.id)
    }

    /// The same of the topic that is meant: of one that was created again meanwhile nothing is said.
    pub fn watermarks_of_the_same(
        &self,
        topic: &Topic,
        start: Start,
    ) -> Result<BTreeMap<Partition, Watermarks>> {
        let watermarks = self.watermarks(topic, start)?;
        if !topic.id.is_unknown() {
            topic.is_still(&self.topic_id(&topic.name)?)?;
        }
        Ok(watermarks)
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
            let (low, end) = self
                .ask(|consumer, wait| consumer.fetch_watermarks(&topic.name, partition.0, wait))
                .map_err(|error| error.context(format!("offsets of {} [{partition}]", topic.name)))?;
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

    /// How many partitions the topic has; 0 where there is none, or nobody says.
    pub fn partitions_count(&self, name: &str) -> usize {
        let metadata = self.ask(|consumer, wait| consumer.fetch_metadata(Some(name), wait));
        let named = |topic: &&rdkafka::metadata::MetadataTopic| topic.name() == name;
        metadata.map_or(0, |metadata| {
            metadata.topics().iter().find(named).map_or(0, |topic| topic.partitions().len())
        })
    }

    /// The last stable offset of every partition, in one question.
    pub fn ends(&self, topic: &Topic) -> Result<BTreeMap<Partition, Offset>> {
        let mut request = TopicPartitionList::new();
        for partition in &topic.partitions {
            request
                .add_partition_offset(&topic.name, partition.0, rdkafka::Offset::End)
                .map_err(|error| Error::new(ErrorKind::Internal, format!("{}: {error}", topic.name)))?;
        }
        let answer = self.ask(|consumer, wait| consumer.offsets_for_times(request.clone(), wait))?;
        let ends = answer.elements().into_iter().filter_map(|element| match element.offset() {
            rdkafka::Offset::Offset(end) => Some((Partition(element.partition()), Offset(end))),
            _ => None,
        });
        Ok(ends.collect())
    }

    fn offsets_at(&self, topic: &Topic, time_ms: i64) -> Result<BTreeMap<Partition, i64>> {
        let mut request = TopicPartitionList::new();
        for partition in &topic.partitions {
            request
                .add_partition_offset(&topic.name, partition.0, rdkafka::Offset::Offset(time_ms))
                .map_err(|error| Error::new(ErrorKind::Internal, format!("{}: {error}", topic.name)))?;
        }
        let answer = self.ask(|consumer, wait| consumer.offsets_for_times(request.clone(), wait))?;
        let offsets = answer.elements().into_iter().filter_map(|element| match element.offset() {
            rdkafka::Offset::Offset(offset) => Some((Partition(element.partition()), offset)),
            // No record is that young: begin at the end.
            _ => None,
        });
        Ok(offsets.collect())
    }

    fn topic_id(&self, name: &str) -> Result<TopicId> {
        let name = CString::new(name)
            .map_err(|_| Error::new(ErrorKind::Config, "a topic name holds a NUL character"))?;
        Ok(describe_topic(&self.consumer, &name, self.asked_for_ids.load(Ordering::Relaxed))
            .unwrap_or_else(TopicId::unknown))
    }
}

/// The broker or the way to it is in trouble, as opposed to an answer that we do not like.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::WaitingForCoordinator
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::Resolve
                // So says librdkafka itself while it is still looking for the leader.
                | Code::UnknownPartition
                | Code::UnknownTopic
        )
    )
}

/// Asks for a topic's id; `None` when the broker does not tell.
///
/// Any broker answers this. Left alone, librdkafka would look for the controller, which a cluster may
/// not show (librdkafka's mock cluster names one that is not there).
#[expect(unsafe_code, reason = "rdkafka has no safe form of DescribeTopics")]
fn describe_topic(consumer: &BaseConsumer<ClientErrors>, name: &CStr, broker: i32) -> Option<TopicId> {
    // SAFETY: every object made here is destroyed here, after its last use; the names array and
    // the name outlive the call that reads them; the event outlives the result taken from it.
    unsafe {
        let client = consumer.client().native_ptr();
        let queue = c::rd_kafka_queue_new(client);
        let options =
            c::rd_kafka_AdminOptions_new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        c::rd_kafka_AdminOptions_set_request_timeout(options, TOPIC_ID_TIMEOUT_MS, std::ptr::null_mut(), 0);
        c::rd_kafka_AdminOptions_set_broker(options, broker, std::ptr::null_mut(), 0);
        let mut names = [name.as_ptr()];
        let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        c::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = c::rd_kafka_queue_poll(queue, TOPIC_ID_TIMEOUT_MS + 500);
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::config::Security;

    #[test]
    fn a_question_that_fails_at_once_is_put_again_until_time_is_up() {
        let cluster = MockCluster::new(1).unwrap();
        let kafka = Kafka {
            brokers: cluster.bootstrap_servers(),
            security: Security::None,
            group: None,
            librdkafka: BTreeMap::new(),
        };
        let catalog = Catalog::connect(&kafka).unwrap();
        let asked = Cell::new(0);
        let refused = catalog.ask::<()>(|_, _| {
            asked.set(asked.get() + 1);
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable))
        });
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Unavailable);
        assert!(asked.get() > 10, "{} times", asked.get());
    }
}
