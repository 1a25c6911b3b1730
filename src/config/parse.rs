//! From the text of a config file to a checked [`Config`].
//!
//! It owns what every key means, the defaults that depend on the machine,
//! and the order: environment over file over defaults. Every error points at
//! its place and names the remedy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::interpolate::{Environment, interpolate};
use super::raw::{self, Value};
use super::resources::Machine;
use super::source::{Place, Source, suggestion};
use super::{
    Admin, Compression, Config, Format, Kafka, Limits, MetadataColumn, OnBadRecord, OnNewField,
    RESCUED_COLUMN, Start, Table, location, options, syntax,
};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Schema;

const MEMORY_PER_SHARD: u64 = 128 << 20;
const MEMORY_MIN: u64 = 16 << 20;
const SHARDS_MAX: i64 = 1024;
const LATENCY_MIN: Duration = Duration::from_millis(10);
const LATENCY_MAX: Duration = Duration::from_secs(3600);
const FILE_SIZE_MIN: u64 = 1 << 10;
const FILE_SIZE_MAX: u64 = 16 << 30;
const TOPIC_CHARS_MAX: usize = 249;
const CONFIG_BYTES_MAX: u64 = 16 << 20;
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9600);

/// Variables that replace a key of the file.
const VARIABLES: [&str; 15] = [
    "THALWEG__KAFKA__BROKERS",
    "THALWEG__KAFKA__AUTH",
    "THALWEG__LIMITS__MEMORY",
    "THALWEG__LIMITS__CORES",
    "THALWEG__LIMITS__PIN",
    "THALWEG__ADMIN__LISTEN",
    "THALWEG__DEFAULTS__FORMAT",
    "THALWEG__DEFAULTS__SCHEMA",
    "THALWEG__DEFAULTS__START",
    "THALWEG__DEFAULTS__METADATA_COLUMNS",
    "THALWEG__DEFAULTS__ON_NEW_FIELD",
    "THALWEG__DEFAULTS__ON_BAD_RECORD",
    "THALWEG__DEFAULTS__MAX_LATENCY",
    "THALWEG__DEFAULTS__TARGET_FILE_SIZE",
    "THALWEG__DEFAULTS__COMPRESSION",
];

