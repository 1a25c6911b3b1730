//! The files of the checkpoint before, ours or another writer's.
//!
//! It owns reading them in pieces: a row group of ours is small and read
//! whole, another writer's may be as large as its file and is read by blocks.

use std::collections::BTreeSet;
use std::ops::Range;

use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::SchemaDescriptor;

use super::blocks::{self, Batches, Columns};
use super::columns::BATCH_ROWS;
use super::output::{self, MemoryRange};
use super::part::Part;
use crate::delta::checkpoint_file;
use crate::delta::json_checkpoint;
use crate::error::Result;
use crate::stores::parquet_object::ParquetObject;
use crate::stores::store::Store;

/// How much of a row group is read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Columns that lie within so many bytes are read together.
    pub whole_bytes: u64,
    /// Otherwise so much of each column.
    pub block_bytes: u64,
}

pub(super) struct OldFile {
    pub name: String,
    object: ParquetObject,
    metadata: ArrowReaderMetadata,
    window: Window,
    /// Of each row group, where the file is one that we wrote, with the columns of today: its row
    /// groups can stand in a new file as they are.
    checksums: Option<Vec<u32>>,
}

/// Opens the files of a checkpoint, and the sidecars that they name.
pub(super) async fn open(
    store: &Store,
    names: &[String],
    ours: &SchemaDescriptor,
    window: Window,
) -> Result<Vec<OldFile>> {
    let mut files = Vec::new();
    for name in names {
        let sidecars = if json_checkpoint::is_one(name) {
            // What else stands in it counts as what happened since.
            let body = json_checkpoint::read(store, name).await?;
            let sidecars = json_checkpoint::sidecars(&body);
            sidecars
                .map_err(|error| checkpoint_file::bad_checkpoint(store, name, error))?
                .into_iter()
                .collect()
        } else {
            let file = OldFile::open(store, name.clone(), ours, window).await?;
            let sidecars = file.sidecars(store).await?;
            files.push(file);
            sidecars
        };
        for sidecar in sidecars {
            files.push(OldFile::open(store, format!("_sidecars/{sidecar}"), ours, window).await?);
        }
    }
    Ok(files)
}

impl OldFile {
    async fn open(store: &Store, name: String, ours: &SchemaDescriptor, window: Window) -> Result<OldFile> {
        let mut object = ParquetObject::new(&store.objects, store.path(&format!("_delta_log/{name}")));
        let bad = |error: ParquetError| checkpoint_file::bad_checkpoint(store, &name, error);
        let metadata = object.get_metadata(None).await.map_err(bad)?;
        let same = metadata.file_metadata().schema_descr().root_schema() == ours.root_schema();
        let checksums = output::checksums(&metadata).filter(|_| same);
        let metadata = checkpoint_file::arrow_metadata(metadata).map_err(bad)?;
        Ok(OldFile { name, object, metadata, window, checksums })
    }

    pub fn is_ours(&self) -> bool {
        self.checksums.is_some()
    }

    pub fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    pub fn columns(&self) -> &SchemaDescriptor {
        self.metadata().file_metadata().schema_descr()
    }

    /// One row group of ours, whole, and the checksum that it must have.
    pub async fn hold(&self, store: &Store, group: usize) -> Result<(MemoryRange, u32)> {
        let checksum = self.checksums.as_ref().expect("it is ours")[group];
        let ranges: Vec<_> = self.metadata().row_group(group).columns().iter().map(range).collect();
        Ok((self.hold_range(store, span(&ranges)).await?, checksum))
    }

    async fn hold_range(&self, store: &Store, range: Range<u64>) -> Result<MemoryRange> {
        let read = self.object.clone().get_bytes(range.clone()).await;
        let bytes = read.map_err(|error| checkpoint_file::bad_checkpoint(store, &self.name, error))?;
        Ok(MemoryRange { start: range.start, bytes })
    }

    /// The columns of one part of a row group of any size: a small one is held
    /// whole, of a large one a block of each column.
    pub async fn batches(&self, store: &Store, group: usize, part: Part) -> Result<Batches> {
        let mask = part.projection(self.metadata());
        let leaves = (0..self.columns().num_columns()).filter(|&leaf| mask.leaf_included(leaf));
        let row_group = self.metadata().row_group(group);
        let ranges: Vec<Range<u64>> = leaves.map(|leaf| range(row_group.column(leaf))).collect();
        let (metadata, span) = (self.metadata.clone(), span(&ranges));
        if span.end - span.start > self.window.whole_bytes {
            let columns = Columns { ranges, block_bytes: self.window.block_bytes };
            let decode = move |blocks| decode(blocks, metadata, mask, group);
            return Ok(blocks::read(self.object.clone(), columns, decode));
        }
        let held = self.hold_range(store, span).await?;
        let batches = decode(held, metadata, mask, group);
        let batches = batches.map_err(|error| checkpoint_file::bad_checkpoint(store, &self.name, error))?;
        Ok(futures::stream::iter(batches.map(|batch| batch.map_err(ParquetError::from))).boxed())
    }

