//! What the table has, read from its log version by version.
//!
//! It owns the demo's view of the committed offsets. It trusts no counter of
//! the ingesting process.

use super::broker::PARTITIONS;
use crate::delta::action;
use crate::delta::log::{self, Found};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::protocol::app_id::AppId;
use crate::stores::store::{Store, explain};

pub struct Follower {
    pub store: Store,
    pub runtime: tokio::runtime::Runtime,
    next: Version,
    /// The table's next offsets.
    pub committed: [i64; PARTITIONS],
    pub files: u64,
}

impl Follower {
    pub fn new(store: Store) -> Result<Follower> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::new(ErrorKind::Io, format!("the I/O runtime cannot start: {error}")))?;
        Ok(Follower { store, runtime, next: Version(0), committed: [0; PARTITIONS], files: 0 })
    }

    /// Reads the versions that were added since.
    pub fn catch_up(&mut self) -> Result<()> {
        loop {
            let body = match self.runtime.block_on(log::get(&self.store, self.next)) {
                Found::Commit(body) => body,
                Found::Missing => return Ok(()),
                Found::Unclear(error) => return Err(explain(&self.store.url, &error)),
            };
            let commit =
                action::commit(&body).map_err(|error| log::damaged(&self.store, self.next, error))?;
            for txn in commit.txns {
                let partition = AppId::parse(&txn.app_id).map(|id| id.source.partition.0 as usize);
                if let Some(committed) = partition.and_then(|partition| self.committed.get_mut(partition)) {
                    *committed = txn.version;
                }
            }
            self.files += commit.adds as u64;
            self.next = self.next.next();
        }
    }

    pub fn rows(&self) -> i64 {
        self.committed.iter().sum()
    }

    pub fn commits(&self) -> u64 {
        self.next.0
    }
}
