//! A Parquet footer's statistics as the JSON of an `add` action.
//!
//! It owns counts, and bounds of numbers and strings; a type without bounds
//! here has only its null count, which Delta allows. Columns below a list have
//! none.

use parquet::basic::LogicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

/// Leaves with statistics, as in Delta's `dataSkippingNumIndexedCols`.
const LEAVES_MAX: usize = 32;

pub fn of(metadata: &ParquetMetaData) -> String {
    let (mut minimum, mut maximum, mut nulls) = (Map::new(), Map::new(), Map::new());
    for leaf in 0..metadata.file_metadata().schema_descr().num_columns().min(LEAVES_MAX) {
        let chunks: Vec<_> = metadata.row_groups().iter().map(|group| group.column(leaf)).collect();
        let Some(first) = chunks.first().filter(|chunk| chunk.column_descr().max_rep_level() == 0) else {
            continue;
        };
        let path = first.column_path().parts();
        let null_count = chunks.iter().map(|chunk| chunk.statistics()?.null_count_opt()).sum::<Option<u64>>();
        if let Some(count) = null_count {
            insert(&mut nulls, path, count.into());
        }
        let bounds: Vec<_> = chunks.iter().filter_map(|chunk| bounds(chunk)).collect();
        // One group without bounds leaves the file without: all null is such a case, and harmless.
        if bounds.len() == chunks.len() {
            let (low, high): (Vec<_>, Vec<_>) = bounds.into_iter().unzip();
            insert(&mut minimum, path, low.into_iter().reduce(lesser).expect("there is a first chunk"));
            insert(&mut maximum, path, high.into_iter().reduce(greater).expect("there is a first chunk"));
        }
    }
    let rows = metadata.file_metadata().num_rows();
    json!({"numRecords": rows, "minValues": minimum, "maxValues": maximum, "nullCount": nulls}).to_string()
}

fn bounds(chunk: &ColumnChunkMetaData) -> Option<(Value, Value)> {
    match chunk.statistics()? {
        Statistics::Int32(of) if is_a_number(chunk) => {
            Some(((*of.min_opt()?).into(), (*of.max_opt()?).into()))
        }
        Statistics::Int64(of) if is_a_number(chunk) => {
            Some(((*of.min_opt()?).into(), (*of.max_opt()?).into()))
        }
        Statistics::Double(of) => Some((finite(*of.min_opt()?)?, finite(*of.max_opt()?)?)),
        Statistics::ByteArray(of) => {
            Some((of.min_opt()?.as_utf8().ok()?.into(), of.max_opt()?.as_utf8().ok()?.into()))
        }
        _ => None,
    }
}

/// Not a time, a date or a decimal, which Delta writes in another way.
fn is_a_number(chunk: &ColumnChunkMetaData) -> bool {
    matches!(chunk.column_descr().logical_type_ref(), None | Some(LogicalType::Integer { .. }))
}

fn finite(value: f64) -> Option<Value> {
    value.is_finite().then(|| value.into())
}

fn lesser(a: Value, b: Value) -> Value {
    if is_less(&b, &a) { b } else { a }
}

fn greater(a: Value, b: Value) -> Value {
    if is_less(&a, &b) { b } else { a }
}

/// Of two bounds of one column, hence of one type.
fn is_less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a < b,
        _ => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a < b,
            _ => a.as_f64() < b.as_f64(),
        },
    }
}

fn insert(into: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            into.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            let below = into.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            insert(below.as_object_mut().expect("a struct's entry is an object"), rest, value);
        }
    }
}
