//! The text of a new config file, with comments for whoever edits it.
//!
//! It owns layout, quoting and the rule that no secret is written. It asks
//! nobody: `init` brings what was found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::columnar::{Hint, LeftOut};
use crate::config::names_a_secret;
use crate::error::{self, acts_on_a_terminal};
use crate::schema::Schema;

/// Column of the comments behind commented-out keys.
const COMMENT_COLUMN: usize = 34;

/// What the command line said; values may hold references such as `${env:NAME}`.
pub struct Wanted<'a> {
    pub brokers: &'a str,
    pub topic: &'a str,
    pub id: &'a str,
    pub location: &'a str,
    pub librdkafka: &'a [(String, String)],
    pub storage: &'a [(String, String)],
}

/// What the topic and the location have.
pub enum Columns {
    /// Nothing was asked yet, or nothing can be said: each with its reason.
    Unknown(String),
    /// The location holds a table, and its schema stays.
    OfTable,
    Inferred {
        schema: Schema,
        samples: usize,
        left_out: Vec<LeftOut>,
        hints: Vec<Hint>,
    },
}

/// A config file, and the variables that stand in it for secrets.
pub struct Scaffold {
    pub text: String,
    /// Values that are not written, by the variable that stands for them.
    pub secrets: BTreeMap<String, String>,
}

pub fn scaffold(wanted: &Wanted<'_>, columns: &Columns) -> Scaffold {
    let mut out = Out::default();
    out.lines(&[
        "# thalweg check -c FILE   says what `run` would meet, line by line",
        "# thalweg run -c FILE     reads until SIGTERM or SIGINT",
        "# A text may hold ${env:NAME}, ${env:NAME:-default} or ${file:/path}; $$ is a dollar sign.",
        "",
        "version = 1",
        "",
        "[kafka]",
    ]);
    out.key("brokers", wanted.brokers);
    out.setting("group = \"ingest\"", "processes that say the same share the partitions out");
    if !wanted.librdkafka.is_empty() {
        out.lines(&["", "# Settings of librdkafka, as they are.", "[kafka.librdkafka]"]);
        out.options("KAFKA", wanted.librdkafka);
    }
    if !wanted.storage.is_empty() {
        out.lines(&["", "# Options of the object store, for every table.", "[storage.options]"]);
        out.options("", wanted.storage);
    }
    out.lines(&[
        "",
        "[[table]]",
        "# Part of every committed offset: the exactly-once identity. Never change it.",
    ]);
    out.key("id", wanted.id);
    out.key("topic", wanted.topic);
    out.key("location", wanted.location);
    out.lines(&[""]);
    out.columns(columns);
    out.lines(&["", "# The defaults, to be changed where needed:"]);
    out.setting("start = \"earliest\"", "\"latest\" or an RFC 3339 time; for the first run only");
    out.setting("max_latency = \"10s\"", "lower is fresher and makes more files");
    out.setting("target_file_size = \"128MiB\"", "a file is closed at this size");
    out.setting("on_new_field = \"rescue\"", "JSON text into `_rescued`; \"ignore\", \"fail\"");
    out.lines(&[
        "",
        "# A new table has reader version 1, writer version 2 and no table features. These open it:",
        "# DuckDB (delta_scan), Polars (scan_delta), deltalake-python, Spark with Delta.",
    ]);
    Scaffold { text: out.text, secrets: out.secrets }
}

#[derive(Default)]
struct Out {
    text: String,
    secrets: BTreeMap<String, String>,
}

impl Out {
    fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    fn key(&mut self, key: &str, value: &str) {
        let line = format!("{key} = {}", quoted(value));
        self.lines(&[&line]);
    }

    /// A commented-out key and what it is for.
    fn setting(&mut self, setting: &str, what: &str) {
        let line = format!("{:COMMENT_COLUMN$} # {what}", format!("# {setting}"));
        self.lines(&[&line]);
    }

    /// A secret's value stays out of the file: a variable stands for it.
    fn options(&mut self, prefix: &str, options: &[(String, String)]) {
        for (key, value) in options {
            let name = quoted(key);
            if names_a_secret(key) && !value.contains("${") {
                let variable = variable(prefix, key);
                self.key(&name, &format!("${{env:{variable}}}"));
                self.secrets.insert(variable, value.clone());
            } else {
                self.key(&name, value);
            }
        }
    }

    fn columns(&mut self, columns: &Columns) {
        match columns {
            Columns::Unknown(why) => {
                let why = format!("# No schema: {}.", one_line(why));
                self.lines(&[
                    &why,
                    "# Write it here, or leave it out: then it is inferred when the table is created.",
                    "# schema = \"id BIGINT NOT NULL, tags ARRAY<STRING>\"",
                ]);
            }
            Columns::OfTable => self.lines(&["# The location holds a table: its schema stays."]),
            Columns::Inferred { schema, samples, left_out, hints } => {
                let from =
                    format!("# Inferred from {samples} records, in Spark's DDL. Every column may be null;");
                self.lines(&[&from, "# write NOT NULL where a record without the field is a bad record."]);
                let columns: Vec<String> = schema
                    .fields
                    .iter()
                    .map(|field| format!("  {}", Schema::of(vec![field.clone()])))
                    .collect();
                let text = escaped(&literal(&columns.join(",\n")));
                self.lines(&["schema = \"\"\"", &format!("{text}\"\"\"")]);
                self.hints(hints);
                self.left_out(left_out);
            }
        }
    }

