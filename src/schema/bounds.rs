//! Bounds of a column's values, as Delta's statistics spell them in JSON.
//!
//! It owns the spelling of single values, on either side: a bound that has no
//! exact spelling is moved outwards, or there is none. It does not own where
//! the values come from.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, date};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Min,
    Max,
}

/// `"2024-06-10"`, for the years 0001 to 9999.
pub fn date_text(days: i64) -> Option<String> {
    let date = at_micros(days.checked_mul(86_400_000_000)?)?.date();
    Some(format!("\"{date}\""))
}

/// `"2024-06-10T06:13:20.123Z"`, for the years 0001 to 9999: milliseconds, the minimum rounded down, the
/// maximum up; in the very last one exact. Without a zone no `Z`.
pub fn timestamp_text(micros: i64, side: Side, has_zone: bool) -> Option<String> {
    let zone = if has_zone { "Z" } else { "" };
    let exact = at_micros(micros)?;
    let cut = micros.rem_euclid(1000) != 0;
    let millis = micros.div_euclid(1000) + i64::from(side == Side::Max && cut);
    Some(match millis.checked_mul(1000).and_then(at_micros) {
        Some(at) => format!("\"{at:.3}{zone}\""),
        // A file with one bound only is passed over by deltalake-python, whatever it is asked for.
        None => format!("\"{exact:.6}{zone}\""),
    })
}

/// Zero has two signs, and a reader may tell them apart. JSON has no infinity and no NaN.
pub fn float_text(value: f64, side: Side) -> Option<String> {
    let value = match (value == 0.0, side) {
        (true, Side::Min) => -0.0,
        (true, Side::Max) => 0.0,
        _ => value,
    };
    serde_json::Number::from_f64(value).map(|number| number.to_string())
}

pub fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string has a JSON form")
}

/// Days since the epoch of a bound as it was written.
pub fn days_of(text: &str) -> Option<i64> {
    let day: Date = text.parse().ok()?;
    Some(EPOCH.date().until(day).ok()?.get_days().into())
}

/// Microseconds since the epoch of a bound as it was written: UTC, or some offset.
pub fn micros_of(text: &str) -> Option<i64> {
    if let Some(at) = text.strip_suffix('Z').and_then(|text| text.parse::<DateTime>().ok()) {
        // A timestamp of jiff's ends some hours before the year 9999 does.
        return i64::try_from(at.duration_since(EPOCH).as_micros()).ok();
    }
    Some(text.parse::<jiff::Timestamp>().ok()?.as_microsecond())
}

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// The civil time in UTC. No instant of a zone: these end before the last day that a calendar has.
fn at_micros(micros: i64) -> Option<DateTime> {
    let at = EPOCH.checked_add(SignedDuration::from_micros(micros)).ok()?;
    (at.year() >= 1).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST_MICROS: i64 = 253_402_300_799_999_999;

    #[test]
    fn timestamps_round_outwards() {
        let bound = |micros, side| timestamp_text(micros, side, true);
        assert_eq!(bound(1_718_000_000_123_456, Side::Min).unwrap(), "\"2024-06-10T06:13:20.123Z\"");
        assert_eq!(bound(1_718_000_000_123_456, Side::Max).unwrap(), "\"2024-06-10T06:13:20.124Z\"");
        assert_eq!(bound(1_718_000_000_000_000, Side::Max).unwrap(), "\"2024-06-10T06:13:20.000Z\"");
        assert_eq!(bound(-1, Side::Min).unwrap(), "\"1969-12-31T23:59:59.999Z\"");
        assert_eq!(bound(-1, Side::Max).unwrap(), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(timestamp_text(0, Side::Max, false).unwrap(), "\"1970-01-01T00:00:00.000\"");
        assert_eq!(bound(i64::MIN, Side::Min), None);
        assert_eq!(bound(i64::MAX, Side::Max), None);
    }

    #[test]
    fn the_first_and_the_last_day_of_the_calendar_have_bounds() {
        assert_eq!(date_text(-719_162).unwrap(), "\"0001-01-01\"");
        assert_eq!(date_text(-719_163), None, "the year 0000");
        assert_eq!(date_text(2_932_896).unwrap(), "\"9999-12-31\"");
        assert_eq!(date_text(2_932_897), None, "the year 10000");
        let last = timestamp_text(LAST_MICROS, Side::Min, true).unwrap();
        assert_eq!(last, "\"9999-12-31T23:59:59.999Z\"");
        assert_eq!(timestamp_text(LAST_MICROS / 1000 * 1000, Side::Max, true), Some(last.clone()));
        let beyond = timestamp_text(LAST_MICROS, Side::Max, true).unwrap();
        assert_eq!(beyond, "\"9999-12-31T23:59:59.999999Z\"");
        assert_eq!(micros_of(beyond.trim_matches('"')), Some(LAST_MICROS));
        assert_eq!(timestamp_text(LAST_MICROS + 1, Side::Max, true), None, "the year 10000");
        assert_eq!(micros_of(last.trim_matches('"')), Some(LAST_MICROS / 1000 * 1000));
        assert_eq!(days_of("9999-12-31"), Some(2_932_896));
        assert_eq!(days_of("0001-01-01"), Some(-719_162));
        assert_eq!(micros_of("1970-01-01T01:00:00.000+01:00"), Some(0));
    }

    #[test]
    fn floats_that_json_cannot_say_have_no_bound() {
        assert_eq!(float_text(f64::INFINITY, Side::Max), None);
        assert_eq!(float_text(0.0, Side::Min).unwrap(), "-0.0");
        assert_eq!(float_text(-0.0, Side::Max).unwrap(), "0.0");
        assert_eq!(float_text(f64::from(0.1_f32), Side::Max).unwrap(), "0.10000000149011612");
    }
}
