//! Record batches: an arena of bytes and the records' places in it.
//!
//! It owns the memory of records between the client and the decoder. Copying
//! a record's bytes once into the arena lets the client's buffers go at once;
//! arenas are reused.

use crate::ids::Offset;
pub use crate::record::{Header, Headers, PADDING, Padded, Record};

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
    /// The records, one behind the other with a NUL behind each value, and [`PADDING`] zeroes.
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a record lies: from the end of the one before, key, value, a NUL and headers in this order.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    /// Milliseconds since the epoch, or [`NO_TIMESTAMP`].
    timestamp_ms: i64,
    key_end: u32,
    value_end: u32,
    end: u32,
    log_append_time: bool,
    key_is_null: bool,
    value_is_null: bool,
}

/// What Kafka has where a record has no timestamp. Other times before 1970 are times.
const NO_TIMESTAMP: i64 = -1;

/// Bytes after which an arena is not kept: a run that large is rare.
const ARENA_KEPT: usize = 1 << 20;

impl RecordBatch {
    /// Empties the batch for records of a partition; its memory stays, unless it is large.
    pub fn start(&mut self, slot: Slot) -> Filling<'_> {
        self.slot = Some(slot);
        self.entries.clear();
        self.arena.clear();
        self.arena.shrink_to(ARENA_KEPT);
        Filling(self)
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
            let key = &self.arena[start..entry.key_end as usize];
            start = entry.end as usize;
            let value = entry.key_end as usize..entry.value_end as usize;
            Record {
                offset: Offset(entry.offset),
                timestamp_ms: (entry.timestamp_ms != NO_TIMESTAMP).then_some(entry.timestamp_ms),
                log_append_time: Some(entry.log_append_time),
                key: (!entry.key_is_null).then_some(key),
                value: (!entry.value_is_null).then(|| Padded::within(&self.arena, value)),
                headers: Headers::over(&self.arena[entry.value_end as usize + 1..start]),
            }
        })
    }
}

/// A batch that takes records in. Once this is gone, its records can be read.
#[derive(Debug)]
pub struct Filling<'a>(&'a mut RecordBatch);

impl Filling<'_> {
    /// Copies a record in. Its headers follow, one by one, through [`Filling::push_header`].
    pub fn push(
        &mut self,
        offset: Offset,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let arena = &mut self.0.arena;
        arena.extend_from_slice(key.unwrap_or_default());
        let key_end = place(arena.len());
        arena.extend_from_slice(value.unwrap_or_default());
        let value_end = place(arena.len());
        arena.push(0);
        self.0.entries.push(Entry {
            offset: offset.0,
            timestamp_ms: timestamp_ms.unwrap_or(NO_TIMESTAMP),
            key_end,
            value_end,
            end: value_end + 1,
            log_append_time: false,
            key_is_null: key.is_none(),
            value_is_null: value.is_none(),
        });
    }

    /// Adds a header to the record pushed last.
    pub fn push_header(&mut self, header: Header<'_>) {
        Headers::write(header, &mut self.0.arena);
        let end = place(self.0.arena.len());
        self.last().end = end;
    }

    /// The broker set the timestamp of the record pushed last.
    pub fn set_log_append_time(&mut self) {
        self.last().log_append_time = true;
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of keys, values and headers so far.
    pub fn bytes(&self) -> usize {
        self.0.arena.len()
    }

    fn last(&mut self) -> &mut Entry {
        self.0.entries.last_mut().expect("what belongs to a record follows it")
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.arena.extend_from_slice(&[0; PADDING]);
    }
}

fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a source ends a batch long before 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let headers: [Header<'_>; 3] = [(b"a", Some(b"1")), (b"a", None), (b"", Some(b""))];
        let mut batch = RecordBatch::default();
        for _ in 0..2 {
            let mut filling = batch.start(Slot(3));
            filling.push(Offset(5), Some(7), Some(b"key"), Some(b"one"));
            headers.iter().for_each(|&header| filling.push_header(header));
            filling.push(Offset(6), None, None, None);
            filling.push(Offset(8), Some(-1), None, None);
            filling.push(Offset(9), Some(-2), Some(b""), Some(b""));
            filling.push_header((b"last", Some(b"x")));
            filling.set_log_append_time();
            drop(filling);
            assert_eq!(batch.slot(), Slot(3));
            let records: Vec<Record<'_>> = batch.records().collect();
            assert_eq!(
                records.iter().map(|of| of.log_append_time == Some(true)).collect::<Vec<_>>(),
                [false, false, false, true]
            );
            assert_eq!(records[0].headers.collect::<Vec<_>>(), headers);
            assert_eq!(records[3].headers.collect::<Vec<_>>(), [(b"last".as_slice(), Some(b"x".as_slice()))]);
            let facts: Vec<_> = records
                .iter()
                .map(|of| (of.offset.0, of.timestamp_ms, of.key, of.value.map(Padded::bytes)))
                .collect();
            let expected = [
                (5, Some(7), Some(&b"key"[..]), Some(&b"one"[..])),
                (6, None, None, None),
                (8, None, None, None),
                (9, Some(-2), Some(b""), Some(b"")),
            ];
            assert_eq!(facts, expected);
        }
    }

    #[test]
    fn behind_every_value_there_is_readable_room() {
        let mut batch = RecordBatch::default();
        let mut filling = batch.start(Slot(0));
        filling.push(Offset(0), None, None, Some(b"first"));
        filling.push(Offset(1), None, None, Some(b"last"));
        drop(filling);
        let memory: Vec<&[u8]> =
            batch.records().filter_map(|of| of.value).map(Padded::with_padding).collect();
        assert_eq!(memory[0][..10], *b"first\0last");
        assert_eq!(memory[1], [b"last".as_slice(), &[0; PADDING]].concat());
        assert_eq!(memory.iter().map(|of| of.len()).collect::<Vec<_>>(), [5 + PADDING, 4 + PADDING]);
    }

    #[test]
    fn an_arena_that_was_large_once_is_not_kept() {
        let mut batch = RecordBatch::default();
        batch.start(Slot(0)).push(Offset(0), None, None, Some(&[b' '; 3 * ARENA_KEPT]));
        assert!(batch.arena.capacity() >= 3 * ARENA_KEPT);
        drop(batch.start(Slot(0)));
        assert!(batch.arena.capacity() <= 2 * ARENA_KEPT);
    }
}
