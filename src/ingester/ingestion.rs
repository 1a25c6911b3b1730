//! One ingestion: its shards, and what it waits for until it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::links::Links;
use super::run::Run;
use super::table_life::{Outcome, TableLife};
use crate::budget::{Budget, Shares};
use crate::config::resources::Machine;
use crate::config::{Config, Table};
use crate::delta::checkpoint::CheckpointPermits;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Moved, ToShard};
use crate::member::Members;
use crate::protocol::balance::{Balance, Load, Move};
use crate::protocol::fence::Writer;
use crate::shard::{self, Report, Shard};
use crate::source::catalog::Catalog;
use crate::source::identity_check::{Change, Watch};
use crate::source::kafka::KafkaSource;
use crate::source::prefetch::Prefetch;
use crate::status::Board;
use crate::stores::orphan_cleaner::OrphanCleaner;

/// A drain that takes longer is given up; nothing is lost, it is read again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(9);
/// A drain whose commits took long still gets this much for deleting discarded files.
const SWEEP_AT_LEAST: Duration = Duration::from_millis(500);
/// How long the consumer group may take to hear that we leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages that a shard may have unread, besides those of a group that takes all partitions back.
const SHARD_INBOX: usize = 4096;
/// Partitions that may stop at once, of topics that nobody has counted yet.
const STOPS_AT_ONCE: usize = 4096;

/// Why one ingestion ended.
pub(super) enum Ended {
    Done,
    /// What the members of a group subscribe to has changed: begin again, with what there is now.
    BeginAgain,
}

/// A service that is away, credentials that are being renewed, a disk that is being mended.
pub(super) fn may_come_back(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::Io)
}

/// Shards, and the tables that they read.
pub(super) struct Ingestion<'a> {
    pub(super) run: &'a Run,
    /// The same config for threads that open tables.
    pub(super) config: Arc<Config>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) writer: Writer,
    pub(super) board: Arc<Board>,
    pub(super) runtime: Handle,
    pub(super) orphan_cleaner: OrphanCleaner,
    pub(super) checkpoints: CheckpointPermits,
    pub(super) topics: Watch,
    /// By their place in the config, as everywhere.
    pub(super) tables: Vec<TableLife>,
    pub(super) started_out: Sender<Outcome>,
    pub(super) started: Receiver<Outcome>,
    pub(super) committers: BTreeMap<usize, JoinHandle<()>>,
    pub(super) committers_out: Sender<(usize, Result<()>)>,
    pub(super) committers_ended: Receiver<(usize, Result<()>)>,
    pub(super) shards: Vec<Sender<ToShard>>,
    pub(super) shards_ended: Receiver<(usize, Result<()>)>,
    /// Which shard takes the next partition.
    pub(super) next_shard: usize,
    /// Every shard may read partitions of every table.
    pub(super) any_shard: bool,
    pub(super) reports: Receiver<Report>,
    pub(super) loads: Receiver<Load>,
    pub(super) balance: Balance,
    /// Taken when the group is joined; stays where there is none.
    pub(super) links: Option<Links>,
    pub(super) members: Members,
    /// The first trouble that stopped a partition or a table.
    pub(super) first_stop: Option<Error>,
    pub(super) draining: bool,
    /// What the members of the group subscribe to has changed.
    pub(super) begins_again: bool,
    /// Boot time at which a drain with a deadline began.
    pub(super) hurried: Option<Duration>,
    pub(super) deadline: Receiver<std::time::Instant>,
}

