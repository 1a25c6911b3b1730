//! A schema from samples.
//!
//! It owns the guess: BIGINT, DOUBLE, DECIMAL(38, 0), BOOLEAN, STRING,
//! TIMESTAMP, and STRUCT and ARRAY of these, each column nullable. A field is
//! left out when no type takes all its samples, when it was never anything
//! but null or empty, or when its name cannot be a column: it is rescued as
//! JSON text then, and nothing is lost. It does not know what else the table
//! holds.
//!
//! Samples are read as the decoder reads records (`json::survey`), so that
//! what a type takes is one rule:
//!
//! | numbers | column |
//! |---|---|
//! | integers that BIGINT takes, `-0` too | BIGINT |
//! | integers beyond it, of 38 digits at most | DECIMAL(38, 0) |
//! | longer integers; a number beyond DOUBLE | none: STRING takes no numbers |
//! | some with a fraction or exponent | DOUBLE |
//! | the same, and integers that a DOUBLE would round | none |

mod hints;
mod seen;

use std::collections::BTreeMap;
use std::fmt;

pub use self::hints::Hint;
use self::seen::{Members, Numbers, Seen};
use super::bad::excerpt;
use super::columns::Columns;
use super::decoder::Decoder;
use super::facts::RecordFacts;
use super::json::survey;
use super::text::DECIMAL_PRECISION_MAX;
use crate::config::{Decoding, EpochUnit, Format, OnNewField, is_reserved};
use crate::ids::Offset;
use crate::record::{Padded, Record};
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
    /// Why the first of them was none.
    pub first_skipped: Option<String>,
    pub left_out: Vec<LeftOut>,
    /// What a person should look at.
    pub hints: Vec<Hint>,
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InferError {
    NoSamples,
    /// None of so many samples is a JSON object.
    NoObjects {
        samples: usize,
        /// Why the first of them is none.
        first: String,
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
            InferError::NoObjects { samples, first } => {
                write!(f, "none of {samples} records is a JSON object; the first: {first}")
            }
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
    decoding: &Decoding,
) -> Result<Inferred, InferError> {
    let mut all = Seen::default();
    let (mut used, mut skipped, mut first_skipped) = (0, 0, None);
    for sample in samples {
        let mut seen = Seen::default();
        if survey(sample, decoding, &mut seen) {
            all.merge(seen);
            used += 1;
        } else {
            skipped += 1;
            first_skipped = first_skipped.or_else(|| why_refused(sample, decoding));
        }
    }
    let root = all.object.unwrap_or_default();
    if used == 0 {
        return Err(match skipped {
            0 => InferError::NoSamples,
            samples => InferError::NoObjects { samples, first: first_skipped.unwrap_or_default() },
        });
    }
    let mut guess = Guess::new(&decoding.timestamps);
    let fields = guess.fields(&root, "", 0);
    if fields.is_empty() {
        return Err(InferError::NoColumns { samples: used });
    }
    guess.hints.extend(hints::fractions(&guess.whole));
    Ok(Inferred {
        schema: Schema::of(fields),
        samples_used: used,
        samples_skipped: skipped,
        first_skipped,
        left_out: guess.left_out,
        hints: guess.hints,
    })
}

/// What the decoder says of a sample that is none.
fn why_refused(sample: &[u8], decoding: &Decoding) -> Option<String> {
    let nothing = Schema::default();
    let facts = RecordFacts { topic: "", partition: 0, record: Record::bare(Offset(0)) };
    let decoding = Decoding { format: Format::Json, on_new_field: OnNewField::Ignore, ..decoding.clone() };
    let mut room = Vec::new();
    let outcome = Decoder::new(&nothing, &decoding).append(
        &mut Columns::new(&nothing),
        Padded::copied(sample, &mut room),
        &facts,
    );
    outcome.err().map(|bad| bad.detail)
}

/// Turns what was seen into types, and notes what has none.
struct Guess<'a> {
    left_out: Vec<LeftOut>,
    hints: Vec<Hint>,
    /// Columns of whole numbers without a hint of their own.
    whole: Vec<String>,
    columns: usize,
    timestamps: &'a BTreeMap<String, EpochUnit>,
}

