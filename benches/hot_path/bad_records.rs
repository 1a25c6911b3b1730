//! None, 0.1 % and 10 % of W1's records are no rows: each costs its row, and the others stay.
//!
//! The twin is what stock crates leave to a service: arrow-json decodes a batch,
//! and a batch that fails is decoded in halves until the bad records are alone.

use arrow::json::ReaderBuilder;
use criterion::{Criterion, Throughput};
use thalweg::columnar::{Columns, Decoder};

use crate::cpu_time::CpuTime;
use crate::workload::{self, ROWS, Workload};

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    for (name, share) in [("none", 0.0), ("0.1_percent", 0.001), ("10_percent", 0.1)] {
        let workload = workload::malformed(share, ROWS);
        let (mut decoder, mut columns) = workload.decoder();
        let good = ours(&workload, &mut decoder, &mut columns);
        let of_twin = twin(&workload, &workload.payloads);
        println!("bad_records/{name}: rows of {ROWS}: ours {good}, arrow_json_halves {of_twin}");
        let mut group = criterion.benchmark_group(format!("bad_records/{name}"));
        group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
        group.bench_function("ours", |bencher| bencher.iter(|| ours(&workload, &mut decoder, &mut columns)));
        group.bench_function("arrow_json_halves", |bencher| {
            bencher.iter(|| twin(&workload, &workload.payloads))
        });
    }
}

/// Rows of the batch.
fn ours(workload: &Workload, decoder: &mut Decoder, columns: &mut Columns) -> usize {
    for (offset, payload) in workload.padded().enumerate() {
        // What becomes of a bad record is not measured here.
        let _ = decoder.append(columns, payload, &workload::facts(offset as i64));
    }
    let batch = columns.freeze();
    let rows = batch.num_rows();
    columns.recover(batch);
    rows
}

fn twin(workload: &Workload, payloads: &[Vec<u8>]) -> usize {
    match (batch_of(workload, payloads), payloads.len()) {
        (Some(rows), _) => rows,
        (None, 1) => 0,
        (None, length) => {
            let (first, second) = payloads.split_at(length / 2);
            twin(workload, first) + twin(workload, second)
        }
    }
}

/// `None` if one of them is no row. arrow-json knows no end of a record: it is asked whether one is open.
fn batch_of(workload: &Workload, payloads: &[Vec<u8>]) -> Option<usize> {
    let builder = ReaderBuilder::new(workload.schema.to_arrow()).with_batch_size(payloads.len());
    let mut decoder = builder.build_decoder().expect("arrow-json knows every type of ours");
    for payload in payloads {
        let read = decoder.decode(payload).ok()?;
        if read != payload.len() || decoder.has_partial_record() {
            return None;
        }
    }
    Some(decoder.flush().ok()??.num_rows())
}
