//! What can be said of a table's offsets and rows: proven, unknown, or wrong.
//!
//! It owns the judgement, from the log and the files' footers. It does not
//! read rows: that is [`super::audit`], whose figures it takes over.
//!
//! | finding | means |
//! |---|---|
//! | proven | each offset of the span is settled once, and its rows are in live files of ours |
//! | unknown | the log that would tell is cleaned up, or somebody else rewrote or deleted the rows |
//! | violation | two facts contradict each other: a hole, an overlap, a lost file, a wrong count |
//!
//! Files of other writers carry no ranges. They prove nothing and contradict
//! nothing; how many there are is told.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use serde::Serialize;
use serde_json::Value;

use super::action::{self, Add, Commit};
use super::audit::{self, Audit};
use super::inventory::{self, Inventory};
use super::parquet_object::ParquetObject;
use super::store::{Store, explain};
use crate::error::{Error, Result};
use crate::ids::{Offset, OffsetRange, TopicPartition, Version};
use crate::protocol::app_id::AppId;

/// Footers read at once.
const PARALLEL_FOOTERS: usize = 16;

/// Offsets `[start, next)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Span {
    pub start: Offset,
    pub next: Offset,
}

#[derive(Debug)]
pub struct Verdict {
    pub version: Version,
    /// The log was checked version by version from here on.
    pub from_version: Version,
    pub files: usize,
    /// Rows in live files, without those that deletion vectors hide.
    pub rows: u64,
    /// Live files without our ranges: written or rewritten by others.
    pub foreign_files: usize,
    pub partitions: Vec<PartitionVerdict>,
    pub audit: Audit,
    pub violations: Vec<String>,
    /// What could not be judged, and why.
    pub notes: Vec<String>,
}

#[derive(Debug)]
pub struct PartitionVerdict {
    pub id: AppId,
    /// Where the table's knowledge of the partition begins, and its next offset.
    pub span: Span,
    pub rows: u64,
    pub skipped: u64,
    pub tombstones: u64,
    pub proven: Vec<Span>,
    pub unknown: Vec<Unknown>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unknown {
    #[serde(flatten)]
    pub span: Span,
    pub why: &'static str,
}

const CLEANED_UP: &str = "the log that settled it is cleaned up, and no live file tells";
const REWRITTEN: &str = "another writer rewrote or deleted its rows";

/// Judges the table as it is now; an error where there is no table.
pub async fn verify(store: &Store) -> Result<Verdict> {
    let inventory = inventory::take(store).await?;
    let history = History::replay(&inventory);
    let mut violations = inventory.faults.clone();
    violations.extend(history.violations.iter().cloned());
    let checked = check_files(store, &inventory, &mut violations).await?;
    let live = Live::collect(&inventory, &checked.damaged);
    let partitions = judge(&inventory, &history, &live, &mut violations);
    let audit = audit::audit(store, &inventory).await?;
    violations.extend(audit.violations());
    Ok(Verdict {
        version: inventory.snapshot.version,
        from_version: inventory.history.first().map_or(inventory.snapshot.version, |(version, ..)| *version),
        files: inventory.files.len(),
        rows: checked.rows,
        foreign_files: live.foreign_files,
        partitions,
        audit,
        violations,
        notes: notes(&inventory, &live),
    })
}

impl Verdict {
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }
}

/// What the retained versions say of each partition.
#[derive(Default)]
struct History {
    txns: BTreeMap<String, i64>,
    /// From this offset on the retained versions account for everything.
    base: BTreeMap<TopicPartition, Offset>,
    ranges: BTreeMap<TopicPartition, Vec<OffsetRange>>,
    violations: Vec<String>,
    /// Partitions whose chain is known to be broken.
    broken: BTreeSet<TopicPartition>,
}

