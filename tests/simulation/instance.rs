//! One run of the ingester: the real shards and the real committer on a
//! runtime of their own, moved on slice by slice. Dropping it is `kill -9`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use thalweg::budget::Budget;
use thalweg::clock::SharedClock;
use thalweg::committer::{Committer, CommitterDependencies};
use thalweg::config::{Assignor, Compression, Decoding, Format, Group, OnBadRecord, OnNewField};
use thalweg::delta::checkpoint::CheckpointPermits;
use thalweg::delta_sink::{self, DeadLetterLocations, DeltaSink, Identity, LogUpkeep, Opened};
use thalweg::error::{Error, Result};
use thalweg::exchange::{Moved, ToShard};
use thalweg::ids::{NextOffsets, Offset, Partition, TopicId, TopicPartition};
use thalweg::member::{self, Delegate, Known, News};
use thalweg::protocol::fence::Writer;
use thalweg::schema::Schema;
use thalweg::shard::{self, Reading, Report, Shard, TableContext, Turn};
use thalweg::source::catalog::Topic;
use thalweg::source::identity_check::{self, Change, IdentityChecker, Watch};
use thalweg::status::Board;
use thalweg::stores::orphan_cleaner::OrphanCleaner;
use thalweg::stores::store::Store;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::broker::{SharedBroker, SimSource, SimTopics, SourceBug};
use crate::chance::Chance;
use crate::group::{self, SharedCoordinator, SimSeat};
use crate::later_schemas::LaterSchemas;
use crate::oracle::ROOT;
use crate::store::SimStore;
use crate::time::SimClock;

const GROUP: &str = "g";

/// What an instance is started with.
#[derive(Clone, Debug)]
pub struct Plan {
    pub table_id: &'static str,
    pub shards: usize,
    pub max_latency: Duration,
    pub memory: usize,
    pub until_end: bool,
    pub latest: bool,
    pub rivals_show: bool,
    pub lost_one_in: u64,
    /// Records need schemas that are fetched first.
    pub later_schemas: bool,
    /// A field that the schema does not know makes a bad record.
    pub strict: bool,
    /// Where bad records are kept; `None`: they are skipped.
    pub dead_letters: Option<&'static str>,
    /// Versions between two checkpoints.
    pub checkpoint_every: u64,
    /// The broker answers nothing to so many questions in a hundred.
    pub silent: u64,
    /// Partitions are shared out by a consumer group.
    pub group: Option<group::GroupSettings>,
    /// So many records at most come at once; else each instance draws.
    pub most_at_once: Option<u64>,
    pub bug: SourceBug,
}

/// What became of an instance.
#[derive(Debug)]
pub enum End {
    /// Ended in order; the offsets that its committer left behind.
    Done(BTreeMap<TopicPartition, Offset>),
    Failed(Error),
    /// A task of it panicked.
    Panicked(String),
}

pub struct Instance {
    pub name: String,
    plan: Plan,
    chance: Chance,
    store: Store,
    places: DeadLetterLocations,
    clock: Arc<SimClock>,
    broker: SharedBroker,
    coordinator: SharedCoordinator,
    topic: Topic,
    phase: Phase,
    /// Which partitions move.
    moves: Chance,
    /// Steps for which it stands still, as after SIGSTOP.
    pub stopped_for: u32,
    _life: Life,
    // Last: what the phase holds of it goes first.
    runtime: Runtime,
}

enum Phase {
    Opening(JoinHandle<Result<Opened>>),
    Running(Box<Running>),
}

struct Running {
    shards: Vec<Option<Shard<SimSource>>>,
    inboxes: Vec<Sender<ToShard>>,
    committer: JoinHandle<Result<BTreeMap<TopicPartition, Offset>>>,
    reports: Receiver<Report>,
    watch: Watch,
    identity_checker: IdentityChecker<SimTopics>,
    /// The topic's id as the table knows it.
    topic_id: TopicId,
    delegates: Vec<Delegate<SimSeat>>,
    /// Open, while members are to stay.
    _renounced: Vec<Sender<String>>,
    news: Receiver<News>,
    partitions: Vec<TopicPartition>,
    /// Partitions between two shards: from, to, and what is carried.
    on_their_way: Vec<(usize, usize, Moved)>,
    stopped: bool,
}

