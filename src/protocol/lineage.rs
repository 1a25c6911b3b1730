//! Under which names one log of records was read, one after the other.
//!
//! It owns which entries of a table mean the same records: an ingestion that
//! goes on under another table id, or under the topic id that a broker began to
//! tell, finds its offsets and its dead letters under the names before. A topic
//! that was created again has other records at the same offsets, and none of
//! the names of the one before it.

use std::collections::{BTreeMap, BTreeSet};

use super::app_id::{AppId, Former, IdentityTransfer};
use super::planted::{Bug, planted};
use crate::ids::{Offset, Partition, TopicId, TopicPartition};

/// The identity transfers of a table.
#[derive(Debug, Default)]
pub struct Lineage(Vec<IdentityTransfer>);

impl Lineage {
    pub fn of(txns: &BTreeMap<String, i64>) -> Lineage {
        Lineage(txns.keys().filter_map(|name| IdentityTransfer::parse(name)).collect())
    }

    /// The names of a partition, its own first.
    pub fn names(&self, id: &AppId) -> Vec<AppId> {
        let mut names = vec![id.clone()];
        let mut looked_at = 0;
        while let Some(name) = names.get(looked_at).cloned() {
            looked_at += 1;
            for (table_id, topic_id) in self.before(&name) {
                let source = TopicPartition { topic_id, ..name.source.clone() };
                let before = AppId { table_id, source };
                if !names.contains(&before) {
                    names.push(before);
                }
            }
        }
        names
    }

    /// The names directly before one.
    fn before(&self, name: &AppId) -> Vec<(String, TopicId)> {
        let AppId { table_id, source: TopicPartition { topic, topic_id, .. } } = name;
        let took =
            self.0.iter().filter(|identity_transfer| identity_transfer.is_to(table_id, topic, topic_id));
        let formers = took.filter_map(|identity_transfer| match &identity_transfer.former {
            Former::Ingestion { table_id, topic_id } => Some((table_id.clone(), topic_id.clone())),
            Former::Rows => None,
        });
        let of_any_log = planted(Bug::TakesDeadLettersOfAFormerTopic);
        let (mut same_log, another): (Vec<_>, Vec<_>) =
            formers.partition(|(_, former)| former == topic_id || former.is_unknown() || of_any_log);
        // What was read without a topic id is of the first topic that has one.
        if another.is_empty() && !topic_id.is_unknown() {
            same_log.push((table_id.clone(), TopicId::unknown()));
        }
        same_log
    }

    /// A table id and those that it took anything over from.
    pub fn table_ids(&self, table_id: &str) -> BTreeSet<String> {
        let mut ids = BTreeSet::from([table_id.to_owned()]);
        // Each round finds the former of those that are known.
        loop {
            let took = self.0.iter().filter(|identity_transfer| ids.contains(&identity_transfer.table_id));
            let formers: Vec<String> = took
                .filter_map(|identity_transfer| match &identity_transfer.former {
                    Former::Ingestion { table_id, .. } => Some(table_id.clone()),
                    Former::Rows => None,
                })
                .collect();
            let known = ids.len();
            ids.extend(formers);
            if ids.len() == known {
                return ids;
            }
        }
    }

    /// A clone's rows were taken over: which of them are replayed dead letters, its entries do not tell.
    pub fn has_cloned(&self, table_id: &str, topic: &str) -> bool {
        let is_clone = |identity_transfer: &&IdentityTransfer| {
            identity_transfer.former == Former::Rows && identity_transfer.topic == topic
        };
        self.0
            .iter()
            .filter(is_clone)
            .any(|identity_transfer| self.table_ids(table_id).contains(&identity_transfer.table_id))
    }
}

