//! Rows of an Arrow batch appended to columns.
//!
//! It owns the way back from what [`Columns::freeze`] gave out and somebody
//! changed. Every value is copied: batches that nobody changes do not come
//! this way.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::{Column, Columns, Data};

impl Columns {
    /// Appends the rows of a batch of the same schema.
    ///
    /// # Panics
    /// If the schema is another one.
    pub(in crate::columnar) fn append_batch(&mut self, batch: &RecordBatch) {
        assert_eq!(*batch.schema_ref(), self.schema, "a batch of the columns' schema");
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            for row in 0..array.len() {
                column.push_value(&**array, row);
            }
        }
        self.rows += batch.num_rows();
    }
}

impl Column {
    /// Appends one value of an array of the same type.
    fn push_value(&mut self, from: &dyn Array, row: usize) {
        if from.is_null(row) {
            return self.push_null();
        }
        match self.open() {
            Data::Boolean(bits) => bits.push(from.as_boolean().value(row)),
            Data::Byte(values) => values.push(from.as_primitive::<Int8Type>().value(row)),
            Data::Short(values) => values.push(from.as_primitive::<Int16Type>().value(row)),
            Data::Integer(values) => values.push(from.as_primitive::<Int32Type>().value(row)),
            Data::Long(values) => values.push(from.as_primitive::<Int64Type>().value(row)),
            Data::Float(values) => values.push(from.as_primitive::<Float32Type>().value(row)),
            Data::Double(values) => values.push(from.as_primitive::<Float64Type>().value(row)),
            Data::Decimal(values) => values.push(from.as_primitive::<Decimal128Type>().value(row)),
            Data::String(slices) => slices.push(from.as_string::<i32>().value(row).as_bytes()),
            Data::Binary(slices) => slices.push(from.as_binary::<i32>().value(row)),
            Data::Date(values) => values.push(from.as_primitive::<Date32Type>().value(row)),
            Data::Timestamp(values) => {
                values.push(from.as_primitive::<TimestampMicrosecondType>().value(row));
            }
            Data::Struct { rows, children } => {
                *rows += 1;
                let members = from.as_struct().columns();
                children.iter_mut().zip(members).for_each(|(child, array)| child.push_value(&**array, row));
            }
            Data::Array { offsets, element } => {
                let values = from.as_list::<i32>().value(row);
                (0..values.len()).for_each(|at| element.push_value(&*values, at));
                offsets.push(element.len());
            }
            Data::Map { offsets, key, value } => {
                let entries = from.as_map().value(row);
                for at in 0..entries.len() {
                    key.push_value(&**entries.column(0), at);
                    value.push_value(&**entries.column(1), at);
                }
                offsets.push(key.len());
            }
        }
    }
}
