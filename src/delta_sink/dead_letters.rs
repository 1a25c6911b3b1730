//! The dead letters of one table: taken over first, committed first.
//!
//! It owns the dead-letter tables that this table's dead letters may stand in:
//! claiming them, reading which dead letters are in doubt, and committing new ones.
//! Why this order is safe stands in `protocol::dead_letters`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::identity::Identity;
use super::log_tip::{LogTip, LogUpkeep};
use super::retry_policy::RetryPolicy;
use crate::clock::SharedClock;
use crate::dead_letters::standing::{check, held};
use crate::dead_letters::tags::{DEAD_LETTERS_TAG, DeadLettersTag};
use crate::delta::action::Action;
use crate::delta::commit_body::{CommitBody, Description};
use crate::delta::create;
use crate::delta::data_file::DataFile;
use crate::delta::log::Snapshot;
use crate::delta::transaction::{self, FewTries, Outcome, Tip, Transaction};
use crate::error::Result;
use crate::ids::{Offset, OffsetRange, TopicPartition};
use crate::protocol::app_id::AppId;
use crate::protocol::dead_letters::{self, AlreadyDeadLettered};
use crate::protocol::fence::Writer;
use crate::protocol::lineage::Lineage;
use crate::protocol::planted::{Bug, planted};
use crate::protocol::verdict::{Relation, Verdict};
use crate::schema::Schema;
use crate::stores::store::Store;

pub type Reach = Arc<dyn Fn(&str) -> Result<Store> + Send + Sync>;

/// Where a table's dead letters go, and where they may have gone before.
#[derive(Clone)]
pub struct DeadLetterLocations {
    /// The place of the config; `None` where bad records are not kept.
    pub current: Option<Store>,
    /// Opens the store of a place that the table remembers.
    pub reach: Reach,
}

impl DeadLetterLocations {
    /// Every place where a dead letter may stand: the table's memory, and the config's.
    fn of(&self, table_id: &str, snapshot: Option<&Snapshot>) -> BTreeSet<String> {
        let remembered = snapshot.filter(|_| !planted(Bug::ForgetsFormerPlaces)).map(|snapshot| {
            dead_letters::places(&Lineage::of(&snapshot.txns).table_ids(table_id), &snapshot.txns)
        });
        let current = self.current.as_ref().map(|store| store.url.to_string());
        remembered.into_iter().flatten().chain(current).collect()
    }

    /// What a claim of the main table says of them; `None` where no claim is needed.
    pub(super) fn claim(
        &self,
        identity: &Identity,
        snapshot: Option<&Snapshot>,
        now_ms: i64,
    ) -> Option<Vec<Action>> {
        let all = self.of(&identity.table_id, snapshot);
        if all.is_empty() {
            return None;
        }
        let version =
            |app_id: &str| snapshot.and_then(|snapshot| snapshot.txns.get(app_id)).copied().unwrap_or(0);
        let fresh = all
            .iter()
            .map(|place| dead_letters::place_app_id(&identity.table_id, place))
            .filter(|app_id| version(app_id) % 2 == 0)
            .map(|app_id| create::txn(app_id.clone(), version(&app_id) + 1, now_ms));
        Some(fresh.collect())
    }

    /// Takes every place over, for a main table that is claimed and whose offsets are `resolved`. `seen` is the
    /// dead-letter table of the config, if it was looked at.
    /// It counts only if the claim still stands afterwards.
    pub(super) async fn take_over(
        &self,
        identity: &Identity,
        main: &Snapshot,
        resolved: &BTreeMap<TopicPartition, Offset>,
        mut seen: Option<SeenDeadLetters>,
        clock: &SharedClock,
    ) -> Result<TakenOver> {
        let mut taken = TakenOver::default();
        let lineage = Lineage::of(&main.txns);
        let names = |source: &TopicPartition| dead_letters::names(&lineage, &identity.table_id, source);
        let resolved: Settling =
            resolved.iter().map(|(source, &offset)| (source.clone(), (offset, names(source)))).collect();
        for place in self.of(&identity.table_id, Some(main)) {
            let current = self.current.as_ref().filter(|store| store.url.as_str() == place);
            let store = match current {
                Some(store) => store.clone(),
                None => (self.reach)(&place)?,
            };
            let may_create = current.is_some();
            let seen = seen.take_if(|_| may_create);
            let claimed = claim(&store, identity, &resolved, may_create, seen, clock).await?;
            let mut in_doubt = BTreeMap::new();
            if let Some(tip) = &claimed {
                let snapshot = tip.snapshot();
                in_doubt = resolved
                    .iter()
                    .filter_map(|(source, (offset, names))| {
                        let doubt = dead_letters::in_doubt(names.clone(), *offset, &snapshot.txns)?;
                        Some((source.clone(), doubt))
                    })
                    .collect();
                for (source, offsets) in held(&store, &in_doubt).await? {
                    let all = taken.held.entry(source).or_default();
                    all.extend(offsets);
                    all.sort_unstable();
                    all.dedup();
                }
            }
            if current.is_some() {
                taken.current = claimed;
            } else if in_doubt.is_empty() || planted(Bug::ForgetsAPlaceInDoubt) {
                taken.spent.push(place);
            }
        }
        Ok(taken)
    }
}

