//! One JSON object fills a row, in one pass, without a tree of values.
//!
//! It owns which JSON values a column takes. It does not own the grammar
//! (`serde_json`: strict), the buffers (`columns`), nor what happens to a
//! record that it refuses.
//!
//! | column | takes | refuses |
//! |---|---|---|
//! | TINYINT … BIGINT | numbers without fraction and exponent, in range (and `-0`) | `1.5`, `1.0`, `1e3`, `"1"` |
//! | FLOAT, DOUBLE | any number: the nearest value of the type, rounded once | `1e999`, `"1"`, `"NaN"` |
//! | DECIMAL(p, s) | a number, or a string that holds one, exactly | digits that do not fit `p` or `s` |
//! | BOOLEAN | `true`, `false` | `0`, `"true"` |
//! | STRING | strings | everything else: text is never made up |
//! | BINARY | base64 strings, padded or not | other strings |
//! | TIMESTAMP | RFC 3339 strings of the years 0001 to 9999; no offset is UTC; finer than a microsecond is cut off | numbers, dates |
//! | … with a unit declared | the same, and numbers that count the unit since 1970 | strings of digits |
//! | DATE | `"YYYY-MM-DD"` | timestamps |
//! | STRUCT, MAP with STRING keys | objects | maps with other keys |
//! | ARRAY | arrays | |
//!
//! A missing field and `null` are the same: null, or a bad record when the
//! column is NOT NULL. Names match exactly, case included. Of equal keys the
//! last wins, in maps too, but every value must fit. A member that the schema
//! does not know is rescued, ignored or refused ([`OnNewField`]); its value
//! may be any JSON. Columns that hold facts about the record, and `_rescued`,
//! are never filled from a field of that name: to the payload they are unknown.
//!
//! The time for a record grows with its length alone, whatever is in it, and
//! so does its memory: what short text could multiply is counted and bounded
//! (`record`).

mod plan;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use self::plan::{FieldPlan, Plan, StructPlan};
use self::record::{Run, State, Step};
use super::bad::{BadReason, BadRecord, excerpt, invalid_utf8};
use super::columns::{Column, Data, Slices};
use super::text::{self, TextError};
use crate::config::{Decoding, OnNewField, RESCUED_COLUMN};
use crate::schema::{DataType, Field};

/// Fills the columns of a row from a JSON object.
pub(super) struct JsonDecoder {
    root: StructPlan,
    rescued: Option<RescuedColumn>,
    state: State,
}

struct RescuedColumn {
    column: usize,
    nullable: bool,
}

impl JsonDecoder {
    /// `columns` are all that the payload fills. A STRING column `_rescued`
    /// takes unknown members. Without it, [`OnNewField::Rescue`] has nowhere to
    /// put them and ignores them.
    pub(super) fn new<'a>(
        columns: impl Iterator<Item = (usize, &'a Field)>,
        decoding: &Decoding,
    ) -> JsonDecoder {
        let is_rescued = |(_, field): &(usize, &Field)| {
            field.name == RESCUED_COLUMN && field.data_type == DataType::String
        };
        let (rescued, ordinary): (Vec<_>, Vec<_>) = columns.partition(is_rescued);
        let rescued =
            rescued.first().map(|&(column, field)| RescuedColumn { column, nullable: field.nullable });
        let on_new_field = match decoding.on_new_field {
            OnNewField::Rescue if rescued.is_none() => OnNewField::Ignore,
            other => other,
        };
        JsonDecoder {
            root: StructPlan::new(ordinary.into_iter(), "", &decoding.timestamps),
            rescued,
            state: State::new(on_new_field, decoding),
        }
    }

    /// Appends a value to each of its columns; after an error some may hold one more than others.
    pub(super) fn fill(
        &mut self,
        children: &mut [Column],
        row: usize,
        payload: &[u8],
    ) -> Result<(), BadRecord> {
        self.state.clear();
        let text = std::str::from_utf8(payload).map_err(invalid_utf8)?;
        let mut input = serde_json::Deserializer::from_str(text);
        let mut run = Run { root: &self.root, state: &mut self.state };
        let record = Record { children, row, run: &mut run };
        record.deserialize(&mut input).and_then(|()| input.end()).map_err(|error| run.bad_record(&error))?;
        match &self.rescued {
            Some(rescued) => rescued.fill(&mut children[rescued.column], &mut self.state),
            None => Ok(()),
        }
    }
}

