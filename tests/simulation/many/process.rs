//! One run of an ingester of several tables: the real shards and a real
//! committer for each table, moved on slice by slice. Dropping it is `kill -9`.
//!
//! It owns what the ingester does for each table: opening it, trying again,
//! opening it anew when its topic grew, and stopping it while others go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use thalweg::budget::Budget;
use thalweg::clock::SharedClock;
use thalweg::committer::{Committer, CommitterDependencies};
use thalweg::config::{Compression, Decoding, Format, OnBadRecord, OnNewField};
use thalweg::delta::checkpoint::CheckpointPermits;
use thalweg::delta_sink::{self, DeadLetterLocations, DeltaSink, Identity, LogUpkeep, Opened};
use thalweg::error::{Error, ErrorKind, Result};
use thalweg::exchange::{Moved, Reading, TableContext, ToCommitter, ToShard};
use thalweg::ids::{Offset, TopicPartition};
use thalweg::protocol::fence::Writer;
use thalweg::schema::Schema;
use thalweg::shard::{self, Report, Shard, Turn};
use thalweg::source::catalog::Topic;
use thalweg::source::identity_check::{Change, IdentityChecker, Known, Watch};
use thalweg::status::Board;
use thalweg::stores::orphan_cleaner::OrphanCleaner;
use thalweg::stores::store::Store;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::broker::{SharedBroker, SimSource, SimTopics, SourceBug};
use crate::chance::Chance;
use crate::instance::{Life as Alive, lives, place, rest, slice};
use crate::oracle::{DEAD_LETTER_ROOTS, ROOT};
use crate::store::SimStore;
use crate::time::SimClock;

/// A table that could not be opened is tried again after so many steps.
const TRY_AGAIN: u32 = 12;

/// What a process is started with.
#[derive(Clone, Debug)]
pub struct Plan {
    pub shards: usize,
    pub max_latency: Duration,
    pub memory: usize,
    pub most_at_once: u64,
    /// A field that the schema does not know makes a bad record.
    pub strict: bool,
    pub checkpoint_every: u64,
    /// The broker answers nothing to so many questions in a hundred.
    pub silent: u64,
    /// It ends at the ends that topics have when their tables are opened.
    pub until_end: bool,
}

/// A table as its config names it, and where it is read from.
#[derive(Clone)]
pub struct Config {
    pub table_id: &'static str,
    pub store: SimStore,
    pub broker: SharedBroker,
}

/// In which state a table is: as in the ingester.
enum Life {
    Opening(JoinHandle<Result<Opened>>, Topic),
    /// It is tried again after so many steps.
    Retrying(u32),
    Running(JoinHandle<Result<BTreeMap<TopicPartition, Offset>>>),
    /// Shards hand over what they have; then it is opened again.
    Reopening(JoinHandle<Result<BTreeMap<TopicPartition, Offset>>>),
    /// All that was read is committed, and nothing more is read.
    Ended,
    Stopped(Error),
}

/// What became of a process.
#[derive(Debug)]
pub enum End {
    /// Shards and committers have ended in order.
    Done,
    Failed(Error),
    /// A task of it panicked.
    Panicked(String),
}

pub struct Process {
    pub name: String,
    plan: Plan,
    chance: Chance,
    /// Which partitions move.
    moves: Chance,
    /// By place in the config.
    configs: BTreeMap<usize, Config>,
    lives: BTreeMap<usize, Life>,
    clock: SharedClock,
    sim_clock: Arc<SimClock>,
    board: Arc<Board>,
    orphan_cleaner: OrphanCleaner,
    checkpoints: CheckpointPermits,
    watch: Watch,
    identity_checker: IdentityChecker<SimTopics>,
    shards: Vec<Option<Shard<SimSource>>>,
    inboxes: Vec<Sender<ToShard>>,
    reports: Receiver<Report>,
    /// Partitions between two shards: from, to, and what is carried.
    on_their_way: Vec<(usize, usize, Moved)>,
    partitions: BTreeMap<usize, Vec<TopicPartition>>,
    next_shard: usize,
    draining: bool,
    /// Steps for which it stands still, as after SIGSTOP.
    pub stopped_for: u32,
    _alive: Alive,
    // Last: what the tasks hold of it goes first.
    runtime: Runtime,
}

