//! Dead dead letters through the decoder again, into the main table.
//!
//! It owns the way of a replay: which files are read, one commit after the
//! other, beside whoever writes the table. Which dead letter is due, the order, and
//! the `txn` that a commit moves are `protocol::replay`'s. The dead-letter
//! table is only read.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::info;

use self::file::{FileWriter, Target};
use super::dead_letters::DeadLetterOwners;
use super::identity;
use crate::audit::places;
use crate::clock::SharedClock;
use crate::columnar::{Decoder, RecordFacts};
use crate::config::Table;
use crate::dead_letters::rows::{self as dead_letter_rows, DeadLetterFile};
use crate::dead_letters::tags::{DeadLettersTag, REPLAYED_TAG};
use crate::delta::action::Action;
use crate::delta::commit_body::{CommitBody, Description};
use crate::delta::create;
use crate::delta::data_file::DataFile;
use crate::delta::inventory;
use crate::delta::log::{self, Snapshot};
use crate::delta::since;
use crate::delta::transaction::{self, FewTries, Outcome, Tip, Transaction};
use crate::delta::write_compatibility;
use crate::delta_sink::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, OffsetRange, Partition, TopicPartition, Version};
use crate::protocol::app_id::{AppId, IdentityTransfer, is_told_an_id, superseded, took_an_id};
use crate::protocol::lineage::Lineage;
use crate::protocol::planted::{Bug, planted};
use crate::protocol::replay::{self, DeadLetterRow, Due, Standing};
use crate::protocol::verdict::{Relation, Verdict};
use crate::record::{Headers, Padded, Record};
use crate::schema::Schema;
use crate::stores::orphan_cleaner::{Orphan, OrphanCleaner};
use crate::stores::store::Store;

/// Dead letters of one commit.
const DEAD_LETTERS_MAX: usize = 20_000;
/// Dead letters that failed again and are told one by one.
const FAILURES_TOLD: usize = 20;
/// A file that nothing names yet may be vacuumed after a week: what is so old is decoded anew.
const FILE_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
const NOT_KNOWN: &str =
    "it is not known whether the last dead letters became rows: run it again, the table has the answer";
/// How long an end waits for discarded files to be deleted.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Try dead letters again that an earlier replay left.
    pub again: bool,
    /// Only decode: commit nothing.
    pub dry_run: bool,
}

/// What a replay has done.
#[derive(Debug, Default, Serialize)]
pub struct ReplayOutcome {
    /// Dead letters that were tried now.
    pub tried: u64,
    /// Of them, those that are rows now.
    pub rows: u64,
    /// Of them, those that stay dead letters, by reason.
    pub failed: BTreeMap<String, u64>,
    pub failures: Vec<Failure>,
    /// Dead letters that an earlier replay tried.
    pub tried_before: u64,
    /// Dead letters whose row was in the table already.
    pub rows_before: u64,
    /// Dead letters whose offset the main table has not settled.
    pub unresolved: u64,
    /// Dead letters that nobody knows the table or the topic of.
    pub unplaced: u64,
    pub commits: u64,
    /// The last version that holds rows of this replay.
    pub version: Option<Version>,
}

#[derive(Debug, Serialize)]
pub struct Failure {
    pub topic: String,
    pub partition: Partition,
    pub offset: Offset,
    pub reason: String,
    pub error: String,
}

/// Replays a table's dead letters.
pub async fn replay(table: &Table, asked: Asked, clock: &SharedClock) -> Result<ReplayOutcome> {
    let store = Store::open(&table.location, &table.storage_options)?;
    replay_in(store, super::dead_letters::store(table)?, table, asked, clock).await
}

/// The same in stores that are open: the table's, and that of its dead letters.
pub async fn replay_in(
    store: Store,
    dead_letters: Store,
    table: &Table,
    asked: Asked,
    clock: &SharedClock,
) -> Result<ReplayOutcome> {
    let mut replay = Replay::begin(table, (store, dead_letters), asked, clock).await?;
    let ended = replay.run().await;
    replay.orphan_cleaner.finish(SWEEP_TIMEOUT).await;
    ended?;
    Ok(replay.outcome)
}