impl Running {
    fn drain(&self) {
        for inbox in &self.inboxes {
            let _ = inbox.try_send(ToShard::Drain);
        }
    }

    /// Answers committers, and looks at the topic now and then. What is seen is met as the ingester meets it.
    fn look_at_topics(&mut self, chance: &mut Chance) -> Option<End> {
        if chance.one_in(2) {
            self.identity_checker.answer_all();
        }
        if chance.one_in(20) {
            self.identity_checker.look();
        }
        match self.watch.changes.try_recv() {
            Ok((_, Change::CreatedAgain(error))) => Some(End::Failed(error)),
            Ok((_, Change::Grew)) => {
                self.drain();
                None
            }
            Err(_) => None,
        }
    }

    /// Has the shards' delegates hear what the group decides.
    fn attend(&mut self, chance: &mut Chance) -> Result<()> {
        for delegate in &mut self.delegates {
            if !chance.one_in(3) {
                let _ = delegate.turn(Duration::ZERO)?;
            }
        }
        if self.news.try_iter().any(|news| matches!(news, News::Outdated)) {
            self.drain();
        }
        Ok(())
    }

    /// Moves partitions between shards: asks for it, and carries what was let go, sooner or later.
    fn balance(&mut self, chance: &mut Chance) {
        if self.shards.len() > 1 && self.delegates.is_empty() && chance.one_in(8) {
            let source = self.partitions[chance.index(self.partitions.len())].clone();
            let (from, to) = (chance.index(self.shards.len()), chance.index(self.shards.len()));
            let _ = self.inboxes[from].try_send(ToShard::Release { table: 0, source, to });
        }
        for report in self.reports.try_iter() {
            match report {
                Report::Stopped { .. } => self.stopped = true,
                Report::Released { from, to, moved } => self.on_their_way.push((from, to, moved)),
            }
        }
        if !self.on_their_way.is_empty() && chance.one_in(5) {
            let (from, to, moved) = self.on_their_way.swap_remove(chance.index(self.on_their_way.len()));
            // A shard that has ended takes nothing: the one that had it does.
            let _ = [to, from].iter().any(|&shard| {
                self.shards[shard].is_some()
                    && self.inboxes[shard].try_send(ToShard::Take(moved.clone())).is_ok()
            });
        }
    }
}

impl Instance {
    pub fn start(
        name: String,
        plan: Plan,
        chance: Chance,
        objects: &SimStore,
        clock: &Arc<SimClock>,
        broker: &SharedBroker,
        coordinator: &SharedCoordinator,
    ) -> Instance {
        let moves = chance.clone().fork();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let objects = objects.named(&name);
        let store = place(&objects, ROOT);
        let places = DeadLetterLocations {
            current: plan.dead_letters.map(|root| place(&objects, root)),
            reach: Arc::new(move |url: &str| Ok(place(&objects, url.trim_start_matches("memory:///")))),
        };
        let topic = broker.lock().unwrap().topic().expect("an instance starts where there is a topic");
        let opening = {
            let (store, clock, identity) = (store.clone(), clock.clone(), identity(&name, &plan));
            let (broker, latest, places) = (Arc::clone(broker), plan.latest, places.clone());
            let topic = topic.clone();
            let known = topic.clone();
            let watermarks = move || broker.lock().unwrap().watermarks_of_the_same(&known, latest);
            runtime.spawn(async move {
                let schema = Schema::from_ddl("id BIGINT, _partition INT, _offset BIGINT").unwrap();
                let clock: SharedClock = clock;
                delta_sink::open(&store, &identity, &topic, watermarks, Some(&schema), &places, &clock).await
            })
        };
        Instance {
            _life: Life::of(&name),
            name,
            plan,
            chance,
            store,
            places,
            clock: Arc::clone(clock),
            broker: Arc::clone(broker),
            coordinator: Arc::clone(coordinator),
            topic,
            phase: Phase::Opening(opening),
            moves,
            stopped_for: 0,
            runtime,
        }
    }

