//! The bytes of a commit of ours.
//!
//! It owns their form: who wrote it, its id, and the ranges it settles stand
//! in front, the actions follow. What they mean is kept beside them: nobody
//! reads what he has just written.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::clock::SharedClock;
use crate::delta::action::{self, Action, Commit, CommitFacts, CommitInfo};
use crate::ids::OffsetRange;
use crate::protocol::fence::Writer;

/// A commit of ours that is not put yet.
pub struct CommitBody {
    pub id: String,
    pub bytes: Bytes,
    /// As its readers will find it.
    pub commit: Commit,
}

/// What `commitInfo` says of a commit besides who made it.
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub operation: &'static str,
    /// Delta's `operationParameters`: texts.
    pub parameters: Map<String, Value>,
    pub ranges: Vec<OffsetRange>,
    pub replayed: Vec<OffsetRange>,
}

impl Description {
    /// Of the commit that creates a table.
    pub fn create_table() -> Description {
        Description { operation: "CREATE TABLE", ..Description::default() }
    }

    /// Of an append that settles these ranges.
    pub fn streaming_update(ranges: Vec<OffsetRange>) -> Description {
        let parameters = Map::from_iter([("outputMode".to_owned(), Value::from("Append"))]);
        Description { operation: "STREAMING UPDATE", parameters, ranges, ..Description::default() }
    }
}

impl CommitBody {
    pub fn new(
        writer: &Writer,
        description: Description,
        actions: Vec<Action>,
        clock: &SharedClock,
    ) -> CommitBody {
        let id = clock.fresh_id();
        let reads_nothing = |action: &Action| {
            !matches!(action, Action::Remove(_) | Action::Protocol(_) | Action::MetaData(_))
        };
        let info = CommitInfo {
            timestamp: clock.wall_ms(),
            is_blind_append: Some(actions.iter().all(reads_nothing)),
            operation: description.operation.to_owned(),
            operation_parameters: description.parameters,
            engine_info: Some(concat!("thalweg/", env!("CARGO_PKG_VERSION")).to_owned()),
            txn_id: Some(id.clone()),
            thalweg: Some(CommitFacts {
                writer: writer.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ranges: description.ranges,
                replayed: description.replayed,
            }),
        };
        let mut all = vec![Action::CommitInfo(Box::new(info))];
        all.extend(actions);
        CommitBody { id, bytes: action::encode(&all).into(), commit: Commit::of(all) }
    }
}
