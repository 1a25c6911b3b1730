//! Checkpoints and log clean-up, off the commit path.
//!
//! It owns turning the last checkpoint and the versions after it into a new
//! one, batch by batch, so that memory grows with what changed and not with
//! the table; and the removal of version files that no reader needs.
//!
//! Invariants: the hint `_last_checkpoint` is written last, after the
//! checkpoint it names. The checkpoint it names is never removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef};
use bytes::Bytes;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::async_reader::ParquetRecordBatchStream;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::action::{self, Line, Remove};
use super::inventory::FileKey;
use super::log::{self, Found, LogFile};
use super::parquet_object::ParquetObject;
use super::store::{Store, explain};
use super::sweeper::Sweeper;
use super::upload::{self, Name, PART_BYTES, Part, Uploaded};
use crate::budget::Charge;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;

/// Tombstones younger than this are carried over; Delta's default.
const TOMBSTONE_RETENTION_MS: i64 = 7 * 24 * 3600 * 1000;
/// Version files younger than this are kept; Delta's default.
const LOG_RETENTION_MS: i64 = 30 * 24 * 3600 * 1000;
/// Rows of one row group of a checkpoint.
const ROW_GROUP_ROWS: usize = 100_000;

/// Writes a checkpoint of `version` unless there is one.
pub async fn write(store: &Store, version: Version, now_ms: i64, sweeper: &Sweeper) -> Result<()> {
    let hint = log::last_checkpoint(store).await?;
    let mut listing = log::list(store, hint).await?;
    if hint.is_some_and(|hint| !listing.checkpoints.contains_key(&hint)) {
        // The hint names a checkpoint that is gone: an older one may be there.
        listing = log::list(store, None).await?;
    }
    let base = listing.checkpoints.range(..=version).next_back();
    if base.is_some_and(|(&base, _)| base == version) {
        return Ok(());
    }
    let changes = Changes::read(store, base.map(|(&base, _)| base), version).await?;
    let names = base.map_or(&[][..], |(_, names)| names);
    let actions = merge(store, names, &changes, version, now_ms, sweeper).await?;
    write_hint(store, version, actions).await
}

/// What the versions after the last checkpoint did, by file and by name.
#[derive(Default)]
struct Changes {
    protocol: Option<String>,
    metadata: Option<String>,
    txns: BTreeMap<String, String>,
    domains: BTreeMap<String, String>,
    adds: BTreeMap<FileKey, String>,
    removes: BTreeMap<FileKey, String>,
}

