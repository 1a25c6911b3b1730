//! Bounds of every type, at both ends of it: no reader's filter may miss a row by them.
//!
//! The files and their statistics are ours, the log around them is written
//! here. Each row is a file of its own, so that a bound can hide it.

use std::fs;
use std::path::Path;

use serde_json::json;
use thalweg::columnar::{ClosedFile, Columns, Decoder, ParquetFile, RecordFacts};
use thalweg::config::{Compression, Decoding};
use thalweg::ids::Offset;
use thalweg::record::{Padded, Record};
use thalweg::schema::Schema;

use crate::judge::oracle;
use crate::program::{TIMEOUT, program};
use crate::services::{path, python};

/// A column of each type, and the values at which a bound is easily wrong, as JSON.
const EXTREMES: [(&str, &[&str]); 14] = [
    ("BOOLEAN", &["false", "true"]),
    ("TINYINT", &["-128", "0", "127"]),
    ("SMALLINT", &["-32768", "0", "32767"]),
    ("INT", &["-2147483648", "0", "2147483647"]),
    ("BIGINT", &["-9223372036854775808", "-9007199254740993", "9007199254740993", "9223372036854775807"]),
    ("FLOAT", &["-3.4028235e38", "-0.0", "0.1", "1e-45", "3.4028235e38"]),
    ("DOUBLE", &["-1.7976931348623157e308", "-0.0", "0.1", "5e-324", "1.7976931348623157e308"]),
    ("DECIMAL(9, 2)", &["\"-9999999.99\"", "\"0.01\"", "\"9999999.99\""]),
    ("DECIMAL(18, 4)", &["\"-99999999999999.9999\"", "\"90071992547409.9301\"", "\"99999999999999.9999\""]),
    (
        "DECIMAL(38, 6)",
        &[
            "\"-99999999999999999999999999999999.999999\"",
            "\"0.000001\"",
            "\"99999999999999999999999999999999.999999\"",
        ],
    ),
    (
        "STRING",
        &[
            "\"\"",
            "\"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\"",
            "\"ééééééééééééééééééééééééééééééééééééé\"",
            "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u{10FFFF}\u{10FFFF}\"",
        ],
    ),
    ("DATE", &["\"0001-01-01\"", "\"1969-12-31\"", "\"9999-12-31\""]),
    (
        "TIMESTAMP",
        &[
            "\"0001-01-01T00:00:00Z\"",
            "\"1969-12-31T23:59:59.999999Z\"",
            "\"2026-11-22T10:00:00.123456Z\"",
            "\"9999-12-31T23:59:59Z\"",
            "\"9999-12-31T23:59:59.999999Z\"",
        ],
    ),
    ("BINARY", &["\"\"", "\"AP8=\"", "\"//////////////////////////////////////////////////////\""]),
];

/// Polars opens no struct with a member that never has bounds: BINARY stands at the top only.
const IN_A_STRUCT: usize = EXTREMES.len() - 1;

