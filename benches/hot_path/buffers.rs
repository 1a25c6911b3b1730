//! The memory of a batch: frozen into Arrow arrays, written, and taken back into use.
//!
//! The twin is what a service has without `recover`: Arrow arrays whose memory
//! is freed, and buffers that grow anew. Allocations of a batch are counted
//! and printed; a batch that is decoded and written must make none.

use criterion::{BatchSize, Criterion, Throughput};
use thalweg::columnar::{Columns, Encoder, ParquetFile};
use thalweg::config::Compression;

use crate::cpu_time::CpuTime;
use crate::workload::counting::allocations;
use crate::workload::{self, ROWS, Workload, append_all};

/// Batches of a file.
const BATCHES: usize = 64;

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    for name in ["w1_stable", "w3_nested", "w3_events"] {
        let workload = workload::named(name, ROWS);
        count(&workload);
        let mut group = criterion.benchmark_group(format!("buffers/{name}"));
        group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
        let (mut decoder, mut columns) = workload.decoder();
        group.bench_function("freeze_and_recover", |bencher| {
            let full = || {
                let mut columns = Columns::new(&workload.schema);
                append_all(workload.padded(), &mut decoder, &mut columns);
                columns
            };
            let cycle = |columns: &mut Columns| {
                let batch = columns.freeze();
                columns.recover(batch);
            };
            bencher.iter_batched_ref(full, cycle, BatchSize::SmallInput);
        });
        let (mut decoder, _) = workload.decoder();
        group.bench_function("decode_freeze_recover", |bencher| {
            bencher.iter(|| {
                append_all(workload.padded(), &mut decoder, &mut columns);
                let batch = columns.freeze();
                columns.recover(batch);
            });
        });
        group.bench_function("decode_freeze_drop", |bencher| {
            bencher.iter(|| {
                let mut columns = Columns::new(&workload.schema);
                append_all(workload.padded(), &mut decoder, &mut columns);
                columns.freeze()
            });
        });
    }
}

/// Allocations of one batch in the middle of the second file.
fn count(workload: &Workload) {
    let (mut decoder, mut columns) = workload.decoder();
    let mut encoder =
        Encoder::new(&workload.schema, Compression::Zstd(1)).expect("the schema has a Parquet form");
    let (mut written, mut frozen) = (0, 0);
    for _ in 0..2 {
        let file = ParquetFile::with_encoder(encoder, &workload.schema, 1 << 30);
        let mut file = file.expect("the schema has a Parquet form");
        for batch in 0..BATCHES {
            let before = allocations();
            append_all(workload.padded(), &mut decoder, &mut columns);
            file.write(&mut columns).expect("memory takes every byte");
            if batch == BATCHES / 2 {
                written = allocations() - before;
            }
            let before = allocations();
            let batch = columns.freeze();
            columns.recover(batch);
            frozen = allocations() - before;
        }
        encoder = file.finish().expect("memory takes every byte").1;
    }
    println!(
        "buffers/{}: allocations for a batch of {ROWS}: decode and write {written}, freeze and recover {frozen} \
         (the arrays' headers)",
        workload.name
    );
}
