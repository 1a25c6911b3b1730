//! A naive model of values, for tests: what Arrow holds, and random schemas and rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::columns::{Column, Columns, Data};
use super::facts::RecordFacts;
use crate::ids::Offset;
use crate::record::Record;
use crate::schema::{DataType, Field, Schema};

/// The facts of a record, for payloads that are to become rows.
pub const FACTS: RecordFacts<'static> = RecordFacts {
    topic: "orders",
    partition: 3,
    record: Record { timestamp_ms: Some(1_718_000_000_123), ..Record::bare(Offset(41)) },
};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Null,
    Boolean(bool),
    /// Integers, unscaled decimals, days, microseconds.
    Integer(i128),
    /// The bits, so that NaN and -0.0 compare; a FLOAT is widened.
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
    Row(Vec<Value>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

pub fn float(value: f64) -> Value {
    Value::Float(value.to_bits())
}

pub fn rows_of(batch: &RecordBatch) -> Vec<Vec<Value>> {
    let row = |row| batch.columns().iter().map(|column| read(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

pub fn read(array: &ArrayRef, row: usize) -> Value {
    let all = |list: ArrayRef| (0..list.len()).map(|at| read(&list, at)).collect::<Vec<_>>();
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        ArrowType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        ArrowType::Int8 => Value::Integer(array.as_primitive::<Int8Type>().value(row).into()),
        ArrowType::Int16 => Value::Integer(array.as_primitive::<Int16Type>().value(row).into()),
        ArrowType::Int32 => Value::Integer(array.as_primitive::<Int32Type>().value(row).into()),
        ArrowType::Int64 => Value::Integer(array.as_primitive::<Int64Type>().value(row).into()),
        ArrowType::Date32 => Value::Integer(array.as_primitive::<Date32Type>().value(row).into()),
        ArrowType::Decimal128(..) => Value::Integer(array.as_primitive::<Decimal128Type>().value(row)),
        ArrowType::Timestamp(..) => {
            Value::Integer(array.as_primitive::<TimestampMicrosecondType>().value(row).into())
        }
        ArrowType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        ArrowType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        ArrowType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        ArrowType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        ArrowType::Struct(_) => {
            Value::Row(array.as_struct().columns().iter().map(|child| read(child, row)).collect())
        }
        ArrowType::List(_) => Value::List(all(array.as_list::<i32>().value(row))),
        ArrowType::Map(..) => {
            let entries: ArrayRef = Arc::new(array.as_map().value(row));
            let pair = |entry| match entry {
                Value::Row(mut pair) => {
                    let value = pair.remove(1);
                    (pair.remove(0), value)
                }
                other => panic!("{other:?} is no entry"),
            };
            Value::Map(all(entries).into_iter().map(pair).collect())
        }
        other => panic!("{other} is no type of ours"),
    }
}

pub fn push_row(columns: &mut Columns, row: &[Value]) {
    let (children, _) = columns.open_row();
    children.iter_mut().zip(row).for_each(|(column, value)| push(column, value));
    columns.close_row();
}

pub fn push(column: &mut Column, value: &Value) {
    match (column.open(), value) {
        (_, Value::Null) => column.push_null(),
        (Data::Boolean(values), Value::Boolean(value)) => values.push(*value),
        (Data::Byte(values), Value::Integer(value)) => values.push((*value).try_into().unwrap()),
        (Data::Short(values), Value::Integer(value)) => values.push((*value).try_into().unwrap()),
        (Data::Integer(values) | Data::Date(values), Value::Integer(value)) => {
            values.push((*value).try_into().unwrap());
        }
        (Data::Long(values) | Data::Timestamp(values), Value::Integer(value)) => {
            values.push((*value).try_into().unwrap());
        }
        (Data::Decimal(values), Value::Integer(value)) => values.push(*value),
        (Data::Float(values), Value::Float(bits)) => values.push(f64::from_bits(*bits) as f32),
        (Data::Double(values), Value::Float(bits)) => values.push(f64::from_bits(*bits)),
        (Data::String(slices), Value::Text(text)) => slices.push(text.as_bytes()),
        (Data::Binary(slices), Value::Bytes(bytes)) => slices.push(bytes),
        (Data::Struct { rows, children }, Value::Row(values)) => {
            children.iter_mut().zip(values).for_each(|(child, value)| push(child, value));
            *rows += 1;
        }
        (Data::Array { offsets, element }, Value::List(values)) => {
            values.iter().for_each(|value| push(element, value));
            offsets.push(element.len());
        }
        (Data::Map { offsets, key, value }, Value::Map(entries)) => {
            for (a, b) in entries {
                push(key, a);
                push(value, b);
            }
            offsets.push(key.len());
        }
        (_, value) => panic!("{value:?} has another type than its column"),
    }
}

/// Every type, nested a few levels.
pub fn data_type() -> impl Strategy<Value = DataType> {
    let leaf = prop_oneof![
        Just(DataType::Boolean),
        Just(DataType::Byte),
        Just(DataType::Short),
        Just(DataType::Integer),
        Just(DataType::Long),
        Just(DataType::Float),
        Just(DataType::Double),
        (1_u8..=38).prop_flat_map(
            |precision| (0..=precision).prop_map(move |scale| DataType::Decimal { precision, scale })
        ),
        Just(DataType::String),
        Just(DataType::Binary),
        Just(DataType::Date),
        Just(DataType::Timestamp),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec((inner.clone(), any::<bool>()), 1..4).prop_map(|types| DataType::Struct(named(types))),
            (inner.clone(), any::<bool>()).prop_map(|(element, contains_null)| {
                DataType::Array { element: Box::new(element), contains_null }
            }),
            (inner, any::<bool>()).prop_map(|(value, value_contains_null)| DataType::Map {
                key: Box::new(DataType::String),
                value: Box::new(value),
                value_contains_null,
            }),
        ]
    })
}

fn named(types: Vec<(DataType, bool)>) -> Vec<Field> {
    let field = |(index, (data_type, nullable))| Field::new(format!("f{index}"), data_type, nullable);
    types.into_iter().enumerate().map(field).collect()
}

pub fn schema() -> impl Strategy<Value = Schema> {
    let column = (data_type(), prop::bool::weighted(0.8));
    vec(column, 1..5).prop_map(|types| Schema::of(named(types)))
}

pub fn row(schema: &Schema) -> BoxedStrategy<Vec<Value>> {
    schema.fields.iter().map(|field| value(&field.data_type, field.nullable)).collect::<Vec<_>>().boxed()
}

pub fn value(data_type: &DataType, nullable: bool) -> BoxedStrategy<Value> {
    let present = match data_type {
        DataType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        DataType::Byte => integer(any::<i8>()),
        DataType::Short => integer(any::<i16>()),
        DataType::Integer => integer(any::<i32>()),
        DataType::Long => integer(any::<i64>()),
        DataType::Float => any::<f32>().prop_map(|value| float(value.into())).boxed(),
        DataType::Double => any::<f64>().prop_map(float).boxed(),
        DataType::Decimal { precision, .. } => {
            let limit = 10_i128.pow(u32::from(*precision));
            (1 - limit..limit).prop_map(Value::Integer).boxed()
        }
        DataType::String => text().prop_map(Value::Text).boxed(),
        DataType::Binary => vec(any::<u8>(), 0..6).prop_map(Value::Bytes).boxed(),
        DataType::Date => integer(-719_162..2_932_897_i32),
        DataType::Timestamp => integer(-62_135_596_800_000_000_i64..253_402_300_799_000_000),
        DataType::Struct(fields) => {
            let members: Vec<_> =
                fields.iter().map(|field| value(&field.data_type, field.nullable)).collect();
            members.prop_map(Value::Row).boxed()
        }
        DataType::Array { element, contains_null } => {
            vec(value(element, *contains_null), 0..4).prop_map(Value::List).boxed()
        }
        DataType::Map { key, value: of, value_contains_null } => {
            vec((value(key, false), value(of, *value_contains_null)), 0..4).prop_map(Value::Map).boxed()
        }
    };
    if nullable { prop_oneof![1 => Just(Value::Null), 4 => present].boxed() } else { present }
}

fn integer<T: Into<i128> + std::fmt::Debug>(
    values: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Value> {
    values.prop_map(|value| Value::Integer(value.into())).boxed()
}

/// Short and long, empty, beyond the basic plane.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,3}", "x{30,34}[a-z]{0,3}", "[é😀\u{10FFFF}a]{0,40}", ".{0,5}"]
}
