//! The proof: every row of the table's files held against what was produced.
//!
//! It owns the count, and the tampering that shows the count can fail. It
//! reads the live files only, no counter and no statistics.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::StreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::record;
use crate::clock::{SharedClock, SystemClock};
use crate::delta::action::{Action, Add, Remove};
use crate::delta::commit_body::{CommitBody, Description};
use crate::delta::inventory;
use crate::delta::transaction::{self, Beaten, FewTries, Outcome, Tip};
use crate::error::{Error, ErrorKind, Result};
use crate::host;
use crate::stores::parquet_object::ParquetObject;
use crate::stores::store::{Store, explain};

/// Offset ranges that are named; the rest is counted.
const FINDINGS_MAX: usize = 12;
const BATCH_ROWS: usize = 65_536;

/// How the table is spoilt, to see the proof fail.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tamper {
    /// Take a file out of the table
    Lose,
    /// Put a copy of a file into the table
    Double,
}

/// What the broker acknowledged of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Produced {
    /// Every offset below it.
    pub next: i64,
    /// The wrapping sum of the ids.
    pub checksum: u64,
}

#[derive(Default, Debug)]
pub struct Proof {
    pub produced: i64,
    pub in_table: i64,
    pub missing: i64,
    pub duplicate: i64,
    /// Rows that are not what was produced at their place.
    pub wrong: i64,
    /// What is wrong, by partition and offset range.
    pub findings: Vec<String>,
}

impl Proof {
    pub fn holds(&self) -> bool {
        self.missing == 0 && self.duplicate == 0 && self.wrong == 0 && self.produced == self.in_table
    }

    fn find(&mut self, what: &str, partition: usize, offsets: Vec<i64>) -> i64 {
        let count = offsets.len() as i64;
        for (first, last) in runs(offsets) {
            self.findings.push(format!("{what}: partition {partition}, offsets {first} to {last}"));
        }
        count
    }
}

/// Reads every live row once.
pub async fn prove(store: &Store, produced: &[Produced]) -> Result<Proof> {
    let mut seen: Vec<SeenRows> = produced.iter().map(SeenRows::new).collect();
    let mut proof = Proof { produced: produced.iter().map(|of| of.next).sum(), ..Proof::default() };
    let inventory = inventory::take(store).await?;
    for add in inventory.files.values() {
        if add.deletion_vector.is_some() {
            return Err(unreadable(
                store,
                &add.path,
                "it has a deletion vector, which the demo never writes",
            ));
        }
        let object = ParquetObject::new(&store.objects, store.path(&add.path));
        let bad = |error| unreadable(store, &add.path, error);
        let builder = ParquetRecordBatchStreamBuilder::new(object).await.map_err(bad)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["_partition", "_offset", "id"]);
        let mut batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(bad)?;
        while let Some(batch) = batches.next().await {
            read(&batch.map_err(bad)?, &mut seen, &mut proof)
                .ok_or_else(|| unreadable(store, &add.path, "it lacks _partition, _offset or id"))?;
        }
    }
    for (partition, (seen, produced)) in seen.into_iter().zip(produced).enumerate() {
        seen.finish(partition, produced, &mut proof);
    }
    Ok(proof)
}

fn read(batch: &RecordBatch, seen: &mut [SeenRows], proof: &mut Proof) -> Option<()> {
    let partitions = batch.column_by_name("_partition")?.as_primitive_opt::<Int32Type>()?;
    let offsets = batch.column_by_name("_offset")?.as_primitive_opt::<Int64Type>()?;
    let ids = batch.column_by_name("id")?.as_primitive_opt::<Int64Type>()?;
    for row in 0..batch.num_rows() {
        proof.in_table += 1;
        let (partition, offset) = (partitions.value(row), offsets.value(row));
        let known = !partitions.is_null(row) && !offsets.is_null(row);
        match usize::try_from(partition).ok().and_then(|index| seen.get_mut(index)) {
            Some(seen) if known && (0..seen.next).contains(&offset) => {
                seen.row(partition, offset, (!ids.is_null(row)).then(|| ids.value(row)));
            }
            _ => {
                proof.wrong += 1;
                if proof.findings.len() < FINDINGS_MAX {
                    proof.findings.push(format!("never produced: partition {partition}, offset {offset}"));
                }
            }
        }
    }
    Some(())
}

