//! The real commit path, fed by hand: an open table, its committer, and commits one after the other.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use thalweg::clock::{SharedClock, SystemClock};
use thalweg::committer::{Committer, CommitterDependencies};
use thalweg::config::Compression;
use thalweg::delta::checkpoint::CheckpointPermits;
use thalweg::delta::data_file::DataFile;
use thalweg::delta_sink::{self, CHECKPOINT_EVERY, DeadLetterLocations, DeltaSink, Identity, LogUpkeep};
use thalweg::exchange::{ResetEpoch, ToCommitter, ToShard};
use thalweg::ids::{Offset, Partition};
use thalweg::protocol::anchor::Watermarks;
use thalweg::protocol::fence::Writer;
use thalweg::protocol::ledger::Work;
use thalweg::source::catalog::Topic;
use thalweg::source::identity_check::IdentityCheck;
use thalweg::status::Board;
use thalweg::stores::orphan_cleaner::OrphanCleaner;
use thalweg::stores::store::Store;
use tokio::sync::mpsc;

use crate::table::{FILES, PARTITIONS, RANGE, TABLE_ID, path, range, source, stats, store};

/// Committed and not asked for: the committer never waits for the one who measures.
const ANSWERS: usize = 4096;

pub struct Ingestion {
    /// All files of a commit at once, so that they are one commit.
    commits: Option<mpsc::Sender<Vec<ToCommitter>>>,
    answers: Receiver<ToShard>,
    next: i64,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ingestion {
    /// Opens the table as a start does.
    pub fn open(directory: &Path) -> Ingestion {
        Ingestion::of(store(directory))
    }

    pub fn of(store: Store) -> Ingestion {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let clock: SharedClock = Arc::new(SystemClock);
        let places =
            DeadLetterLocations { current: None, reach: Arc::new(|_| panic!("no dead letters here")) };
        let identity = Identity {
            table_id: TABLE_ID.to_owned(),
            writer: Writer {
                instance: clock.fresh_id(),
                host: "bench".to_owned(),
                pid: 1,
                started: 1,
                group: None,
            },
            is_alive: |_| false,
        };
        let topic = Topic {
            name: source(0).topic,
            id: source(0).topic_id,
            partitions: (0..PARTITIONS).map(Partition).collect(),
        };
        let marks = Watermarks { low: Offset(0), end: Offset(i64::MAX), first_run: Offset(0) };
        let marks = || Ok((0..PARTITIONS).map(|partition| (Partition(partition), marks)).collect());
        let opened = delta_sink::open(&store, &identity, &topic, marks, None, &places, &clock);
        let opened = runtime.block_on(opened).expect("the table was made for this");
        let next = opened.plan.starts[&source(0)].0;
        #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
        let (to_committer, inbox) = mpsc::unbounded_channel();
        let (shard, answers) = bounded(ANSWERS);
        let dependencies = CommitterDependencies {
            table: 0,
            table_id: TABLE_ID.to_owned(),
            inbox,
            shards: vec![shard],
            board: Arc::new(Board::new(Arc::clone(&clock))),
            clock: Arc::clone(&clock),
            identity_check: IdentityCheck::of_nothing(),
            next_offsets: None,
        };
        let upkeep = LogUpkeep {
            orphan_cleaner: OrphanCleaner::new(runtime.handle().clone()),
            checkpoints: CheckpointPermits::default(),
            checkpoint_every: CHECKPOINT_EVERY,
            compression: Compression::Zstd(1),
        };
        let (starts, board) = (opened.plan.starts.clone(), Arc::clone(&dependencies.board));
        let sink = DeltaSink::new(store, identity, places, opened, upkeep, clock, board);
        let committer = Committer::new(sink, starts, dependencies);
        let (commits, mut handed) = mpsc::channel::<Vec<ToCommitter>>(1);
        let run = async move {
            let committer = tokio::spawn(committer.run());
            while let Some(files) = handed.recv().await {
                files.into_iter().for_each(|file| to_committer.send(file).expect("the committer runs"));
            }
            drop(to_committer);
            committer.await.expect("the committer does not panic").expect("the disk has room");
        };
        let thread = std::thread::Builder::new().name("committer".to_owned());
        let thread = thread.spawn(move || runtime.block_on(run)).expect("one more thread");
        Ingestion { commits: Some(commits), answers, next, thread: Some(thread) }
    }

    /// What the next commit is made of: four files, eight partitions moved.
    pub fn files(&mut self) -> Vec<ToCommitter> {
        let files = (0..FILES).map(|of| self.file(of)).collect();
        self.next += RANGE;
        files
    }

    pub fn commit_files(&mut self) {
        let files = self.files();
        self.commit(files);
    }

    /// One commit, from the shards' hand-over to the answer.
    pub fn commit(&mut self, files: Vec<ToCommitter>) {
        self.commits.as_ref().expect("open").blocking_send(files).expect("the relay runs");
        match self.answers.recv().expect("the committer runs") {
            ToShard::Committed { units, .. } if units.len() == FILES => {}
            other => panic!("the committer says {other:?}, all of it is one commit"),
        }
    }

    fn file(&self, of: usize) -> ToCommitter {
        let number = self.next as usize / RANGE as usize * FILES + of;
        let file = DataFile {
            path: path(number),
            size: 700_000,
            rows: 2 * RANGE as u64,
            stats: stats(number),
            checksum: number as u32,
            begun: thalweg::clock::Clock::boot(&SystemClock),
            modified_ms: thalweg::clock::Clock::wall_ms(&SystemClock),
            oldest_ms: None,
        };
        let ranges = [0, 1].map(|side| range(2 * of as i32 + side, self.next)).to_vec();
        let work = Work {
            shard: 0,
            unit: number as u64,
            file: Some(file),
            dead_letters: None,
            ranges,
            confirmed: false,
        };
        ToCommitter::Finished { reset_epoch: ResetEpoch::default(), work }
    }
}

impl Drop for Ingestion {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(Err(panic)) = self.thread.take().map(std::thread::JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}
