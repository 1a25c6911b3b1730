//! What a person should look at in an inferred schema.
//!
//! It owns the signs that a column is something else than its samples could
//! tell. A hint changes nothing.

use super::seen::{Members, Numbers, Seen, Texts};
use crate::columnar::text::DECIMAL_PRECISION_MAX;
use crate::config::EpochUnit;
use crate::schema::DataType;

/// A column that may be meant otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hint {
    /// From the top, `actor.tags[]`; of several columns, with commas.
    pub path: String,
    pub text: String,
}

/// Seconds of the years 2000 to 2049: what a number that counts time is taken to mean.
const PLAUSIBLE_SECONDS: std::ops::Range<f64> = 946_684_800.0..2_524_608_000.0;

/// Keys from which an object is suspected to be a dictionary.
const DICTIONARY_KEYS_MIN: usize = 16;
/// The same where every object has all of them.
const DICTIONARY_KEYS_ALWAYS: usize = 64;

/// Columns that one hint names.
const COLUMNS_NAMED: usize = 10;

/// What a leaf column may be meant for, besides the type that was chosen.
pub(super) fn leaf(path: &str, seen: &Seen, chosen: &DataType) -> Option<Hint> {
    let text = match (chosen, &seen.numbers, &seen.texts) {
        (DataType::Decimal { .. }, ..) => {
            "integers beyond BIGINT: DECIMAL(38, 0) keeps every digit, and takes no fractions".to_owned()
        }
        (DataType::Long | DataType::Double, Some(numbers), _) => epoch(path, numbers)?,
        (DataType::String, _, Some(texts)) => decimal(texts)?,
        _ => return None,
    };
    Some(Hint { path: path.to_owned(), text })
}

fn epoch(path: &str, numbers: &Numbers) -> Option<String> {
    let unit = EpochUnit::ALL.into_iter().find(|unit| {
        let seconds = |number: f64| number / per_second(*unit);
        [numbers.lowest, numbers.highest]
            .into_iter()
            .all(|number| PLAUSIBLE_SECONDS.contains(&seconds(number)))
    })?;
    let day = |number: f64| {
        let second = jiff::Timestamp::from_second((number / per_second(unit)) as i64).ok();
        second.map_or_else(String::new, |at| at.strftime("%Y-%m-%d").to_string())
    };
    let (first, last) = (day(numbers.lowest), day(numbers.highest));
    let days = if first == last { first } else { format!("{first} to {last}") };
    let unit = unit.as_str();
    Some(format!(
        "as `{unit}` since 1970 its numbers are times, {days}: if so, make it TIMESTAMP and add \
         timestamps = {{ {} = \"{unit}\" }}",
        toml_key(path)
    ))
}

fn per_second(unit: EpochUnit) -> f64 {
    match unit {
        EpochUnit::Seconds => 1.0,
        EpochUnit::Milliseconds => 1e3,
        EpochUnit::Microseconds => 1e6,
        EpochUnit::Nanoseconds => 1e9,
    }
}

/// A path as a key of TOML.
fn toml_key(path: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if path.chars().all(is_bare) { path.to_owned() } else { format!("\"{path}\"") }
}

fn decimal(texts: &Texts) -> Option<String> {
    let (whole, fraction) = texts.decimal.filter(|(_, fraction)| *fraction > 0)?;
    let precision = whole + fraction;
    (precision <= usize::from(DECIMAL_PRECISION_MAX)).then(|| {
        format!(
            "its texts are decimal numbers: DECIMAL(p, s) takes them exactly, here at least \
             DECIMAL({precision}, {fraction})"
        )
    })
}

/// Whether the members of an object look like the keys of a dictionary.
pub(super) fn is_like_a_dictionary(members: &Members) -> bool {
    let keys = members.fields.len();
    let times: u64 = members.fields.iter().map(|(_, seen)| seen.times).sum();
    let often = times.saturating_mul(2) >= members.objects.saturating_mul(keys as u64);
    keys >= if often { DICTIONARY_KEYS_ALWAYS } else { DICTIONARY_KEYS_MIN }
}

pub(super) fn dictionary(path: &str, members: &Members, value: &DataType) -> Hint {
    let text = format!(
        "{} keys with values of one type: MAP<STRING, {value}> takes any key, a STRUCT only those of the samples",
        members.fields.len()
    );
    Hint { path: path.to_owned(), text }
}

/// Columns of whole numbers that are no ids: fractions may come.
pub(super) fn fractions(columns: &[String]) -> Option<Hint> {
    let measures: Vec<&str> = columns.iter().map(String::as_str).filter(|path| !is_an_id(path)).collect();
    if measures.is_empty() {
        return None;
    }
    let mut path = measures[..measures.len().min(COLUMNS_NAMED)].join(", ");
    if measures.len() > COLUMNS_NAMED {
        path += &format!(" and {} more", measures.len() - COLUMNS_NAMED);
    }
    let text = "whole numbers in every sample: BIGINT makes a bad record of a fraction; where one may come, \
                write DOUBLE or DECIMAL(p, s)";
    Some(Hint { path, text: text.to_owned() })
}

fn is_an_id(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path).trim_end_matches("[]").trim_matches('`');
    let lower = name.to_ascii_lowercase();
    let words = ["id", "ids", "count", "version", "sequence", "offset"];
    words.iter().any(|word| {
        lower == *word || lower.ends_with(&format!("_{word}")) || lower.ends_with(&format!("-{word}"))
    }) || name.ends_with("Id")
        || name.ends_with("ID")
}
