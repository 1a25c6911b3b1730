//! A member of a Kafka consumer group: a client of its own that is assigned
//! partitions and fetches nothing.
//!
//! It owns the member's settings, librdkafka's words for what the group
//! decides, and the offsets that are told to the group. What follows from a
//! decision is `protocol::membership`; records come from `kafka`, at offsets
//! that the table says. So a rebalance never touches the queue that records
//! are taken from, and how they are taken is the same with a group and without.
//!
//! Offsets are committed to the group for those who look at its lag. Nothing
//! here reads them: partitions are assigned at an offset, which keeps
//! librdkafka from asking for the group's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client_errors::{self, ClientErrors};
use super::kafka::{bad_setting, client_config};
use super::prefetch::Prefetch;
use crate::config::{Group, Kafka};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition};

/// How long a question to the group's coordinator may take.
const TIMEOUT: Duration = Duration::from_secs(8);
/// New partitions are shared out once the leading member hears of them; every five minutes by default.
const METADATA_EVERY: (&str, &str) = ("topic.metadata.refresh.interval.ms", "10000");

/// A partition as the group knows it.
pub type GroupPartition = (String, Partition);

/// What the group decided. Each wants an answer: [`Seat::accept`] or [`Seat::give_up`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    Assigned(Vec<GroupPartition>),
    Revoked(Vec<GroupPartition>),
    /// Without being asked: others may read them already.
    Lost(Vec<GroupPartition>),
}

/// A place in a group: librdkafka's, or that of a simulated coordinator.
pub trait Seat {
    /// Asks for partitions of these topics from now on, and of no others.
    fn subscribe(&self, topics: &BTreeSet<String>) -> Result<()>;

    /// Waits up to `wait` for a decision.
    ///
    /// # Errors
    /// What keeps this member out of the group for good.
    fn poll(&self, wait: Duration) -> Result<Option<Decision>>;

    /// Whether what is being given up was taken away meanwhile.
    fn is_lost(&self) -> bool;

    /// # Errors
    /// The group waits for an answer still, and decides nothing before it has one.
    fn accept(&self, places: &[GroupPartition]) -> Result<()>;

    /// # Errors
    /// As of [`Seat::accept`].
    fn give_up(&self, places: &[GroupPartition]) -> Result<()>;

    /// Tells the group where partitions stand, for those who look at its lag.
    fn tell(&self, offsets: &BTreeMap<GroupPartition, Offset>);
}

pub struct Member {
    consumer: BaseConsumer<Decisions>,
    group: Group,
    /// As the group tells it apart from other members, if it is a static one.
    instance: Option<String>,
}

impl Member {
    /// Asks to be a member; `index` tells the members of this process apart.
    pub fn join(kafka: &Kafka, group: &Group, index: usize, topics: &BTreeSet<String>) -> Result<Member> {
        let mut config = client_config(kafka);
        // It fetches nothing; were it to, there is no room.
        Prefetch::within(0, 1).set(&mut config);
        config.set("group.id", &group.name);
        config.set("partition.assignment.strategy", group.assignor.name());
        config.set("enable.partition.eof", "false");
        if !kafka.librdkafka.contains_key(METADATA_EVERY.0) {
            config.set(METADATA_EVERY.0, METADATA_EVERY.1);
        }
        let instance = group.instance_id.as_ref().map(|id| format!("{id}-{index}"));
        if let Some(instance) = &instance {
            config.set("group.instance.id", instance);
        }
        let consumer: BaseConsumer<Decisions> =
            client_errors::client(&config, Decisions::new()).map_err(|error| bad_setting(kafka, &error))?;
        let member = Member { consumer, group: group.clone(), instance };
        member.subscribe(topics)?;
        Ok(member)
    }

    /// Most of what is heard passes. This does not.
    fn is_out(&self, error: &KafkaError) -> Result<()> {
        let fatal = self.consumer.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code).or_else(|| error.rdkafka_error_code());
        let text = fatal.as_ref().map_or_else(|| error.to_string(), |(_, text)| text.clone());
        let name = &self.group.name;
        match code {
            Some(RDKafkaErrorCode::FencedInstanceId) => {
                let instance = self.instance.as_deref().unwrap_or_default();
                let message = format!("another process is `{instance}` in the group `{name}` by now");
                Err(Error::new(ErrorKind::Fenced, message)
                    .remedy("give each process an `instance_id` of its own under [kafka]"))
            }
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => Err(denied(name)),
            Some(RDKafkaErrorCode::InconsistentGroupProtocol) => {
                let message = format!("members of the group `{name}` do not use the same kind of assignor");
                Err(Error::new(ErrorKind::Config, message).remedy(
                    "give all of them the same `assignor`; `cooperative-sticky` mixes with no other one",
                ))
            }
            Some(RDKafkaErrorCode::InvalidSessionTimeout | RDKafkaErrorCode::InvalidGroupId) => {
                Err(Error::new(ErrorKind::Config, format!("the group `{name}`: {text}"))
                    .remedy("compare `group` and `session.timeout.ms` with the broker's settings"))
            }
            _ if fatal.is_some() => {
                Err(Error::new(ErrorKind::Internal, format!("the group `{name}`: {text}")))
            }
            _ => {
                self.consumer.context().client_errors.tell(&text);
                Ok(())
            }
        }
    }
}

