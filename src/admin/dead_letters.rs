//! A table's dead letters, to be looked at.
//!
//! It owns which dead letters are a table's, their counts, and what of a payload is
//! shown. Trying them again is `replay`'s.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::Table;
use crate::dead_letters::rows::{self as dead_letter_rows, Batch, DeadLetterFile, StoredDeadLetter};
use crate::delta::inventory;
use crate::delta::log;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, OffsetRange, Partition, TopicPartition};
use crate::protocol::app_id::AppId;
use crate::protocol::lineage::Lineage;
use crate::protocol::planted::{Bug, planted};
use crate::record::Headers;
use crate::stores::store::Store;

/// The place of a table's dead letters.
pub(super) fn store(table: &Table) -> Result<Store> {
    let Some(place) = &table.dead_letters else {
        return Err(Error::new(ErrorKind::Usage, format!("table `{}` keeps no dead letters", table.id))
            .remedy("they are kept with on_bad_record = \"dlq\"; `dlq` names their place"));
    };
    Store::open(place, &table.storage_options)
}

/// Whose dead letters are a table's.
pub(super) struct DeadLetterOwners {
    table_ids: BTreeSet<String>,
    /// The partition as it goes on, by each of the names that it had.
    goes_on: BTreeMap<AppId, TopicPartition>,
    /// The same by topic and number.
    known: BTreeMap<(String, Partition), BTreeSet<TopicPartition>>,
}

impl DeadLetterOwners {
    pub(super) fn of(table_id: &str, txns: &BTreeMap<String, i64>) -> DeadLetterOwners {
        let lineage = Lineage::of(txns);
        let own = txns.keys().filter_map(|name| AppId::parse(name)).filter(|id| id.table_id == table_id);
        let names: Vec<Vec<AppId>> = own.map(|id| lineage.names(&id)).collect();
        let left_behind: BTreeSet<&AppId> = names.iter().flat_map(|names| &names[1..]).collect();
        let mut places = DeadLetterOwners {
            table_ids: lineage.table_ids(table_id),
            goes_on: BTreeMap::new(),
            known: BTreeMap::new(),
        };
        for names in names.iter().filter(|names| !left_behind.contains(&names[0])) {
            let source = &names[0].source;
            places.goes_on.extend(names.iter().map(|name| (name.clone(), source.clone())));
        }
        // Also logs that went on under nobody's name: dead letters of a topic that is gone stay.
        let own_only = planted(Bug::ReplaysDeadLettersOfAFormerTopic);
        for id in txns.keys().filter_map(|name| AppId::parse(name)) {
            if !places.table_ids.contains(&id.table_id) || (own_only && id.table_id != table_id) {
                continue;
            }
            let place = (id.source.topic.clone(), id.source.partition);
            let source = places.goes_on.get(&id).unwrap_or(&id.source).clone();
            places.known.entry(place).or_default().insert(source);
        }
        places
    }

    pub(super) fn may_be_ours(&self, file: &DeadLetterFile) -> bool {
        file.tag.as_ref().is_none_or(|tag| self.table_ids.contains(&tag.table_id))
    }

    /// Whose dead letter it is: told by its file's tag, else by its topic, if the table knows one incarnation of it.
    pub(super) fn source_of<'a>(
        &'a self,
        file: &'a DeadLetterFile,
        dead_letter: &StoredDeadLetter<'_>,
    ) -> Option<&'a TopicPartition> {
        let Some(tag) = &file.tag else {
            let known = self.known.get(&(dead_letter.topic.to_owned(), dead_letter.partition))?;
            return known.first().filter(|_| known.len() == 1);
        };
        let holds = |range: &&OffsetRange| {
            (range.source.topic.as_str(), range.source.partition)
                == (dead_letter.topic, dead_letter.partition)
                && (range.start..range.next).contains(&dead_letter.offset)
        };
        let range = tag.ranges.iter().find(holds).filter(|_| self.table_ids.contains(&tag.table_id))?;
        let name = AppId::new(&tag.table_id, range.source.clone());
        Some(self.goes_on.get(&name).unwrap_or(&range.source))
    }
}

/// Which dead letters are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// None of them: all.
    pub partitions: BTreeSet<Partition>,
    pub reasons: BTreeSet<String>,
    pub offset: Option<Offset>,
    /// Milliseconds since the epoch, of the record; from, and up to.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
}

