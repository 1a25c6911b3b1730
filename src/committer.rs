//! One serial queue per table: finished files become versions.
//!
//! It owns the table's state between commits, the order of commits and what
//! follows a lost race. Appends go through here and nowhere else. It does not
//! own the decisions: which files may go now is `protocol::ledger`, whose
//! version it is `protocol::attempt`, what a winner means
//! `protocol::verdict`, whether to give way `protocol::fence`.
//!
//! On the commit path nothing is listed and no file list is kept: a commit is
//! one put of a few kilobytes, however large the table.

mod dead_letters;
mod group;
mod log_tip;
mod offset_overrides;
mod open;
mod reset;

pub use dead_letters::{DeadLetterLocations, SeenDeadLetters};
pub use log_tip::CHECKPOINT_EVERY;
pub use open::{Opened, Preview, open};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use self::dead_letters::{DeadLetters, Posted};
use self::group::GroupAssignments;
use self::log_tip::{LogTip, RetryPolicy};
use self::offset_overrides::relation;
use crate::backoff::Backoff;
use crate::clock::SharedClock;
use crate::config::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{NextOffsets, ResetEpoch, ToCommitter, ToShard};
use crate::ids::{Offset, OffsetRange, TopicPartition, Version};
use crate::metrics::{self, Stage};
use crate::protocol::contention::Contention;
use crate::protocol::fence::{Fence, Fenced, Writer};
use crate::protocol::ledger::{Ledger, Offered, Work};
use crate::protocol::planted::{Bug, planted};
use crate::protocol::verdict::Verdict;
use crate::schema::Schema;
use crate::source::identity_check::{Confirmed, IdentityCheck};
use crate::status::Board;
use crate::table::action::{Action, RANGES_TAG};
use crate::table::checkpoint::CheckpointPermits;
use crate::table::commit_body::{CommitBody, Description};
use crate::table::data_file::DataFile;
use crate::table::log::{self, Found};
use crate::table::orphan_cleaner::{Orphan, OrphanCleaner};
use crate::table::store::Store;
use crate::table::transaction::{self, Outcome, Tip, Transaction};
use crate::table::{create, write_compatibility};

/// Units of work in one commit; more wait for the next.
const UNITS_MAX: usize = 256;
/// Files that nothing names yet may be vacuumed after a week: stay well below.
const FILE_AGE_MAX: Duration = Duration::from_secs(6 * 24 * 3600);
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
/// A committer that waits for its store is alive: a request may take a minute.
const ALIVE_FOR: Duration = Duration::from_secs(180);

/// What this process is to a table.
#[derive(Clone, Debug)]
pub struct Identity {
    pub table_id: String,
    pub writer: Writer,
    /// Whether the writer of another commit is known to be running now.
    pub is_alive: fn(&Writer) -> bool,
}

/// What a committer needs besides the table.
pub struct CommitterDependencies {
    /// The table's place in the config: how shards know it.
    pub table: usize,
    pub inbox: mpsc::UnboundedReceiver<ToCommitter>,
    pub shards: Vec<crossbeam_channel::Sender<ToShard>>,
    pub clock: SharedClock,
    pub board: Arc<Board>,
    pub identity_check: IdentityCheck,
    /// What of discarded work must not stay in the store.
    pub orphan_cleaner: OrphanCleaner,
    /// When checkpoints may be written.
    pub checkpoints: CheckpointPermits,
    /// Versions between two of them: [`CHECKPOINT_EVERY`] in a run.
    pub checkpoint_every: u64,
    /// Of checkpoints; data files come compressed.
    pub compression: Compression,
    /// Where the table's offsets are told to the group; `None` without one.
    pub next_offsets: Option<watch::Sender<NextOffsets>>,
}

