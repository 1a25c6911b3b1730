//! A transform: it goes through the real shard, uploads and queue; to add it nothing else was changed.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use thalweg::columnar::Transform;
use thalweg::config::Format;
use thalweg::error::Result;

use crate::scripted::in_memory;
use crate::topic::{Run, Values, run};
use crate::toy_sink::{Taken, ToySink, rows};

const SCHEMA: &str = "id BIGINT, _partition BIGINT, _offset BIGINT";

/// Ten times `id`.
struct Tenfold;

impl Transform for Tenfold {
    fn apply(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        let tenfold: Int64Array = columns[0].as_primitive::<Int64Type>().unary(|id| 10 * id);
        columns[0] = Arc::new(tenfold) as ArrayRef;
        Ok(RecordBatch::try_new(rows.schema(), columns).expect("the same columns"))
    }
}

#[test]
fn a_transform_changes_each_row_once_and_none_is_lost_with_it() {
    for faulty in [0, 7] {
        let value = |partition: usize, offset: usize| match offset % 5 {
            3 => None,
            4 => Some(b"no row".to_vec()),
            _ => Some(format!("{{\"id\":{}}}", 1000 * partition + offset).into_bytes()),
        };
        let values = |partition| -> Values { (0..600).map(|offset| value(partition, offset)).collect() };
        let (taken, store) = (Arc::<Mutex<Taken>>::default(), in_memory());
        let _ = run(Run {
            partitions: (0..3).map(values).collect(),
            schema: SCHEMA,
            format: Arc::new(Format::Json),
            transform: Some(Arc::new(Tenfold)),
            store: store.clone(),
            sink: ToySink::new(&taken, SCHEMA, 3, faulty),
        });
        let row = |partition: usize, offset: usize| {
            [partition, offset, 10 * (1000 * partition + offset)].map(|n| n as i64)
        };
        let expected: Vec<Vec<i64>> = (0..3)
            .flat_map(|partition| {
                (0..600).filter(|offset| offset % 5 < 3).map(move |offset| row(partition, offset))
            })
            .map(|row| row.to_vec())
            .collect();
        assert!(rows(&store, &taken, &["_partition", "_offset", "id"]) == expected, "faulty: {faulty}");
        let ranges = &taken.lock().unwrap().ranges;
        assert_eq!(ranges.iter().map(|range| range.rows).sum::<u64>(), expected.len() as u64);
    }
}
