//! A running ingestion: shards and committers, from start to drain.
//!
//! It owns threads and tasks, signals, and the question when the whole is
//! over and with what outcome. It does not touch a record or a commit. What a
//! consumer group changes is `group`.

mod group;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use self::group::Links;
use crate::admin;
use crate::budget::{Budget, Shares};
use crate::clock::SharedClock;
use crate::committer::{self, Committer, Identity, Opened, Places};
use crate::config::resources::Machine;
use crate::config::{Config, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Moved, Tips, ToShard};
use crate::health::Health;
use crate::host;
use crate::ids::TopicPartition;
use crate::member::{Members, News};
use crate::metrics;
use crate::preflight::{self, Ready, Silent};
use crate::protocol::balance::{Balance, Load, Move};
use crate::protocol::fence::Writer;
use crate::shard::{self, Lane, Reading, Report, Shard};
use crate::source::catalog::{Catalog, Topic};
use crate::source::kafka::KafkaSource;
use crate::source::prefetch::Prefetch;
use crate::source::witness::{Change, Known, Watch};
use crate::table::checkpoint::Turns;
use crate::table::guard;
use crate::table::store::Store;
use crate::table::sweeper::Sweeper;

/// A drain that takes longer is given up; nothing is lost, it is read again.
const DRAIN_PATIENCE: Duration = Duration::from_secs(9);
/// A drain whose commits took long still gets this much for deleting void files.
const SWEEP_AT_LEAST: Duration = Duration::from_millis(500);
/// How long the consumer group may take to hear that we leave.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// A run that began goes on trying to begin again, this often.
const BEGIN_AGAIN_EVERY: Duration = Duration::from_secs(3);
/// Messages that a shard may have unread, besides those of a group that takes all partitions back.
const SHARD_INBOX: usize = 4096;

/// What a run needs besides its config.
pub struct Run {
    pub config: Config,
    /// Stop when the end offsets seen at start are committed.
    pub until_end: bool,
    pub clock: SharedClock,
    /// Says that the run should end in order.
    pub stop: Receiver<()>,
}

/// Why one generation of shards and committers ended.
enum Ended {
    Done,
    /// A topic grew, or the group assigns what is not known: begin again, with what there is now.
    TopicsChanged,
}

/// Runs until told to stop, until the end is committed, or until nothing is left to do.
pub fn run(run: &Run) -> Result<()> {
    group::refuse_bounded(run)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Io, format!("the I/O threads cannot start: {error}")))?;
    let recorder = metrics::install()?;
    let health = Arc::new(Health::new(Arc::clone(&run.clock)));
    for table in &run.config.tables {
        health.set_ready(&component(table), Err("starting".to_owned()));
        if table.location.scheme() != "file" {
            guard::of(&table.location, &table.storage_options).tell(&health);
        }
    }
    let listener = admin::bind(run.config.admin.listen, run.config.admin.explicit)?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving /metrics, /livez and /readyz");
        if admin::is_open_to_others(address) {
            warn!(%address, "the administration port is open to other machines, and asks nobody who he is");
        }
    }
    runtime.spawn(admin::serve(listener, Arc::clone(&health), recorder, std::future::pending()));
    let group = run.config.kafka.group.as_ref().map(|group| group.name.clone());
    let writer = Writer { group, ..host::this_process(&*run.clock) };
    let sweeper = Sweeper::new(runtime.handle().clone());
    let mut began = false;
    let outcome = loop {
        let generation = match Generation::start(run, &runtime, &health, &writer, &sweeper) {
            Ok(generation) => generation,
            // Running, nothing that may come back ends us.
            Err(error) if began && may_come_back(error.kind) => {
                warn!(%error, remedy = error.remedy, "cannot begin again yet");
                match run.stop.recv_timeout(BEGIN_AGAIN_EVERY) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    _ => break Ok(()),
                }
            }
            Err(error) => break Err(error),
        };
        began = true;
        let began_at = run.clock.boot();
        match generation.supervise() {
            Ok(Ended::TopicsChanged) => {
                info!("a topic has changed: starting over from the tables' offsets");
                // Brokers do not hear of it all at once: who began a moment ago may not yet see it.
                let lived = run.clock.boot().saturating_sub(began_at);
                let rest = BEGIN_AGAIN_EVERY.saturating_sub(lived);
                if !matches!(run.stop.recv_timeout(rest), Err(RecvTimeoutError::Timeout)) {
                    break Ok(());
                }
            }
            Ok(Ended::Done) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // What is unresolved stays so: the log decides at the next start.
    runtime.shutdown_background();
    outcome
}

