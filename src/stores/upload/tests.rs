//! Uploads and the orphan cleaner against a store that refuses, and that loses replies.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::stream::{self, BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};

use super::*;
use crate::budget::{Budget, Holding};

async fn uploaded(store: &Store, parts: Vec<Part>) -> Uploaded {
    file(store, ("f.parquet", Name::Fresh), stream::iter(parts), &(), &OrphanCleaner::here()).await
}

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
        .map(|(bytes, last)| Part { charge: budget.charge(Holding::Parts, bytes.len()), ..part(bytes, last) })
        .into();
    assert!(budget.is_spent());
    assert!(matches!(uploaded(&store, parts).await, Uploaded::Done));
    assert_eq!(std::fs::read_to_string(directory.path().join("f.parquet")).unwrap(), "one two three");
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_file_that_the_shard_lets_go_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let parts = vec![part("one", false)];
    assert!(matches!(uploaded(&store, parts).await, Uploaded::Abandoned));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_fails_without_repeating() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("blocked"), "a file, not a directory").unwrap();
    let store = store(&directory.path().join("blocked"));
    let parts = vec![part("one", true)];
    assert!(matches!(uploaded(&store, parts).await, Uploaded::Failed(_)));
}

/// What the store does with the next request of a kind.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// 503: nothing happens.
    Refused,
    /// It takes effect, and nobody hears of it.
    ReplyLost,
    /// 403.
    Denied,
}

impl Fate {
    fn error(self) -> Error {
        let generic = |text: &str| Error::Generic { store: "S3", source: text.into() };
        match self {
            Fate::Refused => generic("503 SlowDown"),
            Fate::ReplyLost => generic("connection reset"),
            Fate::Denied => Error::PermissionDenied { path: "f.parquet".to_owned(), source: "403".into() },
        }
    }
}

/// A cloud store in memory with a script of troubles: `("part", Refused)` for the next part, and so on.
#[derive(Debug, Default)]
struct Cloud {
    inner: object_store::memory::InMemory,
    uploads: Mutex<BTreeMap<String, Vec<Bytes>>>,
    script: Mutex<Vec<(&'static str, Fate)>>,
    asked: Mutex<Vec<&'static str>>,
}

impl std::fmt::Display for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cloud")
    }
}

impl Cloud {
    fn scripted(script: &[(&'static str, Fate)]) -> (Arc<Cloud>, Store) {
        let cloud = Arc::new(Cloud { script: Mutex::new(script.to_vec()), ..Cloud::default() });
        let store = Store {
            objects: Arc::clone(&cloud) as _,
            parts: Some(Arc::clone(&cloud) as _),
            root: "t".into(),
            url: "s3://bucket/t".parse().unwrap(),
        };
        (cloud, store)
    }

    /// What the script has for a request of this name.
    fn draw(&self, what: &'static str) -> Option<Fate> {
        self.asked.lock().unwrap().push(what);
        let mut script = self.script.lock().unwrap();
        let next = script.iter().position(|(name, _)| *name == what);
        next.map(|next| script.remove(next).1)
    }

    async fn ask<T>(&self, what: &'static str, effect: impl Future<Output = Result<T>>) -> Result<T> {
        match self.draw(what) {
            None => effect.await,
            Some(Fate::ReplyLost) => effect.await.and(Err(Fate::ReplyLost.error())),
            Some(fate) => Err(fate.error()),
        }
    }

    fn asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|name| **name == what).count()
    }

    async fn text(&self) -> Option<String> {
        let found = self.inner.get(&"t/f.parquet".into()).await.ok()?;
        Some(String::from_utf8(found.bytes().await.unwrap().into()).unwrap())
    }

    async fn is_empty(&self) -> bool {
        self.uploads.lock().unwrap().is_empty() && self.text().await.is_none()
    }
}

