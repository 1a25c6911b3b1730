//! A checkpoint says what the log says: full replays beside it, by hand and by chance.

mod allowed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StructArray, new_null_array,
};
use arrow::datatypes::{DataType, Field};
use serde_json::{Value, json};

use super::*;
use crate::delta::action;
use crate::delta::checkpoint_file;
use crate::delta::inventory::{self, FileKey, Inventory};
use crate::delta::retention::Retention;
use crate::delta::testing::{self, HandMade, NOW_MS, full};
use crate::protocol::app_id::AppId;

const RETENTION_MS: i64 = Retention::DEFAULT.tombstones_ms;
/// Nothing has expired at `NOW_MS`.
const OPTIONS: CheckpointOptions =
    CheckpointOptions { expired_ms: NOW_MS - RETENTION_MS, compression: Compression::Zstd(1) };

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
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
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
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
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
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
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
    write(
        &table.store,
        table.tip(),
        CheckpointOptions { expired_ms: NOW_MS, ..OPTIONS },
        &OrphanCleaner::here(),
    )
    .await
    .unwrap();
    table.forget_until(table.tip());
    assert!(take(&table).await.removed.is_empty());
}

#[tokio::test]
async fn offsets_are_read_from_row_groups_without_files() {
    let mut table = moved_table().await;
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    table.append(&[full(0, 20, 30)]).await;
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    let name = format!("{:020}.checkpoint.parquet", table.tip().0);
    let builder = checkpoint_file::open_checkpoint(&table.store, &name).await.unwrap();
    for group in builder.metadata().row_groups() {
        let both =
            checkpoint_file::may_hold(group, "txn.appId") && checkpoint_file::may_hold(group, "add.path");
        assert!(!both, "a row group mixes offsets and files");
    }
}

#[tokio::test]
async fn only_what_a_checkpoint_covers_is_cleaned_up() {
    let mut table = moved_table().await;
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    let covered = table.tip();
    table.append(&[full(0, 20, 30)]).await;
    let before = take(&table).await;
    let written_ms = written_ms(&table);
    assert_eq!(clean_up(&table.store, written_ms - 3600 * 1000).await.unwrap(), 0);
    assert_eq!(clean_up(&table.store, written_ms + 3600 * 1000).await.unwrap(), covered.0 as usize);
    let after = take(&table).await;
    assert_eq!(state(&after), state(&before));
    assert_eq!(after.history.first().map(|retained| retained.version), Some(covered));
}

#[tokio::test]
async fn a_thousand_partitions_of_offsets_survive_checkpoint_and_clean_up() {
    let mut table = moved_table().await;
    let all =
        |next: i64| (0..1000).map(|partition| testing::txn(partition, next + i64::from(partition))).collect();
    table.commit("STREAMING UPDATE", &[], all(0)).await;
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    // Some move on behind the checkpoint, and then there is another one.
    table.commit("STREAMING UPDATE", &[], vec![testing::txn(7, 5_000), testing::txn(999, 6_000)]).await;
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    let before = take(&table).await;
    let expired = written_ms(&table) + 3600 * 1000;
    assert!(clean_up(&table.store, expired).await.unwrap() > 0);
    let after = take(&table).await;
    assert_eq!(state(&after), state(&before));
    let next = |partition: i32| {
        let id = AppId::new(testing::TABLE_ID, testing::source(partition)).to_string();
        after.snapshot.txns[&id]
    };
    assert_eq!([0, 7, 8, 998, 999].map(next), [0, 5_000, 8, 998, 6_000]);
    assert_eq!(after.snapshot.txns.len(), 1_001, "and another writer's");
}