impl Filter {
    fn takes(&self, dead_letter: &StoredDeadLetter<'_>) -> bool {
        (self.partitions.is_empty() || self.partitions.contains(&dead_letter.partition))
            && (self.reasons.is_empty() || self.reasons.contains(dead_letter.reason))
            && self.offset.is_none_or(|offset| offset == dead_letter.offset)
            && self.since_ms.is_none_or(|since| dead_letter.timestamp_ms.is_some_and(|at| at >= since))
            && self.until_ms.is_none_or(|until| dead_letter.timestamp_ms.is_some_and(|at| at < until))
    }
}

/// What dead letters are counted by.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum By {
    Topic,
    Partition,
    Reason,
    /// Of the record's timestamp, UTC
    Day,
    /// Of the record's timestamp, UTC
    Hour,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::Topic => "topic",
            By::Partition => "partition",
            By::Reason => "reason",
            By::Day => "day",
            By::Hour => "hour",
        }
    }

    /// A value of [`stats`] as what it is.
    pub fn json(self, value: &str) -> serde_json::Value {
        match (self, value.parse::<i32>()) {
            (By::Partition, Ok(partition)) => partition.into(),
            _ => value.into(),
        }
    }

    /// Texts that sort as what they stand for: numbers have spaces before them.
    fn value(self, dead_letter: &StoredDeadLetter<'_>) -> String {
        let time = |form: &str| {
            let at = dead_letter.timestamp_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            at.map_or_else(|| "-".to_owned(), |at| at.strftime(form).to_string())
        };
        match self {
            By::Topic => dead_letter.topic.to_owned(),
            By::Partition => format!("{:>10}", dead_letter.partition.0),
            By::Reason => dead_letter.reason.to_owned(),
            By::Day => time("%Y-%m-%d"),
            By::Hour => time("%Y-%m-%dT%H:00Z"),
        }
    }
}

/// Dead letters that are alike.
#[derive(Debug, Default, Serialize)]
pub struct Count {
    pub dead_letters: u64,
    pub first_offset: Option<Offset>,
    pub last_offset: Option<Offset>,
    pub oldest_ms: Option<i64>,
    pub newest_ms: Option<i64>,
}

impl Count {
    fn take(&mut self, dead_letter: &StoredDeadLetter<'_>) {
        let lower = |one: Option<i64>, other: Option<i64>| [one, other].into_iter().flatten().min();
        let higher = |one: Option<i64>, other: Option<i64>| [one, other].into_iter().flatten().max();
        let offset = Some(dead_letter.offset.0);
        self.dead_letters += 1;
        self.first_offset = lower(self.first_offset.map(|of| of.0), offset).map(Offset);
        self.last_offset = higher(self.last_offset.map(|of| of.0), offset).map(Offset);
        self.oldest_ms = lower(self.oldest_ms, dead_letter.timestamp_ms);
        self.newest_ms = higher(self.newest_ms, dead_letter.timestamp_ms);
    }
}

/// Counts a table's dead letters, in order; the key of a count has a value for each of `by`.
pub async fn stats(table: &Table, filter: &Filter, by: &[By]) -> Result<Vec<(Vec<String>, Count)>> {
    let mut counts: BTreeMap<Vec<String>, Count> = BTreeMap::new();
    each(table, filter, |_, batch, row| {
        let dead_letter = batch.dead_letter(row).expect("it was looked at");
        let key = by.iter().map(|by| by.value(&dead_letter)).collect();
        counts.entry(key).or_default().take(&dead_letter);
    })
    .await?;
    Ok(in_order(counts))
}

fn in_order(counts: BTreeMap<Vec<String>, Count>) -> Vec<(Vec<String>, Count)> {
    let trimmed = |key: Vec<String>| key.iter().map(|value| value.trim().to_owned()).collect();
    counts.into_iter().map(|(key, count)| (trimmed(key), count)).collect()
}

