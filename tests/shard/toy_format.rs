//! A second format: a value is a number of rows, or nothing that the format knows, or needs a schema first.
//!
//! It goes through the real shard, uploads and queue; to add it nothing else was changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use thalweg::columnar::{
    AnyReader, BadReason, BadRecord, ReadRecord, RecordFacts, RecordFormat, RecordReader, Rows, SchemaName,
};
use thalweg::config::Decoding;
use thalweg::error::{Error, ErrorKind};
use thalweg::ids::Offset;
use thalweg::record::Padded;
use thalweg::schema::Schema;

use crate::scripted::in_memory;
use crate::topic::{Ended, Run, Values, run, source};
use crate::toy_sink::{Taken, ToySink, rows};

const SCHEMA: &str = "n BIGINT, _partition BIGINT, _offset BIGINT";
/// The one that no registry has.
const GONE: u8 = 99;

/// `[schema, rows]`: so many rows, numbered. More than three are none that it knows. A tombstone is one row, -1.
#[derive(Default)]
struct Numbers {
    known: Arc<Mutex<BTreeSet<SchemaName>>>,
}

struct Reader {
    known: Arc<Mutex<BTreeSet<SchemaName>>>,
}

impl RecordFormat for Numbers {
    fn reader(&self, table: &Schema, _: &Decoding) -> AnyReader {
        assert_eq!(table.fields[0].name, "n");
        AnyReader::Other(Box::new(Reader { known: Arc::clone(&self.known) }))
    }

    fn fetch(&self, schema: SchemaName) -> BoxFuture<'static, Result<(), Error>> {
        let known = Arc::clone(&self.known);
        Box::pin(async move {
            tokio::task::yield_now().await;
            if schema.0 == GONE.to_string() {
                return Err(Error::new(ErrorKind::Disagree, "schema 99 is gone"));
            }
            known.lock().unwrap().insert(schema);
            Ok(())
        })
    }
}

fn row(rows: &mut Rows<'_>, number: i64) -> Result<(), BadRecord> {
    rows.push(|columns, _| {
        assert!(columns[0].push_long(number), "`n` is BIGINT");
        Ok(())
    })
}

impl RecordReader for Reader {
    fn read(
        &mut self,
        value: Option<Padded<'_>>,
        _: &RecordFacts<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<ReadRecord, BadRecord> {
        let Some(value) = value else {
            row(rows, -1)?;
            return Ok(rows.all());
        };
        let &[schema, count] = value.bytes() else { panic!("two bytes") };
        for number in 0..i64::from(count) {
            row(rows, number)?;
        }
        let schema = SchemaName(schema.to_string());
        if !self.known.lock().unwrap().contains(&schema) {
            return Ok(ReadRecord::Needs(schema));
        }
        if count > 3 {
            return Err(BadRecord { reason: BadReason::Range, detail: format!("{count} rows") });
        }
        Ok(rows.all())
    }

    fn reads_tombstones(&self) -> bool {
        true
    }
}

fn read(partitions: Vec<Values>, faulty: u64) -> (Ended, Vec<Vec<i64>>, Arc<Mutex<Taken>>) {
    let (taken, store) = (Arc::<Mutex<Taken>>::default(), in_memory());
    let sink = ToySink::new(&taken, SCHEMA, partitions.len(), faulty);
    let format = Arc::new(Numbers::default());
    let ended = run(Run { partitions, schema: SCHEMA, format, transform: None, store: store.clone(), sink });
    let rows = rows(&store, &taken, &["_partition", "_offset", "n"]);
    (ended, rows, taken)
}

/// Every kind of record, under a schema for each hundred of them.
fn values(partition: usize) -> Values {
    let value =
        |offset: usize| (offset % 6 != 5).then(|| vec![(partition + offset / 100) as u8, (offset % 6) as u8]);
    (0..700).map(value).collect()
}

fn rows_of(partition: usize, offset: usize) -> Vec<Vec<i64>> {
    let numbers = match offset % 6 {
        5 => -1..0,
        4 => 0..0,
        count => 0..count as i64,
    };
    numbers.map(|number| vec![partition as i64, offset as i64, number]).collect()
}

#[test]
fn records_become_several_rows_one_or_none_once_their_schemas_are_known() {
    for faulty in [0, 7] {
        let (ended, found, taken) = read((0..3).map(values).collect(), faulty);
        let all = (0..3).flat_map(|partition| (0..700).flat_map(move |offset| rows_of(partition, offset)));
        assert!(found == all.collect::<Vec<_>>(), "{} rows, faulty: {faulty}", found.len());
        assert!(ended.stopped.is_empty());
        let ranges = &taken.lock().unwrap().ranges;
        let sum = |of: fn(&thalweg::ids::OffsetRange) -> u64| ranges.iter().map(of).sum::<u64>();
        assert_eq!(sum(|range| range.rows), found.len() as u64);
        assert_eq!(sum(thalweg::ids::OffsetRange::records), 3 * 700, "each record is told of once");
        assert_eq!(sum(|range| range.tombstones), 0);
    }
}

#[test]
fn a_schema_that_is_gone_stops_its_partition_by_name_and_the_others_go_on() {
    let gone = |offset: usize| if offset == 50 { Some(vec![GONE, 1]) } else { Some(vec![1, 1]) };
    let (ended, found, _) = read(vec![(0..120).map(gone).collect(), values(1)], 0);
    let [(stopped, error)] = &ended.stopped[..] else { panic!("{:?}", ended.stopped) };
    assert_eq!((stopped, &*error.message), (&source(0), "schema 99 is gone"));
    assert_eq!(ended.next_offsets, [(source(0), Offset(50)), (source(1), Offset(700))].into());
    let of_first = found.iter().filter(|row| row[0] == 0).count();
    assert_eq!(of_first, 50, "what came before it is in the table, and nothing behind it");
}