/// When the log was last written, as its files tell.
fn written_ms(table: &HandMade) -> i64 {
    let file = table.directory.path().join("_delta_log/_last_checkpoint");
    let modified = std::fs::metadata(file).unwrap().modified().unwrap();
    modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Row groups of a few rows, and a checkpoint every few versions' bytes.
const TINY: MemoryLimits = MemoryLimits {
    group: GroupMax { rows: 16, bytes: 1 << 20 },
    window: Window { whole_bytes: 0, block_bytes: 100 },
    step_bytes: 6000,
};

/// What a log says, replayed in the plainest way: what is live, what is a tombstone, the rest by name.
#[derive(Clone, Default, Debug)]
struct Replay {
    adds: BTreeMap<FileKey, Value>,
    removes: BTreeMap<FileKey, Value>,
    /// Everything else, by its action and its name.
    named: BTreeMap<(String, String), Value>,
}

impl Replay {
    fn apply(&mut self, lines: &[Value]) {
        for line in lines {
            let (action, value) = line.as_object().unwrap().iter().next().unwrap();
            match action.as_str() {
                "add" => {
                    self.removes.remove(&key(value));
                    self.adds.insert(key(value), value.clone());
                }
                "remove" => {
                    self.adds.remove(&key(value));
                    self.removes.insert(key(value), value.clone());
                }
                "commitInfo" => {}
                "domainMetadata" if value["removed"] == true => {
                    self.named.remove(&name(action, value));
                }
                _ => {
                    self.named.insert(name(action, value), value.clone());
                }
            }
        }
    }

    fn lines(&self) -> Vec<Value> {
        let named = self.named.iter().map(|((action, _), value)| json!({ action.as_str(): value }));
        let adds = self.adds.values().map(|value| json!({"add": value}));
        let removes = self.removes.values().map(|value| json!({"remove": value}));
        named.chain(adds).chain(removes).collect()
    }
}

fn key(file: &Value) -> FileKey {
    let vector = (!file["deletionVector"].is_null())
        .then(|| serde_json::from_value::<action::DeletionVector>(file["deletionVector"].clone()).unwrap());
    FileKey::of(file["path"].as_str().unwrap(), vector.as_ref())
}

fn name(action: &str, value: &Value) -> (String, String) {
    let name = value["appId"].as_str().or(value["domain"].as_str()).unwrap_or_default();
    (action.to_owned(), name.to_owned())
}

/// The rows of a checkpoint as they stand there, nulls left out.
async fn rows(table: &HandMade, version: Version) -> Vec<Value> {
    let listing = log::list(&table.store, None).await.unwrap();
    let mut rows = Vec::new();
    for name in &listing.checkpoints[&version] {
        let mut batches =
            checkpoint_file::open_checkpoint(&table.store, name).await.unwrap().build().unwrap();
        while let Some(batch) = batches.next().await {
            let text = checkpoint_file::to_json_lines(&batch.unwrap()).unwrap();
            rows.extend(serde_json::Deserializer::from_slice(&text).into_iter::<Value>().map(Result::unwrap));
        }
    }
    rows
}

/// The checkpoint holds each row of the replay once, and nothing else but tombstones that expired lately.
async fn assert_says(table: &HandMade, replay: &Replay, now_ms: i64) {
    let mut found = Replay::default();
    let rows = rows(table, table.tip()).await;
    found.apply(&rows);
    let count = found.adds.len() + found.removes.len() + found.named.len();
    assert_eq!(rows.len(), count, "a row stands there twice, or a file and its tombstone");
    assert_eq!(bare(&found.adds), bare(&replay.adds), "live files at version {}", table.tip());
    assert_eq!(bare(&found.named), bare(&replay.named));
    let age = |tombstone: &Value| now_ms - tombstone["deletionTimestamp"].as_i64().unwrap();
    for (key, tombstone) in &replay.removes {
        let is_there = found.removes.contains_key(key);
        assert!(is_there || age(tombstone) >= RETENTION_MS, "a tombstone is lost: {key:?}");
    }
    for (key, tombstone) in &found.removes {
        assert!(replay.removes.contains_key(key), "a tombstone of nothing: {key:?}");
        assert!(age(tombstone) < RETENTION_MS * 8 / 7, "a tombstone stays for ever: {key:?}");
    }
}

/// Readers see no difference between a member that is null and one that is absent.
fn bare<K: Ord + Clone>(all: &BTreeMap<K, Value>) -> BTreeMap<K, Value> {
    fn strip(value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(k, v)| (k.clone(), strip(v)))
                .collect(),
            other => other.clone(),
        }
    }
    all.iter().map(|(key, value)| (key.clone(), strip(value))).collect()
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }
}

