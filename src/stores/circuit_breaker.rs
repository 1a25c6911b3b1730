//! A circuit breaker around a store, one for all that a process asks of it.
//!
//! It owns what counts as trouble, and who hears that a store is down and
//! since when. It decides nothing (`protocol::breaker`) and repeats nothing:
//! commits, uploads, looks and deletions have loops of their own, and while
//! the store is down these meet a refusal that costs no request.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::OnceCell;
use url::Url;

use crate::clock::{Clock, SystemClock};
use crate::config::{Secret, without_userinfo};
use crate::metrics;
use crate::protocol::breaker::{Admission, Breaker, Turn};
use crate::status::{Board, Part, State as PartState};
use crate::stores::client::Client;
use crate::stores::disk::Disk;
use crate::stores::store_error::{Refused, innermost};

/// What this process knows of a bucket: all its tables ask about it once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raced {
    pub(super) raced_ms: i64,
    /// A mark said so, and not a race in full.
    pub(super) by_mark: bool,
}

/// The breaker of one store, and who hears of it.
pub struct CircuitBreaker {
    /// `s3://bucket`.
    name: String,
    /// The same with its endpoint, where one is given.
    place: String,
    state: Mutex<CallState>,
    /// Whether it arbitrates, once that was asked.
    raced: OnceCell<Raced>,
}

#[derive(Default)]
struct CallState {
    breaker: Breaker,
    board: Option<Arc<Board>>,
    /// What the store said last, while it is down.
    said: String,
}

impl CallState {
    /// The board logs an outage, and counts what it is told.
    fn waits(&self, name: &str) {
        if let Some(board) = &self.board {
            board.set(Part::Store(name.to_owned()), PartState::Waiting(self.said.as_str().into()));
        }
    }
}

/// What a request is for, as the metric has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Get,
    Put,
    List,
    Delete,
    Copy,
    Begin,
    Part,
    Complete,
    Abort,
}

impl Op {
    fn as_str(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Put => "put",
            Op::List => "list",
            Op::Delete => "delete",
            Op::Copy => "copy",
            Op::Begin => "begin",
            Op::Part => "part",
            Op::Complete => "complete",
            Op::Abort => "abort",
        }
    }
}

/// The guard of the store at this place: tables of one bucket share it, and a table on a disk has its own,
/// for the next one may lie on another disk.
pub fn of(url: &Url, options: &BTreeMap<String, Secret>) -> Arc<CircuitBreaker> {
    static ALL: LazyLock<Mutex<BTreeMap<String, Arc<CircuitBreaker>>>> = LazyLock::new(Mutex::default);
    let name = match url.scheme() {
        "file" => url.to_string(),
        scheme => format!("{scheme}://{}", url.authority()),
    };
    let endpoints = options.iter().filter(|(key, _)| key.ends_with("endpoint"));
    let key = endpoints.fold(name.clone(), |key, (_, endpoint)| key + " " + endpoint.reveal());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let place = without_userinfo(&key);
    let circuit_breaker =
        || Arc::new(CircuitBreaker { name, place, state: Mutex::default(), raced: OnceCell::new() });
    Arc::clone(all.entry(key).or_insert_with(circuit_breaker))
}

/// Puts the guard before a local disk.
pub fn before_disk(disk: Disk, circuit_breaker: &Arc<CircuitBreaker>) -> Arc<dyn ObjectStore> {
    Arc::new(BehindCircuitBreaker::<dyn ObjectStore> {
        inner: Arc::new(disk),
        circuit_breaker: Arc::clone(circuit_breaker),
    })
}

/// Puts the guard before a client.
pub fn before(client: Client, circuit_breaker: &Arc<CircuitBreaker>) -> Client {
    let objects =
        BehindCircuitBreaker { inner: client.objects, circuit_breaker: Arc::clone(circuit_breaker) };
    let parts = BehindCircuitBreaker { inner: client.parts, circuit_breaker: Arc::clone(circuit_breaker) };
    Client { objects: Arc::new(objects), parts: Arc::new(parts) }
}

impl CircuitBreaker {
    /// Of a process that has not met it yet.
    #[cfg(test)]
    pub(super) fn of_place(place: &str) -> CircuitBreaker {
        let (name, place) = (place.to_owned(), place.to_owned());
        CircuitBreaker { name, place, state: Mutex::default(), raced: OnceCell::new() }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn raced(&self) -> &OnceCell<Raced> {
        &self.raced
    }

    /// Readiness says from now on when this store is down.
    pub fn tell(&self, board: &Arc<Board>) {
        metrics::service_begins(&self.name);
        // Who waits for it is told as waiting for it, also before it is known to be down.
        board.set(Part::Store(self.name.clone()), PartState::Reading);
        self.lock().board = Some(Arc::clone(board));
    }

    async fn sent<T>(&self, op: Op, request: impl Future<Output = Result<T>>) -> Result<T> {
        let probe = self.checked(op)?;
        let outcome = request.await;
        self.note(op, outcome.as_ref().err());
        probe.answered();
        outcome
    }

    fn checked(&self, op: Op) -> Result<Probe<'_>> {
        let mut state = self.lock();
        match state.breaker.check(SystemClock.boot()) {
            Admission::Pass => Ok(Probe(None)),
            Admission::Probe => Ok(Probe(Some(self))),
            Admission::Refuse => {
                metrics::store_request(op.as_str(), "held_back");
                state.waits(&self.name);
                let source = Box::new(Refused(state.said.clone()));
                // A disk's trouble is told as such.
                let store = if self.name.starts_with("file:") { "disk" } else { "store" };
                Err(Error::Generic { store, source })
            }
        }
    }

