//! What a single value of a `[[table]]` may be, one function for each kind.
//!
//! It owns the limits and the words of their errors. Which key holds which
//! kind of value, and where it comes from, is `parse`.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use super::decoding::{Decoding, EpochUnit, OnNewField};
use super::format::Format;
use super::metadata::{MetadataColumn, is_reserved};
use super::raw;
use super::reader::{Given, Reader};
use super::settings::{Compression, OnBadRecord, Start, Table};
use super::source::SourcePosition;
use crate::error::{Result, acts_on_a_terminal};
use crate::schema::{Field, Schema};

pub const FILE_SIZE_MIN: u64 = 1 << 10;
pub const FILE_SIZE_MAX: u64 = 16 << 30;
pub const RECORD_SIZE_MIN: u64 = 1 << 10;
/// What a column of a batch can hold whatever is in the record, rescued and escaped: 2 GiB.
pub const RECORD_SIZE_MAX: u64 = 256 << 20;
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
        match id.text.chars().find(|c| *c == '/' || acts_on_a_terminal(*c)) {
            Some('/') => Err(self.at(id, "the id of a table has a `/`").remedy(remedy)),
            Some(_) => Err(self.at(id, "the id of a table has a control character").remedy(remedy)),
            None => Ok(()),
        }
    }

    pub(super) fn topic(&self, topic: &Given) -> Result<()> {
        let name = topic.text.as_str();
        let remedy = "Kafka's topics have letters, digits, `.`, `_` and `-`";
        if name.is_empty() || name == "." || name == ".." {
            return Err(self.at(topic, format!("`{name}` is not a topic")).remedy(remedy));
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
        if let Some(known) = Format::ALL.into_iter().find(|format| format.as_str() == given.text) {
            return Ok(known);
        }
        match given.text.as_str() {
            "avro" | "protobuf" => Err(self
                .at(given, format!("`format = \"{}\"` is not available in this version", given.text))
                .remedy("use `format = \"raw\"` to keep the bytes, or `format = \"json\"`")),
            _ => Err(self.unknown_word(given, "format", &Format::ALL.map(Format::as_str))),
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
                    .at(given, format!("`start` is `{text}`, which is not a valid time with a zone"))
                    .remedy("write it as in `2026-11-22T00:00:00Z`")),
                Err(_) => {
                    Err(self.unknown_word(given, "start", &["earliest", "latest", "2026-11-22T00:00:00Z"]))
                }
            },
        }
    }

    pub(super) fn metadata_columns(&self, raw: &raw::Table, defaults: bool) -> Result<Option<Vec<Field>>> {
        let variable = self.variable("THALWEG__DEFAULTS__METADATA_COLUMNS").filter(|_| defaults);
        let names: Vec<Given> = match (variable, &raw.metadata_columns) {
            (Some(given), _) => columns_of(&given.text)
                .into_iter()
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(|name| Given { text: name.to_owned(), place: given.place.clone() })
                .collect(),
            (None, Some(list)) => {
                list.get_ref().iter().map(|name| self.interpolated(name)).collect::<Result<_>>()?
            }
            (None, None) => return Ok(None),
        };
        let mut columns: Vec<Field> = Vec::new();
        for name in &names {
            let column = self.metadata_column(name)?;
            if columns.iter().any(|earlier| earlier.name == column.name) {
                let message = format!("the metadata column `{}` is listed twice", name.text);
                return Err(self.at(name, message).remedy("list it once"));
            }
            columns.push(column);
        }
        Ok(Some(columns))
    }

    /// A name, or a name and its type as in DDL.
    fn metadata_column(&self, given: &Given) -> Result<Field> {
        let text = given.text.trim();
        let (name, typed) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let Some(column) = MetadataColumn::ALL.into_iter().find(|column| column.name() == name) else {
            let known = MetadataColumn::ALL.map(MetadataColumn::name);
            return Err(self.unknown_word(given, "metadata_columns", &known));
        };
        if typed.is_empty() {
            return Ok(column.field());
        }
        let field = self.schema(given)?.fields.swap_remove(0);
        if MetadataColumn::of(&field).is_some() {
            return Ok(field);
        }
        let types: Vec<String> = column.types().iter().map(ToString::to_string).collect();
        Err(self
            .at(given, format!("the metadata column `{name}` cannot be {}", field.data_type))
            .remedy(format!("it is {}", types.join(" or "))))
    }

    /// Paths and units; keys with dots may be written with or without quotes.
    pub(super) fn timestamps(&self, raw: &raw::Options) -> Result<BTreeMap<String, EpochUnit>> {
        let mut timestamps = BTreeMap::new();
        for (path, value) in raw {
            self.timestamp(path.get_ref(), value, &mut timestamps)?;
        }
        Ok(timestamps)
    }

    fn timestamp(
        &self,
        path: &str,
        value: &Spanned<raw::Value>,
        timestamps: &mut BTreeMap<String, EpochUnit>,
    ) -> Result<()> {
        if let raw::Value::Nested(members) = value.get_ref() {
            let below = |name: &Spanned<String>| format!("{path}.{}", name.get_ref());
            return members
                .iter()
                .try_for_each(|(name, value)| self.timestamp(&below(name), value, timestamps));
        }
        let given = Given { text: self.scalar(value)?, place: SourcePosition::File(value.span()) };
        let Some(unit) = EpochUnit::ALL.into_iter().find(|unit| unit.as_str() == given.text) else {
            return Err(self.unknown_word(&given, "timestamps", &EpochUnit::ALL.map(EpochUnit::as_str)));
        };
        timestamps.insert(path.to_owned(), unit);
        Ok(())
    }

    pub(super) fn max_depth(&self, raw: &raw::Table, defaults: bool) -> Result<Option<usize>> {
        let variable = self.variable("THALWEG__DEFAULTS__MAX_DEPTH").filter(|_| defaults);
        let given = match (variable, &raw.max_depth) {
            (Some(given), _) => given,
            (None, Some(raw)) => Given { text: self.scalar(raw)?, place: SourcePosition::File(raw.span()) },
            (None, None) => return Ok(None),
        };
        match given.text.parse() {
            Ok(depth) if (1..=Decoding::DEPTH_MAX).contains(&depth) => Ok(Some(depth)),
            _ => Err(self
                .at(&given, format!("`max_depth` is `{}`, which is not a valid depth", given.text))
                .remedy(format!("write a number from 1 to {}", Decoding::DEPTH_MAX))),
        }
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
            "dlq" => Ok(OnBadRecord::DeadLetter),
            _ => Err(self.unknown_word(given, "on_bad_record", &["dlq", "fail", "skip"])),
        }
    }

    pub(super) fn latency(&self, given: &Given) -> Result<Duration> {
        match humantime::parse_duration(&given.text) {
            Ok(latency) if (LATENCY_MIN..=LATENCY_MAX).contains(&latency) => Ok(latency),
            Ok(_) => Err(self
                .at(given, format!("`max_latency` is `{}`, which is out of range", given.text))
                .remedy("choose from `10ms` to `1h`: lower is fresher and makes more files")),
            Err(_) => {
                let number = !given.text.is_empty() && given.text.bytes().all(|byte| byte.is_ascii_digit());
                let (what, remedy) = match number {
                    true => ("has no unit", format!("write `{0}s`, `{0}ms` or `{0}m`", given.text)),
                    false => (
                        "is not a valid duration",
                        "write a number and a unit: `10s`, `500ms`, `5m`".to_owned(),
                    ),
                };
                Err(self.at(given, format!("`max_latency` is `{}`, which {what}", given.text)).remedy(remedy))
            }
        }
    }

    pub(super) fn size(&self, given: &Given, key: &str, min: u64, max: u64) -> Result<u64> {
        let fail = |what: &str, remedy: String| {
            Err(self.at(given, format!("`{key}` is `{}`{what}", given.text)).remedy(remedy))
        };
        match given.text.parse::<bytesize::ByteSize>() {
            Ok(size) if size.0 < min && given.text.bytes().all(|byte| byte.is_ascii_digit()) => {
                fail(" without a unit, which is too small", format!("write a unit: `{}MiB`", given.text))
            }
            Ok(size) if size.0 < min => {
                fail(", which is too small", format!("choose at least `{}`", plain(min)))
            }
            Ok(size) if size.0 > max => {
                fail(", which is too large", format!("choose at most `{}`", plain(max)))
            }
            Ok(size) => Ok(size.0),
            Err(_) => {
                fail(", which is not a valid size", "write a number and a unit: `128MiB`, `1GiB`".to_owned())
            }
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
                .at(given, format!("`compression` is `{text}`, which is not a zstd level"))
                .remedy("choose from `zstd(1)` to `zstd(22)`")),
            _ => Err(self.unknown_word(given, "compression", &["zstd(1)", "snappy", "none"])),
        }
    }

    /// The config's schema has the columns of the record and nothing else.
    pub(super) fn schema_suits(
        &self,
        table: &Table,
        raw: &raw::Table,
        header: &SourcePosition,
    ) -> Result<()> {
        let Some(schema) = &table.schema else { return Ok(()) };
        let place =
            || raw.schema.as_ref().map_or(header.clone(), |schema| SourcePosition::File(schema.span()));
        if let Some(field) = schema.fields.iter().find(|field| is_reserved(&field.name)) {
            let message = format!("the schema has the column `{}`, which thalweg writes", field.name);
            let remedy = "leave it out of `schema`; `metadata_columns` says which of them the table gets";
            return Err(self.source.error(&place(), message, "").remedy(remedy));
        }
        table
            .decoding
            .format
            .suits_declared(schema)
            .map_err(|unfit| self.source.error(&place(), unfit.message, "").remedy(unfit.remedy))
    }
}

/// The parts between commas, those inside a type left alone.
fn columns_of(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let outside = |c: char| {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(outside).collect()
}

/// A limit as a person writes it: `16MiB`.
pub(super) fn plain(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string().replace(".0 ", "")
}
