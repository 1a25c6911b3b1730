//! What a shard does when memory is short.
//!
//! It owns the order: what is open ends early first, the largest first; then
//! nothing is polled until parts have arrived. It does not count: holders
//! charge the budget, and [`crate::budget`] says what may be held.

use super::dependencies::ShardDependencies;
use super::output::{Output, carrier};
use super::turn::Shard;
use crate::error::Result;
use crate::metrics;
use crate::source::Source;

/// A row group is about this share of what may be open: two tables grow side by side.
const ROW_GROUPS_OPEN: usize = 2;
/// Rows are encoded before they hold this share of what may be open.
const BATCHES_OPEN: usize = 8;
/// Less than this at once is not worth a column's headers.
const ROW_GROUP_BYTES_MIN: usize = 1 << 20;
const BATCH_BYTES_MIN: usize = 64 << 10;

impl ShardDependencies {
    /// Encoded bytes at which a row group ends.
    pub(super) fn row_group_bytes(&self) -> usize {
        (self.budget.open_max() / ROW_GROUPS_OPEN).max(ROW_GROUP_BYTES_MIN)
    }

    /// Bytes of decoded rows at which they are encoded, when wide rows come to `most` too soon.
    pub(super) fn batch_bytes(&self, most: usize) -> usize {
        (self.budget.open_max() / BATCHES_OPEN).clamp(BATCH_BYTES_MIN.min(most), most)
    }
}

impl<S: Source> Shard<S> {
    /// Brings what is open back under its limit: row groups end, idle buffers go, then files end.
    ///
    /// A file that ends early is a smaller file and an earlier commit, nothing else.
    pub(super) fn relieve_memory(&mut self) -> Result<()> {
        let steps: [fn(&mut Self, OutputId) -> Result<()>; 3] = [
            |shard, place| {
                let table = &mut shard.tables[place.table];
                let carrier = carrier(&shard.dependencies, &table.table_context, table.reset_epoch);
                place.output(&mut table.rows, &mut table.dead_letters).flush_row_group(carrier)
            },
            |shard, place| {
                let table = &mut shard.tables[place.table];
                place.output(&mut table.rows, &mut table.dead_letters).let_go_of_buffers();
                Ok(())
            },
            |shard, place| {
                shard.cut(place.table)?;
                shard.tables[place.table].outputs_mut().for_each(Output::let_go_of_buffers);
                Ok(())
            },
        ];
        for step in steps {
            if !self.dependencies.budget.is_open_too_wide() {
                break;
            }
            for place in self.largest_first() {
                step(self, place)?;
                if !self.dependencies.budget.is_open_too_wide() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn largest_first(&self) -> Vec<OutputId> {
        let places = self.tables.iter().enumerate().flat_map(|(table, state)| {
            let dead_letters = [false, true].into_iter();
            state
                .outputs()
                .zip(dead_letters)
                .map(move |(output, dead_letters)| (output.open_bytes(), OutputId { table, dead_letters }))
        });
        let mut places: Vec<(usize, OutputId)> = places.collect();
        places.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        places.into_iter().map(|(_, place)| place).collect()
    }

    pub(super) fn report_memory(&self) {
        metrics::buffered(&self.dependencies.budget);
    }
}

/// An output of the shard.
#[derive(Clone, Copy)]
struct OutputId {
    table: usize,
    dead_letters: bool,
}

impl OutputId {
    fn output<'a>(self, rows: &'a mut Output, dead_letters: &'a mut Option<Output>) -> &'a mut Output {
        match dead_letters {
            Some(dead_letters) if self.dead_letters => dead_letters,
            _ => rows,
        }
    }
}
