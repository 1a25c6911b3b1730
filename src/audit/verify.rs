//! What can be said of a table's offsets and rows: proven, unknown, or wrong.
//!
//! It owns the judgement, from the log and the files' footers (`files`). It
//! does not read rows: that is [`crate::audit::count`], whose figures it takes over.
//!
//! | finding | means |
//! |---|---|
//! | proven | each offset of the span is settled once, and its rows are in live files of ours |
//! | rows only | another writer rewrote the files, and each row that was settled is there once, told by its offset |
//! | given up | a person jumped over these offsets, and the table says so (`thalweg/gap/…`) |
//! | read again | a person moved the partition back, and the table says so: rows may stand once more for each time |
//! | unknown | the log that would tell is cleaned up, or another writer deleted or changed rows |
//! | violation | two facts contradict each other: a hole, an overlap, a lost file, a wrong count |
//!
//! Where it cannot know, it says unknown, and never that something is missing.

pub mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use self::files::check_files;
use crate::audit::count::{self, Audit, Counted, Depth, Listener};
use crate::audit::offset_overrides::OffsetOverrides;
use crate::dead_letters::tags::{DeadLettersTag, replayed_of};
use crate::delta::action::{self, Add};
use crate::delta::inventory::{self, Inventory, Retained};
use crate::error::Result;
use crate::ids::{Offset, OffsetRange, TopicPartition, Version};
use crate::protocol::app_id::{AppId, IdentityTransfer, OffsetOverride};
use crate::stores::store::Store;

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
    pub dead_letters: u64,
    /// Dead dead letters that are rows by now, in files of replays.
    pub replayed: u64,
    pub proven: Vec<Span>,
    pub rows_only: Vec<Span>,
    pub given_up: Vec<Span>,
    pub read_again: Vec<Span>,
    /// Rows that stand once more for it.
    pub rows_again: u64,
    pub unknown: Vec<Unknown>,
}

