//! librdkafka as a source: one client per shard, partitions assigned by us.
//!
//! It owns the client, its settings, and which partition a message belongs
//! to. Where a consumer group shares partitions out, another client is the
//! member (`group`), and this one is told what to read all the same. It does not
//! decide where to read: every partition is assigned at an explicit offset, so the group's stored offsets and `auto.offset.reset`
//! never matter. How messages are taken is `messages`.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::batch::{Headers, RecordBatch, Slot};
use super::client_errors::{self, ClientErrors};
use super::messages::{MessageView, Origin, Taken};
use super::prefetch::Prefetch;
use super::{Assignment, Event, Source};
use crate::backoff::Backoff;
use crate::clock::{Clock, SystemClock};
use crate::config::{Kafka, Security, names_a_secret, owner};
use crate::error::{Error, ErrorKind};
use crate::ids::{Offset, Partition, TopicId, TopicPartition};
use crate::protocol::anchor;

/// How long a shard waits to learn which offsets are gone.
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages taken from the client at once: few enough that each is still in the cache when it is released.
const MESSAGES_MAX: usize = 1024;

/// Bytes that should be taken at once: what is copied out of the client is held twice for a moment.
const TAKEN_BYTES: usize = 256 << 10;

/// The settings that every client of ours shares.
pub fn client_config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "thalweg");
    // A coordinator is never asked; librdkafka wants a name all the same.
    config.set("group.id", "thalweg-manual-assignment");
    // A partition whose prefetch queue is full rests for this long; the default second starves it.
    config.set("fetch.queue.backoff.ms", "5");
    config.set("socket.nagle.disable", "true");
    // What a network or a broker's disk has changed is no record: the partition is troubled, and says so.
    config.set("check.crcs", "true");
    for (key, value) in &kafka.librdkafka {
        config.set(key, value.reveal());
    }
    for (key, value) in security_settings(&kafka.security) {
        config.set(key, value);
    }
    Prefetch::for_a_sample().set(&mut config);
    // What exactly-once rests on comes last, over everything.
    config.set("bootstrap.servers", &kafka.brokers);
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true");
    config
}

/// What `auth` means to librdkafka.
fn security_settings(security: &Security) -> Vec<(&'static str, &str)> {
    let (protocol, tls) = match security {
        Security::None => return Vec::new(),
        Security::Tls(tls) => ("ssl", tls),
        Security::Sasl(_, tls) => ("sasl_ssl", tls),
    };
    // Built into this binary, OpenSSL knows no place of the system's authorities: they are looked for.
    let mut settings =
        vec![("security.protocol", protocol), ("ssl.ca.location", tls.ca.as_deref().unwrap_or("probe"))];
    if let Some(client) = &tls.client {
        settings.push(("ssl.certificate.location", &client.cert));
        settings.push(("ssl.key.location", &client.key));
        settings.extend(client.key_password.iter().map(|secret| ("ssl.key.password", secret.reveal())));
    }
    if let Security::Sasl(sasl, _) = security {
        settings.push(("sasl.mechanism", sasl.mechanism.name()));
        settings.push(("sasl.username", &sasl.username));
        settings.push(("sasl.password", sasl.password.reveal()));
    }
    settings
}

/// A batch that could not be read is fetched again after this long, and ever less often.
const READ_AGAIN_FIRST: Duration = Duration::from_millis(100);
const READ_AGAIN_MAX: Duration = Duration::from_secs(30);

pub struct KafkaSource {
    /// Stands before the consumer: fields are dropped in this order.
    taken: Taken,
    consumer: BaseConsumer<ClientErrors>,
    places: Destinations,
    assigned: HashMap<Slot, (String, i32)>,
    /// What is not fetched for a while, since it could not be read.
    resting: HashMap<Slot, Rest>,
    /// Partitions of which nothing could be read since.
    setbacks: HashMap<Slot, Setback>,
    /// How many messages come to about [`TAKEN_BYTES`], by those that came last.
    messages_wanted: usize,
}

/// Until this boot time nothing of a partition is fetched.
struct Rest {
    until: Duration,
    place: Destination,
}

/// A batch that could not be read, and begins here.
struct Setback {
    from: Offset,
    backoff: Backoff,
}

