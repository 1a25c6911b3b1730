//! What persons did to a table's offsets, as its `txn` entries tell.
//!
//! It owns what such an entry means to those who judge rows and files. The
//! entries survive checkpoints; when each was made is not told.

use std::collections::BTreeMap;

use crate::ids::{Offset, TopicPartition};
use crate::protocol::app_id::{AppId, IdentityTransfer, OffsetOverride, superseded};

#[derive(Debug, Default)]
pub struct OffsetOverrides {
    /// With how often each was made.
    offset_overrides: BTreeMap<TopicPartition, Vec<(OffsetOverride, i64)>>,
    txns: BTreeMap<String, i64>,
}

impl OffsetOverrides {
    pub fn of(txns: &BTreeMap<String, i64>) -> OffsetOverrides {
        let entries =
            |name: &str| OffsetOverride::parse(name).is_some() || IdentityTransfer::parse(name).is_some();
        let mut offset_overrides = OffsetOverrides::default();
        for (name, &count) in txns.iter().filter(|(name, _)| entries(name)) {
            if let Some(offset_override) = OffsetOverride::parse(name) {
                offset_overrides
                    .offset_overrides
                    .entry(offset_override.id.source.clone())
                    .or_default()
                    .push((offset_override, count));
            }
            offset_overrides.txns.insert(name.clone(), count);
        }
        offset_overrides
    }

    fn offset_overrides(&self, source: &TopicPartition) -> impl Iterator<Item = &(OffsetOverride, i64)> {
        self.offset_overrides.get(source).into_iter().flatten()
    }

    /// Offsets that were jumped over.
    pub fn given_up(&self, source: &TopicPartition) -> Vec<(Offset, Offset)> {
        let forward = self.offset_overrides(source).filter(|(offset_override, _)| !offset_override.is_back());
        forward.map(|(offset_override, _)| (offset_override.from, offset_override.to)).collect()
    }

    /// Offsets that were, or will be, read again.
    pub fn read_again(&self, source: &TopicPartition) -> Vec<(Offset, Offset)> {
        self.offset_overrides(source)
            .filter(|(offset_override, _)| offset_override.is_back())
            .map(|(offset_override, _)| (offset_override.to, offset_override.from))
            .collect()
    }

    /// How often an offset may be a row.
    pub fn copies(&self, source: &TopicPartition, offset: Offset) -> usize {
        if self.offset_overrides.is_empty() {
            return 1;
        }
        let holds = |offset_override: &OffsetOverride| {
            offset_override.is_back() && offset_override.to <= offset && offset < offset_override.from
        };
        let times = self
            .offset_overrides(source)
            .filter(|(offset_override, _)| holds(offset_override))
            .map(|(_, times)| *times);
        1 + usize::try_from(times.sum::<i64>()).unwrap_or(0)
    }

    /// How far rows may reach that were read before the partition was moved back.
    pub fn reach(&self, source: &TopicPartition, next: Offset) -> Offset {
        self.read_again(source).into_iter().map(|(_, from)| from).fold(next, Offset::max)
    }

    /// Another table id has the same offsets now, of the same log.
    pub fn is_renamed(&self, id: &AppId) -> bool {
        let topic_id = &id.source.topic_id;
        superseded(&id.table_id, &id.source.topic, topic_id, &self.txns)
            .is_some_and(|by| by.topic_id == *topic_id || topic_id.is_unknown())
    }

    pub fn identity_transfers(&self) -> impl Iterator<Item = IdentityTransfer> {
        self.txns.keys().filter_map(|name| IdentityTransfer::parse(name))
    }
}
