//! What a single value of a `[[table]]` may be, one function for each kind.
//!
//! It owns the limits and the words of their errors. Which key holds which
//! kind of value, and where it comes from, is `parse`.

use std::time::Duration;

use super::parse::{Given, Reader};
use super::raw;
use super::source::Place;
use super::{Compression, Format, MetadataColumn, OnBadRecord, OnNewField, RESCUED_COLUMN, Start, Table};
use crate::error::Result;
use crate::schema::Schema;

pub const FILE_SIZE_MIN: u64 = 1 << 10;
pub const FILE_SIZE_MAX: u64 = 16 << 30;
const LATENCY_MIN: Duration = Duration::from_millis(10);
const LATENCY_MAX: Duration = Duration::from_secs(3600);
const TOPIC_CHARS_MAX: usize = 249;
const DDL_EXAMPLE: &str = "write Spark DDL: `schema = \"id BIGINT NOT NULL, tags ARRAY<STRING>\"`";

impl Reader<'_> {
    pub(super) fn table_id(&self, id: &Given) -> Result<()> {
        let remedy = "use letters, digits, `-`, `_` and `.`; never change it afterwards";
        if id.text.trim().is_empty() {
            return Err(self.at(id, "the id of a table is empty").remedy(remedy));
        }
        match id.text.chars().find(|c| *c == '/' || c.is_control()) {
            Some('/') => Err(self.at(id, "the id of a table has a `/`").remedy(remedy)),
            Some(_) => Err(self.at(id, "the id of a table has a control character").remedy(remedy)),
            None => Ok(()),
        }
    }

    pub(super) fn topic(&self, topic: &Given) -> Result<()> {
        let name = topic.text.as_str();
        let remedy = "Kafka's topics have letters, digits, `.`, `_` and `-`";
        if name.is_empty() || name == "." || name == ".." {
            return Err(self.at(topic, format!("`{name}` is no topic")).remedy(remedy));
        }
        if name.len() > TOPIC_CHARS_MAX {
            let message = format!("a topic has {} characters", name.len());
            return Err(self.at(topic, message).remedy(format!("Kafka allows {TOPIC_CHARS_MAX}")));
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
            Some(c) => Err(self.at(topic, format!("a topic has the character `{c}`")).remedy(remedy)),
            None => Ok(()),
        }
    }

    pub(super) fn format(&self, given: &Given) -> Result<Format> {
        match given.text.as_str() {
            "json" => Ok(Format::Json),
            "raw" | "avro" | "protobuf" => Err(self
                .at(given, format!("`format = \"{}\"` is not available in this version", given.text))
                .remedy("use `format = \"json\"`")),
            _ => Err(self.unknown_word(given, "format", &["json"])),
        }
    }

    pub(super) fn schema(&self, given: &Given) -> Result<Schema> {
        Schema::from_ddl(&given.text).map_err(|error| {
            let rest = given.text.get(error.position..).unwrap_or_default();
            let word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()).max(1);
            let place = self.within(given, error.position..error.position + word);
            let (what, remedy) = match error.message.split_once(": expected ") {
                Some((what, types)) => (what, format!("use {types}")),
                None => (error.message.as_str(), DDL_EXAMPLE.to_owned()),
            };
            self.source.error(&place, format!("in the schema: {what}"), "").remedy(remedy)
        })
    }

    pub(super) fn start(&self, given: &Given) -> Result<Start> {
        match given.text.as_str() {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            text => match text.parse::<jiff::Timestamp>() {
                Ok(time) => Ok(Start::Time(time.as_millisecond())),
                Err(_) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(self
                    .at(given, format!("`start` is `{text}`, which is no time with a zone"))
                    .remedy("write it as in `2026-11-22T00:00:00Z`")),
                Err(_) => {
                    Err(self.unknown_word(given, "start", &["earliest", "latest", "2026-11-22T00:00:00Z"]))
                }
            },
        }
    }

    pub(super) fn metadata_columns(
        &self,
        raw: &raw::Table,
        defaults: bool,
    ) -> Result<Option<Vec<MetadataColumn>>> {
        let variable = self.variable("THALWEG__DEFAULTS__METADATA_COLUMNS").filter(|_| defaults);
        let names: Vec<Given> = match (variable, &raw.metadata_columns) {
            (Some(given), _) => given
                .text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(|name| Given { text: name.to_owned(), place: given.place.clone() })
                .collect(),
            (None, Some(list)) => {
                list.get_ref().iter().map(|name| self.interpolated(name)).collect::<Result<_>>()?
            }
            (None, None) => return Ok(None),
        };
        let mut columns = Vec::new();
        for name in &names {
            let column = self.metadata_column(name)?;
            if columns.contains(&column) {
                let message = format!("the metadata column `{}` is listed twice", name.text);
                return Err(self.at(name, message).remedy("list it once"));
            }
            columns.push(column);
        }
        Ok(Some(columns))
    }

    pub(super) fn metadata_column(&self, given: &Given) -> Result<MetadataColumn> {
        let known = MetadataColumn::ALL.map(MetadataColumn::name);
        if let Some(column) = MetadataColumn::ALL.into_iter().find(|column| column.name() == given.text) {
            return Ok(column);
        }
        if ["_topic", "_key", "_headers"].contains(&given.text.as_str()) {
            return Err(self
                .at(given, format!("the metadata column `{}` is not available in this version", given.text))
                .remedy("use `_partition`, `_offset` and `_timestamp`"));
        }
        Err(self.unknown_word(given, "metadata_columns", &known))
    }

    pub(super) fn on_new_field(&self, given: &Given) -> Result<OnNewField> {
        match given.text.as_str() {
            "rescue" => Ok(OnNewField::Rescue),
            "ignore" => Ok(OnNewField::Ignore),
            "fail" => Ok(OnNewField::Fail),
            "add_column" => Err(self
                .at(given, "`on_new_field = \"add_column\"` is not available in this version")
                .remedy("use `rescue`: the column `_rescued` keeps the new fields")),
            _ => Err(self.unknown_word(given, "on_new_field", &["rescue", "ignore", "fail"])),
        }
    }

    pub(super) fn on_bad_record(&self, given: &Given) -> Result<OnBadRecord> {
        match given.text.as_str() {
            "fail" => Ok(OnBadRecord::Fail),
            "skip" => Ok(OnBadRecord::Skip),
            "dlq" => Err(self
                .at(given, "`on_bad_record = \"dlq\"` is not available in this version")
                .remedy("use `fail`, or `skip` to count bad records and leave them out")),
            _ => Err(self.unknown_word(given, "on_bad_record", &["fail", "skip"])),
        }
    }

    pub(super) fn latency(&self, given: &Given) -> Result<Duration> {
        match humantime::parse_duration(&given.text) {
            Ok(latency) if (LATENCY_MIN..=LATENCY_MAX).contains(&latency) => Ok(latency),
            Ok(_) => Err(self
                .at(given, format!("`max_latency` is `{}`, which is out of range", given.text))
                .remedy("choose from `10ms` to `1h`: lower is fresher and makes more files")),
            Err(_) => Err(self
                .at(given, format!("`max_latency` is `{}`, which is no duration", given.text))
                .remedy("write a number and a unit: `10s`, `500ms`, `5m`")),
        }
    }

    pub(super) fn size(&self, given: &Given, key: &str, min: u64, max: u64) -> Result<u64> {
        let fail = |what: &str, remedy: String| {
            Err(self.at(given, format!("`{key}` is `{}`{what}", given.text)).remedy(remedy))
        };
        match given.text.parse::<bytesize::ByteSize>() {
            Ok(size) if size.0 < min => {
                fail(", which is too small", format!("choose at least `{}`", plain(min)))
            }
            Ok(size) if size.0 > max => {
                fail(", which is too large", format!("choose at most `{}`", plain(max)))
            }
            Ok(size) => Ok(size.0),
            Err(_) => fail(", which is no size", "write a number and a unit: `128MiB`, `1GiB`".to_owned()),
        }
    }

    pub(super) fn compression(&self, given: &Given) -> Result<Compression> {
        let text = given.text.as_str();
        let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')'));
        match (text, level.map(str::parse::<i32>)) {
            ("snappy", _) => Ok(Compression::Snappy),
            ("none", _) => Ok(Compression::None),
            ("zstd", _) => Ok(Compression::Zstd(1)),
            (_, Some(Ok(level))) if (1..=22).contains(&level) => Ok(Compression::Zstd(level)),
            (_, Some(_)) => Err(self
                .at(given, format!("`compression` is `{text}`, which is no level of zstd"))
                .remedy("choose from `zstd(1)` to `zstd(22)`")),
            _ => Err(self.unknown_word(given, "compression", &["zstd(1)", "snappy", "none"])),
        }
    }

    pub(super) fn no_reserved_column(&self, table: &Table, raw: &raw::Table, header: &Place) -> Result<()> {
        let fields = table.schema.iter().flat_map(|schema| &schema.fields);
        let reserved = table.metadata_columns.iter().map(|column| column.name()).chain([RESCUED_COLUMN]);
        let reserved: Vec<&str> = reserved.collect();
        for field in fields {
            if reserved.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                let place = raw.schema.as_ref().map_or(header.clone(), |schema| Place::File(schema.span()));
                let message = format!("the schema has the column `{}`, which thalweg writes", field.name);
                let remedy = "leave it out of `schema`; `metadata_columns` says which of them the table gets";
                return Err(self.source.error(&place, message, "").remedy(remedy));
            }
        }
        Ok(())
    }
}

/// A limit as a person writes it: `16MiB`.
fn plain(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string().replace(".0 ", "")
}
