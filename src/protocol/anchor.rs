//! Where each partition begins, and when it must not begin.
//!
//! It owns the decision from three facts: what the table's `txn` says, what
//! the broker holds, and what the config asks for on the very first run. It
//! asks nobody: the caller brings the facts and commits the outcome.
//!
//! Every start that is not in the table yet is committed there *before the
//! first record is read*. Otherwise `latest`, evaluated again after a crash,
//! would skip records, and an idle partition would look new.

use std::collections::{BTreeMap, BTreeSet};

use super::app_id::{AppId, IdentityTransfer, superseded};
use super::lineage;
use super::planted::{Bug, planted};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition, TopicId, TopicPartition};

/// What the broker says of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// The first offset that is still there.
    pub low: Offset,
    /// The last stable offset: what a `read_committed` consumer can reach now.
    pub end: Offset,
    /// Where `start` of the config points; only read on a table's first run.
    pub first_run: Offset,
}

/// What is known of the table before anything is read.
#[derive(Clone, Debug, Default)]
pub struct TableFacts {
    /// All `txn` of the table, other writers' too.
    pub txns: BTreeMap<String, i64>,
    /// It has data files and our offset columns, so rows of ours may be in it.
    pub may_hold_our_rows: bool,
}

/// How a person says that what is refused is meant.
const ADOPT: &str = "`thalweg offsets set --adopt`";

/// Where to read, and what to commit first.
#[derive(Debug)]
pub struct Plan {
    /// The id under which the topic's offsets stand.
    pub topic_id: TopicId,
    pub starts: BTreeMap<TopicPartition, Offset>,
    /// `txn` entries that the table lacks, to be committed before reading.
    pub to_anchor: BTreeMap<TopicPartition, Offset>,
    /// Partitions that must not be read, each with what a person should know.
    pub stopped: Vec<(Partition, Error)>,
}

impl Plan {
    /// A partition under the id of its topic.
    pub fn source(&self, topic: &str, partition: Partition) -> TopicPartition {
        TopicPartition { topic: topic.to_owned(), topic_id: self.topic_id.clone(), partition }
    }
}

pub fn plan(
    table_id: &str,
    topic: &str,
    topic_id: &TopicId,
    table: &TableFacts,
    partitions: &BTreeMap<Partition, Watermarks>,
) -> Result<Plan> {
    let topic_id = check(table_id, topic, topic_id, table)?;
    let is_new = known_ids(table_id, topic, &table.txns).next().is_none();
    let known = lineage::offsets(table_id, topic, &topic_id, &table.txns);
    let mut plan = Plan {
        topic_id: topic_id.clone(),
        starts: BTreeMap::new(),
        to_anchor: BTreeMap::new(),
        stopped: Vec::new(),
    };
    for (&partition, &marks) in partitions {
        let source = plan.source(topic, partition);
        // A table that was begun when the broker told no topic ids hands its offsets over.
        let start = match known.get(&partition).copied() {
            Some(offset) if planted(Bug::PassesWhatRetentionTook) => offset.max(marks.low),
            Some(offset) => {
                if let Some(error) = out_of_reach(&source, offset, marks.low, marks.end) {
                    plan.stopped.push((partition, error));
                    continue;
                }
                offset
            }
            None if is_new || planted(Bug::NewPartitionBeginsAtLatest) => marks.first_run,
            // A partition that a known topic has grown: nothing of it may be missed.
            None => marks.low,
        };
        if !table.txns.contains_key(&AppId::new(table_id, source.clone()).to_string()) {
            plan.to_anchor.insert(source.clone(), start);
        }
        plan.starts.insert(source, start);
    }
    Ok(plan)
}

