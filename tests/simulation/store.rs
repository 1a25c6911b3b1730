//! An object store in memory whose every answer may be a fault.
//!
//! It owns the objects, the faults and what is still in flight. A put-if-absent
//! is one atomic step, whatever its answer says: that is what the protocol
//! needs of a store and what all else is built on.
//!
//! | fate of a put | effect | answer |
//! |---|---|---|
//! | `Clean` | yes | as it is |
//! | `Refused` | no | error |
//! | `ReplyLost` | yes | error |
//! | `OwnRetry` | yes | exists already |
//! | `Late` | later, also after a crash, if the key is then absent | error |

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use thalweg::clock::Clock;

use crate::chance::Chance;
use crate::time::SimClock;

/// What a store does wrong, where a test plants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StoreBug {
    #[default]
    None,
    /// Put-if-absent overwrites, and tells both that they won.
    TwoWin,
    /// A commit's `txn` is not what was put.
    AltersTxn,
    /// A data file is gone although its put was answered.
    Forgets,
    /// Half of a data file is kept.
    Truncates,
}

/// How often something goes wrong, in percent of operations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub refused: u64,
    pub reply_lost: u64,
    pub own_retry: u64,
    pub late: u64,
    /// Operations that take time.
    pub slow: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Clean,
    Refused,
    ReplyLost,
    OwnRetry,
    Late,
}

struct Object {
    bytes: Bytes,
    modified: Duration,
}

/// A put that was handed over and has not landed.
struct Pending {
    due: u64,
    path: Path,
    bytes: Bytes,
    create: bool,
}

struct Inner {
    objects: BTreeMap<Path, Object>,
    pending: Vec<Pending>,
    chance: Chance,
    faults: Faults,
    step: u64,
    bug: StoreBug,
    trace: Option<Vec<String>>,
    operations: u64,
}

/// A handle; all handles of a world share the objects.
#[derive(Clone)]
pub struct SimStore {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<SimClock>,
    who: String,
}

impl SimStore {
    pub fn new(
        chance: Chance,
        clock: Arc<SimClock>,
        faults: Faults,
        bug: StoreBug,
        traced: bool,
    ) -> SimStore {
        let inner = Inner {
            objects: BTreeMap::new(),
            pending: Vec::new(),
            chance,
            faults,
            step: 0,
            bug,
            trace: traced.then(Vec::new),
            operations: 0,
        };
        SimStore { inner: Arc::new(Mutex::new(inner)), clock, who: "world".to_owned() }
    }

