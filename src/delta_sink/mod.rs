//! A Delta table as the place where rows and offsets go in one step.
//!
//! Appends go through here and nowhere else. It does not own the decisions:
//! whose version it is and whether it is late is `delta::transaction`, what
//! another commit means `protocol::verdict`, whether to give way
//! `protocol::fence`.
//!
//! | file | owns |
//! |---|---|
//! | `open` | opening a table for an ingestion: anchors and claims |
//! | `delta_table` | the table's state between commits, and what another's commit means for ours |
//! | `append` | units of work on their way into the table |
//! | `claims` | taking partitions over, at first and again |
//! | `dead_letters` | the table's dead letters: taken over first, committed first |
//! | `log_tip` | what came unseen, and the checkpoints that follow from the tip |
//! | `look_around` | noticing, with nothing to commit, that a person moved our offsets |
//! | `offset_overrides` | what an entry of the log is to the partitions that we read |
//! | `identity` | who writes the table here |
//! | `retry_policy` | waiting for a store that does not answer |
//!
//! On the commit path nothing is listed and no file list is kept: a commit is
//! one put of a few kilobytes, however large the table.

mod append;
mod claims;
mod dead_letters;
mod delta_table;
mod identity;
mod log_tip;
mod look_around;
mod offset_overrides;
mod open;
mod retry_policy;

use std::collections::BTreeSet;

pub use self::dead_letters::{DeadLetterLocations, SeenDeadLetters};
pub use self::delta_table::DeltaSink;
pub use self::identity::Identity;
pub use self::log_tip::{CHECKPOINT_EVERY, LogUpkeep};
pub use self::open::{Opened, Preview, open};
use crate::delta::data_file::DataFile;
use crate::error::Result;
use crate::ids::{NextOffsets, TopicPartition};
use crate::protocol::ledger::Work;
use crate::sink::{Begun, Committed, Sink};

impl Sink for DeltaSink {
    async fn commit(&mut self, work: &mut [Work<DataFile>], own: &NextOffsets) -> Result<Committed> {
        self.append(work, own).await
    }

    async fn after_commit(&mut self) {
        self.log_tip.checkpoint_when_due(&self.clock);
        let others_first = self.contention.won();
        self.rest_within(others_first).await;
    }

    async fn begin_again(&mut self, own: &NextOffsets) -> Result<Option<Begun>> {
        self.take_all_over(own).await
    }

    async fn join(&mut self, own: &NextOffsets, sources: &BTreeSet<TopicPartition>) -> Result<Option<Begun>> {
        self.take_more_over(own, sources).await
    }

    async fn look_around(&mut self, own: &NextOffsets) -> Result<bool> {
        self.notice_moves(own).await
    }

    fn discard(&self, work: Vec<Work<DataFile>>) {
        self.discard_units(work);
    }

    fn end(&mut self) {
        self.log_tip.end();
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.log_tip.end();
        }
    }
}
