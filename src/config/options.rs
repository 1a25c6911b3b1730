//! The two free-form tables: settings of librdkafka and options of the
//! object store.
//!
//! It owns which keys are refused, and why. Every other key is passed on.

use std::collections::BTreeMap;
use std::ops::Range;

use object_store::aws::AmazonS3ConfigKey;
use toml::Spanned;

use super::interpolate::Environment;
use super::librdkafka::{FOREIGN, INSIDE, refusal};
use super::nearest::nearest;
use super::raw::{Options, Value};
use super::reader::{Reader, kept};
use super::security::Secret;
use super::source::SourcePosition;
use super::{security, store_value, words};
use crate::error::{Error, ErrorKind, Result};

/// Settings under `[kafka.librdkafka]`, as written. With `auth` those of security are ours.
pub fn librdkafka(
    reader: &Reader<'_>,
    raw: &Options,
    auth_is_given: bool,
) -> Result<BTreeMap<String, Secret>> {
    let mut entries = Vec::new();
    for (key, value) in raw {
        flatten(key.get_ref().clone(), key, value, &mut entries);
    }
    entries.sort_by_key(|entry| entry.key.start);
    let (mut settings, mut wrong) = (Once::default(), Vec::new());
    for entry in entries {
        kept(setting(reader, entry, auth_is_given, &mut settings), &mut wrong);
    }
    Error::together(wrong).map_or(Ok(settings.values()), Err)
}

fn setting(reader: &Reader<'_>, entry: Entry<'_>, auth_is_given: bool, settings: &mut Once) -> Result<()> {
    let Entry { name, key, value } = entry;
    if let Some(remedy) = refusal(&name) {
        let why = if [FOREIGN, INSIDE].contains(&remedy) { "not passed on" } else { "set by thalweg itself" };
        let message = format!("librdkafka's `{name}` is {why}");
        return Err(reader.source.error(&SourcePosition::File(key), message, "").remedy(remedy));
    }
    if let Some(place) = security::owner(&name).filter(|_| auth_is_given) {
        let message = format!("librdkafka's `{name}` is set by `kafka.auth`");
        let remedy = format!("write {place}; without `auth` it is passed on as it is");
        return Err(reader.source.error(&SourcePosition::File(key), message, "").remedy(remedy));
    }
    settings.insert(reader, name, key, reader.scalar(value)?)
}

/// Options of the object store under their full name (`region` is `aws_region`),
/// so that a table's options replace the global ones however they are spelt.
pub fn storage(reader: &Reader<'_>, raw: &Options) -> Result<BTreeMap<String, Secret>> {
    let mut entries: Vec<_> = raw.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let (mut options, mut wrong) = (Once::default(), Vec::new());
    for (key, value) in entries {
        kept(option(reader, key, value, &mut options), &mut wrong);
    }
    Error::together(wrong).map_or(Ok(options.values()), Err)
}

fn option(
    reader: &Reader<'_>,
    key: &Spanned<String>,
    value: &Spanned<Value>,
    options: &mut Once,
) -> Result<()> {
    if let Value::Nested(inner) = value.get_ref() {
        return Err(nested(reader, key, inner));
    }
    let text = reader.scalar(value)?;
    let name = full_name(key.get_ref(), &text).map_err(|refusal| {
        let span = if refusal.value_is_wrong { value.span() } else { key.span() };
        reader.source.error(&SourcePosition::File(span), refusal.message, "").remedy(refusal.remedy)
    })?;
    options.insert(reader, name, key.span(), text)
}

/// A table where an option belongs: `fs.s3a.endpoint` without quotes, or one section too many.
fn nested(reader: &Reader<'_>, key: &Spanned<String>, inner: &[(Spanned<String>, Spanned<Value>)]) -> Error {
    let place = SourcePosition::File(key.span());
    if key.get_ref() == "options" {
        let message = "the options of a table's store stand one level higher";
        return reader.source.error(&place, message, "").remedy("write them under `[table.storage]`");
    }
    let mut name = key.get_ref().clone();
    let mut inner = inner;
    while let Some((key, value)) = inner.first() {
        name = format!("{name}.{}", key.get_ref());
        let Value::Nested(next) = value.get_ref() else { break };
        inner = next;
    }
    let remedy = words::of_store(&name);
    let remedy = remedy.unwrap_or_else(|| "options have no dots, as in `region` or `endpoint`".to_owned());
    reader.source.error(&place, format!("unknown storage option `{name}`"), "").remedy(remedy)
}

