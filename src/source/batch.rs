//! Record batches: an arena of bytes and the records' places in it.
//!
//! It owns the memory of records between the client and the decoder. Copying
//! a record's bytes once into the arena lets the client's buffers go at once;
//! arenas are reused.

use crate::ids::Offset;

/// The place of a partition in its shard: a small number instead of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u32);

impl Slot {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A run of records of one partition, offsets growing.
#[derive(Debug, Default)]
pub struct RecordBatch {
    slot: Option<Slot>,
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a record lies: from the end of the one before, key, value and headers in this order.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    /// Milliseconds since the epoch; `i64::MIN` where the record has none.
    timestamp_ms: i64,
    key_end: usize,
    value_end: usize,
    end: usize,
    key_is_null: bool,
    value_is_null: bool,
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub offset: Offset,
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// A record's headers in their order; the same name may come twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Headers<'a>(&'a [u8]);

/// A header: its name, UTF-8 by Kafka's protocol, and its value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Stands for the length of a header's value that is null.
const NULL_LENGTH: u32 = u32::MAX;

impl RecordBatch {
    /// Empties the batch for a partition; its memory stays.
    pub fn start(&mut self, slot: Slot) {
        self.slot = Some(slot);
        self.arena.clear();
        self.entries.clear();
    }

    /// Copies a record in. Its headers follow, one by one, through [`RecordBatch::push_header`].
    pub fn push(
        &mut self,
        offset: Offset,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        self.arena.extend_from_slice(key.unwrap_or_default());
        let key_end = self.arena.len();
        self.arena.extend_from_slice(value.unwrap_or_default());
        self.entries.push(Entry {
            offset: offset.0,
            timestamp_ms: timestamp_ms.unwrap_or(i64::MIN),
            key_end,
            value_end: self.arena.len(),
            end: self.arena.len(),
            key_is_null: key.is_none(),
            value_is_null: value.is_none(),
        });
    }

    /// Adds a header to the record pushed last.
    pub fn push_header(&mut self, (name, value): Header<'_>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a record is smaller than 4 GiB");
        self.arena.extend_from_slice(&length(name).to_le_bytes());
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(&value.map_or(NULL_LENGTH, length).to_le_bytes());
        self.arena.extend_from_slice(value.unwrap_or_default());
        self.entries.last_mut().expect("headers follow their record").end = self.arena.len();
    }

    pub fn slot(&self) -> Slot {
        self.slot.expect("a batch is started for a partition before it is delivered")
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let key = &self.arena[start..entry.key_end];
            start = entry.end;
            Record {
                offset: Offset(entry.offset),
                timestamp_ms: (entry.timestamp_ms != i64::MIN).then_some(entry.timestamp_ms),
                key: (!entry.key_is_null).then_some(key),
                value: (!entry.value_is_null).then(|| &self.arena[entry.key_end..entry.value_end]),
                headers: Headers(&self.arena[entry.value_end..entry.end]),
            }
        })
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

impl<'a> Headers<'a> {
    fn take_length(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes were taken"))
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let headers: [Header<'_>; 3] = [(b"a", Some(b"1")), (b"a", None), (b"", Some(b""))];
        let mut batch = RecordBatch::default();
        for _ in 0..2 {
            batch.start(Slot(3));
            batch.push(Offset(5), Some(7), Some(b"key"), Some(b"one"));
            headers.iter().for_each(|&header| batch.push_header(header));
            batch.push(Offset(6), None, None, None);
            batch.push(Offset(9), Some(-1), Some(b""), Some(b""));
            batch.push_header((b"last", Some(b"x")));
            assert_eq!(batch.slot(), Slot(3));
            let records: Vec<Record<'_>> = batch.records().collect();
            assert_eq!(records[0].headers.collect::<Vec<_>>(), headers);
            assert_eq!(records[2].headers.collect::<Vec<_>>(), [(b"last".as_slice(), Some(b"x".as_slice()))]);
            let facts: Vec<_> =
                records.iter().map(|of| (of.offset.0, of.timestamp_ms, of.key, of.value)).collect();
            let expected = [
                (5, Some(7), Some(&b"key"[..]), Some(&b"one"[..])),
                (6, None, None, None),
                (9, Some(-1), Some(b""), Some(b"")),
            ];
            assert_eq!(facts, expected);
        }
    }
}