    /// Moves on a little: turns of shards, and what runs beside them.
    pub fn step(&mut self) -> Option<End> {
        if self.stopped_for > 0 {
            self.stopped_for -= 1;
            return None;
        }
        if let Phase::Running(running) = &mut self.phase {
            for _ in 0..self.chance.below(4) {
                let index = self.chance.index(running.shards.len());
                let Some(shard) = &mut running.shards[index] else { continue };
                match self.runtime.block_on(async { shard.turn(Duration::ZERO) }) {
                    Ok(Turn::Done) => running.shards[index] = None,
                    Ok(Turn::Worked | Turn::Idle) => {}
                    Err(error) => return Some(End::Failed(error)),
                }
            }
            running.balance(&mut self.moves);
            if let Err(error) = running.attend(&mut self.moves) {
                return Some(End::Failed(error));
            }
            if let Some(end) = running.look_at_topics(&mut self.moves) {
                return Some(end);
            }
        }
        let slice = slice(&mut self.chance);
        self.runtime.block_on(rest(slice));
        self.clock.advance(slice.1);
        match &mut self.phase {
            Phase::Opening(opening) if opening.is_finished() => match self.runtime.block_on(opening) {
                Ok(Ok(opened)) => match self.run(opened) {
                    Ok(running) => {
                        self.phase = Phase::Running(Box::new(running));
                        None
                    }
                    Err(error) => Some(End::Failed(error)),
                },
                Ok(Err(error)) => Some(End::Failed(error)),
                Err(error) => Some(End::Panicked(error.to_string())),
            },
            Phase::Running(running) if running.committer.is_finished() => {
                Some(match self.runtime.block_on(&mut running.committer) {
                    Ok(Ok(offsets)) => End::Done(offsets),
                    Ok(Err(error)) => End::Failed(error),
                    Err(error) => End::Panicked(error.to_string()),
                })
            }
            _ => None,
        }
    }

    /// Asks it to end in order.
    pub fn drain(&self) {
        if let Phase::Running(running) = &self.phase {
            running.drain();
        }
    }

