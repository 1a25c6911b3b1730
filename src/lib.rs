//! thalweg moves Kafka topics into Delta Lake tables, exactly once.

pub mod budget;
pub mod clock;
pub mod columnar;
pub mod config;
pub mod error;
pub mod exchange;
pub mod ids;
pub mod protocol;
pub mod schema;
pub mod source;
pub mod table;
