//! Opening a table for an ingestion: the last things before the first record.
//!
//! It owns the commit that anchors and claims. Where partitions begin is
//! `protocol::anchor`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Identity;
use super::body::body;
use super::letters::{Places, TakenOver};
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Partition, Version};
use crate::protocol::anchor::{self, Plan, Watermarks};
use crate::protocol::fence::Writer;
use crate::schema::Schema;
use crate::source::catalog::Topic;
use crate::table::action;
use crate::table::log::{self, Found, Settled, Snapshot};
use crate::table::store::{Store, explain, is_hopeless};
use crate::table::{create, gate};

/// Answers that are none before a start is given up: the store may be flaky, or down.
const UNCLEAR_AT_START_MAX: u32 = 4;
/// Other writers may come in between so often while a table is opened.
const STARTS_MAX: u32 = 20;

/// A table that is open for this ingestion, every partition anchored in it.
#[derive(Debug)]
pub struct Opened {
    pub snapshot: Snapshot,
    pub schema: Arc<Schema>,
    pub plan: Plan,
    pub watermarks: BTreeMap<Partition, Watermarks>,
    pub created: bool,
    pub letters: TakenOver,
}

/// Opens the table, creates it if `schema_if_new` allows, and commits the
/// start of every partition that has none: before the first record is read.
///
/// Where dead letters may stand, the table is claimed and they are taken over
/// (`protocol::dead_letters`).
///
/// `watermarks` are asked for after the table is loaded. The other way round
/// an instance that commits in between would have read beyond their end.
pub async fn open(
    store: &Store,
    identity: &Identity,
    topic: &Topic,
    watermarks: impl Fn() -> Result<BTreeMap<Partition, Watermarks>>,
    schema_if_new: Option<&Schema>,
    places: &Places,
    clock: &SharedClock,
) -> Result<Opened> {
    let mut rival = None;
    for _ in 0..STARTS_MAX {
        let snapshot = log::load(store).await?;
        let facts = match &snapshot {
            Some(snapshot) => {
                let schema = gate::admit(&snapshot.protocol, &snapshot.metadata)?;
                snapshot.facts(gate::has_offset_columns(&schema))
            }
            None => anchor::TableFacts::default(),
        };
        let watermarks = watermarks()?;
        let plan = anchor::plan(&identity.table_id, &topic.name, &topic.id, &facts, &watermarks)?;
        let created = snapshot.is_none();
        let (version, mut actions) = match (&snapshot, schema_if_new) {
            (Some(snapshot), _) => (snapshot.version.next(), Vec::new()),
            (None, Some(schema)) => (Version(0), create::actions(schema, clock.fresh_id(), clock.wall_ms())),
            (None, None) => {
                return Err(Error::new(ErrorKind::Unavailable, format!("{}: there is no table", store.url)));
            }
        };
        let claim = places.claim(identity, snapshot.as_ref(), clock.wall_ms());
        let to_move = if claim.is_some() { &plan.starts } else { &plan.to_anchor };
        actions.extend(create::txns(&identity.table_id, to_move, clock.wall_ms()));
        actions.extend(claim.into_iter().flatten());
        if actions.is_empty() {
            let snapshot = snapshot.expect("no action is needed only where there is a table");
            return opened(snapshot, plan, watermarks, false, TakenOver::default());
        }
        let operation = if created { "CREATE TABLE" } else { "STREAMING UPDATE" };
        let (commit_id, body) = body(identity, operation, actions, Vec::new(), clock);
        match log::settle(store, version, &commit_id, &body, at_start(store)).await? {
            Settled::Won => {
                let snapshot = match snapshot {
                    None => create::snapshot(&body),
                    Some(mut snapshot) => {
                        snapshot.apply(version, action::commit(&body).expect("we wrote it"));
                        snapshot
                    }
                };
                let letters = places.take_over(identity, &snapshot, &plan.starts, clock).await?;
                match log::get(store, snapshot.version.next()).await {
                    Found::Missing => {}
                    Found::Unclear(error) => return Err(explain(&store.url, &error)),
                    // Perhaps a claim: what was taken over since may be another's.
                    Found::Commit(body) => {
                        rival = action::commit(&body).ok().and_then(|commit| commit.winner.writer);
                        continue;
                    }
                }
                return opened(snapshot, plan, watermarks, created, letters);
            }
            // Somebody created or moved the table meanwhile: begin from what stands there.
            Settled::Lost(_) => {}
        }
    }
    Err(busy(store, rival))
}

/// Waits for a flaky store, not for one that is down.
pub(super) fn at_start(store: &Store) -> impl FnMut(&object_store::Error) -> Result<()> {
    let mut unclear = 0;
    move |error| {
        unclear += 1;
        let give_up = unclear >= UNCLEAR_AT_START_MAX || is_hopeless(error);
        if give_up { Err(explain(&store.url, error)) } else { Ok(()) }
    }
}

fn busy(store: &Store, rival: Option<Writer>) -> Error {
    let by = rival.map_or_else(|| "other writers".to_owned(), |writer| writer.to_string());
    Error::new(
        ErrorKind::Fenced,
        format!("{}: {by} took the table {STARTS_MAX} times while it was opened", store.url),
    )
    .remedy("run one instance per table id; stop the other one before starting this one")
}

fn opened(
    snapshot: Snapshot,
    plan: Plan,
    watermarks: BTreeMap<Partition, Watermarks>,
    created: bool,
    letters: TakenOver,
) -> Result<Opened> {
    let schema = Arc::new(gate::admit(&snapshot.protocol, &snapshot.metadata)?);
    Ok(Opened { snapshot, schema, plan, watermarks, created, letters })
}
