use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;
use crate::clock::testing::ManualClock;
use crate::config::Compression;
use crate::delta::action::{Action, Add, Remove};
use crate::delta::checkpoint::{self, CheckpointOptions};
use crate::delta::commit_body::Description;
use crate::delta::testing::{HandMade, NOW_MS, full, txn};
use crate::protocol::fence::Writer;
use crate::protocol::verdict::Relation;
use crate::stores::orphan_cleaner::OrphanCleaner;

/// What befalls a put.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It takes effect, and so many seconds.
    Slow(u64),
    /// It takes effect, and its answer is lost.
    AnswerLost,
    /// It takes so many seconds and no effect, and there is no answer.
    Lost(u64),
}

/// A table's store whose puts of versions suffer these faults, one after the other.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<VecDeque<Fault>>,
    clock: Arc<ManualClock>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

fn no_answer() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "no answer".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            None => self.inner.put_opts(to, payload, options).await,
            Some(Fault::Slow(seconds)) => {
                self.clock.pass(seconds);
                self.inner.put_opts(to, payload, options).await
            }
            Some(Fault::AnswerLost) => {
                self.inner.put_opts(to, payload, options).await?;
                Err(no_answer())
            }
            Some(Fault::Lost(seconds)) => {
                self.clock.pass(seconds);
                Err(no_answer())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(from, options).await
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.inner.get_ranges(from, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A change of a table made by hand: it takes `removes` out, and what others took out no longer fits.
struct Change {
    tip: Tip,
    clock: SharedClock,
    removes: Option<String>,
    judged: usize,
    waits: FewTries,
}

/// The file that the change takes out.
struct Taken(Option<String>);

impl Stake for Taken {
    fn relation(&self, _: &str) -> Relation {
        Relation::Foreign
    }

    fn removes(&self, path: &str) -> bool {
        self.0.as_deref() == Some(path)
    }
}

impl Transaction for Change {
    type Moved = String;
    type Waits = FewTries;

    fn tip(&mut self) -> &mut Tip {
        &mut self.tip
    }

    async fn body(&mut self) -> Result<CommitBody, String> {
        let writer = Writer { instance: "i".into(), host: "h".into(), pid: 1, started: 2, group: None };
        let add = Add { path: "new.parquet".into(), ..Add::default() };
        let gone = |path: &String| {
            Action::Remove(Remove::of(&Add { path: path.clone(), ..Add::default() }, NOW_MS, false))
        };
        let actions = self.removes.iter().map(gone).chain([Action::Add(add)]).collect();
        let description = Description { operation: "OPTIMIZE", ..Description::default() };
        Ok(CommitBody::new(&writer, description, actions, &self.clock))
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), String> {
        self.judged += 1;
        match self.tip.apply_foreign_commit(winner, &Taken(self.removes.clone())) {
            Ok(Verdict::Harmless) => Ok(()),
            verdict => Err(format!("{verdict:?}")),
        }
    }

    fn waits(&self) -> &FewTries {
        &self.waits
    }
}

/// A table made by hand, and a change of it under faults.
struct Scene {
    table: HandMade,
    change: Change,
    clock: SharedClock,
}

impl Scene {
    async fn new(faults: &[Fault]) -> Scene {
        Scene::of(HandMade::new().await, faults).await
    }

    /// The change is decided from the table as it is now.
    async fn of(table: HandMade, faults: &[Fault]) -> Scene {
        let time = Arc::new(ManualClock::default());
        let clock: SharedClock = Arc::clone(&time) as SharedClock;
        let faults = Mutex::new(faults.iter().copied().collect());
        let objects = Arc::new(Faulty { inner: Arc::clone(&table.store.objects), faults, clock: time });
        let store = Store { objects, ..table.store.clone() };
        let tip = Tip::load(&store, &clock).await.unwrap();
        let change =
            Change { tip, clock: Arc::clone(&clock), removes: None, judged: 0, waits: FewTries::default() };
        Scene { table, change, clock }
    }

    async fn commit(&mut self) -> Result<Outcome<String>> {
        commit(&mut self.change, &self.clock).await
    }

    fn version(&self, version: u64) -> PathBuf {
        self.table.directory.path().join(format!("_delta_log/{version:020}.json"))
    }

    /// The versions that hold the change.
    fn holds(&self) -> Vec<u64> {
        let is_ours = |version: &u64| {
            let body = std::fs::read_to_string(self.version(*version));
            body.is_ok_and(|body| body.contains("\"operation\":\"OPTIMIZE\""))
        };
        (0..10).filter(is_ours).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_has_landed_once() {
    let mut scene = Scene::new(&[Fault::AnswerLost]).await;
    assert_eq!(scene.commit().await.unwrap(), Outcome::Landed { late: false });
    assert_eq!((scene.holds(), scene.change.judged), (vec![1], 0));
    assert_eq!(scene.change.tip.snapshot().version, Version(1));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_never_arrived_is_put_again() {
    let mut scene = Scene::new(&[Fault::Lost(0), Fault::Lost(0)]).await;
    assert_eq!(scene.commit().await.unwrap(), Outcome::Landed { late: false });
    assert_eq!(scene.holds(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_still_fits_lands_behind_those_that_came_first() {
    let mut scene = Scene::new(&[]).await;
    for at in [0, 5] {
        scene.table.append(&[full(0, at, at + 5)]).await;
    }
    assert_eq!(scene.commit().await.unwrap(), Outcome::Landed { late: false });
    assert_eq!((scene.holds(), scene.change.judged), (vec![3], 2));
    assert_eq!(scene.change.tip.snapshot().txns.values().max(), Some(&10), "it knows what the others did");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_file_that_another_took_out_has_moved_and_is_in_no_version() {
    let mut table = HandMade::new().await;
    let file = table.append(&[full(0, 0, 5)]).await;
    let mut scene = Scene::of(table, &[]).await;
    scene.change.removes = Some(file.path.clone());
    scene.table.append(&[full(0, 5, 9)]).await;
    scene.table.commit("DELETE", &[], vec![Action::Remove(Remove::of(&file, NOW_MS, true))]).await;
    let Outcome::Moved(why) = scene.commit().await.unwrap() else { panic!("it landed") };
    assert!(why.contains("FileRemoved") && why.contains(&file.path), "{why}");
    assert_eq!((scene.holds(), scene.change.judged), (vec![], 2));
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_has_landed_if_the_table_is_made_of_it() {
    let mut scene = Scene::new(&[Fault::Slow(61)]).await;
    assert_eq!(scene.commit().await.unwrap(), Outcome::Landed { late: true });
    assert_eq!(scene.holds(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_at_a_version_that_others_wrote_and_cleaned_up_is_unsure() {
    let mut scene = Scene::new(&[Fault::Slow(61)]).await;
    for at in [0, 5] {
        scene.table.append(&[full(0, at, at + 5)]).await;
    }
    let options = CheckpointOptions { expired_ms: 0, compression: Compression::None };
    let tip = scene.table.tip();
    checkpoint::write(&scene.table.store, tip, options, &OrphanCleaner::here()).await.unwrap();
    scene.table.forget_until(scene.table.tip());
    assert_eq!(scene.commit().await.unwrap(), Outcome::Unsure);
    assert_eq!(scene.holds(), [1], "where nobody looks");
}

#[tokio::test(start_paused = true)]
async fn who_loses_late_does_not_know_whether_it_was_there_before() {
    let mut scene = Scene::new(&[Fault::Slow(61)]).await;
    scene.table.commit("WRITE", &[], vec![txn(1, 3)]).await;
    assert_eq!(scene.commit().await.unwrap(), Outcome::Unsure);
    assert_eq!((scene.holds(), scene.change.judged), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_decided_from_an_old_look_is_late_however_fast_it_is() {
    let mut scene = Scene::new(&[]).await;
    scene.change.tip.seen = Duration::ZERO;
    let Scene { clock, change, .. } = &mut scene;
    let time = ManualClock::default();
    time.pass(61);
    assert_eq!(clock.boot(), Duration::ZERO);
    *clock = Arc::new(time);
    assert_eq!(commit(change, clock).await.unwrap(), Outcome::Landed { late: true });
}

#[tokio::test(start_paused = true)]
async fn what_stood_still_for_a_day_is_never_put_again() {
    let mut scene = Scene::new(&[Fault::Lost(24 * 3600)]).await;
    let error = scene.commit().await.unwrap_err();
    assert!(error.message.contains("for 12 hours the store did not say"), "{error}");
    assert_eq!(scene.holds(), Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_ends_an_operation_and_one_that_is_flaky_does_not() {
    let mut scene = Scene::new(&[Fault::Lost(0); 4]).await;
    assert_eq!(scene.commit().await.unwrap_err().kind, ErrorKind::Unavailable);
    let mut scene = Scene::new(&[Fault::Lost(0); 3]).await;
    assert_eq!(scene.commit().await.unwrap(), Outcome::Landed { late: false });
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_decided_from_the_table_as_it_is_gives_way_to_any_other() {
    let mut scene = Scene::new(&[]).await;
    scene.table.commit("WRITE", &[], vec![txn(1, 3)]).await;
    let body = scene.change.body().await.unwrap();
    let outcome = commit_once(&mut scene.change.tip, body, FewTries::default(), &scene.clock).await;
    assert_eq!(outcome.unwrap(), Outcome::Moved(Beaten));
    assert_eq!(scene.holds(), Vec::<u64>::new());
}
