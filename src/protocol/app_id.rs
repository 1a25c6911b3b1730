//! The name under which a partition's next offset stands in a table's `txn`.
//!
//! `thalweg/<table id>/<topic>/<topic id or ->/<partition>`, verbatim. Table
//! ids hold no `/` (the config refuses it) and Kafka's topic names cannot, so
//! the parts are unambiguous. The topic id is part of the name because `txn`
//! survives checkpoints and `commitInfo` does not.

use std::collections::BTreeMap;
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

/// A deliberate override of one partition: from the next offset that the table had to another one.
///
/// `thalweg/gap/<table id>/<topic>/<topic id or ->/<partition>/<from>-<to>`. It is a `txn` of its own, so
/// that it survives checkpoints: without it an override is damage. Forward, offsets are given up; back, they are
/// read again. Its version counts how often this very override was made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OffsetOverride {
    pub id: AppId,
    pub from: Offset,
    pub to: Offset,
}

impl OffsetOverride {
    /// `None` for every name that is none of these.
    pub fn parse(text: &str) -> Option<OffsetOverride> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix("/gap/")?;
        let (id, offsets) = rest.rsplit_once('/')?;
        let (from, to) = offsets.split_once('-')?;
        Some(OffsetOverride {
            id: AppId::parse(&format!("{PREFIX}/{id}"))?,
            from: Offset(from.parse().ok()?),
            to: Offset(to.parse().ok()?),
        })
    }
}

impl fmt::Display for OffsetOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.to_string();
        let rest = id.strip_prefix(PREFIX).expect("every id begins so");
        write!(f, "{PREFIX}/gap{rest}/{}-{}", self.from, self.to)
    }
}

impl OffsetOverride {
    pub fn is_back(&self) -> bool {
        self.to < self.from
    }
}

/// Offsets of a topic that were handed over: from another table id, from another incarnation of the
/// topic, or from a table whose `txn` are gone (a clone).
///
/// `thalweg/adopt/<table id>/<topic>/<topic id or ->/<former table id>/<former topic id>`; `-/-` stands for
/// a clone's former, of which nothing is known. Its version is the table's count of identity transfers: the latest
/// one that names an ingestion says whether it may go on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IdentityTransfer {
    pub table_id: String,
    pub topic: String,
    pub topic_id: TopicId,
    pub former: Former,
}

/// Whose offsets were taken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Former {
    Ingestion {
        table_id: String,
        topic_id: TopicId,
    },
    /// Only the rows were there.
    Rows,
}

impl IdentityTransfer {
    /// `None` for every name that is none of these.
    pub fn parse(text: &str) -> Option<IdentityTransfer> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix("/adopt/")?;
        let [table_id, topic, topic_id, former_id, former_topic_id] = rest.split('/').collect::<Vec<_>>()[..]
        else {
            return None;
        };
        if [table_id, topic, topic_id, former_id, former_topic_id].contains(&"") {
            return None;
        }
        let former = match (former_id, former_topic_id) {
            ("-", "-") => Former::Rows,
            _ => Former::Ingestion {
                table_id: former_id.to_owned(),
                topic_id: TopicId(former_topic_id.to_owned()),
            },
        };
        Some(IdentityTransfer {
            table_id: table_id.to_owned(),
            topic: topic.to_owned(),
            topic_id: TopicId(topic_id.to_owned()),
            former,
        })
    }

    /// In a sentence.
    pub fn told(&self) -> String {
        let IdentityTransfer { table_id, topic, topic_id, former } = self;
        match former {
            Former::Rows => {
                format!("table id `{table_id}` goes on behind the rows of `{topic}` that were there: a clone")
            }
            Former::Ingestion { topic_id: former, .. } if former != topic_id => {
                format!(
                    "table id `{table_id}` goes on with `{topic}` of id {topic_id}; what it was before had the id {former}"
                )
            }
            Former::Ingestion { table_id: former, .. } => {
                format!("table id `{table_id}` goes on with `{topic}` where `{former}` stood")
            }
        }
    }

    /// This ingestion took offsets over.
    pub fn is_to(&self, table_id: &str, topic: &str, topic_id: &TopicId) -> bool {
        self.topic == topic && self.table_id == table_id && self.topic_id == *topic_id
    }

    /// This ingestion's offsets were taken.
    pub fn is_from(&self, table_id: &str, topic: &str, topic_id: &TopicId) -> bool {
        let former = &self.former;
        self.topic == topic
            && matches!(former, Former::Ingestion { table_id: id, topic_id: of } if id == table_id && of == topic_id)
    }
}

impl fmt::Display for IdentityTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdentityTransfer { table_id, topic, topic_id, former } = self;
        write!(f, "{PREFIX}/adopt/{table_id}/{topic}/{topic_id}/")?;
        match former {
            Former::Ingestion { table_id, topic_id } => write!(f, "{table_id}/{topic_id}"),
            Former::Rows => f.write_str("-/-"),
        }
    }
}