impl Changes {
    async fn read(store: &Store, base: Option<Version>, version: Version) -> Result<Changes> {
        let mut changes = Changes::default();
        let mut at = base.map_or(Version(0), Version::next);
        while at <= version {
            let Found::Commit(body) = log::get(store, at).await else {
                return Err(log::damaged(store, at, "it cannot be read for a checkpoint"));
            };
            changes.apply(&body).map_err(|error| log::damaged(store, at, error))?;
            at = at.next();
        }
        Ok(changes)
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), serde_json::Error> {
        for line in action::lines(body) {
            match line? {
                Line::Protocol(protocol) => self.protocol = Some(json!({"protocol": protocol}).to_string()),
                Line::MetaData(metadata) => self.metadata = Some(json!({"metaData": metadata}).to_string()),
                Line::Txn(txn) => {
                    self.txns.insert(txn.app_id.clone(), json!({"txn": txn}).to_string());
                }
                Line::DomainMetadata(text) => {
                    let domain: Value = serde_json::from_str(text.get())?;
                    let name = domain["domain"].as_str().unwrap_or_default().to_owned();
                    self.domains.insert(name, json!({"domainMetadata": domain}).to_string());
                }
                Line::Add(text) => {
                    let add: action::Add = serde_json::from_str(text.get())?;
                    let key = FileKey::of(&add.path, add.deletion_vector.as_ref());
                    self.removes.remove(&key);
                    self.adds.insert(key, format!("{{\"add\":{}}}", text.get()));
                }
                Line::Remove(text) => {
                    let remove: Remove = serde_json::from_str(text.get())?;
                    let key = FileKey::of(&remove.path, remove.deletion_vector.as_ref());
                    self.adds.remove(&key);
                    self.removes.insert(key, format!("{{\"remove\":{}}}", text.get()));
                }
                Line::CommitInfo(_) | Line::Other | Line::Unknown(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a row of the old checkpoint is overtaken by a later version.
    fn overtakes(&self, row: &OldRow<'_>) -> bool {
        match row {
            OldRow::File(key) => self.adds.contains_key(key) || self.removes.contains_key(key),
            OldRow::Protocol => self.protocol.is_some(),
            OldRow::MetaData => self.metadata.is_some(),
            OldRow::Txn(app_id) => self.txns.contains_key(*app_id),
            OldRow::Domain(name) => self.domains.contains_key(*name),
            OldRow::Other => true,
        }
    }

    /// The actions of one half, one a line.
    fn lines(&self, half: Half, now_ms: i64) -> Result<Vec<u8>, serde_json::Error> {
        let mut lines = Vec::new();
        let mut push = |line: &String| {
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
        };
        if half == Half::Table {
            self.protocol.iter().chain(&self.metadata).chain(self.txns.values()).for_each(&mut push);
            self.domains.values().filter(|line| !line.contains("\"removed\":true")).for_each(&mut push);
            return Ok(lines);
        }
        for line in self.removes.values() {
            let value: Value = serde_json::from_str(line)?;
            let deleted = value["remove"]["deletionTimestamp"].as_i64().unwrap_or(0);
            if deleted > now_ms - TOMBSTONE_RETENTION_MS {
                push(line);
            }
        }
        self.adds.values().for_each(&mut push);
        Ok(lines)
    }
}

/// What is about the table stands before what is about files, in row groups
/// of its own: a reader that wants only that reads only that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Table,
    Files,
}

/// The leaves whose null counts tell that a row group holds something about the table.
const TABLE_LEAVES: [&str; 4] =
    ["txn.appId", "protocol.minReaderVersion", "metaData.id", "domainMetadata.domain"];

/// Writes the new checkpoint; returns how many actions it holds.
async fn merge(
    store: &Store,
    old: &[String],
    changes: &Changes,
    version: Version,
    now_ms: i64,
    sweeper: &Sweeper,
) -> Result<i64> {
    let name = format!("{:020}.checkpoint.parquet", version.0);
    let internal = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Internal, format!("{}: checkpoint {version}: {error}", store.url))
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), schema(), Some(properties)).map_err(|error| internal(&error))?;
    let (parts, mut receiver) = tokio::sync::mpsc::channel(2);
    let arriving = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let relative = format!("_delta_log/{name}");
    let produce = async {
        let mut rows = 0;
        for half in [Half::Table, Half::Files] {
            let lines = changes.lines(half, now_ms).map_err(|error| internal(&error))?;
            for batch in from_json_lines(&lines).map_err(|error| internal(&error))? {
                rows += batch.num_rows() as i64;
                writer.write(&batch).map_err(|error| internal(&error))?;
            }
            for name in old {
                let mut batches = open_half(store, name, half).await?;
                while let Some(batch) = batches.next().await {
                    let batch = batch.map_err(|error| log::bad_checkpoint(store, name, error))?;
                    let kept = keep(&batch, changes, half, now_ms).map_err(|error| internal(&error))?;
                    rows += kept.num_rows() as i64;
                    writer.write(&kept).map_err(|error| internal(&error))?;
                    if writer.inner().len() >= PART_BYTES {
                        send(&parts, std::mem::take(writer.inner_mut()), false).await;
                    }
                }
            }
            writer.flush().map_err(|error| internal(&error))?;
        }
        let tail = writer.into_inner().map_err(|error| internal(&error))?;
        send(&parts, tail, true).await;
        drop(parts);
        Ok(rows)
    };
    let (rows, uploaded) =
        futures::join!(produce, upload::file(store, (&relative, Name::Shared), arriving, &(), sweeper));
    match (rows, uploaded) {
        (Err(error), _) => Err(error),
        (Ok(rows), Uploaded::Done) => Ok(rows),
        (Ok(_), Uploaded::Failed(error)) => Err(explain(&store.url, &error)),
        (Ok(_), Uploaded::Abandoned) => Err(internal(&"the upload was abandoned")),
    }
}

