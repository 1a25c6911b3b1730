//! Tables of any size in seconds: one checkpoint with many files, as another writer leaves it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use thalweg::delta::action::{self, Action};
use thalweg::delta::create;
use thalweg::ids::{Offset, OffsetRange, Partition, TopicId, TopicPartition, Version};
use thalweg::stores::store::Store;

pub const TABLE_ID: &str = "bench";
pub const PARTITIONS: i32 = 8;
/// Files of one commit.
pub const FILES: usize = 4;
/// Offsets of a partition in one commit.
pub const RANGE: i64 = 10_000;

const DDL: &str = "id BIGINT, user_id BIGINT, ts BIGINT, event_type STRING, page STRING, country STRING, \
    device STRING, price DOUBLE, qty BIGINT, ok BOOLEAN, _partition INT, _offset BIGINT";
/// App ids of other tables and writers beside ours.
const OTHERS: i64 = 56;
/// Rows decoded at once while a checkpoint is made.
const SLICE: usize = 8192;

pub fn source(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: "events".to_owned(),
        topic_id: TopicId("t".to_owned()),
        partition: Partition(partition),
    }
}

pub fn store(directory: &Path) -> Store {
    let url = url::Url::from_file_path(directory).expect("an absolute path");
    Store::open(&url, &std::collections::BTreeMap::new()).expect("a local path is a location")
}

/// Makes a table with so many files, and `retained` version files of its latest past.
pub fn make(directory: &Path, files: usize, retained: u64) -> Version {
    let log = directory.join("_delta_log");
    fs::create_dir_all(&log).expect("the bench's directory is writable");
    let version = Version((files / FILES) as u64);
    let schema = thalweg::schema::Schema::from_ddl(DDL).expect("a constant schema");
    let mut table = create::actions(&schema, "5f0d7c1e".to_owned(), 0);
    let next = Offset(version.0 as i64 * RANGE);
    table.extend(create::txns(TABLE_ID, &(0..PARTITIONS).map(|p| (source(p), next)).collect(), 0));
    table.extend((0..OTHERS).map(|other| create::txn(format!("other-{other}"), other, 0)));
    checkpoint(&log, version, &action::encode(&table), files);
    for past in version.0.saturating_sub(retained)..=version.0 {
        let lines = action::encode(&create::txns(TABLE_ID, &[(source(0), next)].into(), 0));
        fs::write(log.join(format!("{past:020}.json")), lines).expect("the log is writable");
    }
    let hint = json!({"version": version, "size": files + table.len()}).to_string();
    fs::write(log.join("_last_checkpoint"), hint).expect("the log is writable");
    version
}

fn checkpoint(log: &Path, version: Version, table: &[u8], files: usize) {
    let path: PathBuf = log.join(format!("{:020}.checkpoint.parquet", version.0));
    let file = fs::File::create(path).expect("the log is writable");
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(file, columns(), Some(properties)).expect("a constant schema");
    write(&mut writer, table);
    let mut lines = Vec::new();
    for from in (0..files).step_by(SLICE) {
        lines.clear();
        for number in from..files.min(from + SLICE) {
            let line = action::encode(&[add(number)]);
            lines.write_all(&line).expect("memory takes every byte");
        }
        write(&mut writer, &lines);
    }
    writer.close().expect("the disk has room");
}

fn write(writer: &mut ArrowWriter<fs::File>, mut lines: &[u8]) {
    let mut decoder = arrow::json::ReaderBuilder::new(columns())
        .with_batch_size(SLICE)
        .build_decoder()
        .expect("a constant schema");
    while !lines.is_empty() {
        let used = decoder.decode(lines).expect("we wrote it");
        lines = &lines[used..];
        if used == 0 || lines.is_empty() {
            let batch = decoder.flush().expect("we wrote it").expect("a line was decoded");
            writer.write(&batch).expect("the disk has room");
        }
    }
}

