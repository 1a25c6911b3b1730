//! Offsets that a person moves, or hands over, while we write.
//!
//! It owns what an entry in the log is to the partitions that we read, and the
//! end of an instance whose offsets another identity took over. Whether a move
//! is allowed is `protocol::offsets`'.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{NextOffsets, TopicPartition};
use crate::protocol::app_id::{
    AppId, IdentityTransfer, OffsetOverride, is_told_an_id, superseded, took_an_id,
};
use crate::protocol::fence::Writer;
use crate::protocol::verdict::{Entries, Relation};

/// The end of an instance whose offsets were taken over.
pub(super) fn transferred(table_id: &str, by: Option<Writer>, entries: &Entries) -> Error {
    let by = by.map_or_else(|| "an unknown writer".to_owned(), |writer| writer.to_string());
    let message =
        format!("table `{table_id}`: {by} took its offsets over ({entries}): this instance gives way");
    Error::new(ErrorKind::Fenced, message)
        .remedy("go on under the table id and the topic that took them over: `thalweg offsets show` tells")
}

/// An identity transfer, or a topic id that the broker began to tell, may stand in versions that nobody judged: a
/// fresh look passes them by.
pub(super) fn refuse_transferred(
    table_id: &str,
    next_offsets: &NextOffsets,
    txns: &BTreeMap<String, i64>,
) -> Result<()> {
    let topics: BTreeSet<_> = next_offsets.keys().map(|source| (&source.topic, &source.topic_id)).collect();
    let by = topics.into_iter().find_map(|(topic, topic_id)| superseded(table_id, topic, topic_id, txns));
    let by = by.map(|by| by.to_string());
    match by.or_else(|| next_offsets.keys().find_map(|source| took_an_id(table_id, source, txns))) {
        None => Ok(()),
        Some(by) => Err(transferred(table_id, None, &Entries(vec![by]))),
    }
}

/// What an app id in the log is to the partitions that we read.
pub(super) fn relation(table_id: &str, next_offsets: &NextOffsets, app_id: &str) -> Relation {
    if let Some(identity_transfer) = IdentityTransfer::parse(app_id) {
        let is_ours = |own: &TopicPartition| identity_transfer.is_from(table_id, &own.topic, &own.topic_id);
        return if next_offsets.keys().any(is_ours) { Relation::Successor } else { Relation::Foreign };
    }
    if let Some(offset_override) = OffsetOverride::parse(app_id) {
        let is_ours =
            offset_override.id.table_id == table_id && next_offsets.contains_key(&offset_override.id.source);
        return if is_ours { Relation::OffsetOverride } else { Relation::Foreign };
    }
    let Some(id) = AppId::parse(app_id).filter(|id| id.table_id == table_id) else {
        return Relation::Foreign;
    };
    let same = |own: &&TopicPartition| own.topic == id.source.topic && own.partition == id.source.partition;
    match next_offsets.keys().find(same) {
        Some(own) if own.topic_id == id.source.topic_id => Relation::Ours,
        Some(_) => Relation::Successor,
        None if next_offsets.keys().any(|own| is_told_an_id(table_id, own, &id)) => Relation::Successor,
        None => Relation::Foreign,
    }
}