/// The row groups of an old checkpoint's part that may hold rows of this half.
async fn open_half(store: &Store, name: &str, half: Half) -> Result<ParquetRecordBatchStream<ParquetObject>> {
    let builder = log::open_checkpoint(store, name).await?;
    let file = Arc::clone(builder.metadata());
    let groups = (0..file.num_row_groups()).filter(|&group| {
        half == Half::Files || TABLE_LEAVES.iter().any(|leaf| log::may_hold(file.row_group(group), leaf))
    });
    let builder = builder.with_row_groups(groups.collect());
    builder.build().map_err(|error| log::bad_checkpoint(store, name, error))
}

async fn send(parts: &tokio::sync::mpsc::Sender<Part>, bytes: Vec<u8>, last: bool) {
    // A closed channel means that the upload failed; its own answer says why.
    let _ = parts.send(Part { bytes: bytes.into(), charge: Charge::none(), last }).await;
}

async fn write_hint(store: &Store, version: Version, actions: i64) -> Result<()> {
    let hint = json!({"version": version, "size": actions}).to_string();
    let path = store.path("_delta_log/_last_checkpoint");
    match store.objects.put(&path, Bytes::from(hint).into()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(explain(&store.url, &error)),
    }
}

/// One row of an old checkpoint: which of the actions it is.
enum OldRow<'a> {
    File(FileKey),
    Protocol,
    MetaData,
    Txn(&'a str),
    Domain(&'a str),
    Other,
}

/// The rows of an old checkpoint that still hold, in our schema.
fn keep(
    batch: &RecordBatch,
    changes: &Changes,
    half: Half,
    now_ms: i64,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let batch = conform(batch)?;
    let column = |name: &str| batch.column_by_name(name).expect("the batch has our schema").as_struct();
    let (add, remove) = (column("add"), column("remove"));
    let deleted = remove.column_by_name("deletionTimestamp").expect("our schema").as_primitive::<Int64Type>();
    let txns = log::member_strings(&batch, "txn", "appId");
    let domains = log::member_strings(&batch, "domainMetadata", "domain");
    let kept: BooleanArray = (0..batch.num_rows())
        .map(|row| {
            if (half == Half::Files) != (add.is_valid(row) || remove.is_valid(row)) {
                return Some(false);
            }
            let old = if add.is_valid(row) {
                OldRow::File(file_key(add, row))
            } else if remove.is_valid(row) {
                if deleted.is_null(row) || deleted.value(row) <= now_ms - TOMBSTONE_RETENTION_MS {
                    return Some(false);
                }
                OldRow::File(file_key(remove, row))
            } else if column("protocol").is_valid(row) {
                OldRow::Protocol
            } else if column("metaData").is_valid(row) {
                OldRow::MetaData
            } else if let Some(app_id) = txns[row] {
                OldRow::Txn(app_id)
            } else if let Some(domain) = domains[row] {
                OldRow::Domain(domain)
            } else {
                OldRow::Other
            };
            Some(!changes.overtakes(&old))
        })
        .collect();
    arrow::compute::filter_record_batch(&batch, &kept)
}

fn file_key(action: &StructArray, row: usize) -> FileKey {
    let text = |array: &StructArray, name: &str| {
        let strings = array.column_by_name(name)?.as_string::<i32>();
        strings.is_valid(row).then(|| strings.value(row).to_owned())
    };
    let vector = action.column_by_name("deletionVector").expect("our schema").as_struct();
    let deletion_vector = vector.is_valid(row).then(|| {
        let offset = vector.column_by_name("offset").expect("our schema");
        let offset = offset.as_primitive::<arrow::datatypes::Int32Type>();
        let offset = if offset.is_valid(row) { format!("@{}", offset.value(row)) } else { String::new() };
        let storage = text(vector, "storageType").unwrap_or_default();
        format!("{storage}{}{offset}", text(vector, "pathOrInlineDv").unwrap_or_default())
    });
    FileKey { path: text(action, "path").unwrap_or_default(), deletion_vector }
}

/// JSON actions as batches of the checkpoint's schema.
fn from_json_lines(mut lines: &[u8]) -> Result<Vec<RecordBatch>, arrow::error::ArrowError> {
    let mut decoder = arrow::json::ReaderBuilder::new(schema()).with_batch_size(8192).build_decoder()?;
    let mut batches = Vec::new();
    while !lines.is_empty() {
        let used = decoder.decode(lines)?;
        lines = &lines[used..];
        if used == 0 || lines.is_empty() {
            batches.extend(decoder.flush()?);
        }
    }
    Ok(batches)
}

/// Another writer's checkpoint in our schema: members by name, what is absent is null.
fn conform(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| conform_array(batch.column_by_name(field.name()), field.data_type(), batch.num_rows()))
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema, columns)
}

