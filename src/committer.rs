//! One serial queue per table: finished files become versions.
//!
//! It owns the table's state between commits, the order of commits and what
//! follows a lost race. Appends go through here and nowhere else. It does not
//! own the decisions: which files may go now is `protocol::ledger`, whose
//! version it is `protocol::attempt`, what a winner means
//! `protocol::verdict`, whether to give way `protocol::fence`.
//!
//! On the commit path nothing is listed and no file list is kept: a commit is
//! one put of a few kilobytes, however large the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{DataFile, Generation, ToCommitter, ToShard};
use crate::health::Health;
use crate::ids::{Offset, OffsetRange, Partition, TopicPartition, Version};
use crate::metrics;
use crate::protocol::anchor::{self, Plan, Watermarks};
use crate::protocol::app_id::AppId;
use crate::protocol::fence::{Fence, Fenced, Writer};
use crate::protocol::ledger::{Ledger, Offered, Work};
use crate::protocol::verdict::{Relation, Verdict, judge};
use crate::schema::Schema;
use crate::source::catalog::Topic;
use crate::source::witness::{Vouched, Witness};
use crate::table::action::{self, Action, Add, CHECKSUM_TAG, CommitFacts, CommitInfo, RANGES_TAG};
use crate::table::log::{self, Found, Settled, Snapshot};
use crate::table::store::{Store, explain, is_hopeless};
use crate::table::sweeper::{Sweeper, Void};
use crate::table::{checkpoint, create, gate, since};

/// Units of work in one commit; more wait for the next.
const UNITS_MAX: usize = 256;
/// After this long without a commit the log is looked at before it is trusted:
/// the next version may have been written, cleaned up, and be free again.
const TIP_TRUSTED_FOR: Duration = Duration::from_secs(60);
/// Versions between two checkpoints.
const CHECKPOINT_EVERY: u64 = 100;
/// Files that nothing names yet may be vacuumed after a week: stay well below.
const FILE_AGE_MAX: Duration = Duration::from_secs(6 * 24 * 3600);
/// Answers that are none before a start is given up: the store may be flaky, or down.
const UNCLEAR_AT_START_MAX: u32 = 4;
/// A quiet committer still shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A broker that could not vouch for a topic is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A topic that is gone for so many more answers is gone.
const GONE_FOR_SURE: u32 = 3;
/// A committer that waits for its store is alive: a request may take a minute.
const ALIVE_FOR: Duration = Duration::from_secs(180);

/// What this process is to a table.
#[derive(Clone, Debug)]
pub struct Identity {
    pub table_id: String,
    pub writer: Writer,
    /// Whether the writer of another commit is known to be running now.
    pub is_alive: fn(&Writer) -> bool,
}

/// A table that is open for this ingestion, every partition anchored in it.
#[derive(Debug)]
pub struct Opened {
    pub snapshot: Snapshot,
    pub schema: Arc<Schema>,
    pub plan: Plan,
    pub watermarks: BTreeMap<Partition, Watermarks>,
    pub created: bool,
}

