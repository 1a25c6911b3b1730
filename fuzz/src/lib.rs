//! What thalweg must hold for any bytes, by target: each `check` panics where it does not.
//!
//! It owns the checks and their second opinions. `fuzz_targets` hands them to
//! libFuzzer, `tests/corpus.rs` runs every kept input and simple mutations of
//! them on any Rust.
//!
//! | target | the bytes are | the second opinion |
//! |---|---|---|
//! | [`json`] | payloads for the columns of a table | serde_json |
//! | [`batch`] | records with keys, headers and values | what was put in; the parquet crate |
//! | [`config`] | a config file | the toml crate |
//! | [`log`] | the versions of a Delta log | delta kernel, before and after our checkpoint |
//! | [`ddl`] | the schema of a config, or of a table | what is printed is read back |
//! | [`place`] | ids, topics, locations, names in the log | what is written is read back; nothing leaves its root |

#![allow(clippy::unwrap_used, reason = "a check that panics has found something")]

pub mod batch;
pub mod cells;
pub mod config;
pub mod ddl;
pub mod json;
pub mod log;
pub mod place;

/// A target by its name, the same as that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 6] = [
    ("batch", batch::check),
    ("config", config::check),
    ("ddl", ddl::check),
    ("json", json::check),
    ("log", log::check),
    ("place", place::check),
];
