//! The lines of a Delta log: what we write, and what we read of others'.
//!
//! It owns the JSON. A line that holds an action we do not know is named: a
//! reader passes it over, as Delta's protocol wants it, and a writer stops.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::ids::OffsetRange;
use crate::protocol::fence::Writer;
use crate::protocol::verdict::Winner;

pub use crate::delta::features::Protocol;

/// The tag of an `add`, and the key in `commitInfo`, that hold the offset ranges.
pub const RANGES_TAG: &str = "thalweg.ranges";
/// The tag of an `add` that holds the CRC-32 of the file's bytes, see [`checksum_text`].
pub const CHECKSUM_TAG: &str = "thalweg.crc32";

/// A checksum as its tag holds it.
pub fn checksum_text(checksum: u32) -> String {
    format!("{checksum:08x}")
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetaData {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub format: FileFormat,
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    pub configuration: BTreeMap<String, Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct FileFormat {
    pub provider: String,
    pub options: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    pub app_id: String,
    pub version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// Every member that a checkpoint keeps is read here: one of another type is found in its version.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Relative to the table, percent-encoded.
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    pub modification_time: i64,
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<DeletionVector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_row_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_row_commit_version: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clustering_provider: Option<String>,
}

/// Complete as [`Add`] is.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<DeletionVector>,
}

impl Remove {
    /// Takes this file out of the table.
    pub fn of(add: &Add, now_ms: i64, data_change: bool) -> Remove {
        Remove {
            path: add.path.clone(),
            deletion_timestamp: Some(now_ms),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(add.partition_values.clone()),
            size: Some(add.size),
            tags: add.tags.clone(),
            deletion_vector: add.deletion_vector.clone(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct DomainMetadata {
    pub domain: String,
    pub configuration: String,
    pub removed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeletionVector {
    pub storage_type: String,
    pub path_or_inline_dv: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    pub size_in_bytes: i32,
    pub cardinality: i64,
}

impl DeletionVector {
    /// The part of a file's key that tells two deletion vectors apart.
    pub fn unique_id(&self) -> String {
        let offset = self.offset.map(|offset| format!("@{offset}")).unwrap_or_default();
        format!("{}{}{offset}", self.storage_type, self.path_or_inline_dv)
    }
}

/// What `commitInfo` says of a commit of ours.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CommitInfo {
    pub timestamp: i64,
    pub operation: String,
    #[serde(default)]
    pub operation_parameters: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_blind_append: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_info: Option<String>,
    /// The commit's own id: how we recognise our success when its answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thalweg: Option<CommitFacts>,
}

/// Who committed, and the ranges that the commit settles.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CommitFacts {
    pub writer: Writer,
    pub version: String,
    pub ranges: Vec<OffsetRange>,
    /// What a replay of dead letters made of them; settles nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replayed: Vec<OffsetRange>,
}

/// One line of the log, as we write it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    CommitInfo(Box<CommitInfo>),
    Protocol(Protocol),
    MetaData(MetaData),
    Txn(Txn),
    Add(Add),
    Remove(Remove),
    DomainMetadata(DomainMetadata),
}

/// The body of a version file.
pub fn encode(actions: &[Action]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1024 * actions.len());
    for action in actions {
        serde_json::to_writer(&mut body, action).expect("actions have string keys and no foreign numbers");
        body.push(b'\n');
    }
    body
}

/// One line of the log, as we read it: only what somebody here asks for is parsed.
#[derive(Debug)]
pub enum Line<'a> {
    CommitInfo(&'a RawValue),
    Protocol(Protocol),
    MetaData(&'a RawValue),
    Txn(Txn),
    Add(&'a RawValue),
    Remove(&'a RawValue),
    DomainMetadata(DomainMetadata),
    /// Of a checkpoint: another file that belongs to it.
    Sidecar(&'a RawValue),
    /// Known, and of no weight to an appending writer.
    Other,
    Unknown(String),
}

/// Reads the lines of a version file.
pub fn lines(body: &[u8]) -> impl Iterator<Item = Result<Line<'_>, serde_json::Error>> {
    body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).map(line)
}

fn line(text: &[u8]) -> Result<Line<'_>, serde_json::Error> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(text)?;
    let mut actions = members.into_iter().filter(|(_, value)| value.get() != "null");
    let Some((name, value)) = actions.next() else { return Ok(Line::Other) };
    if let Some((other, _)) = actions.next() {
        return Err(serde_json::Error::custom(format!("`{name}` and `{other}` in one line")));
    }
    Ok(match name.as_str() {
        "commitInfo" => Line::CommitInfo(value),
        "protocol" => {
            let protocol: Protocol = serde_json::from_str(value.get())?;
            if let Some(contradiction) = protocol.contradiction() {
                return Err(serde_json::Error::custom(contradiction));
            }
            Line::Protocol(protocol)
        }
        "metaData" => Line::MetaData(value),
        "txn" => Line::Txn(serde_json::from_str(value.get())?),
        "add" => Line::Add(value),
        "remove" => Line::Remove(value),
        "domainMetadata" => Line::DomainMetadata(serde_json::from_str(value.get())?),
        "sidecar" => Line::Sidecar(value),
        "cdc" | "checkpointMetadata" => Line::Other,
        _ => Line::Unknown(name),
    })
}

/// What a version file means to a writer whose version it took.
#[derive(Debug, Default, PartialEq)]
pub struct Commit {
    pub commit_id: Option<String>,
    pub facts: Option<CommitFacts>,
    pub winner: Winner,
    pub txns: Vec<Txn>,
    pub protocol: Option<Protocol>,
    pub metadata: Option<MetaData>,
    /// Why its `metaData` cannot be read: of no weight once a later version has another one.
    pub unreadable: Option<String>,
    pub adds: usize,
}

impl Commit {
    /// What these lines mean to their reader.
    pub fn of(actions: Vec<Action>) -> Commit {
        let mut commit = Commit::default();
        for action in actions {
            match action {
                Action::CommitInfo(info) => {
                    commit.commit_id = info.txn_id;
                    commit.winner.operation = Some(info.operation);
                    commit.winner.writer = info.thalweg.as_ref().map(|facts| facts.writer.clone());
                    commit.facts = info.thalweg;
                }
                Action::Protocol(protocol) => commit.protocol = Some(protocol),
                Action::MetaData(metadata) => commit.metadata = Some(metadata),
                Action::Txn(txn) => commit.txns.push(txn),
                Action::Add(_) => commit.adds += 1,
                Action::Remove(remove) => commit.winner.removes.push(remove.path),
                Action::DomainMetadata(_) => {}
            }
        }
        commit.note_winner();
        commit
    }

    fn note_winner(&mut self) {
        self.winner.txns = self.txns.iter().map(|txn| txn.app_id.clone()).collect();
        self.winner.changes_protocol = self.protocol.is_some();
        self.winner.changes_metadata = self.metadata.is_some() || self.unreadable.is_some();
    }
}

/// Reads a whole version file. Malformed JSON is an error: a version file is
/// complete or absent, so it is damage, not a half-written file. So is what
/// stands twice: readers differ in which one counts.
pub fn commit(body: &[u8]) -> Result<Commit, serde_json::Error> {
    let commit = past_commit(body)?;
    match commit.unreadable {
        Some(why) => Err(serde_json::Error::custom(why)),
        None => Ok(commit),
    }
}

/// The same of a version that others follow: a `metaData` that one of them replaces may have values of other
/// types, as readers take it that make text of them.
pub fn past_commit(body: &[u8]) -> Result<Commit, serde_json::Error> {
    let twice = |what: &str| serde_json::Error::custom(format!("{what} stands twice in one version"));
    let (mut commit, mut app_ids, mut infos) = (Commit::default(), BTreeSet::new(), 0);
    for line in lines(body) {
        match line? {
            Line::CommitInfo(_) if infos > 0 => return Err(twice("`commitInfo`")),
            Line::CommitInfo(value) => {
                infos += 1;
                read_info(value, &mut commit)?;
            }
            Line::Protocol(_) if commit.protocol.is_some() => return Err(twice("`protocol`")),
            Line::Protocol(protocol) => commit.protocol = Some(protocol),
            Line::MetaData(_) if commit.metadata.is_some() || commit.unreadable.is_some() => {
                return Err(twice("`metaData`"));
            }
            Line::MetaData(text) => match serde_json::from_str(text.get()) {
                Ok(metadata) => commit.metadata = Some(metadata),
                Err(error) if !is_complete(text) => return Err(error),
                Err(error) => commit.unreadable = Some(format!("its metaData cannot be read: {error}")),
            },
            Line::Txn(txn) => {
                if !app_ids.insert(txn.app_id.clone()) {
                    return Err(twice(&format!("the `txn` of `{}`", txn.app_id)));
                }
                commit.txns.push(txn);
            }
            Line::Add(_) => commit.adds += 1,
            Line::Remove(text) => commit.winner.removes.extend(path_of(text)),
            Line::DomainMetadata(_) | Line::Sidecar(_) | Line::Other => {}
            Line::Unknown(name) => commit.winner.unknown_actions.push(name),
        }
    }
    commit.note_winner();
    Ok(commit)
}

/// The path of a `remove`. One that has none takes no file out of a table: who reads files names the damage.
fn path_of(remove: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Path {
        path: String,
    }
    serde_json::from_str::<Path>(remove.get()).ok().map(|remove| remove.path)
}

/// A `metaData` in which everything stands that readers want in every version, in whatever spelling.
fn is_complete(text: &RawValue) -> bool {
    let Ok(Value::Object(metadata)) = serde_json::from_str(text.get()) else { return false };
    let is_scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    let has = |of: &Map<String, Value>, key: &str| of.get(key).is_some_and(is_scalar);
    let are_scalars = |of: Option<&Value>| match of {
        Some(Value::Object(members)) => members.values().all(is_scalar),
        Some(Value::Array(elements)) => elements.iter().all(is_scalar),
        _ => false,
    };
    let may_be = |key: &str, is: &dyn Fn(&Value) -> bool| {
        metadata.get(key).is_none_or(|value| value.is_null() || is(value))
    };
    let format = metadata.get("format").and_then(Value::as_object);
    has(&metadata, "id")
        && has(&metadata, "schemaString")
        && format.is_some_and(|format| has(format, "provider") && are_scalars(format.get("options")))
        && are_scalars(metadata.get("partitionColumns"))
        && are_scalars(metadata.get("configuration"))
        && ["name", "description"].iter().all(|&key| may_be(key, &is_scalar))
        && may_be("createdTime", &Value::is_i64)
}

/// Other writers put what they like into `commitInfo`: only the shapes we
/// know are taken, and nothing in it makes a commit unreadable.
fn read_info(value: &RawValue, commit: &mut Commit) -> Result<(), serde_json::Error> {
    let info: Map<String, Value> = serde_json::from_str(value.get())?;
    let text = |key: &str| info.get(key).and_then(Value::as_str).map(str::to_owned);
    commit.commit_id = text("txnId");
    commit.winner.operation = text("operation");
    commit.facts = info.get("thalweg").and_then(|facts| serde_json::from_value(facts.clone()).ok());
    commit.winner.writer = commit.facts.as_ref().map(|facts| facts.writer.clone());
    Ok(())
}

/// The ranges in a live file's tags; `None` where the file is not ours.
pub fn ranges_of(add: &Add) -> Option<Vec<OffsetRange>> {
    let text = add.tags.as_ref()?.get(RANGES_TAG)?.as_ref()?;
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_that_contradicts_itself_is_damage() {
        for (line, why) in [
            (r#"{"protocol":{"minReaderVersion":0,"minWriterVersion":2}}"#, "begin at 1"),
            (r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}"#, "list of reader features"),
        ] {
            let error = commit(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_stands_twice_in_a_version_is_damage() {
        let lines = [
            r#"{"commitInfo":{"operation":"WRITE"}}"#,
            r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#,
            r#"{"metaData":{"id":"t","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":[],"configuration":{}}}"#,
            r#"{"txn":{"appId":"a","version":1}}"#,
        ];
        let all = lines.join("\n");
        assert!(commit(all.as_bytes()).is_ok());
        for line in lines {
            let error = commit(format!("{all}\n{line}").as_bytes()).unwrap_err();
            assert!(error.to_string().contains("stands twice in one version"), "{error}");
        }
        let another = lines[3].replace("\"a\"", "\"b\"");
        assert!(commit(format!("{all}\n{another}").as_bytes()).is_ok());
    }

    #[test]
    fn a_commit_is_read_back_as_it_was_written() {
        let facts = CommitFacts {
            writer: Writer { instance: "i".into(), host: "h".into(), pid: 1, started: 2, group: None },
            version: "0".into(),
            ranges: vec![],
            replayed: vec![],
        };
        let info = CommitInfo {
            timestamp: 1,
            operation: "STREAMING UPDATE".into(),
            operation_parameters: Map::new(),
            is_blind_append: Some(true),
            engine_info: None,
            txn_id: Some("id".into()),
            thalweg: Some(facts.clone()),
        };
        let txn = Txn { app_id: "thalweg/a/t/-/0".into(), version: 5, last_updated: Some(1) };
        let protocol = Protocol {
            min_reader_version: 1,
            min_writer_version: 2,
            reader_features: None,
            writer_features: None,
        };
        let add = Add {
            path: "p".into(),
            partition_values: BTreeMap::new(),
            size: 1,
            modification_time: 2,
            data_change: true,
            stats: Some("{\"numRecords\":1}".into()),
            tags: None,
            ..Default::default()
        };
        let actions = vec![
            Action::CommitInfo(Box::new(info)),
            Action::Protocol(protocol),
            Action::Txn(txn.clone()),
            Action::Add(add),
        ];
        let commit = commit(&encode(&actions)).unwrap();
        assert_eq!(Commit::of(actions), commit, "its writer need not read it");
        assert_eq!(commit.commit_id.as_deref(), Some("id"));
        assert_eq!(commit.facts, Some(facts));
        assert_eq!(commit.txns, [txn]);
    }

    #[test]
    fn other_writers_lines_are_read_and_unknown_ones_are_named() {
        let body =
            br#"{"commitInfo":{"timestamp":1,"operation":"OPTIMIZE","operationMetrics":{"x":"1"},"txnId":7}}
{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}

{"domainMetadata":{"domain":"d","configuration":"","removed":false}}
{"teleport":{"to":"mars"}}"#;
        let commit = commit(body).unwrap();
        assert_eq!(commit.commit_id, None);
        assert!(commit.winner.changes_protocol);
        assert_eq!(commit.winner.operation.as_deref(), Some("OPTIMIZE"));
        assert_eq!(commit.winner.unknown_actions, ["teleport"]);
    }

    #[test]
    fn a_damaged_version_file_is_an_error() {
        assert!(commit(b"{\"add\":").is_err());
    }

    #[test]
    fn a_line_is_one_action_whatever_else_is_null() {
        let told = commit(br#"{"add":{},"txn":{"appId":"a","version":1}}"#).unwrap_err();
        assert_eq!(told.to_string(), "`add` and `txn` in one line");
        let commit = commit(br#"{"add":null,"txn":{"appId":"a","version":1}}"#).unwrap();
        assert_eq!((commit.adds, commit.txns.len()), (0, 1));
    }
}
