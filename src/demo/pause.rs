//! Waiting between two steps of the demo.

use std::time::Duration;

pub(super) fn pause(time: Duration) {
    // Nobody sends: the wait is all.
    let _ = crossbeam_channel::never::<()>().recv_timeout(time);
}
