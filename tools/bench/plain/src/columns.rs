//! Messages to record batches: arrow-json for the payload, three columns of where it came from.
//!
//! It owns decoding. A record that is not exactly one JSON object of the schema
//! is an error, as under `on_bad_record = "fail"`.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

/// Rows of one batch: columns that fit in the cache.
pub const BATCH_ROWS: usize = 8_192;

/// The payload's schema and the table's, which has the metadata columns too.
pub struct Layout {
    pub payload: SchemaRef,
    pub table: SchemaRef,
}

impl Layout {
    pub fn new(payload: Fields) -> Layout {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let metadata = [
            Field::new("_partition", DataType::Int32, true),
            Field::new("_offset", DataType::Int64, true),
            Field::new("_timestamp", timestamp, true),
        ];
        let table: Vec<_> = payload.iter().cloned().chain(metadata.into_iter().map(Arc::new)).collect();
        Layout { payload: Arc::new(Schema::new(payload)), table: Arc::new(Schema::new(table)) }
    }
}

/// The batch under construction.
pub struct Columns {
    layout: Arc<Layout>,
    decoder: Decoder,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    timestamps_us: Vec<Option<i64>>,
}

impl Columns {
    pub fn new(layout: Arc<Layout>) -> Result<Columns> {
        let decoder =
            ReaderBuilder::new(layout.payload.clone()).with_batch_size(BATCH_ROWS).build_decoder()?;
        Ok(Columns {
            layout,
            decoder,
            partitions: Vec::new(),
            offsets: Vec::new(),
            timestamps_us: Vec::new(),
        })
    }

    pub fn is_full(&self) -> bool {
        self.offsets.len() == BATCH_ROWS
    }

    pub fn append(&mut self, message: &BorrowedMessage<'_>) -> Result<()> {
        let (partition, offset) = (message.partition(), message.offset());
        let place = || format!("partition {partition} offset {offset}");
        let payload = message.payload().unwrap_or_default();
        let decoded = self.decoder.decode(payload).with_context(place)?;
        self.partitions.push(partition);
        self.offsets.push(offset);
        self.timestamps_us.push(message.timestamp().to_millis().map(|ms| ms * 1000));
        let is_one_object = decoded == payload.len()
            && !self.decoder.has_partial_record()
            && self.decoder.len() == self.offsets.len();
        ensure!(is_one_object, "{}: not exactly one JSON object", place());
        Ok(())
    }

    /// The batch, if there are rows; the next one starts empty.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.decoder.flush().context("a record does not fit the schema")? else {
            return Ok(None);
        };
        let mut columns = batch.columns().to_vec();
        let timestamps = TimestampMicrosecondArray::from(std::mem::take(&mut self.timestamps_us));
        let metadata: [ArrayRef; 3] = [
            Arc::new(Int32Array::from(std::mem::take(&mut self.partitions))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))),
            Arc::new(timestamps.with_timezone("UTC")),
        ];
        columns.extend(metadata);
        Ok(Some(RecordBatch::try_new(self.layout.table.clone(), columns)?))
    }
}
