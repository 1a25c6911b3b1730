//! Which tables may be read now: one that is full pauses, and the others go on.
//!
//! It owns when a table counts as full, and the pause. A source delivers the
//! records of all its partitions mixed, so the partitions of a full table are
//! released for as long as others have room, and assigned again at their
//! position once the table has room again: what was fetched and not taken is
//! fetched once more. Where no table has room nothing is polled, and nothing
//! has to be released.
//!
//! Invariant: a table is only paused while another one can be read, and a
//! paused table is read on from exactly where it stood.

use super::partition::slot;
use super::table::TableState;
use super::turn::Shard;
use crate::error::Result;
use crate::ids::Offset;
use crate::protocol::planted::{Bug, planted};
use crate::source::Source;
use crate::status::State;

/// Units of work that a table may have uncommitted per shard.
const UNCOMMITTED_MAX: usize = 64;

impl TableState {
    /// Why nothing more may be read for the table; `None` while it has room. Alone in its shard it may use
    /// the whole budget.
    fn is_full(&self, is_alone: bool) -> Option<&'static str> {
        if self.uncommitted.len() >= UNCOMMITTED_MAX {
            return Some("what was read waits for its commit");
        }
        (!is_alone && self.budget.is_over_share()).then_some("its files take up its share of the memory")
    }

    /// So much has been committed that the table is not full again at once.
    fn has_room_again(&self) -> bool {
        self.uncommitted.len() <= UNCOMMITTED_MAX / 2 && self.budget.is_well_within_share()
    }
}

impl<S: Source> Shard<S> {
    /// Whether there is something to read that may be taken in now.
    pub(super) fn may_poll(&self) -> bool {
        let is_alone = self.tables_read().nth(1).is_none();
        let is_stopped = planted(Bug::FullTableStopsAll)
            && self.tables_read().any(|place| self.tables[place].is_full(is_alone).is_some());
        !self.draining
            && !is_stopped
            && !self.dependencies.budget.is_spent()
            && self.tables_read().any(|place| {
                let table = &self.tables[place];
                !table.paused && table.is_full(is_alone).is_none()
            })
    }

    /// Pauses full tables as long as others have room, and reads on in those that have room again.
    pub(super) fn apply_backpressure(&mut self) -> Result<()> {
        if self.tables.len() < 2 || self.draining {
            return Ok(());
        }
        for place in 0..self.tables.len() {
            if self.tables[place].paused
                && self.tables[place].has_room_again()
                && !planted(Bug::PausesForEver)
            {
                self.resume(place)?;
            }
        }
        let mut full = Vec::new();
        let mut others_have_room = false;
        for place in self.tables_read() {
            let table = &self.tables[place];
            match table.is_full(false) {
                None => others_have_room = true,
                Some(why) if !table.paused => full.push((place, why)),
                Some(_) => {}
            }
        }
        if others_have_room {
            full.into_iter().for_each(|(place, why)| self.pause(place, why));
        }
        Ok(())
    }

    fn pause(&mut self, place: usize, why: &str) {
        self.tables[place].paused = true;
        let all = planted(Bug::PausesTheOthersToo);
        let places = if all { 0..self.tables.len() } else { place..place + 1 };
        let indices: Vec<usize> = places.flat_map(|place| self.partitions_read(place)).collect();
        for index in indices {
            self.source.release(slot(index));
            // What waits for a schema says so, paused or not.
            if self.partitions[index].needs.is_none() {
                self.show(index, State::Paused(why.into()));
            }
        }
    }

    fn resume(&mut self, place: usize) -> Result<()> {
        self.tables[place].paused = false;
        let mut again = self.partitions_read(place);
        if planted(Bug::SkipsWhatCameInAPause) {
            for &index in &again {
                let progress = &mut self.partitions[index].progress;
                progress.pass(Offset(progress.position().0 + 1));
            }
        }
        if planted(Bug::ResumesOnePartition) {
            again.truncate(1);
        }
        self.assign(&again)
    }

    /// Tables with a partition that is read, paused ones among them; each once.
    fn tables_read(&self) -> impl Iterator<Item = usize> {
        (0..self.tables.len()).filter(|&place| self.tables[place].partitions_read > 0)
    }

    fn partitions_read(&self, place: usize) -> Vec<usize> {
        let read = |&index: &usize| self.partitions[index].reading && self.partitions[index].table == place;
        (0..self.partitions.len()).filter(read).collect()
    }
}