/// What was met of one partition: a bit for each offset.
struct SeenRows {
    next: i64,
    bits: Vec<u64>,
    checksum: u64,
    twice: Vec<i64>,
    wrong: Vec<i64>,
}

impl SeenRows {
    fn new(produced: &Produced) -> SeenRows {
        let words = usize::try_from(produced.next).unwrap_or(0).div_ceil(64);
        SeenRows {
            next: produced.next,
            bits: vec![0; words],
            checksum: 0,
            twice: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn row(&mut self, partition: i32, offset: i64, id: Option<i64>) {
        let (word, bit) = ((offset / 64) as usize, 1_u64 << (offset % 64));
        if self.bits[word] & bit != 0 {
            self.twice.push(offset);
        } else {
            self.bits[word] |= bit;
            self.checksum = self.checksum.wrapping_add(id.unwrap_or(0) as u64);
        }
        if id != Some(record::id_at(partition, offset)) {
            self.wrong.push(offset);
        }
    }

    fn finish(self, partition: usize, produced: &Produced, proof: &mut Proof) {
        let is_missing = |offset: &i64| self.bits[(offset / 64) as usize] & (1 << (offset % 64)) == 0;
        let missing: Vec<i64> = (0..self.next).filter(is_missing).collect();
        let explained = !missing.is_empty() || !self.wrong.is_empty();
        proof.missing += proof.find("missing", partition, missing);
        proof.duplicate += proof.find("duplicate", partition, self.twice);
        proof.wrong += proof.find("wrong payload", partition, self.wrong);
        if !explained && self.checksum != produced.checksum {
            proof.wrong += 1;
            proof.findings.push(format!("wrong payload: the ids of partition {partition} have another sum"));
        }
    }
}

/// Offsets as ranges, both ends included.
fn runs(mut offsets: Vec<i64>) -> Vec<(i64, i64)> {
    offsets.sort_unstable();
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for offset in offsets {
        match runs.last_mut() {
            Some((_, last)) if offset <= *last + 1 => *last = offset,
            _ => runs.push((offset, offset)),
        }
    }
    runs
}

/// The findings as lines, the first of them in full.
pub fn lines(proof: &Proof) -> Vec<String> {
    let mut lines: Vec<String> = proof.findings.iter().take(FINDINGS_MAX).cloned().collect();
    if proof.findings.len() > FINDINGS_MAX {
        lines.push(format!("and {} more ranges", proof.findings.len() - FINDINGS_MAX));
    }
    lines
}

/// Commits the loss or the doubling of one file, as a careless writer would.
pub async fn tamper(store: &Store, how: Tamper) -> Result<()> {
    let inventory = inventory::take(store).await?;
    let files: Vec<&Add> = inventory.files.values().collect();
    let file = *files
        .get(files.len() / 2)
        .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the table has no file to tamper with"))?;
    let clock: SharedClock = Arc::new(SystemClock);
    let action = match how {
        Tamper::Lose => Action::Remove(Remove::of(file, clock.wall_ms(), true)),
        Tamper::Double => {
            let failed = |error| explain(&store.url, &error);
            let found = store.objects.get(&store.path(&file.path)).await.map_err(failed)?;
            let body = found.bytes().await.map_err(failed)?;
            let copy = Add { path: format!("tampered-{}", file.path), ..file.clone() };
            store.objects.put(&store.path(&copy.path), body.into()).await.map_err(failed)?;
            Action::Add(copy)
        }
    };
    let description = Description { operation: "TAMPER", ..Description::default() };
    let body = CommitBody::new(&host::this_process(&*clock), description, vec![action], &clock);
    let mut tip = Tip::new(store.clone(), Some(inventory.snapshot), clock.boot());
    match transaction::commit_once(&mut tip, body, FewTries::default(), &clock).await? {
        Outcome::Landed { .. } => Ok(()),
        Outcome::Moved(Beaten) | Outcome::Unsure => {
            Err(Error::new(ErrorKind::Fenced, "somebody else writes to the demo's table"))
        }
    }
}

fn unreadable(store: &Store, path: &str, why: impl std::fmt::Display) -> Error {
    let place: PathBuf = [store.url.path(), path].iter().collect();
    Error::new(ErrorKind::Disagree, format!("{}: {why}", place.display()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array};
    use parquet::arrow::ArrowWriter;
    use serde_json::{Value, json};

    use super::*;

    /// A table of one file for each list of (partition, offset, id).
    fn table(files: &[&[(i32, i64, i64)]]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("_delta_log")).unwrap();
        let mut log = vec![
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {"id": "t", "format": {"provider": "parquet", "options": {}}, "schemaString": "{}",
                                "partitionColumns": [], "configuration": {}}}),
        ];
        for (index, rows) in files.iter().enumerate() {
            let path = format!("part-{index}.parquet");
            let partitions = Int32Array::from_iter_values(rows.iter().map(|row| row.0));
            let offsets = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
            let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
            let batch = RecordBatch::try_from_iter([
                ("_partition", Arc::new(partitions) as Arc<dyn Array>),
                ("_offset", Arc::new(offsets) as Arc<dyn Array>),
                ("id", Arc::new(ids) as Arc<dyn Array>),
            ])
            .unwrap();
            let file = std::fs::File::create(folder.path().join(&path)).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            log.push(json!({"add": {"path": path, "partitionValues": {}, "size": 1, "modificationTime": 1,
                                    "dataChange": true}}));
        }
        let text: Vec<String> = log.iter().map(Value::to_string).collect();
        std::fs::write(folder.path().join("_delta_log/00000000000000000000.json"), text.join("\n")).unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &Default::default()).unwrap();
        (folder, store)
    }

    fn rows(partition: i32, offsets: std::ops::Range<i64>) -> Vec<(i32, i64, i64)> {
        offsets.map(|offset| (partition, offset, record::id_at(partition, offset))).collect()
    }

    fn produced(partition: i32, next: i64) -> Produced {
        let ids = (0..next).map(|offset| record::id_at(partition, offset) as u64);
        Produced { next, checksum: ids.fold(0, u64::wrapping_add) }
    }

    fn verdict(files: &[&[(i32, i64, i64)]], spoil: Option<Tamper>) -> Proof {
        let (_folder, store) = table(files);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            if let Some(how) = spoil {
                tamper(&store, how).await.unwrap();
            }
            prove(&store, &[produced(0, 100), produced(1, 70)]).await.unwrap()
        })
    }

    #[test]
    fn every_record_once_is_a_proof() {
        let proof = verdict(&[&rows(0, 0..60), &rows(1, 0..70), &rows(0, 60..100)], None);
        assert!(proof.holds(), "{proof:?}");
        assert_eq!((proof.produced, proof.in_table), (170, 170));
    }

    #[test]
    fn a_lost_range_is_missing() {
        let proof = verdict(&[&rows(0, 0..60), &rows(1, 0..70), &rows(0, 63..100)], None);
        assert!(!proof.holds());
        assert_eq!((proof.missing, proof.duplicate, proof.wrong), (3, 0, 0));
        assert_eq!(lines(&proof), ["missing: partition 0, offsets 60 to 62"]);
    }

    #[test]
    fn a_range_written_twice_is_duplicate_even_when_the_count_is_right() {
        let proof = verdict(&[&rows(0, 0..100), &rows(1, 0..65), &rows(0, 10..15)], None);
        assert_eq!((proof.produced, proof.in_table), (170, 170));
        assert_eq!((proof.missing, proof.duplicate, proof.wrong), (5, 5, 0));
        assert_eq!(
            lines(&proof),
            ["duplicate: partition 0, offsets 10 to 14", "missing: partition 1, offsets 65 to 69"]
        );
    }

    #[test]
    fn a_record_at_anothers_place_is_wrong() {
        let mut swapped = rows(1, 0..70);
        (swapped[3].2, swapped[9].2) = (swapped[9].2, swapped[3].2);
        let proof = verdict(&[&rows(0, 0..100), &swapped], None);
        assert_eq!((proof.missing, proof.duplicate, proof.wrong), (0, 0, 2));
        assert!(!proof.holds());
    }

    #[test]
    fn a_row_that_nobody_produced_is_wrong() {
        let proof = verdict(&[&rows(0, 0..101), &rows(1, 0..70), &rows(5, 0..1)], None);
        assert_eq!((proof.missing, proof.duplicate, proof.wrong), (0, 0, 2));
    }

    #[test]
    fn tampering_is_seen() {
        let files: [&[_]; 2] = [&rows(0, 0..100), &rows(1, 0..70)];
        let lost = verdict(&files, Some(Tamper::Lose));
        assert_eq!((lost.missing, lost.duplicate), (70, 0));
        let doubled = verdict(&files, Some(Tamper::Double));
        assert_eq!((doubled.missing, doubled.duplicate, doubled.in_table), (0, 70, 240));
    }
}
