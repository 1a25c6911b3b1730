//! Every row of the live files: counted by its offset, and, where asked, read
//! whole.
//!
//! It owns the reading. It does not judge the log: that is [`crate::audit::verify`].
//!
//! | file | owns |
//! |---|---|
//! | [`offsets`] | which offsets were seen |
//! | [`bounds`] | a file's statistics against its data |
//!
//! The topic of a row is told by its file's ranges, be they settled or of replayed dead letters. A file that another
//! writer made has none: its rows belong to the only partition of their
//! number, if there is only one. Rows of a file with a deletion vector are not
//! counted: which of them are hidden is not read.
//!
//! Memory: one bit for each offset, within [`SEEN_BYTES_MAX`], the row groups
//! that are being read, within [`READ_MIB_MAX`], and a batch of each.

mod bounds;
mod offsets;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::metadata::RowGroupMetaData;
use tokio::sync::Semaphore;

use self::bounds::Bounds;
use self::offsets::{OffsetSet, PAGE_BYTES};
use crate::audit::offset_overrides::OffsetOverrides;
use crate::dead_letters::tags::replayed_of;
use crate::delta::action::{self, Add, CHECKSUM_TAG};
use crate::delta::inventory::Inventory;
use crate::delta::live_file::{location, unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, OffsetRange, Partition, TopicPartition};
use crate::protocol::app_id::AppId;
use crate::schema::Schema;
use crate::stores::parquet_object::ParquetObject;
use crate::stores::store::{Store, explain};

const PARTITION: &str = "_partition";
const OFFSET: &str = "_offset";
/// Beyond it rows are no longer counted by their offsets.
const SEEN_BYTES_MAX: usize = 1 << 30;
/// Row groups that are read at the same time, as they lie in their files.
const READ_MIB_MAX: usize = 256;
const PARALLEL_FILES: usize = 8;
/// Rows of a batch that holds offsets only, and of one that holds everything.
const OFFSET_ROWS: usize = 64 << 10;
const WHOLE_ROWS: usize = 4 << 10;

const HIDDEN: &str = "a deletion vector hides some rows of their file";
const AMBIGUOUS: &str = "several topics of the table have their partition's number";
const WITHOUT_OFFSETS: &str = "another writer left their offsets out";
const UNKNOWN_PARTITION: &str = "another writer gave them a partition that the table does not know";

/// How much of the files is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Depth {
    /// `_partition` and `_offset`.
    #[default]
    Offsets,
    /// Every byte: checksums, every column, the statistics against the data.
    Everything,
}

/// How far the reading is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub files: usize,
    pub files_all: usize,
    pub bytes: u64,
    pub bytes_all: u64,
}

/// Hears of each file that was read.
pub type Listener = Arc<dyn Fn(Progress) + Send + Sync>;

#[derive(Debug, Default)]
pub struct Audit {
    pub depth: Depth,
    pub partitions: BTreeMap<TopicPartition, Counted>,
    /// Why rows were not counted; then the partitions say nothing.
    pub not_done: Option<String>,
    /// Rows whose place in a topic is not told, by the reason.
    pub unplaced: BTreeMap<&'static str, u64>,
    /// Files whose bytes were compared with the checksum of their commit.
    pub checksums: usize,
    /// Paths of files that are not what they were.
    pub damaged: BTreeSet<String>,
    faults: Vec<String>,
}

/// The rows of one partition.
#[derive(Debug, Default)]
pub struct Counted {
    pub rows: u64,
    /// Rows whose offset was seen before, oftener than it was read again after an override.
    pub doubled: u64,
    /// Rows that stand at the same offset as another one by right: their record became several.
    pub more_rows: u64,
    /// Rows whose offset was seen before, and was read again after an override.
    pub again: u64,
    /// Rows whose offset lies outside of their file's ranges, or, in a file of another writer, beyond the
    /// table's next offset.
    pub out_of_range: u64,
    /// What was seen once, twice, and so on: as often as it may.
    seen: Vec<OffsetSet>,
}

