//! Every row counted by its offset: which are there twice, which are where no
//! range has them, which are missing.
//!
//! It owns reading `_partition` and `_offset` of the live files. The topic of
//! a row is told by its file's ranges. It does not judge the log: that is
//! [`super::verify`].
//!
//! Memory: one bit for each settled offset, within [`BITMAP_BYTES_MAX`], and
//! one batch of rows.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::action::{self, Add};
use super::inventory::Inventory;
use super::parquet_object::ParquetObject;
use super::store::Store;
use super::verify::{location, unreadable};
use crate::error::Result;
use crate::ids::{OffsetRange, Partition, TopicPartition};

const PARTITION: &str = "_partition";
const OFFSET: &str = "_offset";
/// A larger table is not audited.
const BITMAP_BYTES_MAX: usize = 1 << 30;
const BATCH_ROWS: usize = 64 << 10;

#[derive(Debug, Default)]
pub struct Audit {
    pub partitions: BTreeMap<TopicPartition, Counted>,
    /// Why rows were not counted; then there are no partitions.
    pub not_done: Option<String>,
    faults: Vec<String>,
}

/// The rows of one partition.
#[derive(Debug)]
pub struct Counted {
    pub rows: u64,
    /// Rows whose offset was seen before.
    pub doubled: u64,
    /// Rows whose offset lies outside of their file's ranges.
    pub out_of_range: u64,
    seen: Bitmap,
}

/// Counts the rows of all live files. What cannot be counted is told in [`Audit::not_done`].
pub async fn audit(store: &Store, inventory: &Inventory) -> Result<Audit> {
    let mut audit = match prepare(inventory) {
        Ok(audit) => audit,
        Err(why) => return Ok(Audit { not_done: Some(why), ..Audit::default() }),
    };
    for add in inventory.files.values() {
        audit.read(store, add).await?;
    }
    Ok(audit)
}

/// An empty audit, or why there is none.
fn prepare(inventory: &Inventory) -> Result<Audit, String> {
    let schema = &inventory.snapshot.metadata.schema_string;
    let schema = crate::schema::Schema::from_delta(schema)?;
    if [PARTITION, OFFSET].iter().any(|name| schema.field(name).is_none()) {
        return Err(format!("the table has no columns {PARTITION} and {OFFSET}"));
    }
    let mut spans: BTreeMap<TopicPartition, Range<i64>> = BTreeMap::new();
    for add in inventory.files.values() {
        if add.deletion_vector.is_some() {
            return Err("deletion vectors hide some rows".to_owned());
        }
        let ranges = action::ranges_of(add).ok_or("other writers wrote or rewrote some files")?;
        for range in ranges {
            let span = spans.entry(range.source).or_insert(range.start.0..range.next.0);
            *span = span.start.min(range.start.0)..span.end.max(range.next.0);
        }
    }
    let bytes: i64 = spans.values().map(|span| span.end.saturating_sub(span.start).max(0) / 8 + 8).sum();
    if bytes > BITMAP_BYTES_MAX as i64 {
        return Err(format!("one bit for each offset would take {bytes} bytes"));
    }
    let counted = |span| Counted { rows: 0, doubled: 0, out_of_range: 0, seen: Bitmap::new(span) };
    let partitions = spans.into_iter().map(|(source, span)| (source, counted(span))).collect();
    Ok(Audit { partitions, ..Audit::default() })
}

impl Audit {
    /// Reads one file. A file that cannot be read is a fault of the table, told by `verify`.
    async fn read(&mut self, store: &Store, add: &Add) -> Result<()> {
        let ranges = action::ranges_of(add).unwrap_or_default();
        let Some(place) = location(store, &add.path) else { return Ok(()) };
        let builder =
            match ParquetRecordBatchStreamBuilder::new(ParquetObject::new(&store.objects, place)).await {
                Ok(builder) => builder,
                Err(error) => return unreadable(store, error).map(drop),
            };
        let mask = ProjectionMask::columns(builder.parquet_schema(), [PARTITION, OFFSET]);
        let mut batches = match builder.with_projection(mask).with_batch_size(BATCH_ROWS).build() {
            Ok(batches) => batches,
            Err(error) => return unreadable(store, error).map(drop),
        };
        let mut rows = vec![0; ranges.len()];
        while let Some(batch) = batches.next().await {
            match batch {
                Ok(batch) => self.count(&batch, &ranges, &mut rows, &add.path),
                Err(error) => {
                    let why = unreadable(store, error)?;
                    self.faults.push(format!("{} is not readable Parquet: {why}", add.path));
                    return Ok(());
                }
            }
        }
        for (range, &held) in ranges.iter().zip(&rows) {
            if held != range.rows {
                let said = range.rows;
                self.faults.push(format!("{} holds {held} rows of {range}, the range says {said}", add.path));
            }
        }
        Ok(())
    }

