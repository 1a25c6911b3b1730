//! Schemas that are being fetched, and those that have come.

use crossbeam_channel::{Receiver, Sender};

use crate::columnar::SchemaName;
use crate::error::{Error, Result};

/// Schemas that are being fetched, and those that have come.
pub(super) struct Fetches {
    pub(super) under_way: Vec<(usize, SchemaName)>,
    pub(super) fetched: Sender<Fetched>,
    pub(super) arriving: Receiver<Fetched>,
}

pub(super) struct Fetched {
    /// The place of the table in the shard.
    pub(super) table: usize,
    pub(super) schema: SchemaName,
    pub(super) outcome: Result<(), Error>,
}

impl Default for Fetches {
    fn default() -> Fetches {
        #[expect(clippy::disallowed_methods, reason = "bounded by the partitions that wait")]
        let (fetched, arriving) = crossbeam_channel::unbounded();
        Fetches { under_way: Vec::new(), fetched, arriving }
    }
}
