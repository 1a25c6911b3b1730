//! Checkpoints and log clean-up, off the commit path.
//!
//! It owns turning the last checkpoint and the versions after it into a new
//! one: row groups to which nothing happened are copied byte for byte
//! (`plan`), the others are rewritten, new actions follow. Memory is bounded:
//! a row group of the old file or a block of each of its columns, a row group
//! of the new file, and two parts of it, however large the table. It also owns the removal of
//! version files that no reader needs.
//!
//! | file | owns |
//! |---|---|
//! | [`changes`] | what the versions since did |
//! | [`columns`] | the schema, and which rows stand in which part |
//! | [`old`] | reading the checkpoint before |
//! | [`blocks`] | of a large row group a block of each column at a time |
//! | [`plan`] | what becomes of its row groups |
//! | [`output`] | the form of the new file |
//!
//! Invariants: the hint `_last_checkpoint` is written last, after the
//! checkpoint it names. The checkpoint it names is never removed. A row group
//! is copied only if we wrote it, its bytes are still the same, and none of its
//! files is named by a later version. What cannot be read ends the attempt: a
//! checkpoint holds everything or is not written.

mod blocks;
mod changes;
mod columns;
mod old;
mod output;
mod part;
mod plan;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use parquet::errors::ParquetError;
use serde_json::json;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::debug;

use self::changes::Changes;
use self::columns::BATCH_ROWS;
use self::old::{OldFile, Window};
use self::output::{GroupMax, Output};
use self::part::Part;
use self::plan::{Chosen, Fate};
use crate::budget::Charge;
use crate::clock::{Clock, SystemClock};
use crate::config::Compression;
use crate::delta::checkpoint_file;
use crate::delta::log::{self, LogFile};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::protocol::planted::{Bug, planted};
use crate::stores::orphan_cleaner::OrphanCleaner;
use crate::stores::store::{Store, explain};
use crate::stores::upload::{self, Name, Uploaded};

/// The checkpoints of one process are written one after the other: their memory does not add up.
#[derive(Clone, Debug)]
pub struct CheckpointPermits(Arc<Semaphore>);

impl Default for CheckpointPermits {
    fn default() -> CheckpointPermits {
        CheckpointPermits(Arc::new(Semaphore::new(1)))
    }
}

impl CheckpointPermits {
    /// Waits for the turn, which lasts until the answer is dropped.
    pub async fn take(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("nobody closes it")
    }
}

/// What the table and its owner want of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    /// Tombstones of files that were removed then or before are left out.
    pub expired_ms: i64,
    /// As the data files: who reads these reads it.
    pub compression: Compression,
}

/// What bounds a checkpoint's memory.
#[derive(Clone, Copy, Debug)]
struct MemoryLimits {
    group: GroupMax,
    window: Window,
    /// Bytes of version files after which a checkpoint is written before more are read.
    step_bytes: usize,
}

const LIMITS: MemoryLimits = MemoryLimits {
    group: GroupMax { rows: 32_768, bytes: 4 << 20 },
    window: Window { whole_bytes: 4 << 20, block_bytes: 1 << 20 },
    step_bytes: 8 << 20,
};

/// Versions that took longer to be read may have been cleaned up meanwhile.
const READ_TRUSTED_FOR: Duration = Duration::from_secs(60);

/// Writes a checkpoint of `version` unless there is one, or a later one.
///
/// Where much happened since the last one, checkpoints of versions in between
/// are written first.
pub async fn write(
    store: &Store,
    version: Version,
    options: CheckpointOptions,
    orphan_cleaner: &OrphanCleaner,
) -> Result<()> {
    write_by(store, version, options, orphan_cleaner, &SystemClock).await
}

/// The same by another clock than the machine's.
pub async fn write_by(
    store: &Store,
    version: Version,
    options: CheckpointOptions,
    orphan_cleaner: &OrphanCleaner,
    clock: &dyn Clock,
) -> Result<()> {
    write_within(store, version, options, orphan_cleaner, LIMITS, clock).await
}

async fn write_within(
    store: &Store,
    version: Version,
    options: CheckpointOptions,
    orphan_cleaner: &OrphanCleaner,
    limits: MemoryLimits,
    clock: &dyn Clock,
) -> Result<()> {
    // A log keeps every version for weeks: it is listed only where its hint does not lead on. The
    // checkpoint may be gone, or another writer wrote a later one, without a hint, and cleaned up.
    if let Some(base) = hinted(store).await? {
        match write_from(store, Some(base), version, options, orphan_cleaner, limits, clock).await {
            Ok(()) => return Ok(()),
            Err(why) => debug!(%why, "the log is listed for a checkpoint"),
        }
    }
    let latest = log::list(store, None).await?.checkpoints.pop_last();
    write_from(store, latest, version, options, orphan_cleaner, limits, clock).await
}