#[async_trait::async_trait]
impl ObjectStore for Cloud {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.ask("put", self.inner.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("a cloud's parts are numbered")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.ask("head", self.inner.get_opts(path, options)).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.draw("delete") {
            None => self.inner.delete_stream(paths),
            Some(fate) => stream::iter([Err(fate.error())]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[async_trait::async_trait]
impl MultipartStore for Cloud {
    async fn create_multipart(&self, _: &Path) -> Result<MultipartId> {
        let begin = async {
            self.uploads.lock().unwrap().insert("1".to_owned(), Vec::new());
            Ok("1".to_owned())
        };
        self.ask("create", begin).await
    }

    async fn put_part(&self, _: &Path, id: &MultipartId, number: usize, data: PutPayload) -> Result<PartId> {
        let put = async {
            let mut uploads = self.uploads.lock().unwrap();
            let parts = uploads.get_mut(id).ok_or_else(no_upload)?;
            parts.resize(parts.len().max(number + 1), Bytes::new());
            parts[number] = data.into();
            Ok(PartId { content_id: number.to_string() })
        };
        self.ask("part", put).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let complete = async {
            let there = self.uploads.lock().unwrap().remove(id).ok_or_else(no_upload)?;
            assert_eq!(there.len(), parts.len(), "each part is completed once");
            self.inner.put(path, there.concat().into()).await
        };
        self.ask("complete", complete).await
    }

    async fn abort_multipart(&self, _: &Path, id: &MultipartId) -> Result<()> {
        let abort = async { self.uploads.lock().unwrap().remove(id).map(drop).ok_or_else(no_upload) };
        self.ask("abort", abort).await
    }
}

fn no_upload() -> Error {
    Error::NotFound { path: "f.parquet".to_owned(), source: "NoSuchUpload".into() }
}

fn three_parts() -> Vec<Part> {
    vec![part("one ", false), part("two ", false), part("three", true)]
}

#[tokio::test(start_paused = true)]
async fn each_request_of_an_upload_is_repeated_and_no_part_counts_twice() {
    use Fate::{Refused, ReplyLost};
    let (cloud, store) = Cloud::scripted(&[
        ("create", Refused),
        ("part", Refused),
        ("part", ReplyLost),
        ("part", Refused),
        ("complete", Refused),
    ]);
    assert!(matches!(uploaded(&store, three_parts()).await, Uploaded::Done));
    assert_eq!(cloud.text().await.as_deref(), Some("one two three"));
    assert_eq!((cloud.asked("part"), cloud.asked("complete")), (6, 2));
    assert_eq!(cloud.asked("abort") + cloud.asked("delete"), 0, "what is wanted is not swept");
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_reply_was_lost_is_seen_to_have_landed() {
    let (cloud, store) = Cloud::scripted(&[("complete", Fate::ReplyLost), ("head", Fate::Refused)]);
    assert!(matches!(uploaded(&store, three_parts()).await, Uploaded::Done));
    assert_eq!(cloud.text().await.as_deref(), Some("one two three"));
    assert_eq!((cloud.asked("complete"), cloud.asked("delete")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_let_go_is_aborted_however_often_the_store_refuses() {
    use Fate::{Refused, ReplyLost};
    let (cloud, store) = Cloud::scripted(&[("abort", Refused), ("abort", ReplyLost), ("abort", Refused)]);
    let orphan_cleaner = OrphanCleaner::here();
    let parts = stream::iter([part("one", false)]);
    let outcome = file(&store, ("f.parquet", Name::Fresh), parts, &(), &orphan_cleaner).await;
    assert!(matches!(outcome, Uploaded::Abandoned));
    orphan_cleaner.finish(Duration::from_secs(30)).await;
    assert!(cloud.is_empty().await);
    assert_eq!(cloud.asked("abort"), 4);
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_task_is_gone_is_aborted() {
    let (cloud, store) = Cloud::scripted(&[]);
    let orphan_cleaner = OrphanCleaner::here();
    {
        let parts = stream::iter([part("one", false)]).chain(stream::pending());
        let upload = file(&store, ("f.parquet", Name::Fresh), parts, &(), &orphan_cleaner);
        assert!(tokio::time::timeout(Duration::from_secs(1), upload).await.is_err());
        assert_eq!(cloud.uploads.lock().unwrap().len(), 1);
    }
    orphan_cleaner.finish(Duration::from_secs(30)).await;
    assert!(cloud.is_empty().await);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_was_given_up_after_it_landed_is_deleted() {
    let lost = [("put", Fate::ReplyLost); 200];
    let refused = [("delete", Fate::Refused); 3];
    let (cloud, store) = Cloud::scripted(&[&lost[..], &refused[..]].concat());
    let orphan_cleaner = OrphanCleaner::here();
    let outcome =
        file(&store, ("f.parquet", Name::Fresh), stream::iter([part("all", true)]), &(), &orphan_cleaner)
            .await;
    assert!(matches!(outcome, Uploaded::Failed(_)), "{outcome:?}");
    assert!(cloud.text().await.is_some(), "it landed, and nobody was told");
    orphan_cleaner.finish(Duration::from_secs(30)).await;
    assert!(cloud.is_empty().await);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_others_may_write_is_never_deleted() {
    let (cloud, store) = Cloud::scripted(&[("put", Fate::ReplyLost); 200]);
    let orphan_cleaner = OrphanCleaner::here();
    let parts = stream::iter([part("all", true)]);
    let outcome = file(&store, ("f.parquet", Name::Shared), parts, &(), &orphan_cleaner).await;
    assert!(matches!(outcome, Uploaded::Failed(_)));
    orphan_cleaner.finish(Duration::from_secs(30)).await;
    assert_eq!(cloud.text().await.as_deref(), Some("all"));
    assert_eq!(cloud.asked("delete"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_deletions_and_not_for_ever() {
    let (cloud, store) = Cloud::scripted(&[("delete", Fate::Refused); 100_000]);
    let orphan_cleaner = OrphanCleaner::here();
    orphan_cleaner.sweep(&store, Orphan::whole(store.path("f.parquet")));
    let begun = Instant::now();
    orphan_cleaner.finish(Duration::from_secs(9)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(9));
    cloud.script.lock().unwrap().clear();
    orphan_cleaner.finish(Duration::from_secs(9)).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "a deletion is tried often while somebody waits");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_delete_does_not_try_for_ever() {
    let (cloud, store) = Cloud::scripted(&[("delete", Fate::Denied); 100]);
    let orphan_cleaner = OrphanCleaner::here();
    orphan_cleaner.sweep(&store, Orphan::whole(store.path("f.parquet")));
    orphan_cleaner.finish(Duration::from_secs(3600)).await;
    assert_eq!(cloud.asked("delete"), 5);
}