/// The id under which an ingestion of the topic goes on.
///
/// # Errors
/// Where it may not go on at all.
pub(super) fn check(table_id: &str, topic: &str, told: &TopicId, table: &TableFacts) -> Result<TopicId> {
    refuse_foreign_rows(table_id, table)?;
    let topic_id = goes_on(table_id, topic, told, &table.txns);
    if topic_id != *told && !told.is_unknown() && !planted(Bug::NoTopicIdAtStart) {
        return Err(created_again(topic, told, &topic_id));
    }
    // What was read without a topic id may have been handed over before one was told.
    let known: BTreeSet<TopicId> = known_ids(table_id, topic, &table.txns).collect();
    let is_known = known.contains(&topic_id);
    let stands_as = if is_known { topic_id.clone() } else { TopicId::unknown() };
    let taker = |of: &TopicId| superseded(table_id, topic, of, &table.txns);
    if let Some(by) = taker(&stands_as) {
        return Err(transferred(table_id, topic, &stands_as, &by));
    }
    // Whoever has the offsets has what becomes of the topic, too, and what is told without an id.
    for before in known.iter().filter(|_| !is_known || topic_id.is_unknown()) {
        if let Some(by) = taker(before).filter(|by| by.table_id != table_id) {
            return Err(transferred(table_id, topic, before, &by));
        }
    }
    Ok(topic_id)
}

/// The topic ids under which a table has offsets.
pub(super) fn known_ids(
    table_id: &str,
    topic: &str,
    txns: &BTreeMap<String, i64>,
) -> impl Iterator<Item = TopicId> {
    let all = txns.keys().filter_map(|name| AppId::parse(name));
    all.filter(move |id| id.table_id == table_id && id.source.topic == topic).map(|id| id.source.topic_id)
}

/// The topic id under which offsets go on: the one that is told, unless the table knows another one only.
pub fn goes_on(table_id: &str, topic: &str, told: &TopicId, txns: &BTreeMap<String, i64>) -> TopicId {
    let known: BTreeSet<TopicId> = known_ids(table_id, topic, txns).filter(|id| !id.is_unknown()).collect();
    let may_go_on = |id: &&TopicId| superseded(table_id, topic, id, txns).is_none();
    let told_counts = known.contains(told) && !planted(Bug::NoTopicIdAtStart);
    known.iter().find(may_go_on).filter(|_| !told_counts).unwrap_or(told).clone()
}

/// Rows of ours without our `txn`: a clone, or a changed table id. Reading
/// from the start again would double them.
fn refuse_foreign_rows(table_id: &str, table: &TableFacts) -> Result<()> {
    let mut ids: Vec<String> =
        table.txns.keys().filter_map(|app_id| AppId::parse(app_id)).map(|id| id.table_id).collect();
    ids.dedup();
    if ids.iter().any(|id| id == table_id) {
        return Ok(());
    }
    if let Some(other) = ids.first() {
        return Err(Error::new(
            ErrorKind::Disagree,
            format!("the table was written under the id `{other}`, not `{table_id}`"),
        )
        .remedy(format!(
            "set id = \"{other}\" again: it is the identity that keeps rows from being written twice; \
             to go on under the new id: {ADOPT}"
        )));
    }
    if table.may_hold_our_rows {
        return Err(Error::new(
            ErrorKind::Disagree,
            "the table has files with `_partition` and `_offset`, but no offsets of ours: it may be a clone",
        )
        .remedy(format!(
            "write into the original table, or into an empty one; to go on behind the rows that are there: {ADOPT}"
        )));
    }
    Ok(())
}

/// A known id that differs means that the topic was deleted and created again: its offsets mean other
/// records now.
fn created_again(topic: &str, told: &TopicId, recorded: &TopicId) -> Error {
    Error::new(
        ErrorKind::Disagree,
        format!("topic `{topic}` was created again: its id is {told}, the table knows {recorded}"),
    )
    .remedy(format!(
        "ingest the new topic under another table id and location, or restore the old topic; to read the \
         new one into this table, too: {ADOPT}"
    ))
}

/// Whoever took the offsets over goes on from them, and nobody else.
fn transferred(table_id: &str, topic: &str, topic_id: &TopicId, by: &IdentityTransfer) -> Error {
    let message = match by.table_id == table_id {
        true => format!("topic `{topic}` of id {topic_id} was handed over to the one of id {}", by.topic_id),
        false => format!("the offsets of `{table_id}` were handed over to the table id `{}`", by.table_id),
    };
    Error::new(ErrorKind::Disagree, message)
        .remedy(format!("run it as it was handed over; to take the offsets back: {ADOPT}"))
}

