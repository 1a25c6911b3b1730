//! Results, line by line, on stdout, and what of them may act on a terminal:
//! nothing.
//!
//! It owns what a reader that went away means, and that names, payloads and
//! texts of others are shown as text. Logs and errors go to stderr.

use std::fmt::Write as _;
use std::io::{ErrorKind as IoKind, Write as _};

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result, acts_on_a_terminal, one_line};

/// Prints one line of a result, whatever is in it. A reader that went away (`| head`) is no error.
pub fn print(line: &str) -> Result<()> {
    print_text(&shown(line))
}

/// Prints a text of ours, which may have several lines.
pub fn print_text(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != IoKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Io, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Anybody's text as a part of a line or a cell of a table.
pub fn shown(text: &str) -> String {
    one_line(text.to_owned())
}

/// A value over several lines.
pub fn json(value: &Value) -> String {
    json_text(&serde_json::to_string_pretty(value).expect("plain values"))
}

/// JSON with everything escaped that a terminal acts on: serde_json escapes only what JSON demands.
pub fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Line feeds stand between values only: within they are escaped.
            '\n' => out.push(c),
            c if acts_on_a_terminal(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a String cannot fail")
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_others_begins_a_line_or_acts_on_a_terminal() {
        let name = "a\u{1b}[2J\n√ b\u{9b}31m\u{202e}c\u{7f}\r";
        assert_eq!(shown(name), "a\u{fffd}[2J\u{fffd}√ b\u{fffd}31m\u{fffd}c\u{fffd}\u{fffd}");
        assert_eq!(shown("größe, 河 and 🌊"), "größe, 河 and 🌊");
    }

    #[test]
    fn json_holds_every_character_and_shows_none_that_acts() {
        let value = serde_json::json!({"a\u{9b}": "x\u{7f}\n\u{202e}\u{1b}ü"});
        let text = json(&value);
        assert!(!text.contains(|c| c != '\n' && acts_on_a_terminal(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
