//! A topic whose records a test writes down, and the real shard and queue that carry them into a sink.
//!
//! It owns the source and the wiring. What reads the records, and what takes the files in, is the tests' own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use thalweg::budget::Budget;
use thalweg::clock::{SharedClock, SystemClock};
use thalweg::columnar::{RecordFormat, Transform};
use thalweg::committer::{Committer, CommitterDependencies};
use thalweg::config::{Compression, Decoding, OnBadRecord};
use thalweg::error::Error;
use thalweg::ids::{NextOffsets, Offset, Partition, TopicId, TopicPartition};
use thalweg::schema::Schema;
use thalweg::shard::{Reading, Report, Shard, ShardDependencies, TableContext};
use thalweg::sink::Sink;
use thalweg::source::identity_check::IdentityCheck;
use thalweg::source::{Assignment, Event, RecordBatch, Slot, Source};
use thalweg::status::Board;
use thalweg::stores::orphan_cleaner::OrphanCleaner;
use thalweg::stores::store::Store;

/// Records of a batch.
const BATCH: usize = 17;

/// The values of a partition's records; `None` is a tombstone.
pub type Values = Vec<Option<Vec<u8>>>;

pub fn source(partition: usize) -> TopicPartition {
    let partition = Partition(i32::try_from(partition).unwrap());
    TopicPartition { topic: "t".to_owned(), topic_id: TopicId::unknown(), partition }
}

/// Delivers a topic from where it is asked to.
struct Written {
    partitions: Arc<Vec<Values>>,
    reading: BTreeMap<Slot, (usize, usize)>,
    turn: VecDeque<Slot>,
}

impl Source for Written {
    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        for of in assignments {
            let start = usize::try_from(of.start.0).unwrap();
            self.reading.insert(of.slot, (usize::try_from(of.partition.0).unwrap(), start));
        }
        Ok(())
    }

    fn release(&mut self, slot: Slot) {
        self.reading.remove(&slot);
    }

    fn poll(&mut self, _: Duration) {
        self.turn = self.reading.keys().copied().collect();
    }

    fn next(&mut self, batch: &mut RecordBatch) -> Option<Event> {
        let slot = self.turn.pop_front()?;
        let Some((partition, next)) = self.reading.get_mut(&slot) else { return self.next(batch) };
        let values = &self.partitions[*partition];
        if *next >= values.len() {
            return Some(Event::End { slot, next: Offset(values.len() as i64) });
        }
        let end = values.len().min(*next + BATCH);
        let mut filling = batch.start(slot);
        for (offset, value) in values.iter().enumerate().take(end).skip(*next) {
            filling.push(Offset(offset as i64), Some(1_700_000_000_000), None, value.as_deref());
        }
        *next = end;
        Some(Event::Records)
    }

    fn headers(&self, _: usize, out: &mut Vec<u8>) {
        out.clear();
    }

    fn end(&self, _: Slot) -> Option<Offset> {
        None
    }
}

/// What a test decides.
pub struct Run<'a, S> {
    pub partitions: Vec<Values>,
    pub schema: &'a str,
    pub format: Arc<dyn RecordFormat>,
    pub transform: Option<Arc<dyn Transform>>,
    pub store: Store,
    pub sink: S,
}

/// How a run to the topic's end has ended.
pub struct Ended {
    pub next_offsets: NextOffsets,
    pub stopped: Vec<(TopicPartition, Error)>,
}

/// Reads every partition from its beginning to its end, through the shard and the queue, into the sink.
pub fn run<S: Sink>(run: Run<'_, S>) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clock: SharedClock = Arc::new(SystemClock);
    let board = Arc::new(Board::new(Arc::clone(&clock)));
    #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
    let (to_committer, inbox) = tokio::sync::mpsc::unbounded_channel();
    let (to_shard, messages) = bounded(256);
    let (reports, reported) = bounded(64);
    let table_context = TableContext {
        table: 0,
        table_id: "t".to_owned(),
        store: run.store,
        dead_letters: None,
        schema: Arc::new(Schema::from_ddl(run.schema).unwrap()),
        decoding: Decoding::default(),
        format: run.format,
        transform: run.transform,
        on_bad_record: OnBadRecord::Skip,
        max_latency: Duration::from_millis(1),
        target_file_size: 1 << 20,
        compression: Compression::None,
        to_committer,
        orphan_cleaner: OrphanCleaner::new(runtime.handle().clone()),
        board: Arc::clone(&board),
        identity_check: IdentityCheck::of_nothing(),
    };
    let reading = |(partition, values): (usize, &Values)| Reading {
        table: 0,
        source: source(partition),
        start: Offset(0),
        held: Vec::new(),
        end: Some(Offset(values.len() as i64)),
    };
    let readings: Vec<Reading> = run.partitions.iter().enumerate().map(reading).collect();
    let starts = readings.iter().map(|reading| (reading.source.clone(), reading.start)).collect();
    let dependencies = CommitterDependencies {
        table: 0,
        table_id: "t".to_owned(),
        inbox,
        shards: vec![to_shard],
        clock: Arc::clone(&clock),
        board,
        identity_check: IdentityCheck::of_nothing(),
        next_offsets: None,
    };
    let queue = runtime.spawn(Committer::new(run.sink, starts, dependencies).run());
    let dependencies = ShardDependencies {
        index: 0,
        inbox: messages,
        reports,
        loads: None,
        stays: false,
        group: None,
        clock,
        runtime: runtime.handle().clone(),
        budget: Budget::new(64 << 20),
    };
    let written =
        Written { partitions: Arc::new(run.partitions), reading: BTreeMap::new(), turn: VecDeque::new() };
    Shard::new(written, vec![table_context], readings, dependencies).unwrap().run().unwrap();
    let next_offsets = runtime.block_on(queue).unwrap().unwrap();
    let stopped = reported.try_iter().filter_map(|report| match report {
        Report::Stopped { source, error, .. } => Some((source, error)),
        Report::Released { .. } => None,
    });
    Ended { next_offsets, stopped: stopped.collect() }
}
