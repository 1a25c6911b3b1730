//! Some columns of one of a table's files, batch by batch.
//!
//! It owns the reading, and what is said of a file that cannot be read. What
//! the rows mean is the caller's.

use arrow::array::RecordBatch;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;

use crate::delta::action::Add;
use crate::delta::live_file::{location, unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::stores::parquet_object::ParquetObject;
use crate::stores::store::Store;

/// What of a file is read.
pub struct Wanted<'a> {
    pub columns: &'a [&'a str],
    /// Only these rows, growing.
    pub rows: Option<&'a [u32]>,
    pub batch_rows: usize,
    /// What to do about a file that cannot be read.
    pub remedy: &'a str,
}

/// A file that is being read.
pub struct Rows<'a> {
    file: File<'a>,
    columns: &'a [&'a str],
    batches: ParquetRecordBatchStream<ParquetObject>,
}

impl<'a> Rows<'a> {
    pub async fn of(store: &'a Store, add: &'a Add, wanted: Wanted<'a>) -> Result<Rows<'a>> {
        let Wanted { columns, rows, batch_rows, remedy } = wanted;
        let file = File { store, add, remedy };
        let place = location(store, &add.path);
        let place = place.ok_or_else(|| file.damaged("it lies outside of the table"))?;
        let object = ParquetObject::new(&store.objects, place);
        let builder =
            ParquetRecordBatchStreamBuilder::new(object).await.map_err(|error| file.unreadable(error))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let mut builder = builder.with_projection(mask).with_batch_size(batch_rows);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(selection(rows));
        }
        let batches = builder.build().map_err(|error| file.unreadable(error))?;
        Ok(Rows { file, columns, batches })
    }

    /// The next batch. `form` takes its columns; `None` where one is missing or of another type.
    pub async fn next<T>(&mut self, form: impl Fn(&RecordBatch) -> Option<T>) -> Result<Option<T>> {
        let Some(batch) = self.batches.next().await else { return Ok(None) };
        let batch = batch.map_err(|error| self.file.unreadable(error))?;
        let formed = form(&batch);
        let missing = || self.file.damaged(&format!("it has not the columns {}", self.columns.join(", ")));
        formed.ok_or_else(missing).map(Some)
    }
}

struct File<'a> {
    store: &'a Store,
    add: &'a Add,
    remedy: &'a str,
}

impl File<'_> {
    fn damaged(&self, why: &str) -> Error {
        let message = format!("{}: {}: {why}", self.store.url, self.add.path);
        Error::new(ErrorKind::Disagree, message).remedy(self.remedy)
    }

    /// A store that does not answer says nothing of the file.
    fn unreadable(&self, error: ParquetError) -> Error {
        unreadable(self.store, error).map_or_else(|error| error, |why| self.damaged(&why))
    }
}

/// Selects rows, growing.
fn selection(rows: &[u32]) -> RowSelection {
    let mut selectors = Vec::new();
    let mut at = 0;
    for &row in rows {
        let row = row as usize;
        if row > at {
            selectors.push(RowSelector::skip(row - at));
        }
        selectors.push(RowSelector::select(1));
        at = row + 1;
    }
    selectors.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_one_by_one() {
        let selected: Vec<(usize, bool)> =
            selection(&[0, 1, 5]).iter().map(|of| (of.row_count, of.skip)).collect();
        assert_eq!(selected, [(2, false), (3, true), (1, false)]);
    }
}
