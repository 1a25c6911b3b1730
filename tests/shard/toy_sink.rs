//! A second sink: a list in memory, changed in one step, that loses races and answers.
//!
//! Everything else is the real thing: shard, uploads, queue. However often the sink refuses, forgets to say
//! what became of a commit, or is taken over, its rows are those of the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use thalweg::config::Format;
use thalweg::delta::data_file::DataFile;
use thalweg::error::Result;
use thalweg::ids::{NextOffsets, Offset, OffsetRange, TopicPartition, Version};
use thalweg::protocol::ledger::Work;
use thalweg::schema::Schema;
use thalweg::sink::{Begun, Committed, Sink};
use thalweg::stores::store::Store;

use crate::scripted::in_memory;
use crate::topic::{Run, Values, run, source};

/// What the sink has taken in. It outlives whoever writes it.
#[derive(Default)]
pub struct Taken {
    pub files: Vec<String>,
    pub ranges: Vec<OffsetRange>,
    pub offsets: NextOffsets,
}

pub struct ToySink {
    taken: Arc<Mutex<Taken>>,
    schema: Arc<Schema>,
    /// Commits are numbered; of every `faulty` of them some go wrong. 0: none.
    faulty: u64,
    commits: u64,
    discarded: Arc<Mutex<BTreeSet<String>>>,
}

impl ToySink {
    pub fn new(taken: &Arc<Mutex<Taken>>, schema: &str, partitions: usize, faulty: u64) -> ToySink {
        taken.lock().unwrap().offsets = (0..partitions).map(|of| (source(of), Offset(0))).collect();
        ToySink {
            taken: Arc::clone(taken),
            schema: Arc::new(Schema::from_ddl(schema).unwrap()),
            faulty,
            commits: 0,
            discarded: Arc::default(),
        }
    }

    fn take(&self, work: &[Work<DataFile>]) {
        let mut taken = self.taken.lock().unwrap();
        for unit in work {
            taken.files.extend(unit.file.iter().map(|file| file.path.clone()));
            taken.ranges.extend(unit.ranges.iter().cloned());
            for range in &unit.ranges {
                let before = taken.offsets.insert(range.source.clone(), range.next);
                assert_eq!(before, Some(range.start), "what is taken in chains");
            }
        }
    }
}

impl Sink for ToySink {
    async fn commit(&mut self, work: &mut [Work<DataFile>], own: &NextOffsets) -> Result<Committed> {
        self.commits += 1;
        assert_eq!(*own, self.taken.lock().unwrap().offsets, "the queue knows where the sink stands");
        Ok(match (self.faulty > 0).then(|| self.commits % self.faulty) {
            Some(0) => Committed::Misfits,
            Some(1) => Committed::Waits,
            Some(2) => Committed::Unsure,
            Some(3) => {
                self.take(work);
                Committed::Unsure
            }
            _ => {
                self.take(work);
                Committed::Landed(Version(self.commits))
            }
        })
    }

    async fn after_commit(&mut self) {}

    async fn begin_again(&mut self, own: &NextOffsets) -> Result<Option<Begun>> {
        self.commits += 1;
        // Somebody else took it over meanwhile.
        if self.faulty > 0 && self.commits.is_multiple_of(5) {
            return Ok(None);
        }
        let starts = self.taken.lock().unwrap().offsets.clone();
        assert!(own.keys().eq(starts.keys()));
        Ok(Some(Begun { schema: Arc::clone(&self.schema), starts, held: BTreeMap::new() }))
    }

    async fn join(&mut self, _: &NextOffsets, _: &BTreeSet<TopicPartition>) -> Result<Option<Begun>> {
        Ok(None)
    }

    async fn look_around(&mut self, _: &NextOffsets) -> Result<bool> {
        Ok(true)
    }

    fn discard(&self, work: Vec<Work<DataFile>>) {
        let paths = work.into_iter().filter_map(|unit| unit.file).map(|file| file.path);
        self.discarded.lock().unwrap().extend(paths);
    }

    fn end(&mut self) {
        let (taken, discarded) = (self.taken.lock().unwrap(), self.discarded.lock().unwrap());
        assert!(taken.files.iter().all(|file| !discarded.contains(file)), "no live file is deleted");
    }
}

/// The rows of the files that were taken in: some columns of BIGINT.
pub fn rows(store: &Store, taken: &Mutex<Taken>, columns: &[&str]) -> Vec<Vec<i64>> {
    let files = taken.lock().unwrap().files.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut rows = Vec::new();
    for file in files {
        let bytes =
            runtime.block_on(async { store.objects.get(&store.path(&file)).await.unwrap().bytes().await });
        let batches = ParquetRecordBatchReaderBuilder::try_new(bytes.unwrap()).unwrap().build().unwrap();
        for batch in batches {
            let batch: RecordBatch = batch.unwrap();
            let column =
                |name: &&str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
            let columns: Vec<_> = columns.iter().map(column).collect();
            rows.extend(
                (0..batch.num_rows()).map(|row| columns.iter().map(|of| of.value(row)).collect::<Vec<_>>()),
            );
        }
    }
    rows.sort_unstable();
    rows
}

#[test]
fn a_sink_that_refuses_forgets_and_is_taken_over_has_every_record_once() {
    const SCHEMA: &str = "id BIGINT, _partition BIGINT, _offset BIGINT";
    let count = |partition: usize| 400 + 100 * partition;
    let value = |partition: usize, offset: usize| format!("{{\"id\":{}}}", 1000 * partition + offset);
    let values = |partition| -> Values {
        (0..count(partition)).map(|offset| Some(value(partition, offset).into_bytes())).collect()
    };
    let (taken, store) = (Arc::<Mutex<Taken>>::default(), in_memory());
    let ended = run(Run {
        partitions: (0..3).map(values).collect(),
        schema: SCHEMA,
        format: Arc::new(Format::Json),
        transform: None,
        store: store.clone(),
        sink: ToySink::new(&taken, SCHEMA, 3, 7),
    });
    assert_eq!(ended.next_offsets, (0..3).map(|of| (source(of), Offset(count(of) as i64))).collect());
    let expected = |partition: usize| {
        (0..count(partition))
            .map(move |offset| [1000 * partition + offset, partition, offset].map(|n| n as i64).to_vec())
    };
    let mut expected: Vec<Vec<i64>> = (0..3).flat_map(expected).collect();
    expected.sort_unstable();
    assert_eq!(rows(&store, &taken, &["id", "_partition", "_offset"]), expected);
}
