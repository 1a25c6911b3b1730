//! Batches become a Parquet file in memory, whose finished bytes can be
//! taken away, in parts, while the file is still open.
//!
//! It owns the writer's settings: encodings that suit each type and that
//! every reader reads (v1 pages), plain `list.element` and `key_value.key`
//! names, chunk statistics, no bloom filters. It does not upload, and it
//! does not decide when a file is full: it tells its memory and size.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{self, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

use super::sink::PartSink;
use super::stats;
use crate::config::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{DataType, Field, Schema};

/// Leaf columns with statistics: `delta.dataSkippingNumIndexedCols` when a table does not set it.
pub const INDEXED_COLUMNS: usize = 32;

/// A dictionary that grows past this is given up, and the values follow plainly.
const DICTIONARY_BYTES_MAX: usize = 512 << 10;

/// Footer bounds of strings keep this many bytes: the 32 characters that Delta's keep, at four bytes each.
const BOUND_BYTES_MAX: usize = 4 * stats::STRING_PREFIX;

/// Rows of a page at most. Data pages are compressed when they are full, those that are not when
/// their row group ends, one column after the other.
const PAGE_ROWS: usize = 20_000;

/// A row group of fewer rows has compressed no page before it ends, so that one compressor lives at
/// a time; a whole number of batches.
const WIDE_ROW_GROUP_ROWS: usize = 16_384;

/// What a leaf holds of a row group whose pages are full: its compressor's tables, levels, page.
const COMPRESSOR_BYTES: usize = 256 << 10;

/// What the encoder of an integer leaf reserves, touched or not.
const INTEGER_ENCODER_RESERVE: usize = 1 << 20;

/// Bytes of a part where nobody says otherwise.
const PART_BYTES: usize = 8 << 20;

/// A file being written.
pub struct ParquetFile {
    writer: ArrowWriter<PartSink>,
    schema: Schema,
    row_group_bytes: usize,
    weight: Weight,
    indexed_columns: usize,
    rows: u64,
    /// Per leaf: a NaN was written. The footer does not say.
    nans: Vec<bool>,
    /// Of the bytes taken so far.
    checksum: crc32fast::Hasher,
}

/// What is left to upload of a complete file, and what the log says about it.
#[derive(Clone, Debug)]
pub struct ClosedFile {
    /// The bytes not taken yet, in parts, footer included: at least one part.
    pub parts: Vec<Bytes>,
    /// Of the whole file, in bytes.
    pub size: u64,
    pub rows: u64,
    /// The `stats` of Delta's `add`, as JSON.
    pub stats: String,
    /// CRC-32 of the whole file.
    pub checksum: u32,
}

impl ParquetFile {
    /// An empty file. A row group ends once it holds about `row_group_bytes` encoded.
    ///
    /// Fails with [`ErrorKind::CannotWrite`] for a schema without Parquet form (an empty struct).
    pub fn create(schema: &Schema, compression: Compression, row_group_bytes: usize) -> Result<ParquetFile> {
        let weight = Weight::of(schema, compression);
        let options = ArrowWriterOptions::new()
            .with_properties(properties(schema, compression, weight.row_group_rows(row_group_bytes))?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(PartSink::new(PART_BYTES), schema.to_arrow(), options)
            .map_err(|error| {
                Error::new(ErrorKind::CannotWrite, format!("no Parquet for the schema: {error}"))
            })?;
        let leaves = weight.leaves;
        Ok(ParquetFile {
            writer,
            schema: schema.clone(),
            row_group_bytes,
            weight,
            indexed_columns: INDEXED_COLUMNS,
            rows: 0,
            nans: vec![false; leaves],
            checksum: crc32fast::Hasher::new(),
        })
    }

    /// Sets how many leaf columns get statistics (`delta.dataSkippingNumIndexedCols`; all: `usize::MAX`).
    pub fn indexed_columns(mut self, count: usize) -> ParquetFile {
        self.indexed_columns = count;
        self
    }

    /// Sets the size of the parts that finished bytes are given out in. For a file without rows.
    pub fn parts_of(mut self, part_bytes: usize) -> ParquetFile {
        self.writer.inner_mut().parts_of(part_bytes);
        self
    }

    /// Appends rows; the batch's memory is free again afterwards.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(internal)?;
        self.rows += batch.num_rows() as u64;
        note_nans(&self.schema.fields, batch.columns(), &mut self.nans, 0);
        if self.writer.in_progress_size() >= self.row_group_bytes {
            self.flush_row_group()?;
        }
        Ok(())
    }

    /// Ends the row group: its encoded pages become finished bytes.
    pub fn flush_row_group(&mut self) -> Result<()> {
        self.writer.flush().map_err(internal)
    }

    /// Bytes held: the row group in progress, and what is finished and not taken.
    ///
    /// What an encoder reserves and has not touched is no memory yet, and is not counted; what a
    /// compressor holds is, although the writer does not tell.
    pub fn memory(&self) -> usize {
        self.writer.inner().held()
            + self.weight.of_row_group(
                self.writer.in_progress_rows(),
                self.writer.memory_size(),
                self.writer.in_progress_size(),
            )
    }

    /// The finished bytes that follow those taken before, as far as they fill whole parts.
    pub fn take_parts(&mut self) -> Vec<Bytes> {
        let parts = self.writer.inner_mut().take_full();
        parts.iter().for_each(|part| self.checksum.update(part));
        parts
    }