impl Process {
    pub fn start(
        name: String,
        plan: Plan,
        mut chance: Chance,
        configs: BTreeMap<usize, Config>,
        sim_clock: &Arc<SimClock>,
    ) -> Result<Process> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let clock: SharedClock = sim_clock.clone();
        let board = Arc::new(Board::new(Arc::clone(&clock)));
        let brokers: Vec<SharedBroker> = configs.values().map(|config| Arc::clone(&config.broker)).collect();
        let topics =
            SimTopics { brokers: brokers.clone(), chance: Mutex::new(chance.fork()), silent: plan.silent };
        let tables = configs.keys().max().map_or(0, |last| last + 1);
        let (watch, identity_checker) =
            Watch::with_identity_checker(topics, tables, !plan.until_end, Arc::clone(&board));
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..plan.shards).map(|_| bounded(4096)).unzip();
        let (reports_out, reports) = bounded(256);
        let budget = Budget::new(plan.memory);
        let mut shards = Vec::new();
        for (index, inbox) in receivers.into_iter().enumerate() {
            let most = Some(plan.most_at_once);
            let source = SimSource::new(brokers.clone(), chance.fork(), most, 0, SourceBug::None);
            let dependencies = shard::ShardDependencies {
                index,
                inbox,
                reports: reports_out.clone(),
                loads: None,
                stays: true,
                group: None,
                clock: Arc::clone(&clock),
                runtime: runtime.handle().clone(),
                budget: budget.another(),
            };
            shards.push(Some(Shard::new(source, Vec::new(), Vec::new(), dependencies)?));
        }
        let mut process = Process {
            _alive: Alive::of(&name),
            name,
            moves: chance.fork(),
            lives: configs.keys().map(|&table| (table, Life::Retrying(0))).collect(),
            configs,
            clock,
            sim_clock: Arc::clone(sim_clock),
            board,
            orphan_cleaner: OrphanCleaner::new(runtime.handle().clone()),
            checkpoints: CheckpointPermits::default(),
            watch,
            identity_checker,
            shards,
            inboxes,
            reports,
            on_their_way: Vec::new(),
            partitions: BTreeMap::new(),
            next_shard: 0,
            draining: false,
            stopped_for: 0,
            runtime,
            plan,
            chance,
        };
        process.try_again();
        Ok(process)
    }

    /// Moves on a little: turns of shards, and what runs beside them.
    pub fn step(&mut self) -> Option<End> {
        if self.stopped_for > 0 {
            self.stopped_for -= 1;
            return None;
        }
        for _ in 0..self.chance.below(4) {
            let index = self.chance.index(self.shards.len());
            let Some(shard) = &mut self.shards[index] else { continue };
            match self.runtime.block_on(async { shard.turn(Duration::ZERO) }) {
                Ok(Turn::Done) => self.shards[index] = None,
                Ok(Turn::Worked | Turn::Idle) => {}
                Err(error) => return Some(End::Failed(error)),
            }
        }
        self.balance();
        self.look_at_topics();
        let slice = slice(&mut self.chance);
        self.runtime.block_on(rest(slice));
        self.sim_clock.advance(slice.1);
        let tables: Vec<usize> = self.lives.keys().copied().collect();
        for table in tables {
            if let Err(why) = self.live_on(table) {
                return Some(End::Panicked(why));
            }
        }
        self.try_again();
        if !self.draining && self.nothing_left() {
            self.drain();
        }
        let is_over =
            self.shards.iter().all(Option::is_none) && !self.lives.values().any(Life::has_committer);
        is_over.then_some(End::Done)
    }

    /// Asks it to end in order.
    pub fn drain(&mut self) {
        self.draining = true;
        self.tell_shards(&ToShard::Drain);
    }

    pub fn is_ending(&self) -> bool {
        self.draining
    }

    /// Which tables it is to read.
    pub fn tables(&self) -> impl Iterator<Item = usize> {
        self.configs.keys().copied()
    }

    /// Why a table goes no further.
    pub fn stopped(&self, table: usize) -> Option<&Error> {
        match self.lives.get(&table)? {
            Life::Stopped(error) => Some(error),
            _ => None,
        }
    }

    pub fn shards_count(&self) -> usize {
        self.plan.shards
    }

    fn nothing_left(&self) -> bool {
        self.lives.values().all(|life| matches!(life, Life::Ended | Life::Stopped(_)))
    }

    fn tell_shards(&self, message: &ToShard) {
        for inbox in &self.inboxes {
            let _ = inbox.try_send(message.clone());
        }
    }

    /// What follows for a table from what its tasks have come to.
    fn live_on(&mut self, table: usize) -> std::result::Result<(), String> {
        let life = self.lives.remove(&table).expect("a table of the config");
        let next = match life {
            Life::Opening(mut task, topic) if task.is_finished() => {
                let outcome = self.runtime.block_on(&mut task).map_err(|panic| panic.to_string())?;
                match outcome {
                    Ok(opened) if !self.draining => self.opened(table, topic, opened),
                    Ok(_) => Life::Ended,
                    Err(error) if may_come_back(error.kind) => Life::Retrying(TRY_AGAIN),
                    Err(error) => Life::Stopped(error),
                }
            }
            Life::Retrying(steps) => Life::Retrying(steps.saturating_sub(1)),
            Life::Running(mut task) if task.is_finished() => {
                match self.runtime.block_on(&mut task).map_err(|panic| panic.to_string())? {
                    Ok(_) => Life::Ended,
                    Err(error) => self.stops(table, error),
                }
            }
            Life::Reopening(mut task) if task.is_finished() => {
                match self.runtime.block_on(&mut task).map_err(|panic| panic.to_string())? {
                    Ok(_) if !self.draining => Life::Retrying(0),
                    Ok(_) => Life::Ended,
                    Err(error) => self.stops(table, error),
                }
            }
            life => life,
        };
        self.lives.insert(table, next);
        Ok(())
    }

    fn stops(&self, table: usize, error: Error) -> Life {
        self.tell_shards(&ToShard::Stop { table });
        Life::Stopped(error)
    }

    fn try_again(&mut self) {
        let due = |life: &Life| matches!(life, Life::Retrying(0));
        let due: Vec<usize> =
            self.lives.iter().filter(|(_, life)| due(life)).map(|(&table, _)| table).collect();
        for table in due.into_iter().filter(|_| !self.draining) {
            let config = &self.configs[&table];
            let (topic, is_silent) = {
                let broker = config.broker.lock().unwrap();
                (broker.topic(), broker.is_silent)
            };
            let next = match topic.filter(|_| !is_silent) {
                Some(topic) => Life::Opening(self.open(table, topic.clone()), topic),
                None => Life::Retrying(TRY_AGAIN),
            };
            self.lives.insert(table, next);
        }
    }

    fn open(&self, table: usize, topic: Topic) -> JoinHandle<Result<Opened>> {
        let config = &self.configs[&table];
        let (store, places) = self.places(config);
        let (identity, clock) = (identity(&self.name, config.table_id), Arc::clone(&self.clock));
        let broker = Arc::clone(&config.broker);
        let known = topic.clone();
        let watermarks = move || {
            let broker = broker.lock().unwrap();
            match broker.is_silent {
                true => Err(Error::new(ErrorKind::Unavailable, "the broker does not answer")),
                false => broker.watermarks_of_the_same(&known, false),
            }
        };
        self.runtime.spawn(async move {
            let schema = Schema::from_ddl("id BIGINT, _partition INT, _offset BIGINT").unwrap();
            delta_sink::open(&store, &identity, &topic, watermarks, Some(&schema), &places, &clock).await
        })
    }

    fn places(&self, config: &Config) -> (Store, DeadLetterLocations) {
        let objects = config.store.named(&self.name);
        let places = DeadLetterLocations {
            current: Some(place(&objects, DEAD_LETTER_ROOTS[0])),
            reach: Arc::new({
                let objects = objects.clone();
                move |url: &str| Ok(place(&objects, url.trim_start_matches("memory:///")))
            }),
        };
        (place(&objects, ROOT), places)
    }

    /// Gives the table to a committer of its own, and its partitions to shards.
    fn opened(&mut self, table: usize, topic: Topic, opened: Opened) -> Life {
        let config = self.configs[&table].clone();
        let (store, places) = self.places(&config);
        let known = Known::new(&topic, &opened.plan.topic_id);
        let identity_check = self.watch.watch(table, config.table_id, known);
        let readings: Vec<Reading> = opened
            .plan
            .starts
            .iter()
            .map(|(source, &start)| {
                let held = opened.dead_letters.held.get(source).cloned().unwrap_or_default();
                let end = self.plan.until_end.then(|| opened.watermarks[&source.partition].end);
                Reading { table, source: source.clone(), start, held, end }
            })
            .collect();
        // What a shard let go before the table was closed is read from the table's offsets now.
        self.on_their_way.retain(|(_, _, moved)| moved.table != table);
        // A bounded run ends its partitions one by one: they do not move.
        let moves = readings.iter().filter(|_| !self.plan.until_end);
        self.partitions.insert(table, moves.map(|reading| reading.source.clone()).collect());
        #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
        let (to_committer, inbox) = mpsc::unbounded_channel();
        let table_context =
            self.table_context(table, &config, &store, &places, &opened, to_committer, &identity_check);
        let dependencies = CommitterDependencies {
            table,
            table_id: config.table_id.to_owned(),
            inbox,
            shards: self.inboxes.clone(),
            clock: Arc::clone(&self.clock),
            board: Arc::clone(&self.board),
            identity_check,
            next_offsets: None,
        };
        let upkeep = LogUpkeep {
            orphan_cleaner: self.orphan_cleaner.clone(),
            checkpoints: self.checkpoints.clone(),
            checkpoint_every: self.plan.checkpoint_every,
            compression: Compression::Snappy,
        };
        let (identity, starts) = (identity(&self.name, config.table_id), opened.plan.starts.clone());
        let (clock, board) = (Arc::clone(&self.clock), Arc::clone(&self.board));
        let sink = DeltaSink::new(store, identity, places, opened, upkeep, clock, board);
        let committer = Committer::new(sink, starts, dependencies);
        let task = self.runtime.spawn(committer.run());
        self.spread(&table_context, readings);
        Life::Running(task)
    }

    #[expect(clippy::too_many_arguments, reason = "what the ingester puts together")]
    fn table_context(
        &self,
        table: usize,
        config: &Config,
        store: &Store,
        places: &DeadLetterLocations,
        opened: &Opened,
        to_committer: mpsc::UnboundedSender<ToCommitter>,
        identity_check: &thalweg::source::identity_check::IdentityCheck,
    ) -> TableContext {
        TableContext {
            table,
            table_id: config.table_id.to_owned(),
            store: store.clone(),
            dead_letters: places.current.clone(),
            schema: Arc::clone(&opened.schema),
            decoding: Decoding {
                on_new_field: if self.plan.strict { OnNewField::Fail } else { OnNewField::Ignore },
                ..Decoding::default()
            },
            format: Arc::new(Format::Json),
            transform: None,
            on_bad_record: OnBadRecord::DeadLetter,
            max_latency: self.plan.max_latency,
            target_file_size: 1,
            compression: Compression::None,
            to_committer,
            orphan_cleaner: self.orphan_cleaner.clone(),
            board: Arc::clone(&self.board),
            identity_check: identity_check.clone(),
        }
    }

    /// Where partitions may move every shard has the table.
    fn spread(&mut self, table_context: &TableContext, readings: Vec<Reading>) {
        let mut shares: Vec<Vec<Reading>> = vec![Vec::new(); self.inboxes.len()];
        for reading in readings {
            shares[self.next_shard % self.inboxes.len()].push(reading);
            self.next_shard += 1;
        }
        let moves = !self.plan.until_end;
        for (inbox, readings) in self.inboxes.iter().zip(shares).filter(|(_, own)| moves || !own.is_empty()) {
            let _ =
                inbox.try_send(ToShard::Open { table_context: Box::new(table_context.clone()), readings });
        }
    }

    /// Answers committers, and looks at topics now and then.
    fn look_at_topics(&mut self) {
        if self.moves.one_in(2) {
            self.identity_checker.answer_all();
        }
        if self.moves.one_in(20) {
            self.identity_checker.look();
        }
        let changes: Vec<(usize, Change)> = self.watch.changes.try_iter().collect();
        for (table, change) in changes {
            match change {
                Change::CreatedAgain(error) => self.table_stops(table, error),
                Change::Grew => self.grows(table),
            }
        }
    }

    fn table_stops(&mut self, table: usize, error: Error) {
        if !matches!(self.lives[&table], Life::Stopped(_)) {
            let stopped = self.stops(table, error);
            self.lives.insert(table, stopped);
        }
    }

    fn grows(&mut self, table: usize) {
        match self.lives.remove(&table).expect("a table of the config") {
            Life::Running(task) => {
                self.tell_shards(&ToShard::Close { table });
                self.lives.insert(table, Life::Reopening(task));
            }
            life => drop(self.lives.insert(table, life)),
        }
    }

    /// Moves partitions between shards: asks for it, and carries what was let go, sooner or later.
    fn balance(&mut self) {
        if self.shards.len() > 1 && self.moves.one_in(8) {
            let all: Vec<(usize, &TopicPartition)> = self
                .partitions
                .iter()
                .flat_map(|(&table, sources)| sources.iter().map(move |source| (table, source)))
                .collect();
            if !all.is_empty() {
                let (table, source) = all[self.moves.index(all.len())];
                let (from, to) = (self.moves.index(self.shards.len()), self.moves.index(self.shards.len()));
                let release = ToShard::Release { table, source: source.clone(), to };
                let _ = self.inboxes[from].try_send(release);
            }
        }
        let reports: Vec<Report> = self.reports.try_iter().collect();
        for report in reports {
            match report {
                // No partition of a topic that is there gets lost here.
                Report::Stopped { table, error, .. } => self.table_stops(table, error),
                Report::Released { from, to, moved } => self.on_their_way.push((from, to, moved)),
            }
        }
        if !self.on_their_way.is_empty() && self.moves.one_in(5) {
            let (from, to, moved) = self.on_their_way.swap_remove(self.moves.index(self.on_their_way.len()));
            let _ = [to, from].iter().any(|&shard| {
                self.shards[shard].is_some()
                    && self.inboxes[shard].try_send(ToShard::Take(moved.clone())).is_ok()
            });
        }
    }
}

impl Life {
    fn has_committer(&self) -> bool {
        matches!(self, Life::Running(_) | Life::Reopening(_))
    }
}

fn may_come_back(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::Io)
}

fn identity(name: &str, table_id: &str) -> Identity {
    let writer =
        Writer { instance: name.to_owned(), host: "sim".to_owned(), pid: 1, started: 1, group: None };
    Identity { table_id: table_id.to_owned(), writer, is_alive: lives }
}
