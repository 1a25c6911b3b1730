//! The config file as it is written: every key optional, every value with
//! its place.
//!
//! It owns the file's shape. What the values mean is `parse`. No `flatten`
//! and no `untagged` here: both lose the places.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use toml::Spanned;

pub type Text = Option<Spanned<String>>;
pub type Options = BTreeMap<Spanned<String>, Spanned<Value>>;
/// A key of a later version: known, so that its error can say so.
pub type Later = Option<Spanned<IgnoredAny>>;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub version: Option<Spanned<i64>>,
    pub kafka: Option<Spanned<Kafka>>,
    pub registry: Later,
    pub storage: Storage,
    pub limits: Limits,
    pub admin: Admin,
    pub defaults: Table,
    pub table: Vec<Spanned<Table>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    pub brokers: Text,
    pub auth: Text,
    pub tls: Option<Spanned<Tls>>,
    pub sasl: Option<Spanned<Sasl>>,
    pub group: Text,
    pub instance_id: Text,
    pub assignor: Text,
    pub librdkafka: Options,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub ca: Text,
    pub cert: Text,
    pub key: Text,
    pub key_password: Text,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Sasl {
    pub mechanism: Text,
    pub username: Text,
    pub password: Text,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    pub options: Options,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub memory: Text,
    pub cores: Option<Spanned<Value>>,
    pub pin: Option<Spanned<bool>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub listen: Text,
}

/// A `[[table]]`, and `[defaults]` for all of them.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    pub id: Text,
    pub topic: Text,
    pub topic_pattern: Later,
    pub location: Text,
    pub format: Text,
    pub schema: Text,
    pub start: Text,
    pub metadata_columns: Option<Spanned<Vec<Spanned<String>>>>,
    pub timestamps: Option<Spanned<Options>>,
    pub on_new_field: Text,
    pub on_bad_record: Text,
    pub max_record_size: Text,
    pub max_depth: Option<Spanned<Value>>,
    pub dlq: Text,
    pub partition_by: Later,
    pub transform: Later,
    pub max_latency: Text,
    pub target_file_size: Text,
    pub compression: Text,
    pub storage: Options,
}

/// A value of a free-form table. A dotted key without quotes arrives as nested tables.
#[derive(Debug)]
pub enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Nested(Vec<(Spanned<String>, Spanned<Value>)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number, `true` or `false`")
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Nested(entries))
    }
}
