//! An object store in memory whose every answer may be a fault.
//!
//! It owns the objects, the faults and what is still in flight. A put-if-absent
//! is one atomic step, whatever its answer says: that is what the protocol
//! needs of a store and what all else is built on.
//!
//! | fate | of | effect | answer |
//! |---|---|---|---|
//! | `Clean` | any request | yes | as it is |
//! | `Refused` | any | no | error, such as a 503 |
//! | `ReplyLost` | puts, deletions | yes | error, such as a time-out |
//! | `Conflict` | puts-if-absent | no | 409 or 412, as while another put is under way |
//! | `OwnRetry` | puts | yes | exists already |
//! | `Late` | puts | later, also after a crash, if the key is then absent | error |
//! | `Slow` | any | yes | as it is, after longer than anybody waits for a version file |
//! | `Full` | puts | no | error: the disk is full |
//! | `CrashBefore` | any | no | none: who asked is dead |
//! | `CrashAfter` | any | yes | none: who asked is dead |
//!
//! Fates are drawn from the seed, or one request in a whole world gets one ([`Single`]).

use std::collections::{BTreeMap, BTreeSet};
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
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
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
    pub conflict: u64,
    pub own_retry: u64,
    pub late: u64,
    /// Operations that take time; a few of them longer than anybody waits.
    pub slow: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Clean,
    Refused,
    ReplyLost,
    Conflict,
    OwnRetry,
    Late,
    Slow,
    Full,
    CrashBefore,
    CrashAfter,
}

/// What is wrong with all of a store, until it heals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sickness {
    /// Requests are taken and not answered.
    Stalls,
    Refuses,
    /// Nothing can be written.
    Full,
}

/// One fault at one request, counted over the whole world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Single {
    pub at: u64,
    pub fate: Fate,
}

/// Longer than anybody waits for a version file.
const SLOW: Duration = Duration::from_secs(20);
/// A client waits so long for an answer, and looks so often whether there is one.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
const STALL_STEP: Duration = Duration::from_millis(100);
/// One slow request in so many takes that long.
const SLOW_ONE_IN: u64 = 100;

/// Files that no version names are vacuumed when they are so old.
const VACUUMED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Read,
    Put,
    Create,
    Delete,
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
    /// How often an object came, went or changed.
    changes: u64,
    /// How often so much time passed that no request outlived it.
    ages: u64,
    /// Objects that were removed at some time.
    removed: BTreeSet<Path>,
    removals: usize,
    single: Option<Single>,
    /// Who died at a request: nothing that they still ask for has an effect.
    dead: BTreeSet<String>,
    /// What another writer removes between requests, and before how many in a hundred of them.
    going: (Vec<Path>, u64),
    /// Who listed what.
    listed: Vec<(String, Path)>,
    sickness: Option<Sickness>,
    /// Puts of data files that are not answered.
    waiting: usize,
}

/// A handle; all handles of a world share the objects.
#[derive(Clone)]
pub struct SimStore {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<SimClock>,
    who: String,
    /// Nothing goes wrong for this one.
    sure: bool,
}

