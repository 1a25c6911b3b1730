//! What columns are made of: bits, offsets and bytes that rows are appended to
//! and taken back from.
//!
//! It owns their form in memory, which is Arrow's, so that they freeze without
//! a copy. It does not know which column they belong to.

use std::mem;
use std::ops::Range;

use arrow::array::StringArray;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;

/// Which rows are null: a cleared bit. Bits past the end are set.
#[derive(Default)]
pub(super) struct Validity(pub(super) Vec<u8>);

impl Validity {
    pub(super) fn set_nulls(&mut self, rows: Range<usize>) {
        if self.0.len() < rows.end.div_ceil(8) {
            self.0.resize(rows.end.div_ceil(8), 0xFF);
        }
        let whole = rows.start.next_multiple_of(8)..rows.end / 8 * 8;
        if whole.start >= whole.end {
            return rows.for_each(|row| self.set_null(row));
        }
        self.0[whole.start / 8..whole.end / 8].fill(0);
        (rows.start..whole.start).chain(whole.end..rows.end).for_each(|row| self.set_null(row));
    }

    fn set_null(&mut self, row: usize) {
        self.0[row / 8] &= !(1 << (row % 8));
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.0.get(row / 8).is_some_and(|byte| byte & (1 << (row % 8)) == 0)
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows.div_ceil(8));
        if let Some(last) = self.0.get_mut(rows / 8) {
            *last |= 0xFF << (rows % 8);
        }
    }

    /// `None` without nulls: readers then skip the bitmap altogether.
    pub(super) fn freeze(&mut self, rows: usize) -> Option<NullBuffer> {
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

    pub(super) fn recover(&mut self, nulls: Option<NullBuffer>) {
        if let Some(nulls) = nulls {
            reclaim(nulls.into_inner().into_inner(), &mut self.0);
        }
    }
}

/// Booleans, one bit each; bits past the end are clear.
#[derive(Default)]
pub(in crate::columnar) struct Bits {
    pub(super) bits: Vec<u8>,
    pub(super) len: usize,
}

impl Bits {
    #[inline(always)]
    pub(in crate::columnar) fn push(&mut self, value: bool) {
        if self.len.is_multiple_of(8) {
            self.bits.push(0);
        }
        self.bits[self.len / 8] |= u8::from(value) << (self.len % 8);
        self.len += 1;
    }

    pub(super) fn push_clear(&mut self, count: usize) {
        self.len += count;
        self.bits.resize(self.len.div_ceil(8), 0);
    }

    pub(super) fn get(&self, index: usize) -> bool {
        self.bits[index / 8] & (1 << (index % 8)) != 0
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if rows >= self.len {
            return;
        }
        self.len = rows;
        self.bits.truncate(rows.div_ceil(8));
        if let Some(last) = self.bits.get_mut(rows / 8) {
            *last &= !(0xFF << (rows % 8));
        }
    }

    pub(super) fn freeze(&mut self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(mem::take(&mut self.bits)), 0, mem::take(&mut self.len))
    }
}

/// Where each row of variable length ends. Invariant: starts with 0, never falls.
pub(in crate::columnar) struct Offsets(pub(super) Vec<i32>);

impl Default for Offsets {
    fn default() -> Offsets {
        Offsets(vec![0])
    }
}

impl Offsets {
    /// Ends a row at `end` of the data below.
    #[inline(always)]
    pub(in crate::columnar) fn push(&mut self, end: usize) {
        let end = i32::try_from(end).expect("a batch is frozen before it reaches 2 GiB");
        debug_assert!(self.0.last().is_some_and(|last| *last <= end), "offsets never fall");
        self.0.push(end);
    }

    /// Ends so many rows without anything in them.
    pub(super) fn repeat(&mut self, rows: usize) {
        if let Some(end) = self.0.last() {
            self.0.resize(self.0.len() + rows, *end);
        }
    }

    pub(in crate::columnar) fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// Where the last complete row ends.
    pub(in crate::columnar) fn end(&self) -> usize {
        self.at(self.len())
    }

    pub(super) fn range(&self, index: usize) -> Range<usize> {
        self.at(index)..self.at(index + 1)
    }

    fn at(&self, index: usize) -> usize {
        usize::try_from(self.0[index]).expect("offsets are never negative")
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows + 1);
    }

    pub(super) fn freeze(&mut self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(mem::replace(&mut self.0, vec![0])))
    }

    pub(super) fn recover(&mut self, offsets: OffsetBuffer<i32>) {
        reclaim(offsets.into_inner().into_inner(), &mut self.0);
        self.0.clear();
        self.0.push(0);
    }
}

/// Byte strings, one after the other.
#[derive(Default)]
pub(in crate::columnar) struct Slices {
    pub(super) offsets: Offsets,
    pub(super) bytes: Vec<u8>,
}

impl Slices {
    pub(in crate::columnar) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len());
    }

    /// Appends one value written piecemeal.
    pub(in crate::columnar) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.offsets.push(self.bytes.len());
    }

    /// Where one value is written piecemeal; [`Slices::close_row`] ends it, or else its row is taken back.
    #[inline(always)]
    pub(in crate::columnar) fn open_row(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline(always)]
    pub(in crate::columnar) fn close_row(&mut self) {
        self.offsets.push(self.bytes.len());
    }

    /// Appends one value written piecemeal, whole or not at all: after an error the row is taken back.
    #[inline(always)]
    pub(in crate::columnar) fn try_push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(self.open_row())?;
        self.close_row();
        Ok(())
    }

    pub(in crate::columnar) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets.range(index)]
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        self.bytes.truncate(self.offsets.end());
    }

    pub(super) fn freeze(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        (self.offsets.freeze(), Buffer::from_vec(mem::take(&mut self.bytes)))
    }

    pub(super) fn freeze_string(&mut self, nulls: Option<NullBuffer>) -> StringArray {
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

    pub(super) fn recover(&mut self, offsets: OffsetBuffer<i32>, bytes: Buffer) {
        self.offsets.recover(offsets);
        reclaim(bytes, &mut self.bytes);
    }
}

/// Empties `values` into the larger of its own memory and the buffer's.
pub(super) fn reclaim<T: ArrowNativeType>(buffer: Buffer, values: &mut Vec<T>) {
    if let Ok(mut returned) = buffer.into_vec::<T>()
        && returned.capacity() > values.capacity()
    {
        returned.clear();
        *values = returned;
    }
}
