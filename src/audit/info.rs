//! What a table is: schema, sizes, next offsets, and what lies around.
//!
//! It owns the figures of `table info`. It judges nothing: that is
//! [`crate::audit::verify`].

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::Serialize;

use crate::delta::inventory::Inventory;
use crate::delta::live_file::{hidden_rows, location, records};
use crate::error::Result;
use crate::ids::{Offset, Partition, TopicId, Version};
use crate::protocol::app_id::AppId;
use crate::schema::Schema;
use crate::stores::store::{Store, explain};

/// Files below this size are what a compaction would merge.
pub const SMALL_FILE_BYTES: i64 = 16 << 20;
/// A younger file may belong to a commit on its way.
pub const ORPHAN_AGE: Duration = Duration::from_secs(3600);

#[derive(Debug, Serialize)]
pub struct Info {
    pub version: Version,
    /// The oldest version file that is still there.
    pub oldest_version: Option<Version>,
    pub checkpoint: Option<Version>,
    pub min_reader_version: i32,
    pub min_writer_version: i32,
    pub features: BTreeSet<String>,
    /// Spark DDL; Delta's JSON where a type has no DDL of ours.
    pub schema: String,
    pub files: usize,
    pub small_files: usize,
    pub bytes: i64,
    /// As the statistics of the log tell.
    pub rows: u64,
    /// Live files whose statistics tell no number of rows.
    pub files_without_rows: usize,
    pub offsets: Vec<NextOffset>,
    /// Data files that no retained version names, older than was asked for.
    pub orphans: Orphans,
    /// The same, but younger: they may belong to a commit on its way.
    pub young: Heap,
    /// Halves of writes that were cut off (`name#number`), on local disks only.
    pub leftovers: Heap,
}

#[derive(Debug, Serialize)]
pub struct NextOffset {
    pub table_id: String,
    pub topic: String,
    pub topic_id: TopicId,
    pub partition: Partition,
    pub next: Offset,
}

/// Some files and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Heap {
    pub files: usize,
    pub bytes: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Orphans {
    pub files: usize,
    pub bytes: u64,
    /// The oldest first, at most as many as were asked for.
    pub listed: Vec<Orphan>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Orphan {
    pub modified_ms: i64,
    pub bytes: u64,
    /// Relative to the table's root.
    pub path: String,
}

/// Which orphans are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub older_than: Duration,
    pub listed_max: usize,
}

