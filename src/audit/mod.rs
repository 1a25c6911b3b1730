//! What can be proven of a table, for those who ask: no commit waits for any of it.
//!
//! | file | owns |
//! |---|---|
//! | [`verify`] | what is proven, unknown or wrong in a table |
//! | [`count`] | every row counted by its offset, every byte compared where asked |
//! | [`offset_overrides`] | which offset overrides and identity transfers were meant |
//! | [`places`] | where the rows of a table come from, told by the rows |
//! | [`info`] | what a table is: schema, sizes, next offsets, leftovers |

pub mod count;
pub mod info;
pub mod offset_overrides;
pub mod places;
pub mod verify;
