//! Delta's statistics of a file, from its Parquet footer.
//!
//! It owns the JSON: `numRecords`, and per leaf column `nullCount` and bounds
//! that are never narrower than the data. Readers skip files by them, so a
//! bound that cannot be stated exactly is moved outwards, or left out.
//!
//! | type | bounds |
//! |---|---|
//! | integers, dates | exact |
//! | decimals | exact, as JSON numbers; never through a float |
//! | floats | exact, widened to double; none with a NaN, no infinite side; zero is `-0.0` below, `0.0` above |
//! | timestamps | milliseconds: the minimum rounded down, the maximum up; in the last one of the year 9999 exact |
//! | strings | 32 characters; a cut maximum ends in the next higher character, or is not cut |
//! | boolean | exact: Spark reads none, others find no row where there is none |
//! | binary | only `nullCount`, as Spark |
//! | list, map | nothing; each counts as one column |

use std::cmp::Ordering;

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::schema::bounds::{Side, date_text, float_text, json_string, timestamp_text};
use crate::schema::{DataType, Field, Indexed, Schema};

/// Characters of a string bound.
pub(super) const STRING_PREFIX: usize = 32;

/// The `stats` of an `add` action, of those columns that the table wants them of.
///
/// `nans` marks the Parquet leaves that hold a NaN.
pub(super) fn delta_stats(schema: &Schema, metadata: &ParquetMetaData, nans: &[bool]) -> String {
    let mut walk = Walk { metadata, nans, leaf: 0, column: 0, indexed: &schema.indexed };
    let members = walk.fields(&schema.fields, &mut Vec::new());
    format!(
        r#"{{"numRecords":{},"minValues":{{{}}},"maxValues":{{{}}},"nullCount":{{{}}}}}"#,
        metadata.file_metadata().num_rows(),
        members.min,
        members.max,
        members.nulls
    )
}

/// Parquet leaves below a type.
pub(super) fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| leaves(&field.data_type)).sum(),
        DataType::Array { element, .. } => leaves(element),
        DataType::Map { key, value, .. } => leaves(key) + leaves(value),
        _ => 1,
    }
}

/// An integer of `10^-scale` as a JSON number.
pub(super) fn decimal_text(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

/// The members of three JSON objects, without their braces.
#[derive(Default)]
struct Members {
    min: String,
    max: String,
    nulls: String,
}

/// Goes through schema and footer side by side.
struct Walk<'a> {
    metadata: &'a ParquetMetaData,
    nans: &'a [bool],
    /// The next Parquet leaf.
    leaf: usize,
    /// How many columns came before; a list counts as one.
    column: usize,
    indexed: &'a Indexed,
}

impl Walk<'_> {
    fn fields<'f>(&mut self, fields: &'f [Field], path: &mut Vec<&'f str>) -> Members {
        let mut members = Members::default();
        for field in fields {
            path.push(&field.name);
            if let DataType::Struct(inner) = &field.data_type {
                let inner = self.fields(inner, path);
                push_object(&mut members.min, &field.name, &inner.min);
                push_object(&mut members.max, &field.name, &inner.max);
                push_object(&mut members.nulls, &field.name, &inner.nulls);
            } else {
                self.column(field, path, &mut members);
            }
            path.pop();
        }
        members
    }

    fn column(&mut self, field: &Field, path: &[&str], members: &mut Members) {
        let leaf = self.leaf;
        self.leaf += leaves(&field.data_type);
        let place = self.column;
        self.column += 1;
        if !self.indexed.takes(place, path) {
            return;
        }
        if matches!(field.data_type, DataType::Array { .. } | DataType::Map { .. }) {
            return;
        }
        let chunks = self.metadata.row_groups().iter().map(|row_group| row_group.column(leaf));
        let summary = Summary::of(chunks);
        if let Some(nulls) = summary.nulls {
            push_member(&mut members.nulls, &field.name, &nulls.to_string());
        }
        if self.nans[leaf] {
            return;
        }
        if let Some((min, max)) = &summary.bounds {
            if let Some(text) = bound_text(&field.data_type, min, Side::Min) {
                push_member(&mut members.min, &field.name, &text);
            }
            if let Some(text) = bound_text(&field.data_type, max, Side::Max) {
                push_member(&mut members.max, &field.name, &text);
            }
        }
    }
}

fn push_object(out: &mut String, name: &str, members: &str) {
    if !members.is_empty() {
        push_member(out, name, &format!("{{{members}}}"));
    }
}

fn push_member(out: &mut String, name: &str, json: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(&json_string(name));
    out.push(':');
    out.push_str(json);
}

/// What the chunks of a leaf say together.
struct Summary {
    /// `None`: some chunk does not say.
    nulls: Option<u64>,
    /// `None`: no values, or some chunk that has values does not bound them.
    bounds: Option<(Bound, Bound)>,
}

impl Summary {
    fn of<'a>(chunks: impl Iterator<Item = &'a ColumnChunkMetaData>) -> Summary {
        let mut nulls = Some(0);
        let mut bounds: Option<(Bound, Bound)> = None;
        let mut unbounded = false;
        for chunk in chunks {
            let chunk_nulls = chunk.statistics().and_then(Statistics::null_count_opt);
            nulls = nulls.zip(chunk_nulls).map(|(sum, more)| sum + more);
            if chunk_nulls.is_some_and(|nulls| i64::try_from(nulls) == Ok(chunk.num_values())) {
                continue;
            }
            match (chunk.statistics().and_then(chunk_bounds), bounds.take()) {
                (None, _) => unbounded = true,
                (found, None) => bounds = found,
                (Some((min, max)), Some((low, high))) => bounds = Some((min.min(low), max.max(high))),
            }
        }
        Summary { nulls, bounds: bounds.filter(|_| !unbounded) }
    }
}

