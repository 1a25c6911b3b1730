//! Offsets that a person moves: what the move means, and what must be said for it.
//!
//! It owns the decision and the `txn` entries that it leaves in the table. It
//! asks nobody, and commits nothing.
//!
//! | a move | means | needs |
//! |---|---|---|
//! | forward | the offsets between are given up: nobody reads them | consent to loss |
//! | back | the offsets between are read again: rows that are there stand twice | consent to duplicates |
//! | of another's offsets (`adopt`) | a changed table id, a topic that was created again, a clone: they go on under our name | to be asked for |
//!
//! Each move leaves a [`OffsetOverride`] beside the offset that it moves, each identity transfer
//! a [`IdentityTransfer`]: a running ingester is told by them that this was meant, and
//! `verify` that it is no damage. All go in one commit, put-if-absent, so a
//! commit of whoever reads the table now lands before them or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::anchor::{self, TableFacts, Watermarks};
use super::app_id::{AppId, Former, IdentityTransfer, OffsetOverride, superseded};
use super::dead_letters;
use super::lineage::{self, Lineage};
use super::planted::{Bug, planted};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition, TopicId, TopicPartition};

/// Ranges that a refusal names; `offsets set` without `--execute` lists all of them.
const RANGES_TOLD: usize = 8;

/// What is known before a move.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub table_id: &'a str,
    pub topic: &'a str,
    /// As the broker tells it now.
    pub topic_id: &'a TopicId,
    pub table: &'a TableFacts,
    /// Behind the last row of each partition, where the table has rows and no `txn` of ours.
    pub rows_end: Option<&'a BTreeMap<Partition, Offset>>,
    pub watermarks: &'a BTreeMap<Partition, Watermarks>,
}

/// Where partitions are to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum To {
    /// These partitions, there.
    Offsets(BTreeMap<Partition, Offset>),
    /// Every partition where it stands, and what has no offset yet at its beginning.
    Stay,
    /// Partitions whose next records the topic no longer has, at its first record.
    PastLost,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    pub to: To,
    /// Take over what another identity left.
    pub adopt: bool,
}

/// What the person has said to be meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Consent {
    pub loss: bool,
    pub duplicates: bool,
}

/// One partition's move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    pub source: TopicPartition,
    /// `None`: the table knew nothing of the partition, and it begins at its first record.
    pub from: Option<Offset>,
    pub to: Offset,
}

impl Move {
    /// Offsets that nobody will have read.
    pub fn given_up(&self) -> Option<Range<i64>> {
        self.from.filter(|from| *from < self.to).map(|from| from.0..self.to.0)
    }

    /// Offsets that are read again.
    pub fn again(&self) -> Option<Range<i64>> {
        self.from.filter(|from| self.to < *from).map(|from| self.to.0..from.0)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// By partition; those that stay where they are left out.
    pub moves: Vec<Move>,
    pub identity_transfers: Vec<IdentityTransfer>,
    /// What the commit holds; nothing where nothing changes.
    pub txns: BTreeMap<String, i64>,
}

impl Decision {
    /// It begins partitions, and moves none that was begun: it has no entry of its own.
    pub fn is_plain(&self) -> bool {
        self.txns.keys().all(|name| AppId::parse(name).is_some())
    }

    pub fn offsets_given_up(&self) -> i64 {
        self.moves.iter().filter_map(Move::given_up).map(|range| range.end - range.start).sum()
    }

    pub fn offsets_again(&self) -> i64 {
        self.moves.iter().filter_map(Move::again).map(|range| range.end - range.start).sum()
    }

    /// The options that have to be given.
    pub fn needs(&self, consent: Consent) -> Vec<&'static str> {
        let mut needed = Vec::new();
        if self.offsets_given_up() > 0 && !consent.loss {
            needed.push("--accept-loss");
        }
        if self.offsets_again() > 0 && !consent.duplicates {
            needed.push("--accept-duplicates");
        }
        needed
    }

    /// Refuses what was not said to be meant.
    pub fn permit(&self, consent: Consent) -> Result<()> {
        let needed = self.needs(consent);
        if needed.is_empty() {
            return Ok(());
        }
        let mut means = Vec::new();
        if self.offsets_given_up() > 0 {
            let which = self.told(Move::given_up);
            means.push(format!("{} offsets would never be read: {which}", self.offsets_given_up()));
        }
        if self.offsets_again() > 0 {
            let which = self.told(Move::again);
            let count = self.offsets_again();
            means.push(format!("{count} offsets would be read again, and their rows stand twice: {which}"));
        }
        Err(Error::new(ErrorKind::Usage, means.join("; "))
            .remedy(format!("if that is meant, add `{}`", needed.join(" "))))
    }
}

