//! How long to wait before something is tried again.
//!
//! It owns the one rule: each wait is twice the one before, up to a limit. It
//! does not sleep, and it does not decide whether to try again.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, next: first }
    }

    /// The next wait.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause
    }

    /// It went well: the next trouble begins with a short wait again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        let waits: Vec<u128> = (0..5).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_000, 1_000]);
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 200);
    }
}
