//! One column to Parquet and back: each type, dictionaries on, off and as the data is, each codec.
//!
//! Ours decides by the data and remembers it; the stock writer is told. Bytes
//! of a value are printed. Reading back is the stock reader's, of either file.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{self, ZstdLevel};
use parquet::file::properties::WriterProperties;
use thalweg::columnar::{Columns, Encoder, ParquetFile};
use thalweg::config::Compression;
use thalweg_workloads::Random;

use crate::cpu_time::CpuTime;
use crate::workload::{self, ROWS, Workload};

/// Batches of a file, each of other rows.
const BATCHES: usize = 32;

type Value = fn(u64, &mut Random) -> String;

const COLUMNS: [(&str, &str, Value); 10] = [
    ("bigint_rising", "BIGINT", |row, random| (1_718_000_000_000 + 2 * row + random.below(3)).to_string()),
    ("bigint_random", "BIGINT", |_, random| random.below(1 << 40).to_string()),
    ("int_few", "INT", |_, random| random.skewed(100).to_string()),
    ("double_price", "DOUBLE", |_, random| format!("{}.{:02}", random.below(1000), random.below(100))),
    ("decimal", "DECIMAL(15, 2)", |_, random| format!("{}.{:02}", random.below(100_000), random.below(100))),
    ("date", "DATE", |_, random| format!("\"2024-0{}-1{}\"", 1 + random.below(9), random.below(10))),
    ("boolean", "BOOLEAN", |_, random| (random.below(10) > 0).to_string()),
    ("string_few", "STRING", |_, random| {
        format!("\"{}\"", random.pick(&["view", "click", "purchase", "search"]))
    }),
    ("string_many", "STRING", |_, random| format!("\"/shop/item/{}\"", random.skewed(20_000))),
    ("string_unique", "STRING", |_, random| format!("\"{:016x}{:016x}\"", random.draw(), random.draw())),
];

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    let level = ZstdLevel::try_new(1).expect("a level of zstd");
    let codecs = [
        ("zstd", Compression::Zstd(1), basic::Compression::ZSTD(level)),
        ("snappy", Compression::Snappy, basic::Compression::SNAPPY),
        ("none", Compression::None, basic::Compression::UNCOMPRESSED),
    ];
    for (name, kind, value) in COLUMNS {
        let mut column = Column::new(name, kind, value);
        for (codec, ours, stock) in codecs {
            let mut group = criterion.benchmark_group(format!("columns/{name}_{codec}"));
            group.throughput(Throughput::Elements((ROWS * BATCHES) as u64)).sample_size(10);
            // There are ninety of them.
            group.warm_up_time(std::time::Duration::from_millis(300));
            group.measurement_time(std::time::Duration::from_secs(1));
            let mut encoder = Some(column.encoder(ours));
            let mut files = vec![("ours", column.ours(&mut encoder))];
            group.bench_function("ours", |bencher| bencher.iter(|| column.ours(&mut encoder)));
            for (label, dictionary) in [("stock_dictionary", true), ("stock_plain", false)] {
                let properties = WriterProperties::builder().set_compression(stock);
                let properties = properties.set_dictionary_enabled(dictionary).build();
                files.push((label, column.stock(&properties)));
                group.bench_function(label, |bencher| bencher.iter(|| column.stock(&properties)));
            }
            for (label, file) in &files {
                let bytes = file.iter().map(Bytes::len).sum::<usize>();
                println!(
                    "columns/{name}_{codec}/{label}: {:.3} bytes a value",
                    bytes as f64 / (ROWS * BATCHES) as f64
                );
                let whole = Bytes::from(file.concat());
                group.bench_function(format!("read_{label}"), |bencher| bencher.iter(|| read(&whole)));
            }
        }
    }
}

/// Rows of one column, as ours and as Arrow's.
struct Column {
    workload: Workload,
    rows: Vec<Columns>,
    batches: Vec<RecordBatch>,
}

impl Column {
    fn new(name: &'static str, kind: &str, value: Value) -> Column {
        let mut random = Random::new(42);
        let row = |row| format!("{{\"v\":{}}}", value(row, &mut random)).into_bytes();
        let payloads = (0..(ROWS * BATCHES) as u64).map(row).collect();
        let workload = Workload::new(name, &format!("v {kind}"), payloads);
        let rows = workload::batches(&workload, BATCHES);
        let batches = workload::batches(&workload, BATCHES).iter_mut().map(Columns::freeze).collect();
        Column { workload, rows, batches }
    }

    fn encoder(&self, compression: Compression) -> Encoder {
        Encoder::new(&self.workload.schema, compression).expect("the schema has a Parquet form")
    }

    /// The encoder goes from file to file.
    fn ours(&mut self, encoder: &mut Option<Encoder>) -> Vec<Bytes> {
        let mine = encoder.take().expect("the last file gave it back");
        let file = ParquetFile::with_encoder(mine, &self.workload.schema, 64 << 20);
        let mut file = file.expect("the schema has a Parquet form");
        self.rows.iter_mut().for_each(|rows| file.write(rows).expect("memory takes every byte"));
        let (closed, mine) = file.finish().expect("memory takes every byte");
        *encoder = Some(mine);
        closed.parts
    }

    fn stock(&self, properties: &WriterProperties) -> Vec<Bytes> {
        let schema = Arc::clone(self.batches[0].schema_ref());
        let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.clone()));
        let mut writer = writer.expect("the schema has a Parquet form");
        self.batches.iter().for_each(|batch| writer.write(batch).expect("memory takes every byte"));
        vec![writer.into_inner().expect("memory takes every byte").into()]
    }
}

fn read(file: &Bytes) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone())
        .and_then(|reader| reader.with_batch_size(ROWS).build());
    let batches = reader.expect("it is a Parquet file");
    let rows: usize = batches.map(|batch| batch.expect("its pages are whole").num_rows()).sum();
    assert_eq!(rows, ROWS * BATCHES);
}
