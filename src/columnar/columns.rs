//! The rows of a batch as columns that decoders append to.
//!
//! It owns the buffers: they are frozen into an Arrow batch without copying
//! and come back, with their capacity, once the batch is written. It does
//! not know where values come from: decoders push them, and take a row back
//! with [`Columns::truncate`] when it turns out to be bad.
//!
//! Two rules make appending and taking back cheap. A validity bitmap exists
//! only once a null was pushed, and bits past its end mean *valid*, so that
//! pushing a value never touches it. And lengths below a list, map or struct
//! follow from row count and offsets, so that `truncate` needs no journal.

mod read;

use std::mem;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType as ArrowType, Date32Type, Decimal128Type, Fields,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};

pub(super) use self::read::Nulls;
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

    /// Memory held, capacity included. Memory inside a frozen batch counts again once it is recovered.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.bytes(|vec| vec.capacity_bytes())).sum()
    }

    /// Bytes of the rows held now: what decides when a batch is large enough.
    pub fn bytes_used(&self) -> usize {
        self.columns.iter().map(|column| column.bytes(|vec| vec.len_bytes())).sum()
    }

    /// Takes back every row past the first `rows`, complete or not.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        for column in &mut self.columns {
            column.truncate(rows);
        }
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
pub(super) struct Column {
    pub(super) data: Data,
    validity: Validity,
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
        Column { data, validity: Validity::default() }
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
        Column { data, validity: Validity::default() }
    }

    pub(super) fn len(&self) -> usize {
        fixed_width!(&self.data, values => values.len(),
            Data::Boolean(bits) => bits.len,
            Data::String(slices) | Data::Binary(slices) => slices.offsets.len(),
            Data::Struct { rows, .. } => *rows,
            Data::Array { offsets, .. } | Data::Map { offsets, .. } => offsets.len(),
        )
    }

    pub(super) fn push_null(&mut self) {
        self.validity.set_null(self.len());
        fixed_width!(&mut self.data, values => values.push(Default::default()),
            Data::Boolean(bits) => bits.push(false),
            Data::String(slices) | Data::Binary(slices) => slices.push(&[]),
            Data::Struct { rows, children } => {
                *rows += 1;
                children.iter_mut().for_each(Column::push_null);
            }
            Data::Array { offsets, element } => offsets.push(element.len()),
            Data::Map { offsets, key, .. } => offsets.push(key.len()),
        );
    }

    /// Takes back every value past the first `rows`, and what half-filled rows left in children.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.validity.truncate(rows);
        fixed_width!(&mut self.data, values => values.truncate(rows),
            Data::Boolean(bits) => bits.truncate(rows),
            Data::String(slices) | Data::Binary(slices) => slices.truncate(rows),
            Data::Struct { rows: held, children } => {
                *held = rows.min(*held);
                children.iter_mut().for_each(|child| child.truncate(rows));
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
        if other.validity.is_null(index) {
            return self.push_null();
        }
        match (&mut self.data, &other.data) {
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

    fn bytes(&self, of: fn(&dyn Measure) -> usize) -> usize {
        let data = fixed_width!(&self.data, values => of(values),
            Data::Boolean(bits) => of(&bits.bits),
            Data::String(slices) | Data::Binary(slices) => of(&slices.offsets.0) + of(&slices.bytes),
            Data::Struct { children, .. } => children.iter().map(|child| child.bytes(of)).sum(),
            Data::Array { offsets, element } => of(&offsets.0) + element.bytes(of),
            Data::Map { offsets, key, value } => of(&offsets.0) + key.bytes(of) + value.bytes(of),
        );
        data + of(&self.validity.0)
    }

    fn freeze(&mut self, data_type: &ArrowType) -> ArrayRef {
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

/// Which rows are null: a cleared bit. Bits past the end are set.
#[derive(Default)]
struct Validity(Vec<u8>);

impl Validity {
    fn set_null(&mut self, row: usize) {
        if self.0.len() <= row / 8 {
            self.0.resize(row / 8 + 1, 0xFF);
        }
        self.0[row / 8] &= !(1 << (row % 8));
    }

    fn is_null(&self, row: usize) -> bool {
        self.0.get(row / 8).is_some_and(|byte| byte & (1 << (row % 8)) == 0)
    }

    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows.div_ceil(8));
        if let Some(last) = self.0.get_mut(rows / 8) {
            *last |= 0xFF << (rows % 8);
        }
    }

    /// `None` without nulls: readers then skip the bitmap altogether.
    fn freeze(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.0.is_empty() {
            return None;
        }
        self.0.resize(rows.div_ceil(8), 0xFF);
        let bits = BooleanBuffer::new(Buffer::from_vec(mem::take(&mut self.0)), 0, rows);
        let nulls = NullBuffer::new(bits);
        if nulls.null_count() > 0 {
            return Some(nulls);
        }
        self.recover(Some(nulls));
        None
    }

    fn recover(&mut self, nulls: Option<NullBuffer>) {
        if let Some(nulls) = nulls {
            reclaim(nulls.into_inner().into_inner(), &mut self.0);
        }
    }
}

/// Booleans, one bit each; bits past the end are clear.
#[derive(Default)]
pub(super) struct Bits {
    bits: Vec<u8>,
    len: usize,
}

impl Bits {
    #[inline(always)]
    pub(super) fn push(&mut self, value: bool) {
        if self.len.is_multiple_of(8) {
            self.bits.push(0);
        }
        self.bits[self.len / 8] |= u8::from(value) << (self.len % 8);
        self.len += 1;
    }

    fn get(&self, index: usize) -> bool {
        self.bits[index / 8] & (1 << (index % 8)) != 0
    }

    fn truncate(&mut self, rows: usize) {
        if rows >= self.len {
            return;
        }
        self.len = rows;
        self.bits.truncate(rows.div_ceil(8));
        if let Some(last) = self.bits.get_mut(rows / 8) {
            *last &= !(0xFF << (rows % 8));
        }
    }

    fn freeze(&mut self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(mem::take(&mut self.bits)), 0, mem::take(&mut self.len))
    }
}

/// Where each row of variable length ends. Invariant: starts with 0, never falls.
pub(super) struct Offsets(Vec<i32>);

impl Default for Offsets {
    fn default() -> Offsets {
        Offsets(vec![0])
    }
}

impl Offsets {
    /// Ends a row at `end` of the data below.
    #[inline(always)]
    pub(super) fn push(&mut self, end: usize) {
        let end = i32::try_from(end).expect("a batch is frozen before it reaches 2 GiB");
        debug_assert!(self.0.last().is_some_and(|last| *last <= end), "offsets never fall");
        self.0.push(end);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// Where the last complete row ends.
    pub(super) fn end(&self) -> usize {
        self.at(self.len())
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        self.at(index)..self.at(index + 1)
    }

    fn at(&self, index: usize) -> usize {
        usize::try_from(self.0[index]).expect("offsets are never negative")
    }

    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows + 1);
    }

    fn freeze(&mut self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(mem::replace(&mut self.0, vec![0])))
    }

    fn recover(&mut self, offsets: OffsetBuffer<i32>) {
        reclaim(offsets.into_inner().into_inner(), &mut self.0);
        self.0.clear();
        self.0.push(0);
    }
}

