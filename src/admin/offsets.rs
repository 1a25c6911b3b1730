//! Where partitions stand, and overriding their offsets.
//!
//! It owns the look at a table and its topic, and the commit of a move. What a
//! move means, and what must be said for it, is `protocol::offsets`.
//!
//! A move is decided from the table as it is, and put at the version after
//! it: if anybody commits in between, it is decided anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::warn;

use super::identity;
use crate::audit::places::rows_end;
use crate::clock::SharedClock;
use crate::config::{Config, Start, Table};
use crate::delta::commit_body::{CommitBody, Description};
use crate::delta::create;
use crate::delta::log::{self, Snapshot};
use crate::delta::since;
use crate::delta::transaction::{self, Beaten, FewTries, Outcome, Tip, Transaction};
use crate::delta::write_compatibility;
use crate::delta_sink::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition, TopicId, Version};
use crate::protocol::anchor::{self, TableFacts, Watermarks};
use crate::protocol::app_id::{AppId, IdentityTransfer, OffsetOverride};
use crate::protocol::lineage;
use crate::protocol::offsets::{self, Consent, Decision, Facts, To, Wish};
use crate::protocol::planted::{Bug, planted};
use crate::protocol::verdict::Relation;
use crate::source::catalog::{Catalog, Topic};
use crate::status::lag;
use crate::stores::store::Store;

/// Where to, as a person says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Earliest,
    Latest,
    /// The first record at or after this, milliseconds since the epoch.
    Time(i64),
    Offset(Offset),
    /// The first record that is left, where the next ones were deleted by retention.
    PastLost,
}

/// Which move is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `None`: stay, which makes sense for what is adopted.
    pub to: Option<Target>,
    /// None of them: all.
    pub partitions: BTreeSet<Partition>,
    pub adopt: bool,
}

/// What a move comes to: shown before it is made, and after.
#[derive(Debug)]
pub struct Moved {
    pub decision: Decision,
    /// The version that holds it; `None` where nothing was committed.
    pub version: Option<Version>,
}

/// A table and its topic as they are now.
struct SeenOffsets {
    tip: Tip,
    facts: TableFacts,
    watermarks: BTreeMap<Partition, Watermarks>,
    rows_end: Option<BTreeMap<Partition, Offset>>,
}

/// What a move would do now. Nothing is changed.
pub async fn look_ahead(
    table: &Table,
    catalog: &Catalog,
    asked: &Asked,
    clock: &SharedClock,
) -> Result<Moved> {
    let store = Store::open(&table.location, &table.storage_options)?;
    let topic = catalog.topic(&table.topic)?;
    let watermarks = || catalog.watermarks(&topic, asked.start());
    let seen = look(&store, &topic, asked, watermarks, clock).await?;
    let decision = seen.decide(table, &topic, &asked.wish(&seen.watermarks))?;
    Ok(Moved { decision, version: None })
}

/// Makes the move, if it is consented to.
pub async fn set(
    table: &Table,
    catalog: &Catalog,
    asked: &Asked,
    consent: Consent,
    clock: &SharedClock,
) -> Result<Moved> {
    let store = Store::open(&table.location, &table.storage_options)?;
    let topic = catalog.topic(&table.topic)?;
    let watermarks = || {
        let watermarks = catalog.watermarks(&topic, asked.start())?;
        still_the_same(&topic, &catalog.topic(&table.topic)?)?;
        Ok(watermarks)
    };
    set_in(&store, table, &topic, watermarks, asked, consent, clock).await
}

/// The same in a store that is open, of a topic that is known. `watermarks` are asked for after each look
/// at the table, with [`Asked::start`].
pub async fn set_in(
    store: &Store,
    table: &Table,
    topic: &Topic,
    watermarks: impl Fn() -> Result<BTreeMap<Partition, Watermarks>>,
    asked: &Asked,
    consent: Consent,
    clock: &SharedClock,
) -> Result<Moved> {
    loop {
        let mut seen = look(store, topic, asked, &watermarks, clock).await?;
        let decision = seen.decide(table, topic, &asked.wish(&seen.watermarks))?;
        decision.permit(consent)?;
        if decision.txns.is_empty() {
            return Ok(Moved { decision, version: None });
        }
        let outcome = commit(&mut seen.tip, table, &decision, clock).await?;
        let version = Some(seen.tip.snapshot().version);
        match outcome {
            Outcome::Landed { .. } => return Ok(Moved { decision, version }),
            Outcome::Unsure if stands(store, &decision).await? => return Ok(Moved { decision, version }),
            // Somebody else committed meanwhile.
            Outcome::Moved(Beaten) | Outcome::Unsure => {}
        }
    }
}