/// A service that is away, credentials that are being renewed, a disk that is being mended.
fn may_come_back(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::Io)
}

fn component(table: &Table) -> String {
    format!("table {}", table.id)
}

/// One set of shards and committers, from the tables' offsets to a drain.
struct Generation<'a> {
    run: &'a Run,
    topics: Watch,
    shards: Vec<Sender<ToShard>>,
    shards_ended: Receiver<(usize, Result<()>)>,
    committers_ended: Receiver<(usize, Result<()>)>,
    reports: Receiver<Report>,
    loads: Receiver<Load>,
    members: Members,
    balance: Balance,
    /// Partitions that are being read, by table.
    reading: Vec<BTreeSet<TopicPartition>>,
    /// Tables that go no further.
    stopped: BTreeSet<usize>,
    committers: usize,
    /// The first trouble that stopped a partition or a table.
    first_stop: Option<Error>,
    draining: bool,
    /// Boot time at which a drain with a deadline began.
    hurried: Option<Duration>,
    health: Arc<Health>,
    runtime: Handle,
    sweeper: Sweeper,
}

impl<'a> Generation<'a> {
    fn start(
        run: &'a Run,
        runtime: &tokio::runtime::Runtime,
        health: &Arc<Health>,
        writer: &Writer,
        sweeper: &Sweeper,
    ) -> Result<Generation<'a>> {
        let catalog = Catalog::connect(&run.config.kafka)?;
        let mut first_stop = None;
        let ready = runtime.block_on(prepare(run, &catalog, health, &mut first_stop))?;
        let mut opened = runtime.block_on(open(run, &catalog, &ready, health, writer, &mut first_stop))?;
        let known = known(&ready, &opened);
        let brokers = catalog.brokers_count;
        let topics = Watch::start(catalog, known, !run.until_end, Arc::clone(health))?;
        let partitions = group::partitions(run, &opened);
        let count = run.config.limits.shards.min(partitions).max(1);
        let mut links = Links::new(run, count, partitions);
        let mut told: Vec<Option<watch::Sender<Tips>>> = Vec::new();
        for (index, opened) in &mut opened {
            told.push(links.table(*index, &ready[*index].0, opened));
        }
        for (table, opened) in &opened {
            let table = &run.config.tables[*table];
            for (partition, error) in &opened.plan.stopped {
                error!(table = table.id, %partition, %error, remedy = error.remedy, "a partition is not read");
                metrics::partition_stalled(&table.id);
                health.set_ready(
                    &format!("{} {} [{partition}]", component(table), table.topic),
                    Err(error.message.clone()),
                );
                first_stop.get_or_insert_with(|| error.clone());
            }
        }
        let readings = readings(run, &opened);
        let mut reading: Vec<BTreeSet<TopicPartition>> = vec![BTreeSet::new(); run.config.tables.len()];
        for of in &readings {
            // It may have stood still when an earlier generation read it.
            health.forget(&format!("{} {}", component(&run.config.tables[of.table]), of.source));
            reading[of.table].insert(of.source.clone());
        }
        // A stop of every partition, and one move.
        let (reports_out, reports) = bounded(partitions + 2);
        let (loads_out, loads) = bounded(2 * count);
        // A bounded run ends its partitions one by one: nothing is gained by moving them. And a group's
        // members are to have what it assigns them.
        let moves = count > 1 && !run.until_end && run.config.kafka.group.is_none();
        let loads_out = moves.then_some(loads_out);
        let (shards, inboxes): (Vec<_>, Vec<_>) =
            (0..count).map(|_| bounded(SHARD_INBOX + 2 * partitions)).unzip();
        let (committers_out, committers_ended) = bounded(run.config.tables.len());
        let committers = opened.len();
        let opened_tables: BTreeSet<usize> = opened.iter().map(|(table, _)| *table).collect();
        let (mut lanes, checkpoints) = (Vec::new(), Turns::default());
        for ((index, opened), tips) in opened.into_iter().zip(told) {
            let table = &run.config.tables[index];
            let ready = ready[index].1.as_ref().expect("only what is ready is opened");
            #[expect(clippy::disallowed_methods, reason = "bounded by the shards' uncommitted work")]
            let (to_committer, inbox) = mpsc::unbounded_channel();
            let wiring = committer::Wiring {
                table: index,
                inbox,
                shards: shards.clone(),
                clock: Arc::clone(&run.clock),
                health: Arc::clone(health),
                witness: topics.witness(index),
                sweeper: sweeper.clone(),
                checkpoints: checkpoints.clone(),
                checkpoint_every: committer::CHECKPOINT_EVERY,
                compression: table.compression,
                tips,
            };
            lanes.push(lane(table, ready, &opened, to_committer, &wiring));
            health.set_ready(&component(table), Ok(()));
            let identity = identity(table, writer);
            let places = places(table, ready);
            let committer = Committer::new(ready.store.clone(), identity, places, opened, wiring);
            let ended = committers_out.clone();
            runtime.spawn(async move {
                let outcome = committer.run().await.map(|_| ());
                // The supervisor may have given up waiting.
                let _ = ended.try_send((index, outcome));
            });
        }
        let shards_ended = start_shards(
            run,
            runtime,
            lanes,
            readings,
            inboxes,
            &Upward { reports: reports_out, loads: loads_out, links: &links },
            brokers,
        )?;
        let members = links.join(run, &shards)?;
        Ok(Generation {
            run,
            topics,
            stopped: (0..run.config.tables.len()).filter(|table| !opened_tables.contains(table)).collect(),
            committers,
            shards,
            shards_ended,
            committers_ended,
            reports,
            loads,
            members,
            balance: Balance::new(count),
            reading,
            first_stop,
            draining: false,
            hurried: None,
            health: Arc::clone(health),
            runtime: runtime.handle().clone(),
            sweeper: sweeper.clone(),
        })
    }

    /// Waits for whatever ends the generation, and ends it in order: nothing void stays in a store.
    fn supervise(mut self) -> Result<Ended> {
        let ended = self.watch();
        std::mem::replace(&mut self.members, Members::none()).leave(LEAVE_PATIENCE);
        let taken = self.hurried.map_or(Duration::ZERO, |began| self.run.clock.boot().saturating_sub(began));
        self.runtime.block_on(self.sweeper.finish(DRAIN_PATIENCE.saturating_sub(taken).max(SWEEP_AT_LEAST)));
        ended
    }

    fn watch(&mut self) -> Result<Ended> {
        let mut shards_left = self.shards.len();
        let mut committers_left = self.committers;
        let mut deadline = never();
        let mut ended = Ended::Done;
        let mut stopped_by_signal = false;
        // A channel whose senders have all ended is always ready: it is not asked again.
        let nobody = never();
        let unchanged = never();
        let unloaded = never();
        let mut balanced = true;
        let mut watched = true;
        if self.nothing_left() && !self.run.until_end {
            self.drain(&mut deadline);
        }
        while shards_left + committers_left > 0 {
            select! {
                recv(self.run.stop) -> _ => {
                    info!("stopping: committing what was read");
                    stopped_by_signal = true;
                    self.drain(&mut deadline);
                }
                recv(self.reports) -> report => match report {
                    Ok(Report::Stopped { table, source, error }) => {
                        self.partition_stopped(table, &source, error);
                        if self.nothing_left() {
                            self.drain(&mut deadline);
                        }
                    }
                    Ok(Report::Released { from, to, moved }) => self.carry(from, to, moved),
                    Err(_) => {}
                },
                recv(if balanced { &self.loads } else { &unloaded }) -> load => match load {
                    Ok(load) => self.even_out(load),
                    Err(_) => balanced = false,
                },
                recv(if committers_left > 0 { &self.committers_ended } else { &nobody }) -> message => {
                    committers_left -= 1;
                    if let Ok((table, Err(error))) = message {
                        self.table_stopped(table, error);
                        let fenced = self.first_stop.as_ref().is_some_and(|error| error.kind == ErrorKind::Fenced);
                        if fenced || self.nothing_left() {
                            self.drain(&mut deadline);
                        }
                    }
                }
                recv(if shards_left > 0 { &self.shards_ended } else { &nobody }) -> message => {
                    shards_left -= 1;
                    // It takes no partition any more.
                    balanced = false;
                    if let Ok((shard, Err(error))) = message {
                        error!(shard, %error, "a shard failed");
                        self.first_stop.get_or_insert(error);
                        self.drain(&mut deadline);
                    }
                }
                recv(if watched { &self.topics.changes } else { &unchanged }) -> change => match change {
                    Ok((_, Change::Grew)) => {
                        // Nobody waits for us to end: a store that is down may take its time.
                        ended = Ended::TopicsChanged;
                        self.hand_over();
                    }
                    Ok((table, Change::CreatedAgain(error))) => {
                        self.table_stopped(table, error);
                        if self.nothing_left() {
                            self.drain(&mut deadline);
                        }
                    }
                    Err(_) => watched = false,
                },
                recv(self.members.news) -> news => match news {
                    Ok(News::Outdated) if !self.draining => {
                        ended = Ended::TopicsChanged;
                        self.hand_over();
                    }
                    Ok(News::Ended(outcome)) => {
                        self.members.ended();
                        if let Err(error) = outcome {
                            error!(%error, remedy = error.remedy, "a member of the group has ended");
                            self.first_stop.get_or_insert(error);
                            self.drain(&mut deadline);
                        }
                    }
                    Ok(News::Outdated) => {}
                    Err(_) => self.members.news = never(),
                },
                recv(deadline) -> _ => return Err(undrained(self.first_stop.take())),
            }
        }
        let fenced = self.first_stop.as_ref().is_some_and(|error| error.kind == ErrorKind::Fenced);
        match self.first_stop.take() {
            Some(error) if error.kind == ErrorKind::Internal => Err(error),
            // What had stopped is met again by those who begin again.
            _ if matches!(ended, Ended::TopicsChanged) && !stopped_by_signal && !fenced => Ok(ended),
            // Asked to stop, and what could be committed is: the stops were reported when they happened.
            Some(error) if !stopped_by_signal => Err(error),
            _ => Ok(Ended::Done),
        }
    }

    /// Hands over what was read, within a time.
    fn drain(&mut self, deadline: &mut Receiver<std::time::Instant>) {
        if self.hurried.is_none() {
            self.hurried = Some(self.run.clock.boot());
            *deadline = crossbeam_channel::after(DRAIN_PATIENCE);
        }
        self.hand_over();
    }

    /// Shards read no more; they end when all they had is committed, and the committers after them.
    fn hand_over(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.tell_shards(&ToShard::Drain);
        }
    }

    /// Has a partition moved where shards are busy and idle side by side.
    fn even_out(&mut self, load: Load) {
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
    fn carry(&self, from: usize, to: usize, moved: Moved) {
        for shard in [to, from] {
            if self.shards[shard].send(ToShard::Take(moved.clone())).is_ok() {
                return;
            }
        }
    }

    fn tell_shards(&self, message: &ToShard) {
        for shard in &self.shards {
            // A shard that has ended needs no telling.
            let _ = shard.try_send(message.clone());
        }
    }

    fn partition_stopped(&mut self, table: usize, source: &TopicPartition, error: Error) {
        let of = &self.run.config.tables[table];
        error!(table = of.id, %error, remedy = error.remedy, "a partition has stopped");
        metrics::partition_stalled(&of.id);
        self.reading[table].remove(source);
        if error.kind == ErrorKind::Disagree {
            // Offsets that are gone may be those of a topic that is gone.
            self.topics.look_at(table);
        }
        self.health.set_ready(&format!("{} {source}", component(of)), Err(error.message.clone()));
        self.first_stop.get_or_insert(error);
    }

    fn table_stopped(&mut self, table: usize, error: Error) {
        if !self.stopped.insert(table) {
            return;
        }
        let of = &self.run.config.tables[table];
        error!(table = of.id, %error, remedy = error.remedy, "a table has stopped");
        self.reading[table].clear();
        self.health.set_ready(&component(of), Err(error.message.clone()));
        self.tell_shards(&ToShard::Stop { table });
        self.members.renounce(&of.topic);
        self.first_stop.get_or_insert(error);
    }

    fn nothing_left(&self) -> bool {
        if self.run.config.kafka.group.is_some() {
            return group::all_stopped(&self.stopped, self.run.config.tables.len());
        }
        self.reading.iter().all(BTreeSet::is_empty)
    }
}

