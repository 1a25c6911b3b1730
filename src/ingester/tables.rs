//! The tables of an ingestion: each is opened, read, tried again and stopped on its own.
//!
//! It owns in which of these states a table is, and the threads that open
//! tables. A table that cannot be opened keeps no other one waiting: what may
//! come back (a store, a topic, a disk) is tried again, what a person must
//! mend stops it by name.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::ingestion::{Ingestion, may_come_back};
use super::table_life::{Life, Outcome, Started, TableLife};
use crate::clock::SharedClock;
use crate::columnar::BadReason;
use crate::committer::{Committer, CommitterDependencies};
use crate::config::{Config, Table};
use crate::delta_sink::{
    self, CHECKPOINT_EVERY, DeadLetterLocations, DeltaSink, Identity, LogUpkeep, Opened, Preview,
};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Reading, TableContext, ToCommitter, ToShard};
use crate::host;
use crate::ids::TopicPartition;
use crate::metrics;
use crate::preflight::{self, Ready, Silent};
use crate::protocol::fence::Writer;
use crate::source::catalog::Catalog;
use crate::source::identity_check::{Confirmed, Known};
use crate::status::{Part, State, Why};
use crate::stores::orphan_cleaner::OrphanCleaner;
use crate::stores::store::Store;

/// The same trouble is logged again after this long.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// How long a partition's end waits for the broker to say whether the topic is still the one that was read.
const CAUSE_TIMEOUT: Duration = Duration::from_secs(3);

