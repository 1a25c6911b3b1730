//! How the encoder looks at columns: values, offsets and validity as they lie
//! in memory.
//!
//! It owns the read-only views; it changes nothing and copies nothing.

use std::ops::Range;

use super::{Bits, Column, Columns, Data, Offsets, Slices};

impl Columns {
    pub(in crate::columnar) fn columns(&self) -> &[Column] {
        &self.columns
    }
}

impl Column {
    /// The values; nulls must not be owed ([`Columns::write_nulls`]).
    pub(in crate::columnar) fn data(&self) -> &Data {
        debug_assert_eq!(self.owed, 0, "columns are settled before they are read");
        &self.data
    }

    pub(in crate::columnar) fn nulls(&self) -> Nulls<'_> {
        debug_assert_eq!(self.owed, 0, "columns are settled before they are read");
        Nulls(&self.validity.0)
    }
}

/// The nulls of a column. Rows past its bits are valid.
#[derive(Clone, Copy)]
pub(in crate::columnar) struct Nulls<'a>(&'a [u8]);

impl Nulls<'_> {
    pub(in crate::columnar) fn contains(self, row: usize) -> bool {
        self.0.get(row / 8).is_some_and(|byte| byte & (1 << (row % 8)) == 0)
    }

    /// Whether a row of the range is null.
    pub(in crate::columnar) fn any_in(self, rows: Range<usize>) -> bool {
        let rows = rows.start..rows.end.min(self.0.len() * 8);
        if rows.is_empty() {
            return false;
        }
        let (first, last) = (rows.start / 8, (rows.end - 1) / 8);
        let after_start = 0xFF << (rows.start % 8);
        let before_end = 0xFF >> (7 - (rows.end - 1) % 8);
        if first == last {
            return !self.0[first] & after_start & before_end != 0;
        }
        !self.0[first] & after_start != 0
            || !self.0[last] & before_end != 0
            || self.0[first + 1..last].iter().any(|byte| *byte != 0xFF)
    }
}

impl Bits {
    /// Eight values a byte, the first one lowest; bits past the end are clear.
    pub(in crate::columnar) fn bytes(&self) -> &[u8] {
        &self.bits
    }
}

impl Offsets {
    /// Where each row begins, and the end of the last one.
    pub(in crate::columnar) fn bounds(&self) -> &[i32] {
        &self.0
    }
}

impl Slices {
    /// Where each value begins and the last one ends, and the bytes of all.
    pub(in crate::columnar) fn parts(&self) -> (&[i32], &[u8]) {
        (&self.offsets.0, &self.bytes)
    }
}
