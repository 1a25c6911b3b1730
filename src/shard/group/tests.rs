//! A shard whose partitions a group assigns: the tests are its source, its member and its committer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use object_store::memory::InMemory;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::budget::Budget;
use crate::clock::SystemClock;
use crate::config::{Compression, Decoding, Format, OnBadRecord};
use crate::delta::data_file::DataFile;
use crate::delta::testing::source;
use crate::error::Error;
use crate::exchange::ToShard;
use crate::ids::Partition;
use crate::protocol::ledger::Work;
use crate::schema::Schema;
use crate::shard::{Report, ShardDependencies, TableContext};
use crate::source::identity_check::IdentityCheck;
use crate::source::{Assignment, Event, RecordBatch, Slot};
use crate::status::Board;
use crate::stores::orphan_cleaner::OrphanCleaner;
use crate::stores::store::Store;

/// Partitions with a row at every offset, of which a test says how many arrive next.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Arriving>>);

#[derive(Default)]
struct Arriving {
    assigned: BTreeMap<Slot, (Partition, Offset)>,
    batches: VecDeque<(Partition, i64)>,
}

impl Rows {
    fn arrive(&self, partition: i32, count: i64) {
        self.0.lock().unwrap().batches.push_back((Partition(partition), count));
    }
}

impl Source for Rows {
    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        let read = assignments.iter().map(|of| (of.slot, (of.partition, of.start)));
        self.0.lock().unwrap().assigned.extend(read);
        Ok(())
    }

    fn release(&mut self, slot: Slot) {
        self.0.lock().unwrap().assigned.remove(&slot);
    }

    fn poll(&mut self, _: Duration) {}

    fn next(&mut self, batch: &mut RecordBatch) -> Option<Event> {
        let Arriving { assigned, batches } = &mut *self.0.lock().unwrap();
        let (partition, count) = batches.pop_front()?;
        let is_it = |(_, (of, _)): &(&Slot, &mut (Partition, Offset))| *of == partition;
        // What is not read does not arrive.
        let (slot, (_, next)) = assigned.iter_mut().find(is_it)?;
        let mut filling = batch.start(*slot);
        for _ in 0..count {
            filling.push(*next, None, None, Some(br#"{"id":1}"#));
            next.0 += 1;
        }
        Some(Event::Records)
    }

    fn headers(&self, _: usize, out: &mut Vec<u8>) {
        out.clear();
    }

    fn end(&self, _: Slot) -> Option<Offset> {
        None
    }
}

struct Scene {
    shard: Shard<Rows>,
    rows: Rows,
    inbox: Sender<ToShard>,
    committer: UnboundedReceiver<ToCommitter>,
    /// Files that arrived while something else was waited for.
    works: VecDeque<Work<DataFile>>,
    left: Receiver<(usize, TopicPartition, AssignmentEpoch)>,
    _reports: Receiver<Report>,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Scene {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let clock: crate::clock::SharedClock = Arc::new(SystemClock);
        #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
        let (to_committer, committer) = tokio::sync::mpsc::unbounded_channel();
        let table_context = TableContext {
            table: 0,
            table_id: "t".to_owned(),
            store: Store {
                objects: Arc::new(InMemory::new()),
                parts: None,
                root: "table".into(),
                url: "memory:///table".parse().unwrap(),
            },
            dead_letters: None,
            schema: Arc::new(Schema::from_ddl("id BIGINT").unwrap()),
            decoding: Decoding::default(),
            format: Arc::new(Format::Json),
            transform: None,
            on_bad_record: OnBadRecord::Fail,
            // Files end when partitions leave.
            max_latency: Duration::from_secs(3600),
            target_file_size: 1 << 30,
            compression: Compression::None,
            to_committer,
            orphan_cleaner: OrphanCleaner::new(runtime.handle().clone()),
            board: Arc::new(Board::new(Arc::clone(&clock))),
            identity_check: IdentityCheck::of_nothing(),
        };
        let (inbox, messages) = bounded(64);
        let (reports, _reports) = bounded(8);
        let (leaves, left) = bounded(8);
        let dependencies = ShardDependencies {
            index: 0,
            inbox: messages,
            reports,
            loads: None,
            stays: false,
            group: Some(leaves),
            clock,
            runtime: runtime.handle().clone(),
            budget: Budget::new(64 << 20),
        };
        let rows = Rows::default();
        let shard = Shard::new(rows.clone(), vec![table_context], Vec::new(), dependencies).unwrap();
        Scene { shard, rows, inbox, committer, works: VecDeque::new(), left, _reports, runtime }
    }

    fn tell(&mut self, message: ToShard) {
        self.inbox.send(message).unwrap();
        self.turn();
    }

    fn turn(&mut self) {
        let _ = self.shard.turn(Duration::ZERO).unwrap();
    }

    fn asked(&mut self) -> ToCommitter {
        self.runtime.block_on(self.committer.recv()).unwrap()
    }

    fn finished(&mut self) -> Work<DataFile> {
        if let Some(work) = self.works.pop_front() {
            return work;
        }
        loop {
            if let ToCommitter::Finished { work, .. } = self.asked() {
                return work;
            }
        }
    }

    fn abandoned(&mut self) -> Abandoned {
        loop {
            match self.asked() {
                ToCommitter::Abandon(abandoned) => return abandoned,
                // An upload was faster.
                ToCommitter::Finished { work, .. } => self.works.push_back(work),
                _ => {}
            }
        }
    }

    /// Up to where the shard has handed over what it leaves.
    fn left_at(&mut self) -> (Option<Offset>, AssignmentEpoch) {
        loop {
            match self.asked() {
                ToCommitter::Leave { at, assignment_epoch, .. } => return (at, assignment_epoch),
                ToCommitter::Finished { work, .. } => self.works.push_back(work),
                _ => {}
            }
        }
    }

    fn answer(&mut self, partition: i32, request_id: RequestId, start: i64) {
        let start = Offset(start);
        self.tell(ToShard::Own(Owned { table: 0, source: source(partition), request_id, start, held: None }));
    }

    /// Assigns partitions to the shard, which reads them from 0.
    fn read(&mut self, partitions: &[i32]) {
        let sources = partitions.iter().map(|&partition| source(partition)).collect();
        self.tell(ToShard::Join { table: 0, sources, assignment_epoch: AssignmentEpoch(1) });
        let ToCommitter::Join { request_id, .. } = self.asked() else { panic!() };
        for &partition in partitions {
            self.answer(partition, request_id, 0);
        }
    }

    /// Rows of these partitions, in one file with whatever is open.
    fn arrive(&mut self, rows: &[(i32, i64)]) {
        for &(partition, count) in rows {
            self.rows.arrive(partition, count);
        }
        self.turn();
        self.rows.0.lock().unwrap().batches.clear();
    }

    fn leave(&mut self, partition: i32) {
        self.tell(ToShard::Leave { table: 0, sources: vec![source(partition)] });
    }

    fn abandon(&mut self, partition: i32) -> Abandoned {
        self.tell(ToShard::Abandon { table: 0, sources: vec![source(partition)] });
        self.abandoned()
    }
}

fn ranges(work: &Work<DataFile>) -> Vec<(i32, i64, i64)> {
    work.ranges.iter().map(|range| (range.source.partition.0, range.start.0, range.next.0)).collect()
}

#[test]
fn what_was_read_of_a_partition_is_handed_over_before_it_leaves() {
    let mut scene = Scene::new();
    scene.read(&[0, 1]);
    scene.arrive(&[(0, 10), (1, 5)]);
    scene.leave(0);
    let (at, assignment_epoch) = scene.left_at();
    assert_eq!((at, assignment_epoch), (Some(Offset(10)), AssignmentEpoch(1)));
    let work = scene.finished();
    assert_eq!(ranges(&work), [(0, 0, 10), (1, 0, 5)]);
    assert!(scene.left.is_empty(), "that it has left is the committer's to say");
    scene.tell(ToShard::Left { table: 0, source: source(0), assignment_epoch });
    assert_eq!(scene.left.try_recv().unwrap(), (0, source(0), AssignmentEpoch(1)));
    // The other one is read on.
    scene.arrive(&[(1, 3)]);
    scene.leave(1);
    assert_eq!(ranges(&scene.finished()), [(1, 5, 8)]);
}

#[test]
fn a_file_with_a_lost_partition_is_discarded_and_the_others_in_it_are_read_again() {
    let mut scene = Scene::new();
    scene.read(&[0, 1, 2]);
    scene.arrive(&[(2, 4)]);
    scene.leave(2);
    scene.arrive(&[(0, 10), (1, 5)]);
    let abandoned = scene.abandon(0);
    assert_eq!((&abandoned.lost[..], &abandoned.kept), (&[source(0)][..], &[0].into()));
    assert_eq!(abandoned.rewound, [(source(1), Offset(0))]);
    scene.answer(1, abandoned.request_id, 0);
    scene.arrive(&[(1, 7)]);
    scene.leave(1);
    let works = [scene.finished(), scene.finished()];
    let again = works.iter().find(|work| work.unit >= abandoned.since).unwrap();
    assert_eq!(ranges(again), [(1, 0, 7)]);
    assert_eq!(again.file.as_ref().unwrap().rows, 7, "nothing of the void file is in it");
}

#[test]
fn a_partition_dropped_twice_is_read_from_the_answer_to_the_second_question_and_once() {
    let mut scene = Scene::new();
    scene.read(&[0, 1, 2, 3]);
    scene.arrive(&[(1, 10), (2, 1)]);
    // Another partition's leave ends the file.
    scene.arrive(&[(3, 1)]);
    scene.leave(3);
    scene.arrive(&[(1, 10), (0, 1)]);
    let first = scene.abandon(0);
    assert_eq!(first.rewound, [(source(1), Offset(10))]);
    let second = scene.abandon(2);
    assert_eq!(second.rewound, [(source(1), Offset(0))]);
    // The committer answered the first before it heard of the second.
    scene.answer(1, first.request_id, 10);
    scene.arrive(&[(1, 5)]);
    scene.answer(1, second.request_id, 0);
    scene.arrive(&[(1, 15)]);
    scene.leave(1);
    let mut work = scene.finished();
    while work.unit < second.since {
        work = scene.finished();
    }
    assert_eq!(ranges(&work), [(1, 0, 15)]);
    assert_eq!(work.file.unwrap().rows, 15);
}
