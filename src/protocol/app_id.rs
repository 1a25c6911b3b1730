//! The name under which a partition's next offset stands in a table's `txn`.
//!
//! `thalweg/<table id>/<topic>/<topic id or ->/<partition>`, verbatim. Table
//! ids hold no `/` (the config refuses it) and Kafka's topic names cannot, so
//! the parts are unambiguous. The topic id is part of the name because `txn`
//! survives checkpoints and `commitInfo` does not.

use std::fmt;

use crate::ids::{Offset, Partition, TopicId, TopicPartition};

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

/// A deliberate jump of one partition: from the next offset that the table had to another one.
///
/// `thalweg/gap/<table id>/<topic>/<topic id or ->/<partition>/<from>-<to>`. It is a `txn` of its own, so
/// that it survives checkpoints: without it a jump is damage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Jump {
    pub id: AppId,
    pub from: Offset,
    pub to: Offset,
}

impl Jump {
    /// `None` for every name that is none of these.
    pub fn parse(text: &str) -> Option<Jump> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix("/gap/")?;
        let (id, offsets) = rest.rsplit_once('/')?;
        let (from, to) = offsets.split_once('-')?;
        Some(Jump {
            id: AppId::parse(&format!("{PREFIX}/{id}"))?,
            from: Offset(from.parse().ok()?),
            to: Offset(to.parse().ok()?),
        })
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.to_string();
        let rest = id.strip_prefix(PREFIX).expect("every id begins so");
        write!(f, "{PREFIX}/gap{rest}/{}-{}", self.from, self.to)
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

    #[test]
    fn a_jump_is_read_back_and_is_no_next_offset() {
        let text = "thalweg/gap/orders/shop.orders/mDp1Ot3CTkWoEyMOVyTBcA/7/100-250";
        let jump = Jump::parse(text).unwrap();
        assert_eq!((jump.id.source.partition, jump.from, jump.to), (Partition(7), Offset(100), Offset(250)));
        assert_eq!(jump.to_string(), text);
        assert_eq!(AppId::parse(text), None);
        for text in
            ["thalweg/gap/a/b/-/0", "thalweg/a/b/-/0", "thalweg/gap/a/b/-/0/1-x", "thalweg/gap/a/b/-/0/1"]
        {
            assert_eq!(Jump::parse(text), None, "{text}");
        }
    }
}