pub struct Committer {
    identity: Identity,
    dependencies: CommitterDependencies,
    places: DeadLetterLocations,
    log_tip: LogTip,
    retry_policy: RetryPolicy,
    schema: Arc<Schema>,
    ledger: Ledger<DataFile>,
    /// Where bad records are kept.
    dead_letters: Option<DeadLetters>,
    /// What the next commit says besides: former places of dead letters are forgotten.
    forget: Vec<Action>,
    reset_epoch: ResetEpoch,
    fence: Fence,
    contention: Contention,
    group_assignments: GroupAssignments,
    /// Uploads that fail at once, one after the other, are no reason to read without a pause.
    reading_again: Backoff,
    /// Boot time.
    looked_around: Duration,
}

impl Committer {
    pub fn new(
        store: Store,
        identity: Identity,
        places: DeadLetterLocations,
        opened: Opened,
        dependencies: CommitterDependencies,
    ) -> Committer {
        let starts = opened.plan.starts;
        let (dead_letters, forget) =
            DeadLetters::new(opened.dead_letters, &identity, &opened.snapshot, &dependencies);
        let seen =
            if planted(Bug::TrustsALookThatTookLong) { dependencies.clock.boot() } else { opened.seen };
        Committer {
            log_tip: LogTip::new(Tip::new(store, Some(opened.snapshot), seen), &dependencies),
            retry_policy: RetryPolicy {
                board: Arc::clone(&dependencies.board),
                table_id: identity.table_id.clone(),
            },
            schema: opened.schema,
            ledger: Ledger::new(starts),
            dead_letters,
            forget,
            reset_epoch: ResetEpoch::default(),
            fence: Fence::default(),
            contention: Contention::default(),
            group_assignments: GroupAssignments::default(),
            reading_again: Backoff::new(READ_AGAIN_FIRST, READ_AGAIN_MAX),
            looked_around: dependencies.clock.boot(),
            identity,
            places,
            dependencies,
        }
    }

    /// Commits what shards finish until all of them are gone, and returns the
    /// offsets that the table then has.
    pub async fn run(mut self) -> Result<BTreeMap<TopicPartition, Offset>> {
        let outcome = self.work().await;
        self.let_go();
        outcome
    }

