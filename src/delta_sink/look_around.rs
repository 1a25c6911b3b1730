//! Noticing, with nothing to commit, that a person moved our offsets.

use std::time::Duration;

use bytes::Bytes;

use super::delta_table::DeltaSink;
use super::offset_overrides::relation;
use crate::delta::action;
use crate::delta::log;
use crate::error::Result;
use crate::ids::NextOffsets;
use crate::protocol::verdict::Relation;

/// A quiet table is looked at this often for offsets that were overridden.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(60);

impl DeltaSink {
    /// With nothing to commit nobody would hear that a person moved our offsets: it is looked for now
    /// and then. What others did is judged before the next commit.
    /// False: begin again.
    pub(super) async fn notice_moves(&mut self, own: &NextOffsets) -> Result<bool> {
        let now = self.clock.boot();
        if self.log_tip.is_trusted(now) || now.saturating_sub(self.looked_around) < LOOK_AROUND_EVERY {
            return Ok(true);
        }
        self.looked_around = now;
        let Some(unseen) = self.log_tip.unseen(&self.retry_policy, now).await? else {
            return self.look_at_the_whole(own).await;
        };
        self.log_tip.distrust();
        let table_id = &self.identity.table_id;
        let is_moved = |body: &Bytes| {
            let names = action::commit(body).map(|commit| commit.winner.txns).unwrap_or_default();
            names.iter().any(|name| relation(table_id, own, name) == Relation::OffsetOverride)
        };
        let moved = unseen.iter().any(|(_, body)| is_moved(body));
        if moved { self.catch_up(own).await } else { Ok(true) }
    }

    /// Where there are too many versions to judge each, the table itself says whether it stands where we do.
    async fn look_at_the_whole(&mut self, own: &NextOffsets) -> Result<bool> {
        let store = self.log_tip.store().clone();
        let Some(snapshot) = self.retry_policy.ask(|| log::load(&store)).await? else { return Ok(true) };
        Ok(self.next_offsets_in(&snapshot, own.keys())? == *own)
    }
}