    /// Whether a row group of ours names one of these paths, which are in order.
    pub async fn names_any(&self, store: &Store, group: usize, part: Part, paths: &[&str]) -> Result<bool> {
        let row_group = self.metadata().row_group(group);
        let Some(leaf) = checkpoint_file::leaf(row_group, part.path_leaf()) else { return Ok(false) };
        let paths = between(leaf, paths);
        if paths.is_empty() {
            return Ok(false);
        }
        let held = self.hold_range(store, range(leaf)).await?;
        self.holds_any(group, held, part, paths)
            .map_err(|error| checkpoint_file::bad_checkpoint(store, &self.name, error))
    }

    fn holds_any(
        &self,
        group: usize,
        held: MemoryRange,
        part: Part,
        paths: &[&str],
    ) -> parquet::errors::Result<bool> {
        let columns = self.columns();
        let leaf = (0..columns.num_columns())
            .filter(|&leaf| columns.column(leaf).path().string() == part.path_leaf());
        let mask = ProjectionMask::leaves(columns, leaf);
        let wanted: std::collections::HashSet<&str> = paths.iter().copied().collect();
        let (root, member) = part.path_leaf().split_once('.').expect("a member of a struct");
        for batch in decode(held, self.metadata.clone(), mask, group)? {
            let batch = batch?;
            let mut paths = checkpoint_file::member_strings(&batch, root, member)?.into_iter().flatten();
            if paths.any(|path| wanted.contains(path)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The sidecars that a v2 checkpoint names.
    async fn sidecars(&self, store: &Store) -> Result<BTreeSet<String>> {
        let groups: Vec<usize> = (0..self.metadata().num_row_groups())
            .filter(|&group| checkpoint_file::may_hold(self.metadata().row_group(group), "sidecar.path"))
            .collect();
        if groups.is_empty() {
            return Ok(BTreeSet::new());
        }
        let bad = |error: ParquetError| checkpoint_file::bad_checkpoint(store, &self.name, error);
        let columns = self.columns();
        let leaves =
            (0..columns.num_columns()).filter(|&leaf| columns.column(leaf).path().string() == "sidecar.path");
        let (object, metadata) = (self.object.clone(), self.metadata.clone());
        let mut batches = ParquetRecordBatchStreamBuilder::new_with_metadata(object, metadata)
            .with_projection(ProjectionMask::leaves(columns, leaves))
            .with_row_groups(groups)
            .build()
            .map_err(bad)?;
        let mut names = BTreeSet::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(bad)?;
            let paths = checkpoint_file::member_strings(&batch, "sidecar", "path")
                .map_err(|error| bad(error.into()))?;
            names.extend(paths.into_iter().flatten().map(str::to_owned));
        }
        Ok(names)
    }
}

fn decode(
    from: impl ChunkReader + 'static,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    group: usize,
) -> parquet::errors::Result<ParquetRecordBatchReader> {
    ParquetRecordBatchReaderBuilder::new_with_metadata(from, metadata)
        .with_projection(mask)
        .with_row_groups(vec![group])
        .with_batch_size(BATCH_ROWS)
        .build()
}

/// From the first byte of any of these to the last.
fn span(ranges: &[Range<u64>]) -> Range<u64> {
    let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
    let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    start..end
}

/// Where a column's bytes stand in the file.
fn range(column: &ColumnChunkMetaData) -> Range<u64> {
    let (start, length) = column.byte_range();
    start..start + length
}

/// The paths that lie within a column's statistics: all of them where it has none.
fn between<'a, 'b>(leaf: &ColumnChunkMetaData, paths: &'b [&'a str]) -> &'b [&'a str] {
    let bounds = leaf.statistics().and_then(|all| Some((all.min_bytes_opt()?, all.max_bytes_opt()?)));
    let Some((min, max)) = bounds else { return paths };
    let from = paths.partition_point(|path| path.as_bytes() < min);
    let to = paths.partition_point(|path| path.as_bytes() <= max);
    &paths[from..to.max(from)]
}
