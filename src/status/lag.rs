//! How far a partition's records are in the table, and how many are not.

use crate::ids::Offset;

/// As far as it was told.
#[derive(Clone, Copy, Default)]
pub(super) struct Offsets {
    /// The table holds everything before it.
    pub(super) committed: Option<Offset>,
    /// The topic's partition ends here.
    pub(super) end: Option<Offset>,
}

impl Offsets {
    /// The end less what is committed; `None` while one of them is not known.
    pub(super) fn lag(self) -> Option<i64> {
        Some(self.end?.0 - self.committed?.0)
    }
}
