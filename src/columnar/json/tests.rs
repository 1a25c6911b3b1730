use std::fmt::{self, Write as _};

use proptest::collection::vec;
use proptest::prelude::*;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::*;
use crate::columnar::model::{self, FACTS, Value, float, rows_of};
use crate::columnar::{Columns, Decoder, RecordFacts, text as grammar};
use crate::config::EpochUnit;
use crate::ids::Offset;
use crate::record::{Padded, Record};
use crate::schema::Schema;

fn schema(ddl: &str) -> Schema {
    Schema::from_ddl(ddl).unwrap()
}

/// The row that a payload becomes.
fn decode(ddl: &str, on_new_field: OnNewField, payload: &str) -> Result<Vec<Value>, BadRecord> {
    decode_by(ddl, &policy(on_new_field), payload)
}

fn decode_by(ddl: &str, decoding: &Decoding, payload: &str) -> Result<Vec<Value>, BadRecord> {
    let schema = schema(ddl);
    let mut columns = Columns::new(&schema);
    Decoder::new(&schema, decoding).append(
        &mut columns,
        Padded::copied(payload.as_bytes(), &mut Vec::new()),
        &FACTS,
    )?;
    Ok(rows_of(&columns.freeze()).remove(0))
}

fn policy(on_new_field: OnNewField) -> Decoding {
    Decoding { on_new_field, ..Decoding::default() }
}

