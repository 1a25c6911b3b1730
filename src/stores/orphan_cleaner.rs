//! Files that must not stay: deleted until they are gone.
//!
//! It owns the clean-up of discarded files: uploads that failed or were let go,
//! and whole files whose work was discarded. It does not decide what is discarded.
//! Whoever hands a file over must be sure that no commit names it and that
//! none can come to name it: a file of an unresolved commit is not void.
//!
//! What SIGKILL leaves behind nobody hands over: that is what `table info`
//! lists and a vacuum removes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, MultipartId, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::stores::store::{Store, is_hopeless};

/// Deletions at once: a store in trouble is not helped by a flood.
const AT_ONCE: usize = 8;
/// Files that may wait; more are left behind.
const WAITING_MAX: usize = 10_000;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Between two tries once somebody waits for the end.
const BACKOFF_AT_END: Duration = Duration::from_millis(250);
/// Who may write need not be allowed to delete; but a 403 may also be a credential that is being renewed.
const DENIED_MAX: u32 = 5;
/// A write whose reply was lost may still take effect: it is looked for again after this long.
const MAY_LAND_FOR: Duration = Duration::from_secs(2);

/// A file that no version names or can come to name.
#[derive(Clone, Debug)]
pub struct Orphan {
    pub path: Path,
    /// An upload in parts that may still be open.
    pub upload: Option<MultipartId>,
    /// The file under that name is discarded, too, not only the upload.
    pub whole: bool,
    /// A write of it got no clear answer.
    pub unclear: bool,
}

impl Orphan {
    /// A file that is there for sure.
    pub fn whole(path: Path) -> Orphan {
        Orphan { path, upload: None, whole: true, unclear: false }
    }
}

/// Deletes in the background. Clones work on one list.
#[derive(Clone)]
pub struct OrphanCleaner {
    runtime: Handle,
    shared: Arc<Shared>,
}

struct Shared {
    held: Mutex<Pending>,
    changed: Notify,
    at_once: Semaphore,
    ending: Notify,
}

#[derive(Default)]
struct Pending {
    next: u64,
    names: BTreeMap<u64, String>,
    /// Files that are not deleted by us any more.
    left_behind: u64,
    /// Somebody waits for the end: backoffs are short from now on.
    ending: bool,
}

/// While it lives, an end in order waits for what it names.
pub struct Hold {
    shared: Arc<Shared>,
    number: u64,
}

impl OrphanCleaner {
    pub fn new(runtime: Handle) -> OrphanCleaner {
        let shared = Shared {
            held: Mutex::default(),
            changed: Notify::new(),
            at_once: Semaphore::new(AT_ONCE),
            ending: Notify::new(),
        };
        OrphanCleaner { runtime, shared: Arc::new(shared) }
    }

    /// On the runtime of the caller.
    pub fn here() -> OrphanCleaner {
        OrphanCleaner::new(Handle::current())
    }

    /// Makes an end in order wait for a file that is on its way into the store.
    pub fn hold(&self, path: &Path) -> Hold {
        let mut held = self.shared.lock();
        let number = held.next;
        held.next += 1;
        held.names.insert(number, path.to_string());
        Hold { shared: Arc::clone(&self.shared), number }
    }

    /// Deletes a discarded file, however often that takes.
    pub fn sweep(&self, store: &Store, orphan: Orphan) {
        if self.shared.lock().names.len() >= WAITING_MAX {
            return self.shared.left_behind(&orphan, "too many files wait to be deleted");
        }
        let hold = self.hold(&orphan.path);
        let (store, shared) = (store.clone(), Arc::clone(&self.shared));
        self.runtime.spawn(async move {
            until_gone(&store, &orphan, &shared).await;
            if orphan.unclear {
                shared.pause(MAY_LAND_FOR).await;
                until_gone(&store, &orphan, &shared).await;
            }
            drop(hold);
        });
    }

    /// Waits until nothing is left to delete, at most this long. What is left then is named in the log.
    pub async fn finish(&self, limit: Duration) {
        self.shared.lock().ending = true;
        self.shared.ending.notify_waiters();
        let all_gone = async {
            while !self.shared.lock().names.is_empty() {
                self.shared.changed.notified().await;
            }
        };
        if tokio::time::timeout(limit, all_gone).await.is_err() {
            for path in self.shared.lock().names.values() {
                warn!(path, "not done with in time: what there is of this file is left behind as an orphan");
            }
        }
        self.shared.lock().ending = false;
    }
}

impl Shared {
    /// A panic while the lock was held leaves whole entries.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody deletes this file. In an outage these may be many: the first is told, the second, the fourth, and
    /// so on; `table info` lists all.
    fn left_behind(&self, orphan: &Orphan, why: &str) {
        let files = {
            let mut held = self.lock();
            held.left_behind += 1;
            held.left_behind
        };
        if files.is_power_of_two() {
            warn!(path = %orphan.path, files, why, "a file is left behind as an orphan");
        }
    }

    /// Sleeps, but not into an end that others wait for.
    async fn pause(&self, time: Duration) {
        let ending = self.ending.notified();
        if self.lock().ending {
            return tokio::time::sleep(time.min(BACKOFF_AT_END)).await;
        }
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = ending => {}
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lock().names.remove(&self.number);
        // One waiter at most; a permit is kept for one that is about to wait.
        self.shared.changed.notify_one();
    }
}

async fn until_gone(store: &Store, orphan: &Orphan, shared: &Shared) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    let mut denied = 0;
    loop {
        let removed = {
            let _turn = shared.at_once.acquire().await;
            remove(store, orphan).await
        };
        match removed {
            Ok(()) => return,
            Err(error) => {
                denied += u32::from(matches!(
                    error,
                    Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
                ));
                if denied >= DENIED_MAX || is_hopeless(&error) {
                    return shared.left_behind(orphan, &format!("it may not be deleted: {error}"));
                }
                debug!(path = %orphan.path, %error, "deleting a void file is repeated");
            }
        }
        shared.pause(backoff.pause()).await;
    }
}

/// The upload first: once it is aborted its completion cannot land any more, so
/// that what is deleted then stays deleted.
async fn remove(store: &Store, orphan: &Orphan) -> object_store::Result<()> {
    if let (Some(id), Some(parts)) = (&orphan.upload, &store.parts) {
        gone(parts.abort_multipart(&orphan.path, id).await)?;
    }
    if orphan.whole { gone(store.objects.delete(&orphan.path).await) } else { Ok(()) }
}

fn gone(outcome: object_store::Result<()>) -> object_store::Result<()> {
    match outcome {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}
