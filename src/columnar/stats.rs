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
//! | timestamps | milliseconds: the minimum rounded down, the maximum up |
//! | strings | 32 characters; a cut maximum ends in the next higher character |
//! | boolean, binary | only `nullCount`, as Spark |
//! | list, map | nothing; each counts as one column |

use std::cmp::Ordering;

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::schema::{DataType, Field, Schema};

/// Characters of a string bound.
pub(super) const STRING_PREFIX: usize = 32;

/// The `stats` of an `add` action, over the first `indexed` leaf columns.
///
/// `nans` marks the Parquet leaves that hold a NaN.
pub(super) fn delta_stats(
    schema: &Schema,
    metadata: &ParquetMetaData,
    nans: &[bool],
    indexed: usize,
) -> String {
    let mut walk = Walk { metadata, nans, leaf: 0, indexed };
    let members = walk.fields(&schema.fields);
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
    /// Columns that may still have statistics.
    indexed: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Members {
        let mut members = Members::default();
        for field in fields {
            if let DataType::Struct(inner) = &field.data_type {
                let inner = self.fields(inner);
                push_object(&mut members.min, &field.name, &inner.min);
                push_object(&mut members.max, &field.name, &inner.max);
                push_object(&mut members.nulls, &field.name, &inner.nulls);
            } else {
                self.column(field, &mut members);
            }
        }
        members
    }

    fn column(&mut self, field: &Field, members: &mut Members) {
        let leaf = self.leaf;
        self.leaf += leaves(&field.data_type);
        if self.indexed == 0 {
            return;
        }
        self.indexed -= 1;
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

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string has a JSON form")
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
}

impl Bound {
    fn order(&self, other: &Bound) -> Ordering {
        match (self, other) {
            (Bound::Integer(a), Bound::Integer(b)) => a.cmp(b),
            (Bound::Float(a), Bound::Float(b)) => a.total_cmp(b),
            (Bound::Text(a), Bound::Text(b)) => a.cmp(b),
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
        Statistics::Boolean(_) | Statistics::Int96(_) => None,
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

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Min,
    Max,
}

fn bound_text(data_type: &DataType, bound: &Bound, side: Side) -> Option<String> {
    match (data_type, bound) {
        (DataType::Byte | DataType::Short | DataType::Integer | DataType::Long, Bound::Integer(value)) => {
            Some(value.to_string())
        }
        (DataType::Decimal { scale, .. }, Bound::Integer(value)) => Some(decimal_text(*value, *scale)),
        (DataType::Date, Bound::Integer(days)) => {
            timestamp(days.checked_mul(86_400_000)?).map(|text| format!("\"{}\"", &text[..10]))
        }
        (DataType::Timestamp, Bound::Integer(micros)) => {
            let down = micros.div_euclid(1000);
            let cut = micros.rem_euclid(1000) != 0;
            timestamp(down + i128::from(side == Side::Max && cut)).map(|text| format!("\"{text}\""))
        }
        (DataType::Float | DataType::Double, Bound::Float(value)) => float_text(*value, side),
        (DataType::String, Bound::Text(bytes)) => {
            let text = std::str::from_utf8(bytes).ok()?;
            string_bound(text, side).map(|text| json_string(&text))
        }
        _ => None,
    }
}

/// `2024-06-10T06:13:20.123Z`, for the years 0001 to 9999.
fn timestamp(millis: i128) -> Option<String> {
    let instant = jiff::Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
    let text = format!("{instant:.3}");
    (text.len() == "2024-06-10T06:13:20.123Z".len() && !text.starts_with("0000")).then_some(text)
}

fn float_text(value: f64, side: Side) -> Option<String> {
    let value = match (value == 0.0, side) {
        (true, Side::Min) => -0.0,
        (true, Side::Max) => 0.0,
        _ => value,
    };
    serde_json::Number::from_f64(value).map(|number| number.to_string())
}

/// The text, or 32 characters that bound it. `None`: no such text is above it.
fn string_bound(text: &str, side: Side) -> Option<String> {
    let Some((cut, _)) = text.char_indices().nth(STRING_PREFIX) else {
        return Some(text.to_owned());
    };
    let prefix = &text[..cut];
    match side {
        Side::Min => Some(prefix.to_owned()),
        Side::Max => next_above(prefix),
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
    fn timestamps_round_outwards() {
        let bound = |micros, side| bound_text(&DataType::Timestamp, &Bound::Integer(micros), side);
        assert_eq!(bound(1_718_000_000_123_456, Side::Min).unwrap(), "\"2024-06-10T06:13:20.123Z\"");
        assert_eq!(bound(1_718_000_000_123_456, Side::Max).unwrap(), "\"2024-06-10T06:13:20.124Z\"");
        assert_eq!(bound(1_718_000_000_000_000, Side::Max).unwrap(), "\"2024-06-10T06:13:20.000Z\"");
        assert_eq!(bound(-1, Side::Min).unwrap(), "\"1969-12-31T23:59:59.999Z\"");
        assert_eq!(bound(-1, Side::Max).unwrap(), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(bound(253_402_300_799_999_001, Side::Max), None, "the year 10000");
        assert_eq!(bound(i128::from(i64::MIN), Side::Min), None);
    }

    #[test]
    fn a_cut_maximum_is_above_all_that_share_its_prefix() {
        let text = format!("{}ab", "x".repeat(31));
        assert_eq!(string_bound(&text, Side::Min).unwrap(), format!("{}a", "x".repeat(31)));
        assert_eq!(string_bound(&text, Side::Max).unwrap(), format!("{}b", "x".repeat(31)));
        assert_eq!(string_bound(&"x".repeat(32), Side::Max).unwrap(), "x".repeat(32));
        let last = format!("a{}", "\u{10FFFF}".repeat(40));
        assert_eq!(string_bound(&last, Side::Max).unwrap(), "b");
        assert_eq!(string_bound(&"\u{10FFFF}".repeat(40), Side::Max), None);
        assert_eq!(string_bound(&"\u{D7FF}".repeat(33), Side::Max).unwrap().chars().last(), Some('\u{E000}'));
    }

    #[test]
    fn floats_that_json_cannot_say_are_left_out() {
        assert_eq!(float_text(f64::INFINITY, Side::Max), None);
        assert_eq!(float_text(0.0, Side::Min).unwrap(), "-0.0");
        assert_eq!(float_text(-0.0, Side::Max).unwrap(), "0.0");
        assert_eq!(float_text(f64::from(0.1_f32), Side::Max).unwrap(), "0.10000000149011612");
    }
}