/// Reads the live files. What cannot be counted is told in [`Audit::not_done`] and [`Audit::unplaced`].
pub async fn audit(store: &Store, inventory: &Inventory, depth: Depth, listener: Listener) -> Result<Audit> {
    let adds: Vec<Add> = inventory.files.values().cloned().collect();
    let bytes_all = adds.iter().map(|add| add.size.max(0) as u64).sum();
    let progress = Progress { files_all: adds.len(), bytes_all, ..Progress::default() };
    let schema = Schema::from_delta(&inventory.snapshot.metadata.schema_string);
    let not_done = why_not(inventory, schema.as_ref());
    if depth == Depth::Offsets && not_done.is_some() {
        return Ok(Audit { not_done, ..Audit::default() });
    }
    let job = Arc::new(Job {
        store: store.clone(),
        // Physical names stand in the statistics then: they are not judged.
        schema: schema.ok().filter(|_| !maps_columns(inventory)),
        homes: homes(inventory),
        offset_overrides: OffsetOverrides::of(&inventory.snapshot.txns),
        memory: Semaphore::new(READ_MIB_MAX),
        state: Mutex::new(AuditState { audit: Audit { depth, not_done, ..Audit::default() }, progress }),
        listener,
    });
    let mut reads = futures::stream::iter(adds)
        .map(|add| {
            let job = Arc::clone(&job);
            tokio::spawn(async move { job.read(add).await })
        })
        .buffer_unordered(PARALLEL_FILES);
    while let Some(read) = reads.next().await {
        read.map_err(|error| Error::new(ErrorKind::Internal, format!("reading a file: {error}")))??;
    }
    drop(reads);
    let state = std::mem::take(&mut *job.state());
    Ok(state.audit)
}

fn why_not(inventory: &Inventory, schema: Result<&Schema, &String>) -> Option<String> {
    match schema {
        Err(why) => Some(why.clone()),
        Ok(_) if maps_columns(inventory) => Some("the table maps its columns to other names".to_owned()),
        Ok(schema) if [PARTITION, OFFSET].iter().any(|name| schema.field(name).is_none()) => {
            Some(format!("the table has no columns {PARTITION} and {OFFSET}"))
        }
        Ok(_) => None,
    }
}

fn maps_columns(inventory: &Inventory) -> bool {
    let mode = inventory.snapshot.metadata.configuration.get("delta.columnMapping.mode");
    mode.is_some_and(|mode| mode.as_deref().is_some_and(|mode| mode != "none"))
}

/// To whom a row of another writer's file belongs, by its partition's number.
enum Home {
    One(TopicPartition, Offset),
    Several,
}

fn homes(inventory: &Inventory) -> BTreeMap<i32, Home> {
    let mut homes = BTreeMap::new();
    let offset_overrides = OffsetOverrides::of(&inventory.snapshot.txns);
    for (app_id, &next) in &inventory.snapshot.txns {
        let Some(id) = AppId::parse(app_id).filter(|id| !offset_overrides.is_renamed(id)) else { continue };
        let reach = offset_overrides.reach(&id.source, Offset(next));
        homes
            .entry(id.source.partition.0)
            .and_modify(|home| *home = Home::Several)
            .or_insert(Home::One(id.source, reach));
    }
    homes
}

/// What the readers of the files share.
struct Job {
    store: Store,
    /// `None` where the statistics cannot be judged.
    schema: Option<Schema>,
    homes: BTreeMap<i32, Home>,
    offset_overrides: OffsetOverrides,
    /// MiB of row groups that may still be read.
    memory: Semaphore,
    state: Mutex<AuditState>,
    listener: Listener,
}

#[derive(Default)]
struct AuditState {
    audit: Audit,
    progress: Progress,
}

/// Why a file could not be read to its end.
enum Stop {
    /// It is damaged, and this says how; nothing where `verify` says so.
    Damaged(Option<String>),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

impl Job {
    /// A panic while the lock was held leaves whole counts: the table is judged by them or not at all.
    fn state(&self) -> MutexGuard<'_, AuditState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn depth(&self) -> Depth {
        self.state().audit.depth
    }

