//! Bytes that are copied for a record on its way from librdkafka's buffer to the parts of a file.
//!
//! It owns the count: the sizes of what each step writes, and a check that
//! freezing writes nothing. What lies in a register or is looked at in place
//! is no copy; a value that is decoded is one of its column's width.

use arrow::array::{Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use thalweg::columnar::{Encoder, ParquetFile};
use thalweg::config::Compression;
use thalweg::ids::Offset;
use thalweg::record::Padded;
use thalweg::source::{RecordBatch as Records, Slot};

use crate::workload::{self, ROWS, append_all};

const BATCHES: usize = 32;

pub fn count() {
    for name in ["w1_stable", "w3_events"] {
        let rows = ROWS * BATCHES;
        let workload = workload::named(name, rows);
        let arena: usize = workload.payloads.chunks(ROWS).map(arena).sum();
        let (mut decoder, mut columns) = workload.decoder();
        let encoder =
            Encoder::new(&workload.schema, Compression::Zstd(1)).expect("the schema has a Parquet form");
        let file = ParquetFile::with_encoder(encoder, &workload.schema, 1 << 30);
        let mut file = file.expect("the schema has a Parquet form");
        let mut payloads = workload.padded();
        let mut in_columns = 0;
        for _ in 0..BATCHES {
            append_all(payloads.by_ref().take(ROWS), &mut decoder, &mut columns);
            in_columns += columns.bytes_used();
            file.write(&mut columns).expect("memory takes every byte");
            let held = columns.bytes();
            let batch = columns.freeze();
            assert!(bytes_of(&batch) <= held, "freezing takes no memory of its own");
            columns.recover(batch);
            assert_eq!(columns.bytes(), held, "and what was frozen comes back");
        }
        let (closed, _) = file.finish().expect("memory takes every byte");
        let (pages, compressed) = pages(&Bytes::from(closed.parts.concat()));
        let steps = [
            ("librdkafka's buffer → arena", arena),
            ("arena → columns", in_columns),
            ("columns → pages, dictionaries and levels", pages),
            ("pages → compressed pages", compressed),
            ("compressed pages → pages of the row group", compressed),
            ("row group → parts of the file", closed.size as usize),
        ];
        let payload: usize = workload.payloads.iter().map(Vec::len).sum();
        let total: usize = steps.iter().map(|(_, bytes)| bytes).sum();
        println!("copies/{name}: bytes a record of {:.1} B", payload as f64 / rows as f64);
        for (step, bytes) in steps {
            println!("copies/{name}: {:8.1} {step}", bytes as f64 / rows as f64);
        }
        println!(
            "copies/{name}: {:8.1} in all, {:.2} × the payload",
            total as f64 / rows as f64,
            total as f64 / payload as f64
        );
    }
}

/// Bytes that an arena is given, by its own records: a value ends where the next byte is a NUL.
fn arena(payloads: &[Vec<u8>]) -> usize {
    let mut batch = Records::default();
    let mut filling = batch.start(Slot(0));
    for (offset, payload) in payloads.iter().enumerate() {
        filling.push(Offset(offset as i64), None, None, Some(payload));
    }
    drop(filling);
    batch.records().filter_map(|record| record.value).map(Padded::bytes).map(|value| value.len() + 1).sum()
}

fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_buffer_memory_size()).sum()
}

/// Bytes of all pages, before and after compression.
fn pages(file: &Bytes) -> (usize, usize) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).expect("it is a Parquet file");
    let groups = reader.metadata().row_groups();
    let sum = |size: fn(&parquet::file::metadata::ColumnChunkMetaData) -> i64| {
        groups.iter().flat_map(|group| group.columns()).map(size).sum::<i64>() as usize
    };
    (sum(|chunk| chunk.uncompressed_size()), sum(|chunk| chunk.compressed_size()))
}
