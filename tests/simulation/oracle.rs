//! Judges the table from its log and the broker's topic, at every version.
//!
//! It reads the log and the files with a small parser of its own, and shares
//! no code with what it judges.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::broker::{self, Broker, Content, PartitionLog};
use crate::dead_letters::DeadLetters;
use crate::log::Log;
use crate::store::SimStore;

/// Under which the table is written: the first, and after each identity transfer the other.
pub const TABLE_IDS: [&str; 2] = ["sim", "mis"];
pub const TOPIC: &str = "t";
pub const ROOT: &str = "table";
/// Where configs let dead letters go.
pub const DEAD_LETTER_ROOTS: [&str; 2] = ["letters", "letters2"];

/// What the table and its topic are called.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    pub table_ids: [&'static str; 2],
    pub topic: &'static str,
}

pub struct Oracle {
    names: Names,
    /// The table's own.
    pub log: Log,
    pub dead_letters: DeadLetters,
    /// The next offset by the partition's number (`broker::number`), as all that follows.
    pub txns: BTreeMap<i32, i64>,
    /// The highest one that a partition ever had: a person may move it back.
    reached: BTreeMap<i32, i64>,
    /// Where each dead letter is that a replay made a row.
    replayed: BTreeMap<(i32, i64), String>,
    /// How far replays have tried dead letters.
    replay_txns: BTreeMap<String, i64>,
    /// The table id that goes on with the offsets.
    pub table_id: &'static str,
    /// How often it changed.
    pub identity_transfers: usize,
    /// The id of the topic under which offsets stand.
    pub topic_id: Option<String>,
    /// Where each row is, or was until a user deleted it.
    rows: BTreeMap<(i32, i64), String>,
    /// Some config lets bad records go.
    pub may_skip: bool,
    /// Files of all tables that some version named.
    pub named: BTreeSet<Path>,
    columns: BTreeSet<String>,
    /// What another writer did after which nothing of ours may be committed.
    pub over: Option<String>,
    /// What was found to be wrong first.
    wrong: Option<String>,
    /// How far the store's changes were looked at.
    looked_at: u64,
    /// The first run may begin at the end instead of the beginning.
    latest: bool,
}

pub type Verdict<T = ()> = Result<T, String>;

/// What a commit says it settles of a partition.
struct Claim {
    start: i64,
    next: i64,
    rows: i64,
    skipped: i64,
    tombstones: i64,
    dead_letters: i64,
}

impl Oracle {
    pub fn new(latest: bool) -> Oracle {
        Oracle::of(Names { table_ids: TABLE_IDS, topic: TOPIC }, latest)
    }

    /// The judge of one table among several.
    pub fn of(names: Names, latest: bool) -> Oracle {
        Oracle {
            names,
            log: Log::new(ROOT),
            dead_letters: DeadLetters::default(),
            txns: BTreeMap::new(),
            reached: BTreeMap::new(),
            replayed: BTreeMap::new(),
            replay_txns: BTreeMap::new(),
            table_id: names.table_ids[0],
            identity_transfers: 0,
            topic_id: None,
            rows: BTreeMap::new(),
            may_skip: false,
            named: BTreeSet::new(),
            columns: BTreeSet::new(),
            over: None,
            wrong: None,
            looked_at: 0,
            latest,
        }
    }

