//! Which partition moves to another shard, so that no shard is busy while another is idle.
//!
//! It owns the decision: what shards say of their work goes in, at most one
//! move comes out. How a partition moves is the shards' and the ingester's
//! matter: what was read of it is handed over first, and the other shard
//! begins where that ends, so that a move changes nothing but who reads.
//!
//! It does not flap: a difference counts only when it lasts, every move must
//! make the difference much smaller, and after a move nothing moves for a while.
//! What a partition takes is smoothed over some reports: a client hands over one
//! partition's records for a while, then another's.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::TopicPartition;

/// Reports that must agree before anything moves.
const LASTS: u32 = 3;
/// Below this share of its time, a shard is not busy.
const BUSY: f64 = 0.5;
/// Shares of time that two shards may differ by.
const DIFFERENCE_MIN: f64 = 0.2;
/// A move leaves at most this part of the difference.
const LEFT_MAX: f64 = 0.7;
/// How much a report counts beside those before it.
const NEWEST: f64 = 0.3;
/// After a move nothing moves for so long: its effect has to show first.
const REST: Duration = Duration::from_secs(10);

/// A partition of a table, as the balance knows it.
pub type TablePartition = (usize, TopicPartition);

/// What one shard did since it last told.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    pub shard: usize,
    /// The time that it tells of.
    pub over: Duration,
    /// The time that each of its partitions took.
    pub busy: Vec<(TablePartition, Duration)>,
}

/// A partition is to be read by another shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    pub partition: TablePartition,
    pub from: usize,
    pub to: usize,
}

/// What is known of all shards.
#[derive(Debug)]
pub struct Balance {
    /// Of each shard, the share of its time that each partition takes, smoothed; `None` until it has told.
    shares: Vec<Option<BTreeMap<TablePartition, f64>>>,
    /// Which shards differ too much, the busier first, and how many reports said so.
    lasting: Option<((usize, usize), u32)>,
    rests_until: Duration,
}

impl Balance {
    pub fn new(shards: usize) -> Balance {
        Balance { shares: vec![None; shards], lasting: None, rests_until: Duration::ZERO }
    }

    /// Takes a report; says what moves now.
    pub fn observe(&mut self, load: Load, now: Duration) -> Option<Move> {
        let over = load.over.as_secs_f64().max(f64::EPSILON);
        let before = self.shares[load.shard].take();
        let smoothed = |(place, busy): (TablePartition, Duration)| {
            let known = before.as_ref().and_then(|shares| shares.get(&place)).copied().unwrap_or_default();
            (place, known + NEWEST * (busy.as_secs_f64() / over - known))
        };
        self.shares[load.shard] = Some(load.busy.into_iter().map(smoothed).collect());
        if now < self.rests_until || self.shares.iter().any(Option::is_none) {
            return None;
        }
        let before = self.lasting.take();
        let (from, to) = self.extremes()?;
        let partition = self.best(from, to)?;
        let times = match before {
            Some((pair, times)) if pair == (from, to) => times + 1,
            _ => 1,
        };
        // Every shard reports: a difference that lasts is seen by each of them so many times.
        if times < LASTS * u32::try_from(self.shares.len()).unwrap_or(u32::MAX) {
            self.lasting = Some(((from, to), times));
            return None;
        }
        self.rests_until = now + REST;
        // What was told before says nothing of how it is now.
        self.shares.fill(None);
        Some(Move { partition, from, to })
    }

    /// The busiest and the least busy shard, where they differ too much.
    fn extremes(&self) -> Option<(usize, usize)> {
        let most = (0..self.shares.len()).max_by(|&a, &b| self.total(a).total_cmp(&self.total(b)))?;
        let least = (0..self.shares.len()).min_by(|&a, &b| self.total(a).total_cmp(&self.total(b)))?;
        let differ = self.total(most) - self.total(least) >= DIFFERENCE_MIN;
        (self.total(most) >= BUSY && differ).then_some((most, least))
    }

    fn total(&self, shard: usize) -> f64 {
        self.shares[shard].iter().flat_map(BTreeMap::values).sum()
    }

