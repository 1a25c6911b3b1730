//! Columns that hold facts about a record rather than fields of it.
//!
//! It owns their names and types. Filling them is `columnar`.

use crate::schema::{DataType, Field};

/// The column that [`super::OnNewField::Rescue`] fills.
pub const RESCUED_COLUMN: &str = "_rescued";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetadataColumn {
    Partition,
    Offset,
    Timestamp,
    /// `CreateTime` or `LogAppendTime`: who set the timestamp.
    TimestampType,
    Topic,
    Key,
    /// In their order, duplicates kept.
    Headers,
}

impl MetadataColumn {
    pub const ALL: [MetadataColumn; 7] = [
        MetadataColumn::Partition,
        MetadataColumn::Offset,
        MetadataColumn::Timestamp,
        MetadataColumn::TimestampType,
        MetadataColumn::Topic,
        MetadataColumn::Key,
        MetadataColumn::Headers,
    ];

    /// What a table gets that does not ask for others.
    pub const DEFAULT: [MetadataColumn; 3] =
        [MetadataColumn::Partition, MetadataColumn::Offset, MetadataColumn::Timestamp];

    pub fn name(self) -> &'static str {
        match self {
            MetadataColumn::Partition => "_partition",
            MetadataColumn::Offset => "_offset",
            MetadataColumn::Timestamp => "_timestamp",
            MetadataColumn::TimestampType => "_timestamp_type",
            MetadataColumn::Topic => "_topic",
            MetadataColumn::Key => "_key",
            MetadataColumn::Headers => "_headers",
        }
    }

    /// The types that it can be written as; the first is what it is created with.
    pub fn types(self) -> Vec<DataType> {
        match self {
            MetadataColumn::Partition => vec![DataType::Integer, DataType::Long],
            MetadataColumn::Offset => vec![DataType::Long],
            MetadataColumn::Timestamp => vec![DataType::Timestamp],
            MetadataColumn::TimestampType | MetadataColumn::Topic => vec![DataType::String],
            MetadataColumn::Key => vec![DataType::Binary, DataType::String],
            MetadataColumn::Headers => vec![headers(DataType::Binary), headers(DataType::String)],
        }
    }

    pub fn field(self) -> Field {
        Field::new(self.name(), self.types().swap_remove(0), true)
    }

    /// The fact that a column of a table holds: name and type decide.
    pub fn of(field: &Field) -> Option<MetadataColumn> {
        let named = MetadataColumn::ALL.into_iter().find(|column| column.name() == field.name)?;
        let fits = named.types().iter().any(|of| of.same_as(&field.data_type));
        (fits && takes_null_values(&field.data_type)).then_some(named)
    }
}

fn headers(value: DataType) -> DataType {
    let members = vec![Field::new("key", DataType::String, true), Field::new("value", value, true)];
    DataType::Array { element: Box::new(DataType::Struct(members)), contains_null: true }
}

/// A header's value may be null, whatever somebody's table says.
fn takes_null_values(data_type: &DataType) -> bool {
    match data_type {
        DataType::Array { element, .. } => takes_null_values(element),
        DataType::Struct(members) => members.iter().all(|member| member.nullable || member.name != "value"),
        _ => true,
    }
}

/// Whether a column of a record may not have this name, in whatever case: thalweg writes it.
pub fn is_reserved(name: &str) -> bool {
    let mut reserved = MetadataColumn::ALL.map(MetadataColumn::name).into_iter().chain([RESCUED_COLUMN]);
    reserved.any(|reserved| reserved.eq_ignore_ascii_case(name))
}
