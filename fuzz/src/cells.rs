//! What Arrow holds, as plain values that compare.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    Null,
    Boolean(bool),
    /// Integers, unscaled decimals, days, microseconds.
    Integer(i128),
    /// The bits, so that NaN and -0.0 compare; a FLOAT is widened.
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
    Row(Vec<Cell>),
    List(Vec<Cell>),
    Map(Vec<(Cell, Cell)>),
}

pub fn rows_of(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().map(|column| cell(column, row)).collect())
        .collect()
}

fn cell(array: &ArrayRef, row: usize) -> Cell {
    let all = |list: ArrayRef| (0..list.len()).map(|at| cell(&list, at)).collect::<Vec<_>>();
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::Int8 => Cell::Integer(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Cell::Integer(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Cell::Integer(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::Date32 => Cell::Integer(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Decimal128(..) => Cell::Integer(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Timestamp(..) => {
            Cell::Integer(array.as_primitive::<TimestampMicrosecondType>().value(row).into())
        }
        DataType::Float32 => Cell::Float(f64::from(array.as_primitive::<Float32Type>().value(row)).to_bits()),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::Struct(_) => {
            Cell::Row(array.as_struct().columns().iter().map(|child| cell(child, row)).collect())
        }
        DataType::List(_) => Cell::List(all(array.as_list::<i32>().value(row))),
        DataType::Map(..) => {
            let entries: ArrayRef = Arc::new(array.as_map().value(row));
            let pairs = all(entries).into_iter().map(|entry| match entry {
                Cell::Row(mut pair) => {
                    let value = pair.remove(1);
                    (pair.remove(0), value)
                }
                other => panic!("{other:?} is no entry"),
            });
            Cell::Map(pairs.collect())
        }
        other => panic!("{other} is no type of ours"),
    }
}
