//! Where records come from: the seam between Kafka and everything below it.
//!
//! | file | owns |
//! |---|---|
//! | [`batch`] | record batches: an arena of bytes and the records' places in it |
//! | [`kafka`] | librdkafka as a [`Source`]: one client per shard |
//! | `messages` | messages taken from librdkafka in batches, and given back: the unsafe part |
//! | [`prefetch`] | how much a client may fetch ahead, within its share of memory |
//! | [`embedded`] | a broker in this process and a producer for it: the demo's |
//! | [`group`] | a member of a consumer group: what it is assigned, nothing of it fetched |
//! | [`catalog`] | what a broker says of topics: identity, partitions, offsets |
//! | [`identity_check`] | whether the topics are still the ones that are read |
//! | [`client_errors`] | why a broker cannot be talked to, and what the operator does |
//!
//! Architecture invariant: nothing above this seam sees a single message or a
//! librdkafka type, so that the client behind it can be replaced; `tests/tidy.rs`
//! refuses `rdkafka::` elsewhere.

pub mod batch;
pub mod catalog;
mod client_errors;
pub mod embedded;
pub mod group;
pub mod identity_check;
pub mod kafka;
mod messages;
pub mod prefetch;

use std::time::Duration;

pub use batch::{RecordBatch, Slot};

use crate::error::Error;
use crate::ids::{Offset, Partition};

/// The version of the library that speaks to Kafka.
pub fn client_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// What a source has to say.
#[derive(Debug)]
pub enum Event {
    /// Records of one partition, in the batch.
    Records,
    /// Everything before `next` was delivered or holds no record for us: the
    /// end of the partition as it is now, past markers and compacted records.
    End { slot: Slot, next: Offset },
    /// Nothing of the partition arrives for now; what comes next of it ends that.
    Troubled { slot: Slot, error: Error },
    /// The partition cannot be read on; others can.
    Lost { slot: Slot, error: Error },
}

/// A partition to read, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub slot: Slot,
    pub topic: String,
    pub partition: Partition,
    pub start: Offset,
    /// Records come with their headers; otherwise [`Source::headers`] has those of single records.
    pub headers: bool,
}

/// Delivers the committed records of assigned partitions, in batches.
///
/// For each partition, offsets only grow until it is assigned anew. Nothing
/// is delivered from before the latest assignment of its slot.
pub trait Source {
    /// Reads these partitions from these offsets, in place of what their slots read before.
    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error>;

    /// Stops reading a partition; where it is not read, nothing happens.
    fn release(&mut self, slot: Slot);

    /// Takes what has arrived; waits up to `wait` if there is nothing.
    fn poll(&mut self, wait: Duration);

    /// The next event of what was taken; `None` when all of it is told. Records are put into `batch`.
    fn next(&mut self, batch: &mut RecordBatch) -> Option<Event>;

    /// Writes the headers of a record of the last batch into `out`, in the form of
    /// [`crate::record::Headers`], in place of what is there.
    fn headers(&self, index: usize, out: &mut Vec<u8>);

    /// The end of a partition as far as the source knows it without asking.
    fn end(&self, slot: Slot) -> Option<Offset>;
}
