//! One core's loop: records in, Parquet files out.
//!
//! It owns its partitions, all state for them, and the open files of each
//! table: one for rows, one for dead letters.
//! It shares nothing: what it knows of other loops arrives as messages. It
//! does not decide what is committed; it only promises that every range it
//! hands over starts where the one before ended.
//!
//! A turn is: messages, records, what is due. A shard never blocks on a slow
//! store: it stops polling while too much is in flight.

mod memory;
mod output;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::output::{Carrier, Output, hand_over};
use crate::budget::Budget;
use crate::clock::SharedClock;
use crate::columnar::letters::{self, Letter};
use crate::columnar::{BadRecord, Decoder, RecordFacts};
use crate::config::{Compression, Decoding, MetadataColumn, OnBadRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Generation, ToCommitter, ToShard};
use crate::health::Health;
use crate::ids::{Offset, OffsetRange, TopicPartition};
use crate::metrics;
use crate::protocol::dead_letters::Held;
use crate::protocol::progress::{Outcome, Progress};
use crate::schema::Schema;
use crate::source::batch::{Headers, Padded, Record};
use crate::source::{Assignment, Event, RecordBatch, Slot, Source};
use crate::table::store::Store;
use crate::table::sweeper::Sweeper;

/// Bytes decoded before they are encoded, for wide rows.
const BATCH_BYTES: usize = 4 << 20;
/// Units of work that a table may have uncommitted per shard.
const UNCOMMITTED_MAX: usize = 64;
/// Offsets that moved without rows are committed this much later.
const IDLE_TAIL: Duration = Duration::from_secs(30);
/// How often lag is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for records: messages of other loops wait as long.
const POLL_WAIT: Duration = Duration::from_millis(10);

/// What a shard must know of a table.
#[derive(Clone)]
pub struct Lane {
    /// The table's place in the config.
    pub table: usize,
    pub table_id: String,
    pub store: Store,
    /// Where bad records go; `None` where they are not kept.
    pub dead_letters: Option<Store>,
    pub schema: Arc<Schema>,
    pub decoding: Decoding,
    pub on_bad_record: OnBadRecord,
    pub max_latency: Duration,
    pub target_file_size: u64,
    pub compression: Compression,
    pub to_committer: mpsc::UnboundedSender<ToCommitter>,
    /// What of its files must not stay in the store.
    pub sweeper: Sweeper,
    pub health: Arc<Health>,
}

/// A partition of one of the shard's tables.
#[derive(Clone, Debug)]
pub struct Reading {
    pub table: usize,
    pub source: TopicPartition,
    pub start: Offset,
    /// What stands as a dead letter already, from `start` on, growing.
    pub held: Vec<Offset>,
    /// Where a bounded run ends.
    pub end: Option<Offset>,
}

/// What a shard tells the ingester.
#[derive(Debug)]
pub enum Report {
    /// A partition goes no further; others do.
    Stopped { table: usize, source: TopicPartition, error: Error },
}