/// What any writer may do in one version: files come in order of their names, mostly.
fn commit_by_chance(chance: &mut Chance, replay: &Replay, version: u64, now_ms: i64) -> Vec<Value> {
    let mut lines = vec![json!({"commitInfo": {"timestamp": now_ms, "operation": "WRITE"}})];
    let live: Vec<&Value> = replay.adds.values().collect();
    let mut touched = BTreeSet::new();
    for _ in 0..chance.below(4) {
        if live.is_empty() {
            break;
        }
        let file = live[chance.below(live.len() as u64) as usize];
        if !touched.insert(key(file)) {
            continue;
        }
        let mut remove = json!({"path": file["path"], "dataChange": chance.one_in(2),
            "deletionTimestamp": now_ms - chance.below(1000) as i64});
        if !file["deletionVector"].is_null() {
            remove["deletionVector"] = file["deletionVector"].clone();
        }
        match chance.below(4) {
            // The same file again with other facts, as a writer that adds statistics does.
            0 => lines
                .push(json!({"add": add(file["path"].as_str().unwrap(), version, &file["deletionVector"])})),
            // Rows of it are hidden: another deletion vector takes its place.
            1 => {
                let vector = json!({"storageType": "u", "pathOrInlineDv": format!("v{version}"),
                    "offset": chance.below(9), "sizeInBytes": 34, "cardinality": 2});
                lines.push(json!({"remove": remove}));
                lines.push(json!({"add": add(file["path"].as_str().unwrap(), version, &vector)}));
            }
            _ => lines.push(json!({"remove": remove})),
        }
    }
    for _ in 0..chance.below(6) {
        // Now and then a name that was there before, maybe removed, maybe live.
        let number =
            if chance.one_in(6) { chance.below(version * 4 + 1) } else { version * 4 + chance.below(4) };
        let path = format!("part-{number:06}.parquet");
        if touched.insert(FileKey::of(&path, None)) && !live.iter().any(|file| file["path"] == *path) {
            lines.push(json!({"add": add(&path, version, &Value::Null)}));
        }
    }
    let apps: BTreeSet<u64> = (0..chance.below(3)).map(|_| chance.below(20)).collect();
    for app in apps {
        lines.push(json!({"txn": {"appId": format!("app-{app}"), "version": version}}));
    }
    if chance.one_in(5) {
        lines.push(json!({"domainMetadata": {"domain": format!("d{}", chance.below(3)),
            "configuration": format!("{{\"removed\":true,\"v\":{version}}}"), "removed": chance.one_in(2)}}));
    }
    if chance.one_in(7) {
        let mut metadata = replay.named[&name("metaData", &Value::Null)].clone();
        metadata["configuration"] = json!({"changed": format!("{version}")});
        lines.push(json!({"metaData": metadata}));
    }
    lines
}

fn add(path: &str, version: u64, vector: &Value) -> Value {
    let mut add = json!({"path": path, "partitionValues": {"p": "1"}, "size": version, "modificationTime": NOW_MS,
        "dataChange": true, "stats": format!("{{\"numRecords\":{version}}}"),
        "tags": {"thalweg.ranges": format!("[{version}]")}});
    if !vector.is_null() {
        add["deletionVector"] = vector.clone();
    }
    add
}

