//! The memory bound: what `limits.memory` is divided into, and the count of
//! what is held of it.
//!
//! It owns the shares and the rule that every charge is given back exactly
//! once, when the memory is let go. Holders charge what they hold already, so
//! that nothing held goes uncounted; what is done about too much, the shard
//! decides.
//!
//! | what holds memory | share | kept to it by |
//! |---|---|---|
//! | the program, its threads, clients, the tables' logs | [`FIXED`] of the whole; the rest is divided by the shards | |
//! | records fetched and not taken, one response of each broker | a quarter | librdkafka's settings, from [`Shares::fetch`] |
//! | decoded columns, open row groups, finished bytes that make no part yet | a quarter: [`Budget::open_max`] | row groups, then files end early |
//! | the same, and parts on their way to the store | half: [`Budget::is_spent`] | nothing is polled until parts have arrived |
//! | the same of one table among several | as much as is still free: [`Budget::is_over_share`] | its partitions are paused |
//! | what the allocator keeps for reuse, buffers of one call | a quarter | |
//!
//! A table among several may hold as much as all of them leave free: one whose
//! store is slow ends up with half of the budget, two with a third each, and
//! what is left is for the others, however many are in trouble. Nothing has to
//! be set aside for tables that are idle.
//!
//! Nothing waits for itself: what is open can always be turned into parts, and
//! while no part is on its way the shard polls, however much is held. One
//! record or row group larger than its share is let through alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the process that no load makes more.
pub const FIXED: u64 = 56 << 20;

/// Bytes with which one shard can work: a part at a time, and files of a few MiB.
pub const SHARD_MIN: u64 = 24 << 20;

/// The least that `limits.memory` may be.
pub fn memory_min(shards: usize) -> u64 {
    FIXED + SHARD_MIN * shards as u64
}

/// What one shard may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shares {
    /// Of the Kafka client: its queue and the responses that fill it.
    pub fetch: usize,
    /// Of everything from decoded columns to parts in flight.
    pub work: usize,
}

impl Shares {
    /// The shares of each of `shards` that have `memory` together.
    pub fn of(memory: u64, shards: usize) -> Shares {
        let each = memory.saturating_sub(FIXED) / shards.max(1) as u64;
        let each = usize::try_from(each.max(SHARD_MIN)).unwrap_or(usize::MAX);
        Shares { fetch: each / 4, work: each / 2 }
    }
}

/// What memory is held for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holding {
    /// Decoded rows, and the room for them.
    Columns,
    /// Row groups in progress, and finished bytes that are not on their way.
    Files,
    /// Parts on their way to the store.
    Parts,
}

impl Holding {
    pub const ALL: [Holding; 3] = [Holding::Columns, Holding::Files, Holding::Parts];

    /// The value of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Holding::Columns => "columns",
            Holding::Files => "files",
            Holding::Parts => "parts",
        }
    }
}

type Counts = [AtomicUsize; Holding::ALL.len()];

/// A shard's budget, or a table's part of it. Clones count together.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Of one table of the shard; of nothing in the shard's own.
    table: Arc<Counts>,
    /// Of the shard.
    own: Arc<Counts>,
    /// Of all shards of the process.
    all: Arc<Counts>,
    limit: usize,
}

/// Bytes held; given back on drop.
#[derive(Debug)]
pub struct Charge {
    budget: Option<(Budget, Holding)>,
    bytes: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Budget {
        Budget { table: Arc::default(), own: Arc::default(), all: Arc::default(), limit }
    }

    /// The budget of another shard, of the same size.
    pub fn another(&self) -> Budget {
        Budget { table: Arc::default(), own: Arc::default(), ..self.clone() }
    }

    /// The part of another table: what is charged to it counts for the shard, too.
    pub fn of_table(&self) -> Budget {
        Budget { table: Arc::default(), ..self.clone() }
    }

    /// Charges what is already held: never fails, so that nothing held goes uncounted.
    pub fn charge(&self, holding: Holding, bytes: usize) -> Charge {
        self.add(holding, bytes);
        Charge { budget: Some((self.clone(), holding)), bytes }
    }

    /// Nothing may be taken in any more, unless nothing else gives memory back.
    pub fn is_spent(&self) -> bool {
        self.used() >= self.limit && self.held(Holding::Parts) > 0
    }

    /// The table holds as much as all tables leave free, and gives some of it back when parts arrive.
    pub fn is_over_share(&self) -> bool {
        self.table_held(Holding::Parts) > 0 && self.table_used() >= self.limit.saturating_sub(self.used())
    }

    /// The table holds so little again that its share is not soon used up.
    pub fn is_well_within_share(&self) -> bool {
        self.table_held(Holding::Parts) == 0 || 2 * self.table_used() < self.limit.saturating_sub(self.used())
    }

    fn table_used(&self) -> usize {
        Holding::ALL.into_iter().map(|holding| self.table_held(holding)).sum()
    }

