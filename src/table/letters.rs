//! The letters of a dead-letter table, for those who look at them or try them again.
//!
//! It owns the reading. Which letters of a crash are in doubt is
//! `dead_letters`; what is done with a letter is the caller's.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::action::Add;
use super::dead_letters::LettersTag;
use super::inventory::Inventory;
use super::parquet_object::ParquetObject;
use super::store::Store;
use super::verify::{location, unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition, TopicPartition};
use crate::record::Headers;

/// Letters of a batch: one may be as large as a record.
const BATCH_ROWS: usize = 64;
/// Of a batch that holds no payloads.
const PLAIN_ROWS: usize = 16 << 10;
/// What tells where a letter is from, and why it is one.
pub const PLAIN: [&str; 5] = ["topic", "partition", "offset", "timestamp", "reason"];
/// Everything.
pub const WHOLE: [&str; 9] =
    ["topic", "partition", "offset", "timestamp", "key", "value", "headers", "reason", "error"];

/// A file of letters.
#[derive(Debug)]
pub struct LetterFile {
    pub add: Add,
    /// Whose letters it holds; `None` where another engine wrote it.
    pub tag: Option<LettersTag>,
}

/// The files of a dead-letter table, as far as they can be read.
pub fn files(store: &Store, inventory: &Inventory) -> Result<Vec<LetterFile>> {
    let files = inventory.files.values().map(|add| {
        if add.deletion_vector.is_some() {
            let message = format!("{}: {}: a deletion vector hides some of its letters", store.url, add.path);
            return Err(Error::new(ErrorKind::CannotWrite, message)
                .remedy("rewrite the file: REORG TABLE … APPLY (PURGE) with Spark"));
        }
        Ok(LetterFile { add: add.clone(), tag: LettersTag::of(add) })
    });
    files.collect()
}

/// The letters of one batch, by column.
pub struct Batch {
    topics: StringArray,
    partitions: Int64Array,
    offsets: Int64Array,
    times: ArrayRef,
    reasons: StringArray,
    payload: Option<Payload>,
}

struct Payload {
    keys: BinaryArray,
    values: BinaryArray,
    headers: ArrayRef,
    errors: StringArray,
}

/// One letter. What another engine made null is empty or absent.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub topic: &'a str,
    pub partition: Partition,
    pub offset: Offset,
    pub timestamp_ms: Option<i64>,
    pub reason: &'a str,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    pub error: &'a str,
}

impl Batch {
    fn of(batch: &RecordBatch, whole: bool) -> Option<Batch> {
        let column = |name: &str, wanted: &DataType| cast(batch.column_by_name(name)?, wanted).ok();
        let text = |name: &str| Some(column(name, &DataType::Utf8)?.as_string::<i32>().clone());
        let number = |name: &str| Some(column(name, &DataType::Int64)?.as_primitive::<Int64Type>().clone());
        let bytes = |name: &str| Some(column(name, &DataType::Binary)?.as_binary::<i32>().clone());
        let payload = || {
            Some(Payload {
                keys: bytes("key")?,
                values: bytes("value")?,
                headers: batch.column_by_name("headers")?.clone(),
                errors: text("error")?,
            })
        };
        let times = batch.column_by_name("timestamp")?;
        let times = match times.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => times.clone(),
            _ => cast(times, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?,
        };
        Some(Batch {
            topics: text("topic")?,
            partitions: number("partition")?,
            offsets: number("offset")?,
            times,
            reasons: text("reason")?,
            payload: if whole { Some(payload()?) } else { None },
        })
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `None` for a row that says not where it is from.
    pub fn letter(&self, row: usize) -> Option<Letter<'_>> {
        if self.topics.is_null(row) || self.partitions.is_null(row) || self.offsets.is_null(row) {
            return None;
        }
        let times = self.times.as_primitive::<TimestampMicrosecondType>();
        let payload = self.payload.as_ref();
        Some(Letter {
            topic: self.topics.value(row),
            partition: Partition(i32::try_from(self.partitions.value(row)).ok()?),
            offset: Offset(self.offsets.value(row)),
            timestamp_ms: times.is_valid(row).then(|| times.value(row).div_euclid(1000)),
            reason: if self.reasons.is_valid(row) { self.reasons.value(row) } else { "" },
            key: payload.filter(|of| of.keys.is_valid(row)).map(|of| of.keys.value(row)),
            value: payload.filter(|of| of.values.is_valid(row)).map_or(&[], |of| of.values.value(row)),
            error: payload.filter(|of| of.errors.is_valid(row)).map_or("", |of| of.errors.value(row)),
        })
    }

