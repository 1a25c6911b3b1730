//! A file between the shard's thread and the store.
//!
//! It owns the hand-over of finished bytes and what becomes of an upload. When
//! a file is cut, and what it settles, the shard decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, oneshot};

use super::Lane;
use crate::columnar::ParquetFile;
use crate::config::Compression;
use crate::exchange::{DataFile, Generation, ToCommitter};
use crate::health::Health;
use crate::protocol::ledger::Work;
use crate::table::store::{explain, is_hopeless};
use crate::table::sweeper::Void;
use crate::table::upload::{self, Name, Part, Uploaded, Watch};

/// A file that is being written, and its way to the store.
pub(super) struct OpenFile {
    pub(super) parquet: ParquetFile,
    pub(super) begun: Duration,
    pub(super) finished: VecDeque<bytes::Bytes>,
    pub(super) finished_bytes: usize,
    pub(super) upload: Option<Upload>,
    pub(super) path: String,
}

pub(super) struct Upload {
    pub(super) parts: mpsc::UnboundedSender<Part>,
    pub(super) closing: oneshot::Sender<Work<DataFile>>,
}

/// Carries a file to the store, and tells the committer how it went.
pub(super) fn begin_upload(lane: &Lane, path: String, generation: Generation, runtime: &Handle) -> Upload {
    #[expect(clippy::disallowed_methods, reason = "bounded by the budget that every part is charged to")]
    let (parts, mut receiver) = mpsc::unbounded_channel();
    let (closing, work) = oneshot::channel();
    let (store, sweeper) = (lane.store.clone(), lane.sweeper.clone());
    let watched = Watched {
        url: lane.store.url.clone(),
        component: uploads_of(&lane.table_id),
        health: Arc::clone(&lane.health),
        to_committer: lane.to_committer.clone(),
        tries: AtomicU32::new(0),
    };
    runtime.spawn(async move {
        let arriving = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
        let message = match upload::file(&store, (&path, Name::Fresh), arriving, &watched, &sweeper).await {
            Uploaded::Abandoned => return,
            Uploaded::Done => match work.await {
                Ok(work) => ToCommitter::Finished { generation, work },
                Err(_) => return sweeper.sweep(&store, Void::whole(store.path(&path))),
            },
            Uploaded::Failed(error) => ToCommitter::UploadFailed {
                generation,
                hopeless: is_hopeless(&error),
                error: explain(&store.url, &error),
            },
        };
        // A committer that is gone has told why, and commits this file no more.
        if let Err(SendError(ToCommitter::Finished { .. })) = watched.to_committer.send(message) {
            sweeper.sweep(&store, Void::whole(store.path(&path)));
        }
    });
    Upload { parts, closing }
}

/// What an upload's trouble means for the rest of us.
struct Watched {
    url: url::Url,
    component: String,
    health: Arc<Health>,
    to_committer: mpsc::UnboundedSender<ToCommitter>,
    /// Of the request that is repeated now.
    tries: AtomicU32,
}

impl Watch for Watched {
    fn goes_on(&self, error: &object_store::Error) -> bool {
        let said = explain(&self.url, error).message;
        let tries = self.tries.fetch_add(1, Ordering::Relaxed) + 1;
        if tries.is_power_of_two() {
            tracing::warn!(
                component = self.component,
                tries,
                error = said,
                "a request of an upload failed; it is repeated"
            );
        }
        self.health.set_ready(&self.component, Err(said));
        !self.to_committer.is_closed()
    }

    fn answered(&self) {
        self.tries.store(0, Ordering::Relaxed);
        self.health.forget(&self.component);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.health.forget(&self.component);
    }
}

fn uploads_of(table_id: &str) -> String {
    format!("uploads of table {table_id}")
}

/// The first `length` bytes of a queue of buffers; copies only where a buffer is split over parts.
pub(super) fn take_bytes(queue: &mut VecDeque<bytes::Bytes>, length: usize) -> bytes::Bytes {
    if let Some(front) = queue.front_mut()
        && front.len() >= length
    {
        return front.split_to(length);
    }
    let mut taken = bytes::BytesMut::with_capacity(length);
    while taken.len() < length {
        let mut front = queue.pop_front().expect("the queue holds at least `length` bytes");
        let wanted = front.len().min(length - taken.len());
        taken.extend_from_slice(&front.split_to(wanted));
        if !front.is_empty() {
            queue.push_front(front);
        }
    }
    taken.freeze()
}

pub(super) fn codec_name(compression: Compression) -> &'static str {
    match compression {
        Compression::Zstd(_) => "zstd",
        Compression::Snappy => "snappy",
        Compression::None => "uncompressed",
    }
}
