//! Other writers of the table: they read its log, write data files of their
//! own and commit.
//!
//! It owns what they do. When they do it is the world's. Nothing goes wrong
//! for them, and they do not wait: a commit of theirs is one step. A clean-up
//! is one step for each file.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::ReaderBuilder;
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use thalweg::clock::Clock;

use crate::chance::Chance;
use crate::log::{Log, checkpoint_version};
use crate::store::SimStore;
use crate::time::SimClock;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a writer beside us does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A commit with a `txn` of its own.
    Append,
    /// A nullable column comes or goes.
    Alter,
    /// Old versions shall be kept for a day only.
    ShortenRetention,
    /// Rows leave the table.
    Delete,
    /// A file is replaced by one with the same rows.
    Merge,
    /// Two files become one.
    Optimize,
    /// A checkpoint in another engine's form.
    Checkpoint,
    /// Old versions before the checkpoint go.
    CleanUp,
    /// Old files that no version names go.
    Vacuum,
    /// The table is put back to an earlier state; its offsets stay.
    Restore,
    /// An action that this version of ours does not know.
    Unknown,
}

/// What happens beside us all the time; the others end the run.
pub const EVERYDAY: [Deed; 9] = [
    Deed::Append,
    Deed::Alter,
    Deed::ShortenRetention,
    Deed::Delete,
    Deed::Merge,
    Deed::Optimize,
    Deed::Checkpoint,
    Deed::CleanUp,
    Deed::Vacuum,
];

/// What is done to tables of dead letters: nobody changes dead letters.
pub const TO_DEAD_LETTERS: [Deed; 5] =
    [Deed::Append, Deed::ShortenRetention, Deed::Optimize, Deed::Checkpoint, Deed::CleanUp];

pub struct Foreign<'a> {
    pub store: &'a SimStore,
    pub log: &'a Log,
    /// Files of all tables that some version named.
    pub named: &'a BTreeSet<Path>,
    pub clock: &'a SimClock,
    pub chance: &'a mut Chance,
}

/// What came of a deed.
#[derive(Default)]
pub struct Done {
    /// There is a new version.
    pub landed: bool,
    /// Files that a clean-up is about to remove, in this order.
    pub to_remove: Vec<Path>,
}