/// The columns' names and types, as they stand at the top or in a struct.
fn columns(extremes: &[(&str, &[&str])], between: &str) -> String {
    let named = extremes.iter().enumerate().map(|(at, (ddl, _))| format!("c{at}{between}{ddl}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Row `number` of extremes, at the top and once more in a struct.
fn payload(number: usize) -> String {
    let members = |extremes: &[(&str, &[&str])]| {
        let member = |(at, (_, values)): (usize, &(&str, &[&str]))| {
            format!("\"c{at}\":{}", values.get(number).copied().unwrap_or("null"))
        };
        extremes.iter().enumerate().map(member).collect::<Vec<_>>().join(",")
    };
    format!("{{{},\"s\":{{{}}}}}", members(&EXTREMES), members(&EXTREMES[..IN_A_STRUCT]))
}

fn file_of(schema: &Schema, numbers: impl Iterator<Item = usize>) -> ClosedFile {
    let mut decoder = Decoder::new(schema, &Decoding::default());
    let (mut columns, mut room) = (Columns::new(schema), Vec::new());
    let facts = RecordFacts { topic: "topic", partition: 0, record: Record::bare(Offset(0)) };
    for number in numbers {
        let payload = payload(number);
        decoder.append(&mut columns, Padded::copied(payload.as_bytes(), &mut room), &facts).unwrap();
    }
    let mut file = ParquetFile::create(schema, Compression::Zstd(1), 64 << 20).unwrap();
    file.write(&mut columns).unwrap();
    file.close().unwrap()
}

fn put_version(table: &Path, version: u64, lines: &[serde_json::Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::create_dir_all(table.join("_delta_log")).unwrap();
    fs::write(table.join(format!("_delta_log/{version:020}.json")), text).unwrap();
}

#[test]
fn no_filter_of_any_reader_misses_a_row_at_the_ends_of_a_type() {
    let directory = tempfile::tempdir().unwrap();
    let schema = Schema::from_ddl(&format!(
        "{}, s STRUCT<{}>",
        columns(&EXTREMES, " "),
        columns(&EXTREMES[..IN_A_STRUCT], ": ")
    ))
    .unwrap();
    let rows = EXTREMES.iter().map(|(_, values)| values.len()).max().unwrap();
    let mut lines = vec![
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        json!({"metaData": {"id": "extremes", "format": {"provider": "parquet", "options": {}},
            "schemaString": schema.to_delta(), "partitionColumns": [], "configuration": {}}}),
    ];
    let each = (0..rows).map(|number| file_of(&schema, number..=number));
    for (number, file) in each.chain([file_of(&schema, 0..rows)]).enumerate() {
        let name = format!("part-{number}.parquet");
        fs::write(directory.path().join(&name), file.parts.concat()).unwrap();
        lines.push(json!({"add": {"path": name, "partitionValues": {}, "size": file.size,
            "modificationTime": 1, "dataChange": true, "stats": file.stats}}));
    }
    put_version(directory.path(), 0, &lines);
    let asked = oracle(&["filters.py", &path(directory.path())])["asked"].as_u64().unwrap();
    assert!(asked > 250, "{asked} filters");
}

/// A checkpoint as Spark writes it where a table wants statistics as columns: INT96 timestamps, no JSON.
const CHECKPOINT: &str = "
import sys, glob, os, json, datetime, decimal, pyarrow as pa, pyarrow.parquet as pq, deltalake
place, late = sys.argv[1], sys.argv[2] == 'wrong'
utc = datetime.timezone.utc
first, last = datetime.datetime(1, 1, 1, tzinfo=utc), datetime.datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=utc)
rows = pa.table({
    'at': pa.array([first, last], pa.timestamp('us', tz='UTC')),
    'day': pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    'price': pa.array([decimal.Decimal('-1.50'), decimal.Decimal('2.25')], pa.decimal128(9, 2)),
    'in': pa.array([{'at': first}, {'at': last}], pa.struct([('at', pa.timestamp('us', tz='UTC'))])),
})
deltalake.write_deltalake(place, rows)
actions = [json.loads(line) for line in open(glob.glob(place + '/_delta_log/*.json')[0])]
def bounds(row):
    return {name: rows[name][row].as_py() for name in rows.column_names}
high = bounds(1)
if late:
    high['in'] = {'at': last - datetime.timedelta(days=1)}
lines = []
for action in actions:
    action.pop('commitInfo', None)
    if 'metaData' in action:
        action['metaData']['configuration'] = []
        action['metaData']['format']['options'] = []
    if 'add' in action:
        add = action['add']
        add['stats'] = None
        add['tags'] = []
        add['partitionValues'] = []
        add['stats_parsed'] = {'numRecords': 2, 'minValues': bounds(0), 'maxValues': high, 'nullCount': {'at': 0, 'in': {'at': 0}}}
        add['partitionValues_parsed'] = {'day': first}
    if action:
        lines.append(action)
text, number, names = pa.string(), pa.int64(), pa.map_(pa.string(), pa.string())
stats = pa.struct([('numRecords', number), ('minValues', pa.struct(list(rows.schema))), ('maxValues', pa.struct(list(rows.schema))),
    ('nullCount', pa.struct([('at', number), ('in', pa.struct([('at', number)]))]))])
schema = pa.schema([
    ('protocol', pa.struct([('minReaderVersion', pa.int32()), ('minWriterVersion', pa.int32())])),
    ('metaData', pa.struct([('id', text), ('format', pa.struct([('provider', text), ('options', names)])), ('schemaString', text),
        ('partitionColumns', pa.list_(text)), ('configuration', names), ('createdTime', number)])),
    ('add', pa.struct([('path', text), ('partitionValues', names), ('size', number), ('modificationTime', number),
        ('dataChange', pa.bool_()), ('stats', text), ('tags', names), ('stats_parsed', stats),
        ('partitionValues_parsed', pa.struct([('day', pa.timestamp('us', tz='UTC'))]))])),
])
checkpoint = pa.Table.from_pylist(lines, schema=schema)
pq.write_table(checkpoint, place + '/_delta_log/00000000000000000000.checkpoint.parquet', use_deprecated_int96_timestamps=True)
os.remove(glob.glob(place + '/_delta_log/*.json')[0])
";

#[test]
fn statistics_that_stand_in_a_checkpoint_as_spark_writes_them_are_read_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, code) in [("right", 0), ("wrong", 1)] {
        let place = path(&directory.path().join(kind));
        fs::create_dir_all(&place).unwrap();
        python(CHECKPOINT, &[&place, kind]);
        program(&["table", "info", &place]).end(TIMEOUT).with(0);
        let ended = program(&["table", "verify", "--deep", &place]).end(TIMEOUT).with(code);
        assert!(!ended.stderr.contains("damaged"), "{}", ended.stderr);
        if code == 1 {
            ended.saying("the maximum of in.at below a value that it holds");
        }
    }
}
