//! Delta's `schemaString`: a schema as JSON in the metadata of a table.
//!
//! It owns that spelling in both directions. A key that stands twice, or one
//! that is missing, is refused: readers refuse such a table.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::limits::STRUCTS_MAX;
use super::types::{DataType, Field, Schema};
use crate::error::plain_json;

/// A type as it is written. Derived code refuses keys that stand twice.
enum Written {
    Name(String),
    Nested(Box<Nested>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Nested {
    r#type: Option<String>,
    fields: Option<Vec<WrittenField>>,
    element_type: Option<Written>,
    contains_null: Option<bool>,
    key_type: Option<Written>,
    value_type: Option<Written>,
    value_contains_null: Option<bool>,
}

#[derive(Deserialize)]
struct WrittenField {
    name: Option<String>,
    r#type: Option<Written>,
    nullable: Option<bool>,
    metadata: Option<Map<String, Value>>,
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrObject;
        impl<'de> Visitor<'de> for NameOrObject {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a type, or an object")
            }

            fn visit_str<E>(self, name: &str) -> Result<Written, E> {
                Ok(Written::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                let nested = Nested::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Written::Nested(Box::new(nested)))
            }
        }
        deserializer.deserialize_any(NameOrObject)
    }
}

pub(super) fn parse(text: &str) -> Result<Schema, String> {
    let written = serde_json::from_str(text).map_err(|error| match error.to_string() {
        deep if deep.starts_with("recursion limit") => {
            format!("its types nest deeper than readers of Delta tables take: {STRUCTS_MAX} structs")
        }
        other => plain_json(&other),
    })?;
    match data_type(written)? {
        DataType::Struct(fields) => Ok(Schema::of(fields)),
        _ => Err("the top level is not a struct".to_owned()),
    }
}

fn data_type(written: Written) -> Result<DataType, String> {
    let nested = match written {
        Written::Name(name) => return primitive(&name),
        Written::Nested(nested) => *nested,
    };
    let inner = |written: Option<Written>, key| data_type(required(written, key)?).map(Box::new);
    match nested.r#type.as_deref() {
        Some("struct") => {
            let fields = required(nested.fields, "fields")?;
            fields.into_iter().map(field).collect::<Result<_, _>>().map(DataType::Struct)
        }
        Some("array") => Ok(DataType::Array {
            element: inner(nested.element_type, "elementType")?,
            contains_null: required(nested.contains_null, "containsNull")?,
        }),
        Some("map") => Ok(DataType::Map {
            key: inner(nested.key_type, "keyType")?,
            value: inner(nested.value_type, "valueType")?,
            value_contains_null: required(nested.value_contains_null, "valueContainsNull")?,
        }),
        other => Err(format!("type {} is not supported", other.unwrap_or("?"))),
    }
}

fn field(written: WrittenField) -> Result<Field, String> {
    let name = written.name.ok_or("a field has no name")?;
    let of_the_column = |error: String| format!("column `{name}`: {error}");
    Ok(Field {
        data_type: required(written.r#type, "type").and_then(data_type).map_err(of_the_column)?,
        nullable: required(written.nullable, "nullable").map_err(of_the_column)?,
        metadata: required(written.metadata, "metadata").map_err(of_the_column)?,
        name,
    })
}

/// Readers refuse a table that lacks a key.
fn required<T>(value: Option<T>, key: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("`{key}` is missing"))
}

fn primitive(name: &str) -> Result<DataType, String> {
    Ok(match name {
        "boolean" => DataType::Boolean,
        "byte" => DataType::Byte,
        "short" => DataType::Short,
        "integer" => DataType::Integer,
        "long" => DataType::Long,
        "float" => DataType::Float,
        "double" => DataType::Double,
        "string" => DataType::String,
        "binary" => DataType::Binary,
        "date" => DataType::Date,
        "timestamp" => DataType::Timestamp,
        _ => {
            return decimal(name).ok_or_else(|| format!("type {name} is not supported"));
        }
    })
}

fn decimal(name: &str) -> Option<DataType> {
    let inner = name.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',')?;
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    ((1..=38).contains(&precision) && scale <= precision).then_some(DataType::Decimal { precision, scale })
}

pub(super) fn print(fields: &[Field]) -> String {
    struct_to_delta(fields).to_string()
}

fn struct_to_delta(fields: &[Field]) -> Value {
    let fields: Vec<Value> = fields
        .iter()
        .map(|field| {
            json!({
                "name": field.name,
                "type": type_to_delta(&field.data_type),
                "nullable": field.nullable,
                "metadata": field.metadata,
            })
        })
        .collect();
    json!({"type": "struct", "fields": fields})
}

fn type_to_delta(data_type: &DataType) -> Value {
    match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Byte => json!("byte"),
        DataType::Short => json!("short"),
        DataType::Integer => json!("integer"),
        DataType::Long => json!("long"),
        DataType::Float => json!("float"),
        DataType::Double => json!("double"),
        DataType::Decimal { precision, scale } => json!(format!("decimal({precision},{scale})")),
        DataType::String => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::Date => json!("date"),
        DataType::Timestamp => json!("timestamp"),
        DataType::Struct(fields) => struct_to_delta(fields),
        DataType::Array { element, contains_null } => json!({
            "type": "array",
            "elementType": type_to_delta(element),
            "containsNull": contains_null,
        }),
        DataType::Map { key, value, value_contains_null } => json!({
            "type": "map",
            "keyType": type_to_delta(key),
            "valueType": type_to_delta(value),
            "valueContainsNull": value_contains_null,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn what_readers_refuse_is_refused_by_its_column() {
        let table = |field: &str| format!(r#"{{"type": "struct", "fields": [{field}]}}"#);
        let cases = [
            (r#"{"name": "a", "type": "long", "metadata": {}}"#, "column `a`: `nullable` is missing"),
            (r#"{"name": "a", "type": "long", "nullable": true}"#, "column `a`: `metadata` is missing"),
            (r#"{"name": "a", "nullable": true, "metadata": {}}"#, "column `a`: `type` is missing"),
            (r#"{"type": "long", "nullable": true, "metadata": {}}"#, "a field has no name"),
            (
                r#"{"name": "a", "type": "void", "nullable": true, "metadata": {}}"#,
                "column `a`: type void is not supported",
            ),
            (
                r#"{"name": "a", "type": {"type": "array", "elementType": "long"}, "nullable": true, "metadata": {}}"#,
                "column `a`: `containsNull` is missing",
            ),
        ];
        for (field, expected) in cases {
            assert_eq!(error(&table(field)), expected);
        }
        assert_eq!(error(r#""long""#), "the top level is not a struct");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_wherever_it_stands() {
        let field = r#"{"name": "a", "type": "long", "nullable": true, "metadata": {}}"#;
        let good = format!(r#"{{"type": "struct", "fields": [{field}]}}"#);
        assert!(parse(&good).is_ok());
        for key in [
            r#""type": "struct""#,
            r#""name": "a""#,
            r#""type": "long""#,
            r#""nullable": true"#,
            r#""metadata": {}"#,
        ] {
            let twice = good.replace(key, &format!("{key}, {key}"));
            assert!(error(&twice).starts_with("duplicate field"), "{twice}");
        }
    }
}
