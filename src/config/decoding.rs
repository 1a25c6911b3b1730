//! How the payloads of a table's records are read.
//!
//! It owns the policy and its defaults. Carrying it out is `columnar`.

use std::collections::BTreeMap;

use super::format::Format;

/// The settings of a `[[table]]` that decide which payloads become rows, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoding {
    pub format: Format,
    pub on_new_field: OnNewField,
    /// TIMESTAMP columns that take numbers, by path: `created`, `actor.seen`, `events[].at`.
    pub timestamps: BTreeMap<String, EpochUnit>,
    /// Bytes of the largest payload that may become a row.
    pub max_record_size: usize,
    /// Objects and arrays inside each other, the record's own object counted; 1 to [`Decoding::DEPTH_MAX`].
    pub max_depth: usize,
}

impl Decoding {
    /// What the JSON parser reads.
    pub const DEPTH_MAX: usize = 127;
}

impl Default for Decoding {
    fn default() -> Decoding {
        Decoding {
            format: Format::Json,
            on_new_field: OnNewField::Rescue,
            timestamps: BTreeMap::new(),
            max_record_size: 16 << 20,
            max_depth: Decoding::DEPTH_MAX,
        }
    }
}

/// What happens to a field that the schema does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnNewField {
    /// Its JSON text goes into the column `_rescued`.
    Rescue,
    Ignore,
    /// The record is a bad record.
    Fail,
}

/// What a number in a TIMESTAMP column counts since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochUnit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl EpochUnit {
    pub const ALL: [EpochUnit; 4] =
        [EpochUnit::Seconds, EpochUnit::Milliseconds, EpochUnit::Microseconds, EpochUnit::Nanoseconds];

    /// As a config names it.
    pub fn as_str(self) -> &'static str {
        match self {
            EpochUnit::Seconds => "s",
            EpochUnit::Milliseconds => "ms",
            EpochUnit::Microseconds => "us",
            EpochUnit::Nanoseconds => "ns",
        }
    }
}