impl RescuedColumn {
    fn fill(&self, column: &mut Column, state: &mut State) -> Result<(), BadRecord> {
        match &mut column.data {
            Data::String(slices) if !state.rescued.is_empty() => {
                slices.push_with(|bytes| state.rescued.write(bytes));
            }
            _ if self.nullable => column.push_null(),
            _ => {
                let detail = format!("`{RESCUED_COLUMN}`: no value, and the column is NOT NULL");
                return Err(BadRecord { reason: BadReason::Missing, detail });
            }
        }
        Ok(())
    }
}

/// The whole record.
struct Record<'a, 'r> {
    children: &'a mut [Column],
    row: usize,
    run: &'a mut Run<'r>,
}

impl<'de> DeserializeSeed<'de> for Record<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Record<'_, '_> {
    fn not_object<E: de::Error>(self, found: &str) -> Result<(), E> {
        Err(self.run.state.fail(BadReason::NotObject, format!("expected an object, found {found}")))
    }
}

impl<'de> Visitor<'de> for Record<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        let root = self.run.root;
        fill_struct(root, self.children, self.row, self.run, members)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.not_object("an array")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.not_object("a boolean")
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.not_object("a number")
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.not_object("a number")
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.not_object("a number")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.not_object("a string")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.not_object("null")
    }
}

/// Reads an object's members into a row of child columns.
fn fill_struct<'de, A: MapAccess<'de>>(
    plan: &StructPlan,
    children: &mut [Column],
    row: usize,
    run: &mut Run<'_>,
    mut members: A,
) -> Result<(), A::Error> {
    let mut filled = 0;
    let mut guess = 0;
    let origins = run.state.origins.len();
    while let Some(found) = members.next_key_seed(KeySeed { plan, guess, unknown: &mut run.state.unknown })? {
        let Some(index) = found else {
            run.unknown(&mut members)?;
            continue;
        };
        let field = &plan.fields[index];
        let column = &mut children[field.column];
        run.state.path.push(Step::Field(index));
        if column.len() == row {
            filled += 1;
        } else {
            column.truncate(row);
            run.state.forget_origins(origins, |at| at == index);
        }
        let mark = run.state.rescued.mark();
        members.next_value_seed(Cell { column, field, run })?;
        run.state.note_origin(index, mark);
        run.state.path.pop();
        guess = index + 1;
    }
    run.state.origins.truncate(origins);
    if filled < plan.fields.len() {
        fill_missing(plan, children, row, run)?;
    }
    Ok(())
}

#[cold]
fn fill_missing<E: de::Error>(
    plan: &StructPlan,
    children: &mut [Column],
    row: usize,
    run: &mut Run<'_>,
) -> Result<(), E> {
    for (index, field) in plan.fields.iter().enumerate() {
        let column = &mut children[field.column];
        if column.len() > row {
            continue;
        }
        if !field.nullable {
            run.state.path.push(Step::Field(index));
            return Err(run
                .state
                .fail(BadReason::Missing, "no value, and the column is NOT NULL".to_owned()));
        }
        column.push_null();
    }
    Ok(())
}

/// A member's name: the index of its field, or `None` with the name in `unknown`.
struct KeySeed<'a> {
    plan: &'a StructPlan,
    guess: usize,
    unknown: &'a mut String,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Option<usize>, E> {
        let found = self.plan.find(key, self.guess);
        if found.is_none() {
            self.unknown.clear();
            self.unknown.push_str(key);
        }
        Ok(found)
    }
}

/// One value and the column that it is appended to.
struct Cell<'a, 'r> {
    column: &'a mut Column,
    field: &'a FieldPlan,
    run: &'a mut Run<'r>,
}

