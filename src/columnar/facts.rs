//! Columns of facts about the record: where it was, when, under which key.
//!
//! It owns how a fact becomes a value. Which columns there are, with their
//! names and types, is [`MetadataColumn`].

use std::cell::Cell;

use super::bad::{BadReason, BadRecord, invalid_utf8};
use super::columns::{Column, Data, Slices};
use super::text;
use crate::config::MetadataColumn;
use crate::record::{Headers, Record};
use crate::schema::Field;

/// What is known about a record besides its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordFacts<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub record: Record<'a>,
}

/// A column that no field of the payload fills.
pub(super) struct FactColumn {
    pub(super) column: usize,
    nullable: bool,
    fact: MetadataColumn,
    /// Timestamps that no TIMESTAMP can hold, since they were last asked for.
    unfit: Cell<u64>,
}

impl FactColumn {
    pub(super) fn of((column, field): (usize, &Field)) -> Option<FactColumn> {
        MetadataColumn::of(field).map(|fact| FactColumn {
            column,
            nullable: field.nullable,
            fact,
            unfit: Cell::new(0),
        })
    }

    pub(super) fn is_headers(&self) -> bool {
        self.fact == MetadataColumn::Headers
    }

    /// How many timestamps no TIMESTAMP could hold since this was last asked.
    pub(super) fn take_unfit(&self) -> u64 {
        self.unfit.take()
    }

    /// A timestamp that no TIMESTAMP can hold counts as none.
    pub(super) fn fill(&self, column: &mut Column, facts: &RecordFacts<'_>) -> Result<(), BadRecord> {
        let record = &facts.record;
        match (self.fact, column.open()) {
            (MetadataColumn::Partition, Data::Integer(values)) => values.push(facts.partition),
            (MetadataColumn::Partition, Data::Long(values)) => values.push(facts.partition.into()),
            (MetadataColumn::Offset, Data::Long(values)) => values.push(record.offset.0),
            (MetadataColumn::Timestamp, Data::Timestamp(values)) => {
                match record.timestamp_ms.and_then(text::timestamp_of_millis) {
                    Some(micros) => values.push(micros),
                    None => return self.no_timestamp(column, record.timestamp_ms),
                }
            }
            (MetadataColumn::TimestampType, Data::String(slices)) => {
                match record.log_append_time.filter(|_| record.timestamp_ms.is_some()) {
                    Some(true) => slices.push(b"LogAppendTime"),
                    Some(false) => slices.push(b"CreateTime"),
                    None => return self.none(column),
                }
            }
            (MetadataColumn::Topic, Data::String(slices)) => slices.push(facts.topic.as_bytes()),
            (MetadataColumn::Key, Data::Binary(slices)) => match record.key {
                Some(key) => slices.push(key),
                None => return self.none(column),
            },
            (MetadataColumn::Key, Data::String(slices)) => match record.key {
                Some(key) => self.push_text(slices, key)?,
                None => return self.none(column),
            },
            (MetadataColumn::Headers, Data::Array { offsets, element }) => {
                self.push_headers(element, record.headers)?;
                offsets.push(element.len());
            }
            _ => unreachable!("name and type were matched"),
        }
        Ok(())
    }

    #[cold]
    fn no_timestamp(&self, column: &mut Column, timestamp_ms: Option<i64>) -> Result<(), BadRecord> {
        let Some(ms) = timestamp_ms else { return self.none(column) };
        self.unfit.set(self.unfit.get() + u64::from(self.nullable));
        self.none(column).map_err(|_| {
            let name = self.fact.name();
            let detail = format!("`{name}`: {ms} ms since 1970 is outside of the years 0001 to 9999");
            BadRecord { reason: BadReason::Range, detail }
        })
    }

    fn none(&self, column: &mut Column) -> Result<(), BadRecord> {
        if self.nullable {
            column.push_null();
            return Ok(());
        }
        let detail = format!("`{}`: no value: the record has none", self.fact.name());
        Err(BadRecord { reason: BadReason::Missing, detail })
    }

    fn push_text(&self, slices: &mut Slices, bytes: &[u8]) -> Result<(), BadRecord> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let bad = invalid_utf8(error);
            BadRecord { detail: format!("`{}`: {}", self.fact.name(), bad.detail), ..bad }
        })?;
        slices.push(text.as_bytes());
        Ok(())
    }

    fn push_headers(&self, element: &mut Column, headers: Headers<'_>) -> Result<(), BadRecord> {
        let Data::Struct { rows, children } = element.open() else { unreachable!("a header is a struct") };
        let [name_column, value_column] = children.as_mut_slice() else { unreachable!("of two members") };
        for (name, value) in headers {
            match name_column.open() {
                Data::String(slices) => self.push_text(slices, name)?,
                _ => unreachable!("a header's name is text"),
            }
            match (value_column.open(), value) {
                (_, None) => value_column.push_null(),
                (Data::Binary(slices), Some(value)) => slices.push(value),
                (Data::String(slices), Some(value)) => self.push_text(slices, value)?,
                _ => unreachable!("a header's value is bytes or text"),
            }
            *rows += 1;
        }
        Ok(())
    }
}
