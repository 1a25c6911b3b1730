//! A payload as it is becomes the column `value`.
//!
//! It owns the format `raw`. BINARY takes any bytes, STRING takes UTF-8;
//! other columns of the table are null.

use super::bad::{BadReason, BadRecord, invalid_utf8};
use super::columns::{Column, Data};
use super::facts::RecordFacts;
use super::reader::{ReadRecord, RecordReader, Rows};
use crate::config::{RAW_COLUMN, is_raw_column};
use crate::record::Padded;
use crate::schema::Field;

pub struct RawDecoder {
    /// Where the payload goes; `None` when a table has lost the column.
    value: Option<usize>,
    others: Vec<Other>,
}

struct Other {
    column: usize,
    name: Box<str>,
    nullable: bool,
}

impl RawDecoder {
    pub(super) fn new<'a>(columns: impl Iterator<Item = (usize, &'a Field)>) -> RawDecoder {
        let (mut value, mut others) = (None, Vec::new());
        for (column, field) in columns {
            if is_raw_column(field) {
                value = Some(column);
            } else {
                others.push(Other { column, name: field.name.as_str().into(), nullable: field.nullable });
            }
        }
        RawDecoder { value, others }
    }

    fn fill(&self, children: &mut [Column], payload: &[u8]) -> Result<(), BadRecord> {
        match self.value.map(|column| children[column].open()) {
            Some(Data::Binary(slices)) => slices.push(payload),
            Some(Data::String(slices)) => {
                slices.push(std::str::from_utf8(payload).map_err(invalid_utf8)?.as_bytes());
            }
            _ => return Err(missing(RAW_COLUMN, "the table has no such column of BINARY or STRING")),
        }
        for other in &self.others {
            if !other.nullable {
                return Err(missing(&other.name, "no value, and the column is NOT NULL"));
            }
            children[other.column].push_null();
        }
        Ok(())
    }
}

impl RecordReader for RawDecoder {
    #[inline]
    fn read(
        &mut self,
        value: Option<Padded<'_>>,
        _: &RecordFacts<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<ReadRecord, BadRecord> {
        let Some(payload) = value else { return Ok(ReadRecord::Tombstone) };
        rows.push(|children, _| self.fill(children, payload.bytes()))?;
        Ok(rows.all())
    }
}

fn missing(name: &str, why: &str) -> BadRecord {
    BadRecord { reason: BadReason::Missing, detail: format!("`{name}`: {why}") }
}