impl PartitionVerdict {
    /// The whole partition in a word; `None` where violations say more.
    pub fn word(&self) -> Option<&'static str> {
        let told = |spans: &[&[Span]]| gaps(self.span, &merged(spans.concat())).is_empty();
        if self.span.start == self.span.next {
            Some("nothing read")
        } else if told(&[&self.proven]) {
            Some("proven")
        } else if told(&[&self.proven, &self.given_up]) {
            Some("proven besides what was given up")
        } else if told(&[&self.proven, &self.given_up, &self.rows_only]) {
            Some("rows only")
        } else if !self.unknown.is_empty() {
            Some("unknown")
        } else {
            None
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unknown {
    #[serde(flatten)]
    pub span: Span,
    pub why: &'static str,
    /// Rows that are there, by their offsets, and how many were settled, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<u64>,
}

const CLEANED_UP: &str = "the log that settled it is cleaned up, and no live file tells";
const CHANGED: &str = "another writer deleted or changed rows";
const NOT_TOLD: &str = "another writer rewrote its files, and where their rows belong is not told";

/// Judges the table as it is now by the log, the footers and the rows' offsets.
///
/// # Errors
/// Where there is no table, or the store fails.
pub async fn verify(store: &Store) -> Result<Verdict> {
    verify_to(store, Depth::Offsets, Arc::new(|_| {})).await
}

/// The same to any depth; `listener` hears of each file that was read.
pub async fn verify_to(store: &Store, depth: Depth, listener: Listener) -> Result<Verdict> {
    let inventory = inventory::take(store).await?;
    let history = History::replay(&inventory);
    let mut violations = inventory.faults.clone();
    violations.extend(history.violations.iter().cloned());
    let mut checked = check_files(store, &inventory, &mut violations).await?;
    let audit = count::audit(store, &inventory, depth, listener).await?;
    checked.damaged.extend(audit.damaged.iter().cloned());
    let live = Live::collect(&inventory, &checked.damaged);
    let partitions = judge(&inventory, &history, &live, &audit, &mut violations);
    violations.extend(audit.violations());
    Ok(Verdict {
        version: inventory.snapshot.version,
        from_version: inventory
            .history
            .first()
            .map_or(inventory.snapshot.version, |retained| retained.version),
        files: inventory.files.len(),
        rows: checked.rows,
        foreign_files: live.foreign_files,
        partitions,
        audit,
        violations,
        notes: notes(&inventory, &history.offset_overrides, &live),
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
    /// What replays of dead letters have added, from the first dead letter to behind the last of each commit.
    replayed: BTreeMap<TopicPartition, Vec<OffsetRange>>,
    /// Of the whole table and not only of the retained versions.
    offset_overrides: OffsetOverrides,
    /// Another writer removed rows in a retained version, or put other rows in their place.
    rows_changed: bool,
    violations: Vec<String>,
    /// Partitions whose chain is known to be broken.
    broken: BTreeSet<TopicPartition>,
}

impl History {
    fn replay(inventory: &Inventory) -> History {
        let offset_overrides = OffsetOverrides::of(&inventory.snapshot.txns);
        let mut history = History { offset_overrides, ..History::default() };
        for retained in &inventory.history {
            history.rows_changed |= retained.removes_rows;
            history.apply(retained);
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

    fn apply(&mut self, retained: &Retained) {
        let Retained { version, commit, adds, .. } = retained;
        let version = *version;
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
        let offset_overrides: Vec<OffsetOverride> =
            commit.txns.iter().filter_map(|txn| OffsetOverride::parse(&txn.app_id)).collect();
        let identity_transfers: Vec<IdentityTransfer> =
            commit.txns.iter().filter_map(|txn| IdentityTransfer::parse(&txn.app_id)).collect();
        let mut moved = BTreeSet::new();
        for txn in &commit.txns {
            let Some(id) = AppId::parse(&txn.app_id) else { continue };
            let before = self.txns.insert(txn.app_id.clone(), txn.version).map(Offset);
            // Who takes offsets over goes on where another stood, wherever it stood itself.
            let takes_over = |identity_transfer: &IdentityTransfer| {
                identity_transfer.is_to(&id.table_id, &id.source.topic, &id.source.topic_id)
            };
            let before = before.filter(|_| !identity_transfers.iter().any(takes_over));
            let ranges = ranges.get(&id.source).map_or(&[][..], Vec::as_slice);
            match offset_overrides.iter().find(|offset_override| offset_override.id == id) {
                Some(offset_override) => {
                    self.offset_override(version, offset_override, before, ranges, Offset(txn.version))
                }
                None => self.chain(version, &id.source, before, ranges, Offset(txn.version)),
            }
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
        for range in commit.facts.iter().flat_map(|facts| &facts.replayed) {
            self.replayed.entry(range.source.clone()).or_default().push(range.clone());
        }
    }

    /// A person's move starts where the partition stood, and settles nothing.
    fn offset_override(
        &mut self,
        version: Version,
        offset_override: &OffsetOverride,
        before: Option<Offset>,
        ranges: &[OffsetRange],
        txn: Offset,
    ) {
        let (source, from) = (&offset_override.id.source, offset_override.from);
        let base = self.base.entry(source.clone()).or_insert(from);
        // What lies above is settled anew, by the versions that follow.
        *base = txn.min(*base);
        if before.is_some_and(|before| before != from) || txn != offset_override.to || !ranges.is_empty() {
            let stood = before.map_or("nowhere".to_owned(), |before| before.to_string());
            self.wrong(
                source,
                format!(
                    "version {version} says that {source} was overridden from {from} to {}: it stood at {stood} and went to {txn}",
                    offset_override.to
                ),
            );
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
            let counted = range.records();
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

    /// The rows that the retained versions settled in a span; `None` where they do not tell of all of it.
    fn resolved_rows(&self, source: &TopicPartition, whole: Span) -> Option<u64> {
        let ranges = self.ranges.get(source).map_or(&[][..], Vec::as_slice);
        let inside: Vec<&OffsetRange> =
            ranges.iter().filter(|range| range.start < whole.next && whole.start < range.next).collect();
        let cut = inside.iter().any(|range| range.start < whole.start || whole.next < range.next);
        let told = gaps(whole, &union(inside.iter().copied())).is_empty();
        let replayed = self.replayed.get(source).map_or(&[][..], Vec::as_slice);
        let touching: Vec<&OffsetRange> =
            replayed.iter().filter(|range| range.start < whole.next && whole.start < range.next).collect();
        let cut = cut || touching.iter().any(|range| range.start < whole.start || whole.next < range.next);
        (told && !cut).then(|| inside.iter().chain(&touching).map(|range| range.rows).sum())
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
    ranges: BTreeMap<TopicPartition, Vec<FileRange>>,
    /// Ranges of files of replayed dead letters.
    replayed: Vec<(OffsetRange, String)>,
    foreign_files: usize,
    /// No row is hidden, and no file damaged.
    all_told: bool,
}

struct FileRange {
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
        let whole = |add: &Add| add.deletion_vector.is_none() && !damaged.contains(&add.path);
        let mut live = Live { all_told: inventory.files.values().all(whole), ..Live::default() };
        for add in inventory.files.values() {
            let Some(ranges) = action::ranges_of(add) else {
                match replayed_of(add) {
                    Some(ranges) => {
                        live.replayed.extend(ranges.into_iter().map(|range| (range, add.path.clone())))
                    }
                    // Of a dead-letter table.
                    None if DeadLettersTag::of(add).is_some() => {}
                    None => live.foreign_files += 1,
                }
                continue;
            };
            let state = match add.deletion_vector {
                _ if damaged.contains(&add.path) => FileState::Damaged,
                Some(_) => FileState::PartlyHidden,
                None => FileState::Whole,
            };
            for range in ranges {
                let source = range.source.clone();
                let held = FileRange { range, path: add.path.clone(), state };
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
    audit: &Audit,
    violations: &mut Vec<String>,
) -> Vec<PartitionVerdict> {
    let mut partitions = Vec::new();
    for (app_id, &next) in &inventory.snapshot.txns {
        let Some(id) = AppId::parse(app_id).filter(|id| !history.offset_overrides.is_renamed(id)) else {
            continue;
        };
        let counted = audit.partitions.get(&id.source).filter(|_| audit.not_done.is_none());
        let all_told = live.all_told && audit.unplaced.is_empty();
        let facts = Facts { history, live, counted, all_told };
        partitions.push(facts.judge(id, Offset(next), violations));
    }
    partitions
}

/// What is known of one partition.
struct Facts<'a> {
    history: &'a History,
    live: &'a Live,
    /// `None` where its rows were not counted, or it has none.
    counted: Option<&'a Counted>,
    /// Every row was placed: what is not found is not there.
    all_told: bool,
}

impl Facts<'_> {
    fn judge(&self, id: AppId, next: Offset, violations: &mut Vec<String>) -> PartitionVerdict {
        let Facts { history, live, counted, .. } = self;
        let source = &id.source;
        let files = live.ranges.get(source).map_or(&[][..], Vec::as_slice);
        let resolved = history.ranges.get(source).map_or(&[][..], Vec::as_slice);
        let spans = |of: Vec<(Offset, Offset)>| {
            merged(of.into_iter().map(|(start, next)| Span { start, next }).collect())
        };
        let read_again = spans(history.offset_overrides.read_again(source));
        let replayed = || live.replayed.iter().filter(|(range, _)| range.source == *source);
        for (range, path) in
            replayed().filter(|(range, _)| range.next > history.offset_overrides.reach(source, next))
        {
            violations.push(format!(
                "{path} holds replayed dead letters of {range}, beyond the table's offset {next}"
            ));
        }
        check_overlap(files, history.offset_overrides.reach(source, next), &read_again, violations);
        let base = history.base.get(source).copied().unwrap_or(next);
        let start = [files.first().map(|held| held.range.start), counted.and_then(Counted::first_offset)];
        let start = start.into_iter().flatten().fold(base, Offset::min).min(next);
        let whole = Span { start, next };
        let given_up = spans(history.offset_overrides.given_up(source));
        // A range without rows is told by its commit only, unless a later file took it over.
        let in_files = union(files.iter().map(|held| &held.range));
        let idle: Vec<&OffsetRange> = resolved
            .iter()
            .filter(|range| range.rows == 0 && !gaps(span(range), &in_files).is_empty())
            .collect();
        let whole_files = files.iter().filter(|held| held.state == FileState::Whole).map(|held| &held.range);
        let proven = union(whole_files.chain(idle.iter().copied()));
        let damaged =
            union(files.iter().filter(|held| held.state == FileState::Damaged).map(|held| &held.range));
        let explained = merged([&proven[..], &damaged, &given_up].concat());
        let in_commits = union(resolved.iter());
        let (mut rows_only, mut unknown) = (Vec::new(), Vec::new());
        for gap in gaps(whole, &explained) {
            let below = Span { start: gap.start, next: gap.next.min(base) };
            let above = Span { start: gap.start.max(base), next: gap.next };
            let holes = gaps(above, &in_commits);
            // A broken chain was told where it broke.
            for hole in holes.iter().filter(|_| !history.broken.contains(source)) {
                violations
                    .push(format!("no commit settles offsets {}..{} of {source}", hole.start, hole.next));
            }
            for rewritten in [below].into_iter().chain(gaps(above, &holes)).filter(|s| s.start < s.next) {
                match self.rewritten(source, rewritten) {
                    Rewritten::Whole => rows_only.push(rewritten),
                    Rewritten::Unknown(found) => unknown.push(found),
                    Rewritten::Wrong(what) => violations.push(what),
                }
            }
        }
        let held: Vec<&OffsetRange> = files.iter().map(|held| &held.range).chain(idle).collect();
        let in_ranges = held.iter().map(|range| range.rows).sum();
        PartitionVerdict {
            rows: counted.map_or(in_ranges, |counted| counted.rows),
            skipped: held.iter().map(|range| range.skipped).sum(),
            tombstones: held.iter().map(|range| range.tombstones).sum(),
            dead_letters: held.iter().map(|range| range.dead_letters).sum(),
            replayed: replayed().map(|(range, _)| range.rows).sum(),
            span: whole,
            proven: gaps(whole, &gaps(whole, &proven)),
            rows_only: merged(rows_only),
            given_up,
            read_again,
            rows_again: counted.map_or(0, |counted| counted.again),
            unknown,
            id,
        }
    }

    /// What the rows say of offsets whose files are no longer ours.
    fn rewritten(&self, source: &TopicPartition, span: Span) -> Rewritten {
        let resolved = self.history.resolved_rows(source, span);
        let rows = self.counted.map(|counted| counted.rows_in(span.start, span.next));
        let offsets = self.counted.map_or(0, |counted| counted.offsets_in(span.start, span.next));
        let unknown = |why| Rewritten::Unknown(Unknown { span, why, rows, resolved });
        let Some(found) = rows.filter(|rows| *rows > 0) else {
            return unknown(match resolved {
                _ if self.history.rows_changed => CHANGED,
                Some(_) => NOT_TOLD,
                None => CLEANED_UP,
            });
        };
        let Span { start, next } = span;
        match resolved {
            Some(resolved) if found == resolved => Rewritten::Whole,
            Some(resolved) if found > resolved => Rewritten::Wrong(format!(
                "{found} rows stand at offsets {start}..{next} of {source}, and {resolved} were settled"
            )),
            Some(resolved) if !self.history.rows_changed && self.all_told => Rewritten::Wrong(format!(
                "{resolved} rows were settled at offsets {start}..{next} of {source}, {found} are there, and no version deleted any"
            )),
            Some(_) => unknown(CHANGED),
            // Every offset has its row: nothing can be missing.
            None if offsets == (next.0 - start.0).unsigned_abs() => Rewritten::Whole,
            None => unknown(CLEANED_UP),
        }
    }
}

enum Rewritten {
    /// Each row that was settled is there.
    Whole,
    Unknown(Unknown),
    Wrong(String),
}

/// No offset is in two live files that was not read again, and none lies beyond what the table has reached.
fn check_overlap(files: &[FileRange], reach: Offset, read_again: &[Span], violations: &mut Vec<String>) {
    let mut furthest: Option<&FileRange> = None;
    for held in files {
        let range = &held.range;
        if let Some(before) = furthest.filter(|before| range.start < before.range.next) {
            let high = before.range.next.min(range.next);
            let meant = gaps(Span { start: range.start, next: high }, read_again).is_empty();
            violations.extend((!meant).then(|| {
                format!(
                    "offsets {}..{high} of {} are in {} and in {}",
                    range.start, range.source, before.path, held.path
                )
            }));
        }
        if range.next > reach {
            violations.push(format!("{} holds {range}, beyond the table's offset {reach}", held.path));
        }
        if furthest.is_none_or(|before| before.range.next < range.next) {
            furthest = Some(held);
        }
    }
}

fn span(range: &OffsetRange) -> Span {
    Span { start: range.start, next: range.next }
}

fn union<'a>(ranges: impl Iterator<Item = &'a OffsetRange>) -> Vec<Span> {
    merged(ranges.map(span).collect())
}

/// Sorted spans without overlap; neighbours become one.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.start < span.next);
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

fn notes(inventory: &Inventory, offset_overrides: &OffsetOverrides, live: &Live) -> Vec<String> {
    let mut notes: Vec<String> =
        offset_overrides.identity_transfers().map(|identity_transfer| identity_transfer.told()).collect();
    if live.foreign_files > 0 {
        notes.push(format!(
            "{} files were written or rewritten by others: what is said of their rows is said by `_partition` and `_offset`",
            live.foreign_files
        ));
    }
    let ids: Vec<AppId> = inventory
        .snapshot
        .txns
        .keys()
        .filter_map(|app_id| AppId::parse(app_id))
        .filter(|id| !offset_overrides.is_renamed(id))
        .collect();
    for source in live.ranges.keys() {
        match ids.iter().filter(|id| id.source == *source).count() {
            0 => {
                notes.push(format!("files hold offsets of {source}, and the table has no next offset for it"))
            }
            1 => {}
            _ => notes.push(format!("several table ids write {source}: their ranges are not told apart")),
        }
    }
    for Retained { version, commit, .. } in &inventory.history {
        let operation = commit.winner.operation.as_deref().unwrap_or_default().to_ascii_uppercase();
        if ["RESTORE", "REPLACE", "CLONE"].iter().any(|word| operation.contains(word)) {
            notes.push(format!("version {version} is a {operation}: offsets and rows may disagree since"));
        }
    }
    notes
}

#[cfg(test)]
mod tests;
