use std::path::PathBuf;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;
use crate::clock::testing::ManualClock;
use crate::delta::testing::{HandMade, full};
use crate::status::Board;

/// A log from which a version is cleaned up right after it was listed.
#[derive(Debug)]
struct CleanedUp {
    inner: Arc<dyn ObjectStore>,
    version: PathBuf,
}

impl std::fmt::Display for CleanedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CleanedUp")
    }
}

#[async_trait]
impl ObjectStore for CleanedUp {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let version = self.version.clone();
        let clean_up = async move {
            let _ = std::fs::remove_file(version);
            None
        };
        self.inner.list(prefix).map(Some).chain(stream::once(clean_up)).filter_map(std::future::ready).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_version_that_was_cleaned_up_while_the_log_was_looked_at_is_not_free() {
    let mut table = HandMade::new().await;
    let clock: SharedClock = Arc::new(ManualClock::default());
    let mut tip = Tip::load(&table.store, &clock).await.unwrap();
    for at in [0, 5] {
        table.append(&[full(0, at, at + 5)]).await;
    }
    let version = table.directory.path().join(format!("_delta_log/{:020}.json", 1));
    let cleaned_up = CleanedUp { inner: Arc::clone(&table.store.objects), version };
    tip.store = Store { objects: Arc::new(cleaned_up), ..table.store.clone() };
    let upkeep = LogUpkeep {
        orphan_cleaner: OrphanCleaner::here(),
        checkpoints: CheckpointPermits::default(),
        checkpoint_every: CHECKPOINT_EVERY,
        compression: Compression::None,
    };
    let retry_policy =
        RetryPolicy { board: Arc::new(Board::new(Arc::clone(&clock))), table_id: "t".to_owned() };
    let unseen = LogTip::new(tip, &upkeep).unseen(&retry_policy, clock.boot()).await.unwrap();
    assert_eq!(unseen, None, "only a fresh look helps");
}
