//! A partition goes to another shard, or comes from one.
//!
//! It owns the two halves of a move. Which partition moves, and where to, is
//! `protocol::balance`; the ingester carries it across.
//!
//! Invariant: what was read before a move is handed over in ranges that end
//! where the other shard begins. So the ledger finds the ranges of both chained,
//! whichever shard's files arrive first, and a reset finds the partition
//! wherever it is by then: in the shard that has it, or, on its way, in what
//! the table's last reset said.

use std::time::Duration;

use crossbeam_channel::TrySendError;

use super::dependencies::Report;
use super::partition::PartitionState;
use super::turn::Shard;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::Moved;
use crate::exchange::Reading;
use crate::ids::TopicPartition;
use crate::protocol::balance::Load;
use crate::protocol::planted::{Bug, planted};
use crate::source::Source;

impl<S: Source> Shard<S> {
    /// Ends the partition here. Nothing happens where it is not read any more, or only to some end.
    pub(super) fn let_go(&mut self, table: usize, source: &TopicPartition, to: usize) -> Result<()> {
        let Some(index) = self.index_of(table, source) else { return Ok(()) };
        let partition = &self.partitions[index];
        if !partition.reading || partition.end.is_some() || self.draining {
            return Ok(());
        }
        if !planted(Bug::ReadsOnAfterAMove) {
            self.stop_reading(index);
        }
        let place = self.partitions[index].table;
        if planted(Bug::ForgetsBuffersOnAMove) {
            self.tables[place].forget();
        } else {
            self.cut(place)?;
        }
        let partition = &mut self.partitions[index];
        partition.moved = true;
        let start = partition.progress.position();
        let mut held = std::mem::take(&mut partition.held);
        held.retain(|&offset| offset >= start);
        let reset_epoch = self.tables[place].reset_epoch;
        let moved = Moved { table, source: source.clone(), start, held, reset_epoch };
        let released = Report::Released { from: self.dependencies.index, to, moved };
        match self.dependencies.reports.try_send(released) {
            // A supervisor that is gone ends everything.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            // It has room for one move besides the stops, and one is asked for at a time.
            Err(TrySendError::Full(_)) => Err(Error::new(
                ErrorKind::Internal,
                format!("{source} was to move to shard {to} while another move is under way"),
            )),
        }
    }

    /// Reads a partition on, from where the shard that had it ended.
    pub(super) fn take_over(&mut self, moved: Moved) -> Result<()> {
        let Moved { table, source, mut start, mut held, reset_epoch } = moved;
        let place = self.place(table);
        let state = &self.tables[place];
        if self.draining || state.is_over() {
            return Ok(());
        }
        let before_a_reset = reset_epoch < state.reset_epoch && !planted(Bug::MoveMissesAReset);
        if let Some(reset) = state.last_reset.as_ref().filter(|_| before_a_reset) {
            let Some(&again) = reset.starts.get(&source) else { return Ok(()) };
            start = again;
            held = reset.held.get(&source).cloned().unwrap_or_default();
        }
        if planted(Bug::MoveForgetsDeadLetters) {
            held.clear();
        }
        let known = self.index_of(table, &source);
        let state = PartitionState::new(place, Reading { table, source, start, held, end: None });
        let index = self.put(known, state);
        self.assign(&[index])
    }

    /// Tells who balances what each partition took.
    pub(super) fn report_load(&mut self, over: Duration) {
        let Some(loads) = &self.dependencies.loads else { return };
        let tables = &self.tables;
        let busy = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.reading)
            .map(|partition| {
                let place =
                    (tables[partition.table].table_context.table, partition.progress.source().clone());
                (place, std::mem::take(&mut partition.busy))
            })
            .collect();
        // A report that nobody takes is not missed: the next one comes soon.
        let _ = loads.try_send(Load { shard: self.dependencies.index, over, busy });
    }

    pub(super) fn index_of(&self, table: usize, source: &TopicPartition) -> Option<usize> {
        let place = self.tables.iter().position(|state| state.table_context.table == table)?;
        let is_it = |of: &PartitionState| of.table == place && of.progress.source() == source;
        self.partitions.iter().position(is_it)
    }
}
