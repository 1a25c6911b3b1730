//! An allocator that counts the allocations of each thread, and the bytes that are live in the process.
//!
//! Owns the counts; the memory is the wrapped allocator's.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

pub struct Counting<A>(pub A);

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of this thread so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// Bytes that were allocated and not freed, by all threads.
#[allow(dead_code, reason = "the benches count allocations only")]
pub fn live_bytes() -> i64 {
    LIVE_BYTES.load(Ordering::Relaxed)
}

fn live(bytes: usize, freed: usize) {
    LIVE_BYTES.fetch_add(bytes as i64 - freed as i64, Ordering::Relaxed);
}

fn count() {
    // A thread that ends may have lost its counter.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator has no safe form")]
// SAFETY: everything is the wrapped allocator's; counting allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        live(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        live(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        live(size, layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(memory, layout, size) }
    }
}
