//! The loop itself: messages, records, what is due.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::assignments::GroupAssignment;
use super::bad_records::BadRecordFate;
use super::dependencies::{BATCH_BYTES, Report, ShardDependencies};
use super::fetches::Fetches;
use super::output::Output;
use super::partition::{PartitionState, slot};
use super::table::TableState;
use crate::columnar::{ReadRecord, RecordFacts};
use crate::error::{Error, Result};
use crate::exchange::{Reading, TableContext};
use crate::exchange::{RequestId, ResetEpoch, ToShard};
use crate::ids::{Offset, OffsetRange, TopicPartition};
use crate::metrics::{self, Stage};
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::planted::{Bug, planted};
use crate::protocol::progress::RecordFate;
use crate::schema::Schema;
use crate::source::batch::{Headers, Record};
use crate::source::{Assignment, Event, RecordBatch, Source};
use crate::status::{Part, State};

/// How often it is reported what is held, what each partition takes, and where it ends.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// What troubles a partition is told again and again, at the latest after half of this.
const TROUBLE_LASTS: Duration = Duration::from_secs(60);
/// The longest wait for records: messages of other loops wait as long.
const POLL_WAIT: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Turn {
    Worked,
    Idle,
    /// Everything is handed over and committed: the shard can end.
    Done,
}

pub struct Shard<S> {
    pub(super) source: S,
    pub(super) dependencies: ShardDependencies,
    pub(super) tables: Vec<TableState>,
    pub(super) partitions: Vec<PartitionState>,
    /// What the group has assigned and not taken back.
    pub(super) group_assignments: BTreeMap<(usize, TopicPartition), GroupAssignment>,
    pub(super) asked: RequestId,
    pub(super) batch: RecordBatch,
    /// Headers of a bad record.
    pub(super) headers: Vec<u8>,
    pub(super) draining: bool,
    pub(super) reported: Duration,
    /// Time spent on taking and waiting for records since the last file.
    pub(super) polling: Duration,
    pub(super) fetches: Fetches,
}

impl<S: Source> Shard<S> {
    pub fn new(
        source: S,
        table_contexts: Vec<TableContext>,
        mut readings: Vec<Reading>,
        dependencies: ShardDependencies,
    ) -> Result<Shard<S>> {
        let mut shard = Shard {
            source,
            dependencies,
            tables: Vec::new(),
            partitions: Vec::new(),
            group_assignments: BTreeMap::new(),
            asked: RequestId::default(),
            batch: RecordBatch::default(),
            headers: Vec::new(),
            draining: false,
            reported: Duration::ZERO,
            polling: Duration::ZERO,
            fetches: Fetches::default(),
        };
        for table_context in table_contexts {
            let own = readings.extract_if(.., |reading| reading.table == table_context.table).collect();
            shard.open_table(table_context, own)?;
        }
        assert!(readings.is_empty(), "a lane for every reading");
        Ok(shard)
    }

    /// Runs until everything is handed over and committed.
    pub fn run(mut self) -> Result<()> {
        loop {
            match self.turn(POLL_WAIT)? {
                Turn::Done => return Ok(()),
                Turn::Worked => {}
                // The poll waited already, unless nothing may be polled now.
                Turn::Idle if self.may_poll() => {}
                Turn::Idle => self.wait_for_message()?,
            }
        }
    }

    /// One pass of the loop; waits at most `wait` for records.
    pub fn turn(&mut self, wait: Duration) -> Result<Turn> {
        let mut worked = false;
        while let Ok(message) = self.dependencies.inbox.try_recv() {
            self.receive(message)?;
            worked = true;
        }
        worked |= self.take_schemas()?;
        self.apply_backpressure()?;
        if self.may_poll() {
            worked |= self.poll(wait)?;
        }
        self.cut_what_is_due()?;
        self.report_ends();
        self.close_what_is_through();
        if self.is_done() {
            return Ok(Turn::Done);
        }
        Ok(if worked { Turn::Worked } else { Turn::Idle })
    }

