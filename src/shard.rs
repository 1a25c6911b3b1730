//! One core's loop: records in, Parquet files out.
//!
//! It owns its partitions, all state for them, and the open files of each
//! table: one for rows, one for dead letters.
//! It shares nothing: what it knows of other loops arrives as messages. It
//! does not decide what is committed; it only promises that every range it
//! hands over starts where the one before ended.
//!
//! A partition whose next record needs a schema that is not known yet waits for
//! it alone (`schemas`).
//!
//! Partitions come with their table (`tables`), come from another shard
//! (`moves`), or are assigned by a consumer group (`group`).
//!
//! A turn is: messages, records, what is due. A shard never blocks on a slow
//! store: it pauses a table of which too much is in flight (`backpressure`),
//! and stops polling where that is so of all of them.

mod assignments;
mod backpressure;
mod bad_records;
mod dependencies;
mod fetches;
mod group;
mod memory;
mod moves;
mod output;
mod partition;
mod schemas;
mod table;
mod tables;
mod turn;

pub use self::assignments::GroupLink;
pub use self::dependencies::{Report, ShardDependencies};
pub use self::turn::{Shard, Turn};
pub use crate::exchange::{Reading, TableContext};
