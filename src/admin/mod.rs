//! Administrative operations on a table, beside whoever writes it.
//!
//! | file | owns |
//! |---|---|
//! | [`offsets`] | where partitions stand; moving them, in one commit that fences the writer |
//! | [`dead_letters`] | which dead letters there are, and what of them is shown |
//! | [`replay`] | dead letters through the decoder again, into the main table |
//!
//! What a move means is decided in `protocol`; what is printed is `cli`'s.

pub mod dead_letters;
pub mod offsets;
pub mod replay;

use crate::clock::SharedClock;
use crate::config::{Config, Table};
use crate::delta_sink::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::host;

/// The table that a command is about: the named one, or the only one.
pub fn table<'a>(config: &'a Config, id: Option<&str>) -> Result<&'a Table> {
    let ids = || config.tables.iter().map(|table| table.id.as_str()).collect::<Vec<_>>().join("`, `");
    match id {
        Some(id) => config.tables.iter().find(|table| table.id == id).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("the config has no table `{id}`"))
                .remedy(format!("its tables are `{}`", ids()))
        }),
        None => match &config.tables[..] {
            [only] => Ok(only),
            _ => Err(Error::new(ErrorKind::Usage, "the config has several tables")
                .remedy(format!("name one of them with `--table`: `{}`", ids()))),
        },
    }
}

/// This process, as it signs what it commits to a table.
fn identity(table: &Table, clock: &SharedClock) -> Identity {
    Identity { table_id: table.id.clone(), writer: host::this_process(&**clock), is_alive: host::is_alive }
}
