//! librdkafka as a source: one client per shard, partitions assigned by us.
//!
//! It owns the client, its settings and the one unsafe place where message
//! batches are taken from it. It does not decide where to read: every
//! partition is assigned at an explicit offset, so the group's stored offsets
//! and `auto.offset.reset` never matter.
//!
//! Batches are taken from the consumer queue, which is sound under manual
//! assignment only: while subscribed, librdkafka would serve rebalances on
//! this queue by itself.

use std::collections::HashMap;
use std::ffi::CStr;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::batch::{RecordBatch, Slot};
use super::complaints::Complaints;
use super::prefetch::Prefetch;
use super::{Assignment, Event, Source};
use crate::config::{Kafka, Security, owner};
use crate::error::{Error, ErrorKind};
use crate::ids::{Offset, Partition, TopicId, TopicPartition};
use crate::protocol::anchor;

/// How long a shard waits to learn which offsets are gone.
const WATERMARKS_PATIENCE: Duration = Duration::from_secs(2);
/// Messages taken from the client at once.
const MESSAGES_MAX: usize = 4096;

/// Bytes that should be taken at once: what is copied out of the client is held twice for a moment.
const TAKEN_BYTES: usize = 1 << 20;

/// The settings that every client of ours shares.
pub fn client_config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "thalweg");
    // A coordinator is never asked; librdkafka wants a name all the same.
    config.set("group.id", "thalweg-manual-assignment");
    // A partition whose prefetch queue is full rests for this long; the default second starves it.
    config.set("fetch.queue.backoff.ms", "5");
    config.set("socket.nagle.disable", "true");
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

pub struct KafkaSource {
    /// Stands before the consumer: fields are dropped in this order.
    queue: ConsumerQueue,
    consumer: BaseConsumer<Complaints>,
    slots: HashMap<(String, i32), Slot>,
    assigned: HashMap<Slot, (String, i32)>,
    spare: Vec<RecordBatch>,
    messages: Vec<*mut c::rd_kafka_message_t>,
    /// How many messages come to about [`TAKEN_BYTES`], by those that came last.
    messages_wanted: usize,
}

#[expect(unsafe_code, reason = "raw message pointers live only between one take and its release")]
// SAFETY: `messages` is empty outside of `poll`, and librdkafka handles may move between threads.
unsafe impl Send for KafkaSource {}

impl KafkaSource {
    /// Connects lazily; `prefetch` bounds what the client has fetched and not delivered.
    pub fn new(kafka: &Kafka, prefetch: Prefetch) -> Result<KafkaSource, Error> {
        let mut config = client_config(kafka);
        prefetch.set(&mut config);
        let consumer =
            config.create_with_context(Complaints::logged()).map_err(|error| bad_setting(kafka, &error))?;
        let queue = ConsumerQueue::of(&consumer);
        Ok(KafkaSource {
            queue,
            consumer,
            slots: HashMap::new(),
            assigned: HashMap::new(),
            spare: Vec::new(),
            messages: Vec::with_capacity(MESSAGES_MAX),
            messages_wanted: MESSAGES_MAX,
        })
    }

    fn deliver(&mut self, events: &mut Vec<Event>) {
        let messages = std::mem::take(&mut self.messages);
        let mut bytes = 0;
        let mut open: Option<(*mut c::rd_kafka_topic_t, RecordBatch)> = None;
        let mut open_partition = -1;
        for message in &messages {
            let view = MessageView::new(*message);
            if view.error() != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                events.extend(open.take().map(|(_, batch)| Event::Records(batch)));
                events.extend(self.report(&view));
                continue;
            }
            let same = open
                .as_ref()
                .is_some_and(|(topic, _)| *topic == view.topic() && open_partition == view.partition());
            if !same {
                events.extend(open.take().map(|(_, batch)| Event::Records(batch)));
                // A message of a partition that was just released is dropped.
                let Some(slot) = self.slot_of(&view) else { continue };
                let mut batch = self.spare.pop().unwrap_or_default();
                batch.start(slot);
                open = Some((view.topic(), batch));
                open_partition = view.partition();
            }
            if let Some((_, batch)) = &mut open {
                bytes += view.message.key_len + view.message.len;
                view.copy_into(batch);
            }
        }
        let each = (bytes / messages.len().max(1)).max(1);
        self.messages_wanted = (TAKEN_BYTES / each).clamp(1, MESSAGES_MAX);
        events.extend(open.map(|(_, batch)| Event::Records(batch)));
        self.messages = messages;
        self.queue.release(&mut self.messages);
    }

    fn slot_of(&self, view: &MessageView<'_>) -> Option<Slot> {
        self.slots.get(&(view.topic_name(), view.partition())).copied()
    }

    fn report(&self, view: &MessageView<'_>) -> Option<Event> {
        use c::rd_kafka_resp_err_t as code;
        let slot = if view.topic().is_null() { None } else { self.slot_of(view) };
        let place = || format!("{} [{}]", view.topic_name(), view.partition());
        match (view.error(), slot) {
            (code::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(slot)) => {
                Some(Event::End { slot, next: view.offset() })
            }
            (
                code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
                Some(slot),
            ) => Some(Event::Lost { slot, error: self.out_of_reach(view) }),
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
            // Everything else heals or is repeated by librdkafka: brokers down, leaders moving.
            _ => {
                self.consumer.context().tell(&view.text());
                None
            }
        }
    }
}

