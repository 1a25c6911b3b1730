//! Errors of the TOML parser and of the file's shape, in our words.
//!
//! It owns the translation. serde gives these errors as text, so the key and
//! the choice are read back from between its backquotes.

use super::source::{Place, Source, nearest, suggestion};
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
const LATER: [&str; 4] = ["registry", "topic_pattern", "partition_by", "transform"];

/// What other programs call a key: the section, the words, our key, and what to write.
const CALLED: [(&str, &[&str], &str, &str); 6] = [
    (
        "brokers",
        &[
            "bootstrap",
            "bootstrap.servers",
            "bootstrap_servers",
            "bootstrap-servers",
            "metadata.broker.list",
            "servers",
            "hosts",
        ],
        "brokers",
        "write `brokers = \"host:9092\"`",
    ),
    (
        "brokers",
        &["group.id", "group_id", "group-id", "groupid", "consumer_group", "consumer-group"],
        "group",
        "write `group = \"name\"`, or leave it out: then this process reads every partition",
    ),
    ("brokers", &["topic", "topics"], "topic", ONE_TOPIC),
    ("location", &["topics"], "topic", ONE_TOPIC),
    (
        "location",
        &["path", "uri", "url", "table_path", "table_uri"],
        "location",
        "write `location = \"s3://bucket/orders\"`",
    ),
    (
        "location",
        &["name", "table_id"],
        "id",
        "write `id = \"orders\"`: it is part of every committed offset",
    ),
];
const ONE_TOPIC: &str = "write one [[table]] with `topic = \"name\"` for each topic";

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

pub fn error(source: &Source<'_>, error: &toml::de::Error) -> Error {
    let message = error.message().lines().next().unwrap_or_default();
    let span = error.span().unwrap_or(0..0);
    let place = Place::File(span.clone());
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let Some((key, known)) = words.split_first()
    {
        if let Some((_, remedy)) = called(key, known) {
            return source.error(&place, format!("unknown key `{key}`"), "unknown key").remedy(remedy);
        }
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
        let found = plain(found.split(['"', '`']).next().unwrap_or_default().trim_end());
        let expected = plain(expected);
        if let Some((_, remedy)) = called(key, &["brokers"]).filter(|_| key.contains('.')) {
            return source.error(&place, format!("unknown key `{key}`"), "").remedy(remedy);
        }
        let example = EXAMPLES.iter().find(|(name, _)| *name == key);
        let message = format!("`{key}` has the wrong type: found {found}, expected {expected}");
        let wrong = source.error(&place, message, "");
        if key == "topic" && found == "a list" {
            return wrong.remedy(ONE_TOPIC);
        }
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

/// The known key that an unknown one stands for.
pub fn meant(error: &toml::de::Error) -> Option<String> {
    let words: Vec<&str> = error.message().split('`').skip(1).step_by(2).collect();
    let (key, known) = words.split_first().filter(|_| error.message().starts_with("unknown field"))?;
    let called = called(key, known).map(|(ours, _)| ours);
    called.or_else(|| nearest(key, known.iter().copied())).map(str::to_owned)
}

/// Our key and the remedy for a word of other programs; `known` are the keys of the section.
fn called(key: &str, known: &[&str]) -> Option<(&'static str, &'static str)> {
    let found = CALLED.iter().find(|(section, words, ..)| known.contains(section) && words.contains(&key));
    found.map(|(_, _, ours, remedy)| (*ours, *remedy))
}

/// A type in plain words.
fn plain(words: &str) -> &str {
    match PLAIN.iter().find(|(theirs, _)| *theirs == words) {
        Some((_, ours)) => ours,
        None if words.starts_with("struct ") => "a table",
        None => words,
    }
}

/// The key to the left of a value, or of the line.
fn key_of_line(text: &str, position: usize) -> &str {
    let position = position.min(text.len());
    let start = text[..position].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => key.trim().trim_matches(['"', '\'']),
        _ => "the value",
    }
}
