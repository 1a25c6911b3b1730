//! The log of a table as any other reader finds it: a hint, checkpoints, version files.
//!
//! It owns the judgement of the log's form. What a commit may say is the
//! oracle's. It replays the JSON by itself and holds every checkpoint against
//! that, value for value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::oracle::Verdict;
use crate::store::SimStore;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a checkpoint remembers what was removed, unless the table says otherwise.
const TOMBSTONES_MS: i64 = 7 * DAY.as_millis() as i64;

/// What a log or a checkpoint says of a table.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct State {
    /// Whole `add` actions by path.
    pub adds: BTreeMap<String, Value>,
    pub removes: BTreeMap<String, Value>,
    /// Whole `txn` actions by their app id.
    pub txns: BTreeMap<String, Value>,
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
            self.txns.insert(txn["appId"].as_str().unwrap_or_default().to_owned(), txn.clone());
        }
        for (name, place) in [("protocol", &mut self.protocol), ("metaData", &mut self.metadata)] {
            if let Some(found) = action.get(name) {
                *place = Some(found.clone());
            }
        }
    }
}

/// One table's log.
pub struct Log {
    pub root: &'static str,
    /// Every version as it stood when it was first seen, and when it was written.
    versions: Vec<(Bytes, Duration)>,
    /// Live files and their sizes.
    pub files: BTreeMap<String, u64>,
    /// Checkpoints that were found right.
    judged: BTreeSet<Path>,
    /// Others clean up as they like: what they left to be read is theirs.
    pub others_clean_up: bool,
    /// Removals that were looked at.
    removals: usize,
}

impl Log {
    pub fn new(root: &'static str) -> Log {
        Log {
            root,
            versions: Vec::new(),
            files: BTreeMap::new(),
            judged: BTreeSet::new(),
            others_clean_up: false,
            removals: 0,
        }
    }

    /// How many versions were seen.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    pub fn version_path(&self, version: usize) -> Path {
        Path::from(format!("{}/_delta_log/{version:020}.json", self.root))
    }

    pub fn hint_path(&self) -> Path {
        Path::from(format!("{}/_delta_log/_last_checkpoint", self.root))
    }

    pub fn checkpoint_path(&self, version: usize) -> Path {
        Path::from(format!("{}/_delta_log/{version:020}.checkpoint.parquet", self.root))
    }

    /// Takes in the next version, if there is one.
    pub fn take_in(&mut self, store: &SimStore) -> Option<Bytes> {
        let path = self.version_path(self.len());
        let body = store.look(&path)?;
        self.versions.push((body.clone(), store.written(&path).expect("it is there")));
        Some(body)
    }

    /// The state after a version.
    pub fn state(&self, version: usize) -> Verdict<State> {
        let bodies: Vec<Bytes> = self.versions[..=version].iter().map(|(body, _)| body.clone()).collect();
        State::after(&bodies)
    }

    /// The latest `metaData` line.
    pub fn metadata(&self) -> Value {
        let lines = self.versions.iter().rev().flat_map(|(body, _)| body.split(|&byte| byte == b'\n'));
        let line = lines.into_iter().find(|line| line.starts_with(b"{\"metaData\""));
        serde_json::from_slice(line.expect("version 0 has one")).expect("it was parsed before")
    }

    /// Judges every checkpoint that is new, the hint, and what was cleaned up.
    pub fn observe(&mut self, store: &SimStore) -> Verdict {
        let hint = store.look(&self.hint_path()).as_ref().map(hinted).transpose()?;
        if let Some(version) = hint.filter(|&version| store.look(&self.checkpoint_path(version)).is_none()) {
            return Err(format!(
                "_last_checkpoint of {} names the checkpoint {version}, which is not there",
                self.root
            ));
        }
        self.judge_checkpoints(store)?;
        let removals = store.removals();
        if std::mem::replace(&mut self.removals, removals) != removals && !self.others_clean_up {
            self.what_is_young_can_be_read(store)?;
        }
        Ok(())
    }

    fn checkpoints(&self, store: &SimStore) -> Vec<Path> {
        store.ending(&format!("{}/_delta_log/", self.root), ".checkpoint.parquet")
    }

    fn judge_checkpoints(&mut self, store: &SimStore) -> Verdict {
        for path in self.checkpoints(store) {
            let Some(version) = checkpoint_version(&path).filter(|_| !self.judged.contains(&path)) else {
                continue;
            };
            let wrong = |what: String| Err(format!("the checkpoint {version} of {} {what}", self.root));
            if version >= self.len() {
                return wrong("is of a version that is not there".to_owned());
            }
            let found = read_checkpoint(store.look(&path).expect("it was listed"))?;
            let expired = store.wall_ms() - TOMBSTONES_MS;
            if let Err(what) = compare(&self.state(version)?, &found, expired) {
                return wrong(what);
            }
            self.judged.insert(path);
        }
        Ok(())
    }

    /// No table keeps its versions for less than a day: whoever asks for one of today can read it.
    fn what_is_young_can_be_read(&self, store: &SimStore) -> Verdict {
        let now = store.now();
        let mut can_be_read = true;
        for (version, (body, written)) in self.versions.iter().enumerate() {
            let is_there = store.look(&self.version_path(version)).is_some_and(|found| found == *body);
            can_be_read = (can_be_read && is_there) || store.look(&self.checkpoint_path(version)).is_some();
            if !can_be_read && now.saturating_sub(*written) < DAY {
                return Err(format!(
                    "version {version} of {} is not a day old and cannot be read any more",
                    self.root
                ));
            }
        }
        Ok(())
    }

    /// Judges what is left in the end: enough to read the table, nothing but what was committed, and
    /// every live file.
    pub fn conclude(&self, store: &SimStore) -> Verdict {
        let newest = self.checkpoints(store).iter().filter_map(checkpoint_version).max();
        let needed = newest.map_or(0, |version| version + 1);
        let mut there_before = false;
        for (version, (body, _)) in self.versions.iter().enumerate() {
            let path = self.version_path(version);
            let wrong = |what: &str| Err(format!("version {version} of {} {what}", self.root));
            // Where versions were cleaned up, who stood still for days may have put a stray one: it counts
            // for nobody.
            let is_cleaned_up = version < needed && store.was_removed(&path);
            match store.look(&path) {
                _ if is_cleaned_up => {}
                Some(found) if found != *body => return wrong("was overwritten"),
                Some(_) => there_before = true,
                None if version >= needed => return wrong("is gone"),
                None if there_before => return wrong("is gone, and earlier ones are there"),
                None => {}
            }
        }
        for (path, size) in &self.files {
            let found = store.look(&Path::from(format!("{}/{path}", self.root)));
            if found.map(|bytes| bytes.len() as u64) != Some(*size) {
                return Err(format!("the live file {path} of {} is gone or cut", self.root));
            }
        }
        Ok(())
    }
}