impl History {
    fn replay(inventory: &Inventory) -> History {
        let mut history = History::default();
        for (version, commit, adds) in &inventory.history {
            history.apply(*version, commit, adds);
        }
        for (app_id, &at) in &history.txns {
            let now = inventory.snapshot.txns.get(app_id).copied();
            if now != Some(at) {
                let now = now.map_or("nothing".to_owned(), |now| now.to_string());
                history
                    .violations
                    .push(format!("the versions put {app_id} at {at}, the table has it at {now}"));
            }
        }
        history
    }

    fn apply(&mut self, version: Version, commit: &Commit, adds: &[Add]) {
        let mut in_files = by_source(adds.iter().filter(|add| add.data_change).flat_map(ranges_of));
        if commit.facts.is_none() {
            // Another writer may carry our tags along on a file that it marked: they settle
            // something only where it moves the partition's offset too.
            let moves: BTreeSet<TopicPartition> =
                commit.txns.iter().filter_map(|txn| AppId::parse(&txn.app_id)).map(|id| id.source).collect();
            in_files.retain(|source, _| moves.contains(source));
        }
        let ranges = match &commit.facts {
            Some(facts) => by_source(facts.ranges.iter().cloned()),
            None => in_files.clone(),
        };
        let mut moved = BTreeSet::new();
        for txn in &commit.txns {
            let Some(id) = AppId::parse(&txn.app_id) else { continue };
            let before = self.txns.insert(txn.app_id.clone(), txn.version).map(Offset);
            let ranges = ranges.get(&id.source).map_or(&[][..], Vec::as_slice);
            self.chain(version, &id.source, before, ranges, Offset(txn.version));
            moved.insert(id.source);
        }
        for source in ranges.keys().filter(|source| !moved.contains(*source)) {
            self.wrong(
                source,
                format!("version {version} settles offsets of {source} without moving its txn"),
            );
        }
        for source in ranges.keys().chain(in_files.keys()).collect::<BTreeSet<_>>() {
            let rows =
                |of: &BySource| of.get(source).into_iter().flatten().map(|range| range.rows).sum::<u64>();
            let (said, held) = (rows(&ranges), rows(&in_files));
            if said != held {
                self.wrong(
                    source,
                    format!("version {version} settles {said} rows of {source}, its files hold {held}"),
                );
            }
        }
        for (source, ranges) in ranges {
            self.ranges.entry(source).or_default().extend(ranges);
        }
    }

    /// A commit's ranges lead from the txn before it to its own txn.
    fn chain(
        &mut self,
        version: Version,
        source: &TopicPartition,
        before: Option<Offset>,
        ranges: &[OffsetRange],
        txn: Offset,
    ) {
        // The first sight of a partition is its anchor, or the end of what was cleaned up.
        let mut at = before.or(ranges.first().map(|range| range.start)).unwrap_or(txn);
        self.base.entry(source.clone()).or_insert(at);
        if txn < at {
            self.wrong(source, format!("version {version} moves {source} back from {at} to {txn}"));
            return;
        }
        for range in ranges {
            if range.start != at {
                let what = if range.start < at { "settles again" } else { "skips" };
                let (low, high) = (range.start.min(at), range.start.max(at));
                self.wrong(source, format!("version {version} {what} offsets {low}..{high} of {source}"));
            }
            let counted = range.rows + range.skipped + range.tombstones;
            if range.next < range.start || counted > (range.next.0 - range.start.0) as u64 {
                self.wrong(source, format!("version {version}: {range} cannot hold {counted} records"));
            }
            at = range.next;
        }
        if at != txn {
            self.wrong(
                source,
                format!("version {version} settles {source} up to {at}, and moves its txn to {txn}"),
            );
        }
    }

    fn wrong(&mut self, source: &TopicPartition, what: String) {
        self.broken.insert(source.clone());
        self.violations.push(what);
    }
}

type BySource = BTreeMap<TopicPartition, Vec<OffsetRange>>;