    /// The logs of the table and of all places of dead letters.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        std::iter::once(&self.log).chain(&self.dead_letters.logs)
    }

    /// The log of the table, or of a place of dead letters.
    pub fn log_of(&mut self, root: &str) -> &mut Log {
        self.dead_letters.logs.iter_mut().find(|log| log.root == root).unwrap_or(&mut self.log)
    }

    /// Judges every version that is new. What was wrong once stays wrong.
    pub fn observe(&mut self, store: &SimStore, broker: &Broker) -> Verdict {
        let changes = store.changes();
        if self.wrong.is_none() && self.looked_at != changes {
            self.looked_at = changes;
            self.wrong = self.observe_what_is_new(store, broker).err();
        }
        self.wrong.clone().map_or(Ok(()), Err)
    }

    fn observe_what_is_new(&mut self, store: &SimStore, broker: &Broker) -> Verdict {
        // First: a dead letter stands before what settles it does.
        self.dead_letters.observe(store, broker, &self.rows, &mut self.named)?;
        while let Some(body) = self.log.take_in(store) {
            let version = self.log.len() - 1;
            self.version(&body, store, broker).map_err(|error| format!("version {version}: {error}"))?;
        }
        self.log.observe(store)
    }

    /// Judges the table when all is read: nothing is missing, nothing changed behind us.
    pub fn conclude(&mut self, store: &SimStore, broker: &Broker) -> Verdict {
        self.observe(store, broker)?;
        self.logs().try_for_each(|log| log.conclude(store))
    }

    /// What the table is to be written no more, nor read from this topic.
    pub fn is_over(&self, broker: &Broker) -> bool {
        self.over.is_some() || self.is_of_a_former_topic(broker)
    }

    /// The topic was created again, and nobody has adopted the new one.
    pub fn is_of_a_former_topic(&self, broker: &Broker) -> bool {
        broker.was_created_again() && !self.has_new_topic()
    }

    /// Whose dead letters are, of two topics of one name, may not be told: who cannot know stops.
    pub fn may_stop_over_dead_letters(&self) -> bool {
        self.has_new_topic() && self.dead_letters.were_rewritten
    }

    /// How far the table ever came in a topic; -1 where it never began.
    pub fn reached(&self, topic_id: &str, partition: i32) -> i64 {
        let number = broker::number(topic_id, partition);
        number.and_then(|number| self.reached.get(&number).copied()).unwrap_or(-1)
    }

    fn has_new_topic(&self) -> bool {
        self.topic_id.as_deref() == Some("B")
    }

    /// The logs of the topic that the table is of, by number.
    fn logs_read<'a>(&self, broker: &'a Broker) -> impl Iterator<Item = (i32, &'a PartitionLog)> {
        broker.logs(if self.has_new_topic() { "B" } else { "A" })
    }

    /// Records were deleted before they were committed: the partition stops there.
    pub fn is_out_of_reach(&self, broker: &Broker) -> bool {
        self.logs_read(broker).any(|(number, log)| self.txns.get(&number).is_some_and(|&txn| txn < log.low))
    }

    /// Every partition is committed to its end, but for those whose next records are gone.
    pub fn has_all(&self, broker: &Broker) -> Verdict {
        for (number, log) in self.logs_read(broker) {
            if self.txns.get(&number).is_some_and(|&txn| txn < log.low) {
                continue;
            }
            if self.txns.get(&number) != Some(&log.end()) {
                return Err(format!(
                    "partition {number} ends at {}, its txn is {:?}",
                    log.end(),
                    self.txns.get(&number)
                ));
            }
        }
        Ok(())
    }

    fn version(&mut self, body: &Bytes, store: &SimStore, broker: &Broker) -> Verdict {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        let parse = |line: &str| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"));
        let actions = text.lines().map(parse).collect::<Verdict<Vec<Value>>>()?;
        for schema in actions.iter().filter_map(|action| action.pointer("/metaData/schemaString")) {
            self.columns = columns_of(schema)?;
        }
        if !actions.iter().any(|action| action.pointer("/commitInfo/thalweg").is_some()) {
            return self.of_another(&actions);
        }
        if let Some(over) = &self.over {
            return Err(format!("a commit of ours after {over}"));
        }
        let mut moved = BTreeMap::new();
        let mut claims: BTreeMap<i32, Vec<Claim>> = BTreeMap::new();
        let (mut rows, mut dead_letters) = (BTreeMap::new(), BTreeMap::new());
        let mut offset_overrides = BTreeMap::new();
        let app_ids = || actions.iter().filter_map(|action| action.pointer("/txn/appId")?.as_str());
        let identity_transfer = app_ids().find_map(|app_id| identity_transfer_of(app_id, self.names.topic));
        let is_identity_transfer = identity_transfer.is_some();
        self.transferred(identity_transfer)?;
        for action in &actions {
            if let Some(txn) = action.get("txn") {
                let app_id = txn["appId"].as_str().ok_or("a txn without appId")?;
                offset_overrides.extend(offset_override_of(app_id));
                self.replay_txn(app_id, txn)?;
                if let Some((table_id, topic, topic_id, partition)) = source_of(app_id) {
                    if topic != self.names.topic {
                        return Err(format!("{app_id} is of another table's topic"));
                    }
                    if table_id != self.table_id {
                        return Err(format!("{app_id} moves, and {} took it over", self.table_id));
                    }
                    self.is_of_the_topic(topic_id)?;
                    let next = txn["version"].as_i64().ok_or("a txn without version")?;
                    let partition = broker::number(topic_id, partition).ok_or("a topic that never was")?;
                    if moved.insert(partition, next).is_some() {
                        return Err(format!("partition {partition} moves twice"));
                    }
                }
            }
            if let Some(ranges) = action.pointer("/commitInfo/thalweg/ranges") {
                claims = claims_of(ranges)?;
            }
            if let Some(add) = action.get("add") {
                let is_replay = add.pointer("/tags/thalweg.replayed").is_some();
                self.add(add, store, broker, if is_replay { &mut dead_letters } else { &mut rows })?;
            }
            if action.get("remove").is_some() {
                return Err("a commit of ours removes a file".to_owned());
            }
        }
        let is_left = |of: &i32| !moved.contains_key(of);
        let all_begin = self.has_new_topic() && self.txns.is_empty();
        let left_behind = self.txns.keys().any(is_left)
            || (all_begin && self.logs_read(broker).any(|(number, _)| is_left(&number)));
        if is_identity_transfer && (!rows.is_empty() || left_behind) {
            return Err(format!("a handover brings rows, or leaves partitions behind: {moved:?}"));
        }
        self.offset_override(&offset_overrides, &moved, &rows, broker)?;
        moved.retain(|partition, _| !offset_overrides.contains_key(partition));
        self.resolve(&moved, &mut claims, &rows, broker)?;
        for (&partition, &next) in &self.txns {
            let reached = self.reached.entry(partition).or_insert(next);
            *reached = next.max(*reached);
        }
        dead_letters.into_iter().try_for_each(|(at, row)| self.replay(at, row, broker))?;
        for (at, path) in rows.into_iter().map(|(at, (_, path))| (at, path)) {
            if let Some(dead_letter) = self.dead_letters.at.get(&at) {
                return Err(format!("{at:?} is a row in {path} and a dead letter in {dead_letter}"));
            }
            if let Some(before) = self.rows.insert(at, path.clone()) {
                return Err(format!("{at:?} is in {before} and in {path}"));
            }
        }
        Ok(())
    }

    /// Who goes on takes over from who went on until now, and from nobody else.
    fn transferred(&mut self, identity_transfer: Option<IdentityTransfer<'_>>) -> Verdict {
        let Some(IdentityTransfer { to, from }) = identity_transfer else { return Ok(()) };
        let went_on = (self.table_id, self.topic_id.as_deref().unwrap_or_default());
        let known =
            self.names.table_ids.into_iter().find(|id| *id == to.0).filter(|_| to != from && from == went_on);
        let Some(table_id) = known else {
            return Err(format!("{from:?} is handed over to {to:?}, and {went_on:?} went on"));
        };
        // A topic that was created again is begun anew.
        if to.1 == "B" && from.1 != "B" {
            self.txns.clear();
            self.topic_id = Some(to.1.to_owned());
        }
        (self.table_id, self.identity_transfers) = (table_id, self.identity_transfers + 1);
        Ok(())
    }

    /// A person moved partitions: from where they stood, and nothing else is in the commit. Back, what is
    /// read again becomes rows once more; forward, nobody asks for what lies between.
    fn offset_override(
        &mut self,
        offset_overrides: &BTreeMap<i32, (i64, i64)>,
        moved: &BTreeMap<i32, i64>,
        rows: &BTreeMap<(i32, i64), (i64, String)>,
        broker: &Broker,
    ) -> Verdict {
        if !offset_overrides.is_empty() && !rows.is_empty() {
            return Err("a move by hand brings rows".to_owned());
        }
        for (&partition, &(from, to)) in offset_overrides {
            let log = broker.log(partition).ok_or("a partition that does not exist")?;
            let stood = self.txns.get(&partition).copied();
            if stood.is_some_and(|stood| stood != from) || moved.get(&partition) != Some(&to) {
                return Err(format!(
                    "partition {partition} jumps from {from} to {to}: it stood at {stood:?} and goes to {:?}",
                    moved.get(&partition)
                ));
            }
            if !(log.first..=log.end()).contains(&to) {
                return Err(format!("partition {partition} jumps to {to}, which the topic has not"));
            }
            self.rows.retain(|&(of, offset), _| of != partition || !(to..from).contains(&offset));
            self.txns.insert(partition, to);
        }
        Ok(())
    }

    /// What replays have tried only grows.
    fn replay_txn(&mut self, app_id: &str, txn: &Value) -> Verdict {
        let (true, Some(next)) = (app_id.starts_with("thalweg-replay/"), txn["version"].as_i64()) else {
            return Ok(());
        };
        match self.replay_txns.insert(app_id.to_owned(), next) {
            Some(before) if next < before => Err(format!("{app_id} goes back from {before} to {next}")),
            _ => Ok(()),
        }
    }

    /// A replayed row is a dead letter's, with its id, and no other row is.
    fn replay(&mut self, at: (i32, i64), (id, path): (i64, String), broker: &Broker) -> Verdict {
        let content = broker.content(at);
        if !matches!(content, Some(Content::Doubtful(expected)) if expected == id) {
            return Err(format!("the replayed {at:?} in {path} has id {id}, the topic {content:?}"));
        }
        if !self.dead_letters.at.contains_key(&at) {
            return Err(format!("{at:?} in {path} is replayed and no dead letter"));
        }
        if self.reached.get(&at.0).is_none_or(|&reached| at.1 >= reached) {
            return Err(format!("{at:?} in {path} is replayed before it is settled"));
        }
        match self.replayed.insert(at, path.clone()) {
            Some(before) => Err(format!("the letter {at:?} is a row in {before} and in {path}")),
            None => Ok(()),
        }
    }

    /// Offsets stand under one topic id for good; from no id they go over to one.
    fn is_of_the_topic(&mut self, topic_id: &str) -> Verdict {
        match self.topic_id.as_deref() {
            Some("B") if topic_id == "B" => Ok(()),
            Some("B") => Err(format!("offsets of the topic {topic_id}, and the new one was adopted")),
            _ if !["-", "A"].contains(&topic_id) => {
                Err(format!("offsets of the topic {topic_id}, which is another one"))
            }
            Some("A") if topic_id == "-" => {
                Err("offsets without a topic id after they went over to one".to_owned())
            }
            _ => {
                self.topic_id = Some(topic_id.to_owned());
                Ok(())
            }
        }
    }

    /// Takes another writer's commit as it is.
    fn of_another(&mut self, actions: &[Value]) -> Verdict {
        for action in actions {
            if let Some(operation) = action.pointer("/commitInfo/operation").filter(|name| *name == "RESTORE")
            {
                self.over = Some(operation.to_string());
            }
            if action.get("futureAction").is_some() {
                self.over = Some("an action that nobody knows".to_owned());
            }
            if let Some(path) = action.pointer("/remove/path").and_then(Value::as_str) {
                self.log.files.remove(path);
            }
            if let Some(add) = action.get("add") {
                let path = add["path"].as_str().ok_or("an add without path")?.to_owned();
                self.named.insert(Path::from(format!("{ROOT}/{path}")));
                self.log.files.insert(path, add["size"].as_u64().ok_or("an add without size")?);
            }
        }
        Ok(())
    }

    /// A file must be there, whole, and new.
    fn add(
        &mut self,
        add: &Value,
        store: &SimStore,
        broker: &Broker,
        rows: &mut BTreeMap<(i32, i64), (i64, String)>,
    ) -> Verdict {
        let path = add["path"].as_str().ok_or("an add without path")?;
        let place = Path::from(format!("{ROOT}/{path}"));
        let bytes = store.look(&place).ok_or_else(|| format!("{path} is added and does not exist"))?;
        if !self.named.insert(place) {
            return Err(format!("{path} is added twice"));
        }
        if add["size"].as_u64() != Some(bytes.len() as u64) {
            return Err(format!("{path} has {} bytes, the log says {}", bytes.len(), add["size"]));
        }
        self.log.files.insert(path.to_owned(), bytes.len() as u64);
        if let Some(column) = columns_in(bytes.clone())?.difference(&self.columns).next() {
            return Err(format!("{path} has the column {column}, the table has not"));
        }
        let found = read(bytes).map_err(|error| format!("{path}: {error}"))?;
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap_or("{}")).unwrap_or_default();
        if stats["numRecords"].as_u64() != Some(found.len() as u64) {
            return Err(format!("{path} has {} rows, its stats say {}", found.len(), stats["numRecords"]));
        }
        for (partition, offset, id) in found {
            let of_table = broker::number(if self.has_new_topic() { "B" } else { "A" }, partition);
            let number = broker.number_of_row(partition, offset, id).or(of_table);
            let partition = number.expect("these topics are known");
            if rows.insert((partition, offset), (id, path.to_owned())).is_some() {
                return Err(format!("({partition}, {offset}) stands twice in one commit"));
            }
        }
        Ok(())
    }

    fn resolve(
        &mut self,
        moved: &BTreeMap<i32, i64>,
        claims: &mut BTreeMap<i32, Vec<Claim>>,
        rows: &BTreeMap<(i32, i64), (i64, String)>,
        broker: &Broker,
    ) -> Verdict {
        // Only the first run may begin at the end.
        let may_be_late = self.latest && self.txns.is_empty() && !self.has_new_topic();
        for (&partition, &next) in moved {
            let log = broker.log(partition).ok_or("a partition that does not exist")?;
            if next > log.end() {
                return Err(format!("partition {partition} moves to {next}, beyond its end {}", log.end()));
            }
            let Some(&start) = self.txns.get(&partition) else {
                // Of a topic that is gone by now it matters to nobody.
                let matters = !may_be_late && !self.is_of_a_former_topic(broker);
                if matters && !(log.first..=log.low).contains(&next) {
                    return Err(format!("partition {partition} is anchored at {next}, not at {}", log.low));
                }
                self.txns.insert(partition, next);
                if rows.keys().any(|&(of, _)| of == partition) {
                    return Err(format!("partition {partition} has rows in the commit of its anchor"));
                }
                continue;
            };
            // Whoever takes over claims: every offset moves to where it stands.
            let is_claim = next == start && !rows.keys().any(|&(of, _)| of == partition);
            if is_claim && claims.get(&partition).is_none_or(Vec::is_empty) {
                continue;
            }
            if next <= start {
                return Err(format!("partition {partition} moves from {start} to {next}"));
            }
            let counts = resolved(partition, start, next, rows, broker)?;
            let mut claims = claims.remove(&partition).unwrap_or_default();
            chained(partition, start, next, counts, &mut claims)?;
            self.bad_records_are_somewhere(partition, start, next, rows, broker, &claims)?;
            self.txns.insert(partition, next);
        }
        if let Some((partition, claims)) = claims.iter().find(|(_, claims)| !claims.is_empty()) {
            return Err(format!("{} ranges of partition {partition} without a txn", claims.len()));
        }
        match rows.keys().find(|(partition, _)| !moved.contains_key(partition)) {
            Some(at) => Err(format!("the row {at:?} comes without a txn")),
            None => Ok(()),
        }
    }
}

