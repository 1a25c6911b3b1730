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
    /// Since when, in UTC.
    pub since: String,
    pub seconds: u64,
}

#[derive(Default)]
struct State {
    readiness: BTreeMap<String, Result<(), Waiting>>,
    beats: BTreeMap<String, Beat>,
}

/// What a part waits for, and since when.
struct Waiting {
    reason: String,
    since_ms: i64,
    since: Duration,
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
        let (since_ms, since) = (self.clock.wall_ms(), self.clock.boot());
        let mut state = self.lock();
        match (ready, state.readiness.get_mut(component)) {
            // It waits for longer than this reason is known.
            (Err(reason), Some(Err(waiting))) => waiting.reason = reason,
            (ready, _) => {
                let ready = ready.map_err(|reason| Waiting { reason, since_ms, since });
                state.readiness.insert(component.to_owned(), ready);
            }
        }
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
        let now = self.clock.boot();
        let state = self.lock();
        if state.readiness.is_empty() {
            return vec![self.reason("thalweg", "starting".to_owned(), Duration::ZERO)];
        }
        let waiting = state.readiness.iter().filter_map(|(component, ready)| {
            let waiting = ready.as_ref().err()?;
            Some(Reason {
                component: component.clone(),
                reason: waiting.reason.clone(),
                since: utc(waiting.since_ms),
                seconds: now.saturating_sub(waiting.since).as_secs(),
            })
        });
        waiting.collect()
    }

    /// The parts that broke their promise to beat; empty if none did.
    pub fn stalled(&self) -> Vec<Reason> {
        let now = self.clock.boot();
        let state = self.lock();
        let late = state.beats.iter().filter(|(_, beat)| now > beat.due).map(|(component, beat)| {
            let silent = now.saturating_sub(beat.last);
            self.reason(component, format!("no heartbeat for {} s", silent.as_secs()), silent)
        });
        late.collect()
    }

    /// A reason that has held for so long.
    fn reason(&self, component: &str, reason: String, held: Duration) -> Reason {
        let held_ms = i64::try_from(held.as_millis()).unwrap_or(i64::MAX);
        let since = utc(self.clock.wall_ms().saturating_sub(held_ms));
        Reason { component: component.to_owned(), reason, since, seconds: held.as_secs() }
    }

    /// A panic while the lock was held leaves whole entries: they are only ever replaced.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::clock::testing::Hand;

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
    fn a_part_waits_since_it_was_last_ready_whatever_it_says_meanwhile() {
        let clock = Arc::new(Hand::default());
        let health = Health::new(clock.clone());
        for (second, said) in [(10, Ok(())), (20, Err("503")), (30, Err("no route")), (30, Err("503"))] {
            clock.0.store(second, Ordering::Relaxed);
            health.set_ready("store", said.map_err(str::to_owned));
        }
        clock.0.store(50, Ordering::Relaxed);
        let [waiting] = &health.not_ready()[..] else { panic!("one part waits") };
        assert_eq!((waiting.reason.as_str(), waiting.seconds), ("503", 30));
        assert_eq!(waiting.since, "2023-11-14T22:13:40Z");
        health.set_ready("store", Ok(()));
        health.set_ready("store", Err("503".to_owned()));
        assert_eq!(health.not_ready()[0].seconds, 0);
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
