use std::collections::BTreeMap;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{self, Encoding, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::columnar::model::{self, Value, push_row, rows_of};
use crate::error::ErrorKind;
use crate::schema::{DataType, Field, Indexed};

/// Rows in batches; each batch a row group of its own, or not.
pub(super) type Batches = Vec<(Vec<Vec<Value>>, bool)>;

pub(super) fn batches(schema: &Schema) -> impl Strategy<Value = Batches> + use<> {
    let rows = proptest::collection::vec(model::row(schema), 0..12);
    let all_null = proptest::collection::vec(Just(vec![Value::Null; schema.fields.len()]), 1..3);
    let nullable = schema.fields.iter().all(|field| field.nullable);
    let rows = prop_oneof![4 => rows.boxed(), u32::from(nullable) => all_null.boxed()];
    proptest::collection::vec((rows, any::<bool>()), 1..5)
}

pub(super) struct Written {
    pub(super) bytes: Bytes,
    pub(super) metadata: ParquetMetaData,
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) closed: ClosedFile,
    pub(super) encoder: Encoder,
}

fn write(schema: &Schema, batches: &Batches, compression: Compression) -> Written {
    write_with(Encoder::new(schema, compression).unwrap(), schema, batches)
}

pub(super) fn write_with(encoder: Encoder, schema: &Schema, batches: &Batches) -> Written {
    let mut columns = Columns::new(schema);
    let file = ParquetFile::with_encoder(encoder, schema, 64 << 20).unwrap();
    let mut file = file.parts_of(1000);
    let mut bytes = Vec::new();
    for (rows, flush) in batches {
        rows.iter().for_each(|row| push_row(&mut columns, row));
        file.write(&mut columns).unwrap();
        columns.truncate(0);
        if *flush {
            file.flush_row_group().unwrap();
            assert_eq!(file.encoder.bytes(), 0, "nothing is left of a row group that has ended");
        }
        bytes.extend(file.take_parts().concat());
    }
    let (closed, encoder) = file.finish().unwrap();
    bytes.extend(closed.parts.concat());
    let bytes = Bytes::from(bytes);
    assert_eq!(closed.size, bytes.len() as u64);
    assert_eq!(closed.checksum, crc32fast::hash(&bytes));
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let metadata = builder.metadata().as_ref().clone();
    let rows: Vec<_> = builder.build().unwrap().flat_map(|batch| rows_of(&batch.unwrap())).collect();
    assert_eq!(closed.rows, rows.len() as u64);
    Written { bytes, metadata, rows, closed, encoder }
}

pub(super) fn all(batches: &Batches) -> Vec<Vec<Value>> {
    batches.iter().flat_map(|(rows, _)| rows.clone()).collect()
}

/// The leaves of a JSON object as texts, `a.b` → `1.50`.
fn flat(json: &str) -> BTreeMap<String, String> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
    let mut out = BTreeMap::new();
    for (name, value) in members {
        if value.get().starts_with('{') {
            out.extend(flat(value.get()).into_iter().map(|(path, text)| (format!("{name}.{path}"), text)));
        } else {
            out.insert(name, value.get().to_owned());
        }
    }
    out
}

/// Statistics computed the long way, over every value of every column.
fn brute(
    fields: &[Field],
    column: &dyn Fn(usize) -> Vec<Value>,
    path: &str,
    out: &mut BTreeMap<String, String>,
) {
    for (index, field) in fields.iter().enumerate() {
        let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
        let values = column(index);
        match &field.data_type {
            DataType::Struct(members) => {
                let member = |at: usize| {
                    let of = |value: &Value| match value {
                        Value::Row(row) => row[at].clone(),
                        _ => Value::Null,
                    };
                    values.iter().map(of).collect()
                };
                brute(members, &member, &path, out);
            }
            DataType::Array { .. } | DataType::Map { .. } => {}
            leaf => {
                let present: Vec<&Value> = values.iter().filter(|value| **value != Value::Null).collect();
                out.insert(format!("nullCount.{path}"), (values.len() - present.len()).to_string());
                if let Some((min, max)) = bounds(leaf, &present) {
                    out.extend(min.map(|min| (format!("minValues.{path}"), min)));
                    out.extend(max.map(|max| (format!("maxValues.{path}"), max)));
                }
            }
        }
    }
}

