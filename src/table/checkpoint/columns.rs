//! The columns of our checkpoints, and which rows stand in which part.
//!
//! It owns the schema, bringing another writer's rows into it, and the choice
//! of the rows that still hold.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::changes::{Changes, OldRow};
use crate::table::inventory::FileKey;
use crate::table::{log, parsed_stats};

/// Rows decoded and encoded at once.
pub(super) const BATCH_ROWS: usize = 512;

/// The parts of a checkpoint, in this order, in row groups of their own: what
/// a start reads is a few kilobytes, and a part that nothing happened to is
/// copied as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// What is about the table and not about a file.
    Table,
    /// Tombstones.
    Removes,
    /// Live files.
    Adds,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Table, Part::Removes, Part::Adds];

    /// The columns that hold it.
    fn roots(self) -> &'static [&'static str] {
        match self {
            Part::Table => &["protocol", "metaData", "txn", "domainMetadata"],
            Part::Removes => &["remove"],
            Part::Adds => &["add"],
        }
    }

    /// The leaves whose null counts tell whether it is in a row group.
    fn leaves(self) -> &'static [&'static str] {
        match self {
            Part::Table => {
                &["protocol.minReaderVersion", "metaData.id", "txn.appId", "domainMetadata.domain"]
            }
            Part::Removes => &["remove.path"],
            Part::Adds => &["add.path"],
        }
    }

    /// The leaf that names its files.
    pub fn path_leaf(self) -> &'static str {
        self.leaves()[0]
    }

    pub fn may_be_in(self, group: &RowGroupMetaData) -> bool {
        self.leaves().iter().any(|leaf| log::may_hold(group, leaf))
    }

    /// Whether every row of a group is of this part, for sure.
    pub fn fills(self, group: &RowGroupMetaData) -> bool {
        let nulls = |leaf| log::leaf(group, leaf)?.statistics()?.null_count_opt();
        self.leaves().iter().any(|leaf| nulls(leaf) == Some(0))
    }

    pub fn projection(self, file: &ParquetMetaData) -> ProjectionMask {
        let columns = file.file_metadata().schema_descr();
        let is_of =
            |path: &[String]| self.roots().contains(&path[0].as_str()) && parsed_stats::is_wanted(file, path);
        let leaves = (0..columns.num_columns()).filter(|&leaf| is_of(columns.column(leaf).path().parts()));
        ProjectionMask::leaves(columns, leaves)
    }
}

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
            let txns = log::member_strings(&batch, "txn", "appId")?;
            let domains = log::member_strings(&batch, "domainMetadata", "domain")?;
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
pub(super) fn schema() -> SchemaRef {
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