/// The watermarks are those of the topic whose offsets are moved.
fn still_the_same(before: &Topic, now: &Topic) -> Result<()> {
    if before.id == now.id {
        return Ok(());
    }
    let message = format!("topic `{}` was created again just now: its id is {}", now.name, now.id);
    Err(Error::new(ErrorKind::Disagree, message).remedy("look with `thalweg offsets show`"))
}

/// Whether the table as it is now holds the move.
async fn stands(store: &Store, decision: &Decision) -> Result<bool> {
    let Some(snapshot) = log::load(store).await? else { return Ok(false) };
    // An offset may have been read on from since; an entry only counts up.
    let entries = decision.txns.iter();
    let mut entries = entries.filter(|(name, _)| AppId::parse(name).is_none() || decision.is_plain());
    Ok(entries.all(|(name, version)| snapshot.txns.get(name).is_some_and(|now| now >= version)))
}

/// Lets every partition of the tables go on whose next records were deleted by retention.
/// What else keeps a table from starting is said by the start.
pub async fn pass_lost(config: &Config, catalog: &Catalog, clock: &SharedClock) -> Vec<(String, Moved)> {
    let consent = Consent { loss: true, duplicates: false };
    let mut all = Vec::new();
    let asked = Asked { to: Some(Target::PastLost), ..Asked::default() };
    for table in &config.tables {
        match pass_lost_of(table, catalog, &asked, consent, clock).await {
            Ok(moved) => all.extend(moved.map(|moved| (table.id.clone(), moved))),
            Err(error) if error.kind == ErrorKind::Disagree => {}
            // It keeps no other table from starting; its own start says it again, or goes on where it left off.
            Err(error) => {
                warn!(table = table.id, %error, remedy = error.remedy, "what is lost was not passed")
            }
        }
    }
    all
}

/// `None`: there is nothing to pass yet.
async fn pass_lost_of(
    table: &Table,
    catalog: &Catalog,
    asked: &Asked,
    consent: Consent,
    clock: &SharedClock,
) -> Result<Option<Moved>> {
    let store = Store::open(&table.location, &table.storage_options)?;
    if catalog.find(&table.topic)?.is_none() || log::load(&store).await?.is_none() {
        return Ok(None);
    }
    set(table, catalog, asked, consent, clock).await.map(Some)
}

impl Asked {
    fn wish(&self, watermarks: &BTreeMap<Partition, Watermarks>) -> Wish {
        let target = match self.to {
            None => return Wish { to: To::Stay, adopt: self.adopt },
            Some(Target::PastLost) => return Wish { to: To::PastLost, adopt: self.adopt },
            Some(target) => target,
        };
        let named = self.partitions.iter().copied();
        let all = watermarks.keys().copied().filter(|_| self.partitions.is_empty());
        let offset = |partition: &Partition| {
            let marks = watermarks.get(partition);
            match target {
                Target::Offset(offset) => offset,
                Target::Earliest | Target::PastLost => marks.map_or(Offset(0), |marks| marks.low),
                Target::Latest => marks.map_or(Offset(0), |marks| marks.end),
                // The watermarks were asked for with this time.
                Target::Time(_) => marks.map_or(Offset(0), |marks| marks.first_run),
            }
        };
        let offsets = named.chain(all).map(|partition| (partition, offset(&partition))).collect();
        Wish { to: To::Offsets(offsets), adopt: self.adopt }
    }

    /// What the watermarks are to tell besides: where a time lies.
    pub fn start(&self) -> Start {
        match self.to {
            Some(Target::Time(ms)) => Start::Time(ms),
            Some(Target::Latest) => Start::Latest,
            _ => Start::Earliest,
        }
    }
}