    /// As its config names the table.
    pub fn table_id(&self) -> &'static str {
        self.plan.table_id
    }

    /// It could not tell the topic from another one of its name.
    pub fn knows_no_topic_id(&self) -> bool {
        let known = match &self.phase {
            Phase::Opening(_) => &self.topic.id,
            Phase::Running(running) => &running.topic_id,
        };
        known.is_unknown()
    }

    /// A partition stopped: the operator has to look.
    pub fn has_stopped_partition(&self) -> bool {
        matches!(&self.phase, Phase::Running(running) if running.stopped)
    }

    fn run(&self, mut opened: Opened) -> Result<Running> {
        let (news_out, news) = bounded(64);
        let members = self.plan.group.map(|options| self.members(options, &opened));
        let (told, links) = members.unzip();
        if told.is_some() {
            // Nothing is read before the group assigns it.
            opened.plan.starts.clear();
        }
        // As the ingester: partitions that cannot be read are left, unless none remains.
        if let Some((_, error)) =
            opened.plan.stopped.first().filter(|_| told.is_none() && opened.plan.starts.is_empty())
        {
            return Err(error.clone());
        }
        let stopped = !opened.plan.stopped.is_empty();
        let clock: SharedClock = self.clock.clone();
        let readings = opened.plan.starts.iter().map(|(source, &start)| Reading {
            table: 0,
            source: source.clone(),
            start,
            held: opened.dead_letters.held.get(source).cloned().unwrap_or_default(),
            end: self.plan.until_end.then(|| opened.watermarks[&source.partition].end),
        });
        let readings: Vec<Reading> = readings.collect();
        let partitions = if told.is_some() { self.topic.partitions.len() } else { readings.len() };
        let count = self.plan.shards.min(partitions).max(1);
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| bounded(4096)).unzip();
        let (reports_out, reports) = bounded(2 * readings.len() + 64);
        #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
        let (to_committer, inbox) = mpsc::unbounded_channel();
        let orphan_cleaner = OrphanCleaner::new(self.runtime.handle().clone());
        let board = Arc::new(Board::new(Arc::clone(&clock)));
        let topics = SimTopics {
            brokers: vec![Arc::clone(&self.broker)],
            chance: Mutex::new(self.chance.clone().fork()),
            silent: self.plan.silent,
        };
        let growth = !self.plan.until_end;
        let topic_id = opened.plan.topic_id.clone();
        let known = identity_check::Known::new(&self.topic, &topic_id);
        let (watch, identity_checker) = Watch::with_identity_checker(topics, 1, growth, Arc::clone(&board));
        let identity_check = watch.watch(0, self.plan.table_id, known);
        let table_context = TableContext {
            table: 0,
            table_id: self.plan.table_id.to_owned(),
            store: self.store.clone(),
            dead_letters: self.places.current.clone(),
            schema: Arc::clone(&opened.schema),
            decoding: Decoding {
                on_new_field: if self.plan.strict { OnNewField::Fail } else { OnNewField::Ignore },
                ..Decoding::default()
            },
            format: match self.plan.later_schemas {
                true => Arc::new(LaterSchemas::new(self.chance.clone().fork())),
                false => Arc::new(Format::Json),
            },
            transform: None,
            on_bad_record: match self.plan.dead_letters {
                Some(_) => OnBadRecord::DeadLetter,
                None => OnBadRecord::Skip,
            },
            max_latency: self.plan.max_latency,
            target_file_size: 1,
            compression: Compression::None,
            to_committer,
            orphan_cleaner: orphan_cleaner.clone(),
            board: Arc::clone(&board),
            identity_check: identity_check.clone(),
        };
        let identity = identity(&self.name, &self.plan);
        let dependencies = CommitterDependencies {
            table: 0,
            table_id: identity.table_id.clone(),
            inbox,
            shards: inboxes.clone(),
            clock: Arc::clone(&clock),
            board: Arc::clone(&board),
            identity_check,
            next_offsets: told,
        };
        let upkeep = LogUpkeep {
            orphan_cleaner,
            checkpoints: CheckpointPermits::default(),
            checkpoint_every: self.plan.checkpoint_every,
            compression: Compression::Snappy,
        };
        let (store, places, starts) = (self.store.clone(), self.places.clone(), opened.plan.starts.clone());
        let sink = DeltaSink::new(store, identity, places, opened, upkeep, Arc::clone(&clock), board);
        let committer = Committer::new(sink, starts, dependencies);
        let committer = self.runtime.spawn(committer.run());
        let (mut shards, mut delegates, mut renounced) = (Vec::new(), Vec::new(), Vec::new());
        let mut chance = self.chance.clone();
        for (index, inbox) in receivers.into_iter().enumerate() {
            let share = readings.iter().skip(index).step_by(count).cloned().collect();
            let Plan { most_at_once, lost_one_in, bug, .. } = self.plan;
            let source =
                SimSource::new(vec![Arc::clone(&self.broker)], chance.fork(), most_at_once, lost_one_in, bug);
            let (left_out, left) = bounded(64);
            if let Some(options) = &links {
                let seat = SimSeat::join(&self.coordinator, &self.name, &topic_id.0);
                let (renounce, renounces) = bounded(1);
                renounced.push(renounce);
                let (shard, news) = (inboxes[index].clone(), news_out.clone());
                let dependencies = member::MemberDependencies { shard, left, renounces, news };
                delegates.push(Delegate::new(seat, Arc::clone(options), index, dependencies));
            }
            let dependencies = shard::ShardDependencies {
                index,
                inbox,
                reports: reports_out.clone(),
                loads: None,
                stays: false,
                group: links.is_some().then_some(left_out),
                clock: Arc::clone(&clock),
                runtime: self.runtime.handle().clone(),
                budget: Budget::new(self.plan.memory),
            };
            shards.push(Some(Shard::new(source, vec![table_context.clone()], share, dependencies)?));
        }
        let partitions = readings.into_iter().map(|reading| reading.source).collect();
        Ok(Running {
            shards,
            inboxes,
            committer,
            reports,
            watch,
            identity_checker,
            topic_id,
            delegates,
            _renounced: renounced,
            news,
            partitions,
            on_their_way: Vec::new(),
            stopped,
        })
    }
}

