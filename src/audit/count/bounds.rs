//! A file's statistics against its data.
//!
//! It owns what a bound means: `minValues` and `maxValues` must hold every
//! value, `nullCount` must be the number of nulls. A bound of a kind that it
//! does not know says nothing; readers that know it are not judged.
//!
//! | type | a bound is kept |
//! |---|---|
//! | integers, dates, decimals | exactly, never through a float |
//! | floats | NaN aside: no order holds it |
//! | strings | by UTF-8 bytes; a cut bound is fine as long as it bounds |
//! | timestamps | a maximum may be cut to the millisecond, as Delta allows |
//! | binary, lists, maps | not at all |

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType as Arrow, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::schema::bounds::{days_of, micros_of};
use crate::schema::{DataType, Field, Schema};

type Tree = HashMap<String, Box<RawValue>>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Stats {
    tight_bounds: Option<bool>,
    min_values: Tree,
    max_values: Tree,
    null_count: Tree,
}

/// What a file's statistics claim, and what its batches showed.
pub struct Bounds {
    leaves: Vec<Leaf>,
    /// `nullCount` is a number of nulls, and not only a bound.
    exact_nulls: bool,
}

struct Leaf {
    path: Vec<String>,
    data_type: DataType,
    min: Option<Value>,
    max: Option<Value>,
    nulls: Option<u64>,
    seen_nulls: u64,
    seen: Option<(Value, Value)>,
}

/// A value that has an order.
#[derive(Clone, PartialEq, PartialOrd, Debug)]
enum Value {
    Integer(i128),
    Float(f64),
    Text(String),
    Boolean(bool),
}

impl Bounds {
    /// `None` where nothing is claimed; an error where the claim is no JSON.
    pub fn claimed(schema: &Schema, stats: Option<&str>) -> Result<Option<Bounds>, String> {
        let Some(stats) = stats else { return Ok(None) };
        let stats: Stats = serde_json::from_str(stats).map_err(|error| error.to_string())?;
        let mut leaves = Vec::new();
        let trees = [&stats.min_values, &stats.max_values, &stats.null_count];
        collect(&schema.fields, &mut Vec::new(), trees, &mut leaves);
        Ok(Some(Bounds { leaves, exact_nulls: stats.tight_bounds != Some(false) }))
    }

    pub fn take(&mut self, batch: &RecordBatch) {
        for leaf in &mut self.leaves {
            leaf.take(batch);
        }
    }

    /// Every claim that the data contradicts.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for leaf in &self.leaves {
            let name = leaf.path.join(".");
            if let Some(nulls) = leaf.nulls.filter(|&nulls| self.exact_nulls && nulls != leaf.seen_nulls) {
                broken.push(format!(
                    "its statistics say {nulls} nulls of {name}, it holds {}",
                    leaf.seen_nulls
                ));
            }
            let Some((low, high)) = &leaf.seen else { continue };
            if leaf.min.as_ref().is_some_and(|min| low < min) {
                broken.push(format!("its statistics put the minimum of {name} above a value that it holds"));
            }
            if leaf.max.as_ref().is_some_and(|max| high > &leaf.slack(max)) {
                broken.push(format!("its statistics put the maximum of {name} below a value that it holds"));
            }
        }
        broken
    }
}

/// The leaves of a schema about which something is claimed.
fn collect(fields: &[Field], path: &mut Vec<String>, [min, max, nulls]: [&Tree; 3], leaves: &mut Vec<Leaf>) {
    for field in fields {
        let raw = [min, max, nulls].map(|tree| tree.get(&field.name));
        path.push(field.name.clone());
        match &field.data_type {
            DataType::Struct(members) => {
                let below = raw.map(|raw| {
                    raw.and_then(|raw| serde_json::from_str::<Tree>(raw.get()).ok()).unwrap_or_default()
                });
                collect(members, path, [&below[0], &below[1], &below[2]], leaves);
            }
            DataType::Array { .. } | DataType::Map { .. } => {}
            data_type if raw.iter().any(Option::is_some) => {
                let bound = |raw: Option<&Box<RawValue>>| bound(data_type, raw?.get());
                leaves.push(Leaf {
                    path: path.clone(),
                    data_type: data_type.clone(),
                    min: bound(raw[0]),
                    max: bound(raw[1]),
                    nulls: raw[2].and_then(|raw| raw.get().parse().ok()),
                    seen_nulls: 0,
                    seen: None,
                });
            }
            _ => {}
        }
        path.pop();
    }
}