/// Hears of every dead letter that is asked for: the number of its file, the batch, its row there.
async fn each(
    table: &Table,
    filter: &Filter,
    mut hear: impl FnMut((u32, u32), &Batch, usize),
) -> Result<(Store, Vec<DeadLetterFile>)> {
    let dead_letters = store(table)?;
    let main = log::load(&Store::open(&table.location, &table.storage_options)?).await?;
    let txns = main.map(|snapshot| snapshot.txns).unwrap_or_default();
    let places = DeadLetterOwners::of(&table.id, &txns);
    let files = dead_letter_rows::files(&dead_letters, &inventory::take(&dead_letters).await?)?;
    for (number, file) in (0..).zip(&files) {
        if !places.may_be_ours(file) {
            continue;
        }
        let mut found =
            dead_letter_rows::open(&dead_letters, &file.add, &dead_letter_rows::PLAIN, None).await?;
        while let Some(batch) = found.next().await? {
            for row in 0..batch.len() {
                let asked = |dead_letter: &StoredDeadLetter<'_>| {
                    dead_letter.topic == table.topic && filter.takes(dead_letter)
                };
                if batch.dead_letter(row).as_ref().is_some_and(asked) {
                    let at = u32::try_from(batch.first + row).expect("a file has fewer than 4 billion rows");
                    hear((number, at), &batch, row);
                }
            }
        }
    }
    Ok((dead_letters, files))
}

/// A dead letter as it is shown: escaped, and cut where it is long.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub topic: String,
    pub partition: Partition,
    pub offset: Offset,
    pub timestamp_ms: Option<i64>,
    pub reason: String,
    pub error: String,
    pub key: Option<String>,
    pub value: String,
    /// Of the value, whole.
    pub value_bytes: usize,
    pub headers: Vec<(String, Option<String>)>,
}

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub struct ShowLimits {
    pub dead_letters: usize,
    /// The last ones instead of the first.
    pub last: bool,
    /// Characters of a key, a value, a header.
    pub characters: usize,
}

/// Dead letters by partition and offset, and how many there are.
pub async fn show(table: &Table, filter: &Filter, limits: ShowLimits) -> Result<(Vec<Shown>, usize)> {
    let mut found: Vec<(Partition, Offset, (u32, u32))> = Vec::new();
    let (store, files) = each(table, filter, |at, batch, row| {
        let dead_letter = batch.dead_letter(row).expect("it was looked at");
        found.push((dead_letter.partition, dead_letter.offset, at));
    })
    .await?;
    found.sort_unstable();
    let all = found.len();
    if limits.last {
        found.drain(..all.saturating_sub(limits.dead_letters));
    }
    found.truncate(limits.dead_letters);
    let mut by_file: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    found.iter().for_each(|&(_, _, (file, row))| by_file.entry(file).or_default().push(row));
    let mut shown = Vec::new();
    for (file, mut rows) in by_file {
        rows.sort_unstable();
        let (add, mut headers) = (&files[file as usize].add, Vec::new());
        let mut dead_letters =
            dead_letter_rows::open(&store, add, &dead_letter_rows::WHOLE, Some(&rows)).await?;
        while let Some(batch) = dead_letters.next().await? {
            for row in 0..batch.len() {
                batch.headers(row, &mut headers);
                shown.extend(
                    batch.dead_letter(row).map(|dead_letter| of(&dead_letter, &headers, limits.characters)),
                );
            }
        }
    }
    shown.sort_unstable_by_key(|dead_letter| (dead_letter.partition, dead_letter.offset));
    Ok((shown, all))
}

fn of(dead_letter: &StoredDeadLetter<'_>, headers: &[u8], characters: usize) -> Shown {
    let text = |bytes: &[u8]| escaped(bytes, characters);
    Shown {
        topic: dead_letter.topic.to_owned(),
        partition: dead_letter.partition,
        offset: dead_letter.offset,
        timestamp_ms: dead_letter.timestamp_ms,
        reason: dead_letter.reason.to_owned(),
        error: dead_letter.error.to_owned(),
        key: dead_letter.key.map(text),
        value: text(dead_letter.value),
        value_bytes: dead_letter.value.len(),
        headers: Headers::over(headers).map(|(name, value)| (text(name), value.map(text))).collect(),
    }
}

