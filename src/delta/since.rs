//! What others did to a table since our last commit.
//!
//! It owns the look back through the log at start. What a running committer
//! meets is judged as it comes (`committer`).
//!
//! A RESTORE keeps every `txn` and takes rows away: read on from there, and
//! those rows are lost. Versions that were cleaned up go unseen.

use crate::delta::action;
use crate::delta::log::{self, Found, Snapshot, damaged};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::protocol::app_id::AppId;
use crate::protocol::verdict::{Relation, Verdict, judge};
use crate::stores::store::{Store, explain};

/// Versions looked at: whoever writes a table beside us rarely writes as often as we do.
const LOOK_BACK: u64 = 200;

/// Refuses a table that was put into another state after our last commit.
pub async fn not_replaced(store: &Store, snapshot: &Snapshot, table_id: &str) -> Result<()> {
    let is_ours = |app_id: &str| AppId::parse(app_id).is_some_and(|id| id.table_id == table_id);
    if !snapshot.txns.keys().any(|app_id| is_ours(app_id)) {
        return Ok(());
    }
    let oldest = snapshot.version.0.saturating_sub(LOOK_BACK);
    for version in (oldest..=snapshot.version.0).rev().map(Version) {
        let body = match log::get(store, version).await {
            Found::Commit(body) => body,
            Found::Missing => break,
            Found::Unclear(error) => return Err(explain(&store.url, &error)),
        };
        let commit = action::commit(&body).map_err(|error| damaged(store, version, error))?;
        if commit.txns.iter().any(|txn| is_ours(&txn.app_id)) {
            break;
        }
        if let Verdict::Replaced(operation) = judge(&commit.winner, &|_: &str| Relation::Foreign) {
            return Err(replaced(store, version, &operation));
        }
    }
    Ok(())
}

/// The table was put into another state at this version.
pub fn replaced(store: &Store, version: Version, operation: &str) -> Error {
    let message = format!(
        "{}: version {version} is a {operation}: the table's rows and our offsets no longer agree",
        store.url
    );
    Error::new(ErrorKind::Disagree, message)
        .remedy("decide which rows the table should hold, then start again with a new table id and location")
}