    fn note(&self, op: Op, error: Option<&Error>) {
        let outcome = CallOutcome::of(op, error);
        metrics::store_request(op.as_str(), outcome.as_str());
        let now = SystemClock.boot();
        let mut state = self.lock();
        let turn = match (outcome, error) {
            (CallOutcome::Trouble, Some(error)) => {
                state.said = innermost(error);
                state.breaker.failed(now, jitter())
            }
            _ => state.breaker.answered(now),
        };
        match turn {
            Turn::None => {}
            Turn::Opened => {
                metrics::reachable(&self.name, false);
                metrics::outage(&self.name);
                state.waits(&self.name);
            }
            Turn::Closed(_) => {
                metrics::reachable(&self.name, true);
                if let Some(board) = &state.board {
                    board.set(Part::Store(self.name.clone()), PartState::Reading);
                }
            }
        }
    }

    /// A panic while the lock was held leaves a whole state.
    fn lock(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets another probe go if nobody waits for the answer of this one any more.
struct Probe<'a>(Option<&'a CircuitBreaker>);

impl Probe<'_> {
    /// Its answer was noted.
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(circuit_breaker) = self.0 {
            circuit_breaker.lock().breaker.abandoned(SystemClock.boot());
        }
    }
}

/// What an answer says of the store, not of the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CallOutcome {
    Fine,
    /// It answers, and says no: there is nothing, or there is something, or this may not be.
    No,
    Trouble,
}

impl CallOutcome {
    fn of(op: Op, error: Option<&Error>) -> CallOutcome {
        match error {
            None => CallOutcome::Fine,
            Some(
                Error::NotFound { .. }
                | Error::AlreadyExists { .. }
                | Error::Precondition { .. }
                | Error::NotModified { .. }
                | Error::NotImplemented { .. }
                | Error::NotSupported { .. }
                | Error::InvalidPath { .. },
            ) => CallOutcome::No,
            // Who may write need not be allowed to delete.
            Some(Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
                if matches!(op, Op::Delete | Op::Abort) =>
            {
                CallOutcome::No
            }
            Some(_) => CallOutcome::Trouble,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            CallOutcome::Fine => "ok",
            CallOutcome::No => "no",
            CallOutcome::Trouble => "failed",
        }
    }
}

/// Of no consequence but that processes differ.
fn jitter() -> f64 {
    f64::from(RandomState::new().build_hasher().finish() as u32) / f64::from(u32::MAX)
}

struct BehindCircuitBreaker<S: ?Sized> {
    circuit_breaker: Arc<CircuitBreaker>,
    inner: Arc<S>,
}

impl fmt::Debug for BehindCircuitBreaker<dyn ObjectStore> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for BehindCircuitBreaker<dyn ObjectStore> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl<S: ?Sized> BehindCircuitBreaker<S> {
    /// The first trouble of a stream counts; what is refused is its only item.
    fn streamed<T: Send + 'static>(
        &self,
        op: Op,
        stream: impl FnOnce() -> BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        match self.circuit_breaker.checked(op) {
            Err(refused) => return futures::stream::once(async { Err(refused) }).boxed(),
            // Streams are read to their first item at least, or time lets the next probe go.
            Ok(probe) => probe.answered(),
        }
        let circuit_breaker = Arc::clone(&self.circuit_breaker);
        let mut noted = false;
        let mut inner = stream();
        futures::stream::poll_fn(move |context| {
            let item = inner.poll_next_unpin(context);
            if let std::task::Poll::Ready(item) = &item
                && !std::mem::replace(&mut noted, true)
            {
                circuit_breaker.note(op, item.as_ref().and_then(|item| item.as_ref().err()));
            }
            item
        })
        .boxed()
    }
}

