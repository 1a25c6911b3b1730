//! A replay that ends at any request, beside others that write the table: each dead letter is one row at most.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult, UploadPart,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::audit::verify::verify;
use crate::clock::SystemClock;
use crate::clock::testing::ManualClock;
use crate::config::Compression;
use crate::delta::testing::{HandMade, NOW_MS, TABLE_ID, source, txn, with_rows};
use crate::ids::TopicId;

/// Dead letters of one commit.
const BATCH: u64 = 3;
const RESOLVED: i64 = 40;

/// A table, its dead letters, and the config of both.
struct World {
    main: HandMade,
    dead_letters: HandMade,
    table: Table,
}

/// Partition, offset, and whether it is a row by the config.
const DEAD_LETTERS: [&[(i32, i64, bool)]; 2] = [
    &[(0, 1, true), (0, 4, false), (0, 9, true), (1, 2, true), (1, 3, true), (1, 17, false)],
    &[(0, 11, true), (0, 12, true), (0, 30, true), (1, 20, true), (1, 39, false), (1, 41, true)],
];

/// Those of the dead letters that a replay is to make rows: not what is not settled.
fn rows_to_be() -> Vec<(i32, i64)> {
    let all = DEAD_LETTERS.concat().into_iter().filter(|&(_, offset, good)| good && offset < RESOLVED);
    let mut rows: Vec<(i32, i64)> = all.map(|(partition, offset, _)| (partition, offset)).collect();
    rows.sort_unstable();
    rows
}

impl World {
    async fn new() -> World {
        World::with_dead_letters_of("id").await
    }

    async fn with_dead_letters_of(topic_id: &str) -> World {
        let mut main = HandMade::new().await;
        let dead_letters_only =
            [0, 1].map(|partition| OffsetRange { dead_letters: 5, ..with_rows(partition, 0, RESOLVED, 0) });
        main.commit("STREAMING UPDATE", &dead_letters_only, vec![txn(0, RESOLVED), txn(1, RESOLVED)]).await;
        let dead_letters = dead_letters(topic_id).await;
        let size = dead_letters.directory.path().join("letters-1.parquet").metadata().unwrap().len();
        let table = Table {
            id: TABLE_ID.to_owned(),
            topic: source(0).topic,
            location: main.store.url.clone(),
            dead_letters: Some(dead_letters.store.url.clone()),
            target_file_size: size.div_ceil(DEAD_LETTERS[0].len() as u64) * BATCH,
            compression: Compression::None,
            ..Table::default()
        };
        World { main, dead_letters, table }
    }

    async fn begin(&self, store: Store, asked: Asked) -> Result<Replay<'_>> {
        let clock: SharedClock = Arc::new(SystemClock);
        Replay::begin(&self.table, (store, self.dead_letters.store.clone()), asked, &clock).await
    }

    async fn replay_on(&self, store: Store, asked: Asked) -> Result<ReplayOutcome> {
        let clock: SharedClock = Arc::new(SystemClock);
        replay_in(store, self.dead_letters.store.clone(), &self.table, asked, &clock).await
    }

    async fn replay(&self, asked: Asked) -> ReplayOutcome {
        self.replay_on(self.main.store.clone(), asked).await.unwrap()
    }

    /// Commits these `txn`s, as by hand.
    async fn enter(&mut self, entries: &[(&str, i64)]) {
        let tip = log::load(&self.main.store).await.unwrap();
        self.main.next = tip.map_or(Version(0), |snapshot| snapshot.version.next());
        let txns = entries.iter().map(|&(name, at)| create::txn(format!("thalweg/{name}"), at, NOW_MS));
        self.main.commit("ADOPT OFFSETS", &[], txns.collect()).await;
    }

    /// The rows of the live files, as they stand in them.
    async fn rows(&self) -> Vec<(i32, i64)> {
        let mut rows = Vec::new();
        for add in inventory::take(&self.main.store).await.unwrap().files.values() {
            let file = std::fs::File::open(self.main.directory.path().join(&add.path)).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let partitions = batch.column_by_name("_partition").unwrap().as_primitive::<Int32Type>();
                let offsets = batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>();
                rows.extend(partitions.values().iter().copied().zip(offsets.values().iter().copied()));
            }
        }
        rows.sort_unstable();
        rows
    }

    async fn is_as_it_should_be(&self) {
        assert_eq!(self.rows().await, rows_to_be());
        let verdict = verify(&self.main.store).await.unwrap();
        assert_eq!(verdict.violations, Vec::<String>::new());
        let replayed: u64 = verdict.partitions.iter().map(|of| of.replayed).sum();
        assert_eq!(replayed, rows_to_be().len() as u64);
    }
}

