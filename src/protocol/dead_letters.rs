//! What dead letters have to do with offsets.
//!
//! It owns the names under which a dead-letter table and its main table know
//! each other, and which offsets are open to doubt after a crash. It does not
//! read or write either table.
//!
//! A dead letter is committed *before* the offsets that settle it, so a crash
//! in between leaves letters above the main table's offset. For those, what
//! stands in the dead-letter table is the verdict, whatever config, schema or
//! program says now: they are passed over, and no letter comes to be a row.
//!
//! That holds only if nobody adds a letter unseen. Who takes a table over
//! therefore
//!
//! 1. claims the main table: moves every `txn` to where it stands. A commit of
//!    the instance before loses to it from here on;
//! 2. claims each dead-letter table in the same way;
//! 3. looks whether its claim of step 1 is still the last one, and begins
//!    again if not;
//! 4. reads which letters stand above the main table's offsets.
//!
//! Say that A commits rows and B writes a letter that A has not read. B's
//! letter did not lose to A's step 2, so B's own step 2 came after it. B went
//! on, so in B's step 3, later still, B's claim was the last one: B claimed the
//! main table after A, and A's commit there loses.

use std::collections::BTreeMap;

use super::planted::{Bug, planted};
use crate::ids::{Offset, TopicId, TopicPartition};

/// Letters that stand above the main table's offset, by partition, offsets growing.
pub type Held = BTreeMap<TopicPartition, Vec<Offset>>;

/// The `txn` of a partition in a dead-letter table: every letter below it is there.
pub fn app_id(table_id: &str, source: &TopicPartition) -> String {
    let TopicPartition { topic, topic_id, partition } = source;
    format!("thalweg-dlq/{table_id}/{topic}/{topic_id}/{partition}")
}

/// The `txn`s under which letters of a partition may stand: its own, and the one from before the broker
/// told topic ids.
pub fn app_ids(table_id: &str, source: &TopicPartition) -> Vec<String> {
    let before = TopicPartition { topic_id: TopicId::unknown(), ..source.clone() };
    let mut all = vec![app_id(table_id, source)];
    if !source.topic_id.is_unknown() && !planted(Bug::HandoverForgetsLetters) {
        all.push(app_id(table_id, &before));
    }
    all
}

/// The `txn` by which a main table remembers where its dead letters go. Its
/// version is odd while letters may stand there that are not settled.
pub fn place_app_id(table_id: &str, location: &str) -> String {
    format!("{}{location}", place_prefix(table_id))
}

fn place_prefix(table_id: &str) -> String {
    format!("thalweg-dlq-at/{table_id}/")
}

/// The places that a main table remembers as in use.
pub fn places(table_id: &str, txns: &BTreeMap<String, i64>) -> Vec<String> {
    let prefix = place_prefix(table_id);
    txns.iter()
        .filter(|&(_, version)| version % 2 == 1)
        .filter_map(|(app_id, _)| Some(app_id.strip_prefix(&prefix)?.to_owned()))
        .collect()
}

/// Offsets of a partition that are below the dead-letter table's `txn` and not below the main
/// table's: letters may stand there.
pub fn in_doubt(
    table_id: &str,
    source: &TopicPartition,
    settled: Offset,
    letter_txns: &BTreeMap<String, i64>,
) -> Option<std::ops::Range<i64>> {
    let reach =
        app_ids(table_id, source).iter().filter_map(|app_id| letter_txns.get(app_id)).copied().max()?;
    (settled.0 < reach).then_some(settled.0..reach)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, TopicId};
    use crate::protocol::app_id::AppId;

    fn source(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), topic_id: TopicId("A".into()), partition: Partition(partition) }
    }

    #[test]
    fn a_place_is_remembered_until_its_letters_are_settled() {
        let place = place_app_id("orders", "s3://b/orders_dead_letters");
        let txns = |version| BTreeMap::from([(place.clone(), version), ("spark".to_owned(), 1)]);
        assert_eq!(places("orders", &txns(1)), ["s3://b/orders_dead_letters"]);
        assert_eq!(places("orders", &txns(2)), Vec::<String>::new());
        assert_eq!(places("other", &txns(1)), Vec::<String>::new());
    }

    #[test]
    fn names_of_dead_letters_are_no_offsets_of_a_main_table() {
        for name in [app_id("orders", &source(0)), place_app_id("orders", "x")] {
            assert_eq!(AppId::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn only_offsets_between_the_two_tables_are_in_doubt() {
        let txns = BTreeMap::from([(app_id("orders", &source(0)), 20)]);
        assert_eq!(in_doubt("orders", &source(0), Offset(15), &txns), Some(15..20));
        assert_eq!(in_doubt("orders", &source(0), Offset(20), &txns), None);
        assert_eq!(in_doubt("orders", &source(1), Offset(0), &txns), None);
        assert_eq!(in_doubt("other", &source(0), Offset(0), &txns), None);
    }

    #[test]
    fn letters_from_before_the_broker_told_topic_ids_are_in_doubt_too() {
        let before = TopicPartition { topic_id: TopicId::unknown(), ..source(0) };
        let txns = BTreeMap::from([(app_id("orders", &before), 20), (app_id("orders", &source(0)), 17)]);
        assert_eq!(in_doubt("orders", &source(0), Offset(15), &txns), Some(15..20));
        assert_eq!(in_doubt("orders", &before, Offset(15), &txns), Some(15..20));
    }
}
