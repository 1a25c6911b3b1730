//! The bytes of a commit of ours.
//!
//! It owns their form: who wrote it, its id, and the ranges it settles stand
//! in front, the actions follow. What they say is kept beside them: nobody
//! reads what he has just written.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Identity;
use crate::clock::SharedClock;
use crate::exchange::DataFile;
use crate::ids::OffsetRange;
use crate::table::action::{self, Action, Add, CHECKSUM_TAG, Commit, CommitFacts, CommitInfo};

/// A commit of ours that is not put yet.
pub struct Ours {
    pub id: String,
    pub bytes: Bytes,
    /// As its readers will find it.
    pub commit: Commit,
}

/// A file's line, with what it settles or holds under its tag.
pub fn add(file: &DataFile, tag: &str, value: &impl Serialize) -> Action {
    let value = serde_json::to_string(value).expect("tags are plain values");
    Action::Add(Add {
        path: file.path.clone(),
        partition_values: BTreeMap::new(),
        size: i64::try_from(file.size).expect("a file is smaller than 8 EiB"),
        modification_time: file.modified_ms,
        data_change: true,
        stats: Some(file.stats.clone()),
        tags: Some(BTreeMap::from([
            (tag.to_owned(), Some(value)),
            (CHECKSUM_TAG.to_owned(), Some(action::checksum_text(file.checksum))),
        ])),
        ..Default::default()
    })
}

/// What `commitInfo` says of a commit besides who made it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub operation: &'static str,
    /// Delta's `operationParameters`: texts.
    pub parameters: Map<String, Value>,
    pub ranges: Vec<OffsetRange>,
    pub replayed: Vec<OffsetRange>,
}

/// A commit: who, what, and the ranges it settles.
pub(super) fn body(
    identity: &Identity,
    operation: &'static str,
    actions: Vec<Action>,
    ranges: Vec<OffsetRange>,
    clock: &SharedClock,
) -> Ours {
    let mut parameters = Map::new();
    if operation != "CREATE TABLE" {
        parameters.insert("outputMode".to_owned(), Value::from("Append"));
    }
    told(identity, Told { operation, parameters, ranges, ..Told::default() }, actions, clock)
}

/// The same with all that `commitInfo` is to say.
pub fn told(identity: &Identity, told: Told, actions: Vec<Action>, clock: &SharedClock) -> Ours {
    let id = clock.fresh_id();
    let info = CommitInfo {
        timestamp: clock.wall_ms(),
        is_blind_append: Some(told.operation != "CREATE TABLE"),
        operation: told.operation.to_owned(),
        operation_parameters: told.parameters,
        engine_info: Some(concat!("thalweg/", env!("CARGO_PKG_VERSION")).to_owned()),
        txn_id: Some(id.clone()),
        thalweg: Some(CommitFacts {
            writer: identity.writer.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ranges: told.ranges,
            replayed: told.replayed,
        }),
    };
    let mut all = vec![Action::CommitInfo(Box::new(info))];
    all.extend(actions);
    Ours { id, bytes: action::encode(&all).into(), commit: Commit::of(all) }
}
