//! What the supervisor knows of one table: whether it opens, runs, rests or has stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::delta_sink::Opened;
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::preflight::Ready;
use crate::source::identity_check::IdentityCheck;

/// A table that could not be opened is tried again after this long, and ever less often.
const TRY_AGAIN_FIRST: Duration = Duration::from_secs(3);

const TRY_AGAIN_MAX: Duration = Duration::from_secs(30);

/// A table whose log and topic were looked at, with its partitions anchored.
pub(super) struct Started {
    pub(super) ready: Ready,
    pub(super) opened: Opened,
}

/// What a thread that opens a table ends with.
pub(super) type Outcome = (usize, Result<Box<Started>>);

/// A table's state; which one follows is in `Ingestion`'s methods below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// A thread opens it.
    Opening,
    /// It could not be opened, and may be able to from this boot time on.
    Retrying(Duration),
    /// Its committer is at work.
    Running,
    /// Shards hand over what they have of it; then it is opened again.
    Reopening,
    /// All that was to be read is committed.
    Ended,
    /// A person must mend something.
    Stopped,
}

pub(super) struct TableLife {
    pub(super) life: Life,
    /// Partitions that are read.
    pub(super) reading: BTreeSet<TopicPartition>,
    /// Why it was not opened when that was last tried, and when that was logged.
    pub(super) failed: Option<(Error, Duration)>,
    pub(super) backoff: Backoff,
    pub(super) identity_check: Option<IdentityCheck>,
}

impl TableLife {
    pub(super) fn new() -> TableLife {
        TableLife {
            life: Life::Opening,
            reading: BTreeSet::new(),
            failed: None,
            backoff: Backoff::new(TRY_AGAIN_FIRST, TRY_AGAIN_MAX),
            identity_check: None,
        }
    }
}