/// Who took over what this ingestion wrote, if it may not go on.
pub fn superseded(
    table_id: &str,
    topic: &str,
    topic_id: &TopicId,
    txns: &BTreeMap<String, i64>,
) -> Option<IdentityTransfer> {
    let all = txns.iter().filter_map(|(app_id, &count)| Some((count, IdentityTransfer::parse(app_id)?)));
    let of_it = all.filter(|(_, identity_transfer)| {
        identity_transfer.is_to(table_id, topic, topic_id)
            || identity_transfer.is_from(table_id, topic, topic_id)
    });
    let (_, latest) = of_it.max_by_key(|(count, _)| *count)?;
    latest.is_from(table_id, topic, topic_id).then_some(latest)
}

/// A name under which a topic goes on that was read while the broker told no topic ids: of any partition,
/// since those that retention has passed are not moved.
pub fn took_an_id(table_id: &str, source: &TopicPartition, txns: &BTreeMap<String, i64>) -> Option<String> {
    // By hand the way leads back, too: from one that has an id to what is told without one.
    let leads_back = |identity_transfer: IdentityTransfer| {
        let has_an_id =
            |former: &Former| matches!(former, Former::Ingestion { topic_id, .. } if !topic_id.is_unknown());
        identity_transfer.is_to(table_id, &source.topic, &source.topic_id)
            && has_an_id(&identity_transfer.former)
    };
    if !source.topic_id.is_unknown()
        || txns.keys().filter_map(|name| IdentityTransfer::parse(name)).any(leads_back)
    {
        return None;
    }
    let mut names = txns.keys().filter_map(|app_id| AppId::parse(app_id));
    names.find(|name| is_told_an_id(table_id, source, name)).map(|name| name.to_string())
}

/// A topic that was read without a topic id goes on under this name, with every partition.
pub fn is_told_an_id(table_id: &str, source: &TopicPartition, name: &AppId) -> bool {
    source.topic_id.is_unknown()
        && !name.source.topic_id.is_unknown()
        && (name.table_id.as_str(), &name.source.topic) == (table_id, &source.topic)
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
    fn an_offset_override_is_read_back_and_is_no_next_offset() {
        let text = "thalweg/gap/orders/shop.orders/mDp1Ot3CTkWoEyMOVyTBcA/7/100-250";
        let offset_override = OffsetOverride::parse(text).unwrap();
        assert_eq!(
            (offset_override.id.source.partition, offset_override.from, offset_override.to),
            (Partition(7), Offset(100), Offset(250))
        );
        assert_eq!(offset_override.to_string(), text);
        assert_eq!(AppId::parse(text), None);
        for text in
            ["thalweg/gap/a/b/-/0", "thalweg/a/b/-/0", "thalweg/gap/a/b/-/0/1-x", "thalweg/gap/a/b/-/0/1"]
        {
            assert_eq!(OffsetOverride::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_identity_transfer_is_read_back_and_is_no_next_offset() {
        for text in
            ["thalweg/adopt/returns/t/A/orders/A", "thalweg/adopt/orders/t/A/-/-", "thalweg/adopt/o/t/A/o/-"]
        {
            let identity_transfer = IdentityTransfer::parse(text).unwrap();
            assert_eq!(identity_transfer.to_string(), text);
            assert_eq!((AppId::parse(text), OffsetOverride::parse(text)), (None, None));
        }
        assert_eq!(IdentityTransfer::parse("thalweg/adopt/o/t/A/-/-").unwrap().former, Former::Rows);
        for text in
            ["thalweg/adopt/o/t/A/-", "thalweg/adopt/o/t//-/-", "thalweg/o/t/A/0", "thalweg/gap/o/t/A/0/1-2"]
        {
            assert_eq!(IdentityTransfer::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_partition_without_a_topic_id_goes_on_under_one() {
        let source = |id: &str| TopicPartition {
            topic: "t".into(),
            topic_id: TopicId(id.to_owned()),
            partition: Partition(0),
        };
        let mut txns = BTreeMap::from([("thalweg/orders/t/-/0".to_owned(), 7)]);
        let took = |id: &str, txns: &_| took_an_id("orders", &source(id), txns);
        assert_eq!(took("-", &txns), None);
        txns.insert("thalweg/orders/t/A/1".to_owned(), 9);
        assert_eq!(took("-", &txns).as_deref(), Some("thalweg/orders/t/A/1"), "with every partition");
        assert_eq!(took("A", &txns), None);
        txns.insert("thalweg/adopt/orders/t/-/orders/A".to_owned(), 1);
        assert_eq!(took("-", &txns), None, "it was adopted from there");
    }

    #[test]
    fn the_latest_identity_transfer_says_who_may_go_on() {
        let mut txns = BTreeMap::from([("thalweg/adopt/returns/t/A/orders/A".to_owned(), 1)]);
        let may_go_on = |id: &str, topic: &str, txns: &BTreeMap<String, i64>| {
            superseded(id, topic, &TopicId("A".into()), txns).is_none()
        };
        assert!(may_go_on("returns", "t", &txns) && !may_go_on("orders", "t", &txns));
        assert!(may_go_on("orders", "another topic", &txns));
        txns.insert("thalweg/adopt/orders/t/A/returns/A".to_owned(), 2);
        assert!(may_go_on("orders", "t", &txns) && !may_go_on("returns", "t", &txns));
    }
}
