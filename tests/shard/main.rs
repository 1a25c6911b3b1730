//! The real shard on scripted records, and the real queue: what they allocate and keep, what a shard does while
//! the store, or the broker, stands still, and formats and sinks that are none of ours.

#![allow(clippy::unwrap_used, reason = "a test says with a panic what went wrong")]

mod allocations;
mod commits;
#[path = "../../benches/commit/ingestion.rs"]
mod ingestion;
mod scripted;
mod stalled;
mod stopped;
#[path = "../../benches/commit/table.rs"]
mod table;
mod topic;
mod toy_format;
mod toy_sink;
mod toy_transform;
mod troubled;
#[path = "../../benches/workload/mod.rs"]
#[expect(dead_code, reason = "shared with the benches, which use all of it")]
mod workload;

use std::alloc::System;

use crate::workload::counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);
