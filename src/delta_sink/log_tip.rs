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

use super::retry_policy::RetryPolicy;
use crate::clock::SharedClock;
use crate::config::Compression;
use crate::delta::action;
use crate::delta::checkpoint::{self, CheckpointOptions, CheckpointPermits};
use crate::delta::log::{self, Found, Snapshot};
use crate::delta::retention::Retention;
use crate::delta::transaction::Tip;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::protocol::planted::{Bug, planted};
use crate::stores::orphan_cleaner::OrphanCleaner;
use crate::stores::store::Store;

/// More versions than this are not followed one by one: a fresh look is less.
const UNSEEN_MAX: usize = 256;
/// Versions between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 100;
/// A checkpoint rests for so many times as long as it took: with a hundred commits a second it would
/// hardly end before the next.
const CHECKPOINT_RESTS: u32 = 9;
/// Old log files are looked for this often: it lists the whole log.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(3600);

/// What a log's upkeep runs on.
#[derive(Clone)]
pub struct LogUpkeep {
    /// What of discarded files must not stay in the store.
    pub orphan_cleaner: OrphanCleaner,
    /// When checkpoints may be written.
    pub checkpoints: CheckpointPermits,
    /// Versions between two of them: [`CHECKPOINT_EVERY`] in a run.
    pub checkpoint_every: u64,
    /// Of checkpoints; data files come compressed.
    pub compression: Compression,
}

pub(super) struct LogTip {
    pub(super) tip: Tip,
    upkeep: LogUpkeep,
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
    pub(super) fn new(tip: Tip, upkeep: &LogUpkeep) -> LogTip {
        LogTip {
            upkeep: upkeep.clone(),
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
        if busy || v2 || version.0 < self.checkpointed.0 + self.upkeep.checkpoint_every {
            return;
        }
        self.checkpointed = version;
        let now = clock.boot();
        let cleans_up = self.cleaned_up.is_none_or(|last| now.saturating_sub(last) >= CLEAN_UP_EVERY);
        if cleans_up {
            self.cleaned_up = Some(now);
        }
        let (store, clock) = (self.store().clone(), Arc::clone(clock));
        let LogUpkeep { orphan_cleaner, checkpoints, checkpoint_every, compression } = self.upkeep.clone();
        let failures = Arc::clone(&self.failures);
        let kept = Retention::of(&self.snapshot().metadata);
        self.checkpointing = Some(tokio::spawn(async move {
            let turn = checkpoints.take().await;
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

#[cfg(test)]
mod tests;
