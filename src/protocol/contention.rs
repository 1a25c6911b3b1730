//! How several writers of one table share its log without starving each other.
//!
//! It owns how long a writer steps back, and when it looks further than the
//! version that it lost. What the other commits mean is `verdict`.
//!
//! A put-if-absent race has one winner and knows no turns. Left alone, who just
//! won is ready again first, and who backs off longer after each loss never
//! gets in. So it is the winner who pauses, for about as long as the commits
//! of those it met take, and a writer that has lost often waits least. What
//! comes in during a pause goes into the same commit: contention makes
//! commits larger, not fewer rows.

use std::time::Duration;

/// Losses after which the log is followed to its tip before the next put, and what else is ready goes along.
const LOOKS_TO_TIP_AFTER: u32 = 2;
/// Losses after which a writer waits no longer than its request takes.
const PATIENT_FOR: u32 = 4;
/// How much a put counts beside those before it.
const NEWEST: f64 = 0.2;
/// No pause is longer: a store that is ill is not contention.
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub struct Contention {
    losses: u32,
    /// What one put takes, smoothed; zero until there was one.
    put: Duration,
}

/// What a loss calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Lost {
    /// Wait a random part of this.
    pub wait_within: Duration,
    /// Follow the log to its tip first, and let what is ready by now go along.
    pub looks_to_tip: bool,
}

impl Contention {
    /// A put took so long until its outcome was sure.
    pub fn took(&mut self, put: Duration) {
        let put = put.min(PAUSE_MAX);
        self.put =
            if self.put.is_zero() { put } else { self.put.mul_f64(1.0 - NEWEST) + put.mul_f64(NEWEST) };
    }

    pub fn lost(&mut self) -> Lost {
        self.losses += 1;
        let share = PATIENT_FOR.saturating_sub(self.losses) + 1;
        Lost {
            wait_within: (self.put * share).min(PAUSE_MAX),
            looks_to_tip: self.losses >= LOOKS_TO_TIP_AFTER,
        }
    }

    /// A version is ours: others go first now, for a random part of this; zero where nobody was met.
    pub fn won(&mut self) -> Duration {
        let met = std::mem::take(&mut self.losses);
        (self.put * 2 * met).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Duration = Duration::from_millis(10);

    fn contention() -> Contention {
        let mut contention = Contention::default();
        contention.took(PUT);
        contention
    }

    #[test]
    fn a_lone_writer_never_pauses() {
        assert_eq!(contention().won(), Duration::ZERO);
    }

    #[test]
    fn who_won_pauses_for_those_it_met_and_then_no_more() {
        let mut contention = contention();
        for _ in 0..3 {
            let _ = contention.lost();
        }
        assert_eq!(contention.won(), PUT * 6);
        assert_eq!(contention.won(), Duration::ZERO);
    }

    #[test]
    fn who_loses_again_and_again_waits_less_each_time_but_never_gives_up_its_chance() {
        let mut contention = contention();
        let waits: Vec<Duration> = (0..6).map(|_| contention.lost().wait_within).collect();
        assert_eq!(waits, [PUT * 4, PUT * 3, PUT * 2, PUT, PUT, PUT]);
        assert!(contention.lost().looks_to_tip);
    }

    #[test]
    fn one_loss_is_no_reason_to_read_the_log() {
        assert!(!contention().lost().looks_to_tip);
    }

    #[test]
    fn a_store_that_hangs_makes_no_long_pauses() {
        let mut contention = Contention::default();
        contention.took(Duration::from_secs(3600));
        for _ in 0..100 {
            assert!(contention.lost().wait_within <= PAUSE_MAX);
        }
        assert_eq!(contention.won(), PAUSE_MAX);
    }

    /// Writers that are always ready, against a log where a put takes 1 to 2 time steps.
    #[test]
    fn eight_greedy_writers_all_get_their_share() {
        struct Writer {
            contention: Contention,
            /// When its put arrives, and the version that it is for.
            arrives: u64,
            version: u64,
            wins: u64,
        }
        let mut random = 7u64;
        let mut below = move |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit.max(1)
        };
        let (mut now, mut tip) = (0u64, 0u64);
        let micros = |of: Duration| u64::try_from(of.as_micros()).unwrap();
        let mut writers: Vec<Writer> = (0..8)
            .map(|_| {
                let arrives = below(10_000);
                Writer { contention: contention(), arrives, version: 1, wins: 0 }
            })
            .collect();
        while now < 600_000_000 {
            let next = (0..8).min_by_key(|&index| writers[index].arrives).unwrap();
            now = writers[next].arrives;
            let writer = &mut writers[next];
            let put = 5_000 + below(10_000);
            let wait = if writer.version == tip + 1 {
                tip += 1;
                writer.wins += 1;
                micros(writer.contention.won())
            } else {
                micros(writer.contention.lost().wait_within)
            };
            // It reads the log, then waits: the version that it puts is the one after the tip that it saw.
            writer.version = tip + 1;
            writer.arrives = now + put + below(wait);
        }
        let wins: Vec<u64> = writers.iter().map(|writer| writer.wins).collect();
        let mean = wins.iter().sum::<u64>() / 8;
        assert!(wins.iter().all(|&of| of * 2 >= mean), "{wins:?}");
        assert!(mean * 8 > 10_000, "the log moves: {wins:?}");
    }
}
