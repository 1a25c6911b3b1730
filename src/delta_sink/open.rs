//! Opening a table for an ingestion: the last things before the first record.
//!
//! It owns the commit that anchors and claims. Where partitions begin is
//! `protocol::anchor`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::dead_letters::{DeadLetterLocations, SeenDeadLetters, TakenOver};
use super::identity::Identity;
use super::offset_overrides::relation;
use crate::clock::SharedClock;
use crate::delta::commit_body::{CommitBody, Description};
use crate::delta::create;
use crate::delta::log::{self, Found, Snapshot};
use crate::delta::since;
use crate::delta::transaction::{self, Beaten, FewTries, Outcome, Tip};
use crate::delta::write_compatibility;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition};
use crate::protocol::anchor::{self, Plan, Watermarks};
use crate::protocol::fence::Writer;
use crate::protocol::planted::{Bug, planted};
use crate::protocol::verdict::Verdict;
use crate::schema::Schema;
use crate::source::catalog::Topic;
use crate::stores::store::{Store, explain};

/// Other instances may claim the table so often while it is opened.
const CLAIMS_LOST_MAX: u32 = 20;

/// A table that is open for this ingestion, every partition anchored in it.
#[derive(Debug)]
pub struct Opened {
    pub snapshot: Snapshot,
    /// Boot time at which its tip was last known for sure.
    pub seen: Duration,
    pub schema: Arc<Schema>,
    pub plan: Plan,
    pub watermarks: BTreeMap<Partition, Watermarks>,
    pub created: bool,
    pub dead_letters: TakenOver,
}

/// What is known of a table before it is opened.
#[derive(Debug, Default)]
pub struct Preview<'a> {
    /// To create it with; `None`: it must be there.
    pub schema_if_new: Option<&'a Schema>,
    /// The table, not replaced, as it was at this boot time: it is not loaded once more.
    pub seen: Option<SeenDeadLetters>,
    /// The same of the table of its dead letters.
    pub dead_letters: Option<SeenDeadLetters>,
}

impl<'a> From<Option<&'a Schema>> for Preview<'a> {
    fn from(schema_if_new: Option<&'a Schema>) -> Preview<'a> {
        Preview { schema_if_new, ..Preview::default() }
    }
}

