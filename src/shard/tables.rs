//! Tables come to the shard and leave it while others are read.
//!
//! It owns opening and closing. A table that is closed keeps its place, so
//! that a message that was on its way finds it closed, and a later opening
//! takes the place over.
//!
//! Invariant: a table is closed only when nothing of it is uncommitted, or
//! when it goes no further. With the last shard that closes it, and the last
//! upload, its committer's queue ends: that is how the committer ends.

use super::partition::PartitionState;
use super::table::TableState;
use super::turn::Shard;
use crate::error::Result;
use crate::exchange::{Reading, TableContext};
use crate::protocol::planted::{Bug, planted};
use crate::source::Source;

impl<S: Source> Shard<S> {
    /// Reads these partitions of a table from now on.
    pub(super) fn open_table(&mut self, table_context: TableContext, readings: Vec<Reading>) -> Result<()> {
        if self.draining {
            return Ok(());
        }
        let table = table_context.table;
        let state = TableState::new(table_context, &self.dependencies.budget);
        let place = match self.tables.iter().position(|known| known.table_context.table == table) {
            Some(place) => {
                assert!(self.tables[place].closed, "a table is opened again when it is closed");
                self.tables[place] = state;
                place
            }
            None => {
                self.tables.push(state);
                self.tables.len() - 1
            }
        };
        let mut opened = Vec::new();
        for reading in readings {
            let known = self.index_of(table, &reading.source);
            opened.push(self.put(known, PartitionState::new(place, reading)));
        }
        self.assign(&opened)
    }

    /// Puts a partition in the place that it has, or in a new one.
    pub(super) fn put(&mut self, known: Option<usize>, partition: PartitionState) -> usize {
        self.tables[partition.table].partitions_read += usize::from(partition.reading);
        match known {
            Some(index) => {
                let former = std::mem::replace(&mut self.partitions[index], partition);
                self.tables[former.table].partitions_read -= usize::from(former.reading);
                index
            }
            None => {
                self.partitions.push(partition);
                self.partitions.len() - 1
            }
        }
    }

    /// Reads no more of the table; it is closed when all that was read is committed.
    pub(super) fn close_table(&mut self, table: usize) {
        let place = self.place(table);
        self.tables[place].closing = true;
        self.stop_reading_table(place);
    }

    /// The table goes no further: what is uncommitted of it is dropped.
    pub(super) fn stop_table(&mut self, table: usize) {
        let place = self.place(table);
        self.stop_reading_table(place);
        if planted(Bug::StopForgetsAnothersFiles) {
            self.tables.iter_mut().for_each(|table| table.rows.forget());
        }
        self.tables[place].stop();
    }

    fn stop_reading_table(&mut self, place: usize) {
        for index in 0..self.partitions.len() {
            if self.partitions[index].table == place {
                self.stop_reading(index);
            }
        }
    }

    /// Closes the tables of which nothing is left to read and nothing is uncommitted.
    pub(super) fn close_what_is_through(&mut self) {
        for place in 0..self.tables.len() {
            let state = &self.tables[place];
            if state.closed {
                continue;
            }
            let is_over = state.is_over() || self.draining || self.has_ended(place);
            if is_over && state.is_transferred() {
                self.tables[place].close();
                self.partitions.iter_mut().filter(|of| of.table == place).for_each(|of| of.moved = false);
            }
        }
    }

    /// Every partition of the table that the shard had has come to its end. One that moved may come back,
    /// and a group may assign any.
    fn has_ended(&self, place: usize) -> bool {
        let mut of_table = self.partitions.iter().filter(|of| of.table == place).peekable();
        self.dependencies.group.is_none()
            && self.tables[place].partitions_read == 0
            && of_table.peek().is_some()
            && of_table.all(|of| !of.moved)
    }

    /// Nothing is left to do, and nothing can come.
    pub(super) fn is_done(&self) -> bool {
        let nothing_can_come =
            self.draining || (self.dependencies.group.is_none() && !self.dependencies.stays);
        nothing_can_come && self.tables.iter().all(|table| table.closed)
    }

    pub(super) fn is_open(&self, table: usize) -> bool {
        self.tables.iter().any(|state| state.table_context.table == table && !state.closed)
    }
}
