//! Columns become the pages of a row group: our own Parquet encoder.
//!
//! ```text
//! Columns ─ levels ─┐
//!         ─ values ─┴▶ Leaf: the open page ─ Compressor ─▶ Store ─ row group ends ─▶ the crate's file writer
//! ```
//! | file | owns |
//! |---|---|
//! | `levels` | nulls, lists and maps above a leaf → definition and repetition levels |
//! | `leaf` | a column chunk in progress: when a page ends, what the footer says |
//! | `numbers`, `strings`, `plain` | the values of the open page, bounds, which encoding |
//! | `dictionary` | a value → its index among the distinct ones |
//! | `hybrid`, `delta` | the bytes of RLE / bit-packing and of DELTA_BINARY_PACKED |
//! | `coding`, `scratch` | how long a choice of encoding is kept; what all leaves share |
//! | `statistics` | bounds and null counts, as the footer has them |
//! | `pages` | compression, page headers, finished pages until their row group ends |
//!
//! It writes v1 data pages in PLAIN, RLE_DICTIONARY and DELTA_BINARY_PACKED
//! only, which every reader reads. Footer and indexes are the crate's. An
//! encoder outlives the files that it writes: buffers, hash tables, the
//! compressor and what was learned about each column stay.

mod coding;
mod delta;
mod dictionary;
mod hybrid;
mod leaf;
mod levels;
mod numbers;
mod pages;
mod plain;
pub(super) mod scratch;
mod statistics;
mod strings;

use std::io::Write;
use std::sync::Arc;

use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{self, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescPtr;

use self::leaf::{Gathered, Leaf};
use self::levels::{Frames, LevelRange};
use self::pages::{Compressor, Store};
use self::scratch::{PageLimits, Scratch, internal};
use super::columns::{Column, Columns, Data};
use super::stats;
use crate::config::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{DataType, Field, Schema};

/// Footer bounds of strings keep this many bytes: the 32 characters that Delta's keep, at four bytes each.
const BOUND_BYTES_MAX: usize = 4 * stats::STRING_PREFIX;

/// A page ends at so many rows.
const PAGE_ROWS: usize = 20_000;

/// A page ends at so many bytes, uncompressed: it is compressed while it is in the cache. At fewer in
/// small row groups of many columns.
const PAGE_BYTES_MAX: usize = 256 << 10;
const PAGE_BYTES_MIN: usize = 4 << 10;

/// Open pages take this share of a row group at most, about.
const OPEN_PAGES_SHARE: usize = 4;

/// Encodes rows of one schema, file after file.
pub struct Encoder {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    schema: SchemaDescPtr,
    properties: WriterPropertiesPtr,
    codec: basic::Compression,
    page_rows: usize,
    frames: Frames,
    gathered: Gathered,
    scratch: Scratch,
}

/// A column and what is below it.
struct Node {
    nullable: bool,
    shape: Shape,
}

enum Shape {
    /// The position among the leaves.
    Leaf(usize),
    Struct(Vec<Node>),
    List(Box<Node>),
    Map(Box<[Node; 2]>),
}

impl Encoder {
    /// Fails with [`ErrorKind::CannotWrite`] for a schema without Parquet form (an empty struct).
    pub fn new(schema: &Schema, compression: Compression) -> Result<Encoder> {
        let no_form = |reason: &dyn std::fmt::Display| {
            Error::new(ErrorKind::CannotWrite, format!("no Parquet for the schema: {reason}"))
        };
        let descriptor =
            ArrowSchemaConverter::new().convert(&schema.to_arrow()).map_err(|error| no_form(&error))?;
        let codec = codec(compression)?;
        let mut leaves = 0;
        let nodes: Vec<Node> = schema
            .fields
            .iter()
            .map(|field| Node::new(&field.data_type, field.nullable, &mut leaves))
            .collect();
        if leaves != descriptor.num_columns() {
            return Err(no_form(&"a struct has no fields"));
        }
        Ok(Encoder {
            nodes,
            leaves: descriptor.columns().iter().cloned().map(Leaf::new).collect(),
            schema: Arc::new(descriptor),
            properties: Arc::new(properties(codec)),
            codec,
            page_rows: PAGE_ROWS,
            frames: Frames::default(),
            gathered: Gathered::default(),
            scratch: Scratch {
                compressor: Compressor::new(compression),
                store: Store::default(),
                raw: Vec::new(),
            },
        })
    }

    /// Sets the rows of a page.
    #[cfg(test)]
    pub(super) fn pages_of(mut self, page_rows: usize) -> Encoder {
        self.page_rows = page_rows;
        self
    }

    /// The crate's writer of headers and footer over `out`.
    pub(super) fn begin_file<W: Write + Send>(&self, out: W) -> Result<SerializedFileWriter<W>> {
        SerializedFileWriter::new(out, self.schema.root_schema_ptr(), Arc::clone(&self.properties))
            .map_err(internal)
    }

    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Memory held, capacity included.
    pub fn memory(&self) -> usize {
        self.leaves.iter().map(Leaf::capacity).sum::<usize>()
            + self.frames.capacity()
            + self.gathered.capacity()
            + self.scratch.compressor.capacity()
            + self.scratch.store.capacity()
            + self.scratch.raw.capacity()
    }

    /// Bytes of the row group in progress: its pages, and what is not one yet.
    pub(super) fn bytes(&self) -> usize {
        self.scratch.store.used() + self.leaves.iter().map(Leaf::open_bytes).sum::<usize>()
    }

    /// Lets the memory go that rows to come would use again. For an encoder without open rows.
    pub fn release(&mut self) {
        self.leaves.iter_mut().for_each(Leaf::release);
        self.frames.release();
        self.gathered = Gathered::default();
        self.scratch.compressor.release();
        self.scratch.store.release();
        self.scratch.raw = Vec::new();
    }

    /// Appends rows to the row group in progress, which is to hold about `row_group_bytes`.
    pub(super) fn append(&mut self, rows: &Columns, row_group_bytes: usize) -> Result<()> {
        let page_bytes = (row_group_bytes / OPEN_PAGES_SHARE / self.leaves.len().max(1))
            .clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX);
        let limits = PageLimits { page_rows: self.page_rows, page_bytes };
        // A slice is no more than about a page of any leaf.
        let row_bytes = rows.bytes_used() / rows.rows().max(1) + 1;
        let step = (PAGE_BYTES_MAX / row_bytes).clamp(1, limits.page_rows);
        for start in (0..rows.rows()).step_by(step) {
            let place = LevelRange::of_rows(start..(start + step).min(rows.rows()));
            let mut walk = Walk {
                leaves: &mut self.leaves,
                frames: &mut self.frames,
                gathered: &mut self.gathered,
                scratch: &mut self.scratch,
                limits,
                rows: place.entries.len(),
            };
            for (node, column) in self.nodes.iter().zip(rows.columns()) {
                walk.append(node, column, &place)?;
            }
        }
        Ok(())
    }

    /// Ends the row group: its pages go to the file, column by column. Marks the leaves that had a NaN.
    pub(super) fn end_row_group<W: Write + Send>(
        &mut self,
        file: &mut SerializedFileWriter<W>,
        nans: &mut [bool],
    ) -> Result<()> {
        let mut row_group = file.next_row_group().map_err(internal)?;
        for (leaf, nan) in self.leaves.iter_mut().zip(nans) {
            let closed = leaf.close(self.codec, &self.properties, &mut self.scratch)?;
            row_group.append_column(&leaf.chunk(&self.scratch.store), closed).map_err(internal)?;
            leaf.begin();
            *nan |= leaf.take_nan();
        }
        row_group.close().map_err(internal)?;
        self.scratch.store.clear();
        Ok(())
    }
}