impl Foreign<'_> {
    /// Does it, where it can be done now.
    pub fn does(&mut self, deed: Deed) -> Done {
        let version = self.log.len();
        if version == 0 {
            return Done::default();
        }
        let body = match deed {
            Deed::Append => Some(self.append()),
            Deed::Alter => Some(self.alter()),
            Deed::ShortenRetention => Some(self.shorten_retention()),
            Deed::Delete => self.rewrite("DELETE", 1, true),
            Deed::Merge => self.rewrite("MERGE", 1, false),
            Deed::Optimize => self.rewrite("OPTIMIZE", 2, false),
            Deed::Restore => self.restore(),
            Deed::Unknown => Some(self.commit("WRITE", &[json!({"futureAction": {}})])),
            Deed::Checkpoint => {
                self.checkpoint(version - 1);
                None
            }
            Deed::CleanUp => return Done { to_remove: self.clean_up(), landed: false },
            Deed::Vacuum => {
                self.vacuum();
                None
            }
        };
        let Some(body) = body else { return Done::default() };
        self.store
            .note(|| format!("another writer commits version {version} of {}: {deed:?}", self.log.root));
        let landed = self.store.apply(&self.log.version_path(version), &body, true).is_ok();
        Done { landed, to_remove: Vec::new() }
    }

    fn commit(&self, operation: &str, actions: &[Value]) -> Bytes {
        let info = json!({"commitInfo": {"timestamp": self.clock.wall_ms(), "operation": operation}});
        let lines = std::iter::once(&info).chain(actions).map(|action| format!("{action}\n"));
        lines.collect::<String>().into()
    }

    fn append(&mut self) -> Bytes {
        let txn = json!({"txn": {"appId": "spark", "version": self.chance.below(9)}});
        self.commit("WRITE", &[txn])
    }

    fn alter(&mut self) -> Bytes {
        let mut metadata = self.log.metadata();
        let text = metadata["metaData"]["schemaString"].as_str().unwrap();
        let mut schema: Value = serde_json::from_str(text).unwrap();
        let fields = schema["fields"].as_array_mut().unwrap();
        let before = fields.len();
        fields.retain(|field| field["name"] != "extra");
        if fields.len() == before {
            fields.push(json!({"name": "extra", "type": "string", "nullable": true, "metadata": {}}));
        }
        metadata["metaData"]["schemaString"] = schema.to_string().into();
        self.commit("ALTER TABLE", &[metadata])
    }

    fn shorten_retention(&mut self) -> Bytes {
        let mut metadata = self.log.metadata();
        metadata["metaData"]["configuration"]["delta.logRetentionDuration"] = "interval 1 days".into();
        self.commit("SET TBLPROPERTIES", &[metadata])
    }

    /// Replaces live files by one with their rows, or with some of them.
    fn rewrite(&mut self, operation: &str, count: usize, some_go: bool) -> Option<Bytes> {
        let live: Vec<&String> = self.log.files.keys().collect();
        if live.len() < count {
            return None;
        }
        let first = self.chance.index(live.len() - count + 1);
        let chosen = &live[first..first + count];
        let mut batches = Vec::new();
        for path in chosen {
            batches.extend(rows(self.store.look(&Path::from(format!("{}/{path}", self.log.root)))?)?);
        }
        let mut rows = concat_batches(&batches.first()?.schema(), &batches).ok()?;
        if some_go {
            let stay: BooleanArray = (0..rows.num_rows()).map(|_| Some(self.chance.one_in(2))).collect();
            rows = filter_record_batch(&rows, &stay).ok()?;
        }
        let mut actions: Vec<Value> = chosen.iter().map(|path| self.removed(path, operation)).collect();
        if rows.num_rows() > 0 {
            actions.push(self.file(&rows, operation));
        }
        Some(self.commit(operation, &actions))
    }

    fn restore(&mut self) -> Option<Bytes> {
        let newest = self.log.files.keys().next_back()?;
        Some(self.commit("RESTORE", &[self.removed(newest, "RESTORE")]))
    }

    fn removed(&self, path: &str, operation: &str) -> Value {
        let changes = operation != "OPTIMIZE";
        json!({"remove": {"path": path, "deletionTimestamp": self.clock.wall_ms(), "dataChange": changes}})
    }

    /// Writes a file of these rows; its `add`.
    fn file(&mut self, rows: &RecordBatch, operation: &str) -> Value {
        let bytes = parquet(rows);
        let path = format!("other-{}.parquet", self.chance.next());
        self.store.apply(&Path::from(format!("{}/{path}", self.log.root)), &bytes, true).unwrap();
        json!({"add": {
            "path": path, "partitionValues": {}, "size": bytes.len(), "modificationTime": self.clock.wall_ms(),
            "dataChange": operation != "OPTIMIZE", "stats": json!({"numRecords": rows.num_rows()}).to_string(),
        }})
    }

    /// All actions in one row group, as Spark writes them.
    fn checkpoint(&mut self, version: usize) {
        let state = self.log.state(version).unwrap();
        let named = |name: &str, action: &Value| json!({name: action});
        let mut lines = vec![
            named("protocol", state.protocol.as_ref().unwrap()),
            named("metaData", state.metadata.as_ref().unwrap()),
        ];
        lines.extend(state.txns.values().map(|txn| named("txn", txn)));
        lines.extend(state.adds.values().map(|add| named("add", add)));
        lines.extend(state.removes.values().map(|remove| named("remove", remove)));
        let size = lines.len();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let schema = Arc::new(checkpoint_schema());
        let mut reader = ReaderBuilder::new(schema).build(text.as_bytes()).unwrap();
        let bytes = parquet(&reader.next().unwrap().unwrap());
        if self.store.apply(&self.log.checkpoint_path(version), &bytes, true).is_ok() {
            self.store
                .note(|| format!("another writer writes the checkpoint {version} of {}", self.log.root));
            let hint = json!({"version": version, "size": size}).to_string();
            self.store.apply(&self.log.hint_path(), &hint.into(), false).unwrap();
        }
    }

    /// What is older than a day and lies before the checkpoint that the hint names: the oldest first, or,
    /// as by a writer that deletes many at once, in any order.
    fn clean_up(&mut self) -> Vec<Path> {
        let Some(hint) = self.store.look(&self.log.hint_path()) else { return Vec::new() };
        let hint: Value = serde_json::from_slice(&hint).unwrap();
        let named = hint["version"].as_u64().unwrap() as usize;
        let goes = |(path, age): (Path, Duration)| {
            let of = path.filename().and_then(|name| name.get(..20)?.parse::<usize>().ok());
            (of.is_some_and(|version| version < named) && age > DAY).then_some(path)
        };
        let all = self.store.ages(&format!("{}/_delta_log/", self.log.root));
        let mut all: Vec<Path> = all.into_iter().filter_map(goes).collect();
        if self.chance.one_in(2) {
            for index in 1..all.len() {
                all.swap(index, self.chance.index(index + 1));
            }
        }
        all
    }

    /// Removes data files that no version names, older than a week.
    fn vacuum(&mut self) {
        for (path, age) in self.store.ages(&format!("{}/", self.log.root)) {
            let is_data = path.as_ref().ends_with(".parquet") && checkpoint_version(&path).is_none();
            if is_data && age > 7 * DAY && !self.named.contains(&path) {
                self.store.remove(&path);
            }
        }
    }
}

/// The rows of a data file; of the table's, the columns that every file of it has.
fn rows(bytes: Bytes) -> Option<Vec<RecordBatch>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?.build().ok()?;
    let common = |batch: RecordBatch| {
        let schema = batch.schema();
        let wanted: Option<Vec<usize>> =
            ["id", "_partition", "_offset"].iter().map(|name| schema.index_of(name).ok()).collect();
        wanted.map_or(Some(batch.clone()), |wanted| batch.project(&wanted).ok())
    };
    reader.map(|batch| common(batch.ok()?)).collect()
}

fn parquet(batch: &RecordBatch) -> Bytes {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

/// The columns of a checkpoint that matter here.
fn checkpoint_schema() -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let map = |name: &str| {
        let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
        let entries = Field::new("key_value", DataType::Struct(entries), false);
        Field::new(name, DataType::Map(Arc::new(entries), false), true)
    };
    let group = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(fields.into()), true);
    let list = |name: &str| Field::new(name, DataType::List(Arc::new(text("element"))), true);
    let format = group("format", vec![text("provider"), map("options")]);
    Schema::new(vec![
        group("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
                map("tags"),
            ],
        ),
        group("remove", vec![text("path"), long("deletionTimestamp"), flag("dataChange")]),
        group(
            "metaData",
            vec![
                text("id"),
                format,
                text("schemaString"),
                list("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group("protocol", vec![int("minReaderVersion"), int("minWriterVersion")]),
    ])
}
