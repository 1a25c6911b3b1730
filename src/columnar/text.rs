//! Values that JSON spells as text: dates, timestamps, decimals, base64; and
//! numbers that count time.
//!
//! It owns their grammar. It does not know columns; the decoder and the
//! inference of schemas ask it the same questions.

use crate::config::EpochUnit;

/// Why a text is no value of the type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TextError {
    /// It does not have the type's form.
    Form,
    /// It has the form, but there is no such value or it does not fit.
    Range,
}

/// Digits of the longest DECIMAL.
pub(super) const DECIMAL_PRECISION_MAX: u8 = 38;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The years 0001 to 9999, in microseconds: what every reader can show. Beyond them a value of a payload
/// makes a bad record, and a record's own timestamp is null ([`timestamp_of_millis`]).
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// `YYYY-MM-DD` of the years 0001 to 9999: days since the Unix epoch.
pub(super) fn date(text: &str) -> Result<i32, TextError> {
    let (days, rest) = leading_date(text.as_bytes())?;
    if rest.is_empty() { Ok(days) } else { Err(TextError::Form) }
}

/// RFC 3339: microseconds since the Unix epoch, UTC.
///
/// The date and the time are separated by `T` or a space; without an offset
/// the time is UTC; digits finer than a microsecond are cut off. A leap
/// second reads as the second before it.
pub(super) fn timestamp(text: &str) -> Result<i64, TextError> {
    common_timestamp(text.as_bytes()).map_or_else(|| any_timestamp(text), Ok)
}

fn any_timestamp(text: &str) -> Result<i64, TextError> {
    let (days, rest) = leading_date(text.as_bytes())?;
    let (b'T' | b't' | b' ', rest) = rest.split_first().ok_or(TextError::Form)? else {
        return Err(TextError::Form);
    };
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = rest else {
        return Err(TextError::Form);
    };
    let (hour, minute, second) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?, two_digits(*s1, *s2)?);
    if hour > 23 || minute > 59 || second > 60 {
        return Err(TextError::Range);
    }
    let (micros, rest) = fraction(rest)?;
    let offset = offset_seconds(rest)?;
    let seconds = i64::from(days) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second.min(59) - offset;
    representable(seconds * MICROS_PER_SECOND + micros)
}

/// A timestamp as nearly all producers write it: `YYYY-MM-DDTHH:MM:SS`, perhaps a fraction, `Z`.
/// `None`: written otherwise, or no such instant.
fn common_timestamp(text: &[u8]) -> Option<i64> {
    let (whole, rest) = text.split_first_chunk::<19>()?;
    let date = pairs(*whole.first_chunk()?, *b"0000-00-")?;
    let time = pairs(*whole[8..].first_chunk()?, *b"00T00:00")?;
    let seconds = pairs([whole[16], whole[17], whole[18], 0, 0, 0, 0, 0], [b':', b'0', b'0', 0, 0, 0, 0, 0])?;
    let (year, month) = (date[0] * 100 + date[2], date[5]);
    let (day, hour, minute, second) = (time[0], time[3], time[6], seconds[1]);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, rest) = fraction(rest).ok()?;
    if rest != b"Z" {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    Some((days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second) * MICROS_PER_SECOND + micros)
}

/// The number that each byte spells with the one behind it. The bytes are digits where the layout has
/// `0`, and equal to it elsewhere; else `None`.
#[inline(always)]
fn pairs(bytes: [u8; 8], layout: [u8; 8]) -> Option<[i64; 8]> {
    let limits = layout.map(|byte| if byte == b'0' { 0x76 } else { 0x7F });
    let word = u64::from_le_bytes(bytes) ^ u64::from_le_bytes(layout);
    // More than the limit allows carries into the high bit of its byte.
    let above = word.wrapping_add(u64::from_le_bytes(limits)) | word;
    if above & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    Some((word.wrapping_mul(10).wrapping_add(word >> 8)).to_le_bytes().map(i64::from))
}