/// Another writer's checkpoint: in parts, other columns, files and the rest in one row group.
fn foreign_checkpoint(table: &HandMade, replay: &Replay) {
    let (lines, parts) = (replay.lines(), 2);
    for (part, lines) in lines.chunks(lines.len().div_ceil(parts)).enumerate() {
        let batch = batch_of(lines);
        // Their columns stand in another order.
        let order: Vec<usize> = (0..batch.num_columns()).rev().collect();
        let batch = batch.project(&order).unwrap();
        let name = format!("{:020}.checkpoint.{:010}.{parts:010}.parquet", table.tip().0, part + 1);
        write_parquet(&table.directory.path().join("_delta_log").join(name), &batch);
    }
    let hint = json!({"version": table.tip(), "size": lines.len(), "parts": parts}).to_string();
    std::fs::write(table.directory.path().join("_delta_log/_last_checkpoint"), hint).unwrap();
}

/// Checkpoints on checkpoints over a history by chance, each against the replay of everything.
async fn history_by_chance(seed: u64) -> (usize, usize) {
    let (mut chance, mut now_ms) = (Chance(seed), NOW_MS);
    let mut table = HandMade::new().await;
    let mut replay = Replay::default();
    replay.apply(&first_version(&table));
    let (mut groups_copied, mut groups) = (0, 0);
    for _ in 0..24 {
        for _ in 0..1 + chance.below(8) {
            let lines = commit_by_chance(&mut chance, &replay, table.next.0, now_ms);
            table.commit_lines(&lines).await;
            replay.apply(&lines);
            now_ms += chance.below(6 * 3600 * 1000) as i64;
        }
        if chance.one_in(12) {
            foreign_checkpoint(&table, &replay);
            continue;
        }
        let before = newest_groups(&table).await;
        let expired_ms = now_ms - RETENTION_MS;
        // The table's owner changes his mind.
        let compression = if chance.one_in(3) { Compression::Zstd(1) } else { Compression::Snappy };
        let options = CheckpointOptions { expired_ms, compression };
        write_within(&table.store, table.tip(), options, &OrphanCleaner::here(), TINY, &SystemClock)
            .await
            .unwrap();
        assert_says(&table, &replay, now_ms).await;
        let after = newest_groups(&table).await;
        groups_copied += after.iter().filter(|group| before.contains(group)).count();
        groups += after.len();
        // What stands in the checkpoint may be gone from the log.
        if chance.one_in(3) {
            for version in 0..=table.tip().0 {
                let name = format!("_delta_log/{version:020}.json");
                let _ = std::fs::remove_file(table.directory.path().join(name));
            }
        }
        let live = take(&table).await.files;
        assert!(live.keys().eq(replay.adds.keys()), "live files behind version {}", table.tip());
    }
    (groups_copied, groups)
}

/// The bytes of each row group with files of the newest checkpoint.
async fn newest_groups(table: &HandMade) -> Vec<Bytes> {
    let listing = log::list(&table.store, None).await.unwrap();
    let Some((_, names)) = listing.checkpoints.last_key_value() else { return Vec::new() };
    let output = Output::new(TINY.group, OPTIONS.compression, 1 << 20).unwrap();
    let mut groups = Vec::new();
    for file in old::open(&table.store, names, output.columns(), TINY.window).await.unwrap() {
        if !file.is_ours() {
            continue;
        }
        for (group, metadata) in file.metadata().row_groups().iter().enumerate() {
            if Part::Adds.may_be_in(metadata) {
                groups.push(file.hold(&table.store, group).await.unwrap().0.bytes);
            }
        }
    }
    groups
}

#[tokio::test]
async fn whatever_happens_a_checkpoint_says_what_the_whole_log_says() {
    let (mut copied, mut groups) = (0, 0);
    for seed in 0..4 {
        let (more_copied, more) = history_by_chance(seed).await;
        (copied, groups) = (copied + more_copied, groups + more);
    }
    assert!(copied * 6 > groups, "of {groups} row groups only {copied} were copied: nothing is shown");
}