/// Ranges by partition, in the order of their offsets.
fn by_source(ranges: impl Iterator<Item = OffsetRange>) -> BySource {
    let mut sorted: BySource = BTreeMap::new();
    for range in ranges {
        sorted.entry(range.source.clone()).or_default().push(range);
    }
    for ranges in sorted.values_mut() {
        ranges.sort_by_key(|range| (range.start, range.next));
    }
    sorted
}

fn ranges_of(add: &Add) -> Vec<OffsetRange> {
    action::ranges_of(add).unwrap_or_default()
}

/// What the live files say of each partition.
#[derive(Default)]
struct Live {
    ranges: BTreeMap<TopicPartition, Vec<Held>>,
    foreign_files: usize,
}

struct Held {
    range: OffsetRange,
    path: String,
    state: FileState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FileState {
    Whole,
    /// A deletion vector hides some of its rows.
    PartlyHidden,
    /// Lost or unreadable: a violation says so.
    Damaged,
}

impl Live {
    fn collect(inventory: &Inventory, damaged: &BTreeSet<String>) -> Live {
        let mut live = Live::default();
        for add in inventory.files.values() {
            let Some(ranges) = action::ranges_of(add) else {
                live.foreign_files += 1;
                continue;
            };
            let state = match add.deletion_vector {
                _ if damaged.contains(&add.path) => FileState::Damaged,
                Some(_) => FileState::PartlyHidden,
                None => FileState::Whole,
            };
            for range in ranges {
                let source = range.source.clone();
                let held = Held { range, path: add.path.clone(), state };
                live.ranges.entry(source).or_default().push(held);
            }
        }
        for ranges in live.ranges.values_mut() {
            ranges.sort_by_key(|held| (held.range.start, held.range.next));
        }
        live
    }
}

/// The verdict on every partition that the table has an offset of.
fn judge(
    inventory: &Inventory,
    history: &History,
    live: &Live,
    violations: &mut Vec<String>,
) -> Vec<PartitionVerdict> {
    let mut partitions = Vec::new();
    for (app_id, &next) in &inventory.snapshot.txns {
        let Some(id) = AppId::parse(app_id) else { continue };
        partitions.push(judge_partition(id, Offset(next), history, live, violations));
    }
    partitions
}

fn judge_partition(
    id: AppId,
    next: Offset,
    history: &History,
    live: &Live,
    violations: &mut Vec<String>,
) -> PartitionVerdict {
    let source = &id.source;
    let files = live.ranges.get(source).map_or(&[][..], Vec::as_slice);
    let settled = history.ranges.get(source).map_or(&[][..], Vec::as_slice);
    check_overlap(files, next, violations);
    let base = history.base.get(source).copied().unwrap_or(next);
    let start = files.first().map_or(base, |held| held.range.start.min(base)).min(next);
    let whole = Span { start, next };
    // A range without rows is told by its commit only, unless a later file took it over.
    let in_files = union(files.iter().map(|held| &held.range));
    let idle: Vec<&OffsetRange> =
        settled.iter().filter(|range| range.rows == 0 && !gaps(span(range), &in_files).is_empty()).collect();
    let whole_files = files.iter().filter(|held| held.state == FileState::Whole).map(|held| &held.range);
    let proven = union(whole_files.chain(idle.iter().copied()));
    let damaged = union(files.iter().filter(|held| held.state == FileState::Damaged).map(|held| &held.range));
    let in_commits = union(settled.iter());
    let mut unknown = Vec::new();
    for gap in gaps(whole, &proven).into_iter().flat_map(|gap| gaps(gap, &damaged)) {
        let below = Span { start: gap.start, next: gap.next.min(base) };
        for lost in gaps(below, &in_files) {
            unknown.push(Unknown { span: lost, why: CLEANED_UP });
        }
        for hidden in gaps(below, &gaps(below, &in_files)) {
            unknown.push(Unknown { span: hidden, why: REWRITTEN });
        }
        let above = Span { start: gap.start.max(base), next: gap.next };
        let holes = gaps(above, &in_commits);
        for rewritten in gaps(above, &holes) {
            unknown.push(Unknown { span: rewritten, why: REWRITTEN });
        }
        // A broken chain was told where it broke.
        for hole in holes.iter().filter(|_| !history.broken.contains(source)) {
            violations.push(format!("no commit settles offsets {}..{} of {source}", hole.start, hole.next));
        }
    }
    let counted: Vec<&OffsetRange> = files.iter().map(|held| &held.range).chain(idle).collect();
    PartitionVerdict {
        rows: counted.iter().map(|range| range.rows).sum(),
        skipped: counted.iter().map(|range| range.skipped).sum(),
        tombstones: counted.iter().map(|range| range.tombstones).sum(),
        span: whole,
        proven: gaps(whole, &gaps(whole, &proven)),
        unknown,
        id,
    }
}

/// No offset is in two live files, and none lies beyond the table's next offset.
fn check_overlap(files: &[Held], next: Offset, violations: &mut Vec<String>) {
    let mut furthest: Option<&Held> = None;
    for held in files {
        let range = &held.range;
        if let Some(before) = furthest.filter(|before| range.start < before.range.next) {
            let high = before.range.next.min(range.next);
            violations.push(format!(
                "offsets {}..{high} of {} are in {} and in {}",
                range.start, range.source, before.path, held.path
            ));
        }
        if range.next > next {
            violations.push(format!("{} holds {range}, beyond the table's offset {next}", held.path));
        }
        if furthest.is_none_or(|before| before.range.next < range.next) {
            furthest = Some(held);
        }
    }
}

fn span(range: &OffsetRange) -> Span {
    Span { start: range.start, next: range.next }
}

/// Sorted spans without overlap; neighbours become one.
fn union<'a>(ranges: impl Iterator<Item = &'a OffsetRange>) -> Vec<Span> {
    let mut spans: Vec<Span> = ranges.map(span).filter(|span| span.start < span.next).collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.next => last.next = last.next.max(span.next),
            _ => merged.push(span),
        }
    }
    merged
}