/// Reads a file. Relative locations in it start at the current directory.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Config> {
    let name = path.display().to_string();
    let refuse = |what: String| {
        Error::new(ErrorKind::Config, format!("cannot read {name}: {what}"))
            .remedy("name the config file with `-c FILE`")
    };
    let size = std::fs::metadata(path).map_err(|error| refuse(reason(&error)))?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(refuse(format!("it is larger than {CONFIG_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(reason(&error)))?;
    parse(&text, &name, environment)
}

/// Reads a text; `name` stands for it in errors.
pub fn parse(text: &str, name: &str, environment: Environment<'_>) -> Result<Config> {
    let directory = std::env::current_dir()
        .map_err(|error| Error::new(ErrorKind::Io, format!("no current directory: {}", reason(&error))))?;
    parse_on(text, name, environment, &Machine::this(), directory)
}

/// Refuses variables that look like ours and replace nothing.
pub fn check_variables(names: impl IntoIterator<Item = String>) -> Result<()> {
    match names.into_iter().find(|name| name.starts_with("THALWEG__") && !VARIABLES.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => {
            let message = format!("environment variable {name} replaces no key of the config");
            let remedy = match super::source::nearest(&name, VARIABLES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "unset it, or write the key into the file with `${env:NAME}`".to_owned(),
            };
            Err(Error::new(ErrorKind::Config, message).remedy(remedy))
        }
    }
}

pub(crate) fn parse_on(
    text: &str,
    name: &str,
    environment: Environment<'_>,
    machine: &Machine,
    directory: PathBuf,
) -> Result<Config> {
    let source = Source { name, text };
    let file: raw::File = toml::from_str(text).map_err(|error| syntax::error(&source, &error))?;
    let reader = Reader { source, environment, directory };
    reader.version(file.version.as_ref())?;
    reader.not_yet("registry", &file.registry, "leave it out: records are JSON in this version")?;
    let kafka = reader.kafka(file.kafka.as_ref())?;
    let limits = reader.limits(&file.limits, machine)?;
    let admin = reader.admin(&file.admin)?;
    let tables = reader.tables(&file)?;
    Ok(Config { kafka, limits, admin, tables })
}

/// A string value after interpolation, and where it came from.
#[derive(Clone)]
struct Given {
    text: String,
    place: Place,
}

/// Turns raw values into checked ones.
pub struct Reader<'a> {
    pub source: Source<'a>,
    environment: Environment<'a>,
    directory: PathBuf,
}

// The sections of the file.
impl Reader<'_> {
    fn version(&self, version: Option<&Spanned<i64>>) -> Result<()> {
        match version {
            Some(version) if *version.get_ref() == 1 => Ok(()),
            Some(version) => {
                let message = format!("version {} of the config is not known", version.get_ref());
                Err(self
                    .source
                    .error(&Place::File(version.span()), message, "")
                    .remedy("write `version = 1`"))
            }
            None => Err(self
                .source
                .error(&Place::File(0..0), "`version` is missing", "")
                .remedy("write `version = 1` at the top of the file")),
        }
    }

    fn kafka(&self, raw: Option<&Spanned<raw::Kafka>>) -> Result<Kafka> {
        let place = Place::File(raw.map_or(0..0, Spanned::span));
        let none = raw::Kafka::default();
        let raw = raw.map_or(&none, Spanned::get_ref);
        self.not_yet("kafka.group", &raw.group, "leave it out: this process reads every partition")?;
        let Some(brokers) = self.text("THALWEG__KAFKA__BROKERS", &raw.brokers)? else {
            let remedy = "write `brokers = \"host:9092\"` under [kafka], or set THALWEG__KAFKA__BROKERS";
            return Err(self.source.error(&place, "`kafka.brokers` is missing", "").remedy(remedy));
        };
        self.brokers(&brokers)?;
        let mut librdkafka = options::librdkafka(self, &raw.librdkafka)?;
        if let Some(protocol) = self.auth(&raw.auth)? {
            librdkafka.entry("security.protocol".to_owned()).or_insert_with(|| protocol.to_owned());
        }
        Ok(Kafka { brokers: brokers.text, librdkafka })
    }

    fn brokers(&self, brokers: &Given) -> Result<()> {
        for broker in brokers.text.split(',') {
            let broker = broker.trim();
            let (host, port) = match broker.rsplit_once(':') {
                Some((host, port)) if !host.ends_with(':') => (host, port),
                _ => (broker, "9092"),
            };
            let fits = !host.is_empty()
                && port.parse::<u16>().is_ok_and(|port| port != 0)
                && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_[]:".contains(c));
            if !fits {
                let message = format!("`{broker}` is no broker address");
                return Err(self
                    .at(brokers, message)
                    .remedy("write `host:port`, several separated by commas"));
            }
        }
        Ok(())
    }

    /// The `security.protocol` that an `auth` stands for.
    fn auth(&self, raw: &raw::Text) -> Result<Option<&'static str>> {
        let Some(auth) = self.text("THALWEG__KAFKA__AUTH", raw)? else { return Ok(None) };
        match auth.text.as_str() {
            "none" => Ok(None),
            "tls" => Ok(Some("ssl")),
            "sasl" => Ok(Some("sasl_ssl")),
            "msk-iam" => {
                Err(self.at(&auth, "`kafka.auth = \"msk-iam\"` is not available in this version").remedy(
                    "use `sasl` with SCRAM, or `tls` with client certificates, under [kafka.librdkafka]",
                ))
            }
            _ => Err(self.unknown_word(&auth, "kafka.auth", &["none", "tls", "sasl"])),
        }
    }

    fn limits(&self, raw: &raw::Limits, machine: &Machine) -> Result<Limits> {
        let shards = self.shards(raw.cores.as_ref(), machine)?;
        let memory = match self.text("THALWEG__LIMITS__MEMORY", &raw.memory)? {
            Some(memory) => self.size(&memory, "limits.memory", MEMORY_MIN, u64::MAX)?,
            None => (MEMORY_PER_SHARD * shards as u64).min(machine.memory / 4).max(MEMORY_MIN),
        };
        let pin = match self.variable("THALWEG__LIMITS__PIN") {
            Some(pin) => match pin.text.as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(self.unknown_word(&pin, "limits.pin", &["true", "false"])),
            },
            None => raw.pin.as_ref().is_none_or(|pin| *pin.get_ref()),
        };
        Ok(Limits { memory, shards, pin })
    }

    /// `limits.cores`: `"auto"` or a number.
    fn shards(&self, raw: Option<&Spanned<Value>>, machine: &Machine) -> Result<usize> {
        let given = match (self.variable("THALWEG__LIMITS__CORES"), raw) {
            (Some(given), _) => given,
            (None, Some(raw)) => Given { text: self.scalar(raw)?, place: Place::File(raw.span()) },
            (None, None) => return Ok(machine.cores),
        };
        if given.text == "auto" {
            return Ok(machine.cores);
        }
        match given.text.parse::<i64>() {
            Ok(cores) if (1..=SHARDS_MAX).contains(&cores) => Ok(cores as usize),
            _ => Err(self
                .at(&given, format!("`limits.cores` is `{}`", given.text))
                .remedy(format!("write \"auto\" or a number from 1 to {SHARDS_MAX}"))),
        }
    }

    fn admin(&self, raw: &raw::Admin) -> Result<Admin> {
        let Some(listen) = self.text("THALWEG__ADMIN__LISTEN", &raw.listen)? else {
            return Ok(Admin { listen: LISTEN_DEFAULT, explicit: false });
        };
        match listen.text.parse() {
            Ok(address) => Ok(Admin { listen: address, explicit: true }),
            Err(_) => Err(self
                .at(&listen, format!("`admin.listen` is `{}`, which is no address", listen.text))
                .remedy(
                    "write an IP address and a port: `127.0.0.1:9600`, or `0.0.0.0:9600` for every interface",
                )),
        }
    }
}