impl Node {
    fn new(data_type: &DataType, nullable: bool, leaves: &mut usize) -> Node {
        let shape = match data_type {
            DataType::Struct(fields) => {
                let of = |field: &Field| Node::new(&field.data_type, field.nullable, leaves);
                Shape::Struct(fields.iter().map(of).collect())
            }
            DataType::Array { element, contains_null } => {
                Shape::List(Box::new(Node::new(element, *contains_null, leaves)))
            }
            DataType::Map { key, value, value_contains_null } => Shape::Map(Box::new([
                Node::new(key, false, leaves),
                Node::new(value, *value_contains_null, leaves),
            ])),
            _ => {
                *leaves += 1;
                Shape::Leaf(*leaves - 1)
            }
        };
        Node { nullable, shape }
    }
}

/// A slice of rows on its way into the leaves.
struct Walk<'a> {
    leaves: &'a mut [Leaf],
    frames: &'a mut Frames,
    gathered: &'a mut Gathered,
    scratch: &'a mut Scratch,
    limits: PageLimits,
    rows: usize,
}

impl Walk<'_> {
    fn append(&mut self, node: &Node, column: &Column, above: &LevelRange) -> Result<()> {
        let entered = self.frames.enter();
        let place = if node.nullable { self.frames.optional(above, column.nulls()) } else { above.clone() };
        match (&node.shape, column.data()) {
            (Shape::Leaf(index), _) => self.append_leaf(*index, column, &place)?,
            (Shape::Struct(members), Data::Struct { children, .. }) => {
                for (member, child) in members.iter().zip(children) {
                    self.append(member, child, &place)?;
                }
            }
            (Shape::List(node), Data::Array { offsets, element }) => {
                let below = self.frames.repeated(&place, offsets);
                self.append(node, element, &below)?;
            }
            (Shape::Map(pair), Data::Map { offsets, key, value }) => {
                let below = self.frames.repeated(&place, offsets);
                self.append(&pair[0], key, &below)?;
                self.append(&pair[1], value, &below)?;
            }
            _ => unreachable!("columns and leaves follow from one schema"),
        }
        self.frames.leave(entered);
        Ok(())
    }

    fn append_leaf(&mut self, index: usize, column: &Column, place: &LevelRange) -> Result<()> {
        let leaf = &mut self.leaves[index];
        leaf.append(column, &self.frames.slots(place), self.rows, self.gathered);
        leaf.end_full_page(self.limits, self.scratch)
    }
}

fn codec(compression: Compression) -> Result<basic::Compression> {
    Ok(match compression {
        Compression::Zstd(level) => basic::Compression::ZSTD(
            ZstdLevel::try_new(level).map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?,
        ),
        Compression::Snappy => basic::Compression::SNAPPY,
        Compression::None => basic::Compression::UNCOMPRESSED,
    })
}

fn properties(codec: basic::Compression) -> WriterProperties {
    WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        // The form that parquet-java parses; it distrusts what it cannot parse.
        .set_created_by(concat!("thalweg version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_statistics_truncate_length(Some(BOUND_BYTES_MAX))
        .build()
}