impl<'a> Ingestion<'a> {
    /// Starts the shards, and begins to open the tables.
    pub(super) fn start(
        run: &'a Run,
        runtime: &Handle,
        board: &Arc<Board>,
        writer: &Writer,
        orphan_cleaner: &OrphanCleaner,
    ) -> Result<Ingestion<'a>> {
        let tables = run.config.tables.len();
        let catalog = Arc::new(Catalog::connect(&run.config.kafka)?);
        let partitions_of = |table: &Table| catalog.partitions_count(&table.topic).max(1);
        let partitions: usize = run.config.tables.iter().map(partitions_of).sum();
        let count = run.config.limits.shards.min(partitions).max(1);
        let topics = Watch::start(Arc::clone(&catalog), tables, !run.until_end, Arc::clone(board))?;
        let links = Links::new(run, count, partitions);
        // A bounded run ends its partitions one by one: nothing is gained by moving them. And a group's
        // members are to have what it assigns them.
        let is_group = run.config.kafka.group.is_some();
        let moves = count > 1 && !run.until_end && !is_group;
        // A stop of every partition, and one move.
        let (reports_out, reports) = bounded(partitions + STOPS_AT_ONCE);
        let (loads_out, loads) = bounded(2 * count);
        let (shards, inboxes): (Vec<_>, Vec<_>) =
            (0..count).map(|_| bounded(SHARD_INBOX + 2 * partitions)).unzip();
        let upward = Upward { reports: reports_out, loads: moves.then_some(loads_out), links: &links };
        let shards_ended = start_shards(run, runtime, inboxes, &upward, catalog.brokers_count)?;
        let (started_out, started) = bounded(tables);
        let (committers_out, committers_ended) = bounded(tables);
        let mut ingestion = Ingestion {
            run,
            config: Arc::new(run.config.clone()),
            catalog,
            writer: writer.clone(),
            board: Arc::clone(board),
            runtime: runtime.clone(),
            orphan_cleaner: orphan_cleaner.clone(),
            checkpoints: CheckpointPermits::default(),
            topics,
            tables: (0..tables).map(|_| TableLife::new()).collect(),
            started_out,
            started,
            committers: BTreeMap::new(),
            committers_out,
            committers_ended,
            shards,
            shards_ended,
            next_shard: 0,
            any_shard: moves || is_group,
            reports,
            loads,
            balance: Balance::new(count),
            links: Some(links),
            members: Members::none(),
            first_stop: None,
            draining: false,
            begins_again: false,
            hurried: None,
            deadline: never(),
        };
        (0..tables).for_each(|index| ingestion.begin_opening(index));
        Ok(ingestion)
    }

    /// Waits for whatever ends the ingestion, and ends it in order: no orphan stays in a store.
    pub(super) fn supervise(mut self) -> Result<Ended> {
        let ended = self.watch();
        std::mem::replace(&mut self.members, Members::none()).leave(LEAVE_TIMEOUT);
        let taken = self.hurried.map_or(Duration::ZERO, |began| self.run.clock.boot().saturating_sub(began));
        self.runtime
            .block_on(self.orphan_cleaner.finish(DRAIN_TIMEOUT.saturating_sub(taken).max(SWEEP_AT_LEAST)));
        ended
    }

    pub(super) fn watch(&mut self) -> Result<Ended> {
        let mut shards_left = self.shards.len();
        let mut stopped_by_signal = false;
        // A channel whose senders have all ended is always ready: it is not asked again.
        let (unchanged, unloaded, nobody) = (never(), never(), never());
        let (mut balanced, mut watched) = (true, true);
        while shards_left + self.committers.len() > 0 {
            let now = self.run.clock.boot();
            let next_try = self.next_try().map_or_else(never, |at| after(at.saturating_sub(now)));
            select! {
                recv(self.run.stop) -> _ => {
                    info!("stopping: committing what was read");
                    stopped_by_signal = true;
                    self.drain();
                }
                recv(self.started) -> outcome => if let Ok(outcome) = outcome {
                    self.opening_ended(outcome)?;
                },
                recv(next_try) -> _ => self.try_again(),
                recv(self.reports) -> report => match report {
                    Ok(Report::Stopped { table, source, error }) => self.partition_stopped(table, &source, error),
                    Ok(Report::Released { from, to, moved }) => self.carry(from, to, moved),
                    Err(_) => self.reports = never(),
                },
                recv(if balanced { &self.loads } else { &unloaded }) -> load => match load {
                    Ok(load) => self.even_out(load),
                    Err(_) => balanced = false,
                },
                recv(self.committers_ended) -> ended => if let Ok((table, outcome)) = ended {
                    self.committer_ended(table, outcome);
                },
                recv(if shards_left > 0 { &self.shards_ended } else { &nobody }) -> ended => {
                    shards_left -= 1;
                    // It takes no partition any more.
                    balanced = false;
                    if let Ok((shard, Err(error))) = ended {
                        error!(shard, %error, "a shard failed");
                        self.first_stop.get_or_insert(error);
                        self.drain();
                    }
                }
                recv(if watched { &self.topics.changes } else { &unchanged }) -> change => match change {
                    Ok((table, Change::Grew)) => self.topic_grew(table),
                    Ok((table, Change::CreatedAgain(error))) => self.table_stopped(table, error),
                    Err(_) => watched = false,
                },
                recv(self.members.news) -> news => self.hear_of_the_group(news.ok()),
                recv(self.deadline) -> _ => {
                    if !self.begins_again || stopped_by_signal {
                        return Err(undrained(self.first_stop.take()));
                    }
                    self.abandon();
                }
            }
            if self.nothing_left() || self.start_failed().is_some() {
                self.drain();
            }
        }
        self.outcome(stopped_by_signal)
    }

    pub(super) fn outcome(&mut self, stopped_by_signal: bool) -> Result<Ended> {
        if let Some(error) = self.start_failed().filter(|_| !stopped_by_signal) {
            return Err(error);
        }
        match self.first_stop.take() {
            Some(error) if error.kind == ErrorKind::Internal => Err(error),
            // What had stopped is met again by those who begin again.
            _ if self.begins_again && !stopped_by_signal => Ok(Ended::BeginAgain),
            // Asked to stop, and what could be committed is: the stops were reported when they happened.
            Some(error) if !stopped_by_signal => Err(error),
            _ => Ok(Ended::Done),
        }
    }

    /// Hands over what was read, within a time. Shards read no more; they end when all they had is
    /// committed, and the committers after them.
    pub(super) fn drain(&mut self) {
        if self.hurried.is_none() {
            self.hurried = Some(self.run.clock.boot());
            self.deadline = after(DRAIN_TIMEOUT);
        }
        if !std::mem::replace(&mut self.draining, true) {
            self.tell_shards(&ToShard::Drain);
        }
    }

    /// Ends this ingestion, so that another one begins.
    pub(super) fn begin_again(&mut self) {
        self.begins_again = true;
        self.drain();
    }

    /// Drops what could not be committed in time: whoever begins again reads it again.
    pub(super) fn abandon(&mut self) {
        self.deadline = never();
        for (index, committer) in std::mem::take(&mut self.committers) {
            warn!(
                table = self.run.config.tables[index].id,
                "not all that was read could be committed in time; it is read again"
            );
            committer.abort();
            self.tell_shards(&ToShard::Stop { table: index });
        }
    }

    pub(super) fn is_group(&self) -> bool {
        self.run.config.kafka.group.is_some()
    }

    /// Has a partition moved where shards are busy and idle side by side.
    pub(super) fn even_out(&mut self, load: Load) {
        let Some(Move { partition: (table, source), from, to }) =
            self.balance.observe(load, self.run.clock.boot())
        else {
            return;
        };
        info!(table = self.run.config.tables[table].id, partition = %source, from, to, "a partition moves to another shard");
        // It is busy elsewhere: the difference lasts, and it is told again.
        let _ = self.shards[from].try_send(ToShard::Release { table, source, to });
    }

    /// Gives a partition that one shard let go to the other. A shard that has ended takes nothing any more.
    pub(super) fn carry(&self, from: usize, to: usize, moved: Moved) {
        for shard in [to, from] {
            if self.shards[shard].send(ToShard::Take(moved.clone())).is_ok() {
                return;
            }
        }
    }

    pub(super) fn tell_shards(&self, message: &ToShard) {
        for shard in &self.shards {
            // A shard that has ended needs no telling.
            let _ = shard.try_send(message.clone());
        }
    }
}

