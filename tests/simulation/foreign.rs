//! Other writers of the table: they read its log, write data files of their
//! own and commit.
//!
//! It owns what they do. When they do it is the world's. Nothing goes wrong
//! for them, and they do not wait: a commit of theirs is one step.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::ReaderBuilder;
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use thalweg::clock::Clock;

use crate::chance::Chance;
use crate::oracle::{LETTER_ROOTS, Oracle, ROOT, read, version_path};
use crate::reader::{State, checkpoint_path, checkpoint_version, hint_path};
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

pub struct Foreign<'a> {
    pub store: &'a SimStore,
    pub oracle: &'a Oracle,
    pub clock: &'a SimClock,
    pub chance: &'a mut Chance,
}

impl Foreign<'_> {
    /// Does it, where it can be done now. True: there is a new version.
    pub fn does(&mut self, deed: Deed) -> bool {
        let version = self.oracle.versions();
        if version == 0 {
            return false;
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
            Deed::CleanUp => {
                self.clean_up();
                None
            }
            Deed::Vacuum => {
                self.vacuum();
                None
            }
        };
        let Some(body) = body else { return false };
        self.store.note(|| format!("another writer commits version {version}: {deed:?}"));
        self.store.apply(&version_path(version), &body, true).is_ok()
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
        let mut metadata = self.oracle.metadata();
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
        let mut metadata = self.oracle.metadata();
        metadata["metaData"]["configuration"]["delta.logRetentionDuration"] = "interval 1 days".into();
        self.commit("SET TBLPROPERTIES", &[metadata])
    }

    /// Replaces live files by one with their rows, or with some of them.
    fn rewrite(&mut self, operation: &str, count: usize, some_go: bool) -> Option<Bytes> {
        let live: Vec<&String> = self.oracle.files.keys().collect();
        if live.len() < count {
            return None;
        }
        let first = self.chance.index(live.len() - count + 1);
        let chosen = &live[first..first + count];
        let mut rows = Vec::new();
        for path in chosen {
            rows.extend(read(self.store.look(&Path::from(format!("{ROOT}/{path}")))?).ok()?);
        }
        if some_go {
            rows.retain(|_| self.chance.one_in(2));
        }
        let mut actions: Vec<Value> = chosen.iter().map(|path| self.removed(path, operation)).collect();
        if !rows.is_empty() {
            actions.push(self.file(&rows, operation));
        }
        Some(self.commit(operation, &actions))
    }

    fn restore(&mut self) -> Option<Bytes> {
        let newest = self.oracle.files.keys().next_back()?;
        Some(self.commit("RESTORE", &[self.removed(newest, "RESTORE")]))
    }

    fn removed(&self, path: &str, operation: &str) -> Value {
        let changes = operation != "OPTIMIZE";
        json!({"remove": {"path": path, "deletionTimestamp": self.clock.wall_ms(), "dataChange": changes}})
    }

    /// Writes a file of these rows; its `add`.
    fn file(&mut self, rows: &[(i32, i64, i64)], operation: &str) -> Value {
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))) as _),
            ("_partition", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))) as _),
            ("_offset", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))) as _),
        ]);
        let bytes = parquet(&batch.unwrap());
        let path = format!("other-{}.parquet", self.chance.next());
        self.store.apply(&Path::from(format!("{ROOT}/{path}")), &bytes, true).unwrap();
        json!({"add": {
            "path": path, "partitionValues": {}, "size": bytes.len(), "modificationTime": self.clock.wall_ms(),
            "dataChange": operation != "OPTIMIZE", "stats": json!({"numRecords": rows.len()}).to_string(),
        }})
    }

    /// All actions in one row group, as Spark writes them.
    fn checkpoint(&mut self, version: usize) {
        let state = State::after(&self.oracle.bodies()[..=version]).unwrap();
        let named = |name: &str, action: &Value| json!({name: action});
        let mut lines = vec![
            named("protocol", state.protocol.as_ref().unwrap()),
            named("metaData", state.metadata.as_ref().unwrap()),
        ];
        lines.extend(state.txns.iter().map(|(app_id, version)| {
            json!({"txn": {"appId": app_id, "version": version, "lastUpdated": self.clock.wall_ms()}})
        }));
        lines.extend(state.adds.values().map(|add| named("add", add)));
        lines.extend(state.removes.values().map(|remove| named("remove", remove)));
        let size = lines.len();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let schema = Arc::new(checkpoint_schema());
        let mut reader = ReaderBuilder::new(schema).build(text.as_bytes()).unwrap();
        let bytes = parquet(&reader.next().unwrap().unwrap());
        if self.store.apply(&checkpoint_path(version), &bytes, true).is_ok() {
            self.store.note(|| format!("another writer writes the checkpoint of version {version}"));
            let hint = json!({"version": version, "size": size}).to_string();
            self.store.apply(&hint_path(), &hint.into(), false).unwrap();
        }
    }

    /// Removes what is older than a day and lies before the checkpoint that the hint names.
    fn clean_up(&mut self) {
        let Some(hint) = self.store.look(&hint_path()) else { return };
        let hint: Value = serde_json::from_slice(&hint).unwrap();
        let named = hint["version"].as_u64().unwrap() as usize;
        for (path, age) in self.store.ages(&format!("{ROOT}/_delta_log/")) {
            let of = path.filename().and_then(|name| name.get(..20)?.parse::<usize>().ok());
            if of.is_some_and(|version| version < named) && age > DAY {
                self.store.remove(&path);
            }
        }
    }

    /// Removes data files that no version names, older than a week.
    fn vacuum(&mut self) {
        for root in std::iter::once(ROOT).chain(LETTER_ROOTS) {
            for (path, age) in self.store.ages(&format!("{root}/")) {
                let is_data = path.as_ref().ends_with(".parquet") && checkpoint_version(&path).is_none();
                if is_data && age > 7 * DAY && !self.oracle.named.contains(&path) {
                    self.store.remove(&path);
                }
            }
        }
    }
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
