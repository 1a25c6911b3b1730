//! What the footer says of a chunk's values: bounds and how many are null.
//!
//! It owns how long byte strings are cut so that they still bound the
//! values, in the same way as the crate's own writer.

use parquet::basic::{ConvertedType, LogicalType};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;

/// Statistics whose bounds are exact. (The crate keeps the trait of its types to itself.)
macro_rules! exact {
    ($name:ident, $type:ty) => {
        pub(super) fn $name(
            descriptor: &ColumnDescriptor,
            bounds: Option<($type, $type)>,
            nulls: u64,
        ) -> Statistics {
            let (min, max) = bounds.unzip();
            ValueStatistics::new(min, max, None, Some(nulls), false)
                .with_backwards_compatible_min_max(descriptor.sort_order().is_signed())
                .into()
        }
    };
}

exact!(of_booleans, bool);
exact!(of_int32, i32);
exact!(of_int64, i64);
exact!(of_floats, f32);
exact!(of_doubles, f64);
exact!(of_fixed, FixedLenByteArray);

pub(super) fn of_bytes(
    descriptor: &ColumnDescriptor,
    bounds: Option<(&[u8], &[u8])>,
    nulls: u64,
    bytes_max: Option<usize>,
) -> Statistics {
    let Some((min, max)) = bounds else {
        return ValueStatistics::<ByteArray>::new(None, None, None, Some(nulls), false).into();
    };
    let is_text = descriptor.logical_type_ref() == Some(&LogicalType::String)
        || descriptor.converted_type() == ConvertedType::UTF8;
    let bytes_max = bytes_max.unwrap_or(usize::MAX);
    let cut_min = (min.len() > bytes_max).then(|| below(min, bytes_max, is_text)).flatten();
    let cut_max = (max.len() > bytes_max).then(|| above(max, bytes_max, is_text)).flatten();
    let exact = (cut_min.is_none(), cut_max.is_none());
    let (min, max) = (cut_min.unwrap_or_else(|| min.to_vec()), cut_max.unwrap_or_else(|| max.to_vec()));
    ValueStatistics::new(Some(ByteArray::from(min)), Some(ByteArray::from(max)), None, Some(nulls), false)
        .with_min_is_exact(exact.0)
        .with_max_is_exact(exact.1)
        .into()
}

/// At most `length` bytes that are not above what begins with them.
fn below(value: &[u8], length: usize, is_text: bool) -> Option<Vec<u8>> {
    let text = if is_text { std::str::from_utf8(value).ok() } else { None };
    match text {
        Some(text) => {
            let end = text.floor_char_boundary(length);
            (end > 0).then(|| value[..end].to_vec())
        }
        None => Some(value[..length].to_vec()),
    }
}

/// At most `length` bytes that are above everything that begins like `value`.
fn above(value: &[u8], length: usize, is_text: bool) -> Option<Vec<u8>> {
    let text = if is_text { std::str::from_utf8(value).ok() } else { None };
    match text {
        Some(text) => next_text(&text[..text.floor_char_boundary(length)]),
        None => {
            let mut bytes = value[..length].to_vec();
            let raised = bytes.iter().rposition(|byte| *byte != u8::MAX)?;
            bytes[raised] += 1;
            bytes[raised + 1..].fill(0);
            Some(bytes)
        }
    }
}

/// The text with its last character raised that has a next one of the same length; what follows is cut.
fn next_text(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, character)| {
        let next = char::from_u32(u32::from(character) + 1)?;
        let mut raised = text[..at].to_owned();
        raised.push(next);
        (next.len_utf8() == character.len_utf8()).then(|| raised.into_bytes())
    })
}