#[tokio::test]
async fn what_nothing_happened_to_is_copied_byte_for_byte_and_the_rest_is_not() {
    let mut table = checkpointed_table().await;
    let before = newest_groups(&table).await;
    assert_eq!(before.len(), 4);
    let remove =
        json!({"remove": {"path": "part-000020.parquet", "dataChange": true, "deletionTimestamp": NOW_MS}});
    table.commit_lines(&[remove, file(64)]).await;
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    let after = newest_groups(&table).await;
    let copied: Vec<bool> = before.iter().map(|group| after.contains(group)).collect();
    assert_eq!(copied, [true, false, true, true]);
    assert_eq!(take(&table).await.files.len(), 64);
}

#[tokio::test]
async fn much_that_happened_is_taken_in_steps() {
    let mut table = HandMade::new().await;
    for version in 1..40 {
        table.commit_lines(&[file(version)]).await;
    }
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    let listing = log::list(&table.store, None).await.unwrap();
    assert!(listing.checkpoints.len() > 1 && listing.checkpoints.contains_key(&table.tip()));
    assert_eq!(log::last_checkpoint(&table.store).await.unwrap(), Some(table.tip()));
    assert_eq!(rows(&table, table.tip()).await.iter().filter(|row| row.get("add").is_some()).count(), 39);
}

#[tokio::test]
async fn files_that_sidecars_name_are_taken_over() {
    let mut table = HandMade::new().await;
    let mut replay = Replay::default();
    replay.apply(&first_version(&table));
    let adds: Vec<Value> = (0..20).map(file).collect();
    table.commit_lines(&adds).await;
    // As a writer of v2 checkpoints leaves it: the files stand beside, and the checkpoint names the place.
    let log = table.directory.path().join("_delta_log");
    std::fs::create_dir(log.join("_sidecars")).unwrap();
    write_parquet(&log.join("_sidecars/files.parquet"), &batch_of(&adds));
    let top = with_sidecar(replay.lines(), "files.parquet");
    write_parquet(&log.join(format!("{:020}.checkpoint.parquet", table.tip().0)), &top);
    table.forget_until(table.tip());
    assert!(log::load(&table.store).await.unwrap().unwrap().has_files, "a guard asks for it");
    table.append(&[full(0, 0, 10)]).await;
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    assert_eq!(rows(&table, table.tip()).await.iter().filter(|row| row.get("add").is_some()).count(), 21);
}

/// The top level of a v2 checkpoint: these actions, and the name of a file beside it.
fn with_sidecar(mut lines: Vec<Value>, name: &str) -> RecordBatch {
    lines.push(json!({}));
    let batch = batch_of(&lines);
    let path = (1..lines.len()).map(|_| None).chain([Some(name)]);
    let path: ArrayRef = Arc::new(StringArray::from_iter(path));
    let field = Arc::new(Field::new("path", DataType::Utf8, true));
    let sidecar: ArrayRef = Arc::new(StructArray::from(vec![(field, path)]));
    let named = batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let columns = named.into_iter().zip(batch.columns().to_vec()).chain([("sidecar".to_owned(), sidecar)]);
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A table with a checkpoint of four row groups with sixteen files each.
async fn checkpointed_table() -> HandMade {
    let mut table = HandMade::new().await;
    table.commit_lines(&(0..64).map(file).collect::<Vec<_>>()).await;
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    table
}

#[tokio::test]
async fn bytes_that_are_no_longer_what_was_written_are_not_copied() {
    let mut table = checkpointed_table().await;
    let sound = table.tip();
    let file_name = table.directory.path().join(format!("_delta_log/{:020}.checkpoint.parquet", sound.0));
    let mut bytes = std::fs::read(&file_name).unwrap();
    let second = newest_groups(&table).await.swap_remove(1);
    let start = bytes.windows(second.len()).position(|window| window == second).unwrap();
    bytes[start + second.len() / 2] ^= 1;
    std::fs::write(&file_name, &bytes).unwrap();
    table.commit_lines(&[file(64)]).await;
    let written =
        write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock).await;
    let error = written.unwrap_err();
    assert!(error.message.contains("is not what was written"), "{error}");
    assert_eq!(log::last_checkpoint(&table.store).await.unwrap(), Some(sound));
    let listing = log::list(&table.store, None).await.unwrap();
    assert!(listing.checkpoints.keys().eq([&sound]), "nothing is left of the attempt");
}