impl<'de> DeserializeSeed<'de> for Cell<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.field.plan {
            Plan::Float | Plan::Decimal { .. } | Plan::Epoch(_) => {
                let text: &RawValue = de::Deserialize::deserialize(deserializer)?;
                self.text_of_value(text.get())
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Cell<'_, '_> {
    fn null<E: de::Error>(self) -> Result<(), E> {
        if self.field.nullable {
            if let Plan::Struct(members) = &self.field.plan {
                self.run.state.charge(members.width)?;
            }
            self.column.push_null();
            return Ok(());
        }
        Err(self.run.state.fail(BadReason::Missing, "null, and null is not allowed here".to_owned()))
    }

    fn mismatch<E: de::Error>(self, found: impl fmt::Display) -> Result<(), E> {
        let detail = format!("expected {}, found {found}", self.field.expected);
        Err(self.run.state.fail(BadReason::Type, detail))
    }

    fn misfit<E: de::Error>(self, found: impl fmt::Display) -> Result<(), E> {
        let detail = format!("{found} does not fit {}", self.field.expected);
        Err(self.run.state.fail(BadReason::Range, detail))
    }

    fn text_error<E: de::Error>(self, error: TextError, found: &str) -> Result<(), E> {
        match error {
            TextError::Form => self.mismatch(format_args!("\"{}\"", excerpt(found))),
            TextError::Range => self.misfit(excerpt(found)),
        }
    }

    /// From the text of any JSON value, so that no digit passes through a float of another size.
    fn text_of_value<E: de::Error>(self, json: &str) -> Result<(), E> {
        match json.as_bytes().first() {
            Some(b'n') => self.null(),
            Some(b'"') if json.contains('\\') => match serde_json::from_str::<String>(json) {
                Ok(text) => self.string(&text),
                Err(error) => Err(self.run.state.fail(BadReason::Syntax, error.to_string())),
            },
            Some(b'"') => self.string(&json[1..json.len() - 1]),
            Some(b'-' | b'0'..=b'9') => self.number(json),
            _ => self.mismatch(excerpt(json)),
        }
    }

    fn number<E: de::Error>(self, number: &str) -> Result<(), E> {
        let outcome = match (&self.field.plan, &mut self.column.data) {
            (Plan::Float, Data::Float(values)) => match number.parse::<f32>() {
                Ok(value) if value.is_finite() => {
                    values.push(value);
                    Ok(())
                }
                _ => Err(TextError::Range),
            },
            (Plan::Epoch(unit), Data::Timestamp(values)) => {
                text::epoch(number, *unit).map(|micros| values.push(micros))
            }
            (Plan::Decimal { precision, scale }, Data::Decimal(values)) => {
                text::decimal(number, *precision, *scale).map(|value| values.push(value))
            }
            _ => unreachable!("plan and column agree"),
        };
        outcome.or_else(|error| self.text_error(error, number))
    }

    fn string<E: de::Error>(self, text: &str) -> Result<(), E> {
        let outcome = match (&self.field.plan, &mut self.column.data) {
            (Plan::Decimal { precision, scale }, Data::Decimal(values)) => {
                text::decimal(text, *precision, *scale).map(|value| values.push(value))
            }
            _ => return self.visit_str(text),
        };
        outcome.or_else(|error| self.text_error(error, text))
    }
}

impl<'de> Visitor<'de> for Cell<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field.expected)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.null()
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        match &mut self.column.data {
            Data::Boolean(values) => values.push(value),
            _ => return self.mismatch("a boolean"),
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        let fits = match &mut self.column.data {
            Data::Byte(values) => push_narrow(values, value),
            Data::Short(values) => push_narrow(values, value),
            Data::Integer(values) => push_narrow(values, value),
            Data::Long(values) => push_narrow(values, value),
            Data::Double(values) => {
                values.push(value as f64);
                true
            }
            _ => return self.mismatch("a number"),
        };
        if fits { Ok(()) } else { self.misfit(value) }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        if let Ok(value) = i64::try_from(value) {
            return self.visit_i64(value);
        }
        match &mut self.column.data {
            Data::Double(values) => values.push(value as f64),
            Data::Byte(_) | Data::Short(_) | Data::Integer(_) | Data::Long(_) => return self.misfit(value),
            _ => return self.mismatch("a number"),
        }
        Ok(())
    }

