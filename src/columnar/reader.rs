//! The seam between records and rows: behind it each format is a file of its own.
//!
//! It owns what a reader may do with a record, and that a record's rows are
//! whole or not there. What a record's bytes mean is the format's.
//!
//! | a reader says | then |
//! |---|---|
//! | rows, as many as it opened | they stand in the columns, the record's facts in each |
//! | skipped, or a tombstone | no row; the offset is settled and counted |
//! | needs a schema | no row; the partition is read on at this record once the schema is known |
//! | a bad record | no row; the table's policy decides |

use std::fmt;

use super::bad::BadRecord;
use super::columns::{Column, Columns};
use super::facts::{FactColumn, RecordFacts};
use crate::record::Padded;

/// Turns the records of one shard into rows.
pub trait RecordReader: Send {
    /// Reads one record: its value, `None` for a tombstone, and what else is known of it. What it has appended
    /// is taken back unless it answers with rows.
    fn read(
        &mut self,
        value: Option<Padded<'_>>,
        record: &RecordFacts<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<ReadRecord, BadRecord>;

    /// Records without a value are read, too.
    fn reads_tombstones(&self) -> bool {
        false
    }

    /// Records come with their headers: the source fetches them for whoever asks only.
    fn wants_headers(&self) -> bool {
        false
    }
}

/// What a record has become.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum ReadRecord {
    /// So many rows.
    Rows(u64),
    /// Nothing, by the format's own rules.
    Skipped,
    /// Nothing: it has no value.
    Tombstone,
    /// It cannot be read before this schema is known.
    Needs(SchemaName),
}

/// What a registry calls a schema.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SchemaName(pub String);

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the rows of one record go.
pub struct Rows<'a> {
    columns: &'a mut Columns,
    metadata: &'a [FactColumn],
    record: &'a RecordFacts<'a>,
    opened: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn of(
        record: &'a RecordFacts<'a>,
        columns: &'a mut Columns,
        metadata: &'a [FactColumn],
    ) -> Rows<'a> {
        Rows { columns, metadata, record, opened: 0 }
    }

    /// Appends a row. `fill` gets all columns of the table and the number of the row, and appends one value
    /// to each that is no metadata column.
    #[inline(always)]
    pub fn push(
        &mut self,
        fill: impl FnOnce(&mut [Column], usize) -> Result<(), BadRecord>,
    ) -> Result<(), BadRecord> {
        let (children, row) = self.columns.open_row();
        fill(children, row)?;
        self.metadata.iter().try_for_each(|column| column.fill(&mut children[column.column], self.record))?;
        self.columns.close_row();
        self.opened += 1;
        Ok(())
    }

    /// The answer of a reader that has pushed all rows of a record.
    #[inline(always)]
    pub fn all(&self) -> ReadRecord {
        match self.opened {
            0 => ReadRecord::Skipped,
            rows => ReadRecord::Rows(rows),
        }
    }
}
