//! Offsets that a person moves while we write.
//!
//! It owns noticing such a move, and what becomes of an instance whose offsets
//! another identity took over. What an entry means is `protocol::verdict`'s and
//! `protocol::offsets`'; reading on from a moved offset is a reset like any.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::Committer;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::app_id::{
    AppId, IdentityTransfer, OffsetOverride, is_told_an_id, superseded, took_an_id,
};
use crate::protocol::fence::Writer;
use crate::protocol::verdict::{Entries, Relation};
use crate::table::{action, log};

/// A quiet committer looks this often for offsets that were overridden.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(60);

impl Committer {
    /// With nothing to commit nobody would hear that a person moved our offsets: it is looked for now
    /// and then. What others did is judged before the next commit.
    pub(super) async fn look_around(&mut self) -> Result<()> {
        let now = self.dependencies.clock.boot();
        if self.log_tip.is_trusted(now) || now.saturating_sub(self.looked_around) < LOOK_AROUND_EVERY {
            return Ok(());
        }
        self.looked_around = now;
        let Some(unseen) = self.log_tip.unseen(&self.retry_policy, now).await? else {
            return self.look_at_the_whole().await;
        };
        self.log_tip.distrust();
        let (table_id, next_offsets) = (&self.identity.table_id, self.ledger.next_offsets());
        let is_moved = |body: &Bytes| {
            let names = action::commit(body).map(|commit| commit.winner.txns).unwrap_or_default();
            names.iter().any(|name| relation(table_id, next_offsets, name) == Relation::OffsetOverride)
        };
        let moved = unseen.iter().any(|(_, body)| is_moved(body));
        if moved && !self.catch_up().await? {
            self.reset().await?;
        }
        Ok(())
    }
}

impl Committer {
    /// Where there are too many versions to judge each, the table itself says whether it stands where we do.
    async fn look_at_the_whole(&mut self) -> Result<()> {
        let store = self.log_tip.store().clone();
        let Some(snapshot) = self.retry_policy.ask(|| log::load(&store)).await? else { return Ok(()) };
        if self.next_offsets_in(&snapshot, self.ledger.next_offsets().keys())? != *self.ledger.next_offsets()
        {
            self.reset().await?;
        }
        Ok(())
    }
}

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
    next_offsets: &BTreeMap<TopicPartition, Offset>,
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
pub(super) fn relation(
    table_id: &str,
    next_offsets: &BTreeMap<TopicPartition, Offset>,
    app_id: &str,
) -> Relation {
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