fn conform_array(
    array: Option<&ArrayRef>,
    wanted: &DataType,
    rows: usize,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    let Some(array) = array else { return Ok(new_null_array(wanted, rows)) };
    match (wanted, array.as_struct_opt()) {
        (DataType::Struct(fields), Some(members)) => {
            let columns = fields
                .iter()
                .map(|field| conform_array(members.column_by_name(field.name()), field.data_type(), rows))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, members.nulls().cloned())?))
        }
        _ => arrow::compute::cast(array, wanted),
    }
}

/// The columns of a checkpoint.
fn schema() -> SchemaRef {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let vector = || {
        structure(&[
            ("storageType", Utf8),
            ("pathOrInlineDv", Utf8),
            ("offset", Int32),
            ("sizeInBytes", Int32),
            ("cardinality", Int64),
        ])
    };
    let columns = [
        (
            "protocol",
            structure(&[
                ("minReaderVersion", Int32),
                ("minWriterVersion", Int32),
                ("readerFeatures", list()),
                ("writerFeatures", list()),
            ]),
        ),
        (
            "metaData",
            structure(&[
                ("id", Utf8),
                ("name", Utf8),
                ("description", Utf8),
                ("format", structure(&[("provider", Utf8), ("options", map())])),
                ("schemaString", Utf8),
                ("partitionColumns", list()),
                ("configuration", map()),
                ("createdTime", Int64),
            ]),
        ),
        ("txn", structure(&[("appId", Utf8), ("version", Int64), ("lastUpdated", Int64)])),
        ("domainMetadata", structure(&[("domain", Utf8), ("configuration", Utf8), ("removed", Boolean)])),
        (
            "add",
            structure(&[
                ("path", Utf8),
                ("partitionValues", map()),
                ("size", Int64),
                ("modificationTime", Int64),
                ("dataChange", Boolean),
                ("stats", Utf8),
                ("tags", map()),
                ("deletionVector", vector()),
                ("baseRowId", Int64),
                ("defaultRowCommitVersion", Int64),
                ("clusteringProvider", Utf8),
            ]),
        ),
        (
            "remove",
            structure(&[
                ("path", Utf8),
                ("deletionTimestamp", Int64),
                ("dataChange", Boolean),
                ("extendedFileMetadata", Boolean),
                ("partitionValues", map()),
                ("size", Int64),
                ("tags", map()),
                ("deletionVector", vector()),
            ]),
        ),
    ];
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

fn structure(members: &[(&str, DataType)]) -> DataType {
    let fields: Vec<Field> =
        members.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
    DataType::Struct(Fields::from(fields))
}

fn map() -> DataType {
    let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry.into()), false)), false)
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)))
}

