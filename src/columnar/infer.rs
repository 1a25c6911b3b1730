//! A schema from samples.
//!
//! It owns the guess: BIGINT, DOUBLE, BOOLEAN, STRING, TIMESTAMP, and STRUCT
//! and ARRAY of these, each column nullable. A field is left out when no
//! type takes all its samples, when it was never anything but null or empty,
//! or when its name cannot be a column: it is rescued as JSON text then, and
//! nothing is lost. It does not know what else the table holds.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::bad::excerpt;
use super::text;
use crate::config::{EpochUnit, is_reserved};
use crate::schema::names::{Names, below, elements};
use crate::schema::{DataType, Field, Schema};

/// Leaf columns of an inferred schema: objects used as dictionaries must not become thousands of columns.
const COLUMNS_MAX: usize = 500;

/// Fields without a column that are named.
const LEFT_OUT_SHOWN: usize = 20;

/// Structs and arrays inside each other.
const DEPTH_MAX: usize = 16;

/// A schema and what it was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inferred {
    /// In order of first appearance.
    pub schema: Schema,
    /// Samples that were objects.
    pub samples_used: usize,
    /// Samples that were not JSON objects.
    pub samples_skipped: usize,
    pub left_out: Vec<LeftOut>,
}

impl Inferred {
    /// Fields without a column and why, the first few of them, on one line.
    pub fn left_out_text(&self) -> String {
        let shown = self.left_out.iter().take(LEFT_OUT_SHOWN);
        let mut text = shown
            .map(|left| format!("{} ({})", excerpt(&left.path), left.reason))
            .collect::<Vec<_>>()
            .join(", ");
        if self.left_out.len() > LEFT_OUT_SHOWN {
            text += &format!(" and {} more", self.left_out.len() - LEFT_OUT_SHOWN);
        }
        text
    }
}

/// A field without a column, and why: it goes to `_rescued`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// From the top, `actor.tags[]`.
    pub path: String,
    pub reason: &'static str,
}

/// No column can be made of the samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InferError {
    NoSamples,
    /// None of so many samples is a JSON object.
    NoObjects {
        samples: usize,
    },
    /// The objects have no field that can be a column.
    NoColumns {
        samples: usize,
    },
}

impl fmt::Display for InferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InferError::NoSamples => f.write_str("there are no records to infer a schema from"),
            InferError::NoObjects { samples } => write!(f, "none of {samples} records is a JSON object"),
            InferError::NoColumns { samples } => {
                write!(f, "no field of {samples} records can be a column")
            }
        }
    }
}

impl std::error::Error for InferError {}

/// Infers a schema that takes every usable sample. Numbers are a TIMESTAMP where one is declared.
pub fn infer<'a>(
    samples: impl Iterator<Item = &'a [u8]>,
    timestamps: &BTreeMap<String, EpochUnit>,
) -> Result<Inferred, InferError> {
    let mut root = Members::default();
    let (mut used, mut skipped) = (0, 0);
    for sample in samples {
        match serde_json::from_slice::<Seen>(sample) {
            Ok(Seen { object: Some(members), .. }) => {
                root.merge(members);
                used += 1;
            }
            _ => skipped += 1,
        }
    }
    if used == 0 {
        return Err(match skipped {
            0 => InferError::NoSamples,
            samples => InferError::NoObjects { samples },
        });
    }
    let mut guess = Guess { left_out: Vec::new(), columns: 0, timestamps };
    let fields = guess.fields(&root, "", 0);
    if fields.is_empty() {
        return Err(InferError::NoColumns { samples: used });
    }
    Ok(Inferred {
        schema: Schema { fields },
        samples_used: used,
        samples_skipped: skipped,
        left_out: guess.left_out,
    })
}

/// Turns what was seen into types, and notes what has none.
struct Guess<'a> {
    left_out: Vec<LeftOut>,
    columns: usize,
    timestamps: &'a BTreeMap<String, EpochUnit>,
}