    /// A letter's headers in the form of [`Headers`].
    pub fn headers(&self, row: usize, out: &mut Vec<u8>) {
        out.clear();
        let Some(payload) = &self.payload else { return };
        let list = match payload.headers.as_list_opt::<i32>() {
            Some(list) if list.is_valid(row) => list.value(row),
            _ => return,
        };
        let Some(members) = list.as_struct_opt() else { return };
        let names = members.column_by_name("key").and_then(|names| cast(names, &DataType::Binary).ok());
        let values = members.column_by_name("value").and_then(|values| cast(values, &DataType::Binary).ok());
        let (Some(names), Some(values)) = (names, values) else { return };
        let (names, values) = (names.as_binary::<i32>(), values.as_binary::<i32>());
        for at in 0..names.len() {
            let value = values.is_valid(at).then(|| values.value(at));
            Headers::write((names.value(at), value), out);
        }
    }
}

/// Reads a file: all of it, or only these rows, growing. `each` hears of every batch with the number of its
/// first row among those that were asked for.
pub async fn read(
    store: &Store,
    file: &LetterFile,
    columns: &[&str],
    rows: Option<&[u32]>,
    mut each: impl AsyncFnMut(usize, Batch) -> Result<()>,
) -> Result<()> {
    let damaged = |why: String| {
        Error::new(ErrorKind::Disagree, format!("{}: {}: {why}", store.url, file.add.path))
            .remedy("restore the file, or remove it from the dead-letter table")
    };
    let place =
        location(store, &file.add.path).ok_or_else(|| damaged("it lies outside of the table".to_owned()))?;
    let object = ParquetObject::new(&store.objects, place);
    let builder = match ParquetRecordBatchStreamBuilder::new(object).await {
        Ok(builder) => builder,
        Err(error) => return Err(damaged(unreadable(store, error)?)),
    };
    let whole = columns.contains(&"value");
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let mut builder =
        builder.with_projection(mask).with_batch_size(if whole { BATCH_ROWS } else { PLAIN_ROWS });
    if let Some(rows) = rows {
        builder = builder.with_row_selection(selection(rows));
    }
    let mut batches = match builder.build() {
        Ok(batches) => batches,
        Err(error) => return Err(damaged(unreadable(store, error)?)),
    };
    let mut first = 0;
    while let Some(batch) = batches.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Err(damaged(unreadable(store, error)?)),
        };
        let batch = Batch::of(&batch, whole)
            .ok_or_else(|| damaged("it has not the columns of dead letters".to_owned()))?;
        let count = batch.len();
        each(first, batch).await?;
        first += count;
    }
    Ok(())
}

/// Selects rows, growing.
fn selection(rows: &[u32]) -> RowSelection {
    let mut selectors = Vec::new();
    let mut at = 0;
    for &row in rows {
        let row = row as usize;
        if row > at {
            selectors.push(RowSelector::skip(row - at));
        }
        selectors.push(RowSelector::select(1));
        at = row + 1;
    }
    selectors.into()
}

/// Whose letter it is: told by its file's tag, else by its topic, if the table knows one incarnation of it.
pub fn source_of<'a>(
    file: &'a LetterFile,
    letter: &Letter<'_>,
    table_ids: &BTreeSet<String>,
    known: &'a BTreeMap<(String, Partition), Vec<TopicPartition>>,
) -> Option<&'a TopicPartition> {
    match &file.tag {
        Some(tag) if !table_ids.contains(&tag.table_id) => None,
        Some(tag) => tag
            .ranges
            .iter()
            .find(|range| {
                range.source.topic == letter.topic
                    && range.source.partition == letter.partition
                    && (range.start..range.next).contains(&letter.offset)
            })
            .map(|range| &range.source),
        None => match known.get(&(letter.topic.to_owned(), letter.partition)).map(Vec::as_slice) {
            Some([only]) => Some(only),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_one_by_one() {
        let selected: Vec<(usize, bool)> =
            selection(&[0, 1, 5]).iter().map(|of| (of.row_count, of.skip)).collect();
        assert_eq!(selected, [(2, false), (3, true), (1, false)]);
    }
}