fn bounds(leaf: &DataType, values: &[&Value]) -> Option<(Option<String>, Option<String>)> {
    if values.is_empty() {
        return None;
    }
    let integers = || {
        let all = values.iter().map(|value| match value {
            Value::Integer(value) => *value,
            other => panic!("{other:?}"),
        });
        (all.clone().min().unwrap(), all.max().unwrap())
    };
    let both =
        |(min, max): (i128, i128), text: &dyn Fn(i128) -> String| Some((Some(text(min)), Some(text(max))));
    let instant = |ms: i128| jiff::Timestamp::from_millisecond(ms as i64).unwrap();
    match leaf {
        DataType::Binary => None,
        DataType::Boolean => {
            let any = |wanted| values.iter().any(|value| **value == Value::Boolean(wanted));
            Some((Some((!any(false)).to_string()), Some(any(true).to_string())))
        }
        DataType::Decimal { scale, .. } => both(integers(), &|value| stats::decimal_text(value, *scale)),
        DataType::Date => {
            both(integers(), &|days| format!("\"{}\"", &instant(days * 86_400_000).to_string()[..10]))
        }
        DataType::Timestamp => {
            let (min, max) = integers();
            let (min, max) = (min.div_euclid(1000), (max + 999).div_euclid(1000));
            both((min, max), &|ms| format!("\"{:.3}\"", instant(ms)))
        }
        DataType::Float | DataType::Double => {
            let all: Vec<f64> = values
                .iter()
                .map(|value| match value {
                    Value::Float(bits) => f64::from_bits(*bits),
                    other => panic!("{other:?}"),
                })
                .collect();
            if all.iter().any(|value| value.is_nan()) {
                return None;
            }
            let (min, max) = all
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
            let text = |value: f64, zero: &str| {
                value.is_finite().then(|| {
                    if value == 0.0 { zero.to_owned() } else { serde_json::to_string(&value).unwrap() }
                })
            };
            Some((text(min, "-0.0"), text(max, "0.0")))
        }
        DataType::String => {
            let all = || {
                values.iter().map(|value| match value {
                    Value::Text(text) => text.as_str(),
                    other => panic!("{other:?}"),
                })
            };
            let (min, max) = (all().min().unwrap(), all().max().unwrap());
            let cut: String = min.chars().take(32).collect();
            Some((Some(serde_json::to_string(&cut).unwrap()), above(max)))
        }
        _ => both(integers(), &|value| value.to_string()),
    }
}

/// The first 32 characters, the last that can be raised raised.
fn above(max: &str) -> Option<String> {
    let mut kept: Vec<char> = max.chars().take(32).collect();
    if max.chars().count() > 32 {
        while kept.last() == Some(&char::MAX) {
            kept.pop();
        }
        let last = kept.pop()?;
        kept.push((last..=char::MAX).nth(1).unwrap());
    }
    Some(serde_json::to_string(&kept.iter().collect::<String>()).unwrap())
}

proptest! {
    #[test]
    fn a_file_reads_back_and_its_statistics_are_those_of_its_rows(
        (schema, batches) in model::schema().prop_flat_map(|schema| {
            let batches = batches(&schema);
            (Just(schema), batches)
        }),
    ) {
        let written = write(&schema, &batches, Compression::Zstd(1));
        let rows = all(&batches);
        prop_assert_eq!(&written.rows, &rows);
        let mut expected = BTreeMap::from([("numRecords".to_owned(), rows.len().to_string())]);
        let column = |index: usize| rows.iter().map(|row| row[index].clone()).collect();
        brute(&schema.fields, &column, "", &mut expected);
        prop_assert_eq!(flat(&written.closed.stats), expected, "{}", schema);
    }
}