/// The checkpoint that the hint names, with its files' names, if all of it is there.
async fn hinted(store: &Store) -> Result<Option<(Version, Vec<String>)>> {
    let Some(hint) = log::hint(store).await? else { return Ok(None) };
    let names = hint.names();
    for name in &names {
        match store.objects.head(&store.path(&format!("_delta_log/{name}"))).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(explain(&store.url, &error)),
        }
    }
    Ok(Some((hint.version, names)))
}

/// Writes a checkpoint that follows from an earlier one.
async fn write_from(
    store: &Store,
    base: Option<(Version, Vec<String>)>,
    version: Version,
    options: CheckpointOptions,
    orphan_cleaner: &OrphanCleaner,
    limits: MemoryLimits,
    clock: &dyn Clock,
) -> Result<()> {
    let (mut base, mut names) = base.unzip();
    while base < Some(version) {
        let begun = clock.boot();
        let before = (base, names.as_deref().unwrap_or_default());
        let (reached, changes) = Changes::read(store, before, version, limits.step_bytes).await?;
        not_overtaken(store, base, begun, clock).await?;
        let name = format!("{:020}.checkpoint.parquet", reached.0);
        if planted(Bug::HintBeforeTheCheckpoint) {
            write_hint(store, reached, 0).await?;
        }
        names = names.filter(|_| !planted(Bug::CheckpointForgetsTheLast));
        let rows =
            write_file(store, (&name, names.as_deref()), &changes, options, limits, orphan_cleaner).await?;
        // Another writer may have gone on while this one stood still, and clean up by its own hint: one that
        // went back would come to name what is gone.
        let later = hinted(store).await?.is_some_and(|(version, _)| version > reached);
        if !later || planted(Bug::HintGoesBack) {
            write_hint(store, reached, rows).await?;
        }
        (base, names) = (Some(reached), Some(vec![name]));
    }
    Ok(())
}

/// Versions are removed once a later checkpoint covers them, and who stood still until then may have put a
/// stray one in the place of one that was removed: what took long to be read counts only where no later
/// checkpoint stands.
async fn not_overtaken(
    store: &Store,
    base: Option<Version>,
    mut begun: Duration,
    clock: &dyn Clock,
) -> Result<()> {
    // The look may take its time, too.
    while clock.boot().saturating_sub(begun) > READ_TRUSTED_FOR {
        begun = clock.boot();
        let latest = log::list(store, base).await?.checkpoints.pop_last().map(|(version, _)| version);
        if latest > base {
            let message = format!("{}: another checkpoint was written while versions were read", store.url);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    }
    Ok(())
}

/// Writes one file from old ones; returns how many actions it holds.
async fn write_file(
    store: &Store,
    (name, old): (&str, Option<&[String]>),
    changes: &Changes,
    CheckpointOptions { expired_ms, compression }: CheckpointOptions,
    limits: MemoryLimits,
    orphan_cleaner: &OrphanCleaner,
) -> Result<i64> {
    let (parts, mut receiver) = channel(1);
    let arriving = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let relative = format!("_delta_log/{name}");
    let merged = async {
        let output = Output::new(limits.group, compression, part_bytes(store));
        let output = output.map_err(|error| internal(store, error))?;
        let old = old::open(store, old.unwrap_or_default(), output.columns(), limits.window).await?;
        Merge { store, old: &old, changes, expired_ms, max: limits.group, output, parts }.run().await
    };
    let uploaded = upload::file(store, (&relative, Name::Shared), arriving, &(), orphan_cleaner);
    match futures::join!(merged, uploaded) {
        (_, Uploaded::Failed(error)) => Err(explain(&store.url, &error)),
        (Err(error), _) => Err(error),
        (Ok(rows), Uploaded::Done) => Ok(rows),
        (Ok(_), Uploaded::Abandoned) => Err(internal(store, "the upload was abandoned")),
    }
}

struct Merge<'a> {
    store: &'a Store,
    old: &'a [OldFile],
    changes: &'a Changes,
    expired_ms: i64,
    max: GroupMax,
    output: Output,
    parts: Sender<upload::Part>,
}

