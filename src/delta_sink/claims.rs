//! Taking partitions over: beside those that are read, or all of them again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::append::NotCommitted;
use super::dead_letters::DeadLetters;
use super::delta_table::DeltaSink;
use super::offset_overrides;
use super::retry_policy::RetryPolicy;
use crate::delta::commit_body::{CommitBody, Description};
use crate::delta::create;
use crate::delta::log::{self, Snapshot};
use crate::delta::since;
use crate::delta::transaction::{self, Outcome, Tip, Transaction};
use crate::delta::write_compatibility;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{NextOffsets, Offset, TopicPartition};
use crate::protocol::app_id::AppId;
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::planted::{Bug, planted};
use crate::sink::Begun;

impl DeltaSink {
    /// Takes everything that is read over anew. `None`: a later claim is somebody else's, and so may be
    /// what was taken over since.
    pub(super) async fn take_all_over(&mut self, own: &NextOffsets) -> Result<Option<Begun>> {
        let starts = self.look_again(own).await?;
        let held = self.take_dead_letters_over(&starts).await?;
        if !self.catch_up(own).await? {
            return Ok(None);
        }
        let Snapshot { protocol, metadata, .. } = self.log_tip.snapshot();
        self.schema = Arc::new(write_compatibility::check(protocol, metadata)?);
        Ok(Some(Begun { schema: Arc::clone(&self.schema), starts, held }))
    }

    /// Takes partitions over beside those that we have, whose work goes on. `None`: all must begin again.
    pub(super) async fn take_more_over(
        &mut self,
        own: &NextOffsets,
        sources: &BTreeSet<TopicPartition>,
    ) -> Result<Option<Begun>> {
        // With nothing to keep, a fresh look is less than following the log.
        if own.is_empty() || !self.catch_up(own).await? {
            return Ok(None);
        }
        let starts = self.next_offsets_in(self.log_tip.snapshot(), sources.iter())?;
        let mut own = own.clone();
        own.extend(starts.clone());
        if self.claim(&starts).is_some() && !planted(Bug::NoClaimOfAnAssignment) {
            let clock = Arc::clone(&self.clock);
            let mut claim = Claim { sink: self, claimed: &starts, own: &own };
            match transaction::commit(&mut claim, &clock).await? {
                Outcome::Landed { .. } => {}
                // It may have landed where nobody looks any more.
                Outcome::Unsure | Outcome::Moved(NotCommitted::Misfits | NotCommitted::Waits) => {
                    return Ok(None);
                }
                Outcome::Moved(NotCommitted::Failed(error)) => return Err(error),
            }
        }
        let held = self.take_dead_letters_over(&starts).await?;
        // A later claim is somebody else's, and so may be what was taken over since.
        let stands = self.catch_up(&own).await?;
        Ok(stands.then(|| Begun { schema: Arc::clone(&self.schema), starts, held }))
    }

    /// Loads the table as it is now, claims it where dead letters may stand,
    /// and returns our offsets in it.
    async fn look_again(&mut self, own: &NextOffsets) -> Result<NextOffsets> {
        let store = self.log_tip.store().clone();
        loop {
            let begun = self.clock.boot();
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
            let next_offsets = self.next_offsets_in(&snapshot, own.keys())?;
            let now = self.clock.boot();
            let seen = if planted(Bug::TrustsALookThatTookLong) { now } else { begun };
            self.log_tip.tip = Tip::new(store.clone(), Some(snapshot), seen);
            if !self.still_fits(&[], own).await? {
                continue;
            }
            let Some(claim) = self.claim(&next_offsets) else { return Ok(next_offsets) };
            let (tip, waits) = (&mut self.log_tip.tip, self.retry_policy.clone());
            let claimed = transaction::commit_once(tip, claim, waits, &self.clock).await?;
            // One that took long may have been followed by another's.
            if claimed == (Outcome::Landed { late: false }) {
                return Ok(next_offsets);
            }
        }
    }

    /// The commit that claims these partitions; `None` where none is needed.
    fn claim(&self, next_offsets: &NextOffsets) -> Option<CommitBody> {
        if next_offsets.is_empty() {
            return None;
        }
        let now = self.clock.wall_ms();
        let claim = self.places.claim(&self.identity, Some(self.log_tip.snapshot()), now)?;
        let mut actions = create::txns(&self.identity.table_id, next_offsets, now);
        actions.extend(claim);
        let description = Description::streaming_update(Vec::new());
        Some(CommitBody::new(&self.identity.writer, description, actions, &self.clock))
    }

    pub(super) fn next_offsets_in<'a>(
        &self,
        snapshot: &Snapshot,
        sources: impl Iterator<Item = &'a TopicPartition>,
    ) -> Result<NextOffsets> {
        let table_id = &self.identity.table_id;
        let mut next_offsets = NextOffsets::new();
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
    async fn take_dead_letters_over(&mut self, next_offsets: &NextOffsets) -> Result<AlreadyDeadLettered> {
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.log_tip.end();
        }
        if next_offsets.is_empty() {
            self.dead_letters = None;
            return Ok(AlreadyDeadLettered::new());
        }
        let main = self.log_tip.snapshot();
        let (places, identity, clock) = (&self.places, &self.identity, &self.clock);
        let mut taken =
            self.retry_policy.ask(|| places.take_over(identity, main, next_offsets, None, clock)).await?;
        let held = std::mem::take(&mut taken.held);
        (self.dead_letters, self.forget) = DeadLetters::new(taken, identity, main, &self.upkeep, clock);
        Ok(held)
    }
}

/// The claim of partitions beside those that are read, whose work goes on.
struct Claim<'a> {
    sink: &'a mut DeltaSink,
    claimed: &'a NextOffsets,
    own: &'a NextOffsets,
}

impl Transaction for Claim<'_> {
    type Moved = NotCommitted;
    type Waits = RetryPolicy;

    fn tip(&mut self) -> &mut Tip {
        &mut self.sink.log_tip.tip
    }

    async fn body(&mut self) -> Result<CommitBody, NotCommitted> {
        NotCommitted::unless(self.sink.still_fits(&[], self.own).await)?;
        self.sink.claim(self.claimed).ok_or(NotCommitted::Misfits)
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), NotCommitted> {
        NotCommitted::unless(self.sink.give_way(winner, self.own).await)
    }

    fn waits(&self) -> &RetryPolicy {
        &self.sink.retry_policy
    }
}
