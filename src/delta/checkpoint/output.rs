//! The checkpoint that is being written.
//!
//! It owns the file's form: row groups of a bounded size, encoded from rows or
//! taken over as bytes, their checksums in the footer, and parts of the file
//! that are ready to be sent. It does not own what goes in.
//!
//! Bytes that are taken over are compared with their checksum: they are what
//! was written once, however often they were copied since.

use std::collections::VecDeque;
use std::io::Write;

use arrow::array::RecordBatch;
use bytes::{Buf, Bytes, BytesMut};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use crate::config;
use crate::delta::action;
use crate::delta::checkpoint_schema::schema;

/// A row group ends with the first of these.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupMax {
    pub rows: usize,
    pub bytes: usize,
}

/// The footer's key for the CRC-32 of each row group's bytes, in order.
const CHECKSUMS_KEY: &str = "thalweg.crc32";

pub(super) struct Output {
    file: SerializedFileWriter<Parts>,
    columns: ArrowRowGroupWriterFactory,
    open: Option<OpenGroup>,
    max: GroupMax,
    rows: i64,
    checksums: Vec<String>,
}

struct OpenGroup {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl Output {
    pub fn new(max: GroupMax, compression: config::Compression, part_bytes: usize) -> Result<Output> {
        // Readers of checkpoints want whole columns: pages need no statistics and no index.
        // Nearly every value is another: a dictionary is made, and then given up.
        let mut properties = WriterProperties::builder()
            .set_compression(codec(compression)?)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_dictionary_enabled(false);
        for action in ["add", "remove"] {
            for names in ["partitionValues", "tags"] {
                let path = [action, names, "key_value", "key"].map(str::to_owned).to_vec();
                properties = properties.set_column_dictionary_enabled(ColumnPath::new(path), true);
            }
        }
        let writer = ArrowWriter::try_new(Parts::of(part_bytes), schema(), Some(properties.build()))?;
        let (mut file, columns) = writer.into_serialized_writer()?;
        file.flush()?;
        file.inner_mut().checksum.reset();
        Ok(Output { file, columns, open: None, max, rows: 0, checksums: Vec::new() })
    }

    /// The columns that a row group must have to be taken over.
    pub fn columns(&self) -> &SchemaDescriptor {
        self.file.schema_descr()
    }

    /// Rows of the row groups that have ended.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// Encodes rows; a row group that is full ends.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => OpenGroup { columns: self.columns.create_column_writers(0)?, rows: 0 },
            };
            let rows = (self.max.rows - open.rows).min(batch.num_rows() - from);
            open.push(&batch.slice(from, rows))?;
            let is_full = open.rows >= self.max.rows || open.bytes() >= self.max.bytes;
            self.open = Some(open);
            if is_full {
                self.end_group()?;
            }
            from += rows;
        }
        Ok(())
    }

    /// Ends the open row group, if there is one.
    pub fn end_group(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.rows += open.rows as i64;
        let mut group = self.file.next_row_group()?;
        for column in open.columns {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.note_checksum().map(drop)
    }

    /// Takes a row group over byte for byte. The open one stays open.
    pub fn splice(&mut self, group: &RowGroupMetaData, bytes: &MemoryRange, checksum: u32) -> Result<()> {
        let mut copy = self.file.next_row_group()?;
        for column in group.columns() {
            let close = ColumnCloseResult {
                bytes_written: column.compressed_size() as u64,
                rows_written: group.num_rows() as u64,
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            copy.append_column(bytes, close)?;
        }
        copy.close()?;
        self.rows += group.num_rows();
        if self.note_checksum()? != checksum {
            return Err(ParquetError::General("a row group is not what was written".to_owned()));
        }
        Ok(())
    }

    /// The checksum of the row group that has just ended.
    fn note_checksum(&mut self) -> Result<u32> {
        self.file.flush()?;
        let checksum = std::mem::take(&mut self.file.inner_mut().checksum).finalize();
        self.checksums.push(action::checksum_text(checksum));
        Ok(checksum)
    }

    /// A part that is full, if there is one.
    pub fn next_part(&mut self) -> Option<Bytes> {
        self.file.inner_mut().full.pop_front()
    }

    /// Ends the file: what of it was not taken yet, in order.
    pub fn finish(mut self) -> Result<impl Iterator<Item = Bytes>> {
        self.end_group()?;
        let checksums = KeyValue::new(CHECKSUMS_KEY.to_owned(), self.checksums.join(" "));
        self.file.append_key_value_metadata(checksums);
        let parts = self.file.into_inner()?;
        Ok(parts.full.into_iter().chain([parts.filling.freeze()]))
    }
}

fn codec(compression: config::Compression) -> Result<Compression> {
    Ok(match compression {
        config::Compression::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
        config::Compression::Snappy | config::Compression::None => Compression::SNAPPY,
    })
}

/// The checksums of a file's row groups; `None` where it has none, or not one for each.
pub(super) fn checksums(file: &ParquetMetaData) -> Option<Vec<u32>> {
    let pairs = file.file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == CHECKSUMS_KEY)?.value.as_ref()?;
    let parse = |checksum| u32::from_str_radix(checksum, 16).ok();
    let checksums: Vec<u32> = text.split_ascii_whitespace().map(parse).collect::<Option<_>>()?;
    (checksums.len() == file.num_row_groups()).then_some(checksums)
}

impl OpenGroup {
    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut columns = self.columns.iter_mut();
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, array)? {
                columns.next().expect("a writer for each leaf").write(&leaf)?;
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Bytes that it comes to.
    fn bytes(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }
}

/// Bytes cut into parts, so that none of them is copied to grow.
struct Parts {
    part_bytes: usize,
    full: VecDeque<Bytes>,
    filling: BytesMut,
    /// Of the bytes since the last row group.
    checksum: crc32fast::Hasher,
}

impl Parts {
    fn of(part_bytes: usize) -> Parts {
        let checksum = crc32fast::Hasher::new();
        Parts { part_bytes, full: VecDeque::new(), filling: BytesMut::new(), checksum }
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.filling.capacity() == 0 {
            self.filling.reserve(self.part_bytes);
        }
        let taken = bytes.len().min(self.part_bytes - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        self.checksum.update(&bytes[..taken]);
        if self.filling.len() == self.part_bytes {
            self.full.push_back(std::mem::take(&mut self.filling).freeze());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A range of a file in memory, read by its place in the file.
#[derive(Clone)]
pub(super) struct MemoryRange {
    pub start: u64,
    pub bytes: Bytes,
}

impl MemoryRange {
    /// What is held from there on; `None` where that is no part of it.
    pub fn from(&self, start: u64) -> Option<Bytes> {
        let from = start.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        from.filter(|&from| from <= self.bytes.len()).map(|from| self.bytes.slice(from..))
    }

    fn slice(&self, start: u64, length: Option<usize>) -> Result<Bytes> {
        match (self.from(start), length) {
            (Some(rest), None) => Ok(rest),
            (Some(rest), Some(length)) if length <= rest.len() => Ok(rest.slice(..length)),
            _ => Err(ParquetError::EOF(format!("{start} is outside of what was read"))),
        }
    }
}

impl Length for MemoryRange {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for MemoryRange {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.slice(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.slice(start, Some(length))
    }
}