pub(super) fn table(ddl: &str) -> Schema {
    Schema::from_ddl(ddl).unwrap()
}

fn stats_of(ddl: &str, groups: &[&[Value]]) -> BTreeMap<String, String> {
    let rows = |values: &[Value]| values.iter().map(|value| vec![value.clone()]).collect::<Vec<_>>();
    let batches = groups.iter().map(|values| (rows(values), true)).collect();
    flat(&write(&table(ddl), &batches, Compression::None).closed.stats)
}

#[test]
fn a_row_group_of_nulls_does_not_hide_the_bounds_of_the_others() {
    let one = |value| Value::Integer(value);
    let stats = stats_of("a BIGINT", &[&[one(5)], &[Value::Null, Value::Null], &[one(-7), Value::Null]]);
    assert_eq!((stats["minValues.a"].as_str(), stats["maxValues.a"].as_str()), ("-7", "5"));
    assert_eq!((stats["nullCount.a"].as_str(), stats["numRecords"].as_str()), ("3", "5"));
    let stats = stats_of("a BIGINT", &[&[Value::Null]]);
    assert!(!stats.contains_key("minValues.a"));
}

#[test]
fn one_nan_takes_the_bounds_of_all_row_groups() {
    let values = |values: &[f64]| values.iter().copied().map(model::float).collect::<Vec<_>>();
    let stats = stats_of("a DOUBLE", &[&values(&[1.0]), &values(&[f64::NAN, 2.0])]);
    assert_eq!(stats.len(), 2, "{stats:?}");
    let stats = stats_of("a FLOAT", &[&values(&[1.0, f64::INFINITY])]);
    assert_eq!((stats["minValues.a"].as_str(), stats.get("maxValues.a")), ("1.0", None));
}

#[test]
fn long_strings_are_cut_to_bounds_that_hold() {
    let long = |text: &str| Value::Text(text.repeat(300));
    let stats = stats_of("a STRING", &[&[long("z"), Value::Text(String::new())], &[long("é")]]);
    assert_eq!(stats["minValues.a"], "\"\"");
    assert_eq!(stats["maxValues.a"], format!("\"{}ê\"", "é".repeat(31)));
    let stats = stats_of("a STRING", &[&[long("\u{10FFFF}")]]);
    assert_eq!(stats["maxValues.a"], format!("\"{}\"", "\u{10FFFF}".repeat(300)), "nothing shorter is above");
    assert_eq!(stats["minValues.a"], format!("\"{}\"", "\u{10FFFF}".repeat(32)));
}

