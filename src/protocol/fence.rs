//! Whether a moved offset is a predecessor's late commit or a live rival.
//!
//! It owns the identity that every commit of ours carries, and the judgement
//! of a fence. A process that was killed may have left a put in flight; when
//! it lands, its successor is fenced once, reloads and goes on. A rival keeps
//! committing: being fenced a second time within a minute, or by a process
//! that is known to be alive, ends this one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who wrote a commit: stands in `commitInfo`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Writer {
    /// A fresh id for every start of a process.
    pub instance: String,
    pub host: String,
    /// Process id and its start time, so that a reused number is not the same process.
    pub pid: u32,
    pub started: u64,
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "instance {} on host {}, pid {}", self.instance, self.host, self.pid)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Fenced {
    /// Take the table's offsets and go on.
    Reload,
    /// Another process runs this ingestion: leave it to that one.
    GiveUp,
}

/// Two fences within this time are a rival, not a late commit.
pub const RIVAL_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct Fence {
    last: Option<Duration>,
}

impl Fence {
    /// Our offsets were moved by another, at boot time `now`.
    pub fn hit(&mut self, now: Duration, rival_is_alive: bool) -> Fenced {
        let before = self.last.replace(now);
        let soon_again = before.is_some_and(|before| now.saturating_sub(before) < RIVAL_WITHIN);
        if rival_is_alive || soon_again { Fenced::GiveUp } else { Fenced::Reload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_predecessors_late_commit_is_forgiven_once() {
        let mut fence = Fence::default();
        assert_eq!(fence.hit(at(5), false), Fenced::Reload);
        assert_eq!(fence.hit(at(100), false), Fenced::Reload);
    }

    #[test]
    fn a_rival_is_left_the_table() {
        let mut fence = Fence::default();
        assert_eq!(fence.hit(at(5), false), Fenced::Reload);
        assert_eq!(fence.hit(at(20), false), Fenced::GiveUp);
    }

    #[test]
    fn a_rival_known_to_be_alive_needs_no_second_proof() {
        assert_eq!(Fence::default().hit(at(5), true), Fenced::GiveUp);
    }
}
