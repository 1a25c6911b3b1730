//! Whether a service that does not answer is asked again now.
//!
//! It owns the states of a circuit breaker. It does not send and does not
//! wait: whoever is refused has a loop of its own, and asks again later.
//!
//! | state | a request | its outcome |
//! |---|---|---|
//! | closed | passes | [`FAILURES_MAX`] failures in a row open it |
//! | open | is refused until the rest is over | an answer, from before it opened, closes it |
//! | probing | is refused, but one | an answer closes it, a failure doubles the rest |
//!
//! Invariant: while a service is down it gets one request at a time, and rests
//! between them, however many tables and uploads wait for it.

use std::time::Duration;

use crate::backoff::Backoff;

/// Single failures are the caller's to repeat.
pub const FAILURES_MAX: u32 = 5;
const REST_FIRST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(5);
/// A probe that is not heard of for so long is taken for lost.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Breaker {
    state: BreakerState,
    rest: Backoff,
}

#[derive(Clone, Copy, Debug)]
enum BreakerState {
    Closed { failures: u32 },
    Open { since: Duration, until: Duration },
    Probing { since: Duration, lost_at: Duration },
}

/// Whether a request may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admission {
    Pass,
    /// The one that is sent to see whether the service answers again.
    Probe,
    Refuse,
}

/// What a request's outcome changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    None,
    Opened,
    /// After it was open for this long.
    Closed(Duration),
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker { state: BreakerState::Closed { failures: 0 }, rest: Backoff::new(REST_FIRST, REST_MAX) }
    }
}

impl Breaker {
    pub fn check(&mut self, now: Duration) -> Admission {
        match self.state {
            BreakerState::Closed { .. } => Admission::Pass,
            BreakerState::Open { until: at, since } | BreakerState::Probing { lost_at: at, since } => {
                if now < at {
                    return Admission::Refuse;
                }
                self.state = BreakerState::Probing { since, lost_at: now + PROBE_TIMEOUT };
                Admission::Probe
            }
        }
    }

    /// The service answered, with whatever.
    pub fn answered(&mut self, now: Duration) -> Turn {
        let was = std::mem::replace(&mut self.state, BreakerState::Closed { failures: 0 });
        match was {
            BreakerState::Closed { .. } => Turn::None,
            BreakerState::Open { since, .. } | BreakerState::Probing { since, .. } => {
                self.rest.reset();
                Turn::Closed(now.saturating_sub(since))
            }
        }
    }

    /// Nobody waits for the probe's answer any more: another one may go.
    pub fn abandoned(&mut self, now: Duration) {
        if let BreakerState::Probing { since, .. } = self.state {
            self.state = BreakerState::Open { since, until: now };
        }
    }

    /// No answer, or one that says that the service is in trouble. `jitter`, from 0 to 1, keeps the
    /// probes of several processes apart.
    pub fn failed(&mut self, now: Duration, jitter: f64) -> Turn {
        let mut rest = || self.rest.pause().mul_f64(0.75 + jitter / 2.0);
        match self.state {
            BreakerState::Closed { failures } if failures + 1 < FAILURES_MAX => {
                self.state = BreakerState::Closed { failures: failures + 1 };
                Turn::None
            }
            BreakerState::Closed { .. } => {
                self.state = BreakerState::Open { since: now, until: now + rest() };
                Turn::Opened
            }
            BreakerState::Probing { since, .. } => {
                self.state = BreakerState::Open { since, until: now + rest() };
                Turn::None
            }
            // Sent before it opened: known already.
            BreakerState::Open { .. } => Turn::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.failed(ms(0), 0.5), Turn::None);
        }
        assert_eq!(breaker.failed(ms(0), 0.5), Turn::Opened);
        breaker
    }

    #[test]
    fn failures_with_answers_between_them_open_nothing() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            for _ in 1..FAILURES_MAX {
                assert_eq!(breaker.failed(ms(0), 0.0), Turn::None);
            }
            assert_eq!(breaker.answered(ms(0)), Turn::None);
        }
        assert_eq!(breaker.check(ms(0)), Admission::Pass);
    }

    #[test]
    fn while_it_is_down_one_request_at_a_time_goes_there_ever_more_seldom() {
        let mut breaker = opened();
        let mut sent = Vec::new();
        for now in 0..60_000 {
            if breaker.check(ms(now)) == Admission::Probe {
                assert_eq!(breaker.check(ms(now)), Admission::Refuse, "one at a time");
                sent.push(now);
                assert_eq!(breaker.failed(ms(now), 0.5), Turn::None);
            }
        }
        assert_eq!(sent[..5], [500, 1_500, 3_500, 7_500, 12_500]);
        assert_eq!(sent.len(), 4 + (60 - 7) / 5);
    }

    #[test]
    fn the_first_answer_lets_everybody_through_and_says_how_long_it_was_down() {
        let mut breaker = opened();
        assert_eq!(breaker.check(ms(600)), Admission::Probe);
        assert_eq!(breaker.check(ms(601)), Admission::Refuse);
        assert_eq!(breaker.answered(ms(700)), Turn::Closed(ms(700)));
        assert_eq!(breaker.check(ms(701)), Admission::Pass);
        assert_eq!(breaker.check(ms(701)), Admission::Pass);
    }

    #[test]
    fn a_probe_that_nobody_hears_of_again_does_not_keep_it_open() {
        let mut breaker = opened();
        assert_eq!(breaker.check(ms(600)), Admission::Probe);
        assert_eq!(breaker.check(ms(60_599)), Admission::Refuse);
        assert_eq!(breaker.check(ms(60_600)), Admission::Probe);
    }

    #[test]
    fn after_a_probe_that_was_given_up_another_goes_at_once() {
        let mut breaker = opened();
        assert_eq!(breaker.check(ms(600)), Admission::Probe);
        breaker.abandoned(ms(700));
        assert_eq!(breaker.check(ms(700)), Admission::Probe);
        assert_eq!(breaker.check(ms(700)), Admission::Refuse);
    }

    #[test]
    fn failures_of_before_it_opened_make_its_rest_no_longer() {
        let mut breaker = opened();
        for _ in 0..20 {
            assert_eq!(breaker.failed(ms(100), 0.5), Turn::None);
        }
        assert_eq!(breaker.check(ms(500)), Admission::Probe);
    }

    #[test]
    fn jitter_moves_a_rest_by_a_quarter_at_most() {
        for (jitter, at) in [(0.0, 375), (1.0, 625)] {
            let mut breaker = Breaker::default();
            for _ in 0..FAILURES_MAX {
                let _ = breaker.failed(ms(0), jitter);
            }
            assert_eq!(breaker.check(ms(at - 1)), Admission::Refuse);
            assert_eq!(breaker.check(ms(at)), Admission::Probe);
        }
    }
}