/// Asks everything of every table before the first is touched. One that
/// disagrees with its topic stops, and the others go on.
async fn prepare(
    run: &Run,
    catalog: &Catalog,
    health: &Health,
    first_stop: &mut Option<Error>,
) -> Result<Vec<(Topic, Option<Ready>)>> {
    let mut ready = Vec::new();
    for table in &run.config.tables {
        let of = preflight::table(&run.config, table, catalog, &run.clock, &mut Silent).await;
        let of = match of.map_err(|error| error.context(format!("table `{}`", table.id))) {
            Ok(of) => of,
            Err(error) if error.kind == ErrorKind::Disagree => {
                stop_at_start(table, error, health, first_stop);
                ready.push((catalog.topic(&table.topic)?, None));
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(inferred) = &of.inferred {
            let left_out = inferred.left_out_text();
            info!(table = table.id, samples = inferred.samples_used, left_out, schema = %of.schema, "schema inferred");
        }
        ready.push((of.topic.clone(), Some(of)));
    }
    Ok(ready)
}

fn stop_at_start(table: &Table, error: Error, health: &Health, first_stop: &mut Option<Error>) {
    error!(table = table.id, %error, remedy = error.remedy, "a table is not read");
    health.set_ready(&component(table), Err(error.message.clone()));
    first_stop.get_or_insert(error);
}

/// Opens the tables that can be. One that disagrees with its topic stops, and
/// the others go on; with none left the first disagreement is the error.
async fn open(
    run: &Run,
    catalog: &Catalog,
    ready: &[(Topic, Option<Ready>)],
    health: &Health,
    writer: &Writer,
    first_stop: &mut Option<Error>,
) -> Result<Vec<(usize, Opened)>> {
    let mut all = Vec::new();
    for (index, (table, (_, ready))) in run.config.tables.iter().zip(ready).enumerate() {
        let Some(ready) = ready else { continue };
        let identity = identity(table, writer);
        let opened = committer::open(
            &ready.store,
            &identity,
            &ready.topic,
            || catalog.watermarks(&ready.topic, table.start),
            Some(&ready.schema),
            &places(table, ready),
            &run.clock,
        )
        .await
        .map_err(|error| error.context(format!("table `{}`", table.id)));
        match opened {
            Ok(opened) => {
                let version = opened.snapshot.version;
                info!(table = table.id, location = %table.location, %version, created = opened.created, "table open");
                all.push((index, opened));
            }
            Err(error) if error.kind == ErrorKind::Disagree => {
                stop_at_start(table, error, health, first_stop);
            }
            Err(error) => return Err(error),
        }
    }
    match first_stop.take_if(|_| all.is_empty()) {
        Some(error) => Err(error),
        None => Ok(all),
    }
}

/// The topics of all tables, as their tables know them.
fn known(ready: &[(Topic, Option<Ready>)], opened: &[(usize, Opened)]) -> Vec<Known> {
    let in_table =
        |index| opened.iter().find(|(table, _)| *table == index).map(|(_, opened)| &opened.plan.topic_id);
    let all = ready.iter().enumerate();
    all.map(|(index, (topic, _))| Known::new(topic, in_table(index).unwrap_or(&topic.id))).collect()
}

fn identity(table: &Table, writer: &Writer) -> Identity {
    Identity { table_id: table.id.clone(), writer: writer.clone(), is_alive: host::is_alive }
}

fn places(table: &Table, ready: &Ready) -> Places {
    let options = table.storage_options.clone();
    let reach = move |place: &str| {
        let url = url::Url::parse(place).map_err(|error| {
            Error::new(ErrorKind::Disagree, format!("the table remembers dead letters at `{place}`: {error}"))
        })?;
        Store::open(&url, &options)
    };
    Places { current: ready.dead_letters.clone(), reach: Arc::new(reach) }
}

fn readings(run: &Run, opened: &[(usize, Opened)]) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (table, opened) in opened {
        for (source, &start) in &opened.plan.starts {
            let end = run.until_end.then(|| opened.watermarks[&source.partition].end);
            let held = opened.letters.held.get(source).cloned().unwrap_or_default();
            readings.push(Reading { table: *table, source: source.clone(), start, held, end });
        }
    }
    readings
}

fn lane(
    table: &Table,
    ready: &Ready,
    opened: &Opened,
    to_committer: mpsc::UnboundedSender<crate::exchange::ToCommitter>,
    committer: &committer::Wiring,
) -> Lane {
    Lane {
        table: committer.table,
        table_id: table.id.clone(),
        store: ready.store.clone(),
        dead_letters: ready.dead_letters.clone(),
        schema: Arc::clone(&opened.schema),
        decoding: table.decoding.clone(),
        on_bad_record: table.on_bad_record,
        max_latency: table.max_latency,
        target_file_size: table.target_file_size,
        compression: table.compression,
        to_committer,
        sweeper: committer.sweeper.clone(),
        health: Arc::clone(&committer.health),
        witness: committer.witness.clone(),
    }
}

/// Where shards tell the ingester.
struct Upward<'a> {
    reports: Sender<Report>,
    loads: Option<Sender<Load>>,
    links: &'a Links,
}

