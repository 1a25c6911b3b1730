//! The formats that a table's records may have: what a person must know of each.
//!
//! It owns their names, and what a format asks of a table's columns. How
//! records are read is one file for each format in `columnar`, listed in `columnar::readers`.

use crate::schema::{DataType, Field, Schema};

/// What the payloads of a table's records are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object is one row.
    Json,
    /// The payload as it is, in the column [`RAW_COLUMN`].
    Raw,
}

/// The column that [`Format::Raw`] fills.
pub const RAW_COLUMN: &str = "value";

/// Whether [`Format::Raw`] can put payloads into this column: any bytes, or text.
pub fn is_raw_column(field: &Field) -> bool {
    field.name == RAW_COLUMN && matches!(field.data_type, DataType::Binary | DataType::String)
}

/// Where the columns come from of a table that does not exist and whose config names none.
#[derive(Clone, PartialEq, Debug)]
pub enum ColumnsFrom {
    /// Records of the topic are looked at.
    Samples,
    /// They are always these.
    Format(Schema),
}

/// Why a format cannot fill a table, and what helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    pub message: String,
    pub remedy: String,
}

impl Format {
    pub const ALL: [Format; 2] = [Format::Json, Format::Raw];

    /// As a config names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Raw => "raw",
        }
    }

    pub fn columns_from(self) -> ColumnsFrom {
        match self {
            Format::Json => ColumnsFrom::Samples,
            Format::Raw => {
                ColumnsFrom::Format(Schema::of(vec![Field::new(RAW_COLUMN, DataType::Binary, true)]))
            }
        }
    }

    /// Fields that the schema does not know can be kept as text.
    pub fn can_rescue(self) -> bool {
        match self {
            Format::Json => true,
            Format::Raw => false,
        }
    }

    /// Whether a table with these columns, metadata columns among them, can be filled.
    pub fn suits(self, table: &Schema) -> Result<(), Unfit> {
        match self {
            Format::Json => match table.unfillable_by_json() {
                None => Ok(()),
                Some((path, data_type)) => Err(Unfit {
                    message: format!(
                        "column `{path} {data_type}` can hold no value of JSON: its keys are always text"
                    ),
                    remedy: "make it a map with STRING keys, or choose another location".to_owned(),
                }),
            },
            Format::Raw if table.fields.iter().any(is_raw_column) => Ok(()),
            Format::Raw => Err(Unfit {
                message: format!("the table has no column `{RAW_COLUMN}` of BINARY or STRING"),
                remedy: "`format = \"raw\"` puts payloads there: add the column, or choose another location"
                    .to_owned(),
            }),
        }
    }

    /// Whether the columns that a config declares are such as the format fills.
    pub fn suits_declared(self, columns: &Schema) -> Result<(), Unfit> {
        match self {
            Format::Json => Ok(()),
            Format::Raw if matches!(columns.fields.as_slice(), [field] if is_raw_column(field)) => Ok(()),
            Format::Raw => Err(Unfit {
                message: "a table of `format = \"raw\"` has one column for the payload".to_owned(),
                remedy: "leave `schema` out, or write `value BINARY` or, for UTF-8 text, `value STRING`"
                    .to_owned(),
            }),
        }
    }
}