impl Guess<'_> {
    fn fields(&mut self, members: &Members, parent: &str, depth: usize) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        let mut names = Names::default();
        for (name, seen) in &members.fields {
            let path = below(parent, name);
            let named = match depth == 0 && is_reserved(name) {
                true => Err("a name that thalweg uses itself"),
                false => names.add(name),
            };
            match named {
                Err(reason) => self.left_out.push(LeftOut { path, reason }),
                Ok(()) => {
                    let data_type = self.data_type(seen, &path, depth);
                    fields.extend(data_type.map(|data_type| Field::new(name, data_type, true)));
                }
            }
        }
        fields
    }

    fn data_type(&mut self, seen: &Seen, path: &str, depth: usize) -> Option<DataType> {
        let declared = self.timestamps.contains_key(path) && !seen.boolean && !seen.not_timestamp;
        let numbers = seen.number() && !declared;
        let texts = seen.string || (seen.number() && declared);
        let kinds = [seen.boolean, numbers, texts, seen.object.is_some(), seen.array.is_some()];
        let problem = match kinds.iter().filter(|kind| **kind).count() {
            0 if path.ends_with("[]") => Some("always empty"),
            0 => Some("always null"),
            1 if seen.too_large && numbers => Some("numbers beyond BIGINT"),
            1 if depth == DEPTH_MAX => Some("nested too deeply"),
            1 if self.columns == COLUMNS_MAX => Some("too many columns"),
            1 => None,
            _ => Some("values of several types"),
        };
        if let Some(reason) = problem {
            self.left_out.push(LeftOut { path: path.to_owned(), reason });
            return None;
        }
        if let Some(members) = &seen.object {
            let fields = self.fields(members, path, depth + 1);
            if fields.is_empty() {
                self.left_out.push(LeftOut { path: path.to_owned(), reason: "an object without columns" });
                return None;
            }
            return Some(DataType::Struct(fields));
        }
        if let Some(element) = &seen.array {
            let element = Box::new(self.data_type(element, &elements(path), depth + 1)?);
            return Some(DataType::Array { element, contains_null: true });
        }
        self.columns += 1;
        Some(match seen {
            Seen { boolean: true, .. } => DataType::Boolean,
            _ if texts && !seen.not_timestamp => DataType::Timestamp,
            Seen { string: true, .. } => DataType::String,
            Seen { float: true, .. } => DataType::Double,
            _ => DataType::Long,
        })
    }
}

/// Everything a field ever was.
#[derive(Default)]
struct Seen {
    boolean: bool,
    integer: bool,
    /// An integer beyond BIGINT.
    too_large: bool,
    float: bool,
    string: bool,
    /// Some string was no timestamp.
    not_timestamp: bool,
    object: Option<Members>,
    array: Option<Box<Seen>>,
}

/// The members of an object in order of first appearance.
#[derive(Default)]
struct Members {
    fields: Vec<(String, Seen)>,
    index: HashMap<String, usize>,
}

impl Seen {
    fn number(&self) -> bool {
        self.integer || self.float || self.too_large
    }

    fn merge(&mut self, other: Seen) {
        self.boolean |= other.boolean;
        self.integer |= other.integer;
        self.too_large |= other.too_large;
        self.float |= other.float;
        self.string |= other.string;
        self.not_timestamp |= other.not_timestamp;
        if let Some(members) = other.object {
            self.object.get_or_insert_default().merge(members);
        }
        if let Some(element) = other.array {
            self.array.get_or_insert_default().merge(*element);
        }
    }
}

impl Members {
    fn merge(&mut self, other: Members) {
        for (name, seen) in other.fields {
            self.add(name, seen);
        }
    }

    fn add(&mut self, name: String, seen: Seen) {
        match self.index.get(&name) {
            Some(index) => self.fields[*index].1.merge(seen),
            None => {
                self.index.insert(name.clone(), self.fields.len());
                self.fields.push((name, seen));
            }
        }
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(SeenVisitor)
    }
}

struct SeenVisitor;

impl<'de> Visitor<'de> for SeenVisitor {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen { boolean: true, ..Seen::default() })
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen { integer: true, ..Seen::default() })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Seen, E> {
        let too_large = i64::try_from(value).is_err();
        Ok(Seen { integer: true, too_large, ..Seen::default() })
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen { float: true, ..Seen::default() })
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Seen, E> {
        let not_timestamp = text::timestamp(value).is_err();
        Ok(Seen { string: true, not_timestamp, ..Seen::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Seen, A::Error> {
        let mut element = Seen::default();
        while let Some(value) = values.next_element::<Seen>()? {
            element.merge(value);
        }
        Ok(Seen { array: Some(Box::new(element)), ..Seen::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Seen, A::Error> {
        let mut members = Members::default();
        while let Some((name, seen)) = entries.next_entry::<String, Seen>()? {
            members.add(name, seen);
        }
        Ok(Seen { object: Some(members), ..Seen::default() })
    }
}

#[cfg(test)]
mod tests;
