//! Partitions that a consumer group assigns to this process and takes back.
//!
//! It owns taking a partition over (the log followed to its tip, dead letters
//! claimed), seeing one off when all of it is committed, and dropping what is
//! void. Whether that is so is decided in `protocol::membership`.
//!
//! The ledger knows the partitions that are ours now, and no others: commits
//! of the group's other members move partitions that are none of ours, and
//! stand beside ours like any writer's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{debug, info};

use super::Committer;
use crate::error::Result;
use crate::exchange::{Abandoned, DataFile, Generation, Owned, ToCommitter, ToShard};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::dead_letters::Held;
use crate::protocol::ledger::Work;
use crate::protocol::membership::Tenure;
use crate::table::log::Settled;

/// What is known of the group's decisions.
#[derive(Default)]
pub(super) struct Tenants {
    joins: Vec<Join>,
    leaving: BTreeMap<TopicPartition, Leaving>,
    /// Of each shard that dropped something: which of its units count.
    valid: BTreeMap<usize, Valid>,
    /// Partitions of void files, to be handed to their shards again.
    rewound: Vec<Rewound>,
    /// What stands and what does not can only be told by a fresh look.
    pub(super) must_reset: bool,
    /// What the last reset found to be dead letters.
    pub(super) held: Arc<Held>,
}

/// A partition that a shard wants to read.
struct Join {
    shard: usize,
    source: TopicPartition,
    tenure: Tenure,
}

struct Leaving {
    shard: usize,
    tenure: Tenure,
    at: Offset,
}

/// A partition that its shard reads again, from where its void files began.
struct Rewound {
    shard: usize,
    generation: Generation,
    source: TopicPartition,
    tenure: Tenure,
    from: Offset,
}

struct Valid {
    since: u64,
    kept: BTreeSet<u64>,
}

impl Tenants {
    /// Whether the shard still stands behind this work.
    pub(super) fn count(&self, work: &Work<DataFile>) -> bool {
        let of = self.valid.get(&work.shard);
        of.is_none_or(|valid| work.unit >= valid.since || valid.kept.contains(&work.unit))
    }
}

impl Committer {
    /// Takes in what a group's decision means here. Messages of other kinds come back.
    pub(super) fn heed(&mut self, message: ToCommitter) -> Option<ToCommitter> {
        match message {
            ToCommitter::Join { shard, sources, tenure } => {
                let joins = sources.into_iter().map(|source| Join { shard, source, tenure });
                self.tenants.joins.extend(joins);
            }
            ToCommitter::Leave { shard, generation, source, tenure, at } => {
                self.tenants.joins.retain(|join| (join.shard, &join.source) != (shard, &source));
                // What was handed over before a reset is void: nothing is waited for.
                let at = at.filter(|_| generation == self.generation).unwrap_or(Offset(i64::MIN));
                self.tenants.leaving.insert(source, Leaving { shard, tenure, at });
                self.see_off();
            }
            ToCommitter::Abandon(abandoned) => self.abandon(abandoned),
            other => return Some(other),
        }
        None
    }

    /// Lets partitions go of which nothing is uncommitted any more.
    pub(super) fn see_off(&mut self) {
        let tips = self.ledger.tips();
        let through = |source: &TopicPartition, leaving: &Leaving| {
            tips.get(source).is_none_or(|&tip| leaving.at <= tip)
        };
        let gone: Vec<(TopicPartition, Leaving)> =
            self.tenants.leaving.extract_if(.., |source, leaving| through(source, leaving)).collect();
        for (source, Leaving { shard, tenure, .. }) in gone {
            self.let_leave(source, shard, tenure);
        }
    }

    /// The same when nothing that is uncommitted will be.
    pub(super) fn see_all_off(&mut self) {
        for (source, Leaving { shard, tenure, .. }) in std::mem::take(&mut self.tenants.leaving) {
            self.let_leave(source, shard, tenure);
        }
    }

    fn let_leave(&mut self, source: TopicPartition, shard: usize, tenure: Tenure) {
        self.ledger.leave(&source);
        let left = ToShard::Left { table: self.wiring.table, source, tenure };
        // The deadline is waited for instead if there is no room.
        let _ = self.wiring.shards[shard].try_send(left);
    }