/// A value that bounds a column.
#[derive(Clone, PartialEq, Debug)]
enum Bound {
    Integer(i128),
    Float(f64),
    Text(Vec<u8>),
    Boolean(bool),
}

impl Bound {
    fn order(&self, other: &Bound) -> Ordering {
        match (self, other) {
            (Bound::Integer(a), Bound::Integer(b)) => a.cmp(b),
            (Bound::Float(a), Bound::Float(b)) => a.total_cmp(b),
            (Bound::Text(a), Bound::Text(b)) => a.cmp(b),
            (Bound::Boolean(a), Bound::Boolean(b)) => a.cmp(b),
            _ => unreachable!("a leaf has one type"),
        }
    }

    fn min(self, other: Bound) -> Bound {
        if self.order(&other).is_le() { self } else { other }
    }

    fn max(self, other: Bound) -> Bound {
        if self.order(&other).is_ge() { self } else { other }
    }
}

fn chunk_bounds(statistics: &Statistics) -> Option<(Bound, Bound)> {
    let integer = |value: i128| Bound::Integer(value);
    match statistics {
        Statistics::Int32(v) => Some((integer((*v.min_opt()?).into()), integer((*v.max_opt()?).into()))),
        Statistics::Int64(v) => Some((integer((*v.min_opt()?).into()), integer((*v.max_opt()?).into()))),
        Statistics::Float(v) => {
            Some((Bound::Float((*v.min_opt()?).into()), Bound::Float((*v.max_opt()?).into())))
        }
        Statistics::Double(v) => Some((Bound::Float(*v.min_opt()?), Bound::Float(*v.max_opt()?))),
        Statistics::ByteArray(v) => {
            Some((Bound::Text(v.min_opt()?.data().to_vec()), Bound::Text(v.max_opt()?.data().to_vec())))
        }
        Statistics::FixedLenByteArray(v) => {
            Some((integer(big_endian(v.min_opt()?.data())?), integer(big_endian(v.max_opt()?.data())?)))
        }
        Statistics::Boolean(v) => Some((Bound::Boolean(*v.min_opt()?), Bound::Boolean(*v.max_opt()?))),
        Statistics::Int96(_) => None,
    }
}

/// A decimal's unscaled value; `None` when the footer cut it.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut wide = [if negative { 0xFF } else { 0 }; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn bound_text(data_type: &DataType, bound: &Bound, side: Side) -> Option<String> {
    match (data_type, bound) {
        (DataType::Byte | DataType::Short | DataType::Integer | DataType::Long, Bound::Integer(value)) => {
            Some(value.to_string())
        }
        (DataType::Decimal { scale, .. }, Bound::Integer(value)) => Some(decimal_text(*value, *scale)),
        (DataType::Date, Bound::Integer(days)) => date_text(i64::try_from(*days).ok()?),
        (DataType::Timestamp, Bound::Integer(micros)) => {
            timestamp_text(i64::try_from(*micros).ok()?, side, true)
        }
        (DataType::Boolean, Bound::Boolean(value)) => Some(value.to_string()),
        (DataType::Float | DataType::Double, Bound::Float(value)) => float_text(*value, side),
        (DataType::String, Bound::Text(bytes)) => {
            let text = std::str::from_utf8(bytes).ok()?;
            Some(json_string(&string_bound(text, side)))
        }
        _ => None,
    }
}

/// The text, or 32 characters that bound it; all of it where no 32 are above it.
fn string_bound(text: &str, side: Side) -> String {
    let Some((cut, _)) = text.char_indices().nth(STRING_PREFIX) else {
        return text.to_owned();
    };
    let prefix = &text[..cut];
    match side {
        Side::Min => prefix.to_owned(),
        Side::Max => next_above(prefix).unwrap_or_else(|| text.to_owned()),
    }
}

/// The least text of at most as many characters that is above everything that starts with `prefix`.
fn next_above(prefix: &str) -> Option<String> {
    let mut rest = prefix.chars();
    while let Some(last) = rest.next_back() {
        // Code points and UTF-8 bytes order alike; the surrogates are no characters.
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            return Some(rest.chain([next]).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_digit_by_digit() {
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(0, 3), "0.000");
        assert_eq!(decimal_text(123, 0), "123");
        assert_eq!(decimal_text(i128::MIN, 38), "-1.70141183460469231731687303715884105728");
        assert_eq!(big_endian(&[0xFF, 0xFB]), Some(-5));
    }

    #[test]
    fn a_cut_maximum_is_above_all_that_share_its_prefix() {
        let text = format!("{}ab", "x".repeat(31));
        assert_eq!(string_bound(&text, Side::Min), format!("{}a", "x".repeat(31)));
        assert_eq!(string_bound(&text, Side::Max), format!("{}b", "x".repeat(31)));
        assert_eq!(string_bound(&"x".repeat(32), Side::Max), "x".repeat(32));
        let last = format!("a{}", "\u{10FFFF}".repeat(40));
        assert_eq!(string_bound(&last, Side::Max), "b");
        let highest = "\u{10FFFF}".repeat(40);
        assert_eq!(string_bound(&highest, Side::Max), highest, "no cut is above it");
        assert_eq!(string_bound(&"\u{D7FF}".repeat(33), Side::Max).chars().last(), Some('\u{E000}'));
    }
}
