//! Our Parquet pages, read by others.
//!
//! Every type stands at the top, in structs, lists and maps, with nulls at
//! every level, over several pages and row groups; the crate's own writer
//! writes the same rows, and each reader must see the same in both files.

use std::path::Path;

use arrow::json::ReaderBuilder;
use parquet::arrow::ArrowWriter;
use thalweg::columnar::{Columns, Decoder, ParquetFile, RecordFacts};
use thalweg::config::{Compression, Decoding};
use thalweg::ids::Offset;
use thalweg::record::{Headers, Record};
use thalweg::schema::Schema;

use crate::services::{path, tool};

const ROWS: u64 = 60_000;
const BATCH: usize = 4096;
const ROW_GROUP: usize = 25_000;

const LEAVES: [(&str, &str); 13] = [
    ("bo", "BOOLEAN"),
    ("ti", "TINYINT"),
    ("sm", "SMALLINT"),
    ("it", "INT"),
    ("bi", "BIGINT"),
    ("fl", "FLOAT"),
    ("db", "DOUBLE"),
    ("d9", "DECIMAL(9, 2)"),
    ("d18", "DECIMAL(18, 4)"),
    ("d38", "DECIMAL(38, 6)"),
    ("st", "STRING"),
    ("da", "DATE"),
    ("ts", "TIMESTAMP"),
];

