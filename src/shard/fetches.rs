//! Schemas that are being fetched, and those that have come.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::columnar::{RecordFormat, SchemaName};
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
    /// Who fetched it.
    pub(super) format: Arc<dyn RecordFormat>,
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