impl Heap {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

pub async fn info(store: &Store, inventory: &Inventory, now_ms: i64, asked: Asked) -> Result<Info> {
    let snapshot = &inventory.snapshot;
    let features = snapshot.protocol.reader_features.iter().chain(&snapshot.protocol.writer_features);
    let files = || inventory.files.values();
    let (orphans, young) = unnamed(store, inventory, now_ms, asked).await?;
    Ok(Info {
        version: snapshot.version,
        oldest_version: inventory.history.first().map(|retained| retained.version),
        checkpoint: snapshot.checkpoint,
        min_reader_version: snapshot.protocol.min_reader_version,
        min_writer_version: snapshot.protocol.min_writer_version,
        features: features.flatten().cloned().collect(),
        schema: Schema::from_delta(&snapshot.metadata.schema_string)
            .map_or_else(|_| snapshot.metadata.schema_string.clone(), |schema| schema.to_string()),
        files: files().count(),
        small_files: files().filter(|add| add.size < SMALL_FILE_BYTES).count(),
        bytes: files().map(|add| add.size).sum(),
        rows: files().map(|add| records(add).unwrap_or(0).saturating_sub(hidden_rows(add))).sum(),
        files_without_rows: files().filter(|add| records(add).is_none()).count(),
        offsets: snapshot.txns.iter().filter_map(|(app_id, &next)| next_offset(app_id, next)).collect(),
        orphans,
        young,
        leftovers: leftovers(store),
    })
}

fn next_offset(app_id: &str, next: i64) -> Option<NextOffset> {
    let AppId { table_id, source } = AppId::parse(app_id)?;
    Some(NextOffset {
        table_id,
        topic: source.topic,
        topic_id: source.topic_id,
        partition: source.partition,
        next: Offset(next),
    })
}

/// Data files that no version names: those old enough to be orphans, and the others.
async fn unnamed(store: &Store, inventory: &Inventory, now_ms: i64, asked: Asked) -> Result<(Orphans, Heap)> {
    let live = inventory.files.values();
    let added = inventory.history.iter().flat_map(|retained| &retained.adds);
    let mut named: BTreeSet<Path> = live.chain(added).filter_map(|add| location(store, &add.path)).collect();
    named.extend(inventory.removed.iter().filter_map(|path| location(store, path)));
    let (mut orphans, mut young) = (Orphans::default(), Heap::default());
    let old_at = now_ms.saturating_sub(i64::try_from(asked.older_than.as_millis()).unwrap_or(i64::MAX));
    let mut listed = store.objects.list(Some(&store.root));
    while let Some(object) = listed.next().await {
        let object = object.map_err(|error| explain(&store.url, &error))?;
        let Some(path) = data_file(store, &object).filter(|_| !named.contains(&object.location)) else {
            continue;
        };
        let modified_ms = object.last_modified.timestamp_millis();
        if modified_ms >= old_at {
            young.add(object.size);
            continue;
        }
        orphans.files += 1;
        orphans.bytes += object.size;
        orphans.listed.push(Orphan { modified_ms, bytes: object.size, path });
    }
    orphans.listed.sort();
    orphans.listed.truncate(asked.listed_max);
    Ok((orphans, young))
}

/// The name of a data file that lies in the table's root, where ours do.
fn data_file(store: &Store, object: &ObjectMeta) -> Option<String> {
    let name = object.location.filename()?;
    let in_root = object.location.prefix_matches(&store.root)
        && object.location.parts_count() == store.root.parts_count() + 1;
    (in_root && name.starts_with("part-") && name.ends_with(".parquet")).then(|| name.to_owned())
}

/// The store's listing hides them, so the folders are read as they are.
fn leftovers(store: &Store) -> Heap {
    let mut heap = Heap::default();
    let Some(root) = store.is_local().then(|| store.url.to_file_path().ok()).flatten() else { return heap };
    for folder in [root.join("_delta_log"), root] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number);
            if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())) {
                heap.add(entry.metadata().map_or(0, |metadata| metadata.len()));
            }
        }
    }
    heap
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::inventory;
    use crate::delta::testing::{HandMade, full};

    #[tokio::test]
    async fn files_that_no_version_names_are_listed_and_young_ones_are_left_alone() {
        let mut table = HandMade::new().await;
        table.append(&[full(0, 0, 10)]).await;
        for name in ["part-lost-1.parquet", "part-lost-2.parquet", "notes.txt"] {
            std::fs::write(table.directory.path().join(name), name).unwrap();
        }
        let inventory = inventory::take(&table.store).await.unwrap();
        let now = std::fs::metadata(table.directory.path().join("part-lost-1.parquet")).unwrap();
        let now = now.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        let later = now + 3_600_000;
        let asked = Asked { older_than: ORPHAN_AGE, listed_max: 1 };
        let fresh = info(&table.store, &inventory, now, asked).await.unwrap();
        assert_eq!((fresh.orphans.files, fresh.young), (0, Heap { files: 2, bytes: 38 }));
        let aged = info(&table.store, &inventory, later + 60_000, asked).await.unwrap();
        assert_eq!((aged.orphans.files, aged.orphans.bytes, aged.young.files), (2, 38, 0));
        assert_eq!(aged.orphans.listed.len(), 1, "as many as asked for");
        assert!(aged.orphans.listed[0].path.starts_with("part-lost-"), "{:?}", aged.orphans.listed);
    }
}
