//! One open Parquet file: zstd(1), otherwise the writer's defaults.
//!
//! It owns the file until it is on disk with its `add` action. It does not
//! know Kafka.

use std::fs::File;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::statistics;

pub struct DataFile {
    name: String,
    writer: ArrowWriter<File>,
    pub opened: Instant,
}

impl DataFile {
    pub fn create(directory: &Path, schema: SchemaRef) -> Result<DataFile> {
        let name = format!("part-{}.zstd.parquet", uuid::Uuid::new_v4());
        let path = directory.join(&name);
        let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?)).build();
        let writer = ArrowWriter::try_new(file, schema, Some(properties))?;
        Ok(DataFile { name, writer, opened: Instant::now() })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(batch)?)
    }

    /// About what the file will have when it is closed now.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Closes and syncs the file.
    pub fn finish(mut self) -> Result<Add> {
        let metadata = self.writer.finish()?;
        let file = self.writer.inner();
        file.sync_all()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Add {
            path: self.name,
            size: file.metadata()?.len() as i64,
            modification_time: now.as_millis() as i64,
            data_change: true,
            stats: Some(statistics::of(&metadata)),
            ..Default::default()
        })
    }
}
