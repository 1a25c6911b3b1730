//! A committer of a group's member whose shards and whose peers the tests play.

use std::cell::Cell;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};

use super::*;
use crate::clock::{SharedClock, SystemClock};
use crate::committer::CommitterDependencies;
use crate::config::Compression;
use crate::delta::action::Action;
use crate::delta::checkpoint::CheckpointPermits;
use crate::delta::create;
use crate::delta::data_file::DataFile;
use crate::delta::log;
use crate::delta::testing::{HandMade, NOW_MS, TABLE_ID, full, source, txn};
use crate::delta_sink::{CHECKPOINT_EVERY, DeadLetterLocations, DeltaSink, Identity, LogUpkeep, open};
use crate::error::{Error, ErrorKind};
use crate::exchange::ResetEpoch;
use crate::ids::{NextOffsets, OffsetRange, Partition, Version};
use crate::protocol::anchor::Watermarks;
use crate::protocol::app_id::{AppId, OffsetOverride};
use crate::protocol::fence::Writer;
use crate::protocol::ledger::Work;
use crate::source::catalog::Topic;
use crate::source::identity_check::IdentityCheck;
use crate::status::Board;
use crate::stores::orphan_cleaner::OrphanCleaner;

const TIMEOUT: Duration = Duration::from_secs(20);

fn join(shard: usize, partition: i32) -> ToCommitter {
    ToCommitter::Join { shard, sources: vec![source(partition)], request_id: RequestId(1) }
}

/// A committer of the group `g` with two shards, which the test plays.
struct Stage {
    table: HandMade,
    to_committer: UnboundedSender<ToCommitter>,
    shards: Vec<Receiver<ToShard>>,
    next_offsets: watch::Receiver<NextOffsets>,
    /// Of the last reset that a shard heard.
    reset_epoch: Cell<ResetEpoch>,
    ended: JoinHandle<Result<NextOffsets>>,
}

impl Stage {
    async fn new() -> Stage {
        Stage::with(async |_, _| {}).await
    }

    /// `before` is what happens before the committer runs.
    async fn with(
        before: impl AsyncFnOnce(&mut Committer<DeltaSink>, &UnboundedSender<ToCommitter>),
    ) -> Stage {
        let mut table = HandMade::new().await;
        let clock: SharedClock = Arc::new(SystemClock);
        let places =
            DeadLetterLocations { current: None, reach: Arc::new(|_| panic!("no dead letters here")) };
        let group = Some("g".to_owned());
        let writer = Writer { instance: "me".into(), host: "h".into(), pid: 1, started: 2, group };
        let identity = Identity { table_id: TABLE_ID.to_owned(), writer, is_alive: |_| false };
        let topic = Topic {
            name: source(0).topic,
            id: source(0).topic_id,
            partitions: vec![Partition(0), Partition(1)],
        };
        let marks = Watermarks { low: Offset(0), end: Offset(1000), first_run: Offset(0) };
        let marks = || Ok([(Partition(0), marks), (Partition(1), marks)].into());
        let (told, next_offsets) = watch::channel(NextOffsets::new());
        let mut opened = open(&table.store, &identity, &topic, marks, None, &places, &clock).await.unwrap();
        opened.plan.starts.clear();
        #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
        let (to_committer, inbox) = tokio::sync::mpsc::unbounded_channel();
        let (shards, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| crossbeam_channel::bounded(64)).unzip();
        let dependencies = CommitterDependencies {
            table: 0,
            table_id: TABLE_ID.to_owned(),
            inbox,
            shards,
            board: Arc::new(Board::new(Arc::clone(&clock))),
            clock: Arc::clone(&clock),
            identity_check: IdentityCheck::of_nothing(),
            next_offsets: Some(told),
        };
        let upkeep = LogUpkeep {
            orphan_cleaner: OrphanCleaner::new(tokio::runtime::Handle::current()),
            checkpoints: CheckpointPermits::default(),
            checkpoint_every: CHECKPOINT_EVERY,
            compression: Compression::None,
        };
        let board = Arc::clone(&dependencies.board);
        let starts = opened.plan.starts.clone();
        let sink = DeltaSink::new(table.store.clone(), identity, places, opened, upkeep, clock, board);
        let mut committer = Committer::new(sink, starts, dependencies);
        table.group = Some("g".to_owned());
        before(&mut committer, &to_committer).await;
        let ended = tokio::spawn(committer.run());
        Stage { table, to_committer, shards: inboxes, next_offsets, reset_epoch: Cell::default(), ended }
    }