/// Opens the table, creates it if `schema_if_new` allows, and commits the
/// start of every partition that has none: before the first record is read.
///
/// `watermarks` are asked for after the table is loaded. The other way round
/// an instance that commits in between would have read beyond their end.
pub async fn open(
    store: &Store,
    identity: &Identity,
    topic: &Topic,
    watermarks: impl Fn() -> Result<BTreeMap<Partition, Watermarks>>,
    schema_if_new: Option<&Schema>,
    clock: &SharedClock,
) -> Result<Opened> {
    loop {
        let snapshot = log::load(store).await?;
        let facts = match &snapshot {
            Some(snapshot) => {
                let schema = gate::admit(&snapshot.protocol, &snapshot.metadata)?;
                snapshot.facts(gate::has_offset_columns(&schema))
            }
            None => anchor::TableFacts::default(),
        };
        let watermarks = watermarks()?;
        let plan = anchor::plan(&identity.table_id, &topic.name, &topic.id, &facts, &watermarks)?;
        let created = snapshot.is_none();
        let (version, mut actions) = match (&snapshot, schema_if_new) {
            (Some(snapshot), _) => (snapshot.version.next(), Vec::new()),
            (None, Some(schema)) => (Version(0), create::actions(schema, clock.fresh_id(), clock.wall_ms())),
            (None, None) => {
                return Err(Error::new(ErrorKind::Unavailable, format!("{}: there is no table", store.url)));
            }
        };
        if actions.is_empty() && plan.to_anchor.is_empty() {
            let snapshot = snapshot.expect("no action is needed only where there is a table");
            return opened(snapshot, plan, watermarks, false);
        }
        actions.extend(create::txns(&identity.table_id, &plan.to_anchor, clock.wall_ms()));
        let operation = if created { "CREATE TABLE" } else { "STREAMING UPDATE" };
        let (commit_id, body) = body(identity, operation, actions, Vec::new(), clock);
        let mut unclear = 0;
        let settled = log::settle(store, version, &commit_id, &body, |error| {
            unclear += 1;
            let give_up = unclear >= UNCLEAR_AT_START_MAX || is_hopeless(error);
            if give_up { Err(explain(&store.url, error)) } else { Ok(()) }
        });
        match settled.await? {
            Settled::Won => {
                let snapshot = match snapshot {
                    None => create::snapshot(&body),
                    Some(mut snapshot) => {
                        snapshot.apply(version, action::commit(&body).expect("we wrote it"));
                        snapshot
                    }
                };
                return opened(snapshot, plan, watermarks, created);
            }
            // Somebody created or moved the table meanwhile: begin from what stands there.
            Settled::Lost(_) => continue,
        }
    }
}

fn opened(
    snapshot: Snapshot,
    plan: Plan,
    watermarks: BTreeMap<Partition, Watermarks>,
    created: bool,
) -> Result<Opened> {
    let schema = Arc::new(gate::admit(&snapshot.protocol, &snapshot.metadata)?);
    Ok(Opened { snapshot, schema, plan, watermarks, created })
}

/// What a committer needs besides the table.
pub struct Wiring {
    /// The table's place in the config: how shards know it.
    pub table: usize,
    pub inbox: mpsc::UnboundedReceiver<ToCommitter>,
    pub shards: Vec<crossbeam_channel::Sender<ToShard>>,
    pub clock: SharedClock,
    pub health: Arc<Health>,
    pub witness: Witness,
    /// What of discarded work must not stay in the store.
    pub sweeper: Sweeper,
}

pub struct Committer {
    store: Store,
    identity: Identity,
    wiring: Wiring,
    snapshot: Snapshot,
    schema: Arc<Schema>,
    ledger: Ledger<DataFile>,
    generation: Generation,
    fence: Fence,
    /// Boot time at which the tip of the log was last known for sure.
    tip_seen: Duration,
    checkpointed: Version,
    checkpointing: Option<tokio::task::JoinHandle<()>>,
}

impl Committer {
    pub fn new(store: Store, identity: Identity, opened: Opened, wiring: Wiring) -> Committer {
        Committer {
            store,
            identity,
            checkpointed: opened.snapshot.checkpoint.unwrap_or(Version(0)),
            snapshot: opened.snapshot,
            schema: opened.schema,
            ledger: Ledger::new(opened.plan.starts),
            generation: Generation::default(),
            fence: Fence::default(),
            tip_seen: wiring.clock.boot(),
            checkpointing: None,
            wiring,
        }
    }

    /// Commits what shards finish until all of them are gone, and returns the
    /// offsets that the table then has.
    pub async fn run(mut self) -> Result<BTreeMap<TopicPartition, Offset>> {
        let outcome = self.work().await;
        self.let_go();
        outcome
    }

    async fn work(&mut self) -> Result<BTreeMap<TopicPartition, Offset>> {
        let component = format!("table {}", self.identity.table_id);
        loop {
            self.wiring.health.heartbeat(&component, ALIVE_FOR);
            let message = match tokio::time::timeout(HEARTBEAT, self.wiring.inbox.recv()).await {
                Err(_) => continue,
                Ok(None) => break,
                Ok(Some(message)) => message,
            };
            self.receive(message).await?;
            while let Ok(message) = self.wiring.inbox.try_recv() {
                self.receive(message).await?;
            }
            loop {
                let ready = self.ledger.take_ready(UNITS_MAX);
                if ready.is_empty() {
                    break;
                }
                self.commit(ready).await?;
            }
        }
        self.wiring.health.forget(&component);
        if let Some(checkpointing) = self.checkpointing.take() {
            // A checkpoint that is not finished is not missed.
            checkpointing.abort();
        }
        Ok(self.ledger.tips().clone())
    }

