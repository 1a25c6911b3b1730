//! What files of dead letters, and of those that became rows, say of themselves.

use serde::{Deserialize, Serialize};

use crate::delta::action::Add;
use crate::ids::OffsetRange;

/// The tag of a file of dead letters.
pub const DEAD_LETTERS_TAG: &str = "thalweg.letters";

/// Whose dead letters a file holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLettersTag {
    /// The id of the main table.
    pub table_id: String,
    pub ranges: Vec<OffsetRange>,
}

impl DeadLettersTag {
    pub fn of(add: &Add) -> Option<DeadLettersTag> {
        tag(add, DEAD_LETTERS_TAG)
    }
}

fn tag(add: &Add, name: &str) -> Option<DeadLettersTag> {
    serde_json::from_str(add.tags.as_ref()?.get(name)?.as_ref()?).ok()
}

/// The tag of a file of the main table whose rows are dead letters that were replayed: a [`DeadLettersTag`]. Its
/// ranges go from the first dead letter that was tried to behind the last one; they settle nothing.
pub const REPLAYED_TAG: &str = "thalweg.replayed";

/// What a replay made of its dead letters; `None` for every other file.
pub fn replayed_of(add: &Add) -> Option<Vec<OffsetRange>> {
    tag(add, REPLAYED_TAG).map(|tag| tag.ranges)
}