impl Ingestion<'_> {
    // ---- opening ----

    /// Opens the table on a thread of its own: stores and brokers that do not answer hold up nobody else.
    pub(super) fn begin_opening(&mut self, index: usize) {
        let table = &self.run.config.tables[index];
        self.tables[index].life = Life::Opening;
        if self.tables[index].failed.is_none() {
            self.board.forget_partitions(&table.id);
            self.board.set(Part::table(&table.id), State::Starting);
        }
        metrics::table_begins(&table.id, BadReason::ALL.into_iter().map(BadReason::as_str));
        let opener = Opener {
            config: Arc::clone(&self.config),
            index,
            catalog: Arc::clone(&self.catalog),
            clock: Arc::clone(&self.run.clock),
            writer: self.writer.clone(),
        };
        let (runtime, started) = (self.runtime.clone(), self.started_out.clone());
        let body = move || {
            let outcome = runtime.block_on(opener.open());
            // An ingestion that is over wants no more tables.
            let _ = started.send((index, outcome.map(Box::new)));
        };
        let spawned = std::thread::Builder::new().name(format!("open-{index}")).spawn(body);
        if let Err(error) = spawned {
            let error = Error::new(ErrorKind::Io, format!("a thread cannot start: {error}"));
            self.not_opened(index, error);
        }
    }

    pub(super) fn opening_ended(&mut self, (index, outcome): Outcome) -> Result<()> {
        if self.draining || self.tables[index].life != Life::Opening {
            return Ok(());
        }
        match outcome {
            // What a member subscribes to is settled when it joins the group.
            Ok(_) if self.links.is_none() => self.begin_again(),
            Ok(started) => self.opened(index, *started),
            Err(error) => self.not_opened(index, error),
        }
        if !self.is_opening() {
            self.join_group()?;
        }
        Ok(())
    }

    pub(super) fn not_opened(&mut self, index: usize, error: Error) {
        let now = self.run.clock.boot();
        let table = &self.run.config.tables[index];
        let of = &mut self.tables[index];
        if self.run.until_end || !may_come_back(error.kind) {
            of.life = Life::Stopped;
            of.failed = Some((error.clone(), now));
            error!(table = table.id, %error, remedy = error.remedy, "a table is not read");
            self.board.stop_table(&table.id, &Why::from(&error));
            self.first_stop.get_or_insert(error);
            return;
        }
        let pause = of.backoff.pause();
        of.life = Life::Retrying(now + pause);
        // The words of a store's answer hold times and counts: the kind says whether it is the same trouble.
        let told = of.failed.take().filter(|(told, _)| told.kind == error.kind).map(|(_, at)| at);
        let told_at = told.filter(|&at| now.saturating_sub(at) < TOLD_AGAIN);
        if told_at.is_none() {
            warn!(
                table = table.id, %error, remedy = error.remedy, again_in_s = pause.as_secs(),
                "a table cannot be opened yet; it is tried again"
            );
        }
        of.failed = Some((error.clone(), told_at.unwrap_or(now)));
        self.board.set(Part::table(&table.id), State::Waiting(Why::from(&error)));
    }

    /// Boot time at which the next table is to be tried again.
    pub(super) fn next_try(&self) -> Option<Duration> {
        let at = |of: &TableLife| match of.life {
            Life::Retrying(at) if !self.draining => Some(at),
            _ => None,
        };
        self.tables.iter().filter_map(at).min()
    }

    pub(super) fn try_again(&mut self) {
        let now = self.run.clock.boot();
        for index in 0..self.tables.len() {
            if matches!(self.tables[index].life, Life::Retrying(at) if at <= now) {
                self.begin_opening(index);
            }
        }
    }

    /// Gives the table to a committer of its own, and its partitions to shards.
    pub(super) fn opened(&mut self, index: usize, Started { ready, mut opened }: Started) {
        let table = &self.run.config.tables[index];
        let known = Known::new(&ready.topic, &opened.plan.topic_id);
        let identity_check = self.topics.watch(index, &table.id, known);
        let links = self.links.as_mut().expect("tables are opened before the group is joined");
        let next_offsets = links.table(index, &ready.topic, &mut opened);
        for (partition, error) in &opened.plan.stopped {
            let source = opened.plan.source(&ready.topic.name, *partition);
            error!(table = table.id, partition = %source, %error, remedy = error.remedy, "a partition is not read");
            self.board.set(Part::partition(&table.id, &source), State::Stopped(Why::from(error)));
            self.first_stop.get_or_insert_with(|| error.clone());
        }
        let readings = readings(index, &opened, self.run.until_end);
        let of = &mut self.tables[index];
        of.life = Life::Running;
        of.failed = None;
        of.backoff.reset();
        of.identity_check = Some(identity_check.clone());
        of.reading = readings.iter().map(|reading| reading.source.clone()).collect();
        #[expect(clippy::disallowed_methods, reason = "bounded by the shards' uncommitted work")]
        let (to_committer, inbox) = mpsc::unbounded_channel();
        let dependencies = CommitterDependencies {
            table: index,
            table_id: table.id.clone(),
            inbox,
            shards: self.shards.clone(),
            clock: Arc::clone(&self.run.clock),
            board: Arc::clone(&self.board),
            identity_check,
            next_offsets,
        };
        let upkeep = LogUpkeep {
            orphan_cleaner: self.orphan_cleaner.clone(),
            checkpoints: self.checkpoints.clone(),
            checkpoint_every: CHECKPOINT_EVERY,
            compression: table.compression,
        };
        let orphan_cleaner = self.orphan_cleaner.clone();
        let table_context =
            table_context(table, &ready, &opened, to_committer, orphan_cleaner, &dependencies);
        self.board.set(Part::table(&table.id), State::Reading);
        let (identity, places) = (identity(table, &self.writer), places(table, &ready));
        let starts = opened.plan.starts.clone();
        let (clock, board) = (Arc::clone(&self.run.clock), Arc::clone(&self.board));
        let sink = DeltaSink::new(ready.store, identity, places, opened, upkeep, clock, board);
        let committer = Committer::new(sink, starts, dependencies);
        let ended = self.committers_out.clone();
        let task = self.runtime.spawn(async move {
            let outcome = committer.run().await.map(|_| ());
            // The supervisor may have given up waiting.
            let _ = ended.try_send((index, outcome));
        });
        self.committers.insert(index, task);
        self.spread(table_context, readings);
    }

    /// Spreads a table's partitions over as many shards as it can; the next table's begin where these end.
    pub(super) fn spread(&mut self, table_context: TableContext, readings: Vec<Reading>) {
        let count = self.shards.len();
        let mut shares: Vec<Vec<Reading>> = vec![Vec::new(); count];
        for reading in readings {
            shares[self.next_shard % count].push(reading);
            self.next_shard += 1;
        }
        for (shard, readings) in self.shards.iter().zip(shares) {
            // Where partitions move, or a group assigns them, any may come. Otherwise a shard has its own tables only.
            if self.any_shard || !readings.is_empty() {
                // A shard that has ended in the meantime has said why.
                let _ =
                    shard.send(ToShard::Open { table_context: Box::new(table_context.clone()), readings });
            }
        }
    }

    // ---- ending ----

    /// A topic has more partitions: its table is opened again, and no other one notices.
    pub(super) fn topic_grew(&mut self, index: usize) {
        if self.is_group() {
            return self.begin_again();
        }
        if self.tables[index].life == Life::Running {
            info!(
                table = self.run.config.tables[index].id,
                topic = self.run.config.tables[index].topic,
                "the number of partitions has changed: opening the table again"
            );
            self.tables[index].life = Life::Reopening;
            self.tell_shards(&ToShard::Close { table: index });
        }
    }

    pub(super) fn committer_ended(&mut self, index: usize, outcome: Result<()>) {
        self.committers.remove(&index);
        match outcome {
            Err(error) => self.table_stopped(index, error),
            Ok(()) if self.tables[index].life == Life::Reopening && !self.draining => {
                self.begin_opening(index);
            }
            Ok(()) if self.tables[index].life == Life::Running => self.tables[index].life = Life::Ended,
            Ok(()) => {}
        }
    }

    pub(super) fn partition_stopped(&mut self, index: usize, source: &TopicPartition, error: Error) {
        if let Some(cause) = self.cause_of(index, &error) {
            return self.table_stopped(index, cause);
        }
        let of = &self.run.config.tables[index];
        error!(table = of.id, %error, remedy = error.remedy, "a partition has stopped");
        self.tables[index].reading.remove(source);
        self.board.set(Part::partition(&of.id, source), State::Stopped(Why::from(&error)));
        self.first_stop.get_or_insert(error);
    }

    /// Offsets that are gone may be those of a topic that is gone: that is the cause then, and of more
    /// than one partition.
    pub(super) fn cause_of(&self, index: usize, error: &Error) -> Option<Error> {
        let identity_check =
            self.tables[index].identity_check.as_ref().filter(|_| error.kind == ErrorKind::Disagree)?;
        let answer =
            self.runtime.block_on(async { tokio::time::timeout(CAUSE_TIMEOUT, identity_check.ask()).await });
        match answer {
            Ok(Confirmed::CreatedAgain(cause)) => Some(cause),
            _ => None,
        }
    }

    pub(super) fn table_stopped(&mut self, index: usize, error: Error) {
        let of = &mut self.tables[index];
        if of.life == Life::Stopped {
            return;
        }
        of.life = Life::Stopped;
        of.reading.clear();
        let table = &self.run.config.tables[index];
        error!(table = table.id, %error, remedy = error.remedy, "a table has stopped");
        self.board.stop_table(&table.id, &Why::from(&error));
        self.tell_shards(&ToShard::Stop { table: index });
        self.members.renounce(&table.topic);
        self.first_stop.get_or_insert(error);
    }

    // ---- what is left ----

    pub(super) fn is_opening(&self) -> bool {
        self.tables.iter().any(|of| of.life == Life::Opening)
    }

    /// Every table was tried, and none could be opened: a start that fails.
    pub(super) fn start_failed(&self) -> Option<Error> {
        let nobody_ran = self.tables.iter().all(|of| {
            matches!(of.life, Life::Retrying(_) | Life::Stopped)
                && of.failed.is_some()
                && of.identity_check.is_none()
        });
        let first = self.tables.first()?;
        nobody_ran.then(|| first.failed.as_ref().expect("looked at above").0.clone())
    }

    /// No table is read, and none will be.
    pub(super) fn nothing_left(&self) -> bool {
        let (is_group, until_end) = (self.is_group(), self.run.until_end);
        self.tables.iter().all(|of| match of.life {
            Life::Ended | Life::Stopped => true,
            // A group may assign what is not read now, and a bounded run waits for its commits.
            Life::Running => !is_group && !until_end && of.reading.is_empty(),
            Life::Opening | Life::Retrying(_) | Life::Reopening => false,
        })
    }
}