#[tokio::test]
async fn a_row_group_of_another_writer_is_not_copied_although_it_has_our_columns() {
    let mut table = checkpointed_table().await;
    let log = table.directory.path().join("_delta_log");
    let name = format!("{:020}.checkpoint.parquet", table.tip().0);
    let again = batch_of(&rows(&table, table.tip()).await);
    write_parquet(&log.join(&name), &again);
    let remove =
        json!({"remove": {"path": "part-000020.parquet", "dataChange": true, "deletionTimestamp": NOW_MS}});
    table.commit_lines(&[remove]).await;
    let output = Output::new(TINY.group, OPTIONS.compression, 1 << 20).unwrap();
    let files = old::open(&table.store, &[name], output.columns(), TINY.window).await.unwrap();
    assert!(files[0].columns().root_schema() == output.columns().root_schema() && !files[0].is_ours());
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    assert_eq!(rows(&table, table.tip()).await.iter().filter(|row| row.get("add").is_some()).count(), 63);
}

#[tokio::test]
async fn where_a_later_checkpoint_stands_none_is_written() {
    let mut table = HandMade::new().await;
    table.commit_lines(&[file(0)]).await;
    let earlier = table.tip();
    table.commit_lines(&[file(1)]).await;
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    write(&table.store, earlier, OPTIONS, &OrphanCleaner::here()).await.unwrap();
    assert_eq!(log::last_checkpoint(&table.store).await.unwrap(), Some(table.tip()));
    assert!(log::list(&table.store, None).await.unwrap().checkpoints.keys().eq([&table.tip()]));
}

/// A table with three versions behind its checkpoint, what they say, and the hint that names it.
async fn ahead_of_its_hint() -> (HandMade, Replay, Vec<u8>) {
    let mut table = HandMade::new().await;
    let mut replay = Replay::default();
    replay.apply(&first_version(&table));
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    let hint = std::fs::read(table.directory.path().join("_delta_log/_last_checkpoint")).unwrap();
    for number in 0..3 {
        table.commit_lines(&[file(number)]).await;
        replay.apply(&[file(number)]);
    }
    (table, replay, hint)
}

#[tokio::test]
async fn a_checkpoint_that_no_hint_names_is_found_where_the_versions_before_it_are_gone() {
    let (mut table, mut replay, hint) = ahead_of_its_hint().await;
    let log = table.directory.path().join("_delta_log");
    foreign_checkpoint(&table, &replay);
    std::fs::write(log.join("_last_checkpoint"), hint).unwrap();
    table.forget_until(table.tip());
    table.commit_lines(&[file(3)]).await;
    replay.apply(&[file(3)]);
    write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
    assert_says(&table, &replay, NOW_MS).await;
}

#[tokio::test]
async fn statistics_that_stand_in_columns_only_are_carried_on_as_json() {
    for also_as_json in [true, false] {
        let mut table = checkpointed_table().await;
        let batch = batch_of(&rows(&table, table.tip()).await);
        let name = format!("_delta_log/{:020}.checkpoint.parquet", table.tip().0);
        let batch = with_statistics_in_columns(&batch, also_as_json);
        write_parquet(&table.directory.path().join(&name), &batch);
        // Those who list the files read the same as those who write the next checkpoint.
        let before = take(&table).await;
        table.commit_lines(&[file(100)]).await;
        write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
            .await
            .unwrap();
        let after = take(&table).await;
        assert_eq!((before.files.len(), after.files.len()), (64, 65));
        for (key, add) in &before.files {
            assert_eq!(&after.files[key], add);
            let stats = add.stats.as_deref().unwrap_or("none");
            if !also_as_json {
                assert_eq!(stats.replace(' ', ""), EXPECTED.replace([' ', '\n'], ""));
            }
        }
    }
}

