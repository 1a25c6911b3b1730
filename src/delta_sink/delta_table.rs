//! A table's state between commits, and what another's commit means for what is not committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{info, warn};

use super::dead_letters::{DeadLetterLocations, DeadLetters};
use super::identity::Identity;
use super::log_tip::{LogTip, LogUpkeep};
use super::offset_overrides::{self, relation};
use super::open::Opened;
use super::retry_policy::RetryPolicy;
use crate::clock::SharedClock;
use crate::delta::action::Action;
use crate::delta::data_file::DataFile;
use crate::delta::log::{self, Found};
use crate::delta::transaction::Tip;
use crate::delta::write_compatibility;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::NextOffsets;
use crate::protocol::contention::Contention;
use crate::protocol::fence::{Fence, Fenced, Writer};
use crate::protocol::ledger::Work;
use crate::protocol::planted::{Bug, planted};
use crate::protocol::verdict::Verdict;
use crate::schema::Schema;
use crate::status::Board;
use crate::stores::orphan_cleaner::Orphan;
use crate::stores::store::Store;

/// A Delta table that is written here.
pub struct DeltaSink {
    pub(super) identity: Identity,
    pub(super) clock: SharedClock,
    pub(super) upkeep: LogUpkeep,
    pub(super) places: DeadLetterLocations,
    pub(super) log_tip: LogTip,
    pub(super) retry_policy: RetryPolicy,
    pub(super) schema: Arc<Schema>,
    /// Where bad records are kept.
    pub(super) dead_letters: Option<DeadLetters>,
    /// What the next commit says besides: former places of dead letters are forgotten.
    pub(super) forget: Vec<Action>,
    pub(super) contention: Contention,
    /// Boot time.
    pub(super) looked_around: Duration,
    fence: Fence,
}

impl DeltaSink {
    pub fn new(
        store: Store,
        identity: Identity,
        places: DeadLetterLocations,
        opened: Opened,
        upkeep: LogUpkeep,
        clock: SharedClock,
        board: Arc<Board>,
    ) -> DeltaSink {
        let (dead_letters, forget) =
            DeadLetters::new(opened.dead_letters, &identity, &opened.snapshot, &upkeep, &clock);
        let seen = if planted(Bug::TrustsALookThatTookLong) { clock.boot() } else { opened.seen };
        DeltaSink {
            log_tip: LogTip::new(Tip::new(store, Some(opened.snapshot), seen), &upkeep),
            retry_policy: RetryPolicy { board, table_id: identity.table_id.clone() },
            schema: opened.schema,
            dead_letters,
            forget,
            contention: Contention::default(),
            looked_around: clock.boot(),
            fence: Fence::default(),
            identity,
            clock,
            upkeep,
            places,
        }
    }

    /// Whether the files are sure to be there, and the log is still the one that the work belongs to.
    /// The version that is put next must be one that nobody can have written and cleaned up since.
    pub(super) async fn still_fits(&mut self, work: &[Work<DataFile>], own: &NextOffsets) -> Result<bool> {
        // The look may take its time, too.
        while !self.log_tip.is_trusted(self.clock.boot()) {
            if !self.catch_up(own).await? {
                return Ok(false);
            }
        }
        let now = self.clock.boot();
        if work.iter().any(|unit| unit.file.iter().chain(&unit.dead_letters).any(|file| file.is_old(now))) {
            warn!(table = self.identity.table_id, "files waited so long that a vacuum may have removed them");
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes the winner of our version over. False: what we hold no longer fits the table.
    pub(super) async fn give_way(&mut self, winner: &Bytes, own: &NextOffsets) -> Result<bool> {
        let table_id = &self.identity.table_id;
        let stake = |app_id: &str| relation(table_id, own, app_id);
        match self.log_tip.tip.apply_foreign_commit(winner, &stake)? {
            Verdict::Fenced(by) => self.fenced(by).await.map(|()| false),
            Verdict::Transferred(by, entries) => Err(offset_overrides::transferred(table_id, by, &entries)),
            Verdict::OffsetsSet(by, entries) => {
                let by = by.map(tracing::field::display);
                warn!(table = table_id, by, %entries, "offsets were overridden; reading on from them");
                Ok(false)
            }
            Verdict::Reload => {
                let snapshot = self.log_tip.snapshot();
                let schema = write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?;
                Ok(write_compatibility::still_fits(&self.schema, &schema)
                    || planted(Bug::IgnoresASchemaChange))
            }
            _ => Ok(true),
        }
    }

    pub(super) async fn fenced(&mut self, by: Option<Writer>) -> Result<()> {
        let now = self.clock.boot();
        if let Some(peer) = by.as_ref().filter(|by| by.is_peer_of(&self.identity.writer)) {
            let after = self.fence.hit_by_peer(now);
            info!(
                table = self.identity.table_id, by = %peer,
                "a member of the group moved offsets that we read; reading on what is assigned"
            );
            tokio::time::sleep(after).await;
            return Ok(());
        }
        let alive = by.as_ref().is_some_and(|writer| (self.identity.is_alive)(writer));
        match self.fence.hit(now, alive) {
            Fenced::Reload => {
                warn!(
                    table = self.identity.table_id,
                    by = by.map(tracing::field::display),
                    "another commit moved our offsets; reading on from them"
                );
                Ok(())
            }
            Fenced::GiveUp => Err(self.gives_way_to(by)),
        }
    }

    fn gives_way_to(&self, by: Option<Writer>) -> Error {
        let name = by.map_or_else(|| "an unknown writer".to_owned(), |writer| writer.to_string());
        Error::new(
            ErrorKind::Fenced,
            format!("table `{}` is written by {name}: this instance gives way", self.identity.table_id),
        )
        .remedy("run one instance per table id; stop the other one before starting this one")
    }

    /// The log may have moved on unseen: judges every version since. False:
    /// what we hold no longer fits.
    pub(super) async fn catch_up(&mut self, own: &NextOffsets) -> Result<bool> {
        let Some(unseen) = self.log_tip.unseen(&self.retry_policy, self.clock.boot()).await? else {
            return Ok(false);
        };
        for (_, body) in unseen {
            if !self.give_way(&body, own).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Follows the log to its tip, as far as it is to be had. False: what we hold no longer fits.
    pub(super) async fn follow(&mut self, own: &NextOffsets) -> Result<bool> {
        while let Found::Commit(body) =
            log::get(self.log_tip.store(), self.log_tip.snapshot().version.next()).await
        {
            if !self.give_way(&body, own).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has files deleted that no commit names or can come to name.
    pub(super) fn discard_units(&self, work: Vec<Work<DataFile>>) {
        for unit in work {
            if let Some(file) = unit.file {
                self.upkeep
                    .orphan_cleaner
                    .sweep(self.log_tip.store(), Orphan::whole(self.log_tip.store().path(&file.path)));
            }
            self.discard_dead_letters(unit.dead_letters);
        }
    }

    /// The same for files of dead letters.
    pub(super) fn discard_dead_letters(&self, dead_letters: impl IntoIterator<Item = DataFile>) {
        if let Some(table) = &self.dead_letters {
            let store = table.log_tip.store();
            for file in dead_letters {
                self.upkeep.orphan_cleaner.sweep(store, Orphan::whole(store.path(&file.path)));
            }
        }
    }

    /// Rests for a random part of this time.
    pub(super) async fn rest_within(&self, limit: Duration) {
        if limit.is_zero() {
            return;
        }
        let id = self.clock.fresh_id();
        let part = id.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        tokio::time::sleep(limit.mul_f64(f64::from(part) / f64::from(u32::MAX))).await;
    }
}