/// A bound as it stands in the JSON; `None` if this is no bound of the type.
fn bound(data_type: &DataType, raw: &str) -> Option<Value> {
    let text = || serde_json::from_str::<String>(raw).ok();
    match data_type {
        DataType::Byte | DataType::Short | DataType::Integer | DataType::Long => {
            raw.parse().ok().map(Value::Integer)
        }
        DataType::Float | DataType::Double => raw.parse().ok().map(Value::Float),
        DataType::Decimal { scale, .. } => scaled(raw, usize::from(*scale)).map(Value::Integer),
        DataType::Boolean => raw.parse().ok().map(Value::Boolean),
        DataType::String => text().map(Value::Text),
        DataType::Date => days_of(&text()?).map(|days| Value::Integer(days.into())),
        DataType::Timestamp => micros_of(&text()?).map(|micros| Value::Integer(micros.into())),
        DataType::Binary | DataType::Struct(_) | DataType::Array { .. } | DataType::Map { .. } => None,
    }
}

/// A JSON number as an integer of `10^-scale`, if it is one exactly.
fn scaled(raw: &str, scale: usize) -> Option<i128> {
    let (whole, fraction) = raw.split_once('.').unwrap_or((raw, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > scale || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<scale$}").parse().ok()
}

impl Leaf {
    /// A maximum of timestamps may be cut to its millisecond.
    fn slack(&self, max: &Value) -> Value {
        match (max, &self.data_type) {
            (Value::Integer(micros), DataType::Timestamp) if micros % 1000 == 0 => {
                Value::Integer(micros + 999)
            }
            _ => max.clone(),
        }
    }

    fn take(&mut self, batch: &RecordBatch) {
        // A column that came later is null in the older files: nothing is claimed of it there.
        let Some((array, nulls)) = descend(batch, &self.path) else {
            self.nulls = None;
            return;
        };
        let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        self.seen_nulls += nulls.as_ref().map_or(0, |nulls| nulls.null_count() as u64);
        if self.min.is_none() && self.max.is_none() {
            return;
        }
        let rows = (0..batch.num_rows()).filter(|&row| valid(row));
        let wider = match &self.data_type {
            DataType::Byte | DataType::Short | DataType::Integer | DataType::Long => &DataType::Long,
            DataType::Float | DataType::Double => &DataType::Double,
            other => other,
        };
        let plain = match wider {
            // Every timestamp is UTC: naming the zone would ask for a table of zones.
            DataType::Timestamp => Arrow::Timestamp(TimeUnit::Microsecond, None),
            other => other.to_arrow(),
        };
        let Ok(array) = arrow::compute::cast(&array, &plain) else { return };
        let seen = match wider {
            DataType::Long => {
                let values = array.as_primitive::<Int64Type>();
                integers(rows.map(|row| i128::from(values.value(row))))
            }
            DataType::Date => {
                let values = array.as_primitive::<Date32Type>();
                integers(rows.map(|row| i128::from(values.value(row))))
            }
            DataType::Timestamp => {
                let values = array.as_primitive::<TimestampMicrosecondType>();
                integers(rows.map(|row| i128::from(values.value(row))))
            }
            DataType::Decimal { .. } => {
                let values = array.as_primitive::<Decimal128Type>();
                integers(rows.map(|row| values.value(row)))
            }
            DataType::Double => {
                let values = array.as_primitive::<Float64Type>();
                extremes(rows.map(|row| values.value(row)).filter(|value| !value.is_nan()), Value::Float)
            }
            DataType::Boolean => {
                let values = array.as_boolean();
                extremes(rows.map(|row| values.value(row)), Value::Boolean)
            }
            DataType::String => {
                let values = array.as_string::<i32>();
                extremes(rows.map(|row| values.value(row)), |text| Value::Text(text.to_owned()))
            }
            _ => None,
        };
        if let Some((low, high)) = seen {
            self.seen = Some(match self.seen.take() {
                None => (low, high),
                Some((lowest, highest)) => {
                    (if low < lowest { low } else { lowest }, if high > highest { high } else { highest })
                }
            });
        }
    }
}

fn integers(values: impl Iterator<Item = i128>) -> Option<(Value, Value)> {
    extremes(values, Value::Integer)
}

fn extremes<T: PartialOrd + Copy>(
    mut values: impl Iterator<Item = T>,
    wrap: impl Fn(T) -> Value,
) -> Option<(Value, Value)> {
    let first = values.next()?;
    let (low, high) = values.fold((first, first), |(low, high), value| {
        (if value < low { value } else { low }, if value > high { value } else { high })
    });
    Some((wrap(low), wrap(high)))
}

/// A leaf's array, and its nulls with those of the structs around it.
fn descend(batch: &RecordBatch, path: &[String]) -> Option<(ArrayRef, Option<NullBuffer>)> {
    let (root, members) = path.split_first()?;
    let mut array = batch.column_by_name(root)?.clone();
    let mut nulls = array.logical_nulls();
    for member in members {
        let child = array.as_struct_opt()?.column_by_name(member)?.clone();
        nulls = NullBuffer::union(nulls.as_ref(), child.logical_nulls().as_ref());
        array = child;
    }
    Some((array, nulls))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DDL: &str =
        "i INT, d DOUBLE, s STRING, p DECIMAL(20, 2), t TIMESTAMP, day DATE, b BOOLEAN, in STRUCT<n: BIGINT>";

    fn batch() -> RecordBatch {
        let schema = Schema::from_ddl(DDL).unwrap();
        let rows = r#"{"i":3,"d":1.5,"s":"b","p":"90071992547409.93","t":"2026-11-22T10:00:00.123456","day":"2026-11-22","b":true,"in":{"n":7}}
            {"i":-3,"d":-0.5,"s":"a","p":"1.00","t":"2026-11-22T09:00:00","day":"1969-12-31","b":false,"in":null}
            {"d":null,"in":{"n":null}}"#;
        let fields = schema
            .to_arrow()
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                Arrow::Timestamp(unit, _) => {
                    field.as_ref().clone().with_data_type(Arrow::Timestamp(*unit, None))
                }
                _ => field.as_ref().clone(),
            })
            .collect::<Vec<_>>();
        let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
        let mut reader = arrow::json::ReaderBuilder::new(schema).build(std::io::Cursor::new(rows)).unwrap();
        reader.next().unwrap().unwrap()
    }

    fn broken(stats: &str) -> Vec<String> {
        let schema = Schema::from_ddl(DDL).unwrap();
        let mut bounds = Bounds::claimed(&schema, Some(stats)).unwrap().unwrap();
        bounds.take(&batch());
        bounds.broken()
    }

    #[test]
    fn bounds_that_hold_are_kept() {
        let stats = r#"{"numRecords":3,
            "minValues":{"i":-3,"d":-0.5,"s":"a","p":1.00,"t":"2026-11-22T09:00:00.000Z","day":"1969-12-31","b":false,"in":{"n":7}},
            "maxValues":{"i":3,"d":1.5,"s":"b","p":90071992547409.93,"t":"2026-11-22T10:00:00.123Z","day":"2026-11-22","b":true,"in":{"n":7}},
            "nullCount":{"i":1,"d":1,"s":1,"p":1,"t":1,"day":1,"b":1,"in":{"n":2}}}"#;
        assert_eq!(broken(stats), Vec::<String>::new());
        assert_eq!(broken(r#"{"minValues":{"s":""},"maxValues":{"i":9,"s":"c"}}"#), Vec::<String>::new());
    }

    #[test]
    fn each_bound_that_is_off_by_one_is_named() {
        for (stats, expected) in [
            (r#"{"minValues":{"i":-2}}"#, "minimum of i"),
            (r#"{"maxValues":{"i":2}}"#, "maximum of i"),
            (r#"{"minValues":{"d":-0.25}}"#, "minimum of d"),
            (r#"{"maxValues":{"s":"az"}}"#, "maximum of s"),
            (r#"{"maxValues":{"p":90071992547409.92}}"#, "maximum of p"),
            (r#"{"maxValues":{"t":"2026-11-22T10:00:00.122Z"}}"#, "maximum of t"),
            (r#"{"minValues":{"day":"1970-01-01"}}"#, "minimum of day"),
            (r#"{"maxValues":{"b":false}}"#, "maximum of b"),
            (r#"{"maxValues":{"in":{"n":6}}}"#, "maximum of in.n"),
            (r#"{"nullCount":{"in":{"n":1}}}"#, "say 1 nulls of in.n, it holds 2"),
        ] {
            let found = broken(stats);
            assert_eq!(found.len(), 1, "{stats}: {found:?}");
            assert!(found[0].contains(expected), "{stats}: {found:?}");
        }
    }

    #[test]
    fn wide_bounds_and_unknown_ones_claim_nothing_exactly() {
        assert_eq!(broken(r#"{"tightBounds":false,"nullCount":{"i":3}}"#), Vec::<String>::new());
        assert_eq!(broken(r#"{"minValues":{"t":"yesterday"},"maxValues":{"p":1e3}}"#), Vec::<String>::new());
        assert!(Bounds::claimed(&Schema::default(), Some("{")).is_err());
    }
}