// The tables.
impl Reader<'_> {
    fn tables(&self, file: &raw::File) -> Result<Vec<Table>> {
        if file.table.is_empty() {
            return Err(self
                .source
                .error(&Place::File(0..0), "there is no [[table]]", "")
                .remedy("add a [[table]] with `id`, `topic` and `location`"));
        }
        for (key, value) in [
            ("id", &file.defaults.id),
            ("topic", &file.defaults.topic),
            ("location", &file.defaults.location),
        ] {
            if let Some(value) = value {
                let message = format!("`{key}` cannot have a default");
                let place = Place::File(value.span());
                return Err(self.source.error(&place, message, "").remedy("write it in each [[table]]"));
            }
        }
        let common = self.settings(&file.defaults, Table::default(), true)?;
        let common = Table { storage_options: options::storage(self, &file.storage.options)?, ..common };
        let common = self.with_storage(common, &file.defaults)?;
        let mut tables: Vec<(Table, Places)> = Vec::new();
        for raw in &file.table {
            let table = self.table(raw, common.clone())?;
            self.distinct(&tables, &table)?;
            tables.push(table);
        }
        let tables: Vec<Table> = tables.into_iter().map(|(table, _)| table).collect();
        if tables.iter().any(|table| table.location.scheme() == "s3") {
            options::check_environment(self.environment)?;
        }
        Ok(tables)
    }

    fn table(&self, raw: &Spanned<raw::Table>, common: Table) -> Result<(Table, Places)> {
        let header = Place::File(raw.span());
        let raw = raw.get_ref();
        let instead = "write one [[table]] with `topic` for each topic";
        self.not_yet("topic_pattern", &raw.topic_pattern, instead)?;
        let id = self.required("id", &raw.id, &header, "id = \"orders\"")?;
        self.table_id(&id)?;
        let topic = self.required("topic", &raw.topic, &header, "topic = \"orders\"")?;
        self.topic(&topic)?;
        let place = self.required("location", &raw.location, &header, "location = \"s3://bucket/orders\"")?;
        let location = location::parse(&place.text, &self.directory)
            .map_err(|error| self.at(&place, error.message).remedy(error.remedy))?;
        let table = Table { id: id.text, topic: topic.text, location, ..common };
        let table = self.with_storage(self.settings(raw, table, false)?, raw)?;
        self.no_reserved_column(&table, raw, &header)?;
        Ok((table, Places { id: id.place, location: place.place }))
    }

    /// Every key that may stand under `[defaults]` too. `base` holds what applies without it.
    fn settings(&self, raw: &raw::Table, base: Table, defaults: bool) -> Result<Table> {
        self.not_in_this_version(raw)?;
        let text = |key: &str, value: &raw::Text| match defaults {
            true => self.text(&format!("THALWEG__DEFAULTS__{key}"), value),
            false => value.as_ref().map(|value| self.interpolated(value)).transpose(),
        };
        let mut table = base;
        if let Some(format) = text("FORMAT", &raw.format)? {
            table.format = self.format(&format)?;
        }
        if let Some(schema) = text("SCHEMA", &raw.schema)? {
            table.schema = Some(self.schema(&schema)?);
        }
        if let Some(start) = text("START", &raw.start)? {
            table.start = self.start(&start)?;
        }
        if let Some(columns) = self.metadata_columns(raw, defaults)? {
            table.metadata_columns = columns;
        }
        if let Some(policy) = text("ON_NEW_FIELD", &raw.on_new_field)? {
            table.on_new_field = self.on_new_field(&policy)?;
        }
        if let Some(policy) = text("ON_BAD_RECORD", &raw.on_bad_record)? {
            table.on_bad_record = self.on_bad_record(&policy)?;
        }
        if let Some(latency) = text("MAX_LATENCY", &raw.max_latency)? {
            table.max_latency = self.latency(&latency)?;
        }
        if let Some(size) = text("TARGET_FILE_SIZE", &raw.target_file_size)? {
            table.target_file_size = self.size(&size, "target_file_size", FILE_SIZE_MIN, FILE_SIZE_MAX)?;
        }
        if let Some(compression) = text("COMPRESSION", &raw.compression)? {
            table.compression = self.compression(&compression)?;
        }
        Ok(table)
    }

    fn with_storage(&self, mut table: Table, raw: &raw::Table) -> Result<Table> {
        table.storage_options.extend(options::storage(self, &raw.storage)?);
        Ok(table)
    }

    fn not_in_this_version(&self, raw: &raw::Table) -> Result<()> {
        self.not_yet("dlq", &raw.dlq, "leave it out, and choose `on_bad_record = \"fail\"` or `\"skip\"`")?;
        self.not_yet(
            "partition_by",
            &raw.partition_by,
            "leave it out: tables are written without partitions",
        )?;
        self.not_yet("transform", &raw.transform, "leave it out, and transform when you read the table")
    }

    fn distinct(&self, tables: &[(Table, Places)], (table, places): &(Table, Places)) -> Result<()> {
        for (earlier, first) in tables {
            if earlier.id == table.id {
                let message = format!("two tables have the id `{}`", table.id);
                return Err(self
                    .source
                    .collision(&places.id, message, &first.id, "first used here")
                    .remedy("choose another id: it is the identity of the table's offsets"));
            }
            if earlier.location == table.location {
                let message = format!("two tables have the location `{}`", table.location);
                return Err(self
                    .source
                    .collision(&places.location, message, &first.location, "first used here")
                    .remedy("choose another location: a table has one writer in a config"));
            }
            if inside(&earlier.location, &table.location) || inside(&table.location, &earlier.location) {
                let message =
                    format!("the tables `{}` and `{}` lie inside one another", earlier.id, table.id);
                return Err(self
                    .source
                    .collision(&places.location, message, &first.location, "the other location")
                    .remedy("choose locations beside one another: cleaning up one would delete the other"));
            }
        }
        Ok(())
    }
}