    async fn read(&self, add: Add) -> Result<()> {
        let read = self.read_file(&add).await;
        let mut state = self.state();
        match read {
            Ok(()) => {}
            Err(Stop::Damaged(what)) => {
                state.audit.faults.extend(what.map(|what| format!("{} {what}", add.path)));
                state.audit.damaged.insert(add.path);
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
        state.progress.files += 1;
        state.progress.bytes += add.size.max(0) as u64;
        let progress = state.progress;
        drop(state);
        (self.listener)(progress);
        Ok(())
    }

    async fn read_file(&self, add: &Add) -> Result<(), Stop> {
        let Some(place) = location(&self.store, &add.path) else { return Ok(()) };
        let whole = self.depth() == Depth::Everything;
        if whole {
            self.compare_checksum(add, &place).await?;
        }
        let damaged = |error| unreadable(&self.store, error);
        let object = ParquetObject::new(&self.store.objects, place);
        let builder = match ParquetRecordBatchStreamBuilder::new(object).await {
            Ok(builder) => builder,
            Err(error) => return Err(damaged(error).map(|_| Stop::Damaged(None))?),
        };
        let mask = match whole {
            true => ProjectionMask::all(),
            false => ProjectionMask::columns(builder.parquet_schema(), [PARTITION, OFFSET]),
        };
        let largest = builder.metadata().row_groups().iter().map(|group| read_mib(group, &mask)).max();
        let _memory = self.memory.acquire_many(largest.unwrap_or(1)).await.expect("it is never closed");
        let rows = if whole { WHOLE_ROWS } else { OFFSET_ROWS };
        let mut batches = match builder.with_projection(mask).with_batch_size(rows).build() {
            Ok(batches) => batches,
            Err(error) => return Err(damaged(error).map(|why| Stop::Damaged(Some(why)))?),
        };
        let mut tally = Tally::of(add);
        let mut bounds = if whole { self.bounds(add)? } else { None };
        while let Some(batch) = batches.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let why = damaged(error)?;
                    return Err(Stop::Damaged(Some(format!("is not readable Parquet: {why}"))));
                }
            };
            self.count(&batch, &mut tally);
            if let Some(bounds) = &mut bounds {
                bounds.take(&batch);
            }
        }
        let broken = bounds.map(|bounds| bounds.broken()).unwrap_or_default();
        let mut state = self.state();
        let counted = state.audit.not_done.is_none();
        state.audit.faults.extend(tally.faults(counted));
        tally.note_several_rows(&mut state.audit);
        state.audit.faults.extend(broken.into_iter().map(|what| format!("{}: {what}", add.path)));
        Ok(())
    }

    fn bounds(&self, add: &Add) -> Result<Option<Bounds>, Stop> {
        let Some(schema) = &self.schema else { return Ok(None) };
        Bounds::claimed(schema, add.stats.as_deref())
            .map_err(|why| Stop::Damaged(Some(format!("has statistics that cannot be read: {why}"))))
    }

    /// The bytes are those that were written, where their commit tells a checksum.
    async fn compare_checksum(&self, add: &Add, place: &Path) -> Result<(), Stop> {
        let Some(said) = add.tags.as_ref().and_then(|tags| tags.get(CHECKSUM_TAG)?.clone()) else {
            return Ok(());
        };
        let failed = |error: object_store::Error| match error {
            // `verify` says that it is gone.
            object_store::Error::NotFound { .. } => Stop::Damaged(None),
            error => Stop::Failed(explain(&self.store.url, &error)),
        };
        let mut chunks = self.store.objects.get(place).await.map_err(failed)?.into_stream();
        let mut checksum = crc32fast::Hasher::new();
        while let Some(chunk) = chunks.next().await {
            checksum.update(&chunk.map_err(failed)?);
        }
        let held = action::checksum_text(checksum.finalize());
        if held != said {
            let what =
                format!("holds other bytes than were written: its checksum is {held}, the log says {said}");
            return Err(Stop::Damaged(Some(what)));
        }
        self.state().audit.checksums += 1;
        Ok(())
    }

    /// Counts a batch.
    fn count(&self, batch: &RecordBatch, tally: &mut Tally<'_>) {
        let mut state = self.state();
        let audit = &mut state.audit;
        if audit.not_done.is_some() {
            return;
        }
        if tally.hidden {
            *audit.unplaced.entry(HIDDEN).or_default() += batch.num_rows() as u64;
            return;
        }
        let partitions =
            batch.column_by_name(PARTITION).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let offsets = batch.column_by_name(OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
            match tally.ranges {
                Some(_) => tally.without_columns = true,
                None => *audit.unplaced.entry(WITHOUT_OFFSETS).or_default() += batch.num_rows() as u64,
            }
            return;
        };
        for row in 0..batch.num_rows() {
            let place = (partitions.is_valid(row) && offsets.is_valid(row))
                .then(|| (partitions.value(row), offsets.value(row)));
            match (&tally.ranges, place) {
                (Some(_), place) => tally.of_ours(place, &self.offset_overrides, audit),
                (None, None) => *audit.unplaced.entry(WITHOUT_OFFSETS).or_default() += 1,
                (None, Some(place)) => self.of_another(place, audit),
            }
        }
        let sets = audit.partitions.values().flat_map(|counted| &counted.seen);
        let pages: usize = sets.map(OffsetSet::pages).sum();
        if pages * PAGE_BYTES > SEEN_BYTES_MAX {
            audit.not_done = Some(format!("one bit for each offset takes more than {SEEN_BYTES_MAX} bytes"));
            audit.partitions.clear();
        }
    }

    /// A row of a file without ranges of ours.
    fn of_another(&self, (number, offset): (i32, i64), audit: &mut Audit) {
        match self.homes.get(&number) {
            None => *audit.unplaced.entry(UNKNOWN_PARTITION).or_default() += 1,
            Some(Home::Several) => *audit.unplaced.entry(AMBIGUOUS).or_default() += 1,
            Some(Home::One(source, next)) => {
                let copies = self.offset_overrides.copies(source, Offset(offset));
                audit.partitions.entry(source.clone()).or_default().take(offset, offset < next.0, copies);
            }
        }
    }
}

