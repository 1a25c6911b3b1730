//! thalweg moves Kafka topics into Delta Lake tables, exactly once.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod health;
pub mod ids;
pub mod metrics;
pub mod schema;