/// Byte strings, one after the other.
#[derive(Default)]
pub(super) struct Slices {
    offsets: Offsets,
    bytes: Vec<u8>,
}

impl Slices {
    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len());
    }

    /// Appends one value written piecemeal.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.offsets.push(self.bytes.len());
    }

    /// Where one value is written piecemeal; [`Slices::close_row`] ends it, or else its row is taken back.
    #[inline(always)]
    pub(super) fn open_row(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline(always)]
    pub(super) fn close_row(&mut self) {
        self.offsets.push(self.bytes.len());
    }

    /// Appends one value written piecemeal, whole or not at all: after an error the row is taken back.
    #[inline(always)]
    pub(super) fn try_push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(self.open_row())?;
        self.close_row();
        Ok(())
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets.range(index)]
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        self.bytes.truncate(self.offsets.end());
    }

    fn freeze(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        (self.offsets.freeze(), Buffer::from_vec(mem::take(&mut self.bytes)))
    }

    fn freeze_string(&mut self, nulls: Option<NullBuffer>) -> StringArray {
        let (offsets, bytes) = self.freeze();
        debug_assert!(StringArray::try_new(offsets.clone(), bytes.clone(), nulls.clone()).is_ok());
        #[expect(
            unsafe_code,
            reason = "every value was a str when it was pushed; checking again costs a pass"
        )]
        // SAFETY: `Data::String` holds UTF-8 between any two offsets (its invariant: decoders push only
        // `str`s, and rows are taken back only at offsets); `OffsetBuffer::new` checked that the offsets
        // rise, and the last one is the length of the bytes.
        unsafe {
            StringArray::new_unchecked(offsets, bytes, nulls)
        }
    }

    fn recover(&mut self, offsets: OffsetBuffer<i32>, bytes: Buffer) {
        self.offsets.recover(offsets);
        reclaim(bytes, &mut self.bytes);
    }
}

/// Bytes of a `Vec`, whatever it holds.
trait Measure {
    fn len_bytes(&self) -> usize;
    fn capacity_bytes(&self) -> usize;
}

impl<T> Measure for Vec<T> {
    fn len_bytes(&self) -> usize {
        self.len() * size_of::<T>()
    }

    fn capacity_bytes(&self) -> usize {
        self.capacity() * size_of::<T>()
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

/// Empties `values` into the larger of its own memory and the buffer's.
fn reclaim<T: ArrowNativeType>(buffer: Buffer, values: &mut Vec<T>) {
    if let Ok(mut returned) = buffer.into_vec::<T>()
        && returned.capacity() > values.capacity()
    {
        returned.clear();
        *values = returned;
    }
}

#[cfg(test)]
mod tests;