/// The table first: an instance that commits meanwhile has then not read beyond the end that is seen.
async fn look(
    store: &Store,
    topic: &Topic,
    asked: &Asked,
    watermarks: impl Fn() -> Result<BTreeMap<Partition, Watermarks>>,
    clock: &SharedClock,
) -> Result<SeenOffsets> {
    let tip = Tip::load(store, clock).await?;
    if !tip.exists() {
        return Err(Error::new(ErrorKind::Unavailable, format!("{}: there is no table yet", store.url))
            .remedy("`start` in the config says where its first run begins"));
    }
    let snapshot = tip.snapshot();
    let schema = write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?;
    refuse_replaced(store, snapshot).await?;
    let facts = snapshot.facts(write_compatibility::has_offset_columns(&schema));
    let watermarks = watermarks()?;
    let known: BTreeSet<String> =
        facts.txns.keys().filter_map(|name| AppId::parse(name)).map(|id| id.source.topic).collect();
    let only_rows = asked.adopt && facts.may_hold_our_rows && !known.contains(&topic.name);
    let rows_end = match only_rows {
        true => Some(rows_end(store, &topic.name, &topic.id, !known.is_empty()).await?),
        false => None,
    };
    Ok(SeenOffsets { tip, facts, watermarks, rows_end })
}

/// A commit of ours would hide from the next start that rows were taken away, also those of partitions
/// that are not moved.
async fn refuse_replaced(store: &Store, snapshot: &Snapshot) -> Result<()> {
    let ids = snapshot.txns.keys().filter_map(|name| AppId::parse(name)).map(|id| id.table_id);
    for table_id in ids.collect::<BTreeSet<_>>() {
        since::not_replaced(store, snapshot, &table_id).await?;
    }
    Ok(())
}

impl SeenOffsets {
    fn decide(&self, table: &Table, topic: &Topic, wish: &Wish) -> Result<Decision> {
        let facts = Facts {
            table_id: &table.id,
            topic: &topic.name,
            topic_id: &topic.id,
            table: &self.facts,
            rows_end: self.rows_end.as_ref(),
            watermarks: &self.watermarks,
        };
        offsets::decide(&facts, wish)
    }
}

/// Commits a move that was decided from the table as it is at its tip.
async fn commit(
    tip: &mut Tip,
    table: &Table,
    decision: &Decision,
    clock: &SharedClock,
) -> Result<Outcome<Beaten>> {
    let (identity, waits) = (identity(table, clock), FewTries::default());
    let outcome = transaction::commit(&mut Override { tip, identity, decision, clock, waits }, clock).await;
    outcome.map_err(|error| {
        error.remedy("whether the offsets were moved is not known: look with `thalweg offsets show`")
    })
}

/// The commit of a move.
struct Override<'a> {
    tip: &'a mut Tip,
    identity: Identity,
    decision: &'a Decision,
    clock: &'a SharedClock,
    waits: FewTries,
}

impl Transaction for Override<'_> {
    type Moved = Beaten;
    type Waits = FewTries;

    fn tip(&mut self) -> &mut Tip {
        self.tip
    }

    async fn body(&mut self) -> Result<CommitBody, Beaten> {
        let Override { decision, clock, identity, .. } = self;
        let now = clock.wall_ms();
        let actions =
            decision.txns.iter().map(|(name, &version)| create::txn(name.clone(), version, now)).collect();
        let moves: Vec<String> = decision.moves.iter().map(told_of).collect();
        let parameters = Map::from_iter([
            ("tableId".to_owned(), Value::from(identity.table_id.as_str())),
            ("moves".to_owned(), Value::from(moves.join(", "))),
        ]);
        let operation = if decision.identity_transfers.is_empty() { "SET OFFSETS" } else { "ADOPT OFFSETS" };
        let description = Description { operation, parameters, ..Description::default() };
        Ok(CommitBody::new(&identity.writer, description, actions, clock))
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), Beaten> {
        if planted(Bug::MovesFromAnOldLook) {
            let _ = self.tip.apply_foreign_commit(winner, &|_: &str| Relation::Foreign);
            return Ok(());
        }
        Err(Beaten)
    }

    fn waits(&self) -> &FewTries {
        &self.waits
    }
}

/// `orders [0]: 20 -> 30`
fn told_of(one: &offsets::Move) -> String {
    let from = one.from.map_or("-".to_owned(), |from| from.to_string());
    format!("{}: {from} -> {}", one.source, one.to)
}