/// Where shards tell the ingester.
struct Upward<'a> {
    reports: Sender<Report>,
    loads: Option<Sender<Load>>,
    links: &'a Links,
}

/// Starts a thread for each shard; what they read they are told later.
fn start_shards(
    run: &Run,
    runtime: &Handle,
    inboxes: Vec<Receiver<ToShard>>,
    upward: &Upward<'_>,
    brokers: usize,
) -> Result<Receiver<(usize, Result<()>)>> {
    let count = inboxes.len();
    let pins = if run.config.limits.pin { Machine::this().pins } else { Vec::new() };
    let memory = Shares::of(run.config.limits.memory, count);
    let prefetch = Prefetch::within(memory.fetch, brokers);
    let budget = Budget::new(memory.work);
    let (ended_out, ended) = bounded(count);
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let source = KafkaSource::new(&run.config.kafka, prefetch)?;
        let dependencies = shard::ShardDependencies {
            index,
            inbox,
            reports: upward.reports.clone(),
            loads: upward.loads.clone(),
            group: upward.links.of_shard(index),
            stays: true,
            clock: Arc::clone(&run.clock),
            runtime: runtime.clone(),
            budget: budget.another(),
        };
        let ended = ended_out.clone();
        let pin = pins.get(index % pins.len().max(1)).copied();
        let body = move || {
            if let Some(id) = pin {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            let outcome = Shard::new(source, Vec::new(), Vec::new(), dependencies).and_then(Shard::run);
            // The supervisor may have given up waiting.
            let _ = ended.try_send((index, outcome));
        };
        std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(body)
            .map_err(|error| Error::new(ErrorKind::Io, format!("a shard's thread cannot start: {error}")))?;
    }
    Ok(ended)
}

fn undrained(first_stop: Option<Error>) -> Error {
    first_stop.unwrap_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            format!("not all that was read could be committed within {} s", DRAIN_TIMEOUT.as_secs()),
        )
        .remedy("nothing is lost: the next start reads it again from the table's offsets")
    })
}
