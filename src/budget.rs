//! Bytes in flight, counted where they are held.
//!
//! It owns one number and the rule that every charge is given back exactly
//! once, when the memory is let go. Who is over the limit stops taking in more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// Bytes held; given back on drop.
#[derive(Debug)]
pub struct Charge {
    used: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Budget {
        Budget { used: Arc::default(), limit }
    }

    /// Charges what is already held: never fails, so that nothing held goes uncounted.
    pub fn charge(&self, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge { used: Some(Arc::clone(&self.used)), bytes }
    }

    pub fn is_spent(&self) -> bool {
        self.used() >= self.limit
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Charge {
    /// For bytes that no budget bounds.
    pub fn none() -> Charge {
        Charge { used: None, bytes: 0 }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(used) = &self.used {
            used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}