/// Opens the table, creates it if the preview has a schema for it, and commits the
/// start of every partition that has none: before the first record is read.
///
/// Where dead letters may stand, the table is claimed and they are taken over
/// (`protocol::dead_letters`).
///
/// `watermarks` are asked for after the table is loaded. The other way round
/// an instance that commits in between would have read beyond their end.
pub async fn open<'a>(
    store: &Store,
    identity: &Identity,
    topic: &Topic,
    watermarks: impl Fn() -> Result<BTreeMap<Partition, Watermarks>>,
    preview: impl Into<Preview<'a>>,
    places: &DeadLetterLocations,
    clock: &SharedClock,
) -> Result<Opened> {
    let Preview { schema_if_new, mut seen, dead_letters: mut dead_letters_seen } = preview.into();
    let mut claims_lost = 0;
    loop {
        let now = clock.boot();
        let asked_first = if planted(Bug::AsksForTheEndFirst) { Some(watermarks()?) } else { None };
        let mut tip = match seen.take() {
            Some((snapshot, when)) => Tip::new(store.clone(), Some(snapshot), when),
            None => Tip::new(store.clone(), load(store, identity).await?, now),
        };
        let snapshot = tip.exists().then(|| tip.snapshot());
        let facts = match &snapshot {
            Some(snapshot) => {
                let schema = write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?;
                snapshot.facts(write_compatibility::has_offset_columns(&schema))
            }
            None => anchor::TableFacts::default(),
        };
        let watermarks = asked_first.map_or_else(&watermarks, Ok)?;
        let plan = anchor::plan(&identity.table_id, &topic.name, &topic.id, &facts, &watermarks)?;
        // Another instance may have read on since the table was loaded: what seems out of reach is settled then.
        if !plan.stopped.is_empty()
            && !planted(Bug::StopsOnAnOldLook)
            && let Some(snapshot) = snapshot
        {
            match log::get(store, snapshot.version.next()).await {
                Found::Commit(_) => continue,
                Found::Missing => {}
                Found::Unclear(error) => return Err(explain(&store.url, &error)),
            }
        }
        let created = snapshot.is_none();
        let (description, mut actions) = match (snapshot, schema_if_new) {
            (Some(_), _) => (Description::streaming_update(Vec::new()), Vec::new()),
            (None, Some(schema)) => {
                let actions = create::actions(schema, clock.fresh_id(), clock.wall_ms());
                (Description::create_table(), actions)
            }
            (None, None) => {
                return Err(Error::new(ErrorKind::Unavailable, format!("{}: there is no table", store.url)));
            }
        };
        // Members of a group claim what they are assigned, when they are: others read now.
        let claims_all = identity.writer.group.is_none();
        let claim = claims_all.then(|| places.claim(identity, snapshot, clock.wall_ms())).flatten();
        let claims = claim.is_some() && !planted(Bug::NoClaim);
        let to_move = if claims { &plan.starts } else { &plan.to_anchor };
        if !planted(Bug::NoAnchor) {
            actions.extend(create::txns(&identity.table_id, to_move, clock.wall_ms()));
        }
        actions.extend(claim.into_iter().flatten());
        if actions.is_empty() && !planted(Bug::NoClaim) {
            return opened(tip, plan, watermarks, false, TakenOver::default());
        }
        let body = CommitBody::new(&identity.writer, description, actions, clock);
        match transaction::commit_once(&mut tip, body, FewTries::default(), clock).await? {
            Outcome::Landed { .. } => {}
            // Somebody created or moved the table meanwhile: begin from what stands there.
            Outcome::Moved(Beaten) | Outcome::Unsure => continue,
        }
        let dead_letters = match claims_all {
            true => {
                let seen = dead_letters_seen.take();
                places.take_over(identity, tip.snapshot(), &plan.starts, seen, clock).await?
            }
            false => TakenOver::default(),
        };
        match claim_stands(&mut tip, identity, topic, &plan).await? {
            Claim::Stands => return opened(tip, plan, watermarks, created, dead_letters),
            Claim::Lost(rival) => {
                claims_lost += 1;
                if claims_lost == CLAIMS_LOST_MAX {
                    return Err(busy(store, rival));
                }
            }
        }
    }
}

/// The table as it is now, if there is one and it was not put into another state.
async fn load(store: &Store, identity: &Identity) -> Result<Option<Snapshot>> {
    let snapshot = log::load(store).await?;
    if let Some(snapshot) = &snapshot
        && !planted(Bug::OpensARestoredTable)
    {
        since::not_replaced(store, snapshot, &identity.table_id).await?;
    }
    Ok(snapshot)
}

/// What became of a claim while dead letters were taken over.
enum Claim {
    /// Nobody moved our offsets.
    Stands,
    /// A later claim is somebody else's, and so may be what was taken over since.
    Lost(Option<Writer>),
}

/// Follows the log to its tip.
async fn claim_stands(tip: &mut Tip, identity: &Identity, topic: &Topic, plan: &Plan) -> Result<Claim> {
    // Who moves a partition that seemed out of reach makes another start of it, too.
    let stopped = plan.stopped.iter().map(|(partition, _)| (plan.source(&topic.name, *partition), Offset(0)));
    let own = plan.starts.clone().into_iter().chain(stopped).collect();
    loop {
        let body = match log::get(&tip.store, tip.snapshot().version.next()).await {
            Found::Missing => return Ok(Claim::Stands),
            Found::Unclear(error) => return Err(explain(&tip.store.url, &error)),
            Found::Commit(body) => body,
        };
        let stake = |app_id: &str| relation(&identity.table_id, &own, app_id);
        if let Verdict::Fenced(by) | Verdict::Transferred(by, _) | Verdict::OffsetsSet(by, _) =
            tip.apply_foreign_commit(&body, &stake)?
        {
            return Ok(Claim::Lost(by));
        }
    }
}