struct Replay<'a> {
    table: &'a Table,
    asked: Asked,
    clock: SharedClock,
    identity: Identity,
    tip: Tip,
    schema: Arc<Schema>,
    dead_letters: Store,
    files: Vec<DeadLetterFile>,
    /// The partitions of the replay, by their numbers.
    sources: Vec<TopicPartition>,
    due: Vec<DeadLetterRow>,
    orphan_cleaner: OrphanCleaner,
    outcome: ReplayOutcome,
}

impl<'a> Replay<'a> {
    async fn begin(
        table: &'a Table,
        (store, dead_letters): (Store, Store),
        asked: Asked,
        clock: &SharedClock,
    ) -> Result<Replay<'a>> {
        let tip = Tip::load(&store, clock).await?;
        if !tip.exists() {
            return Err(Error::new(ErrorKind::Unavailable, format!("{}: there is no table", store.url)));
        }
        let snapshot = tip.snapshot();
        let schema = Arc::new(write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?);
        since::not_replaced(&store, snapshot, &table.id).await?;
        refuse_transferred(table, snapshot)?;
        let inventory = inventory::take(&dead_letters).await?;
        let files = dead_letter_rows::files(&dead_letters, &inventory)?;
        let mut replay = Replay {
            table,
            asked,
            clock: Arc::clone(clock),
            identity: identity(table, clock),
            tip,
            schema,
            dead_letters,
            files,
            sources: Vec::new(),
            due: Vec::new(),
            orphan_cleaner: OrphanCleaner::here(),
            outcome: ReplayOutcome::default(),
        };
        replay.find_due().await?;
        Ok(replay)
    }

    /// Looks at every dead letter, and keeps those that may be due.
    async fn find_due(&mut self) -> Result<()> {
        let places = DeadLetterOwners::of(&self.table.id, &self.tip.snapshot().txns);
        let mut sources: Vec<TopicPartition> = Vec::new();
        let mut standings: Vec<Option<Standing>> = Vec::new();
        let mut numbers: BTreeMap<TopicPartition, u32> = BTreeMap::new();
        let mut all: Vec<DeadLetterRow> = Vec::new();
        let (mut tried, mut unresolved, mut unplaced) = (0, 0, 0);
        for (number, file) in (0..).zip(&self.files).filter(|(_, file)| places.may_be_ours(file)) {
            let mut dead_letters =
                dead_letter_rows::open(&self.dead_letters, &file.add, &dead_letter_rows::PLAIN, None).await?;
            while let Some(batch) = dead_letters.next().await? {
                for row in 0..batch.len() {
                    let Some(dead_letter) = batch.dead_letter(row) else { continue };
                    if dead_letter.topic != self.table.topic {
                        continue;
                    }
                    let Some(source) = places.source_of(file, &dead_letter) else {
                        unplaced += 1;
                        continue;
                    };
                    let partition = match numbers.get(source) {
                        Some(&number) => number,
                        None => {
                            let next = u32::try_from(sources.len());
                            let next = next.expect("a topic has fewer than 4 billion partitions");
                            sources.push(source.clone());
                            standings.push(self.standing(source));
                            *numbers.entry(source.clone()).or_insert(next)
                        }
                    };
                    match standings[partition as usize]
                        .map(|of| replay::due(dead_letter.offset, of, self.asked.again))
                    {
                        None | Some(Due::Unresolved) => unresolved += 1,
                        Some(Due::Tried) => tried += 1,
                        Some(Due::Now | Due::UnlessRow) => {
                            let row = u32::try_from(batch.first + row)
                                .expect("a file has fewer than 4 billion rows");
                            all.push(DeadLetterRow {
                                partition,
                                offset: dead_letter.offset,
                                file: number,
                                row,
                            });
                        }
                    }
                }
            }
        }
        replay::order(&mut all);
        (self.sources, self.outcome.tried_before) = (sources, tried);
        (self.outcome.unresolved, self.outcome.unplaced) = (unresolved, unplaced);
        let may_be_row = |dead_letter: &&DeadLetterRow| {
            let standing = standings[dead_letter.partition as usize];
            standing.is_some_and(|of| replay::due(dead_letter.offset, of, self.asked.again) == Due::UnlessRow)
        };
        let rows = self.rows_of_earlier_replays(all.iter().filter(may_be_row)).await?;
        let before = all.len();
        all.retain(|dead_letter| !rows.contains(&(dead_letter.partition, dead_letter.offset)));
        self.outcome.rows_before = (before - all.len()) as u64;
        self.due = all;
        Ok(())
    }

    fn standing(&self, source: &TopicPartition) -> Option<Standing> {
        let txns = &self.tip.snapshot().txns;
        let at = |name: String| txns.get(&name).copied().map(Offset);
        let resolved = at(AppId::new(&self.table.id, source.clone()).to_string())?;
        // What was tried under a former name stays tried.
        let lineage = Lineage::of(txns);
        let tried = self.names(&lineage, source).into_iter().filter_map(at).max().unwrap_or(Offset(0));
        let has_cloned = lineage.has_cloned(&self.table.id, &source.topic);
        Some(Standing { resolved, tried, has_cloned })
    }

    /// The `txn`s of replays of a partition, its own first.
    fn names(&self, lineage: &Lineage, source: &TopicPartition) -> Vec<String> {
        let names = lineage.names(&AppId::new(&self.table.id, source.clone()));
        let known = if planted(Bug::ReplayForgetsFormerNames) { &names[..1] } else { &names };
        known.iter().map(|name| replay::app_id(&name.table_id, &name.source)).collect()
    }

    /// The same of all partitions.
    fn all_names(&self) -> BTreeSet<String> {
        let lineage = Lineage::of(&self.tip.snapshot().txns);
        self.sources.iter().flat_map(|source| self.names(&lineage, source)).collect()
    }

    fn app_id(&self, partition: u32) -> String {
        replay::app_id(&self.table.id, &self.sources[partition as usize])
    }

    /// Those of these dead letters whose row is in the main table.
    async fn rows_of_earlier_replays(
        &self,
        dead_letters: impl Iterator<Item = &DeadLetterRow>,
    ) -> Result<BTreeSet<(u32, Offset)>> {
        let lineage = Lineage::of(&self.tip.snapshot().txns);
        let own = self.sources.iter().map(|source| AppId::new(&self.table.id, source.clone()));
        let names: Vec<Vec<AppId>> = own.map(|own| lineage.names(&own)).collect();
        let places = dead_letters.flat_map(|dead_letter| {
            let names = names[dead_letter.partition as usize].iter();
            names.map(|name| ((name.source.clone(), dead_letter.offset), dead_letter.partition))
        });
        let asked: BTreeMap<(TopicPartition, Offset), u32> = places.collect();
        if asked.is_empty() {
            return Ok(BTreeSet::new());
        }
        if !write_compatibility::has_offset_columns(&self.schema) {
            let message =
                format!("{}: the table has no columns `_partition` and `_offset`", self.tip.store.url);
            return Err(Error::new(ErrorKind::CannotWrite, message).remedy(
                "without them it cannot be known which dead letters are rows: replay without `--again`",
            ));
        }
        let wanted: BTreeSet<(TopicPartition, Offset)> = asked.keys().cloned().collect();
        let found = places::replayed_rows(&self.tip.store, &wanted).await?;
        Ok(found.into_iter().filter_map(|place| Some((*asked.get(&place)?, place.1))).collect())
    }

    async fn run(&mut self) -> Result<()> {
        let due = std::mem::take(&mut self.due);
        let mut left = &due[..];
        while !left.is_empty() {
            let (batch, rest) = left.split_at(left.len().min(self.batch_max(left)));
            // Whoever changed the schema meanwhile: the same dead letters are decoded anew.
            while !self.batch(batch).await? {}
            left = rest;
        }
        Ok(())
    }

    /// As many dead letters as come to about one data file.
    fn batch_max(&self, left: &[DeadLetterRow]) -> usize {
        let file = &self.files[left[0].file as usize];
        let dead_letters: u64 = crate::delta::live_file::records(&file.add).unwrap_or(1).max(1);
        let each = (file.add.size.max(1) as u64).div_ceil(dead_letters);
        let fit = usize::try_from(self.table.target_file_size / each.max(1)).unwrap_or(usize::MAX);
        fit.clamp(1, DEAD_LETTERS_MAX)
    }

    /// Decodes dead letters and commits their rows. False: the table has changed, and nothing was committed.
    async fn batch(&mut self, batch: &[DeadLetterRow]) -> Result<bool> {
        let decoded = self.decode(batch).await?;
        if !self.asked.dry_run {
            let path = decoded.file.as_ref().map(|file| self.tip.store.path(&file.path));
            let put = self.commit(batch, &decoded).await;
            // What is not sure is left where it is.
            if put.is_err() && planted(Bug::ReplayDeletesFilesInDoubt) {
                self.sweep(path.clone());
            }
            if let Put::Orphan(why) = put? {
                self.sweep(path);
                return why.map_or(Ok(false), Err);
            }
        }
        let outcome = &mut self.outcome;
        outcome.tried += batch.len() as u64;
        outcome.rows += decoded.ranges.iter().map(|range| range.rows).sum::<u64>();
        for failure in decoded.failures {
            *outcome.failed.entry(failure.reason.clone()).or_default() += 1;
            if outcome.failures.len() < FAILURES_TOLD {
                outcome.failures.push(failure);
            }
        }
        Ok(true)
    }

    fn sweep(&self, path: Option<object_store::path::Path>) {
        if let Some(path) = path {
            self.orphan_cleaner.sweep(&self.tip.store, Orphan::whole(path));
        }
    }

    /// Decodes dead letters into a file, and carries it into the store.
    async fn decode(&self, batch: &[DeadLetterRow]) -> Result<Decoded> {
        let mut by_file: BTreeMap<u32, Vec<DeadLetterRow>> = BTreeMap::new();
        for dead_letter in batch {
            by_file.entry(dead_letter.file).or_default().push(*dead_letter);
        }
        let mut writer = FileWriter::new(Target {
            store: &self.tip.store,
            schema: &self.schema,
            compression: self.table.compression,
            clock: &self.clock,
            orphan_cleaner: &self.orphan_cleaner,
            dry_run: self.asked.dry_run,
        });
        let mut ranges: BTreeMap<u32, OffsetRange> = BTreeMap::new();
        let mut failures = Vec::new();
        let mut decoder = Decoder::new(&self.schema, &self.table.decoding);
        for (number, mut wanted) in by_file {
            wanted.sort_unstable_by_key(|dead_letter| dead_letter.row);
            let rows: Vec<u32> = wanted.iter().map(|dead_letter| dead_letter.row).collect();
            let file = &self.files[number as usize];
            let (mut room, mut headers) = (Vec::new(), Vec::new());
            let mut dead_letters =
                dead_letter_rows::open(&self.dead_letters, &file.add, &dead_letter_rows::WHOLE, Some(&rows))
                    .await?;
            while let Some(found) = dead_letters.next().await? {
                for row in 0..found.len() {
                    let at = wanted[found.first + row];
                    let dead_letter =
                        found.dead_letter(row).filter(|dead_letter| dead_letter.offset == at.offset);
                    let dead_letter = dead_letter.ok_or_else(|| changed(&self.dead_letters))?;
                    found.headers(row, &mut headers);
                    let record = Record {
                        offset: dead_letter.offset,
                        timestamp_ms: dead_letter.timestamp_ms,
                        log_append_time: None,
                        key: dead_letter.key,
                        value: None,
                        headers: Headers::over(&headers),
                    };
                    let facts =
                        RecordFacts { topic: dead_letter.topic, partition: dead_letter.partition.0, record };
                    let decoded = decoder.append(
                        &mut writer.columns,
                        Padded::copied(dead_letter.value, &mut room),
                        &facts,
                    );
                    let range = ranges.entry(at.partition).or_insert_with(|| self.empty_range(&at));
                    range.start = range.start.min(at.offset);
                    range.next = range.next.max(Offset(at.offset.0 + 1));
                    match decoded {
                        Ok(()) => {
                            range.rows += 1;
                            writer.row().await?;
                        }
                        Err(bad) => {
                            range.dead_letters += 1;
                            failures.push(Failure {
                                topic: dead_letter.topic.to_owned(),
                                partition: dead_letter.partition,
                                offset: dead_letter.offset,
                                reason: bad.reason.as_str().to_owned(),
                                error: bad.detail,
                            });
                        }
                    }
                }
            }
        }
        Ok(Decoded { file: writer.end().await?, ranges: ranges.into_values().collect(), failures })
    }

    fn empty_range(&self, dead_letter: &DeadLetterRow) -> OffsetRange {
        OffsetRange {
            source: self.sources[dead_letter.partition as usize].clone(),
            start: dead_letter.offset,
            next: dead_letter.offset,
            rows: 0,
            more_rows: 0,
            skipped: 0,
            tombstones: 0,
            dead_letters: 0,
        }
    }

    /// Puts the rows of a batch.
    ///
    /// # Errors
    /// Only the table can tell whether they are in it.
    async fn commit(&mut self, batch: &[DeadLetterRow], decoded: &Decoded) -> Result<Put> {
        let clock = Arc::clone(&self.clock);
        let waits = FewTries::default();
        let mut rows = Rows { replay: self, batch, decoded, waits };
        let outcome =
            transaction::commit(&mut rows, &clock).await.map_err(|error| error.remedy(NOT_KNOWN))?;
        match outcome {
            Outcome::Landed { .. } => {
                self.is_at_the_tip().await?;
                let version = self.tip.snapshot().version;
                self.outcome.commits += 1;
                self.outcome.version = Some(version);
                let rows: u64 = decoded.ranges.iter().map(|range| range.rows).sum();
                info!(table = self.table.id, %version, dead_letters = batch.len(), rows, "dead letters replayed");
                Ok(Put::Landed)
            }
            Outcome::Unsure => Err(moved_on(self.table).remedy(NOT_KNOWN)),
            Outcome::Moved(why) => Ok(Put::Orphan(why)),
        }
    }

    /// The log as it was seen is the log as it is. False: the table has changed. Whoever stood still for long
    /// looks again, and finds that its last commit counts, or ends.
    async fn is_at_the_tip(&mut self) -> Result<bool> {
        let now = self.clock.boot();
        if self.tip.is_trusted(now) {
            return Ok(true);
        }
        let Some(snapshot) = log::load(&self.tip.store).await? else { return Err(moved_on(self.table)) };
        since::not_replaced(&self.tip.store, &snapshot, &self.table.id).await?;
        refuse_transferred(self.table, &snapshot)?;
        let tried = |snapshot: &Snapshot, name: &String| snapshot.txns.get(name).copied();
        let took_an_id = |source| took_an_id(&self.table.id, source, &snapshot.txns).is_some();
        if self.all_names().iter().any(|name| tried(&snapshot, name) != tried(self.tip.snapshot(), name))
            || self.sources.iter().any(took_an_id)
        {
            return Err(moved_on(self.table));
        }
        self.schema = Arc::new(write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?);
        let same = snapshot.metadata == self.tip.snapshot().metadata;
        self.tip = Tip::new(self.tip.store.clone(), Some(snapshot), now);
        Ok(same)
    }

    fn body(&self, batch: &[DeadLetterRow], decoded: &Decoded) -> CommitBody {
        let now = self.clock.wall_ms();
        let tried = |partition: u32| {
            self.standing(&self.sources[partition as usize]).map_or(Offset(0), |standing| standing.tried)
        };
        let moves = replay::moves(batch, tried);
        let mut actions: Vec<Action> =
            moves.into_iter().map(|(partition, at)| create::txn(self.app_id(partition), at.0, now)).collect();
        let tag = DeadLettersTag { table_id: self.table.id.clone(), ranges: decoded.ranges.clone() };
        actions.extend(decoded.file.as_ref().map(|file| file.add(REPLAYED_TAG, &tag)));
        let parameters = Map::from_iter([("outputMode".to_owned(), Value::from("Append"))]);
        let description = Description {
            operation: "REPLAY DEAD LETTERS",
            parameters,
            replayed: decoded.ranges.clone(),
            ..Description::default()
        };
        CommitBody::new(&self.identity.writer, description, actions, &self.clock)
    }

    /// Takes the winner of our version over. False: what was decoded no longer fits.
    fn give_way(&mut self, winner: &Bytes) -> Result<bool> {
        let names = self.all_names();
        let (id, sources) = (&self.table.id, &self.sources);
        let takes_over = |of: &TopicPartition, name: &str| {
            IdentityTransfer::parse(name)
                .is_some_and(|identity_transfer| identity_transfer.is_from(id, &of.topic, &of.topic_id))
                || AppId::parse(name).is_some_and(|name| is_told_an_id(id, of, &name))
        };
        let stake = |name: &str| match names.contains(name) && !planted(Bug::ReplayIgnoresAnother) {
            true => Relation::Ours,
            false if sources.iter().any(|of| takes_over(of, name)) => Relation::Successor,
            false => Relation::Foreign,
        };
        match self.tip.apply_foreign_commit(winner, &stake)? {
            Verdict::Fenced(by) | Verdict::Transferred(by, _) => {
                let by = by.map_or_else(|| "an unknown writer".to_owned(), |writer| writer.to_string());
                let message = format!("table `{id}`: its dead letters are being replayed by {by}, too");
                Err(Error::new(ErrorKind::Fenced, message)
                    .remedy("what was committed stays: run it again once the other one has ended"))
            }
            Verdict::Reload => {
                let snapshot = self.tip.snapshot();
                self.schema = Arc::new(write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?);
                Ok(false)
            }
            _ => Ok(true),
        }
    }
}

