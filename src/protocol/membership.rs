//! What a consumer group's decisions mean for the partitions that a shard reads.
//!
//! It owns the life of an assignment as one member of the group sees it, and
//! which of a shard's uncommitted files are discarded when partitions are lost. It
//! does not talk to the group, and nothing here keeps rows exact: that is the
//! `txn` of a partition, which only one of two commits can move. A member that
//! is wrong about what it holds wastes work, nothing else.
//!
//! | the group says | then |
//! |---|---|
//! | assigned | accept; the shard reads on from the table's `txn`, never from the group's offsets |
//! | revoked | the shard hands over what it read; given up once that is committed, or at the deadline |
//! | revoked, deadline passed | what is uncommitted of it is discarded, then given up |
//! | lost (session over, fenced) | the same at once: another member may read it already |
//!
//! # How a simulation drives this
//!
//! A simulated coordinator keeps a [`Membership`] for each shard of each
//! instance, feeds it [`Told`] and carries out each [`Act`]: `Join`, `Leave`
//! and `Abandon` become messages of the same names in the shard's inbox
//! (`exchange::ToShard`), `Accept` and `GiveUp` are what the coordinator waits
//! for before it assigns a partition to somebody else; a member that is silent
//! for the session's time (a paused instance, which is one that is not stepped)
//! is told `Lost` when it moves again. What a shard says when a partition is
//! through comes from `shard::GroupLink` and goes back in as [`Told::Left`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::planted::{Bug, planted};
use crate::ids::{Offset, TopicPartition};

/// One assignment of partitions to a member; rises with each, so that answers to an earlier one are told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct AssignmentEpoch(pub u64);

/// What a member hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told<P> {
    Assigned(Vec<P>),
    /// To be given up in order.
    Revoked(Vec<P>),
    /// Somebody else may have them already.
    Lost(Vec<P>),
    /// The shard: nothing of it is uncommitted any more.
    Left(P, AssignmentEpoch),
    /// Time has passed.
    Nothing,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act<P> {
    /// Tell the group that they are taken.
    Accept(Vec<P>),
    /// Have the shard read them.
    Join(Vec<P>, AssignmentEpoch),
    /// Have the shard hand over what it read of them.
    Leave(Vec<P>),
    /// Have the shard forget them, and what is uncommitted of them.
    Abandon(Vec<P>),
    /// Tell the group that they are free.
    GiveUp(Vec<P>),
}

/// How long a member may take to hand partitions over in order: the others wait for it, and beyond the
/// session's or the poll's limit the group would take them away. `most` is what a drain may take at all.
pub fn drain_timeout(session: Duration, max_poll: Duration, most: Duration) -> Duration {
    (session.min(max_poll) / 2).min(most)
}

/// What one member holds.
#[derive(Debug)]
pub struct Membership<P> {
    held: BTreeMap<P, AssignmentEpoch>,
    last: AssignmentEpoch,
    leaving: Option<Leaving<P>>,
    timeout: Duration,
}

/// Partitions that are given up together: the group hears of all of them at once.
#[derive(Debug)]
struct Leaving<P> {
    all: Vec<P>,
    waiting: BTreeMap<P, AssignmentEpoch>,
    until: Duration,
}

impl<P: Ord + Clone> Membership<P> {
    pub fn new(timeout: Duration) -> Membership<P> {
        Membership { held: BTreeMap::new(), last: AssignmentEpoch::default(), leaving: None, timeout }
    }

    /// Partitions that the shard has, those on their way out included.
    pub fn held(&self) -> impl Iterator<Item = &P> {
        self.held.keys()
    }

    /// Whether the group waits for us.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Takes what was heard at boot time `now`.
    pub fn hear(&mut self, told: Told<P>, now: Duration) -> Vec<Act<P>> {
        let mut acts = match told {
            Told::Assigned(partitions) => self.assigned(partitions),
            Told::Revoked(partitions) => self.revoked(partitions, now),
            Told::Lost(partitions) => self.lost(partitions),
            Told::Left(partition, assignment_epoch) => {
                if let Some(leaving) = &mut self.leaving
                    && leaving.waiting.get(&partition) == Some(&assignment_epoch)
                {
                    leaving.waiting.remove(&partition);
                }
                Vec::new()
            }
            Told::Nothing => Vec::new(),
        };
        acts.extend(self.see_off(now));
        acts
    }

