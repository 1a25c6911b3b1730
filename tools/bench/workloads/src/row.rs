//! Writes one row twice: as JSON, and as the canonical text of its checksum.
//!
//! It owns both syntaxes, so that a field cannot be in one and not in the
//! other by mistake. Fields come in schema order; one that the JSON leaves out
//! is `absent`, one that the schema does not know is `unknown`.

use std::io::Write;

use crate::outline::{Outline, Place};
use crate::vary::Endings;

/// What strings may get at their end; the last three need no escapes.
const ENDINGS: [&str; 6] =
    [" \"quoted\"", "\\path\tand tab", " line\n\u{1}", " größer", " 修正", " naïve 🚀"];

/// A row under construction.
pub(crate) struct Row<'a> {
    json: &'a mut Vec<u8>,
    canonical: &'a mut Vec<u8>,
    outline: &'a mut Outline,
    /// Draws which strings get an ending; none do without it.
    endings: Option<Endings<'a>>,
    /// Nothing stands in the innermost JSON object or array yet.
    empty: bool,
}

impl<'a> Row<'a> {
    /// Opens the row's object, replacing what the buffers held.
    pub fn begin(
        json: &'a mut Vec<u8>,
        canonical: &'a mut Vec<u8>,
        outline: &'a mut Outline,
        endings: Option<Endings<'a>>,
    ) -> Row<'a> {
        json.clear();
        canonical.clear();
        outline.clear();
        let mut row = Row { json, canonical, outline, endings, empty: true };
        row.begin_object();
        row
    }

    pub fn end(mut self) {
        self.close();
    }

    pub fn integer(&mut self, name: &str, value: i64) {
        self.key(name);
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(value).as_bytes();
        self.json.extend_from_slice(text);
        self.leaf(text);
    }

    /// A double of two decimals, written as a person writes a price.
    pub fn cents(&mut self, name: &str, cents: u32) {
        self.key(name);
        let mut buffer = itoa::Buffer::new();
        self.json.extend_from_slice(buffer.format(cents / 100).as_bytes());
        let (tens, ones) = ((cents / 10 % 10) as u8, (cents % 10) as u8);
        self.json.extend_from_slice(&[b'.', b'0' + tens, b'0' + ones]);
        // Both operands are exact, so the quotient is the double nearest to the decimal text.
        let bits = (f64::from(cents) / 100.0).to_bits() as i64;
        self.leaf(buffer.format(bits).as_bytes());
    }

    pub fn boolean(&mut self, name: &str, value: bool) {
        self.key(name);
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.json.extend_from_slice(text);
        self.leaf(text);
    }

    pub fn string(&mut self, name: &str, value: &str) {
        self.key(name);
        self.text(value, false);
    }

    /// A string whose JSON is pure ASCII: the rest as `\uXXXX`.
    pub fn string_ascii(&mut self, name: &str, value: &str) {
        self.key(name);
        self.text(value, true);
    }

    /// RFC 3339 with seconds, in UTC.
    pub fn timestamp(&mut self, name: &str, epoch_seconds: i64) {
        self.key(name);
        self.json.push(b'"');
        write_seconds(epoch_seconds, self.json);
        self.json.extend_from_slice(b"Z\"");
        self.leaf(itoa::Buffer::new().format(epoch_seconds * 1_000_000).as_bytes());
    }

    /// RFC 3339 with milliseconds, in UTC.
    pub fn timestamp_ms(&mut self, name: &str, epoch_ms: i64) {
        self.key(name);
        self.json.push(b'"');
        write_seconds(epoch_ms.div_euclid(1000), self.json);
        self.json.extend_from_slice(format!(".{:03}Z\"", epoch_ms.rem_euclid(1000)).as_bytes());
        self.leaf(itoa::Buffer::new().format(epoch_ms * 1000).as_bytes());
    }

    /// A string whose text is also the leaf's: a date, or a decimal with all digits of its scale.
    pub fn verbatim(&mut self, name: &str, text: std::fmt::Arguments<'_>) {
        self.key(name);
        self.json.push(b'"');
        let start = self.json.len();
        self.json.write_fmt(text).expect("memory takes every byte");
        self.canonical.extend_from_slice(&self.json[start..]);
        self.leaf(b"");
        self.json.push(b'"');
    }

    pub fn null(&mut self, name: &str) {
        self.null_of(name, 1);
    }

    /// `null` for a struct with so many leaves.
    pub fn null_of(&mut self, name: &str, leaves: usize) {
        self.key(name);
        self.json.extend_from_slice(b"null");
        self.absent(leaves);
    }

    /// `leaves` of the schema are not in this record's JSON.
    pub fn absent(&mut self, leaves: usize) {
        for _ in 0..leaves {
            self.leaf(b"~");
        }
    }

    /// A field that the schema does not have, as ready JSON.
    pub fn unknown(&mut self, name: &str, json: &str) {
        self.key(name);
        self.json.extend_from_slice(json.as_bytes());
    }

    pub fn open(&mut self, name: &str) {
        self.key(name);
        self.begin_object();
    }

    pub fn close(&mut self) {
        self.outline.close_object(self.place());
        self.json.push(b'}');
        self.empty = false;
    }

    pub fn open_list(&mut self, name: &str) {
        self.key(name);
        self.json.push(b'[');
        self.begin_entries();
    }

    /// Opens a struct that is the next element of the list.
    pub fn open_element(&mut self) {
        self.comma();
        self.begin_object();
    }

    pub fn string_element(&mut self, value: &str) {
        self.comma();
        self.text(value, false);
    }

    pub fn close_list(&mut self) {
        self.json.push(b']');
        self.end_entries();
    }

    /// A map with STRING keys: an object in the JSON, a list of keys and values in the canonical text.
    pub fn open_map(&mut self, name: &str) {
        self.key(name);
        self.json.push(b'{');
        self.begin_entries();
    }

    pub fn entry(&mut self, key: &str, value: &str) {
        self.comma();
        self.quoted(key, false);
        self.leaf(key.as_bytes());
        self.json.push(b':');
        self.text(value, false);
    }

    pub fn close_map(&mut self) {
        self.json.push(b'}');
        self.end_entries();
    }

    fn begin_object(&mut self) {
        self.json.push(b'{');
        self.empty = true;
        self.outline.open_object();
    }

    fn begin_entries(&mut self) {
        self.canonical.push(b'[');
        self.empty = true;
        self.outline.open_list();
    }

    fn end_entries(&mut self) {
        self.empty = false;
        self.outline.close_list();
        self.leaf(b"]");
    }

    fn key(&mut self, name: &str) {
        self.outline.end_member(self.place());
        self.comma();
        self.outline.begin_member(self.place());
        self.json.push(b'"');
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
    }

    fn place(&self) -> Place {
        Place { json: self.json.len(), canonical: self.canonical.len() }
    }

    fn comma(&mut self) {
        if !self.empty {
            self.json.push(b',');
        }
        self.empty = false;
    }

    fn leaf(&mut self, text: &[u8]) {
        self.canonical.extend_from_slice(text);
        self.canonical.push(b'|');
        self.outline.leaf();
    }

    fn text(&mut self, value: &str, ascii: bool) {
        let ending = self.endings.as_mut().and_then(Endings::draw);
        match ending {
            None => {
                self.quoted(value, ascii);
                self.leaf(value.as_bytes());
            }
            Some((ending, escaped)) => {
                let value = format!("{value}{ending}");
                self.quoted(&value, ascii || escaped);
                self.leaf(value.as_bytes());
            }
        }
    }

    fn quoted(&mut self, value: &str, ascii: bool) {
        self.json.push(b'"');
        for character in value.chars() {
            match character {
                '"' => self.json.extend_from_slice(b"\\\""),
                '\\' => self.json.extend_from_slice(b"\\\\"),
                '\n' => self.json.extend_from_slice(b"\\n"),
                '\t' => self.json.extend_from_slice(b"\\t"),
                ' '..='~' => self.json.push(character as u8),
                _ if ascii || character < ' ' => self.escaped(character),
                _ => self.json.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.json.push(b'"');
    }

    fn escaped(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.json.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    }
}

impl Endings<'_> {
    /// What this string gets, if anything, and whether its JSON is to be pure ASCII.
    fn draw(&mut self) -> Option<(&'static str, bool)> {
        if self.random.below(3) > 0 {
            return None;
        }
        let first = if self.escapes { 0 } else { 3 };
        let ending = ENDINGS[first + self.random.below(6 - first as u64) as usize];
        let ascii = self.escapes && (!self.non_ascii || self.random.below(2) == 0);
        Some((ending, ascii))
    }
}