    async fn receive(&mut self, message: ToCommitter) -> Result<()> {
        match message {
            ToCommitter::Finished { generation, work } if generation < self.generation => {
                self.discard(vec![work]);
                Ok(())
            }
            ToCommitter::Finished { work, .. } => match self.ledger.offer(work) {
                Offered::Accepted => Ok(()),
                Offered::Stale(range) => Err(Error::new(
                    ErrorKind::Internal,
                    format!("{range} was read again although it is committed"),
                )),
                Offered::Unanchored(source) => {
                    Err(Error::new(ErrorKind::Internal, format!("{source} was read without an anchor")))
                }
            },
            ToCommitter::UploadFailed { generation, .. } if generation < self.generation => Ok(()),
            ToCommitter::UploadFailed { error, hopeless: true, .. } => Err(error),
            ToCommitter::UploadFailed { error, .. } => {
                warn!(table = self.identity.table_id, %error, "an upload failed; its records are read again");
                metrics::commit_failed(&self.identity.table_id);
                self.reset().await
            }
        }
    }

    /// Commits this work, or finds out why it must not be committed.
    async fn commit(&mut self, work: Vec<Work<DataFile>>) -> Result<()> {
        let now = self.wiring.clock.boot();
        if work
            .iter()
            .filter_map(|unit| unit.file.as_ref())
            .any(|file| now.saturating_sub(file.begun) > FILE_AGE_MAX)
        {
            warn!(table = self.identity.table_id, "files waited so long that a vacuum may have removed them");
            self.discard(work);
            return self.reset().await;
        }
        if now.saturating_sub(self.tip_seen) > TIP_TRUSTED_FOR {
            let caught_up = self.catch_up().await;
            if !matches!(caught_up, Ok(true)) {
                self.discard(work);
                caught_up?;
                return self.reset().await;
            }
        }
        if let Err(error) = self.vouched().await {
            self.discard(work);
            return Err(error);
        }
        let mut losses = 0;
        loop {
            let version = self.snapshot.version.next();
            let (commit_id, body) = self.commit_body(&work);
            let component = format!("table {}", self.identity.table_id);
            let mut unclear = 0u32;
            let settled = log::settle(&self.store, version, &commit_id, &body, |error| {
                metrics::commit_failed(&self.identity.table_id);
                if is_hopeless(error) {
                    return Err(explain(&self.store.url, error));
                }
                unclear += 1;
                if u32::is_power_of_two(unclear) {
                    warn!(table = self.identity.table_id, %version, unclear, error = explain(&self.store.url, error).message, "the store gave no clear answer; it is asked again");
                }
                self.wiring.health.heartbeat(&component, ALIVE_FOR);
                self.wiring.health.set_ready(&component, Err(explain(&self.store.url, error).message));
                Ok(())
            })
            .await?;
            self.wiring.health.set_ready(&component, Ok(()));
            self.tip_seen = self.wiring.clock.boot();
            match settled {
                Settled::Won => {
                    self.committed(version, &body, work);
                    return Ok(());
                }
                Settled::Lost(winner) => {
                    losses += 1;
                    metrics::commit_conflict(&self.identity.table_id);
                    let fits = self.give_way(version, &winner).await;
                    if !matches!(fits, Ok(true)) {
                        // The version is another's for sure: our files are void.
                        self.discard(work);
                        fits?;
                        return self.reset().await;
                    }
                    self.jitter(losses).await;
                }
            }
        }
    }