/// A number in JSON's grammar that counts a unit since the Unix epoch: microseconds.
///
/// What is finer than a microsecond is cut off, as in [`timestamp`]: toward the past.
pub(super) fn epoch(number: &str, unit: EpochUnit) -> Result<i64, TextError> {
    let (negative, mantissa, exponent) = parts(number)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shift = match unit {
        EpochUnit::Seconds => 6,
        EpochUnit::Milliseconds => 3,
        EpochUnit::Microseconds => 0,
        EpochUnit::Nanoseconds => -3,
    };
    let length = |digits: &str| i64::try_from(digits.len()).unwrap_or(i64::MAX);
    // So many digits are whole microseconds; the exponent may add zeros to them.
    let whole_digits = length(whole).saturating_add(exponent).saturating_add(shift);
    let push = |micros: i64, digit: u8| {
        let shifted = micros.checked_mul(10).and_then(|micros| micros.checked_add(i64::from(digit)));
        shifted.ok_or(TextError::Range)
    };
    let (mut micros, mut finer, mut at) = (0, false, 0);
    for digit in whole.bytes().chain(fraction.bytes()).map(|digit| digit - b'0') {
        if at < whole_digits {
            micros = push(micros, digit)?;
        } else {
            finer |= digit != 0;
        }
        at += 1;
    }
    while micros != 0 && at < whole_digits {
        micros = push(micros, 0)?;
        at += 1;
    }
    representable(if negative { -micros - i64::from(finer) } else { micros })
}

/// The same for a whole number.
pub(super) fn epoch_whole(value: i64, unit: EpochUnit) -> Result<i64, TextError> {
    let micros = match unit {
        EpochUnit::Seconds => value.checked_mul(MICROS_PER_SECOND),
        EpochUnit::Milliseconds => value.checked_mul(1_000),
        EpochUnit::Microseconds => Some(value),
        EpochUnit::Nanoseconds => Some(value.div_euclid(1_000)),
    };
    representable(micros.ok_or(TextError::Range)?)
}

/// A record's timestamp in microseconds; `None` outside of the years 0001 to 9999. The rule of every table,
/// the one of dead letters too: such a timestamp is null, and counted. The record's place and value are
/// right all the same, so that it is no bad record.
pub(super) fn timestamp_of_millis(millis: i64) -> Option<i64> {
    millis.checked_mul(1000).filter(|micros| TIMESTAMPS.contains(micros))
}

fn representable(micros: i64) -> Result<i64, TextError> {
    if TIMESTAMPS.contains(&micros) { Ok(micros) } else { Err(TextError::Range) }
}

/// A number in JSON's grammar as an integer of `10^-scale`, exactly.
pub(super) fn decimal(text: &str, precision: u8, scale: u8) -> Result<i128, TextError> {
    let (negative, mantissa, exponent) = parts(text)?;
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(TextError::Form),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return Err(TextError::Form);
    }
    let magnitude = scaled(whole, fraction, exponent, precision, scale)?;
    Ok(if negative { -magnitude } else { magnitude })
}

/// Sign, mantissa and exponent of a number.
fn parts(number: &str) -> Result<(bool, &str, i64), TextError> {
    let (negative, unsigned) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => Ok((negative, mantissa, exponent_of(exponent)?)),
        None => Ok((negative, unsigned, 0)),
    }
}

