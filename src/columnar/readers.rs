//! Which reader each format has: the list of them. What a person must know of a format is `config::format`.

use futures::future::BoxFuture;

use super::bad::BadRecord;
use super::facts::RecordFacts;
use super::json::JsonDecoder;
use super::raw::RawDecoder;
use super::reader::{ReadRecord, RecordReader, Rows, SchemaName};
use crate::config::{Decoding, Format, MetadataColumn};
use crate::error::{Error, ErrorKind};
use crate::record::Padded;
use crate::schema::{Field, Schema};

/// A format of records, for one table.
pub trait RecordFormat: Send + Sync {
    /// A reader that fills the columns of a table which are no metadata columns.
    fn reader(&self, table: &Schema, decoding: &Decoding) -> AnyReader;

    /// Makes a schema known to the readers of this format. It waits for a registry that does not answer, and is
    /// asked once for each partition that waits.
    ///
    /// # Errors
    /// The schema will never be known: the partition stops.
    fn fetch(&self, schema: SchemaName) -> BoxFuture<'static, Result<(), Error>> {
        let message = format!("nobody knows where schema {schema} is to be had");
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::Internal, message))))
    }
}

/// The reader of some format. Those of our own stand here by name: the compiler sees through them into the
/// loop over a batch's records, which for JSON is some fifty instructions a row.
pub enum AnyReader {
    Json(Box<JsonDecoder>),
    Raw(RawDecoder),
    Other(Box<dyn RecordReader>),
}

impl RecordFormat for Format {
    fn reader(&self, table: &Schema, decoding: &Decoding) -> AnyReader {
        match self {
            Format::Json => AnyReader::Json(Box::new(JsonDecoder::new(payload_columns(table), decoding))),
            Format::Raw => AnyReader::Raw(RawDecoder::new(payload_columns(table))),
        }
    }
}

/// The columns that a payload fills, with their places in the table.
pub fn payload_columns(table: &Schema) -> impl Iterator<Item = (usize, &Field)> {
    table.fields.iter().enumerate().filter(|(_, field)| MetadataColumn::of(field).is_none())
}

impl RecordReader for AnyReader {
    #[inline(always)]
    fn read(
        &mut self,
        value: Option<Padded<'_>>,
        record: &RecordFacts<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<ReadRecord, BadRecord> {
        match self {
            AnyReader::Json(reader) => reader.read(value, record, rows),
            AnyReader::Raw(reader) => reader.read(value, record, rows),
            AnyReader::Other(reader) => reader.read(value, record, rows),
        }
    }

    fn reads_tombstones(&self) -> bool {
        match self {
            AnyReader::Json(reader) => reader.reads_tombstones(),
            AnyReader::Raw(reader) => reader.reads_tombstones(),
            AnyReader::Other(reader) => reader.reads_tombstones(),
        }
    }

    fn wants_headers(&self) -> bool {
        match self {
            AnyReader::Json(reader) => reader.wants_headers(),
            AnyReader::Raw(reader) => reader.wants_headers(),
            AnyReader::Other(reader) => reader.wants_headers(),
        }
    }
}