impl Oracle {
    /// What is settled and no row is a dead letter, or was skipped by a config that lets it go.
    fn bad_records_are_somewhere(
        &self,
        partition: i32,
        start: i64,
        next: i64,
        rows: &BTreeMap<(i32, i64), (i64, String)>,
        broker: &Broker,
        claims: &[Claim],
    ) -> Verdict {
        let log = broker.log(partition).ok_or("a partition that does not exist")?;
        let nowhere = (start..next).filter(|&offset| {
            let at = (partition, offset);
            log.at(offset).is_some_and(|entry| {
                !entry.compacted && matches!(entry.content, Content::Malformed | Content::Doubtful(_))
            }) && !rows.contains_key(&at)
                && !self.dead_letters.at.contains_key(&at)
        });
        let nowhere: Vec<i64> = nowhere.collect();
        let skipped: i64 = claims.iter().map(|claim| claim.skipped).sum();
        if nowhere.len() as i64 > skipped || (skipped > 0 && !self.may_skip) {
            return Err(format!(
                "partition {partition}: {nowhere:?} of {start}..{next} are neither rows nor dead letters, {skipped} skipped"
            ));
        }
        let dead_letters = self.dead_letters.at.range((partition, start)..(partition, next)).count() as i64;
        let counted: i64 = claims.iter().map(|claim| claim.dead_letters).sum();
        if counted > dead_letters {
            return Err(format!(
                "{start}..{next} of partition {partition} counts {counted} dead letters of {dead_letters}"
            ));
        }
        Ok(())
    }
}