/// The rows of a batch on their way into the table.
struct Rows<'a, 'b> {
    replay: &'a mut Replay<'b>,
    batch: &'a [DeadLetterRow],
    decoded: &'a Decoded,
    waits: FewTries,
}

impl Transaction for Rows<'_, '_> {
    /// With an error: the table is another one's. Without: it has changed.
    type Moved = Option<Error>;
    type Waits = FewTries;

    fn tip(&mut self) -> &mut Tip {
        &mut self.replay.tip
    }

    async fn body(&mut self) -> Result<CommitBody, Option<Error>> {
        fits(self.replay.is_at_the_tip().await)?;
        // The look may have taken its time, too.
        let now = self.replay.clock.boot();
        let is_old = |file: &DataFile| now.saturating_sub(file.begun) > FILE_AGE_MAX;
        if self.decoded.file.as_ref().is_some_and(is_old) {
            return Err(None);
        }
        Ok(self.replay.body(self.batch, self.decoded))
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), Option<Error>> {
        fits(self.replay.give_way(winner))
    }

    fn waits(&self) -> &FewTries {
        &self.waits
    }
}

fn fits(fits: Result<bool>) -> Result<(), Option<Error>> {
    match fits {
        Ok(true) => Ok(()),
        Ok(false) => Err(None),
        Err(error) => Err(Some(error)),
    }
}