    fn assigned(&mut self, partitions: Vec<P>) -> Vec<Act<P>> {
        // The group went on without waiting for what is being given up: it may come back with this.
        let mut acts = self.leaving.take().map(|leaving| self.give_up(leaving)).unwrap_or_default();
        self.last.0 += 1;
        // What is held already goes on as it is.
        let fresh: Vec<P> =
            partitions.iter().filter(|partition| !self.held.contains_key(partition)).cloned().collect();
        self.held.extend(fresh.iter().map(|partition| (partition.clone(), self.last)));
        acts.push(Act::Accept(partitions));
        acts.extend((!fresh.is_empty()).then(|| Act::Join(fresh, self.last)));
        acts
    }

    fn revoked(&mut self, partitions: Vec<P>, now: Duration) -> Vec<Act<P>> {
        let leaving = self.leaving.get_or_insert_with(|| Leaving {
            all: Vec::new(),
            waiting: BTreeMap::new(),
            until: now + self.timeout,
        });
        let known: Vec<(P, AssignmentEpoch)> =
            partitions.iter().filter_map(|of| Some((of.clone(), *self.held.get(of)?))).collect();
        leaving.all.extend(partitions);
        leaving.waiting.extend(known.iter().cloned());
        let known: Vec<P> = known.into_iter().map(|(partition, _)| partition).collect();
        if known.is_empty() { Vec::new() } else { vec![Act::Leave(known)] }
    }

    fn lost(&mut self, partitions: Vec<P>) -> Vec<Act<P>> {
        let mut all = partitions;
        if let Some(leaving) = self.leaving.take() {
            all.extend(leaving.all);
            all.sort_unstable();
            all.dedup();
        }
        let known: Vec<P> = all.iter().filter(|of| self.held.remove(of).is_some()).cloned().collect();
        let abandon = (!known.is_empty()).then_some(Act::Abandon(known));
        abandon.into_iter().chain([Act::GiveUp(all)]).collect()
    }

    /// Gives up what is handed over, or what takes too long.
    fn see_off(&mut self, now: Duration) -> Vec<Act<P>> {
        let over = |leaving: &mut Leaving<P>| leaving.waiting.is_empty() || now >= leaving.until;
        self.leaving.take_if(over).map(|leaving| self.give_up(leaving)).unwrap_or_default()
    }

    /// What of it is not handed over is dropped.
    fn give_up(&mut self, leaving: Leaving<P>) -> Vec<Act<P>> {
        self.held.retain(|partition, _| !leaving.all.contains(partition));
        let late: Vec<P> = leaving.waiting.into_keys().collect();
        let abandon = (!late.is_empty()).then_some(Act::Abandon(late));
        abandon.into_iter().chain([Act::GiveUp(leaving.all)]).collect()
    }
}

/// One file of a shard on its way into the table: where its range of each partition begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    pub id: u64,
    pub starts: Vec<(TopicPartition, Offset)>,
}

/// What is left of a shard's uncommitted work after it lost partitions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Discarded {
    /// Units that may still be committed.
    pub kept: BTreeSet<u64>,
    /// The open file goes, too.
    pub open: bool,
    /// Other partitions of the files that go, and where each is to be read again: its units before that stay.
    pub rewound: BTreeMap<TopicPartition, Offset>,
}