/// The digits of a decimal, shifted to its scale.
fn scaled(whole: &str, fraction: &str, exponent: i64, precision: u8, scale: u8) -> Result<i128, TextError> {
    let mut value: i128 = 0;
    let mut digits: i64 = 0;
    // Zeros are held back until a digit follows them: at the end they are only exponent.
    let mut zeros: i64 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        match byte {
            b'0' => zeros += i64::from(value != 0),
            b'1'..=b'9' => {
                digits += zeros + 1;
                if digits > i64::from(precision) {
                    // The rest may still be wrong in form; that is found out first.
                    return match (whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
                        true => Err(TextError::Range),
                        false => Err(TextError::Form),
                    };
                }
                for _ in 0..zeros {
                    value *= 10;
                }
                zeros = 0;
                value = value * 10 + i128::from(byte - b'0');
            }
            _ => return Err(TextError::Form),
        }
    }
    if value == 0 {
        return Ok(0);
    }
    let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let shift = exponent.saturating_sub(fraction_digits).saturating_add(zeros).saturating_add(scale.into());
    if shift < 0 || digits.saturating_add(shift) > i64::from(precision) {
        return Err(TextError::Range);
    }
    let shift = u32::try_from(shift).expect("at most the precision");
    Ok(value * 10_i128.pow(shift))
}

fn exponent_of(text: &str) -> Result<i64, TextError> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TextError::Form);
    }
    let magnitude = digits
        .iter()
        .fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Ok(if negative { -magnitude } else { magnitude })
}

