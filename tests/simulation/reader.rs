//! The table as any other reader finds it: a hint, checkpoints, version files.
//!
//! It owns the judgement of the log's form. What a commit may say is the
//! oracle's. It replays the JSON by itself and holds every checkpoint against
//! that.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::oracle::{ROOT, Verdict, version_path};
use crate::store::SimStore;

/// What a log or a checkpoint says of a table.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct State {
    /// Whole `add` actions by path.
    pub adds: BTreeMap<String, Value>,
    pub removes: BTreeMap<String, Value>,
    pub txns: BTreeMap<String, i64>,
    pub protocol: Option<Value>,
    pub metadata: Option<Value>,
}

impl State {
    /// The state after these versions.
    pub fn after(versions: &[Bytes]) -> Verdict<State> {
        let mut state = State::default();
        for line in versions.iter().flat_map(|body| body.split(|&byte| byte == b'\n')) {
            if line.is_empty() {
                continue;
            }
            let action: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            state.apply(&action);
        }
        Ok(state)
    }

    fn apply(&mut self, action: &Value) {
        let path = |action: &Value| action["path"].as_str().unwrap_or_default().to_owned();
        if let Some(add) = action.get("add") {
            self.removes.remove(&path(add));
            self.adds.insert(path(add), add.clone());
        }
        if let Some(remove) = action.get("remove") {
            self.adds.remove(&path(remove));
            self.removes.insert(path(remove), remove.clone());
        }
        if let Some(txn) = action.get("txn") {
            let app_id = txn["appId"].as_str().unwrap_or_default().to_owned();
            self.txns.insert(app_id, txn["version"].as_i64().unwrap_or(-1));
        }
        for (name, place) in [("protocol", &mut self.protocol), ("metaData", &mut self.metadata)] {
            if let Some(found) = action.get(name) {
                *place = Some(found.clone());
            }
        }
    }
}

#[derive(Default)]
pub struct Reader {
    /// Checkpoints that were found right.
    judged: BTreeSet<Path>,
}

impl Reader {
    /// Judges every checkpoint that is new, and the hint.
    pub fn observe(&mut self, store: &SimStore, versions: &[Bytes]) -> Verdict {
        let hint = store.look(&hint_path()).as_ref().map(hinted).transpose()?;
        match hint.filter(|&version| store.look(&checkpoint_path(version)).is_none()) {
            Some(version) => {
                Err(format!("_last_checkpoint names the checkpoint {version}, which is not there"))
            }
            None => self.judge(store, versions),
        }
    }

    fn judge(&mut self, store: &SimStore, versions: &[Bytes]) -> Verdict {
        for (path, _) in store.ages(&format!("{ROOT}/_delta_log/")) {
            let Some(version) = checkpoint_version(&path).filter(|_| !self.judged.contains(&path)) else {
                continue;
            };
            let bytes = store.look(&path).expect("it was listed");
            let wrong = |what: &str| Err(format!("the checkpoint of version {version} {what}"));
            if version >= versions.len() {
                return wrong("is of a version that is not there");
            }
            let (expected, found) = (State::after(&versions[..=version])?, read_checkpoint(bytes)?);
            if found.twice {
                return wrong("says something twice");
            }
            if found.txns != expected.txns {
                return wrong(&format!("has the txns {:?}, not {:?}", found.txns, expected.txns));
            }
            if !found.adds.iter().eq(expected.adds.keys()) {
                return wrong(&format!("has the files {:?}, not {:?}", found.adds, expected.adds.keys()));
            }
            if let Some(path) = found.removes.iter().find(|path| !expected.removes.contains_key(*path)) {
                return wrong(&format!("says that {path} was removed"));
            }
            let schema = expected.metadata.as_ref().and_then(|metadata| metadata["schemaString"].as_str());
            if found.schema.as_deref() != schema || !found.protocol {
                return wrong("has not the protocol and schema of the table");
            }
            self.judged.insert(path);
        }
        Ok(())
    }

