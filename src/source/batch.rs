//! Record batches: an arena of bytes and the records' places in it.
//!
//! It owns the memory of records between the client and the decoder. Copying
//! a record's bytes once into the arena lets the client's buffers go at once;
//! arenas are reused.

use crate::ids::Offset;
pub use crate::record::{Header, Headers, Record};

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
    log_append_time: bool,
    key_end: usize,
    value_end: usize,
    end: usize,
    key_is_null: bool,
    value_is_null: bool,
}

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
            log_append_time: false,
            key_end,
            value_end: self.arena.len(),
            end: self.arena.len(),
            key_is_null: key.is_none(),
            value_is_null: value.is_none(),
        });
    }

    /// Adds a header to the record pushed last.
    pub fn push_header(&mut self, header: Header<'_>) {
        Headers::write(header, &mut self.arena);
        self.last().end = self.arena.len();
    }

    /// The broker set the timestamp of the record pushed last.
    pub fn set_log_append_time(&mut self) {
        self.last().log_append_time = true;
    }

    fn last(&mut self) -> &mut Entry {
        self.entries.last_mut().expect("what belongs to a record follows it")
    }

    pub fn slot(&self) -> Slot {
        self.slot.expect("a batch is started for a partition before it is delivered")
    }

    /// Bytes of memory held, used or not.
    pub fn capacity(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>()
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
                log_append_time: entry.log_append_time,
                key: (!entry.key_is_null).then_some(key),
                value: (!entry.value_is_null).then(|| &self.arena[entry.key_end..entry.value_end]),
                headers: Headers::over(&self.arena[entry.value_end..entry.end]),
            }
        })
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
            batch.set_log_append_time();
            assert_eq!(batch.slot(), Slot(3));
            let records: Vec<Record<'_>> = batch.records().collect();
            assert_eq!(records.iter().map(|of| of.log_append_time).collect::<Vec<_>>(), [false, false, true]);
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
