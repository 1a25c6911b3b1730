//! The real shard on scripted records: what it allocates, and what it does while the store stands still.

#![allow(clippy::unwrap_used, reason = "a test says with a panic what went wrong")]

mod allocations;
mod scripted;
mod stalled;
#[path = "../../benches/workload/mod.rs"]
#[expect(dead_code, reason = "shared with the benches, which use all of it")]
mod workload;

use std::alloc::System;

use crate::workload::counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);
