//! From the text of a config file to a checked [`Config`].
//!
//! It owns what every key means, the defaults that depend on the machine,
//! and the order: environment over file over defaults. Every error points at
//! its place and names the remedy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::interpolate::{Environment, interpolate};
use super::nearest::suggestion;
use super::raw::{self, Value};
use super::reader::{Given, Reader, kept};
use super::redact;
use super::resources::Machine;
use super::security::Security;
use super::settings::{Admin, Config, Kafka, Limits, OnBadRecord, Table};
use super::shape::Shape;
use super::source::{Source, SourcePosition, reason};
use super::store_value::without_final_newline;
use super::values::{FILE_SIZE_MAX, FILE_SIZE_MIN, RECORD_SIZE_MAX, RECORD_SIZE_MIN, plain};
use super::{grammar, location, options};
use crate::budget;
use crate::error::{Error, ErrorKind, Result};

const MEMORY_PER_SHARD: u64 = 128 << 20;
const SHARDS_MAX: i64 = 1024;
const CONFIG_BYTES_MAX: u64 = 4 << 20;
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9600);

/// Variables that replace a key of the file.
const VARIABLES: [&str; 27] = [
    "THALWEG__KAFKA__BROKERS",
    "THALWEG__KAFKA__GROUP",
    "THALWEG__KAFKA__INSTANCE_ID",
    "THALWEG__KAFKA__ASSIGNOR",
    "THALWEG__KAFKA__AUTH",
    "THALWEG__KAFKA__SASL__MECHANISM",
    "THALWEG__KAFKA__SASL__USERNAME",
    "THALWEG__KAFKA__SASL__PASSWORD",
    "THALWEG__KAFKA__TLS__CA",
    "THALWEG__KAFKA__TLS__CERT",
    "THALWEG__KAFKA__TLS__KEY",
    "THALWEG__KAFKA__TLS__KEY_PASSWORD",
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
    "THALWEG__DEFAULTS__MAX_RECORD_SIZE",
    "THALWEG__DEFAULTS__MAX_DEPTH",
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
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refuse(reason(&error)))?;
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| refuse(reason(&error)))?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(refuse(format!("it is larger than {}, and no config", plain(CONFIG_BYTES_MAX))));
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => parse(&text, &name, environment),
        Ok(text) => Err(grammar::no_text(&name, text.as_bytes(), text.find('\0').unwrap_or_default())),
        Err(error) => Err(grammar::no_text(&name, error.as_bytes(), error.utf8_error().valid_up_to())),
    }
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
            let remedy = match super::nearest::nearest(&name, VARIABLES) {
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
    let Shape { file, wrong: mut shapes, unread } = Shape::read(&source)?;
    let reader = Reader { source, environment, directory };
    // Every mistake at once, as far as one does not follow from another.
    let mut wrong = Vec::new();
    let version = reader.version(file.version.as_ref());
    if file.version.is_some() {
        // What the rest means follows from it.
        version.clone()?;
    }
    kept(version, &mut wrong);
    let registry = "leave it out: records are JSON in this version";
    kept(reader.not_yet("registry", &file.registry, registry), &mut wrong);
    let kafka = kept(reader.kafka(file.kafka.as_ref()), &mut wrong);
    let limits = kept(reader.limits(&file.limits, machine), &mut wrong);
    let admin = kept(reader.admin(&file.admin), &mut wrong);
    let tables = kept(reader.tables(&file), &mut wrong);
    kept(reader.a_topic_for_each_table(&file), &mut wrong);
    let mut wrong = wrong.into_iter().flat_map(Error::apart).collect::<Vec<_>>();
    wrong.retain(|error| !Shape::explains(&unread, error));
    shapes.append(&mut wrong);
    shapes.sort_by_key(|error| reader.source.place_of(error));
    match (kafka, limits, admin, tables) {
        (Some(kafka), Some(limits), Some(admin), Some(tables)) if shapes.is_empty() => {
            Ok(Config { kafka, limits, admin, tables })
        }
        _ => Err(Error::together(shapes).expect("a section that is missing left its error")),
    }
}