    fn table_held(&self, holding: Holding) -> usize {
        self.table[holding as usize].load(Ordering::Relaxed)
    }

    /// More is open than may be: something has to end early.
    pub fn is_open_too_wide(&self) -> bool {
        self.held(Holding::Columns) + self.held(Holding::Files) > self.open_max()
    }

    pub fn open_max(&self) -> usize {
        self.limit / 2
    }

    pub fn used(&self) -> usize {
        Holding::ALL.into_iter().map(|holding| self.held(holding)).sum()
    }

    pub fn held(&self, holding: Holding) -> usize {
        self.own[holding as usize].load(Ordering::Relaxed)
    }

    /// The same of all shards together.
    pub fn held_by_all(&self, holding: Holding) -> usize {
        self.all[holding as usize].load(Ordering::Relaxed)
    }

    fn add(&self, holding: Holding, bytes: usize) {
        for counts in [&self.table, &self.own, &self.all] {
            counts[holding as usize].fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn give_back(&self, holding: Holding, bytes: usize) {
        for counts in [&self.table, &self.own, &self.all] {
            counts[holding as usize].fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Charge {
    /// For bytes that no budget bounds.
    pub fn none() -> Charge {
        Charge { budget: None, bytes: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The holder has grown or shrunk to this.
    pub fn set(&mut self, bytes: usize) {
        if let Some((budget, holding)) = &self.budget {
            budget.add(*holding, bytes);
            budget.give_back(*holding, std::mem::replace(&mut self.bytes, bytes));
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some((budget, holding)) = &self.budget {
            budget.give_back(*holding, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_follow_their_holder_and_are_given_back_once() {
        let budget = Budget::new(100);
        let other = budget.another();
        let mut columns = budget.charge(Holding::Columns, 10);
        columns.set(30);
        columns.set(20);
        let parts = other.charge(Holding::Parts, 7);
        assert_eq!((budget.used(), other.used()), (20, 7));
        assert_eq!(Holding::ALL.map(|holding| other.held_by_all(holding)), [20, 0, 7]);
        drop((columns, parts));
        assert_eq!((budget.used(), other.used()), (0, 0));
        assert_eq!(Holding::ALL.map(|holding| budget.held_by_all(holding)), [0, 0, 0]);
    }

    #[test]
    fn polling_stops_only_while_parts_give_memory_back() {
        let budget = Budget::new(100);
        let _open = budget.charge(Holding::Files, 300);
        assert!(!budget.is_spent(), "nobody would ever give memory back");
        let parts = budget.charge(Holding::Parts, 1);
        assert!(budget.is_spent());
        drop(parts);
        assert!(!budget.is_spent());
    }

    #[test]
    fn tables_in_trouble_leave_the_others_as_much_as_each_of_them_holds() {
        let shard = Budget::new(1200);
        let fill = |table: &Budget| {
            let mut parts = table.charge(Holding::Parts, 0);
            while !table.is_over_share() {
                parts.set(parts.bytes() + 10);
            }
            parts
        };
        let (one, other, healthy) = (shard.of_table(), shard.of_table(), shard.of_table());
        let of_one = fill(&one);
        assert_eq!(of_one.bytes(), 600);
        let of_other = fill(&other);
        assert_eq!(of_other.bytes(), 300);
        assert!(one.is_over_share() && other.is_over_share(), "less is free than either holds");
        let small = healthy.charge(Holding::Parts, 90);
        assert!(!healthy.is_over_share() && healthy.is_well_within_share() && !shard.is_spent());
        drop((of_one, small));
        assert!(one.is_well_within_share() && other.is_well_within_share());
        drop(of_other);
        assert_eq!((shard.used(), one.used()), (0, 0));
    }

    #[test]
    fn a_table_without_parts_on_their_way_is_never_over_its_share() {
        let table = Budget::new(100).of_table();
        let _open = table.charge(Holding::Files, 90);
        assert!(!table.is_over_share() && table.is_well_within_share(), "nobody would ever give memory back");
    }

    #[test]
    fn half_of_a_budget_may_be_open() {
        let budget = Budget::new(100);
        let mut open = budget.charge(Holding::Files, 50);
        let _parts = budget.charge(Holding::Parts, 50);
        assert!(!budget.is_open_too_wide());
        open.set(51);
        assert!(budget.is_open_too_wide());
    }

    #[test]
    fn shares_stay_within_the_memory_that_they_divide() {
        const MIB: u64 = 1 << 20;
        for (memory, shards) in [(80 * MIB, 1), (104 * MIB, 2), (256 * MIB, 2), (8192 * MIB, 16)] {
            assert!(memory >= memory_min(shards));
            let Shares { fetch, work } = Shares::of(memory, shards);
            assert!(FIXED + (fetch + work) as u64 * shards as u64 * 4 / 3 <= memory, "{memory} {shards}");
            assert!(work as u64 >= SHARD_MIN / 2);
        }
        assert_eq!(Shares::of(0, 1).work as u64, SHARD_MIN / 2, "a config that was never checked");
    }
}