/// Where partitions stand in the main table, and the names under which their dead letters may.
type Settling = BTreeMap<TopicPartition, (Offset, Vec<AppId>)>;

/// What taking the places over has found.
#[derive(Debug, Default)]
pub struct TakenOver {
    pub held: AlreadyDeadLettered,
    /// The place of the config.
    current: Option<Tip>,
    /// Former places without a dead letter in doubt: the main table may forget them.
    spent: Vec<String>,
}

/// A table, and the boot time at which it was so.
pub type SeenDeadLetters = (Snapshot, Duration);

/// Moves our `txn`s in a dead-letter table to where they stand, so that a
/// commit of another instance loses. `None` where there is no table.
async fn claim(
    store: &Store,
    identity: &Identity,
    resolved: &Settling,
    may_create: bool,
    mut seen: Option<SeenDeadLetters>,
    clock: &SharedClock,
) -> Result<Option<Tip>> {
    loop {
        let mut tip = match seen.take() {
            Some((snapshot, when)) => Tip::new(store.clone(), Some(snapshot), when),
            None => Tip::load(store, clock).await?,
        };
        let (description, mut actions) = if tip.exists() {
            check(store, tip.snapshot())?;
            (Description::streaming_update(Vec::new()), Vec::new())
        } else if may_create {
            let actions = create::actions(&Schema::of_dead_letters(), clock.fresh_id(), clock.wall_ms());
            (Description::create_table(), actions)
        } else {
            return Ok(None);
        };
        let stands =
            |app_id: &str| if tip.exists() { tip.snapshot().txns.get(app_id).copied() } else { None };
        for (source, (offset, names)) in resolved {
            for name in names {
                let app_id = dead_letters::app_id(&name.table_id, &name.source);
                let is_own = name.table_id == identity.table_id && name.source == *source;
                // An older one is moved where it stands, so that who writes under it loses.
                if let Some(reach) = stands(&app_id).or(is_own.then_some(0)) {
                    actions.push(create::txn(app_id, offset.0.max(reach), clock.wall_ms()));
                }
            }
        }
        let body = CommitBody::new(&identity.writer, description, actions, clock);
        let claimed = transaction::commit_once(&mut tip, body, FewTries::default(), clock).await?;
        if let Outcome::Landed { .. } = claimed {
            return Ok(Some(tip));
        }
    }
}

/// What became of dead letters that were to be committed.
#[must_use]
pub(super) enum Posted {
    Landed,
    /// Another instance took the dead-letter table over.
    Fenced(Option<Writer>),
    /// The table has changed: look at it again.
    Changed,
    /// It took so long that only the table can tell.
    Unsure,
}

/// The dead-letter table that is written now.
pub(super) struct DeadLetters {
    pub(super) log_tip: LogTip,
}

impl DeadLetters {
    /// The place of the config, and the actions that let the main table forget former ones.
    pub(super) fn new(
        taken: TakenOver,
        identity: &Identity,
        main: &Snapshot,
        upkeep: &LogUpkeep,
        clock: &SharedClock,
    ) -> (Option<DeadLetters>, Vec<Action>) {
        let current = taken.current.map(|tip| DeadLetters { log_tip: LogTip::new(tip, upkeep) });
        // Of a group, others may write to a former place still, by a config of before.
        if identity.writer.group.is_some() {
            return (current, Vec::new());
        }
        let table_ids = Lineage::of(&main.txns).table_ids(&identity.table_id);
        let all = taken
            .spent
            .iter()
            .flat_map(|place| table_ids.iter().map(|table_id| dead_letters::place_app_id(table_id, place)));
        let forget = all.filter_map(|app_id| {
            let version = main.txns.get(&app_id).filter(|version| *version % 2 == 1)?;
            Some(create::txn(app_id, version + 1, clock.wall_ms()))
        });
        (current, forget.collect())
    }

