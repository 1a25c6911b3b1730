//! The name under which a partition's next offset stands in a table's `txn`.
//!
//! `thalweg/<table id>/<topic>/<topic id or ->/<partition>`, verbatim. Table
//! ids hold no `/` (the config refuses it) and Kafka's topic names cannot, so
//! the parts are unambiguous. The topic id is part of the name because `txn`
//! survives checkpoints and `commitInfo` does not.

use std::fmt;

use crate::ids::{Partition, TopicId, TopicPartition};

const PREFIX: &str = "thalweg";

/// One partition's identity in a table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppId {
    pub table_id: String,
    pub source: TopicPartition,
}

impl AppId {
    pub fn new(table_id: &str, source: TopicPartition) -> AppId {
        AppId { table_id: table_id.to_owned(), source }
    }

    /// `None` for every name that is not ours.
    pub fn parse(text: &str) -> Option<AppId> {
        let mut parts = text.split('/');
        let (prefix, table_id, topic, topic_id, partition) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if prefix != PREFIX || parts.next().is_some() || table_id.is_empty() || topic.is_empty() {
            return None;
        }
        Some(AppId {
            table_id: table_id.to_owned(),
            source: TopicPartition {
                topic: topic.to_owned(),
                topic_id: TopicId(topic_id.to_owned()),
                partition: Partition(partition.parse().ok()?),
            },
        })
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicPartition { topic, topic_id, partition } = &self.source;
        write!(f, "{PREFIX}/{}/{topic}/{topic_id}/{partition}", self.table_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        let id = AppId::new(
            "orders",
            TopicPartition {
                topic: "shop.orders".into(),
                topic_id: TopicId("mDp1Ot3CTkWoEyMOVyTBcA".into()),
                partition: Partition(7),
            },
        );
        assert_eq!(id.to_string(), "thalweg/orders/shop.orders/mDp1Ot3CTkWoEyMOVyTBcA/7");
        assert_eq!(AppId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn other_writers_ids_are_not_ours() {
        for text in
            ["", "spark-query-1", "thalweg/a/b/-", "thalweg/a/b/-/0/1", "thalweg/a/b/-/x", "thalweg//b/-/0"]
        {
            assert_eq!(AppId::parse(text), None, "{text}");
        }
    }
}
