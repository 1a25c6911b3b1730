//! A store that stands still: the shard's turns go on, it holds no more than its budget, and nothing is lost.
//!
//! The store takes no part of a file until its gate opens. A turn that waited
//! for it would never return, which the watchdog would see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use crossbeam_channel::bounded;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStore, ObjectStoreExt, PutPayload, PutResult, Result};
use thalweg::budget::Holding;
use thalweg::config::Compression;
use thalweg::shard::Turn;
use thalweg::stores::store::Store;
use tokio::sync::watch;

use crate::scripted::{BATCH, Scripted, Setting};
use crate::workload;

const BUDGET: usize = 32 << 20;
/// More than a part, so that files come in parts.
const FILE_BYTES: u64 = 12 << 20;
/// What a batch, and the row group that it ends, may hold beyond the budget.
const BEYOND: usize = 12 << 20;
/// How long all turns of a story may take, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Objects whose parts wait at a gate.
struct HeldBack {
    inner: Arc<InMemory>,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl MultipartStore for HeldBack {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.inner.create_multipart(path).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, at: usize, data: PutPayload) -> Result<PartId> {
        self.open.clone().wait_for(|open| *open).await.expect("the story holds the gate");
        self.inner.put_part(path, id, at, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.inner.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.inner.abort_multipart(path, id).await
    }
}

/// The story's result, from a thread of its own; a story that hangs fails.
fn watched<T: Send + 'static>(story: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = bounded(1);
    let story = move || tell.send(story());
    let thread = std::thread::Builder::new().name("story".to_owned()).spawn(story).unwrap();
    match told.recv_timeout(TIMEOUT) {
        Ok(result) => result,
        Err(_) if thread.is_finished() => panic!("the story failed"),
        Err(_) => panic!("a turn waits for the store"),
    }
}

#[test]
fn a_stalled_upload_blocks_no_turn_and_bounds_memory_and_loses_nothing() {
    let (released, open) = watch::channel(false);
    let objects = Arc::new(InMemory::new());
    let store = Store {
        objects: Arc::clone(&objects) as Arc<dyn ObjectStore>,
        parts: Some(Arc::new(HeldBack { inner: Arc::clone(&objects), open })),
        root: "table".into(),
        url: "memory:///table".parse().unwrap(),
    };
    let files = watched(move || {
        let mut scripted = Scripted::new(Setting {
            workload: workload::named("w3_events", workload::ROWS),
            store,
            compression: Compression::None,
            target_file_size: FILE_BYTES,
            budget: BUDGET,
        });

        // While the gate is shut, until nothing is taken in any more.
        let (mut peak, mut passes) = (0, 0);
        while scripted.turn() == Turn::Worked {
            passes += 1;
            peak = peak.max(scripted.budget.used());
        }
        assert!(scripted.budget.held(Holding::Parts) >= BUDGET / 4, "the budget went to what waits");
        assert!(peak <= BUDGET + BEYOND, "{peak} bytes were held, of {BUDGET}");
        let polls = scripted.polls.load(Ordering::Relaxed);
        for _ in 0..1000 {
            assert_eq!(scripted.turn(), Turn::Idle, "turns go on");
        }
        assert_eq!(scripted.polls.load(Ordering::Relaxed), polls, "and nothing is polled");
        assert!(scripted.commit_finished().is_none(), "no file is whole before the store has it");
        println!("{passes} turns before the budget was spent, {peak} bytes held at most, of {BUDGET}");

        // Afterwards as much again, and more. Uploads may end in another order than they began.
        released.send_replace(true);
        let (mut whole, mut ended, mut next) = (Vec::new(), BTreeMap::new(), 0);
        while next < 3 * passes * BATCH as i64 {
            // Idle while parts are on their way: the runtime's thread has them.
            if scripted.turn() == Turn::Idle {
                std::thread::yield_now();
            }
            while let Some(work) = scripted.commit_finished() {
                let (Some(file), [range]) = (&work.file, &work.ranges[..]) else { panic!("{work:?}") };
                assert_eq!(range.next.0 - range.start.0, file.rows as i64);
                assert!(ended.insert(range.start.0, work).is_none(), "no record is in two files");
            }
            while let Some(work) = ended.remove(&next) {
                next = work.ranges[0].next.0;
                whole.push(work);
            }
        }
        let early: Vec<i64> = ended.into_keys().collect();
        assert!(early.iter().all(|&start| start > next), "{early:?} began before {next}");
        whole
    });

    for work in &files {
        let file = work.file.as_ref().unwrap();
        let path = Path::from(format!("table/{}", file.path));
        let stored =
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(objects.head(&path));
        assert_eq!(stored.unwrap().size, file.size);
    }
    assert!(files.len() > 3, "{} files", files.len());
}
