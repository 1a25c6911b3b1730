//! A change on its way into a table's log. Every version that is put, is put here.
//!
//! It owns the loop: put the next version; after an unclear answer look what
//! stands there; if another commit does, have it judged and put the version
//! after it. It owns how long the tip of the log may be trusted, and what an
//! outcome is worth that came late. What a change holds, and whether it still
//! fits the table after another commit, is the [`Transaction`]'s.
//!
//! | the outcome of a put | in time | late |
//! |---|---|---|
//! | it is ours | landed | landed if the table is made of that version, else unsure |
//! | it is another's, the change fits | put again | unsure |
//! | it is another's, the change does not fit | moved | unsure |
//! | none for [`UNRESOLVED_MAX`] | an error | an error |
//!
//! Late is what comes later than [`TIP_TRUSTED_FOR`] after the tip was last
//! known for sure: by then others may have written the version, checkpointed
//! and cleaned it up, so that a put finds it free again, or finds a later
//! commit of a log that was begun anew.
//!
//! Invariant: what has moved is not in the table and never will be, so that
//! its files may be deleted. What is unsure, or ended in an error, may be in
//! it: only a fresh look tells.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::PutMode;

use crate::clock::SharedClock;
use crate::delta::action;
use crate::delta::commit_body::CommitBody;
use crate::delta::create;
use crate::delta::log::{self, Found, Snapshot};
use crate::delta::since;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::protocol::attempt::{Attempt, GetReply, PutReply, Step, Wait};
use crate::protocol::planted::{Bug, planted};
use crate::protocol::verdict::{Stake, Verdict, judge};
use crate::stores::store::{Store, explain, is_disk_trouble, is_hopeless};

/// After this long without a look the next version may have been written, cleaned up, and be free again.
pub const TIP_TRUSTED_FOR: Duration = Duration::from_secs(60);
/// A commit without an outcome is given up after this long: its files grow too old to be named.
const UNRESOLVED_MAX: Duration = Duration::from_secs(12 * 3600);
/// Unclear answers to an operation that does not wait for a store that is down.
const UNCLEAR_MAX: u32 = 4;

/// The tip of a table's log as its writer knows it.
#[derive(Debug)]
pub struct Tip {
    pub store: Store,
    /// `None`: there is no table yet.
    snapshot: Option<Snapshot>,
    /// Boot time at which the tip was last known for sure.
    pub seen: Duration,
}

impl Tip {
    /// `seen` is when the snapshot's version was last known to be the tip.
    pub fn new(store: Store, snapshot: Option<Snapshot>, seen: Duration) -> Tip {
        Tip { store, snapshot, seen }
    }

    /// Loads the table as it is now.
    pub async fn load(store: &Store, clock: &SharedClock) -> Result<Tip> {
        let seen = clock.boot();
        Ok(Tip::new(store.clone(), log::load(store).await?, seen))
    }

    pub fn exists(&self) -> bool {
        self.snapshot.is_some()
    }

    pub fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("the table exists")
    }

    pub fn into_snapshot(self) -> Option<Snapshot> {
        self.snapshot
    }

    pub fn is_trusted(&self, now: Duration) -> bool {
        now.saturating_sub(self.seen) <= TIP_TRUSTED_FOR || planted(Bug::TrustsTheTipForEver)
    }

    fn next_version(&self) -> Version {
        self.snapshot.as_ref().map_or(Version(0), |snapshot| snapshot.version.next())
    }

    /// Takes the commit at the next version over, which is another's, and says what it means.
    /// The snapshot is left alone where it has to be loaded anew.
    pub fn apply_foreign_commit(&mut self, body: &Bytes, stake: &impl Stake) -> Result<Verdict> {
        let version = self.next_version();
        let Some(snapshot) = &mut self.snapshot else {
            return Err(Error::new(
                ErrorKind::Disagree,
                format!("{}: the table was created", self.store.url),
            ));
        };
        let commit = action::commit(body).map_err(|error| log::damaged(&self.store, version, error))?;
        let verdict = judge(&commit.winner, stake);
        match &verdict {
            Verdict::Harmless | Verdict::Reload => snapshot.apply(version, commit),
            Verdict::Fenced(_)
            | Verdict::Transferred(..)
            | Verdict::OffsetsSet(..)
            | Verdict::FileRemoved(_) => {}
            Verdict::Replaced(operation) => return Err(since::replaced(&self.store, version, operation)),
            Verdict::Unknown(name) => return Err(log::unknown_action(&self.store, version, name)),
        }
        Ok(verdict)
    }

    fn landed(&mut self, version: Version, body: CommitBody) {
        match &mut self.snapshot {
            Some(snapshot) => snapshot.apply(version, body.commit),
            None => self.snapshot = Some(create::snapshot(body.commit)),
        }
    }
}

