//! Why a record cannot become a row.
//!
//! It owns the reasons, which are metric labels, and how much of a payload an
//! explanation may show. What happens to the record is the caller's policy.

use std::fmt;

/// A record that cannot become a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRecord {
    pub reason: BadReason,
    /// One line: where and what. Shows at most [`EXCERPT_MAX`] characters of payload, escaped.
    pub detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BadReason {
    /// It is not JSON.
    Syntax,
    /// It is not UTF-8.
    Utf8,
    /// It is JSON, but no object.
    NotObject,
    /// A value has another type than its column.
    Type,
    /// A value has its column's type but does not fit: too large, too many digits, no such date.
    Range,
    /// A column that is NOT NULL has no value.
    Missing,
    /// It has a field that the schema does not know, and the policy is to refuse that.
    UnknownField,
    /// It is larger than allowed, as it came or as it would stand in the table.
    TooLarge,
    /// It has more objects and arrays inside each other than allowed.
    TooDeep,
}

impl BadReason {
    pub const ALL: [BadReason; 9] = [
        BadReason::Syntax,
        BadReason::Utf8,
        BadReason::NotObject,
        BadReason::Type,
        BadReason::Range,
        BadReason::Missing,
        BadReason::UnknownField,
        BadReason::TooLarge,
        BadReason::TooDeep,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            BadReason::Syntax => "syntax",
            BadReason::Utf8 => "utf8",
            BadReason::NotObject => "not_object",
            BadReason::Type => "type",
            BadReason::Range => "range",
            BadReason::Missing => "missing",
            BadReason::UnknownField => "unknown_field",
            BadReason::TooLarge => "too_large",
            BadReason::TooDeep => "too_deep",
        }
    }
}

impl fmt::Display for BadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for BadRecord {}

pub(super) fn invalid_utf8(error: std::str::Utf8Error) -> BadRecord {
    let detail = format!("invalid UTF-8 at byte {}", error.valid_up_to());
    BadRecord { reason: BadReason::Utf8, detail }
}

/// Characters of payload in one explanation: half for the path, half for the value.
pub const EXCERPT_MAX: usize = 120;

/// The beginning of a text from a payload, escaped, at most half of [`EXCERPT_MAX`] characters.
pub(super) fn excerpt(text: &str) -> String {
    let limit = EXCERPT_MAX / 2 - 1;
    let mut escaped = text.chars().flat_map(char::escape_debug);
    let mut shown: String = escaped.by_ref().take(limit).collect();
    if escaped.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt("a\n\"b\""), r#"a\n\"b\""#);
        let long = excerpt(&"\u{0}".repeat(1000));
        assert_eq!(long.chars().count(), EXCERPT_MAX / 2);
        assert!(long.ends_with('…'));
    }
}
