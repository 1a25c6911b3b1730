//! The columns of our checkpoints, and which rows stand in which part.
//!
//! It owns the schema, bringing another writer's rows into it, and the choice
//! of the rows that still hold.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;

use super::changes::{Changes, OldRow};
use super::part::Part;
use crate::delta::checkpoint_file;
use crate::delta::checkpoint_schema::{conform, schema};
use crate::delta::inventory::FileKey;

/// Rows decoded and encoded at once.
pub(super) const BATCH_ROWS: usize = 512;

/// The rows of an old checkpoint's batch that are of this part and still hold, in our schema.
pub(super) fn keep(
    batch: &RecordBatch,
    part: Part,
    changes: &Changes,
    expired_ms: i64,
) -> Result<RecordBatch, ArrowError> {
    let batch = conform(batch)?;
    let column = |name: &str| batch.column_by_name(name).expect("the batch has our schema").as_struct();
    let kept: BooleanArray = match part {
        Part::Adds => {
            let adds = column("add");
            let stands = |row| !changes.overtakes(&OldRow::File(file_key(adds, row)));
            (0..batch.num_rows()).map(|row| Some(adds.is_valid(row) && stands(row))).collect()
        }
        Part::Removes => {
            let removes = column("remove");
            let deleted = member(removes, "deletionTimestamp").as_primitive::<Int64Type>();
            let stands = |row| {
                let young = deleted.is_valid(row) && deleted.value(row) > expired_ms;
                young && !changes.overtakes(&OldRow::File(file_key(removes, row)))
            };
            (0..batch.num_rows()).map(|row| Some(removes.is_valid(row) && stands(row))).collect()
        }
        Part::Table => {
            let (protocol, metadata) = (column("protocol"), column("metaData"));
            let txns = checkpoint_file::member_strings(&batch, "txn", "appId")?;
            let domains = checkpoint_file::member_strings(&batch, "domainMetadata", "domain")?;
            let row = |row: usize| match (txns[row], domains[row]) {
                _ if protocol.is_valid(row) => OldRow::Protocol,
                _ if metadata.is_valid(row) => OldRow::MetaData,
                (Some(app_id), _) => OldRow::Txn(app_id),
                (_, Some(domain)) => OldRow::Domain(domain),
                (None, None) => OldRow::Other,
            };
            (0..batch.num_rows()).map(|number| Some(!changes.overtakes(&row(number)))).collect()
        }
    };
    arrow::compute::filter_record_batch(&batch, &kept)
}

fn member<'a>(action: &'a StructArray, name: &str) -> &'a ArrayRef {
    action.column_by_name(name).expect("the batch has our schema")
}

fn file_key(action: &StructArray, row: usize) -> FileKey {
    let text = |array: &StructArray, name: &str| {
        let strings = member(array, name).as_string::<i32>();
        strings.is_valid(row).then(|| strings.value(row).to_owned())
    };
    let vector = member(action, "deletionVector").as_struct();
    let deletion_vector = vector.is_valid(row).then(|| {
        let offset = member(vector, "offset").as_primitive::<Int32Type>();
        let offset = if offset.is_valid(row) { format!("@{}", offset.value(row)) } else { String::new() };
        let storage = text(vector, "storageType").unwrap_or_default();
        format!("{storage}{}{offset}", text(vector, "pathOrInlineDv").unwrap_or_default())
    });
    FileKey { path: text(action, "path").unwrap_or_default(), deletion_vector }
}

/// JSON actions as one batch of the checkpoint's schema.
pub(super) fn from_json(lines: &[&str]) -> Result<Option<RecordBatch>, ArrowError> {
    let mut decoder =
        arrow::json::ReaderBuilder::new(schema()).with_batch_size(lines.len()).build_decoder()?;
    for line in lines {
        let used = decoder.decode(line.as_bytes())?;
        debug_assert_eq!(used, line.len(), "the batch has room for all lines");
    }
    decoder.flush()
}
