//! The dead letters of a dead-letter table, for those who look at them or try them again.
//!
//! It owns the reading. Which dead letters of a crash are in doubt is
//! `dead_letters`; what is done with a dead letter is the caller's.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};

use crate::dead_letters::tags::DeadLettersTag;
use crate::delta::action::Add;
use crate::delta::inventory::Inventory;
use crate::delta::rows::{Rows, Wanted};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition};
use crate::record::Headers;
use crate::stores::store::Store;

/// Dead letters of a batch: one may be as large as a record.
const BATCH_ROWS: usize = 64;
/// Of a batch that holds no payloads.
const PLAIN_ROWS: usize = 16 << 10;
/// What tells where a dead letter is from, and why it is one.
pub const PLAIN: [&str; 5] = ["topic", "partition", "offset", "timestamp", "reason"];
/// Everything.
pub const WHOLE: [&str; 9] =
    ["topic", "partition", "offset", "timestamp", "key", "value", "headers", "reason", "error"];

/// A file of dead letters.
#[derive(Debug)]
pub struct DeadLetterFile {
    pub add: Add,
    /// Whose dead letters it holds; `None` where another engine wrote it.
    pub tag: Option<DeadLettersTag>,
}

/// The files of a dead-letter table, as far as they can be read.
pub fn files(store: &Store, inventory: &Inventory) -> Result<Vec<DeadLetterFile>> {
    let files = inventory.files.values().map(|add| {
        if add.deletion_vector.is_some() {
            let message =
                format!("{}: {}: a deletion vector hides some of its dead letters", store.url, add.path);
            return Err(Error::new(ErrorKind::CannotWrite, message)
                .remedy("rewrite the file: REORG TABLE … APPLY (PURGE) with Spark"));
        }
        Ok(DeadLetterFile { add: add.clone(), tag: DeadLettersTag::of(add) })
    });
    files.collect()
}

/// The dead letters of one batch, by column.
pub struct Batch {
    /// The number of the first among the rows that were asked for.
    pub first: usize,
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

/// One dead letter. What another engine made null is empty or absent.
#[derive(Clone, Copy, Debug)]
pub struct StoredDeadLetter<'a> {
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
    fn of(batch: &RecordBatch, first: usize, whole: bool) -> Option<Batch> {
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
            first,
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
    pub fn dead_letter(&self, row: usize) -> Option<StoredDeadLetter<'_>> {
        if self.topics.is_null(row) || self.partitions.is_null(row) || self.offsets.is_null(row) {
            return None;
        }
        let times = self.times.as_primitive::<TimestampMicrosecondType>();
        let payload = self.payload.as_ref();
        Some(StoredDeadLetter {
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

    /// A dead letter's headers in the form of [`Headers`].
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

/// The dead letters of a file that is being read.
pub struct DeadLetters<'a> {
    rows: Rows<'a>,
    whole: bool,
    read: usize,
}

/// Reads a file: all of it, or only these rows, growing.
pub async fn open<'a>(
    store: &'a Store,
    add: &'a Add,
    columns: &'a [&'a str],
    rows: Option<&'a [u32]>,
) -> Result<DeadLetters<'a>> {
    let whole = columns.contains(&"value");
    let remedy = "its rows say which records are dead-lettered: restore the file, or remove it from the \
                  dead-letter table";
    let batch_rows = if whole { BATCH_ROWS } else { PLAIN_ROWS };
    let rows = Rows::of(store, add, Wanted { columns, rows, batch_rows, remedy }).await?;
    Ok(DeadLetters { rows, whole, read: 0 })
}

impl DeadLetters<'_> {
    pub async fn next(&mut self) -> Result<Option<Batch>> {
        let (first, whole) = (self.read, self.whole);
        let batch = self.rows.next(|batch| Batch::of(batch, first, whole)).await?;
        self.read += batch.as_ref().map_or(0, Batch::len);
        Ok(batch)
    }
}