    fn tell(&self, message: ToCommitter) {
        self.to_committer.send(message).unwrap();
    }

    fn join(&self, shard: usize, partition: i32) {
        self.tell(join(shard, partition));
    }

    fn hear(&self, shard: usize) -> ToShard {
        let message = block_in_place(|| self.shards[shard].recv_timeout(TIMEOUT)).unwrap();
        if let ToShard::Reset { reset_epoch, .. } = message {
            self.reset_epoch.set(reset_epoch);
        }
        message
    }

    fn reset_epoch(&self) -> ResetEpoch {
        self.reset_epoch.get()
    }

    /// The next partition that the shard reads, and from where.
    fn owned(&self, shard: usize) -> Owned {
        loop {
            if let ToShard::Own(owned) = self.hear(shard) {
                return owned;
            }
        }
    }

    fn left(&self, shard: usize) -> TopicPartition {
        loop {
            if let ToShard::Left { source, .. } = self.hear(shard) {
                return source;
            }
        }
    }

    fn committed(&self, shard: usize) -> Vec<u64> {
        loop {
            if let ToShard::Committed { units, .. } = self.hear(shard) {
                return units;
            }
        }
    }

    fn finish(&self, reset_epoch: ResetEpoch, unit: u64, ranges: &[OffsetRange]) {
        self.finish_of(0, reset_epoch, unit, ranges);
    }

    fn finish_of(&self, shard: usize, reset_epoch: ResetEpoch, unit: u64, ranges: &[OffsetRange]) {
        let file = DataFile {
            path: format!("part-{unit}.parquet"),
            size: 1,
            rows: 1,
            stats: "{}".to_owned(),
            checksum: 0,
            begun: crate::clock::Clock::boot(&SystemClock),
            modified_ms: 0,
            oldest_ms: None,
        };
        let work = Work {
            shard,
            unit,
            file: Some(file),
            dead_letters: None,
            ranges: ranges.to_vec(),
            confirmed: false,
        };
        self.tell(ToCommitter::Finished { reset_epoch, work });
    }

    /// Another instance commits.
    async fn other(&mut self, ranges: &[OffsetRange]) {
        self.at_the_tip().append(ranges).await;
    }

    /// A person commits.
    async fn offset_overrides(&mut self, actions: Vec<Action>) {
        self.at_the_tip().commit("SET OFFSETS", &[], actions).await;
    }

    fn at_the_tip(&mut self) -> &mut HandMade {
        let log = self.table.directory.path().join("_delta_log");
        self.table.next = Version(std::fs::read_dir(log).unwrap().count() as u64);
        &mut self.table
    }