/// A xorshift of its own per value.
fn random(row: u64, salt: u64) -> u64 {
    let mut state = (row << 16 | salt).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for shift in [30, 27, 31] {
        state = (state ^ (state >> shift)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    state
}

/// A JSON value of a type; every second column has few distinct values, and a fifth are null.
fn value(data_type: &str, row: u64, salt: u64) -> String {
    let n = random(row, salt);
    if n.is_multiple_of(5) {
        return "null".to_owned();
    }
    let n = [n >> 8, (n >> 8) % 40][(salt % 2) as usize];
    let sign = if n.is_multiple_of(3) { "-" } else { "" };
    match data_type {
        "BOOLEAN" => n.is_multiple_of(2).to_string(),
        "TINYINT" => format!("{sign}{}", n % 128),
        "SMALLINT" => format!("{sign}{}", n % 32_768),
        "INT" => format!("{sign}{}", n % (1 << 31)),
        "BIGINT" => format!("{sign}{n}"),
        "FLOAT" => format!("{sign}{}.5", n % 10_000),
        "DOUBLE" => format!("{sign}{}.25", n % 100_000_000),
        "DECIMAL(9, 2)" => format!("\"{sign}{}.{:02}\"", n % 10_000_000, n % 100),
        "DECIMAL(18, 4)" => format!("\"{sign}{}.{:04}\"", n % 100_000_000_000_000, n % 10_000),
        "DECIMAL(38, 6)" => format!("\"{sign}{n}{:012}.{:06}\"", n % 1_000_000_000_000, n % 1_000_000),
        "DATE" => format!("\"{:04}-{:02}-{:02}\"", 1900 + n % 200, 1 + n % 12, 1 + n % 28),
        "TIMESTAMP" => format!(
            "\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z\"",
            1900 + n % 200,
            1 + n % 12,
            1 + n % 28,
            n % 24,
            n % 60,
            n % 59,
            n % 1_000_000
        ),
        _ => format!("\"text {} é{}\"", n % 7_000, "x".repeat((n % 40) as usize)),
    }
}

fn schema() -> Schema {
    let columns = LEAVES.iter().map(|(name, ddl)| {
        format!(
            "{name} {ddl}, s_{name} STRUCT<x: {ddl}, y: STRUCT<z: {ddl}>>, l_{name} ARRAY<{ddl}>, \
             m_{name} MAP<STRING, {ddl}>, n_{name} ARRAY<STRUCT<a: {ddl}, b: ARRAY<{ddl}>>>"
        )
    });
    let columns: Vec<String> = std::iter::once("id BIGINT NOT NULL".to_owned()).chain(columns).collect();
    Schema::from_ddl(&columns.join(", ")).unwrap()
}

fn list(row: u64, salt: u64, item: impl Fn(u64) -> String) -> String {
    match random(row, salt) % 4 {
        0 => "null".to_owned(),
        count => format!("[{}]", (1..count).map(|at| item(salt + at)).collect::<Vec<_>>().join(",")),
    }
}

fn payload(row: u64) -> String {
    let mut out = format!("{{\"id\":{}", 1_000_000 + row);
    for (at, (name, ddl)) in (0..).zip(LEAVES) {
        let leaf = |salt: u64| value(ddl, row, 64 * at + salt);
        let inner = |salt: u64| match random(row, 64 * at + salt) % 3 {
            0 => "null".to_owned(),
            _ => format!("{{\"z\":{}}}", leaf(salt)),
        };
        let nested = |salt: u64| match random(row, 64 * at + salt) % 4 {
            0 => "null".to_owned(),
            _ => format!(
                "{{\"a\":{},\"b\":{}}}",
                leaf(salt),
                list(row, 64 * at + salt + 1, |s| value(ddl, row, s))
            ),
        };
        let map = match random(row, 64 * at + 9) % 3 {
            0 => "null".to_owned(),
            1 => "{}".to_owned(),
            _ => format!("{{\"a\":{},\"b{}\":{}}}", leaf(10), row % 3, leaf(11)),
        };
        out += &format!(
            ",\"{name}\":{},\"s_{name}\":{},\"l_{name}\":{},\"m_{name}\":{map},\"n_{name}\":{}",
            leaf(1 + at),
            if row % 7 == at {
                "null".to_owned()
            } else {
                format!("{{\"x\":{},\"y\":{}}}", leaf(2), inner(4))
            },
            list(row, 64 * at + 20, |salt| value(ddl, row, salt)),
            list(row, 64 * at + 40, nested),
        );
    }
    out + "}"
}

/// The rows by our decoder and encoder.
fn write_ours(schema: &Schema, payloads: &[String], file: &Path) {
    let mut columns = Columns::new(schema);
    let mut decoder = Decoder::new(schema, &Decoding::default());
    let record = Record {
        offset: Offset(0),
        timestamp_ms: None,
        log_append_time: false,
        key: None,
        value: None,
        headers: Headers::NONE,
    };
    let facts = RecordFacts { topic: "topic", partition: 0, record };
    let mut parquet = ParquetFile::create(schema, Compression::Zstd(1), 64 << 20).unwrap();
    for row_group in payloads.chunks(ROW_GROUP) {
        for batch in row_group.chunks(BATCH) {
            for payload in batch {
                decoder.append(&mut columns, payload.as_bytes(), &facts).unwrap();
            }
            parquet.write(&columns).unwrap();
            columns.truncate(0);
        }
        parquet.flush_row_group().unwrap();
    }
    let mut bytes = parquet.take_parts().concat();
    bytes.extend(parquet.close().unwrap().parts.concat());
    std::fs::write(file, bytes).unwrap();
}

/// The rows by arrow-json and the crate's writer.
fn write_theirs(schema: &Schema, payloads: &[String], file: &Path) {
    let schema = schema.to_arrow();
    let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(BATCH).build_decoder().unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(file).unwrap(), schema, None).unwrap();
    for batch in payloads.chunks(BATCH) {
        let text = batch.join("\n");
        assert_eq!(decoder.decode(text.as_bytes()).unwrap(), text.len());
        writer.write(&decoder.flush().unwrap().unwrap()).unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn every_reader_sees_in_our_pages_what_it_sees_in_those_of_the_stock_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours.parquet"), directory.path().join("theirs.parquet"));
    let (schema, payloads) = (schema(), (0..ROWS).map(payload).collect::<Vec<_>>());
    write_ours(&schema, &payloads, &ours);
    write_theirs(&schema, &payloads, &theirs);
    for reader in ["pyarrow", "duckdb", "polars"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/oracle/pages.py");
        let said: serde_json::Value =
            serde_json::from_str(&tool("python", &[script, reader, &path(&ours), &path(&theirs)])).unwrap();
        assert_eq!(said["rows"], ROWS);
    }
}