/// What a thread that opens a table needs.
struct Opener {
    config: Arc<Config>,
    index: usize,
    catalog: Arc<Catalog>,
    clock: SharedClock,
    writer: Writer,
}

impl Opener {
    async fn open(&self) -> Result<Started> {
        let table = &self.config.tables[self.index];
        self.open_table(table).await.map_err(|error| error.context(format!("table `{}`", table.id)))
    }

    async fn open_table(&self, table: &Table) -> Result<Started> {
        let mut ready =
            preflight::table(&self.config, table, &self.catalog, &self.clock, &mut Silent).await?;
        if let Some(inferred) = &ready.inferred {
            let left_out = inferred.left_out_text();
            info!(table = table.id, samples = inferred.samples_used, left_out, schema = %ready.schema, "schema inferred");
        }
        let places = places(table, &ready);
        let opened = delta_sink::open(
            &ready.store,
            &identity(table, &self.writer),
            &ready.topic,
            || self.catalog.watermarks_of_the_same(&ready.topic, table.start),
            Preview {
                schema_if_new: Some(&ready.schema),
                seen: ready.seen.take(),
                dead_letters: ready.dead_letters_seen.take(),
            },
            &places,
            &self.clock,
        )
        .await?;
        for held in &ready.held {
            held.remember().await;
        }
        let version = opened.snapshot.version;
        info!(table = table.id, location = %table.location, %version, created = opened.created, "table open");
        Ok(Started { ready, opened })
    }
}

