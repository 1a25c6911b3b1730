//! Dead dead letters that become rows after all: which of them, in which order, and
//! what keeps one dead letter from becoming two rows.
//!
//! It owns the decision for each dead letter, the order, and the `txn` that a
//! replay moves in the main table. It reads no table and decodes nothing.
//!
//! The replay `txn` of a partition is an offset: each dead letter below it was
//! tried. The commit that adds the rows of some dead letters moves it past them,
//! put-if-absent. So
//!
//! * a replay that was killed goes on behind its last commit;
//! * of two replays at once one loses its put, finds the `txn` moved and stops;
//! * whoever ingests beside a replay is not concerned: its offsets are others.
//!
//! A dead letter whose offset is not settled in the main table yet is left alone:
//! what it will be is still open to whoever takes the table over
//! (`protocol::dead_letters`). A dead letter that fails again stays a dead letter, and is
//! passed. `again` tries those, too: a dead letter below the `txn` is due then unless
//! its row is in the table.

use std::collections::BTreeMap;

use super::planted::{Bug, planted};
use crate::ids::{Offset, TopicPartition};

const PREFIX: &str = "thalweg-replay/";

/// The `txn` of a partition in the main table: every dead letter below it was tried.
pub fn app_id(table_id: &str, source: &TopicPartition) -> String {
    let TopicPartition { topic, topic_id, partition } = source;
    format!("{PREFIX}{table_id}/{topic}/{topic_id}/{partition}")
}

/// What the main table says of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its next offset: everything below is settled.
    pub resolved: Offset,
    /// Dead letters below were tried.
    pub tried: Offset,
    /// Rows came with a clone: what was tried before it, nothing tells.
    pub has_cloned: bool,
}

/// What is to be done with a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Due {
    Now,
    /// Its row may be in the main table: if it is not, now.
    UnlessRow,
    /// An earlier replay tried it.
    Tried,
    /// Its offset is not settled in the main table.
    Unresolved,
}

pub fn due(dead_letter: Offset, standing: Standing, again: bool) -> Due {
    match standing {
        Standing { resolved, .. } if dead_letter >= resolved && !planted(Bug::ReplaysWhatIsNotResolved) => {
            Due::Unresolved
        }
        Standing { tried, has_cloned: false, .. } if dead_letter >= tried => Due::Now,
        Standing { tried, .. } if dead_letter < tried && !again => Due::Tried,
        _ => Due::UnlessRow,
    }
}

/// A dead letter, and where it is to be read: row `row` of file `file`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeadLetterRow {
    /// The number of its partition among those of the replay.
    pub partition: u32,
    pub offset: Offset,
    pub file: u32,
    pub row: u32,
}

/// Puts dead letters into the order of the replay: each partition's by offset, and as far as that allows file
/// by file. Of dead letters that stand twice the first is taken.
pub fn order(dead_letters: &mut Vec<DeadLetterRow>) {
    dead_letters.sort_unstable();
    dead_letters.dedup_by_key(|dead_letter| (dead_letter.partition, dead_letter.offset));
    // A dead letter waits for the last file that holds an earlier one of its partition.
    let mut last: Option<(u32, u32)> = None;
    let mut ranked: Vec<(u32, DeadLetterRow)> = dead_letters
        .iter()
        .map(|&dead_letter| {
            let rank = match last {
                Some((partition, rank)) if partition == dead_letter.partition => rank.max(dead_letter.file),
                _ => dead_letter.file,
            };
            last = Some((dead_letter.partition, rank));
            (rank, dead_letter)
        })
        .collect();
    ranked.sort_by_key(|&(rank, dead_letter)| (rank, dead_letter.partition, dead_letter.offset));
    dead_letters.clear();
    dead_letters.extend(ranked.into_iter().map(|(_, dead_letter)| dead_letter));
}

