//! thalweg moves Kafka topics into Delta Lake tables, exactly once.

pub mod clock;
pub mod config;
pub mod error;
pub mod ids;
pub mod protocol;
pub mod schema;
pub mod table;
