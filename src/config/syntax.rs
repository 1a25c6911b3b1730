//! Errors of the file's shape, in our words: a key that is not known, a value
//! of another type.
//!
//! It owns the translation. serde gives these errors as text, so the key and
//! the choice are read back from between its backquotes. Text that is not a TOML
//! at all is `grammar`'s.

use super::nearest::suggestion;
use super::redact::names_a_secret;
use super::source::{Source, SourcePosition};
use super::words::{self, Meant};
use crate::error::Error;

/// serde's and toml's words for types, and a person's.
const PLAIN: [(&str, &str); 16] = [
    ("floating point", "a number with a fraction"),
    ("integer", "a whole number"),
    ("boolean", "`true` or `false`"),
    ("a boolean", "`true` or `false`"),
    ("string", "a text"),
    ("a string", "a text in quotes"),
    ("a borrowed string", "a text in quotes"),
    ("sequence", "a list"),
    ("a sequence", "a list in brackets"),
    ("map", "a table"),
    ("a map", "a table"),
    ("i64", "a whole number"),
    ("u64", "a whole number"),
    ("datetime", "a date"),
    ("unit value", "nothing"),
    ("any value", "a value"),
];

/// One error of serde, and the key that its section should have had there, if it stands for one.
pub fn error(source: &Source<'_>, error: &toml::de::Error) -> (Error, Option<String>) {
    let message = error.message().lines().next().unwrap_or_default();
    let span = error.span().unwrap_or(0..0);
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let line = key_of_line(source.text, span.start);
    if message.starts_with("unknown field")
        && let Some((key, known)) = words.split_first()
    {
        // `bootstrap.servers` without quotes is the key `bootstrap` to the parser.
        let whole = if line.contains('.') { line } else { key };
        let place =
            SourcePosition::File(span.start..span.end.max(span.start + dotted(source.text, span.start)));
        let unknown = |key: &str, remedy: String| {
            source.error(&place, format!("unknown key `{key}`"), "unknown key").remedy(remedy)
        };
        for key in [whole, key] {
            if let Some(Meant { ours, remedy }) = words::meant(key, known) {
                return (unknown(whole, remedy), ours.map(str::to_owned));
            }
        }
        let near = words::near(key, known).map(str::to_owned);
        return (unknown(key, suggestion(key, &words::of_now(known))), near);
    }
    let place = SourcePosition::File(span);
    let of_serde = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match of_serde {
        Some(text) => (wrong_type(source, &place, line, text), None),
        None => (source.error(&place, message, "").remedy("write another value, or leave the key out"), None),
    }
}

/// `integer `1234`, expected a string`: the value may be a password, and the line shows it if it is not.
fn wrong_type(source: &Source<'_>, place: &SourcePosition, key: &str, text: &str) -> Error {
    let (found, expected) = text.rsplit_once(", expected ").unwrap_or((text, "another"));
    let found = plain(found.split(['"', '`']).next().unwrap_or_default().trim_end());
    let expected = plain(expected);
    // `group.id` without quotes is a table to the parser.
    if key.contains('.')
        && found == "a table"
        && let Some(Meant { remedy, .. }) = words::meant(key, &["brokers"])
    {
        return source.error(place, format!("unknown key `{key}`"), "").remedy(remedy);
    }
    let message = format!("`{key}` has the wrong type: found {found}, expected {expected}");
    let wrong = source.error(place, message, "");
    let written = match place {
        SourcePosition::File(span) => source.text.get(span.clone()).unwrap_or_default(),
        SourcePosition::Variable(_) => "",
    };
    match (key, found, words::example(key)) {
        ("start", "a table", _) if written.starts_with(|c: char| c.is_ascii_digit()) => {
            wrong.remedy(format!("put the time in quotes: `{key} = \"{written}\"`"))
        }
        ("topic", "a list", _) => wrong.remedy(words::ONE_TOPIC),
        ("brokers", "a list", _) => wrong.remedy("write them in one text: `brokers = \"a:9092,b:9092\"`"),
        ("max_latency", "a whole number", _) => wrong.remedy(format!(
            "write its unit: `{key} = \"{written}s\"`, `\"{written}ms\"` or `\"{written}m\"`"
        )),
        ("memory" | "target_file_size" | "max_record_size", "a whole number", _) => wrong
            .remedy(format!("write its unit, in quotes: `{key} = \"{written}B\"`, or as in `\"128MiB\"`")),
        (_, _, Some(example)) => wrong.remedy(format!("for example: `{key} = {example}`")),
        (_, "`true` or `false`" | "a whole number", None) if expected == "a text in quotes" => {
            let shown = if names_a_secret(key) { "…" } else { written };
            wrong.remedy(format!("put it in quotes: `{key} = \"{shown}\"`"))
        }
        (_, _, None) if expected == "a table" => wrong.remedy(format!("write a section: `[{key}]`")),
        (_, _, None) => wrong.remedy("put the value in quotes"),
    }
}

/// A type in plain words.
fn plain(words: &str) -> &str {
    match PLAIN.iter().find(|(theirs, _)| *theirs == words) {
        Some((_, ours)) => ours,
        None if words.starts_with("struct ") => "a table",
        None => words,
    }
}

/// Bytes of the key that begins here, its dots included.
fn dotted(text: &str, position: usize) -> usize {
    let rest = text.get(position..).unwrap_or_default();
    rest.find(|c: char| !(c.is_alphanumeric() || "._-".contains(c))).unwrap_or(rest.len())
}

/// The key to the left of a value, or of the line.
pub fn key_of_line(text: &str, position: usize) -> &str {
    let line = &text[line_at(text, position)];
    match line.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => key.trim().trim_matches(['"', '\'']),
        _ => "the value",
    }
}

/// The bytes of the line around a position, without its end.
pub fn line_at(text: &str, position: usize) -> std::ops::Range<usize> {
    let mut position = position.min(text.len());
    while !text.is_char_boundary(position) {
        position -= 1;
    }
    let start = text[..position].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[position..].find('\n').map_or(text.len(), |newline| position + newline);
    start..end
}