    fn abandon(&mut self, abandoned: Abandoned) {
        let Abandoned { shard, generation, lost, since, kept, rewound } = abandoned;
        self.tenants.valid.insert(shard, Valid { since, kept });
        let tenants = &self.tenants;
        let void = self.ledger.void(|work| work.shard == shard && !tenants.count(work));
        // Letters that stand while their offsets do not: only a fresh look tells what is settled.
        let in_doubt = void
            .iter()
            .any(|unit| unit.letters.is_none() && unit.ranges.iter().any(|range| range.dead_letters > 0));
        self.discard(void);
        for source in lost {
            self.tenants.joins.retain(|join| (join.shard, &join.source) != (shard, &source));
            match self.tenants.leaving.remove(&source) {
                Some(Leaving { tenure, .. }) => self.let_leave(source, shard, tenure),
                None => self.ledger.leave(&source),
            }
        }
        debug!(table = self.identity.table_id, shard, rewound = rewound.len(), "partitions were dropped");
        self.tenants.must_reset |= in_doubt && !rewound.is_empty();
        let rewound = rewound.into_iter().map(|(source, from, tenure)| Rewound {
            shard,
            generation,
            source,
            tenure,
            from,
        });
        self.tenants.rewound.extend(rewound);
    }

    /// Lets shards read on where their void files began.
    async fn hand_back(&mut self) {
        for Rewound { shard, generation, source, tenure, from } in std::mem::take(&mut self.tenants.rewound) {
            let Some(&tip) = self.ledger.tips().get(&source) else { continue };
            // A reset voids what stood before `from`, too, and has looked for dead letters.
            let (start, held) = if generation < self.generation {
                (tip, Some(self.tenants.held.get(&source).cloned().unwrap_or_default()))
            } else {
                (tip.max(from), None)
            };
            self.hand(shard, source, tenure, start, held).await;
        }
    }

    async fn hand(
        &self,
        shard: usize,
        source: TopicPartition,
        tenure: Tenure,
        start: Offset,
        held: Option<Vec<Offset>>,
    ) {
        let (table, generation) = (self.wiring.table, self.generation);
        self.tell(shard, ToShard::Own(Owned { table, source, tenure, start, held, generation })).await;
    }

    /// Takes over what was assigned, or is to be read again. What another shard of ours has not let go yet waits.
    pub(super) async fn join(&mut self) -> Result<()> {
        if std::mem::take(&mut self.tenants.must_reset) {
            self.reset().await?;
        }
        self.hand_back().await;
        let tips = self.ledger.tips();
        let joins: Vec<Join> =
            self.tenants.joins.extract_if(.., |join| !tips.contains_key(&join.source)).collect();
        if joins.is_empty() {
            return Ok(());
        }
        let sources: BTreeSet<TopicPartition> = joins.iter().map(|join| join.source.clone()).collect();
        let held = match self.admit(&sources).await? {
            Some(held) => Arc::new(held),
            None => {
                self.ledger.join(sources.iter().map(|source| (source.clone(), Offset(0))).collect());
                self.reset().await?;
                Arc::clone(&self.tenants.held)
            }
        };
        self.note_tips(sources.iter());
        for Join { shard, source, tenure } in joins {
            // It may have been taken back meanwhile.
            let Some(&start) = self.ledger.tips().get(&source) else { continue };
            info!(table = self.identity.table_id, partition = %source, shard, offset = %start, "reading on");
            let of_it = held.get(&source).cloned().unwrap_or_default();
            self.hand(shard, source, tenure, start, Some(of_it)).await;
        }
        Ok(())
    }

    /// Takes partitions over beside those that we have, whose work goes on. `None`: all must begin again.
    async fn admit(&mut self, sources: &BTreeSet<TopicPartition>) -> Result<Option<Held>> {
        // With nothing to keep, a fresh look is less than following the log.
        if self.ledger.tips().is_empty() || !self.catch_up().await? {
            return Ok(None);
        }
        let tips = self.tips_in(&self.head.snapshot, sources.iter())?;
        self.ledger.join(tips.clone());
        while let Some(claim) = self.claim(&tips) {
            if !self.still_fits(&[]).await? {
                return Ok(None);
            }
            match self.put(&claim).await? {
                Settled::Won if self.head.is_trusted(self.wiring.clock.boot()) => break,
                // It may have landed where nobody looks any more.
                Settled::Won => return Ok(None),
                Settled::Lost(winner) if self.give_way(&winner).await? => {}
                Settled::Lost(_) => return Ok(None),
            }
        }
        let held = self.take_letters_over(&tips).await?;
        // A later claim is somebody else's, and so may be what was taken over since.
        Ok(if self.catch_up().await? { Some(held) } else { None })
    }

