//! Seeded payloads in the shapes that we measure with, as a decoder is given them.
//!
//! Owns the names and the memory; the records are those of `tools/bench/workloads`,
//! which fills the topics of the other tools, too. One more is here: `w3_nested`,
//! W3's push events alone, a nested record whose shape never changes.

pub mod counting;

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields};
use thalweg::columnar::{Columns, Decoder, ReadRecord, RecordFacts};
use thalweg::config::{Decoding, OnNewField};
use thalweg::ids::Offset;
use thalweg::record::{PADDING, Padded, Record};
use thalweg::schema::Schema;
use thalweg_workloads::{Random, Stream, Variation, Workload as Records};

pub const ROWS: usize = 4096;

const SEED: u64 = 42;

/// Payloads and the schema of their table.
pub struct Workload {
    pub name: &'static str,
    pub schema: Schema,
    pub payloads: Vec<Vec<u8>>,
    /// The payloads as they lie in a record batch.
    arena: Vec<u8>,
}

impl Workload {
    pub fn new(name: &'static str, ddl: &str, payloads: Vec<Vec<u8>>) -> Workload {
        let mut arena: Vec<u8> =
            payloads.iter().flat_map(|bytes| [bytes, b"\0".as_slice()].concat()).collect();
        arena.resize(arena.len() + PADDING, 0);
        Workload { name, schema: Schema::from_ddl(ddl).expect("a constant schema"), payloads, arena }
    }

    /// The payloads as a decoder is given them.
    pub fn padded(&self) -> impl Iterator<Item = Padded<'_>> {
        let mut start = 0;
        self.payloads.iter().map(move |payload| {
            let range = start..start + payload.len();
            start = range.end + 1;
            Padded::within(&self.arena, range)
        })
    }

    /// Mean bytes of a payload.
    pub fn bytes_per_row(&self) -> usize {
        self.payloads.iter().map(Vec::len).sum::<usize>() / self.payloads.len()
    }

    /// arrow-json's decoder of the same columns. It knows time zones by their offsets only.
    pub fn arrow_json(&self) -> arrow::json::reader::Decoder {
        let fields = self.schema.to_arrow().fields().iter().map(utc_by_offset).collect::<Fields>();
        arrow::json::ReaderBuilder::new(Arc::new(arrow::datatypes::Schema::new(fields)))
            .with_batch_size(self.payloads.len())
            .build_decoder()
            .expect("arrow-json knows every type of ours")
    }

    /// A decoder that ignores what the schema does not know, as the stock crates do, and its columns.
    pub fn decoder(&self) -> (Decoder, Columns) {
        let decoding = Decoding { on_new_field: OnNewField::Ignore, ..Decoding::default() };
        (Decoder::new(&self.schema, &decoding), Columns::new(&self.schema))
    }
}

