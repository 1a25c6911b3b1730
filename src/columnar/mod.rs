//! From payload bytes to Parquet bytes.
//!
//! ```text
//! payload ─ Decoder::append ─▶ Columns ─ freeze ─▶ RecordBatch ─ ParquetFile::write ─▶ bytes + stats
//!              │ BadRecord        ▲                    │
//!              ▼                  └───── recover ──────┘
//!        the caller's policy
//! ```
//! | file | owns |
//! |---|---|
//! | `columns` | the buffers of a batch; freezing and recovering them without copying |
//! | `json` | one JSON object → one row, or a [`BadRecord`] and no trace of it |
//! | `text` | dates, timestamps, decimals and base64 as text |
//! | `rescue` | fields that the schema does not know → the column `_rescued` |
//! | `bad` | why a record cannot become a row |
//! | `infer` | samples → a schema |
//! | `parquet` | batches → a file whose finished bytes can be taken while it is open |
//! | `stats` | a Parquet footer → Delta's statistics |
//!
//! It knows neither Kafka nor a store, and it does not decide what happens to
//! a bad record.

mod bad;
mod columns;
mod infer;
mod json;
#[cfg(test)]
mod model;
mod parquet;
mod rescue;
mod stats;
mod text;

pub use bad::{BadReason, BadRecord};
pub use columns::Columns;
pub use infer::{InferError, Inferred, LeftOut, infer};
pub use json::{Decoder, RecordFacts};
pub use parquet::{ClosedFile, ParquetFile};
