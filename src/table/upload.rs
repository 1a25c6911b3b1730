//! The way of a data file's parts into the store.
//!
//! It owns one file's transfer: a small file in one put, a larger one in
//! parts, everything abandoned explicitly when it cannot be finished. It does
//! not know what the file settles.
//!
//! Memory: each part carries its charge on the budget and gives it back when
//! the store has the bytes.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};

use super::store::{Store, is_hopeless};
use crate::budget::Charge;

/// Bytes of a part; S3 wants at least 5 MiB for all but the last.
pub const PART_BYTES: usize = 8 << 20;

const TRIES: u32 = 5;

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
    /// The shard let go of the file: nothing of it is left in the store.
    Abandoned,
    Failed(object_store::Error),
}

/// Carries one file into the store until its last part; parts that end before that abandon it.
pub async fn file(store: &Store, relative: &str, mut parts: impl Stream<Item = Part> + Unpin) -> Uploaded {
    let Some(first) = parts.next().await else { return Uploaded::Abandoned };
    let path = store.path(relative);
    if first.last {
        return match repeated(|| async { store.objects.put(&path, first.bytes.clone().into()).await }).await {
            Ok(_) => Uploaded::Done,
            Err(error) => Uploaded::Failed(error),
        };
    }
    let mut upload = match repeated(|| store.objects.put_multipart(&path)).await {
        Ok(upload) => upload,
        Err(error) => return Uploaded::Failed(error),
    };
    let outcome = in_parts(upload.as_mut(), first, &mut parts).await;
    if !matches!(outcome, Uploaded::Done)
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(%path, %error, "an upload could not be aborted; the store's lifecycle rule will remove it");
    }
    outcome
}

async fn in_parts(
    upload: &mut dyn MultipartUpload,
    first: Part,
    parts: &mut (impl Stream<Item = Part> + Unpin),
) -> Uploaded {
    let mut part = first;
    loop {
        let last = part.last;
        // A part that fails cannot be put again: it would be counted twice.
        if !part.bytes.is_empty()
            && let Err(error) = upload.put_part(PutPayload::from(part.bytes)).await
        {
            return Uploaded::Failed(error);
        }
        drop(part.charge);
        if last {
            return match upload.complete().await {
                Ok(_) => Uploaded::Done,
                Err(error) => Uploaded::Failed(error),
            };
        }
        match parts.next().await {
            Some(next) => part = next,
            None => return Uploaded::Abandoned,
        }
    }
}

/// Repeats what may be repeated safely: a put of a fresh name is the same put.
async fn repeated<T, F: Future<Output = object_store::Result<T>>>(
    mut action: impl FnMut() -> F,
) -> object_store::Result<T> {
    let mut tries = 0;
    loop {
        match action().await {
            Err(error) if tries + 1 < TRIES && !is_hopeless(&error) => {
                tries += 1;
                tracing::debug!(%error, tries, "an upload is repeated");
                tokio::time::sleep(Duration::from_millis(200) * 2u32.pow(tries)).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use futures::stream;
    use std::collections::BTreeMap;

    fn store(directory: &std::path::Path) -> Store {
        Store::open(&url::Url::from_file_path(directory).unwrap(), &BTreeMap::new()).unwrap()
    }

    fn part(bytes: &'static str, last: bool) -> Part {
        Part { bytes: bytes.into(), charge: Charge::none(), last }
    }

    #[tokio::test]
    async fn parts_arrive_in_order_and_give_their_memory_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let budget = Budget::new(5);
        let parts: Vec<Part> = [("one ", false), ("two ", false), ("three", true)]
            .map(|(bytes, last)| Part { charge: budget.charge(bytes.len()), ..part(bytes, last) })
            .into();
        assert!(budget.is_spent());
        assert!(matches!(file(&store, "f.parquet", stream::iter(parts)).await, Uploaded::Done));
        assert_eq!(std::fs::read_to_string(directory.path().join("f.parquet")).unwrap(), "one two three");
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_file_that_the_shard_lets_go_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let parts = vec![part("one", false)];
        assert!(matches!(file(&store, "f.parquet", stream::iter(parts)).await, Uploaded::Abandoned));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_disk_that_cannot_be_written_fails_without_repeating() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("blocked"), "a file, not a directory").unwrap();
        let store = store(&directory.path().join("blocked"));
        let parts = vec![part("one", true)];
        assert!(matches!(file(&store, "f.parquet", stream::iter(parts)).await, Uploaded::Failed(_)));
    }
}
