//! JSON payloads to Arrow batches: our decoder and arrow-json, over the same rows in the same run.

mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thalweg::columnar::{Columns, Decoder};
use workload::{ROWS, Workload, append_all};

fn decode(criterion: &mut Criterion) {
    for workload in workload::NAMES.map(|name| workload::named(name, ROWS)) {
        let mut group = criterion.benchmark_group(format!("decode/{}", workload.name));
        group.throughput(Throughput::Elements(ROWS as u64));
        println!("{}: {} bytes a row", workload.name, workload.bytes_per_row());
        group.bench_function("ours", |bencher| {
            let (mut decoder, mut columns) = workload.decoder();
            bencher.iter(|| ours(&workload, &mut decoder, &mut columns));
        });
        group.bench_function("arrow_json", |bencher| {
            let builder = arrow::json::ReaderBuilder::new(workload.schema.to_arrow()).with_batch_size(ROWS);
            let mut decoder = builder.build_decoder().expect("arrow-json knows every type of ours");
            bencher.iter(|| twin(&workload, &mut decoder));
        });
    }
}

fn ours(workload: &Workload, decoder: &mut Decoder, columns: &mut Columns) {
    append_all(workload.padded(), decoder, columns);
    let batch = columns.freeze();
    assert_eq!(batch.num_rows(), ROWS);
    columns.recover(batch);
}

fn twin(workload: &Workload, decoder: &mut arrow::json::reader::Decoder) {
    for payload in &workload.payloads {
        decoder.decode(payload.as_bytes()).expect("generated rows fit");
    }
    let batch = decoder.flush().expect("generated rows fit").expect("there are rows");
    assert_eq!(batch.num_rows(), ROWS);
}

criterion_group!(benches, decode);
criterion_main!(benches);
