//! JSON payloads to Arrow batches: our decoder and arrow-json.
//!
//! sonic-rs into a typed struct is counted by `tools/bench/instructions`: as a
//! dependency here its features would rebuild what it shares with us.

use criterion::{Criterion, Throughput};
use thalweg::columnar::{Columns, Decoder};

use crate::cpu_time::CpuTime;
use crate::workload::{self, ROWS, Workload, append_all};

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    for workload in workload::NAMES.map(|name| workload::named(name, ROWS)) {
        let mut group =
            criterion.benchmark_group(format!("decode/{}_{}B", workload.name, workload.bytes_per_row()));
        group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
        group.bench_function("ours", |bencher| {
            let (mut decoder, mut columns) = workload.decoder();
            bencher.iter(|| ours(&workload, &mut decoder, &mut columns));
        });
        group.bench_function("arrow_json", |bencher| {
            let mut decoder = workload.arrow_json();
            bencher.iter(|| twin(&workload, &mut decoder));
        });
    }
}

pub fn ours(workload: &Workload, decoder: &mut Decoder, columns: &mut Columns) {
    append_all(workload.padded(), decoder, columns);
    let batch = columns.freeze();
    assert_eq!(batch.num_rows(), workload.payloads.len());
    columns.recover(batch);
}

pub fn twin(workload: &Workload, decoder: &mut arrow::json::reader::Decoder) {
    for payload in &workload.payloads {
        decoder.decode(payload).expect("generated rows fit");
    }
    let batch = decoder.flush().expect("generated rows fit").expect("there are rows");
    assert_eq!(batch.num_rows(), workload.payloads.len());
}