/// Where the replay `txn` of each partition stands once these dead letters are tried: never lower than before.
pub fn moves(batch: &[DeadLetterRow], tried: impl Fn(u32) -> Offset) -> BTreeMap<u32, Offset> {
    let mut moves = BTreeMap::new();
    for dead_letter in batch.iter().filter(|_| !planted(Bug::ReplayMovesNoTxn)) {
        let at = moves.entry(dead_letter.partition).or_insert_with(|| tried(dead_letter.partition));
        *at = Offset(dead_letter.offset.0 + 1).max(*at);
    }
    moves
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Partition, TopicId};
    use crate::protocol::app_id::{AppId, IdentityTransfer, OffsetOverride};

    fn standing(resolved: i64, tried: i64) -> Standing {
        Standing { resolved: Offset(resolved), tried: Offset(tried), has_cloned: false }
    }

    #[test]
    fn a_dead_letter_is_tried_once_and_only_when_it_is_resolved() {
        let due = |offset, again| super::due(Offset(offset), standing(20, 10), again);
        assert_eq!([due(9, false), due(10, false), due(19, false)], [Due::Tried, Due::Now, Due::Now]);
        assert_eq!([due(20, false), due(99, true)], [Due::Unresolved, Due::Unresolved]);
        assert_eq!([due(9, true), due(10, true)], [Due::UnlessRow, Due::Now]);
    }

    #[test]
    fn a_dead_letter_from_before_a_clone_may_be_a_row() {
        let clone = Standing { has_cloned: true, ..standing(20, 10) };
        let due = |offset, again| super::due(Offset(offset), clone, again);
        assert_eq!(
            [due(9, false), due(10, false), due(20, false)],
            [Due::Tried, Due::UnlessRow, Due::Unresolved]
        );
        assert_eq!([due(9, true), due(10, true)], [Due::UnlessRow, Due::UnlessRow]);
    }

    #[test]
    fn a_replays_name_is_nobody_elses() {
        let source =
            TopicPartition { topic: "t".into(), topic_id: TopicId("A".into()), partition: Partition(3) };
        let name = app_id("orders", &source);
        assert_eq!(name, "thalweg-replay/orders/t/A/3");
        assert_eq!(
            (AppId::parse(&name), OffsetOverride::parse(&name), IdentityTransfer::parse(&name)),
            (None, None, None)
        );
    }

    fn dead_letter(partition: u32, offset: i64, file: u32, row: u32) -> DeadLetterRow {
        DeadLetterRow { partition, offset: Offset(offset), file, row }
    }

    #[test]
    fn files_are_read_one_after_the_other_where_offsets_allow_it() {
        let mut dead_letters = vec![
            dead_letter(0, 9, 2, 0),
            dead_letter(1, 2, 0, 1),
            dead_letter(0, 5, 0, 0),
            dead_letter(0, 7, 1, 0),
            dead_letter(1, 1, 1, 1),
        ];
        order(&mut dead_letters);
        let files: Vec<(u32, i64, u32)> =
            dead_letters.iter().map(|of| (of.partition, of.offset.0, of.file)).collect();
        // Offset 2 of partition 1 waits for offset 1, which stands in a later file.
        assert_eq!(files, [(0, 5, 0), (0, 7, 1), (1, 1, 1), (1, 2, 0), (0, 9, 2)]);
    }

    proptest! {
        /// Killed after any commit, with any config, in any number of runs: no dead letter is a row twice,
        /// and each is tried with every config that is asked to try it again.
        #[test]
        fn no_dead_letter_becomes_two_rows(
            placed in prop::collection::btree_map((0..3u32, 0..40i64), (0..4u32, 0..50u32), 0..60),
            resolved in prop::collection::vec(0..45i64, 3),
            runs in prop::collection::vec((1..7usize, 0..6usize, any::<bool>(), 1..5i64), 1..6),
        ) {
            let mut tried = [Offset(0); 3];
            let mut rows: BTreeSet<(u32, Offset)> = BTreeSet::new();
            for (batch_max, commits, again, good) in runs {
                let standing = |partition: u32| standing(resolved[partition as usize], tried[partition as usize].0);
                let is_due = |(partition, offset): (u32, Offset)| match due(offset, standing(partition), again) {
                    Due::Now => true,
                    Due::UnlessRow => !rows.contains(&(partition, offset)),
                    Due::Tried | Due::Unresolved => false,
                };
                let mut dead_letters: Vec<DeadLetterRow> = placed
                    .iter()
                    .map(|(&(partition, offset), &(file, row))| dead_letter(partition, offset, file, row))
                    .filter(|dead_letter| is_due((dead_letter.partition, dead_letter.offset)))
                    .collect();
                let all: BTreeSet<_> = dead_letters.iter().map(|dead_letter| (dead_letter.partition, dead_letter.offset)).collect();
                order(&mut dead_letters);
                prop_assert_eq!(dead_letters.len(), all.len());
                for batch in dead_letters.chunks(batch_max).take(commits) {
                    for dead_letter in batch {
                        // This config makes every `good`-th of them a row.
                        if dead_letter.offset.0 % good == 0 {
                            prop_assert!(rows.insert((dead_letter.partition, dead_letter.offset)), "twice: {:?}", dead_letter);
                        }
                    }
                    let before = tried;
                    for (partition, at) in moves(batch, |partition| before[partition as usize]) {
                        prop_assert!(at >= tried[partition as usize]);
                        tried[partition as usize] = at;
                    }
                }
                // Whoever is not killed leaves nothing that the config makes a row.
                if commits * batch_max >= dead_letters.len() {
                    prop_assert!(all.iter().all(|&(partition, offset)| offset.0 % good != 0 || rows.contains(&(partition, offset))));
                }
            }
            prop_assert!(rows.iter().all(|(partition, offset)| offset.0 < resolved[*partition as usize]));
        }
    }
}
