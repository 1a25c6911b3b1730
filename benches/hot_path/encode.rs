//! Columns to Parquet: our encoder and the crate's, as it was tuned for us and as it comes, over the
//! same rows in the same run.

use std::cell::RefCell;

use arrow::array::RecordBatch;
use criterion::{Criterion, Throughput};
use parquet::arrow::ArrowWriter;
use parquet::basic::{self, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use thalweg::columnar::{Columns, Encoder, ParquetFile};
use thalweg::config::Compression;
use thalweg::schema::Schema;

use crate::cpu_time::CpuTime;
use crate::workload::{self, ROWS, Workload, append_all};

/// Batches a file: enough for dictionaries to pay or to be given up.
const BATCHES: usize = 32;

const ROW_GROUP_BYTES: usize = 64 << 20;

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    // Shuffled keys make the same columns, missing ones nulls.
    for name in ["w1_stable", "w1_missing", "w2_union", "w3_nested", "w3_events", "w4_changes", "w5_logs"] {
        let workload = workload::named(name, ROWS * BATCHES);
        let mut rows = columns_of(&workload);
        let batches: Vec<RecordBatch> = columns_of(&workload).iter_mut().map(Columns::freeze).collect();
        let encoder = RefCell::new(Some(
            Encoder::new(&workload.schema, Compression::Zstd(1)).expect("the schema has a Parquet form"),
        ));
        let (tuned, default) = (tuned(&workload.schema), default());
        let mut group = criterion.benchmark_group(format!("encode/{}", workload.name));
        group.sample_size(20).throughput(Throughput::Elements((ROWS * BATCHES) as u64));
        let per_row = |bytes: u64| bytes as f64 / (ROWS * BATCHES) as f64;
        println!(
            "{}: bytes a row: ours {:.2}, tuned twin {:.2}, default twin {:.2}, JSON {}",
            workload.name,
            per_row(ours(&workload, &mut rows, &encoder)),
            per_row(twin(&batches, &tuned)),
            per_row(twin(&batches, &default)),
            workload.bytes_per_row()
        );
        group.bench_function("ours", |bencher| bencher.iter(|| ours(&workload, &mut rows, &encoder)));
        group.bench_function("arrow_writer_tuned", |bencher| bencher.iter(|| twin(&batches, &tuned)));
        group.bench_function("arrow_writer_default", |bencher| bencher.iter(|| twin(&batches, &default)));
    }
}

/// Batches of the workload, each of them other rows.
fn columns_of(workload: &Workload) -> Vec<Columns> {
    let (mut decoder, _) = workload.decoder();
    let mut payloads = workload.padded().peekable();
    let mut batches = Vec::new();
    while payloads.peek().is_some() {
        let mut columns = Columns::new(&workload.schema);
        append_all(payloads.by_ref().take(ROWS), &mut decoder, &mut columns);
        batches.push(columns);
    }
    batches
}

/// Bytes of a file of all batches; the encoder goes from file to file.
fn ours(workload: &Workload, batches: &mut [Columns], encoder: &RefCell<Option<Encoder>>) -> u64 {
    let mine = encoder.take().expect("the last file gave it back");
    let mut file = ParquetFile::with_encoder(mine, &workload.schema, ROW_GROUP_BYTES)
        .expect("the schema has a Parquet form");
    for batch in batches {
        file.write(batch).expect("memory takes every byte");
    }
    let (closed, mine) = file.finish().expect("memory takes every byte");
    encoder.replace(Some(mine));
    closed.size
}

fn twin(batches: &[RecordBatch], properties: &WriterProperties) -> u64 {
    let writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties.clone()));
    let mut writer = writer.expect("the schema has a Parquet form");
    for batch in batches {
        writer.write(batch).expect("memory takes every byte");
    }
    writer.into_inner().expect("memory takes every byte").len() as u64
}

fn zstd() -> basic::Compression {
    basic::Compression::ZSTD(ZstdLevel::try_new(1).expect("a level of zstd"))
}

fn default() -> WriterProperties {
    WriterProperties::builder().set_compression(zstd()).build()
}

/// What served us before we had an encoder: no dictionaries but for strings, DELTA for integers,
/// statistics of chunks.
fn tuned(schema: &Schema) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(zstd())
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_page_size_limit(512 << 10)
        .set_data_page_row_count_limit(20_000);
    let descriptor = parquet::arrow::ArrowSchemaConverter::new()
        .convert(&schema.to_arrow())
        .expect("the schema has a Parquet form");
    for column in descriptor.columns() {
        let path = ColumnPath::new(column.path().parts().to_vec());
        let encoding = match column.physical_type() {
            basic::Type::BYTE_ARRAY => continue,
            basic::Type::INT32 | basic::Type::INT64 => Encoding::DELTA_BINARY_PACKED,
            _ => Encoding::PLAIN,
        };
        builder =
            builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding);
    }
    builder.build()
}
