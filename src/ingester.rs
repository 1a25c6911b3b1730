//! A running ingestion: shards and committers, from start to drain.
//!
//! It owns threads and tasks, signals, and the question when the whole is
//! over and with what outcome. It does not touch a record or a commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::admin;
use crate::budget::Budget;
use crate::clock::SharedClock;
use crate::committer::{self, Committer, Identity, Opened};
use crate::config::resources::Machine;
use crate::config::{Config, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ToShard;
use crate::health::Health;
use crate::host;
use crate::ids::TopicPartition;
use crate::metrics;
use crate::preflight::{self, Ready, Silent};
use crate::protocol::fence::Writer;
use crate::shard::{self, Lane, Reading, Report, Shard};
use crate::source::catalog::{Catalog, Topic};
use crate::source::kafka::KafkaSource;

/// A drain that takes longer is given up; nothing is lost, it is read again.
const DRAIN_PATIENCE: Duration = Duration::from_secs(9);
/// How often topics are looked at for new partitions and another identity.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Messages that a shard may have unread.
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
    /// A topic grew: begin again, with its new partitions.
    TopicsChanged,
}

/// Runs until told to stop, until the end is committed, or until nothing is left to do.
pub fn run(run: &Run) -> Result<()> {
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
    }
    let listener = admin::bind(run.config.admin.listen, run.config.admin.explicit)?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving /metrics, /livez and /readyz");
    }
    runtime.spawn(admin::serve(listener, Arc::clone(&health), recorder, std::future::pending()));
    let writer = host::this_process(&*run.clock);
    let outcome = loop {
        match Generation::start(run, &runtime, &health, &writer).and_then(Generation::supervise) {
            Ok(Ended::TopicsChanged) => info!("a topic has changed: starting over from the tables' offsets"),
            Ok(Ended::Done) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // What is unresolved stays so: the log decides at the next start.
    runtime.shutdown_background();
    outcome
}

fn component(table: &Table) -> String {
    format!("table {}", table.id)
}

/// One set of shards and committers, from the tables' offsets to a drain.
struct Generation<'a> {
    run: &'a Run,
    topics: Receiver<TopicChange>,
    /// Dropped with the generation: its watcher ends.
    _watching: Sender<()>,
    shards: Vec<Sender<ToShard>>,
    shards_ended: Receiver<(usize, Result<()>)>,
    committers_ended: Receiver<(usize, Result<()>)>,
    reports: Receiver<Report>,
    /// Partitions that are being read, by table.
    reading: Vec<BTreeSet<TopicPartition>>,
    /// The first trouble that stopped a partition or a table.
    first_stop: Option<Error>,
    draining: bool,
    health: Arc<Health>,
}