    /// What was fetched is of the topic that the table knows: asked after the
    /// fetch and before the commit, as long as it takes to get an answer.
    async fn vouched(&self) -> Result<()> {
        let component = format!("table {}", self.identity.table_id);
        let mut gone = 0;
        loop {
            match self.wiring.witness.ask().await {
                Vouched::Same => return Ok(()),
                // Nobody has the records any more but us.
                Vouched::Gone if gone == GONE_FOR_SURE => return Ok(()),
                Vouched::Gone => {
                    gone += 1;
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                Vouched::CreatedAgain(error) => return Err(error),
                Vouched::Unanswered(error) => {
                    self.wiring.health.heartbeat(&component, ALIVE_FOR);
                    self.wiring.health.set_ready(&component, Err(error.message));
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Judges the commit at `version` and takes it over. False: what we hold
    /// no longer fits the table.
    async fn give_way(&mut self, version: Version, body: &Bytes) -> Result<bool> {
        let commit = action::commit(body).map_err(|error| log::damaged(&self.store, version, error))?;
        match judge(&commit.winner, |app_id| self.relation(app_id)) {
            Verdict::Harmless => {
                self.snapshot.apply(version, commit);
                Ok(true)
            }
            Verdict::Reload => {
                self.snapshot.apply(version, commit);
                let schema = gate::admit(&self.snapshot.protocol, &self.snapshot.metadata)?;
                Ok(gate::still_fits(&self.schema, &schema))
            }
            Verdict::Fenced(by) => self.fenced(by).map(|()| false),
            Verdict::HandedOver(by) => Err(self.gives_way_to(by)),
            Verdict::Replaced(operation) => Err(since::replaced(&self.store, version, &operation)),
            Verdict::Unknown(name) => Err(log::unknown_action(&self.store, version, &name)),
        }
    }

    fn fenced(&mut self, by: Option<Writer>) -> Result<()> {
        let alive = by.as_ref().is_some_and(|writer| (self.identity.is_alive)(writer));
        match self.fence.hit(self.wiring.clock.boot(), alive) {
            Fenced::Reload => {
                warn!(
                    table = self.identity.table_id,
                    by = by.map(tracing::field::display),
                    "another commit moved our offsets; reading on from them"
                );
                Ok(())
            }
            Fenced::GiveUp => Err(self.gives_way_to(by)),
        }
    }

    fn gives_way_to(&self, by: Option<Writer>) -> Error {
        let name = by.map_or_else(|| "an unknown writer".to_owned(), |writer| writer.to_string());
        Error::new(
            ErrorKind::Fenced,
            format!("table `{}` is written by {name}: this instance gives way", self.identity.table_id),
        )
        .remedy("run one instance per table id; stop the other one before starting this one")
    }

    /// What an app id in the log is to the partitions that we read.
    fn relation(&self, app_id: &str) -> Relation {
        let Some(id) = AppId::parse(app_id).filter(|id| id.table_id == self.identity.table_id) else {
            return Relation::Foreign;
        };
        let same =
            |own: &&TopicPartition| own.topic == id.source.topic && own.partition == id.source.partition;
        match self.ledger.tips().keys().find(same) {
            Some(own) if own.topic_id == id.source.topic_id => Relation::Ours,
            Some(_) => Relation::Successor,
            None => Relation::Foreign,
        }
    }

    /// The log may have moved on unseen: judge every version since. False: what
    /// we hold no longer fits.
    async fn catch_up(&mut self) -> Result<bool> {
        let gone = |version| {
            Error::new(
                ErrorKind::Disagree,
                format!("{}: version {version} is no longer what it was: the table was created again or its log was cut", self.store.url),
            )
            .remedy("look at the table's history, then start again")
        };
        let tip = self.snapshot.version;
        let listing = self.patiently(|store| async move { log::list(&store, Some(tip)).await }).await;
        match log::get(&self.store, tip).await {
            Found::Commit(body) => {
                let id = action::commit(&body).ok().and_then(|commit| commit.commit_id);
                if id != self.snapshot.tip_commit_id && self.snapshot.tip_commit_id.is_some() {
                    return Err(gone(tip));
                }
            }
            Found::Missing if listing.versions.iter().all(|&version| version <= tip) => {
                return Err(gone(tip));
            }
            // Cleaned up, or no answer now: what follows decides.
            Found::Missing | Found::Unclear(_) => {}
        }
        for version in listing.versions.into_iter().filter(|&version| version > tip) {
            if version != self.snapshot.version.next() {
                // The versions between were cleaned up: only a fresh look helps.
                return Ok(false);
            }
            let body = match log::get(&self.store, version).await {
                Found::Commit(body) => body,
                Found::Missing | Found::Unclear(_) => break,
            };
            if !self.give_way(version, &body).await? {
                return Ok(false);
            }
        }
        self.tip_seen = self.wiring.clock.boot();
        Ok(true)
    }

    /// Discards everything uncommitted, loads the table anew and lets the
    /// shards read from its offsets.
    async fn reset(&mut self) -> Result<()> {
        self.generation.0 += 1;
        let snapshot = self.patiently(|store| async move { log::load(&store).await }).await;
        let Some(snapshot) = snapshot else {
            return Err(Error::new(ErrorKind::Disagree, format!("{}: the table is gone", self.store.url))
                .remedy("restore the table, or start again with a new table id"));
        };
        self.schema = Arc::new(gate::admit(&snapshot.protocol, &snapshot.metadata)?);
        let mut tips = BTreeMap::new();
        for source in self.ledger.tips().keys() {
            let app_id = AppId::new(&self.identity.table_id, source.clone()).to_string();
            let Some(&offset) = snapshot.txns.get(&app_id) else {
                return Err(Error::new(
                    ErrorKind::Disagree,
                    format!("{}: the offset of {source} is gone", self.store.url),
                )
                .remedy("the table was restored or replaced: look at its history"));
            };
            tips.insert(source.clone(), Offset(offset));
        }
        self.snapshot = snapshot;
        self.tip_seen = self.wiring.clock.boot();
        let dropped = self.ledger.reset(tips.clone());
        self.discard(dropped);
        let reset = ToShard::Reset {
            table: self.wiring.table,
            generation: self.generation,
            schema: Arc::clone(&self.schema),
            starts: tips,
        };
        for shard in 0..self.wiring.shards.len() {
            self.tell(shard, reset.clone()).await;
        }
        Ok(())
    }

    fn committed(&mut self, version: Version, body: &Bytes, work: Vec<Work<DataFile>>) {
        self.snapshot.apply(version, action::commit(body).expect("we wrote it"));
        self.ledger.committed(&work);
        self.report(version, &work);
        let mut units: BTreeMap<usize, usize> = BTreeMap::new();
        for unit in &work {
            *units.entry(unit.shard).or_default() += 1;
        }
        for (shard, units) in units {
            let message = ToShard::Committed { table: self.wiring.table, generation: self.generation, units };
            // A shard that has ended does not wait for its answer.
            let _ = self.wiring.shards[shard].try_send(message);
        }
        self.checkpoint_when_due();
    }

    fn report(&self, version: Version, work: &[Work<DataFile>]) {
        let files = work.iter().filter_map(|unit| unit.file.as_ref());
        let (mut rows, mut bytes, mut count, mut oldest) = (0, 0, 0, None::<i64>);
        for file in files {
            rows += file.rows;
            bytes += file.size;
            count += 1;
            oldest = [oldest, file.oldest_ms].into_iter().flatten().min();
        }
        let now = self.wiring.clock.wall_ms();
        metrics::committed(
            &self.identity.table_id,
            &metrics::Committed {
                version: version.0,
                rows,
                bytes,
                files: count,
                oldest_ms: oldest,
                now_ms: now,
            },
        );
        info!(table = self.identity.table_id, %version, rows, files = count, bytes, "committed");
    }

    fn commit_body(&self, work: &[Work<DataFile>]) -> (String, Bytes) {
        let now = self.wiring.clock.wall_ms();
        let mut next: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
        for range in work.iter().flat_map(|unit| &unit.ranges) {
            next.insert(range.source.clone(), range.next);
        }
        let mut actions = create::txns(&self.identity.table_id, &next, now);
        actions.extend(
            work.iter()
                .filter_map(|unit| unit.file.as_ref().map(|file| Action::Add(add(file, &unit.ranges)))),
        );
        let ranges = work.iter().flat_map(|unit| unit.ranges.iter().cloned()).collect();
        body(&self.identity, "STREAMING UPDATE", actions, ranges, &self.wiring.clock)
    }

    fn checkpoint_when_due(&mut self) {
        let busy = self.checkpointing.as_ref().is_some_and(|task| !task.is_finished());
        let version = self.snapshot.version;
        // With v2 checkpoints the table's other writers keep their own form.
        let v2 = self.snapshot.protocol.writer_features.iter().flatten().any(|name| name == "v2Checkpoint");
        if busy || v2 || version.0 < self.checkpointed.0 + CHECKPOINT_EVERY {
            return;
        }
        self.checkpointed = version;
        let (store, clock) = (self.store.clone(), Arc::clone(&self.wiring.clock));
        let sweeper = self.wiring.sweeper.clone();
        self.checkpointing = Some(tokio::spawn(async move {
            match checkpoint::write(&store, version, clock.wall_ms(), &sweeper).await {
                Ok(()) => debug!(%version, "checkpoint written"),
                Err(error) => warn!(%version, %error, "the checkpoint failed; the next one will cover it"),
            }
            if let Err(error) = checkpoint::clean_up(&store, clock.wall_ms()).await {
                warn!(%error, "old log files could not be removed");
            }
        }));
    }

    /// Has files deleted that no commit names or can come to name.
    fn discard(&self, work: Vec<Work<DataFile>>) {
        for file in work.into_iter().filter_map(|unit| unit.file) {
            self.wiring.sweeper.sweep(&self.store, Void::whole(self.store.path(&file.path)));
        }
    }

    /// Nothing that waits is committed any more, nor what still arrives.
    fn let_go(&mut self) {
        self.wiring.inbox.close();
        let tips = self.ledger.tips().clone();
        let mut waiting = self.ledger.reset(tips);
        while let Ok(message) = self.wiring.inbox.try_recv() {
            if let ToCommitter::Finished { work, .. } = message {
                waiting.push(work);
            }
        }
        self.discard(waiting);
    }

    /// Repeats a question to the store until it is answered.
    async fn patiently<T, F: Future<Output = Result<T>>>(&self, question: impl Fn(Store) -> F) -> T {
        let mut wait = Duration::from_millis(100);
        loop {
            match question(self.store.clone()).await {
                Ok(answer) => return answer,
                Err(error) => {
                    let component = format!("table {}", self.identity.table_id);
                    self.wiring.health.set_ready(&component, Err(error.message.clone()));
                    self.wiring.health.heartbeat(&component, ALIVE_FOR);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    async fn tell(&self, shard: usize, message: ToShard) {
        let mut message = message;
        while let Err(crossbeam_channel::TrySendError::Full(back)) =
            self.wiring.shards[shard].try_send(message)
        {
            message = back;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets the other writer go first now and then, so that neither starves.
    async fn jitter(&self, losses: u32) {
        let id = self.wiring.clock.fresh_id();
        let random = u64::from(id.as_bytes()[0]) << 8 | u64::from(id.as_bytes()[1]);
        let limit = 5u64 << losses.min(6);
        tokio::time::sleep(Duration::from_millis(random % limit)).await;
    }
}

fn add(file: &DataFile, ranges: &[OffsetRange]) -> Add {
    let ranges = serde_json::to_string(ranges).expect("ranges are plain values");
    Add {
        path: file.path.clone(),
        partition_values: BTreeMap::new(),
        size: i64::try_from(file.size).expect("a file is smaller than 8 EiB"),
        modification_time: file.modified_ms,
        data_change: true,
        stats: Some(file.stats.clone()),
        tags: Some(BTreeMap::from([
            (RANGES_TAG.to_owned(), Some(ranges)),
            (CHECKSUM_TAG.to_owned(), Some(action::checksum_text(file.checksum))),
        ])),
        deletion_vector: None,
    }
}

/// A commit's id and bytes: who, what, and the ranges it settles.
fn body(
    identity: &Identity,
    operation: &str,
    actions: Vec<Action>,
    ranges: Vec<OffsetRange>,
    clock: &SharedClock,
) -> (String, Bytes) {
    let commit_id = clock.fresh_id();
    let appends = operation != "CREATE TABLE";
    let info = CommitInfo {
        timestamp: clock.wall_ms(),
        operation: operation.to_owned(),
        operation_parameters: if appends {
            Map::from_iter([("outputMode".to_owned(), Value::from("Append"))])
        } else {
            Map::new()
        },
        is_blind_append: Some(appends),
        engine_info: Some(concat!("thalweg/", env!("CARGO_PKG_VERSION")).to_owned()),
        txn_id: Some(commit_id.clone()),
        thalweg: Some(CommitFacts {
            writer: identity.writer.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ranges,
        }),
    };
    let mut all = vec![Action::CommitInfo(Box::new(info))];
    all.extend(actions);
    (commit_id, action::encode(&all).into())
}