fn identity(table: &Table, writer: &Writer) -> Identity {
    Identity { table_id: table.id.clone(), writer: writer.clone(), is_alive: host::is_alive }
}

fn places(table: &Table, ready: &Ready) -> DeadLetterLocations {
    let options = table.storage_options.clone();
    let reach = move |place: &str| {
        let url = url::Url::parse(place).map_err(|error| {
            Error::new(ErrorKind::Disagree, format!("the table remembers dead letters at `{place}`: {error}"))
        })?;
        Store::open(&url, &options)
    };
    DeadLetterLocations { current: ready.dead_letters.clone(), reach: Arc::new(reach) }
}

fn readings(table: usize, opened: &Opened, until_end: bool) -> Vec<Reading> {
    let reading = |(source, &start): (&TopicPartition, _)| {
        let end = until_end.then(|| opened.watermarks[&source.partition].end);
        let held = opened.dead_letters.held.get(source).cloned().unwrap_or_default();
        Reading { table, source: source.clone(), start, held, end }
    };
    opened.plan.starts.iter().map(reading).collect()
}

fn table_context(
    table: &Table,
    ready: &Ready,
    opened: &Opened,
    to_committer: mpsc::UnboundedSender<ToCommitter>,
    orphan_cleaner: OrphanCleaner,
    committer: &CommitterDependencies,
) -> TableContext {
    TableContext {
        table: committer.table,
        table_id: table.id.clone(),
        store: ready.store.clone(),
        dead_letters: ready.dead_letters.clone(),
        schema: Arc::clone(&opened.schema),
        decoding: table.decoding.clone(),
        format: Arc::new(table.decoding.format),
        transform: None,
        on_bad_record: table.on_bad_record,
        max_latency: table.max_latency,
        target_file_size: table.target_file_size,
        compression: table.compression,
        to_committer,
        orphan_cleaner,
        board: Arc::clone(&committer.board),
        identity_check: committer.identity_check.clone(),
    }
}