    /// Counts a batch; `rows` is by range.
    fn count(&mut self, batch: &RecordBatch, ranges: &[OffsetRange], rows: &mut [u64], path: &str) {
        let partitions =
            batch.column_by_name(PARTITION).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let offsets = batch.column_by_name(OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
            self.faults.push(format!("{path} has no {PARTITION} and {OFFSET} of their types"));
            return;
        };
        let mut homeless = 0u64;
        for row in 0..batch.num_rows() {
            if partitions.is_null(row) || offsets.is_null(row) {
                homeless += 1;
                continue;
            }
            let (number, offset) = (partitions.value(row), offsets.value(row));
            let of_partition = |range: &OffsetRange| range.source.partition == Partition(number);
            let holds =
                |range: &OffsetRange| of_partition(range) && (range.start.0..range.next.0).contains(&offset);
            let inside = ranges.iter().position(holds);
            let Some(home) = inside.or_else(|| ranges.iter().position(of_partition)) else {
                homeless += 1;
                continue;
            };
            rows[home] += 1;
            let counted = self.partitions.get_mut(&ranges[home].source).expect("every range has its bitmap");
            counted.rows += 1;
            if inside.is_none() {
                counted.out_of_range += 1;
            } else if !counted.seen.insert(offset) {
                counted.doubled += 1;
            }
        }
        if homeless > 0 {
            self.faults.push(format!("{path} holds {homeless} rows of partitions that it has no range of"));
        }
    }

    /// What no sound table shows.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = self.faults.clone();
        for (source, counted) in &self.partitions {
            if counted.doubled > 0 {
                violations.push(format!("{} rows of {source} are there twice", counted.doubled));
            }
            if counted.out_of_range > 0 {
                violations.push(format!(
                    "{} rows of {source} lie outside of their file's ranges",
                    counted.out_of_range
                ));
            }
        }
        violations
    }

    pub fn rows(&self) -> u64 {
        self.partitions.values().map(|counted| counted.rows).sum()
    }

    /// How many of the expected offsets have no row, where any is missing.
    ///
    /// Meaningful only if the audit was done and every expected offset becomes a row.
    pub fn missing(
        &self,
        expected: &BTreeMap<(String, Partition), Range<i64>>,
    ) -> BTreeMap<(String, Partition), u64> {
        let mut missing = BTreeMap::new();
        for ((topic, partition), offsets) in expected {
            let held: Vec<&Bitmap> = self
                .partitions
                .iter()
                .filter(|(source, _)| source.topic == *topic && source.partition == *partition)
                .map(|(_, counted)| &counted.seen)
                .collect();
            let absent =
                offsets.clone().filter(|&offset| !held.iter().any(|seen| seen.contains(offset))).count();
            if absent > 0 {
                missing.insert((topic.clone(), *partition), absent as u64);
            }
        }
        missing
    }
}

/// One bit for each offset of a span.
#[derive(Debug)]
struct Bitmap {
    span: Range<i64>,
    words: Vec<u64>,
}

impl Bitmap {
    fn new(span: Range<i64>) -> Bitmap {
        let words = (span.end - span.start).max(0) as usize / 64 + 1;
        Bitmap { span, words: vec![0; words] }
    }

    /// False if it was there; the offset lies within the span.
    fn insert(&mut self, offset: i64) -> bool {
        let (word, bit) = self.place(offset).expect("a range lies within its partition's span");
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    fn contains(&self, offset: i64) -> bool {
        self.place(offset).is_some_and(|(word, bit)| self.words[word] & bit != 0)
    }

    fn place(&self, offset: i64) -> Option<(usize, u64)> {
        self.span.contains(&offset).then(|| {
            let index = (offset - self.span.start) as usize;
            (index / 64, 1 << (index % 64))
        })
    }
}