/// What became of the commit of a batch.
enum Put {
    Landed,
    /// The table has changed, or is another one's: nothing of it is committed, nor will be.
    Orphan(Option<Error>),
}

fn moved_on(table: &Table) -> Error {
    let message = format!(
        "table `{}`: its dead letters were replayed by another process while this one was suspended",
        table.id
    );
    Error::new(ErrorKind::Fenced, message)
        .remedy("run it again: the table has the answer which dead letters are rows")
}

fn changed(dead_letters: &Store) -> Error {
    Error::new(
        ErrorKind::Disagree,
        format!("{}: a file of letters has changed while it was read", dead_letters.url),
    )
    .remedy("run it again")
}

/// What a batch of dead letters has become.
struct Decoded {
    /// `None` where none became a row, or nothing is to be committed.
    file: Option<DataFile>,
    ranges: Vec<OffsetRange>,
    failures: Vec<Failure>,
}

/// Refuses a table whose dead letters are somebody else's by now.
fn refuse_transferred(table: &Table, snapshot: &Snapshot) -> Result<()> {
    let own = snapshot.txns.keys().filter_map(|name| AppId::parse(name));
    let own = own.filter(|id| id.table_id == table.id && id.source.topic == table.topic);
    for id in own {
        let by = superseded(&table.id, &table.topic, &id.source.topic_id, &snapshot.txns);
        if let Some(by) = by.filter(|by| by.table_id != table.id) {
            return Err(Error::new(ErrorKind::Disagree, by.told()).remedy("replay under that id"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