/// Spreads the partitions over threads: each table's over as many as it can.
fn start_shards(
    run: &Run,
    runtime: &tokio::runtime::Runtime,
    lanes: Vec<Lane>,
    readings: Vec<Reading>,
    inboxes: Vec<Receiver<ToShard>>,
    upward: &Upward<'_>,
    brokers: usize,
) -> Result<Receiver<(usize, Result<()>)>> {
    let count = inboxes.len();
    let mut shares: Vec<Vec<Reading>> = vec![Vec::new(); count];
    for (index, reading) in readings.into_iter().enumerate() {
        shares[index % count].push(reading);
    }
    let pins = if run.config.limits.pin { Machine::this().pins } else { Vec::new() };
    let memory = Shares::of(run.config.limits.memory, count);
    let prefetch = Prefetch::within(memory.fetch, brokers);
    let budget = Budget::new(memory.work);
    let (ended_out, ended) = bounded(count);
    for (index, (share, inbox)) in shares.into_iter().zip(inboxes).enumerate() {
        // Where partitions move, any may come. Otherwise a shard holds open the committers of its own tables only.
        let any = upward.loads.is_some() || upward.links.of_shard(index).is_some();
        let is_own = |lane: &&Lane| any || share.iter().any(|of| of.table == lane.table);
        let own: Vec<Lane> = lanes.iter().filter(is_own).cloned().collect();
        let source = KafkaSource::new(&run.config.kafka, prefetch)?;
        let wiring = shard::Wiring {
            index,
            inbox,
            reports: upward.reports.clone(),
            loads: upward.loads.clone(),
            group: upward.links.of_shard(index),
            clock: Arc::clone(&run.clock),
            runtime: runtime.handle().clone(),
            budget: budget.another(),
        };
        let ended = ended_out.clone();
        let pin = pins.get(index % pins.len().max(1)).copied();
        let body = move || {
            if let Some(id) = pin {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            let outcome = Shard::new(source, own, share, wiring).and_then(Shard::run);
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
            format!("not all that was read could be committed within {} s", DRAIN_PATIENCE.as_secs()),
        )
        .remedy("nothing is lost: the next start reads it again from the table's offsets")
    })
}
