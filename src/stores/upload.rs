//! The way of a data file's parts into the store.
//!
//! It owns one file's transfer: a small file in one put, a larger one in
//! parts, each repeated while the store is in trouble. What cannot be finished
//! is handed to the orphan cleaner, explicitly. It does not know what the file settles.
//!
//! A name is used once, so repeating a put or a part is the same put or part,
//! and a whole file under it can only be ours.
//!
//! Memory: each part carries its charge on the budget and gives it back when
//! the store has the bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, MultipartId, MultipartUpload, ObjectStoreExt, PutOptions, Result};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::budget::Charge;
use crate::stores::disk;
use crate::stores::orphan_cleaner::{Orphan, OrphanCleaner};
use crate::stores::store::{Store, is_hopeless};

/// Bytes of a part; S3 wants at least 5 MiB for all but the last.
pub const PART_BYTES: usize = 8 << 20;

/// After this long without an answer a file is given up, and its records are read again.
const TIMEOUT: Duration = Duration::from_secs(300);
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(3);

/// A piece of a file on its way to the store.
#[derive(Debug)]
pub struct Part {
    pub bytes: Bytes,
    pub charge: Charge,
    /// The file ends here.
    pub last: bool,
}

#[derive(Debug)]
#[must_use]
pub enum Uploaded {
    Done,
    /// The shard let go of the file: what there is of it is being deleted.
    Abandoned,
    Failed(Error),
}

/// Hears how an upload fares.
pub trait Watch: Sync {
    /// The store gave no good answer; the request is repeated while this is true.
    fn goes_on(&self, error: &Error) -> bool;
    /// The store answers.
    fn answered(&self);
}

/// Nobody watches: patience alone decides.
impl Watch for () {
    fn goes_on(&self, _: &Error) -> bool {
        true
    }

    fn answered(&self) {}
}

/// Whose a name is, and so what may be deleted under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// Made for this upload: nobody else ever writes it.
    Fresh,
    /// Others may write the same name: only the upload is ours, never the file.
    Shared,
}

/// Carries one file into the store until its last part; parts that end before that abandon it.
///
/// Whatever of it is not wanted goes to the orphan cleaner, also when this future is dropped.
pub async fn file(
    store: &Store,
    (relative, name): (&str, Name),
    parts: impl Stream<Item = Part> + Unpin,
    watch: &impl Watch,
    orphan_cleaner: &OrphanCleaner,
) -> Uploaded {
    let to = Target { store, path: store.path(relative), watch };
    let _hold = orphan_cleaner.hold(&to.path);
    let mut transfer = Transfer { to, name, orphan_cleaner, open: None, sent: 0, unclear: false };
    let outcome = transfer.run(parts).await;
    match outcome {
        Uploaded::Done => transfer.keep(),
        Uploaded::Abandoned | Uploaded::Failed(_) => transfer.cut_off().await,
    }
    outcome
}

struct Target<'a, W> {
    store: &'a Store,
    path: Path,
    watch: &'a W,
}

struct Transfer<'a, W> {
    to: Target<'a, W>,
    name: Name,
    orphan_cleaner: &'a OrphanCleaner,
    open: Option<Open>,
    /// Bytes of the parts so far.
    sent: u64,
    /// A whole file may stand in the store although nothing said so.
    unclear: bool,
}

/// An upload in parts.
enum Open {
    /// Each part has a number: it can be put again.
    Numbered { parts: Arc<dyn MultipartStore>, id: MultipartId, done: Vec<PartId> },
    /// A local disk: a part that could not be written is written again; what could not be synced is lost.
    Appended(Box<dyn MultipartUpload>),
}