    async fn work(&mut self) -> Result<BTreeMap<TopicPartition, Offset>> {
        let part = self.retry_policy.part();
        self.show_offsets(self.ledger.next_offsets());
        loop {
            self.dependencies.board.heartbeat(&part, ALIVE_FOR);
            match tokio::time::timeout(HEARTBEAT, self.dependencies.inbox.recv()).await {
                Err(_) => self.look_around().await?,
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
        self.log_tip.end();
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.log_tip.end();
        }
        Ok(self.ledger.next_offsets().clone())
    }

    async fn receive(&mut self, message: ToCommitter) -> Result<()> {
        let Some(message) = self.heed(message) else { return Ok(()) };
        match message {
            ToCommitter::Finished { reset_epoch, work }
                if (reset_epoch < self.reset_epoch && !planted(Bug::TakesWorkFromBeforeAReset))
                    || !self.group_assignments.count(&work) =>
            {
                self.discard(vec![work]);
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
                debug!(table = self.identity.table_id, %error, "an upload failed; its records are read again");
                metrics::commit_failed(&self.identity.table_id);
                self.retry_policy.waiting(&error);
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
        let may_go = self.prepare(&mut work).await;
        if !matches!(may_go, Ok(true)) {
            self.discard(work);
            may_go?;
            return self.reset().await;
        }
        let clock = Arc::clone(&self.dependencies.clock);
        let outcome = transaction::commit(&mut Append { committer: self, work: &work }, &clock).await;
        if outcome.is_err() && planted(Bug::DeletesFilesOfAnUnknownCommit) {
            self.discard(work);
            return self.reset().await;
        }
        match outcome? {
            // A late one is live, and what came after it may have taken the table from us.
            Outcome::Landed { late: true } if !self.catch_up().await? => self.reset().await,
            Outcome::Landed { .. } => {
                metrics::stage(Stage::Commit, clock.boot().saturating_sub(begun));
                if planted(Bug::DeadLettersAfterOffsets) && !self.post_dead_letters(&mut work).await? {
                    return self.reset().await;
                }
                self.committed(work);
                let others_first = self.contention.won();
                self.rest_within(others_first).await;
                Ok(())
            }
            Outcome::Unsure => self.reset().await,
            Outcome::Moved(NotCommitted::Waits) => {
                self.ledger.give_back(work);
                Ok(())
            }
            Outcome::Moved(NotCommitted::Misfits) => {
                self.discard(work);
                self.reset().await
            }
            Outcome::Moved(NotCommitted::Failed(error)) => {
                self.discard(work);
                Err(error)
            }
        }
    }

    /// Follows the log to its tip, as far as it is to be had. False: what we hold no longer fits.
    async fn follow(&mut self) -> Result<bool> {
        while let Found::Commit(body) =
            log::get(self.log_tip.store(), self.log_tip.snapshot().version.next()).await
        {
            if !self.give_way(&body).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All that comes before the put. False: begin again.
    async fn prepare(&mut self, work: &mut [Work<DataFile>]) -> Result<bool> {
        if !work.iter().all(|unit| unit.confirmed) {
            self.confirmed().await?;
        }
        if !self.still_fits(work).await? {
            return Ok(false);
        }
        // In this order: dead letters go before the offsets that settle them, see `protocol::dead_letters`.
        if planted(Bug::DeadLettersAfterOffsets) { Ok(true) } else { self.post_dead_letters(work).await }
    }

    /// Whether the files are sure to be there, and the log is still the one that the work belongs to.
    /// The version that is put next must be one that nobody can have written and cleaned up since.
    async fn still_fits(&mut self, work: &[Work<DataFile>]) -> Result<bool> {
        // The look may take its time, too.
        while !self.log_tip.is_trusted(self.dependencies.clock.boot()) {
            if !self.catch_up().await? {
                return Ok(false);
            }
        }
        let now = self.dependencies.clock.boot();
        if work.iter().any(|unit| unit.file.iter().chain(&unit.dead_letters).any(|file| is_old(file, now))) {
            warn!(table = self.identity.table_id, "files waited so long that a vacuum may have removed them");
            return Ok(false);
        }
        Ok(true)
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
                    self.retry_policy.waiting(&error);
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// Commits the work's dead letters. False: the table is no longer ours to write.
    async fn post_dead_letters(&mut self, work: &mut [Work<DataFile>]) -> Result<bool> {
        let files: Vec<(DataFile, Vec<OffsetRange>)> = work
            .iter_mut()
            .filter_map(|unit| {
                let ranges = unit.ranges.iter().filter(|range| range.dead_letters > 0).cloned().collect();
                Some((unit.dead_letters.take()?, ranges))
            })
            .collect();
        if files.is_empty() || planted(Bug::SkipsTheDeadLetters) {
            return Ok(true);
        }
        let table = self.dead_letters.as_mut().expect("shards write letters only where there is a place");
        let own = self.ledger.next_offsets();
        match table.post(&files, own, &self.identity, &self.retry_policy, &self.dependencies.clock).await? {
            Posted::Landed => {
                let dead_letters = files.iter().map(|(file, _)| file.rows).sum();
                metrics::dead_letters(&self.identity.table_id, dead_letters);
                info!(table = self.identity.table_id, dead_letters, "dead letters committed");
                return Ok(true);
            }
            Posted::Fenced(by) => self.fenced(by).await?,
            Posted::Changed => {}
            Posted::Unsure if planted(Bug::DeletesDeadLettersInDoubt) => {}
            // Its files may be live.
            Posted::Unsure => return Ok(false),
        }
        self.discard_dead_letters(files.into_iter().map(|(file, _)| file));
        Ok(false)
    }

    /// Takes the winner of our version over. False: what we hold no longer fits the table.
    async fn give_way(&mut self, winner: &Bytes) -> Result<bool> {
        let (table_id, next_offsets) = (&self.identity.table_id, self.ledger.next_offsets());
        let stake = |app_id: &str| relation(table_id, next_offsets, app_id);
        match self.log_tip.tip.apply_foreign_commit(winner, &stake)? {
            Verdict::Fenced(by) => self.fenced(by).await.map(|()| false),
            Verdict::Transferred(by, entries) => Err(offset_overrides::transferred(table_id, by, &entries)),
            Verdict::OffsetsSet(by, entries) => {
                let by = by.map(tracing::field::display);
                warn!(table = table_id, by, %entries, "offsets were overridden; reading on from them");
                Ok(false)
            }
            Verdict::Reload => {
                let snapshot = self.log_tip.snapshot();
                let schema = write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?;
                Ok(write_compatibility::still_fits(&self.schema, &schema)
                    || planted(Bug::IgnoresASchemaChange))
            }
            _ => Ok(true),
        }
    }

    async fn fenced(&mut self, by: Option<Writer>) -> Result<()> {
        let now = self.dependencies.clock.boot();
        if let Some(peer) = by.as_ref().filter(|by| by.is_peer_of(&self.identity.writer)) {
            let after = self.fence.hit_by_peer(now);
            info!(
                table = self.identity.table_id, by = %peer,
                "a member of the group moved offsets that we read; reading on what is assigned"
            );
            tokio::time::sleep(after).await;
            return Ok(());
        }
        let alive = by.as_ref().is_some_and(|writer| (self.identity.is_alive)(writer));
        match self.fence.hit(now, alive) {
            Fenced::Reload => {
                warn!(
                    table = self.identity.table_id,
                    by = by.map(tracing::field::display),
                    "another commit moved our offsets; reading on from them"
                );
                Ok(())
            }
            Fenced::GiveUp => Err(self.gives_way_to(by)),
        }
    }

    fn gives_way_to(&self, by: Option<Writer>) -> Error {
        let name = by.map_or_else(|| "an unknown writer".to_owned(), |writer| writer.to_string());
        Error::new(
            ErrorKind::Fenced,
            format!("table `{}` is written by {name}: this instance gives way", self.identity.table_id),
        )
        .remedy("run one instance per table id; stop the other one before starting this one")
    }

    /// The log may have moved on unseen: judges every version since. False:
    /// what we hold no longer fits.
    async fn catch_up(&mut self) -> Result<bool> {
        let Some(unseen) = self.log_tip.unseen(&self.retry_policy, self.dependencies.clock.boot()).await?
        else {
            return Ok(false);
        };
        for (_, body) in unseen {
            if !self.give_way(&body).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn committed(&mut self, work: Vec<Work<DataFile>>) {
        self.forget.clear();
        self.reading_again.reset();
        self.ledger.committed(&work);
        self.report(self.log_tip.snapshot().version, &work);
        for range in work.iter().flat_map(|unit| &unit.ranges) {
            self.dependencies.board.committed(&self.identity.table_id, &range.source, range.next);
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
        self.log_tip.checkpoint_when_due(&self.dependencies.clock);
    }

    /// Tells how far partitions are committed, for those who look at the lag.
    fn show_offsets(&self, next_offsets: &BTreeMap<TopicPartition, Offset>) {
        for (source, &next) in next_offsets {
            self.dependencies.board.committed(&self.identity.table_id, source, next);
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
            &self.identity.table_id,
            &metrics::Committed {
                version: version.0,
                rows,
                bytes,
                files: count,
                oldest_ms: oldest,
                now_ms: now,
            },
        );
        info!(table = self.identity.table_id, %version, rows, files = count, bytes, "committed");
    }

    fn commit_body(&self, work: &[Work<DataFile>]) -> CommitBody {
        let now = self.dependencies.clock.wall_ms();
        let mut next: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
        for range in work.iter().flat_map(|unit| &unit.ranges) {
            next.insert(range.source.clone(), range.next);
        }
        let mut actions = create::txns(&self.identity.table_id, &next, now);
        actions.extend(
            work.iter().filter_map(|unit| unit.file.as_ref().map(|file| file.add(RANGES_TAG, &unit.ranges))),
        );
        actions.extend(self.forget.iter().cloned());
        let ranges = work.iter().flat_map(|unit| unit.ranges.iter().cloned()).collect();
        let description = Description::streaming_update(ranges);
        CommitBody::new(&self.identity.writer, description, actions, &self.dependencies.clock)
    }

    /// Has files deleted that no commit names or can come to name.
    fn discard(&self, work: Vec<Work<DataFile>>) {
        for unit in work {
            if let Some(file) = unit.file {
                self.dependencies
                    .orphan_cleaner
                    .sweep(self.log_tip.store(), Orphan::whole(self.log_tip.store().path(&file.path)));
            }
            self.discard_dead_letters(unit.dead_letters);
        }
    }

    /// The same for files of dead letters.
    fn discard_dead_letters(&self, dead_letters: impl IntoIterator<Item = DataFile>) {
        if let Some(table) = &self.dead_letters {
            let store = table.log_tip.store();
            for file in dead_letters {
                self.dependencies.orphan_cleaner.sweep(store, Orphan::whole(store.path(&file.path)));
            }
        }
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
        self.discard(waiting);
    }

    async fn tell(&self, shard: usize, message: ToShard) {
        let mut message = message;
        while let Err(crossbeam_channel::TrySendError::Full(back)) =
            self.dependencies.shards[shard].try_send(message)
        {
            message = back;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Rests for a random part of this time.
    async fn rest_within(&self, limit: Duration) {
        if limit.is_zero() {
            return;
        }
        let id = self.dependencies.clock.fresh_id();
        let part = id.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        tokio::time::sleep(limit.mul_f64(f64::from(part) / f64::from(u32::MAX))).await;
    }
}

/// Units of work on their way into the table.
struct Append<'a> {
    committer: &'a mut Committer,
    work: &'a [Work<DataFile>],
}

/// Why units of work are not committed now. Nothing of them is in the table.
enum NotCommitted {
    /// They go with what else is ready by now.
    Waits,
    /// They no longer fit the table.
    Misfits,
    Failed(Error),
}

impl NotCommitted {
    fn unless(fits: Result<bool>) -> Result<(), NotCommitted> {
        match fits {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotCommitted::Misfits),
            Err(error) => Err(NotCommitted::Failed(error)),
        }
    }
}

impl Transaction for Append<'_> {
    type Moved = NotCommitted;
    type Waits = RetryPolicy;

    fn tip(&mut self) -> &mut Tip {
        &mut self.committer.log_tip.tip
    }

    async fn body(&mut self) -> Result<CommitBody, NotCommitted> {
        // Whatever came before may have taken days: a broker that was down, a machine that stood still.
        NotCommitted::unless(self.committer.still_fits(self.work).await)?;
        Ok(self.committer.commit_body(self.work))
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), NotCommitted> {
        let committer = &mut *self.committer;
        metrics::commit_conflict(&committer.identity.table_id);
        let lost = committer.contention.lost();
        NotCommitted::unless(committer.give_way(winner).await)?;
        committer.rest_within(lost.wait_within).await;
        if lost.looks_to_tip {
            NotCommitted::unless(committer.follow().await)?;
            return Err(NotCommitted::Waits);
        }
        Ok(())
    }

    fn waits(&self) -> &RetryPolicy {
        &self.committer.retry_policy
    }

    fn resolved(&mut self, took: Duration) {
        self.committer.contention.took(took);
    }
}

/// A vacuum may have removed it.
fn is_old(file: &DataFile, now: Duration) -> bool {
    now.saturating_sub(file.begun) > FILE_AGE_MAX && !planted(Bug::CommitsFilesOfAnyAge)
}