/// What the columns of [`statistics`] say: what JSON cannot say exactly lies outside, or is left out.
const EXPECTED: &str = r#"{"numRecords":2,"tightBounds":true,
    "minValues":{"boolean":false,"byte":-1,"short":-2,"integer":-3,"long":-4,"float":-0.5,"double":-0.0,
        "decimal":-0.05,"string":"a\"é","date":"0001-01-01","timestamp":"1969-12-31T23:59:59.999Z",
        "timestamp_ntz":"1969-12-31T23:59:59.999","in":{"timestamp":"9999-12-31T23:59:59.999Z"}},
    "maxValues":{"boolean":false,"byte":-1,"short":-2,"integer":-3,"long":-4,"float":-0.5,"double":0.0,
        "decimal":-0.05,"string":"a\"é","date":"0001-01-01","timestamp":"1970-01-01T00:00:00.000Z",
        "timestamp_ntz":"1970-01-01T00:00:00.000","in":{"timestamp":"9999-12-31T23:59:59.999999Z"}},
    "nullCount":{"boolean":0,"in":{"timestamp":1}}}"#;

fn structure(members: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let members = members
        .into_iter()
        .map(|(name, member)| (Arc::new(Field::new(name, member.data_type().clone(), true)), member));
    Arc::new(StructArray::from(members.collect::<Vec<_>>()))
}

/// A value of every type that Delta has bounds of.
fn bounds(rows: usize) -> ArrayRef {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
        Int16Array, Int32Array, TimestampMicrosecondArray,
    };
    const LAST_MICROS: i64 = 253_402_300_799_999_999;
    let decimal = Decimal128Array::from(vec![-5; rows]).with_precision_and_scale(9, 2).unwrap();
    let at = |micros| TimestampMicrosecondArray::from(vec![micros; rows]);
    structure(vec![
        ("boolean", Arc::new(BooleanArray::from(vec![false; rows]))),
        ("byte", Arc::new(Int8Array::from(vec![-1; rows]))),
        ("short", Arc::new(Int16Array::from(vec![-2; rows]))),
        ("integer", Arc::new(Int32Array::from(vec![-3; rows]))),
        ("long", Arc::new(Int64Array::from(vec![-4; rows]))),
        ("float", Arc::new(Float32Array::from(vec![-0.5; rows]))),
        ("double", Arc::new(Float64Array::from(vec![0.0; rows]))),
        ("not_a_number", Arc::new(Float64Array::from(vec![f64::NAN; rows]))),
        ("decimal", Arc::new(decimal)),
        ("string", Arc::new(StringArray::from(vec!["a\"é"; rows]))),
        ("binary", Arc::new(BinaryArray::from(vec![&b"a"[..]; rows]))),
        ("date", Arc::new(Date32Array::from(vec![-719_162; rows]))),
        ("timestamp", Arc::new(at(-1).with_timezone("UTC"))),
        ("timestamp_ntz", Arc::new(at(-1))),
        ("in", structure(vec![("timestamp", Arc::new(at(LAST_MICROS).with_timezone("UTC")))])),
        ("absent", new_null_array(&DataType::Int64, rows)),
    ])
}

