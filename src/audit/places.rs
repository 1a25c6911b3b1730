//! Where rows come from, told by the table alone.
//!
//! It owns the reading: tags where there are some, else the rows' own
//! `_partition` and `_offset`. Nothing on the commit path asks this.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use crate::config::MetadataColumn;
use crate::dead_letters::tags::replayed_of;
use crate::delta::action::{self, Add};
use crate::delta::inventory;
use crate::delta::rows::{Rows, Wanted};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, OffsetRange, Partition, TopicId, TopicPartition};
use crate::stores::store::Store;

const BATCH_ROWS: usize = 16 << 10;

/// Behind the last row of each partition of a topic. Files whose tags name another topic, or another
/// incarnation of it, do not count.
///
/// # Errors
/// Where there are `others`, rows of other topics, and a file that does not tell whose its rows are.
pub async fn rows_end(
    store: &Store,
    topic: &str,
    topic_id: &TopicId,
    others: bool,
) -> Result<BTreeMap<Partition, Offset>> {
    let inventory = inventory::take(store).await?;
    let mut ends = BTreeMap::new();
    for add in inventory.files.values() {
        match action::ranges_of(add) {
            Some(ranges) => {
                let same = |id: &TopicId| *id == *topic_id || id.is_unknown() || topic_id.is_unknown();
                let own = ranges.iter().filter(|of| of.source.topic == topic && same(&of.source.topic_id));
                own.for_each(|range| raise(&mut ends, range.source.partition, range.next));
            }
            None if others => {
                let message = format!(
                    "{}: {} was rewritten by another writer: which of the table's topics its rows are of is not told",
                    store.url, add.path
                );
                return Err(Error::new(ErrorKind::Disagree, message)
                    .remedy(format!("ingest `{topic}` into a table of its own")));
            }
            None => {
                read(store, add, |partition, offset| raise(&mut ends, partition, Offset(offset.0 + 1)))
                    .await?;
            }
        }
    }
    Ok(ends)
}

/// Those of these offsets that have a row which is no file's of a settled range: rows of replayed dead letters.
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
    let columns = [MetadataColumn::Partition.name(), MetadataColumn::Offset.name()];
    let form = |batch: &RecordBatch| {
        let integers = |name| arrow::compute::cast(batch.column_by_name(name)?, &DataType::Int64).ok();
        let [partitions, offsets] = columns.map(integers);
        Some((partitions?, offsets?))
    };
    let remedy = "its rows say what is there: restore the file, or remove it from the table";
    let wanted = Wanted { columns: &columns, rows: None, batch_rows: BATCH_ROWS, remedy };
    let mut rows = Rows::of(store, add, wanted).await?;
    while let Some((partitions, offsets)) = rows.next(form).await? {
        let (partitions, offsets) =
            (partitions.as_primitive::<Int64Type>(), offsets.as_primitive::<Int64Type>());
        for (partition, offset) in partitions.iter().zip(offsets).filter_map(|(one, other)| one.zip(other)) {
            // What is no partition's number is nobody's.
            if let Ok(partition) = i32::try_from(partition) {
                each(Partition(partition), Offset(offset));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::{HandMade, full, source};

    #[tokio::test]
    async fn tags_say_where_rows_end_and_rows_do_where_there_are_none() {
        let mut table = HandMade::new().await;
        let mut foreign = table.file(&[(1, 3), (1, 11), (0, 2)], &[]);
        foreign.tags = None;
        table.commit_file(&foreign, &[]).await;
        table.append(&[full(0, 0, 10)]).await;
        let asked = |id: &str| TopicId(id.to_owned());
        let (store, topic) = (&table.store, &source(0).topic);
        let ends = rows_end(store, topic, &asked("id"), false).await.unwrap();
        assert_eq!(ends, [(Partition(0), Offset(10)), (Partition(1), Offset(12))].into());
        let of_another = rows_end(store, topic, &asked("another"), false).await.unwrap();
        assert_eq!(of_another, [(Partition(0), Offset(3)), (Partition(1), Offset(12))].into());
        let unclear = rows_end(store, topic, &asked("id"), true).await.unwrap_err();
        assert_eq!(unclear.kind, ErrorKind::Disagree);
    }
}
