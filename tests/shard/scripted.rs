//! A shard with one partition of endless records, and both ends of its wires.
//!
//! It owns the source, the clock and the wiring. What is asserted is the tests' own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use object_store::memory::InMemory;
use thalweg::budget::Budget;
use thalweg::clock::{Clock, SharedClock};
use thalweg::config::{Compression, Decoding, Format, OnBadRecord};
use thalweg::delta::data_file::DataFile;
use thalweg::error::{Error, ErrorKind};
use thalweg::exchange::{ResetEpoch, ToCommitter, ToShard};
use thalweg::ids::{Offset, Partition, TopicId, TopicPartition};
use thalweg::protocol::ledger::Work;
use thalweg::shard::{Reading, Report, Shard, ShardDependencies, TableContext, Turn};
use thalweg::source::identity_check::IdentityCheck;
use thalweg::source::{Assignment, Event, RecordBatch, Slot, Source};
use thalweg::status::Board;
use thalweg::stores::orphan_cleaner::OrphanCleaner;
use thalweg::stores::store::Store;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::workload::Workload;

/// What is read.
pub fn source() -> TopicPartition {
    TopicPartition { topic: "t".to_owned(), topic_id: TopicId::unknown(), partition: Partition(0) }
}

/// Records of a batch, as many as the Kafka source takes at once.
pub const BATCH: usize = 1024;

/// What the broker gives when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gives {
    Records,
    Trouble,
    Nothing,
}

/// The same payloads again and again, at growing offsets.
pub struct Script {
    payloads: Vec<Vec<u8>>,
    next: usize,
    told: bool,
    polls: Arc<AtomicU64>,
    gives: Arc<Mutex<Gives>>,
}

impl Source for Script {
    fn assign(&mut self, _: &[Assignment]) -> Result<(), Error> {
        Ok(())
    }

    fn release(&mut self, _: Slot) {}

    fn poll(&mut self, _: Duration) {
        self.told = false;
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    fn next(&mut self, batch: &mut RecordBatch) -> Option<Event> {
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        match *self.gives.lock().unwrap() {
            Gives::Records => {}
            Gives::Nothing => return None,
            Gives::Trouble => {
                let error = Error::new(ErrorKind::Unavailable, "t [0]: a batch with a bad checksum");
                return Some(Event::Troubled { slot: Slot(0), error });
            }
        }
        let mut filling = batch.start(Slot(0));
        for offset in self.next..self.next + BATCH {
            let payload = &self.payloads[offset % self.payloads.len()];
            filling.push(Offset(offset as i64), Some(1_700_000_000_000), None, Some(payload));
        }
        self.next += BATCH;
        Some(Event::Records)
    }

    fn headers(&self, _: usize, out: &mut Vec<u8>) {
        out.clear();
    }

    fn end(&self, _: Slot) -> Option<Offset> {
        None
    }
}

/// Time that stands still until it is moved.
#[derive(Default)]
pub struct Still(AtomicU64);

impl Still {
    pub fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Still {
    fn wall_ms(&self) -> i64 {
        0
    }

    fn boot(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn fresh_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}

/// A store in this process's memory.
pub fn in_memory() -> Store {
    Store {
        objects: Arc::new(InMemory::new()),
        parts: None,
        root: "table".into(),
        url: "memory:///table".parse().unwrap(),
    }
}

/// What a story decides about its shard.
pub struct Setting {
    pub workload: Workload,
    pub store: Store,
    pub compression: Compression,
    pub target_file_size: u64,
    pub budget: usize,
}

pub struct Scripted {
    pub shard: Shard<Script>,
    pub clock: Arc<Still>,
    pub budget: Budget,
    /// Times that the source was asked for records.
    pub polls: Arc<AtomicU64>,
    pub gives: Arc<Mutex<Gives>>,
    pub board: Arc<Board>,
    finished: UnboundedReceiver<ToCommitter>,
    inbox: Sender<ToShard>,
    _reports: crossbeam_channel::Receiver<Report>,
    _runtime: Runtime,
}

impl Scripted {
    pub fn new(setting: Setting) -> Scripted {
        Scripted::until(setting, None)
    }

    /// Its partition is read to this end.
    pub fn until(setting: Setting, end: Option<Offset>) -> Scripted {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let still = Arc::new(Still::default());
        let clock: SharedClock = Arc::clone(&still) as SharedClock;
        #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
        let (to_committer, finished) = tokio::sync::mpsc::unbounded_channel();
        let board = Arc::new(Board::new(Arc::clone(&clock)));
        let table_context = TableContext {
            table: 0,
            table_id: "t".to_owned(),
            store: setting.store,
            dead_letters: None,
            schema: Arc::new(setting.workload.schema),
            decoding: Decoding::default(),
            format: Arc::new(Format::Json),
            transform: None,
            on_bad_record: OnBadRecord::Fail,
            max_latency: Duration::from_secs(10),
            target_file_size: setting.target_file_size,
            compression: setting.compression,
            to_committer,
            orphan_cleaner: OrphanCleaner::new(runtime.handle().clone()),
            board: Arc::clone(&board),
            identity_check: IdentityCheck::of_nothing(),
        };
        let reading = Reading { table: 0, source: source(), start: Offset(0), held: Vec::new(), end };
        let (inbox, messages) = bounded(64);
        let (reports, _reports) = bounded(1);
        let budget = Budget::new(setting.budget);
        let dependencies = ShardDependencies {
            index: 0,
            inbox: messages,
            reports,
            loads: None,
            stays: false,
            group: None,
            clock,
            runtime: runtime.handle().clone(),
            budget: budget.clone(),
        };
        let polls = Arc::new(AtomicU64::new(0));
        let gives = Arc::new(Mutex::new(Gives::Records));
        let script = Script {
            payloads: setting.workload.payloads,
            next: 0,
            told: false,
            polls: Arc::clone(&polls),
            gives: Arc::clone(&gives),
        };
        let shard = Shard::new(script, vec![table_context], vec![reading], dependencies).unwrap();
        Scripted {
            shard,
            clock: still,
            budget,
            polls,
            gives,
            board,
            finished,
            inbox,
            _reports,
            _runtime: runtime,
        }
    }

    pub fn turn(&mut self) -> Turn {
        self.shard.turn(Duration::ZERO).unwrap()
    }

    /// Waits for what the shard finished next, and tells it that this is committed.
    pub fn commit_next(&mut self) -> Work<DataFile> {
        let Some(ToCommitter::Finished { reset_epoch, work }) = self.finished.blocking_recv() else {
            panic!("a file was due")
        };
        self.commit(reset_epoch, &work);
        work
    }

    /// The same for what is finished by now.
    pub fn commit_finished(&mut self) -> Option<Work<DataFile>> {
        let ToCommitter::Finished { reset_epoch, work } = self.finished.try_recv().ok()? else {
            panic!("a file was lost")
        };
        self.commit(reset_epoch, &work);
        Some(work)
    }

    pub fn tell(&self, message: ToShard) {
        self.inbox.send(message).unwrap();
    }

    fn commit(&self, reset_epoch: ResetEpoch, work: &Work<DataFile>) {
        self.inbox.send(ToShard::Committed { table: 0, reset_epoch, units: vec![work.unit] }).unwrap();
    }
}
