//! Dead-letter tables: what stands in them, and what of it counts.
//!
//! What a dead letter means for the offsets is `protocol::dead_letters`; its row is made by
//! `columnar::dead_letters`.
//!
//! | file | owns |
//! |---|---|
//! | [`standing`] | which dead letters stand above the main table's offsets |
//! | [`tags`] | what files of dead letters say of themselves |
//! | [`rows`] | the dead letters of a dead-letter table, read whole or in part |

pub mod rows;
pub mod standing;
pub mod tags;