/// Rows of a lost partition cannot be cut out of a file: every file that holds one is discarded, with what
/// follows it in each of its partitions, and so on. `open` is where the ranges of the open file begin.
pub fn discard(
    units: &[Unit],
    open: &[(TopicPartition, Offset)],
    lost: &BTreeSet<TopicPartition>,
) -> Discarded {
    let mut broken: BTreeMap<&TopicPartition, Offset> =
        lost.iter().map(|source| (source, Offset(i64::MIN))).collect();
    let files: Vec<&[(TopicPartition, Offset)]> =
        units.iter().map(|unit| unit.starts.as_slice()).chain([open]).collect();
    let mut is_discarded = vec![false; files.len()];
    loop {
        let mut grew = false;
        for (index, starts) in files.iter().enumerate() {
            let follows =
                |(source, start): &(TopicPartition, Offset)| broken.get(source).is_some_and(|at| at <= start);
            if is_discarded[index] || !starts.iter().any(follows) || planted(Bug::KeepsAFileOfALostPartition)
            {
                continue;
            }
            is_discarded[index] = true;
            grew = true;
            for (source, start) in *starts {
                let at = broken.entry(source).or_insert(*start);
                *at = (*at).min(*start);
            }
        }
        if !grew {
            break;
        }
    }
    Discarded {
        kept: units
            .iter()
            .zip(&is_discarded)
            .filter(|(_, discard)| !**discard)
            .map(|(unit, _)| unit.id)
            .collect(),
        open: is_discarded[units.len()],
        rewound: broken
            .into_iter()
            .filter(|(source, _)| !lost.contains(source))
            .map(|(source, at)| (source.clone(), at))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, TopicId};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn member() -> Membership<u32> {
        Membership::new(at(9))
    }

    #[test]
    fn what_is_assigned_is_accepted_and_read() {
        let mut member = member();
        let acts = member.hear(Told::Assigned(vec![1, 2]), at(0));
        assert_eq!(acts, [Act::Accept(vec![1, 2]), Act::Join(vec![1, 2], AssignmentEpoch(1))]);
        let acts = member.hear(Told::Assigned(vec![]), at(1));
        assert_eq!(acts, [Act::Accept(vec![])], "the group waits for an answer to nothing, too");
    }

    #[test]
    fn a_revoked_partition_is_given_up_once_its_work_is_committed_and_the_others_go_on() {
        let mut member = member();
        let _ = member.hear(Told::Assigned(vec![1, 2, 3]), at(0));
        assert_eq!(member.hear(Told::Revoked(vec![1, 2]), at(5)), [Act::Leave(vec![1, 2])]);
        assert_eq!(member.hear(Told::Left(1, AssignmentEpoch(1)), at(6)), []);
        assert_eq!(member.hear(Told::Left(2, AssignmentEpoch(1)), at(7)), [Act::GiveUp(vec![1, 2])]);
        assert_eq!(member.held().collect::<Vec<_>>(), [&3]);
        assert!(!member.is_leaving());
    }

    #[test]
    fn what_takes_too_long_is_abandoned_before_it_is_given_up() {
        let mut member = member();
        let _ = member.hear(Told::Assigned(vec![1, 2]), at(0));
        let _ = member.hear(Told::Revoked(vec![1, 2]), at(5));
        let _ = member.hear(Told::Left(1, AssignmentEpoch(1)), at(6));
        assert_eq!(member.hear(Told::Nothing, at(13)), []);
        assert_eq!(member.hear(Told::Nothing, at(14)), [Act::Abandon(vec![2]), Act::GiveUp(vec![1, 2])]);
    }

    #[test]
    fn a_lost_partition_is_abandoned_at_once_also_while_it_leaves() {
        let mut member = member();
        let _ = member.hear(Told::Assigned(vec![1, 2]), at(0));
        let _ = member.hear(Told::Revoked(vec![1]), at(5));
        let acts = member.hear(Told::Lost(vec![1, 2]), at(6));
        assert_eq!(acts, [Act::Abandon(vec![1, 2]), Act::GiveUp(vec![1, 2])]);
        assert_eq!(member.held().count(), 0);
    }

    #[test]
    fn the_end_of_an_earlier_assignment_epoch_is_not_taken_for_that_of_a_later_one() {
        let mut member = member();
        let _ = member.hear(Told::Assigned(vec![1]), at(0));
        let _ = member.hear(Told::Lost(vec![1]), at(1));
        let _ = member.hear(Told::Assigned(vec![1]), at(2));
        let _ = member.hear(Told::Revoked(vec![1]), at(3));
        assert_eq!(member.hear(Told::Left(1, AssignmentEpoch(1)), at(4)), []);
        assert_eq!(member.hear(Told::Left(1, AssignmentEpoch(2)), at(5)), [Act::GiveUp(vec![1])]);
    }

    #[test]
    fn what_is_assigned_again_before_it_is_handed_over_is_read_anew() {
        let mut member = member();
        let _ = member.hear(Told::Assigned(vec![1, 2]), at(0));
        let _ = member.hear(Told::Revoked(vec![1, 2]), at(1));
        let _ = member.hear(Told::Left(2, AssignmentEpoch(1)), at(2));
        let acts = member.hear(Told::Assigned(vec![1, 3]), at(3));
        let given_up = [Act::Abandon(vec![1]), Act::GiveUp(vec![1, 2])];
        let taken = [Act::Accept(vec![1, 3]), Act::Join(vec![1, 3], AssignmentEpoch(2))];
        assert_eq!(acts, [given_up, taken].concat());
        assert_eq!(member.hear(Told::Left(1, AssignmentEpoch(1)), at(4)), [], "of the earlier tenure");
        assert_eq!(member.held().collect::<Vec<_>>(), [&1, &3]);
        assert!(!member.is_leaving());
    }

    #[test]
    fn what_the_shard_never_had_is_given_up_at_once() {
        assert_eq!(member().hear(Told::Revoked(vec![4]), at(0)), [Act::GiveUp(vec![4])]);
        assert_eq!(member().hear(Told::Lost(vec![]), at(0)), [Act::GiveUp(vec![])]);
    }

    #[test]
    fn the_deadline_is_below_what_the_group_waits_for() {
        let most = at(9);
        assert_eq!(drain_timeout(at(45), at(300), most), most);
        assert_eq!(drain_timeout(at(6), at(300), most), at(3));
        assert_eq!(drain_timeout(at(45), at(8), most), at(4));
    }

    fn source(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), topic_id: TopicId::unknown(), partition: Partition(partition) }
    }

    fn starts(starts: &[(i32, i64)]) -> Vec<(TopicPartition, Offset)> {
        starts.iter().map(|&(partition, start)| (source(partition), Offset(start))).collect()
    }

    fn unit(id: u64, of: &[(i32, i64)]) -> Unit {
        Unit { id, starts: starts(of) }
    }

    fn discarded(units: &[Unit], open: &[(i32, i64)], lost: &[i32]) -> (Vec<u64>, bool, Vec<(i32, i64)>) {
        let lost = lost.iter().map(|&partition| source(partition)).collect();
        let Discarded { kept, open, rewound } = discard(units, &starts(open), &lost);
        let rewound = rewound.iter().map(|(source, at)| (source.partition.0, at.0)).collect();
        (kept.into_iter().collect(), open, rewound)
    }

    #[test]
    fn files_without_a_lost_partition_stay() {
        let units = [unit(1, &[(0, 0), (1, 0)]), unit(2, &[(1, 10)]), unit(3, &[(1, 20), (2, 0)])];
        assert_eq!(discarded(&units, &[(1, 30)], &[2]), (vec![1, 2], true, vec![(1, 20)]));
        assert_eq!(discarded(&units, &[(1, 30)], &[7]), (vec![1, 2, 3], false, vec![]));
    }

    #[test]
    fn what_follows_a_discarded_file_is_discarded_in_every_partition_of_it() {
        let units = [
            unit(1, &[(0, 0), (1, 0)]),
            unit(2, &[(1, 10), (2, 0)]),
            unit(3, &[(3, 0)]),
            unit(4, &[(2, 10), (3, 10)]),
        ];
        assert_eq!(discarded(&units, &[(3, 20)], &[0]), (vec![3], true, vec![(1, 0), (2, 0), (3, 10)]));
    }

    #[test]
    fn a_chain_that_leads_back_to_an_earlier_file_is_followed() {
        // 3 holds the lost one and begins partition 1 anew; the earlier file of partition 1 stays.
        let units = [unit(1, &[(1, 0)]), unit(2, &[(2, 0)]), unit(3, &[(1, 10), (0, 0)])];
        assert_eq!(discarded(&units, &[], &[0]), (vec![1, 2], false, vec![(1, 10)]));
    }
}
