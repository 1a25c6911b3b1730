//! A record of Kafka, borrowed from wherever its bytes lie.
//!
//! It owns what a record is, the room behind its value, and the form in which
//! headers lie in memory. It does not own the memory (`source::batch`), nor
//! what becomes of a record.

use std::fmt;
use std::ops::{Deref, Range};

use crate::ids::Offset;

/// Bytes that may be read behind every value. The first of them is NUL.
pub const PADDING: usize = 64;

/// Bytes with at least [`PADDING`] more of the same memory behind them: wide
/// reads that begin inside may pass the end, and a NUL stands there.
#[derive(Clone, Copy)]
pub struct Padded<'a> {
    /// The bytes and the padding.
    memory: &'a [u8],
}

impl<'a> Padded<'a> {
    /// A part of some memory.
    ///
    /// # Panics
    /// If fewer than [`PADDING`] bytes follow it, or the first of them is not NUL.
    pub fn within(memory: &'a [u8], range: Range<usize>) -> Padded<'a> {
        assert_eq!(memory[range.end], 0, "a NUL ends what is padded");
        Padded { memory: &memory[range.start..range.end + PADDING] }
    }

    /// A copy with padding, for bytes that lie elsewhere.
    pub fn copied(bytes: &[u8], room: &'a mut Vec<u8>) -> Padded<'a> {
        room.clear();
        room.extend_from_slice(bytes);
        room.extend_from_slice(&[0; PADDING]);
        Padded { memory: room }
    }

    pub fn bytes(self) -> &'a [u8] {
        &self.memory[..self.memory.len() - PADDING]
    }

    /// The bytes, a NUL, and what follows in memory: [`PADDING`] bytes more.
    pub fn with_padding(self) -> &'a [u8] {
        self.memory
    }
}

impl Deref for Padded<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

/// The padding does not count.
impl PartialEq for Padded<'_> {
    fn eq(&self, other: &Padded<'_>) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Padded<'_> {}

impl fmt::Debug for Padded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub offset: Offset,
    /// Milliseconds since the epoch; `None` where Kafka has -1.
    pub timestamp_ms: Option<i64>,
    /// The broker set the timestamp when it appended the record, not the producer; `None` where nobody tells.
    pub log_append_time: Option<bool>,
    pub key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub value: Option<Padded<'a>>,
    /// None of them where nobody asked the source for headers.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// A record of which nothing is known but its offset.
    pub const fn bare(offset: Offset) -> Record<'static> {
        Record {
            offset,
            timestamp_ms: None,
            log_append_time: Some(false),
            key: None,
            value: None,
            headers: Headers::NONE,
        }
    }

    /// Bytes of its key, value and headers.
    pub fn size(&self) -> usize {
        let [key, value] =
            [self.key, self.value.map(Padded::bytes)].map(|bytes| bytes.map_or(0, <[u8]>::len));
        key + value + self.headers.bytes().len()
    }
}

/// A record's headers in their order; the same name may come twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers<'a>(&'a [u8]);

/// A header: its name, UTF-8 by Kafka's protocol, and its value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Stands for the length of a header's value that is null.
const NULL_LENGTH: u32 = u32::MAX;

impl<'a> Headers<'a> {
    pub const NONE: Headers<'static> = Headers(&[]);

    /// The headers that [`Headers::write`] wrote one after the other.
    pub fn over(bytes: &'a [u8]) -> Headers<'a> {
        Headers(bytes)
    }

    /// The bytes that [`Headers::over`] reads.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Appends a header.
    pub fn write((name, value): Header<'_>, out: &mut Vec<u8>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a record is smaller than 4 GiB");
        out.extend_from_slice(&length(name).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&value.map_or(NULL_LENGTH, length).to_le_bytes());
        out.extend_from_slice(value.unwrap_or_default());
    }

    fn take_length(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes were taken"))
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let name_length = self.take_length();
        let name = self.take(name_length as usize);
        let value = match self.take_length() {
            NULL_LENGTH => None,
            length => Some(self.take(length as usize)),
        };
        Some((name, value))
    }
}
