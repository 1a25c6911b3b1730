//! The columns of our checkpoints, and another writer's rows in them.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::delta::parsed_stats;

/// Another writer's rows in our schema: members by name, what is absent is null, and statistics are JSON.
pub fn conform(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = schema();
    let adds = batch.column_by_name("add").map(with_statistics);
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column =
                if field.name() == "add" { adds.as_ref() } else { batch.column_by_name(field.name()) };
            conform_array(column, field.data_type(), batch.num_rows())
        })
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema, columns)
}

/// Files whose statistics stand in columns only get them as JSON, too.
fn with_statistics(adds: &ArrayRef) -> ArrayRef {
    let Some(files) = adds.as_struct_opt() else { return Arc::clone(adds) };
    let there = files.column_by_name("stats");
    let Some(statistics) = parsed_stats::json(files, there) else { return Arc::clone(adds) };
    let others = files.fields().iter().zip(files.columns()).filter(|(field, _)| field.name() != "stats");
    let (mut fields, mut members): (Vec<_>, Vec<_>) =
        others.map(|(field, member)| (Arc::clone(field), Arc::clone(member))).unzip();
    fields.push(Arc::new(Field::new("stats", DataType::Utf8, true)));
    members.push(statistics);
    Arc::new(StructArray::new(fields.into(), members, files.nulls().cloned()))
}

fn conform_array(array: Option<&ArrayRef>, wanted: &DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
    let Some(array) = array else { return Ok(new_null_array(wanted, rows)) };
    match (wanted, array.as_struct_opt()) {
        (DataType::Struct(fields), Some(members)) => {
            let columns = fields
                .iter()
                .map(|field| conform_array(members.column_by_name(field.name()), field.data_type(), rows))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, members.nulls().cloned())?))
        }
        _ => arrow::compute::cast(array, wanted),
    }
}

/// The columns of a checkpoint.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(make_schema);
    Arc::clone(&SCHEMA)
}

fn make_schema() -> SchemaRef {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let vector = || {
        structure(&[
            ("storageType", Utf8),
            ("pathOrInlineDv", Utf8),
            ("offset", Int32),
            ("sizeInBytes", Int32),
            ("cardinality", Int64),
        ])
    };
    let columns = [
        (
            "protocol",
            structure(&[
                ("minReaderVersion", Int32),
                ("minWriterVersion", Int32),
                ("readerFeatures", list()),
                ("writerFeatures", list()),
            ]),
        ),
        (
            "metaData",
            structure(&[
                ("id", Utf8),
                ("name", Utf8),
                ("description", Utf8),
                ("format", structure(&[("provider", Utf8), ("options", map())])),
                ("schemaString", Utf8),
                ("partitionColumns", list()),
                ("configuration", map()),
                ("createdTime", Int64),
            ]),
        ),
        ("txn", structure(&[("appId", Utf8), ("version", Int64), ("lastUpdated", Int64)])),
        ("domainMetadata", structure(&[("domain", Utf8), ("configuration", Utf8), ("removed", Boolean)])),
        (
            "add",
            structure(&[
                ("path", Utf8),
                ("partitionValues", map()),
                ("size", Int64),
                ("modificationTime", Int64),
                ("dataChange", Boolean),
                ("stats", Utf8),
                ("tags", map()),
                ("deletionVector", vector()),
                ("baseRowId", Int64),
                ("defaultRowCommitVersion", Int64),
                ("clusteringProvider", Utf8),
            ]),
        ),
        (
            "remove",
            structure(&[
                ("path", Utf8),
                ("deletionTimestamp", Int64),
                ("dataChange", Boolean),
                ("extendedFileMetadata", Boolean),
                ("partitionValues", map()),
                ("size", Int64),
                ("tags", map()),
                ("deletionVector", vector()),
            ]),
        ),
    ];
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

fn structure(members: &[(&str, DataType)]) -> DataType {
    let fields: Vec<Field> =
        members.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
    DataType::Struct(Fields::from(fields))
}

fn map() -> DataType {
    let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry.into()), false)), false)
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)))
}
