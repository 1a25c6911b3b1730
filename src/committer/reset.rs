//! Beginning again from what the table says.
//!
//! It owns the reset: everything uncommitted is dropped, the sink takes the
//! partitions over anew, and the shards read on from its offsets. When that is
//! needed is the queue's to say.

use std::sync::Arc;

use super::queue::Committer;
use crate::error::Result;
use crate::exchange::ToShard;
use crate::protocol::planted::{Bug, planted};
use crate::sink::Sink;

impl<S: Sink> Committer<S> {
    /// Discards everything uncommitted, takes the table over anew and lets the
    /// shards read from its offsets.
    pub(super) async fn reset(&mut self) -> Result<()> {
        self.reset_epoch.0 += 1;
        let begun = loop {
            self.heed_what_waits()?;
            self.see_all_off();
            if let Some(begun) = self.sink.begin_again(self.ledger.next_offsets()).await? {
                break begun;
            }
        };
        let dropped = self.ledger.reset(begun.starts.clone());
        self.sink.discard(dropped);
        (self.group_assignments.held, self.group_assignments.must_reset) = (Arc::new(begun.held), false);
        self.show_offsets(self.ledger.next_offsets());
        self.tell_next_offsets();
        let reset = ToShard::Reset {
            table: self.dependencies.table,
            reset_epoch: self.reset_epoch,
            schema: begun.schema,
            starts: begun.starts,
            held: Arc::clone(&self.group_assignments.held),
        };
        let missed = usize::from(planted(Bug::ResetMissesAShard));
        for shard in 0..self.dependencies.shards.len() - missed {
            self.tell(shard, reset.clone()).await;
        }
        Ok(())
    }
}
