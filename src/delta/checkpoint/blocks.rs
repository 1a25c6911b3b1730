//! A row group of any size, read while it is decoded.
//!
//! It owns the blocks: of each column one is in memory, and the next one is
//! fetched when the decoder comes to its end. The decoder runs on a thread
//! that may wait; it asks the task that takes its batches for bytes, so that
//! it ends when that task does.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

use super::output::MemoryRange;
use crate::stores::parquet_object::ParquetObject;

pub(super) type Batches = BoxStream<'static, parquet::errors::Result<RecordBatch>>;

/// The columns that are read, and how much of each at once.
pub(super) struct Columns {
    pub ranges: Vec<Range<u64>>,
    pub block_bytes: u64,
}

/// What the decoder's thread says to the task.
enum Said {
    Wants(Range<u64>, oneshot::Sender<Result<Bytes>>),
    Batch(Result<RecordBatch>),
}

/// The batches that `decode` makes of the columns' bytes.
pub(super) fn read(
    object: ParquetObject,
    columns: Columns,
    decode: impl FnOnce(Blocks) -> Result<ParquetRecordBatchReader> + Send + 'static,
) -> Batches {
    // A batch waits while the next one is decoded.
    let (says, heard) = channel(1);
    tokio::task::spawn_blocking(move || {
        let decoded = match decode(Blocks::new(columns, says.clone())) {
            Ok(batches) => batches,
            Err(error) => return drop(says.blocking_send(Said::Batch(Err(error)))),
        };
        for batch in decoded {
            let failed = batch.is_err();
            if says.blocking_send(Said::Batch(batch.map_err(ParquetError::from))).is_err() || failed {
                return;
            }
        }
    });
    let next = |(mut heard, mut object): (tokio::sync::mpsc::Receiver<Said>, ParquetObject)| async move {
        loop {
            match heard.recv().await? {
                Said::Wants(range, answer) => {
                    // The decoder is gone only if this stream is.
                    let _ = answer.send(object.get_bytes(range).await);
                }
                Said::Batch(batch) => return Some((batch, (heard, object))),
            }
        }
    };
    futures::stream::unfold((heard, object), next).boxed()
}

/// A file of which one block of each column is there.
#[derive(Clone)]
pub(super) struct Blocks(Arc<Inner>);

struct Inner {
    columns: Columns,
    /// Of each column the block that was asked for last.
    held: Mutex<Vec<MemoryRange>>,
    says: Sender<Said>,
}

impl Blocks {
    fn new(columns: Columns, says: Sender<Said>) -> Blocks {
        let held = columns.ranges.iter().map(|range| MemoryRange { start: range.start, bytes: Bytes::new() });
        Blocks(Arc::new(Inner { held: Mutex::new(held.collect()), columns, says }))
    }

    /// At least so many bytes from there on, all of one column.
    fn from(&self, start: u64, least: u64) -> Result<Bytes> {
        let Inner { columns: Columns { ranges, block_bytes }, held, says } = &*self.0;
        let outside = || ParquetError::EOF(format!("{start} and {least} bytes more lie in no column"));
        let column = ranges.iter().position(|range| range.contains(&start)).ok_or_else(outside)?;
        let end = ranges[column].end;
        if least > end - start {
            return Err(outside());
        }
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = held[column].from(start).filter(|there| there.len() as u64 >= least.max(1)) {
            return Ok(there);
        }
        // The block before is let go first.
        held[column].bytes = Bytes::new();
        let range = start..end.min(start + least.max(*block_bytes));
        let bytes = wanted(says, range.clone())?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(ParquetError::EOF(format!("the file ends within {range:?}")));
        }
        held[column] = MemoryRange { start, bytes: bytes.clone() };
        Ok(bytes)
    }
}

fn wanted(says: &Sender<Said>, range: Range<u64>) -> Result<Bytes> {
    let ended = || ParquetError::General("nobody wants the rows any more".to_owned());
    let (answer, answered) = oneshot::channel();
    says.blocking_send(Said::Wants(range, answer)).map_err(|_| ended())?;
    answered.blocking_recv().map_err(|_| ended())?
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.0.columns.ranges.iter().map(|range| range.end).max().unwrap_or(0)
    }
}

impl ChunkReader for Blocks {
    type T = OnePageHeader;

    fn get_read(&self, start: u64) -> Result<OnePageHeader> {
        Ok(OnePageHeader { blocks: self.clone(), at: start, rest: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        Ok(self.from(start, length as u64)?.slice(..length))
    }
}

/// Bytes from some place on, for a header of unknown length.
pub(super) struct OnePageHeader {
    blocks: Blocks,
    at: u64,
    rest: Bytes,
}

impl Read for OnePageHeader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.blocks.from(self.at, 1).map_err(io::Error::other)?;
        }
        let length = into.len().min(self.rest.len());
        into[..length].copy_from_slice(&self.rest.split_to(length));
        self.at += length as u64;
        Ok(length)
    }
}