fn busy(store: &Store, rival: Option<Writer>) -> Error {
    let by = rival.map_or_else(|| "an unknown writer".to_owned(), |writer| writer.to_string());
    Error::new(
        ErrorKind::Fenced,
        format!("{}: {by} took the table {CLAIMS_LOST_MAX} times while it was opened", store.url),
    )
    .remedy("run one instance per table id; stop the other one before starting this one")
}

fn opened(
    tip: Tip,
    plan: Plan,
    watermarks: BTreeMap<Partition, Watermarks>,
    created: bool,
    dead_letters: TakenOver,
) -> Result<Opened> {
    let seen = tip.seen;
    let snapshot = tip.into_snapshot().expect("the table is there by now");
    let schema = Arc::new(write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?);
    Ok(Opened { snapshot, seen, schema, plan, watermarks, created, dead_letters })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::testing::ManualClock;
    use crate::dead_letters::tags::DeadLettersTag;
    use crate::delta::action::{self, Action, encode};
    use crate::delta::testing::{HandMade, NOW_MS, TABLE_ID, source, txn, with_rows};
    use crate::ids::{Offset, Version};
    use crate::protocol::dead_letters::{app_id, place_app_id};

    /// A table that remembers a place of dead letters. Whenever the place is asked for, another
    /// writer adds what `commit` makes to the table's log.
    async fn opened_beside(commit: fn(u32) -> Vec<Action>) -> (Result<Opened>, u32) {
        opened_slowly(commit, 0, 0).await
    }

    /// The same where the broker takes so many seconds to answer, and partition 1 begins at an offset.
    /// `commit` is told how often the place was asked for before.
    async fn opened_slowly(commit: fn(u32) -> Vec<Action>, seconds: u64, low: i64) -> (Result<Opened>, u32) {
        let mut table = HandMade::new().await;
        let place = "file:///nowhere/letters";
        table
            .commit("STREAMING UPDATE", &[], vec![create::txn(place_app_id(TABLE_ID, place), 1, NOW_MS)])
            .await;
        let empty = tempfile::tempdir().unwrap();
        let url = url::Url::from_file_path(empty.path()).unwrap();
        let (dead_letters, log) =
            (Store::open(&url, &BTreeMap::new()).unwrap(), table.directory.path().join("_delta_log"));
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let reach = move |_: &str| {
            append(&log, &encode(&commit(counted.fetch_add(1, Ordering::Relaxed))));
            Ok(dead_letters.clone())
        };
        let places = DeadLetterLocations { current: None, reach: Arc::new(reach) };
        let writer = Writer { instance: "i".into(), host: "h".into(), pid: 1, started: 2, group: None };
        let identity = Identity { table_id: TABLE_ID.to_owned(), writer, is_alive: |_| false };
        let topic = Topic {
            name: source(0).topic,
            id: source(0).topic_id,
            partitions: vec![Partition(0), Partition(1)],
        };
        let marks = |low| Watermarks { low: Offset(low), end: Offset(10), first_run: Offset(low) };
        let time = Arc::new(ManualClock::default());
        let watermarks = || {
            assert!(time.0.fetch_add(seconds, Ordering::Relaxed) <= 2 * seconds, "it goes round and round");
            Ok(BTreeMap::from([(Partition(0), marks(0)), (Partition(1), marks(low))]))
        };
        let clock: SharedClock = Arc::clone(&time) as SharedClock;
        let opened = open(&table.store, &identity, &topic, watermarks, None, &places, &clock).await;
        (opened, asked.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_start_that_takes_minutes_claims_once_and_looks_again_before_its_first_commit() {
        let (opened, asked) =
            opened_slowly(|_| vec![create::txn("spark".to_owned(), 7, NOW_MS)], 100, 0).await;
        let opened = opened.unwrap();
        assert_eq!((opened.snapshot.version, asked), (Version(3), 1));
        assert_eq!(opened.seen, Duration::ZERO, "since the table was loaded");
    }

    fn append(log: &Path, body: &[u8]) {
        let next = std::fs::read_dir(log).unwrap().count();
        std::fs::write(log.join(format!("{next:020}.json")), body).unwrap();
    }

    #[tokio::test]
    async fn writers_beside_us_keep_nobody_from_starting() {
        let (opened, asked) = opened_beside(|_| vec![create::txn("spark".to_owned(), 7, NOW_MS)]).await;
        let snapshot = opened.unwrap().snapshot;
        assert_eq!((snapshot.version, snapshot.txns["spark"], asked), (Version(3), 7, 1));
    }

    #[tokio::test]
    async fn a_partition_that_is_moved_into_reach_during_a_start_is_read() {
        let moved_once = |before| match before {
            0 => vec![txn(1, 5)],
            _ => vec![create::txn("spark".to_owned(), 7, NOW_MS)],
        };
        let (opened, asked) = opened_slowly(moved_once, 0, 5).await;
        let plan = opened.unwrap().plan;
        assert!(plan.stopped.is_empty(), "{:?}", plan.stopped);
        assert_eq!((plan.starts, asked), ([(source(0), Offset(0)), (source(1), Offset(5))].into(), 2));
    }

    #[tokio::test]
    async fn a_start_whose_claims_are_all_taken_away_gives_way() {
        let (opened, asked) = opened_beside(|_| vec![txn(0, 0)]).await;
        assert_eq!((opened.unwrap_err().kind, asked), (ErrorKind::Fenced, CLAIMS_LOST_MAX));
    }

    #[tokio::test]
    async fn dead_letters_of_who_handed_the_offsets_over_are_verdicts_and_no_more_may_come() {
        let (mut table, mut dead_letters) = (HandMade::new().await, HandMade::of_dead_letters().await);
        let url = dead_letters.store.url.to_string();
        let entries = [
            ("thalweg/new/orders/id/0", 0),
            ("thalweg/new/orders/id/1", 0),
            ("thalweg/adopt/new/orders/id/t/id", 1),
            (&place_app_id(TABLE_ID, &url), 1),
        ];
        let entries = entries.map(|(name, at)| create::txn(name.to_owned(), at, NOW_MS));
        table.commit("ADOPT OFFSETS", &[], entries.to_vec()).await;
        // The former one posted it while its offsets were taken.
        let range = with_rows(0, 0, 5, 0);
        let tag = DeadLettersTag { table_id: TABLE_ID.to_owned(), ranges: vec![range] };
        dead_letters.post(&tag, &[(0, 4, b"{")]).await;
        let former = app_id(TABLE_ID, &source(0));
        dead_letters.commit("STREAMING UPDATE", &[], vec![create::txn(former.clone(), 5, NOW_MS)]).await;
        let store = dead_letters.store.clone();
        let places = DeadLetterLocations { current: None, reach: Arc::new(move |_| Ok(store.clone())) };
        let writer = Writer { instance: "i".into(), host: "h".into(), pid: 1, started: 2, group: None };
        let identity = Identity { table_id: "new".to_owned(), writer, is_alive: |_| false };
        let topic = Topic { name: source(0).topic, id: source(0).topic_id, partitions: vec![Partition(0)] };
        let marks = Watermarks { low: Offset(0), end: Offset(10), first_run: Offset(0) };
        let watermarks = || Ok(BTreeMap::from([(Partition(0), marks)]));
        let clock: SharedClock = Arc::new(ManualClock::default());
        let opened = open(&table.store, &identity, &topic, watermarks, None, &places, &clock).await.unwrap();
        assert_eq!(opened.dead_letters.held, [(source(0), vec![Offset(4)])].into());
        let tip = log::load(&dead_letters.store).await.unwrap().unwrap();
        assert_eq!(tip.version, dead_letters.next, "it was claimed");
        let claim = log::get(&dead_letters.store, tip.version).await;
        let Found::Commit(claim) = claim else { panic!("{claim:?}") };
        let moved = action::commit(&claim).unwrap().winner.txns;
        assert!(moved.contains(&former) && moved.contains(&app_id("new", &source(0))), "{moved:?}");
    }
}
