//! The queue itself: what shards finish is committed in order, until all of them are gone.
//!
//! Which files may go now is `protocol::ledger`'s to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use super::assignments::GroupAssignments;
use crate::backoff::Backoff;
use crate::clock::SharedClock;
use crate::delta::data_file::DataFile;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{ResetEpoch, ToCommitter, ToShard};
use crate::ids::{NextOffsets, Version};
use crate::metrics::{self, Stage};
use crate::protocol::ledger::{Ledger, Offered, Work};
use crate::protocol::planted::{Bug, planted};
use crate::sink::{Committed, Sink};
use crate::source::identity_check::{Confirmed, IdentityCheck};
use crate::status::{ALIVE_FOR, Board, Part};

/// Units of work in one commit; more wait for the next.
const UNITS_MAX: usize = 256;
/// A broker that could not confirm a topic is asked again.
const ASK_AGAIN_FIRST: Duration = Duration::from_millis(500);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(3);
/// Between a failed upload and reading its records again: less than the hand-over of a group has.
const READ_AGAIN_FIRST: Duration = Duration::from_millis(100);
const READ_AGAIN_MAX: Duration = Duration::from_secs(2);
/// A topic that is gone for so many more answers is gone.
const GONE_FOR_SURE: u32 = 3;
/// A quiet committer still shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What a committer runs on.
pub struct CommitterDependencies {
    /// The table's place in the config: how shards know it.
    pub table: usize,
    pub table_id: String,
    pub inbox: mpsc::UnboundedReceiver<ToCommitter>,
    pub shards: Vec<crossbeam_channel::Sender<ToShard>>,
    pub clock: SharedClock,
    pub board: Arc<Board>,
    pub identity_check: IdentityCheck,
    /// Where the table's offsets are told to the group; `None` without one.
    pub next_offsets: Option<watch::Sender<NextOffsets>>,
}

/// The queue of one table.
pub struct Committer<S> {
    pub(super) sink: S,
    pub(super) dependencies: CommitterDependencies,
    pub(super) ledger: Ledger<DataFile>,
    pub(super) reset_epoch: ResetEpoch,
    pub(super) group_assignments: GroupAssignments,
    /// Uploads that fail at once, one after the other, are no reason to read without a pause.
    reading_again: Backoff,
}

impl<S: Sink> Committer<S> {
    /// `starts` is where the sink has the partitions that are read from now on.
    pub fn new(sink: S, starts: NextOffsets, dependencies: CommitterDependencies) -> Committer<S> {
        Committer {
            sink,
            ledger: Ledger::new(starts),
            reset_epoch: ResetEpoch::default(),
            group_assignments: GroupAssignments::default(),
            reading_again: Backoff::new(READ_AGAIN_FIRST, READ_AGAIN_MAX),
            dependencies,
        }
    }

    fn part(&self) -> Part {
        Part::Commits(self.dependencies.table_id.clone())
    }

    /// Commits what shards finish until all of them are gone, and returns the
    /// offsets that the table then has.
    pub async fn run(mut self) -> Result<NextOffsets> {
        let outcome = self.work().await;
        self.let_go();
        outcome
    }

    async fn work(&mut self) -> Result<NextOffsets> {
        let part = self.part();
        self.show_offsets(self.ledger.next_offsets());
        loop {
            self.dependencies.board.heartbeat(&part, ALIVE_FOR);
            match tokio::time::timeout(HEARTBEAT, self.dependencies.inbox.recv()).await {
                Err(_) => {
                    if !self.sink.look_around(self.ledger.next_offsets()).await? {
                        self.reset().await?;
                    }
                }
                Ok(None) => break,
                Ok(Some(message)) => self.receive(message).await?,
            }
            loop {
                // What came meanwhile goes along.
                while let Ok(message) = self.dependencies.inbox.try_recv() {
                    self.receive(message).await?;
                }
                self.join().await?;
                let ready = self.ledger.take_ready(UNITS_MAX);
                if ready.is_empty() {
                    break;
                }
                self.commit(ready).await?;
            }
        }
        self.dependencies.board.forget(&part);
        self.sink.end();
        Ok(self.ledger.next_offsets().clone())
    }

    async fn receive(&mut self, message: ToCommitter) -> Result<()> {
        let Some(message) = self.heed(message) else { return Ok(()) };
        match message {
            ToCommitter::Finished { reset_epoch, work }
                if (reset_epoch < self.reset_epoch && !planted(Bug::TakesWorkFromBeforeAReset))
                    || !self.group_assignments.count(&work) =>
            {
                self.sink.discard(vec![work]);
                Ok(())
            }
            ToCommitter::Finished { work, .. } => match self.offer(work) {
                Offered::Accepted => Ok(()),
                Offered::Stale(range) => Err(Error::new(
                    ErrorKind::Internal,
                    format!("{range} was read again although it is committed"),
                )),
                Offered::Unanchored(source) => {
                    Err(Error::new(ErrorKind::Internal, format!("{source} was read without an anchor")))
                }
            },
            ToCommitter::UploadFailed { reset_epoch, .. } if reset_epoch < self.reset_epoch => Ok(()),
            ToCommitter::UploadFailed { error, hopeless: true, .. } => Err(error),
            ToCommitter::UploadFailed { error, .. } => {
                // The board logs it where it lasts.
                debug!(table = self.dependencies.table_id, %error, "an upload failed; its records are read again");
                metrics::commit_failed(&self.dependencies.table_id);
                self.dependencies.board.waits(&self.part(), &error);
                tokio::time::sleep(self.reading_again.pause()).await;
                self.reset().await
            }
            // Heeded above.
            ToCommitter::Join { .. } | ToCommitter::Leave { .. } | ToCommitter::Abandon(_) => Ok(()),
        }
    }

