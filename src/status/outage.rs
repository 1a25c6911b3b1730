//! What is logged of a part that does not go on: that it waits, once a minute while it does, and when it
//! goes on again.
//!
//! It owns when a line is due, and its words. Why a part waits, the board knows.

use std::time::Duration;

use tracing::{info, warn};

use super::{Part, Why};

/// A request that fails is sent again, and most often that is all: what lasts longer is told.
const PATIENCE: Duration = Duration::from_secs(10);
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// One part's, from its first failure until it goes on.
#[derive(Clone, Default)]
pub(super) struct Outage {
    begun: Option<Duration>,
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

impl Outage {
    /// It failed once more. `known`: what it waits for has told so itself.
    pub(super) fn failed(&mut self, part: &Part, known: bool, now: Duration) -> Option<Line> {
        let begun = *self.begun.get_or_insert(now);
        self.failures += 1;
        let (lasts, failures) = (now.saturating_sub(begun), self.failures);
        // A service is judged by many requests before it is said to be down.
        let patience = if part.is_service() { Duration::ZERO } else { PATIENCE };
        match self.told {
            None if known || lasts < patience => return None,
            Some(told) if known || now.saturating_sub(told) < TOLD_EVERY => return None,
            _ => {}
        }
        match self.told.replace(now) {
            None => Some(Line::Waits { failures }),
            Some(_) => Some(Line::StillWaits { seconds: lasts.as_secs(), failures }),
        }
    }

    /// It goes on. Who was told that it waits is told that, too.
    pub(super) fn is_over(&mut self, now: Duration) -> Option<Line> {
        let Outage { begun, told, failures } = std::mem::take(self);
        let seconds = now.saturating_sub(begun?).as_secs();
        told.map(|_| Line::GoesOn { seconds, failures })
    }
}

impl Line {
    pub(super) fn log(self, part: &Part, why: Option<&Why>) {
        let error = why.map(|why| why.cause.as_str());
        let remedy = why.and_then(|why| why.remedy.as_deref());
        match self {
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

    /// The lines of a part that fails ten times a second for so long, and then goes on.
    fn lines(part: &Part, known: bool, seconds: u64) -> Vec<Line> {
        let mut outage = Outage::default();
        let failures = (0..=seconds * 10).map(|tenth| Duration::from_millis(tenth * 100));
        let mut lines: Vec<Line> = failures.filter_map(|now| outage.failed(part, known, now)).collect();
        lines.extend(outage.is_over(s(seconds)));
        assert_eq!(outage.is_over(s(seconds)), None);
        lines
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
        assert_eq!(lines(&store, false, 130), expected);
        assert_eq!(lines(&store, false, 35).len(), 2);
    }

    #[test]
    fn what_is_over_soon_or_told_by_another_is_not_told() {
        let commits = Part::Commits("t".to_owned());
        assert_eq!(lines(&commits, false, 9), []);
        assert_eq!(lines(&commits, true, 300), []);
        let expected = [Line::Waits { failures: 101 }, Line::GoesOn { seconds: 30, failures: 301 }];
        assert_eq!(lines(&commits, false, 30), expected);
    }
}
