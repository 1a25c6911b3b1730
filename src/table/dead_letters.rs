//! A dead-letter table as its main table's committer needs it.
//!
//! It owns the tag on its files and the question which letters stand above
//! the main table's offsets. What that means is `protocol::dead_letters`; the
//! rows are made in `columnar::letters`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use serde::{Deserialize, Serialize};

use super::action::Add;
use super::gate;
use super::inventory;
use super::log::Snapshot;
use super::parquet_object::ParquetObject;
use super::store::Store;
use super::verify::{location, unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, OffsetRange, TopicPartition};
use crate::protocol::dead_letters::Held;
use crate::schema::Schema;

/// The tag of a file of dead letters.
pub const LETTERS_TAG: &str = "thalweg.letters";

/// Whose letters a file holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LettersTag {
    /// The id of the main table.
    pub table_id: String,
    pub ranges: Vec<OffsetRange>,
}

impl LettersTag {
    pub fn of(add: &Add) -> Option<LettersTag> {
        tag(add, LETTERS_TAG)
    }
}

fn tag(add: &Add, name: &str) -> Option<LettersTag> {
    serde_json::from_str(add.tags.as_ref()?.get(name)?.as_ref()?).ok()
}

/// The tag of a file of the main table whose rows are letters that were replayed: a [`LettersTag`]. Its
/// ranges go from the first letter that was tried to behind the last one; they settle nothing.
pub const REPLAYED_TAG: &str = "thalweg.replayed";

/// What a replay made of its letters; `None` for every other file.
pub fn replayed_of(add: &Add) -> Option<Vec<OffsetRange>> {
    tag(add, REPLAYED_TAG).map(|tag| tag.ranges)
}

/// Whether letters fit into a table that is there.
pub fn admit(store: &Store, snapshot: &Snapshot) -> Result<()> {
    let schema = gate::admit(&snapshot.protocol, &snapshot.metadata)?;
    let ours = Schema::of_dead_letters();
    if gate::still_fits(&ours, &schema) {
        return Ok(());
    }
    let message = format!("{}: the table there has not the columns of dead letters", store.url);
    Err(Error::new(ErrorKind::CannotWrite, message)
        .remedy(format!("name another location with `dlq`; the columns are: {ours}")))
}

/// The letters of a table in offsets that are in doubt.
///
/// Only files that may hold them are read: those with a tag of this table that
/// reaches into the doubt, and those without a tag, which another engine rewrote.
pub async fn held(
    store: &Store,
    table_id: &str,
    in_doubt: &BTreeMap<TopicPartition, Range<i64>>,
) -> Result<Held> {
    let mut found: BTreeMap<TopicPartition, BTreeSet<Offset>> = BTreeMap::new();
    if in_doubt.is_empty() {
        return Ok(Held::new());
    }
    let inventory = inventory::take(store).await?;
    for add in inventory.files.values() {
        if let Some(tag) = LettersTag::of(add) {
            // They may be from before the broker told topic ids.
            let reaches = |range: &OffsetRange| {
                in_doubt.iter().any(|(source, doubt)| {
                    (&source.topic, source.partition) == (&range.source.topic, range.source.partition)
                        && range.next.0 > doubt.start
                        && range.start.0 < doubt.end
                })
            };
            if tag.table_id != table_id || !tag.ranges.iter().any(reaches) {
                continue;
            }
        }
        read(store, add, in_doubt, &mut found).await?;
    }
    Ok(found.into_iter().map(|(source, offsets)| (source, offsets.into_iter().collect())).collect())
}

async fn read(
    store: &Store,
    add: &Add,
    in_doubt: &BTreeMap<TopicPartition, Range<i64>>,
    found: &mut BTreeMap<TopicPartition, BTreeSet<Offset>>,
) -> Result<()> {
    let damaged = |why: String| {
        Error::new(ErrorKind::Disagree, format!("{}: {}: {why}", store.url, add.path)).remedy(
            "its dead letters decide which records are settled: restore the file, or remove it from the table",
        )
    };
    let place =
        location(store, &add.path).ok_or_else(|| damaged("it lies outside of the table".to_owned()))?;
    let builder = match ParquetRecordBatchStreamBuilder::new(ParquetObject::new(&store.objects, place)).await
    {
        Ok(builder) => builder,
        Err(error) => return Err(damaged(unreadable(store, error)?)),
    };
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["topic", "partition", "offset"]);
    let mut batches = match builder.with_projection(mask).build() {
        Ok(batches) => batches,
        Err(error) => return Err(damaged(unreadable(store, error)?)),
    };
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(batch) => collect(&batch, in_doubt, found)
                .ok_or_else(|| damaged("it has no columns topic, partition and offset".to_owned()))?,
            Err(error) => return Err(damaged(unreadable(store, error)?)),
        }
    }
    Ok(())
}

/// `None` if a column is missing or of another type.
fn collect(
    batch: &RecordBatch,
    in_doubt: &BTreeMap<TopicPartition, Range<i64>>,
    found: &mut BTreeMap<TopicPartition, BTreeSet<Offset>>,
) -> Option<()> {
    let topics = batch.column_by_name("topic")?.as_string_opt::<i32>()?;
    let partitions = batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?;
    let offsets = batch.column_by_name("offset")?.as_primitive_opt::<Int64Type>()?;
    for row in (0..batch.num_rows()).filter(|&row| !topics.is_null(row) && !offsets.is_null(row)) {
        let (topic, partition, offset) = (topics.value(row), partitions.value(row), offsets.value(row));
        let source = in_doubt.iter().find(|(source, doubt)| {
            source.topic == topic && source.partition.0 == partition && doubt.contains(&offset)
        });
        if let Some((source, _)) = source {
            found.entry(source.clone()).or_default().insert(Offset(offset));
        }
    }
    Some(())
}