    /// The partition whose move makes two shards most alike, if it does so enough.
    fn best(&self, from: usize, to: usize) -> Option<TablePartition> {
        let difference = self.total(from) - self.total(to);
        let left = |share: f64| (difference - 2.0 * share).abs();
        let places = self.shares[from].iter().flatten();
        let (place, &share) = places.min_by(|(_, a), (_, b)| left(**a).total_cmp(&left(**b)))?;
        (left(share) <= LEFT_MAX * difference).then(|| place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, TopicId};

    fn place(partition: i32) -> TablePartition {
        let source = TopicPartition {
            topic: "t".into(),
            topic_id: TopicId::unknown(),
            partition: Partition(partition),
        };
        (0, source)
    }

    /// Where each partition is read, and the share of a core that it takes.
    struct World {
        balance: Balance,
        now: Duration,
        shards: Vec<Vec<i32>>,
        moves: Vec<(i32, usize, usize)>,
    }

    impl World {
        fn new(shards: &[&[i32]]) -> World {
            World {
                balance: Balance::new(shards.len()),
                now: Duration::from_secs(1000),
                shards: shards.iter().map(|of| of.to_vec()).collect(),
                moves: Vec::new(),
            }
        }

        /// Every shard reports each second; what is to move moves at once.
        fn seconds(&mut self, seconds: u32, share: impl Fn(i32) -> f64) {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                for shard in 0..self.shards.len() {
                    let wanted: f64 = self.shards[shard].iter().map(|&partition| share(partition)).sum();
                    // Nobody is busier than always.
                    let scale = 1.0 / wanted.max(1.0);
                    let busy = self.shards[shard]
                        .iter()
                        .map(|&of| (place(of), Duration::from_secs_f64(share(of) * scale)))
                        .collect();
                    let load = Load { shard, over: Duration::from_secs(1), busy };
                    if let Some(Move { partition, from, to }) = self.balance.observe(load, self.now) {
                        let number = partition.1.partition.0;
                        self.shards[from].retain(|&of| of != number);
                        self.shards[to].push(number);
                        self.moves.push((number, from, to));
                    }
                }
            }
        }
    }

    #[test]
    fn two_hot_partitions_do_not_stay_side_by_side() {
        let mut world = World::new(&[&[0, 2], &[1, 3]]);
        world.seconds(60, |partition| if partition % 2 == 0 { 0.7 } else { 0.01 });
        assert_eq!(world.moves.len(), 1, "{:?}", world.moves);
        assert!(world.shards.iter().all(|of| of.iter().filter(|&of| of % 2 == 0).count() == 1));
    }

    #[test]
    fn hot_partitions_whose_records_come_in_turns_part_too() {
        let mut world = World::new(&[&[0, 2], &[1, 3]]);
        for turn in 0..30 {
            world.seconds(2, |partition| match partition {
                0 | 2 if (partition == 0) == (turn % 2 == 0) => 0.9,
                0 | 2 => 0.05,
                _ => 0.01,
            });
        }
        assert!(!world.moves.is_empty());
        assert!(world.shards.iter().all(|of| of.iter().filter(|&of| of % 2 == 0).count() == 1));
    }

    #[test]
    fn a_lone_hot_partition_is_not_pushed_to_and_fro() {
        let mut world = World::new(&[&[0, 2], &[1, 3]]);
        world.seconds(120, |partition| if partition == 0 { 0.9 } else { 0.001 });
        assert_eq!(world.moves, []);
    }

    #[test]
    fn what_is_even_or_idle_stays() {
        let mut world = World::new(&[&[0, 2], &[1, 3]]);
        world.seconds(60, |_| 0.4);
        world.seconds(60, |partition| if partition % 2 == 0 { 0.1 } else { 0.0 });
        assert_eq!(world.moves, []);
    }

    #[test]
    fn a_burst_moves_nothing() {
        let mut world = World::new(&[&[0, 2], &[1, 3]]);
        for _ in 0..20 {
            world.seconds(2, |partition| if partition % 2 == 0 { 0.5 } else { 0.0 });
            world.seconds(4, |_| 0.01);
        }
        assert_eq!(world.moves, []);
    }

    #[test]
    fn load_that_alternates_does_not_make_partitions_flap() {
        let mut world = World::new(&[&[0, 2], &[1, 3]]);
        for round in 0..40 {
            world.seconds(5, |partition| if partition % 2 == round % 2 { 0.5 } else { 0.0 });
        }
        assert!(world.moves.len() <= 4, "{:?}", world.moves);
        assert!(world.shards.iter().all(|of| of.len() == 2), "hot ones stand apart: {:?}", world.shards);
    }

    #[test]
    fn many_shards_become_even() {
        let mut world = World::new(&[&[0, 1, 2, 3, 4, 5], &[6], &[7], &[8]]);
        world.seconds(300, |partition| if partition < 6 { 0.3 } else { 0.05 });
        let load = |of: &Vec<i32>| of.iter().filter(|&&of| of < 6).count();
        assert!(world.shards.iter().all(|of| load(of) <= 2), "{:?}", world.shards);
    }
}