/// Where a table stands.
#[derive(Debug, Serialize)]
pub struct Standing {
    pub table_id: String,
    pub topic: String,
    /// As the broker tells it, else as the table knows it.
    pub topic_id: TopicId,
    pub location: String,
    /// `None`: there is no table yet.
    pub version: Option<Version>,
    /// Why the broker was not asked.
    pub broker: Option<String>,
    pub partitions: Vec<PartitionStanding>,
    /// What keeps a run from going on, and what to do about it.
    pub trouble: Option<String>,
    pub remedy: Option<String>,
    pub offset_overrides: Vec<OffsetOverrideStanding>,
    /// A sentence each.
    pub identity_transfers: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct PartitionStanding {
    pub partition: Partition,
    /// The next offset to read; `None` where the table has none yet.
    pub next: Option<Offset>,
    pub low: Option<Offset>,
    /// The last stable offset.
    pub end: Option<Offset>,
    pub lag: Option<i64>,
    /// `ok`, `stopped` where the table's `trouble` says why, or what keeps this partition from being read.
    pub state: String,
}

#[derive(Debug, Serialize)]
pub struct OffsetOverrideStanding {
    pub topic_id: TopicId,
    pub partition: Partition,
    pub from: Offset,
    pub to: Offset,
    pub times: i64,
    /// `given up` or `read again`.
    pub kind: &'static str,
}

/// Where a table's partitions stand; `catalog` is what there is of the broker.
pub async fn show(table: &Table, catalog: Result<&Catalog, &Error>) -> Result<Standing> {
    let store = Store::open(&table.location, &table.storage_options)?;
    let snapshot = log::load(&store).await?;
    let asked = catalog.map_err(Error::clone).and_then(|catalog| {
        let topic = catalog.topic(&table.topic)?;
        let watermarks = catalog.watermarks(&topic, table.start)?;
        Ok((topic, watermarks))
    });
    let (topic, watermarks, broker) = match asked {
        Ok((topic, watermarks)) => (Some(topic), watermarks, None),
        Err(error) => (None, BTreeMap::new(), Some(error.message)),
    };
    let txns = snapshot.as_ref().map(|snapshot| snapshot.txns.clone()).unwrap_or_default();
    let told = topic.as_ref().map_or_else(TopicId::unknown, |topic| topic.id.clone());
    let topic_id = anchor::goes_on(&table.id, &table.topic, &told, &txns);
    let known = lineage::offsets(&table.id, &table.topic, &topic_id, &txns);
    let mut standing = Standing {
        table_id: table.id.clone(),
        topic: table.topic.clone(),
        topic_id,
        location: store.url.to_string(),
        version: snapshot.as_ref().map(|snapshot| snapshot.version),
        broker,
        partitions: Vec::new(),
        trouble: None,
        remedy: None,
        offset_overrides: offset_overrides(&table.id, &table.topic, &txns),
        identity_transfers: txns
            .keys()
            .filter_map(|name| IdentityTransfer::parse(name))
            .map(|of| of.told())
            .collect(),
    };
    let mut stopped = BTreeMap::new();
    if let (Some(topic), Some(snapshot)) = (&topic, &snapshot) {
        let planned = write_compatibility::check(&snapshot.protocol, &snapshot.metadata).and_then(|schema| {
            let facts = snapshot.facts(write_compatibility::has_offset_columns(&schema));
            anchor::plan(&table.id, &topic.name, &topic.id, &facts, &watermarks)
        });
        match planned {
            Ok(plan) => {
                stopped.extend(plan.stopped.into_iter().map(|(partition, error)| (partition, error.message)))
            }
            Err(error) => (standing.trouble, standing.remedy) = (Some(error.message), error.remedy),
        }
    }
    let partitions: BTreeSet<Partition> = watermarks.keys().chain(known.keys()).copied().collect();
    for partition in partitions {
        let (next, marks) = (known.get(&partition).copied(), watermarks.get(&partition));
        let state = match stopped.remove(&partition) {
            Some(why) => why,
            // The table's trouble is told once, with its remedy.
            None if standing.trouble.is_some() => "stopped".to_owned(),
            None if next.is_none() => "not begun".to_owned(),
            None if marks.is_none() && topic.is_some() => "the topic has no such partition".to_owned(),
            None if marks.is_none() => "not asked".to_owned(),
            None => "ok".to_owned(),
        };
        standing.partitions.push(PartitionStanding {
            partition,
            next,
            low: marks.map(|marks| marks.low),
            end: marks.map(|marks| marks.end),
            lag: next.zip(marks).map(|(next, marks)| lag(marks.end, next)),
            state,
        });
    }
    Ok(standing)
}

fn offset_overrides(
    table_id: &str,
    topic: &str,
    txns: &BTreeMap<String, i64>,
) -> Vec<OffsetOverrideStanding> {
    let all = txns.iter().filter_map(|(name, &times)| Some((OffsetOverride::parse(name)?, times)));
    let own = all.filter(|(offset_override, _)| {
        offset_override.id.table_id == table_id && offset_override.id.source.topic == topic
    });
    own.map(|(offset_override, times)| OffsetOverrideStanding {
        kind: if offset_override.is_back() { "read again" } else { "given up" },
        topic_id: offset_override.id.source.topic_id,
        partition: offset_override.id.source.partition,
        from: offset_override.from,
        to: offset_override.to,
        times,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::delta::testing::{HandMade, NOW_MS, TABLE_ID, full, source};

    fn of(table: &HandMade, id: &str) -> Table {
        Table {
            id: id.to_owned(),
            topic: source(0).topic,
            location: table.store.url.clone(),
            ..Table::default()
        }
    }

    #[tokio::test]
    async fn a_move_that_was_decided_before_another_commit_is_not_made() {
        let mut table = HandMade::new().await;
        table.append(&[full(0, 0, 10)]).await;
        let clock: SharedClock = std::sync::Arc::new(SystemClock);
        let mut before = Tip::load(&table.store, &clock).await.unwrap();
        table.append(&[full(0, 10, 20)]).await;
        let txns = BTreeMap::from([("thalweg/t/orders/id/0".to_owned(), 4)]);
        let decision = Decision { txns, ..Decision::default() };
        let of = of(&table, TABLE_ID);
        let made = commit(&mut before, &of, &decision, &clock).await.unwrap();
        assert_eq!(made, Outcome::Moved(Beaten));
        let mut now = Tip::load(&table.store, &clock).await.unwrap();
        let snapshot = now.snapshot();
        assert_eq!((snapshot.version, snapshot.txns["thalweg/t/orders/id/0"]), (table.tip(), 20));
        let made = commit(&mut now, &of, &decision, &clock).await.unwrap();
        assert_eq!((made, now.snapshot().version), (Outcome::Landed { late: false }, table.tip().next()));
    }

    #[tokio::test]
    async fn a_table_that_was_restored_is_not_made_to_look_as_if_it_went_on() {
        let mut table = HandMade::new().await;
        table.append(&[full(0, 0, 10), full(1, 0, 10)]).await;
        let restore = serde_json::json!({"commitInfo": {"operation": "RESTORE", "timestamp": NOW_MS}});
        table.commit_lines(&[restore]).await;
        let topic = Topic {
            name: source(0).topic,
            id: source(0).topic_id,
            partitions: vec![Partition(0), Partition(1)],
        };
        let marks = Watermarks { low: Offset(15), end: Offset(50), first_run: Offset(15) };
        let watermarks = || Ok(BTreeMap::from([(Partition(0), marks), (Partition(1), marks)]));
        let clock: SharedClock = std::sync::Arc::new(SystemClock);
        let all = Consent { loss: true, duplicates: true };
        // Partition 1 would be read on from where its rows no longer are.
        let asked = Asked { to: Some(Target::Earliest), partitions: [Partition(0)].into(), adopt: false };
        let adopted = Asked { adopt: true, ..Asked::default() };
        let past_lost = Asked { to: Some(Target::PastLost), ..Asked::default() };
        for (id, asked) in [(TABLE_ID, &asked), ("new", &adopted), (TABLE_ID, &past_lost)] {
            let of = of(&table, id);
            let refused = set_in(&table.store, &of, &topic, watermarks, asked, all, &clock).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Disagree);
            assert!(refused.message.contains("RESTORE"), "{refused}");
            assert_eq!(log::load(&table.store).await.unwrap().unwrap().version, table.tip());
        }
    }
}