struct Entry<'a> {
    name: String,
    key: Range<usize>,
    value: &'a Spanned<Value>,
}

/// `fetch.wait.max.ms = 5` without quotes is a tree in TOML and one setting in librdkafka.
fn flatten<'a>(name: String, key: &Spanned<String>, value: &'a Spanned<Value>, entries: &mut Vec<Entry<'a>>) {
    match value.get_ref() {
        Value::Nested(inner) => {
            for (key, value) in inner {
                flatten(format!("{name}.{}", key.get_ref()), key, value, entries);
            }
        }
        _ => entries.push(Entry { name, key: key.span(), value }),
    }
}

/// Values that may be set once, each with the place of its key.
#[derive(Default)]
struct Once(BTreeMap<String, (String, Range<usize>)>);

impl Once {
    fn insert(&mut self, reader: &Reader<'_>, name: String, key: Range<usize>, value: String) -> Result<()> {
        if let Some((_, first)) = self.0.get(&name) {
            let message = format!("`{name}` is set twice");
            let (place, first) = (SourcePosition::File(key), SourcePosition::File(first.clone()));
            return Err(reader
                .source
                .collision(&place, message, &first, "first set here")
                .remedy("keep one of the two"));
        }
        self.0.insert(name, (value, key));
        Ok(())
    }

    fn values(self) -> BTreeMap<String, Secret> {
        self.0.into_iter().map(|(name, (value, _))| (name, Secret::new(value))).collect()
    }
}

/// The same for options of the command line.
pub fn storage_from_pairs(pairs: &[(String, String)]) -> Result<BTreeMap<String, Secret>> {
    let mut options = BTreeMap::new();
    for (key, value) in pairs {
        let name = full_name(key, value)
            .map_err(|refusal| Error::new(ErrorKind::Usage, refusal.message).remedy(refusal.remedy))?;
        if options.insert(name, Secret::new(value.as_str())).is_some() {
            let message = format!("storage option `{key}` is given twice");
            return Err(Error::new(ErrorKind::Usage, message).remedy("keep one of the two"));
        }
    }
    Ok(options)
}

/// The same for what `object_store` reads from the environment by itself.
pub fn check_environment(environment: Environment<'_>) -> Result<()> {
    for key in ["AWS_CONDITIONAL_PUT", "AWS_COPY_IF_NOT_EXISTS"] {
        if let Some(value) = environment(key)
            && let Err(refusal) = full_name(key, &value)
        {
            return Err(Error::new(ErrorKind::Config, refusal.message)
                .context(format_args!("environment variable {key}"))
                .remedy("unset it: thalweg commits with the store's own put-if-absent"));
        }
    }
    Ok(())
}

/// What a variable or a profile says of S3: `source` names it. A variable's final newline is left out.
pub fn from_outside(source: &str, name: &str, value: &str) -> Result<String> {
    let value = store_value::without_final_newline(value);
    match store_value::check(name, name, value) {
        Ok(()) => Ok(value.to_owned()),
        Err(wrong) => Err(Error::new(ErrorKind::Config, wrong.message).context(source).remedy(wrong.remedy)),
    }
}

/// Why an option is refused, and whether its value is to blame rather than its name.
struct Refusal {
    message: String,
    remedy: String,
    value_is_wrong: bool,
}

/// The full name of an option whose value it may have.
fn full_name(key: &str, value: &str) -> Result<String, Refusal> {
    let name = known_name(key, value)?;
    store_value::check(&name, key, value).map_err(|wrong| Refusal {
        message: wrong.message,
        remedy: wrong.remedy,
        value_is_wrong: true,
    })?;
    Ok(name)
}