    /// Judges what is left of the log in the end: enough to read the table, and nothing but what was
    /// committed.
    pub fn conclude(&self, store: &SimStore, versions: &[Bytes]) -> Verdict {
        let newest = store.ages(&format!("{ROOT}/_delta_log/"));
        let newest = newest.iter().filter_map(|(path, _)| checkpoint_version(path)).max();
        let needed = newest.map_or(0, |version| version + 1);
        let mut there_before = false;
        for (version, body) in versions.iter().enumerate() {
            let path = version_path(version);
            // Where versions were cleaned up, who stood still for days may have put a stray one: it counts
            // for nobody.
            let is_cleaned_up = version < needed && store.was_removed(&path);
            match store.look(&path) {
                _ if is_cleaned_up => {}
                Some(found) if found != *body => return Err(format!("version {version} was overwritten")),
                Some(_) => there_before = true,
                None if version >= needed => return Err(format!("version {version} is gone")),
                None if there_before => {
                    return Err(format!("version {version} is gone, and earlier ones are there"));
                }
                None => {}
            }
        }
        Ok(())
    }
}

pub fn hint_path() -> Path {
    Path::from(format!("{ROOT}/_delta_log/_last_checkpoint"))
}

pub fn checkpoint_path(version: usize) -> Path {
    Path::from(format!("{ROOT}/_delta_log/{version:020}.checkpoint.parquet"))
}

pub fn checkpoint_version(path: &Path) -> Option<usize> {
    path.filename()?.strip_suffix(".checkpoint.parquet")?.parse().ok()
}

fn hinted(hint: &Bytes) -> Verdict<usize> {
    let hint: Value = serde_json::from_slice(hint).map_err(|error| error.to_string())?;
    Ok(hint["version"].as_u64().ok_or("a hint without version")? as usize)
}

#[derive(Default)]
struct Found {
    adds: BTreeSet<String>,
    removes: BTreeSet<String>,
    txns: BTreeMap<String, i64>,
    protocol: bool,
    schema: Option<String>,
    twice: bool,
}

fn read_checkpoint(bytes: Bytes) -> Verdict<Found> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.build())
        .map_err(|error| format!("a checkpoint cannot be read: {error}"))?;
    let mut found = Found::default();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        for path in strings(&batch, "add", "path") {
            found.twice |= !found.adds.insert(path);
        }
        for path in strings(&batch, "remove", "path") {
            found.twice |= !found.removes.insert(path);
        }
        for schema in strings(&batch, "metaData", "schemaString") {
            found.twice |= found.schema.replace(schema).is_some();
        }
        let txn = member(&batch, "txn");
        let versions = txn
            .and_then(|txn| txn.column_by_name("version"))
            .map(|column| column.as_primitive::<Int64Type>());
        let app_ids = txn.and_then(|txn| txn.column_by_name("appId")).map(|column| column.as_string::<i32>());
        for (app_id, version) in app_ids.into_iter().flatten().zip(versions.into_iter().flatten()) {
            let (Some(app_id), Some(version)) = (app_id, version) else { continue };
            found.twice |= found.txns.insert(app_id.to_owned(), version).is_some();
        }
        let protocols = member(&batch, "protocol").map_or(0, |column| column.len() - column.null_count());
        found.twice |= protocols > usize::from(!found.protocol);
        found.protocol |= protocols > 0;
    }
    Ok(found)
}

fn member<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StructArray> {
    batch.column_by_name(name)?.as_struct_opt()
}

/// The strings of a member of a struct column, nulls left out.
fn strings(batch: &RecordBatch, root: &str, name: &str) -> Vec<String> {
    let column = member(batch, root).and_then(|root| root.column_by_name(name));
    let values = column.and_then(|column| column.as_string_opt::<i32>());
    values.into_iter().flatten().flatten().map(str::to_owned).collect()
}