#[async_trait]
impl ObjectStore for BehindCircuitBreaker<dyn ObjectStore> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.circuit_breaker.sent(Op::Put, self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.circuit_breaker.sent(Op::Begin, self.inner.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.circuit_breaker.sent(Op::Get, self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<bytes::Bytes>> {
        self.circuit_breaker.sent(Op::Get, self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.streamed(Op::Delete, || self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.streamed(Op::List, || self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.streamed(Op::List, || self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.circuit_breaker.sent(Op::List, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.circuit_breaker.sent(Op::Copy, self.inner.copy_opts(from, to, options)).await
    }
}

#[async_trait]
impl MultipartStore for BehindCircuitBreaker<dyn MultipartStore> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.circuit_breaker.sent(Op::Begin, self.inner.create_multipart(path)).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part: usize, data: PutPayload) -> Result<PartId> {
        self.circuit_breaker.sent(Op::Part, self.inner.put_part(path, id, part, data)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.circuit_breaker.sent(Op::Complete, self.inner.complete_multipart(path, id, parts)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.circuit_breaker.sent(Op::Abort, self.inner.abort_multipart(path, id)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;
    use crate::protocol::breaker::FAILURES_MAX;

    /// A store that is in trouble while it is told to be, and counts what arrives.
    #[derive(Debug, Default)]
    struct Moody {
        inner: InMemory,
        ill: AtomicBool,
        asked: AtomicUsize,
    }

    impl fmt::Display for Moody {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("moody")
        }
    }

    impl Moody {
        fn mood(&self) -> Result<()> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.ill.load(Ordering::Relaxed) {
                true => Err(Error::Generic { store: "S3", source: "503 SlowDown".into() }),
                false => Ok(()),
            }
        }
    }

    #[async_trait]
    impl ObjectStore for Moody {
        async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
            self.mood()?;
            self.inner.put_opts(to, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            _: &Path,
            _: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            unreachable!("no story asks for it")
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.mood()?;
            self.inner.get_opts(location, options).await
        }

        fn delete_stream(&self, of: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(of)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            match self.mood() {
                Ok(()) => self.inner.list(prefix),
                Err(error) => futures::stream::once(async { Err(error) }).boxed(),
            }
        }

        async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
            unreachable!("no story asks for it")
        }

        async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
            unreachable!("no story asks for it")
        }
    }

    fn behind_breaker(name: &str) -> (Arc<Moody>, BehindCircuitBreaker<dyn ObjectStore>, Arc<Board>) {
        let url = Url::parse(&format!("s3://{name}/t")).unwrap();
        let circuit_breaker = of(&url, &BTreeMap::new());
        let board = Arc::new(Board::new(Arc::new(SystemClock)));
        board.set(Part::Kafka, PartState::Reading);
        circuit_breaker.tell(&board);
        let moody = Arc::new(Moody::default());
        (Arc::clone(&moody), BehindCircuitBreaker { inner: moody, circuit_breaker }, board)
    }

    #[tokio::test]
    async fn a_store_that_is_down_is_spared_and_readiness_names_it_until_it_answers() {
        let (moody, store, board) = behind_breaker("spared");
        moody.ill.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            let error = store.get(&Path::from("x")).await.unwrap_err();
            assert!(innermost(&error).contains("503 SlowDown"), "{error}");
        }
        assert_eq!(moody.asked.load(Ordering::Relaxed), FAILURES_MAX as usize);
        let reason = &board.not_ready()[0];
        assert!(reason.component == "store s3://spared" && reason.reason.contains("SlowDown"), "{reason:?}");
        moody.ill.store(false, Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert!(matches!(store.get(&Path::from("x")).await, Err(Error::NotFound { .. })));
        assert!(board.not_ready().is_empty());
        store.put(&Path::from("x"), "1".into()).await.unwrap();
    }

    #[tokio::test]
    async fn a_probe_that_nobody_waits_for_holds_nobody_up() {
        let (moody, store, _) = behind_breaker("abandoned");
        moody.ill.store(true, Ordering::Relaxed);
        for _ in 0..FAILURES_MAX {
            assert!(store.get(&Path::from("x")).await.is_err());
        }
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        drop(store.circuit_breaker.checked(Op::Get).unwrap());
        moody.ill.store(false, Ordering::Relaxed);
        assert!(matches!(store.get(&Path::from("x")).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_list_counts_once_and_is_refused_like_any_request() {
        let (moody, store, _) = behind_breaker("listed");
        moody.ill.store(true, Ordering::Relaxed);
        for _ in 0..20 {
            assert!(store.list(None).next().await.unwrap().is_err());
        }
        assert_eq!(moody.asked.load(Ordering::Relaxed), FAILURES_MAX as usize);
    }

    #[tokio::test]
    async fn answers_that_say_no_are_answers() {
        let (moody, store, board) = behind_breaker("answers");
        for _ in 0..100 {
            assert!(matches!(store.get(&Path::from("x")).await, Err(Error::NotFound { .. })));
        }
        assert_eq!(moody.asked.load(Ordering::Relaxed), 100);
        assert!(board.not_ready().is_empty());
    }

    #[test]
    fn tables_of_one_bucket_share_a_circuit_breaker_and_other_endpoints_have_their_own() {
        let of = |url: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value)));
            of(&Url::parse(url).unwrap(), &options.collect())
        };
        let one = of("s3://lake/a", &[("region", "eu")]);
        assert!(Arc::ptr_eq(&one, &of("s3://lake/b", &[])));
        assert!(!Arc::ptr_eq(&one, &of("s3://sea/a", &[])));
        assert!(!Arc::ptr_eq(&one, &of("s3://lake/a", &[("aws_endpoint", "http://minio:9000")])));
    }
}