/// Where a partition's records go.
#[derive(Clone, Copy)]
struct Destination {
    slot: Slot,
    headers: bool,
}

/// The places of all that is read.
#[derive(Default)]
struct Destinations {
    by_name: HashMap<(String, i32), Destination>,
    /// The same for the handles that messages carry, as far as they were asked for.
    by_handle: HashMap<Origin, Option<Destination>>,
}

impl Destinations {
    fn insert(&mut self, key: (String, i32), place: Destination) {
        self.by_name.insert(key, place);
        self.by_handle.clear();
    }

    fn remove(&mut self, key: &(String, i32)) {
        self.by_name.remove(key);
        // A handle lives as long as its topic is assigned; another one may get its address.
        self.by_handle.clear();
    }

    fn of(&mut self, view: &MessageView<'_>) -> Option<Destination> {
        let named = || self.by_name.get(&(view.topic_name(), view.partition())).copied();
        *self.by_handle.entry(view.origin()).or_insert_with(named)
    }

    fn slot(&self, view: &MessageView<'_>) -> Option<Slot> {
        self.by_name.get(&(view.topic_name(), view.partition())).map(|place| place.slot)
    }
}

impl KafkaSource {
    /// Connects lazily; `prefetch` bounds what the client has fetched and not delivered.
    pub fn new(kafka: &Kafka, prefetch: Prefetch) -> Result<KafkaSource, Error> {
        let mut config = client_config(kafka);
        prefetch.set(&mut config);
        let consumer: BaseConsumer<ClientErrors> = client_errors::client(&config, ClientErrors::logged())
            .map_err(|error| bad_setting(kafka, &error))?;
        Ok(KafkaSource {
            taken: Taken::of(consumer.client(), MESSAGES_MAX),
            consumer,
            places: Destinations::default(),
            assigned: HashMap::new(),
            resting: HashMap::new(),
            setbacks: HashMap::new(),
            messages_wanted: MESSAGES_MAX,
        })
    }

    /// Puts the messages of one partition that come next into the batch.
    fn fill(&mut self, origin: Origin, place: Destination, batch: &mut RecordBatch) {
        // What was passed over is no part of the run.
        self.taken.release_run();
        let mut filling = batch.start(place.slot);
        while let Some(view) = self.taken.first().filter(|view| view.is_record_of(origin)) {
            if filling.bytes() + view.size() > TAKEN_BYTES && !filling.is_empty() {
                break;
            }
            view.copy_into(&mut filling, place.headers);
            self.taken.pass();
        }
        let each = (filling.bytes() / filling.len().max(1)).max(1);
        self.messages_wanted = (TAKEN_BYTES / each).clamp(1, MESSAGES_MAX);
    }

    fn report(&self, view: &MessageView<'_>) -> Option<Event> {
        use c::rd_kafka_resp_err_t as code;
        let slot = self.places.slot(view);
        let place = || format!("{} [{}]", view.topic_name(), view.partition());
        match (view.error(), slot) {
            (code::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(slot)) => {
                Some(Event::End { slot, next: view.offset() })
            }
            (
                code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
                Some(slot),
            ) if !self.is_astray(slot, view) => Some(Event::Lost { slot, error: self.out_of_reach(view) }),
            (code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Some(slot)) => {
                let error = Error::new(ErrorKind::Denied, format!("{}: {}", place(), view.text()))
                    .remedy("allow this principal to read the topic");
                Some(Event::Lost { slot, error })
            }
            (
                code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                | code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
                Some(slot),
            ) => {
                let error = Error::new(ErrorKind::Disagree, format!("{}: {}", place(), view.text()))
                    .remedy("the topic was deleted while it was read: restore it, or remove its table from the config");
                Some(Event::Lost { slot, error })
            }
            // Everything else is repeated by librdkafka: brokers down, leaders moving, and what a broker
            // answers without an end. Of one partition it is told: that one stands still meanwhile.
            (_, slot) => {
                let text = view.text();
                self.consumer.context().tell(&text);
                let remedy = match is_passed_over(view.error()) {
                    true => {
                        "it is fetched again and again; if the broker's copy is damaged, restore it from another replica, or pass it by with `thalweg offsets set`"
                    }
                    false => "look at the log of the broker that leads the partition; it is asked again",
                };
                let error = Error::new(ErrorKind::Unavailable, format!("{}: {text}", place())).remedy(remedy);
                slot.map(|slot| Event::Troubled { slot, error })
            }
        }
    }
}

