//! Whether this process is alive and ready, as each part of it says.
//!
//! It owns two lists: what a part waits for (readiness), and when a part
//! last showed that it runs (liveness). It does not serve them (`admin`).
//! Nothing here is for the hot path: a part reports a change, or once for
//! each turn of its loop.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;

pub struct Health {
    clock: SharedClock,
    state: Mutex<State>,
}

/// What one part says about itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Reason {
    pub component: String,
    pub reason: String,
}

#[derive(Default)]
struct State {
    readiness: BTreeMap<String, Result<(), String>>,
    beats: BTreeMap<String, Beat>,
}

/// A promise to beat again before `due`, in boot time.
struct Beat {
    last: Duration,
    due: Duration,
}

impl Health {
    pub fn new(clock: SharedClock) -> Health {
        Health { clock, state: Mutex::new(State::default()) }
    }

    /// A part is ready, or says what it waits for. Register every part that
    /// must become ready before the first of them is.
    pub fn set_ready(&self, component: &str, ready: Result<(), String>) {
        self.lock().readiness.insert(component.to_owned(), ready);
    }

    /// A part runs, and will say so again within `promise`.
    pub fn heartbeat(&self, component: &str, promise: Duration) {
        let last = self.clock.boot();
        let beat = Beat { last, due: last.saturating_add(promise) };
        self.lock().beats.insert(component.to_owned(), beat);
    }

    /// A part has ended in order: it neither counts nor beats any more.
    pub fn forget(&self, component: &str) {
        let mut state = self.lock();
        state.readiness.remove(component);
        state.beats.remove(component);
    }

    /// What keeps us from being ready; empty if nothing does. Before any part
    /// has reported, that is the reason.
    pub fn not_ready(&self) -> Vec<Reason> {
        let state = self.lock();
        if state.readiness.is_empty() {
            return vec![Reason { component: "thalweg".to_owned(), reason: "starting".to_owned() }];
        }
        let waiting = state.readiness.iter().filter_map(|(component, ready)| {
            let reason = ready.as_ref().err()?.clone();
            Some(Reason { component: component.clone(), reason })
        });
        waiting.collect()
    }

    /// The parts that broke their promise to beat; empty if none did.
    pub fn stalled(&self) -> Vec<Reason> {
        let now = self.clock.boot();
        let state = self.lock();
        let late = state.beats.iter().filter(|(_, beat)| now > beat.due).map(|(component, beat)| {
            let silent = now.saturating_sub(beat.last).as_secs();
            Reason { component: component.clone(), reason: format!("no heartbeat for {silent} s") }
        });
        late.collect()
    }

    /// A panic while the lock was held leaves whole entries: they are only ever replaced.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::Clock;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn wall_ms(&self) -> i64 {
            unreachable!("health is not ordered by wall time")
        }

        fn fresh_id(&self) -> String {
            unreachable!("health needs no names")
        }

        fn boot(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    fn reasons(list: &[Reason]) -> Vec<(&str, &str)> {
        list.iter().map(|entry| (entry.component.as_str(), entry.reason.as_str())).collect()
    }

    #[test]
    fn nothing_is_ready_before_the_first_part_has_reported() {
        let health = Health::new(Arc::new(Hand::default()));
        assert_eq!(reasons(&health.not_ready()), [("thalweg", "starting")]);
        health.set_ready("kafka", Err("no broker".to_owned()));
        health.set_ready("table orders", Ok(()));
        assert_eq!(reasons(&health.not_ready()), [("kafka", "no broker")]);
        health.set_ready("kafka", Ok(()));
        assert!(health.not_ready().is_empty());
    }

    #[test]
    fn a_part_that_misses_its_heartbeat_is_stalled_until_it_beats_again() {
        let clock = Arc::new(Hand::default());
        let health = Health::new(clock.clone());
        health.heartbeat("committer orders", Duration::from_secs(30));
        clock.0.store(30, Ordering::Relaxed);
        assert!(health.stalled().is_empty());
        clock.0.store(31, Ordering::Relaxed);
        assert_eq!(reasons(&health.stalled()), [("committer orders", "no heartbeat for 31 s")]);
        health.heartbeat("committer orders", Duration::from_secs(30));
        assert!(health.stalled().is_empty());
    }

    #[test]
    fn a_part_that_ended_is_not_missed() {
        let clock = Arc::new(Hand::default());
        let health = Health::new(clock.clone());
        health.set_ready("shard 0", Ok(()));
        health.set_ready("shard 1", Err("assigning".to_owned()));
        health.heartbeat("shard 1", Duration::from_secs(1));
        health.forget("shard 1");
        clock.0.store(9, Ordering::Relaxed);
        assert!(health.stalled().is_empty() && health.not_ready().is_empty());
    }
}
