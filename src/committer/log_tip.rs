//! The tip of a table's log, as the one who writes it here knows it.
//!
//! It owns the snapshot between commits, how long it may be trusted, and the
//! checkpoints that follow from it. What a winner means for uncommitted work
//! is the caller's matter; what no caller can live with is refused here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use super::body::Ours;
use super::{ALIVE_FOR, CommitterDependencies};
use crate::backoff::Backoff;
use crate::clock::SharedClock;
use crate::config::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::metrics;
use crate::protocol::planted::{Bug, planted};
use crate::protocol::verdict::{Relation, Verdict, judge};
use crate::status::{Board, Part, State};
use crate::table::action;
use crate::table::checkpoint::{self, CheckpointOptions, CheckpointPermits};
use crate::table::log::{self, Found, Meanwhile, Resolved, Snapshot};
use crate::table::orphan_cleaner::OrphanCleaner;
use crate::table::retention::Retention;
use crate::table::since;
use crate::table::store::{Store, explain, is_hopeless};

/// After this long without a commit the log is looked at before it is trusted:
/// the next version may have been written, cleaned up, and be free again.
pub const TIP_TRUSTED_FOR: Duration = Duration::from_secs(60);
/// More versions than this are not followed one by one: a fresh look is less.
const UNSEEN_MAX: usize = 256;
/// A commit without an outcome is given up after this long: its files grow too old to be named.
const UNRESOLVED_MAX: Duration = Duration::from_secs(12 * 3600);
/// Versions between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 100;
/// A checkpoint rests for so many times as long as it took: with a hundred commits a second it would
/// hardly end before the next.
const CHECKPOINT_RESTS: u32 = 9;
/// Old log files are looked for this often: it lists the whole log.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct LogTip {
    pub(super) store: Store,
    pub(super) snapshot: Snapshot,
    /// Boot time at which the tip of the log was last known for sure.
    tip_seen: Duration,
    orphan_cleaner: OrphanCleaner,
    checkpoint_permits: CheckpointPermits,
    checkpoint_every: u64,
    compression: Compression,
    checkpointed: Version,
    cleaned_up: Option<Duration>,
    checkpointing: Option<tokio::task::JoinHandle<()>>,
    failures: Arc<Failures>,
}

/// In a row. Of an outage the board tells, and then the next one works: what fails twice is worth a line.
#[derive(Default)]
struct Failures {
    checkpoints: AtomicU32,
    clean_ups: AtomicU32,
}

fn is_first(failures: &AtomicU32) -> bool {
    failures.fetch_add(1, Ordering::Relaxed) == 0
}

impl LogTip {
    /// `seen` is when the snapshot's tip was last known for sure.
    pub(super) fn new(
        store: Store,
        snapshot: Snapshot,
        seen: Duration,
        dependencies: &CommitterDependencies,
    ) -> LogTip {
        LogTip {
            store,
            orphan_cleaner: dependencies.orphan_cleaner.clone(),
            checkpoint_permits: dependencies.checkpoints.clone(),
            checkpoint_every: dependencies.checkpoint_every,
            compression: dependencies.compression,
            checkpointed: snapshot.checkpoint.unwrap_or(Version(0)),
            snapshot,
            tip_seen: seen,
            cleaned_up: None,
            checkpointing: None,
            failures: Arc::default(),
        }
    }

    /// Begins again from a fresh look.
    pub(super) fn replace(&mut self, snapshot: Snapshot, now: Duration) {
        self.snapshot = snapshot;
        self.tip_seen = now;
    }

    pub(super) fn is_trusted(&self, now: Duration) -> bool {
        now.saturating_sub(self.tip_seen) <= TIP_TRUSTED_FOR || planted(Bug::TrustsTheTipForEver)
    }

    /// Has the log looked at before the next commit.
    pub(super) fn distrust(&mut self) {
        self.tip_seen = Duration::ZERO;
    }