/// A dead-letter table of two files, of partitions without or with a topic id.
async fn dead_letters(topic_id: &str) -> HandMade {
    let mut table = HandMade::of_dead_letters().await;
    let source = |partition| TopicPartition { topic_id: TopicId(topic_id.to_owned()), ..source(partition) };
    let ranges = [0, 1].map(|partition| OffsetRange {
        source: source(partition),
        dead_letters: 6,
        ..with_rows(partition, 0, 50, 0)
    });
    let tag = DeadLettersTag { table_id: TABLE_ID.to_owned(), ranges: ranges.to_vec() };
    for of_file in DEAD_LETTERS {
        let value = |good: bool| if good { &b"{}"[..] } else { b"{" };
        let all: Vec<_> =
            of_file.iter().map(|&(partition, offset, good)| (partition, offset, value(good))).collect();
        table.post(&tag, &all).await;
    }
    table
}

/// A store whose process is killed at one of its requests: that one and those after it are not answered.
#[derive(Debug)]
struct Mortal {
    inner: Arc<dyn ObjectStore>,
    life: Arc<Life>,
}

#[derive(Debug)]
struct Life {
    requests_left: AtomicI64,
    /// The last request takes effect.
    after: bool,
    /// Moves by so many seconds while a version is put.
    time: Arc<ManualClock>,
    seconds: u64,
}

impl Life {
    async fn ask<T>(&self, effect: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        match self.requests_left.fetch_sub(1, Ordering::Relaxed) {
            1.. => effect.await,
            0 if self.after => effect.await.and(Err(dead())),
            _ => Err(dead()),
        }
    }

    fn has_ended(&self) -> bool {
        self.requests_left.load(Ordering::Relaxed) < 0
    }
}

/// Nothing is asked again.
fn dead() -> object_store::Error {
    let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    object_store::Error::Generic { store: "killed", source: source.into() }
}

fn mortal(store: &Store, requests: i64, after: bool) -> (Store, Arc<Life>) {
    let requests_left = AtomicI64::new(requests);
    living(store, Life { requests_left, after, time: Arc::default(), seconds: 0 })
}