impl Counted {
    /// `copies`: how often the offset may be a row.
    fn take(&mut self, offset: i64, in_range: bool, copies: usize) {
        self.rows += 1;
        if !in_range {
            self.out_of_range += 1;
            return;
        }
        if self.seen.len() < copies {
            self.seen.resize_with(copies, OffsetSet::default);
        }
        match self.seen[..copies].iter_mut().position(|seen| seen.insert(offset)) {
            Some(0) => {}
            Some(_) => self.again += 1,
            None => self.doubled += 1,
        }
    }

    /// Distinct offsets of `[start, next)` that have a row.
    pub fn offsets_in(&self, start: Offset, next: Offset) -> u64 {
        self.seen.first().map_or(0, |seen| seen.count(start.0, next.0))
    }

    /// Rows of these offsets; more than there are offsets where some were read again after an override.
    pub fn rows_in(&self, start: Offset, next: Offset) -> u64 {
        self.seen.iter().map(|seen| seen.count(start.0, next.0)).sum()
    }

    pub fn first_offset(&self) -> Option<Offset> {
        self.seen.first().and_then(OffsetSet::first).map(Offset)
    }
}

/// The MiB that reading a row group takes, as it lies in its file.
fn read_mib(group: &RowGroupMetaData, mask: &ProjectionMask) -> u32 {
    let read = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
    let bytes: i64 = read.map(|(_, column)| column.compressed_size().max(0)).sum();
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX).saturating_add(1).min(READ_MIB_MAX as u32)
}

/// What one file showed.
struct Tally<'a> {
    path: &'a str,
    /// `None` for a file of another writer.
    ranges: Option<Vec<OffsetRange>>,
    hidden: bool,
    without_columns: bool,
    /// By range.
    rows: Vec<u64>,
    homeless: u64,
}

