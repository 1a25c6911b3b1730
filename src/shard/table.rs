//! What a shard holds of one table.
//!
//! It owns the decoder, the open files and what of them is not committed. It
//! does not own partitions, nor decide when a file ends.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::dependencies::{IDLE_TAIL, ShardDependencies};
use super::output::{Output, carrier, hand_over};
use crate::budget::Budget;
use crate::columnar::Decoder;
use crate::error::Result;
use crate::exchange::ResetEpoch;
use crate::exchange::TableContext;
use crate::ids::{Offset, OffsetRange, TopicPartition};
use crate::metrics::{self, Stage};
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::membership::Unit;
use crate::protocol::planted::{Bug, planted};
use crate::schema::Schema;

/// What a reset said, for a partition that was on its way meanwhile.
pub(super) struct LastReset {
    pub(super) starts: std::collections::BTreeMap<TopicPartition, Offset>,
    pub(super) held: std::sync::Arc<crate::protocol::dead_letters::AlreadyDeadLettered>,
}

pub(super) struct TableState {
    pub(super) table_context: TableContext,
    /// Its part of the shard's.
    pub(super) budget: Budget,
    pub(super) decoder: Decoder,
    pub(super) rows: Output,
    pub(super) dead_letters: Option<Output>,
    /// Boot time of the first thing that waits for a commit.
    pub(super) waiting_since: Option<Duration>,
    /// Rows or skipped records wait, not only an idle tail.
    pub(super) waiting_records: bool,
    pub(super) oldest_ms: Option<i64>,
    pub(super) reset_epoch: ResetEpoch,
    /// What was handed over and is not in the table.
    pub(super) uncommitted: Vec<Unit>,
    /// The number of the unit that comes next.
    pub(super) next_unit: u64,
    /// How many of its partitions are read here: looked at in every turn.
    pub(super) partitions_read: usize,
    /// Its partitions are released until it has room again: see `backpressure`.
    pub(super) paused: bool,
    /// It goes no further.
    pub(super) stopped: bool,
    /// It is read no more, and closed when all is committed.
    pub(super) closing: bool,
    /// Its committer hears nothing from here any more.
    pub(super) closed: bool,
    pub(super) last_reset: Option<LastReset>,
    /// A column, or the format, needs the headers of records.
    pub(super) wants_headers: bool,
    pub(super) counters: metrics::ShardCounters,
    /// Time that went into the open files.
    pub(super) decoding: Duration,
    encoding: Duration,
}

impl TableState {
    pub(super) fn new(table_context: TableContext, budget: &Budget) -> TableState {
        let budget = budget.of_table();
        let TableContext { format, schema, decoding, .. } = &table_context;
        let decoder = Decoder::of(&**format, schema, decoding);
        TableState {
            wants_headers: decoder.wants_headers(),
            decoder,
            rows: Output::new(
                table_context.store.clone(),
                Arc::clone(&table_context.schema),
                table_context.compression,
                &budget,
            )
            .with_transform(table_context.transform.clone()),
            dead_letters: table_context.dead_letters.clone().map(|store| {
                Output::new(store, Arc::new(Schema::of_dead_letters()), table_context.compression, &budget)
            }),
            counters: metrics::ShardCounters::new(&table_context.table_id),
            table_context,
            budget,
            waiting_since: None,
            waiting_records: false,
            oldest_ms: None,
            reset_epoch: ResetEpoch::default(),
            uncommitted: Vec::new(),
            next_unit: 0,
            partitions_read: 0,
            paused: false,
            stopped: false,
            closing: false,
            closed: false,
            last_reset: None,
            decoding: Duration::ZERO,
            encoding: Duration::ZERO,
        }
    }

    /// Encodes the decoded rows if there are enough of them, after one of `row` bytes; returns how long it took.
    pub(super) fn encode_when_full(
        &mut self,
        row: usize,
        bytes_max: usize,
        dependencies: &ShardDependencies,
    ) -> Result<Duration> {
        if !self.rows.batch_is_full(row, bytes_max) {
            return Ok(Duration::ZERO);
        }
        let begun = dependencies.clock.boot();
        self.rows.encode(carrier(dependencies, &self.table_context, self.reset_epoch))?;
        let took = dependencies.clock.boot().saturating_sub(begun);
        self.encoding += took;
        Ok(took)
    }

