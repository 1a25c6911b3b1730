//! The place between reading records and writing files: whole batches of rows, changed.
//!
//! It owns what a transform may do. It keeps the rows of a batch in their
//! number, their order, their columns and their place in the topic, so that
//! what a file settles is what the records said. Rows that vanish or multiply
//! here would need counts of their own in the offset ranges: a reader can do
//! that, a transform cannot.
//!
//! A table without one pays a branch for each batch. One that has one pays for
//! its values to be copied back.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::columns::Columns;
use crate::config::MetadataColumn;
use crate::error::{Error, ErrorKind, Result};

/// Changes the rows of a table before they are encoded. Bad records do not come this way.
///
/// It keeps nothing from batch to batch: after a reset the same rows come again, in other batches.
pub trait Transform: Send + Sync {
    /// The same rows with other values.
    ///
    /// # Errors
    /// End the shard, as an encoder that fails does.
    fn apply(&self, rows: RecordBatch) -> Result<RecordBatch>;
}

/// Applies a transform to all rows, and checks that it kept to what it may do.
pub fn transform(rows: &mut Columns, by: &dyn Transform) -> Result<()> {
    let before = rows.freeze();
    let after = by.apply(before.clone())?;
    if let Some(broken) = broken_rule(&before, &after) {
        return Err(Error::new(ErrorKind::Internal, format!("a transform {broken}")));
    }
    rows.append_batch(&after);
    Ok(())
}

fn broken_rule(before: &RecordBatch, after: &RecordBatch) -> Option<String> {
    if after.schema_ref() != before.schema_ref() {
        return Some("gave other columns than the table has".to_owned());
    }
    if after.num_rows() != before.num_rows() {
        return Some(format!("made {} rows of {}", after.num_rows(), before.num_rows()));
    }
    // By them the rows are counted and found again.
    [MetadataColumn::Partition, MetadataColumn::Offset]
        .map(MetadataColumn::name)
        .into_iter()
        .find(|name| match (before.column_by_name(name), after.column_by_name(name)) {
            (Some(was), Some(is)) => !Arc::ptr_eq(was, is) && was != is,
            _ => false,
        })
        .map(|name| format!("changed `{name}`"))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use proptest::prelude::*;

    use super::*;
    use crate::columnar::model::{Value, push_row, row, rows_of, schema};
    use crate::schema::Schema;

    struct By<F>(F);

    impl<F: Fn(RecordBatch) -> RecordBatch + Send + Sync> Transform for By<F> {
        fn apply(&self, rows: RecordBatch) -> Result<RecordBatch> {
            Ok((self.0)(rows))
        }
    }

    proptest! {
        #[test]
        fn rows_that_nobody_changed_come_back_as_they_were(
            (schema, rows) in schema().prop_flat_map(|schema| {
                let rows = proptest::collection::vec(row(&schema), 0..30);
                (Just(schema), rows)
            }),
        ) {
            let mut columns = Columns::new(&schema);
            for turn in 0..2 {
                rows.iter().for_each(|row| push_row(&mut columns, row));
                // Once a batch from its beginning, once a piece of another one.
                let by = By(|batch: RecordBatch| match turn {
                    0 => batch,
                    _ => arrow::compute::concat_batches(batch.schema_ref(), [&batch, &batch])
                        .unwrap()
                        .slice(batch.num_rows(), batch.num_rows()),
                });
                transform(&mut columns, &by).unwrap();
                prop_assert_eq!(columns.rows(), rows.len());
                prop_assert_eq!(rows_of(&columns.freeze()), rows.clone());
            }
        }
    }

    fn two_rows() -> Columns {
        let mut columns = Columns::new(&Schema::from_ddl("_offset BIGINT, n BIGINT").unwrap());
        [1, 2].into_iter().for_each(|n| push_row(&mut columns, &[Value::Integer(n), Value::Integer(n)]));
        columns
    }

    fn with_column(batch: &RecordBatch, column: usize, values: Vec<i64>) -> RecordBatch {
        let mut columns = batch.columns().to_vec();
        columns[column] = Arc::new(Int64Array::from(values));
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    }

    #[test]
    fn a_transform_changes_values_and_neither_rows_nor_columns_nor_places() {
        let mut columns = two_rows();
        transform(&mut columns, &By(|batch: RecordBatch| with_column(&batch, 1, vec![7, 8]))).unwrap();
        let expected = [[1, 7], [2, 8]].map(|row| row.map(Value::Integer).to_vec());
        assert_eq!(rows_of(&columns.freeze()), expected);

        let refused =
            |by: fn(RecordBatch) -> RecordBatch| transform(&mut two_rows(), &By(by)).unwrap_err().message;
        assert_eq!(refused(|batch| batch.slice(1, 1)), "a transform made 1 rows of 2");
        let columns = "a transform gave other columns than the table has";
        assert_eq!(refused(|batch| batch.project(&[1, 0]).unwrap()), columns);
        assert_eq!(refused(|batch| with_column(&batch, 0, vec![1, 3])), "a transform changed `_offset`");
    }
}
