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
    /// `None` while one of them is not known.
    pub(super) fn lag(self) -> Option<i64> {
        Some(lag(self.end?, self.committed?))
    }
}

/// Records of a partition that are not in the table: its end less its next offset. An end that was told before the
/// last commit may lie below it: then nothing is known to be left.
pub fn lag(end: Offset, next: Offset) -> i64 {
    (end.0 - next.0).max(0)
}