    /// Before a reset: what was handed over is void, and what the group decided meanwhile counts.
    pub(super) fn heed_what_waits(&mut self) -> Result<()> {
        while let Ok(message) = self.wiring.inbox.try_recv() {
            match self.heed(message) {
                Some(ToCommitter::Finished { work, .. }) => self.discard(vec![work]),
                // Its records are read again anyway.
                Some(ToCommitter::UploadFailed { error, hopeless: true, .. }) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::Receiver;
    use tokio::sync::mpsc::UnboundedSender;
    use tokio::task::{JoinHandle, block_in_place};

    use super::*;
    use crate::clock::{SharedClock, SystemClock};
    use crate::committer::{CHECKPOINT_EVERY, Identity, Places, Wiring, open};
    use crate::config::Compression;
    use crate::error::{Error, ErrorKind};
    use crate::health::Health;
    use crate::ids::{OffsetRange, Partition, Version};
    use crate::protocol::anchor::Watermarks;
    use crate::protocol::app_id::{AppId, Jump};
    use crate::protocol::fence::Writer;
    use crate::source::catalog::Topic;
    use crate::source::witness::Witness;
    use crate::table::action::Action;
    use crate::table::checkpoint::Turns;
    use crate::table::sweeper::Sweeper;
    use crate::table::testing::{HandMade, NOW_MS, TABLE_ID, full, source, txn};
    use crate::table::{create, log};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A committer of the group `g` with two shards, which the test plays.
    struct Stage {
        table: HandMade,
        to_committer: UnboundedSender<ToCommitter>,
        shards: Vec<Receiver<ToShard>>,
        ended: JoinHandle<Result<BTreeMap<TopicPartition, Offset>>>,
    }

    impl Stage {
        async fn new() -> Stage {
            let mut table = HandMade::new().await;
            let clock: SharedClock = Arc::new(SystemClock);
            let places = Places { current: None, reach: Arc::new(|_| panic!("no dead letters here")) };
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
            let mut opened =
                open(&table.store, &identity, &topic, marks, None, &places, &clock).await.unwrap();
            opened.plan.starts.clear();
            #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
            let (to_committer, inbox) = tokio::sync::mpsc::unbounded_channel();
            let (shards, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| crossbeam_channel::bounded(64)).unzip();
            let wiring = Wiring {
                table: 0,
                inbox,
                shards,
                health: Arc::new(Health::new(Arc::clone(&clock))),
                clock,
                witness: Witness::of_nothing(),
                sweeper: Sweeper::new(tokio::runtime::Handle::current()),
                checkpoints: Turns::default(),
                checkpoint_every: CHECKPOINT_EVERY,
                compression: Compression::None,
                tips: None,
            };
            let committer = Committer::new(table.store.clone(), identity, places, opened, wiring);
            table.group = Some("g".to_owned());
            Stage { table, to_committer, shards: inboxes, ended: tokio::spawn(committer.run()) }
        }

        fn tell(&self, message: ToCommitter) {
            self.to_committer.send(message).unwrap();
        }

        fn join(&self, shard: usize, partition: i32) {
            let sources = vec![source(partition)];
            self.tell(ToCommitter::Join { shard, sources, tenure: Tenure(1) });
        }

        fn hear(&self, shard: usize) -> ToShard {
            block_in_place(|| self.shards[shard].recv_timeout(PATIENCE)).unwrap()
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

        fn finish(&self, generation: Generation, unit: u64, ranges: &[OffsetRange]) {
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
                shard: 0,
                unit,
                file: Some(file),
                letters: None,
                ranges: ranges.to_vec(),
                vouched: false,
            };
            self.tell(ToCommitter::Finished { generation, work });
        }

        /// Another instance commits.
        async fn other(&mut self, ranges: &[OffsetRange]) {
            self.at_the_tip().append(ranges).await;
        }

        /// A person commits.
        async fn by_hand(&mut self, actions: Vec<Action>) {
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
        let generation = [stage.owned(0), stage.owned(0)][1].generation;
        let (source, at) = (source(0), Some(Offset(10)));
        stage.tell(ToCommitter::Leave { shard: 0, generation, source, tenure: Tenure(1), at });
        stage.finish(generation, 0, &[full(1, 0, 3)]);
        assert_eq!(stage.committed(0), [0]);
        assert!(stage.shards[0].is_empty(), "its work is on its way");
        stage.finish(generation, 1, &[full(0, 0, 10)]);
        assert_eq!(stage.committed(0), [1]);
        assert_eq!(stage.left(0).partition, Partition(0));
        // It is another's now; ours goes on beside it.
        stage.other(&[full(0, 10, 20)]).await;
        stage.finish(generation, 2, &[full(1, 3, 6)]);
        assert_eq!(stage.committed(0), [2]);
        assert_eq!(stage.txns().await, [20, 6]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn files_with_a_lost_partition_never_count_and_the_others_do() {
        let stage = Stage::new().await;
        stage.join(0, 0);
        stage.join(0, 1);
        let generation = [stage.owned(0), stage.owned(0)][1].generation;
        // 0 is on its way; 1 waits for it.
        stage.finish(generation, 1, &[full(0, 0, 5), full(1, 10, 20)]);
        stage.tell(ToCommitter::Abandon(Abandoned {
            shard: 0,
            generation,
            lost: vec![source(0)],
            since: 3,
            kept: [0].into(),
            rewound: vec![(source(1), Offset(10), Tenure(1))],
        }));
        let again = stage.owned(0);
        assert_eq!((again.source.partition, again.start), (Partition(1), Offset(10)));
        // 2 was void before it arrived.
        stage.finish(generation, 2, &[full(0, 5, 9), full(1, 20, 30)]);
        stage.finish(generation, 3, &[full(1, 10, 15)]);
        stage.finish(generation, 0, &[full(1, 0, 10)]);
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
        let generation = stage.owned(0).generation;
        stage.join(1, 0);
        stage.finish(generation, 0, &[full(0, 0, 10)]);
        assert_eq!(stage.committed(0), [0]);
        assert!(!stage.shards[1].try_iter().any(|message| matches!(message, ToShard::Own(_))));
        stage.tell(ToCommitter::Abandon(Abandoned {
            shard: 0,
            generation,
            lost: vec![source(0)],
            since: 1,
            kept: BTreeSet::new(),
            rewound: Vec::new(),
        }));
        assert_eq!(stage.owned(1).start, Offset(10));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_the_member_whose_partition_was_set_by_hand_begins_again() {
        let mut stage = Stage::new().await;
        stage.join(0, 0);
        let generation = stage.owned(0).generation;
        stage.finish(generation, 0, &[full(0, 0, 10)]);
        assert_eq!(stage.committed(0), [0]);
        let to = |partition, from: i64, to: i64| {
            let id = AppId::new(TABLE_ID, source(partition));
            let jump = Jump { id, from: Offset(from), to: Offset(to) };
            vec![create::txn(jump.to_string(), 1, NOW_MS), txn(partition, to)]
        };
        stage.by_hand(to(1, 0, 30)).await;
        stage.finish(generation, 1, &[full(0, 10, 20)]);
        assert_eq!(stage.committed(0), [1], "another member's partition was moved");
        stage.by_hand(to(0, 20, 5)).await;
        stage.finish(generation, 2, &[full(0, 20, 25)]);
        let ToShard::Reset { starts, generation, .. } = stage.hear(0) else { panic!() };
        assert_eq!((starts, stage.txns().await), ([(source(0), Offset(5))].into(), [5, 30]));
        stage.join(1, 1);
        assert_eq!(stage.owned(1).start, Offset(30));
        stage.finish(generation, 3, &[full(0, 5, 9)]);
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
                let generation = stage.owned(0).generation;
                failed = Some(ToCommitter::UploadFailed { generation, error, hopeless: false });
            }
            stage.by_hand(vec![create::txn(entry.to_owned(), 1, NOW_MS)]).await;
            // A fresh look follows, that judges no version.
            match failed {
                Some(failed) => stage.tell(failed),
                None => stage.join(0, 0),
            }
            let ended = stage.ended.await.unwrap().unwrap_err();
            assert_eq!(ended.kind, ErrorKind::Fenced);
            assert!(ended.message.contains(entry), "{ended}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_that_moved_our_partition_makes_us_begin_again_and_a_stranger_ends_us() {
        let mut stage = Stage::new().await;
        stage.join(0, 0);
        let mut generation = stage.owned(0).generation;
        for round in 0..3 {
            let at = 10 * round;
            stage.other(&[full(0, at, at + 10)]).await;
            stage.finish(generation, round as u64, &[full(0, at, at + 7)]);
            let ToShard::Reset { generation: fresh, starts, .. } = stage.hear(0) else { panic!() };
            assert_eq!(starts[&source(0)], Offset(at + 10));
            generation = fresh;
        }
        stage.table.group = Some("another".to_owned());
        for _ in 0..2 {
            let [at, _] = stage.txns().await;
            stage.other(&[full(0, at, at + 10)]).await;
            stage.finish(generation, 9, &[full(0, at, at + 1)]);
            match block_in_place(|| stage.shards[0].recv_timeout(PATIENCE)) {
                Ok(ToShard::Reset { generation: fresh, .. }) => generation = fresh,
                _ => break,
            }
        }
        assert_eq!(stage.ended.await.unwrap().unwrap_err().kind, ErrorKind::Fenced);
    }
}