/// Every offset of `[start, next)` that is a row is there, with its id, and
/// no other row of the partition is. Returns how many rows there are.
fn resolved(
    partition: i32,
    start: i64,
    next: i64,
    rows: &BTreeMap<(i32, i64), (i64, String)>,
    broker: &Broker,
) -> Verdict<i64> {
    let log = broker.log(partition).ok_or("a partition that does not exist")?;
    let mut found = 0;
    for (&(_, offset), (id, path)) in rows.range((partition, i64::MIN)..=(partition, i64::MAX)) {
        if !(start..next).contains(&offset) {
            return Err(format!("({partition}, {offset}) in {path} lies outside {start}..{next}"));
        }
        match log.at(offset).map(|entry| entry.content) {
            Some(Content::Row(expected) | Content::Doubtful(expected)) if expected == *id => found += 1,
            other => {
                return Err(format!("({partition}, {offset}) in {path} has id {id}, the topic {other:?}"));
            }
        }
    }
    for offset in start..next {
        let missing = log.at(offset).is_some_and(|entry| {
            matches!(entry.content, Content::Row(_))
                && !entry.compacted
                && !rows.contains_key(&(partition, offset))
        });
        if missing {
            return Err(format!("({partition}, {offset}) is settled by {start}..{next} and is no row"));
        }
    }
    Ok(found)
}