/// What a shard runs on.
pub struct Wiring {
    pub index: usize,
    pub inbox: Receiver<ToShard>,
    pub reports: crossbeam_channel::Sender<Report>,
    pub clock: SharedClock,
    pub runtime: Handle,
    /// What is decoded, open and on its way to the store, all tables together.
    pub budget: Budget,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Turn {
    Worked,
    Idle,
    /// Everything is handed over and committed: the shard can end.
    Done,
}

pub struct Shard<S> {
    source: S,
    wiring: Wiring,
    tables: Vec<TableState>,
    partitions: Vec<PartitionState>,
    batch: RecordBatch,
    /// Headers of a bad record.
    headers: Vec<u8>,
    draining: bool,
    reported: Duration,
}

struct PartitionState {
    table: usize,
    progress: Progress,
    /// What stands as a dead letter already and is passed over, growing.
    held: Vec<Offset>,
    end: Option<Offset>,
    reading: bool,
}

struct TableState {
    lane: Lane,
    decoder: Decoder,
    rows: Output,
    letters: Option<Output>,
    /// Boot time of the first thing that waits for a commit.
    waiting_since: Option<Duration>,
    /// Rows or skipped records wait, not only an idle tail.
    waiting_records: bool,
    oldest_ms: Option<i64>,
    generation: Generation,
    uncommitted: usize,
    stopped: bool,
    /// A column holds the headers of records.
    wants_headers: bool,
    counters: metrics::ShardCounters,
}

impl<S: Source> Shard<S> {
    pub fn new(source: S, lanes: Vec<Lane>, readings: Vec<Reading>, wiring: Wiring) -> Result<Shard<S>> {
        let tables: Vec<TableState> =
            lanes.into_iter().map(|lane| TableState::new(lane, &wiring.budget)).collect();
        let place = |table| {
            tables.iter().position(|state| state.lane.table == table).expect("a lane for every reading")
        };
        let partitions: Vec<PartitionState> = readings
            .into_iter()
            .map(|reading| PartitionState {
                table: place(reading.table),
                reading: reading.end.is_none_or(|end| reading.start < end),
                end: reading.end,
                progress: Progress::new(reading.source, reading.start),
                held: reading.held,
            })
            .collect();
        let mut shard = Shard {
            source,
            wiring,
            tables,
            partitions,
            batch: RecordBatch::default(),
            headers: Vec::new(),
            draining: false,
            reported: Duration::ZERO,
        };
        let all: Vec<usize> = (0..shard.partitions.len()).collect();
        shard.assign(&all)?;
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
        while let Ok(message) = self.wiring.inbox.try_recv() {
            self.receive(message)?;
            worked = true;
        }
        if self.may_poll() {
            worked |= self.poll(wait)?;
        }
        self.cut_what_is_due()?;
        self.report_lag();
        if self.is_done() {
            return Ok(Turn::Done);
        }
        Ok(if worked { Turn::Worked } else { Turn::Idle })
    }

    fn wait_for_message(&mut self) -> Result<()> {
        match self.wiring.inbox.recv_timeout(POLL_WAIT) {
            Ok(message) => self.receive(message),
            Err(_) => Ok(()),
        }
    }