impl<W: Watch> Transfer<'_, W> {
    async fn run(&mut self, mut parts: impl Stream<Item = Part> + Unpin) -> Uploaded {
        while let Some(Part { bytes, charge, last }) = parts.next().await {
            let carried = match last {
                false => self.put_part(bytes).await,
                true if self.open.is_none() => self.put_whole(bytes).await,
                true => match self.put_part(bytes).await {
                    Ok(()) => self.complete().await,
                    Err(error) => Err(error),
                },
            };
            drop(charge);
            match carried {
                Err(error) => return Uploaded::Failed(error),
                Ok(()) if last => return Uploaded::Done,
                Ok(()) => {}
            }
        }
        Uploaded::Abandoned
    }

    async fn put_whole(&mut self, bytes: Bytes) -> Result<()> {
        self.unclear = true;
        let Target { store, path, watch } = &self.to;
        let put = || {
            let options = match self.name {
                Name::Fresh => disk::nobody_reads_yet(),
                Name::Shared => PutOptions::default(),
            };
            store.objects.put_opts(path, bytes.clone().into(), options)
        };
        repeated(*watch, put).await.map(drop)
    }

    async fn put_part(&mut self, bytes: Bytes) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(self.to.begin().await?);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.sent += bytes.len() as u64;
        match self.open.as_mut().expect("just begun") {
            Open::Numbered { parts, id, done } => {
                let number = done.len();
                let put = || parts.put_part(&self.to.path, id, number, bytes.clone().into());
                done.push(repeated(self.to.watch, put).await?);
                Ok(())
            }
            Open::Appended(upload) => repeated(self.to.watch, || upload.put_part(bytes.clone().into())).await,
        }
    }

    async fn complete(&mut self) -> Result<()> {
        self.unclear = true;
        let (to, sent) = (&self.to, self.sent);
        match self.open.as_mut().expect("parts were put") {
            Open::Appended(upload) => upload.complete().await.map(drop),
            Open::Numbered { parts, id, done } => {
                let complete = || async {
                    match parts.complete_multipart(&to.path, id, done.clone()).await {
                        // It took effect and the reply was lost: the upload is gone, the file stands.
                        Err(_) if to.holds(sent).await => Ok(()),
                        outcome => outcome.map(drop),
                    }
                };
                repeated(to.watch, complete).await
            }
        }
    }

    fn keep(mut self) {
        self.open = None;
        self.unclear = false;
    }

    async fn cut_off(mut self) {
        if let Some(Open::Appended(upload)) = &mut self.open
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(path = %self.to.path, %error, "half a file could not be removed and is left behind");
        }
    }
}

impl<W> Drop for Transfer<'_, W> {
    fn drop(&mut self) {
        let upload = match self.open.take() {
            Some(Open::Numbered { id, .. }) => Some(id),
            // A local upload removes its unfinished file when it is dropped.
            Some(Open::Appended(_)) | None => None,
        };
        let whole = self.unclear && self.name == Name::Fresh;
        if upload.is_some() || whole {
            let orphan = Orphan { path: self.to.path.clone(), upload, whole, unclear: self.unclear };
            self.orphan_cleaner.sweep(self.to.store, orphan);
        }
    }
}

impl<W: Watch> Target<'_, W> {
    async fn begin(&self) -> Result<Open> {
        match &self.store.parts {
            Some(parts) => {
                let id = repeated(self.watch, || parts.create_multipart(&self.path)).await?;
                Ok(Open::Numbered { parts: Arc::clone(parts), id, done: Vec::new() })
            }
            None => {
                let begun = repeated(self.watch, || self.store.objects.put_multipart(&self.path)).await?;
                Ok(Open::Appended(begun))
            }
        }
    }

    /// Whether the whole file stands there.
    async fn holds(&self, size: u64) -> bool {
        let there = repeated(self.watch, || self.store.objects.head(&self.path)).await;
        there.is_ok_and(|meta| meta.size == size)
    }
}

/// Repeats a request until it is answered, is without hope, or nobody wants it any more.
async fn repeated<T, F: Future<Output = Result<T>>>(
    watch: &impl Watch,
    mut request: impl FnMut() -> F,
) -> Result<T> {
    let begun = Instant::now();
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    loop {
        match request().await {
            Ok(answer) => {
                watch.answered();
                return Ok(answer);
            }
            Err(error) if is_hopeless(&error) || matches!(error, Error::NotFound { .. }) => {
                return Err(error);
            }
            Err(error) => {
                tracing::debug!(%error, "a request of an upload is repeated");
                if !watch.goes_on(&error) || begun.elapsed() >= TIMEOUT {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

#[cfg(test)]
mod tests;
