//! What a schema must not hold, so that records can fill it and readers can open it.
//!
//! It owns these two limits, and names the first column that breaks one.

use super::names::{below, elements};
use super::types::{DataType, Field, Schema};

/// Objects and arrays inside one another in a schema's JSON. Readers (serde_json) take no more.
const JSON_DEPTH_MAX: usize = 127;
/// An object and a list around the columns of a struct.
const STRUCT_DEPTH: usize = 2;
/// A column's metadata is an object, too.
const METADATA_DEPTH: usize = 1;

/// Structs inside one another that every reader opens.
pub const STRUCTS_MAX: usize = (JSON_DEPTH_MAX - METADATA_DEPTH) / (STRUCT_DEPTH + 1) - 1;

impl Schema {
    /// The first column, however deep, that no value of JSON fills: its path, and its type.
    pub fn unfillable_by_json(&self) -> Option<(String, String)> {
        self.fields.iter().find_map(|field| unfillable(&field.data_type, &below("", &field.name)))
    }

    /// The first column whose types nest deeper than readers of tables take.
    pub fn too_deep(&self) -> Option<&Field> {
        self.fields.iter().find(|field| STRUCT_DEPTH + column_depth(field) > JSON_DEPTH_MAX)
    }
}

fn unfillable(data_type: &DataType, path: &str) -> Option<(String, String)> {
    match data_type {
        DataType::Struct(fields) => {
            fields.iter().find_map(|field| unfillable(&field.data_type, &below(path, &field.name)))
        }
        DataType::Array { element, .. } => unfillable(element, &elements(path)),
        DataType::Map { key, .. } if **key != DataType::String => {
            Some((path.to_owned(), data_type.to_string()))
        }
        DataType::Map { value, .. } => unfillable(value, &elements(path)),
        _ => None,
    }
}

fn column_depth(field: &Field) -> usize {
    1 + json_depth(&field.data_type).max(METADATA_DEPTH)
}

/// Of a type in a schema's JSON; a name is none.
fn json_depth(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => STRUCT_DEPTH + fields.iter().map(column_depth).max().unwrap_or(0),
        DataType::Array { element, .. } => 1 + json_depth(element),
        DataType::Map { key, value, .. } => 1 + json_depth(key).max(json_depth(value)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(structs: usize, innermost: DataType) -> Schema {
        let around = |inner, _| DataType::Struct(vec![Field::new("a", inner, true)]);
        Schema::of(vec![Field::new("a", (0..structs).fold(innermost, around), true)])
    }

    fn list(element: DataType) -> DataType {
        DataType::Array { element: Box::new(element), contains_null: true }
    }

    #[test]
    fn what_readers_open_is_what_is_not_too_deep() {
        assert_eq!(STRUCTS_MAX, 41);
        let lists = |count| (0..count).fold(DataType::Integer, |inner, _| list(inner));
        let structure = || DataType::Struct(vec![Field::new("b", DataType::Integer, true)]);
        for (schema, opens) in [
            (within(41, DataType::Integer), true),
            (within(42, DataType::Integer), false),
            (within(40, lists(4)), true),
            (within(40, lists(5)), false),
            (within(40, list(structure())), false),
        ] {
            // The same parser as in the kernel and delta-rs, with the same limit.
            assert_eq!(Schema::from_delta(&schema.to_delta()).is_ok(), opens, "{schema}");
            assert_eq!(schema.too_deep().is_none(), opens, "{schema}");
            let refused = Schema::from_ddl(&schema.to_string()).err();
            assert_eq!(refused.is_none(), opens);
            let message = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(
                opens || message.contains("`a` nests deeper than readers of Delta tables take: 41"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_map_whose_keys_are_no_strings_is_found_wherever_it_stands() {
        for (ddl, path) in [
            ("m MAP<INT, STRING>", "m"),
            ("id INT, s STRUCT<l: ARRAY<MAP<DATE, INT>>>", "s.l[]"),
            ("m MAP<STRING, MAP<BIGINT, INT>>", "m[]"),
        ] {
            let (found, told) = Schema::from_ddl(ddl).unwrap().unfillable_by_json().unwrap();
            assert_eq!(found, path);
            assert!(told.starts_with("MAP<"), "{told}");
        }
        let every_type = "a BOOLEAN, b TINYINT, c SMALLINT, d INT, e BIGINT, f FLOAT, g DOUBLE, h DECIMAL(9, 2), \
            i STRING, j BINARY, k DATE, l TIMESTAMP, m STRUCT<n: INT>, o ARRAY<INT>, p MAP<STRING, INT>";
        assert_eq!(Schema::from_ddl(every_type).unwrap().unfillable_by_json(), None);
    }
}