fn utc_by_offset(field: &FieldRef) -> FieldRef {
    let below = |field: &FieldRef| utc_by_offset(field);
    let data_type = match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::List(element) => DataType::List(below(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(below).collect()),
        DataType::Map(entries, sorted) => DataType::Map(below(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// Appends each payload as a row, as a shard does.
pub fn append_all<'a>(
    payloads: impl Iterator<Item = Padded<'a>>,
    decoder: &mut Decoder,
    columns: &mut Columns,
) {
    for (offset, payload) in payloads.enumerate() {
        let read = decoder.read(columns, Some(payload), &facts(offset as i64));
        assert!(matches!(read, Ok(ReadRecord::Rows(1))), "generated rows fit");
    }
}

/// The rows as so many batches of columns, no two alike.
pub fn batches(workload: &Workload, count: usize) -> Vec<Columns> {
    let (mut decoder, _) = workload.decoder();
    let mut payloads = workload.padded();
    let batch = |_| {
        let mut columns = Columns::new(&workload.schema);
        append_all(payloads.by_ref().take(ROWS), &mut decoder, &mut columns);
        columns
    };
    (0..count).map(batch).collect()
}

/// The facts of a record with nothing but an offset.
pub fn facts(offset: i64) -> RecordFacts<'static> {
    let record = Record::bare(Offset(offset));
    RecordFacts { topic: "topic", partition: 0, record }
}

/// What the workloads are called, and what each is.
///
/// | name | is |
/// |---|---|
/// | `w1_stable`, `w2_union`, `w3_events`, `w4_changes`, `w5_logs` | the workload as it is |
/// | `w4schema_inline` | W4 with Kafka Connect's schema in each record |
/// | `w3_nested` | W3's push events alone: one shape |
/// | `…_shuffled` | the keys of every object in a new order in every row |
/// | `…_missing` | each key missing in a fifth of the rows |
/// | `…_escapes` | a third of the strings end in something escaped or not ASCII; `…_escaped` and `…_non_ascii`: only one of both |
/// | `…_shapes` | ten shapes interleaved: ten orders of keys, each without a fifth of them |
/// | `…_unknown` | ten members more, which the schema does not know |
pub const NAMES: [&str; 19] = [
    "w1_stable",
    "w1_shuffled",
    "w1_missing",
    "w1_escapes",
    "w1_escaped",
    "w1_non_ascii",
    "w1_shapes",
    "w1_unknown",
    "w2_union",
    "w3_nested",
    "w3_events",
    "w3_shuffled",
    "w3_missing",
    "w3_escapes",
    "w3_shapes",
    "w3_unknown",
    "w4_changes",
    "w4schema_inline",
    "w5_logs",
];

/// So many rows of a workload.
pub fn named(name: &str, rows: usize) -> Workload {
    let Some(&name) = NAMES.iter().find(|known| **known == name) else {
        panic!("{name} is none of {NAMES:?}")
    };
    if name == "w3_nested" {
        let mut random = Random::new(SEED);
        return Workload::new(
            name,
            W3_NESTED,
            (0..rows as u64).map(|row| push_event(row, &mut random).into_bytes()).collect(),
        );
    }
    let (records, variation) = name.split_once('_').expect("a workload and a variation");
    let records: Records = records.parse().expect("a workload of the names");
    // New fields appear in the second half of W3, which therefore is not reached.
    let stream = Stream::new(records, SEED, 2 * rows as u64).varied(variation_of(variation), SEED);
    Workload::new(name, records.ddl(), payloads(stream, rows))
}

/// W1, some of whose records are no rows.
pub fn malformed(share: f64, rows: usize) -> Workload {
    let stream = Stream::new(Records::W1, SEED, 2 * rows as u64).malformed(share);
    Workload::new("w1_malformed", Records::W1.ddl(), payloads(stream, rows))
}

fn payloads(mut stream: Stream, rows: usize) -> Vec<Vec<u8>> {
    let next = |_| {
        let mut payload = Vec::new();
        stream.next_record(&mut payload);
        payload
    };
    (0..rows).map(next).collect()
}

fn variation_of(name: &str) -> Variation {
    let as_it_is = Variation::default();
    match name {
        "shuffled" => Variation { shuffled: true, ..as_it_is },
        "missing" => Variation { missing: 0.2, ..as_it_is },
        "escapes" => Variation { escapes: true, non_ascii: true, ..as_it_is },
        "escaped" => Variation { escapes: true, ..as_it_is },
        "non_ascii" => Variation { non_ascii: true, ..as_it_is },
        "shapes" => Variation { shapes: 10, ..as_it_is },
        "unknown" => Variation { unknown: 10, ..as_it_is },
        _ => as_it_is,
    }
}

const W3_NESTED: &str = "id STRING, type STRING, actor STRUCT<id: BIGINT, login: STRING, gravatar_id: STRING, \
    url: STRING, avatar_url: STRING>, repo STRUCT<id: BIGINT, name: STRING, url: STRING>, \
    payload STRUCT<push_id: BIGINT, size: BIGINT, ref: STRING, commits: ARRAY<STRUCT<sha: STRING, \
    author: STRUCT<email: STRING, name: STRING>, message: STRING, distinct: BOOLEAN, url: STRING>>>, \
    public BOOLEAN, created_at BIGINT";

fn push_event(row: u64, random: &mut Random) -> String {
    let (actor, repo) = (random.below(300_000), random.skewed(100_000));
    let site = "https://api.example.com";
    let mut commits = String::new();
    for commit in 0..2 {
        let sha = format!("{:016x}{:016x}{:08x}", random.draw(), random.draw(), random.draw() as u32);
        let developer = random.below(50_000);
        let comma = if commit > 0 { "," } else { "" };
        write!(
            commits,
            r#"{comma}{{"sha":"{sha}","author":{{"email":"dev{developer}@example.com","name":"Dev {developer}"}},"message":"Fix {} in module {}","distinct":{},"url":"{site}/repos/org{}/repo{repo}/commits/{sha}"}}"#,
            random.below(9999), random.below(200), random.below(2) == 0, repo % 977
        )
        .expect("a String takes every byte");
    }
    format!(
        r#"{{"id":"{}","type":"PushEvent","actor":{{"id":{actor},"login":"user{actor}","gravatar_id":"","url":"{site}/users/user{actor}","avatar_url":"https://avatars.example.com/u/{actor}?"}},"repo":{{"id":{repo},"name":"org{1}/repo{repo}","url":"{site}/repos/org{1}/repo{repo}"}},"payload":{{"push_id":{2},"size":2,"ref":"refs/heads/main","commits":[{commits}]}},"public":true,"created_at":{3}}}"#,
        20_000_000_000 + row,
        repo % 977,
        9_000_000_000 + row * 3,
        1_718_000_000_000 + row * 2
    )
}
