//! From payload bytes to Parquet bytes.
//!
//! ```text
//! record ── Decoder::read ───▶ Columns ─ ParquetFile::write ─▶ bytes + stats
//!              │ BadRecord        ▲            │
//!              ▼                  └─ truncate ─┘
//!        the caller's policy
//! ```
//! | file | owns |
//! |---|---|
//! | `columns` | the buffers of a batch; freezing and recovering them without copying |
//! | `decoder` | one record → rows, or a [`BadRecord`] and no trace of it |
//! | `reader` | the seam that every format stands behind |
//! | `readers` | which reader each format has: the list of them |
//! | `transform` | the place where whole batches are changed before they are encoded |
//! | `json` | the members of a JSON object → the columns of a row |
//! | `raw` | a payload as it is → the column `value` |
//! | `facts` | partition, offset, timestamp … → the metadata columns |
//! | `text` | dates, timestamps, decimals and base64 as text |
//! | `rescue` | fields that the schema does not know → the column `_rescued` |
//! | `bad` | why a record cannot become a row |
//! | `dead_letters` | a record that is no row → a row of the dead-letter table |
//! | `infer` | samples → a schema |
//! | `encode` | columns → pages of a row group |
//! | `parquet` | row groups → a file whose finished bytes can be taken while it is open |
//! | `sink` | a file's bytes, cut into parts as they come |
//! | `stats` | a Parquet footer → Delta's statistics |
//!
//! It knows neither Kafka nor a store, and it does not decide what happens to
//! a bad record.

mod bad;
mod columns;
pub mod dead_letters;
mod decoder;
mod encode;
mod facts;
mod infer;
mod json;
#[cfg(test)]
mod model;
mod parquet;
mod raw;
mod reader;
mod readers;
mod rescue;
mod sink;
mod stats;
mod text;
mod transform;

pub use bad::{BadReason, BadRecord};
pub use columns::{Column, Columns};
pub use decoder::Decoder;
pub use encode::Encoder;
pub use facts::RecordFacts;
pub use infer::{Hint, InferError, Inferred, LeftOut, infer};
pub use readers::{AnyReader, RecordFormat, payload_columns};

pub use parquet::{ClosedFile, ParquetFile};
pub use reader::{ReadRecord, RecordReader, Rows, SchemaName};
pub use transform::{Transform, transform};