/// A key's value where it is given and right.
fn set<T>(
    target: &mut T,
    given: Result<Option<Given>>,
    read: impl FnOnce(&Given) -> Result<T>,
    wrong: &mut Vec<Error>,
) {
    if let Some(value) = kept(given.and_then(|given| given.as_ref().map(read).transpose()), wrong).flatten() {
        *target = value;
    }
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
                    .error(&SourcePosition::File(version.span()), message, "")
                    .remedy("write `version = 1`"))
            }
            None => Err(self
                .source
                .error(&SourcePosition::File(0..0), "`version` is missing", "")
                .remedy("write `version = 1` at the top of the file")),
        }
    }

    fn kafka(&self, raw: Option<&Spanned<raw::Kafka>>) -> Result<Kafka> {
        let place = SourcePosition::File(raw.map_or(0..0, Spanned::span));
        let none = raw::Kafka::default();
        let raw = raw.map_or(&none, Spanned::get_ref);
        let mut wrong = Vec::new();
        let brokers = kept(self.brokers(raw, &place), &mut wrong);
        let security = kept(self.security(raw), &mut wrong);
        let auth_is_given = security.as_ref().is_none_or(Option::is_some);
        let librdkafka = kept(options::librdkafka(self, &raw.librdkafka, auth_is_given), &mut wrong);
        let group = kept(self.group(raw, librdkafka.as_ref().unwrap_or(&BTreeMap::new())), &mut wrong);
        match (brokers, security, librdkafka, group) {
            (Some(brokers), Some(security), Some(librdkafka), Some(group)) => {
                Ok(Kafka { brokers, security: security.unwrap_or(Security::None), group, librdkafka })
            }
            _ => Err(Error::together(wrong).expect("what is missing left its error")),
        }
    }

    fn brokers(&self, raw: &raw::Kafka, place: &SourcePosition) -> Result<String> {
        let Some(brokers) = self.text("THALWEG__KAFKA__BROKERS", &raw.brokers)? else {
            let remedy = "write `brokers = \"host:9092\"` under [kafka], or set THALWEG__KAFKA__BROKERS";
            return Err(self.source.error(place, "`kafka.brokers` is missing", "").remedy(remedy));
        };
        self.broker_addresses(&brokers)?;
        Ok(brokers.text)
    }

    fn broker_addresses(&self, brokers: &Given) -> Result<()> {
        if brokers.text.trim().is_empty() {
            let remedy = "write `brokers = \"host:9092\"`, or fill the variable that stands there";
            return Err(self.at(brokers, "`kafka.brokers` is empty").remedy(remedy));
        }
        let mut position = 0;
        for part in brokers.text.split(',') {
            let broker = part.trim();
            let start = position + (part.len() - part.trim_start().len());
            position += part.len() + 1;
            let (host, port) = match broker.rsplit_once(':') {
                Some((host, port)) if !host.ends_with(':') => (host, port),
                _ => (broker, "9092"),
            };
            let fits = !host.is_empty()
                && port.parse::<u16>().is_ok_and(|port| port != 0)
                && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_[]:".contains(c));
            if !fits {
                let message = match broker {
                    "" => "a broker's address is empty".to_owned(),
                    broker => format!("`{}` is not a valid broker address", redact::without_userinfo(broker)),
                };
                let place = self.within(brokers, start..start + broker.len().max(1));
                let remedy = match broker.split_once("://") {
                    Some((scheme, _)) => format!("leave `{scheme}://` out: write `host:port`"),
                    None => "write `host:port`, several separated by commas".to_owned(),
                };
                return Err(self.source.error(&place, message, "").remedy(remedy));
            }
        }
        Ok(())
    }

    fn limits(&self, raw: &raw::Limits, machine: &Machine) -> Result<Limits> {
        let mut wrong = Vec::new();
        let shards = kept(self.shards(raw.cores.as_ref(), machine), &mut wrong);
        let memory = kept(self.memory(raw, shards.unwrap_or(1), machine), &mut wrong);
        let pin = kept(self.pin(raw), &mut wrong);
        match (shards, memory, pin) {
            (Some(shards), Some(memory), Some(pin)) => Ok(Limits { memory, shards, pin }),
            _ => Err(Error::together(wrong).expect("what is missing left its error")),
        }
    }

    fn memory(&self, raw: &raw::Limits, shards: usize, machine: &Machine) -> Result<u64> {
        let least = budget::memory_min(shards);
        match self.text("THALWEG__LIMITS__MEMORY", &raw.memory)? {
            Some(given) => {
                let memory = self.size(&given, "limits.memory", 0, u64::MAX)?;
                if memory < least {
                    let message =
                        format!("`limits.memory` is `{}`, too small for `cores = {shards}`", given.text);
                    return Err(self.at(&given, message).remedy(format!(
                        "choose at least `{}` (the program takes {}, each core {}), or fewer `cores`",
                        plain(least),
                        plain(budget::FIXED),
                        plain(budget::SHARD_MIN)
                    )));
                }
                Ok(memory)
            }
            None => Ok((MEMORY_PER_SHARD * shards as u64).min(machine.memory / 4).max(least)),
        }
    }

    fn pin(&self, raw: &raw::Limits) -> Result<bool> {
        match self.variable("THALWEG__LIMITS__PIN") {
            Some(pin) => match pin.text.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(self.unknown_word(&pin, "limits.pin", &["true", "false"])),
            },
            None => Ok(raw.pin.as_ref().is_none_or(|pin| *pin.get_ref())),
        }
    }

    /// `limits.cores`: `"auto"` or a number.
    fn shards(&self, raw: Option<&Spanned<Value>>, machine: &Machine) -> Result<usize> {
        let given = match (self.variable("THALWEG__LIMITS__CORES"), raw) {
            (Some(given), _) => given,
            (None, Some(raw)) => Given { text: self.scalar(raw)?, place: SourcePosition::File(raw.span()) },
            (None, None) => return Ok(machine.cores),
        };
        if given.text == "auto" {
            return Ok(machine.cores);
        }
        match given.text.parse::<i64>() {
            Ok(cores) if (1..=SHARDS_MAX).contains(&cores) => Ok(cores as usize),
            _ => Err(self
                .at(
                    &given,
                    format!("`limits.cores` is `{}`, which is not a valid number of cores", given.text),
                )
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
                .at(&listen, format!("`admin.listen` is `{}`, which is not a valid address", listen.text))
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
                .error(&SourcePosition::File(0..0), "there is no [[table]]", "")
                .remedy("add a [[table]] with `id`, `topic` and `location`"));
        }
        let mut wrong = Vec::new();
        for (key, value) in [
            ("id", &file.defaults.id),
            ("topic", &file.defaults.topic),
            ("location", &file.defaults.location),
        ] {
            if let Some(value) = value {
                let message = format!("`{key}` cannot have a default");
                let place = SourcePosition::File(value.span());
                wrong.push(self.source.error(&place, message, "").remedy("write it in each [[table]]"));
            }
        }
        let mut common = self.settings(&file.defaults, Table::default(), true, &mut wrong);
        for options in [&file.storage.options, &file.defaults.storage] {
            common
                .storage_options
                .extend(kept(options::storage(self, options), &mut wrong).unwrap_or_default());
        }
        let mut tables: Vec<(Table, IdentityPositions)> = Vec::new();
        for raw in &file.table {
            let table = self.table(raw, &file.defaults, common.clone());
            let table = table.and_then(|table| self.distinct(&tables, &table).map(|()| table));
            tables.extend(kept(table, &mut wrong));
        }
        if let Some(error) = Error::together(wrong) {
            return Err(error);
        }
        let tables: Vec<Table> = tables.into_iter().map(|(table, _)| table).collect();
        if tables.iter().any(|table| table.location.scheme() == "s3") {
            options::check_environment(self.environment)?;
        }
        Ok(tables)
    }

    fn table(
        &self,
        raw: &Spanned<raw::Table>,
        defaults: &raw::Table,
        common: Table,
    ) -> Result<(Table, IdentityPositions)> {
        let header = SourcePosition::File(raw.span());
        let raw = raw.get_ref();
        let instead = "write one [[table]] with `topic` for each topic";
        self.not_yet("topic_pattern", &raw.topic_pattern, instead)?;
        let mut wrong = Vec::new();
        let id = self.required("id", &raw.id, &header, "id = \"orders\"");
        let id = kept(id.and_then(|id| self.table_id(&id).map(|()| id)), &mut wrong);
        let topic = self.required("topic", &raw.topic, &header, "topic = \"orders\"");
        let topic = kept(topic.and_then(|topic| self.topic(&topic).map(|()| topic)), &mut wrong);
        let place = self.required("location", &raw.location, &header, "location = \"s3://bucket/orders\"");
        let place = kept(place.and_then(|place| Ok((self.location(&place)?, place))), &mut wrong);
        let mut table = self.settings(raw, common, false, &mut wrong);
        let storage = kept(options::storage(self, &raw.storage), &mut wrong);
        table.storage_options.extend(storage.unwrap_or_default());
        let (Some(id), Some(topic), Some((location, place)), true) = (id, topic, place, wrong.is_empty())
        else {
            return Err(Error::together(wrong).expect("what is missing left its error"));
        };
        let mut table = Table { id: id.text, topic: topic.text, location, ..table };
        self.schema_suits(&table, raw, &header)?;
        let dead_letters = self.dead_letters(&table, raw, defaults, &place)?;
        let (url, dead_letters) = dead_letters.unzip();
        table.dead_letters = url;
        Ok((table, IdentityPositions { id: id.place, location: place.place, dead_letters }))
    }

    fn location(&self, given: &Given) -> Result<url::Url> {
        location::parse(&given.text, &self.directory)
            .map_err(|error| self.at(given, error.message).remedy(error.remedy))
    }

    /// Where bad records go, and the place that says so.
    fn dead_letters(
        &self,
        table: &Table,
        raw: &raw::Table,
        defaults: &raw::Table,
        location: &Given,
    ) -> Result<Option<(url::Url, SourcePosition)>> {
        if table.on_bad_record != OnBadRecord::DeadLetter {
            return Ok(None);
        }
        if let Some(raw) = raw.dlq.as_ref().or(defaults.dlq.as_ref()) {
            let given = self.interpolated(raw)?;
            return Ok(Some((self.location(&given)?, given.place)));
        }
        if table.location.path().trim_matches('/').is_empty() {
            return Err(self
                .at(location, "no place for dead letters follows from a location that is a whole bucket")
                .remedy("name one: `dlq = \"s3://bucket/dead_letters\"`, or choose `on_bad_record = \"skip\"` or `\"fail\"`"));
        }
        let url = format!("{}_dead_letters", table.location);
        let url = url::Url::parse(&url).expect("a path with letters behind it is a path");
        Ok(Some((url, location.place.clone())))
    }

    /// Every key that may stand under `[defaults]` too. `base` holds what applies without it, and where one is wrong.
    fn settings(&self, raw: &raw::Table, base: Table, defaults: bool, wrong: &mut Vec<Error>) -> Table {
        let text = |key: &str, value: &raw::Text| match defaults {
            true => self.text(&format!("THALWEG__DEFAULTS__{key}"), value),
            false => value.as_ref().map(|value| self.interpolated(value)).transpose(),
        };
        let size = |key: &'static str, min, max| move |given: &Given| self.size(given, key, min, max);
        let record_size = size("max_record_size", RECORD_SIZE_MIN, RECORD_SIZE_MAX);
        let file_size = size("target_file_size", FILE_SIZE_MIN, FILE_SIZE_MAX);
        let mut table = base;
        let decoding = &mut table.decoding;
        kept(self.not_in_this_version(raw), wrong);
        set(&mut decoding.format, text("FORMAT", &raw.format), |given| self.format(given), wrong);
        let some = |given: &Given| self.schema(given).map(Some);
        set(&mut table.schema, text("SCHEMA", &raw.schema), some, wrong);
        set(&mut table.start, text("START", &raw.start), |given| self.start(given), wrong);
        if let Some(columns) = kept(self.metadata_columns(raw, defaults), wrong).flatten() {
            table.metadata_columns = columns;
        }
        let on_new_field = text("ON_NEW_FIELD", &raw.on_new_field);
        set(&mut decoding.on_new_field, on_new_field, |given| self.on_new_field(given), wrong);
        let on_bad_record = text("ON_BAD_RECORD", &raw.on_bad_record);
        set(&mut table.on_bad_record, on_bad_record, |given| self.on_bad_record(given), wrong);
        if let Some(timestamps) = &raw.timestamps {
            decoding.timestamps = kept(self.timestamps(timestamps.get_ref()), wrong).unwrap_or_default();
        }
        let fitting =
            |given: &Given| record_size(given).map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        set(&mut decoding.max_record_size, text("MAX_RECORD_SIZE", &raw.max_record_size), fitting, wrong);
        if let Some(depth) = kept(self.max_depth(raw, defaults), wrong).flatten() {
            decoding.max_depth = depth;
        }
        set(
            &mut table.max_latency,
            text("MAX_LATENCY", &raw.max_latency),
            |given| self.latency(given),
            wrong,
        );
        set(&mut table.target_file_size, text("TARGET_FILE_SIZE", &raw.target_file_size), file_size, wrong);
        let compression = text("COMPRESSION", &raw.compression);
        set(&mut table.compression, compression, |given| self.compression(given), wrong);
        table
    }

    fn not_in_this_version(&self, raw: &raw::Table) -> Result<()> {
        self.not_yet(
            "partition_by",
            &raw.partition_by,
            "leave it out: tables are written without partitions",
        )?;
        self.not_yet("transform", &raw.transform, "leave it out, and transform when you read the table")
    }

    fn distinct(
        &self,
        tables: &[(Table, IdentityPositions)],
        (table, places): &(Table, IdentityPositions),
    ) -> Result<()> {
        for (earlier, first) in tables {
            if earlier.id == table.id {
                let message = format!("two tables have the id `{}`", table.id);
                return Err(self
                    .source
                    .collision(&places.id, message, &first.id, "first used here")
                    .remedy("choose another id: it is the identity of the table's offsets"));
            }
            for first in first.folders(earlier) {
                places.folders(table).try_for_each(|second| self.apart(&first, &second))?;
            }
        }
        match places.folders(table).collect::<Vec<_>>().as_slice() {
            [rows, dead_letters] => self.apart(rows, dead_letters),
            _ => Ok(()),
        }
    }

    /// Two folders must lie beside one another. Dead dead letters of different topics may share one.
    fn apart(&self, first: &Folder<'_>, second: &Folder<'_>) -> Result<()> {
        let collision =
            |message: String, note: &str| self.source.collision(second.place, message, first.place, note);
        if first.url == second.url {
            return match (first.dead_letters, second.dead_letters) {
                (true, true) => Ok(()),
                (false, false) => {
                    Err(collision(format!("two tables have the location `{}`", first.url), "first used here")
                        .remedy("choose another location: a table has one writer in a config"))
                }
                _ => Err(collision(
                    format!("`{}` holds both rows and dead letters", first.url),
                    "first used here",
                )
                .remedy("name another location with `dlq`")),
            };
        }
        if inside(first.url, second.url) || inside(second.url, first.url) {
            let message = match (first.dead_letters, second.dead_letters) {
                (false, false) => {
                    format!(
                        "the tables `{}` and `{}` lie inside one another",
                        first.table.id, second.table.id
                    )
                }
                _ => format!("`{}` and `{}` lie inside one another", first.url, second.url),
            };
            return Err(collision(message, "the other location")
                .remedy("choose locations beside one another: cleaning up one would delete the other"));
        }
        Ok(())
    }
}