impl SimStore {
    pub fn new(
        chance: Chance,
        clock: Arc<SimClock>,
        faults: Faults,
        bug: StoreBug,
        single: Option<Single>,
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
            changes: 0,
            ages: 0,
            removed: BTreeSet::new(),
            removals: 0,
            single,
            dead: BTreeSet::new(),
            going: (Vec::new(), 0),
            listed: Vec::new(),
            sickness: None,
            waiting: 0,
        };
        SimStore { inner: Arc::new(Mutex::new(inner)), clock, who: "world".to_owned(), sure: false }
    }

    pub fn named(&self, who: &str) -> SimStore {
        SimStore { who: who.to_owned(), ..self.clone() }
    }

    /// Another writer's way to the objects, on which nothing goes wrong.
    pub fn sure(&self) -> SimStore {
        SimStore { who: "another".to_owned(), sure: true, ..self.clone() }
    }

    /// Requests so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Grows with every change: while it stands, there is nothing new to look at.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Objects that went so far, those that came again included.
    pub fn removals(&self) -> usize {
        self.lock().removals
    }

    /// A put that was handed over and may still land.
    pub fn has_pending(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    pub fn now(&self) -> Duration {
        self.clock.boot()
    }

    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    pub fn is_dead(&self, who: &str) -> bool {
        self.lock().dead.contains(who)
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
        self.heal_to(Faults::default());
    }

    /// The same, and so much still does.
    pub fn heal_to(&self, faults: Faults) {
        let mut inner = self.lock();
        (inner.faults, inner.sickness) = (faults, None);
    }

    /// From now on no request is answered as it should be; `None`: the store is as it was.
    pub fn sicken(&self, sickness: Option<Sickness>) {
        self.lock().sickness = sickness;
    }

    /// Puts of data files of the table that wait for their answer.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Lets all land that was sent.
    pub fn land_all(&self) {
        self.land(u64::MAX);
    }

    /// What a sick store does to a request; `None`: it is well.
    async fn suffers(&self, kind: Kind) -> Option<Fate> {
        let mut waited = Duration::ZERO;
        loop {
            let sickness = self.lock().sickness;
            match sickness? {
                Sickness::Refuses => return Some(Fate::Refused),
                Sickness::Full if matches!(kind, Kind::Put | Kind::Create) => return Some(Fate::Full),
                Sickness::Full => return None,
                // The client gives up.
                Sickness::Stalls if waited >= GIVEN_UP_AFTER => return Some(Fate::Refused),
                Sickness::Stalls => tokio::time::sleep(STALL_STEP).await,
            }
            waited += STALL_STEP;
        }
    }

    /// Lets what is due land.
    pub fn tick(&self) {
        let step = {
            let mut inner = self.lock();
            inner.step += 1;
            inner.step
        };
        self.land(step);
    }

    /// Days pass. What was sent lands. What was not fails, or is only sent now: a machine that stood still
    /// goes on with it, or its client does on a new connection.
    pub fn age(&self) {
        self.lock().ages += 1;
        self.land(u64::MAX);
    }

    pub fn was_removed(&self, path: &Path) -> bool {
        self.lock().removed.contains(path)
    }

    fn land(&self, step: u64) {
        let due = {
            let mut inner = self.lock();
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

    /// When an object was written.
    pub fn written(&self, path: &Path) -> Option<Duration> {
        self.lock().objects.get(path).map(|object| object.modified)
    }

    pub fn names(&self) -> Vec<Path> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Below a prefix: what ends so.
    pub fn ending(&self, prefix: &str, end: &str) -> Vec<Path> {
        let inner = self.lock();
        let below = inner.objects.range(Path::from(prefix)..);
        let below = below.map(|(path, _)| path).take_while(|path| path.as_ref().starts_with(prefix));
        below.filter(|path| path.as_ref().ends_with(end)).cloned().collect()
    }

    /// Below a prefix: each object and how long ago it was written.
    pub fn ages(&self, prefix: &str) -> Vec<(Path, Duration)> {
        let now = self.clock.boot();
        let inner = self.lock();
        let below = inner.objects.range(Path::from(prefix)..);
        below
            .take_while(|(path, _)| path.as_ref().starts_with(prefix))
            .map(|(path, object)| (path.clone(), now.saturating_sub(object.modified)))
            .collect()
    }

    /// Another writer removes an object.
    pub fn remove(&self, path: &Path) {
        self.note(|| format!("another writer removes {path}"));
        self.take_away(path);
    }

    /// Another writer removes these, all at once, between two requests of anybody.
    pub fn will_go(&self, paths: Vec<Path>, percent: u64) {
        let mut inner = self.lock();
        inner.going.0.extend(paths);
        inner.going.1 = percent;
    }

    /// What was to go and has not gone.
    pub fn take_going(&self) -> Vec<Path> {
        std::mem::take(&mut self.lock().going.0)
    }

    /// Who listed the logs of these tables since this was asked last.
    pub fn take_listed(&self, roots: &[&str]) -> Vec<String> {
        let listed = std::mem::take(&mut self.lock().listed);
        let is_of = |path: &Path| roots.iter().any(|root| path.as_ref() == format!("{root}/_delta_log"));
        listed.into_iter().filter(|(_, path)| is_of(path)).map(|(who, _)| who).collect()
    }

    fn something_goes(&self) {
        let gone = {
            let mut inner = self.lock();
            let percent = inner.going.1;
            let goes = !inner.going.0.is_empty() && inner.chance.percent(percent);
            if goes { std::mem::take(&mut inner.going.0) } else { Vec::new() }
        };
        gone.iter().for_each(|path| self.remove(path));
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

    fn take_away(&self, path: &Path) {
        let mut inner = self.lock();
        inner.changes += 1;
        inner.removals += 1;
        inner.removed.insert(path.clone());
        inner.objects.remove(path);
    }

    /// The fate of a request, and whether days passed before it was sent. It does not return for whoever is
    /// dead.
    async fn draw_aged(&self, kind: Kind) -> (Fate, Duration, bool) {
        let age = self.lock().ages;
        let (fate, after) = self.draw(kind).await;
        (fate, after, self.lock().ages != age)
    }

    /// The fate of a request. It does not return for whoever is dead.
    async fn draw(&self, kind: Kind) -> (Fate, Duration) {
        if self.sure {
            return (Fate::Clean, Duration::ZERO);
        }
        self.something_goes();
        if let Some(fate) = self.suffers(kind).await {
            return (fate, Duration::ZERO);
        }
        let Some((fate, before, after)) = self.draw_now(kind) else { return std::future::pending().await };
        let age = self.lock().ages;
        pause(before).await;
        let mut inner = self.lock();
        // A plain put or a deletion that comes days late may undo what others did: no store can help that.
        let may_be_late = matches!(kind, Kind::Read | Kind::Create);
        if inner.ages != age && !(may_be_late && inner.chance.one_in(2)) {
            return (Fate::Refused, after);
        }
        (fate, after)
    }

    fn draw_now(&self, kind: Kind) -> Option<(Fate, Duration, Duration)> {
        let mut inner = self.lock();
        if inner.dead.contains(&self.who) {
            return None;
        }
        inner.operations += 1;
        if let Some(single) = inner.single.filter(|single| single.at == inner.operations) {
            if matches!(single.fate, Fate::CrashBefore | Fate::CrashAfter) {
                inner.dead.insert(self.who.clone());
            }
            let after = if single.fate == Fate::Slow { SLOW } else { Duration::ZERO };
            return (single.fate != Fate::CrashBefore).then_some((single.fate, Duration::ZERO, after));
        }
        let faults = inner.faults;
        let chance = &mut inner.chance;
        let mut pause = || {
            if !chance.percent(faults.slow) {
                Duration::ZERO
            } else if chance.one_in(SLOW_ONE_IN) {
                SLOW
            } else {
                Duration::from_millis(1 + chance.below(60))
            }
        };
        let (before, after) = (pause(), pause());
        let mut drawn = chance.below(100);
        let of_puts = |percent| if kind == Kind::Read { 0 } else { percent };
        let fates = [
            (faults.refused, Fate::Refused),
            (of_puts(faults.reply_lost), Fate::ReplyLost),
            (if kind == Kind::Create { faults.conflict } else { 0 }, Fate::Conflict),
            (if kind == Kind::Delete { 0 } else { of_puts(faults.own_retry) }, Fate::OwnRetry),
            (if kind == Kind::Delete { 0 } else { of_puts(faults.late) }, Fate::Late),
        ];
        for (percent, fate) in fates {
            if drawn < percent {
                return Some((fate, before, after));
            }
            drawn -= percent;
        }
        Some((Fate::Clean, before, after))
    }

    /// The atomic step.
    pub fn apply(&self, path: &Path, bytes: &Bytes, create: bool) -> Result<()> {
        let modified = self.clock.boot();
        let mut inner = self.lock();
        let is_log = path.as_ref().contains("_delta_log/");
        let mut bytes = bytes.clone();
        let bug = inner.bug;
        if create && inner.objects.contains_key(path) && !(bug == StoreBug::TwoWin) {
            return Err(exists(path));
        }
        match bug {
            StoreBug::AltersTxn if is_log && inner.chance.one_in(8) => bytes = alter_txn(&bytes),
            StoreBug::Forgets if !is_log && inner.chance.one_in(8) => return Ok(()),
            StoreBug::Truncates if !is_log && inner.chance.one_in(8) => {
                bytes = bytes.slice(..bytes.len() / 2)
            }
            _ => {}
        }
        // A hint is no put-if-absent: of one that stood still until its checkpoint was cleaned up, or that the
        // network kept for so long, nothing guards a table.
        if !create && inner.removed.iter().any(|gone| hints_at(path, &bytes, gone)) {
            return Err(failure("time-out"));
        }
        inner.changes += 1;
        inner.objects.insert(path.clone(), Object { bytes, modified });
        Ok(())
    }

    /// Whether a version names files that a vacuum has removed or may be about to.
    fn names_old_files(&self, path: &Path, bytes: &Bytes) -> bool {
        let Some((root, _)) = path.as_ref().split_once("_delta_log/") else { return false };
        let (inner, now) = (self.lock(), self.clock.boot());
        let is_old = |file: &str| {
            let object = inner.objects.get(&Path::from(format!("{root}{file}")));
            object.is_none_or(|object| now.saturating_sub(object.modified) >= VACUUMED_AFTER)
        };
        let lines = std::str::from_utf8(bytes).unwrap_or_default().lines();
        let actions = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        actions
            .into_iter()
            .any(|action| action.pointer("/add/path").and_then(|path| path.as_str()).is_some_and(is_old))
    }

    async fn put(&self, path: &Path, bytes: Bytes, create: bool) -> Result<PutResult> {
        let kind = if create { Kind::Create } else { Kind::Put };
        let _waits = Waits::of(self, path);
        let (fate, after, is_aged) = self.draw_aged(kind).await;
        // No writer can know that its files are still there when it stands still for days between its last
        // look and the request: `docs/guarantees.md` says so.
        let is_discarded = is_aged && create && self.names_old_files(path, &bytes);
        let fate = if is_discarded { Fate::Refused } else { fate };
        self.note(|| format!("put {path} {fate:?}"));
        let answer = match fate {
            Fate::Refused | Fate::CrashBefore => Err(failure("503 Slow Down")),
            Fate::Full => Err(full()),
            Fate::Late => {
                // It is with the store from now on, whatever becomes of who sent it.
                let mut inner = self.lock();
                let due = inner.step + 1 + inner.chance.below(25);
                inner.pending.push(Pending { due, path: path.clone(), bytes: bytes.clone(), create });
                Err(failure("time-out"))
            }
            Fate::Conflict if self.lock().chance.one_in(2) => Err(exists(path)),
            Fate::Conflict => Err(Error::Precondition { path: path.to_string(), source: "409".into() }),
            Fate::Clean | Fate::Slow | Fate::CrashAfter => self.apply(path, &bytes, create),
            Fate::ReplyLost => self.apply(path, &bytes, create).and(Err(failure("connection reset"))),
            Fate::OwnRetry => {
                let first = self.apply(path, &bytes, create);
                if create { first.and_then(|()| self.apply(path, &bytes, create)) } else { first }
            }
        };
        self.answered(fate, after).await;
        answer.map(|()| PutResult { e_tag: None, version: None })
    }

    /// The answer is on its way. It does not return for whoever is dead.
    async fn answered(&self, fate: Fate, after: Duration) {
        if fate == Fate::CrashAfter {
            return std::future::pending().await;
        }
        if !self.sure {
            pause(after).await;
        }
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

/// Counts a put of a data file of the table for as long as it is not answered.
struct Waits<'a>(Option<&'a SimStore>);

impl Waits<'_> {
    fn of<'a>(store: &'a SimStore, path: &Path) -> Waits<'a> {
        let counts = path.as_ref().starts_with("table/part-").then_some(store);
        counts.iter().for_each(|store| store.lock().waiting += 1);
        Waits(counts)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|store| store.lock().waiting -= 1);
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

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "it is there".into() }
}

