//! Batches become a Parquet file in memory, whose finished bytes can be
//! taken away while the file is still open.
//!
//! It owns the writer's settings: encodings that suit each type and that
//! every reader reads (v1 pages), plain `list.element` and `key_value.key`
//! names, chunk statistics, no bloom filters. It does not upload, and it
//! does not decide when a file is full: it tells its memory and size.

use std::mem;

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

/// A file being written.
pub struct ParquetFile {
    writer: ArrowWriter<Vec<u8>>,
    schema: Schema,
    row_group_bytes: usize,
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
    /// The bytes not taken yet, footer included.
    pub tail: Bytes,
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
        let options = ArrowWriterOptions::new()
            .with_properties(properties(schema, compression)?)
            .with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), schema.to_arrow(), options).map_err(|error| {
                Error::new(ErrorKind::CannotWrite, format!("no Parquet for the schema: {error}"))
            })?;
        let leaves = schema.fields.iter().map(|field| stats::leaves(&field.data_type)).sum();
        Ok(ParquetFile {
            writer,
            schema: schema.clone(),
            row_group_bytes,
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
    /// While a row group is in progress, every integer column counts at least
    /// the MiB that its encoder reserves, touched or not.
    pub fn memory(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().len()
    }

    /// The finished bytes that follow those taken before. A few KiB may stay behind until the end.
    pub fn take_finished(&mut self) -> Bytes {
        let finished = mem::take(self.writer.inner_mut());
        self.checksum.update(&finished);
        finished.into()
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
        let tail = self.take_finished();
        Ok(ClosedFile {
            size: self.writer.bytes_written() as u64,
            tail,
            rows: self.rows,
            stats,
            checksum: self.checksum.finalize(),
        })
    }
}

/// Writing to memory fails only by our mistake.
fn internal(error: ParquetError) -> Error {
    Error::new(ErrorKind::Internal, format!("could not encode Parquet: {error}"))
}

fn properties(schema: &Schema, compression: Compression) -> Result<WriterProperties> {
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
        .set_max_row_group_row_count(None);
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
