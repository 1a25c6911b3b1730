//! One JSON object fills a row, in one pass, without a tree of values.
//!
//! It owns which JSON values a column takes. It does not own the buffers
//! (`columns`), nor what happens to a record that it refuses.
//!
//! | file | owns |
//! |---|---|
//! | `input` | the payload's bytes and the grammar of strings and numbers |
//! | `scan` | many bytes at once |
//! | `plan` | the fields of an object and the order they were last seen in |
//! | `object` | objects and arrays: members, entries, elements, what is unknown |
//! | `value` | one value into one column |
//! | `explain` | plain words for what is no JSON object |
//! | `record` | the limits and explanations of one record |
//! | `survey` | a record told value by value, for samples |
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

mod explain;
mod input;
mod object;
mod plan;
mod record;
mod scan;
mod survey;
#[cfg(test)]
mod tests;
mod value;

use self::input::{Input, Parsed, Stop};
use self::plan::StructPlan;
use self::record::{Frame, RecordState};
pub(super) use self::survey::{Observer, survey};
use super::bad::{BadReason, BadRecord};
use super::columns::{Column, Data};
use super::facts::RecordFacts;
use super::reader::{ReadRecord, RecordReader, Rows};
use crate::config::{Decoding, OnNewField, RESCUED_COLUMN};
use crate::record::Padded;
use crate::schema::{DataType, Field};

/// Fills the columns of a row from a JSON object.
pub struct JsonDecoder {
    root: StructPlan,
    rescued: Option<RescuedColumn>,
    state: RecordState,
}

struct RescuedColumn {
    column: usize,
    nullable: bool,
}

/// One record being read.
struct Parser<'p> {
    state: &'p mut RecordState,
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
            state: RecordState::new(on_new_field, decoding),
        }
    }

    /// Appends a value to each of its columns; after an error some may hold one more than others.
    #[inline(always)]
    fn fill(&mut self, children: &mut [Column], row: usize, payload: Padded<'_>) -> Result<(), BadRecord> {
        if !input::is_ascii(payload) && simdutf8::basic::from_utf8(&payload).is_err() {
            std::str::from_utf8(&payload).map_err(|error| explain::not_utf8(&payload, error))?;
        }
        self.state.clear();
        let mut parser = Parser { state: &mut self.state };
        if parser.record(Input::new(payload), &self.root, children, row).is_err() {
            return Err(self.state.bad_record(&payload));
        }
        match &self.rescued {
            Some(rescued) => rescued.fill(&mut children[rescued.column], &mut self.state),
            None => Ok(()),
        }
    }
}

impl RecordReader for JsonDecoder {
    #[inline(always)]
    fn read(
        &mut self,
        value: Option<Padded<'_>>,
        _: &RecordFacts<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<ReadRecord, BadRecord> {
        let Some(payload) = value else { return Ok(ReadRecord::Tombstone) };
        rows.push(|children, row| self.fill(children, row, payload))?;
        Ok(rows.all())
    }
}

impl RescuedColumn {
    fn fill(&self, column: &mut Column, state: &mut RecordState) -> Result<(), BadRecord> {
        let rescued = state.rescued.resolve();
        match column.open() {
            Data::String(slices) if rescued => {
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

impl Parser<'_> {
    /// The whole payload: one object, and white space around it.
    fn record(
        &mut self,
        mut input: Input<'_>,
        root: &StructPlan,
        children: &mut [Column],
        row: usize,
    ) -> Parsed<()> {
        input.skip_whitespace();
        if input.peek() != b'{' {
            return Err(self.not_an_object(&mut input));
        }
        let end = self.members(input.payload(), input.at(), root, children, row, &Frame::root(root))?;
        input.go_to(end);
        input.skip_whitespace();
        if input.is_at_end() { Ok(()) } else { Err(Stop) }
    }

    #[cold]
    fn not_an_object(&mut self, input: &mut Input<'_>) -> Stop {
        match self.found(input) {
            Ok(found) => {
                let detail = explain::no_object(&input.payload(), found);
                self.state.refuse(BadReason::NotObject, detail)
            }
            Err(stop) => stop,
        }
    }
}
