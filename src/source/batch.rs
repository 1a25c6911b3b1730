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

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    /// Milliseconds since the epoch; `i64::MIN` where the record has none.
    timestamp_ms: i64,
    end: usize,
    is_null: bool,
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub offset: Offset,
    pub timestamp_ms: Option<i64>,
    /// `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

impl RecordBatch {
    /// Empties the batch for a partition; its memory stays.
    pub fn start(&mut self, slot: Slot) {
        self.slot = Some(slot);
        self.arena.clear();
        self.entries.clear();
    }

    pub fn push(&mut self, record: Record<'_>) {
        self.arena.extend_from_slice(record.value.unwrap_or_default());
        self.entries.push(Entry {
            offset: record.offset.0,
            timestamp_ms: record.timestamp_ms.unwrap_or(i64::MIN),
            end: self.arena.len(),
            is_null: record.value.is_none(),
        });
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
            let bytes = &self.arena[start..entry.end];
            start = entry.end;
            Record {
                offset: Offset(entry.offset),
                timestamp_ms: (entry.timestamp_ms != i64::MIN).then_some(entry.timestamp_ms),
                value: (!entry.is_null).then_some(bytes),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let records = [
            Record { offset: Offset(5), timestamp_ms: Some(7), value: Some(b"one") },
            Record { offset: Offset(6), timestamp_ms: None, value: None },
            Record { offset: Offset(9), timestamp_ms: Some(-1), value: Some(b"") },
        ];
        let mut batch = RecordBatch::default();
        for _ in 0..2 {
            batch.start(Slot(3));
            records.iter().for_each(|&record| batch.push(record));
            assert_eq!(batch.records().collect::<Vec<_>>(), records);
            assert_eq!(batch.slot(), Slot(3));
        }
    }
}
