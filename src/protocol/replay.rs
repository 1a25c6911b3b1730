//! Dead letters that become rows after all: which of them, in which order, and
//! what keeps one letter from becoming two rows.
//!
//! It owns the decision for each letter, the order, and the `txn` that a
//! replay moves in the main table. It reads no table and decodes nothing.
//!
//! The replay `txn` of a partition is an offset: each letter below it was
//! tried. The commit that adds the rows of some letters moves it past them,
//! put-if-absent. So
//!
//! * a replay that was killed goes on behind its last commit;
//! * of two replays at once one loses its put, finds the `txn` moved and stops;
//! * whoever ingests beside a replay is not concerned: its offsets are others.
//!
//! A letter whose offset is not settled in the main table yet is left alone:
//! what it will be is still open to whoever takes the table over
//! (`protocol::dead_letters`). A letter that fails again stays a letter, and is
//! passed. `again` tries those, too: a letter below the `txn` is due then unless
//! its row is in the table.

use std::collections::BTreeMap;

use super::planted::{Bug, planted};
use crate::ids::{Offset, TopicPartition};

const PREFIX: &str = "thalweg-replay/";

/// The `txn` of a partition in the main table: every letter below it was tried.
pub fn app_id(table_id: &str, source: &TopicPartition) -> String {
    let TopicPartition { topic, topic_id, partition } = source;
    format!("{PREFIX}{table_id}/{topic}/{topic_id}/{partition}")
}

/// What the main table says of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its next offset: everything below is settled.
    pub settled: Offset,
    /// Letters below were tried.
    pub tried: Offset,
    /// Rows came with a clone: what was tried before it, nothing tells.
    pub has_cloned: bool,
}

/// What is to be done with a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Due {
    Now,
    /// Its row may be in the main table: if it is not, now.
    UnlessRow,
    /// An earlier replay tried it.
    Tried,
    /// Its offset is not settled in the main table.
    Unsettled,
}

pub fn due(letter: Offset, standing: Standing, again: bool) -> Due {
    match standing {
        Standing { settled, .. } if letter >= settled && !planted(Bug::ReplaysWhatIsNotSettled) => {
            Due::Unsettled
        }
        Standing { tried, has_cloned: false, .. } if letter >= tried => Due::Now,
        Standing { tried, .. } if letter < tried && !again => Due::Tried,
        _ => Due::UnlessRow,
    }
}

/// A letter, and where it is to be read: row `row` of file `file`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Letter {
    /// The number of its partition among those of the replay.
    pub partition: u32,
    pub offset: Offset,
    pub file: u32,
    pub row: u32,
}

/// Puts letters into the order of the replay: each partition's by offset, and as far as that allows file
/// by file. Of letters that stand twice the first is taken.
pub fn order(letters: &mut Vec<Letter>) {
    letters.sort_unstable();
    letters.dedup_by_key(|letter| (letter.partition, letter.offset));
    // A letter waits for the last file that holds an earlier one of its partition.
    let mut last: Option<(u32, u32)> = None;
    let mut ranked: Vec<(u32, Letter)> = letters
        .iter()
        .map(|&letter| {
            let rank = match last {
                Some((partition, rank)) if partition == letter.partition => rank.max(letter.file),
                _ => letter.file,
            };
            last = Some((letter.partition, rank));
            (rank, letter)
        })
        .collect();
    ranked.sort_by_key(|&(rank, letter)| (rank, letter.partition, letter.offset));
    letters.clear();
    letters.extend(ranked.into_iter().map(|(_, letter)| letter));
}