/// What librdkafka says of a batch that it cannot read. It then goes on behind it, or somewhere in it: nothing
/// that follows of the partition is to be believed, no offset either.
fn is_passed_over(error: c::rd_kafka_resp_err_t) -> bool {
    use c::rd_kafka_resp_err_t as code;
    matches!(error, code::RD_KAFKA_RESP_ERR__BAD_MSG | code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED)
}

impl KafkaSource {
    /// Drops what was fetched behind a batch that could not be read, and fetches it again after a while:
    /// what librdkafka passes over would be taken for records that compaction removed.
    fn read_again(&mut self, slot: Slot, from: Offset) {
        let Some(key) = self.assigned.get(&slot) else { return };
        let Some(place) = self.places.by_name.get(key).copied() else { return };
        let mut list = TopicPartitionList::new();
        list.add_partition(&key.0, key.1);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(%error, topic = key.0, partition = key.1, "a partition could not be unassigned");
        }
        self.places.remove(key);
        let begin = || Setback { from, backoff: Backoff::new(READ_AGAIN_FIRST, READ_AGAIN_MAX) };
        let setback = self.setbacks.entry(slot).or_insert_with(begin);
        let until = SystemClock.boot() + setback.backoff.pause();
        self.resting.insert(slot, Rest { until, place });
    }

    /// Whether librdkafka has lost its way in a batch that it could not read, and asked for an offset that
    /// nobody wanted.
    fn is_astray(&self, slot: Slot, view: &MessageView<'_>) -> bool {
        use c::rd_kafka_resp_err_t as code;
        matches!(
            view.error(),
            code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
        ) && self.setbacks.get(&slot).is_some_and(|setback| setback.from != view.offset())
    }

    /// Fetches what has rested. Nothing that was taken before may be left: it may be of these partitions.
    fn wake(&mut self) {
        let now = SystemClock.boot();
        for (slot, rest) in self.resting.extract_if(|_, rest| rest.until <= now) {
            let key = &self.assigned[&slot];
            let mut list = TopicPartitionList::new();
            let from = rdkafka::Offset::Offset(self.setbacks[&slot].from.0);
            let added = list
                .add_partition_offset(&key.0, key.1, from)
                .and_then(|()| self.consumer.incremental_assign(&list));
            if let Err(error) = added {
                tracing::warn!(%error, topic = key.0, partition = key.1, "a partition could not be assigned");
            }
            self.places.insert(key.clone(), rest.place);
        }
    }

    /// Names the offsets that are gone. It happens once for a partition, so the broker may be asked.
    fn out_of_reach(&self, view: &MessageView<'_>) -> Error {
        let source = TopicPartition {
            topic: view.topic_name(),
            topic_id: TopicId::unknown(),
            partition: Partition(view.partition()),
        };
        // Negative where librdkafka does not tell it.
        let offset = Offset(view.offset().0);
        let marks = self.consumer.fetch_watermarks(&source.topic, source.partition.0, WATERMARKS_TIMEOUT);
        marks
            .ok()
            .filter(|_| offset.0 >= 0)
            .and_then(|(low, end)| anchor::out_of_reach(&source, offset, Offset(low), Offset(end)))
            .unwrap_or_else(|| {
                let message = format!("{source}: the next offset is no longer in the topic: {}", view.text());
                Error::new(ErrorKind::Disagree, message).remedy(
                    "retention deleted records before they were read, or the topic was truncated or created again",
                )
            })
    }
}