impl<'a> Generation<'a> {
    fn start(
        run: &'a Run,
        runtime: &tokio::runtime::Runtime,
        health: &Arc<Health>,
        writer: &Writer,
    ) -> Result<Generation<'a>> {
        let catalog = Catalog::connect(&run.config.kafka)?;
        let ready = runtime.block_on(prepare(run, &catalog))?;
        let opened = runtime.block_on(open(run, &catalog, &ready, writer))?;
        let known = ready.iter().map(|ready| ready.topic.clone()).collect();
        let mut first_stop = None;
        for (table, opened) in run.config.tables.iter().zip(&opened) {
            for (partition, error) in &opened.plan.stopped {
                error!(table = table.id, %partition, %error, remedy = error.remedy, "a partition is not read");
                first_stop.get_or_insert_with(|| error.clone());
            }
        }
        let readings = readings(run, &opened);
        let mut reading: Vec<BTreeSet<TopicPartition>> = vec![BTreeSet::new(); run.config.tables.len()];
        for of in &readings {
            reading[of.table].insert(of.source.clone());
        }
        let count = run.config.limits.shards.min(readings.len()).max(1);
        let (reports_out, reports) = bounded(readings.len() + 1);
        let (shards, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| bounded(SHARD_INBOX)).unzip();
        let (committers_out, committers_ended) = bounded(run.config.tables.len());
        let mut lanes = Vec::new();
        for (index, (ready, opened)) in ready.iter().zip(opened).enumerate() {
            let table = &run.config.tables[index];
            #[expect(clippy::disallowed_methods, reason = "bounded by the shards' uncommitted work")]
            let (to_committer, inbox) = mpsc::unbounded_channel();
            lanes.push(lane(index, table, ready, &opened, to_committer));
            let wiring = committer::Wiring {
                table: index,
                inbox,
                shards: shards.clone(),
                clock: Arc::clone(&run.clock),
                health: Arc::clone(health),
            };
            health.set_ready(&component(table), Ok(()));
            let identity = identity(table, writer);
            let committer = Committer::new(ready.store.clone(), identity, opened, wiring);
            let ended = committers_out.clone();
            runtime.spawn(async move {
                let outcome = committer.run().await.map(|_| ());
                // The supervisor may have given up waiting.
                let _ = ended.try_send((index, outcome));
            });
        }
        let shards_ended = start_shards(run, runtime, lanes, readings, inboxes, &reports_out)?;
        let (watching, until) = bounded(0);
        let topics = if run.until_end { never() } else { watch_topics(catalog, known, until)? };
        Ok(Generation {
            run,
            topics,
            _watching: watching,
            shards,
            shards_ended,
            committers_ended,
            reports,
            reading,
            first_stop,
            draining: false,
            health: Arc::clone(health),
        })
    }

    /// Waits for whatever ends the generation, and ends it in order.
    fn supervise(mut self) -> Result<Ended> {
        let mut shards_left = self.shards.len();
        let mut committers_left = self.reading.len();
        let mut deadline = never();
        let mut ended = Ended::Done;
        let mut stopped_by_signal = false;
        // A channel whose senders have all ended is always ready: it is not asked again.
        let nobody = never();
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
                recv(self.reports) -> report => {
                    if let Ok(Report::Stopped { table, source, error }) = report {
                        self.partition_stopped(table, &source, error);
                        if self.nothing_left() {
                            self.drain(&mut deadline);
                        }
                    }
                }
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
                    if let Ok((shard, Err(error))) = message {
                        error!(shard, %error, "a shard failed");
                        self.first_stop.get_or_insert(error);
                        self.drain(&mut deadline);
                    }
                }
                recv(self.topics) -> change => match change {
                    Ok(TopicChange::Grew) => {
                        ended = Ended::TopicsChanged;
                        self.drain(&mut deadline);
                    }
                    // What was read since may be of the other topic: none of it may be committed.
                    Ok(TopicChange::CreatedAgain(error)) => return Err(error),
                    Err(_) => self.topics = never(),
                },
                recv(deadline) -> _ => return Err(undrained(self.first_stop)),
            }
        }
        match self.first_stop {
            // Asked to stop, and what could be committed is: the stops were reported when they happened.
            Some(error) if !stopped_by_signal || error.kind == ErrorKind::Internal => Err(error),
            _ => Ok(ended),
        }
    }

    /// Shards read no more; they end when all they had is committed, and the committers after them.
    fn drain(&mut self, deadline: &mut Receiver<std::time::Instant>) {
        if !std::mem::replace(&mut self.draining, true) {
            *deadline = crossbeam_channel::after(DRAIN_PATIENCE);
            self.tell_shards(&ToShard::Drain);
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
        self.health.set_ready(&format!("{} {source}", component(of)), Err(error.message.clone()));
        self.first_stop.get_or_insert(error);
    }

    fn table_stopped(&mut self, table: usize, error: Error) {
        let of = &self.run.config.tables[table];
        error!(table = of.id, %error, remedy = error.remedy, "a table has stopped");
        self.reading[table].clear();
        self.health.set_ready(&component(of), Err(error.message.clone()));
        self.tell_shards(&ToShard::Stop { table });
        self.first_stop.get_or_insert(error);
    }

    fn nothing_left(&self) -> bool {
        self.reading.iter().all(BTreeSet::is_empty)
    }
}

/// What the watcher saw.
enum TopicChange {
    /// There are partitions that nobody reads yet.
    Grew,
    CreatedAgain(Error),
}