#[test]
fn only_the_first_columns_are_indexed_and_a_list_counts_as_one() {
    let schema = table("a INT, l ARRAY<STRUCT<x: INT, y: INT>>, s STRUCT<b: INT, c: INT>, d INT");
    let row = vec![Value::Integer(1), Value::Null, Value::Row(vec![Value::Integer(2); 2]), Value::Integer(3)];
    let stats = |indexed| {
        let schema = Schema { indexed, ..schema.clone() };
        flat(&write(&schema, &vec![(vec![row.clone()], false)], Compression::None).closed.stats)
    };
    let expected: Vec<(String, String)> = [
        ("maxValues.a", "1"),
        ("maxValues.s.b", "2"),
        ("minValues.a", "1"),
        ("minValues.s.b", "2"),
        ("nullCount.a", "0"),
        ("nullCount.s.b", "0"),
        ("numRecords", "1"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    assert_eq!(Vec::from_iter(stats(Indexed::First(3))), expected);
    assert_eq!(stats(Indexed::First(usize::MAX))["maxValues.d"], "3");
    assert_eq!(stats(Indexed::First(0)).len(), 1);
    let named = |path: &[&str]| Indexed::Named(vec![path.iter().map(|&name| name.to_owned()).collect()]);
    let keys = |stats: BTreeMap<String, String>| stats.into_keys().collect::<Vec<_>>();
    let member = ["maxValues.s.c", "minValues.s.c", "nullCount.s.c", "numRecords"];
    assert_eq!(keys(stats(named(&["s", "c"]))), member);
    assert_eq!(stats(named(&["s"])).len(), 7, "with all its members");
}

#[test]
fn every_setting_took_effect() {
    let ddl = "id BIGINT, n TINYINT, day DATE, at TIMESTAMP, d DECIMAL(18, 2), e DECIMAL(38, 2), f DOUBLE, \
               ok BOOLEAN, s STRING, l ARRAY<BIGINT>, m MAP<STRING, BIGINT>, t STRUCT<u: STRUCT<v: BIGINT>>";
    let schema = table(ddl);
    let one = || Value::Integer(1);
    let text = || Value::Text("x".into());
    let row = vec![
        one(),
        one(),
        one(),
        one(),
        one(),
        one(),
        model::float(1.5),
        Value::Boolean(true),
        text(),
        Value::List(vec![one()]),
        Value::Map(vec![(text(), one())]),
        Value::Row(vec![Value::Row(vec![one()])]),
    ];
    let written = write(&schema, &vec![(vec![row; 10], false)], Compression::Zstd(1));
    let file = written.metadata.file_metadata();
    assert_eq!(file.created_by(), Some(concat!("thalweg version ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(file.version(), 1);
    assert!(file.key_value_metadata().is_none_or(Vec::is_empty));
    let (large, plain) = (Physical::INT64, Encoding::PLAIN);
    let expected = [
        ("id", large),
        ("n", Physical::INT32),
        ("day", Physical::INT32),
        ("at", large),
        ("d", large),
        ("e", Physical::FIXED_LEN_BYTE_ARRAY),
        ("f", Physical::DOUBLE),
        ("ok", Physical::BOOLEAN),
        ("s", Physical::BYTE_ARRAY),
        ("l.list.element", large),
        ("m.key_value.key", Physical::BYTE_ARRAY),
        ("m.key_value.value", large),
        ("t.u.v", large),
    ];
    let columns = written.metadata.row_group(0).columns();
    assert_eq!(columns.len(), expected.len());
    for (column, (path, physical)) in columns.iter().zip(expected) {
        assert_eq!((column.column_path().string().as_str(), column.column_type()), (path, physical));
        assert!(matches!(column.compression(), basic::Compression::ZSTD(_)));
        assert!(column.statistics().is_some() && column.bloom_filter_offset().is_none(), "{path}");
        assert!(column.offset_index_offset().is_some(), "{path}");
        let is_number = matches!(physical, Physical::INT32 | Physical::INT64 | Physical::DOUBLE);
        assert_eq!(column.column_index_offset().is_some(), is_number, "{path}");
        let has_dictionary = column.encodings().any(|found| found == Encoding::RLE_DICTIONARY);
        assert_eq!(column.dictionary_page_offset().is_some(), has_dictionary, "{path}");
    }
    assert!(columns[5].encodings().all(|found| [plain, Encoding::RLE].contains(&found)));
    let at = &written.metadata.file_metadata().schema_descr().columns()[3];
    let Some(basic::LogicalType::Timestamp(timestamp)) = at.logical_type_ref() else {
        panic!("{:?}", at.logical_type_ref());
    };
    assert!(timestamp.is_adjusted_to_u_t_c && timestamp.unit == basic::TimeUnit::MICROS);
    for (compression, name) in [(Compression::Snappy, "SNAPPY"), (Compression::None, "UNCOMPRESSED")] {
        let written = write(&table("a INT"), &vec![(vec![vec![one()]], false)], compression);
        assert_eq!(written.metadata.row_group(0).column(0).compression().to_string(), name);
    }
}

#[test]
fn bytes_leave_while_the_file_is_open_and_memory_falls() {
    let schema = table("a BIGINT, s STRING");
    let mut columns = Columns::new(&schema);
    let mut file = ParquetFile::create(&schema, Compression::None, 100_000).unwrap().parts_of(30_000);
    let mut taken = Vec::new();
    for n in 0..40_000_i64 {
        let scrambled = n.wrapping_mul(0x1E37_79B9_7F4A_7C15);
        push_row(&mut columns, &[Value::Integer(scrambled.into()), Value::Text(format!("{scrambled:x}"))]);
        if columns.rows() == 1000 {
            file.write(&mut columns).unwrap();
            columns.truncate(0);
            let before = file.memory();
            let parts = file.take_parts();
            assert_eq!(file.memory(), before - 30_000 * parts.len());
            assert!(file.memory() < 800_000, "a row group and a part: {}", file.memory());
            taken.extend(parts.concat());
        }
    }
    assert!(taken.len() > 500_000, "row groups ended on their own: {}", taken.len());
    assert!(file.size_estimate() >= taken.len() as u64);
    let closed = file.close().unwrap();
    taken.extend(closed.parts.concat());
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(taken)).unwrap();
    assert!(builder.metadata().num_row_groups() > 5);
    assert_eq!(builder.metadata().file_metadata().num_rows(), 40_000);
}

/// A file of `columns` integer columns after `rows` rows of scrambled values.
fn wide(columns: usize, rows: usize, row_group_bytes: usize) -> ParquetFile {
    let ddl: Vec<String> = (0..columns).map(|at| format!("c{at} BIGINT")).collect();
    let schema = table(&ddl.join(", "));
    let mut buffers = Columns::new(&schema);
    let mut file = ParquetFile::create(&schema, Compression::Zstd(1), row_group_bytes).unwrap();
    for row in 0..rows as i64 {
        let value = |at| row.wrapping_mul(0x1E37_79B9_7F4A_7C15).wrapping_add(at) >> 24;
        push_row(
            &mut buffers,
            &(0..columns as i64).map(|at| Value::Integer(value(at).into())).collect::<Vec<_>>(),
        );
        if buffers.rows() == 1024 {
            file.write(&mut buffers).unwrap();
            buffers.truncate(0);
        }
    }
    file
}

#[test]
fn a_wide_table_holds_small_pages_and_one_compressor() {
    let file = wide(200, 1024, 8 << 20);
    assert!(file.memory() > 200 * 1024 * 5, "the values count: {}", file.memory());
    assert!(file.memory() < 8 << 20, "200 columns of 8 KiB, and how they were tried: {}", file.memory());
    let file = wide(200, 40_960, 8 << 20);
    assert!(file.memory() < 24 << 20, "a row group of 8 MiB, a part, open pages: {}", file.memory());
    let parts = file.close().unwrap().parts;
    let built = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(parts.concat())).unwrap();
    let rows: Vec<i64> = built.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert!(rows[..rows.len() - 1].iter().all(|&rows| rows >= 8_192), "{rows:?}");
    assert_eq!(rows.iter().sum::<i64>(), 40_960);
}

#[test]
fn a_schema_without_parquet_form_is_refused() {
    let schema = Schema::of(vec![Field::new("s", DataType::Struct(Vec::new()), true)]);
    let error = ParquetFile::create(&schema, Compression::None, 1).err().unwrap();
    assert_eq!(error.kind, ErrorKind::CannotWrite);
}

#[test]
fn a_file_without_rows_is_a_file() {
    let written = write(&table("a INT"), &Vec::new(), Compression::None);
    assert_eq!(written.closed.stats, r#"{"numRecords":0,"minValues":{},"maxValues":{},"nullCount":{"a":0}}"#);
    assert!(written.bytes.starts_with(b"PAR1") && written.bytes.ends_with(b"PAR1"));
}

mod oracle;