/// The ranges that a commit names lead from `start` to `next` and count its rows.
fn chained(partition: i32, start: i64, next: i64, rows: i64, claims: &mut [Claim]) -> Verdict {
    claims.sort_by_key(|claim| claim.start);
    let mut at = start;
    let mut counted = 0;
    for claim in claims {
        if claim.start != at {
            return Err(format!("a range of partition {partition} starts at {}, not at {at}", claim.start));
        }
        if claim.rows + claim.skipped + claim.tombstones + claim.dead_letters > claim.next - claim.start {
            return Err(format!("a range of partition {partition} counts more than it holds"));
        }
        at = claim.next;
        counted += claim.rows;
    }
    if at != next {
        return Err(format!("the ranges of partition {partition} end at {at}, its txn at {next}"));
    }
    if counted != rows {
        return Err(format!("partition {partition} has {rows} rows, its ranges say {counted}"));
    }
    Ok(())
}

fn claims_of(ranges: &Value) -> Verdict<BTreeMap<i32, Vec<Claim>>> {
    let mut claims: BTreeMap<i32, Vec<Claim>> = BTreeMap::new();
    for range in ranges.as_array().ok_or("ranges are no list")? {
        let number = |key: &str| range[key].as_i64().ok_or_else(|| format!("a range without {key}"));
        let topic_id = range["topic_id"].as_str().ok_or("a range without topic")?;
        let partition = broker::number(topic_id, number("partition")? as i32);
        claims.entry(partition.ok_or("a range of no topic")?).or_default().push(Claim {
            start: number("start")?,
            next: number("next")?,
            rows: number("rows")?,
            skipped: number("skipped")?,
            tombstones: number("tombstones")?,
            dead_letters: number("dead_letters")?,
        });
    }
    Ok(claims)
}