fn living(store: &Store, life: Life) -> (Store, Arc<Life>) {
    let life = Arc::new(life);
    let objects = Arc::new(Mortal { inner: Arc::clone(&store.objects), life: Arc::clone(&life) });
    (Store { objects, ..store.clone() }, life)
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mortal")
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if path.as_ref().ends_with(".json") {
            self.life.time.pass(self.life.seconds);
        }
        self.life.ask(self.inner.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let inner = self.life.ask(self.inner.put_multipart_opts(path, options)).await?;
        Ok(Box::new(MortalUpload { inner, life: Arc::clone(&self.life) }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.life.ask(self.inner.get_opts(path, options)).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<bytes::Bytes>> {
        self.life.ask(self.inner.get_ranges(path, ranges)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        match self.life.has_ended() {
            true => stream::iter([Err(dead())]).boxed(),
            false => self.inner.delete_stream(paths),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        match self.life.has_ended() {
            true => stream::iter([Err(dead())]).boxed(),
            false => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.life.ask(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.life.ask(self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct MortalUpload {
    inner: Box<dyn MultipartUpload>,
    life: Arc<Life>,
}

#[async_trait]
impl MultipartUpload for MortalUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (put, life) = (self.inner.put_part(data), Arc::clone(&self.life));
        Box::pin(async move { life.ask(put).await })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        self.life.ask(self.inner.complete()).await
    }

    async fn abort(&mut self) -> StoreResult<()> {
        self.life.ask(self.inner.abort()).await
    }
}

/// Each request of a replay × killed before and after it; then run again, killed there once more, and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_request_and_run_again_a_replay_makes_each_dead_letter_one_row() {
    let mut kills = 0;
    for after in [false, true] {
        for requests in 0.. {
            let world = World::new().await;
            let mut was_killed = false;
            for _ in 0..2 {
                let (store, life) = mortal(&world.main.store, requests, after);
                let ended = world.replay_on(store, Asked::default()).await;
                was_killed |= life.has_ended();
                kills += u32::from(life.has_ended());
                assert!(life.has_ended() || ended.is_ok(), "{requests}: {ended:?}");
                let rows = world.rows().await;
                assert!(rows.iter().all(|row| rows_to_be().contains(row)), "{requests}: {rows:?}");
            }
            let last = world.replay(Asked::default()).await;
            assert_eq!((last.unresolved, last.tried + last.tried_before), (1, 11), "{requests}");
            world.is_as_it_should_be().await;
            let again = world.replay(Asked { again: true, dry_run: false }).await;
            assert_eq!((again.rows, again.tried, again.rows_before), (0, 3, 8), "{requests}");
            if !was_killed {
                break;
            }
        }
    }
    assert!(kills > 40, "{kills}");
}

#[tokio::test]
async fn dead_letters_that_fail_again_stay_dead_letters_and_are_told_by_reason() {
    let world = World::new().await;
    let first = world.replay(Asked::default()).await;
    assert_eq!((first.tried, first.rows, first.commits), (11, 8, 4));
    assert_eq!(first.failed, [("syntax".to_owned(), 3)].into());
    let places: Vec<(i32, i64)> = first.failures.iter().map(|of| (of.partition.0, of.offset.0)).collect();
    assert_eq!(places, [(0, 4), (1, 17), (1, 39)]);
    let tip = log::load(&world.main.store).await.unwrap().unwrap().version;
    let second = world.replay(Asked::default()).await;
    assert_eq!((second.tried, second.tried_before, second.commits), (0, 11, 0));
    // Asked to, it tries them again, and that is all.
    for _ in 0..2 {
        let again = world.replay(Asked { again: true, dry_run: false }).await;
        assert_eq!((again.tried, again.rows, again.rows_before), (3, 0, 8));
    }
    world.is_as_it_should_be().await;
    let now = log::load(&world.main.store).await.unwrap().unwrap().version;
    assert!(now.0 <= tip.0 + 2, "trying in vain leaves a commit a run at most: {now}");
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_commits_nothing() {
    let world = World::new().await;
    let dry = world.replay(Asked { again: false, dry_run: true }).await;
    assert_eq!((dry.tried, dry.rows, dry.commits, dry.version), (11, 8, 0, None));
    assert_eq!(world.rows().await, []);
    assert_eq!(std::fs::read_dir(world.main.directory.path()).unwrap().count(), 1, "only the log");
}

#[tokio::test]
async fn of_two_replays_at_once_one_ends_and_no_dead_letter_is_two_rows() {
    let world = World::new().await;
    let mut late = world.begin(world.main.store.clone(), Asked::default()).await.unwrap();
    world.replay(Asked::default()).await;
    let ended = tokio::time::timeout(SWEEP_TIMEOUT, late.run()).await.expect("it gives way").unwrap_err();
    assert_eq!(ended.kind, ErrorKind::Fenced);
    late.orphan_cleaner.finish(SWEEP_TIMEOUT).await;
    world.is_as_it_should_be().await;
    let files = std::fs::read_dir(world.main.directory.path()).unwrap().count();
    assert_eq!(files, 1 + 4, "the file of the one that lost is gone");
}

#[tokio::test]
async fn a_file_whose_commit_took_long_is_left_where_it_is_though_another_has_its_version() {
    let world = World::new().await;
    let time = Arc::new(ManualClock::default());
    let life =
        Life { requests_left: AtomicI64::new(i64::MAX), after: false, time: Arc::clone(&time), seconds: 100 };
    let (store, _) = living(&world.main.store, life);
    let clock: SharedClock = time;
    let stores = (store, world.dead_letters.store.clone());
    let mut late = Replay::begin(&world.table, stores, Asked::default(), &clock).await.unwrap();
    world.replay(Asked::default()).await;
    let ended = late.run().await.unwrap_err();
    late.orphan_cleaner.finish(SWEEP_TIMEOUT).await;
    assert!(ended.remedy.unwrap().contains("run it again"));
    world.is_as_it_should_be().await;
    let files = std::fs::read_dir(world.main.directory.path()).unwrap().count();
    assert_eq!(files, 1 + 4 + 1, "it may be live");
}

#[tokio::test]
async fn whoever_took_the_offsets_over_ends_a_replay_under_the_former_id() {
    let mut world = World::new().await;
    let table = world.table.clone();
    let clock: SharedClock = Arc::new(SystemClock);
    let stores = (world.main.store.clone(), world.dead_letters.store.clone());
    let mut late = Replay::begin(&table, stores, Asked::default(), &clock).await.unwrap();
    let entry = create::txn("thalweg/adopt/new/orders/id/t/id".to_owned(), 1, NOW_MS);
    world.main.commit("ADOPT OFFSETS", &[], vec![entry]).await;
    assert_eq!(late.run().await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(world.rows().await, []);
    let refused = world.replay_on(world.main.store.clone(), Asked::default()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Disagree);
}

#[tokio::test]
async fn dead_letters_from_before_a_topic_id_was_told_are_replayed_once_under_whichever_name() {
    let mut world = World::with_dead_letters_of("-").await;
    // Where it stood when the broker began to tell ids.
    world.enter(&[("t/orders/-/0", 3), ("t/orders/-/1", 3)]).await;
    // The first were tried without an id.
    let entry = create::txn("thalweg-replay/t/orders/-/1".to_owned(), 3, NOW_MS);
    world.main.commit("REPLAY DEAD LETTERS", &[], vec![entry]).await;
    let replayed = world.replay(Asked::default()).await;
    assert_eq!((replayed.tried, replayed.tried_before, replayed.unresolved), (10, 1, 1));
    assert!(!world.rows().await.contains(&(1, 2)));
    let again = world.replay(Asked { again: true, dry_run: false }).await;
    assert_eq!((again.rows, again.rows_before), (1, 7));
    world.is_as_it_should_be().await;
}

#[tokio::test]
async fn dead_letters_of_a_former_id_are_replayed_once_by_whoever_goes_on() {
    let mut world = World::new().await;
    world.replay(Asked::default()).await;
    world.enter(&[("new/orders/id/0", 40), ("new/orders/id/1", 42), ("adopt/new/orders/id/t/id", 1)]).await;
    world.table.id = "new".to_owned();
    let replayed = world.replay(Asked::default()).await;
    assert_eq!((replayed.tried, replayed.rows, replayed.tried_before), (1, 1, 11));
}

#[tokio::test]
async fn dead_letters_whose_rows_a_clone_has_do_not_become_rows_again() {
    let mut world = World::new().await;
    world.replay(Asked::default()).await;
    let log = world.main.directory.path().join("_delta_log");
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        kept.extend(
            lines.filter(|line| ["protocol", "metaData", "add"].iter().any(|key| line.get(key).is_some())),
        );
        std::fs::remove_file(path).unwrap();
    }
    world.main.next = Version(0);
    world.main.commit_lines(&kept).await;
    world.enter(&[("t/orders/id/0", 40), ("t/orders/id/1", 40), ("adopt/t/orders/id/-/-", 1)]).await;
    for tried in [3, 0] {
        let replayed = world.replay(Asked::default()).await;
        assert_eq!((replayed.tried, replayed.rows), (tried, 0));
        assert_eq!(world.rows().await, rows_to_be());
    }
}

#[tokio::test]
async fn a_replay_without_a_topic_id_ends_where_the_broker_tells_one() {
    let mut world = World::with_dead_letters_of("-").await;
    world.enter(&[("x/orders/-/0", 40)]).await;
    let table = Table { id: "x".to_owned(), ..world.table.clone() };
    let clock: SharedClock = Arc::new(SystemClock);
    let post = DeadLettersTag {
        table_id: "x".to_owned(),
        ranges: vec![OffsetRange {
            source: TopicPartition { topic_id: TopicId::unknown(), ..source(0) },
            ..with_rows(0, 0, 40, 0)
        }],
    };
    world.dead_letters.post(&post, &[(0, 33, b"{}")]).await;
    let stores = || (world.main.store.clone(), world.dead_letters.store.clone());
    let mut late = Replay::begin(&table, stores(), Asked::default(), &clock).await.unwrap();
    let told = create::txn("thalweg/x/orders/id/0".to_owned(), 40, NOW_MS);
    world.main.commit("STREAMING UPDATE", &[], vec![told]).await;
    assert_eq!(late.run().await.unwrap_err().kind, ErrorKind::Fenced);
}