impl KafkaSource {
    /// Names the offsets that are gone. It happens once for a partition, so the broker may be asked.
    fn out_of_reach(&self, view: &MessageView<'_>) -> Error {
        let source = TopicPartition {
            topic: view.topic_name(),
            topic_id: TopicId::unknown(),
            partition: Partition(view.partition()),
        };
        // Negative where librdkafka does not tell it.
        let offset = Offset(view.message.offset);
        let marks = self.consumer.fetch_watermarks(&source.topic, source.partition.0, WATERMARKS_PATIENCE);
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
            if self.assigned.insert(assignment.slot, key.clone()).is_some() {
                released.add_partition(&key.0, key.1);
            }
            added
                .add_partition_offset(&key.0, key.1, rdkafka::Offset::Offset(assignment.start.0))
                .map_err(|error| Error::new(ErrorKind::Internal, format!("{assignment:?}: {error}")))?;
            self.slots.insert(key, assignment.slot);
        }
        let internal = |error: rdkafka::error::KafkaError| {
            Error::new(ErrorKind::Internal, format!("assigning: {error}"))
        };
        if released.count() > 0 {
            self.consumer.incremental_unassign(&released).map_err(internal)?;
        }
        self.consumer.incremental_assign(&added).map_err(internal)
    }

    fn release(&mut self, slot: Slot) {
        let Some((topic, partition)) = self.assigned.remove(&slot) else { return };
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::warn!(%error, topic, partition, "a partition could not be unassigned");
        }
        self.slots.remove(&(topic, partition));
    }

    fn poll(&mut self, wait: Duration, events: &mut Vec<Event>) {
        self.queue.take(Duration::ZERO, self.messages_wanted, &mut self.messages);
        if self.messages.is_empty() && !wait.is_zero() {
            // Waiting for one message: a larger wish would wait until it is fulfilled.
            self.queue.take(wait, 1, &mut self.messages);
        }
        if !self.messages.is_empty() {
            self.deliver(events);
        }
    }

    fn end(&self, slot: Slot) -> Option<Offset> {
        let (topic, partition) = self.assigned.get(&slot)?;
        cached_end(&self.consumer, topic, *partition)
    }

    fn recycle(&mut self, batch: RecordBatch) {
        // Each arena would grow to the largest run of records that one of them ever held.
        let kept: usize = self.spare.iter().map(RecordBatch::capacity).sum();
        if kept + batch.capacity() <= 2 * TAKEN_BYTES {
            self.spare.push(batch);
        }
    }
}