impl<'a> Guess<'a> {
    fn new(timestamps: &'a BTreeMap<String, EpochUnit>) -> Guess<'a> {
        Guess { left_out: Vec::new(), hints: Vec::new(), whole: Vec::new(), columns: 0, timestamps }
    }

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
        let not_timestamp = seen.texts.as_ref().is_some_and(|texts| texts.not_timestamp);
        let declared = self.timestamps.contains_key(path) && !seen.boolean && !not_timestamp;
        let numbers = seen.numbers.as_ref().filter(|_| !declared);
        let texts = seen.texts.is_some() || (seen.numbers.is_some() && declared);
        let kinds = [seen.boolean, numbers.is_some(), texts, seen.object.is_some(), seen.array.is_some()];
        let problem = match kinds.iter().filter(|kind| **kind).count() {
            0 if path.ends_with("[]") => Some("always empty"),
            0 => Some("always null"),
            1 if depth == DEPTH_MAX => Some("nested too deeply"),
            1 if self.columns == COLUMNS_MAX => Some("too many columns"),
            1 => numbers.and_then(of_no_column),
            _ => Some("values of several types"),
        };
        if let Some(reason) = problem {
            self.left_out.push(LeftOut { path: path.to_owned(), reason });
            return None;
        }
        if let Some(members) = &seen.object {
            return self.structure(members, path, depth);
        }
        if let Some(element) = &seen.array {
            let element = Box::new(self.data_type(element, &elements(path), depth + 1)?);
            return Some(DataType::Array { element, contains_null: true });
        }
        self.columns += 1;
        let chosen = match numbers {
            Some(numbers) => number_type(numbers),
            None if seen.boolean => DataType::Boolean,
            None if not_timestamp => DataType::String,
            None => DataType::Timestamp,
        };
        match hints::leaf(path, seen, &chosen) {
            Some(hint) => self.hints.push(hint),
            None if chosen == DataType::Long => self.whole.push(path.to_owned()),
            None => {}
        }
        Some(chosen)
    }

    fn structure(&mut self, members: &Members, path: &str, depth: usize) -> Option<DataType> {
        let (hints, whole) = (self.hints.len(), self.whole.len());
        let fields = self.fields(members, path, depth + 1);
        if fields.is_empty() {
            self.left_out.push(LeftOut { path: path.to_owned(), reason: "an object without columns" });
            return None;
        }
        if hints::is_like_a_dictionary(members)
            && let Some(value) = self.one_type(members, path, depth)
        {
            // One hint instead of one for each key.
            self.hints.truncate(hints);
            self.whole.truncate(whole);
            self.hints.push(hints::dictionary(path, members, &value));
        }
        Some(DataType::Struct(fields))
    }

    /// The type that takes the values of all members.
    fn one_type(&self, members: &Members, path: &str, depth: usize) -> Option<DataType> {
        let mut all = Seen::default();
        members.fields.iter().for_each(|(_, seen)| all.merge(seen.clone()));
        Guess::new(self.timestamps).data_type(&all, &elements(path), depth + 1)
    }
}

/// Why no type takes all of these numbers as they are.
fn of_no_column(numbers: &Numbers) -> Option<&'static str> {
    match numbers {
        Numbers { beyond_double: true, fractions: true, .. } => Some("numbers beyond DOUBLE"),
        Numbers { huge: true, .. } => Some("integers beyond DECIMAL(38, 0)"),
        Numbers { fractions: true, rounded: true, .. } => {
            Some("integers that a DOUBLE would round, beside fractions")
        }
        _ => None,
    }
}

fn number_type(numbers: &Numbers) -> DataType {
    match numbers {
        Numbers { fractions: true, .. } => DataType::Double,
        Numbers { large: true, .. } => DataType::Decimal { precision: DECIMAL_PRECISION_MAX, scale: 0 },
        _ => DataType::Long,
    }
}

#[cfg(test)]
mod tests;