impl Decision {
    /// The ranges of some of the moves, as a person names them.
    fn told(&self, range: impl Fn(&Move) -> Option<Range<i64>>) -> String {
        let all = self.moves.iter().filter_map(|one| Some((&one.source, range(one)?)));
        let mut told: Vec<String> =
            all.map(|(source, range)| format!("{source} {}..{}", range.start, range.end)).collect();
        let more = told.len().saturating_sub(RANGES_TOLD);
        told.truncate(RANGES_TOLD);
        match more {
            0 => told.join(", "),
            more => format!("{} and {more} more", told.join(", ")),
        }
    }
}

/// Decides what a wish means for a table.
///
/// # Errors
/// Where the wish cannot be carried out, whatever is consented to.
pub fn decide(facts: &Facts<'_>, wish: &Wish) -> Result<Decision> {
    let begun = if wish.adopt { adopted(facts)? } else { own(facts)? };
    let mut decision = Decision { identity_transfers: begun.identity_transfers, ..Decision::default() };
    for (&partition, marks) in facts.watermarks {
        let is_last = facts.watermarks.keys().next_back() == Some(&partition);
        if wish.adopt && is_last && planted(Bug::AdoptForgetsAPartition) {
            continue;
        }
        let stood = begun.offsets.get(&partition).copied();
        let Some(to) = target(wish, partition, stood, marks) else { continue };
        // What nobody has begun is read from its first record: to begin elsewhere gives up what lies before.
        let from = stood.or_else(|| Some(marks.low).filter(|low| *low != to));
        let source =
            TopicPartition { topic: facts.topic.to_owned(), topic_id: begun.topic_id.clone(), partition };
        refuse_outside(&source, to, marks, &wish.to)?;
        let app_id = AppId::new(facts.table_id, source.clone());
        let stands = facts.table.txns.get(&app_id.to_string()).copied();
        if stands == Some(to.0) && from == Some(to) && decision.identity_transfers.is_empty() {
            continue;
        }
        if let Some(from) = from.filter(|from| *from != to && !planted(Bug::OffsetOverrideLeavesNoEntry)) {
            let offset_override = OffsetOverride { id: app_id.clone(), from, to }.to_string();
            let count = facts.table.txns.get(&offset_override).copied().unwrap_or(0);
            decision.txns.insert(offset_override, count + 1);
        }
        decision.txns.insert(app_id.to_string(), to.0);
        decision.moves.push(Move { source, from, to });
    }
    refuse_unknown_partitions(facts, wish)?;
    let all = facts.table.txns.iter();
    let mut count =
        all.filter(|(name, _)| IdentityTransfer::parse(name).is_some()).map(|(_, &n)| n).max().unwrap_or(0);
    for identity_transfer in decision.identity_transfers.iter().filter(|_| !planted(Bug::AdoptLeavesNoEntry))
    {
        count += 1;
        decision.txns.insert(identity_transfer.to_string(), count);
    }
    if decision.offsets_again() > 0 && !planted(Bug::MoveBackForgetsDeadLetters) {
        // Dead letters of what is read again may stand wherever dead letters ever went.
        let mut then = facts.table.txns.clone();
        then.extend(decision.txns.clone());
        let table_ids = Lineage::of(&then).table_ids(facts.table_id);
        decision.txns.extend(dead_letters::remembered_again(&table_ids, &then));
    }
    Ok(decision)
}

fn target(wish: &Wish, partition: Partition, from: Option<Offset>, marks: &Watermarks) -> Option<Offset> {
    let stay = || from.unwrap_or(marks.low);
    let named = match &wish.to {
        To::Offsets(offsets) => offsets.get(&partition).copied(),
        To::Stay => Some(stay()),
        To::PastLost => from.filter(|from| *from < marks.low).map(|_| marks.low),
    };
    // An identity transfer is of all partitions: those that are not named stay where they are.
    named.or_else(|| wish.adopt.then(stay))
}

/// Where a move starts from.
struct Begun {
    topic_id: TopicId,
    offsets: BTreeMap<Partition, Offset>,
    identity_transfers: Vec<IdentityTransfer>,
}

/// Our own offsets, where a run would go on from them.
fn own(facts: &Facts<'_>) -> Result<Begun> {
    let Facts { table_id, topic, table, .. } = *facts;
    let topic_id = anchor::check(table_id, topic, facts.topic_id, table)?;
    let offsets = lineage::offsets(table_id, topic, &topic_id, &table.txns);
    Ok(Begun { topic_id, offsets, identity_transfers: Vec::new() })
}

