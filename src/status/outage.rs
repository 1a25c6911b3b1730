//! What is logged of what does not answer: that it is waited for, once a minute while it is, and that it is over.
//!
//! It owns when a line is due, and its words. Who waits, and for what, the board knows: however many wait for
//! a store, there is one outage of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};

use super::part::{Part, Why};

/// A request that fails is sent again, and most often that is all: what lasts longer is told.
const TIMEOUT: Duration = Duration::from_secs(10);
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// From the first failure until nobody waits any more.
struct Outage {
    begun: Duration,
    told: Option<Duration>,
    failures: u64,
}

/// What is due to be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Waits { failures: u64 },
    StillWaits { seconds: u64, failures: u64 },
    GoesOn { seconds: u64, failures: u64 },
}

/// By what does not answer.
#[derive(Default)]
pub(super) struct Outages(BTreeMap<Part, Outage>);

impl Outages {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Somebody waits for it, and has failed once more. `judged`: many answers were judged before it was said
    /// to be down, so that there is nothing more to wait for.
    pub(super) fn failed(&mut self, of: Part, judged: bool, now: Duration) -> Option<(Part, Line)> {
        let outage = self.0.entry(of.clone()).or_insert(Outage { begun: now, told: None, failures: 0 });
        outage.failures += 1;
        let (lasts, failures) = (now.saturating_sub(outage.begun), outage.failures);
        let is_due = match outage.told {
            None => lasts >= TIMEOUT || (judged && of.is_service()),
            Some(told) => now.saturating_sub(told) >= TOLD_EVERY,
        };
        let seconds = lasts.as_secs();
        is_due.then(|| match outage.told.replace(now) {
            None => (of, Line::Waits { failures }),
            Some(_) => (of, Line::StillWaits { seconds, failures }),
        })
    }

    /// Nobody waits but for these: where it was told that somebody does, it is told that it is over.
    pub(super) fn over(&mut self, waited_for: &[Part], now: Duration) -> Vec<(Part, Line)> {
        let is_over = |part: &Part, _: &mut Outage| !waited_for.contains(part);
        let line = |(part, Outage { begun, told, failures }): (Part, Outage)| {
            let seconds = now.saturating_sub(begun).as_secs();
            told.map(|_| (part, Line::GoesOn { seconds, failures }))
        };
        self.0.extract_if(.., is_over).filter_map(line).collect()
    }
}

impl Line {
    pub(super) fn log(&self, part: &Part, why: Option<&Why>) {
        let error = why.map(|why| why.cause.as_str());
        let remedy = why.and_then(|why| why.remedy.as_deref());
        match *self {
            Line::Waits { failures } => {
                warn!(component = %part, failures, error, remedy, "no good answer: it is asked again until there is one");
            }
            Line::StillWaits { seconds, failures } => {
                warn!(component = %part, seconds, failures, error, remedy, "still no good answer");
            }
            Line::GoesOn { seconds, failures } => info!(component = %part, seconds, failures, "it goes on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The lines where somebody fails ten times a second for so long, and then goes on.
    fn lines(part: &Part, judged: bool, seconds: u64) -> Vec<Line> {
        let mut outages = Outages::default();
        let failures = (0..=seconds * 10).map(|tenth| Duration::from_millis(tenth * 100));
        let mut lines: Vec<_> =
            failures.filter_map(|now| outages.failed(part.clone(), judged, now)).collect();
        assert_eq!(outages.over(std::slice::from_ref(part), s(seconds)), []);
        lines.extend(outages.over(&[], s(seconds)));
        assert!(outages.is_empty());
        assert!(lines.iter().all(|(of, _)| of == part), "{lines:?}");
        lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn an_outage_is_told_when_it_begins_once_a_minute_and_when_it_is_over() {
        let store = Part::Store("s3://lake".to_owned());
        let expected = [
            Line::Waits { failures: 1 },
            Line::StillWaits { seconds: 60, failures: 601 },
            Line::StillWaits { seconds: 120, failures: 1201 },
            Line::GoesOn { seconds: 130, failures: 1301 },
        ];
        assert_eq!(lines(&store, true, 130), expected);
        assert_eq!(lines(&store, true, 35).len(), 2);
    }

    #[test]
    fn what_is_over_soon_is_not_told() {
        let store = Part::Store("s3://lake".to_owned());
        for (part, judged) in [(Part::Commits("t".to_owned()), true), (store, false)] {
            assert_eq!(lines(&part, judged, 9), []);
            let expected = [Line::Waits { failures: 101 }, Line::GoesOn { seconds: 30, failures: 301 }];
            assert_eq!(lines(&part, judged, 30), expected);
        }
    }
}