/// What of `whole` lies in none of the merged `spans`.
fn gaps(whole: Span, spans: &[Span]) -> Vec<Span> {
    let mut found = Vec::new();
    let mut at = whole.start;
    for span in spans {
        if span.start > at && at < whole.next {
            found.push(Span { start: at, next: span.start.min(whole.next) });
        }
        at = at.max(span.next);
    }
    if at < whole.next {
        found.push(Span { start: at, next: whole.next });
    }
    found
}

fn notes(inventory: &Inventory, live: &Live) -> Vec<String> {
    let mut notes = Vec::new();
    if live.foreign_files > 0 {
        notes.push(format!(
            "{} files were written or rewritten by others: the offsets of their rows are not judged",
            live.foreign_files
        ));
    }
    let ids: Vec<AppId> = inventory.snapshot.txns.keys().filter_map(|app_id| AppId::parse(app_id)).collect();
    for source in live.ranges.keys() {
        match ids.iter().filter(|id| id.source == *source).count() {
            0 => {
                notes.push(format!("files hold offsets of {source}, and the table has no next offset for it"))
            }
            1 => {}
            _ => notes.push(format!("several table ids write {source}: their ranges are not told apart")),
        }
    }
    for (version, commit, _) in &inventory.history {
        let operation = commit.winner.operation.as_deref().unwrap_or_default().to_ascii_uppercase();
        if ["RESTORE", "REPLACE", "CLONE"].iter().any(|word| operation.contains(word)) {
            notes.push(format!("version {version} is a {operation}: offsets and rows may disagree since"));
        }
    }
    notes
}

