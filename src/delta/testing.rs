//! A small table made by hand, for tests that need one in some state.
//!
//! It writes files and versions the way the committer does, and lets a test
//! write what a sound committer never would.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Map, Value};

use crate::columnar::dead_letters::{DeadLetter, append};
use crate::columnar::{BadReason, BadRecord, Columns, Decoder, ParquetFile, RecordFacts};
use crate::config::{Compression, Decoding};
use crate::dead_letters::tags::{DEAD_LETTERS_TAG, DeadLettersTag};
use crate::delta::action::{self, Action, Add, CHECKSUM_TAG, CommitFacts, CommitInfo, RANGES_TAG};
use crate::delta::create;
use crate::ids::{Offset, OffsetRange, Partition, TopicId, TopicPartition, Version};
use crate::protocol::fence::Writer;
use crate::record::{Padded, Record};
use crate::schema::Schema;
use crate::stores::store::Store;

pub const NOW_MS: i64 = 1_700_000_000_000;
pub const TABLE_ID: &str = "t";

pub struct HandMade {
    pub directory: tempfile::TempDir,
    pub store: Store,
    pub next: Version,
    /// Of the writer whose commits these are.
    pub group: Option<String>,
}

pub fn source(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: "orders".to_owned(),
        topic_id: TopicId("id".to_owned()),
        partition: Partition(partition),
    }
}

/// Offsets `[start, next)`, each of them a row.
pub fn full(partition: i32, start: i64, next: i64) -> OffsetRange {
    with_rows(partition, start, next, (next - start) as u64)
}

pub fn with_rows(partition: i32, start: i64, next: i64, rows: u64) -> OffsetRange {
    OffsetRange {
        source: source(partition),
        start: Offset(start),
        next: Offset(next),
        rows,
        more_rows: 0,
        skipped: 0,
        tombstones: 0,
        dead_letters: 0,
    }
}

pub fn txn(partition: i32, next: i64) -> Action {
    create::txns(TABLE_ID, &BTreeMap::from([(source(partition), Offset(next))]), NOW_MS).remove(0)
}

fn schema() -> Schema {
    Schema::from_ddl("_partition INT, _offset BIGINT").unwrap()
}

impl HandMade {
    /// Version 0 of a table, partitions 0 and 1 anchored at 0.
    pub async fn new() -> HandMade {
        let mut actions = create::actions(&schema(), "uuid".to_owned(), NOW_MS);
        actions.extend([txn(0, 0), txn(1, 0)]);
        HandMade::created(actions).await
    }

    async fn created(actions: Vec<Action>) -> HandMade {
        let directory = tempfile::tempdir().unwrap();
        let url = url::Url::from_file_path(directory.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new()).unwrap();
        let mut table = HandMade { directory, store, next: Version(0), group: None };
        table.commit("CREATE TABLE", &[], actions).await;
        table
    }

    /// A file with a row for each offset of the ranges, and the commit of both.
    pub async fn append(&mut self, ranges: &[OffsetRange]) -> Add {
        let rows: Vec<(i32, i64)> = ranges.iter().flat_map(rows_of).collect();
        let add = self.file(&rows, ranges);
        self.commit_file(&add, ranges).await;
        add
    }

    /// Commits a file whose ranges move the txns.
    pub async fn commit_file(&mut self, add: &Add, ranges: &[OffsetRange]) {
        let mut actions: Vec<Action> =
            ranges.iter().map(|range| txn(range.source.partition.0, range.next.0)).collect();
        actions.push(Action::Add(add.clone()));
        self.commit("STREAMING UPDATE", ranges, actions).await;
    }

    /// Writes a data file with these partitions and offsets; commits nothing.
    pub fn file(&self, rows: &[(i32, i64)], ranges: &[OffsetRange]) -> Add {
        let path = format!("part-{}-{}.parquet", self.next, rows.len());
        let schema = schema();
        let mut columns = Columns::new(&schema);
        let mut decoder = Decoder::new(&schema, &Decoding::default());
        for &(partition, offset) in rows {
            let record = Record::bare(Offset(offset));
            let facts = RecordFacts { topic: "orders", partition, record };
            decoder.append(&mut columns, Padded::copied(b"{}", &mut Vec::new()), &facts).unwrap();
        }
        self.written(path, &schema, &mut columns, (RANGES_TAG, serde_json::to_string(ranges).unwrap()))
    }

