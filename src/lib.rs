//! thalweg moves Kafka topics into Delta Lake tables, exactly once.

pub mod admin;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod columnar;
pub mod config;
pub mod error;
pub mod exchange;
pub mod health;
pub mod ids;
pub mod metrics;
pub mod protocol;
pub mod schema;
pub mod source;
pub mod table;
