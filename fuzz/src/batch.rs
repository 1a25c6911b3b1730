//! Records with keys, headers and values, from where a client hands them over to the pages of a file.
//!
//! Decoding Kafka's own batches is librdkafka's. What is ours begins with the record: the arena that
//! it is copied into, the columns, dead letters, and the Parquet file, which the parquet crate reads.

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use thalweg::columnar::dead_letters::{self, DeadLetter};
use thalweg::columnar::{BadReason, BadRecord, Columns, Decoder, ParquetFile, RecordFacts};
use thalweg::config::{Compression, Decoding};
use thalweg::ids::Offset;
use thalweg::schema::Schema;
use thalweg::source::batch::{Padded, RecordBatch, Slot};

use crate::cells::{Cell, rows_of};

const ROWS: &str = "_partition INT, _offset BIGINT, _timestamp TIMESTAMP, _timestamp_type STRING, _topic STRING, \
                    _key BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>, id BIGINT, name STRING, \
                    tags ARRAY<STRING>, m MAP<STRING, DOUBLE>, _rescued STRING";

#[derive(Default, Debug)]
struct Given {
    offset: i64,
    timestamp_ms: Option<i64>,
    log_append_time: bool,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Takes bytes from the front; what is missing at the end is zero or shorter.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn one(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn long(&mut self) -> i64 {
        i64::from_le_bytes(std::array::from_fn(|_| self.one()))
    }

    fn some(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    /// A length in one byte, 0xFF is null.
    fn short(&mut self) -> Option<Vec<u8>> {
        match self.one() {
            0xFF => None,
            length => Some(self.some(length.into())),
        }
    }
}

fn given(data: &[u8]) -> Vec<Given> {
    let (mut bytes, mut offset, mut records) = (Bytes(data), 0_i64, Vec::new());
    while !bytes.0.is_empty() {
        let flags = bytes.one();
        offset += i64::from(bytes.one() % 7) + 1;
        let timestamp_ms = match flags & 3 {
            0 => None,
            1 => Some(1_700_000_000_000 + i64::from(bytes.one())),
            2 => Some(i64::from(bytes.one())),
            // To Kafka that one is none.
            _ => Some(bytes.long()).filter(|&ms| ms != -1),
        };
        let key = bytes.short();
        let value = (flags & 4 == 0).then(|| {
            let length = usize::from(bytes.one()) | usize::from(bytes.one()) << 8;
            bytes.some(length)
        });
        let headers = (0..flags >> 6)
            .map(|_| {
                // Kafka's names of headers are text without NUL, as librdkafka hands them over.
                let name = bytes.short().unwrap_or_default();
                (name.into_iter().filter(|&byte| byte != 0).collect(), bytes.short())
            })
            .collect();
        let log_append_time = flags & 8 != 0;
        records.push(Given { offset, timestamp_ms, log_append_time, key, value, headers });
    }
    records
}

pub fn check(data: &[u8]) {
    let Some((&runs, data)) = data.split_first() else { return };
    let records = given(data);
    let mut batch = RecordBatch::default();
    let schema = Schema::from_ddl(ROWS).unwrap();
    let (mut decoder, mut columns) = (Decoder::new(&schema, &Decoding::default()), Columns::new(&schema));
    let mut dead = Columns::new(&Schema::of_dead_letters());
    let mut file = ParquetFile::create(&schema, Compression::Zstd(1), 1 << 16).unwrap();
    let (mut kept, mut refused, mut written) = (Vec::new(), Vec::new(), Vec::new());
    for run in records.chunks(usize::from(runs % 8) + 1) {
        fill(&mut batch, run);
        assert_eq!(batch.len(), run.len());
        for (record, given) in batch.records().zip(run) {
            same(&record, given);
            let Some(value) = record.value else { continue };
            let facts = RecordFacts { topic: "orders", partition: 3, record };
            match decoder.append(&mut columns, value, &facts) {
                Ok(()) => kept.push(given),
                Err(bad) => {
                    let dead_letter = DeadLetter {
                        topic: "orders",
                        partition: 3,
                        offset: given.offset,
                        timestamp_ms: record.timestamp_ms,
                        key: record.key,
                        value: value.bytes(),
                    };
                    dead_letters::append(&mut dead, &dead_letter, record.headers, &bad);
                    refused.push((given, bad));
                }
            }
        }
        // The frozen rows and the written ones are the same memory: the first are copied out.
        let frozen = columns.freeze();
        written.extend(rows_of(&frozen));
        columns.recover(frozen);
        for given in run.iter().filter(|given| kept.iter().any(|kept| kept.offset == given.offset)) {
            append_again(&mut decoder, &mut columns, given);
        }
        if columns.rows() > 0 {
            file.write(&mut columns).unwrap();
            columns.truncate(0);
        }
    }
    assert_eq!(kept.len(), written.len());
    for (row, given) in written.iter().zip(&kept) {
        facts_of(row, given);
    }
    reads_back(file, &written);
    dead_letters_hold(&rows_of(&dead.freeze()), &refused);
}

fn fill(batch: &mut RecordBatch, run: &[Given]) {
    let mut filling = batch.start(Slot(1));
    for given in run {
        filling.push(Offset(given.offset), given.timestamp_ms, given.key.as_deref(), given.value.as_deref());
        given.headers.iter().for_each(|(name, value)| filling.push_header((name, value.as_deref())));
        if given.log_append_time {
            filling.set_log_append_time();
        }
    }
}

fn same(record: &thalweg::record::Record<'_>, given: &Given) {
    assert_eq!(record.offset.0, given.offset);
    assert_eq!(record.timestamp_ms, given.timestamp_ms);
    assert_eq!(record.log_append_time, Some(given.log_append_time));
    assert_eq!(record.key, given.key.as_deref());
    assert_eq!(record.value.map(Padded::bytes), given.value.as_deref());
    let headers: Vec<(&[u8], Option<&[u8]>)> = record.headers.collect();
    let expected: Vec<(&[u8], Option<&[u8]>)> =
        given.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
    assert_eq!(headers, expected);
}

/// What became a row once becomes one again.
fn append_again(decoder: &mut Decoder, columns: &mut Columns, given: &Given) {
    let mut batch = RecordBatch::default();
    fill(&mut batch, std::slice::from_ref(given));
    let record = batch.records().next().unwrap();
    let facts = RecordFacts { topic: "orders", partition: 3, record };
    decoder.append(columns, record.value.unwrap(), &facts).unwrap();
}

fn facts_of(row: &[Cell], given: &Given) {
    assert_eq!(row[0], Cell::Integer(3));
    assert_eq!(row[1], Cell::Integer(given.offset.into()));
    if let (Cell::Integer(micros), Some(ms)) = (&row[2], given.timestamp_ms) {
        assert_eq!(*micros, i128::from(ms) * 1000);
    }
    assert_eq!(row[4], Cell::Text("orders".to_owned()));
    assert_eq!(row[5], given.key.clone().map_or(Cell::Null, Cell::Bytes));
    let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| {
        let name = Cell::Text(String::from_utf8_lossy(name).into_owned());
        Cell::Row(vec![name, value.clone().map_or(Cell::Null, Cell::Bytes)])
    };
    assert_eq!(row[6], Cell::List(given.headers.iter().map(header).collect()));
}

/// An independent reader finds the rows in the file, and its footer is as long as it says.
fn reads_back(file: ParquetFile, written: &[Vec<Cell>]) {
    let closed = file.close().unwrap();
    let bytes = bytes::Bytes::from(closed.parts.concat());
    assert_eq!(bytes.len() as u64, closed.size);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let rows: Vec<Vec<Cell>> = reader.flat_map(|batch| rows_of(&batch.unwrap())).collect();
    assert_eq!(rows, written);
    let stats: serde_json::Value = serde_json::from_str(&closed.stats).unwrap();
    assert_eq!(stats["numRecords"].as_u64(), Some(written.len() as u64));
}

fn dead_letters_hold(rows: &[Vec<Cell>], refused: &[(&Given, BadRecord)]) {
    assert_eq!(rows.len(), refused.len());
    for (row, (given, bad)) in rows.iter().zip(refused) {
        assert_eq!(row[2], Cell::Integer(given.offset.into()));
        assert_eq!(row[5], Cell::Bytes(given.value.clone().unwrap()));
        assert!(BadReason::ALL.iter().any(|reason| row[7] == Cell::Text(reason.as_str().to_owned())));
        assert_eq!(row[8], Cell::Text(bad.detail.clone()));
    }
}