/// The end that the last fetch told of; nobody is asked.
#[expect(unsafe_code, reason = "rdkafka has no safe form of the cached watermarks")]
fn cached_end(consumer: &BaseConsumer<Complaints>, topic: &str, partition: i32) -> Option<Offset> {
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
pub fn bad_setting(kafka: &Kafka, error: &rdkafka::error::KafkaError) -> Error {
    let text = error.to_string();
    let text = text.strip_prefix("Client creation error: ").unwrap_or(&text);
    let own = security_settings(&kafka.security).into_iter().find(|(key, _)| text.contains(key));
    match own.and_then(|(key, _)| owner(key)) {
        Some(place) => Error::new(ErrorKind::Config, format!("[kafka]: {text}"))
            .remedy(format!("correct {place}: it should name a PEM file that holds what its key says")),
        None => Error::new(ErrorKind::Config, format!("[kafka.librdkafka]: {text}"))
            .remedy("compare the setting with librdkafka's CONFIGURATION.md"),
    }
}

/// librdkafka's consumer queue: takes messages in batches.
struct ConsumerQueue {
    queue: *mut c::rd_kafka_queue_t,
}

#[expect(unsafe_code, reason = "rdkafka binds the batch call and offers no safe form of it")]
impl ConsumerQueue {
    fn of(consumer: &BaseConsumer<Complaints>) -> ConsumerQueue {
        // SAFETY: the handle is valid while the consumer lives. The queue holds a
        // reference of its own, and `KafkaSource` drops it before the consumer is gone.
        let queue = unsafe { c::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        assert!(!queue.is_null(), "a consumer has a consumer queue");
        ConsumerQueue { queue }
    }

    /// Takes up to `max` messages into the empty `messages`.
    fn take(&self, wait: Duration, max: usize, messages: &mut Vec<*mut c::rd_kafka_message_t>) {
        assert!(messages.is_empty() && messages.capacity() >= max);
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: librdkafka writes at most `max` pointers into memory that holds as many, and
        // says how many it wrote. One thread calls it: `&mut KafkaSource` guards the only queue.
        unsafe {
            let taken = c::rd_kafka_consume_batch_queue(self.queue, wait_ms, messages.as_mut_ptr(), max);
            messages.set_len(usize::try_from(taken).unwrap_or(0));
        }
    }

    /// Gives messages back to librdkafka.
    fn release(&self, messages: &mut Vec<*mut c::rd_kafka_message_t>) {
        for message in messages.drain(..) {
            // SAFETY: each pointer came from `take` and is released once, here.
            unsafe { c::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for ConsumerQueue {
    #[expect(unsafe_code, reason = "the queue's reference is given back")]
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `of` and is given back once.
        unsafe { c::rd_kafka_queue_destroy(self.queue) };
    }
}

/// A message that librdkafka still owns.
struct MessageView<'a> {
    raw: *mut c::rd_kafka_message_t,
    message: &'a c::rd_kafka_message_t,
}

#[expect(unsafe_code, reason = "reads the fields of librdkafka's message")]
impl MessageView<'_> {
    fn new<'a>(raw: *mut c::rd_kafka_message_t) -> MessageView<'a> {
        // SAFETY: pointers from `take` are valid until `release`, which runs after every view is gone.
        MessageView { raw, message: unsafe { &*raw } }
    }

    fn error(&self) -> c::rd_kafka_resp_err_t {
        self.message.err
    }

    fn topic(&self) -> *mut c::rd_kafka_topic_t {
        self.message.rkt
    }

    fn partition(&self) -> i32 {
        self.message.partition
    }

    fn topic_name(&self) -> String {
        if self.message.rkt.is_null() {
            return String::new();
        }
        // SAFETY: a topic handle's name is a C string that lives as long as the handle.
        unsafe { CStr::from_ptr(c::rd_kafka_topic_name(self.message.rkt)) }.to_string_lossy().into_owned()
    }

    /// What librdkafka says of an error message.
    fn text(&self) -> String {
        // SAFETY: the text is a C string that lives as long as the message.
        let text = unsafe { c::rd_kafka_message_errstr(self.raw) };
        if text.is_null() {
            return String::new();
        }
        // SAFETY: as above, and not null.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    fn offset(&self) -> Offset {
        Offset(self.message.offset)
    }

    fn copy_into(&self, batch: &mut RecordBatch) {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid and `kind` is a local.
        let timestamp = unsafe { c::rd_kafka_message_timestamp(self.raw, &raw mut kind) };
        // SAFETY: pointer and length describe memory that the message owns.
        let (key, value) = unsafe {
            (bytes(self.message.key, self.message.key_len), bytes(self.message.payload, self.message.len))
        };
        batch.push(self.offset(), (timestamp >= 0).then_some(timestamp), key, value);
        if kind == c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME {
            batch.set_log_append_time();
        }
        self.copy_headers_into(batch);
    }

    fn copy_headers_into(&self, batch: &mut RecordBatch) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is valid; the headers belong to it.
        let status = unsafe { c::rd_kafka_message_headers(self.raw, &raw mut headers) };
        // Most records have none; headers that cannot be parsed count as none.
        if status != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers live as long as the message; the three are locals.
            let status = unsafe {
                c::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut length)
            };
            if status != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: a header's name is a C string, its value memory of the given length or null.
            batch.push_header(unsafe { (CStr::from_ptr(name).to_bytes(), bytes(value, length)) });
        }
    }
}

/// A null pointer is a null value.
///
/// # Safety
/// A pointer that is not null points to `length` bytes that live as long as `'a`.
#[expect(unsafe_code, reason = "the one place where memory of librdkafka becomes a slice")]
unsafe fn bytes<'a>(pointer: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}