/// Bytes on one line: text as it is, what a terminal would act on escaped, other bytes as `\xff`.
pub fn escaped(bytes: &[u8], characters: usize) -> String {
    let mut all: Box<dyn Iterator<Item = char>> = match std::str::from_utf8(bytes) {
        // Quotes are as they are: JSON should be readable.
        Ok(text) => Box::new(text.chars().flat_map(|one| {
            let plain = matches!(one, '"' | '\'');
            plain.then_some(one).into_iter().chain((!plain).then(|| one.escape_debug()).into_iter().flatten())
        })),
        Err(_) => Box::new(bytes.escape_ascii().map(char::from)),
    };
    let mut shown: String = all.by_ref().take(characters).collect();
    if all.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::tags::DeadLettersTag;
    use crate::delta::testing::HandMade;
    use crate::ids::TopicId;

    #[test]
    fn partitions_are_told_as_numbers_in_their_order() {
        let counts = [1000, 7, 99].map(|partition| {
            let dead_letter = StoredDeadLetter {
                topic: "orders",
                partition: Partition(partition),
                offset: Offset(0),
                timestamp_ms: None,
                reason: "json",
                key: None,
                value: b"{",
                error: "",
            };
            (vec![By::Partition.value(&dead_letter)], Count::default())
        });
        let told: Vec<_> = in_order(counts.into()).into_iter().map(|(key, _)| key.concat()).collect();
        assert_eq!(told, ["7", "99", "1000"]);
        // As `show` tells it. A reason that looks like a number is none.
        assert_eq!((By::Partition.json("99"), By::Reason.json("99")), (99.into(), "99".into()));
    }

    #[test]
    fn payloads_are_shown_on_one_line_and_cut() {
        assert_eq!(escaped(br#"{"a": "b"}"#, 99), r#"{"a": "b"}"#);
        assert_eq!(escaped("a\u{1b}[31m\nb".as_bytes(), 99), r"a\u{1b}[31m\nb");
        assert_eq!(escaped(b"k\xff\x00", 99), r"k\xff\x00");
        assert_eq!(escaped("für immer".as_bytes(), 3), "für…");
        assert_eq!(escaped(b"", 3), "");
    }

    #[tokio::test]
    async fn a_dead_letter_is_of_the_partition_as_it_goes_on() {
        let add = HandMade::new().await.file(&[(0, 4)], &[]);
        let source = |topic_id: &str| TopicPartition {
            topic: "t".to_owned(),
            topic_id: TopicId(topic_id.to_owned()),
            partition: Partition(0),
        };
        let file = |table_id: &str, topic_id: &str| {
            let range = OffsetRange {
                source: source(topic_id),
                start: Offset(0),
                next: Offset(9),
                rows: 0,
                more_rows: 0,
                skipped: 0,
                tombstones: 0,
                dead_letters: 1,
            };
            let tag = DeadLettersTag { table_id: table_id.to_owned(), ranges: vec![range] };
            DeadLetterFile { add: add.clone(), tag: Some(tag) }
        };
        let dead_letter = StoredDeadLetter {
            topic: "t",
            partition: Partition(0),
            offset: Offset(4),
            timestamp_ms: None,
            reason: "json",
            key: None,
            value: b"{",
            error: "",
        };
        let txns = |names: &[&str]| {
            names.iter().map(|name| (format!("thalweg/{name}/0"), 9)).collect::<BTreeMap<_, _>>()
        };
        let of = |file: DeadLetterFile, names: &[&str]| {
            let mut txns = txns(names);
            txns.insert("thalweg/adopt/new/t/A/orders/A".to_owned(), 1);
            txns.insert("thalweg/adopt/new/t/B/new/A".to_owned(), 2);
            DeadLetterOwners::of("new", &txns)
                .source_of(&file, &dead_letter)
                .map(|source| source.topic_id.to_string())
        };
        let a = Some("A".to_owned());
        assert_eq!(of(file("orders", "-"), &["orders/t/-", "orders/t/A", "new/t/A"]), a);
        assert_eq!(of(file("new", "-"), &["new/t/-", "new/t/A"]), a);
        assert_eq!(of(file("orders", "A"), &["orders/t/A", "new/t/A", "new/t/B"]), a);
        assert_eq!(of(file("new", "B"), &["new/t/A", "new/t/B"]), Some("B".to_owned()));
        let untold = || DeadLetterFile { add: add.clone(), tag: None };
        assert_eq!(of(untold(), &["orders/t/-", "orders/t/A", "new/t/A"]), a);
        assert_eq!(
            of(untold(), &["orders/t/A", "new/t/B"]),
            None,
            "of the one that is gone, or of the new one"
        );
        assert_eq!(of(file("other", "A"), &["new/t/A"]), None);
        let untold = || DeadLetterFile { tag: None, ..file("new", "A") };
        assert_eq!(of(untold(), &["new/t/-", "new/t/A"]), a);
        assert_eq!(of(untold(), &["new/t/A", "new/t/B"]), None);
    }
}
