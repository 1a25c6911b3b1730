//! The tip of a table's log, as the one who writes it here knows it.
//!
//! It owns looking at what came unseen, and the checkpoints that follow from
//! the tip. What another commit means for uncommitted work is the caller's
//! matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use super::{ALIVE_FOR, CommitterDependencies};
use crate::backoff::Backoff;
use crate::clock::SharedClock;
use crate::config::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::metrics;
use crate::protocol::planted::{Bug, planted};
use crate::status::{Board, Part, State};
use crate::table::action;
use crate::table::checkpoint::{self, CheckpointOptions, CheckpointPermits};
use crate::table::log::{self, Found, Snapshot};
use crate::table::orphan_cleaner::OrphanCleaner;
use crate::table::retention::Retention;
use crate::table::store::{Store, is_hopeless};
use crate::table::transaction::{Tip, WaitPolicy};

/// More versions than this are not followed one by one: a fresh look is less.
const UNSEEN_MAX: usize = 256;
/// Versions between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 100;
/// A checkpoint rests for so many times as long as it took: with a hundred commits a second it would
/// hardly end before the next.
const CHECKPOINT_RESTS: u32 = 9;
/// Old log files are looked for this often: it lists the whole log.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct LogTip {
    pub(super) tip: Tip,
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
    pub(super) fn new(tip: Tip, dependencies: &CommitterDependencies) -> LogTip {
        LogTip {
            orphan_cleaner: dependencies.orphan_cleaner.clone(),
            checkpoint_permits: dependencies.checkpoints.clone(),
            checkpoint_every: dependencies.checkpoint_every,
            compression: dependencies.compression,
            checkpointed: tip.snapshot().checkpoint.unwrap_or(Version(0)),
            tip,
            cleaned_up: None,
            checkpointing: None,
            failures: Arc::default(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.tip.store
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        self.tip.snapshot()
    }

    pub(super) fn is_trusted(&self, now: Duration) -> bool {
        self.tip.is_trusted(now)
    }

    /// Has the log looked at before the next commit.
    pub(super) fn distrust(&mut self) {
        self.tip.seen = Duration::ZERO;
    }

    /// The commits after ours, in order; `None` where some were cleaned up
    /// already, or there are many, so that only a fresh look helps.
    pub(super) async fn unseen(
        &mut self,
        retry_policy: &RetryPolicy,
        now: Duration,
    ) -> Result<Option<Vec<(Version, Bytes)>>> {
        let tip = self.snapshot().version;
        // Before the listing: what is missing then and was there before was cleaned up in between.
        let at_the_tip = log::get(self.store(), tip).await;
        let listing = retry_policy.ask(|| log::list(self.store(), Some(tip))).await?;
        let next = listing.versions.iter().find(|&&version| version > tip);
        if next.is_some_and(|&version| version != tip.next()) {
            return Ok(None);
        }
        match at_the_tip {
            Found::Commit(body) => {
                let id = action::commit(&body).ok().and_then(|commit| commit.commit_id);
                if id != self.snapshot().tip_commit_id && self.snapshot().tip_commit_id.is_some() {
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
            match retry_policy.ask(|| log::find(self.store(), version)).await? {
                Some(body) => unseen.push((version, body)),
                None if planted(Bug::TakesCleanedUpForFree) => break,
                // It was listed: others clean up right now, and what is free may have been written.
                None => return Ok(None),
            }
            expected = version.next();
        }
        self.tip.seen = now;
        Ok(Some(unseen))
    }

    fn is_gone(&self, version: Version) -> Error {
        let message = format!(
            "{}: version {version} is no longer what it was: the table was created again or its log was cut",
            self.store().url
        );
        Error::new(ErrorKind::Disagree, message).remedy("look at the table's history, then start again")
    }

    pub(super) fn checkpoint_when_due(&mut self, clock: &SharedClock) {
        let busy = self.checkpointing.as_ref().is_some_and(|task| !task.is_finished());
        let version = self.snapshot().version;
        // With v2 checkpoints the table's other writers keep their own form.
        let v2 = self.snapshot().protocol.writer_features.iter().flatten().any(|name| name == "v2Checkpoint");
        if busy || v2 || version.0 < self.checkpointed.0 + self.checkpoint_every {
            return;
        }
        self.checkpointed = version;
        let now = clock.boot();
        let cleans_up = self.cleaned_up.is_none_or(|last| now.saturating_sub(last) >= CLEAN_UP_EVERY);
        if cleans_up {
            self.cleaned_up = Some(now);
        }
        let (store, clock) = (self.store().clone(), Arc::clone(clock));
        let (checkpoint_permits, orphan_cleaner) =
            (self.checkpoint_permits.clone(), self.orphan_cleaner.clone());
        let failures = Arc::clone(&self.failures);
        let checkpoint_every = self.checkpoint_every;
        let (kept, compression) = (Retention::of(&self.snapshot().metadata), self.compression);
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

/// Waits for a store that gives no answer as long as it takes, seen from outside.
#[derive(Clone)]
pub(super) struct RetryPolicy {
    pub(super) board: Arc<Board>,
    pub(super) table_id: String,
}

impl RetryPolicy {
    /// Commits to the table.
    pub(super) fn part(&self) -> Part {
        Part::Commits(self.table_id.clone())
    }

    /// Repeats a question until it is answered. What a person must mend is an answer, too.
    pub(super) async fn ask<T, F: Future<Output = Result<T>>>(&self, question: impl Fn() -> F) -> Result<T> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let mut waited = false;
        loop {
            match question().await {
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
        self.board.heartbeat(&self.part(), ALIVE_FOR);
        self.board.set(self.part(), State::Waiting(error.into()));
    }
}

impl WaitPolicy for RetryPolicy {
    fn unclear(&self, error: Error, cause: &object_store::Error) -> Result<()> {
        metrics::commit_failed(&self.table_id);
        if is_hopeless(cause) || planted(Bug::DeletesFilesOfAnUnknownCommit) {
            return Err(error);
        }
        // The board logs it where it lasts.
        debug!(table = self.table_id, %error, "the store gave no clear answer; it is asked again");
        self.waiting(&error);
        Ok(())
    }

    async fn counts(&self, store: &Store, version: Version) -> Result<bool> {
        self.ask(|| log::counts(store, version)).await
    }

    fn answered(&self) {
        self.board.set(self.part(), State::Reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::ManualClock;

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_an_answer_is_ready_once_it_has_one() {
        let board = Arc::new(Board::new(Arc::new(ManualClock::default())));
        let retry_policy = RetryPolicy { board: Arc::clone(&board), table_id: "t".to_owned() };
        let left = AtomicU32::new(2);
        let question = async || {
            if left.fetch_sub(1, Ordering::Relaxed) > 1 {
                return Err(Error::new(ErrorKind::Unavailable, "503"));
            }
            assert_eq!(board.not_ready().len(), 1, "it waits");
            Ok(7)
        };
        assert_eq!(retry_policy.ask(question).await.unwrap(), 7);
        assert!(board.not_ready().is_empty());
    }
}