    /// The commits after ours, in order; `None` where some were cleaned up
    /// already, or there are many, so that only a fresh look helps.
    pub(super) async fn unseen(
        &mut self,
        retry_policy: &RetryPolicy,
        now: Duration,
    ) -> Result<Option<Vec<(Version, Bytes)>>> {
        let tip = self.snapshot.version;
        // Before the listing: what is missing then and was there before was cleaned up in between.
        let at_the_tip = log::get(&self.store, tip).await;
        let listing = retry_policy.ask(|| log::list(&self.store, Some(tip))).await?;
        let next = listing.versions.iter().find(|&&version| version > tip);
        if next.is_some_and(|&version| version != tip.next()) {
            return Ok(None);
        }
        match at_the_tip {
            Found::Commit(body) => {
                let id = action::commit(&body).ok().and_then(|commit| commit.commit_id);
                if id != self.snapshot.tip_commit_id && self.snapshot.tip_commit_id.is_some() {
                    // Where the log goes on, ours may have been cleaned up, and this came too late to count.
                    let goes_on = listing.versions.iter().any(|&version| version > tip);
                    return if goes_on { Ok(None) } else { Err(self.is_gone(tip)) };
                }
            }
            Found::Missing if listing.versions.iter().all(|&version| version <= tip) => {
                return Err(self.is_gone(tip));
            }
            // Cleaned up, or no answer now: what follows decides.
            Found::Missing | Found::Unclear(_) => {}
        }
        if listing.versions.iter().filter(|&&version| version > tip).count() > UNSEEN_MAX {
            return Ok(None);
        }
        let mut unseen = Vec::new();
        let mut expected = tip.next();
        for version in listing.versions.into_iter().filter(|&version| version > tip) {
            if version != expected {
                return Ok(None);
            }
            match retry_policy.ask(|| log::find(&self.store, version)).await? {
                Some(body) => unseen.push((version, body)),
                None if planted(Bug::TakesCleanedUpForFree) => break,
                // It was listed: others clean up right now, and what is free may have been written.
                None => return Ok(None),
            }
            expected = version.next();
        }
        self.tip_seen = now;
        Ok(Some(unseen))
    }

    /// Whether the version that was put last is part of the table, however late it came.
    pub(super) async fn counts(&self, retry_policy: &RetryPolicy) -> Result<bool> {
        retry_policy.ask(|| log::counts(&self.store, self.snapshot.version)).await
    }

    fn is_gone(&self, version: Version) -> Error {
        let message = format!(
            "{}: version {version} is no longer what it was: the table was created again or its log was cut",
            self.store.url
        );
        Error::new(ErrorKind::Disagree, message).remedy("look at the table's history, then start again")
    }

    /// Puts the next version until it is sure whose it is. Who finds the tip untrusted afterwards does not
    /// know whether the version still counts: others may have gone far beyond it.
    pub(super) async fn put(
        &mut self,
        ours: Ours,
        table_id: &str,
        retry_policy: &RetryPolicy,
        clock: &SharedClock,
    ) -> Result<Resolved> {
        let (version, begun) = (self.snapshot.version.next(), clock.boot());
        let resolved = log::resolve(&self.store, version, &ours.id, &ours.bytes, |heard| {
            let is_late = clock.boot().saturating_sub(begun) > UNRESOLVED_MAX;
            let error = match heard {
                // The machine may have stood still since the last answer.
                Meanwhile::PutsAgain if is_late && !planted(Bug::PutsAgainHoweverLate) => {
                    return Err(unresolved(&self.store, version));
                }
                Meanwhile::PutsAgain => return Ok(()),
                Meanwhile::Unclear(error) => error,
            };
            metrics::commit_failed(table_id);
            if is_hopeless(error) || planted(Bug::DeletesFilesOfAnUnknownCommit) {
                return Err(explain(&self.store.url, error));
            }
            if is_late {
                return Err(unresolved(&self.store, version));
            }
            // The board logs it where it lasts.
            let error = explain(&self.store.url, error);
            debug!(table = table_id, %version, %error, "the store gave no clear answer; it is asked again");
            retry_policy.waiting(&error);
            Ok(())
        })
        .await?;
        retry_policy.answered();
        // What took longer says nothing of the tip.
        self.tip_seen = if planted(Bug::BelievesALateCommit) { clock.boot() } else { begun };
        if let Resolved::Won = resolved {
            self.snapshot.apply(version, ours.commit);
        }
        Ok(resolved)
    }

    /// Takes over the commit at the next version, which is not ours, and says
    /// what it means. The snapshot is left alone where it has to be loaded anew.
    pub(super) fn apply_foreign_commit(
        &mut self,
        body: &Bytes,
        relation: impl Fn(&str) -> Relation,
    ) -> Result<Verdict> {
        apply_foreign_commit(&self.store, &mut self.snapshot, body, relation)
    }