/// A folder that a table writes.
struct Folder<'a> {
    table: &'a Table,
    url: &'a url::Url,
    place: &'a SourcePosition,
    /// It holds dead letters, not rows.
    dead_letters: bool,
}

/// Where a table's identities were written.
struct IdentityPositions {
    id: SourcePosition,
    location: SourcePosition,
    dead_letters: Option<SourcePosition>,
}

impl IdentityPositions {
    fn folders<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = Folder<'a>> {
        let rows = Folder { table, url: &table.location, place: &self.location, dead_letters: false };
        let dead_letters = table.dead_letters.iter().zip(&self.dead_letters);
        let dead_letters =
            dead_letters.map(move |(url, place)| Folder { table, url, place, dead_letters: true });
        std::iter::once(rows).chain(dead_letters)
    }
}

fn inside(outer: &url::Url, inner: &url::Url) -> bool {
    inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

// Getting at values.
impl Reader<'_> {
    /// The environment's value for a key, else the file's.
    pub(super) fn text(&self, variable: &str, raw: &raw::Text) -> Result<Option<Given>> {
        match self.variable(variable) {
            Some(given) => Ok(Some(given)),
            None => raw.as_ref().map(|raw| self.interpolated(raw)).transpose(),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<Given> {
        debug_assert!(VARIABLES.contains(&name), "{name} is missing in VARIABLES");
        let text = (self.environment)(name)?;
        let text = without_final_newline(&text).to_owned();
        Some(Given { text, place: SourcePosition::Variable(name.to_owned()) })
    }

    fn required(&self, key: &str, raw: &raw::Text, header: &SourcePosition, example: &str) -> Result<Given> {
        match raw {
            Some(raw) => self.interpolated(raw),
            None => Err(self
                .source
                .error(header, format!("this table has no `{key}`"), "")
                .remedy(format!("add it: `{example}`"))),
        }
    }

    pub(super) fn interpolated(&self, raw: &Spanned<String>) -> Result<Given> {
        self.interpolated_text(raw.get_ref(), SourcePosition::File(raw.span()))
    }

    fn interpolated_text(&self, text: &str, place: SourcePosition) -> Result<Given> {
        let whole = Given { text: text.to_owned(), place };
        match interpolate(text, self.environment) {
            // Nothing that takes a value can hold one: names end there, and files are not found.
            Ok(text) if text.contains('\0') => Err(self
                .source
                .error(&whole.place, "the value has a NUL character", "")
                .remedy("remove it: it ends texts in other programs")),
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
            Value::Text(text) => Ok(self.interpolated_text(text, SourcePosition::File(raw.span()))?.text),
            Value::Integer(value) => Ok(value.to_string()),
            Value::Boolean(value) => Ok(value.to_string()),
            Value::Nested(_) => Err(self
                .source
                .error(&SourcePosition::File(raw.span()), "a table stands where a value belongs", "")
                .remedy("put a key with dots in quotes, and its value beside it")),
        }
    }

    /// The place of some bytes of a value: exact where the file holds the value as it is.
    pub(super) fn within(&self, given: &Given, bytes: std::ops::Range<usize>) -> SourcePosition {
        let SourcePosition::File(span) = &given.place else { return given.place.clone() };
        let written = &self.source.text[span.clone()];
        match written.find(&given.text) {
            Some(offset) if !given.text.is_empty() => {
                SourcePosition::File(span.start + offset + bytes.start..span.start + offset + bytes.end)
            }
            _ => given.place.clone(),
        }
    }

    pub(super) fn at(&self, given: &Given, message: impl Into<String>) -> Error {
        self.source.error(&given.place, message, "")
    }

    pub(super) fn unknown_word(&self, given: &Given, key: &str, words: &[&str]) -> Error {
        self.at(given, format!("unknown value `{}` for `{key}`", given.text))
            .remedy(suggestion(&given.text, words))
    }

    fn not_yet(&self, key: &str, raw: &raw::Later, instead: &str) -> Result<()> {
        match raw {
            None => Ok(()),
            Some(value) => {
                let message = format!("`{key}` is not available in this version");
                Err(self.source.error(&SourcePosition::File(value.span()), message, "").remedy(instead))
            }
        }
    }
}