/// The file of a number, about as the ingester describes a file of clickstream rows.
pub fn add(number: usize) -> Action {
    let (version, of) = (number / FILES, number % FILES);
    let (start, first) = (version as i64 * RANGE, 2 * of as i32);
    let ranges = [range(first, start), range(first + 1, start)];
    let tags = [
        (action::RANGES_TAG, serde_json::to_string(&ranges).expect("ranges are plain values")),
        (action::CHECKSUM_TAG, action::checksum_text(mix(number as u64) as u32)),
    ];
    Action::Add(action::Add {
        path: path(number),
        partition_values: std::collections::BTreeMap::new(),
        size: 700_000 + (mix(number as u64) % 50_000) as i64,
        modification_time: 1_767_225_600_000 + number as i64 * 250,
        data_change: true,
        stats: Some(stats(number)),
        tags: Some(tags.map(|(name, value)| (name.to_owned(), Some(value))).into()),
        ..Default::default()
    })
}

/// One commit's offsets of a partition.
pub fn range(partition: i32, start: i64) -> OffsetRange {
    OffsetRange {
        source: source(partition),
        start: Offset(start),
        next: Offset(start + RANGE),
        rows: RANGE as u64,
        more_rows: 0,
        skipped: 0,
        tombstones: 0,
        dead_letters: 0,
    }
}

/// A name as a clock and chance give it.
pub fn path(number: usize) -> String {
    let ms = 1_767_225_600_000 + number as u64 * 250;
    let (high, low) = (mix(number as u64), mix(!(number as u64)));
    format!(
        "part-{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}.zstd.parquet",
        ms >> 16,
        ms & 0xffff,
        high & 0xfff,
        0x8000 | (high >> 50),
        low & 0xffff_ffff_ffff
    )
}

pub fn stats(number: usize) -> String {
    let (rows, first) = (2 * RANGE, (number / FILES) as i64 * RANGE);
    let ts = 1_767_225_600_000 + number as i64 * 250;
    let users = mix(number as u64) % 1000;
    json!({
        "numRecords": rows,
        "minValues": {"id": first, "user_id": users, "ts": ts, "event_type": "add_to_cart", "page": "/account",
            "country": "AR", "device": "android", "price": 0.01 * users as f64, "qty": 1,
            "_partition": number % FILES * 2, "_offset": first},
        "maxValues": {"id": first + rows, "user_id": 999_000 + users, "ts": ts + 250, "event_type": "view",
            "page": "/wishlist", "country": "ZA", "device": "web", "price": 499.0 + 0.001 * users as f64, "qty": 9,
            "_partition": number % FILES * 2 + 1, "_offset": first + RANGE - 1},
        "nullCount": {"id": 0, "user_id": 0, "ts": 0, "event_type": 0, "page": 0, "country": 0, "device": 0,
            "price": 0, "qty": 0, "ok": 0, "_partition": 0, "_offset": 0},
    })
    .to_string()
}

/// SplitMix64.
fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The least that a checkpoint needs: what other writers leave out, we have to add.
fn columns() -> SchemaRef {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let list = || DataType::List(Arc::new(Field::new("element", Utf8, true)));
    let format = structure(&[("provider", Utf8), ("options", map())]);
    let metadata = [
        ("id", Utf8),
        ("format", format),
        ("schemaString", Utf8),
        ("partitionColumns", list()),
        ("configuration", map()),
        ("createdTime", Int64),
    ];
    let add = [
        ("path", Utf8),
        ("partitionValues", map()),
        ("size", Int64),
        ("modificationTime", Int64),
        ("dataChange", Boolean),
        ("stats", Utf8),
        ("tags", map()),
    ];
    let columns = [
        ("txn", structure(&[("appId", Utf8), ("version", Int64), ("lastUpdated", Int64)])),
        ("add", structure(&add)),
        ("remove", structure(&[("path", Utf8), ("deletionTimestamp", Int64), ("dataChange", Boolean)])),
        ("metaData", structure(&metadata)),
        ("protocol", structure(&[("minReaderVersion", Int32), ("minWriterVersion", Int32)])),
    ];
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

fn structure(members: &[(&str, DataType)]) -> DataType {
    let member = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    DataType::Struct(members.iter().map(member).collect())
}

fn map() -> DataType {
    let entry: Fields =
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)].into();
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry), false)), false)
}