    pub(super) fn checkpoint_when_due(&mut self, clock: &SharedClock) {
        let busy = self.checkpointing.as_ref().is_some_and(|task| !task.is_finished());
        let version = self.snapshot.version;
        // With v2 checkpoints the table's other writers keep their own form.
        let v2 = self.snapshot.protocol.writer_features.iter().flatten().any(|name| name == "v2Checkpoint");
        if busy || v2 || version.0 < self.checkpointed.0 + self.checkpoint_every {
            return;
        }
        self.checkpointed = version;
        let now = clock.boot();
        let cleans_up = self.cleaned_up.is_none_or(|last| now.saturating_sub(last) >= CLEAN_UP_EVERY);
        if cleans_up {
            self.cleaned_up = Some(now);
        }
        let (store, clock) = (self.store.clone(), Arc::clone(clock));
        let (checkpoint_permits, orphan_cleaner) =
            (self.checkpoint_permits.clone(), self.orphan_cleaner.clone());
        let failures = Arc::clone(&self.failures);
        let checkpoint_every = self.checkpoint_every;
        let (kept, compression) = (Retention::of(&self.snapshot.metadata), self.compression);
        self.checkpointing = Some(tokio::spawn(async move {
            let turn = checkpoint_permits.take().await;
            // Other writers of the table write checkpoints, too.
            let last = log::last_checkpoint(&store).await.ok().flatten();
            if last.is_some_and(|last| version.0 < last.0 + checkpoint_every / 2) {
                return;
            }
            let begun = clock.boot();
            let expired_ms = clock.wall_ms().saturating_sub(kept.tombstones_ms);
            let options = CheckpointOptions { expired_ms, compression };
            match checkpoint::write_by(&store, version, options, &orphan_cleaner, &*clock).await {
                Ok(()) => {
                    failures.checkpoints.store(0, Ordering::Relaxed);
                    debug!(%version, "checkpoint written");
                }
                Err(error) if is_first(&failures.checkpoints) => {
                    debug!(%version, %error, "the checkpoint failed; the next one will cover it");
                }
                Err(error) => {
                    warn!(%version, %error, "the checkpoint failed again; the next one will cover it")
                }
            }
            let expired_ms = clock.wall_ms().saturating_sub(kept.log_ms);
            if cleans_up {
                match checkpoint::clean_up(&store, expired_ms).await {
                    Ok(_) => failures.clean_ups.store(0, Ordering::Relaxed),
                    Err(error) if is_first(&failures.clean_ups) => {
                        debug!(%error, "old log files could not be removed; the next time they are");
                    }
                    Err(error) => warn!(%error, "old log files could not be removed again"),
                }
            }
            drop(turn);
            tokio::time::sleep(clock.boot().saturating_sub(begun) * CHECKPOINT_RESTS).await;
        }));
    }

    /// A checkpoint that is not finished is not missed.
    pub(super) fn end(&mut self) {
        if let Some(checkpointing) = self.checkpointing.take() {
            checkpointing.abort();
        }
    }
}

fn unresolved(store: &Store, version: Version) -> Error {
    let hours = UNRESOLVED_MAX.as_secs() / 3600;
    let message =
        format!("{}: for {hours} hours the store did not say what became of version {version}", store.url);
    Error::new(ErrorKind::Unavailable, message)
        .remedy("nothing is lost: the next start reads on from the table's offsets")
}

/// The same before there is a head: while a table is opened.
pub fn apply_foreign_commit(
    store: &Store,
    snapshot: &mut Snapshot,
    body: &Bytes,
    relation: impl Fn(&str) -> Relation,
) -> Result<Verdict> {
    let version = snapshot.version.next();
    let commit = action::commit(body).map_err(|error| log::damaged(store, version, error))?;
    let verdict = judge(&commit.winner, relation);
    match &verdict {
        Verdict::Harmless | Verdict::Reload => snapshot.apply(version, commit),
        Verdict::Fenced(_) | Verdict::Transferred(..) | Verdict::OffsetsSet(..) => {}
        Verdict::Replaced(operation) => return Err(since::replaced(store, version, operation)),
        Verdict::Unknown(name) => return Err(log::unknown_action(store, version, name)),
    }
    Ok(verdict)
}

/// Waiting for a store that gives no answer, seen from outside.
pub(super) struct RetryPolicy {
    pub(super) board: Arc<Board>,
    /// Commits to the table.
    pub(super) part: Part,
}

impl RetryPolicy {
    /// Repeats a question until it is answered. What a person must mend is an answer, too.
    pub(super) async fn ask<T, F: Future<Output = Result<T>>>(
        &self,
        request_id: impl Fn() -> F,
    ) -> Result<T> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let mut waited = false;
        loop {
            match request_id().await {
                Err(error) if matches!(error.kind, ErrorKind::Disagree | ErrorKind::CannotWrite) => {
                    return Err(error);
                }
                Ok(answer) => {
                    if waited {
                        self.answered();
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    waited = true;
                    self.waiting(&error);
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// It lives, and it is not ready.
    pub(super) fn waiting(&self, error: &Error) {
        self.board.heartbeat(&self.part, ALIVE_FOR);
        self.board.set(self.part.clone(), State::Waiting(error.into()));
    }

    fn answered(&self) {
        self.board.set(self.part.clone(), State::Reading);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::clock::testing::ManualClock;

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_an_answer_is_ready_once_it_has_one() {
        let board = Arc::new(Board::new(Arc::new(ManualClock::default())));
        let retry_policy = RetryPolicy { board: Arc::clone(&board), part: Part::Commits("t".to_owned()) };
        let left = Cell::new(2);
        let request_id = async || {
            left.set(left.get() - 1);
            if left.get() > 0 {
                return Err(Error::new(ErrorKind::Unavailable, "503"));
            }
            assert_eq!(board.not_ready().len(), 1, "it waits");
            Ok(7)
        };
        assert_eq!(retry_policy.ask(request_id).await.unwrap(), 7);
        assert!(board.not_ready().is_empty());
    }
}