/// `2026-11-22T12:34:56`, for years that have four digits.
fn write_seconds(epoch_seconds: i64, out: &mut Vec<u8>) {
    let (days, second) = (epoch_seconds.div_euclid(86_400), epoch_seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    out.extend_from_slice(text.as_bytes());
}

/// The proleptic Gregorian date of a day since the epoch: eras of 400 years, years from March.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_canonical_text_say_the_same() {
        let (mut json, mut canonical, mut outline) = (Vec::new(), Vec::new(), Outline::default());
        let mut row = Row::begin(&mut json, &mut canonical, &mut outline, None);
        row.integer("a", -7);
        row.cents("b", 1205);
        row.open("c");
        row.string("d", "x\"\n\u{1}é");
        row.null("e");
        row.close();
        row.absent(2);
        row.open_list("f");
        row.open_element();
        row.string_ascii("g", "é😀");
        row.close();
        row.string_element("h");
        row.close_list();
        row.unknown("i", "1");
        row.boolean("j", true);
        row.end();
        let expected = r#"{"a":-7,"b":12.05,"c":{"d":"x\"\n\u0001é","e":null},"f":[{"g":"\u00e9\ud83d\ude00"},"h"],"i":1,"j":true}"#;
        assert_eq!(std::str::from_utf8(&json), Ok(expected));
        let leaves: Vec<_> = outline.members.iter().map(|member| member.leaves).collect();
        assert_eq!(leaves, [1, 1, 4, 1, 1, 1, 1, 0, 1], "absent leaves are the member's before them");
        let bits = 12.05f64.to_bits();
        let expected = format!("-7|{bits}|x\"\n\u{1}é|~|~|~|[é😀|h|]|true|");
        assert_eq!(std::str::from_utf8(&canonical), Ok(expected.as_str()));
    }

    #[test]
    fn timestamps_are_civil_dates() {
        let text = |seconds| {
            let mut out = Vec::new();
            write_seconds(seconds, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(text(1_795_350_896), "2026-11-22T12:34:56");
    }
}