    /// A file of these rows, with what it holds under its tag.
    fn written(&self, path: String, schema: &Schema, columns: &mut Columns, tag: (&str, String)) -> Add {
        let mut file = ParquetFile::create(schema, Compression::None, 1 << 20).unwrap();
        file.write(columns).unwrap();
        let closed = file.close().unwrap();
        std::fs::write(self.directory.path().join(&path), closed.parts.concat()).unwrap();
        Add {
            path,
            partition_values: BTreeMap::new(),
            size: closed.size as i64,
            modification_time: NOW_MS,
            data_change: true,
            stats: Some(closed.stats),
            tags: Some(BTreeMap::from([
                (tag.0.to_owned(), Some(tag.1)),
                (CHECKSUM_TAG.to_owned(), Some(action::checksum_text(closed.checksum))),
            ])),
            ..Default::default()
        }
    }

    /// A dead-letter table.
    pub async fn of_dead_letters() -> HandMade {
        HandMade::created(create::actions(&Schema::of_dead_letters(), "letters".to_owned(), NOW_MS)).await
    }

    /// Commits a file of dead letters: partition, offset, and value of each.
    pub async fn post(&mut self, tag: &DeadLettersTag, dead_letters: &[(i32, i64, &[u8])]) {
        self.post_as((DEAD_LETTERS_TAG, serde_json::to_string(tag).unwrap()), dead_letters).await;
    }

    /// The same in a file that does not tell whose they are, as another engine rewrites them.
    pub async fn post_untold(&mut self, dead_letters: &[(i32, i64, &[u8])]) {
        self.post_as(("another", String::new()), dead_letters).await;
    }

    async fn post_as(&mut self, tag: (&str, String), dead_letters: &[(i32, i64, &[u8])]) {
        let schema = Schema::of_dead_letters();
        let mut columns = Columns::new(&schema);
        let bad = BadRecord { reason: BadReason::Syntax, detail: "why".to_owned() };
        for &(partition, offset, value) in dead_letters {
            let dead_letter = DeadLetter {
                topic: "orders",
                partition,
                offset,
                timestamp_ms: Some(NOW_MS),
                key: None,
                value,
            };
            append(&mut columns, &dead_letter, std::iter::empty(), &bad);
        }
        let path = format!("letters-{}.parquet", self.next);
        let add = self.written(path, &schema, &mut columns, tag);
        self.commit("STREAMING UPDATE", &[], vec![Action::Add(add)]).await;
    }

    pub async fn commit(&mut self, operation: &str, ranges: &[OffsetRange], actions: Vec<Action>) {
        let info = CommitInfo {
            timestamp: NOW_MS,
            operation: operation.to_owned(),
            operation_parameters: Map::new(),
            is_blind_append: Some(true),
            engine_info: None,
            txn_id: Some(format!("commit {}", self.next)),
            thalweg: Some(CommitFacts {
                writer: Writer {
                    instance: "i".into(),
                    host: "h".into(),
                    pid: 1,
                    started: 2,
                    group: self.group.clone(),
                },
                version: "0".to_owned(),
                ranges: ranges.to_vec(),
                replayed: Vec::new(),
            }),
        };
        let mut all = vec![Action::CommitInfo(Box::new(info))];
        all.extend(actions);
        self.put(&action::encode(&all));
    }

    /// A version of another writer: its lines as they are.
    pub async fn commit_lines(&mut self, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.put(text.as_bytes());
    }

    fn put(&mut self, body: &[u8]) {
        let name = format!("_delta_log/{:020}.json", self.next.0);
        let at = self.directory.path().join(name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let mut file = std::fs::File::create_new(at).expect("the version is free");
        file.write_all(body).unwrap();
        self.next = self.next.next();
    }

    /// The version that was committed last.
    pub fn tip(&self) -> Version {
        Version(self.next.0 - 1)
    }

    /// Removes the version files up to and including `last`, as a log clean-up does.
    pub fn forget_until(&self, last: Version) {
        for version in 0..=last.0 {
            std::fs::remove_file(self.directory.path().join(format!("_delta_log/{version:020}.json")))
                .unwrap();
        }
    }
}

fn rows_of(range: &OffsetRange) -> impl Iterator<Item = (i32, i64)> + use<> {
    let partition = range.source.partition.0;
    (range.start.0..range.start.0 + range.rows as i64).map(move |offset| (partition, offset))
}
