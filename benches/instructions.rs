//! One stage of a record's way, run so often that callgrind can tell what a row costs.
//!
//! Owns the stages and their twins of stock crates; counting and comparing is
//! `tools/bench/instructions`. A run makes its rows, warms up with one pass and
//! does `PASSES` more: the difference between two runs is the passes alone.
//!
//! usage: instructions STAGE PASSES; rows WORKLOAD: its payloads, a line each; without arguments: the stages, each with its rows a pass and the bytes of a row

#[expect(dead_code, reason = "shared with the benches, which use all of it")]
mod workload;

use std::io::Write;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{self, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use thalweg::columnar::{Columns, Encoder, ParquetFile};
use thalweg::config::Compression;
use workload::{ROWS, Workload, append_all};

/// Batches a file, each of other rows: enough for dictionaries to pay or to be given up.
const BATCHES: usize = 8;

/// A stage, its rows a pass, and what runs so many passes.
type Stage = (String, usize, Box<dyn Fn(u64)>);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => stages().iter().for_each(|(name, rows, _)| println!("{name} {rows} {}", bytes_per_row(name))),
        ["rows", workload] => {
            let rows = workload::named(workload, ROWS).payloads.join(b"\n".as_slice());
            std::io::stdout().write_all(&rows).expect("somebody reads it");
        }
        [wanted, passes] => {
            let stages = stages();
            let stage = stages.iter().find(|(name, ..)| *name == wanted).expect("a stage of the list");
            stage.2(1 + passes.parse::<u64>().expect("a number of passes"));
        }
        _ => panic!("usage: instructions STAGE PASSES"),
    }
}

/// Nothing runs until a stage is called: making rows is in both counts, and so in neither difference.
fn stages() -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for name in workload::NAMES {
        let mut add = |kind: &str, rows: usize, stage: fn(&Workload, u64)| {
            let stage = move |passes| stage(&workload::named(name, rows), passes);
            stages.push((format!("{kind}/{name}"), rows, Box::new(stage)));
        };
        add("decode", ROWS, decode);
        add("arrow_json", ROWS, arrow_json);
        if ["w1_stable", "w3_nested"].contains(&name) {
            add("encode", ROWS * BATCHES, encode);
            add("arrow_writer", ROWS * BATCHES, |workload, passes| {
                arrow_writer(workload, passes, |_, it| it)
            });
            add("arrow_writer_tuned", ROWS * BATCHES, |workload, passes| {
                arrow_writer(workload, passes, tuned)
            });
            add("turn", ROWS * BATCHES, turn);
        }
    }
    stages
}

fn bytes_per_row(stage: &str) -> usize {
    workload::named(stage.rsplit('/').next().unwrap_or_default(), ROWS).bytes_per_row()
}

// ---- ours ---------------------------------------------------------------------------------------------------------

fn decode(workload: &Workload, passes: u64) {
    let (mut decoder, mut columns) = workload.decoder();
    for _ in 0..passes {
        append_all(workload.padded(), &mut decoder, &mut columns);
        let batch = columns.freeze();
        assert_eq!(batch.num_rows(), ROWS);
        columns.recover(batch);
    }
}

fn encoder(workload: &Workload) -> Encoder {
    Encoder::new(&workload.schema, Compression::Zstd(1)).expect("the schema has a Parquet form")
}

/// Writes a file; the encoder goes from file to file.
fn write(workload: &Workload, encoder: Encoder, batches: impl FnOnce(&mut ParquetFile)) -> Encoder {
    let file = ParquetFile::with_encoder(encoder, &workload.schema, 64 << 20);
    let mut file = file.expect("the schema has a Parquet form");
    batches(&mut file);
    let (closed, encoder) = file.finish().expect("memory takes every byte");
    assert!(closed.size > 0);
    encoder
}

fn encode(workload: &Workload, passes: u64) {
    let mut batches = workload::batches(workload, BATCHES);
    let mut encoder = encoder(workload);
    for _ in 0..passes {
        encoder = write(workload, encoder, |file| {
            batches.iter_mut().for_each(|columns| file.write(columns).expect("memory takes every byte"));
        });
    }
}

/// What a shard does with its records: decode, encode, take the memory back.
fn turn(workload: &Workload, passes: u64) {
    let (mut decoder, mut columns) = workload.decoder();
    let mut encoder = encoder(workload);
    for _ in 0..passes {
        let mut payloads = workload.padded();
        encoder = write(workload, encoder, |file| {
            for _ in 0..BATCHES {
                append_all(payloads.by_ref().take(ROWS), &mut decoder, &mut columns);
                file.write(&mut columns).expect("memory takes every byte");
                columns.truncate(0);
            }
        });
    }
}

// ---- twins --------------------------------------------------------------------------------------------------------

fn arrow_json(workload: &Workload, passes: u64) {
    let mut decoder = workload.arrow_json();
    for _ in 0..passes {
        for payload in &workload.payloads {
            decoder.decode(payload).expect("generated rows fit");
        }
        let batch = decoder.flush().expect("generated rows fit").expect("there are rows");
        assert_eq!(batch.num_rows(), ROWS);
    }
}

fn arrow_writer(
    workload: &Workload,
    passes: u64,
    settings: fn(&Workload, WriterPropertiesBuilder) -> WriterPropertiesBuilder,
) {
    let batches: Vec<RecordBatch> =
        workload::batches(workload, BATCHES).iter_mut().map(Columns::freeze).collect();
    let level = ZstdLevel::try_new(1).expect("a level of zstd");
    let properties = WriterProperties::builder().set_compression(basic::Compression::ZSTD(level));
    let properties = settings(workload, properties).build();
    for _ in 0..passes {
        let writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties.clone()));
        let mut writer = writer.expect("the schema has a Parquet form");
        batches.iter().for_each(|batch| writer.write(batch).expect("memory takes every byte"));
        assert!(!writer.into_inner().expect("memory takes every byte").is_empty());
    }
}

/// The best settings that we know for the stock writer and these columns.
fn tuned(workload: &Workload, properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    let mut properties = properties.set_statistics_enabled(EnabledStatistics::Chunk);
    let path = |name: &str| ColumnPath::new(name.split('.').map(String::from).collect());
    for name in DISTINCT {
        properties = properties.set_column_dictionary_enabled(path(name), false);
    }
    // W3's `id` is a string, and its only time `created_at`.
    let rising: &[&str] = if workload.name == "w3_nested" { &["created_at"] } else { &["id", "ts"] };
    for name in rising {
        properties = properties.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    properties
}

/// Columns whose values hardly repeat.
const DISTINCT: [&str; 18] = [
    "id",
    "ts",
    "user_id",
    "price",
    "actor.id",
    "actor.login",
    "actor.url",
    "actor.avatar_url",
    "repo.id",
    "repo.name",
    "repo.url",
    "payload.push_id",
    "payload.commits.list.element.sha",
    "payload.commits.list.element.url",
    "payload.commits.list.element.message",
    "payload.commits.list.element.author.email",
    "payload.commits.list.element.author.name",
    "created_at",
];
