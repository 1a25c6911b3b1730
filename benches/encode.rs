//! Arrow batches to Parquet: our settings and the crate's, over the same rows in the same run.

mod workload;

use arrow::array::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use parquet::arrow::ArrowWriter;
use parquet::basic::{self, ZstdLevel};
use parquet::file::properties::WriterProperties;
use thalweg::columnar::{Columns, Decoder, ParquetFile};
use thalweg::config::{Compression, Decoding, OnNewField};
use workload::{ROWS, Workload};

/// Batches a file: enough for dictionaries to pay or to be given up.
const BATCHES: usize = 16;

fn encode(criterion: &mut Criterion) {
    // Shuffled keys make the same columns.
    for workload in workload::all().into_iter().filter(|workload| workload.name != "w1_shuffled") {
        let batch = batch_of(&workload);
        let mut group = criterion.benchmark_group(format!("encode/{}", workload.name));
        group.sample_size(20).throughput(Throughput::Elements((ROWS * BATCHES) as u64));
        let per_row = |bytes: u64| bytes as f64 / (ROWS * BATCHES) as f64;
        let (ours_size, twin_size) = (per_row(ours(&workload, &batch)), per_row(twin(&batch)));
        println!(
            "{}: bytes a row: ours {ours_size:.2}, twin {twin_size:.2}, JSON {}",
            workload.name,
            workload.bytes_per_row()
        );
        group.bench_function("ours", |bencher| bencher.iter(|| ours(&workload, &batch)));
        group.bench_function("arrow_writer_default", |bencher| bencher.iter(|| twin(&batch)));
    }
}

fn batch_of(workload: &Workload) -> RecordBatch {
    let mut columns = Columns::new(&workload.schema);
    let mut decoder =
        Decoder::new(&workload.schema, &Decoding { on_new_field: OnNewField::Ignore, ..Decoding::default() });
    let facts = workload::facts(0);
    for payload in &workload.payloads {
        decoder.append(&mut columns, payload.as_bytes(), &facts).expect("generated rows fit");
    }
    columns.freeze()
}

/// Bytes of a file with [`BATCHES`] times the same rows.
fn ours(workload: &Workload, batch: &RecordBatch) -> u64 {
    let file = ParquetFile::create(&workload.schema, Compression::Zstd(1), 64 << 20);
    let mut file = file.expect("the schema has a Parquet form");
    for _ in 0..BATCHES {
        file.write(batch).expect("memory takes every byte");
    }
    file.close().expect("memory takes every byte").size
}

fn twin(batch: &RecordBatch) -> u64 {
    let level = ZstdLevel::try_new(1).expect("a level of zstd");
    let properties = WriterProperties::builder().set_compression(basic::Compression::ZSTD(level)).build();
    let writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties));
    let mut writer = writer.expect("the schema has a Parquet form");
    for _ in 0..BATCHES {
        writer.write(batch).expect("memory takes every byte");
    }
    writer.into_inner().expect("memory takes every byte").len() as u64
}

criterion_group!(benches, encode);
criterion_main!(benches);
