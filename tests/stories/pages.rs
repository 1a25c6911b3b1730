//! Our Parquet pages, read by others.
//!
//! Every type stands at the top, in structs, lists and maps, with nulls at
//! every level, over several pages and row groups; the crate's own writer
//! writes the same rows, and each reader must see the same in both files.

use std::fs::File;
use std::path::Path;

use parquet::arrow::ArrowWriter;
use thalweg::columnar::{Columns, Decoder, ParquetFile, RecordFacts};
use thalweg::config::{Compression, Decoding};
use thalweg::ids::Offset;
use thalweg::record::{Padded, Record};
use thalweg::schema::Schema;

use crate::services::{path, tool};

const ROWS: u64 = 60_000;
const BATCH: usize = 4096;
/// Rows of a row group: some pages each.
const ROW_GROUP: u64 = 24_576;

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
        "DECIMAL(38, 6)" => format!("\"{sign}{}{:012}.{:06}\"", n + 1, n % 1_000_000_000_000, n % 1_000_000),
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

/// The rows by our encoder, in `ours`, and by the crate's writer, in `theirs`.
fn write(schema: &Schema, ours: &Path, theirs: &Path) {
    let mut columns = Columns::new(schema);
    let mut decoder = Decoder::new(schema, &Decoding::default());
    let record = Record::bare(Offset(0));
    let facts = RecordFacts { topic: "topic", partition: 0, record };
    let mut file = ParquetFile::create(schema, Compression::Zstd(1), 64 << 20).unwrap();
    let mut stock = ArrowWriter::try_new(File::create(theirs).unwrap(), schema.to_arrow(), None).unwrap();
    let (mut bytes, mut room) = (Vec::new(), Vec::new());
    for first in (0..ROWS).step_by(BATCH) {
        for row in first..ROWS.min(first + BATCH as u64) {
            let payload = payload(row);
            let padded = Padded::copied(payload.as_bytes(), &mut room);
            decoder.append(&mut columns, padded, &facts).unwrap();
        }
        file.write(&mut columns).unwrap();
        if first % ROW_GROUP == 0 {
            file.flush_row_group().unwrap();
        }
        bytes.extend(file.take_parts().concat());
        stock.write(&columns.freeze()).unwrap();
    }
    stock.close().unwrap();
    bytes.extend(file.close().unwrap().parts.concat());
    std::fs::write(ours, bytes).unwrap();
}

#[test]
fn every_reader_sees_in_our_pages_what_it_sees_in_those_of_the_stock_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours.parquet"), directory.path().join("theirs.parquet"));
    write(&schema(), &ours, &theirs);
    for reader in ["pyarrow", "duckdb", "polars"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/pages.py");
        let said: serde_json::Value =
            serde_json::from_str(&tool("python", &[script, reader, &path(&ours), &path(&theirs)])).unwrap();
        assert_eq!(said["rows"], ROWS);
    }
}