/// The next offsets of an ingestion, wherever a partition's last name is.
pub fn offsets(
    table_id: &str,
    topic: &str,
    topic_id: &TopicId,
    txns: &BTreeMap<String, i64>,
) -> BTreeMap<Partition, Offset> {
    let lineage = Lineage::of(txns);
    let known = txns.keys().filter_map(|name| AppId::parse(name)).filter(|id| id.source.topic == topic);
    let partitions: BTreeSet<Partition> = known.map(|id| id.source.partition).collect();
    let stands = |&partition: &Partition| {
        let source = TopicPartition { topic: topic.to_owned(), topic_id: topic_id.clone(), partition };
        let names = lineage.names(&AppId::new(table_id, source));
        let next = names.iter().find_map(|name| txns.get(&name.to_string()))?;
        Some((partition, Offset(*next)))
    };
    partitions.iter().filter_map(stands).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txns(names: &[&str]) -> BTreeMap<String, i64> {
        (1..).zip(names).map(|(count, name)| (format!("thalweg/{name}"), count)).collect()
    }

    fn names(of: &str, entries: &[&str]) -> Vec<String> {
        let id = AppId::parse(&format!("thalweg/{of}")).unwrap();
        let names = Lineage::of(&txns(entries)).names(&id);
        names.iter().map(|name| name.to_string().split_off("thalweg/".len())).collect()
    }

    #[test]
    fn what_was_read_without_a_topic_id_is_of_the_first_topic_that_has_one() {
        assert_eq!(names("orders/t/A/0", &[]), ["orders/t/A/0", "orders/t/-/0"]);
        assert_eq!(names("orders/t/-/0", &[]), ["orders/t/-/0"]);
        let again = ["adopt/orders/t/B/orders/A"];
        assert_eq!(names("orders/t/B/0", &again), ["orders/t/B/0"]);
        assert_eq!(names("orders/t/A/0", &again), ["orders/t/A/0", "orders/t/-/0"]);
        assert_eq!(names("orders/t/B/0", &["adopt/orders/t/B/orders/-"]), ["orders/t/B/0", "orders/t/-/0"]);
    }

    #[test]
    fn an_ingestion_has_the_names_of_those_before_it_however_often_it_is_handed_on() {
        let twice = ["adopt/b/t/A/a/-", "adopt/c/t/A/b/A", "adopt/x/t/A/y/A", "adopt/c/u/A/z/A"];
        assert_eq!(names("c/t/A/3", &twice), ["c/t/A/3", "b/t/A/3", "c/t/-/3", "a/t/-/3", "b/t/-/3"]);
        let back = ["adopt/a/t/A/b/A", "adopt/b/t/A/a/A"];
        assert_eq!(names("a/t/A/0", &back), ["a/t/A/0", "b/t/A/0", "a/t/-/0", "b/t/-/0"]);
    }

    #[test]
    fn former_ids_are_found_through_each_other() {
        let entries = ["adopt/c/t/A/b/A", "adopt/b/t/A/a/A", "adopt/x/t/A/y/A", "adopt/c/t/A/-/-"];
        let lineage = Lineage::of(&txns(&entries));
        assert_eq!(lineage.table_ids("c"), ["a", "b", "c"].map(str::to_owned).into());
        assert_eq!(lineage.table_ids("a"), ["a".to_owned()].into());
        assert!(
            lineage.has_cloned("c", "t") && !lineage.has_cloned("b", "t") && !lineage.has_cloned("c", "u")
        );
    }

    #[test]
    fn a_partition_stands_where_its_last_name_says() {
        let mut all = txns(&["a/t/-/0", "a/t/A/0", "a/t/-/1", "b/t/A/2", "adopt/a/t/A/b/A", "a/u/A/3"]);
        let next = |all: &_| -> Vec<(i32, i64)> {
            let found = offsets("a", "t", &TopicId("A".to_owned()), all);
            found.into_iter().map(|(partition, next)| (partition.0, next.0)).collect()
        };
        assert_eq!(next(&all), [(0, 2), (1, 3), (2, 4)]);
        // Another topic's incarnation begins with nothing.
        all.insert("thalweg/adopt/a/t/A/a/Z".to_owned(), 9);
        assert_eq!(next(&all), [(0, 2), (2, 4)]);
    }
}