/// Looks at the topics now and then, on a thread of its own: a broker that
/// does not answer holds nobody up. Ends when `until` is disconnected.
fn watch_topics(catalog: Catalog, known: Vec<Topic>, until: Receiver<()>) -> Result<Receiver<TopicChange>> {
    let (seen, changes) = bounded(1);
    let watch = move || {
        while let Err(RecvTimeoutError::Timeout) = until.recv_timeout(LOOK_EVERY) {
            if let Some(change) = known.iter().find_map(|topic| look_at(&catalog, topic)) {
                // Nobody listens any more when the generation has ended.
                let _ = seen.try_send(change);
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("topics".to_owned())
        .spawn(watch)
        .map_err(|error| Error::new(ErrorKind::Io, format!("the topics' thread cannot start: {error}")))?;
    Ok(changes)
}

fn look_at(catalog: &Catalog, known: &Topic) -> Option<TopicChange> {
    let now = match catalog.topic(&known.name) {
        Ok(now) => now,
        Err(error) => {
            warn!(topic = known.name, %error, "the topic could not be looked at");
            return None;
        }
    };
    if !now.id.is_unknown() && !known.id.is_unknown() && now.id != known.id {
        let message =
            format!("topic `{}` was created again: its id is {}, it was {}", known.name, now.id, known.id);
        let error = Error::new(ErrorKind::Disagree, message)
            .remedy("ingest the new topic under another table id and location");
        return Some(TopicChange::CreatedAgain(error));
    }
    (now.partitions.len() != known.partitions.len()).then_some(TopicChange::Grew)
}

/// Asks everything of every table before the first is touched.
async fn prepare(run: &Run, catalog: &Catalog) -> Result<Vec<Ready>> {
    let mut ready = Vec::new();
    for table in &run.config.tables {
        let of = preflight::table(&run.config, table, catalog, &run.clock, &mut Silent).await;
        let of = of.map_err(|error| error.context(format!("table `{}`", table.id)))?;
        if let Some(inferred) = &of.inferred {
            let left_out: Vec<&str> = inferred.left_out.iter().map(|field| field.path.as_str()).collect();
            info!(table = table.id, samples = inferred.samples_used, ?left_out, schema = %of.schema, "schema inferred");
        }
        ready.push(of);
    }
    Ok(ready)
}

async fn open(run: &Run, catalog: &Catalog, ready: &[Ready], writer: &Writer) -> Result<Vec<Opened>> {
    let mut opened = Vec::new();
    for (table, ready) in run.config.tables.iter().zip(ready) {
        let identity = identity(table, writer);
        let of = committer::open(
            &ready.store,
            &identity,
            &ready.topic,
            || catalog.watermarks(&ready.topic, table.start),
            Some(&ready.schema),
            &run.clock,
        )
        .await
        .map_err(|error| error.context(format!("table `{}`", table.id)))?;
        let version = of.snapshot.version;
        info!(table = table.id, location = %table.location, %version, created = of.created, "table open");
        opened.push(of);
    }
    Ok(opened)
}

fn identity(table: &Table, writer: &Writer) -> Identity {
    Identity { table_id: table.id.clone(), writer: writer.clone(), is_alive: host::is_alive }
}

fn readings(run: &Run, opened: &[Opened]) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (table, opened) in opened.iter().enumerate() {
        for (source, &start) in &opened.plan.starts {
            let end = run.until_end.then(|| opened.watermarks[&source.partition].end);
            readings.push(Reading { table, source: source.clone(), start, end });
        }
    }
    readings
}

fn lane(
    index: usize,
    table: &Table,
    ready: &Ready,
    opened: &Opened,
    to_committer: mpsc::UnboundedSender<crate::exchange::ToCommitter>,
) -> Lane {
    Lane {
        table: index,
        table_id: table.id.clone(),
        store: ready.store.clone(),
        schema: Arc::clone(&opened.schema),
        on_new_field: table.on_new_field,
        on_bad_record: table.on_bad_record,
        max_latency: table.max_latency,
        target_file_size: table.target_file_size,
        compression: table.compression,
        to_committer,
    }
}

/// Spreads the partitions over threads: each table's over as many as it can.
fn start_shards(
    run: &Run,
    runtime: &tokio::runtime::Runtime,
    lanes: Vec<Lane>,
    readings: Vec<Reading>,
    inboxes: Vec<Receiver<ToShard>>,
    reports: &Sender<Report>,
) -> Result<Receiver<(usize, Result<()>)>> {
    let count = inboxes.len();
    let mut shares: Vec<Vec<Reading>> = vec![Vec::new(); count];
    for (index, reading) in readings.into_iter().enumerate() {
        shares[index % count].push(reading);
    }
    let pins = if run.config.limits.pin { Machine::this().pins } else { Vec::new() };
    let memory = usize::try_from(run.config.limits.memory).unwrap_or(usize::MAX) / count;
    let (ended_out, ended) = bounded(count);
    for (index, (share, inbox)) in shares.into_iter().zip(inboxes).enumerate() {
        // A shard holds open the committers of its own tables only.
        let own: Vec<Lane> =
            lanes.iter().filter(|lane| share.iter().any(|of| of.table == lane.table)).cloned().collect();
        let source = KafkaSource::new(&run.config.kafka, (memory / 8) >> 10)?;
        let wiring = shard::Wiring {
            index,
            inbox,
            reports: reports.clone(),
            clock: Arc::clone(&run.clock),
            runtime: runtime.handle().clone(),
            in_flight: Budget::new(memory / 4),
            open_bytes_max: memory / 4,
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
