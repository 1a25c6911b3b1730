//! The rows of a batch as columns that decoders append to.
//!
//! It owns the buffers: they are frozen into an Arrow batch without copying
//! and come back, with their capacity, once the batch is written. It does
//! not know where values come from: decoders push them, and take a row back
//! with [`Columns::truncate`] when it turns out to be bad.
//!
//! Three rules make appending and taking back cheap. A validity bitmap exists
//! only once a null was pushed, and bits past its end mean *valid*, so that
//! pushing a value never touches it. Nulls are owed until a value follows them
//! or the batch ends: a field that is missing from record after record, with
//! all that is below it, costs a count. And lengths below a list, map or struct
//! follow from row count and offsets, so that `truncate` needs no journal.

mod arrays;
mod buffers;
pub(super) mod read;

use std::mem;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType as ArrowType, Date32Type, Decimal128Type, Fields, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};

pub(super) use self::buffers::{Bits, Offsets, Slices};
use self::buffers::{Validity, reclaim};
use crate::schema::{DataType, Schema};

/// The rows of one batch, column by column.
///
/// Offsets are 32 bits wide: freeze long before [`Columns::bytes_used`]
/// comes near 2 GiB (appending past it panics).
pub struct Columns {
    schema: SchemaRef,
    rows: usize,
    columns: Vec<Column>,
}

impl Columns {
    pub fn new(schema: &Schema) -> Columns {
        let columns = schema.fields.iter().map(|field| Column::new(&field.data_type)).collect();
        Columns { schema: schema.to_arrow(), rows: 0, columns }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Memory held, capacity included, and what the nulls that are owed will take. Memory inside a frozen
    /// batch counts again once it is recovered.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.bytes(|vec, more| vec.capacity_bytes(more), 0)).sum()
    }

    /// Bytes of the rows held now, nulls that are owed included: what decides when a batch is large enough.
    pub fn bytes_used(&self) -> usize {
        self.columns.iter().map(|column| column.bytes(|vec, more| vec.len_bytes(more), 0)).sum()
    }

