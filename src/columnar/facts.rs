//! Columns of facts about the record.
//!
//! It owns how a fact becomes a value. Which columns there are, with their
//! names and types, is [`MetadataColumn`].

use super::bad::{BadReason, BadRecord};
use super::columns::{Column, Data};
use super::text;
use crate::config::MetadataColumn;
use crate::schema::Field;

/// What is known about a record besides its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordFacts {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; `None` when the record carries no timestamp.
    pub timestamp_ms: Option<i64>,
}

/// A column that no field of the payload fills.
pub(super) struct FactColumn {
    pub(super) column: usize,
    nullable: bool,
    fact: MetadataColumn,
}

impl FactColumn {
    pub(super) fn of((column, field): (usize, &Field)) -> Option<FactColumn> {
        MetadataColumn::of(field).map(|fact| FactColumn { column, nullable: field.nullable, fact })
    }

    /// A timestamp that no TIMESTAMP can hold counts as none.
    pub(super) fn fill(&self, column: &mut Column, facts: RecordFacts) -> Result<(), BadRecord> {
        match (self.fact, &mut column.data) {
            (MetadataColumn::Partition, Data::Integer(values)) => values.push(facts.partition),
            (MetadataColumn::Partition, Data::Long(values)) => values.push(facts.partition.into()),
            (MetadataColumn::Offset, Data::Long(values)) => values.push(facts.offset),
            (MetadataColumn::Timestamp, Data::Timestamp(values)) => {
                match facts.timestamp_ms.and_then(text::timestamp_of_millis) {
                    Some(micros) => values.push(micros),
                    None => return self.none(column),
                }
            }
            _ => unreachable!("name and type were matched"),
        }
        Ok(())
    }

    fn none(&self, column: &mut Column) -> Result<(), BadRecord> {
        if self.nullable {
            column.push_null();
            return Ok(());
        }
        let detail = format!("`{}`: no value: the record has none", self.fact.name());
        Err(BadRecord { reason: BadReason::Missing, detail })
    }
}
