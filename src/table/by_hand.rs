//! What persons did to a table's offsets, as its `txn` entries tell.
//!
//! It owns what such an entry means to those who judge rows and files. The
//! entries survive checkpoints; when each was made is not told.

use std::collections::BTreeMap;

use crate::ids::{Offset, TopicPartition};
use crate::protocol::app_id::{AppId, Handover, Jump, superseded};

#[derive(Debug, Default)]
pub struct ByHand {
    /// With how often each was made.
    jumps: BTreeMap<TopicPartition, Vec<(Jump, i64)>>,
    txns: BTreeMap<String, i64>,
}

impl ByHand {
    pub fn of(txns: &BTreeMap<String, i64>) -> ByHand {
        let entries = |name: &str| Jump::parse(name).is_some() || Handover::parse(name).is_some();
        let mut by_hand = ByHand::default();
        for (name, &count) in txns.iter().filter(|(name, _)| entries(name)) {
            if let Some(jump) = Jump::parse(name) {
                by_hand.jumps.entry(jump.id.source.clone()).or_default().push((jump, count));
            }
            by_hand.txns.insert(name.clone(), count);
        }
        by_hand
    }

    fn jumps(&self, source: &TopicPartition) -> impl Iterator<Item = &(Jump, i64)> {
        self.jumps.get(source).into_iter().flatten()
    }

    /// Offsets that were jumped over.
    pub fn given_up(&self, source: &TopicPartition) -> Vec<(Offset, Offset)> {
        let forward = self.jumps(source).filter(|(jump, _)| !jump.is_back());
        forward.map(|(jump, _)| (jump.from, jump.to)).collect()
    }

    /// Offsets that were, or will be, read again.
    pub fn read_again(&self, source: &TopicPartition) -> Vec<(Offset, Offset)> {
        self.jumps(source).filter(|(jump, _)| jump.is_back()).map(|(jump, _)| (jump.to, jump.from)).collect()
    }

    /// How often an offset may be a row.
    pub fn copies(&self, source: &TopicPartition, offset: Offset) -> usize {
        if self.jumps.is_empty() {
            return 1;
        }
        let holds = |jump: &Jump| jump.is_back() && jump.to <= offset && offset < jump.from;
        let times = self.jumps(source).filter(|(jump, _)| holds(jump)).map(|(_, times)| *times);
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

    pub fn handovers(&self) -> impl Iterator<Item = Handover> {
        self.txns.keys().filter_map(|name| Handover::parse(name))
    }
}