impl Source for KafkaSource {
    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        let mut released = TopicPartitionList::new();
        let mut added = TopicPartitionList::new();
        for assignment in assignments {
            let key = (assignment.topic.clone(), assignment.partition.0);
            self.setbacks.remove(&assignment.slot);
            let rests = self.resting.remove(&assignment.slot).is_some();
            if self.assigned.insert(assignment.slot, key.clone()).is_some() && !rests {
                released.add_partition(&key.0, key.1);
            }
            added
                .add_partition_offset(&key.0, key.1, rdkafka::Offset::Offset(assignment.start.0))
                .map_err(|error| Error::new(ErrorKind::Internal, format!("{assignment:?}: {error}")))?;
            self.places.insert(key, Destination { slot: assignment.slot, headers: assignment.headers });
        }
        let internal = |error: KafkaError| Error::new(ErrorKind::Internal, format!("assigning: {error}"));
        if released.count() > 0 {
            self.consumer.incremental_unassign(&released).map_err(internal)?;
        }
        self.consumer.incremental_assign(&added).map_err(internal)
    }

    fn release(&mut self, slot: Slot) {
        let Some((topic, partition)) = self.assigned.remove(&slot) else { return };
        self.setbacks.remove(&slot);
        if self.resting.remove(&slot).is_some() {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::warn!(%error, topic, partition, "a partition could not be unassigned");
        }
        self.places.remove(&(topic, partition));
    }

    fn poll(&mut self, wait: Duration) {
        if !self.resting.is_empty() {
            self.taken.give_back();
            self.wake();
        }
        self.taken.take(Duration::ZERO, self.messages_wanted);
        if self.taken.first().is_none() && !wait.is_zero() {
            // Waiting for one message: a larger wish would wait until it is fulfilled.
            self.taken.take(wait, 1);
        }
    }

    fn next(&mut self, batch: &mut RecordBatch) -> Option<Event> {
        loop {
            let Some(view) = self.taken.first() else {
                // Nothing stays pinned while nobody polls.
                self.taken.release_run();
                return None;
            };
            if view.is_error() {
                let event = self.report(&view);
                let slot = self.places.slot(&view);
                let bad = slot.filter(|&slot| is_passed_over(view.error()) || self.is_astray(slot, &view));
                let from = view.offset();
                self.taken.pass();
                if let Some(slot) = bad {
                    self.read_again(slot, from);
                }
                if event.is_some() {
                    return event;
                }
            } else if let Some(place) = self.places.of(&view) {
                let origin = view.origin();
                if !self.setbacks.is_empty() {
                    self.setbacks.remove(&place.slot);
                }
                self.fill(origin, place, batch);
                return Some(Event::Records);
            } else {
                // A message of a partition that was just released is dropped.
                self.taken.pass();
            }
        }
    }

    fn headers(&self, index: usize, out: &mut Vec<u8>) {
        out.clear();
        if let Some(view) = self.taken.of_run(index) {
            view.each_header(|header| Headers::write(header, out));
        }
    }

    fn end(&self, slot: Slot) -> Option<Offset> {
        let (topic, partition) = self.assigned.get(&slot)?;
        cached_end(&self.consumer, topic, *partition)
    }
}

/// The end that the last fetch told of; nobody is asked.
#[expect(unsafe_code, reason = "rdkafka has no safe form of the cached watermarks")]
fn cached_end(consumer: &BaseConsumer<ClientErrors>, topic: &str, partition: i32) -> Option<Offset> {
    let topic = std::ffi::CString::new(topic).ok()?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the handle is valid while the consumer lives, the name outlives the call, and the
    // offsets are locals.
    let status = unsafe {
        c::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (status == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(Offset(high))
}

/// librdkafka refuses its settings: ours for `auth`, or those of [kafka.librdkafka].
pub fn bad_setting(kafka: &Kafka, error: &KafkaError) -> Error {
    // librdkafka repeats the value that it refuses.
    let text = match error {
        KafkaError::ClientConfig(_, _, key, _) if names_a_secret(key) => {
            format!("`{key}` is no setting of librdkafka, or its value is not accepted")
        }
        KafkaError::ClientConfig(_, text, ..) | KafkaError::ClientCreation(text) => text.clone(),
        other => other.to_string(),
    };
    let own = security_settings(&kafka.security).into_iter().find(|(key, _)| text.contains(key));
    match own.and_then(|(key, _)| owner(key)) {
        Some(place) => Error::new(ErrorKind::Config, format!("[kafka]: {text}"))
            .remedy(format!("correct {place}: it should name a PEM file that holds what its key says")),
        None => Error::new(ErrorKind::Config, format!("[kafka.librdkafka]: {text}"))
            .remedy("compare the setting with librdkafka's CONFIGURATION.md"),
    }
}
