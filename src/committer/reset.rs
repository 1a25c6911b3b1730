//! Beginning again from what the table says.
//!
//! It owns the reset: everything uncommitted is dropped, the table is looked
//! at anew and claimed, its dead letters are taken over, and the shards read
//! on from its offsets. When that is needed is the commit loop's to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dead_letters::DeadLetters;
use super::{Committer, offset_overrides};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ToShard;
use crate::ids::{Offset, TopicPartition};
use crate::protocol::app_id::AppId;
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::planted::{Bug, planted};
use crate::table::commit_body::{CommitBody, Description};
use crate::table::log::{self, Snapshot};
use crate::table::transaction::{self, Outcome, Tip};
use crate::table::{create, since, write_compatibility};

impl Committer {
    /// Discards everything uncommitted, takes the table over anew and lets the
    /// shards read from its offsets.
    pub(super) async fn reset(&mut self) -> Result<()> {
        self.reset_epoch.0 += 1;
        let (next_offsets, held) = loop {
            self.heed_what_waits()?;
            self.see_all_off();
            let next_offsets = self.look_again().await?;
            let held = self.take_dead_letters_over(&next_offsets).await?;
            // A later claim is somebody else's, and so may be what was taken over since.
            if self.catch_up().await? {
                break (next_offsets, held);
            }
        };
        let Snapshot { protocol, metadata, .. } = self.log_tip.snapshot();
        self.schema = Arc::new(write_compatibility::check(protocol, metadata)?);
        let dropped = self.ledger.reset(next_offsets.clone());
        self.discard(dropped);
        (self.group_assignments.held, self.group_assignments.must_reset) = (Arc::new(held), false);
        self.show_offsets(self.ledger.next_offsets());
        self.tell_next_offsets();
        let reset = ToShard::Reset {
            table: self.dependencies.table,
            reset_epoch: self.reset_epoch,
            schema: Arc::clone(&self.schema),
            starts: next_offsets,
            held: Arc::clone(&self.group_assignments.held),
        };
        let missed = usize::from(planted(Bug::ResetMissesAShard));
        for shard in 0..self.dependencies.shards.len() - missed {
            self.tell(shard, reset.clone()).await;
        }
        Ok(())
    }

    /// Loads the table as it is now, claims it where dead letters may stand,
    /// and returns our offsets in it.
    async fn look_again(&mut self) -> Result<BTreeMap<TopicPartition, Offset>> {
        let store = self.log_tip.store().clone();
        loop {
            let begun = self.dependencies.clock.boot();
            let snapshot = self.retry_policy.ask(|| log::load(&store)).await?;
            let Some(snapshot) = snapshot else {
                return Err(Error::new(ErrorKind::Disagree, format!("{}: the table is gone", store.url))
                    .remedy("restore the table, or start again with a new table id"));
            };
            if !planted(Bug::BeginsAgainAfterARestore) {
                self.retry_policy
                    .ask(|| since::not_replaced(&store, &snapshot, &self.identity.table_id))
                    .await?;
            }
            let next_offsets = self.next_offsets_in(&snapshot, self.ledger.next_offsets().keys())?;
            let now = self.dependencies.clock.boot();
            let seen = if planted(Bug::TrustsALookThatTookLong) { now } else { begun };
            self.log_tip.tip = Tip::new(store.clone(), Some(snapshot), seen);
            if !self.still_fits(&[]).await? {
                continue;
            }
            let Some(claim) = self.claim(&next_offsets) else { return Ok(next_offsets) };
            let (tip, waits) = (&mut self.log_tip.tip, self.retry_policy.clone());
            let claimed = transaction::commit_once(tip, claim, waits, &self.dependencies.clock).await?;
            // One that took long may have been followed by another's.
            if claimed == (Outcome::Landed { late: false }) {
                return Ok(next_offsets);
            }
        }
    }

    /// The commit that claims these partitions; `None` where none is needed.
    pub(super) fn claim(&self, next_offsets: &BTreeMap<TopicPartition, Offset>) -> Option<CommitBody> {
        if next_offsets.is_empty() {
            return None;
        }
        let now = self.dependencies.clock.wall_ms();
        let claim = self.places.claim(&self.identity, Some(self.log_tip.snapshot()), now)?;
        let mut actions = create::txns(&self.identity.table_id, next_offsets, now);
        actions.extend(claim);
        let description = Description::streaming_update(Vec::new());
        Some(CommitBody::new(&self.identity.writer, description, actions, &self.dependencies.clock))
    }

    pub(super) fn next_offsets_in<'a>(
        &self,
        snapshot: &Snapshot,
        sources: impl Iterator<Item = &'a TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        let table_id = &self.identity.table_id;
        let mut next_offsets = BTreeMap::new();
        for source in sources {
            let app_id = AppId::new(table_id, source.clone()).to_string();
            let Some(&offset) = snapshot.txns.get(&app_id) else {
                return Err(Error::new(
                    ErrorKind::Disagree,
                    format!("{}: the offset of {source} is gone", self.log_tip.store().url),
                )
                .remedy("the table was restored or replaced: look at its history"));
            };
            next_offsets.insert(source.clone(), Offset(offset));
        }
        if !planted(Bug::BeginsAgainAfterAIdentityTransfer) {
            offset_overrides::refuse_transferred(table_id, &next_offsets, &snapshot.txns)?;
        }
        Ok(next_offsets)
    }

    /// Takes the dead letters of these partitions over, which are claimed and stand at `next_offsets`.
    pub(super) async fn take_dead_letters_over(
        &mut self,
        next_offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<AlreadyDeadLettered> {
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.log_tip.end();
        }
        if next_offsets.is_empty() {
            self.dead_letters = None;
            return Ok(AlreadyDeadLettered::new());
        }
        let main = self.log_tip.snapshot();
        let (places, identity, clock) = (&self.places, &self.identity, &self.dependencies.clock);
        let mut taken =
            self.retry_policy.ask(|| places.take_over(identity, main, next_offsets, None, clock)).await?;
        let held = std::mem::take(&mut taken.held);
        (self.dead_letters, self.forget) = DeadLetters::new(taken, identity, main, &self.dependencies);
        Ok(held)
    }
}
