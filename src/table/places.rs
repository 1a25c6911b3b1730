//! Where rows come from, told by the table alone.
//!
//! It owns the reading: tags where there are some, else the rows' own
//! `_partition` and `_offset`. Nothing on the commit path asks this.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::action::{self, Add};
use super::dead_letters::replayed_of;
use super::inventory;
use super::parquet_object::ParquetObject;
use super::store::Store;
use super::verify::{location, unreadable};
use crate::config::MetadataColumn;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, OffsetRange, Partition, TopicId, TopicPartition};

/// Behind the last row of each partition of a topic. Files whose tags name another incarnation of the
/// topic do not count.
pub async fn rows_end(store: &Store, topic: &str, topic_id: &TopicId) -> Result<BTreeMap<Partition, Offset>> {
    let inventory = inventory::take(store).await?;
    let mut ends = BTreeMap::new();
    for add in inventory.files.values() {
        match action::ranges_of(add) {
            Some(ranges) => {
                let same = |id: &TopicId| *id == *topic_id || id.is_unknown() || topic_id.is_unknown();
                let own = ranges.iter().filter(|of| of.source.topic == topic && same(&of.source.topic_id));
                own.for_each(|range| raise(&mut ends, range.source.partition, range.next));
            }
            None => {
                read(store, add, |partition, offset| raise(&mut ends, partition, Offset(offset.0 + 1)))
                    .await?;
            }
        }
    }
    Ok(ends)
}

/// Those of these offsets that have a row which is no file's of a settled range: rows of replayed letters.
///
/// Read are files of replays that reach them, and files of other engines, which may have rewritten one.
pub async fn replayed_rows(
    store: &Store,
    wanted: &BTreeSet<(TopicPartition, Offset)>,
) -> Result<BTreeSet<(TopicPartition, Offset)>> {
    let inventory = inventory::take(store).await?;
    let mut by_place: BTreeMap<(Partition, Offset), Vec<&TopicPartition>> = BTreeMap::new();
    for (source, offset) in wanted {
        by_place.entry((source.partition, *offset)).or_default().push(source);
    }
    let mut found = BTreeSet::new();
    for add in inventory.files.values().filter(|add| action::ranges_of(add).is_none()) {
        let tag = replayed_of(add);
        let reaches = |range: &OffsetRange| {
            let from = (range.source.clone(), range.start);
            wanted.range(from..(range.source.clone(), range.next)).next().is_some()
        };
        if tag.as_ref().is_some_and(|ranges| !ranges.iter().any(reaches)) {
            continue;
        }
        read(store, add, |partition, offset| {
            for &source in by_place.get(&(partition, offset)).into_iter().flatten() {
                let told =
                    tag.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.source == *source));
                if told {
                    found.insert((source.clone(), offset));
                }
            }
        })
        .await?;
    }
    Ok(found)
}

fn raise(ends: &mut BTreeMap<Partition, Offset>, partition: Partition, end: Offset) {
    let known = ends.entry(partition).or_insert(end);
    *known = end.max(*known);
}

async fn read(store: &Store, add: &Add, mut each: impl FnMut(Partition, Offset)) -> Result<()> {
    let damaged = |why: String| {
        Error::new(ErrorKind::Disagree, format!("{}: {}: {why}", store.url, add.path))
            .remedy("its rows say what is there: restore the file, or remove it from the table")
    };
    let place =
        location(store, &add.path).ok_or_else(|| damaged("it lies outside of the table".to_owned()))?;
    let builder = match ParquetRecordBatchStreamBuilder::new(ParquetObject::new(&store.objects, place)).await
    {
        Ok(builder) => builder,
        Err(error) => return Err(damaged(unreadable(store, error)?)),
    };
    let names = [MetadataColumn::Partition.name(), MetadataColumn::Offset.name()];
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let mut batches = match builder.with_projection(mask).build() {
        Ok(batches) => batches,
        Err(error) => return Err(damaged(unreadable(store, error)?)),
    };
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(batch) => collect(&batch, names, &mut each)
                .ok_or_else(|| damaged(format!("it has no columns {} and {}", names[0], names[1])))?,
            Err(error) => return Err(damaged(unreadable(store, error)?)),
        }
    }
    Ok(())
}

/// `None` if a column is missing or of another type.
fn collect(batch: &RecordBatch, names: [&str; 2], each: &mut impl FnMut(Partition, Offset)) -> Option<()> {
    let integers = |name| arrow::compute::cast(batch.column_by_name(name)?, &DataType::Int64).ok();
    let (partitions, offsets) = (integers(names[0])?, integers(names[1])?);
    let (partitions, offsets) = (partitions.as_primitive::<Int64Type>(), offsets.as_primitive::<Int64Type>());
    for row in (0..batch.num_rows()).filter(|&row| partitions.is_valid(row) && offsets.is_valid(row)) {
        each(Partition(i32::try_from(partitions.value(row)).ok()?), Offset(offsets.value(row)));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HandMade, full, source};
    use super::*;

    #[tokio::test]
    async fn tags_say_where_rows_end_and_rows_do_where_there_are_none() {
        let mut table = HandMade::new().await;
        let mut foreign = table.file(&[(1, 3), (1, 11), (0, 2)], &[]);
        foreign.tags = None;
        table.commit_file(&foreign, &[]).await;
        table.append(&[full(0, 0, 10)]).await;
        let asked = |id: &str| TopicId(id.to_owned());
        let (store, topic) = (&table.store, &source(0).topic);
        let ends = rows_end(store, topic, &asked("id")).await.unwrap();
        assert_eq!(ends, [(Partition(0), Offset(10)), (Partition(1), Offset(12))].into());
        let of_another = rows_end(store, topic, &asked("another")).await.unwrap();
        assert_eq!(of_another, [(Partition(0), Offset(3)), (Partition(1), Offset(12))].into());
    }
}
