//! Whether every live file is there: its place, its size, its rows.
//!
//! It owns the listing and the footers. What a missing file means for its
//! offsets is [`super`]'s.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::async_reader::AsyncFileReader;

use crate::delta::action::{self, Add};
use crate::delta::inventory::Inventory;
use crate::delta::live_file::{hidden_rows, location, records, unreadable};
use crate::error::Result;
use crate::stores::parquet_object::ParquetObject;
use crate::stores::store::{Store, explain};

/// Footers read at once.
const PARALLEL_FOOTERS: usize = 16;

/// Every live file is there with its size and its rows.
pub(super) async fn check_files(
    store: &Store,
    inventory: &Inventory,
    violations: &mut Vec<String>,
) -> Result<CheckedFiles> {
    let sizes = list(store).await?;
    let mut footers = futures::stream::iter(inventory.files.values())
        .map(|add| check_file(store, &sizes, add))
        .buffered(PARALLEL_FOOTERS);
    let mut checked = CheckedFiles::default();
    while let Some(file) = footers.next().await {
        let (path, rows, wrong) = file?;
        checked.rows += rows.unwrap_or(0);
        if rows.is_none() {
            checked.damaged.insert(path.to_owned());
        }
        violations.extend(wrong);
    }
    Ok(checked)
}

#[derive(Default)]
pub(super) struct CheckedFiles {
    pub(super) rows: u64,
    /// Paths of files that cannot be read.
    pub(super) damaged: BTreeSet<String>,
}

/// Every object of the table with its bytes.
async fn list(store: &Store) -> Result<BTreeMap<Path, u64>> {
    store
        .objects
        .list(Some(&store.root))
        .map_ok(|object| (object.location, object.size))
        .try_collect()
        .await
        .map_err(|error| explain(&store.url, &error))
}

/// A file's path, the rows that a reader sees of it (none if it cannot be read), and what is wrong with it.
type CheckedFile<'a> = (&'a str, Option<u64>, Vec<String>);

async fn check_file<'a>(store: &Store, sizes: &BTreeMap<Path, u64>, add: &'a Add) -> Result<CheckedFile<'a>> {
    let path = add.path.as_str();
    let unreadable = |what: String| Ok((path, None, vec![format!("{path} {what}")]));
    let Some(place) = location(store, path) else {
        return unreadable("lies outside of the table's folder".to_owned());
    };
    match sizes.get(&place) {
        None => return unreadable("is in the log and not in the store".to_owned()),
        Some(&size) if i64::try_from(size) != Ok(add.size) => {
            return unreadable(format!("has {size} bytes, the log says {}", add.size));
        }
        Some(_) => {}
    }
    let held = match footer_rows(store, place).await? {
        Ok(held) => held,
        Err(why) => return unreadable(format!("is not readable Parquet: {why}")),
    };
    let mut wrong = Vec::new();
    if let Some(said) = records(add).filter(|&said| said != held) {
        wrong.push(format!("{path} holds {held} rows, its statistics say {said}"));
    }
    if let Some(ranges) = action::ranges_of(add) {
        let resolved: u64 = ranges.iter().map(|range| range.rows).sum();
        if resolved != held {
            wrong.push(format!("{path} holds {held} rows, its ranges say {resolved}"));
        }
    }
    Ok((path, Some(held.saturating_sub(hidden_rows(add))), wrong))
}

/// The rows that a footer tells, or why the file is damaged; an error if the store gives no answer.
async fn footer_rows(store: &Store, place: Path) -> Result<Result<u64, String>> {
    match ParquetObject::new(&store.objects, place).get_metadata(None).await {
        Ok(footer) => Ok(Ok(footer.file_metadata().num_rows().max(0) as u64)),
        Err(error) => unreadable(store, error).map(Err),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_file_is_looked_for_inside_the_table_only() {
        let url = url::Url::parse("file:///data/t").unwrap();
        let store = Store::open(&url, &BTreeMap::new()).unwrap();
        let found = |path| location(&store, path).map(|place| place.to_string());
        assert_eq!(found("a%20b.parquet").as_deref(), Some("data/t/a b.parquet"));
        assert_eq!(found("p=1/a.parquet").as_deref(), Some("data/t/p=1/a.parquet"));
        for outside in
            ["", ".", "/", "/etc/passwd", "s3://b/x", "../x", "a/../../x", "%2e%2e/x", "a//b", "%00"]
        {
            assert_eq!(found(outside), None, "{outside}");
        }
    }
}
