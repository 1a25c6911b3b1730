//! The rows of a dead-letter table.
//!
//! It owns how a record that is no row becomes one of them, byte for byte.
//! Their columns are `Schema::of_dead_letters`, why it is no row is `bad`, and
//! when its dead letter counts is the committer's matter.

use super::bad::BadRecord;
use super::columns::{Column, Columns, Data};
use super::text::timestamp_of_millis;

/// A record that could not become a row.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; `None` when the record carries no timestamp.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

impl DeadLetter<'_> {
    /// Its record has a timestamp outside of the years 0001 to 9999: null, as in every other table.
    pub fn has_unfit_timestamp(&self) -> bool {
        self.timestamp_ms.is_some_and(|ms| timestamp_of_millis(ms).is_none())
    }
}

/// Appends a dead letter to columns of dead letters. A header's name that is not UTF-8 is mended, its value never.
pub fn append<'h>(
    columns: &mut Columns,
    dead_letter: &DeadLetter<'_>,
    headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    bad: &BadRecord,
) {
    let (children, _) = columns.open_row();
    let [topic, partition, offset, timestamp, key, value, list, reason, error] = children else {
        panic!("the columns are those of a dead-letter table");
    };
    text(topic, dead_letter.topic);
    match (partition.open(), offset.open()) {
        (Data::Integer(partitions), Data::Long(offsets)) => {
            partitions.push(dead_letter.partition);
            offsets.push(dead_letter.offset);
        }
        _ => panic!("partition is an INT, offset a BIGINT"),
    }
    match (timestamp.open(), dead_letter.timestamp_ms.and_then(timestamp_of_millis)) {
        (Data::Timestamp(values), Some(micros)) => values.push(micros),
        _ => timestamp.push_null(),
    }
    binary(key, dead_letter.key);
    binary(value, Some(dead_letter.value));
    let Data::Array { offsets, element } = list.open() else { panic!("headers are an ARRAY") };
    for (name, value) in headers {
        let Data::Struct { rows, children } = element.open() else { panic!("a header is a STRUCT") };
        *rows += 1;
        text(&mut children[0], &String::from_utf8_lossy(name));
        binary(&mut children[1], value);
    }
    offsets.push(element.len());
    text(reason, bad.reason.as_str());
    text(error, &bad.detail);
    columns.close_row();
}

fn text(column: &mut Column, value: &str) {
    let Data::String(slices) = column.open() else { panic!("the column is a STRING") };
    slices.push(value.as_bytes());
}

fn binary(column: &mut Column, value: Option<&[u8]>) {
    match (column.open(), value) {
        (Data::Binary(slices), Some(bytes)) => slices.push(bytes),
        _ => column.push_null(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bad::BadReason;
    use super::*;
    use crate::schema::Schema;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::TimestampMicrosecondType;

    #[test]
    fn a_timestamp_is_null_where_it_is_null_in_the_main_table() {
        let bad = BadRecord { reason: BadReason::Syntax, detail: String::new() };
        let mut columns = Columns::new(&Schema::of_dead_letters());
        let times = [
            (Some(1_700_000_000_000_000), None),
            (Some(253_402_300_800_000), None),
            (Some(i64::MAX), None),
            (Some(-62_135_596_800_001), None),
            (None, None),
            (Some(253_402_300_799_999), Some(253_402_300_799_999_000)),
            (Some(-5_000), Some(-5_000_000)),
            (Some(-62_135_596_800_000), Some(-62_135_596_800_000_000)),
        ];
        for (timestamp_ms, micros) in times {
            let dead_letter =
                DeadLetter { topic: "t", partition: 0, offset: 0, timestamp_ms, key: None, value: b"" };
            assert_eq!(dead_letter.has_unfit_timestamp(), timestamp_ms.is_some() && micros.is_none());
            append(&mut columns, &dead_letter, std::iter::empty(), &bad);
        }
        let batch = columns.freeze();
        let written: Vec<Option<i64>> =
            batch.column(3).as_primitive::<TimestampMicrosecondType>().iter().collect();
        assert_eq!(written, times.map(|(_, micros)| micros));
    }

    #[test]
    fn a_dead_letter_keeps_every_byte_of_its_record() {
        let mut columns = Columns::new(&Schema::of_dead_letters());
        let bad = BadRecord { reason: BadReason::Syntax, detail: "expected `:`".to_owned() };
        let full = DeadLetter {
            topic: "orders",
            partition: 3,
            offset: 7,
            timestamp_ms: Some(1),
            key: Some(b"k\xff"),
            value: b"{\"a\" 1}",
        };
        let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", None), (b"\xff", Some(b""))];
        append(&mut columns, &full, headers.into_iter(), &bad);
        let bare = DeadLetter { timestamp_ms: None, key: None, value: b"", offset: 8, ..full };
        append(&mut columns, &bare, std::iter::empty(), &bad);
        let mut lines = arrow::json::LineDelimitedWriter::new(Vec::new());
        let batch = columns.freeze();
        let times = batch.column(3).as_primitive::<TimestampMicrosecondType>();
        assert_eq!((times.value(0), times.is_null(1)), (1_000, true));
        // Arrow's JSON does not know the time zone UTC.
        lines.write(&batch.project(&[0, 1, 2, 4, 5, 6, 7, 8]).unwrap()).unwrap();
        let text = String::from_utf8(lines.into_inner()).unwrap();
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let reason = ("syntax", "expected `:`");
        assert_eq!(
            rows,
            [
                serde_json::json!({
                    "topic": "orders", "partition": 3, "offset": 7,
                    "key": "6bff", "value": "7b22612220317d",
                    "headers": [{"key": "a", "value": "31"}, {"key": "a"}, {"key": "\u{fffd}", "value": ""}],
                    "reason": reason.0, "error": reason.1,
                }),
                serde_json::json!({
                    "topic": "orders", "partition": 3, "offset": 8, "value": "", "headers": [],
                    "reason": reason.0, "error": reason.1,
                }),
            ]
        );
    }
}
