//! Who writes a table here.

use crate::protocol::fence::Writer;

/// What this process is to a table.
#[derive(Clone, Debug)]
pub struct Identity {
    pub table_id: String,
    pub writer: Writer,
    /// Whether the writer of another commit is known to be running now.
    pub is_alive: fn(&Writer) -> bool,
}
