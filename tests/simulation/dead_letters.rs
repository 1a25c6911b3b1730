//! Judges the places of dead letters from their logs and the broker's topic, at every version.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::broker::{self, Broker, Content};
use crate::log::Log;
use crate::oracle::{DEAD_LETTER_ROOTS, Verdict};
use crate::store::SimStore;

pub struct DeadLetters {
    /// Of the places of dead letters.
    pub logs: [Log; DEAD_LETTER_ROOTS.len()],
    /// The file in which each dead letter came.
    pub at: BTreeMap<(i32, i64), String>,
    /// Another engine wrote files of dead letters: whose they are is not told in these.
    pub were_rewritten: bool,
    /// The `txn`s of each place.
    txns: BTreeMap<(usize, String), i64>,
}

impl Default for DeadLetters {
    fn default() -> DeadLetters {
        DeadLetters {
            logs: DEAD_LETTER_ROOTS.map(Log::new),
            at: BTreeMap::new(),
            were_rewritten: false,
            txns: BTreeMap::new(),
        }
    }
}

impl DeadLetters {
    /// How many versions there are of all places.
    pub fn versions(&self) -> usize {
        self.logs.iter().map(Log::len).sum()
    }

    /// Judges every version that is new. `rows` are those of the table.
    pub fn observe(
        &mut self,
        store: &SimStore,
        broker: &Broker,
        rows: &BTreeMap<(i32, i64), String>,
        named: &mut BTreeSet<Path>,
    ) -> Verdict {
        for place in 0..DEAD_LETTER_ROOTS.len() {
            while let Some(body) = self.logs[place].take_in(store) {
                let text = String::from_utf8_lossy(&body);
                let is_ours = text.contains("\"thalweg\"");
                for line in text.lines() {
                    let action: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
                    self.txn(place, &action)?;
                    if let Some(path) = action.pointer("/remove/path").and_then(Value::as_str) {
                        self.logs[place].files.remove(path);
                    }
                    let Some(add) = action.get("add") else { continue };
                    self.were_rewritten |= !is_ours;
                    let topic_id = topic_of(add).unwrap_or("A".to_owned());
                    let dead_letters = self.add(place, add, store, named)?;
                    // Another writer moves dead letters from file to file; they are where they were.
                    for dead_letter in dead_letters.into_iter().filter(|_| is_ours) {
                        let file = add["path"].as_str().unwrap_or_default();
                        self.dead_letter(dead_letter, &topic_id, file, broker, rows)?;
                    }
                }
            }
            self.logs[place].observe(store)?;
        }
        Ok(())
    }

    /// Offsets up to which dead letters stand only grow.
    fn txn(&mut self, place: usize, action: &Value) -> Verdict {
        let (Some(app_id), Some(next)) = (
            action.pointer("/txn/appId").and_then(Value::as_str),
            action.pointer("/txn/version").and_then(Value::as_i64),
        ) else {
            return Ok(());
        };
        match self.txns.insert((place, app_id.to_owned()), next) {
            Some(before) if next < before && app_id.starts_with("thalweg") => {
                Err(format!("{app_id} of {} goes back from {before} to {next}", DEAD_LETTER_ROOTS[place]))
            }
            _ => Ok(()),
        }
    }

    /// A file must be there, whole, and new. Returns what stands in it.
    fn add(
        &mut self,
        place: usize,
        add: &Value,
        store: &SimStore,
        named: &mut BTreeSet<Path>,
    ) -> Verdict<Vec<DeadLetter>> {
        let path = add["path"].as_str().ok_or("an add without path")?;
        let file = format!("{}/{path}", DEAD_LETTER_ROOTS[place]);
        let bytes = store
            .look(&Path::from(file.as_str()))
            .ok_or_else(|| format!("{file} is added and does not exist"))?;
        if !named.insert(Path::from(file.as_str())) {
            return Err(format!("{file} is added twice"));
        }
        let size = bytes.len() as u64;
        if add["size"].as_u64() != Some(size) {
            return Err(format!("{file} has {size} bytes, the log says {}", add["size"]));
        }
        let dead_letters = read(bytes)?;
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap_or("{}")).unwrap_or_default();
        if stats["numRecords"].as_u64() != Some(dead_letters.len() as u64) {
            return Err(format!(
                "{file} has {} letters, its stats say {}",
                dead_letters.len(),
                stats["numRecords"]
            ));
        }
        self.logs[place].files.insert(path.to_owned(), size);
        Ok(dead_letters)
    }

    fn dead_letter(
        &mut self,
        dead_letter: DeadLetter,
        topic_id: &str,
        file: &str,
        broker: &Broker,
        rows: &BTreeMap<(i32, i64), String>,
    ) -> Verdict {
        let number = broker::number(topic_id, dead_letter.partition);
        let at = (number.ok_or_else(|| format!("letters of the topic {topic_id}"))?, dead_letter.offset);
        let content = broker.content(at);
        let is_bad = matches!(content, Some(Content::Malformed | Content::Doubtful(_)));
        if !is_bad || content.and_then(Content::bytes) != Some(dead_letter.value) {
            return Err(format!("{at:?} is a dead letter in {file}, the topic {content:?}"));
        }
        if let Some(row) = rows.get(&at) {
            return Err(format!("{at:?} is a dead letter in {file} and a row in {row}"));
        }
        match self.at.insert(at, file.to_owned()) {
            Some(before) => Err(format!("{at:?} is a dead letter in {before} and in {file}")),
            None => Ok(()),
        }
    }
}

/// The topic whose dead letters a file of ours has.
fn topic_of(add: &Value) -> Option<String> {
    let tag: Value = serde_json::from_str(add.pointer("/tags/thalweg.letters")?.as_str()?).ok()?;
    tag["ranges"][0]["topic_id"].as_str().map(str::to_owned)
}

struct DeadLetter {
    partition: i32,
    offset: i64,
    value: Vec<u8>,
}

fn read(bytes: Bytes) -> Verdict<Vec<DeadLetter>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.build())
        .map_err(|error| error.to_string())?;
    let mut dead_letters = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
        let partitions = column("partition")?.as_primitive::<Int32Type>();
        let offsets = column("offset")?.as_primitive::<Int64Type>();
        let values = column("value")?.as_binary::<i32>();
        if values.null_count() > 0 || column("reason")?.null_count() > 0 {
            return Err("a dead letter without value or reason".to_owned());
        }
        dead_letters.extend((0..batch.num_rows()).map(|row| DeadLetter {
            partition: partitions.value(row),
            offset: offsets.value(row),
            value: values.value(row).to_vec(),
        }));
    }
    Ok(dead_letters)
}