impl Seat for Member {
    fn subscribe(&self, topics: &BTreeSet<String>) -> Result<()> {
        if topics.is_empty() {
            self.consumer.unsubscribe();
            return Ok(());
        }
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("joining `{}`: {error}", self.group.name))
        })
    }

    fn poll(&self, wait: Duration) -> Result<Option<Decision>> {
        if let Some(decision) = self.consumer.context().next() {
            return Ok(Some(decision));
        }
        if let Some(Err(error)) = self.consumer.poll(wait) {
            self.is_out(&error)?;
        }
        Ok(self.consumer.context().next())
    }

    fn is_lost(&self) -> bool {
        self.consumer.assignment_lost()
    }

    fn accept(&self, places: &[GroupPartition]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            // The end is an offset: nobody asks the group for one. Nothing is fetched there.
            let _ = list.add_partition_offset(topic, partition.0, rdkafka::Offset::End);
        }
        let taken = take(&self.consumer, &list);
        let paused = taken.and_then(|()| if places.is_empty() { Ok(()) } else { self.consumer.pause(&list) });
        paused.map_err(|error| unanswered(&error))
    }

    fn give_up(&self, places: &[GroupPartition]) -> Result<()> {
        release(&self.consumer, places).map_err(|error| unanswered(&error))
    }

    fn tell(&self, offsets: &BTreeMap<GroupPartition, Offset>) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            let _ = list.add_partition_offset(topic, partition.0, rdkafka::Offset::Offset(offset.0));
        }
        // In the middle of a rebalance the group takes none; the next time comes soon.
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(group = self.group.name, %error, "offsets were not told to the group");
        }
    }
}

fn unanswered(error: &KafkaError) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}

fn denied(group: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("the broker refuses access to the group `{group}`"))
        .remedy("allow this principal to read the group")
}

/// Whether the broker lets us be a member. What it answers besides does not matter.
pub fn may_join(kafka: &Kafka, group: &Group, topic: &str) -> Result<()> {
    let mut config = client_config(kafka);
    config.set("group.id", &group.name);
    let asking: BaseConsumer<ClientErrors> =
        client_errors::client(&config, ClientErrors::silent()).map_err(|error| bad_setting(kafka, &error))?;
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    match asking.committed_offsets(list, TIMEOUT) {
        Ok(_) => Ok(()),
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
            Err(denied(&group.name))
        }
        Err(error) => Err(Error::new(ErrorKind::Unavailable, format!("the group `{}`: {error}", group.name))
            .remedy("see whether the brokers have a coordinator for it")),
    }
}

/// Leaving: what the group takes back from now on is given up unasked.
impl Drop for Member {
    fn drop(&mut self) {
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        // A decision that nobody answers would be waited for.
        for decision in std::iter::from_fn(|| self.consumer.context().next()) {
            // One that cannot be answered is waited for no longer than the group's end may take.
            let _ = match decision {
                Decision::Assigned(_) => self.accept(&[]),
                Decision::Revoked(places) | Decision::Lost(places) => self.give_up(&places),
            };
        }
    }
}

fn take<X: ConsumerContext>(consumer: &BaseConsumer<X>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

fn release<X: ConsumerContext>(consumer: &BaseConsumer<X>, places: &[GroupPartition]) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => {
            let mut list = TopicPartitionList::new();
            for (topic, partition) in places {
                list.add_partition(topic, partition.0);
            }
            consumer.incremental_unassign(&list)
        }
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

/// Keeps the group's decisions until they are asked for.
struct Decisions {
    heard: Mutex<VecDeque<Decision>>,
    closing: AtomicBool,
    client_errors: ClientErrors,
}

impl Decisions {
    fn new() -> Decisions {
        Decisions {
            heard: Mutex::default(),
            closing: AtomicBool::new(false),
            client_errors: ClientErrors::logged(),
        }
    }

    fn next(&self) -> Option<Decision> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for Decisions {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // In the middle of a rebalance the group takes no offsets; they are told again.
        let level = if facility == "COMMITFAIL" { RDKafkaLogLevel::Debug } else { level };
        self.client_errors.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client_errors.error(error, reason);
    }
}

impl ConsumerContext for Decisions {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: c::rd_kafka_resp_err_t,
        list: &mut TopicPartitionList,
    ) {
        let places: Vec<GroupPartition> = list
            .elements()
            .iter()
            .map(|element| (element.topic().to_owned(), Partition(element.partition())))
            .collect();
        let is_assigned = code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            // Without an answer the client would not close.
            let _ = match is_assigned {
                true => take(consumer, &TopicPartitionList::new()),
                false => release(consumer, &places),
            };
            return;
        }
        let decision = match is_assigned {
            true => Decision::Assigned(places),
            false if consumer.assignment_lost() => Decision::Lost(places),
            false => Decision::Revoked(places),
        };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push_back(decision);
    }
}
