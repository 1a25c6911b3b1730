//! Messages taken from librdkafka in batches, and given back.
//!
//! It owns the unsafe part of the source: the consumer queue, and the messages
//! that were taken from it and not given back. It does not own what they mean.
//!
//! Taking batches from the consumer queue is sound under manual assignment
//! only: while subscribed, librdkafka would serve rebalances on it by itself.

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};

use super::batch::{Filling, Header};
use crate::ids::Offset;

/// librdkafka's consumer queue, and the messages that were taken from it and
/// not given back: those of the last run, and those that nobody looked at yet.
pub(super) struct Taken {
    queue: *mut c::rd_kafka_queue_t,
    messages: Vec<*mut c::rd_kafka_message_t>,
    /// Messages before it are given back.
    run: usize,
    /// The first message that nobody looked at.
    first: usize,
}

#[expect(unsafe_code, reason = "raw pointers of librdkafka are used by one thread at a time")]
// SAFETY: librdkafka's handles, queues and messages may move between threads.
unsafe impl Send for Taken {}

#[expect(unsafe_code, reason = "rdkafka binds the batch call and offers no safe form of it")]
impl Taken {
    /// The queue of a consumer, which must live longer than this. At most `max` messages are taken at once.
    pub(super) fn of<C: ClientContext>(consumer: &Client<C>, max: usize) -> Taken {
        // SAFETY: the handle is valid while the consumer lives. The queue holds a
        // reference of its own, which is dropped before the consumer is gone.
        let queue = unsafe { c::rd_kafka_queue_get_consumer(consumer.native_ptr()) };
        assert!(!queue.is_null(), "a consumer has a consumer queue");
        Taken { queue, messages: Vec::with_capacity(max), run: 0, first: 0 }
    }

    /// Gives all messages back and takes up to `max` others.
    pub(super) fn take(&mut self, wait: Duration, max: usize) {
        self.give_back();
        assert!(self.messages.is_empty() && self.messages.capacity() >= max);
        // Rounded up: what is due within the next millisecond is not waited for by asking again and again.
        let wait_ms = i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: librdkafka writes at most `max` pointers into memory that holds as many, and
        // says how many it wrote. One thread calls it: `&mut self` guards the only queue.
        unsafe {
            let taken = c::rd_kafka_consume_batch_queue(self.queue, wait_ms, self.messages.as_mut_ptr(), max);
            self.messages.set_len(usize::try_from(taken).unwrap_or(0));
        }
    }

    /// Gives all messages back.
    pub(super) fn give_back(&mut self) {
        self.first = self.messages.len();
        self.release_run();
    }

    pub(super) fn first(&self) -> Option<MessageView<'_>> {
        self.messages.get(self.first).map(|&raw| MessageView::new(raw))
    }

    /// A message of the last run.
    pub(super) fn of_run(&self, index: usize) -> Option<MessageView<'_>> {
        self.messages[..self.first].get(self.run + index).map(|&raw| MessageView::new(raw))
    }

    /// The first message was looked at.
    pub(super) fn pass(&mut self) {
        self.first += 1;
    }

    /// Gives back what was looked at.
    pub(super) fn release_run(&mut self) {
        for &message in &self.messages[self.run..self.first] {
            // SAFETY: each pointer came from `take` and is given back once: `run` passes it here.
            unsafe { c::rd_kafka_message_destroy(message) };
        }
        self.run = self.first;
        if self.run == self.messages.len() {
            self.messages.clear();
            (self.run, self.first) = (0, 0);
        }
    }
}

impl Drop for Taken {
    #[expect(unsafe_code, reason = "the queue's reference is given back")]
    fn drop(&mut self) {
        self.first = self.messages.len();
        self.release_run();
        // SAFETY: the reference was taken in `of` and is given back once.
        unsafe { c::rd_kafka_queue_destroy(self.queue) };
    }
}

/// The topic and partition of a message: a handle of the client that delivered it, and a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    topic: *mut c::rd_kafka_topic_t,
    partition: i32,
}

#[expect(unsafe_code, reason = "the handle is only compared")]
// SAFETY: nothing is read through the handle.
unsafe impl Send for Origin {}

/// A message that librdkafka still owns.
pub(super) struct MessageView<'a> {
    raw: *mut c::rd_kafka_message_t,
    message: &'a c::rd_kafka_message_t,
}

#[expect(unsafe_code, reason = "reads the fields of librdkafka's message")]
impl<'a> MessageView<'a> {
    /// Of a message in `Taken::messages`, which the view borrows.
    fn new(raw: *mut c::rd_kafka_message_t) -> MessageView<'a> {
        // SAFETY: pointers in `Taken::messages` are valid; a view borrows it, and giving one back needs it whole.
        MessageView { raw, message: unsafe { &*raw } }
    }

    /// What librdkafka has to say of a partition, instead of a record.
    pub(super) fn error(&self) -> c::rd_kafka_resp_err_t {
        self.message.err
    }

    pub(super) fn is_error(&self) -> bool {
        self.message.err != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { topic: self.message.rkt, partition: self.message.partition }
    }

    pub(super) fn is_record_of(&self, origin: Origin) -> bool {
        !self.is_error() && self.origin() == origin
    }

    pub(super) fn partition(&self) -> i32 {
        self.message.partition
    }

    /// Bytes of key and value.
    pub(super) fn size(&self) -> usize {
        self.message.key_len + self.message.len
    }

    pub(super) fn topic_name(&self) -> String {
        if self.message.rkt.is_null() {
            return String::new();
        }
        // SAFETY: a topic handle's name is a C string that lives as long as the handle.
        unsafe { CStr::from_ptr(c::rd_kafka_topic_name(self.message.rkt)) }.to_string_lossy().into_owned()
    }

    /// What librdkafka says of an error message.
    pub(super) fn text(&self) -> String {
        // SAFETY: the text is a C string that lives as long as the message.
        let text = unsafe { c::rd_kafka_message_errstr(self.raw) };
        if text.is_null() {
            return String::new();
        }
        // SAFETY: as above, and not null.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    pub(super) fn offset(&self) -> Offset {
        Offset(self.message.offset)
    }

    pub(super) fn copy_into(&self, batch: &mut Filling<'_>, headers: bool) {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid and `kind` is a local.
        let timestamp = unsafe { c::rd_kafka_message_timestamp(self.raw, &raw mut kind) };
        // SAFETY: pointer and length describe memory that the message owns.
        let (key, value) = unsafe {
            (bytes(self.message.key, self.message.key_len), bytes(self.message.payload, self.message.len))
        };
        let has_time = kind != c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        batch.push(self.offset(), has_time.then_some(timestamp), key, value);
        if kind == c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME {
            batch.set_log_append_time();
        }
        if headers {
            self.each_header(|header| batch.push_header(header));
        }
    }

    /// librdkafka parses headers when they are asked for the first time, into memory of its own.
    pub(super) fn each_header(&self, mut tell: impl FnMut(Header<'_>)) {
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
            tell(unsafe { (CStr::from_ptr(name).to_bytes(), bytes(value, length)) });
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