    pub(super) fn wait_for_message(&mut self) -> Result<()> {
        match self.dependencies.inbox.recv_timeout(POLL_WAIT) {
            Ok(message) => self.receive(message),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn receive(&mut self, message: ToShard) -> Result<()> {
        match message {
            // Told to every shard, and this one has no partition of the table, or is through with it.
            ToShard::Committed { table, .. }
            | ToShard::Reset { table, .. }
            | ToShard::Close { table }
            | ToShard::Stop { table }
                if !self.is_open(table) =>
            {
                Ok(())
            }
            ToShard::Open { table_context, readings } => self.open_table(*table_context, readings),
            ToShard::Close { table } => {
                self.close_table(table);
                Ok(())
            }
            ToShard::Committed { table, reset_epoch, units } => {
                let state = self.table_mut(table);
                if reset_epoch == state.reset_epoch {
                    state.uncommitted.retain(|unit| !units.contains(&unit.id));
                }
                Ok(())
            }
            ToShard::Reset { table, reset_epoch, schema, starts, held } => {
                self.reset(table, reset_epoch, schema, &starts, &held)
            }
            ToShard::Release { table, source, to } => self.let_go(table, &source, to),
            ToShard::Take(moved) => self.take_over(moved),
            ToShard::Join { table, sources, assignment_epoch } => {
                self.join(table, sources, assignment_epoch);
                Ok(())
            }
            ToShard::Own(owned) => self.own(owned),
            ToShard::Leave { table, sources } => self.leave(table, sources),
            ToShard::Left { table, source, assignment_epoch } => {
                self.left(table, source, assignment_epoch);
                Ok(())
            }
            ToShard::Abandon { table, sources } => {
                self.abandon(table, sources);
                Ok(())
            }
            ToShard::Stop { table } => {
                self.stop_table(table);
                Ok(())
            }
            ToShard::Drain => {
                self.draining = true;
                for index in 0..self.partitions.len() {
                    self.stop_reading(index);
                }
                Ok(())
            }
        }
    }

    // ---- records ----

    pub(super) fn poll(&mut self, wait: Duration) -> Result<bool> {
        let wait = wait.min(self.time_until_due());
        let begun = self.dependencies.clock.boot();
        self.source.poll(wait);
        self.polling += self.dependencies.clock.boot().saturating_sub(begun);
        let mut batch = mem::take(&mut self.batch);
        let mut worked = false;
        while let Some(event) = self.source.next(&mut batch) {
            self.take_event(event, &batch)?;
            worked = true;
        }
        self.batch = batch;
        Ok(worked)
    }

    pub(super) fn take_event(&mut self, event: Event, batch: &RecordBatch) -> Result<()> {
        match event {
            Event::Records => {
                self.goes_on(batch.slot().index());
                self.take_records(batch)
            }
            Event::End { slot, next } => {
                self.goes_on(slot.index());
                let partition = &mut self.partitions[slot.index()];
                let goes_on = partition.reading && partition.needs.is_none();
                if goes_on && !planted(Bug::IgnoresTheEndOfAPartition) {
                    let next = partition.end.map_or(next, |end| next.min(end));
                    partition.progress.pass(next);
                    self.note_progress(slot.index());
                }
                Ok(())
            }
            Event::Troubled { slot, error } => {
                if self.partitions[slot.index()].reading {
                    self.partitions[slot.index()].troubled = Some(self.dependencies.clock.boot());
                    self.show(slot.index(), State::Waiting((&error).into()));
                }
                Ok(())
            }
            Event::Lost { slot, error } => {
                self.stop_partition(slot.index(), error);
                Ok(())
            }
        }
    }

    pub(super) fn take_records(&mut self, batch: &RecordBatch) -> Result<()> {
        let index = batch.slot().index();
        let now = self.dependencies.clock.boot();
        let batch_bytes = self.dependencies.batch_bytes(BATCH_BYTES);
        let mut encoding = Duration::ZERO;
        let (mut failed, mut needed) = (None, None);
        let partition = &mut self.partitions[index];
        let table = &mut self.tables[partition.table];
        for (place, record) in batch.records().enumerate() {
            if !partition.reading || partition.needs.is_some() {
                break;
            }
            if partition.end.is_some_and(|end| record.offset >= end) {
                partition.progress.pass(partition.end.expect("just looked at"));
                break;
            }
            if !partition.progress.is_due(record.offset) {
                continue;
            }
            if partition.is_held(record.offset) {
                partition.progress.take(record.offset, RecordFate::DeadLetter);
                continue;
            }
            let source = partition.progress.source();
            let facts = RecordFacts { topic: &source.topic, partition: source.partition.0, record };
            match table.decoder.read(&mut table.rows.columns, record.value, &facts) {
                Ok(ReadRecord::Tombstone) => partition.progress.take(record.offset, RecordFate::Tombstone),
                Ok(ReadRecord::Skipped) => partition.progress.take(record.offset, RecordFate::Skipped),
                Ok(ReadRecord::Needs(schema)) => {
                    needed = Some(schema);
                    break;
                }
                Ok(ReadRecord::Rows(rows)) => {
                    partition.progress.take(record.offset, RecordFate::Rows(rows));
                    table.oldest_ms = [table.oldest_ms, record.timestamp_ms].into_iter().flatten().min();
                    encoding += table.encode_when_full(record.size(), batch_bytes, &self.dependencies)?;
                }
                Err(bad) => {
                    if table.keeps_bad_records() {
                        self.source.headers(place, &mut self.headers);
                    }
                    let record = Record { headers: Headers::over(&self.headers), ..record };
                    let source = partition.progress.source();
                    match table.take_bad_record(source, &record, &bad, &self.dependencies)? {
                        BadRecordFate::Counted(fate) => partition.progress.take(record.offset, fate),
                        BadRecordFate::Stops(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                }
            }
        }
        let unfit = table.decoder.take_unfit_timestamps();
        table.note_unfit_timestamps(unfit);
        table.outputs_mut().for_each(Output::note_memory);
        table.counters.consumed(batch.len());
        let took = self.dependencies.clock.boot().saturating_sub(now);
        table.decoding += took.saturating_sub(encoding);
        partition.busy += took;
        table.begin_waiting(now, partition.progress.has_records());
        if let Some(error) = failed {
            self.stop_partition(index, error);
        } else if let Some(schema) = needed {
            self.wait_for_schema(index, schema);
        } else {
            self.note_progress(index);
        }
        self.cut_when_full(index)
    }

    /// A bounded run is through with a partition once it stands at its end.
    pub(super) fn note_progress(&mut self, index: usize) {
        let now = self.dependencies.clock.boot();
        let partition = &self.partitions[index];
        if partition.progress.is_open() {
            self.tables[partition.table].begin_waiting(now, partition.progress.has_records());
        }
        if partition.end.is_some_and(|end| partition.progress.position() >= end) {
            self.stop_reading(index);
        }
    }

    /// Where partitions end, as far as the source knows without asking.
    pub(super) fn report_ends(&mut self) {
        let now = self.dependencies.clock.boot();
        if now.saturating_sub(self.reported) < REPORT_EVERY {
            return;
        }
        self.forget_old_troubles(now);
        let over = now.saturating_sub(mem::replace(&mut self.reported, now));
        self.report_memory();
        self.report_load(over);
        for (index, partition) in
            self.partitions.iter().enumerate().filter(|(_, partition)| partition.reading)
        {
            if let Some(end) = self.source.end(slot(index)) {
                let table_context = &self.tables[partition.table].table_context;
                table_context.board.ends(&table_context.table_id, partition.progress.source(), end);
            }
        }
    }

    // ---- files ----

    pub(super) fn cut_when_full(&mut self, index: usize) -> Result<()> {
        let place = self.partitions[index].table;
        let table = &self.tables[place];
        if table.outputs().any(|output| output.size_estimate() >= table.table_context.target_file_size) {
            return self.cut(place);
        }
        self.relieve_memory()
    }

    pub(super) fn cut_what_is_due(&mut self) -> Result<()> {
        let now = self.dependencies.clock.boot();
        // Whatever is still open when reading has ended for good is handed over at once.
        let ending = self.draining || self.partitions.iter().all(|partition| !partition.reading);
        for place in 0..self.tables.len() {
            if self.tables[place].due().is_some_and(|due| ending || due <= now) {
                self.cut(place)?;
            }
        }
        Ok(())
    }

    pub(super) fn time_until_due(&self) -> Duration {
        let now = self.dependencies.clock.boot();
        let due = self.tables.iter().filter_map(TableState::due).min();
        due.map_or(Duration::MAX, |due| due.saturating_sub(now))
    }

    /// Ends a table's file and hands it over with all that it settles.
    pub(super) fn cut(&mut self, place: usize) -> Result<()> {
        metrics::stage(Stage::Poll, mem::take(&mut self.polling));
        let ranges: Vec<OffsetRange> = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.table == place)
            .filter_map(|partition| partition.progress.cut())
            .collect();
        self.tables[place].cut(ranges, &self.dependencies)?;
        if self.tables[place].paused {
            self.tables[place].outputs_mut().for_each(Output::let_go_of_buffers);
        }
        Ok(())
    }

    // ---- beginning again, and ending ----

    pub(super) fn reset(
        &mut self,
        table: usize,
        reset_epoch: ResetEpoch,
        schema: Arc<Schema>,
        starts: &BTreeMap<TopicPartition, Offset>,
        held: &Arc<AlreadyDeadLettered>,
    ) -> Result<()> {
        let place = self.place(table);
        self.tables[place].reset(reset_epoch, schema, starts, held);
        let goes_on = !self.draining && !self.tables[place].is_over();
        let mut again = Vec::new();
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            let Some(&start) = starts.get(partition.progress.source()).filter(|_| partition.table == place)
            else {
                continue;
            };
            if partition.moved {
                continue;
            }
            if !planted(Bug::KeepsThePositionOverAReset) {
                partition.progress.rewind(start);
            }
            partition.held = held.get(partition.progress.source()).cloned().unwrap_or_default();
            partition.needs = None;
            // What had ended for good stays ended; what had reached its end may have lost its tail.
            if !partition.reading && goes_on && partition.end.is_some_and(|end| start < end) {
                partition.reading = true;
                self.tables[place].partitions_read += 1;
            }
            if partition.reading {
                again.push(index);
            }
        }
        self.assign(&again)
    }

    pub(super) fn assign(&mut self, indices: &[usize]) -> Result<()> {
        let assignments: Vec<Assignment> = indices
            .iter()
            .map(|&index| (index, &self.partitions[index]))
            // A paused table's are assigned when it has room again.
            .filter(|(_, partition)| {
                let is_paused = self.tables[partition.table].paused && !planted(Bug::ReadsOnInAPause);
                partition.reading && !is_paused && partition.needs.is_none()
            })
            .map(|(index, partition)| Assignment {
                slot: slot(index),
                topic: partition.progress.source().topic.clone(),
                partition: partition.progress.source().partition,
                start: partition.progress.position(),
                headers: self.tables[partition.table].wants_headers,
            })
            .collect();
        for assignment in &assignments {
            self.show(assignment.slot.index(), State::Reading);
        }
        if assignments.is_empty() { Ok(()) } else { self.source.assign(&assignments) }
    }

    pub(super) fn stop_partition(&mut self, index: usize, error: Error) {
        let partition = &mut self.partitions[index];
        // A reset must not wake it: where it stands is its end.
        partition.end = Some(partition.progress.position());
        let report = Report::Stopped {
            table: self.tables[partition.table].table_context.table,
            source: partition.progress.source().clone(),
            error,
        };
        self.stop_reading(index);
        // The channel has room for a report of every partition.
        let _ = self.dependencies.reports.try_send(report);
    }

    /// Tells how a partition stands.
    pub(super) fn show(&self, index: usize, state: State) {
        let partition = &self.partitions[index];
        let table_context = &self.tables[partition.table].table_context;
        table_context.board.set(Part::partition(&table_context.table_id, partition.progress.source()), state);
    }

    /// Something of the partition has arrived.
    pub(super) fn goes_on(&mut self, index: usize) {
        if self.partitions[index].troubled.take().is_some() && self.partitions[index].reading {
            self.show(index, State::Reading);
        }
    }

    /// A partition at its end gives nothing to show that its trouble is over: that it is not told again is enough.
    pub(super) fn forget_old_troubles(&mut self, now: Duration) {
        for index in 0..self.partitions.len() {
            if self.partitions[index].troubled.is_some_and(|at| now.saturating_sub(at) >= TROUBLE_LASTS) {
                self.goes_on(index);
            }
        }
    }

    pub(super) fn stop_reading(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if mem::take(&mut partition.reading) {
            self.tables[partition.table].partitions_read -= 1;
            self.source.release(slot(index));
        }
    }

    pub(super) fn place(&self, table: usize) -> usize {
        self.tables
            .iter()
            .position(|state| state.table_context.table == table)
            .expect("messages name tables of this shard")
    }

    pub(super) fn table_mut(&mut self, table: usize) -> &mut TableState {
        let place = self.place(table);
        &mut self.tables[place]
    }
}
