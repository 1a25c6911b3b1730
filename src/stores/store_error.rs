//! What a store's errors say, in its own words.

use std::fmt;

use crate::config::without_userinfo;

/// Instead of a request to a store that is down: what it said last.
#[derive(Debug)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// The store's own words, without the layers of wrapping and without XML noise.
pub fn innermost(error: &object_store::Error) -> String {
    if let Some(refused) =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<Refused>())
    {
        return refused.to_string();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if !text.contains(&inner.to_string()) {
            text = format!("{text}: {inner}");
        }
        source = inner.source();
    }
    if let (Some(code), Some(message)) =
        (between(&text, "<Code>", "</Code>"), between(&text, "<Message>", "</Message>"))
    {
        return format!("{code}: {message}");
    }
    without_userinfo(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}