    /// Commits this work, or finds out why it must not be committed.
    async fn commit(&mut self, mut work: Vec<Work<DataFile>>) -> Result<()> {
        let begun = self.dependencies.clock.boot();
        if !work.iter().all(|unit| unit.confirmed)
            && let Err(error) = self.confirmed().await
        {
            self.sink.discard(work);
            return Err(error);
        }
        let committed = self.sink.commit(&mut work, self.ledger.next_offsets()).await;
        if committed.is_err() && planted(Bug::DeletesFilesOfAnUnknownCommit) {
            self.sink.discard(work);
            return self.reset().await;
        }
        match committed? {
            Committed::Landed(version) => {
                metrics::stage(Stage::Commit, self.dependencies.clock.boot().saturating_sub(begun));
                self.committed(version, work);
                self.sink.after_commit().await;
                Ok(())
            }
            Committed::Waits => {
                self.ledger.give_back(work);
                Ok(())
            }
            Committed::Misfits => {
                self.sink.discard(work);
                self.reset().await
            }
            Committed::Failed(error) => {
                self.sink.discard(work);
                Err(error)
            }
            Committed::Unsure => self.reset().await,
        }
    }

    /// What was fetched is of the topic that the table knows: asked after the
    /// fetch and before the commit, as long as it takes to get an answer.
    async fn confirmed(&self) -> Result<()> {
        if planted(Bug::NoTopicIdBeforeCommit) {
            return Ok(());
        }
        let mut gone = 0;
        let mut backoff = Backoff::new(ASK_AGAIN_FIRST, ASK_AGAIN_MAX);
        loop {
            match self.dependencies.identity_check.ask().await {
                Confirmed::Same => return Ok(()),
                // Nobody has the records any more but us.
                Confirmed::Gone if gone == GONE_FOR_SURE => return Ok(()),
                Confirmed::Gone => {
                    gone += 1;
                    tokio::time::sleep(ASK_AGAIN_FIRST).await;
                }
                Confirmed::CreatedAgain(error) => return Err(error),
                Confirmed::Unanswered(error) => {
                    self.dependencies.board.waits(&self.part(), &error);
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    fn committed(&mut self, version: Version, work: Vec<Work<DataFile>>) {
        self.reading_again.reset();
        self.ledger.committed(&work);
        self.report(version, &work);
        for range in work.iter().flat_map(|unit| &unit.ranges) {
            self.dependencies.board.committed(&self.dependencies.table_id, &range.source, range.next);
        }
        let mut units: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for unit in &work {
            units.entry(unit.shard).or_default().push(unit.unit);
        }
        for (shard, units) in units {
            let message =
                ToShard::Committed { table: self.dependencies.table, reset_epoch: self.reset_epoch, units };
            // A shard that has ended does not wait for its answer.
            let _ = self.dependencies.shards[shard].try_send(message);
        }
        self.see_off();
    }

    /// Tells how far partitions are committed, for those who look at the lag.
    pub(super) fn show_offsets(&self, next_offsets: &NextOffsets) {
        for (source, &next) in next_offsets {
            self.dependencies.board.committed(&self.dependencies.table_id, source, next);
        }
    }

    fn offer(&mut self, work: Work<DataFile>) -> Offered {
        if let Some(told) =
            self.dependencies.next_offsets.as_ref().filter(|_| planted(Bug::TellsTheGroupFirst))
        {
            let ahead = work.ranges.iter().map(|range| (range.source.clone(), range.next));
            told.send_modify(|told| told.extend(ahead));
        }
        self.ledger.offer(work)
    }

    fn report(&self, version: Version, work: &[Work<DataFile>]) {
        let files = work.iter().filter_map(|unit| unit.file.as_ref());
        let (mut rows, mut bytes, mut count, mut oldest) = (0, 0, 0, None::<i64>);
        for file in files {
            rows += file.rows;
            bytes += file.size;
            count += 1;
            oldest = [oldest, file.oldest_ms].into_iter().flatten().min();
        }
        let now = self.dependencies.clock.wall_ms();
        metrics::committed(
            &self.dependencies.table_id,
            &metrics::Committed {
                version: version.0,
                rows,
                bytes,
                files: count,
                oldest_ms: oldest,
                now_ms: now,
            },
        );
        info!(table = self.dependencies.table_id, %version, rows, files = count, bytes, "committed");
    }

    /// Nothing that waits is committed any more, nor what still arrives.
    fn let_go(&mut self) {
        self.dependencies.inbox.close();
        let next_offsets = self.ledger.next_offsets().clone();
        let mut waiting = self.ledger.reset(next_offsets);
        while let Ok(message) = self.dependencies.inbox.try_recv() {
            if let ToCommitter::Finished { work, .. } = message {
                waiting.push(work);
            }
        }
        self.sink.discard(waiting);
    }

    pub(super) async fn tell(&self, shard: usize, message: ToShard) {
        let mut message = message;
        while let Err(crossbeam_channel::TrySendError::Full(back)) =
            self.dependencies.shards[shard].try_send(message)
        {
            message = back;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
