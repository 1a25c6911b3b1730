//! A record of Kafka, borrowed from wherever its bytes lie.
//!
//! It owns what a record is, and the form in which headers lie in memory. It
//! does not own the memory (`source::batch`), nor what becomes of a record.

use crate::ids::Offset;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub offset: Offset,
    /// Milliseconds since the epoch; `None` where Kafka has -1.
    pub timestamp_ms: Option<i64>,
    /// The broker set the timestamp when it appended the record, not the producer.
    pub log_append_time: bool,
    pub key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
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
