//! Rows become a Parquet file in memory, whose finished bytes can be taken
//! away, in parts, while the file is still open.
//!
//! It owns the file: its row groups, its parts, its checksum and what the
//! log says about it. Pages are `encode`'s. It does not upload, and it does
//! not decide when a file is full: it tells its memory and size.

use bytes::Bytes;
use parquet::file::writer::SerializedFileWriter;

use super::columns::Columns;
use super::encode::Encoder;
use super::encode::scratch::internal;
use super::sink::PartSink;
use super::stats;
use crate::config::Compression;
use crate::error::Result;
use crate::schema::Schema;

/// Bytes of a part where nobody says otherwise.
const PART_BYTES: usize = 8 << 20;

/// A file being written.
pub struct ParquetFile {
    encoder: Encoder,
    writer: SerializedFileWriter<PartSink>,
    schema: Schema,
    row_group_bytes: usize,
    rows: u64,
    /// Rows of the row group in progress.
    open_rows: usize,
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
    /// Fails as [`Encoder::new`] does.
    pub fn create(schema: &Schema, compression: Compression, row_group_bytes: usize) -> Result<ParquetFile> {
        ParquetFile::with_encoder(Encoder::new(schema, compression)?, schema, row_group_bytes)
    }

    /// An empty file, written by an encoder of the schema that [`ParquetFile::finish`] gives back.
    pub fn with_encoder(encoder: Encoder, schema: &Schema, row_group_bytes: usize) -> Result<ParquetFile> {
        Ok(ParquetFile {
            writer: encoder.begin_file(PartSink::new(PART_BYTES))?,
            schema: schema.clone(),
            row_group_bytes,
            rows: 0,
            open_rows: 0,
            nans: vec![false; encoder.leaves()],
            checksum: crc32fast::Hasher::new(),
            encoder,
        })
    }

    /// Sets the size of the parts that finished bytes are given out in. For a file without rows.
    pub fn parts_of(mut self, part_bytes: usize) -> ParquetFile {
        self.writer.inner_mut().parts_of(part_bytes);
        self
    }

    /// Appends rows; the caller may clear them afterwards.
    pub fn write(&mut self, rows: &mut Columns) -> Result<()> {
        rows.write_nulls();
        self.encoder.append(rows, self.row_group_bytes)?;
        self.rows += rows.rows() as u64;
        self.open_rows += rows.rows();
        if self.encoder.bytes() >= self.row_group_bytes {
            self.flush_row_group()?;
        }
        Ok(())
    }

    /// Ends the row group: its encoded pages become finished bytes.
    pub fn flush_row_group(&mut self) -> Result<()> {
        if self.open_rows > 0 {
            self.encoder.end_row_group(&mut self.writer, &mut self.nans)?;
            self.writer.flush().map_err(|error| internal(error.into()))?;
            self.open_rows = 0;
        }
        Ok(())
    }

    /// Ends the row group, and lets the memory go that the next one would use again.
    pub fn shrink(&mut self) -> Result<()> {
        self.flush_row_group()?;
        self.encoder.release();
        Ok(())
    }

    /// Bytes held: the encoder's, and what is finished and not taken.
    pub fn memory(&self) -> usize {
        self.writer.inner().held() + self.encoder.memory()
    }

    /// The finished bytes that follow those taken before, as far as they fill whole parts.
    pub fn take_parts(&mut self) -> Vec<Bytes> {
        let parts = self.writer.inner_mut().take_full();
        parts.iter().for_each(|part| self.checksum.update(part));
        parts
    }

    /// What the file would measure if it ended now, without its footer.
    pub fn size_estimate(&self) -> u64 {
        (self.writer.bytes_written() + self.encoder.bytes()) as u64
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file.
    pub fn close(self) -> Result<ClosedFile> {
        Ok(self.finish()?.0)
    }

    /// Ends the file; the encoder may write another one.
    pub fn finish(mut self) -> Result<(ClosedFile, Encoder)> {
        self.flush_row_group()?;
        let metadata = self.writer.finish().map_err(internal)?;
        let stats = stats::delta_stats(&self.schema, &metadata, &self.nans);
        let parts = self.writer.inner_mut().take_all();
        parts.iter().for_each(|part| self.checksum.update(part));
        let closed = ClosedFile {
            size: self.writer.bytes_written() as u64,
            parts,
            rows: self.rows,
            stats,
            checksum: self.checksum.finalize(),
        };
        Ok((closed, self.encoder))
    }
}

#[cfg(test)]
mod tests;