impl Tally<'_> {
    fn of(add: &Add) -> Tally<'_> {
        let ranges = action::ranges_of(add).or_else(|| replayed_of(add));
        Tally {
            path: &add.path,
            rows: vec![0; ranges.as_ref().map_or(0, Vec::len)],
            ranges,
            hidden: add.deletion_vector.is_some(),
            without_columns: false,
            homeless: 0,
        }
    }

    /// A row of a file of ours.
    fn of_ours(&mut self, place: Option<(i32, i64)>, offset_overrides: &OffsetOverrides, audit: &mut Audit) {
        let ranges = self.ranges.as_deref().unwrap_or_default();
        let found = place.and_then(|(number, offset)| {
            let of_partition = |range: &OffsetRange| range.source.partition == Partition(number);
            let holds =
                |range: &OffsetRange| of_partition(range) && (range.start.0..range.next.0).contains(&offset);
            let inside = ranges.iter().position(holds);
            let home = inside.or_else(|| ranges.iter().position(of_partition))?;
            Some((home, offset, inside.is_some()))
        });
        let Some((home, offset, inside)) = found else {
            self.homeless += 1;
            return;
        };
        self.rows[home] += 1;
        let source = &ranges[home].source;
        let copies = offset_overrides.copies(source, Offset(offset));
        audit.partitions.entry(source.clone()).or_default().take(offset, inside, copies);
    }

    /// Rows that stand at one offset by right.
    fn note_several_rows(&self, audit: &mut Audit) {
        for range in self.ranges.iter().flatten().filter(|range| range.more_rows > 0) {
            audit.partitions.entry(range.source.clone()).or_default().more_rows += range.more_rows;
        }
    }

    fn faults(&self, counted: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let path = self.path;
        if self.hidden || !counted {
            return faults;
        }
        if self.without_columns {
            faults.push(format!("{path} has no {PARTITION} and {OFFSET} of their types"));
            return faults;
        }
        if self.homeless > 0 {
            let homeless = self.homeless;
            faults.push(format!("{path} holds {homeless} rows of partitions that it has no range of"));
        }
        for (range, &held) in self.ranges.iter().flatten().zip(&self.rows) {
            if held != range.rows {
                faults.push(format!("{path} holds {held} rows of {range}, the range says {}", range.rows));
            }
        }
        faults
    }
}

impl Audit {
    /// What no sound table shows.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = self.faults.clone();
        // Files are read side by side: their order is nobody's business.
        violations.sort_unstable();
        for (source, counted) in &self.partitions {
            if counted.doubled > counted.more_rows {
                let twice = counted.doubled - counted.more_rows;
                violations.push(format!("{twice} rows of {source} are there twice"));
            }
            if counted.out_of_range > 0 {
                violations.push(format!(
                    "{} rows of {source} lie outside of their file's ranges or beyond the table's offset",
                    counted.out_of_range
                ));
            }
        }
        violations
    }

    pub fn rows(&self) -> u64 {
        self.partitions.values().map(|counted| counted.rows).sum()
    }

    /// Why not every row was counted by its offset; `None` if every one was.
    pub fn why_not_all(&self) -> Option<String> {
        let unplaced = || {
            let parts = self.unplaced.iter().map(|(why, rows)| format!("{rows} rows: {why}"));
            (!self.unplaced.is_empty()).then(|| parts.collect::<Vec<_>>().join("; "))
        };
        self.not_done.clone().or_else(unplaced)
    }

    /// How many of the expected offsets have no row, where any is missing.
    ///
    /// Meaningful only if every row was counted and every expected offset becomes a row.
    pub fn missing(
        &self,
        expected: &BTreeMap<(String, Partition), Range<i64>>,
    ) -> BTreeMap<(String, Partition), u64> {
        let mut missing = BTreeMap::new();
        for ((topic, partition), offsets) in expected {
            let held: Vec<&OffsetSet> = self
                .partitions
                .iter()
                .filter(|(source, _)| source.topic == *topic && source.partition == *partition)
                .flat_map(|(_, counted)| counted.seen.first())
                .collect();
            let absent =
                offsets.clone().filter(|&offset| !held.iter().any(|seen| seen.contains(offset))).count();
            if absent > 0 {
                missing.insert((topic.clone(), *partition), absent as u64);
            }
        }
        missing
    }
}