/// Table id, topic, topic id and partition of a next offset.
fn source_of(app_id: &str) -> Option<(&str, &str, &str, i32)> {
    let ["thalweg", table_id, topic, topic_id, partition] = app_id.split('/').collect::<Vec<_>>()[..] else {
        return None;
    };
    Some((table_id, topic, topic_id, partition.parse().ok()?))
}

/// The partition that a person moved, from where and to where.
fn offset_override_of(app_id: &str) -> Option<(i32, (i64, i64))> {
    let (source, offsets) = app_id.strip_prefix("thalweg/gap/")?.rsplit_once('/')?;
    let (source, partition) = source.rsplit_once('/')?;
    let (_, topic_id) = source.rsplit_once('/')?;
    let (from, to) = offsets.split_once('-')?;
    let number = broker::number(topic_id, partition.parse().ok()?)?;
    Some((number, (from.parse().ok()?, to.parse().ok()?)))
}

/// Who takes over, and from whom: table id and topic id.
struct IdentityTransfer<'a> {
    to: (&'a str, &'a str),
    from: (&'a str, &'a str),
}

fn identity_transfer_of<'a>(app_id: &'a str, topic: &str) -> Option<IdentityTransfer<'a>> {
    let ["thalweg", "adopt", to, of, to_topic, from, from_topic] = app_id.split('/').collect::<Vec<_>>()[..]
    else {
        return None;
    };
    (of == topic).then_some(IdentityTransfer { to: (to, to_topic), from: (from, from_topic) })
}

/// The names of a Delta schema's columns.
fn columns_of(schema: &Value) -> Verdict<BTreeSet<String>> {
    let text = schema.as_str().ok_or("a schema that is no string")?;
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let fields = schema["fields"].as_array().ok_or("a schema without fields")?;
    Ok(fields.iter().filter_map(|field| field["name"].as_str()).map(str::to_owned).collect())
}

fn columns_in(bytes: Bytes) -> Verdict<BTreeSet<String>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    Ok(builder.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// Partition, offset and id of every row.
pub fn read(bytes: Bytes) -> Verdict<Vec<(i32, i64, i64)>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.build())
        .map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
        let ids = column("id")?.as_primitive::<Int64Type>();
        let partitions = column("_partition")?.as_primitive::<Int32Type>();
        let offsets = column("_offset")?.as_primitive::<Int64Type>();
        rows.extend(
            (0..batch.num_rows()).map(|row| (partitions.value(row), offsets.value(row), ids.value(row))),
        );
    }
    Ok(rows)
}