fn failure(what: &'static str) -> Error {
    Error::Generic { store: "sim", source: what.into() }
}

fn full() -> Error {
    Error::Generic { store: "sim", source: std::io::Error::from(std::io::ErrorKind::StorageFull).into() }
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
        _location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "upload in parts".into(), implementer: "SimStore".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (fate, after) = self.draw(Kind::Read).await;
        let found = {
            let inner = self.lock();
            inner.objects.get(location).map(|object| (self.meta(location, object), object.bytes.clone()))
        };
        self.note(|| {
            format!("get {location} {fate:?} {}", if found.is_some() { "found" } else { "missing" })
        });
        self.answered(fate, after).await;
        if !matches!(fate, Fate::Clean | Fate::Slow) {
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
                let (fate, after) = store.draw(Kind::Delete).await;
                store.note(|| format!("delete {location} {fate:?}"));
                if fate != Fate::Refused {
                    store.take_away(&location);
                }
                store.answered(fate, after).await;
                if matches!(fate, Fate::Clean | Fate::Slow) { Ok(location) } else { Err(failure("time-out")) }
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listed = async move {
            let (fate, after) = store.draw(Kind::Read).await;
            store.note(|| format!("list {fate:?}"));
            store.lock().listed.push((store.who.clone(), prefix.clone()));
            let found: Vec<Result<ObjectMeta>> = {
                let inner = store.lock();
                inner
                    .objects
                    .iter()
                    .filter(|(path, _)| path.prefix_matches(&prefix) && **path != prefix)
                    .map(|(path, object)| Ok(store.meta(path, object)))
                    .collect()
            };
            store.answered(fate, after).await;
            let is_whole = matches!(fate, Fate::Clean | Fate::Slow);
            futures::stream::iter(if is_whole { found } else { vec![Err(failure("time-out"))] })
        };
        futures::stream::once(listed).flatten().boxed()
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

/// Whether `bytes` are the hint to the checkpoint `gone`.
fn hints_at(path: &Path, bytes: &Bytes, gone: &Path) -> bool {
    let Some(log) = path.as_ref().strip_suffix("_last_checkpoint") else { return false };
    let hint: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let name = |version: u64| format!("{log}{version:020}.checkpoint.parquet");
    hint["version"].as_u64().is_some_and(|version| gone.as_ref() == name(version))
}
