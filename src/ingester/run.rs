//! What a run is started with.

use crossbeam_channel::Receiver;

use crate::clock::SharedClock;
use crate::config::Config;

/// What a run needs besides its config.
pub struct Run {
    pub config: Config,
    /// Stop when the end offsets seen at start are committed.
    pub until_end: bool,
    pub clock: SharedClock,
    /// Says that the run should end in order.
    pub stop: Receiver<()>,
}
