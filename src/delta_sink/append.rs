//! Units of work on their way into the table: dead letters first, then rows and offsets in one commit.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tracing::info;

use super::dead_letters::Posted;
use super::delta_table::DeltaSink;
use super::retry_policy::RetryPolicy;
use crate::delta::action::RANGES_TAG;
use crate::delta::commit_body::{CommitBody, Description};
use crate::delta::create;
use crate::delta::data_file::DataFile;
use crate::delta::transaction::{self, Outcome, Tip, Transaction};
use crate::error::{Error, Result};
use crate::ids::{NextOffsets, Offset, OffsetRange, TopicPartition};
use crate::metrics;
use crate::protocol::ledger::Work;
use crate::protocol::planted::{Bug, planted};
use crate::sink::Committed;

impl DeltaSink {
    /// Commits this work, or finds out why it must not be committed.
    pub(super) async fn append(
        &mut self,
        work: &mut [Work<DataFile>],
        own: &NextOffsets,
    ) -> Result<Committed> {
        match self.prepare(work, own).await {
            Ok(true) => {}
            Ok(false) => return Ok(Committed::Misfits),
            Err(error) => return Ok(Committed::Failed(error)),
        }
        let clock = self.clock.clone();
        match transaction::commit(&mut Append { sink: self, work, own }, &clock).await? {
            // A late one is live, and what came after it may have taken the table from us.
            Outcome::Landed { late: true } if !self.catch_up(own).await? => Ok(Committed::Unsure),
            Outcome::Landed { .. } => {
                if planted(Bug::DeadLettersAfterOffsets) && !self.post_dead_letters(work, own).await? {
                    return Ok(Committed::Unsure);
                }
                self.forget.clear();
                Ok(Committed::Landed(self.log_tip.snapshot().version))
            }
            Outcome::Unsure => Ok(Committed::Unsure),
            Outcome::Moved(NotCommitted::Waits) => Ok(Committed::Waits),
            Outcome::Moved(NotCommitted::Misfits) => Ok(Committed::Misfits),
            Outcome::Moved(NotCommitted::Failed(error)) => Ok(Committed::Failed(error)),
        }
    }

    /// All that comes before the put. False: begin again.
    async fn prepare(&mut self, work: &mut [Work<DataFile>], own: &NextOffsets) -> Result<bool> {
        if !self.still_fits(work, own).await? {
            return Ok(false);
        }
        // In this order: dead letters go before the offsets that settle them, see `protocol::dead_letters`.
        if planted(Bug::DeadLettersAfterOffsets) { Ok(true) } else { self.post_dead_letters(work, own).await }
    }

    /// Commits the work's dead letters. False: the table is no longer ours to write.
    async fn post_dead_letters(&mut self, work: &mut [Work<DataFile>], own: &NextOffsets) -> Result<bool> {
        let files: Vec<(DataFile, Vec<OffsetRange>)> = work
            .iter_mut()
            .filter_map(|unit| {
                let ranges = unit.ranges.iter().filter(|range| range.dead_letters > 0).cloned().collect();
                Some((unit.dead_letters.take()?, ranges))
            })
            .collect();
        if files.is_empty() || planted(Bug::SkipsTheDeadLetters) {
            return Ok(true);
        }
        let table = self.dead_letters.as_mut().expect("shards write letters only where there is a place");
        match table.post(&files, own, &self.identity, &self.retry_policy, &self.clock).await? {
            Posted::Landed => {
                let dead_letters = files.iter().map(|(file, _)| file.rows).sum();
                metrics::dead_letters(&self.identity.table_id, dead_letters);
                info!(table = self.identity.table_id, dead_letters, "dead letters committed");
                return Ok(true);
            }
            Posted::Fenced(by) => self.fenced(by).await?,
            Posted::Changed => {}
            Posted::Unsure if planted(Bug::DeletesDeadLettersInDoubt) => {}
            // Its files may be live.
            Posted::Unsure => return Ok(false),
        }
        self.discard_dead_letters(files.into_iter().map(|(file, _)| file));
        Ok(false)
    }

    fn commit_body(&self, work: &[Work<DataFile>]) -> CommitBody {
        let now = self.clock.wall_ms();
        let mut next: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
        for range in work.iter().flat_map(|unit| &unit.ranges) {
            next.insert(range.source.clone(), range.next);
        }
        let mut actions = create::txns(&self.identity.table_id, &next, now);
        actions.extend(
            work.iter().filter_map(|unit| unit.file.as_ref().map(|file| file.add(RANGES_TAG, &unit.ranges))),
        );
        actions.extend(self.forget.iter().cloned());
        let ranges = work.iter().flat_map(|unit| unit.ranges.iter().cloned()).collect();
        let description = Description::streaming_update(ranges);
        CommitBody::new(&self.identity.writer, description, actions, &self.clock)
    }
}

/// Units of work on their way into the table.
struct Append<'a> {
    sink: &'a mut DeltaSink,
    work: &'a [Work<DataFile>],
    own: &'a NextOffsets,
}

/// Why units of work are not committed now. Nothing of them is in the table.
pub(super) enum NotCommitted {
    /// They go with what else is ready by now.
    Waits,
    /// They no longer fit the table.
    Misfits,
    Failed(Error),
}

impl NotCommitted {
    pub(super) fn unless(fits: Result<bool>) -> Result<(), NotCommitted> {
        match fits {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotCommitted::Misfits),
            Err(error) => Err(NotCommitted::Failed(error)),
        }
    }
}

impl Transaction for Append<'_> {
    type Moved = NotCommitted;
    type Waits = RetryPolicy;

    fn tip(&mut self) -> &mut Tip {
        &mut self.sink.log_tip.tip
    }

    async fn body(&mut self) -> Result<CommitBody, NotCommitted> {
        // Whatever came before may have taken days: a broker that was down, a machine that stood still.
        NotCommitted::unless(self.sink.still_fits(self.work, self.own).await)?;
        Ok(self.sink.commit_body(self.work))
    }

    async fn judge(&mut self, winner: &Bytes) -> Result<(), NotCommitted> {
        let sink = &mut *self.sink;
        metrics::commit_conflict(&sink.identity.table_id);
        let lost = sink.contention.lost();
        NotCommitted::unless(sink.give_way(winner, self.own).await)?;
        sink.rest_within(lost.wait_within).await;
        if lost.looks_to_tip {
            NotCommitted::unless(sink.follow(self.own).await)?;
            return Err(NotCommitted::Waits);
        }
        Ok(())
    }

    fn waits(&self) -> &RetryPolicy {
        &self.sink.retry_policy
    }

    fn resolved(&mut self, took: Duration) {
        self.sink.contention.took(took);
    }
}