/// Base64 of the standard alphabet, padded or not, appended to `bytes`.
pub(super) fn base64(text: &str, bytes: &mut Vec<u8>) -> Result<(), TextError> {
    let unpadded = match text.as_bytes() {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] if text.len().is_multiple_of(4) => rest,
        rest => rest,
    };
    for group in unpadded.chunks(4) {
        if group.len() == 1 {
            return Err(TextError::Form);
        }
        let mut bits: u32 = 0;
        for digit in group {
            bits = (bits << 6) | sextet(*digit)?;
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Ok(())
}

fn sextet(digit: u8) -> Result<u32, TextError> {
    Ok(match digit {
        b'A'..=b'Z' => u32::from(digit - b'A'),
        b'a'..=b'z' => u32::from(digit - b'a') + 26,
        b'0'..=b'9' => u32::from(digit - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return Err(TextError::Form),
    })
}

fn leading_date(text: &[u8]) -> Result<(i32, &[u8]), TextError> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = text else {
        return Err(TextError::Form);
    };
    let year = two_digits(*y1, *y2)? * 100 + two_digits(*y3, *y4)?;
    let (month, day) = (two_digits(*m1, *m2)?, two_digits(*d1, *d2)?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return Err(TextError::Range);
    }
    let days = i32::try_from(days_since_epoch(year, month, day)).expect("four digits of year");
    Ok((days, rest))
}

fn two_digits(tens: u8, ones: u8) -> Result<i64, TextError> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() {
        Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    } else {
        Err(TextError::Form)
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The Gregorian calendar, carried on backwards; the year begins in March, so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `.` and digits, if any: microseconds, and what follows.
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), TextError> {
    let [b'.', rest @ ..] = text else {
        return Ok((0, text));
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(TextError::Form);
    }
    let micros =
        (0..6).fold(0, |value, at| value * 10 + if at < digits { i64::from(rest[at] - b'0') } else { 0 });
    Ok((micros, &rest[digits..]))
}

/// Nothing, `Z`, `±HH:MM`, `±HHMM` or `±HH`.
fn offset_seconds(text: &[u8]) -> Result<i64, TextError> {
    let (sign, hours, minutes) = match text {
        [] | [b'Z' | b'z'] => return Ok(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => {
            (sign, two_digits(*h1, *h2)?, two_digits(*m1, *m2)?)
        }
        [sign, h1, h2] => (sign, two_digits(*h1, *h2)?, 0),
        _ => return Err(TextError::Form),
    };
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return Err(TextError::Form),
    };
    if hours > 23 || minutes > 59 {
        return Err(TextError::Range);
    }
    Ok(sign * (hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamps_of_every_accepted_layout_are_the_same_instant() {
        let instant = Ok(1_718_000_000_123_456);
        for text in [
            "2024-06-10T06:13:20.123456Z",
            "2024-06-10t06:13:20.123456z",
            "2024-06-10 06:13:20.123456",
            "2024-06-10T06:13:20.123456999",
            "2024-06-10T08:13:20.123456+02:00",
            "2024-06-10T08:13:20.123456+0200",
            "2024-06-10T08:13:20.123456+02",
            "2024-06-09T22:43:20.123456-07:30",
        ] {
            assert_eq!(timestamp(text), instant, "{text}");
        }
        assert_eq!(timestamp("2016-12-31T23:59:60Z"), timestamp("2016-12-31T23:59:59Z"));
        assert_eq!(timestamp("1969-12-31T23:59:59.9999999Z"), Ok(-1));
    }

    #[test]
    fn what_is_no_timestamp_is_told_from_what_does_not_exist() {
        for text in [
            "",
            "2024-06-10",
            "2024-06-10T06:13",
            "2024-06-10T06:13:20.Z",
            "2024-06-10T06:13:20 Z",
            "20240610T061320Z",
            "2024-06-10T06:13:20+2",
            "1718000000",
            "２024-06-10T06:13:20Z",
        ] {
            assert_eq!(timestamp(text), Err(TextError::Form), "{text}");
        }
        for text in [
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "0000-01-01T00:00:00Z",
            "2024-01-01T00:00:00+24:00",
            "2024-00-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(timestamp(text), Err(TextError::Range), "{text}");
        }
    }

    #[test]
    fn numbers_count_their_unit_and_what_is_finer_than_a_microsecond_is_cut_off() {
        use EpochUnit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
        let cases = [
            ("1718000000", Seconds, Ok(1_718_000_000_000_000)),
            ("1718000000.1234567", Seconds, Ok(1_718_000_000_123_456)),
            ("1.718e9", Seconds, Ok(1_718_000_000_000_000)),
            ("17180000000000e-4", Seconds, Ok(1_718_000_000_000_000)),
            ("1718000000123", Milliseconds, Ok(1_718_000_000_123_000)),
            ("1718000000123456", Microseconds, Ok(1_718_000_000_123_456)),
            ("1718000000123456789", Nanoseconds, Ok(1_718_000_000_123_456)),
            ("0", Nanoseconds, Ok(0)),
            ("-0", Seconds, Ok(0)),
            ("0e999999999999999999999", Seconds, Ok(0)),
            ("999", Nanoseconds, Ok(0)),
            ("-1", Nanoseconds, Ok(-1)),
            ("-1000", Nanoseconds, Ok(-1)),
            ("-1001", Nanoseconds, Ok(-2)),
            ("-0.0000001", Seconds, Ok(-1)),
            ("1e-30", Seconds, Ok(0)),
            ("-62135596800", Seconds, Ok(*TIMESTAMPS.start())),
            ("-62135596800.000001", Seconds, Err(TextError::Range)),
            ("253402300799.999999", Seconds, Ok(*TIMESTAMPS.end())),
            ("253402300800", Seconds, Err(TextError::Range)),
            ("1718000000123456789", Milliseconds, Err(TextError::Range)),
            ("99999999999999999999999999", Nanoseconds, Err(TextError::Range)),
            ("1e999999999999999999999", Seconds, Err(TextError::Range)),
        ];
        for (number, unit, expected) in cases {
            assert_eq!(epoch(number, unit), expected, "{number} {unit:?}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let cases = [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("0e99999999999999999999", Ok(0)),
            ("12.34", Ok(1234)),
            ("-0.01", Ok(-1)),
            ("1.500", Ok(150)),
            ("1e3", Ok(100_000)),
            ("12345E-2", Ok(12_345)),
            ("12300e-3", Ok(1230)),
            ("99999999.99", Ok(9_999_999_999)),
            ("100000000", Err(TextError::Range)),
            ("0.001", Err(TextError::Range)),
            ("1e-3", Err(TextError::Range)),
            ("1e999999999999999999", Err(TextError::Range)),
            ("01", Err(TextError::Form)),
            ("1.", Err(TextError::Form)),
            (".5", Err(TextError::Form)),
            ("+1", Err(TextError::Form)),
            ("1e", Err(TextError::Form)),
            ("", Err(TextError::Form)),
            ("-", Err(TextError::Form)),
            ("NaN", Err(TextError::Form)),
            ("1 ", Err(TextError::Form)),
            ("123456789012345x", Err(TextError::Form)),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text, 10, 2), expected, "{text}");
        }
        let most = "9".repeat(38);
        assert_eq!(decimal(&most, 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(decimal(&format!("0.{most}"), 38, 38), Ok(10_i128.pow(38) - 1));
        assert_eq!(decimal(&format!("{most}0"), 38, 0), Err(TextError::Range));
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        let decode = |text: &str| {
            let mut bytes = Vec::new();
            base64(text, &mut bytes).map(|()| bytes)
        };
        assert_eq!(decode(""), Ok(vec![]));
        assert_eq!(decode("Zg=="), Ok(b"f".to_vec()));
        assert_eq!(decode("Zm8"), Ok(b"fo".to_vec()));
        assert_eq!(decode("Zm9vYg=="), Ok(b"foob".to_vec()));
        assert_eq!(decode("+/+/"), Ok(vec![0xFB, 0xFF, 0xBF]));
        for text in ["Z", "Zg=", "Z===", "=", "Zm9v\n", "Zm-_", "Zg==Zg=="] {
            assert_eq!(decode(text), Err(TextError::Form), "{text}");
        }
    }

    proptest! {
        #[test]
        fn timestamps_read_as_jiff_prints_them(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            let instant = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(timestamp(&instant.to_string()), Ok(micros));
            let day = instant.to_zoned(jiff::tz::TimeZone::UTC).date();
            let days = micros.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY);
            prop_assert_eq!(date(&day.to_string()).map(i64::from), Ok(days));
        }

        #[test]
        fn the_common_layout_is_read_as_any_other(
            text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.][0-9]{0,10})?Z",
            mutation in prop::option::of((0..20_usize, any::<char>())),
        ) {
            let mut text: Vec<char> = text.chars().collect();
            if let Some((at, character)) = mutation {
                text[at] = character;
            }
            let text: String = text.into_iter().collect();
            if let Some(micros) = common_timestamp(text.as_bytes()) {
                prop_assert_eq!(any_timestamp(&text), Ok(micros));
            } else if let Ok(micros) = any_timestamp(&text) {
                prop_assert!(text.contains(":60") || !text.contains('T'), "{} is {}", text, micros);
            }
        }

        #[test]
        fn a_number_and_the_text_of_one_instant_are_one_timestamp(nanos in -1_000_000_000_000_000_000_i128..4_000_000_000_000_000_000) {
            let instant = jiff::Timestamp::from_nanosecond(nanos).unwrap();
            prop_assert_eq!(epoch(&nanos.to_string(), EpochUnit::Nanoseconds), timestamp(&instant.to_string()));
            let seconds = crate::columnar::stats::decimal_text(nanos, 9);
            prop_assert_eq!(epoch(&seconds, EpochUnit::Seconds), timestamp(&instant.to_string()));
        }

        #[test]
        fn decimals_read_back_at_their_scale(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_u8..=38) {
            let text = crate::columnar::stats::decimal_text(value, scale);
            prop_assert_eq!(decimal(&text, 38, scale), Ok(value));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9eE.+TZ: -]{0,30}") {
            let _ = (date(&text), timestamp(&text), base64(&text, &mut Vec::new()));
            let json = serde_json::from_str::<serde_json::Number>(&text).is_ok();
            match decimal(&text, 10, 2) {
                Err(TextError::Form) => prop_assert!(!json || text != text.trim()),
                Ok(_) => prop_assert!(json),
                Err(TextError::Range) => {}
            }
        }
    }
}
