//! A shard's thread allocates nothing for a record batch, decoded and encoded, between two files.
//!
//! The real shard runs on a scripted source of W1 and W3 records and a store
//! in memory. Allocations are counted on its thread alone: uploads have
//! threads of their own.

#![expect(clippy::unwrap_used, reason = "a test says with a panic what went wrong")]

#[path = "../benches/workload/mod.rs"]
#[expect(dead_code, reason = "shared with the benches, which use all of it")]
mod workload;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use object_store::memory::InMemory;
use thalweg::budget::Budget;
use thalweg::clock::{Clock, SharedClock};
use thalweg::config::{Compression, Decoding, OnBadRecord};
use thalweg::error::Error;
use thalweg::exchange::{ToCommitter, ToShard};
use thalweg::health::Health;
use thalweg::ids::{Offset, Partition, TopicId, TopicPartition};
use thalweg::shard::{Lane, Reading, Shard, Turn, Wiring};
use thalweg::source::witness::Witness;
use thalweg::source::{Assignment, Event, RecordBatch, Slot, Source};
use thalweg::table::store::Store;
use thalweg::table::sweeper::Sweeper;
use tokio::sync::mpsc;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator has no safe form")]
// SAFETY: everything is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn count() {
    // A thread that ends may have lost its counter.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Records of a batch, as many as the Kafka source takes at once.
const BATCH: usize = 1024;
/// Batches of a file.
const FILE: usize = 64;

/// The same payloads again and again, at growing offsets.
struct Script {
    payloads: Vec<String>,
    next: usize,
    told: bool,
}

impl Source for Script {
    fn assign(&mut self, _: &[Assignment]) -> Result<(), Error> {
        Ok(())
    }

    fn release(&mut self, _: Slot) {}

    fn poll(&mut self, _: Duration) {
        self.told = false;
    }

    fn next(&mut self, batch: &mut RecordBatch) -> Option<Event> {
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let mut filling = batch.start(Slot(0));
        for offset in self.next..self.next + BATCH {
            let payload = &self.payloads[offset % self.payloads.len()];
            filling.push(Offset(offset as i64), Some(1_700_000_000_000), None, Some(payload.as_bytes()));
        }
        self.next += BATCH;
        Some(Event::Records)
    }

    fn headers(&self, _: usize, out: &mut Vec<u8>) {
        out.clear();
    }

    fn end(&self, _: Slot) -> Option<Offset> {
        None
    }
}

/// Time that stands still until it is moved.
#[derive(Default)]
struct Still(AtomicU64);

impl Clock for Still {
    fn wall_ms(&self) -> i64 {
        0
    }

    fn boot(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn fresh_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}

/// Allocations of each turn between two files, after `files` files.
fn turns_between_files(workload: workload::Workload, files: usize) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let still = Arc::new(Still::default());
    let clock: SharedClock = still.clone();
    #[expect(clippy::disallowed_methods, reason = "as the ingester wires it")]
    let (to_committer, mut finished) = mpsc::unbounded_channel();
    let store = Store {
        objects: Arc::new(InMemory::new()),
        parts: None,
        root: "table".into(),
        url: "memory:///table".parse().unwrap(),
    };
    let lane = Lane {
        table: 0,
        table_id: "t".to_owned(),
        store,
        dead_letters: None,
        schema: Arc::new(workload.schema),
        decoding: Decoding::default(),
        on_bad_record: OnBadRecord::Fail,
        max_latency: Duration::from_secs(10),
        target_file_size: 1 << 30,
        compression: Compression::Zstd(1),
        to_committer,
        sweeper: Sweeper::new(runtime.handle().clone()),
        health: Arc::new(Health::new(Arc::clone(&clock))),
        witness: Witness::of_nothing(),
    };
    let source =
        TopicPartition { topic: "t".to_owned(), topic_id: TopicId::unknown(), partition: Partition(0) };
    let reading = Reading { table: 0, source, start: Offset(0), held: Vec::new(), end: None };
    let (inbox_out, inbox) = bounded(16);
    let (reports, _stops) = bounded(1);
    let wiring = Wiring {
        index: 0,
        inbox,
        reports,
        loads: None,
        group: None,
        clock,
        runtime: runtime.handle().clone(),
        budget: Budget::new(1 << 30),
    };
    let script = Script { payloads: workload.payloads, next: 0, told: false };
    let mut shard = Shard::new(script, vec![lane], vec![reading], wiring).unwrap();
    let mut turn = || {
        let before = allocations();
        assert_eq!(shard.turn(Duration::ZERO).unwrap(), Turn::Worked);
        allocations() - before
    };
    for _ in 0..files {
        for _ in 0..FILE {
            turn();
        }
        still.0.fetch_add(11, Ordering::Relaxed);
        turn();
        let Some(ToCommitter::Finished { generation, work }) = finished.blocking_recv() else {
            panic!("a file was due")
        };
        assert!(work.file.as_ref().is_some_and(|file| file.rows as usize >= FILE * BATCH));
        inbox_out.send(ToShard::Committed { table: 0, generation, units: vec![work.unit] }).unwrap();
    }
    // The first batch begins the file.
    for _ in 0..4 {
        turn();
    }
    (4..FILE).map(|_| turn()).collect()
}

#[test]
fn a_shard_allocates_nothing_for_a_batch_between_two_files() {
    for workload in workload::NAMES.map(|name| workload::named(name, workload::ROWS)) {
        let name = workload.name;
        let turns = turns_between_files(workload, 2);
        let allocating = turns.iter().filter(|&&count| count > 0).count();
        let all: u64 = turns.iter().sum();
        println!("{name}: {all} allocations in {} batches, {allocating} of which allocate", turns.len());
        assert_eq!(all, 0, "{name}: by batch {turns:?}");
    }
}