    async fn txns(&self) -> [i64; 2] {
        let snapshot = log::load(&self.table.store).await.unwrap().unwrap();
        [0, 1].map(|partition| {
            let id = crate::protocol::app_id::AppId::new(TABLE_ID, source(partition));
            snapshot.txns[&id.to_string()]
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_read_on_where_the_table_stands_and_the_others_are_left_alone() {
    let mut stage = Stage::new().await;
    stage.other(&[full(0, 0, 10)]).await;
    stage.join(0, 0);
    assert_eq!(stage.owned(0).start, Offset(10));
    stage.other(&[full(1, 0, 5)]).await;
    stage.join(1, 1);
    assert_eq!(stage.owned(1).start, Offset(5));
    assert!(stage.shards[0].is_empty(), "nobody begins again");
    // Others move what is not ours.
    stage.other(&[full(1, 5, 9)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_has_left_when_all_that_was_read_of_it_is_committed_and_not_before() {
    let mut stage = Stage::new().await;
    stage.join(0, 0);
    stage.join(0, 1);
    let _ = [stage.owned(0), stage.owned(0)];
    let reset_epoch = stage.reset_epoch();
    let (source, at) = (source(0), Some(Offset(10)));
    stage.tell(ToCommitter::Leave {
        shard: 0,
        reset_epoch,
        source,
        assignment_epoch: AssignmentEpoch(1),
        at,
    });
    stage.finish(reset_epoch, 0, &[full(1, 0, 3)]);
    assert_eq!(stage.committed(0), [0]);
    assert!(stage.shards[0].is_empty(), "its work is on its way");
    stage.finish(reset_epoch, 1, &[full(0, 0, 10)]);
    assert_eq!(stage.committed(0), [1]);
    assert_eq!(stage.left(0).partition, Partition(0));
    // It is another's now; ours goes on beside it.
    stage.other(&[full(0, 10, 20)]).await;
    stage.finish(reset_epoch, 2, &[full(1, 3, 6)]);
    assert_eq!(stage.committed(0), [2]);
    assert_eq!(stage.txns().await, [20, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_a_lost_partition_never_count_and_the_others_do() {
    let stage = Stage::new().await;
    stage.join(0, 0);
    stage.join(0, 1);
    let _ = [stage.owned(0), stage.owned(0)];
    let reset_epoch = stage.reset_epoch();
    // 0 is on its way; 1 waits for it.
    stage.finish(reset_epoch, 1, &[full(0, 0, 5), full(1, 10, 20)]);
    stage.tell(ToCommitter::Abandon(Abandoned {
        shard: 0,
        reset_epoch,
        lost: vec![source(0)],
        since: 3,
        kept: [0].into(),
        rewound: vec![(source(1), Offset(10))],
        request_id: RequestId(2),
    }));
    let again = stage.owned(0);
    let answer = (again.source.partition, again.start, again.request_id);
    assert_eq!(answer, (Partition(1), Offset(10), RequestId(2)));
    // 2 was discarded before it arrived.
    stage.finish(reset_epoch, 2, &[full(0, 5, 9), full(1, 20, 30)]);
    stage.finish(reset_epoch, 3, &[full(1, 10, 15)]);
    stage.finish(reset_epoch, 0, &[full(1, 0, 10)]);
    // In one commit or in two.
    let mut units = stage.committed(0);
    while units.len() < 2 {
        units.extend(stage.committed(0));
    }
    assert_eq!(units, [0, 3]);
    assert_eq!(stage.txns().await, [0, 15]);
    drop(stage.to_committer);
    assert_eq!(stage.ended.await.unwrap().unwrap(), [(source(1), Offset(15))].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_another_shard_of_ours_has_not_let_go_is_waited_for() {
    let stage = Stage::new().await;
    stage.join(0, 0);
    stage.owned(0);
    let reset_epoch = stage.reset_epoch();
    stage.join(1, 0);
    stage.finish(reset_epoch, 0, &[full(0, 0, 10)]);
    assert_eq!(stage.committed(0), [0]);
    assert!(!stage.shards[1].try_iter().any(|message| matches!(message, ToShard::Own(_))));
    stage.tell(ToCommitter::Abandon(Abandoned {
        shard: 0,
        reset_epoch,
        lost: vec![source(0)],
        since: 1,
        kept: BTreeSet::new(),
        rewound: Vec::new(),
        request_id: RequestId(2),
    }));
    assert_eq!(stage.owned(1).start, Offset(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_member_whose_partition_was_set_by_an_administrator_begins_again() {
    let mut stage = Stage::new().await;
    stage.join(0, 0);
    stage.owned(0);
    let reset_epoch = stage.reset_epoch();
    stage.finish(reset_epoch, 0, &[full(0, 0, 10)]);
    assert_eq!(stage.committed(0), [0]);
    let to = |partition, from: i64, to: i64| {
        let id = AppId::new(TABLE_ID, source(partition));
        let offset_override = OffsetOverride { id, from: Offset(from), to: Offset(to) };
        vec![create::txn(offset_override.to_string(), 1, NOW_MS), txn(partition, to)]
    };
    stage.offset_overrides(to(1, 0, 30)).await;
    stage.finish(reset_epoch, 1, &[full(0, 10, 20)]);
    assert_eq!(stage.committed(0), [1], "another member's partition was moved");
    stage.offset_overrides(to(0, 20, 5)).await;
    stage.finish(reset_epoch, 2, &[full(0, 20, 25)]);
    let ToShard::Reset { starts, reset_epoch, .. } = stage.hear(0) else { panic!() };
    assert_eq!((starts, stage.txns().await), ([(source(0), Offset(5))].into(), [5, 30]));
    stage.join(1, 1);
    assert_eq!(stage.owned(1).start, Offset(30));
    stage.finish(reset_epoch, 3, &[full(0, 5, 9)]);
    assert_eq!(stage.committed(0), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_were_handed_over_unseen_are_not_read_on_from() {
    let entry = "thalweg/adopt/new/orders/id/t/id";
    for has_a_partition in [false, true] {
        let mut stage = Stage::new().await;
        let mut failed = None;
        if has_a_partition {
            stage.join(0, 0);
            let error = Error::new(ErrorKind::Unavailable, "cut");
            stage.owned(0);
            let reset_epoch = stage.reset_epoch();
            failed = Some(ToCommitter::UploadFailed { reset_epoch, error, hopeless: false });
        }
        stage.offset_overrides(vec![create::txn(entry.to_owned(), 1, NOW_MS)]).await;
        // A fresh look follows, that judges no version.
        match failed {
            Some(failed) => stage.tell(failed),
            None => stage.join(0, 0),
        }
        let ended = tokio::time::timeout(TIMEOUT, stage.ended).await.expect("it gives way");
        let ended = ended.unwrap().unwrap_err();
        assert_eq!(ended.kind, ErrorKind::Fenced);
        assert!(ended.message.contains(entry), "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_waits_no_more_for_a_partition_leaves_it_to_the_one_that_has_it() {
    let stage = Stage::new().await;
    stage.join(0, 0);
    stage.owned(0);
    let reset_epoch = stage.reset_epoch();
    stage.join(1, 0);
    let leave = |assignment_epoch| ToCommitter::Leave {
        shard: 1,
        reset_epoch,
        source: source(0),
        assignment_epoch,
        at: None,
    };
    stage.tell(leave(AssignmentEpoch(1)));
    assert_eq!(stage.left(1), source(0));
    stage.join(1, 0);
    stage.tell(ToCommitter::Abandon(Abandoned {
        shard: 1,
        reset_epoch,
        lost: vec![source(0)],
        since: 0,
        kept: BTreeSet::new(),
        rewound: Vec::new(),
        request_id: RequestId(2),
    }));
    stage.finish(reset_epoch, 0, &[full(0, 0, 10)]);
    assert_eq!(stage.committed(0), [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_shard_says_late_of_a_partition_that_another_one_has_by_now_changes_nothing() {
    let stage = Stage::new().await;
    stage.join(0, 0);
    stage.owned(0);
    let reset_epoch = stage.reset_epoch();
    let (source, at) = (source(0), Some(Offset(0)));
    stage.tell(ToCommitter::Leave {
        shard: 0,
        reset_epoch,
        source: source.clone(),
        assignment_epoch: AssignmentEpoch(1),
        at,
    });
    stage.left(0);
    // The member has not heard that, and drops what it gives up; the shard is slow to say so.
    stage.join(1, 0);
    assert_eq!(stage.owned(1).source, source);
    stage.tell(ToCommitter::Abandon(Abandoned {
        shard: 0,
        reset_epoch,
        lost: vec![source],
        since: 0,
        kept: BTreeSet::new(),
        rewound: Vec::new(),
        request_id: RequestId(2),
    }));
    stage.finish_of(1, stage.reset_epoch(), 0, &[full(0, 0, 10)]);
    assert_eq!(stage.committed(1), [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_group_decides_while_all_begins_again_is_served_without_another_word() {
    let stage = Stage::with(async |committer, inbox| {
        // The first joins a committer that has nothing, which begins again, and so hears the second.
        committer.heed(join(0, 0));
        inbox.send(join(1, 1)).unwrap();
        committer.join().await.unwrap();
        assert!(committer.group_assignments.joins.is_empty());
    })
    .await;
    assert_eq!(stage.owned(0).source, source(0));
    assert_eq!(stage.owned(1).source, source(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_questions_about_a_partition_the_later_one_is_answered() {
    let stage = Stage::with(async |committer, _| {
        committer.heed(join(0, 1));
        committer.join().await.unwrap();
        for (request_id, from) in [(2, 10), (3, 0)] {
            committer.heed(ToCommitter::Abandon(Abandoned {
                shard: 0,
                reset_epoch: committer.reset_epoch,
                lost: vec![source(0)],
                since: 1,
                kept: BTreeSet::new(),
                rewound: vec![(source(1), Offset(from))],
                request_id: RequestId(request_id),
            }));
        }
        committer.join().await.unwrap();
    })
    .await;
    assert_eq!(stage.owned(0).request_id, RequestId(1));
    let again = stage.owned(0);
    assert_eq!((again.request_id, again.start), (RequestId(3), Offset(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_is_told_where_the_table_stands_and_only_of_what_is_ours() {
    let mut stage = Stage::new().await;
    stage.join(0, 0);
    stage.owned(0);
    stage.other(&[full(0, 0, 10)]).await;
    stage.finish(stage.reset_epoch(), 0, &[full(0, 0, 7)]);
    let ToShard::Reset { .. } = stage.hear(0) else { panic!() };
    let reset_epoch = stage.reset_epoch();
    assert_eq!(stage.next_offsets.borrow().clone(), NextOffsets::from([(source(0), Offset(10))]));
    let (source, at) = (source(0), Some(Offset(10)));
    stage.tell(ToCommitter::Leave {
        shard: 0,
        reset_epoch,
        source,
        assignment_epoch: AssignmentEpoch(1),
        at,
    });
    stage.left(0);
    stage.next_offsets.wait_for(NextOffsets::is_empty).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_moved_our_partition_makes_us_begin_again_and_a_stranger_ends_us() {
    let mut stage = Stage::new().await;
    stage.join(0, 0);
    stage.owned(0);
    let mut reset_epoch = stage.reset_epoch();
    for round in 0..3 {
        let at = 10 * round;
        stage.other(&[full(0, at, at + 10)]).await;
        stage.finish(reset_epoch, round as u64, &[full(0, at, at + 7)]);
        let ToShard::Reset { reset_epoch: fresh, starts, .. } = stage.hear(0) else { panic!() };
        assert_eq!(starts[&source(0)], Offset(at + 10));
        reset_epoch = fresh;
    }
    stage.table.group = Some("another".to_owned());
    for _ in 0..2 {
        let [at, _] = stage.txns().await;
        stage.other(&[full(0, at, at + 10)]).await;
        stage.finish(reset_epoch, 9, &[full(0, at, at + 1)]);
        match block_in_place(|| stage.shards[0].recv_timeout(TIMEOUT)) {
            Ok(ToShard::Reset { reset_epoch: fresh, .. }) => reset_epoch = fresh,
            _ => break,
        }
    }
    assert_eq!(stage.ended.await.unwrap().unwrap_err().kind, ErrorKind::Fenced);
}
