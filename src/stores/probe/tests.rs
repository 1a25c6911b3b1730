//! What a probe asks of a bucket at the first start, at the next ones, and of one that has changed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::*;
use crate::clock::SystemClock;

/// A bucket that counts its requests, and takes every put where it is told to.
#[derive(Debug, Default)]
struct Bucket {
    inner: InMemory,
    requests: AtomicUsize,
    takes_every_put: AtomicBool,
    /// Puts whose answer is cut off before the first one that is whole.
    cut: AtomicUsize,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bucket")
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, to: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let is_cut = |left: usize| left.checked_sub(1);
        if self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_cut).is_ok() {
            return Err(object_store::Error::Generic {
                store: "bucket",
                source: "the answer was cut".into(),
            });
        }
        if self.takes_every_put.load(Ordering::Relaxed) {
            options.mode = PutMode::Overwrite;
        }
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("no probe asks for it")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, of: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.inner.delete_stream(of)
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        unreachable!("no probe asks for it")
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("no probe asks for it")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("no probe asks for it")
    }
}

const TABLES: usize = 12;

fn table(bucket: &Arc<Bucket>, number: usize) -> Store {
    Store {
        objects: Arc::clone(bucket) as Arc<dyn ObjectStore>,
        parts: None,
        root: format!("t{number}").into(),
        url: format!("s3://lake/t{number}").parse().unwrap(),
    }
}

/// One start: a process knows nothing but what stands in the bucket. All tables at once, as they are opened.
async fn start(bucket: &Arc<Bucket>, endpoint: &str) -> crate::error::Result<usize> {
    bucket.requests.store(0, Ordering::Relaxed);
    let circuit_breaker = CircuitBreaker::of_place(&format!("s3://lake {endpoint}"));
    let tables: Vec<Store> = (0..TABLES).map(|number| table(bucket, number)).collect();
    let judged = join_all(tables.iter().map(|table| judged(table, &circuit_breaker, &SystemClock))).await;
    let requests = bucket.requests.load(Ordering::Relaxed);
    for held in judged {
        held?.remember().await;
    }
    Ok(requests)
}

#[tokio::test]
async fn a_bucket_is_raced_once_for_all_its_tables_and_by_little_when_it_is_known() {
    let bucket = Arc::new(Bucket::default());
    let first = start(&bucket, "").await.unwrap();
    let second = start(&bucket, "").await.unwrap();
    println!("{TABLES} tables: {first} requests at the first start, {second} at the second");
    assert!((RACES * RACERS..2 * RACES * RACERS).contains(&first), "{first}");
    assert!(second <= 30, "{second}");
    let elsewhere = start(&bucket, "http://other:9000").await.unwrap();
    assert!(elsewhere >= RACES * RACERS, "a copy of the bucket at another place is not known: {elsewhere}");
}

#[tokio::test]
async fn a_known_bucket_that_cuts_an_answer_now_and_then_is_raced_again_and_one_that_answers_nothing_is_not()
{
    let bucket = Arc::new(Bucket::default());
    start(&bucket, "").await.unwrap();
    let store = table(&bucket, 0);
    bucket.cut.store(RACERS + RACERS / 2, Ordering::Relaxed);
    race(&store, "flaky", 1).await.expect_err("nobody had an answer");
    assert_eq!(bucket.cut.load(Ordering::Relaxed), RACERS / 2, "and nobody asked again");
    race(&store, "flaky", 1).await.expect("half of a race had one, and the next race is clear");
    assert_eq!(bucket.cut.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_known_bucket_whose_server_lost_its_put_if_absent_is_refused() {
    let bucket = Arc::new(Bucket::default());
    start(&bucket, "").await.unwrap();
    bucket.takes_every_put.store(true, Ordering::Relaxed);
    assert_eq!(start(&bucket, "").await.unwrap_err().kind, ErrorKind::CannotWrite);
}

#[tokio::test]
async fn a_mark_counts_for_a_month_and_what_is_no_mark_never() {
    let bucket = Arc::new(Bucket::default());
    let (circuit_breaker, table) = (CircuitBreaker::of_place("s3://lake"), table(&bucket, 0));
    let write = async |body: Bytes| table.objects.put(&table.path(MARK), body.into()).await.unwrap();
    let of = |raced_ms| Mark { place: "s3://lake".to_owned(), raced_ms };
    let now = KNOWN_FOR_MS * 3;
    for (raced_ms, counts) in
        [(now, true), (now - KNOWN_FOR_MS + 1, true), (now - KNOWN_FOR_MS, false), (now + 1, false)]
    {
        write(of(raced_ms).body()).await;
        assert_eq!(
            mark(&table, &circuit_breaker, now).await.unwrap(),
            counts.then(|| of(raced_ms)),
            "{raced_ms}"
        );
    }
    write(Bytes::from_static(b"held")).await;
    assert_eq!(mark(&table, &circuit_breaker, now).await.unwrap(), None);
}
