//! thalweg moves Kafka topics into Delta Lake tables, exactly once.

pub mod clock;
pub mod columnar;
pub mod error;
pub mod ids;
pub mod schema;
pub mod config;