    /// Commits files of dead letters, each with the ranges that it came from. `ours` are the partitions that we read.
    pub(super) async fn post(
        &mut self,
        files: &[(DataFile, Vec<OffsetRange>)],
        ours: &BTreeMap<TopicPartition, Offset>,
        identity: &Identity,
        retry_policy: &RetryPolicy,
        clock: &SharedClock,
    ) -> Result<Posted> {
        let own: BTreeSet<String> =
            ours.keys().map(|source| dead_letters::app_id(&identity.table_id, source)).collect();
        let mut post = Post { table: self, files, own: &own, identity, retry_policy, clock };
        match transaction::commit(&mut post, clock).await? {
            // Who took the table over since may have read that these are not in it.
            Outcome::Landed { .. } if self.keep_up(&own, retry_policy, clock).await?.is_some() => {
                Ok(Posted::Unsure)
            }
            Outcome::Landed { .. } => {
                self.log_tip.checkpoint_when_due(clock);
                Ok(Posted::Landed)
            }
            Outcome::Unsure => Ok(Posted::Unsure),
            Outcome::Moved(trouble) => trouble,
        }
    }

    /// Meets what came unseen, where the tip was last seen long ago.
    async fn keep_up(
        &mut self,
        own: &BTreeSet<String>,
        retry_policy: &RetryPolicy,
        clock: &SharedClock,
    ) -> Result<Option<Posted>> {
        while !self.log_tip.is_trusted(clock.boot()) {
            let Some(unseen) = self.log_tip.unseen(retry_policy, clock.boot()).await? else {
                return Ok(Some(Posted::Changed));
            };
            for (_, body) in unseen {
                if let Some(trouble) = self.apply_foreign_commit(&body, own)? {
                    return Ok(Some(trouble));
                }
            }
        }
        Ok(None)
    }

    fn apply_foreign_commit(&mut self, body: &Bytes, own: &BTreeSet<String>) -> Result<Option<Posted>> {
        let stake = |app_id: &str| if own.contains(app_id) { Relation::Ours } else { Relation::Foreign };
        Ok(match self.log_tip.tip.apply_foreign_commit(body, &stake)? {
            Verdict::Harmless => None,
            Verdict::Fenced(by) => Some(Posted::Fenced(by)),
            _ => {
                check(self.log_tip.store(), self.log_tip.snapshot())?;
                Some(Posted::Changed)
            }
        })
    }

    fn body(
        &self,
        files: &[(DataFile, Vec<OffsetRange>)],
        identity: &Identity,
        clock: &SharedClock,
    ) -> CommitBody {
        let mut reach: BTreeMap<String, i64> = BTreeMap::new();
        for range in files.iter().flat_map(|(_, ranges)| ranges) {
            let app_id = dead_letters::app_id(&identity.table_id, &range.source);
            let stands = self.log_tip.snapshot().txns.get(&app_id).copied().unwrap_or(0);
            let reach = reach.entry(app_id).or_insert(stands);
            let floor = if planted(Bug::DeadLetterOffsetsGoBack) { 0 } else { *reach };
            *reach = range.next.0.max(floor);
        }
        let now = clock.wall_ms();
        let mut actions: Vec<Action> =
            reach.into_iter().map(|(app_id, version)| create::txn(app_id, version, now)).collect();
        actions.extend(files.iter().map(|(file, ranges)| {
            let tag = DeadLettersTag { table_id: identity.table_id.clone(), ranges: ranges.clone() };
            file.add(DEAD_LETTERS_TAG, &tag)
        }));
        CommitBody::new(&identity.writer, Description::streaming_update(Vec::new()), actions, clock)
    }
}

/// Files of dead letters on their way into their table.
struct Post<'a> {
    table: &'a mut DeadLetters,
    files: &'a [(DataFile, Vec<OffsetRange>)],
    own: &'a BTreeSet<String>,
    identity: &'a Identity,
    retry_policy: &'a RetryPolicy,
    clock: &'a SharedClock,
}

impl Transaction for Post<'_> {
    /// Never [`Posted::Landed`], never [`Posted::Unsure`].
    type Moved = Result<Posted>;
    type Waits = RetryPolicy;

    fn tip(&mut self) -> &mut Tip {
        &mut self.table.log_tip.tip
    }

    async fn body(&mut self) -> Result<CommitBody, Result<Posted>> {
        if let Some(trouble) = self.table.keep_up(self.own, self.retry_policy, self.clock).await.transpose() {
            return Err(trouble);
        }
        // The look at the log may have taken its time.
        if self.files.iter().any(|(file, _)| file.is_old(self.clock.boot())) {
            return Err(Ok(Posted::Changed));
        }
        Ok(self.table.body(self.files, self.identity, self.clock))
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), Result<Posted>> {
        self.table.apply_foreign_commit(winner, self.own).transpose().map_or(Ok(()), Err)
    }

    fn waits(&self) -> &RetryPolicy {
        self.retry_policy
    }
}