/// The offsets of whoever wrote the table before us under another identity.
fn adopted(facts: &Facts<'_>) -> Result<Begun> {
    let Facts { table_id, topic, table, .. } = *facts;
    let mut writers: BTreeSet<(String, TopicId)> = table
        .txns
        .keys()
        .filter_map(|name| AppId::parse(name))
        .filter(|id| id.source.topic == topic)
        .map(|id| (id.table_id, id.source.topic_id))
        .collect();
    // What was begun when the broker told no topic id went on under one: it is nobody's any more.
    let went_on: BTreeSet<String> =
        writers.iter().filter(|(_, id)| !id.is_unknown()).map(|(id, _)| id.clone()).collect();
    writers.retain(|(id, topic_id)| {
        let is_left_behind = topic_id.is_unknown() && went_on.contains(id);
        !is_left_behind && superseded(id, topic, topic_id, &table.txns).is_none()
    });
    let topic_id = told_or_known(facts.topic_id, &writers);
    let is_own = |(id, of): &(String, TopicId)| (id.as_str(), of) == (table_id, &topic_id);
    let formers: Vec<(String, TopicId)> = writers.iter().filter(|one| !is_own(one)).cloned().collect();
    let identity_transfer = |former| IdentityTransfer {
        table_id: table_id.to_owned(),
        topic: topic.to_owned(),
        topic_id: topic_id.clone(),
        former,
    };
    if formers.is_empty() {
        let has_own = anchor::known_ids(table_id, topic, &table.txns).next().is_some();
        if has_own || facts.rows_end.is_none() {
            let message =
                format!("there is nothing to adopt: no other identity wrote `{topic}` into the table");
            return Err(Error::new(ErrorKind::Usage, message).remedy("leave `--adopt` out"));
        }
        let identity_transfers = vec![identity_transfer(Former::Rows)];
        return Ok(Begun {
            offsets: facts.rows_end.cloned().unwrap_or_default(),
            identity_transfers,
            topic_id,
        });
    }
    let of_any_log = planted(Bug::AdoptsOffsetsOfAFormerTopic);
    // Of this very log, as far as anybody told; we may go on with it ourselves.
    let of_this_log: Vec<&(String, TopicId)> =
        writers.iter().filter(|(_, id)| *id == topic_id || id.is_unknown() || of_any_log).collect();
    if let [(one, _), (other, _), ..] = of_this_log[..] {
        let message = format!("`{one}` and `{other}` both write `{topic}` into the table");
        return Err(Error::new(ErrorKind::Disagree, message)
            .remedy("let one of them adopt the other's offsets first, with its own config"));
    }
    let offsets = of_this_log.first().map(|(id, of)| lineage::offsets(id, topic, of, &table.txns));
    let former = |(table_id, topic_id)| identity_transfer(Former::Ingestion { table_id, topic_id });
    Ok(Begun {
        offsets: offsets.unwrap_or_default(),
        identity_transfers: formers.into_iter().map(former).collect(),
        topic_id,
    })
}

/// A broker that tells no id means the only log that is known.
fn told_or_known(told: &TopicId, writers: &BTreeSet<(String, TopicId)>) -> TopicId {
    let known: BTreeSet<&TopicId> = writers.iter().map(|(_, id)| id).filter(|id| !id.is_unknown()).collect();
    match known.first() {
        Some(&only) if told.is_unknown() && known.len() == 1 => only.clone(),
        _ => told.clone(),
    }
}

/// Nobody can read on where the log has nothing.
fn refuse_outside(source: &TopicPartition, to: Offset, marks: &Watermarks, wish: &To) -> Result<()> {
    if (marks.low..=marks.end).contains(&to) {
        return Ok(());
    }
    let message =
        format!("{source}: the topic has offsets {}..{}, and {to} is not among them", marks.low, marks.end);
    Err(match wish {
        To::Stay => Error::new(ErrorKind::Disagree, message)
            .remedy("say where to go on with `--to earliest` or `--to latest`"),
        _ => {
            Error::new(ErrorKind::Usage, message).remedy("name an offset of the log, `earliest` or `latest`")
        }
    })
}

fn refuse_unknown_partitions(facts: &Facts<'_>, wish: &Wish) -> Result<()> {
    let To::Offsets(offsets) = &wish.to else { return Ok(()) };
    match offsets.keys().find(|partition| !facts.watermarks.contains_key(partition)) {
        None => Ok(()),
        Some(partition) => {
            let (topic, last) = (facts.topic, facts.watermarks.len().saturating_sub(1));
            let message = format!("topic `{topic}` has no partition {partition}: its last is {last}");
            Err(Error::new(ErrorKind::Usage, message).remedy("correct `--partition`"))
        }
    }
}

#[cfg(test)]
mod tests;