/// A change, and what becomes of it when others commit first.
pub trait Transaction: Send {
    /// Why the change is not put any more.
    type Moved;
    type Waits: WaitPolicy;

    fn tip(&mut self) -> &mut Tip;

    /// What is to be put after the tip: asked for before each put.
    fn body(&mut self) -> impl Future<Output = Result<CommitBody, Self::Moved>> + Send;

    /// Another commit took the version. The change that still fits is put again, behind it.
    fn judge(&mut self, winner: &Bytes) -> impl Future<Output = Result<(), Self::Moved>> + Send;

    /// How long the store is waited for.
    fn waits(&self) -> &Self::Waits;

    /// A put took so long until its outcome was sure.
    fn resolved(&mut self, _took: Duration) {}
}

/// How long a store is waited for that gives no clear answer.
pub trait WaitPolicy: Send + Sync {
    /// An error ends the wait: what becomes of the commit is then not known.
    fn unclear(&self, error: Error, cause: &object_store::Error) -> Result<()>;

    /// Whether a version of ours that came late is one that the table is made of.
    fn counts(&self, store: &Store, version: Version) -> impl Future<Output = Result<bool>> + Send {
        log::counts(store, version)
    }

    /// The store answers again.
    fn answered(&self) {}
}

/// What became of a change.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome<M> {
    /// It is in the table. `late`: more may have been committed since than anybody has looked at.
    Landed { late: bool },
    /// It is not in the table, and never will be.
    Moved(M),
    /// It may be in the table.
    Unsure,
}

/// Puts a change until it is sure what becomes of it.
///
/// # Errors
/// What became of it is not known.
pub async fn commit<T: Transaction>(transaction: &mut T, clock: &SharedClock) -> Result<Outcome<T::Moved>> {
    loop {
        let body = match transaction.body().await {
            Ok(body) => body,
            Err(moved) => return Ok(Outcome::Moved(moved)),
        };
        let (version, begun) = (transaction.tip().next_version(), clock.boot());
        let resolved = resolve(transaction, version, &body, clock).await?;
        transaction.waits().answered();
        let now = clock.boot();
        transaction.resolved(now.saturating_sub(begun));
        let late = !transaction.tip().is_trusted(now) && !planted(Bug::BelievesALateCommit);
        // What came late says nothing of the tip.
        if planted(Bug::BelievesALateCommit) {
            transaction.tip().seen = now;
        } else if !late {
            transaction.tip().seen = begun;
        }
        match resolved {
            Resolved::Won => {
                transaction.tip().landed(version, body);
                let store = transaction.tip().store.clone();
                if late && !transaction.waits().counts(&store, version).await? {
                    return Ok(Outcome::Unsure);
                }
                return Ok(Outcome::Landed { late });
            }
            // Ours may have been there, and cleaned up, before the winner came.
            Resolved::Lost(_) if late => return Ok(Outcome::Unsure),
            Resolved::Lost(winner) => {
                if let Err(moved) = transaction.judge(&winner).await {
                    return Ok(Outcome::Moved(moved));
                }
            }
        }
    }
}

/// A sure outcome of a put.
enum Resolved {
    /// The version is ours.
    Won,
    /// Another commit stands there: its bytes.
    Lost(Bytes),
}