    /// What the file would measure if it ended now, without its footer.
    pub fn size_estimate(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file.
    pub fn close(mut self) -> Result<ClosedFile> {
        let metadata = self.writer.finish().map_err(internal)?;
        let stats = stats::delta_stats(&self.schema, &metadata, &self.nans, self.indexed_columns);
        let parts = self.writer.inner_mut().take_all();
        parts.iter().for_each(|part| self.checksum.update(part));
        Ok(ClosedFile {
            size: self.writer.bytes_written() as u64,
            parts,
            rows: self.rows,
            stats,
            checksum: self.checksum.finalize(),
        })
    }
}

/// What tells a schema's row groups in memory from the bytes that the writer counts.
#[derive(Clone, Copy)]
struct Weight {
    leaves: usize,
    /// Leaves whose encoder reserves [`INTEGER_ENCODER_RESERVE`].
    integers: usize,
    compressed: bool,
}

impl Weight {
    fn of(schema: &Schema, compression: Compression) -> Weight {
        Weight {
            leaves: schema.fields.iter().map(|field| stats::leaves(&field.data_type)).sum(),
            integers: schema.fields.iter().map(|field| integer_leaves(&field.data_type)).sum(),
            compressed: !matches!(compression, Compression::None),
        }
    }

    /// A limit for tables so wide that their compressors alone would outweigh a row group.
    fn row_group_rows(self, row_group_bytes: usize) -> Option<usize> {
        let is_wide = self.compressed && self.leaves * COMPRESSOR_BYTES > 2 * row_group_bytes;
        is_wide.then_some(WIDE_ROW_GROUP_ROWS)
    }

    /// Bytes of a row group in progress. `counted` holds capacities, `encoded` what the rows take.
    fn of_row_group(self, rows: usize, counted: usize, encoded: usize) -> usize {
        if rows == 0 {
            return 0;
        }
        let compressors =
            if self.compressed && rows >= PAGE_ROWS { self.leaves * COMPRESSOR_BYTES } else { 0 };
        // The integers' encoded bytes stand in their reserves: `encoded` holds them and more.
        (counted.saturating_sub(self.integers * INTEGER_ENCODER_RESERVE)).max(encoded) + compressors
    }
}

/// Leaves of a type with the encoder of integers.
fn integer_leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| integer_leaves(&field.data_type)).sum(),
        DataType::Array { element, .. } => integer_leaves(element),
        DataType::Map { key, value, .. } => integer_leaves(key) + integer_leaves(value),
        leaf => usize::from(is_parquet_integer(leaf)),
    }
}

/// Writing to memory fails only by our mistake.
fn internal(error: ParquetError) -> Error {
    Error::new(ErrorKind::Internal, format!("could not encode Parquet: {error}"))
}

fn properties(
    schema: &Schema,
    compression: Compression,
    row_group_rows: Option<usize>,
) -> Result<WriterProperties> {
    let compression = match compression {
        Compression::Zstd(level) => basic::Compression::ZSTD(
            ZstdLevel::try_new(level).map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?,
        ),
        Compression::Snappy => basic::Compression::SNAPPY,
        Compression::None => basic::Compression::UNCOMPRESSED,
    };
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        // The form that parquet-java parses; it distrusts what it cannot parse.
        .set_created_by(concat!("thalweg version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(BOUND_BYTES_MAX))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(row_group_rows);
    for field in &schema.fields {
        builder = tuned(builder, vec![field.name.clone()], &field.data_type);
    }
    Ok(builder.build())
}

/// The settings of the leaves at and below a path.
fn tuned(
    builder: WriterPropertiesBuilder,
    path: Vec<String>,
    data_type: &DataType,
) -> WriterPropertiesBuilder {
    let below = |names: &[&str]| {
        let mut path = path.clone();
        path.extend(names.iter().map(|name| (*name).to_owned()));
        path
    };
    match data_type {
        DataType::Struct(fields) => fields
            .iter()
            .fold(builder, |builder, field| tuned(builder, below(&[&field.name]), &field.data_type)),
        DataType::Array { element, .. } => tuned(builder, below(&["list", "element"]), element),
        DataType::Map { key, value, .. } => {
            let builder = tuned(builder, below(&["key_value", "key"]), key);
            tuned(builder, below(&["key_value", "value"]), value)
        }
        DataType::String | DataType::Binary => builder,
        leaf => {
            let encoding =
                if is_parquet_integer(leaf) { Encoding::DELTA_BINARY_PACKED } else { Encoding::PLAIN };
            let path = ColumnPath::new(path);
            builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding)
        }
    }
}

/// Whether a leaf is stored as INT32 or INT64.
fn is_parquet_integer(leaf: &DataType) -> bool {
    match leaf {
        DataType::Byte | DataType::Short | DataType::Integer | DataType::Long => true,
        DataType::Date | DataType::Timestamp => true,
        DataType::Decimal { precision, .. } => *precision <= 18,
        _ => false,
    }
}

/// Marks the leaves that hold a NaN; below lists and maps nobody asks. Returns the next leaf.
fn note_nans(
    fields: &[Field],
    arrays: &[arrow::array::ArrayRef],
    nans: &mut [bool],
    mut leaf: usize,
) -> usize {
    for (field, array) in fields.iter().zip(arrays) {
        match &field.data_type {
            DataType::Struct(members) => {
                leaf = note_nans(members, array.as_struct().columns(), nans, leaf);
                continue;
            }
            DataType::Float => {
                nans[leaf] |= array.as_primitive::<Float32Type>().values().iter().any(|value| value.is_nan());
            }
            DataType::Double => {
                nans[leaf] |= array.as_primitive::<Float64Type>().values().iter().any(|value| value.is_nan());
            }
            _ => {}
        }
        leaf += stats::leaves(&field.data_type);
    }
    leaf
}

#[cfg(test)]
mod tests;
