//! Beginning again from what the table says.
//!
//! It owns the reset: everything uncommitted is dropped, the table is looked
//! at anew and claimed, its dead letters are taken over, and the shards read
//! on from its offsets. When that is needed is the commit loop's to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::body::{Ours, body};
use super::letters::DeadLetters;
use super::{Committer, by_hand};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ToShard;
use crate::ids::{Offset, TopicPartition};
use crate::protocol::app_id::AppId;
use crate::protocol::dead_letters::Held;
use crate::protocol::planted::{Bug, planted};
use crate::table::log::{self, Settled, Snapshot};
use crate::table::{create, gate, since};

impl Committer {
    /// Discards everything uncommitted, takes the table over anew and lets the
    /// shards read from its offsets.
    pub(super) async fn reset(&mut self) -> Result<()> {
        self.generation.0 += 1;
        let (tips, held) = loop {
            self.heed_what_waits()?;
            self.see_all_off();
            let tips = self.look_again().await?;
            let held = self.take_letters_over(&tips).await?;
            // A later claim is somebody else's, and so may be what was taken over since.
            if self.catch_up().await? {
                break (tips, held);
            }
        };
        let Snapshot { protocol, metadata, .. } = &self.head.snapshot;
        self.schema = Arc::new(gate::admit(protocol, metadata)?);
        let dropped = self.ledger.reset(tips.clone());
        self.discard(dropped);
        (self.tenants.held, self.tenants.must_reset) = (Arc::new(held), false);
        self.show_offsets(self.ledger.tips());
        self.tell_tips();
        let reset = ToShard::Reset {
            table: self.wiring.table,
            generation: self.generation,
            schema: Arc::clone(&self.schema),
            starts: tips,
            held: Arc::clone(&self.tenants.held),
        };
        let missed = usize::from(planted(Bug::ResetMissesAShard));
        for shard in 0..self.wiring.shards.len() - missed {
            self.tell(shard, reset.clone()).await;
        }
        Ok(())
    }

    /// Loads the table as it is now, claims it where dead letters may stand,
    /// and returns our offsets in it.
    async fn look_again(&mut self) -> Result<BTreeMap<TopicPartition, Offset>> {
        let store = self.head.store.clone();
        loop {
            let begun = self.wiring.clock.boot();
            let snapshot = self.patience.ask(|| log::load(&store)).await?;
            let Some(snapshot) = snapshot else {
                return Err(Error::new(ErrorKind::Disagree, format!("{}: the table is gone", store.url))
                    .remedy("restore the table, or start again with a new table id"));
            };
            if !planted(Bug::BeginsAgainAfterARestore) {
                self.patience.ask(|| since::not_replaced(&store, &snapshot, &self.identity.table_id)).await?;
            }
            let tips = self.tips_in(&snapshot, self.ledger.tips().keys())?;
            let now = self.wiring.clock.boot();
            self.head.replace(snapshot, if planted(Bug::TrustsALookThatTookLong) { now } else { begun });
            if !self.still_fits(&[]).await? {
                continue;
            }
            let Some(claim) = self.claim(&tips) else { return Ok(tips) };
            let settled = self.put(claim).await?;
            // One that took too long may have landed where nobody looks any more.
            if matches!(settled, Settled::Won) && self.head.is_trusted(self.wiring.clock.boot()) {
                return Ok(tips);
            }
        }
    }

    /// The commit that claims these partitions; `None` where none is needed.
    pub(super) fn claim(&self, tips: &BTreeMap<TopicPartition, Offset>) -> Option<Ours> {
        if tips.is_empty() {
            return None;
        }
        let now = self.wiring.clock.wall_ms();
        let claim = self.places.claim(&self.identity, Some(&self.head.snapshot), now)?;
        let mut actions = create::txns(&self.identity.table_id, tips, now);
        actions.extend(claim);
        Some(body(&self.identity, "STREAMING UPDATE", actions, Vec::new(), &self.wiring.clock))
    }

    pub(super) fn tips_in<'a>(
        &self,
        snapshot: &Snapshot,
        sources: impl Iterator<Item = &'a TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        let table_id = &self.identity.table_id;
        let mut tips = BTreeMap::new();
        for source in sources {
            let app_id = AppId::new(table_id, source.clone()).to_string();
            let Some(&offset) = snapshot.txns.get(&app_id) else {
                return Err(Error::new(
                    ErrorKind::Disagree,
                    format!("{}: the offset of {source} is gone", self.head.store.url),
                )
                .remedy("the table was restored or replaced: look at its history"));
            };
            tips.insert(source.clone(), Offset(offset));
        }
        if !planted(Bug::BeginsAgainAfterAHandover) {
            by_hand::refuse_handed_over(table_id, &tips, &snapshot.txns)?;
        }
        Ok(tips)
    }

    /// Takes the dead letters of these partitions over, which are claimed and stand at `tips`.
    pub(super) async fn take_letters_over(
        &mut self,
        tips: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Held> {
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.head.end();
        }
        if tips.is_empty() {
            self.dead_letters = None;
            return Ok(Held::new());
        }
        let main = &self.head.snapshot;
        let (places, identity, clock) = (&self.places, &self.identity, &self.wiring.clock);
        let mut taken = self.patience.ask(|| places.take_over(identity, main, tips, None, clock)).await?;
        let held = std::mem::take(&mut taken.held);
        (self.dead_letters, self.forget) = DeadLetters::new(taken, identity, main, &self.wiring);
        Ok(held)
    }
}
