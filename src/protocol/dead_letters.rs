//! What dead letters have to do with offsets.
//!
//! It owns the names under which a dead-letter table and its main table know
//! each other, and which offsets are open to doubt after a crash. It does not
//! read or write either table.
//!
//! A dead letter is committed *before* the offsets that settle it, so a crash
//! in between leaves dead letters above the main table's offset. For those, what
//! stands in the dead-letter table is the verdict, whatever config, schema or
//! program says now: they are passed over, and no dead letter comes to be a row.
//!
//! That holds only if nobody adds a dead letter unseen. Who takes a table over
//! therefore
//!
//! 1. claims the main table: moves every `txn` to where it stands. A commit of
//!    the instance before loses to it from here on;
//! 2. claims each dead-letter table in the same way;
//! 3. looks whether its claim of step 1 is still the last one, and begins
//!    again if not;
//! 4. reads which dead letters stand above the main table's offsets.
//!
//! Say that A commits rows and B writes a dead letter that A has not read. B's
//! dead letter did not lose to A's step 2, so B's own step 2 came after it. B went
//! on, so in B's step 3, later still, B's claim was the last one: B claimed the
//! main table after A, and A's commit there loses.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::app_id::AppId;
use super::lineage::Lineage;
use super::planted::{Bug, planted};
use crate::ids::{Offset, TopicPartition};

const PREFIX: &str = "thalweg-dlq/";

/// Dead letters that stand above the main table's offset, by partition, offsets growing.
pub type AlreadyDeadLettered = BTreeMap<TopicPartition, Vec<Offset>>;

/// Offsets of a partition below a dead-letter table's `txn` and not below the main table's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    pub offsets: Range<i64>,
    /// Dead letters may stand there under any of these.
    pub names: Vec<AppId>,
    /// Below this, dead letters of other logs may stand at the same offsets: of a topic that was created again, or
    /// of another ingestion. A file that does not tell whose its dead letters are does not tell them apart.
    pub others: i64,
}

/// The `txn` of a partition in a dead-letter table: every dead letter below it is there.
pub fn app_id(table_id: &str, source: &TopicPartition) -> String {
    let TopicPartition { topic, topic_id, partition } = source;
    format!("{PREFIX}{table_id}/{topic}/{topic_id}/{partition}")
}

/// The names under which dead letters of a partition may stand, its own first: who handed its offsets over may
/// have been about to settle them.
pub fn names(lineage: &Lineage, table_id: &str, source: &TopicPartition) -> Vec<AppId> {
    let own = AppId::new(table_id, source.clone());
    if planted(Bug::IdentityTransferForgetsDeadLetters) { vec![own] } else { lineage.names(&own) }
}

/// The `txn` by which a main table remembers where its dead letters go. Its
/// version is odd while dead letters may stand there that are not settled.
pub fn place_app_id(table_id: &str, location: &str) -> String {
    format!("{}{location}", place_prefix(table_id))
}

fn place_prefix(table_id: &str) -> String {
    format!("thalweg-dlq-at/{table_id}/")
}

/// The places that a main table remembers as in use by these.
pub fn places(table_ids: &BTreeSet<String>, txns: &BTreeMap<String, i64>) -> BTreeSet<String> {
    let in_use = place_entries(table_ids, txns).filter(|(_, _, version)| version % 2 == 1);
    in_use.map(|(_, place, _)| place.to_owned()).collect()
}

/// The entries that let a main table remember every place again that it has forgotten.
pub fn remembered_again(table_ids: &BTreeSet<String>, txns: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let forgotten = place_entries(table_ids, txns).filter(|(_, _, version)| version % 2 == 0);
    forgotten.map(|(app_id, _, version)| (app_id.to_owned(), version + 1)).collect()
}

/// The entries of places: their name, the place, and the version.
fn place_entries<'a>(
    table_ids: &BTreeSet<String>,
    txns: &'a BTreeMap<String, i64>,
) -> impl Iterator<Item = (&'a str, &'a str, i64)> {
    let prefixes: Vec<String> = table_ids.iter().map(|table_id| place_prefix(table_id)).collect();
    txns.iter().filter_map(move |(app_id, &version)| {
        let place = prefixes.iter().find_map(|prefix| app_id.strip_prefix(prefix))?;
        Some((app_id.as_str(), place, version))
    })
}