/// Why a partition cannot be read on at an offset, if the broker's log no longer reaches it.
pub fn out_of_reach(source: &TopicPartition, offset: Offset, low: Offset, end: Offset) -> Option<Error> {
    if offset < low {
        let error = Error::new(
            ErrorKind::Disagree,
            format!(
                "{source}: offsets {offset}..{low} were deleted by the topic's retention before they were read"
            ),
        );
        return Some(error.remedy(
            "raise the topic's retention; the lost records cannot be ingested: \
             to go on without them, start once with `run --accept-loss`",
        ));
    }
    if offset > end {
        let error = Error::new(
            ErrorKind::Disagree,
            format!("{source}: the table is at offset {offset}, beyond the topic's end {end}"),
        );
        return Some(error.remedy(
            "the topic was truncated or created again: ingest it under another table id, or say where to \
                 go on with `thalweg offsets set`",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TopicId {
        TopicId(text.into())
    }

    fn marks(low: i64, end: i64, first_run: i64) -> Watermarks {
        Watermarks { low: Offset(low), end: Offset(end), first_run: Offset(first_run) }
    }

    fn facts(txns: &[(&str, i64)]) -> TableFacts {
        TableFacts {
            txns: txns.iter().map(|&(name, version)| (name.to_owned(), version)).collect(),
            may_hold_our_rows: false,
        }
    }

    fn run(topic_id: &str, table: &TableFacts, partitions: &[(i32, Watermarks)]) -> Result<Plan> {
        let partitions = partitions.iter().map(|&(n, marks)| (Partition(n), marks)).collect();
        plan("orders", "t", &id(topic_id), table, &partitions)
    }

    fn starts(plan: &Plan) -> Vec<(i32, i64)> {
        plan.starts.iter().map(|(source, offset)| (source.partition.0, offset.0)).collect()
    }

    #[test]
    fn a_first_run_begins_where_the_config_says_and_anchors_every_partition() {
        let plan = run("A", &facts(&[]), &[(0, marks(5, 50, 50)), (1, marks(0, 0, 0))]).unwrap();
        assert_eq!(starts(&plan), [(0, 50), (1, 0)]);
        assert_eq!(plan.to_anchor, plan.starts);
    }

    #[test]
    fn afterwards_the_table_decides_and_nothing_else() {
        let table = facts(&[("thalweg/orders/t/A/0", 20), ("spark", 1), ("thalweg/orders/other/B/1", 9)]);
        let plan = run("A", &table, &[(0, marks(5, 50, 50))]).unwrap();
        assert_eq!(starts(&plan), [(0, 20)]);
        assert!(plan.to_anchor.is_empty());
    }

    #[test]
    fn a_new_partition_of_a_known_topic_begins_at_its_beginning() {
        let table = facts(&[("thalweg/orders/t/A/0", 20)]);
        let plan = run("A", &table, &[(0, marks(5, 50, 50)), (1, marks(0, 7, 7))]).unwrap();
        assert_eq!(starts(&plan), [(0, 20), (1, 0)]);
        assert_eq!(plan.to_anchor.len(), 1);
    }

    #[test]
    fn a_topic_that_was_created_again_is_refused() {
        let error = run("B", &facts(&[("thalweg/orders/t/A/0", 20)]), &[(0, marks(0, 50, 0))]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Disagree);
        assert!(error.message.contains("created again"), "{error}");
    }

    #[test]
    fn a_broker_that_tells_no_id_is_neither_a_match_nor_an_error() {
        let plan = run("-", &facts(&[("thalweg/orders/t/A/0", 20)]), &[(0, marks(0, 50, 0))]).unwrap();
        assert_eq!(starts(&plan), [(0, 20)]);
        assert_eq!(plan.starts.keys().next().unwrap().topic_id, id("A"));
    }

    #[test]
    fn offsets_kept_without_an_id_are_handed_over() {
        let plan = run("A", &facts(&[("thalweg/orders/t/-/0", 20)]), &[(0, marks(0, 50, 0))]).unwrap();
        assert_eq!(starts(&plan), [(0, 20)]);
        assert_eq!(plan.to_anchor.keys().next().unwrap().topic_id, id("A"));
    }

    #[test]
    fn lost_or_foreign_offsets_stop_their_partition_only() {
        let table = facts(&[
            ("thalweg/orders/t/A/0", 20),
            ("thalweg/orders/t/A/1", 20),
            ("thalweg/orders/t/A/2", 20),
        ]);
        let partitions = [(0, marks(21, 50, 0)), (1, marks(0, 19, 0)), (2, marks(20, 20, 0))];
        let plan = run("A", &table, &partitions).unwrap();
        assert_eq!(starts(&plan), [(2, 20)]);
        let messages: Vec<&str> = plan.stopped.iter().map(|(_, error)| error.message.as_str()).collect();
        assert!(messages[0].contains("retention") && messages[1].contains("beyond the topic's end"));
    }

    #[test]
    fn who_was_handed_over_stays_stopped_and_who_took_over_goes_on() {
        let table = facts(&[
            ("thalweg/orders/t/A/0", 20),
            ("thalweg/returns/t/A/0", 20),
            ("thalweg/adopt/returns/t/A/orders/A", 1),
        ]);
        let partitions: BTreeMap<_, _> = [(Partition(0), marks(0, 50, 0))].into();
        let of = |table_id: &str| plan(table_id, "t", &id("A"), &table, &partitions);
        assert!(of("orders").unwrap_err().message.contains("handed over to the table id `returns`"));
        assert_eq!(starts(&of("returns").unwrap()), [(0, 20)]);
        let created_again = plan("orders", "t", &id("B"), &table, &partitions).unwrap_err();
        assert!(created_again.message.contains("handed over to the table id `returns`"));
        let mut before_it_had_an_id = table.clone();
        before_it_had_an_id.txns.insert("thalweg/orders/t/-/0".to_owned(), 7);
        let without_an_id = plan("orders", "t", &TopicId::unknown(), &before_it_had_an_id, &partitions);
        assert!(without_an_id.unwrap_err().message.contains("handed over to the table id `returns`"));

        let again = facts(&[
            ("thalweg/orders/t/A/0", 20),
            ("thalweg/orders/t/B/0", 3),
            ("thalweg/adopt/orders/t/B/orders/A", 1),
        ]);
        assert_eq!(starts(&run("B", &again, &[(0, marks(0, 50, 0))]).unwrap()), [(0, 3)]);
        assert_eq!(starts(&run("-", &again, &[(0, marks(0, 50, 0))]).unwrap()), [(0, 3)]);
        assert!(run("A", &again, &[(0, marks(0, 50, 0))]).unwrap_err().message.contains("of id B"));
        assert!(run("C", &again, &[(0, marks(0, 50, 0))]).unwrap_err().message.contains("the table knows B"));
    }

    #[test]
    fn who_was_handed_over_without_a_topic_id_does_not_go_on_under_one() {
        let table = facts(&[
            ("thalweg/orders/t/-/0", 20),
            ("thalweg/returns/t/A/0", 20),
            ("thalweg/adopt/returns/t/A/orders/-", 1),
        ]);
        let error = run("A", &table, &[(0, marks(0, 50, 0))]).unwrap_err();
        assert!(error.message.contains("handed over to the table id `returns`"), "{error}");
    }

    #[test]
    fn a_topic_that_was_created_again_takes_nothing_from_before_it_had_an_id() {
        let table = facts(&[
            ("thalweg/orders/t/-/1", 20),
            ("thalweg/orders/t/A/0", 20),
            ("thalweg/orders/t/B/0", 3),
            ("thalweg/adopt/orders/t/B/orders/A", 1),
        ]);
        let plan = run("B", &table, &[(0, marks(0, 50, 0)), (1, marks(0, 50, 0))]).unwrap();
        assert_eq!(starts(&plan), [(0, 3), (1, 0)]);
    }

    #[test]
    fn rows_under_another_identity_are_not_written_again() {
        let error = run("A", &facts(&[("thalweg/old-name/t/A/0", 20)]), &[(0, marks(0, 50, 0))]).unwrap_err();
        assert!(error.message.contains("`old-name`"), "{error}");
        let clone = TableFacts { may_hold_our_rows: true, ..facts(&[]) };
        assert!(run("A", &clone, &[(0, marks(0, 50, 0))]).unwrap_err().message.contains("clone"));
    }
}