/// Where the two identities of a table were written.
struct Places {
    id: Place,
    location: Place,
}

fn inside(outer: &url::Url, inner: &url::Url) -> bool {
    inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

// One function for each kind of value.
impl Reader<'_> {
    fn table_id(&self, id: &Given) -> Result<()> {
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

    fn topic(&self, topic: &Given) -> Result<()> {
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

    fn format(&self, given: &Given) -> Result<Format> {
        match given.text.as_str() {
            "json" => Ok(Format::Json),
            "raw" | "avro" | "protobuf" => Err(self
                .at(given, format!("`format = \"{}\"` is not available in this version", given.text))
                .remedy("use `format = \"json\"`")),
            _ => Err(self.unknown_word(given, "format", &["json"])),
        }
    }

    fn schema(&self, given: &Given) -> Result<Schema> {
        Schema::from_ddl(&given.text).map_err(|error| {
            let place = self.within(given, error.position..error.position + 1);
            self.source
                .error(&place, format!("in the schema: {}", error.message), "")
                .remedy("write Spark DDL: `schema = \"id BIGINT NOT NULL, tags ARRAY<STRING>\"`")
        })
    }

    fn start(&self, given: &Given) -> Result<Start> {
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

    fn metadata_columns(&self, raw: &raw::Table, defaults: bool) -> Result<Option<Vec<MetadataColumn>>> {
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

    fn metadata_column(&self, given: &Given) -> Result<MetadataColumn> {
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

    fn on_new_field(&self, given: &Given) -> Result<OnNewField> {
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

    fn on_bad_record(&self, given: &Given) -> Result<OnBadRecord> {
        match given.text.as_str() {
            "fail" => Ok(OnBadRecord::Fail),
            "skip" => Ok(OnBadRecord::Skip),
            "dlq" => Err(self
                .at(given, "`on_bad_record = \"dlq\"` is not available in this version")
                .remedy("use `fail`, or `skip` to count bad records and leave them out")),
            _ => Err(self.unknown_word(given, "on_bad_record", &["fail", "skip"])),
        }
    }

    fn latency(&self, given: &Given) -> Result<Duration> {
        match humantime::parse_duration(&given.text) {
            Ok(latency) if (LATENCY_MIN..=LATENCY_MAX).contains(&latency) => Ok(latency),
            Ok(_) => Err(self
                .at(given, format!("`max_latency` is `{}`", given.text))
                .remedy("choose from `10ms` to `1h`: lower is fresher and makes more files")),
            Err(_) => Err(self
                .at(given, format!("`max_latency` is `{}`, which is no duration", given.text))
                .remedy("write a number and a unit: `10s`, `500ms`, `5m`")),
        }
    }

    fn size(&self, given: &Given, key: &str, min: u64, max: u64) -> Result<u64> {
        let fail = |what: &str, remedy: String| {
            Err(self.at(given, format!("`{key}` is `{}`{what}", given.text)).remedy(remedy))
        };
        match given.text.parse::<bytesize::ByteSize>() {
            Ok(size) if size.0 < min => fail("", format!("choose at least `{}`", bytesize::ByteSize(min))),
            Ok(size) if size.0 > max => fail("", format!("choose at most `{}`", bytesize::ByteSize(max))),
            Ok(size) => Ok(size.0),
            Err(_) => fail(", which is no size", "write a number and a unit: `128MiB`, `1GiB`".to_owned()),
        }
    }

    fn compression(&self, given: &Given) -> Result<Compression> {
        let text = given.text.as_str();
        let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')'));
        match (text, level.map(str::parse::<i32>)) {
            ("snappy", _) => Ok(Compression::Snappy),
            ("none", _) => Ok(Compression::None),
            ("zstd", _) => Ok(Compression::Zstd(1)),
            (_, Some(Ok(level))) if (1..=22).contains(&level) => Ok(Compression::Zstd(level)),
            (_, Some(_)) => Err(self
                .at(given, format!("`compression` is `{text}`"))
                .remedy("zstd has levels from `zstd(1)` to `zstd(22)`")),
            _ => Err(self.unknown_word(given, "compression", &["zstd(1)", "snappy", "none"])),
        }
    }

    fn no_reserved_column(&self, table: &Table, raw: &raw::Table, header: &Place) -> Result<()> {
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

// Getting at values.
impl Reader<'_> {
    /// The environment's value for a key, else the file's.
    fn text(&self, variable: &str, raw: &raw::Text) -> Result<Option<Given>> {
        match self.variable(variable) {
            Some(given) => Ok(Some(given)),
            None => raw.as_ref().map(|raw| self.interpolated(raw)).transpose(),
        }
    }

    fn variable(&self, name: &str) -> Option<Given> {
        debug_assert!(VARIABLES.contains(&name), "{name} is missing in VARIABLES");
        let text = (self.environment)(name)?;
        Some(Given { text, place: Place::Variable(name.to_owned()) })
    }

    fn required(&self, key: &str, raw: &raw::Text, header: &Place, example: &str) -> Result<Given> {
        match raw {
            Some(raw) => self.interpolated(raw),
            None => Err(self
                .source
                .error(header, format!("this table has no `{key}`"), "")
                .remedy(format!("add it: `{example}`"))),
        }
    }

    fn interpolated(&self, raw: &Spanned<String>) -> Result<Given> {
        self.interpolated_text(raw.get_ref(), Place::File(raw.span()))
    }

    fn interpolated_text(&self, text: &str, place: Place) -> Result<Given> {
        let whole = Given { text: text.to_owned(), place };
        match interpolate(text, self.environment) {
            Ok(text) => Ok(Given { text, ..whole }),
            Err(error) => {
                let place = self.within(&whole, error.start..error.end);
                Err(self.source.error(&place, error.message, "").remedy(error.remedy))
            }
        }
    }

    /// A value of a free-form table as text.
    pub fn scalar(&self, raw: &Spanned<Value>) -> Result<String> {
        match raw.get_ref() {
            Value::Text(text) => Ok(self.interpolated_text(text, Place::File(raw.span()))?.text),
            Value::Integer(value) => Ok(value.to_string()),
            Value::Boolean(value) => Ok(value.to_string()),
            Value::Nested(_) => Err(self
                .source
                .error(&Place::File(raw.span()), "expected a value and found a table", "")
                .remedy("put a key with dots in quotes, and its value beside it")),
        }
    }

    /// The place of some bytes of a value: exact where the file holds the value as it is.
    fn within(&self, given: &Given, bytes: std::ops::Range<usize>) -> Place {
        let Place::File(span) = &given.place else { return given.place.clone() };
        let written = &self.source.text[span.clone()];
        match written.find(&given.text) {
            Some(offset) if !given.text.is_empty() => {
                Place::File(span.start + offset + bytes.start..span.start + offset + bytes.end)
            }
            _ => given.place.clone(),
        }
    }

    fn at(&self, given: &Given, message: impl Into<String>) -> Error {
        self.source.error(&given.place, message, "")
    }

    fn unknown_word(&self, given: &Given, key: &str, words: &[&str]) -> Error {
        self.at(given, format!("`{key}` is `{}`", given.text)).remedy(suggestion(&given.text, words))
    }

    fn not_yet(&self, key: &str, raw: &raw::Later, instead: &str) -> Result<()> {
        match raw {
            None => Ok(()),
            Some(value) => {
                let message = format!("`{key}` is not available in this version");
                Err(self.source.error(&Place::File(value.span()), message, "").remedy(instead))
            }
        }
    }
}

/// The system's words without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
