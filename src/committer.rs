//! One serial queue per table: finished files are committed in order.
//!
//! It owns the order of commits, what becomes of work that is not committed,
//! and which partitions are read here. It does not own the decisions: which
//! files may go now is `protocol::ledger`. What a commit is, the queue does
//! not know: that is the table's `sink`.
//!
//! | file | owns |
//! |---|---|
//! | `queue` | the loop: what shards finish becomes commits |
//! | `reset` | beginning again from what the table says |
//! | `group` | partitions that a consumer group assigns and takes back |
//! | `assignments` | what is known of the group's decisions |

mod assignments;
mod group;
mod queue;
mod reset;

pub use queue::{Committer, CommitterDependencies};
