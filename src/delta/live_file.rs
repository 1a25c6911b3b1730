//! A live file of a table: where it is, what its `add` says of its rows, and what is said where it cannot be read.

use object_store::path::Path;
use parquet::errors::ParquetError;
use serde_json::Value;

use crate::delta::action::Add;
use crate::error::{Error, Result};
use crate::stores::store::{Store, explain};

/// The place of a file that the log names; `None` for one outside of the table.
pub fn location(store: &Store, path: &str) -> Option<Path> {
    if path.starts_with('/') || path.contains(":/") {
        return None;
    }
    let relative = Path::from_url_path(path).ok().filter(|relative| relative.parts().next().is_some())?;
    Path::parse(format!("{}/{relative}", store.root)).ok()
}

/// What is wrong with a file, unless it is the store that failed.
pub fn unreadable(store: &Store, error: ParquetError) -> Result<String, Error> {
    match &error {
        ParquetError::External(inner) => match inner.downcast_ref::<object_store::Error>() {
            Some(object_store::Error::NotFound { .. }) | None => Ok(error.to_string()),
            Some(store_error) => Err(explain(&store.url, store_error)),
        },
        _ => Ok(error.to_string()),
    }
}

/// `numRecords` of a file's statistics.
pub fn records(add: &Add) -> Option<u64> {
    serde_json::from_str::<Value>(add.stats.as_deref()?).ok()?.get("numRecords")?.as_u64()
}

/// Rows that a deletion vector hides.
pub fn hidden_rows(add: &Add) -> u64 {
    add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality.max(0) as u64)
}
