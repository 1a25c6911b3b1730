//! The one place where time is read and fresh names are made.
//!
//! It owns the two clocks: wall time for what people and Delta read, boot
//! time for every decision about how much time has passed (it counts a
//! suspended machine, which `Instant` does not). Nothing is ever ordered by
//! wall time.

use std::sync::Arc;
use std::time::Duration;

/// A source of time; the simulator brings its own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> i64;
    /// Time since boot, suspend included. Only differences mean anything.
    fn boot(&self) -> Duration;
    /// A name that nobody else uses: a UUID.
    fn fresh_id(&self) -> String;
    /// The same, sorting by when it was made: a UUID of version 7. What is asked of names that stand
    /// together, such as which row group may hold one, is then answered by the first and the last.
    /// Nothing depends on the order.
    fn fresh_id_in_order(&self) -> String {
        let random = uuid::Uuid::parse_str(&self.fresh_id()).expect("a fresh id is a UUID").into_bytes();
        let [a, b, c, d, e, f, _, _, _, _, g, h, i, j, ..] = random;
        let ms = u64::try_from(self.wall_ms()).unwrap_or(0);
        let bytes = [a, b, c, d, e, f, g, h, i, j];
        uuid::Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid().to_string()
    }
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
    fn wall_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }

    fn boot(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        #[expect(unsafe_code, reason = "no safe binding without another crate; the pointer is to a local")]
        // SAFETY: `time` is a valid, writable timespec for the length of the call.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
        assert_eq!(status, 0, "CLOCK_BOOTTIME exists on every Linux since 2.6.39");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn fresh_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}

/// Time that a test moves.
#[cfg(test)]
pub mod testing {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Clock, Duration, SystemClock};

    /// Seconds since boot.
    #[derive(Default, Debug)]
    pub struct ManualClock(pub AtomicU64);

    impl ManualClock {
        pub fn pass(&self, seconds: u64) {
            self.0.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    impl Clock for ManualClock {
        fn wall_ms(&self) -> i64 {
            1_700_000_000_000 + 1000 * self.0.load(Ordering::Relaxed) as i64
        }

        fn boot(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn fresh_id(&self) -> String {
            SystemClock.fresh_id()
        }
    }
}