    /// A number with a fraction or an exponent, or too long for 64 bits, or `-0`.
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        match &mut self.column.data {
            Data::Double(values) => values.push(value),
            Data::Byte(_) | Data::Short(_) | Data::Integer(_) | Data::Long(_) => {
                let minus_zero = value == 0.0 && value.is_sign_negative();
                return if minus_zero { self.visit_i64(0) } else { self.misfit(format_args!("{value:?}")) };
            }
            _ => return self.mismatch("a number"),
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        let outcome = match &mut self.column.data {
            Data::String(slices) => {
                slices.push(value.as_bytes());
                Ok(())
            }
            Data::Timestamp(values) => text::timestamp(value).map(|micros| values.push(micros)),
            Data::Date(values) => text::date(value).map(|days| values.push(days)),
            Data::Binary(slices) => {
                let mut outcome = Ok(());
                slices.push_with(|bytes| outcome = text::base64(value, bytes));
                outcome
            }
            _ => return self.mismatch(format_args!("the string \"{}\"", excerpt(value))),
        };
        outcome.or_else(|error| self.text_error(error, value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let (Plan::Array(plan), Data::Array { offsets, element }) = (&self.field.plan, &mut self.column.data)
        else {
            return self.mismatch("an array");
        };
        let run = self.run;
        run.state.enter()?;
        run.state.path.push(Step::Index(0));
        let here = run.state.path.len() - 1;
        let mut index = 0;
        while values.next_element_seed(Cell { column: element, field: plan, run: &mut *run })?.is_some() {
            index += 1;
            run.state.path[here] = Step::Index(index);
        }
        run.state.path.pop();
        offsets.push(element.len());
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        match (&self.field.plan, &mut self.column.data) {
            (Plan::Struct(plan), Data::Struct { rows, children }) => {
                self.run.state.enter()?;
                self.run.state.charge(plan.width)?;
                fill_struct(plan, children, *rows, self.run, members)?;
                *rows += 1;
            }
            (Plan::Map(plan), Data::Map { offsets, key, value }) => {
                self.run.state.enter()?;
                fill_map(plan, key, value, offsets.end(), self.run, &mut members)?;
                offsets.push(key.len());
            }
            _ => return self.mismatch("an object"),
        }
        Ok(())
    }
}

/// Pushes a value that may be out of the narrower type's range.
fn push_narrow<T: TryFrom<i64>>(values: &mut Vec<T>, value: i64) -> bool {
    T::try_from(value).is_ok_and(|value| {
        values.push(value);
        true
    })
}

// --------------------------------------------------------------------- maps

fn fill_map<'de, A: MapAccess<'de>>(
    plan: &FieldPlan,
    key: &mut Column,
    value: &mut Column,
    start: usize,
    run: &mut Run<'_>,
    members: &mut A,
) -> Result<(), A::Error> {
    let (keys, origins) = (run.state.keys.len(), run.state.origins.len());
    run.state.path.push(Step::Key(keys));
    while members.next_key_seed(MapKeySeed { column: strings(key), text: &mut run.state.keys })?.is_some() {
        let mark = run.state.rescued.mark();
        members.next_value_seed(Cell { column: value, field: plan, run })?;
        run.state.note_origin(value.len() - 1, mark);
        run.state.keys.truncate(keys);
    }
    run.state.path.pop();
    if has_duplicates(key, start) {
        let kept = keep_last(key, value, start);
        run.state.forget_origins(origins, |at| kept.binary_search(&at).is_err());
    }
    run.state.origins.truncate(origins);
    Ok(())
}

fn strings(column: &mut Column) -> &mut Slices {
    match &mut column.data {
        Data::String(slices) => slices,
        _ => unreachable!("only maps with STRING keys are planned"),
    }
}

/// A map's key goes into its column, and into the path.
struct MapKeySeed<'a> {
    column: &'a mut Slices,
    text: &'a mut String,
}

impl<'de> DeserializeSeed<'de> for MapKeySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MapKeySeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        self.column.push(key.as_bytes());
        self.text.push_str(key);
        Ok(())
    }
}

/// Entries up to which every pair of keys is compared.
const PAIRWISE_MAX: usize = 16;

fn has_duplicates(key: &mut Column, start: usize) -> bool {
    let end = key.len();
    let keys = strings(key);
    if end - start > PAIRWISE_MAX {
        let mut seen = std::collections::HashSet::with_capacity(end - start);
        return (start..end).any(|at| !seen.insert(keys.get(at)));
    }
    (start..end).any(|at| (start..at).any(|before| keys.get(before) == keys.get(at)))
}

/// Of entries with one key keeps the last, at its place, and says where those were. Rare: the entries are
/// copied out and back.
#[cold]
fn keep_last(key: &mut Column, value: &mut Column, start: usize) -> Vec<usize> {
    let end = key.len();
    let (mut kept_keys, mut kept_values) = (key.empty_like(), value.empty_like());
    let keys = strings(key);
    let mut seen = std::collections::HashSet::new();
    let mut keep: Vec<usize> = (start..end).rev().filter(|at| seen.insert(keys.get(*at))).collect();
    keep.reverse();
    for at in &keep {
        kept_keys.push_from(key, *at);
        kept_values.push_from(value, *at);
    }
    key.truncate(start);
    value.truncate(start);
    for at in 0..keep.len() {
        key.push_from(&kept_keys, at);
        value.push_from(&kept_values, at);
    }
    keep
}
