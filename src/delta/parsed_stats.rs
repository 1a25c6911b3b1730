//! Statistics that a checkpoint holds as columns (`add.stats_parsed`), as the JSON of an `add`.
//!
//! Spark writes both or, where a table wants no JSON in its checkpoints, the
//! columns only. It owns the way from the columns to the JSON. A bound may be
//! left out, and is where its type has none here: none may be narrower.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::delta::checkpoint_file;
use crate::schema::bounds::{Side, date_text, float_text, json_string, timestamp_text};

/// The column of an `add`, or of a `remove`, that holds them.
const COLUMN: &str = "stats_parsed";
/// Nobody here wants the partition's values as columns: they stand as text beside them.
const PARTITION_VALUES: &str = "partitionValues_parsed";

/// Whether a leaf of a checkpoint is worth reading. Statistics as columns are, where some file has no others.
pub fn is_wanted(file: &ParquetMetaData, leaf: &[String]) -> bool {
    match leaf.get(1).map(String::as_str) {
        Some(PARTITION_VALUES) => false,
        Some(COLUMN) => leaf[0] == "add" && file.row_groups().iter().any(may_be_alone),
        _ => true,
    }
}

/// Some file of this row group may have its statistics as columns only.
fn may_be_alone(group: &RowGroupMetaData) -> bool {
    let nulls = |name| checkpoint_file::leaf(group, name)?.statistics()?.null_count_opt();
    match (nulls("add.path"), nulls("add.stats")) {
        (Some(no_file), Some(no_json)) => no_json > no_file,
        _ => true,
    }
}

/// The statistics of each file as JSON: as they stand there, or else made of the columns.
pub fn json(adds: &StructArray, json: Option<&ArrayRef>) -> Option<ArrayRef> {
    let parsed = adds.column_by_name(COLUMN)?.as_struct_opt()?;
    let json = match json {
        Some(json) => Some(json.as_string_opt::<i32>()?),
        None => None,
    };
    let texts = (0..adds.len()).map(|row| match json.filter(|json| json.is_valid(row)) {
        Some(json) => Some(json.value(row).to_owned()),
        None => (adds.is_valid(row) && parsed.is_valid(row)).then(|| all(parsed, row)),
    });
    Some(std::sync::Arc::new(texts.collect::<StringArray>()))
}

fn all(parsed: &StructArray, row: usize) -> String {
    object(parsed, row, &|name, array| match name {
        "minValues" => bounds(array, row, Side::Min),
        "maxValues" => bounds(array, row, Side::Max),
        "nullCount" => counts(array, row),
        _ => plain(array, row),
    })
}

/// The members that `value` has a text for.
fn object(of: &StructArray, row: usize, value: &dyn Fn(&str, &ArrayRef) -> Option<String>) -> String {
    let mut text = String::from("{");
    for (field, array) in of.fields().iter().zip(of.columns()) {
        let Some(value) = array.is_valid(row).then(|| value(field.name(), array)).flatten() else { continue };
        let comma = if text.len() > 1 { "," } else { "" };
        write!(text, "{comma}{}:{value}", json_string(field.name())).expect("a string takes all");
    }
    text.push('}');
    text
}

fn counts(array: &ArrayRef, row: usize) -> Option<String> {
    match array.as_struct_opt() {
        Some(members) => Some(object(members, row, &|_, array| counts(array, row))),
        None => plain(array, row),
    }
}

fn plain(array: &ArrayRef, row: usize) -> Option<String> {
    match array.data_type() {
        DataType::Boolean => Some(array.as_boolean().value(row).to_string()),
        DataType::Int8 => Some(array.as_primitive::<Int8Type>().value(row).to_string()),
        DataType::Int16 => Some(array.as_primitive::<Int16Type>().value(row).to_string()),
        DataType::Int32 => Some(array.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row).to_string()),
        _ => None,
    }
}

fn bounds(array: &ArrayRef, row: usize, side: Side) -> Option<String> {
    match array.data_type() {
        DataType::Struct(_) => Some(object(array.as_struct(), row, &|_, array| bounds(array, row, side))),
        DataType::Float32 => float_text(array.as_primitive::<Float32Type>().value(row).into(), side),
        DataType::Float64 => float_text(array.as_primitive::<Float64Type>().value(row), side),
        DataType::Decimal128(precision, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            Some(Decimal128Type::format_decimal(value, *precision, *scale))
        }
        DataType::Utf8 => Some(json_string(array.as_string::<i32>().value(row))),
        DataType::Date32 => date_text(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(unit, zone) => {
            timestamp_text(micros(array, row, *unit, side)?, side, zone.is_some())
        }
        _ => plain(array, row),
    }
}

fn micros(array: &ArrayRef, row: usize, unit: TimeUnit, side: Side) -> Option<i64> {
    match unit {
        TimeUnit::Second => None,
        TimeUnit::Millisecond => {
            array.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1000)
        }
        TimeUnit::Microsecond => Some(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        TimeUnit::Nanosecond => {
            let nanos = array.as_primitive::<TimestampNanosecondType>().value(row);
            let cut = side == Side::Max && nanos.rem_euclid(1000) != 0;
            Some(nanos.div_euclid(1000) + i64::from(cut))
        }
    }
}
