//! Every exactly-once decision, as pure code: values in, values out.
//!
//! The promise rests on one line. The Delta commit that adds the rows of
//! `[start, next)` of a partition also moves the partition's `txn` from
//! `start` to `next`, put-if-absent. There is no second place where offsets
//! count.
//!
//! | file | decides |
//! |---|---|
//! | [`app_id`] | under which name a partition's offset stands in a table |
//! | [`anchor`] | where each partition begins, and when it must not begin |
//! | [`progress`] | which records of a partition are still to be taken, and the range they settle |
//! | [`lineage`] | which names in a table mean the same records |
//! | [`ledger`] | which finished files may be committed now |
//! | [`attempt`] | what an unclear answer of the store means for a commit |
//! | [`verdict`] | what another writer's commit means for ours |
//! | [`dead_letters`] | which offsets are in doubt between a table and its dead letters |
//! | [`offsets`] | what offsets overridden mean, and what must be said for them |
//! | [`replay`] | which dead letters are tried again, in which order |
//! | [`balance`] | which partition moves to another shard |
//! | [`membership`] | what a consumer group's assignments mean, and what is discarded without them |
//! | [`contention`] | how writers of one table share its log |
//! | [`breaker`] | whether a service that does not answer is asked again now |
//! | [`fence`] | whether a moved offset is a predecessor's late commit or a live rival |
//! | `planted` | nothing: bugs for the simulation's oracles to find, none in a program that is shipped |
//!
//! Architecture invariant: nothing in here does I/O, reads a clock or spawns.
//! A real run and the simulator drive the same code.

pub mod anchor;
pub mod app_id;
pub mod attempt;
pub mod balance;
pub mod breaker;
pub mod contention;
pub mod dead_letters;
pub mod fence;
pub mod ledger;
pub mod lineage;
pub mod membership;
pub mod offsets;
#[cfg(feature = "planted")]
pub mod planted;
#[cfg(not(feature = "planted"))]
pub(crate) mod planted;
pub mod progress;
pub mod replay;
pub mod verdict;
