use super::*;
use crate::columnar::{Columns, Decoder, RecordFacts};
use crate::config::{Decoding, RESCUED_COLUMN};
use crate::ids::Offset;
use crate::record::{Padded, Record};

fn inferred(samples: &[&str]) -> Inferred {
    infer(samples.iter().map(|sample| sample.as_bytes()), &BTreeMap::new()).unwrap()
}

fn left_out(samples: &[&str]) -> Vec<(String, &'static str)> {
    inferred(samples).left_out.into_iter().map(|left| (left.path, left.reason)).collect()
}

#[test]
fn fields_come_in_order_of_appearance_and_numbers_widen() {
    let found = inferred(&[
        r#"{"id":1,"at":"2024-06-10T06:13:20Z","price":1}"#,
        r#"{"tags":["a",null],"id":2,"price":1.5,"actor":{"id":1}}"#,
        r#"{"name":"x","ok":true,"actor":{"new":2.5},"at":null,"events":[{"n":1},{"m":"2024-06-10"}]}"#,
    ]);
    assert_eq!(
        found.schema.to_string(),
        "id BIGINT, at TIMESTAMP, price DOUBLE, tags ARRAY<STRING>, actor STRUCT<id: BIGINT, new: DOUBLE>, \
         name STRING, ok BOOLEAN, events ARRAY<STRUCT<n: BIGINT, m: STRING>>"
    );
    assert_eq!((found.samples_used, found.samples_skipped, found.left_out), (3, 0, vec![]));
}

#[test]
fn one_string_that_is_no_timestamp_makes_a_string_column() {
    let found = inferred(&[r#"{"a":"2024-06-10T06:13:20Z"}"#, r#"{"a":"soon"}"#]);
    assert_eq!(found.schema.to_string(), "a STRING");
}

#[test]
fn what_no_column_can_take_is_left_out_and_named() {
    let samples = [
        r#"{"a":1,"b":"x","n":null,"e":[],"o":{},"big":18446744073709551615,"s":{"a":true,"b":1}}"#,
        r#"{"a":1,"b":2,"s":{"a":1},"m":[1,"x"]}"#,
    ];
    let expected = [
        ("b", "values of several types"),
        ("n", "always null"),
        ("e[]", "always empty"),
        ("o", "an object without columns"),
        ("big", "numbers beyond BIGINT"),
        ("s.a", "values of several types"),
        ("m[]", "values of several types"),
    ]
    .map(|(path, reason)| (path.to_owned(), reason));
    assert_eq!(left_out(&samples), expected);
    assert_eq!(inferred(&samples).schema.to_string(), "a BIGINT, s STRUCT<b: BIGINT>");
}

#[test]
fn names_that_cannot_be_columns_are_left_out() {
    let sample = r#"{"id":1,"ID":2,"a b":3,"_OFFSET":4,"_rescued":5,"":6,"x":{"_offset":7,"k=v":8}}"#;
    let names: Vec<String> = left_out(&[sample]).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["ID", "a b", "_OFFSET", "_rescued", "``", "x.k=v"]);
    assert_eq!(inferred(&[sample]).schema.to_string(), "id BIGINT, x STRUCT<_offset: BIGINT>");
}

#[test]
fn unusable_samples_are_counted_or_the_error() {
    let found = inferred(&["{", "[1]", r#"{"a":1}"#]);
    assert_eq!((found.samples_used, found.samples_skipped), (1, 2));
    let error = |samples: &[&str]| {
        infer(samples.iter().map(|sample| sample.as_bytes()), &BTreeMap::new()).unwrap_err()
    };
    assert_eq!(error(&[]), InferError::NoSamples);
    assert_eq!(error(&["{", "1"]), InferError::NoObjects { samples: 2 });
    assert_eq!(error(&["{}", r#"{"a":null}"#]), InferError::NoColumns { samples: 2 });
}

#[test]
fn an_object_used_as_a_dictionary_does_not_become_a_thousand_columns() {
    let members: Vec<String> = (0..1000).map(|n| format!("\"k{n}\":1")).collect();
    let found = inferred(&[&format!("{{{}}}", members.join(","))]);
    assert_eq!((found.schema.fields.len(), found.left_out.len()), (COLUMNS_MAX, 1000 - COLUMNS_MAX));
    let deep = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    assert_eq!(
        infer([deep.as_bytes()].into_iter(), &BTreeMap::new()),
        Err(InferError::NoColumns { samples: 1 })
    );
}

#[test]
fn every_usable_sample_fits_the_inferred_schema() {
    let samples = [
        r#"{"a":-9223372036854775808,"b":"x","c":[[1,2],[]],"d":{"e":[{"f":1e3},null]}}"#,
        r#"{"a":null,"b":7,"c":null,"d":{"e":[{"f":5,"g":"2024-06-10T06:13:20.5+02:00"}]}}"#,
        r#"{"d":null,"A":[],"c":[null]}"#,
    ];
    let mut schema = inferred(&samples).schema;
    schema.fields.push(Field::new(RESCUED_COLUMN, DataType::String, true));
    let mut columns = Columns::new(&schema);
    let mut decoder = Decoder::new(&schema, &Decoding::default());
    let record = Record::bare(Offset(0));
    let facts = RecordFacts { topic: "t", partition: 0, record };
    for sample in samples {
        assert_eq!(
            decoder.append(&mut columns, Padded::copied(sample.as_bytes(), &mut Vec::new()), &facts),
            Ok(()),
            "{sample}"
        );
    }
}

#[test]
fn numbers_are_timestamps_where_they_are_declared() {
    let declared =
        ["at", "s.at", "l[].at", "late", "text"].map(|path| (path.to_owned(), EpochUnit::Milliseconds));
    let samples = [
        r#"{"at":1718000000000,"s":{"at":1.5},"l":[{"at":"2024-06-10T06:13:20Z"},{"at":1}],"late":null}"#,
        r#"{"at":null,"text":"soon","s":{"other":18446744073709551615}}"#,
    ];
    let samples = samples.iter().map(|sample| sample.as_bytes());
    let found = infer(samples, &BTreeMap::from(declared)).unwrap();
    assert_eq!(
        found.schema.to_string(),
        "at TIMESTAMP, s STRUCT<at: TIMESTAMP>, l ARRAY<STRUCT<at: TIMESTAMP>>, text STRING"
    );
    let left: Vec<&str> = found.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["s.other", "late"]);
}