/// Every live file is there with its size and its rows.
async fn check_files(
    store: &Store,
    inventory: &Inventory,
    violations: &mut Vec<String>,
) -> Result<CheckedFiles> {
    let sizes = list(store).await?;
    let mut footers = futures::stream::iter(inventory.files.values())
        .map(|add| check_file(store, &sizes, add))
        .buffered(PARALLEL_FOOTERS);
    let mut checked = CheckedFiles::default();
    while let Some(file) = footers.next().await {
        let (path, rows, wrong) = file?;
        checked.rows += rows.unwrap_or(0);
        if rows.is_none() {
            checked.damaged.insert(path.to_owned());
        }
        violations.extend(wrong);
    }
    Ok(checked)
}

#[derive(Default)]
struct CheckedFiles {
    rows: u64,
    /// Paths of files that cannot be read.
    damaged: BTreeSet<String>,
}

/// Every object of the table with its bytes.
async fn list(store: &Store) -> Result<BTreeMap<Path, u64>> {
    store
        .objects
        .list(Some(&store.root))
        .map_ok(|object| (object.location, object.size))
        .try_collect()
        .await
        .map_err(|error| explain(&store.url, &error))
}

/// The place of a file that the log names; `None` for one outside of the table.
pub fn location(store: &Store, path: &str) -> Option<Path> {
    if path.starts_with('/') || path.contains(":/") {
        return None;
    }
    let relative = Path::from_url_path(path).ok()?;
    Path::parse(format!("{}/{relative}", store.root)).ok()
}

/// A file's path, the rows that a reader sees of it (none if it cannot be read), and what is wrong with it.
type CheckedFile<'a> = (&'a str, Option<u64>, Vec<String>);

async fn check_file<'a>(store: &Store, sizes: &BTreeMap<Path, u64>, add: &'a Add) -> Result<CheckedFile<'a>> {
    let path = add.path.as_str();
    let unreadable = |what: String| Ok((path, None, vec![format!("{path} {what}")]));
    let Some(place) = location(store, path) else {
        return unreadable("lies outside of the table's folder".to_owned());
    };
    match sizes.get(&place) {
        None => return unreadable("is in the log and not in the store".to_owned()),
        Some(&size) if i64::try_from(size) != Ok(add.size) => {
            return unreadable(format!("has {size} bytes, the log says {}", add.size));
        }
        Some(_) => {}
    }
    let held = match footer_rows(store, place).await? {
        Ok(held) => held,
        Err(why) => return unreadable(format!("is not readable Parquet: {why}")),
    };
    let mut wrong = Vec::new();
    if let Some(said) = records(add).filter(|&said| said != held) {
        wrong.push(format!("{path} holds {held} rows, its statistics say {said}"));
    }
    if let Some(ranges) = action::ranges_of(add) {
        let settled: u64 = ranges.iter().map(|range| range.rows).sum();
        if settled != held {
            wrong.push(format!("{path} holds {held} rows, its ranges say {settled}"));
        }
    }
    Ok((path, Some(held.saturating_sub(hidden_rows(add))), wrong))
}

/// Rows that a deletion vector hides.
pub fn hidden_rows(add: &Add) -> u64 {
    add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality.max(0) as u64)
}

/// `numRecords` of a file's statistics.
pub fn records(add: &Add) -> Option<u64> {
    serde_json::from_str::<Value>(add.stats.as_deref()?).ok()?.get("numRecords")?.as_u64()
}

/// The rows that a footer tells, or why the file is damaged; an error if the store gives no answer.
async fn footer_rows(store: &Store, place: Path) -> Result<Result<u64, String>> {
    match ParquetObject::new(&store.objects, place).get_metadata(None).await {
        Ok(footer) => Ok(Ok(footer.file_metadata().num_rows().max(0) as u64)),
        Err(error) => unreadable(store, error).map(Err),
    }
}

/// What is wrong with a file, unless it is the store that failed.
pub fn unreadable(store: &Store, error: ParquetError) -> Result<String, Error> {
    match &error {
        ParquetError::External(inner) => match inner.downcast_ref::<object_store::Error>() {
            Some(object_store::Error::NotFound { .. }) | None => Ok(error.to_string()),
            Some(store_error) => Err(explain(&store.url, store_error)),
        },
        _ => Ok(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
