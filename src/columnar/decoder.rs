//! One record becomes rows, or a [`BadRecord`] and no trace of it.
//!
//! It owns that rows are whole or not there, and what holds for every format:
//! the size of a payload, tombstones, the metadata columns. What the payload
//! means is the reader's.

use super::bad::{BadReason, BadRecord};
use super::columns::Columns;
use super::facts::{FactColumn, RecordFacts};
use super::reader::{ReadRecord, RecordReader, Rows};
use super::readers::{AnyReader, RecordFormat};
use crate::config::Decoding;
use crate::protocol::planted::{Bug, planted};
use crate::record::Padded;
use crate::schema::Schema;

/// Turns records into rows of one table.
pub struct Decoder {
    reader: AnyReader,
    facts: Vec<FactColumn>,
    size_max: usize,
    reads_tombstones: bool,
}

impl Decoder {
    /// A decoder for every column of a table.
    ///
    /// Columns with the name and type of a metadata column are filled from
    /// the facts, all others by the format.
    pub fn new(table: &Schema, decoding: &Decoding) -> Decoder {
        Decoder::of(&decoding.format, table, decoding)
    }

    /// The same with any format.
    pub fn of(format: &dyn RecordFormat, table: &Schema, decoding: &Decoding) -> Decoder {
        let reader = format.reader(table, decoding);
        Decoder {
            reads_tombstones: reader.reads_tombstones(),
            reader,
            facts: table.fields.iter().enumerate().filter_map(FactColumn::of).collect(),
            size_max: decoding.max_record_size,
        }
    }

    /// Reads a record with this value into rows, or leaves the columns as they were.
    ///
    /// The columns must have been made for the table's schema.
    #[inline]
    pub fn read(
        &mut self,
        columns: &mut Columns,
        value: Option<Padded<'_>>,
        record: &RecordFacts<'_>,
    ) -> Result<ReadRecord, BadRecord> {
        match value {
            None if !self.reads_tombstones => return Ok(ReadRecord::Tombstone),
            Some(payload) if payload.len() > self.size_max => {
                let detail = format!("{} bytes, and max_record_size is {}", payload.len(), self.size_max);
                return Err(BadRecord { reason: BadReason::TooLarge, detail });
            }
            _ => {}
        }
        let before = columns.rows();
        let read = self.reader.read(value, record, &mut Rows::of(record, columns, &self.facts));
        let keeps = matches!(read, Ok(ReadRecord::Needs(_))) && planted(Bug::KeepsRowsThatNeedASchema);
        if !matches!(read, Ok(ReadRecord::Rows(_))) && !keeps {
            columns.truncate(before);
        }
        read
    }

    /// Reads a payload that is to be one row, for callers that can count no other.
    ///
    /// What its format skips, makes several rows of, or cannot read without a schema is a bad record here and
    /// leaves no trace: a record that no row stands for must not pass for one.
    pub fn append(
        &mut self,
        columns: &mut Columns,
        payload: Padded<'_>,
        facts: &RecordFacts<'_>,
    ) -> Result<(), BadRecord> {
        let before = columns.rows();
        match self.read(columns, Some(payload), facts)? {
            ReadRecord::Rows(1) => Ok(()),
            other => {
                columns.truncate(before);
                Err(not_one_row(&other))
            }
        }
    }

    /// A column, or the format, needs the headers of records.
    pub fn wants_headers(&self) -> bool {
        self.reader.wants_headers() || self.facts.iter().any(FactColumn::is_headers)
    }

    /// Record timestamps outside of the years 0001 to 9999 that became null since this was last asked.
    pub fn take_unfit_timestamps(&mut self) -> u64 {
        self.facts.iter().map(FactColumn::take_unfit).sum()
    }
}

#[cold]
fn not_one_row(read: &ReadRecord) -> BadRecord {
    let detail = match read {
        ReadRecord::Rows(rows) => format!("it would be {rows} rows, and must be one"),
        ReadRecord::Skipped | ReadRecord::Tombstone => "its format makes no row of it".to_owned(),
        ReadRecord::Needs(schema) => format!("schema {schema} is not known"),
    };
    BadRecord { reason: BadReason::Missing, detail }
}

#[cfg(test)]
mod tests;
