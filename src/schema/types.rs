//! What a column is: Delta's types, fields and schemas, and their Arrow form.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes as arrow_types;
use serde_json::{Map, Value};

use super::indexed::Indexed;

/// A Delta type that we can write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataType {
    Boolean,
    Byte,
    Short,
    Integer,
    Long,
    Float,
    Double,
    /// Exact number of `precision` digits, `scale` of them after the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
    String,
    Binary,
    /// Days since the Unix epoch.
    Date,
    /// Microseconds since the Unix epoch, UTC.
    Timestamp,
    Struct(Vec<Field>),
    Array {
        element: Box<DataType>,
        contains_null: bool,
    },
    Map {
        key: Box<DataType>,
        value: Box<DataType>,
        value_contains_null: bool,
    },
}

/// A named column or struct member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    /// Delta's per-column metadata, kept as it was read.
    pub metadata: Map<String, Value>,
}

/// The columns of a table, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schema {
    pub fields: Vec<Field>,
    pub indexed: Indexed,
}

impl Field {
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Field {
        Field { name: name.into(), data_type, nullable, metadata: Map::new() }
    }
}

/// Where a DDL text is wrong: a byte position in it and what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DdlError {
    pub position: usize,
    pub message: String,
}

impl fmt::Display for DdlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.message, self.position + 1)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Boolean => f.write_str("BOOLEAN"),
            DataType::Byte => f.write_str("TINYINT"),
            DataType::Short => f.write_str("SMALLINT"),
            DataType::Integer => f.write_str("INT"),
            DataType::Long => f.write_str("BIGINT"),
            DataType::Float => f.write_str("FLOAT"),
            DataType::Double => f.write_str("DOUBLE"),
            DataType::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            DataType::String => f.write_str("STRING"),
            DataType::Binary => f.write_str("BINARY"),
            DataType::Date => f.write_str("DATE"),
            DataType::Timestamp => f.write_str("TIMESTAMP"),
            DataType::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", quoted(&field.name), field.data_type)?;
                    if !field.nullable {
                        f.write_str(" NOT NULL")?;
                    }
                }
                f.write_str(">")
            }
            DataType::Array { element, .. } => write!(f, "ARRAY<{element}>"),
            DataType::Map { key, value, .. } => write!(f, "MAP<{key}, {value}>"),
        }
    }
}

/// Spark DDL of the whole schema, as [`Schema::from_ddl`] reads it.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", quoted(&field.name), field.data_type)?;
            if !field.nullable {
                f.write_str(" NOT NULL")?;
            }
        }
        Ok(())
    }
}

fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

fn fields_to_arrow(fields: &[Field]) -> Vec<arrow_types::Field> {
    fields
        .iter()
        .map(|field| arrow_types::Field::new(&field.name, field.data_type.to_arrow(), field.nullable))
        .collect()
}

impl DataType {
    /// The same type, whatever may be null inside.
    pub fn same_as(&self, other: &DataType) -> bool {
        match (self, other) {
            (DataType::Struct(one), DataType::Struct(other)) => {
                let same = |(one, other): (&Field, &Field)| {
                    one.name == other.name && one.data_type.same_as(&other.data_type)
                };
                one.len() == other.len() && one.iter().zip(other).all(same)
            }
            (DataType::Array { element: one, .. }, DataType::Array { element: other, .. }) => {
                one.same_as(other)
            }
            (
                DataType::Map { key: one_key, value: one, .. },
                DataType::Map { key: other_key, value: other, .. },
            ) => one_key.same_as(other_key) && one.same_as(other),
            _ => self == other,
        }
    }

    pub fn to_arrow(&self) -> arrow_types::DataType {
        use arrow_types::DataType as Arrow;
        match self {
            DataType::Boolean => Arrow::Boolean,
            DataType::Byte => Arrow::Int8,
            DataType::Short => Arrow::Int16,
            DataType::Integer => Arrow::Int32,
            DataType::Long => Arrow::Int64,
            DataType::Float => Arrow::Float32,
            DataType::Double => Arrow::Float64,
            DataType::Decimal { precision, scale } => {
                Arrow::Decimal128(*precision, i8::try_from(*scale).expect("a scale is at most 38"))
            }
            DataType::String => Arrow::Utf8,
            DataType::Binary => Arrow::Binary,
            DataType::Date => Arrow::Date32,
            DataType::Timestamp => Arrow::Timestamp(arrow_types::TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Struct(fields) => Arrow::Struct(fields_to_arrow(fields).into()),
            DataType::Array { element, contains_null } => {
                Arrow::List(Arc::new(arrow_types::Field::new("element", element.to_arrow(), *contains_null)))
            }
            DataType::Map { key, value, value_contains_null } => {
                let entries = vec![
                    arrow_types::Field::new("key", key.to_arrow(), false),
                    arrow_types::Field::new("value", value.to_arrow(), *value_contains_null),
                ];
                let entries = arrow_types::Field::new("key_value", Arrow::Struct(entries.into()), false);
                Arrow::Map(Arc::new(entries), false)
            }
        }
    }
}

impl Schema {
    /// Columns of a table whose properties say nothing of them.
    pub fn of(fields: Vec<Field>) -> Schema {
        Schema { fields, indexed: Indexed::default() }
    }

    pub fn to_arrow(&self) -> arrow_types::SchemaRef {
        Arc::new(arrow_types::Schema::new(fields_to_arrow(&self.fields)))
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
