//! A file that is whole and in the store, and its line in a commit.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::delta::action::{Action, Add, CHECKSUM_TAG, checksum_text};
use crate::protocol::planted::{Bug, planted};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataFile {
    /// Relative to the table's root.
    pub path: String,
    pub size: u64,
    pub rows: u64,
    /// Delta's statistics, JSON.
    pub stats: String,
    /// CRC-32 of its bytes.
    pub checksum: u32,
    /// Boot time at which it was begun.
    pub begun: Duration,
    pub modified_ms: i64,
    /// The oldest timestamp of a record in it.
    pub oldest_ms: Option<i64>,
}

/// Files that nothing names yet may be vacuumed after a week: stay well below.
const AGE_MAX: Duration = Duration::from_secs(6 * 24 * 3600);

impl DataFile {
    /// A vacuum may have removed it.
    pub fn is_old(&self, now: Duration) -> bool {
        now.saturating_sub(self.begun) > AGE_MAX && !planted(Bug::CommitsFilesOfAnyAge)
    }

    /// The file's `add`, with what it settles or holds under its tag.
    pub fn add(&self, tag: &str, value: &impl Serialize) -> Action {
        let value = serde_json::to_string(value).expect("tags are plain values");
        Action::Add(Add {
            path: self.path.clone(),
            partition_values: BTreeMap::new(),
            size: i64::try_from(self.size).expect("a file is smaller than 8 EiB"),
            modification_time: self.modified_ms,
            data_change: true,
            stats: Some(self.stats.clone()),
            tags: Some(BTreeMap::from([
                (tag.to_owned(), Some(value)),
                (CHECKSUM_TAG.to_owned(), Some(checksum_text(self.checksum))),
            ])),
            ..Default::default()
        })
    }
}
