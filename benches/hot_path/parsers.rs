//! One value's text to its column: numbers, decimals, dates, timestamps.
//!
//! A row is an array of [`VALUES`], so that what a row costs hardly counts.
//! The twins are arrow-json into the same column, and the parser that a
//! service would call by itself: serde_json's numbers, jiff's dates and times.

use std::collections::BTreeMap;

use criterion::{Criterion, Throughput};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use thalweg::columnar::{Columns, Decoder};
use thalweg::config::{Decoding, EpochUnit};
use thalweg_workloads::Random;

use crate::cpu_time::CpuTime;
use crate::decode;
use crate::workload::Workload;

/// Of a row, and rows of a batch.
const VALUES: usize = 64;
const ROWS: usize = 512;

/// 2024-06-10T06:13:20Z.
const MOMENT: i64 = 1_718_000_000;

struct Kind {
    name: &'static str,
    ddl: &'static str,
    text: fn(&mut Random) -> String,
    /// What a service would call by itself, over all values of a row.
    by_itself: fn(&[u8]) -> usize,
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "integer_short",
        ddl: "v ARRAY<BIGINT>",
        text: |random| random.below(1000).to_string(),
        by_itself: numbers::<i64>,
    },
    Kind {
        name: "integer_long",
        ddl: "v ARRAY<BIGINT>",
        text: |random| (random.draw() as i64).to_string(),
        by_itself: numbers::<i64>,
    },
    Kind { name: "double_price", ddl: "v ARRAY<DOUBLE>", text: price, by_itself: numbers::<f64> },
    Kind {
        name: "double_long",
        ddl: "v ARRAY<DOUBLE>",
        text: |random| (random.draw() as f64 / 3e12).to_string(),
        by_itself: numbers::<f64>,
    },
    Kind { name: "decimal", ddl: "v ARRAY<DECIMAL(18, 2)>", text: price, by_itself: numbers::<f64> },
    Kind {
        name: "date",
        ddl: "v ARRAY<DATE>",
        text: |random| quoted(moment(random).strftime("%F")),
        by_itself: parsed::<Date>,
    },
    Kind {
        name: "timestamp_text",
        ddl: "v ARRAY<TIMESTAMP>",
        text: |random| quoted(moment(random)),
        by_itself: parsed::<Timestamp>,
    },
    Kind {
        name: "timestamp_epoch_ms",
        ddl: "v ARRAY<TIMESTAMP>",
        text: |random| moment(random).as_millisecond().to_string(),
        by_itself: numbers::<i64>,
    },
];

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    for kind in &KINDS {
        let mut random = Random::new(42);
        let row = |_| {
            let values: Vec<String> = (0..VALUES).map(|_| (kind.text)(&mut random)).collect();
            format!("{{\"v\":[{}]}}", values.join(",")).into_bytes()
        };
        let workload = Workload::new(kind.name, kind.ddl, (0..ROWS).map(row).collect());
        let mut group = criterion.benchmark_group(format!("parsers/{}", kind.name));
        group.throughput(Throughput::Elements((VALUES * ROWS) as u64)).sample_size(20);
        group.bench_function("ours", |bencher| {
            // An integer is as good a member of the first as of the second: only numbers are counted in a unit.
            let timestamps = BTreeMap::from([("v[]".to_owned(), EpochUnit::Milliseconds)]);
            let timestamps = if kind.name.ends_with("_ms") { timestamps } else { BTreeMap::new() };
            let decoding = Decoding { timestamps, ..Decoding::default() };
            let mut decoder = Decoder::new(&workload.schema, &decoding);
            let mut columns = Columns::new(&workload.schema);
            bencher.iter(|| decode::ours(&workload, &mut decoder, &mut columns));
        });
        group.bench_function("arrow_json", |bencher| {
            let mut decoder = workload.arrow_json();
            bencher.iter(|| decode::twin(&workload, &mut decoder));
        });
        group.bench_function("by_itself", |bencher| {
            bencher.iter(|| {
                let values: usize =
                    workload.payloads.iter().map(|row| (kind.by_itself)(&row[5..row.len() - 1])).sum();
                assert_eq!(values, VALUES * ROWS);
            });
        });
    }
}

fn price(random: &mut Random) -> String {
    let cents = random.below(100_000);
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// To the millisecond, within half a year.
fn moment(random: &mut Random) -> Timestamp {
    let start = Timestamp::from_second(MOMENT).expect("a moment of our time");
    start + (random.below(15_000_000_000) as i64).milliseconds()
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

fn numbers<T: serde::de::DeserializeOwned>(text: &[u8]) -> usize {
    serde_json::from_slice::<Vec<T>>(text).expect("an array of numbers").len()
}

/// Strings borrow from the row.
fn parsed<T: std::str::FromStr>(text: &[u8]) -> usize {
    let texts: Vec<&str> = serde_json::from_slice(text).expect("an array of plain strings");
    texts.iter().filter(|text| text.parse::<T>().is_ok()).count()
}