    fn receive(&mut self, message: ToShard) -> Result<()> {
        match message {
            // Told to every shard, and this one has no partition of the table.
            ToShard::Committed { table, .. } | ToShard::Reset { table, .. } | ToShard::Stop { table }
                if !self.tables.iter().any(|state| state.lane.table == table) =>
            {
                Ok(())
            }
            ToShard::Committed { table, generation, units } => {
                let state = self.table_mut(table);
                if generation == state.generation {
                    state.uncommitted -= units;
                }
                Ok(())
            }
            ToShard::Reset { table, generation, schema, starts, held } => {
                self.reset(table, generation, schema, &starts, &held)
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

    fn may_poll(&self) -> bool {
        !self.draining
            && self.partitions.iter().any(|partition| partition.reading)
            && !self.wiring.budget.is_spent()
            && self.tables.iter().all(|table| table.uncommitted < UNCOMMITTED_MAX)
    }

    fn poll(&mut self, wait: Duration) -> Result<bool> {
        let wait = wait.min(self.time_until_due());
        self.source.poll(wait);
        let mut batch = mem::take(&mut self.batch);
        let mut worked = false;
        while let Some(event) = self.source.next(&mut batch) {
            self.take_event(event, &batch)?;
            worked = true;
        }
        self.batch = batch;
        Ok(worked)
    }

    fn take_event(&mut self, event: Event, batch: &RecordBatch) -> Result<()> {
        match event {
            Event::Records => self.take_records(batch),
            Event::End { slot, next } => {
                let partition = &mut self.partitions[slot.index()];
                if partition.reading {
                    let next = partition.end.map_or(next, |end| next.min(end));
                    partition.progress.pass(next);
                    self.note_progress(slot.index());
                }
                Ok(())
            }
            Event::Lost { slot, error } => {
                self.stop_partition(slot.index(), error);
                Ok(())
            }
        }
    }

    fn take_records(&mut self, batch: &RecordBatch) -> Result<()> {
        let index = batch.slot().index();
        let now = self.wiring.clock.boot();
        let batch_bytes = self.wiring.batch_bytes(BATCH_BYTES);
        let mut failed = None;
        let partition = &mut self.partitions[index];
        let table = &mut self.tables[partition.table];
        for (place, record) in batch.records().enumerate() {
            if !partition.reading {
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
                partition.progress.take(record.offset, Outcome::DeadLetter);
                continue;
            }
            let Some(payload) = record.value else {
                partition.progress.take(record.offset, Outcome::Tombstone);
                continue;
            };
            let source = partition.progress.source();
            let facts = RecordFacts { topic: &source.topic, partition: source.partition.0, record };
            match table.decoder.append(&mut table.rows.columns, &payload, &facts) {
                Ok(()) => {
                    partition.progress.take(record.offset, Outcome::Row);
                    table.oldest_ms = [table.oldest_ms, record.timestamp_ms].into_iter().flatten().min();
                    if table.rows.batch_is_full(batch_bytes) {
                        table.rows.encode(carrier(&self.wiring, &table.lane, table.generation))?;
                    }
                }
                Err(bad) => {
                    table.counters.bad(bad.reason.as_str());
                    match table.lane.on_bad_record {
                        OnBadRecord::DeadLetter => {
                            self.source.headers(place, &mut self.headers);
                            let record = Record { headers: Headers::over(&self.headers), ..record };
                            table.write_letter(partition.progress.source(), &record, &bad, &self.wiring)?;
                            partition.progress.take(record.offset, Outcome::DeadLetter);
                        }
                        OnBadRecord::Skip => partition.progress.take(record.offset, Outcome::Skipped),
                        OnBadRecord::Fail => {
                            failed = Some(bad_record(partition.progress.source(), record.offset, &bad));
                            break;
                        }
                    }
                }
            }
        }
        table.outputs_mut().for_each(Output::note_memory);
        table.counters.consumed(batch.len());
        table.begin_waiting(now, partition.progress.has_records());
        if let Some(error) = failed {
            self.stop_partition(index, error);
        } else {
            self.note_progress(index);
        }
        self.cut_when_full(index)
    }

    /// A bounded run is through with a partition once it stands at its end.
    fn note_progress(&mut self, index: usize) {
        let now = self.wiring.clock.boot();
        let partition = &self.partitions[index];
        if partition.progress.is_open() {
            self.tables[partition.table].begin_waiting(now, partition.progress.has_records());
        }
        if partition.end.is_some_and(|end| partition.progress.position() >= end) {
            self.stop_reading(index);
        }
    }

    fn report_lag(&mut self) {
        let now = self.wiring.clock.boot();
        if now.saturating_sub(self.reported) < REPORT_EVERY {
            return;
        }
        self.reported = now;
        self.report_memory();
        for (index, partition) in
            self.partitions.iter().enumerate().filter(|(_, partition)| partition.reading)
        {
            if let Some(end) = self.source.end(slot(index)) {
                let source = partition.progress.source();
                let lag = end.0 - partition.progress.position().0;
                self.tables[partition.table].counters.lag(&source.topic, source.partition.0, lag);
            }
        }
    }

    // ---- files ----

    fn cut_when_full(&mut self, index: usize) -> Result<()> {
        let place = self.partitions[index].table;
        let table = &self.tables[place];
        if table.outputs().any(|output| output.size_estimate() >= table.lane.target_file_size) {
            return self.cut(place);
        }
        self.relieve_memory()
    }

    fn cut_what_is_due(&mut self) -> Result<()> {
        let now = self.wiring.clock.boot();
        // Whatever is still open when reading has ended for good is handed over at once.
        let ending = self.draining || self.partitions.iter().all(|partition| !partition.reading);
        for place in 0..self.tables.len() {
            if self.tables[place].due().is_some_and(|due| ending || due <= now) {
                self.cut(place)?;
            }
        }
        Ok(())
    }

    fn time_until_due(&self) -> Duration {
        let now = self.wiring.clock.boot();
        let due = self.tables.iter().filter_map(TableState::due).min();
        due.map_or(Duration::MAX, |due| due.saturating_sub(now))
    }

    /// Ends a table's file and hands it over with all that it settles.
    fn cut(&mut self, place: usize) -> Result<()> {
        let ranges: Vec<OffsetRange> = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.table == place)
            .filter_map(|partition| partition.progress.cut())
            .collect();
        self.tables[place].cut(ranges, &self.wiring)
    }

    // ---- beginning again, and ending ----

    fn reset(
        &mut self,
        table: usize,
        generation: Generation,
        schema: Arc<Schema>,
        starts: &BTreeMap<TopicPartition, Offset>,
        held: &Held,
    ) -> Result<()> {
        let place = self.place(table);
        self.tables[place].reset(generation, schema);
        let mut again = Vec::new();
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            let Some(&start) = starts.get(partition.progress.source()).filter(|_| partition.table == place)
            else {
                continue;
            };
            partition.progress.rewind(start);
            partition.held = held.get(partition.progress.source()).cloned().unwrap_or_default();
            // What had ended for good stays ended; what had reached its end may have lost its tail.
            partition.reading |= !self.draining && partition.end.is_some_and(|end| start < end);
            if partition.reading {
                again.push(index);
            }
        }
        self.assign(&again)
    }

    fn assign(&mut self, indices: &[usize]) -> Result<()> {
        let assignments: Vec<Assignment> = indices
            .iter()
            .map(|&index| (index, &self.partitions[index]))
            .filter(|(_, partition)| partition.reading)
            .map(|(index, partition)| Assignment {
                slot: slot(index),
                topic: partition.progress.source().topic.clone(),
                partition: partition.progress.source().partition,
                start: partition.progress.position(),
                headers: self.tables[partition.table].wants_headers,
            })
            .collect();
        if assignments.is_empty() { Ok(()) } else { self.source.assign(&assignments) }
    }

    fn stop_partition(&mut self, index: usize, error: Error) {
        let partition = &mut self.partitions[index];
        // A reset must not wake it: where it stands is its end.
        partition.end = Some(partition.progress.position());
        let report = Report::Stopped {
            table: self.tables[partition.table].lane.table,
            source: partition.progress.source().clone(),
            error,
        };
        self.stop_reading(index);
        // The channel has room for a report of every partition.
        let _ = self.wiring.reports.try_send(report);
    }

    fn stop_reading(&mut self, index: usize) {
        if mem::take(&mut self.partitions[index].reading) {
            self.source.release(slot(index));
        }
    }

    fn stop_table(&mut self, table: usize) {
        let place = self.place(table);
        for index in 0..self.partitions.len() {
            if self.partitions[index].table == place {
                self.stop_reading(index);
            }
        }
        self.tables[place].stop();
    }

    fn is_done(&self) -> bool {
        let handed_over =
            |table: &TableState| table.stopped || (table.due().is_none() && table.uncommitted == 0);
        self.partitions.iter().all(|partition| !partition.reading) && self.tables.iter().all(handed_over)
    }

    fn place(&self, table: usize) -> usize {
        self.tables
            .iter()
            .position(|state| state.lane.table == table)
            .expect("messages name tables of this shard")
    }

    fn table_mut(&mut self, table: usize) -> &mut TableState {
        let place = self.place(table);
        &mut self.tables[place]
    }
}

impl TableState {
    fn new(lane: Lane, budget: &Budget) -> TableState {
        TableState {
            decoder: Decoder::new(&lane.schema, &lane.decoding),
            rows: Output::new(lane.store.clone(), Arc::clone(&lane.schema), lane.compression, budget),
            letters: lane.dead_letters.clone().map(|store| {
                Output::new(store, Arc::new(Schema::of_dead_letters()), lane.compression, budget)
            }),
            counters: metrics::ShardCounters::new(&lane.table_id),
            wants_headers: wants_headers(&lane.schema),
            lane,
            waiting_since: None,
            waiting_records: false,
            oldest_ms: None,
            generation: Generation::default(),
            uncommitted: 0,
            stopped: false,
        }
    }

