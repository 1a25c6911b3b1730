//! The schema of a table: Delta's types, their JSON, their Spark DDL and
//! their Arrow form.
//!
//! It owns the type model and its spellings (`ddl`, `delta`), which names columns
//! may have (`names`), what records can fill and readers open (`limits`), which of them
//! have statistics (`indexed`), and how bounds of their values are spelled (`bounds`). It does not own columns
//! of data (`columnar`) nor the question whether we may write a table
//! (`delta::write_compatibility`).

pub mod bounds;
mod ddl;
mod delta;
mod indexed;
pub mod limits;
pub mod names;
mod types;

pub use self::indexed::Indexed;
pub use self::types::{DataType, DdlError, Field, Schema};

const DEAD_LETTERS: &str = "topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, key BINARY, \
    value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>, reason STRING, error STRING";

impl Schema {
    /// The columns that every dead-letter table has.
    pub fn of_dead_letters() -> Schema {
        Schema::from_ddl(DEAD_LETTERS).expect("a constant schema")
    }

    /// Reads Spark DDL: `id BIGINT NOT NULL, tags ARRAY<STRING>`.
    pub fn from_ddl(text: &str) -> Result<Schema, DdlError> {
        ddl::parse(text)
    }

    /// Reads Delta's `schemaString`.
    pub fn from_delta(text: &str) -> Result<Schema, String> {
        delta::parse(text)
    }

    /// Delta's `schemaString`.
    pub fn to_delta(&self) -> String {
        delta::print(&self.fields)
    }
}