/// Removes log files older than the retention that no reader needs: all that
/// lie before the newest checkpoint which is itself older than the retention.
/// Returns how many were removed.
pub async fn clean_up(store: &Store, now_ms: i64) -> Result<usize> {
    let named = log::last_checkpoint(store).await?;
    let log_path = store.log_path();
    let mut objects = Vec::new();
    let mut listed = store.objects.list(Some(&log_path));
    while let Some(object) = listed.next().await {
        objects.push(object.map_err(|error| explain(&store.url, &error))?);
    }
    let old = |object: &object_store::ObjectMeta| {
        object.last_modified.timestamp_millis() < now_ms - LOG_RETENTION_MS
    };
    let checkpoints: BTreeSet<Version> = log::list(store, None).await?.checkpoints.into_keys().collect();
    let floor = objects
        .iter()
        .filter(|object| old(object))
        .filter_map(|object| match LogFile::parse(object.location.filename()?)? {
            LogFile::Checkpoint { version, .. } if checkpoints.contains(&version) => Some(version),
            _ => None,
        })
        .max();
    let Some(floor) = floor.min(named) else { return Ok(0) };
    // In order, so that a clean-up that is cut off leaves versions without a hole.
    objects.sort_by(|one, other| one.location.cmp(&other.location));
    let mut removed = 0;
    for object in objects.iter().filter(|object| old(object)) {
        let version = object.location.filename().and_then(|name| name.get(..20)).and_then(|v| v.parse().ok());
        if version.is_some_and(|version| Version(version) < floor) {
            store.objects.delete(&object.location).await.map_err(|error| explain(&store.url, &error))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table::inventory::{self, Inventory};
    use crate::table::testing::{HandMade, NOW_MS, full};

    /// What must be the same however the log is kept.
    fn state(inventory: &Inventory) -> (log::Snapshot, BTreeMap<FileKey, action::Add>) {
        let mut snapshot = inventory.snapshot.clone();
        snapshot.checkpoint = None;
        // A checkpoint cannot tell who wrote its version.
        snapshot.tip_commit_id = None;
        (snapshot, inventory.files.clone())
    }

    async fn take(table: &HandMade) -> Inventory {
        inventory::take(&table.store).await.unwrap()
    }

    /// A table with an append, a file removed and one hidden behind a deletion vector.
    async fn moved_table() -> HandMade {
        let mut table = HandMade::new().await;
        let removed = table.append(&[full(0, 0, 10)]).await;
        let hidden = table.append(&[full(0, 10, 20), full(1, 0, 3)]).await;
        table.append(&[full(1, 3, 9)]).await;
        let mut again = serde_json::to_value(&hidden).unwrap();
        again["deletionVector"] = json!({"storageType": "u", "pathOrInlineDv": "ab", "offset": 1,
            "sizeInBytes": 34, "cardinality": 2});
        table
            .commit_lines(&[
                json!({"txn": {"appId": "another-writer", "version": 7}}),
                json!({"domainMetadata": {"domain": "d", "configuration": "{}", "removed": false}}),
                json!({"remove": {"path": removed.path, "dataChange": true, "deletionTimestamp": NOW_MS}}),
                json!({"remove": {"path": hidden.path, "dataChange": true, "deletionTimestamp": NOW_MS}}),
                json!({"add": again}),
            ])
            .await;
        table
    }

    #[tokio::test]
    async fn a_table_is_the_same_behind_its_checkpoint() {
        let table = moved_table().await;
        let before = take(&table).await;
        assert_eq!(before.files.len(), 2);
        write(&table.store, table.tip(), NOW_MS, &Sweeper::here()).await.unwrap();
        assert_eq!(state(&take(&table).await), state(&before));
        table.forget_until(table.tip());
        let after = take(&table).await;
        assert_eq!(state(&after), state(&before));
        assert_eq!(after.snapshot.checkpoint, Some(table.tip()));
        assert_eq!(after.snapshot.txns["another-writer"], 7);
        assert_eq!(after.removed.len(), 2, "tombstones are carried: {:?}", after.removed);
        assert!(after.history.is_empty() && after.faults.is_empty());
    }

    #[tokio::test]
    async fn a_checkpoint_on_a_checkpoint_follows_what_came_between() {
        let mut table = moved_table().await;
        write(&table.store, table.tip(), NOW_MS, &Sweeper::here()).await.unwrap();
        table.forget_until(table.tip());
        let forgotten = table.tip();
        table.append(&[full(0, 20, 30)]).await;
        let key = take(&table).await.files.into_keys().find(|key| key.deletion_vector.is_some()).unwrap();
        let vector = json!({"storageType": "u", "pathOrInlineDv": "ab", "offset": 1, "sizeInBytes": 34,
            "cardinality": 2});
        table
            .commit_lines(&[
                json!({"remove": {"path": key.path, "dataChange": true, "deletionTimestamp": NOW_MS,
                    "deletionVector": vector}}),
                json!({"domainMetadata": {"domain": "d", "configuration": "", "removed": true}}),
            ])
            .await;
        let before = take(&table).await;
        assert_eq!(before.files.len(), 2);
        write(&table.store, table.tip(), NOW_MS, &Sweeper::here()).await.unwrap();
        for version in forgotten.0 + 1..=table.tip().0 {
            let name = format!("_delta_log/{version:020}.json");
            std::fs::remove_file(table.directory.path().join(name)).unwrap();
        }
        assert_eq!(state(&take(&table).await), state(&before));
        assert_eq!(before.snapshot.txns.len(), 3);
    }

    #[tokio::test]
    async fn tombstones_past_their_retention_are_left_out() {
        let table = moved_table().await;
        write(&table.store, table.tip(), NOW_MS + TOMBSTONE_RETENTION_MS + 1, &Sweeper::here())
            .await
            .unwrap();
        table.forget_until(table.tip());
        assert!(take(&table).await.removed.is_empty());
    }

    #[tokio::test]
    async fn offsets_are_read_from_row_groups_without_files() {
        let mut table = moved_table().await;
        write(&table.store, table.tip(), NOW_MS, &Sweeper::here()).await.unwrap();
        table.append(&[full(0, 20, 30)]).await;
        write(&table.store, table.tip(), NOW_MS, &Sweeper::here()).await.unwrap();
        let name = format!("{:020}.checkpoint.parquet", table.tip().0);
        let builder = log::open_checkpoint(&table.store, &name).await.unwrap();
        for group in builder.metadata().row_groups() {
            let both = log::may_hold(group, "txn.appId") && log::may_hold(group, "add.path");
            assert!(!both, "a row group mixes offsets and files");
        }
    }

    #[tokio::test]
    async fn only_what_a_checkpoint_covers_is_cleaned_up() {
        let mut table = moved_table().await;
        write(&table.store, table.tip(), NOW_MS, &Sweeper::here()).await.unwrap();
        let covered = table.tip();
        table.append(&[full(0, 20, 30)]).await;
        let before = take(&table).await;
        let now = written_ms(&table) + LOG_RETENTION_MS;
        assert_eq!(clean_up(&table.store, now - 3600 * 1000).await.unwrap(), 0);
        assert_eq!(clean_up(&table.store, now + 3600 * 1000).await.unwrap(), covered.0 as usize);
        let after = take(&table).await;
        assert_eq!(state(&after), state(&before));
        assert_eq!(after.history.first().map(|retained| retained.version), Some(covered));
    }

    /// When the log was last written, as its files tell.
    fn written_ms(table: &HandMade) -> i64 {
        let file = table.directory.path().join("_delta_log/_last_checkpoint");
        let modified = std::fs::metadata(file).unwrap().modified().unwrap();
        modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
    }
}
