//! Which names columns may have, and how a column deep inside is named.
//!
//! It owns the rules that hold for every table (a table without column
//! mapping, read by Spark) and the paths of columns as text. It does not know
//! the columns that thalweg fills itself (`config::is_reserved`).

use std::collections::HashSet;

use super::types::{DataType, Field, Schema};

/// What Parquet in Spark refuses in names of columns.
pub const FORBIDDEN: [char; 11] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '\r', '='];

/// The names in one struct, as Spark tells them apart: case does not count.
#[derive(Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// Takes a name in, or says why it cannot be a column beside those before it.
    pub fn add(&mut self, name: &str) -> Result<(), &'static str> {
        if name.is_empty() {
            Err("an empty name")
        } else if name.contains(FORBIDDEN) {
            Err("a name with characters that Parquet or Spark refuse")
        } else if !self.0.insert(name.to_lowercase()) {
            Err("a name that differs from another only in case")
        } else {
            Ok(())
        }
    }
}

impl Schema {
    /// The first column, however deep, whose name cannot be one: its path and why.
    pub fn wrong_name(&self) -> Option<(String, &'static str)> {
        wrong_name(&self.fields, "")
    }

    /// The paths of the TIMESTAMP columns, however deep: `created`, `actor.seen`, `events[].at`.
    ///
    /// `[]` stands for the elements of an array and the values of a map.
    pub fn timestamps(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for field in &self.fields {
            timestamps(&field.data_type, below("", &field.name), &mut paths);
        }
        paths
    }
}

fn wrong_name(fields: &[Field], parent: &str) -> Option<(String, &'static str)> {
    let mut names = Names::default();
    fields.iter().find_map(|field| {
        let path = below(parent, &field.name);
        match names.add(&field.name) {
            Err(reason) => Some((path, reason)),
            Ok(()) => wrong_name_in(&field.data_type, &path),
        }
    })
}

fn wrong_name_in(data_type: &DataType, path: &str) -> Option<(String, &'static str)> {
    match data_type {
        DataType::Struct(fields) => wrong_name(fields, path),
        DataType::Array { element, .. } => wrong_name_in(element, &elements(path)),
        DataType::Map { key, value, .. } => {
            wrong_name_in(key, path).or_else(|| wrong_name_in(value, &elements(path)))
        }
        _ => None,
    }
}

fn timestamps(data_type: &DataType, path: String, paths: &mut Vec<String>) {
    match data_type {
        DataType::Timestamp => paths.push(path),
        DataType::Struct(fields) => {
            fields.iter().for_each(|field| timestamps(&field.data_type, below(&path, &field.name), paths));
        }
        DataType::Array { element, .. } => timestamps(element, elements(&path), paths),
        DataType::Map { value, .. } => timestamps(value, elements(&path), paths),
        _ => {}
    }
}

/// The path of a struct's member.
pub fn below(parent: &str, name: &str) -> String {
    let mut path = parent.to_owned();
    push_name(&mut path, name);
    path
}

/// The path of an array's elements and of a map's values.
pub fn elements(path: &str) -> String {
    format!("{path}[]")
}

/// Appends a member's name to a path. Names that would be read as more than one are backquoted.
pub fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    if !name.is_empty() && !name.contains(['.', '[', ']', '`']) {
        return path.push_str(name);
    }
    path.push('`');
    path.push_str(&name.replace('`', "``"));
    path.push('`');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_share_a_path() {
        let path = |names: &[&str]| names.iter().fold(String::new(), |path, name| below(&path, name));
        assert_eq!(path(&["a", "b"]), "a.b");
        assert_eq!(path(&["a.b"]), "`a.b`");
        assert_eq!(path(&["`a`.b", ""]), "```a``.b`.``");
    }

    #[test]
    fn names_that_spark_cannot_tell_apart_are_found_however_deep() {
        let wrong = |fields: Vec<Field>| Schema::of(fields).wrong_name().map(|(path, _)| path);
        let int = |name: &str| Field::new(name, DataType::Integer, true);
        let within = |fields| Field::new("s", DataType::Struct(fields), true);
        assert_eq!(wrong(vec![int("a"), int("b"), within(vec![int("a"), int("s")])]), None);
        assert_eq!(wrong(vec![int("id"), int("ID")]).unwrap(), "ID");
        assert_eq!(wrong(vec![within(vec![int("größe"), int("GRÖßE")])]).unwrap(), "s.GRÖßE");
        let list =
            DataType::Array { element: Box::new(DataType::Struct(vec![int("a b")])), contains_null: true };
        assert_eq!(wrong(vec![Field::new("l", list.clone(), true)]).unwrap(), "l[].a b");
        let map = DataType::Map {
            key: Box::new(DataType::String),
            value: Box::new(list),
            value_contains_null: true,
        };
        assert_eq!(wrong(vec![Field::new("m", map, true)]).unwrap(), "m[][].a b");
        assert_eq!(wrong(vec![int("")]).unwrap(), "``");
    }

    #[test]
    fn timestamps_are_found_with_their_paths() {
        let ddl = "at TIMESTAMP, id BIGINT, `a.b` STRUCT<seen: TIMESTAMP, d: DATE>, \
                   events ARRAY<STRUCT<at: TIMESTAMP>>, m MAP<STRING, ARRAY<TIMESTAMP>>";
        let expected = ["at", "`a.b`.seen", "events[].at", "m[][]"];
        assert_eq!(Schema::from_ddl(ddl).unwrap().timestamps(), expected);
    }
}
