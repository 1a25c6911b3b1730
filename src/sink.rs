//! Where rows and offsets go in one step.
//!
//! It owns what a table's queue (`committer`) asks of such a place, so that
//! the queue knows the order of work and not what a commit is. Shards write
//! Parquet files into the table's store whatever takes them in; `delta_sink`
//! is the only one for now.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::delta::data_file::DataFile;
use crate::error::{Error, Result};
use crate::ids::{NextOffsets, TopicPartition, Version};
use crate::protocol::dead_letters::AlreadyDeadLettered;
use crate::protocol::ledger::Work;
use crate::schema::Schema;

/// A place that takes the files of units of work in together with their offsets.
///
/// `own` are the partitions that are read here, and where they stand as far as the queue knows.
pub trait Sink: Send + Sync + 'static {
    /// Takes units of work in, all of them or none, with the offsets that they move. Their dead letters go first.
    ///
    /// # Errors
    /// Whether they were taken in is not known.
    fn commit(
        &mut self,
        work: &mut [Work<DataFile>],
        own: &NextOffsets,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// The shards know what was committed; there is time for what can wait.
    fn after_commit(&mut self) -> impl Future<Output = ()> + Send;

    /// Looks at the place as it is now, and takes the partitions over; `None`: somebody else did
    /// meanwhile, and all must be looked at once more.
    fn begin_again(&mut self, own: &NextOffsets) -> impl Future<Output = Result<Option<Begun>>> + Send;

    /// Takes partitions over beside those that are read, whose work goes on. `None`: all must begin again.
    fn join(
        &mut self,
        own: &NextOffsets,
        sources: &BTreeSet<TopicPartition>,
    ) -> impl Future<Output = Result<Option<Begun>>> + Send;

    /// With nothing to commit: whether what is read still fits. False: begin again.
    fn look_around(&mut self, own: &NextOffsets) -> impl Future<Output = Result<bool>> + Send;

    /// Has the files of units deleted that were not taken in, and never will be.
    fn discard(&self, work: Vec<Work<DataFile>>);

    /// Nothing more comes. What is still under way beside the commits is not waited for.
    fn end(&mut self);
}

/// What became of units of work.
#[must_use]
pub enum Committed {
    Landed(Version),
    /// They are not in, and go with what else is ready by now.
    Waits,
    /// They are not in, and no longer fit.
    Misfits,
    /// They are not in, and why.
    Failed(Error),
    /// They may be in: only a fresh look tells.
    Unsure,
}

/// Partitions that are taken over.
pub struct Begun {
    pub schema: Arc<Schema>,
    /// Where they stand.
    pub starts: NextOffsets,
    /// What of them stands as a dead letter already.
    pub held: AlreadyDeadLettered,
}