pub fn checkpoint_version(path: &Path) -> Option<usize> {
    path.filename()?.strip_suffix(".checkpoint.parquet")?.parse().ok()
}

fn hinted(hint: &Bytes) -> Verdict<usize> {
    let hint: Value = serde_json::from_slice(hint).map_err(|error| error.to_string())?;
    Ok(hint["version"].as_u64().ok_or("a hint without version")? as usize)
}

/// What a checkpoint says; nothing may stand twice in it.
fn read_checkpoint(bytes: Bytes) -> Verdict<State> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.build())
        .map_err(|error| format!("a checkpoint cannot be read: {error}"))?;
    let mut lines = LineDelimitedWriter::new(Vec::new());
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        lines.write(&batch).and_then(|()| lines.finish()).map_err(|error| error.to_string())?;
    }
    let (mut state, mut said) = (State::default(), BTreeSet::new());
    for line in lines.into_inner().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let action: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        for (name, value) in action.as_object().ok_or("an action that is no object")? {
            let key = ["path", "appId"].iter().find_map(|key| value[key].as_str()).unwrap_or_default();
            if !said.insert((name.clone(), key.to_owned())) {
                return Err(format!("a checkpoint says {name} {key} twice"));
            }
        }
        state.apply(&action);
    }
    Ok(state)
}

/// Whether a checkpoint says what its versions do; tombstones may be missing once they have expired.
fn compare(expected: &State, found: &State, expired_ms: i64) -> Verdict {
    type Part = (&'static str, fn(&State) -> &BTreeMap<String, Value>, &'static [&'static str]);
    const PARTS: [Part; 3] = [
        ("txn", |state| &state.txns, &["version", "lastUpdated"]),
        ("add", |state| &state.adds, &["size", "modificationTime", "partitionValues", "stats", "tags"]),
        ("remove", |state| &state.removes, &["deletionTimestamp"]),
    ];
    for (name, part, keys) in PARTS {
        for (of, wanted) in part(expected) {
            match part(found).get(of) {
                Some(there) => same(name, wanted, there, keys)?,
                None if name == "remove" && wanted["deletionTimestamp"].as_i64() <= Some(expired_ms) => {}
                None => return Err(format!("lacks the {name} of {of}")),
            }
        }
        if let Some(of) = part(found).keys().find(|of| !part(expected).contains_key(*of)) {
            return Err(format!("has the {name} of {of}, which does not stand"));
        }
    }
    type Single = (&'static str, fn(&State) -> &Option<Value>, &'static [&'static str]);
    const SINGLES: [Single; 2] = [
        ("protocol", |state| &state.protocol, &["minReaderVersion", "minWriterVersion"]),
        (
            "metaData",
            |state| &state.metadata,
            &["id", "schemaString", "partitionColumns", "configuration", "createdTime"],
        ),
    ];
    for (name, single, keys) in SINGLES {
        let (Some(wanted), Some(there)) = (single(expected), single(found)) else {
            return Err(format!("has no {name}"));
        };
        same(name, wanted, there, keys)?;
    }
    Ok(())
}

fn same(name: &str, wanted: &Value, there: &Value, keys: &[&str]) -> Verdict {
    let is_empty =
        |value: &Value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    let differs = |key: &&&str| {
        let (wanted, there) = (&wanted[**key], &there[**key]);
        wanted != there && !(is_empty(wanted) && is_empty(there))
    };
    match keys.iter().find(differs) {
        None => Ok(()),
        Some(key) => Err(format!("says {key} {} of {name} {wanted}", there[*key])),
    }
}