    /// Takes back every row past the first `rows`, complete or not.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        for column in &mut self.columns {
            column.truncate(rows);
        }
    }

    /// Writes the nulls that are owed: from now on every column holds its rows in memory.
    pub(super) fn write_nulls(&mut self) {
        self.columns.iter_mut().for_each(Column::write_nulls);
    }

    /// The rows as an Arrow batch; none are left here. Nothing is copied.
    pub fn freeze(&mut self) -> RecordBatch {
        let rows = mem::take(&mut self.rows);
        let fields = self.schema.fields().iter();
        let arrays = self
            .columns
            .iter_mut()
            .zip(fields)
            .map(|(column, field)| {
                assert_eq!(column.len(), rows, "every row ends by filling every column");
                column.freeze(field.data_type())
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .expect("columns have the schema's types, one length, and nulls only where allowed")
    }

    /// Takes the memory of a batch that [`Columns::freeze`] gave out back into use.
    ///
    /// Buffers that someone still shares, and all buffers when rows were
    /// appended in the meantime, are left alone.
    pub fn recover(&mut self, batch: RecordBatch) {
        if self.rows > 0 {
            return;
        }
        let (_, arrays, _) = batch.into_parts();
        for (column, array) in self.columns.iter_mut().zip(arrays) {
            column.recover(array);
        }
    }

    /// The columns and the index of the row that is being filled.
    pub(super) fn open_row(&mut self) -> (&mut [Column], usize) {
        (&mut self.columns, self.rows)
    }

    /// The row is complete: every column holds one value more.
    pub(super) fn close_row(&mut self) {
        self.rows += 1;
    }
}

/// Values of one type and which of them are null. Null rows hold a placeholder.
pub struct Column {
    data: Data,
    validity: Validity,
    /// Nulls behind the values that are not written yet.
    owed: usize,
}

pub(super) enum Data {
    Boolean(Bits),
    Byte(Vec<i8>),
    Short(Vec<i16>),
    Integer(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal(Vec<i128>),
    /// Invariant: bytes between two offsets are UTF-8.
    String(Slices),
    Binary(Slices),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    Struct {
        rows: usize,
        children: Vec<Column>,
    },
    Array {
        offsets: Offsets,
        element: Box<Column>,
    },
    Map {
        offsets: Offsets,
        key: Box<Column>,
        value: Box<Column>,
    },
}

/// Runs the same code over the `Vec` of every fixed-width type.
macro_rules! fixed_width {
    ($data:expr, $values:ident => $body:expr, $($other:tt)*) => {
        match $data {
            Data::Byte($values) => $body,
            Data::Short($values) => $body,
            Data::Integer($values) => $body,
            Data::Long($values) => $body,
            Data::Float($values) => $body,
            Data::Double($values) => $body,
            Data::Decimal($values) => $body,
            Data::Date($values) => $body,
            Data::Timestamp($values) => $body,
            $($other)*
        }
    };
}

impl Column {
    pub(super) fn new(data_type: &DataType) -> Column {
        let data = match data_type {
            DataType::Boolean => Data::Boolean(Bits::default()),
            DataType::Byte => Data::Byte(Vec::new()),
            DataType::Short => Data::Short(Vec::new()),
            DataType::Integer => Data::Integer(Vec::new()),
            DataType::Long => Data::Long(Vec::new()),
            DataType::Float => Data::Float(Vec::new()),
            DataType::Double => Data::Double(Vec::new()),
            DataType::Decimal { .. } => Data::Decimal(Vec::new()),
            DataType::String => Data::String(Slices::default()),
            DataType::Binary => Data::Binary(Slices::default()),
            DataType::Date => Data::Date(Vec::new()),
            DataType::Timestamp => Data::Timestamp(Vec::new()),
            DataType::Struct(fields) => Data::Struct {
                rows: 0,
                children: fields.iter().map(|field| Column::new(&field.data_type)).collect(),
            },
            DataType::Array { element, .. } => {
                Data::Array { offsets: Offsets::default(), element: Box::new(Column::new(element)) }
            }
            DataType::Map { key, value, .. } => Data::Map {
                offsets: Offsets::default(),
                key: Box::new(Column::new(key)),
                value: Box::new(Column::new(value)),
            },
        };
        Column { data, validity: Validity::default(), owed: 0 }
    }

    /// Appends a number to a BIGINT column; false where the column has another type.
    pub fn push_long(&mut self, value: i64) -> bool {
        match self.open() {
            Data::Long(values) => values.push(value),
            _ => return false,
        }
        true
    }

    /// Appends text to a STRING column; false where the column has another type.
    pub fn push_text(&mut self, text: &str) -> bool {
        match self.open() {
            Data::String(slices) => slices.push(text.as_bytes()),
            _ => return false,
        }
        true
    }

    /// An empty column of the same type.
    pub(super) fn empty_like(&self) -> Column {
        let data = match &self.data {
            Data::Boolean(_) => Data::Boolean(Bits::default()),
            Data::Byte(_) => Data::Byte(Vec::new()),
            Data::Short(_) => Data::Short(Vec::new()),
            Data::Integer(_) => Data::Integer(Vec::new()),
            Data::Long(_) => Data::Long(Vec::new()),
            Data::Float(_) => Data::Float(Vec::new()),
            Data::Double(_) => Data::Double(Vec::new()),
            Data::Decimal(_) => Data::Decimal(Vec::new()),
            Data::String(_) => Data::String(Slices::default()),
            Data::Binary(_) => Data::Binary(Slices::default()),
            Data::Date(_) => Data::Date(Vec::new()),
            Data::Timestamp(_) => Data::Timestamp(Vec::new()),
            Data::Struct { children, .. } => {
                Data::Struct { rows: 0, children: children.iter().map(Column::empty_like).collect() }
            }
            Data::Array { element, .. } => {
                Data::Array { offsets: Offsets::default(), element: Box::new(element.empty_like()) }
            }
            Data::Map { key, value, .. } => Data::Map {
                offsets: Offsets::default(),
                key: Box::new(key.empty_like()),
                value: Box::new(value.empty_like()),
            },
        };
        Column { data, validity: Validity::default(), owed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.written() + self.owed
    }

    /// Values and nulls that are in memory.
    fn written(&self) -> usize {
        fixed_width!(&self.data, values => values.len(),
            Data::Boolean(bits) => bits.len,
            Data::String(slices) | Data::Binary(slices) => slices.offsets.len(),
            Data::Struct { rows, .. } => *rows,
            Data::Array { offsets, .. } | Data::Map { offsets, .. } => offsets.len(),
        )
    }

    /// Where the next value goes.
    #[inline(always)]
    pub(super) fn open(&mut self) -> &mut Data {
        if self.owed > 0 {
            self.pay();
        }
        &mut self.data
    }

    #[inline(always)]
    pub fn push_null(&mut self) {
        self.owed += 1;
    }

    /// Writes the nulls that are owed.
    #[inline(never)]
    fn pay(&mut self) {
        let (start, owed) = (self.written(), mem::take(&mut self.owed));
        self.validity.set_nulls(start..start + owed);
        fixed_width!(&mut self.data, values => values.resize(start + owed, Default::default()),
            Data::Boolean(bits) => bits.push_clear(owed),
            Data::String(slices) | Data::Binary(slices) => slices.offsets.repeat(owed),
            Data::Struct { rows, children } => {
                *rows += owed;
                children.iter_mut().for_each(|child| child.owed += owed);
            }
            Data::Array { offsets, .. } | Data::Map { offsets, .. } => offsets.repeat(owed),
        );
    }

    /// The same here and in all columns below.
    fn write_nulls(&mut self) {
        match self.open() {
            Data::Struct { children, .. } => children.iter_mut().for_each(Column::write_nulls),
            Data::Array { element, .. } => element.write_nulls(),
            Data::Map { key, value, .. } => {
                key.write_nulls();
                value.write_nulls();
            }
            _ => {}
        }
    }

    /// Takes back every value past the first `rows`, and what half-filled rows left in children.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.owed = self.owed.min(rows.saturating_sub(self.written()));
        self.validity.truncate(rows);
        fixed_width!(&mut self.data, values => values.truncate(rows),
            Data::Boolean(bits) => bits.truncate(rows),
            Data::String(slices) | Data::Binary(slices) => slices.truncate(rows),
            Data::Struct { rows: held, children } => {
                *held = rows.min(*held);
                children.iter_mut().for_each(|child| child.truncate(*held));
            }
            Data::Array { offsets, element } => {
                offsets.truncate(rows);
                element.truncate(offsets.end());
            }
            Data::Map { offsets, key, value } => {
                offsets.truncate(rows);
                key.truncate(offsets.end());
                value.truncate(offsets.end());
            }
        );
    }

    /// Appends row `index` of a column of the same type.
    pub(super) fn push_from(&mut self, other: &Column, index: usize) {
        if index >= other.written() || other.validity.is_null(index) {
            return self.push_null();
        }
        match (self.open(), &other.data) {
            (Data::Boolean(to), Data::Boolean(from)) => to.push(from.get(index)),
            (Data::Byte(to), Data::Byte(from)) => to.push(from[index]),
            (Data::Short(to), Data::Short(from)) => to.push(from[index]),
            (Data::Integer(to), Data::Integer(from)) => to.push(from[index]),
            (Data::Long(to), Data::Long(from)) => to.push(from[index]),
            (Data::Float(to), Data::Float(from)) => to.push(from[index]),
            (Data::Double(to), Data::Double(from)) => to.push(from[index]),
            (Data::Decimal(to), Data::Decimal(from)) => to.push(from[index]),
            (Data::String(to), Data::String(from)) | (Data::Binary(to), Data::Binary(from)) => {
                to.push(from.get(index));
            }
            (Data::Date(to), Data::Date(from)) => to.push(from[index]),
            (Data::Timestamp(to), Data::Timestamp(from)) => to.push(from[index]),
            (Data::Struct { rows, children }, Data::Struct { children: from, .. }) => {
                *rows += 1;
                children.iter_mut().zip(from).for_each(|(to, from)| to.push_from(from, index));
            }
            (Data::Array { offsets, element }, Data::Array { offsets: from, element: elements }) => {
                from.range(index).for_each(|at| element.push_from(elements, at));
                offsets.push(element.len());
            }
            (Data::Map { offsets, key, value }, Data::Map { offsets: from, key: keys, value: values }) => {
                for at in from.range(index) {
                    key.push_from(keys, at);
                    value.push_from(values, at);
                }
                offsets.push(key.len());
            }
            _ => unreachable!("both columns have one type"),
        }
    }

    /// What its buffers come to once all that is owed is written, here and by the structs around it.
    fn bytes(&self, of: fn(&dyn Measure, usize) -> usize, owed_around: usize) -> usize {
        let owed = self.owed + owed_around;
        let data = fixed_width!(&self.data, values => of(values, owed),
            Data::Boolean(bits) => of(&bits.bits, (bits.len + owed).div_ceil(8) - bits.bits.len()),
            Data::String(slices) | Data::Binary(slices) => of(&slices.offsets.0, owed) + of(&slices.bytes, 0),
            Data::Struct { children, .. } => children.iter().map(|child| child.bytes(of, owed)).sum(),
            Data::Array { offsets, element } => of(&offsets.0, owed) + element.bytes(of, 0),
            Data::Map { offsets, key, value } => of(&offsets.0, owed) + key.bytes(of, 0) + value.bytes(of, 0),
        );
        let bits = if owed > 0 { (self.written() + owed).div_ceil(8) } else { 0 };
        data + of(&self.validity.0, bits.saturating_sub(self.validity.0.len()))
    }

    fn freeze(&mut self, data_type: &ArrowType) -> ArrayRef {
        self.open();
        let rows = self.len();
        let nulls = self.validity.freeze(rows);
        match &mut self.data {
            Data::Boolean(bits) => Arc::new(BooleanArray::new(bits.freeze(), nulls)),
            Data::Byte(values) => primitive::<Int8Type>(values, nulls, data_type),
            Data::Short(values) => primitive::<Int16Type>(values, nulls, data_type),
            Data::Integer(values) => primitive::<Int32Type>(values, nulls, data_type),
            Data::Long(values) => primitive::<Int64Type>(values, nulls, data_type),
            Data::Float(values) => primitive::<Float32Type>(values, nulls, data_type),
            Data::Double(values) => primitive::<Float64Type>(values, nulls, data_type),
            Data::Decimal(values) => primitive::<Decimal128Type>(values, nulls, data_type),
            Data::Date(values) => primitive::<Date32Type>(values, nulls, data_type),
            Data::Timestamp(values) => primitive::<TimestampMicrosecondType>(values, nulls, data_type),
            Data::String(slices) => Arc::new(slices.freeze_string(nulls)),
            Data::Binary(slices) => {
                let (offsets, bytes) = slices.freeze();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Data::Struct { rows: held, children } => {
                *held = 0;
                let ArrowType::Struct(fields) = data_type else { unreachable!("the schema says struct") };
                Arc::new(freeze_struct(fields, children, rows, nulls))
            }
            Data::Array { offsets, element } => {
                let ArrowType::List(field) = data_type else { unreachable!("the schema says list") };
                let values = element.freeze(field.data_type());
                Arc::new(ListArray::new(Arc::clone(field), offsets.freeze(), values, nulls))
            }
            Data::Map { offsets, key, value } => {
                let ArrowType::Map(field, sorted) = data_type else { unreachable!("the schema says map") };
                let ArrowType::Struct(fields) = field.data_type() else { unreachable!("a map has entries") };
                let entries = offsets.end();
                let arrays = vec![key.freeze(fields[0].data_type()), value.freeze(fields[1].data_type())];
                let entries = StructArray::try_new_with_length(fields.clone(), arrays, None, entries)
                    .expect("keys and values are pushed in pairs, keys never null");
                Arc::new(MapArray::new(Arc::clone(field), offsets.freeze(), entries, nulls, *sorted))
            }
        }
    }

    /// Takes the buffers of an array back, as far as nobody else holds them.
    fn recover(&mut self, array: ArrayRef) {
        match &mut self.data {
            Data::Boolean(bits) => {
                let Some((values, nulls)) = owned::<BooleanArray>(array).map(BooleanArray::into_parts) else {
                    return;
                };
                reclaim(values.into_inner(), &mut bits.bits);
                self.validity.recover(nulls);
            }
            Data::Byte(values) => self.validity.recover(recover_primitive::<Int8Type>(array, values)),
            Data::Short(values) => self.validity.recover(recover_primitive::<Int16Type>(array, values)),
            Data::Integer(values) => self.validity.recover(recover_primitive::<Int32Type>(array, values)),
            Data::Long(values) => self.validity.recover(recover_primitive::<Int64Type>(array, values)),
            Data::Float(values) => self.validity.recover(recover_primitive::<Float32Type>(array, values)),
            Data::Double(values) => self.validity.recover(recover_primitive::<Float64Type>(array, values)),
            Data::Decimal(values) => {
                self.validity.recover(recover_primitive::<Decimal128Type>(array, values));
            }
            Data::Date(values) => self.validity.recover(recover_primitive::<Date32Type>(array, values)),
            Data::Timestamp(values) => {
                self.validity.recover(recover_primitive::<TimestampMicrosecondType>(array, values));
            }
            Data::String(slices) => {
                let Some(parts) = owned::<StringArray>(array).map(StringArray::into_parts) else { return };
                slices.recover(parts.0, parts.1);
                self.validity.recover(parts.2);
            }
            Data::Binary(slices) => {
                let Some(parts) = owned::<BinaryArray>(array).map(BinaryArray::into_parts) else { return };
                slices.recover(parts.0, parts.1);
                self.validity.recover(parts.2);
            }
            Data::Struct { children, .. } => {
                let Some(parts) = owned::<StructArray>(array).map(StructArray::into_parts) else { return };
                children.iter_mut().zip(parts.1).for_each(|(child, array)| child.recover(array));
                self.validity.recover(parts.2);
            }
            Data::Array { offsets, element } => {
                let Some(parts) = owned::<ListArray>(array).map(ListArray::into_parts) else { return };
                offsets.recover(parts.1);
                element.recover(parts.2);
                self.validity.recover(parts.3);
            }
            Data::Map { offsets, key, value } => {
                let Some(parts) = owned::<MapArray>(array).map(MapArray::into_parts) else { return };
                offsets.recover(parts.1);
                let (_, entries, _) = parts.2.into_parts();
                [key, value].into_iter().zip(entries).for_each(|(column, array)| column.recover(array));
                self.validity.recover(parts.3);
            }
        }
    }
}

/// Bytes of a `Vec`, whatever it holds.
trait Measure {
    /// With so many items more.
    fn len_bytes(&self, more: usize) -> usize;
    fn capacity_bytes(&self, more: usize) -> usize;
}

impl<T> Measure for Vec<T> {
    fn len_bytes(&self, more: usize) -> usize {
        (self.len() + more) * size_of::<T>()
    }

    fn capacity_bytes(&self, more: usize) -> usize {
        self.capacity().max(self.len() + more) * size_of::<T>()
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &ArrowType,
) -> ArrayRef {
    let array = PrimitiveArray::<T>::new(mem::take(values).into(), nulls);
    Arc::new(array.with_data_type(data_type.clone()))
}

fn freeze_struct(
    fields: &Fields,
    children: &mut [Column],
    rows: usize,
    nulls: Option<NullBuffer>,
) -> StructArray {
    let arrays =
        children.iter_mut().zip(fields).map(|(child, field)| child.freeze(field.data_type())).collect();
    StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows)
        .expect("members have one length, and nulls only where allowed")
}

fn recover_primitive<T: ArrowPrimitiveType>(
    array: ArrayRef,
    values: &mut Vec<T::Native>,
) -> Option<NullBuffer> {
    let (_, buffer, nulls) = owned::<PrimitiveArray<T>>(array)?.into_parts();
    reclaim(buffer.into_inner(), values);
    nulls
}

/// The array itself; its buffers are then owned once, if the caller held the only reference.
fn owned<A: Array + Clone + 'static>(array: ArrayRef) -> Option<A> {
    array.as_any().downcast_ref::<A>().cloned()
}

#[cfg(test)]
mod tests;
