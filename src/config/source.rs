//! The text of a config file, and errors that point into it.
//!
//! It owns lines, columns, carets and suggestions. It does not know what any
//! key means.

use std::fmt::Write;
use std::ops::Range;

use super::redact;
use crate::error::{Error, ErrorKind, acts_on_a_terminal};

/// A longer line is cut to a window around the place.
const LINE_CHARS_MAX: usize = 100;

pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// Where a value came from: bytes of the file, or an environment variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourcePosition {
    File(Range<usize>),
    Variable(String),
}

impl Source<'_> {
    /// An error at a place; `label` stands beside the caret.
    pub fn error(&self, place: &SourcePosition, message: impl Into<String>, label: &str) -> Error {
        match place {
            SourcePosition::File(span) => self.error_in_file(message.into(), &[(span.clone(), label)]),
            SourcePosition::Variable(name) => {
                Error::new(ErrorKind::Config, message).context(format_args!("environment variable {name}"))
            }
        }
    }

    /// An error at `place` that also shows the place it collides with.
    pub fn collision(
        &self,
        place: &SourcePosition,
        message: String,
        first: &SourcePosition,
        first_label: &str,
    ) -> Error {
        match (place, first) {
            (SourcePosition::File(span), SourcePosition::File(first)) => {
                self.error_in_file(message, &[(span.clone(), ""), (first.clone(), first_label)])
            }
            _ => self.error(place, message, ""),
        }
    }

    /// The first mark is the place of the error.
    fn error_in_file(&self, message: String, marks: &[(Range<usize>, &str)]) -> Error {
        let (line, column) = self.line_column(marks[0].0.start);
        let mut error = Error::new(ErrorKind::Config, message).context(format_args!(
            "{}:{}:{}",
            self.name,
            line + 1,
            column + 1
        ));
        error.snippet = Some(self.snippet(marks));
        error
    }

    /// Line and column of an error of this file, to sort by; those without a place come last.
    pub fn place_of(&self, error: &Error) -> (usize, usize) {
        let place = || {
            let place = error.message.strip_prefix(self.name)?.strip_prefix(':')?;
            let mut parts = place.splitn(3, ':').map(str::parse::<usize>);
            Some((parts.next()?.ok()?, parts.next()?.ok()?))
        };
        place().unwrap_or((usize::MAX, 0))
    }

    /// Zero-based line, and column in characters.
    fn line_column(&self, position: usize) -> (usize, usize) {
        let before = &self.text[..self.boundary(position)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count(), before[line_start..].chars().count())
    }

    fn boundary(&self, position: usize) -> usize {
        let mut position = position.min(self.text.len());
        while !self.text.is_char_boundary(position) {
            position -= 1;
        }
        position
    }

    /// Lines with carets, in the order of the file. Marks after the first are drawn with dashes.
    fn snippet(&self, marks: &[(Range<usize>, &str)]) -> String {
        let mut rows = Vec::new();
        for (index, (span, label)) in marks.iter().enumerate() {
            let (line, column) = self.line_column(span.start);
            let text = redact::without_secrets(self.text, self.boundary(span.start));
            let text = text.lines().nth(line).unwrap_or("").to_owned();
            let end = self.boundary(span.end.max(span.start));
            let width =
                self.text[self.boundary(span.start)..end].lines().next().map_or(0, |l| l.chars().count());
            let mark = if index == 0 { '^' } else { '-' };
            rows.push(Row { line, column, width: width.max(1), text, mark, label });
        }
        rows.sort_by_key(|row| row.line);
        let gutter = (rows.last().expect("an error has a place").line + 1).to_string().len();
        let mut out = String::new();
        for row in &rows {
            row.write(gutter, &mut out);
        }
        out
    }
}

/// One line of the file with one mark under it.
struct Row<'a> {
    line: usize,
    column: usize,
    width: usize,
    /// Without secrets.
    text: String,
    mark: char,
    label: &'a str,
}

impl Row<'_> {
    fn write(&self, gutter: usize, out: &mut String) {
        let shown: Vec<char> = self.text.chars().map(printable).collect();
        let from =
            if shown.len() <= LINE_CHARS_MAX { 0 } else { self.column.saturating_sub(LINE_CHARS_MAX / 3) };
        let to = shown.len().min(from + LINE_CHARS_MAX);
        let cut = |yes: bool| if yes { "…" } else { "" };
        let line: String = shown[from.min(to)..to].iter().collect();
        let line = format!("{}{line}{}", cut(from > 0), cut(to < shown.len()));
        let indent = self.column - from + usize::from(from > 0);
        let width = self.width.min(to.saturating_sub(self.column)).max(1);
        let marks: String = std::iter::repeat_n(self.mark, width).collect();
        let separator = if out.is_empty() { "" } else { "\n" };
        let under = format!("{}{marks} {}", " ".repeat(indent), self.label);
        write!(
            out,
            "{separator}{:gutter$} |\n{:gutter$} | {}\n{:gutter$} | {}",
            "",
            self.line + 1,
            line.trim_end(),
            "",
            under.trim_end()
        )
        .expect("writing to a String cannot fail");
    }
}

/// One column each, and nothing that moves a terminal's cursor.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if acts_on_a_terminal(c) => '\u{fffd}',
        c => c,
    }
}

/// The system's words without its number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(text: &str, marked: &str) -> String {
        let start = text.find(marked).unwrap();
        let place = SourcePosition::File(start..start + marked.len());
        Source { name: "t.toml", text }.error(&place, "wrong", "here").snippet.unwrap()
    }

    #[test]
    fn a_literal_secret_is_never_shown() {
        let shown = snippet("aws_secret_access_key = \"AKIA/x y\" # note\n", "aws_secret_access_key");
        assert!(!shown.contains("AKIA") && !shown.contains("note"), "{shown}");
        for line in ["passwrod = \"hunter2\"", "sasl.psasword = 'hunter2'", "secret_acess_kee = \"hunter2\""]
        {
            let shown = snippet(line, line.split(' ').next().unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let shown = snippet("username = \"me\"\n", "username");
        assert!(shown.contains("\"me\""), "{shown}");
        let shown = snippet("\"sasl.password\" = \"${env:P}\"\n", "\"${env:P}\"");
        assert!(shown.contains("${env:P}"), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("x = \"{}HERE{}\"", "a".repeat(300), "b".repeat(300));
        let shown = snippet(&text, "HERE");
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 120), "{shown}");
        let column = lines[1].chars().position(|c| c == 'H').unwrap();
        assert_eq!(lines[2].find("^^^^ here"), Some(column), "{shown}");
    }

    #[test]
    fn columns_count_characters_and_survive_a_file_without_final_newline() {
        let source = Source { name: "t.toml", text: "a = \"ü\"\nb" };
        assert_eq!(source.error(&SourcePosition::File(9..10), "wrong", "").message, "t.toml:2:1: wrong");
        assert_eq!(source.error(&SourcePosition::File(10..10), "wrong", "").message, "t.toml:2:2: wrong");
        assert_eq!(source.error(&SourcePosition::File(7..8), "wrong", "").message, "t.toml:1:7: wrong");
    }

    #[test]
    fn an_escape_sequence_does_not_reach_the_terminal() {
        let shown = snippet("a = 'x\u{1b}[31m'", "'x\u{1b}[31m'");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