fn refused(ddl: &str, payload: &str) -> (BadReason, String) {
    let bad = decode(ddl, OnNewField::Rescue, payload).unwrap_err();
    (bad.reason, bad.detail)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn facts_and_fields_fill_a_row() {
    let ddl = "id BIGINT, name STRING, _partition INT, _offset BIGINT, _timestamp TIMESTAMP, _rescued STRING";
    let row = decode(ddl, OnNewField::Rescue, r#"{"name":"a\u00e9\n","id":7,"_offset":1}"#).unwrap();
    let facts = [3, 41, 1_718_000_000_123_000].map(Value::Integer);
    let [partition, offset, timestamp] = facts;
    let rescued = text(r#"{"_offset":1}"#);
    assert_eq!(row, [Value::Integer(7), text("aé\n"), partition, offset, timestamp, rescued]);
}

#[test]
fn unknown_fields_are_rescued_with_their_path() {
    let ddl = "actor STRUCT<id: BIGINT>, commits ARRAY<STRUCT<sha: STRING>>, \
               tags MAP<STRING, STRUCT<v: INT>>, _rescued STRING";
    let payload = r#"{"new" : 1.50, "actor":{"id":1,"gh.id":[1, 2]},
        "commits":[{"sha":"a"},{"sha":"b","gpg":""}], "tags":{"x y":{"v":1,"w":2}}, "\"q\"":"\ud83d\ude00"}"#;
    let row = decode(ddl, OnNewField::Rescue, payload).unwrap();
    let expected =
        r#"{"new":1.50,"actor.`gh.id`":[1, 2],"commits[1].gpg":"","tags.x y.w":2,"\"q\"":"\ud83d\ude00"}"#;
    assert_eq!(row[3], text(expected));
    assert_eq!(
        decode("a INT", OnNewField::Rescue, r#"{"b":1}"#).unwrap(),
        [Value::Null],
        "nowhere to put it"
    );
    assert_eq!(decode("a INT, _rescued STRING", OnNewField::Ignore, r#"{"b":1}"#).unwrap()[1], Value::Null);
    let bad = decode(ddl, OnNewField::Fail, r#"{"actor":{"new":1}}"#).unwrap_err();
    assert_eq!(bad.reason, BadReason::UnknownField);
    assert_eq!(bad.detail, "`actor.new`: the schema has no such field");
}

#[test]
fn a_null_of_an_unknown_field_is_nothing_to_rescue() {
    let ddl = "a STRUCT<x: INT>, l ARRAY<STRUCT<x: INT>>, m MAP<STRING, STRUCT<x: INT>>, _rescued STRING";
    let rescued = |payload: &str| decode(ddl, OnNewField::Rescue, payload).unwrap().remove(3);
    assert_eq!(rescued(r#"{"note":null,"a":{"x":1}}"#), Value::Null);
    assert_eq!(rescued(r#"{"a":{"n":null},"l":[{"n": null ,"x":1}],"m":{"k":{"n":null}}}"#), Value::Null);
    assert_eq!(rescued(r#"{"note":null,"u":0,"a":{"n":null,"v":1}}"#), text(r#"{"u":0,"a.v":1}"#));
    assert_eq!(rescued(r#"{"u":1,"note":2,"u":null}"#), text(r#"{"note":2}"#), "of equal keys the last wins");
    assert_eq!(rescued(r#"{"u":1,"u":null}"#), Value::Null);
    let empty = r#"{"u":{},"v":[null],"w":{"n":null},"x":""}"#;
    assert_eq!(rescued(empty), text(empty), "what is there is kept as it was written");
}

#[test]
fn of_equal_keys_the_last_wins_everywhere() {
    let ddl = "a STRUCT<x: INT, y: INT>, m MAP<STRING, ARRAY<INT>>, _rescued STRING";
    let payload = r#"{"a":{"x":1,"new":1,"x":2},"m":{"k":[1],"j":[],"k":[2,3]},"u":1,"a":{"y":3},"u":2}"#;
    let row = decode(ddl, OnNewField::Rescue, payload).unwrap();
    let list = |values: &[i128]| Value::List(values.iter().copied().map(Value::Integer).collect());
    assert_eq!(row[0], Value::Row(vec![Value::Null, Value::Integer(3)]));
    assert_eq!(row[1], Value::Map(vec![(text("j"), list(&[])), (text("k"), list(&[2, 3]))]));
    assert_eq!(row[2], text(r#"{"u":2}"#), "what the first `a` had rescued is gone with it");
}

#[test]
fn what_a_replaced_value_had_rescued_is_gone_however_deep() {
    let ddl = "m MAP<STRING, STRUCT<x: INT, n: MAP<STRING, STRUCT<y: INT>>>>, a STRUCT<l: ARRAY<STRUCT<b: INT>>>, \
               _rescued STRING";
    let rescued = |payload: &str| decode(ddl, OnNewField::Rescue, payload).unwrap().remove(2);
    assert_eq!(rescued(r#"{"m":{"k":{"u":1},"k":{"x":2}}}"#), Value::Null);
    assert_eq!(rescued(r#"{"m":{"k":{"u":1},"j":{"u":2},"k":{"v":3},"j":{}}}"#), text(r#"{"m.k.v":3}"#));
    assert_eq!(
        rescued(r#"{"m":{"k":{"n":{"i":{"u":1},"i":{"v":2}},"w":3},"j":{"n":{"i":{"u":4}},"n":{}}}}"#),
        text(r#"{"m.k.n.i.v":2,"m.k.w":3}"#)
    );
    assert_eq!(
        rescued(r#"{"a":{"l":[{"u":1},{"u":2}],"l":[{"b":1,"v":3}]},"x":1,"m":{"k":{"u":1}},"m":{}}"#),
        text(r#"{"a.l[0].v":3,"x":1}"#)
    );
    assert_eq!(rescued(r#"{"a":{"u":1,"l":[{"v":2}]},"a":null,"m":null}"#), Value::Null);
}

#[test]
fn a_hostile_record_takes_time_for_its_length_alone() {
    let ddl = "a STRUCT<x: INT>, m MAP<STRING, STRUCT<x: INT>>, f FLOAT, d DOUBLE, e DECIMAL(38, 0), _rescued STRING";
    let many = 100_000;
    let unknown: String = (0..many).map(|n| format!("\"u{n}\":1,")).collect();
    let repeated = r#""a":{"new":1},"#.repeat(many);
    let entries: Vec<String> = (0..many).map(|n| format!("\"{}\":{{\"new\":1}}", n % 1000)).collect();
    let digits = "9".repeat(1_000_000);
    let hostile = [
        format!("{{{unknown}{repeated}\"m\":{{}}}}"),
        format!("{{\"m\":{{{}}}}}", entries.join(",")),
        format!("{{{}\"a\":null}}", r#""same":1,"#.repeat(many)),
        format!("{{\"f\":0.{digits},\"d\":0.{digits}}}"),
        format!("{{\"e\":{digits}}}"),
    ];
    // A pair of these loops inside each other would be 10^10 steps, many minutes.
    let outcomes = hostile.map(|payload| decode(ddl, OnNewField::Rescue, &payload).map_err(|bad| bad.reason));
    let rescued = |outcome: &Result<Vec<Value>, BadReason>| match outcome.as_ref().unwrap().last() {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(rescued(&outcomes[0]).ends_with(r#""u99999":1,"a.new":1}"#));
    assert_eq!(rescued(&outcomes[1]).matches("new").count(), 1000);
    assert_eq!(rescued(&outcomes[2]), r#"{"same":1}"#);
    assert_eq!(outcomes[3].as_ref().unwrap()[2..4], [float(1.0), float(1.0)]);
    assert_eq!(outcomes[4], Err(BadReason::Range));
}

#[test]
fn a_float_is_rounded_once() {
    // Through a double it would first be rounded to the middle of two floats, then to the even one.
    let number = "1.000000059604644775390625000001";
    assert_eq!(
        (number.parse::<f64>().unwrap() as f32).to_bits() + 1,
        number.parse::<f32>().unwrap().to_bits()
    );
    let row = decode("f FLOAT", OnNewField::Fail, &format!(r#"{{"f":{number}}}"#)).unwrap();
    assert_eq!(row, [float(number.parse::<f32>().unwrap().into())]);
}

#[test]
fn numbers_fill_the_timestamps_that_declare_a_unit() {
    let ddl = "at TIMESTAMP, s STRUCT<`a.b`: TIMESTAMP>, l ARRAY<STRUCT<at: TIMESTAMP>>, \
               m MAP<STRING, ARRAY<TIMESTAMP>>, plain TIMESTAMP NOT NULL";
    use EpochUnit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
    let units =
        [("at", Milliseconds), ("s.`a.b`", Seconds), ("l[].at", Nanoseconds), ("m[][]", Microseconds)];
    let timestamps = units.map(|(path, unit)| (path.to_owned(), unit)).into_iter().collect();
    let decoding = Decoding { timestamps, ..policy(OnNewField::Fail) };
    let instant = Value::Integer(1_718_000_000_123_456);
    let payload = r#"{"at":1718000000123.456,"s":{"a.b":1718000000.1234567},"l":[{"at":1718000000123456789},{"at":null}],
        "m":{"k":[1718000000123456,"2024-06-10T06:13:20.123456Z",null]},"plain":"2024-06-10T08:13:20.\u003123456+02:00"}"#;
    let row = decode_by(ddl, &decoding, payload).unwrap();
    let list = |at: &Value| Value::Row(vec![at.clone()]);
    let expected = [
        instant.clone(),
        list(&instant),
        Value::List(vec![list(&instant), list(&Value::Null)]),
        Value::Map(vec![(text("k"), Value::List(vec![instant.clone(), instant.clone(), Value::Null]))]),
        instant,
    ];
    assert_eq!(row, expected);
    let refused = |payload: &str| {
        let bad = decode_by(ddl, &decoding, payload).unwrap_err();
        (bad.reason, bad.detail)
    };
    let cases = [
        (r#"{"plain":1718000000}"#, BadReason::Type, "`plain`: expected TIMESTAMP, found a number"),
        (
            r#"{"at":1718000000123456789}"#,
            BadReason::Range,
            "`at`: 1718000000123456789 does not fit TIMESTAMP",
        ),
        (r#"{"at":"1718000000123"}"#, BadReason::Type, "`at`: expected TIMESTAMP, found \"1718000000123\""),
        (r#"{"at":true}"#, BadReason::Type, "`at`: expected TIMESTAMP, found true"),
    ];
    for (payload, reason, detail) in cases {
        assert_eq!(refused(payload), (reason, detail.to_owned()), "{payload}");
    }
}

#[test]
fn what_short_text_would_multiply_is_bounded() {
    let wide: String = (0..500).map(|n| format!("c{n}: BIGINT, ")).collect();
    let ddl = format!("l ARRAY<STRUCT<{}x: INT>>, m MAP<STRING, STRUCT<y: INT>>, _rescued STRING", wide);
    for element in ["{}", "null"] {
        let elements = |count: usize| format!(r#"{{"l":[{}]}}"#, vec![element; count].join(","));
        assert!(decode(&ddl, OnNewField::Rescue, &elements(8_000)).is_ok());
        let bad = decode(&ddl, OnNewField::Rescue, &elements(9_000)).unwrap_err();
        assert_eq!(
            (bad.reason, bad.detail.as_str()),
            (BadReason::TooLarge, "`l[8371]`: its structs fill more than 4194304 values")
        );
    }
    // A long key stands in front of each member below it.
    let below = |key: usize, members: usize| {
        let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":0")).collect();
        format!(r#"{{"m":{{"{}":{{{}}}}}}}"#, "k".repeat(key), members.join(","))
    };
    let decoding = Decoding { max_record_size: 1 << 20, ..policy(OnNewField::Rescue) };
    assert!(decode_by(&ddl, &decoding, &below(1_000, 1_000)).is_ok());
    let bad = decode_by(&ddl, &decoding, &below(100_000, 50_000)).unwrap_err();
    assert_eq!(bad.reason, BadReason::TooLarge);
    assert!(bad.detail.ends_with("too many to rescue"), "{}", bad.detail);
    let ignoring = Decoding { on_new_field: OnNewField::Ignore, ..decoding };
    assert!(decode_by(&ddl, &ignoring, &below(100_000, 10_000)).is_ok());
}

#[test]
fn a_refusal_says_where_and_what() {
    let long = "x".repeat(500);
    let ddl = "id BIGINT NOT NULL, n TINYINT, d DECIMAL(5, 2), t TIMESTAMP, a ARRAY<STRUCT<b: BOOLEAN>>, \
               m MAP<STRING, INT>, f FLOAT, g DOUBLE, s STRING, x BINARY";
    let cases = [
        (r#"{"id":1"#, BadReason::Syntax, "it was cut off inside of an object, at line 1 column 7"),
        (r#"{"id":1}{"#, BadReason::Syntax, "something follows the JSON, at line 1 column 9"),
        (r#"{"id":1,}"#, BadReason::Syntax, "a comma with nothing behind it, at line 1 column 9"),
        (
            "",
            BadReason::Syntax,
            "it is empty: a record without a value (null) is a tombstone and makes no row",
        ),
        (
            "[1]",
            BadReason::NotObject,
            "expected an object, found an array of 1: let the producer send each element as a record",
        ),
        ("null", BadReason::NotObject, "expected an object, found null"),
        ("{}", BadReason::Missing, "`id`: no value, and the column is NOT NULL"),
        (r#"{"id":null}"#, BadReason::Missing, "`id`: null, and null is not allowed here"),
        (r#"{"id":"1"}"#, BadReason::Type, "`id`: expected BIGINT, found the string \"1\""),
        (r#"{"id":1.5}"#, BadReason::Range, "`id`: 1.5 does not fit BIGINT"),
        (r#"{"id":1e300}"#, BadReason::Range, "`id`: 1e300 does not fit BIGINT"),
        (r#"{"id":9223372036854775808}"#, BadReason::Range, "`id`: 9223372036854775808 does not fit BIGINT"),
        (r#"{"id":1,"n":128}"#, BadReason::Range, "`n`: 128 does not fit TINYINT"),
        (r#"{"id":1,"d":"1.234"}"#, BadReason::Range, "`d`: 1.234 does not fit DECIMAL(5, 2)"),
        (r#"{"id":1,"d":true}"#, BadReason::Type, "`d`: expected DECIMAL(5, 2), found true"),
        (r#"{"id":1,"t":1718000000}"#, BadReason::Type, "`t`: expected TIMESTAMP, found a number"),
        (
            r#"{"id":1,"t":"2024-02-30T00:00:00Z"}"#,
            BadReason::Range,
            "`t`: 2024-02-30T00:00:00Z does not fit TIMESTAMP",
        ),
        (
            r#"{"id":1,"a":[{"b":true},{"b":0}]}"#,
            BadReason::Type,
            "`a[1].b`: expected BOOLEAN, found a number",
        ),
        (r#"{"id":1,"a":{}}"#, BadReason::Type, "`a`: expected ARRAY, found an object"),
        (r#"{"id":1,"m":{"k.1":[]}}"#, BadReason::Type, "`m.`k.1``: expected INT, found an array"),
        (r#"{"id":1,"f":1e39}"#, BadReason::Range, "`f`: 1e39 does not fit FLOAT"),
        (r#"{"id":1,"f":1e999}"#, BadReason::Range, "`f`: 1e999 does not fit FLOAT"),
        (r#"{"id":1,"f":true}"#, BadReason::Type, "`f`: expected FLOAT, found true"),
        (r#"{"id":1,"f":"1"}"#, BadReason::Type, "`f`: expected FLOAT, found the string \"1\""),
        (r#"{"id":1,"g":1e999}"#, BadReason::Range, "`g`: 1e999 does not fit DOUBLE"),
        (r#"{"id":1,"s":5}"#, BadReason::Type, "`s`: expected STRING, found a number"),
        (r#"{"id":1,"x":"%"}"#, BadReason::Type, "`x`: expected BINARY, found \"%\""),
        (r#"{"id":1,"s":"\ud800"}"#, BadReason::Syntax, "half a surrogate pair in a string"),
        (r#"{"id":1,"u":["\udc00"]}"#, BadReason::Syntax, "half a surrogate pair in a string"),
    ];
    for (payload, reason, detail) in cases {
        assert_eq!(refused(ddl, payload), (reason, detail.to_owned()), "{payload}");
    }
    let (reason, detail) = refused(ddl, &format!(r#"{{"id":1,"m":{{"{long}":"\u0000{long}"}}}}"#));
    assert_eq!(reason, BadReason::Type);
    assert!(detail.chars().count() < 160, "{detail}");
}

#[test]
fn depth_is_bounded_in_known_and_unknown_fields() {
    let nested = |depth: usize| format!(r#"{{"u":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let known = "a ARRAY<STRUCT<m: MAP<STRING, ARRAY<INT>>>>, u ARRAY<INT>, _rescued STRING";
    let deepest = r#"{"a":[{"m":{"k":[1]}}]}"#;
    for max_depth in [1, 2, 4, 5, 126, 127] {
        for on_new_field in [OnNewField::Rescue, OnNewField::Ignore] {
            let decoding = Decoding { max_depth, ..policy(on_new_field) };
            let reason = |ddl, payload: &str| decode_by(ddl, &decoding, payload).err().map(|bad| bad.reason);
            for depth in [1, 2, 5, 125, 126, 127, 128, 100_000] {
                let expected = (depth + 1 > max_depth).then_some(BadReason::TooDeep);
                assert_eq!(
                    reason("a INT, _rescued STRING", &nested(depth)),
                    expected,
                    "{depth} of {max_depth}"
                );
            }
            assert_eq!(reason(known, deepest), (max_depth < 5).then_some(BadReason::TooDeep), "{max_depth}");
        }
    }
    let oracle = |depth| serde_json::from_str::<serde_json::Value>(&nested(depth)).is_ok();
    assert!(oracle(Decoding::DEPTH_MAX - 1) && !oracle(Decoding::DEPTH_MAX), "the parser's own limit");
}

#[test]
fn bytes_that_are_not_utf8_are_refused_even_where_nobody_looks() {
    let schema = schema("a INT");
    let mut columns = Columns::new(&schema);
    let payload = b"{\"b\":\"\xFF\"}";
    let bad = Decoder::new(&schema, &policy(OnNewField::Ignore))
        .append(&mut columns, Padded::copied(payload, &mut Vec::new()), &FACTS)
        .unwrap_err();
    assert_eq!((bad.reason, bad.detail.as_str()), (BadReason::Utf8, "invalid UTF-8 at byte 6"));
}

#[test]
fn a_bad_record_leaves_its_neighbours_whole() {
    let schema =
        schema("a ARRAY<STRUCT<s: STRING, m: MAP<STRING, INT>>>, b BOOLEAN, _offset BIGINT NOT NULL");
    let mut columns = Columns::new(&schema);
    let mut decoder = Decoder::new(&schema, &policy(OnNewField::Fail));
    let good = r#"{"a":[{"s":"one","m":{"k":1}},null,{"s":null}],"b":true}"#;
    let bad = r#"{"b":true,"a":[{"s":"lost","m":{"k":1,"l":2}},{"s":"lost","m":{"k":1,"l":"x"}}]}"#;
    for (offset, payload) in [good, bad, good, bad, bad, good].into_iter().enumerate() {
        let record = Record { offset: Offset(offset as i64), ..FACTS.record };
        let facts = RecordFacts { record, ..FACTS };
        assert_eq!(
            decoder.append(&mut columns, Padded::copied(payload.as_bytes(), &mut Vec::new()), &facts).is_ok(),
            payload == good
        );
    }
    let rows = rows_of(&columns.freeze());
    assert_eq!(rows.iter().map(|row| row[2].clone()).collect::<Vec<_>>(), [0, 2, 5].map(Value::Integer));
    assert!(rows.iter().all(|row| row[..2] == rows[0][..2]));
}

/// What one decoder says of payloads, one after the other.
fn all_of(decoder: &mut Decoder, schema: &Schema, payloads: &[String]) -> Vec<Option<Vec<Value>>> {
    let mut one = |payload: &String| {
        let mut columns = Columns::new(schema);
        let padded = &mut Vec::new();
        decoder.append(&mut columns, Padded::copied(payload.as_bytes(), padded), &FACTS).ok()?;
        rows_of(&columns.freeze()).pop()
    };
    payloads.iter().map(&mut one).collect()
}

fn what_is_learned_changes_nothing(payloads: &[String]) {
    let schema = schema("a BIGINT, b STRING, c STRUCT<a: BIGINT, b: DOUBLE>, _rescued STRING");
    let fresh = || Decoder::new(&schema, &policy(OnNewField::Rescue));
    let learning = all_of(&mut fresh(), &schema, payloads);
    for (payload, learned) in payloads.iter().zip(learning) {
        let alone = all_of(&mut fresh(), &schema, std::slice::from_ref(payload));
        assert_eq!(learned, alone[0], "{payload} of {payloads:?}");
    }
}

#[test]
fn what_led_to_a_value_is_known_for_its_place_alone() {
    let far = format!("{{{}\"b\":\"x\"}}", " ".repeat(300));
    let orders =
        [r#"{"a":1,"b":"x"}"#, r#"{"b":"x","a":1}"#, r#"{"u":0,"b":"x"}"#, r#"{"a":1, "b":"x"}"#, &far];
    let broken = [
        r#"{"a":1"b":"x"}"#,
        r#"{"a":1{"b":"x"}"#,
        r#"{,"b":"x"}"#,
        r#"{"a":1,,"b":"x"}"#,
        r#"{"a":1,}"#,
        r#"{"a":1,"b":"x",}"#,
        r#"{"a":1"#,
        r#""b":"x"}"#,
        r#"{"a":1}{"b":"x"}"#,
    ];
    for first in orders {
        for second in orders {
            for third in broken.iter().chain(&orders) {
                what_is_learned_changes_nothing(&[first, second, third, second].map(str::to_owned));
            }
        }
    }
}

#[test]
fn maps_whose_keys_json_cannot_spell_are_refused() {
    assert_eq!(refused("m MAP<INT, INT>", r#"{"m":{"1":1}}"#).0, BadReason::Type);
    assert_eq!(decode("m MAP<INT, INT>", OnNewField::Fail, r#"{"m":null}"#).unwrap(), [Value::Null]);
}

#[test]
fn arrow_json_reads_the_same_rows() {
    let ddl = "id BIGINT, price DOUBLE, ok BOOLEAN, s STRING, at TIMESTAMP, day DATE, amount DECIMAL(12, 2), \
               tags ARRAY<STRING>, actor STRUCT<id: INT, f: FLOAT>, m MAP<STRING, BIGINT>";
    let payload = r#"{"id":-5,"price":1.25,"ok":true,"s":"é","at":"2024-06-10T06:13:20.5Z","day":"2024-06-10",
        "amount":12.34,"tags":["a",null],"actor":{"id":1},"m":{"k":1}}"#;
    // Without a database of time zones arrow-json does not know "UTC", but its offset.
    let utc =
        arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("+00:00".into()));
    let field = |field: &std::sync::Arc<arrow::datatypes::Field>| match field.data_type() {
        arrow::datatypes::DataType::Timestamp(..) => field.as_ref().clone().with_data_type(utc.clone()),
        _ => field.as_ref().clone(),
    };
    let fields: Vec<_> = schema(ddl).to_arrow().fields().iter().map(field).collect();
    let arrow = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
    let mut reader = arrow::json::ReaderBuilder::new(arrow).build_decoder().unwrap();
    reader.decode(payload.as_bytes()).unwrap();
    let theirs = rows_of(&reader.flush().unwrap().unwrap());
    assert_eq!(vec![decode(ddl, OnNewField::Fail, payload).unwrap()], theirs);
}

// ------------------------------------------------- against a tree of values

/// JSON with everything that the text says: equal keys, number texts.
enum Tree {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// `None`: not JSON. `serde_json::Value` decides, but for numbers that only it finds too large.
    fn parse(payload: &[u8]) -> Option<Tree> {
        let text = std::str::from_utf8(payload).ok()?;
        match serde_json::from_str::<serde_json::Value>(text) {
            Err(error) if !error.to_string().starts_with("number out of range") => None,
            _ => Tree::of(text.trim()),
        }
    }

    fn of(text: &str) -> Option<Tree> {
        Some(match text.as_bytes().first()? {
            b'n' => Tree::Null,
            b't' => Tree::Boolean(true),
            b'f' => Tree::Boolean(false),
            b'"' => Tree::Text(serde_json::from_str(text).ok()?),
            b'[' => {
                let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Tree::List(values.into_iter().map(|value| Tree::of(value.get())).collect::<Option<_>>()?)
            }
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let pair = |(key, value): (String, &RawValue)| Some((key, Tree::of(value.get())?));
                Tree::Object(members.into_iter().map(pair).collect::<Option<_>>()?)
            }
            _ => Tree::Number(text.to_owned()),
        })
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> de::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// The value that a column must hold; `None`: it does not fit.
fn expected(tree: &Tree, data_type: &DataType, nullable: bool) -> Option<Value> {
    let int = |number: &str, min: i128, max: i128| {
        let value = number.parse::<i128>().ok()?;
        (min..=max).contains(&value).then_some(Value::Integer(value))
    };
    Some(match (tree, data_type) {
        (Tree::Null, _) => return nullable.then_some(Value::Null),
        (Tree::Boolean(value), DataType::Boolean) => Value::Boolean(*value),
        (Tree::Number(n), DataType::Byte) => int(n, i8::MIN.into(), i8::MAX.into())?,
        (Tree::Number(n), DataType::Short) => int(n, i16::MIN.into(), i16::MAX.into())?,
        (Tree::Number(n), DataType::Integer) => int(n, i32::MIN.into(), i32::MAX.into())?,
        (Tree::Number(n), DataType::Long) => int(n, i64::MIN.into(), i64::MAX.into())?,
        (Tree::Number(n), DataType::Double) => float(n.parse().ok().filter(|v: &f64| v.is_finite())?),
        (Tree::Number(n), DataType::Float) => float(n.parse::<f32>().ok().filter(|v| v.is_finite())?.into()),
        (Tree::Number(n) | Tree::Text(n), DataType::Decimal { precision, scale }) => {
            Value::Integer(exact(n, *precision, *scale)?)
        }
        (Tree::Text(value), DataType::String) => text(value),
        (Tree::Text(value), DataType::Date) => Value::Integer(grammar::date(value).ok()?.into()),
        (Tree::Text(value), DataType::Timestamp) => Value::Integer(grammar::timestamp(value).ok()?.into()),
        (Tree::Text(value), DataType::Binary) => {
            let mut bytes = Vec::new();
            grammar::base64(value, &mut bytes).ok()?;
            Value::Bytes(bytes)
        }
        (Tree::List(values), DataType::Array { element, contains_null }) => Value::List(
            values.iter().map(|value| expected(value, element, *contains_null)).collect::<Option<_>>()?,
        ),
        (Tree::Object(members), DataType::Struct(fields)) => Value::Row(expected_row(members, fields)?),
        (Tree::Object(members), DataType::Map { value, value_contains_null, .. }) => {
            let mut entries: Vec<(Value, Value)> = Vec::new();
            for (name, tree) in members {
                entries.retain(|(key, _)| *key != text(name));
                entries.push((text(name), expected(tree, value, *value_contains_null)?));
            }
            Value::Map(entries)
        }
        _ => return None,
    })
}

fn expected_row(members: &[(String, Tree)], fields: &[Field]) -> Option<Vec<Value>> {
    let mut row = vec![None; fields.len()];
    for (name, tree) in members {
        if let Some(index) = fields.iter().position(|field| field.name == *name) {
            row[index] = Some(expected(tree, &fields[index].data_type, fields[index].nullable)?);
        }
    }
    let missing = |(value, field): (Option<Value>, &Field)| value.or(field.nullable.then_some(Value::Null));
    row.into_iter().zip(fields).map(missing).collect()
}

/// Long division of strings: the digits around the point moved by `scale + exponent`.
fn exact(number: &str, precision: u8, scale: u8) -> Option<i128> {
    serde_json::from_str::<&RawValue>(number)
        .ok()
        .filter(|raw| raw.get() == number && number.starts_with(|c: char| c == '-' || c.is_ascii_digit()))?;
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { -1000 } else { 1000 });
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let shift = exponent.clamp(-1000, 1000) + i64::from(scale) - fraction.len() as i64;
    let moved = if shift >= 0 {
        format!("{digits}{}", "0".repeat(shift as usize))
    } else {
        let cut = digits.len().checked_sub(shift.unsigned_abs() as usize).filter(|cut| *cut > 0)?;
        digits[cut..].bytes().all(|b| b == b'0').then(|| digits[..cut].to_owned())?
    };
    let value: i128 = (moved.len() <= usize::from(precision)).then(|| moved.parse().unwrap())?;
    Some(if number.starts_with('-') { -value } else { value })
}

/// Text for a value of the type; sometimes of another one.
fn json_of(data_type: &DataType, nullable: bool) -> BoxedStrategy<String> {
    let numbers = || {
        prop_oneof![
            any::<i8>().prop_map(|v| v.to_string()),
            any::<i64>().prop_map(|v| v.to_string()),
            any::<u64>().prop_map(|v| v.to_string()),
            any::<i128>().prop_map(|v| v.to_string()),
            any::<f32>().prop_filter_map("finite", |v| v.is_finite().then(|| format!("{v:?}"))),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        ]
    };
    let strings = || {
        model::value(&DataType::String, false).prop_map(|value| match value {
            Value::Text(text) => serde_json::to_string(&text).unwrap(),
            _ => unreachable!(),
        })
    };
    let fitting = match data_type {
        DataType::Boolean => "true|false".boxed(),
        DataType::Byte => any::<i8>().prop_map(|v| v.to_string()).boxed(),
        DataType::Short => any::<i16>().prop_map(|v| v.to_string()).boxed(),
        DataType::Integer => any::<i32>().prop_map(|v| v.to_string()).boxed(),
        DataType::Long => any::<i64>().prop_map(|v| v.to_string()).boxed(),
        DataType::Float | DataType::Double => numbers().boxed(),
        DataType::Decimal { precision, scale } => {
            let (scale, limit) = (*scale, 10_i128.pow(u32::from(*precision)));
            let exact = (1 - limit..limit).prop_map(move |v| crate::columnar::stats::decimal_text(v, scale));
            prop_oneof![
                4 => exact.clone(),
                1 => exact.prop_map(|v| format!("\"{v}\"")),
                1 => "-?[0-9]{1,4}0{0,4}e-?[0-9]".prop_map(|v| v),
            ]
            .boxed()
        }
        DataType::String => {
            let escaped = r#""(\\[nrt"/\\]|\\u[0-9a-fA-F]{4}|\\ud83d\\ude0[0-9]|[a-z]){0,5}""#;
            prop_oneof![strings(), escaped.prop_map(|text| text)].boxed()
        }
        DataType::Binary => "\"[A-Za-z0-9+/]{0,8}=?\"".boxed(),
        DataType::Date => "\"(19|20)[0-9]{2}-0[1-9]-(0[1-9]|[123][0-9])\"".boxed(),
        DataType::Timestamp => {
            "\"[0-2][0-9]{3}-0[1-9]-[0-2][1-9][T ]([01][0-9]|2[0-4]):[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-]0[0-9]:[0-5][0-9])?\"".boxed()
        }
        DataType::Struct(fields) => members_of(fields).boxed(),
        DataType::Array { element, contains_null } => vec(json_of(element, *contains_null), 0..4)
            .prop_map(|values| format!("[{}]", values.join(",")))
            .boxed(),
        DataType::Map { value, value_contains_null, .. } => {
            let entries = vec(("[a-c]", json_of(value, *value_contains_null)), 0..4);
            entries.prop_map(|entries| object(&entries)).boxed()
        }
    };
    let odd = prop_oneof![
        numbers(),
        strings(),
        Just("null".to_owned()),
        Just("[1,{}]".to_owned()),
        Just(r#"{"f0":[true]}"#.to_owned()),
        Just("false".to_owned()),
        Just("1e999".to_owned()),
    ];
    prop_oneof![60 => fitting, u32::from(nullable) * 6 => Just("null".to_owned()), 1 => odd].boxed()
}

fn object(members: &[(String, String)]) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in members.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(text, "{comma}{}: {value}", serde_json::to_string(name).unwrap()).unwrap();
    }
    text + "}"
}

/// The fields in any order, sometimes missing, twice, or unknown.
fn members_of(fields: &[Field]) -> impl Strategy<Value = String> + use<> {
    let mut members: Vec<BoxedStrategy<Vec<(String, String)>>> = Vec::new();
    for field in fields {
        let name = field.name.clone();
        let most = usize::from(field.nullable);
        let times = prop_oneof![1 => 1 - most..=1, 14 => Just(1), 1 => 2..3_usize];
        let value = json_of(&field.data_type, field.nullable);
        let some = times.prop_flat_map(move |times| vec((Just(name.clone()), value.clone()), times));
        members.push(some.boxed());
    }
    let unknown = vec(("u|g[.]|F0", json_of(&DataType::String, true)), 0..2);
    (members, unknown)
        .prop_map(|(known, unknown)| known.into_iter().flatten().chain(unknown).collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|members| object(&members))
}

/// A byte changed, inserted or taken out, sometimes.
fn mutated(payload: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let mutation = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8));
    (payload, mutation).prop_map(|(text, mutation)| {
        let mut bytes = text.into_bytes();
        if let Some((at, byte, kind)) = mutation {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_payload_becomes_the_row_that_its_tree_says(
        (schema, payloads) in model::schema().prop_flat_map(|schema| {
            let payloads = vec(mutated(members_of(&schema.fields)), 1..6);
            (Just(schema), payloads)
        }),
    ) {
        let mut table = schema.clone();
        table.fields.insert(0, Field::new("_offset", DataType::Long, false));
        table.fields.push(Field::new(RESCUED_COLUMN, DataType::String, true));
        let mut columns = Columns::new(&table);
        let mut decoder = Decoder::new(&table, &policy(OnNewField::Rescue));
        let mut model = Vec::new();
        for payload in &payloads {
            let outcome = decoder.append(&mut columns, Padded::copied(payload, &mut Vec::new()), &FACTS);
            let row = match Tree::parse(payload) {
                Some(Tree::Object(members)) => expected_row(&members, &schema.fields),
                _ => None,
            };
            prop_assert_eq!(
                outcome.is_ok(), row.is_some(), "{:?} for {}", &outcome, String::from_utf8_lossy(payload)
            );
            if let Err(bad) = outcome {
                prop_assert!(bad.detail.chars().count() < 250, "{}", bad.detail);
            }
            model.extend(row);
        }
        let mut rows = rows_of(&columns.freeze());
        for row in &mut rows {
            prop_assert_eq!(row.remove(0), Value::Integer(41));
            if let Some(Value::Text(rescued)) = row.pop() {
                prop_assert!(serde_json::from_str::<Members>(&rescued).is_ok(), "{}", rescued);
            }
        }
        prop_assert_eq!(rows, model);
    }

    #[test]
    fn shapes_that_come_again_are_read_as_if_they_were_new(
        shapes in vec(vec((0..4_usize, 0..3_usize), 0..5), 1..3),
        picks in vec((any::<prop::sample::Index>(), prop::option::of((any::<prop::sample::Index>(), "[{},:\" ]?"))), 1..8),
    ) {
        let written = |shape: &Vec<(usize, usize)>| {
            let members = shape.iter().map(|&(member, space)| {
                let inner = ["{\"a\":3,\"b\":0.5}", "{\"b\":1, \"a\":2}", "{}"][space];
                let (name, value) = [("a", "7"), ("b", "\"x\""), ("c", inner), ("u", "[1]")][member];
                format!("\"{name}\":{}{value}", &"  "[..space])
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let payloads: Vec<String> = picks.iter().map(|(shape, broken)| {
            let mut text = written(shape.get(&shapes));
            if let Some((at, with)) = broken {
                let at = at.index(text.len());
                text.replace_range(at..=at, with);
            }
            text
        }).collect();
        what_is_learned_changes_nothing(&payloads);
    }

    #[test]
    fn any_bytes_are_answered(payload in vec(any::<u8>(), 0..40), text in "[{}\\[\\],:\"a\\\\u0-9.eE+\\- tfn]{0,40}") {
        let schema = schema("a INT, b ARRAY<STRING>, _rescued STRING");
        let mut columns = Columns::new(&schema);
        let mut decoder = Decoder::new(&schema, &policy(OnNewField::Rescue));
        for payload in [&payload, text.as_bytes()] {
            let _ = decoder.append(&mut columns, Padded::copied(payload, &mut Vec::new()), &FACTS);
        }
        columns.freeze();
    }
}
