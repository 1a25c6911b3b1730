//! Errors of the TOML parser and of the file's shape, in our words.
//!
//! It owns the translation. serde gives these errors as text, so the key and
//! the choice are read back from between its backquotes.

use super::source::{Place, Source, suggestion};
use crate::error::Error;

/// A value that each key takes, for the remedy of a wrong type.
const EXAMPLES: [(&str, &str); 29] = [
    ("version", "1"),
    ("brokers", "\"host:9092\""),
    ("auth", "\"none\""),
    ("mechanism", "\"scram-sha-512\""),
    ("username", "\"thalweg\""),
    ("password", "\"${env:KAFKA_PASSWORD}\""),
    ("ca", "\"/etc/kafka/ca.pem\""),
    ("cert", "\"/etc/kafka/client.pem\""),
    ("key", "\"/etc/kafka/client.key\""),
    ("key_password", "\"${file:/run/secrets/key}\""),
    ("memory", "\"256MiB\""),
    ("cores", "\"auto\""),
    ("pin", "true"),
    ("listen", "\"127.0.0.1:9600\""),
    ("id", "\"orders\""),
    ("topic", "\"orders\""),
    ("location", "\"s3://bucket/orders\""),
    ("format", "\"json\""),
    ("schema", "\"id BIGINT NOT NULL, tags ARRAY<STRING>\""),
    ("start", "\"earliest\""),
    ("metadata_columns", "[\"_partition\", \"_offset\"]"),
    ("timestamps", "{ created = \"ms\" }"),
    ("on_new_field", "\"rescue\""),
    ("on_bad_record", "\"dlq\""),
    ("dlq", "\"s3://bucket/orders_dead_letters\""),
    ("max_record_size", "\"16MiB\""),
    ("max_depth", "127"),
    ("max_latency", "\"10s\""),
    ("target_file_size", "\"128MiB\""),
];

/// Keys of a later version: not worth suggesting.
const LATER: [&str; 5] = ["registry", "group", "topic_pattern", "partition_by", "transform"];

pub fn error(source: &Source<'_>, error: &toml::de::Error) -> Error {
    let message = error.message().lines().next().unwrap_or_default();
    let span = error.span().unwrap_or(0..0);
    let place = Place::File(span.clone());
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let Some((key, known)) = words.split_first()
    {
        let known: Vec<&str> = known.iter().copied().filter(|key| !LATER.contains(key)).collect();
        return source
            .error(&place, format!("unknown key `{key}`"), "unknown key")
            .remedy(suggestion(key, &known));
    }
    if message.starts_with("invalid type: map, expected a sequence") {
        return source
            .error(&place, "`table` is a list", "")
            .remedy("write two brackets, `[[table]]`, before each table");
    }
    if let Some(expected) = message.strip_prefix("invalid type: ") {
        let key = key_of_line(source.text, span.start);
        // "integer `1234`, expected a string": the value may be a password, and the line shows it if it is not.
        let (found, expected) = expected.rsplit_once(", expected ").unwrap_or((expected, "another"));
        let found = found.split(['"', '`']).next().unwrap_or_default().trim_end();
        let example = EXAMPLES.iter().find(|(name, _)| *name == key);
        let message = format!("`{key}` has the wrong type: found {found}, expected {expected}");
        let wrong = source.error(&place, message, "");
        return match example {
            Some((key, example)) => wrong.remedy(format!("for example: `{key} = {example}`")),
            None => wrong.remedy("put the value in quotes"),
        };
    }
    if message.starts_with("duplicate key") {
        return source.error(&place, message, "already set above").remedy("keep one of the two");
    }
    source.error(&place, message, "").remedy("check quotes, brackets and commas here and on the line before")
}

/// The key to the left of a value.
fn key_of_line(text: &str, position: usize) -> &str {
    let before = &text[..position.min(text.len())];
    let line = before.rsplit('\n').next().unwrap_or(before);
    let key = line.split('=').next().unwrap_or(line).trim();
    if key.is_empty() { "the value" } else { key.trim_matches(['"', '\'']) }
}
