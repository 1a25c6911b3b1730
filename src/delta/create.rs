//! Version 0 of a table, with the anchor in it.
//!
//! It owns what a table of ours looks like when it is new: reader 1, writer
//! 2, no table features, so that every reader can open it.

use std::collections::BTreeMap;

use crate::delta::action::{Action, Commit, FileFormat, MetaData, Protocol, Txn};
use crate::delta::log::Snapshot;
use crate::ids::{Offset, TopicPartition, Version};
use crate::protocol::app_id::AppId;
use crate::schema::Schema;

/// The actions that create a table with this schema.
pub fn actions(schema: &Schema, table_uuid: String, now_ms: i64) -> Vec<Action> {
    let protocol = Protocol {
        min_reader_version: 1,
        min_writer_version: 2,
        reader_features: None,
        writer_features: None,
    };
    let metadata = MetaData {
        id: table_uuid,
        name: None,
        description: None,
        format: FileFormat { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string: schema.to_delta(),
        partition_columns: Vec::new(),
        configuration: BTreeMap::new(),
        created_time: Some(now_ms),
    };
    vec![Action::Protocol(protocol), Action::MetaData(metadata)]
}

/// The `txn` entries that put partitions at their offsets.
pub fn txns(table_id: &str, offsets: &BTreeMap<TopicPartition, Offset>, now_ms: i64) -> Vec<Action> {
    offsets
        .iter()
        .map(|(source, offset)| txn(AppId::new(table_id, source.clone()).to_string(), offset.0, now_ms))
        .collect()
}

pub fn txn(app_id: String, version: i64, now_ms: i64) -> Action {
    Action::Txn(Txn { app_id, version, last_updated: Some(now_ms) })
}

/// The snapshot of a table that this commit has just created.
pub fn snapshot(commit: Commit) -> Snapshot {
    Snapshot {
        version: Version(0),
        protocol: commit.protocol.expect("version 0 has a protocol"),
        metadata: commit.metadata.expect("version 0 has a schema"),
        txns: commit.txns.into_iter().map(|txn| (txn.app_id, txn.version)).collect(),
        has_files: false,
        checkpoint: None,
        tip_commit_id: commit.commit_id,
        unknown_action: None,
    }
}