fn statistics(rows: usize) -> ArrayRef {
    let counts = |count| -> ArrayRef { Arc::new(Int64Array::from(vec![count; rows])) };
    structure(vec![
        ("numRecords", counts(2)),
        ("tightBounds", Arc::new(arrow::array::BooleanArray::from(vec![true; rows]))),
        ("minValues", bounds(rows)),
        ("maxValues", bounds(rows)),
        (
            "nullCount",
            structure(vec![("boolean", counts(0)), ("in", structure(vec![("timestamp", counts(1))]))]),
        ),
    ])
}

/// As Spark leaves it where the table wants statistics as columns, and maybe not as JSON.
fn with_statistics_in_columns(batch: &RecordBatch, also_as_json: bool) -> RecordBatch {
    let rows = batch.num_rows();
    let (fields, members, nulls) = batch.column_by_name("add").unwrap().as_struct().clone().into_parts();
    let member = |(field, member): (&Arc<Field>, ArrayRef)| match field.name().as_str() {
        "stats" if !also_as_json => (field.name().clone(), new_null_array(&DataType::Utf8, rows)),
        name => (name.to_owned(), member),
    };
    let mut members: Vec<(String, ArrayRef)> = fields.iter().zip(members).map(member).collect();
    // Partition values have a zone as well.
    members.push(("partitionValues_parsed".to_owned(), bounds(rows)));
    members.push(("stats_parsed".to_owned(), statistics(rows)));
    let fields = members.iter().map(|(name, member)| Field::new(name, member.data_type().clone(), true));
    let fields = fields.collect::<Vec<_>>().into();
    let members = members.into_iter().map(|(_, member)| member).collect();
    let adds: ArrayRef = Arc::new(StructArray::new(fields, members, nulls));
    let column = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let is_add = field.name() == "add";
        (field.name().clone(), Arc::clone(if is_add { &adds } else { column }))
    };
    let columns: Vec<_> = batch.schema_ref().fields().iter().zip(batch.columns()).map(column).collect();
    RecordBatch::try_from_iter(columns).unwrap()
}

fn file(number: u64) -> Value {
    json!({"add": add(&format!("part-{number:06}.parquet"), 1, &Value::Null)})
}

/// What the table was created with.
fn first_version(table: &HandMade) -> Vec<Value> {
    let body = std::fs::read(table.directory.path().join("_delta_log/00000000000000000000.json")).unwrap();
    serde_json::Deserializer::from_slice(&body).into_iter().map(Result::unwrap).collect()
}

fn batch_of(lines: &[Value]) -> RecordBatch {
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    columns::from_json(&text.iter().map(String::as_str).collect::<Vec<_>>()).unwrap().unwrap()
}

fn write_parquet(path: &std::path::Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Days pass when it is looked at for the first time.
#[derive(Default)]
struct StoodStill(AtomicU64);

impl Clock for StoodStill {
    fn wall_ms(&self) -> i64 {
        NOW_MS
    }

    fn boot(&self) -> Duration {
        Duration::from_secs(3 * 24 * 3600) * self.0.fetch_add(1, Ordering::Relaxed).min(1) as u32
    }

    fn fresh_id(&self) -> String {
        SystemClock.fresh_id()
    }
}

#[tokio::test]
async fn a_stray_version_in_the_place_of_one_that_was_cleaned_up_is_in_no_checkpoint() {
    let (mut table, mut replay, hint) = ahead_of_its_hint().await;
    let log = table.directory.path().join("_delta_log");
    // While one stands still that looked at the log before: another one's checkpoint, and a put that came
    // days late to a version that was cleaned up.
    foreign_checkpoint(&table, &replay);
    std::fs::write(log.join("_last_checkpoint"), hint).unwrap();
    let stray = log.join(format!("{:020}.json", table.tip().0 - 1));
    std::fs::write(stray, file(9).to_string()).unwrap();
    table.commit_lines(&[file(3)]).await;
    replay.apply(&[file(3)]);
    write_by(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), &StoodStill::default())
        .await
        .unwrap();
    assert_says(&table, &replay, NOW_MS).await;
}