    fn begin_waiting(&mut self, now: Duration, records: bool) {
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
    fn due(&self) -> Option<Duration> {
        let patience = if self.waiting_records { self.lane.max_latency } else { IDLE_TAIL };
        self.waiting_since.map(|since| since + patience)
    }

    fn outputs_mut(&mut self) -> impl Iterator<Item = &mut Output> {
        std::iter::once(&mut self.rows).chain(&mut self.letters)
    }

    fn outputs(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(&self.rows).chain(&self.letters)
    }

    fn write_letter(
        &mut self,
        source: &TopicPartition,
        record: &Record<'_>,
        bad: &BadRecord,
        wiring: &Wiring,
    ) -> Result<()> {
        let output = self.letters.as_mut().expect("a lane that keeps bad records has a place for them");
        let letter = Letter {
            topic: &source.topic,
            partition: source.partition.0,
            offset: record.offset.0,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value.map(Padded::bytes).unwrap_or_default(),
        };
        letters::append(&mut output.columns, &letter, record.headers, bad);
        if output.batch_is_full(wiring.batch_bytes(BATCH_BYTES)) {
            output.encode(carrier(wiring, &self.lane, self.generation))?;
        }
        Ok(())
    }

    fn cut(&mut self, ranges: Vec<OffsetRange>, wiring: &Wiring) -> Result<()> {
        self.waiting_since = None;
        self.waiting_records = false;
        let carrier = carrier(wiring, &self.lane, self.generation);
        let rows = self.rows.finish(self.oldest_ms.take(), carrier)?;
        let letters = match &mut self.letters {
            Some(letters) => letters.finish(None, carrier)?,
            None => None,
        };
        if rows.is_some() || letters.is_some() || !ranges.is_empty() {
            self.uncommitted += 1;
            hand_over(rows, letters, ranges, carrier);
        }
        Ok(())
    }

    fn reset(&mut self, generation: Generation, schema: Arc<Schema>) {
        self.decoder = Decoder::new(&schema, &self.lane.decoding);
        self.rows.follow(&schema);
        self.wants_headers = wants_headers(&schema);
        self.lane.schema = schema;
        self.generation = generation;
        self.uncommitted = 0;
        self.forget();
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.rows.forget();
        self.letters.iter_mut().for_each(Output::forget);
        self.waiting_since = None;
        self.waiting_records = false;
        self.oldest_ms = None;
    }
}

impl PartitionState {
    fn is_held(&self, offset: Offset) -> bool {
        self.held.last().is_some_and(|&last| offset <= last) && self.held.binary_search(&offset).is_ok()
    }
}

fn wants_headers(schema: &Schema) -> bool {
    schema.fields.iter().any(|field| MetadataColumn::of(field) == Some(MetadataColumn::Headers))
}

fn carrier<'a>(wiring: &'a Wiring, lane: &'a Lane, generation: Generation) -> Carrier<'a> {
    Carrier { wiring, lane, generation }
}

fn slot(index: usize) -> Slot {
    Slot(u32::try_from(index).expect("a shard has fewer than 4 billion partitions"))
}

fn bad_record(source: &TopicPartition, offset: Offset, bad: &BadRecord) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("{source} offset {offset}: the record is not a row: {}: {}", bad.reason.as_str(), bad.detail),
    )
    .remedy("mend the producer and skip the record with on_bad_record = \"skip\", or correct the schema")
}
