//! Which format reads a table's records: the one list of them.

use super::json::JsonDecoder;
use super::raw::RawDecoder;
use super::reader::{RecordFormat, RecordReader};
use crate::config::{Decoding, Format, MetadataColumn};
use crate::schema::{Field, Schema};

impl RecordFormat for Format {
    fn reader(&self, table: &Schema, decoding: &Decoding) -> Box<dyn RecordReader> {
        match self {
            Format::Json => Box::new(JsonDecoder::new(payload_columns(table), decoding)),
            Format::Raw => Box::new(RawDecoder::new(payload_columns(table))),
        }
    }
}

/// The columns that a payload fills, with their places in the table.
pub fn payload_columns(table: &Schema) -> impl Iterator<Item = (usize, &Field)> {
    table.fields.iter().enumerate().filter(|(_, field)| MetadataColumn::of(field).is_none())
}