    fn hints(&mut self, hints: &[Hint]) {
        if hints.is_empty() {
            return;
        }
        self.lines(&["# Worth a look before the table is created:"]);
        for hint in hints {
            let line = format!("#   {}: {}", one_line(&hint.path), one_line(&hint.text));
            self.lines(&[&line]);
        }
    }

    fn left_out(&mut self, left_out: &[LeftOut]) {
        if left_out.is_empty() {
            return;
        }
        self.lines(&["# Fields without a column; their JSON text goes to `_rescued`:"]);
        for field in left_out {
            let line = format!("#   {}: {}", one_line(&field.path), field.reason);
            self.lines(&[&line]);
        }
    }
}

/// `sasl.password` is `KAFKA_SASL_PASSWORD`.
fn variable(prefix: &str, key: &str) -> String {
    let name: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if prefix.is_empty() { name } else { format!("{prefix}_{name}") }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text).replace('\n', "\\n"))
}

/// The inside of a TOML string; line feeds stay.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push(c),
            c if acts_on_a_terminal(c) => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a String cannot fail")
            }
            c => out.push(c),
        }
    }
    out
}

/// A text in which nothing is a reference.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn one_line(text: &str) -> String {
    error::one_line(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    fn parsed(scaffold: &Scaffold) -> config::Config {
        let environment = |name: &str| scaffold.secrets.get(name).cloned();
        config::parse(&scaffold.text, "new.toml", &environment)
            .unwrap_or_else(|error| panic!("{error}\n{}", scaffold.text))
    }

    fn wanted<'a>(librdkafka: &'a [(String, String)], storage: &'a [(String, String)]) -> Wanted<'a> {
        Wanted {
            brokers: "k:9092",
            topic: "orders",
            id: "orders",
            location: "s3://b/orders",
            librdkafka,
            storage,
        }
    }

    #[test]
    fn hostile_names_and_values_are_read_back_as_they_were() {
        let ddl = "id BIGINT, `a\"b\"\\c$$ümläut` STRING, s STRUCT<`x-y`: ARRAY<DOUBLE>>";
        let schema = Schema::from_ddl(ddl).unwrap();
        let left_out = vec![LeftOut { path: "evil\n[kafka]".to_owned(), reason: "always null" }];
        let hints = vec![Hint { path: "evil\n[kafka]".to_owned(), text: "evil\n[kafka]".to_owned() }];
        let columns = Columns::Inferred { schema: schema.clone(), samples: 7, left_out, hints };
        let librdkafka = [pair("client.rack", "r\"1\\\n")];
        let config = parsed(&scaffold(&wanted(&librdkafka, &[]), &columns));
        assert_eq!(config.tables[0].schema.as_ref(), Some(&schema));
        assert_eq!(config.kafka.librdkafka["client.rack"].reveal(), "r\"1\\\n");
    }

    #[test]
    fn secrets_are_not_written_and_named_by_their_variable() {
        let librdkafka = [pair("sasl.username", "me"), pair("sasl.password", "hunter2")];
        let storage = [pair("aws_secret_access_key", "hunter3"), pair("token", "${file:/run/secret}")];
        let scaffold = scaffold(&wanted(&librdkafka, &storage), &Columns::OfTable);
        assert!(!scaffold.text.contains("hunter"), "{}", scaffold.text);
        assert!(scaffold.text.contains("\"${file:/run/secret}\""), "{}", scaffold.text);
        let names: Vec<&str> = scaffold.secrets.keys().map(String::as_str).collect();
        assert_eq!(names, ["AWS_SECRET_ACCESS_KEY", "KAFKA_SASL_PASSWORD"]);
        assert!(scaffold.text.contains("\"sasl.username\" = \"me\""), "{}", scaffold.text);
    }

    #[test]
    fn a_topic_without_records_leaves_the_schema_out_and_says_why() {
        let why = "the topic has no records yet".to_owned();
        let scaffold = scaffold(&wanted(&[], &[]), &Columns::Unknown(why));
        assert!(scaffold.text.contains("# No schema: the topic has no records yet."));
        assert_eq!(parsed(&scaffold).tables[0].schema, None);
    }

    #[test]
    fn every_commented_default_is_a_setting_that_parses() {
        let text = scaffold(&wanted(&[], &[]), &Columns::OfTable).text;
        let (head, defaults) = text.split_once("# The defaults").unwrap();
        let keys: Vec<&str> = defaults
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = \""))
            .collect();
        assert_eq!(keys.len(), 4, "{defaults}");
        config::parse(&format!("{head}\n{}\n", keys.join("\n")), "new.toml", &|_| None).unwrap();
    }
}