impl Merge<'_> {
    async fn run(mut self) -> Result<i64> {
        let paths = self.changes.paths();
        for part in Part::ALL {
            let lines = self.changes.lines(part, self.expired_ms);
            let plan = plan::plan(self.store, self.old, part, &paths, lines.len(), self.expired_ms, self.max)
                .await?;
            for lines in lines.chunks(BATCH_ROWS) {
                if let Some(batch) = columns::from_json(lines).map_err(|error| internal(self.store, error))? {
                    self.push(&batch).await?;
                }
            }
            for Chosen { file, group, fate, .. } in plan {
                match fate {
                    Fate::Splice => self.splice(&self.old[file], group).await?,
                    Fate::Rewrite => self.rewrite(&self.old[file], group, part).await?,
                }
            }
            self.output.end_group().map_err(|error| internal(self.store, error))?;
            self.send_full().await?;
        }
        let rows = self.output.rows();
        let mut rest = self.output.finish().map_err(|error| internal(self.store, error))?.peekable();
        while let Some(bytes) = rest.next() {
            send(self.store, &self.parts, bytes, rest.peek().is_none()).await?;
        }
        Ok(rows)
    }

    async fn splice(&mut self, file: &OldFile, group: usize) -> Result<()> {
        let (held, checksum) = file.hold(self.store, group).await?;
        let spliced = self.output.splice(file.metadata().row_group(group), &held, checksum);
        drop(held);
        spliced.map_err(|error| checkpoint_file::bad_checkpoint(self.store, &file.name, error))?;
        self.send_full().await
    }

    async fn rewrite(&mut self, file: &OldFile, group: usize, part: Part) -> Result<()> {
        let store = self.store;
        let bad = |error: ParquetError| checkpoint_file::bad_checkpoint(store, &file.name, error);
        let mut batches = file.batches(store, group, part).await?;
        let mut left = file.metadata().row_group(group).num_rows();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(bad)?;
            left -= batch.num_rows() as i64;
            let kept = columns::keep(&batch, part, self.changes, self.expired_ms);
            self.push(&kept.map_err(|error| bad(error.into()))?).await?;
        }
        match left {
            0 => Ok(()),
            // The file's own counts may be wrong, or its reader has ended early.
            _ => Err(bad(ParquetError::General(format!("{left} rows of row group {group} are not there")))),
        }
    }

    /// A batch keeps the processor for a few milliseconds: others wait no longer than that.
    async fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.output.push(batch).map_err(|error| internal(self.store, error))?;
        self.send_full().await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn send_full(&mut self) -> Result<()> {
        while let Some(bytes) = self.output.next_part() {
            send(self.store, &self.parts, bytes, false).await?;
        }
        Ok(())
    }
}

async fn send(store: &Store, parts: &Sender<upload::Part>, bytes: Bytes, last: bool) -> Result<()> {
    let sent = parts.send(upload::Part { bytes, charge: Charge::none(), last }).await;
    // Once it is on its way the next one is filled: there are never more than the two.
    let taken = match sent {
        Ok(()) if !last => parts.reserve().await.is_ok(),
        sent => sent.is_ok(),
    };
    // The upload's own answer says why.
    if taken { Ok(()) } else { Err(internal(store, "the upload has ended")) }
}

/// What S3 wants of all parts but the last, and no more, for they wait in memory; a disk takes any.
fn part_bytes(store: &Store) -> usize {
    if store.parts.is_some() { 5 << 20 } else { 512 << 10 }
}

fn internal(store: &Store, error: impl Display) -> Error {
    Error::new(ErrorKind::Internal, format!("{}: a checkpoint cannot be made: {error}", store.url))
}

async fn write_hint(store: &Store, version: Version, actions: i64) -> Result<()> {
    let hint = json!({"version": version, "size": actions}).to_string();
    let path = store.path("_delta_log/_last_checkpoint");
    match store.objects.put(&path, Bytes::from(hint).into()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(explain(&store.url, &error)),
    }
}

/// Removes log files written before `expired_ms` that no reader needs: all that
/// lie before the newest checkpoint which was itself written before that.
/// Returns how many were removed.
pub async fn clean_up(store: &Store, expired_ms: i64) -> Result<usize> {
    let named = log::last_checkpoint(store).await?;
    let log_path = store.log_path();
    let mut objects = Vec::new();
    let mut listed = store.objects.list(Some(&log_path));
    while let Some(object) = listed.next().await {
        let object = object.map_err(|error| explain(&store.url, &error))?;
        // What lies in a folder there is not the log's.
        if object.location.parts_count() == log_path.parts_count() + 1 {
            objects.push(object);
        }
    }
    let old = |object: &object_store::ObjectMeta| object.last_modified.timestamp_millis() < expired_ms;
    let checkpoints: BTreeSet<Version> = log::list(store, None).await?.checkpoints.into_keys().collect();
    let floor = objects
        .iter()
        .filter(|object| old(object))
        .filter_map(|object| match LogFile::parse(object.location.filename()?)? {
            LogFile::Checkpoint { version, .. } if checkpoints.contains(&version) => Some(version),
            _ => None,
        })
        .max();
    let Some(floor) = floor.min(named) else { return Ok(0) };
    // In order, so that a clean-up that is cut off leaves versions without a hole.
    objects.sort_by(|one, other| one.location.cmp(&other.location));
    let mut removed = 0;
    for object in objects.iter().filter(|object| old(object)) {
        let version = object.location.filename().and_then(|name| name.get(..20)).and_then(|v| v.parse().ok());
        if version.is_some_and(|version| Version(version) < floor || planted(Bug::CleansUpTooMuch)) {
            store.objects.delete(&object.location).await.map_err(|error| explain(&store.url, &error))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
