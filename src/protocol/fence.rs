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
    /// The consumer group that it reads in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Writer {
    /// Whether partitions go from one to the other by a group's word.
    pub fn is_peer_of(&self, other: &Writer) -> bool {
        self.group.is_some() && self.group == other.group
    }
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
    last_by_peer: Option<Duration>,
    /// By peers, each soon after the one before.
    in_a_row: u32,
}

/// The first wait after a peer moved our offsets; doubled each time.
const PEER_WAIT: Duration = Duration::from_millis(50);
/// Longer than a group takes to tell a member that it is out.
const PEER_WAIT_MAX: Duration = Duration::from_secs(4);
/// Peers that meet within this time may be at odds; later it is another hand-over.
const PEER_SEEN_AGAIN: Duration = Duration::from_secs(10);

impl Fence {
    /// Our offsets were moved by another, at boot time `now`.
    pub fn hit(&mut self, now: Duration, rival_is_alive: bool) -> Fenced {
        let before = self.last.replace(now);
        let soon_again = before.is_some_and(|before| now.saturating_sub(before) < RIVAL_WITHIN);
        if rival_is_alive || soon_again { Fenced::GiveUp } else { Fenced::Reload }
    }

    /// A peer moved our offsets at boot time `now`; take the table's after so long.
    pub fn hit_by_peer(&mut self, now: Duration) -> Duration {
        let before = self.last_by_peer.replace(now);
        let soon_again = before.is_some_and(|before| now.saturating_sub(before) < PEER_SEEN_AGAIN);
        self.in_a_row = if soon_again { self.in_a_row + 1 } else { 0 };
        (PEER_WAIT * (1 << self.in_a_row.min(10))).min(PEER_WAIT_MAX)
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
    fn peers_are_given_more_time_each_time_and_never_end_each_other() {
        let mut fence = Fence::default();
        let waits: Vec<u128> = (0..10).map(|n| fence.hit_by_peer(at(n)).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000]);
        assert_eq!(fence.hit_by_peer(at(20)).as_millis(), 50, "that was long ago");
    }

    #[test]
    fn only_members_of_the_same_group_are_peers() {
        let writer = |group: Option<&str>| Writer {
            instance: "i".into(),
            host: "h".into(),
            pid: 1,
            started: 2,
            group: group.map(str::to_owned),
        };
        assert!(writer(Some("a")).is_peer_of(&writer(Some("a"))));
        assert!(!writer(Some("a")).is_peer_of(&writer(Some("b"))));
        assert!(!writer(Some("a")).is_peer_of(&writer(None)));
        assert!(!writer(None).is_peer_of(&writer(None)));
    }

    #[test]
    fn a_rival_known_to_be_alive_needs_no_second_proof() {
        assert_eq!(Fence::default().hit(at(5), true), Fenced::GiveUp);
    }
}