    pub fn named(&self, who: &str) -> SimStore {
        SimStore { who: who.to_owned(), ..self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        let mut inner = self.lock();
        let step = inner.step;
        let who = &self.who;
        if let Some(trace) = &mut inner.trace {
            trace.push(format!("{step:>4} {who:<8} {}", text()));
        }
    }

    pub fn take_trace(&self) -> Vec<String> {
        self.lock().trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on nothing goes wrong; what is in flight still lands.
    pub fn heal(&self) {
        self.lock().faults = Faults::default();
    }

    /// Lets what is due land.
    pub fn tick(&self) {
        let due = {
            let mut inner = self.lock();
            inner.step += 1;
            let step = inner.step;
            let (due, later) =
                std::mem::take(&mut inner.pending).into_iter().partition(|put: &Pending| put.due <= step);
            inner.pending = later;
            let due: Vec<Pending> = due;
            due
        };
        for put in due {
            let landed = self.apply(&put.path, &put.bytes, put.create).is_ok();
            self.note(|| {
                format!("a late put of {} {}", put.path, if landed { "lands" } else { "is too late" })
            });
        }
    }

    /// Bytes as they stand, without a fault.
    pub fn look(&self, path: &Path) -> Option<Bytes> {
        self.lock().objects.get(path).map(|object| object.bytes.clone())
    }

    pub fn names(&self) -> Vec<Path> {
        self.lock().objects.keys().cloned().collect()
    }

    /// A number that differs when anything in the history of two worlds does.
    pub fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let inner = self.lock();
        let mut hasher = DefaultHasher::new();
        inner.operations.hash(&mut hasher);
        for (path, object) in &inner.objects {
            (path.as_ref(), &object.bytes, object.modified).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn draw(&self, put: bool) -> (Fate, Duration, Duration) {
        let mut inner = self.lock();
        inner.operations += 1;
        let faults = inner.faults;
        let chance = &mut inner.chance;
        let mut pause = || {
            if chance.percent(faults.slow) {
                Duration::from_millis(1 + chance.below(60))
            } else {
                Duration::ZERO
            }
        };
        let (before, after) = (pause(), pause());
        let mut drawn = chance.below(100);
        let fates = [
            (faults.refused, Fate::Refused),
            (faults.reply_lost, Fate::ReplyLost),
            (if put { faults.own_retry } else { 0 }, Fate::OwnRetry),
            (if put { faults.late } else { 0 }, Fate::Late),
        ];
        for (percent, fate) in fates {
            if drawn < percent {
                return (fate, before, after);
            }
            drawn -= percent;
        }
        (Fate::Clean, before, after)
    }

    /// The atomic step.
    pub fn apply(&self, path: &Path, bytes: &Bytes, create: bool) -> Result<()> {
        let modified = self.clock.boot();
        let mut inner = self.lock();
        let is_log = path.as_ref().contains("_delta_log/");
        let mut bytes = bytes.clone();
        let bug = inner.bug;
        if create && inner.objects.contains_key(path) && !(bug == StoreBug::TwoWin) {
            return Err(Error::AlreadyExists { path: path.to_string(), source: "it is there".into() });
        }
        match bug {
            StoreBug::AltersTxn if is_log && inner.chance.one_in(8) => bytes = alter_txn(&bytes),
            StoreBug::Forgets if !is_log && inner.chance.one_in(8) => return Ok(()),
            StoreBug::Truncates if !is_log && inner.chance.one_in(8) => {
                bytes = bytes.slice(..bytes.len() / 2)
            }
            _ => {}
        }
        inner.objects.insert(path.clone(), Object { bytes, modified });
        Ok(())
    }

    async fn put(&self, path: &Path, bytes: Bytes, create: bool) -> Result<PutResult> {
        let (fate, before, after) = self.draw(true);
        self.note(|| format!("put {path} {fate:?}"));
        if fate == Fate::Late {
            // It is with the store from now on, whatever becomes of who sent it.
            let mut inner = self.lock();
            let due = inner.step + 1 + inner.chance.below(25);
            inner.pending.push(Pending { due, path: path.clone(), bytes: bytes.clone(), create });
        }
        pause(before).await;
        let answer = match fate {
            Fate::Refused | Fate::Late => Err(failure("time-out")),
            Fate::Clean => self.apply(path, &bytes, create),
            Fate::ReplyLost => self.apply(path, &bytes, create).and(Err(failure("connection reset"))),
            Fate::OwnRetry => {
                let first = self.apply(path, &bytes, create);
                if create { first.and_then(|()| self.apply(path, &bytes, create)) } else { first }
            }
        };
        pause(after).await;
        answer.map(|()| PutResult { e_tag: None, version: None })
    }

    fn meta(&self, path: &Path, object: &Object) -> ObjectMeta {
        let since = self.clock.wall_ms() - self.clock.boot().as_millis() as i64;
        ObjectMeta {
            location: path.clone(),
            // The type's default is the Unix epoch.
            last_modified: <_ as Default>::default(),
            size: object.bytes.len() as u64,
            e_tag: None,
            version: None,
        }
        .modified(Duration::from_millis(since as u64) + object.modified)
    }
}

trait Modified {
    fn modified(self, time: Duration) -> Self;
}

impl Modified for ObjectMeta {
    fn modified(mut self, time: Duration) -> ObjectMeta {
        self.last_modified += time;
        self
    }
}

async fn pause(time: Duration) {
    tokio::task::yield_now().await;
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn failure(what: &'static str) -> Error {
    Error::Generic { store: "sim", source: what.into() }
}

fn alter_txn(body: &Bytes) -> Bytes {
    let text = std::str::from_utf8(body).unwrap();
    let lines = text.lines().map(|line| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(version) = value.get_mut("txn").and_then(|txn| txn.get_mut("version")) {
            *version = (version.as_i64().unwrap() + 1).into();
        }
        value.to_string() + "\n"
    });
    lines.collect::<String>().into()
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "update".into(),
                    implementer: "SimStore".into(),
                });
            }
        };
        self.put(location, payload.into(), create).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (fate, before, _) = self.draw(false);
        pause(before).await;
        match fate {
            Fate::Clean => {
                Ok(Box::new(SimUpload { store: self.clone(), path: location.clone(), parts: Vec::new() }))
            }
            _ => Err(failure("time-out")),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (fate, before, after) = self.draw(false);
        pause(before).await;
        let found = {
            let inner = self.lock();
            inner.objects.get(location).map(|object| (self.meta(location, object), object.bytes.clone()))
        };
        self.note(|| {
            format!("get {location} {fate:?} {}", if found.is_some() { "found" } else { "missing" })
        });
        pause(after).await;
        if fate != Fate::Clean {
            return Err(failure("time-out"));
        }
        let Some((meta, bytes)) = found else {
            return Err(Error::NotFound { path: location.to_string(), source: "nothing there".into() });
        };
        let range = match options.range {
            Some(range) => range.as_range(meta.size).map_err(|_| failure("range"))?,
            None => 0..meta.size,
        };
        let bytes = bytes.slice(to_usize(&range));
        Ok(GetResult {
            payload: GetResultPayload::Stream(futures::stream::iter([Ok(bytes)]).boxed()),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let (fate, before, after) = store.draw(false);
                pause(before).await;
                store.note(|| format!("delete {location} {fate:?}"));
                if fate != Fate::Refused {
                    store.lock().objects.remove(&location);
                }
                pause(after).await;
                if fate == Fate::Clean { Ok(location) } else { Err(failure("time-out")) }
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (fate, ..) = self.draw(false);
        self.note(|| format!("list {fate:?}"));
        if fate != Fate::Clean {
            return futures::stream::iter([Err(failure("time-out"))]).boxed();
        }
        let prefix = prefix.cloned().unwrap_or_default();
        let inner = self.lock();
        let found: Vec<Result<ObjectMeta>> = inner
            .objects
            .iter()
            .filter(|(path, _)| path.prefix_matches(&prefix) && **path != prefix)
            .map(|(path, object)| Ok(self.meta(path, object)))
            .collect();
        futures::stream::iter(found).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list".into(), implementer: "SimStore".into() })
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "SimStore".into() })
    }
}

fn to_usize(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

#[derive(Debug)]
struct SimUpload {
    store: SimStore,
    path: Path,
    parts: Vec<u8>,
}

#[async_trait]
impl MultipartUpload for SimUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (fate, before, _) = self.store.draw(false);
        self.parts.extend_from_slice(&Bytes::from(data));
        Box::pin(async move {
            pause(before).await;
            if fate == Fate::Clean { Ok(()) } else { Err(failure("time-out")) }
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let bytes = Bytes::from(std::mem::take(&mut self.parts));
        self.store.put(&self.path, bytes, false).await
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}
