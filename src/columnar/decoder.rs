//! One record becomes one row, or a [`BadRecord`] and no trace of it.
//!
//! It owns that a row is whole or not there, and which part of the record
//! fills which column: the payload through the table's format, the facts
//! through the metadata columns. The formats are `json` and `raw`.

use super::bad::{BadReason, BadRecord};
use super::columns::{Column, Columns};
use super::facts::{FactColumn, RecordFacts};
use super::json::JsonDecoder;
use super::raw::RawDecoder;
use crate::config::{Decoding, Format, MetadataColumn};
use crate::record::Padded;
use crate::schema::Schema;

/// Turns records into rows of one table.
pub struct Decoder {
    payload: Payload,
    facts: Vec<FactColumn>,
    size_max: usize,
}

enum Payload {
    Json(Box<JsonDecoder>),
    Raw(RawDecoder),
}

impl Decoder {
    /// A decoder for every column of a table.
    ///
    /// Columns with the name and type of a [`MetadataColumn`] are filled from
    /// the facts, all others by the format.
    pub fn new(table: &Schema, decoding: &Decoding) -> Decoder {
        let columns = || table.fields.iter().enumerate();
        let others = columns().filter(|(_, field)| MetadataColumn::of(field).is_none());
        let payload = match decoding.format {
            Format::Json => Payload::Json(Box::new(JsonDecoder::new(others, decoding))),
            Format::Raw => Payload::Raw(RawDecoder::new(others)),
        };
        Decoder {
            payload,
            facts: columns().filter_map(FactColumn::of).collect(),
            size_max: decoding.max_record_size,
        }
    }

    /// Appends the record as one row, or leaves the columns as they were.
    ///
    /// The columns must have been made for the table's schema.
    pub fn append(
        &mut self,
        columns: &mut Columns,
        payload: Padded<'_>,
        facts: &RecordFacts<'_>,
    ) -> Result<(), BadRecord> {
        let rows = columns.rows();
        let (children, row) = columns.open_row();
        let outcome = self.fill(children, row, payload, facts);
        match outcome {
            Ok(()) => columns.close_row(),
            Err(_) => columns.truncate(rows),
        }
        outcome
    }

    /// Record timestamps outside of the years 0001 to 9999 that became null since this was last asked.
    pub fn take_unfit_timestamps(&mut self) -> u64 {
        self.facts.iter().map(FactColumn::take_unfit).sum()
    }

    fn fill(
        &mut self,
        children: &mut [Column],
        row: usize,
        payload: Padded<'_>,
        facts: &RecordFacts<'_>,
    ) -> Result<(), BadRecord> {
        if payload.len() > self.size_max {
            let detail = format!("{} bytes, and max_record_size is {}", payload.len(), self.size_max);
            return Err(BadRecord { reason: BadReason::TooLarge, detail });
        }
        match &mut self.payload {
            Payload::Json(json) => json.fill(children, row, payload)?,
            Payload::Raw(raw) => raw.fill(children, payload.bytes())?,
        }
        self.facts.iter().try_for_each(|column| column.fill(&mut children[column.column], facts))
    }
}

#[cfg(test)]
mod tests;