/// What is in doubt of a partition with these names.
pub fn in_doubt(
    names: Vec<AppId>,
    resolved: Offset,
    dead_letter_txns: &BTreeMap<String, i64>,
) -> Option<Doubt> {
    let reach = |name: &AppId| dead_letter_txns.get(&app_id(&name.table_id, &name.source)).copied();
    let reach = names.iter().filter_map(reach).max()?;
    if reach <= resolved.0 {
        return None;
    }
    let is_other = |id: &AppId| {
        let is_namesake = |name: &AppId| {
            (&name.source.topic, name.source.partition) == (&id.source.topic, id.source.partition)
        };
        names.first().is_some_and(is_namesake) && !names.contains(id)
    };
    let all = dead_letter_txns.iter().filter_map(|(app_id, &reach)| Some((parse(app_id)?, reach)));
    let others = all.filter(|(id, _)| is_other(id)).map(|(_, reach)| reach).max().unwrap_or(0);
    Some(Doubt { offsets: resolved.0..reach, names, others })
}

/// Whose offset a `txn` of a dead-letter table is.
fn parse(app_id: &str) -> Option<AppId> {
    AppId::parse(&format!("thalweg/{}", app_id.strip_prefix(PREFIX)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, TopicId};

    fn source(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), topic_id: TopicId("A".into()), partition: Partition(partition) }
    }

    #[test]
    fn a_place_is_remembered_until_its_dead_letters_are_resolved() {
        let place = place_app_id("orders", "s3://b/orders_dead_letters");
        let txns = |version| BTreeMap::from([(place.clone(), version), ("spark".to_owned(), 1)]);
        let places = |id: &str, version| places(&[id.to_owned(), "x".to_owned()].into(), &txns(version));
        assert_eq!(places("orders", 1), ["s3://b/orders_dead_letters".to_owned()].into());
        assert_eq!(places("orders", 2), BTreeSet::new());
        assert_eq!(places("other", 1), BTreeSet::new());
        let again = |version| remembered_again(&["orders".to_owned()].into(), &txns(version));
        assert_eq!(again(2), BTreeMap::from([(place.clone(), 3)]));
        assert_eq!(again(3), BTreeMap::new());
    }

    #[test]
    fn names_of_dead_letters_are_no_offsets_of_a_main_table() {
        for name in [app_id("orders", &source(0)), place_app_id("orders", "x")] {
            assert_eq!(AppId::parse(&name), None, "{name}");
        }
    }

    fn doubt(
        table_id: &str,
        source: &TopicPartition,
        resolved: i64,
        dead_letters: &[(&str, i64)],
    ) -> Option<Range<i64>> {
        let identity_transfers = BTreeMap::from([("thalweg/adopt/new/t/A/orders/A".to_owned(), 1)]);
        let names = names(&Lineage::of(&identity_transfers), table_id, source);
        let txns = dead_letters.iter().map(|&(name, reach)| (format!("thalweg-dlq/{name}"), reach)).collect();
        in_doubt(names, Offset(resolved), &txns).map(|doubt| doubt.offsets)
    }

    #[test]
    fn only_offsets_between_the_two_tables_are_in_doubt() {
        let txns = [("orders/t/A/0", 20)];
        assert_eq!(doubt("orders", &source(0), 15, &txns), Some(15..20));
        assert_eq!(doubt("orders", &source(0), 20, &txns), None);
        assert_eq!(doubt("orders", &source(1), 0, &txns), None);
        assert_eq!(doubt("other", &source(0), 0, &txns), None);
    }

    #[test]
    fn dead_letters_from_before_the_broker_told_topic_ids_are_in_doubt_too() {
        let before = TopicPartition { topic_id: TopicId::unknown(), ..source(0) };
        let txns = [("orders/t/-/0", 20), ("orders/t/A/0", 17)];
        assert_eq!(doubt("orders", &source(0), 15, &txns), Some(15..20));
        assert_eq!(doubt("orders", &before, 15, &txns), Some(15..20));
    }

    #[test]
    fn dead_letters_of_other_logs_with_the_same_offsets_are_known_of() {
        let txns =
            [("new/t/A/0", 20), ("new/t/B/0", 12), ("new/t/B/1", 99), ("new/u/A/0", 99), ("x/t/A/0", 17)];
        let txns = txns.map(|(name, reach)| (format!("thalweg-dlq/{name}"), reach));
        let doubt = |of: usize| {
            let names = vec![AppId::new("new", source(0))];
            in_doubt(names, Offset(15), &txns[..of].iter().cloned().collect()).unwrap().others
        };
        assert_eq!([doubt(1), doubt(4), doubt(5)], [0, 12, 17]);
    }

    #[test]
    fn dead_letters_of_who_handed_the_offsets_over_are_in_doubt_too() {
        assert_eq!(doubt("new", &source(0), 15, &[("orders/t/A/0", 20), ("new/t/A/0", 17)]), Some(15..20));
        assert_eq!(doubt("orders", &source(0), 15, &[("new/t/A/0", 17)]), None);
    }
}