impl Instance {
    /// What the members of a group know of the topic, and where the committer tells its offsets.
    fn members(
        &self,
        options: group::GroupSettings,
        opened: &Opened,
    ) -> (watch::Sender<NextOffsets>, Arc<member::GroupSettings>) {
        let Topic { name, partitions, .. } = &self.topic;
        let stopped: BTreeSet<Partition> =
            opened.plan.stopped.iter().map(|(partition, _)| *partition).collect();
        let source = |&partition| {
            let topic_id = opened.plan.topic_id.clone();
            (partition, TopicPartition { topic: name.clone(), topic_id, partition })
        };
        let read = partitions.iter().filter(|partition| !stopped.contains(partition));
        let sources = read.map(source).collect();
        let (told, next_offsets) = watch::channel(NextOffsets::new());
        let known = Known { table: 0, sources, stopped, next_offsets };
        let group = Group {
            name: GROUP.to_owned(),
            instance_id: None,
            assignor: if options.eager { Assignor::Range } else { Assignor::CooperativeSticky },
            session: options.session,
            max_poll: options.max_poll,
        };
        let clock: SharedClock = self.clock.clone();
        (told, Arc::new(member::GroupSettings { group, topics: [(name.clone(), known)].into(), clock }))
    }
}

/// One slice in so many is long.
const LONG_ONE_IN: u64 = 200;

/// How long tasks run: to some await point, and for some time.
pub fn slice(chance: &mut Chance) -> (u64, Duration) {
    let yields = chance.below(6);
    // Long enough for what is only done when nothing happens.
    if chance.one_in(LONG_ONE_IN) {
        return (yields, Duration::from_secs(30));
    }
    let time = match chance.below(4) {
        0 => Duration::ZERO,
        1 => Duration::from_millis(chance.below(400)),
        _ => Duration::from_millis(chance.below(40)),
    };
    (yields, time)
}

/// Lets tasks run so long.
pub async fn rest((yields, time): (u64, Duration)) {
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

pub fn place(objects: &SimStore, root: &str) -> Store {
    Store {
        objects: Arc::new(objects.clone()),
        parts: None,
        root: root.into(),
        url: format!("memory:///{root}").parse().unwrap(),
    }
}

thread_local! {
    /// Who lives in this thread's world: as a host knows its processes.
    static LIVING: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Whether another instance is known to be running: one that was killed is not.
pub fn lives(writer: &Writer) -> bool {
    LIVING.with_borrow(|living| living.contains(&writer.instance))
}

/// An instance lives until this is dropped.
pub struct Life(String);

impl Life {
    pub fn of(name: &str) -> Life {
        LIVING.with_borrow_mut(|living| living.insert(name.to_owned()));
        Life(name.to_owned())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        LIVING.with_borrow_mut(|living| living.remove(&self.0));
    }
}

fn identity(name: &str, plan: &Plan) -> Identity {
    let group = plan.group.map(|_| GROUP.to_owned());
    let writer = Writer { instance: name.to_owned(), host: "sim".to_owned(), pid: 1, started: 1, group };
    Identity {
        table_id: plan.table_id.to_owned(),
        writer,
        is_alive: if plan.rivals_show { lives } else { |_| false },
    }
}