fn known_name(key: &str, value: &str) -> Result<String, Refusal> {
    let name = key.to_ascii_lowercase();
    let lossy = |value_is_wrong: bool| Refusal {
        message: format!("storage option `{key}` would let two writers commit the same version"),
        remedy: "leave it out: thalweg commits with the store's own put-if-absent".to_owned(),
        value_is_wrong,
    };
    if name.ends_with("allow_unsafe_rename") {
        return Err(lossy(false));
    }
    if matches!(name.as_str(), "aws_profile" | "profile") {
        return Ok("aws_profile".to_owned());
    }
    #[cfg(feature = "gcs")]
    if let Some(full) = of_store::<object_store::gcp::GoogleConfigKey>("google_", &name) {
        return Ok(full);
    }
    #[cfg(feature = "azure")]
    if let Some(full) = of_store::<object_store::azure::AzureConfigKey>("azure_", &name) {
        return Ok(full);
    }
    match name.parse::<AmazonS3ConfigKey>() {
        Ok(known) if loses_races(known.as_ref(), value) => Err(lossy(true)),
        Ok(known) => Ok(known.as_ref().to_owned()),
        Err(_) => Err(Refusal {
            message: format!("unknown storage option `{key}`"),
            remedy: match (words::of_store(&name), nearest(&name, STORAGE_KEYS)) {
                (Some(remedy), _) => remedy,
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => {
                    "options are object_store's keys for S3, such as `region` or `endpoint`".to_owned()
                }
            },
            value_is_wrong: false,
        }),
    }
}

/// Options of a store that is not S3 are written in full: short names are S3's.
#[cfg(any(feature = "gcs", feature = "azure"))]
fn of_store<K: std::str::FromStr + AsRef<str>>(prefix: &str, name: &str) -> Option<String> {
    let known = name.starts_with(prefix).then(|| name.parse::<K>().ok()).flatten()?;
    // Options of the client have one name for all stores.
    Some(known.as_ref().to_owned())
}

fn loses_races(key: &str, value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    match key {
        "aws_conditional_put" => value != "etag",
        "aws_copy_if_not_exists" => value.starts_with("dynamo"),
        _ => false,
    }
}

/// What people write, for suggestions.
const STORAGE_KEYS: [&str; 27] = [
    "profile",
    "aws_profile",
    "aws_server_side_encryption",
    "region",
    "endpoint",
    "endpoint_url",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "aws_region",
    "aws_endpoint",
    "aws_endpoint_url",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "allow_http",
    "allow_invalid_certificates",
    "virtual_hosted_style_request",
    "skip_signature",
    "unsigned_payload",
    "role_arn",
    "web_identity_token_file",
    "server_side_encryption",
    "sse_kms_key_id",
    "proxy_url",
    "timeout",
    "connect_timeout",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_code_holds_addresses_or_moves_offsets_is_refused_however_it_is_spelt() {
        for name in [
            "plugin.library.paths",
            "Plugin.Library.Paths",
            "sasl.kerberos.kinit.cmd",
            "ssl.engine.location",
            "ssl.engine.id",
            "ssl.providers",
            "interceptors",
            "oauthbearer_token_refresh_cb",
            "open_cb",
            "REBALANCE_CB",
            "opaque",
            "ut_handle_ProduceResponse",
            "test.mock.num.brokers",
            "bootstrap.servers",
            "metadata.broker.list",
            "group.id",
            "group.protocol",
            "enable.auto.commit",
            "topic.enable.auto.commit",
            "auto.offset.reset",
            "topic.auto.offset.reset",
            "offset.store.path",
            "topic.offset.store.path",
            "isolation.level",
            "enable.partition.eof",
            "queued.max.messages.kbytes",
            "fetch.message.max.bytes",
            "log.queue",
        ] {
            assert!(refusal(name).is_some(), "{name} is passed on");
        }
        for name in ["client.rack", "fetch.queue.backoff.ms", "session.timeout.ms", "debug", "sasl.password"]
        {
            assert_eq!(refusal(name), None, "{name}");
        }
    }
}
