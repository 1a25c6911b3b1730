//! Virtual time and seeded names, shared by all instances of a world.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg::clock::Clock;

use crate::chance::Chance;

const EPOCH_MS: i64 = 1_700_000_000_000;

pub struct SimClock {
    ms: AtomicU64,
    ids: Mutex<Chance>,
}

impl SimClock {
    pub fn new(chance: Chance) -> SimClock {
        SimClock { ms: AtomicU64::new(1_000_000), ids: Mutex::new(chance) }
    }

    pub fn advance(&self, time: Duration) {
        self.ms.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        EPOCH_MS + self.ms.load(Ordering::Relaxed) as i64
    }

    fn boot(&self) -> Duration {
        Duration::from_millis(self.ms.load(Ordering::Relaxed))
    }

    fn fresh_id(&self) -> String {
        let mut ids = self.ids.lock().unwrap();
        let (high, low) = (ids.next(), ids.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | (low >> 50),
            low & 0xffff_ffff_ffff
        )
    }
}
