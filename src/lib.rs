//! thalweg moves Kafka topics into Delta Lake tables, exactly once.

pub mod admin;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod columnar;
pub mod committer;
pub mod config;
pub mod demo;
pub mod error;
pub mod exchange;
pub mod health;
pub mod host;
pub mod ids;
pub mod ingester;
pub mod metrics;
pub mod preflight;
pub mod protocol;
pub mod schema;
pub mod shard;
pub mod source;
pub mod table;
