//! From a config's text to the file's shape, with every mistake in it.
//!
//! It owns the search for more than the first mistake: toml and serde stop
//! there, so what is wrong is taken out and the rest is read again. The words
//! are those of `grammar` and `syntax`, what the values mean is `parse`'s.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::source::{Source, SourcePosition};
use super::{grammar, raw, syntax};
use crate::error::{Error, Result};

/// More are found by the next look.
const MISTAKES_MAX: usize = 20;

/// Sections that stand once, outer ones first.
const SECTIONS: [&[&str]; 9] = [
    &["kafka"],
    &["storage"],
    &["limits"],
    &["admin"],
    &["defaults"],
    &["kafka", "tls"],
    &["kafka", "sasl"],
    &["kafka", "librdkafka"],
    &["storage", "options"],
];

/// A file as far as it can be read.
pub struct Shape {
    pub file: raw::File,
    pub wrong: Vec<Error>,
    /// Keys that are there and could not be read, under the names that they should have.
    pub unread: Vec<String>,
}

impl Shape {
    /// # Errors
    /// `Config` where nothing is left of the text that means something.
    pub fn read(source: &Source<'_>) -> Result<Shape> {
        let Grammar { text, mut wrong, mut unread, sound } = Grammar::read(source);
        if !sound {
            return Err(Error::together(wrong).expect("it is not sound because of a mistake"));
        }
        let (mut root, _) = DeTable::parse_recoverable(&text);
        for (key, error) in sections(source, &mut root) {
            unread.push(key);
            wrong.push(error);
        }
        loop {
            let error = match raw::File::deserialize(Deserializer::from(root.clone())) {
                Ok(file) => return Ok(Shape { file, wrong, unread }),
                Err(error) => error,
            };
            let (said, meant) = syntax::error(source, &error);
            wrong.push(said);
            unread.extend(meant);
            match error.span().and_then(|span| take_out(root.get_mut(), &span)) {
                Some(key) if wrong.len() < MISTAKES_MAX => unread.push(key),
                _ => return Err(Error::together(wrong).expect("one was just pushed")),
            }
        }
    }

    /// Whether an error only says that a key is missing which could not be read.
    pub fn explains(unread: &[String], error: &Error) -> bool {
        unread.iter().any(|key| {
            [
                format!("no `{key}`"),
                format!("{key}` is missing"),
                format!("no [[{key}]]"),
                format!(".{key}`"),
                format!("`{key}."),
            ]
            .iter()
            .any(|said| error.message.contains(said.as_str()))
        })
    }
}

/// The text as TOML, its wrong lines left blank.
struct Grammar {
    /// As long as the text, so that places stay.
    text: String,
    wrong: Vec<Error>,
    /// The keys of the lines that are blank now.
    unread: Vec<String>,
    /// What is left means what it says: no header is lost, and nothing is open to the end.
    sound: bool,
}

impl Grammar {
    fn read(source: &Source<'_>) -> Grammar {
        let mut grammar =
            Grammar { text: source.text.to_owned(), wrong: Vec::new(), unread: Vec::new(), sound: true };
        loop {
            let errors = DeTable::parse_recoverable(&grammar.text).1;
            let first = errors.into_iter().min_by_key(|error| error.span().map_or(usize::MAX, |at| at.start));
            let Some(error) = first else { return grammar };
            let mistake = grammar::mistake(&Source { name: source.name, text: source.text }, &error);
            grammar.wrong.push(mistake.error);
            match mistake.line {
                Some(line) if grammar.wrong.len() < MISTAKES_MAX && !grammar.is_blank(&line) => {
                    let key = syntax::key_of_line(source.text, line.start);
                    let key = key.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                    grammar.unread.push(key.split_whitespace().last().unwrap_or(key).to_owned());
                    grammar.text.replace_range(line.clone(), &" ".repeat(line.len()));
                }
                _ => {
                    grammar.sound = false;
                    return grammar;
                }
            }
        }
    }

    fn is_blank(&self, line: &Range<usize>) -> bool {
        self.text[line.clone()].trim().is_empty()
    }
}

/// Takes out what is not a section where one belongs; serde would read a list as a section's values in a row.
fn sections(source: &Source<'_>, root: &mut Spanned<DeTable<'_>>) -> Vec<(String, Error)> {
    let mut found = Vec::new();
    let mut look = |table: &mut DeTable<'_>, key: &str, header: &str| {
        let what = match table.get(key).map(|value| (value.get_ref(), value.span())) {
            None | Some((DeValue::Table(_), _)) => return,
            Some((DeValue::Array(_), at)) if source.text[at.clone()].starts_with("[[") => (
                at,
                format!("`[[{header}]]` is not a list"),
                format!("write one bracket, `[{header}]`, and write it once"),
            ),
            Some((_, at)) => (
                at,
                format!("`{header}` is a section, and no value"),
                format!("write `[{header}]`, and its keys on lines of their own below it"),
            ),
        };
        let (at, message, remedy) = what;
        table.remove(key);
        found.push((key.to_owned(), source.error(&SourcePosition::File(at), message, "").remedy(remedy)));
    };
    for path in SECTIONS {
        let (last, outer) = path.split_last().expect("no path is empty");
        if let Some(table) = inner(root.get_mut(), outer) {
            look(table, last, &path.join("."));
        }
    }
    let table = root.get_ref().get("table").map(|value| (value.get_ref(), value.span()));
    let at = match table {
        Some((DeValue::Array(_), _)) | None => return found,
        Some((_, at)) => at,
    };
    root.get_mut().remove("table");
    let error = source
        .error(&SourcePosition::File(at), "`table` is a list", "")
        .remedy("write two brackets, `[[table]]`, before each table");
    found.push(("table".to_owned(), error));
    found
}

fn inner<'t, 'i>(table: &'t mut DeTable<'i>, path: &[&str]) -> Option<&'t mut DeTable<'i>> {
    match path.split_first() {
        None => Some(table),
        Some((key, rest)) => match table.get_mut(*key)?.get_mut() {
            DeValue::Table(table) => inner(table, rest),
            _ => None,
        },
    }
}

/// Removes the innermost entry whose key or value an error points at.
fn take_out(table: &mut DeTable<'_>, at: &Range<usize>) -> Option<String> {
    let around = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
    let mut found = table.iter().find(|(key, _)| key.span() == *at).map(|(key, _)| key.clone());
    if found.is_none() {
        for (_, value) in table.iter_mut() {
            if let Some(key) = take_out_of(value.get_mut(), at) {
                return Some(key);
            }
        }
        found = table.iter().find(|(_, value)| around(value.span())).map(|(key, _)| key.clone());
    }
    let key = found?;
    table.remove(&key);
    Some(key.into_inner().into_owned())
}

fn take_out_of(value: &mut DeValue<'_>, at: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => take_out(table, at),
        DeValue::Array(values) => values.iter_mut().find_map(|value| take_out_of(value.get_mut(), at)),
        _ => None,
    }
}