/// Puts a version until it is sure whose it is.
async fn resolve(
    transaction: &mut impl Transaction,
    version: Version,
    body: &CommitBody,
    clock: &SharedClock,
) -> Result<Resolved> {
    let store = transaction.tip().store.clone();
    let (mut version, mut bytes, begun) = (version, body.bytes.clone(), clock.boot());
    let is_late = || clock.boot().saturating_sub(begun) > UNRESOLVED_MAX;
    let mut attempt = Attempt::new(&*body.id);
    let mut step = Step::Put { wait: Wait::No };
    let (mut there, mut was_put) = (Bytes::new(), false);
    loop {
        let (unclear, next) = match step {
            Step::Won => return Ok(Resolved::Won),
            Step::Lost => return Ok(Resolved::Lost(there)),
            Step::Put { wait } => {
                back_off(wait).await;
                // The machine may have stood still since the last answer.
                if std::mem::replace(&mut was_put, true) && is_late() && !planted(Bug::PutsAgainHoweverLate) {
                    return Err(unresolved(&store, version));
                }
                let (reply, error) = put(&store, version, bytes.clone()).await;
                (error, attempt.after_put(reply))
            }
            Step::Get { wait } => {
                back_off(wait).await;
                match log::get(&store, version).await {
                    Found::Commit(body) => {
                        // What is not JSON is not ours, and its judge will say so.
                        let id = action::commit(&body).ok().and_then(|commit| commit.commit_id);
                        there = body;
                        (None, attempt.after_get(GetReply::Found(id)))
                    }
                    Found::Missing => {
                        put_something_else(&body.id, &mut version, &mut bytes, &mut attempt);
                        (None, attempt.after_get(GetReply::Missing))
                    }
                    Found::Unclear(error) => (Some(error), attempt.after_get(GetReply::Unclear)),
                }
            }
        };
        if let Some(cause) = unclear {
            if is_late() && !is_hopeless(&cause) {
                return Err(unresolved(&store, version));
            }
            transaction.waits().unclear(explain(&store.url, &cause), &cause)?;
        }
        step = next;
    }
}

/// Puts a version if it is absent.
async fn put(store: &Store, version: Version, body: Bytes) -> (PutReply, Option<object_store::Error>) {
    let path = store.version_path(version);
    match log::in_time(store.objects.put_opts(&path, body.into(), PutMode::Create.into())).await {
        Ok(_) => (PutReply::Created, None),
        Err(object_store::Error::AlreadyExists { .. }) => (PutReply::Exists, None),
        Err(error) => (PutReply::Unclear, Some(error)),
    }
}

/// What must never happen between two puts of one commit, and does so only where a bug is planted.
fn put_something_else(commit_id: &str, version: &mut Version, body: &mut Bytes, attempt: &mut Attempt) {
    if planted(Bug::SameBytesAtAnotherVersion) {
        *version = version.next();
    }
    if planted(Bug::OtherBytesAtTheSameVersion) {
        let other: String = commit_id.chars().rev().collect();
        *body = String::from_utf8_lossy(body).replace(commit_id, &other).into();
        *attempt = Attempt::new(other);
    }
}

/// From 50 ms, doubling, to at most 3 s.
async fn back_off(wait: Wait) {
    if let Wait::Backoff(times) = wait {
        tokio::time::sleep(Duration::from_millis(50 << times.min(6)).min(Duration::from_secs(3))).await;
    }
}

fn unresolved(store: &Store, version: Version) -> Error {
    let hours = UNRESOLVED_MAX.as_secs() / 3600;
    let message =
        format!("{}: for {hours} hours the store did not say what became of version {version}", store.url);
    Error::new(ErrorKind::Unavailable, message)
        .remedy("nothing is lost: the next start reads on from the table's offsets")
}

/// Waits for a flaky store, not for one that is down.
#[derive(Default)]
pub struct FewTries {
    unclear: AtomicU32,
}

impl WaitPolicy for FewTries {
    fn unclear(&self, error: Error, cause: &object_store::Error) -> Result<()> {
        let tries = 1 + self.unclear.fetch_add(1, Ordering::Relaxed);
        let give_up = tries >= UNCLEAR_MAX || is_hopeless(cause) || is_disk_trouble(cause);
        if give_up { Err(error) } else { Ok(()) }
    }

    fn answered(&self) {
        self.unclear.store(0, Ordering::Relaxed);
    }
}

/// A change that was decided from the table as it is: whoever commits first, it is decided anew.
pub struct Once<'a, W> {
    tip: &'a mut Tip,
    body: Option<CommitBody>,
    waits: W,
}

/// Another commit came first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beaten;

impl<W: WaitPolicy> Transaction for Once<'_, W> {
    type Moved = Beaten;
    type Waits = W;

    fn tip(&mut self) -> &mut Tip {
        self.tip
    }

    async fn body(&mut self) -> Result<CommitBody, Beaten> {
        self.body.take().ok_or(Beaten)
    }

    async fn judge(&mut self, _: &Bytes) -> Result<(), Beaten> {
        Err(Beaten)
    }

    fn waits(&self) -> &W {
        &self.waits
    }
}

/// Commits a change that fits the table as it is at its tip, and no other.
pub async fn commit_once(
    tip: &mut Tip,
    body: CommitBody,
    waits: impl WaitPolicy,
    clock: &SharedClock,
) -> Result<Outcome<Beaten>> {
    commit(&mut Once { tip, body: Some(body), waits }, clock).await
}

#[cfg(test)]
mod tests;
