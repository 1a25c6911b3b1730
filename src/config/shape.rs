//! From a config's text to the file's shape, with every mistake in it.
//!
//! It owns the search for more than the first mistake: toml and serde stop
//! there, so what is wrong is taken out and the rest is read again. The words
//! are `syntax`'s, what the values mean is `parse`'s.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::source::Source;
use super::{raw, syntax};
use crate::error::{Error, Result};

/// More are found by the next look.
const MISTAKES_MAX: usize = 20;

/// A file as far as it can be read.
pub struct Shape {
    pub file: raw::File,
    pub wrong: Vec<Error>,
    /// Keys that are there and could not be read, under the names that they should have.
    pub unread: Vec<String>,
}

impl Shape {
    /// # Errors
    /// `Config` where the text is no TOML, or nothing is left of it.
    pub fn read(source: &Source<'_>) -> Result<Shape> {
        let mut root = tree(source)?;
        let (mut wrong, mut unread) = (Vec::new(), Vec::new());
        loop {
            let error = match raw::File::deserialize(Deserializer::from(root.clone())) {
                Ok(file) => return Ok(Shape { file, wrong, unread }),
                Err(error) => error,
            };
            wrong.push(syntax::error(source, &error));
            unread.extend(syntax::meant(&error));
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

/// The parsed text. A key that is set twice is no reason to stop; where anything else is wrong, what follows is
/// guesswork.
fn tree<'a>(source: &Source<'a>) -> Result<Spanned<DeTable<'a>>> {
    let (root, errors) = DeTable::parse_recoverable(source.text);
    let twice = |error: &toml::de::Error| error.message().starts_with("duplicate key");
    let shown = if errors.iter().all(twice) { errors.len().min(MISTAKES_MAX) } else { 1 };
    let errors = errors.iter().take(shown).map(|error| syntax::error(source, error)).collect();
    match Error::together(errors) {
        None => Ok(root),
        Some(error) => Err(error),
    }
}

/// Removes the innermost entry whose key or value an error points at.
fn take_out(table: &mut DeTable<'_>, at: &Range<usize>) -> Option<String> {
    for (_, value) in table.iter_mut() {
        if let Some(key) = take_out_of(value.get_mut(), at) {
            return Some(key);
        }
    }
    let around = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
    let found = table.iter().find(|(key, value)| key.span() == *at || around(value.span()));
    let key = found.map(|(key, _)| key.clone())?;
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