    pub(super) fn begin_waiting(&mut self, now: Duration, records: bool) {
        if self.stopped {
            return;
        }
        if records && !self.waiting_records {
            self.waiting_records = true;
            self.waiting_since = Some(now);
        }
        self.waiting_since.get_or_insert(now);
    }

    /// When what waits must be handed over; `None` while nothing waits.
    pub(super) fn due(&self) -> Option<Duration> {
        let latency = if self.waiting_records { self.table_context.max_latency } else { IDLE_TAIL };
        self.waiting_since.map(|since| since + latency)
    }

    pub(super) fn outputs_mut(&mut self) -> impl Iterator<Item = &mut Output> {
        std::iter::once(&mut self.rows).chain(&mut self.dead_letters)
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(&self.rows).chain(&self.dead_letters)
    }

    /// Counts timestamps of records that became null, and says so once.
    pub(super) fn note_unfit_timestamps(&mut self, records: u64) {
        if records > 0 && self.counters.unfit_timestamps(records) {
            tracing::warn!(
                table = %self.table_context.table_id,
                metric = metrics::UNFIT_TIMESTAMPS,
                "records have timestamps outside of the years 0001 to 9999: null in the table, and counted; \
                 a producer that writes seconds or microseconds where Kafka has milliseconds should be mended"
            );
        }
    }

    pub(super) fn cut(&mut self, ranges: Vec<OffsetRange>, dependencies: &ShardDependencies) -> Result<()> {
        self.waiting_since = None;
        self.waiting_records = false;
        let begun = dependencies.clock.boot();
        let carrier = carrier(dependencies, &self.table_context, self.reset_epoch);
        let rows = self.rows.finish(self.oldest_ms.take(), carrier)?;
        let dead_letters = match &mut self.dead_letters {
            Some(dead_letters) => dead_letters.finish(None, carrier)?,
            None => None,
        };
        let encoding = mem::take(&mut self.encoding) + dependencies.clock.boot().saturating_sub(begun);
        let decoding = mem::take(&mut self.decoding);
        if rows.is_some() {
            metrics::stage(Stage::Decode, decoding);
            metrics::stage(Stage::Encode, encoding);
        }
        if rows.is_some() || dead_letters.is_some() || !ranges.is_empty() {
            let starts = ranges.iter().map(|range| (range.source.clone(), range.start)).collect();
            let id = self.next_unit;
            hand_over(id, rows, dead_letters, ranges, carrier);
            self.uncommitted.push(Unit { id, starts });
            self.next_unit += 1;
        }
        Ok(())
    }

    pub(super) fn reset(
        &mut self,
        reset_epoch: ResetEpoch,
        schema: Arc<Schema>,
        starts: &BTreeMap<TopicPartition, Offset>,
        held: &Arc<AlreadyDeadLettered>,
    ) {
        self.last_reset = Some(LastReset { starts: starts.clone(), held: Arc::clone(held) });
        self.decoder = Decoder::of(&*self.table_context.format, &schema, &self.table_context.decoding);
        self.wants_headers = self.decoder.wants_headers();
        self.reset_epoch = reset_epoch;
        self.uncommitted.clear();
        if !planted(Bug::KeepsBuffersOverAReset) {
            self.rows.follow(&schema);
            self.forget();
        }
        self.table_context.schema = schema;
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        if !planted(Bug::StoppedTableCountsItsWork) {
            // Nobody says any more that they are committed.
            self.uncommitted.clear();
        }
        self.forget();
    }

    /// Nothing waits to be handed over, and nothing that was is uncommitted.
    pub(super) fn is_transferred(&self) -> bool {
        self.due().is_none() && self.uncommitted.is_empty()
    }

    /// No partition of it is read any more, whatever is asked.
    pub(super) fn is_over(&self) -> bool {
        self.stopped || self.closing || self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.paused = false;
        self.forget();
        // The committer ends when nobody holds its queue.
        #[expect(clippy::disallowed_methods, reason = "nothing is ever sent: its other end is gone")]
        let (nobody, _) = tokio::sync::mpsc::unbounded_channel();
        self.table_context.to_committer = nobody;
    }

    pub(super) fn forget(&mut self) {
        self.rows.forget();
        self.dead_letters.iter_mut().for_each(Output::forget);
        self.waiting_since = None;
        self.waiting_records = false;
        self.oldest_ms = None;
    }
}