/// Where the replay `txn` of each partition stands once these letters are tried: never lower than before.
pub fn moves(batch: &[Letter], tried: impl Fn(u32) -> Offset) -> BTreeMap<u32, Offset> {
    let mut moves = BTreeMap::new();
    for letter in batch.iter().filter(|_| !planted(Bug::ReplayMovesNoTxn)) {
        let at = moves.entry(letter.partition).or_insert_with(|| tried(letter.partition));
        *at = Offset(letter.offset.0 + 1).max(*at);
    }
    moves
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Partition, TopicId};
    use crate::protocol::app_id::{AppId, Handover, Jump};

    fn standing(settled: i64, tried: i64) -> Standing {
        Standing { settled: Offset(settled), tried: Offset(tried), has_cloned: false }
    }

    #[test]
    fn a_letter_is_tried_once_and_only_when_it_is_settled() {
        let due = |offset, again| super::due(Offset(offset), standing(20, 10), again);
        assert_eq!([due(9, false), due(10, false), due(19, false)], [Due::Tried, Due::Now, Due::Now]);
        assert_eq!([due(20, false), due(99, true)], [Due::Unsettled, Due::Unsettled]);
        assert_eq!([due(9, true), due(10, true)], [Due::UnlessRow, Due::Now]);
    }

    #[test]
    fn a_letter_from_before_a_clone_may_be_a_row() {
        let clone = Standing { has_cloned: true, ..standing(20, 10) };
        let due = |offset, again| super::due(Offset(offset), clone, again);
        assert_eq!(
            [due(9, false), due(10, false), due(20, false)],
            [Due::Tried, Due::UnlessRow, Due::Unsettled]
        );
        assert_eq!([due(9, true), due(10, true)], [Due::UnlessRow, Due::UnlessRow]);
    }

    #[test]
    fn a_replays_name_is_nobody_elses() {
        let source =
            TopicPartition { topic: "t".into(), topic_id: TopicId("A".into()), partition: Partition(3) };
        let name = app_id("orders", &source);
        assert_eq!(name, "thalweg-replay/orders/t/A/3");
        assert_eq!((AppId::parse(&name), Jump::parse(&name), Handover::parse(&name)), (None, None, None));
    }

    fn letter(partition: u32, offset: i64, file: u32, row: u32) -> Letter {
        Letter { partition, offset: Offset(offset), file, row }
    }

    #[test]
    fn files_are_read_one_after_the_other_where_offsets_allow_it() {
        let mut letters = vec![
            letter(0, 9, 2, 0),
            letter(1, 2, 0, 1),
            letter(0, 5, 0, 0),
            letter(0, 7, 1, 0),
            letter(1, 1, 1, 1),
        ];
        order(&mut letters);
        let files: Vec<(u32, i64, u32)> =
            letters.iter().map(|of| (of.partition, of.offset.0, of.file)).collect();
        // Offset 2 of partition 1 waits for offset 1, which stands in a later file.
        assert_eq!(files, [(0, 5, 0), (0, 7, 1), (1, 1, 1), (1, 2, 0), (0, 9, 2)]);
    }

    proptest! {
        /// Killed after any commit, with any config, in any number of runs: no letter is a row twice,
        /// and each is tried with every config that is asked to try it again.
        #[test]
        fn no_letter_becomes_two_rows(
            placed in prop::collection::btree_map((0..3u32, 0..40i64), (0..4u32, 0..50u32), 0..60),
            settled in prop::collection::vec(0..45i64, 3),
            runs in prop::collection::vec((1..7usize, 0..6usize, any::<bool>(), 1..5i64), 1..6),
        ) {
            let mut tried = [Offset(0); 3];
            let mut rows: BTreeSet<(u32, Offset)> = BTreeSet::new();
            for (batch_max, commits, again, good) in runs {
                let standing = |partition: u32| standing(settled[partition as usize], tried[partition as usize].0);
                let is_due = |(partition, offset): (u32, Offset)| match due(offset, standing(partition), again) {
                    Due::Now => true,
                    Due::UnlessRow => !rows.contains(&(partition, offset)),
                    Due::Tried | Due::Unsettled => false,
                };
                let mut letters: Vec<Letter> = placed
                    .iter()
                    .map(|(&(partition, offset), &(file, row))| letter(partition, offset, file, row))
                    .filter(|letter| is_due((letter.partition, letter.offset)))
                    .collect();
                let all: BTreeSet<_> = letters.iter().map(|letter| (letter.partition, letter.offset)).collect();
                order(&mut letters);
                prop_assert_eq!(letters.len(), all.len());
                for batch in letters.chunks(batch_max).take(commits) {
                    for letter in batch {
                        // This config makes every `good`-th of them a row.
                        if letter.offset.0 % good == 0 {
                            prop_assert!(rows.insert((letter.partition, letter.offset)), "twice: {:?}", letter);
                        }
                    }
                    let before = tried;
                    for (partition, at) in moves(batch, |partition| before[partition as usize]) {
                        prop_assert!(at >= tried[partition as usize]);
                        tried[partition as usize] = at;
                    }
                }
                // Whoever is not killed leaves nothing that the config makes a row.
                if commits * batch_max >= letters.len() {
                    prop_assert!(all.iter().all(|&(partition, offset)| offset.0 % good != 0 || rows.contains(&(partition, offset))));
                }
            }
            prop_assert!(rows.iter().all(|(partition, offset)| offset.0 < settled[*partition as usize]));
        }
    }
}
