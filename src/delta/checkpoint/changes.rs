//! What the versions after a checkpoint did, by file and by name.
//!
//! It owns reading them, and the question whether a row of the old checkpoint
//! still holds. Memory grows with what changed; a long log is taken in steps.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde_json::json;

use super::part::Part;
use crate::delta::action::{self, Line, MetaData, Remove};
use crate::delta::checkpoint_file;
use crate::delta::inventory::FileKey;
use crate::delta::json_checkpoint;
use crate::delta::log::{self, Found};
use crate::error::Result;
use crate::ids::Version;
use crate::protocol::planted::{Bug, planted};
use crate::stores::store::{Store, explain};

/// Version files read at once.
const PARALLEL_GETS: usize = 8;

#[derive(Default)]
pub(super) struct Changes {
    protocol: Option<String>,
    metadata: Option<Result<String, serde_json::Error>>,
    txns: BTreeMap<String, String>,
    /// `None`: the domain was removed.
    domains: BTreeMap<String, Option<String>>,
    adds: BTreeMap<FileKey, String>,
    removes: BTreeMap<FileKey, Tombstone>,
}

struct Tombstone {
    deleted_ms: i64,
    line: String,
}

/// One row of an old checkpoint: which of the actions it is.
pub(super) enum OldRow<'a> {
    File(FileKey),
    Protocol,
    MetaData,
    Txn(&'a str),
    Domain(&'a str),
    Other,
}

impl Changes {
    /// Reads what stands in a checkpoint's JSON, if it has any, and the versions after `base`, up to `until` or to as many as come to `bytes_max`, and says how far it came.
    pub async fn read(
        store: &Store,
        (base, names): (Option<Version>, &[String]),
        until: Version,
        bytes_max: usize,
    ) -> Result<(Version, Changes)> {
        let first = base.map_or(Version(0), Version::next);
        let bodies = (first.0..=until.0).map(|version| async move {
            match log::get(store, Version(version)).await {
                Found::Commit(body) => Ok((Version(version), body)),
                Found::Missing => {
                    Err(log::damaged(store, Version(version), "it is not there for a checkpoint"))
                }
                Found::Unclear(error) => Err(explain(&store.url, &error)),
            }
        });
        let mut bodies = futures::stream::iter(bodies).buffered(PARALLEL_GETS);
        let (mut changes, mut bytes, mut last) = (Changes::default(), 0, until);
        for name in names.iter().filter(|name| json_checkpoint::is_one(name)) {
            let body = json_checkpoint::read(store, name).await?;
            changes.apply(&body).map_err(|error| checkpoint_file::bad_checkpoint(store, name, error))?;
        }
        while let Some(read) = bodies.next().await {
            let (version, body) = read?;
            changes.apply(&body).map_err(|error| log::damaged(store, version, error))?;
            bytes += body.len();
            if bytes >= bytes_max {
                last = version;
                break;
            }
        }
        match changes.metadata.take() {
            Some(Err(error)) => return Err(log::damaged(store, last, error)),
            metadata => changes.metadata = metadata,
        }
        Ok((last, changes))
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), serde_json::Error> {
        for line in action::lines(body) {
            match line? {
                Line::Protocol(protocol) => self.protocol = Some(json!({"protocol": protocol}).to_string()),
                // One that a later version replaces need not be sound.
                Line::MetaData(text) => {
                    let metadata = serde_json::from_str::<MetaData>(text.get());
                    self.metadata = Some(metadata.map(|metadata| json!({"metaData": metadata}).to_string()));
                }
                Line::Txn(txn) => {
                    let line = json!({"txn": txn}).to_string();
                    self.txns.insert(txn.app_id, line);
                }
                Line::DomainMetadata(domain) => {
                    let line = (!domain.removed).then(|| json!({"domainMetadata": domain}).to_string());
                    self.domains.insert(domain.domain, line);
                }
                Line::Add(text) => {
                    let add: action::Add = serde_json::from_str(text.get())?;
                    let key = FileKey::of(&add.path, add.deletion_vector.as_ref());
                    self.removes.remove(&key);
                    self.adds.insert(key, format!("{{\"add\":{}}}", text.get()));
                }
                Line::Remove(text) => {
                    let remove: Remove = serde_json::from_str(text.get())?;
                    let key = FileKey::of(&remove.path, remove.deletion_vector.as_ref());
                    self.adds.remove(&key);
                    let line = format!("{{\"remove\":{}}}", text.get());
                    let deleted_ms = remove.deletion_timestamp.unwrap_or(0);
                    self.removes.insert(key, Tombstone { deleted_ms, line });
                }
                Line::CommitInfo(_) | Line::Sidecar(_) | Line::Other | Line::Unknown(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a row of the old checkpoint is overtaken by a later version.
    pub fn overtakes(&self, row: &OldRow<'_>) -> bool {
        match row {
            OldRow::File(_) if planted(Bug::CheckpointKeepsRemovedFiles) => false,
            OldRow::File(key) => self.adds.contains_key(key) || self.removes.contains_key(key),
            OldRow::Protocol => self.protocol.is_some(),
            OldRow::MetaData => self.metadata.is_some(),
            OldRow::Txn(app_id) => self.txns.contains_key(*app_id),
            OldRow::Domain(name) => self.domains.contains_key(*name),
            OldRow::Other => true,
        }
    }

    /// The paths of all files that something happened to, in order.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> =
            self.adds.keys().chain(self.removes.keys()).map(|key| key.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// The actions of one part, as JSON; of tombstones those after `expired_ms`.
    pub fn lines(&self, part: Part, expired_ms: i64) -> Vec<&str> {
        match part {
            Part::Table => {
                let lost = usize::from(planted(Bug::CheckpointLosesAnOffset));
                let named = self.txns.values().skip(lost).chain(self.domains.values().flatten());
                let metadata = self.metadata.iter().flatten();
                self.protocol.iter().chain(metadata).chain(named).map(String::as_str).collect()
            }
            Part::Removes => {
                let stands = |tombstone: &&Tombstone| {
                    tombstone.deleted_ms > expired_ms && !planted(Bug::CheckpointForgetsTombstones)
                };
                self.removes.values().filter(stands).map(|tombstone| tombstone.line.as_str()).collect()
            }
            Part::Adds => self.adds.values().map(String::as_str).collect(),
        }
    }
}
