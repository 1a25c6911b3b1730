//! Reading a file of a checkpoint: its columns, whatever writer made them.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Fields, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use crate::error::{Error, ErrorKind, Result, plain_json};
use crate::protocol::planted::{Bug, planted};
use crate::stores::parquet_object::ParquetObject;
use crate::stores::store::{Store, explain};

/// Opens a checkpoint's part for reading batch by batch.
pub async fn open_checkpoint(
    store: &Store,
    name: &str,
) -> Result<ParquetRecordBatchStreamBuilder<ParquetObject>> {
    let path = store.path(&format!("_delta_log/{name}"));
    let mut reader = ParquetObject::new(&store.objects, path);
    let metadata = reader.get_metadata(None).await.and_then(arrow_metadata);
    let metadata = metadata.map_err(|error| bad_checkpoint(store, name, error))?;
    Ok(ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata))
}

/// How a checkpoint's columns are read. Every writer's strings are ours, whatever it says they were in its
/// memory, and Spark's INT96 are microseconds: in nanoseconds the year 9999 would be another one.
pub fn arrow_metadata(metadata: Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata, ParquetError> {
    let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options())?;
    let columns = metadata.file_metadata().schema_descr();
    if !columns.columns().iter().any(|column| column.physical_type() == PhysicalType::INT96) {
        return Ok(plain);
    }
    let schema = arrow::datatypes::Schema::new(in_micros(plain.schema().fields()));
    ArrowReaderMetadata::try_new(metadata, options().with_schema(Arc::new(schema)))
}

fn in_micros(fields: &Fields) -> Fields {
    fields
        .iter()
        .map(|field| field.as_ref().clone().with_data_type(type_in_micros(field.data_type())))
        .collect()
}

fn type_in_micros(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Struct(fields) => DataType::Struct(in_micros(fields)),
        other => other.clone(),
    }
}

/// Why a checkpoint cannot be read: the store does not give it, or it is damaged.
pub fn bad_checkpoint(
    store: &Store,
    name: &str,
    error: impl Into<Box<dyn std::error::Error + 'static>>,
) -> Error {
    let error = error.into();
    if let Some(answer) = answer_of_the_store(error.as_ref())
        && !planted(Bug::TakesSilenceForDamage)
    {
        return explain(&store.url, answer);
    }
    let why = plain_json(&error.to_string());
    Error::new(ErrorKind::CannotWrite, format!("{}: checkpoint {name} cannot be read: {why}", store.url))
        .remedy("remove the damaged checkpoint and `_last_checkpoint` if the version files before it are still there")
}

/// The store's own error under that of a reader, unless it says that there is no such object.
fn answer_of_the_store<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a object_store::Error> {
    let mut layer = Some(error);
    while let Some(error) = layer {
        if let Some(answer) = error.downcast_ref::<object_store::Error>() {
            return Some(answer).filter(|answer| !matches!(answer, object_store::Error::NotFound { .. }));
        }
        layer = error.source();
    }
    None
}

/// The rows in which some column is not null, one JSON object a line.
pub fn to_json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let keep: arrow::array::BooleanArray = (0..batch.num_rows())
        .map(|row| Some(batch.columns().iter().any(|column| column.is_valid(row))))
        .collect();
    let kept = arrow::compute::filter_record_batch(batch, &keep)?;
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&kept)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Whether a row group may hold a value of this leaf: null counts tell.
pub fn may_hold(group: &RowGroupMetaData, name: &str) -> bool {
    leaf(group, name).is_some_and(|column| {
        let nulls = column.statistics().and_then(|statistics| statistics.null_count_opt());
        nulls.is_none_or(|nulls| i64::try_from(nulls).map_or(true, |nulls| nulls < group.num_rows()))
    })
}

/// The leaf column of a dotted name.
pub fn leaf<'a>(group: &'a RowGroupMetaData, name: &str) -> Option<&'a ColumnChunkMetaData> {
    group
        .columns()
        .iter()
        .find(|column| column.column_path().parts().iter().map(String::as_str).eq(name.split('.')))
}

/// The strings of a struct column's member, by name; all null if it is absent.
pub fn member_strings<'a>(
    batch: &'a RecordBatch,
    root: &str,
    member: &str,
) -> Result<Vec<Option<&'a str>>, ArrowError> {
    let column = batch
        .column_by_name(root)
        .and_then(|root| root.as_struct_opt())
        .and_then(|root| root.column_by_name(member));
    let Some(column) = column else { return Ok(vec![None; batch.num_rows()]) };
    let is = || ArrowError::SchemaError(format!("{root}.{member} is {}", column.data_type()));
    Ok(column.as_string_opt::<i32>().ok_or_else(is)?.iter().collect())
}
