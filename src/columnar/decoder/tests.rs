use super::*;
use crate::columnar::model::{FACTS, Value, float, rows_of};
use crate::columnar::{AnyReader, SchemaName};
use crate::config::{Format, OnNewField};
use crate::record::{Header, Headers, Padded, Record};

fn decode(ddl: &str, decoding: &Decoding, payload: &[u8]) -> Result<Vec<Value>, BadReason> {
    let schema = Schema::from_ddl(ddl).unwrap();
    let mut columns = Columns::new(&schema);
    Decoder::new(&schema, decoding)
        .append(&mut columns, Padded::copied(payload, &mut Vec::new()), &FACTS)
        .map_err(|bad| bad.reason)?;
    Ok(rows_of(&columns.freeze()).remove(0))
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

// ------------------------------------------------------------------------------ every type by every case

/// A type, JSON values that it takes with what they become, and JSON values that it refuses.
struct Case {
    data_type: &'static str,
    taken: Vec<(&'static str, Value)>,
    refused: Vec<(&'static str, BadReason)>,
}

fn integers(
    data_type: &'static str,
    min: &'static str,
    max: &'static str,
    beyond: [&'static str; 2],
) -> Case {
    let integer = |text: &'static str| (text, Value::Integer(text.parse().unwrap()));
    let mut refused = vec![
        ("1.5", BadReason::Range),
        ("1.0", BadReason::Range),
        ("1e2", BadReason::Range),
        ("\"1\"", BadReason::Type),
        ("true", BadReason::Type),
        ("[]", BadReason::Type),
        ("{}", BadReason::Type),
    ];
    refused.extend(beyond.map(|number| (number, BadReason::Range)));
    Case {
        data_type,
        taken: vec![integer("0"), integer(min), integer(max), ("-0", Value::Integer(0))],
        refused,
    }
}

fn cases() -> Vec<Case> {
    use BadReason::{Range, Type};
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    vec![
        Case {
            data_type: "BOOLEAN",
            taken: vec![("true", Value::Boolean(true)), ("false", Value::Boolean(false))],
            refused: vec![("0", Type), ("\"true\"", Type), ("[true]", Type)],
        },
        integers("TINYINT", "-128", "127", ["-129", "128"]),
        integers("SMALLINT", "-32768", "32767", ["-32769", "32768"]),
        integers("INT", "-2147483648", "2147483647", ["-2147483649", "2147483648"]),
        integers(
            "BIGINT",
            "-9223372036854775808",
            "9223372036854775807",
            ["-9223372036854775809", "9223372036854775808"],
        ),
        Case {
            data_type: "FLOAT",
            taken: vec![
                ("0", float(0.0)),
                ("-0.0", float(-0.0)),
                ("0.1", float(f64::from(0.1_f32))),
                ("16777217", float(16_777_216.0)),
                ("3.4028234663852886e38", float(f32::MAX.into())),
                ("-3.4028234663852886e38", float(f32::MIN.into())),
                ("1.401298464324817e-45", float(f64::from(f32::from_bits(1)))),
                ("1e-60", float(0.0)),
            ],
            refused: vec![
                ("3.4028236e38", Range),
                ("-1e39", Range),
                ("1e999", Range),
                ("\"1\"", Type),
                ("[]", Type),
            ],
        },
        Case {
            data_type: "DOUBLE",
            taken: vec![
                ("0", float(0.0)),
                ("0.1", float(0.1)),
                ("9007199254740993", float(9_007_199_254_740_992.0)),
                ("1.7976931348623157e308", float(f64::MAX)),
                ("-1.7976931348623157e308", float(f64::MIN)),
                ("5e-324", float(f64::from_bits(1))),
            ],
            refused: vec![("1.8e308", Range), ("-1e309", Range), ("\"NaN\"", Type), ("false", Type)],
        },
        Case {
            data_type: "DECIMAL(5, 2)",
            taken: vec![
                ("999.99", Value::Integer(99_999)),
                ("-999.99", Value::Integer(-99_999)),
                ("1", Value::Integer(100)),
                ("1.50000", Value::Integer(150)),
                ("15e-1", Value::Integer(150)),
                ("\"0.01\"", Value::Integer(1)),
                ("0.0", Value::Integer(0)),
            ],
            refused: vec![
                ("1000", Range),
                ("-1000.00", Range),
                ("0.001", Range),
                ("1.005", Range),
                ("\"x\"", Type),
                ("true", Type),
                ("[]", Type),
            ],
        },
        Case {
            data_type: "DECIMAL(38, 0)",
            taken: vec![("99999999999999999999999999999999999999", Value::Integer(10_i128.pow(38) - 1))],
            refused: vec![("100000000000000000000000000000000000000", Range), ("0.5", Range)],
        },
        Case {
            data_type: "STRING",
            taken: vec![("\"\"", text("")), ("\"null\"", text("null")), ("\"\\u0000é😀\"", text("\u{0}é😀"))],
            refused: vec![("1", Type), ("true", Type), ("{}", Type), ("[]", Type)],
        },
        Case {
            data_type: "BINARY",
            taken: vec![
                ("\"\"", bytes(b"")),
                ("\"AP8=\"", bytes(b"\x00\xff")),
                ("\"AP8\"", bytes(b"\x00\xff")),
            ],
            refused: vec![("\"*\"", Type), ("\"A\"", Type), ("0", Type)],
        },
        Case {
            data_type: "DATE",
            taken: vec![
                ("\"0001-01-01\"", Value::Integer(-719_162)),
                ("\"1970-01-01\"", Value::Integer(0)),
                ("\"9999-12-31\"", Value::Integer(2_932_896)),
            ],
            refused: vec![
                ("\"2023-02-29\"", Range),
                ("\"0000-01-01\"", Range),
                ("\"10000-01-01\"", Type),
                ("\"2024-06-10T00:00:00Z\"", Type),
                ("0", Type),
            ],
        },
        Case {
            data_type: "TIMESTAMP",
            taken: vec![
                ("\"0001-01-01T00:00:00Z\"", Value::Integer(-62_135_596_800_000_000)),
                ("\"9999-12-31T23:59:59.999999Z\"", Value::Integer(253_402_300_799_999_999)),
                ("\"2024-06-10T06:13:20\"", Value::Integer(1_718_000_000_000_000)),
                ("\"2024-06-10T08:13:20.0000019+02:00\"", Value::Integer(1_718_000_000_000_001)),
            ],
            refused: vec![
                ("\"2024-02-30T00:00:00Z\"", Range),
                ("\"9999-12-31T23:59:59-01:00\"", Range),
                ("\"2024-06-10\"", Type),
                ("1718000000", Type),
                ("{}", Type),
            ],
        },
        Case {
            data_type: "STRUCT<a: INT>",
            taken: vec![
                ("{}", Value::Row(vec![Value::Null])),
                (r#"{"a":1}"#, Value::Row(vec![Value::Integer(1)])),
                (r#"{"a":null}"#, Value::Row(vec![Value::Null])),
            ],
            refused: vec![("[]", Type), ("1", Type), ("\"{}\"", Type), (r#"{"a":"1"}"#, Type)],
        },
        Case {
            data_type: "ARRAY<INT>",
            taken: vec![
                ("[]", Value::List(vec![])),
                ("[null,1]", Value::List(vec![Value::Null, Value::Integer(1)])),
            ],
            refused: vec![
                ("{}", Type),
                ("1", Type),
                ("\"[]\"", Type),
                ("[[]]", Type),
                ("[2147483648]", Range),
            ],
        },
        Case {
            data_type: "MAP<STRING, INT>",
            taken: vec![
                ("{}", Value::Map(vec![])),
                (
                    r#"{"":null,"k":1}"#,
                    Value::Map(vec![(text(""), Value::Null), (text("k"), Value::Integer(1))]),
                ),
            ],
            refused: vec![("[]", Type), ("1", Type), (r#"{"k":true}"#, Type)],
        },
    ]
}

/// Where a value may stand: a schema around its type, a record around its text, a row around the value.
type ValuePosition = (fn(&str) -> String, fn(&str) -> String, fn(Value) -> Value);

const PLACES: [ValuePosition; 4] = [
    (|of| format!("x {of}"), |json| format!(r#"{{"x":{json}}}"#), |value| value),
    (
        |of| format!("s STRUCT<x: {of}>"),
        |json| format!(r#"{{"s":{{"x":{json}}}}}"#),
        |value| Value::Row(vec![value]),
    ),
    (|of| format!("l ARRAY<{of}>"), |json| format!(r#"{{"l":[{json}]}}"#), |value| Value::List(vec![value])),
    (
        |of| format!("m MAP<STRING, {of}>"),
        |json| format!(r#"{{"m":{{"k":{json}}}}}"#),
        |value| Value::Map(vec![(text("k"), value)]),
    ),
];

#[test]
fn every_type_takes_its_values_and_null_and_refuses_the_others_wherever_it_stands() {
    let decoding = Decoding { on_new_field: OnNewField::Fail, ..Decoding::default() };
    for Case { data_type, mut taken, refused } in cases() {
        taken.push(("null", Value::Null));
        for (schema, record, row) in PLACES {
            let ddl = schema(data_type);
            let decode = |json: &str| decode(&ddl, &decoding, record(json).as_bytes());
            for (json, value) in &taken {
                assert_eq!(decode(json), Ok(vec![row(value.clone())]), "{json} as {ddl}");
            }
            for (json, reason) in &refused {
                assert_eq!(decode(json), Err(*reason), "{json} as {ddl}");
            }
        }
        let ddl = format!("x {data_type}");
        assert_eq!(decode(&ddl, &decoding, b"{}"), Ok(vec![Value::Null]), "missing {ddl}");
        let required = format!("{ddl} NOT NULL");
        for json in [&b"{}"[..], b"{\"x\":null}"] {
            assert_eq!(decode(&required, &decoding, json), Err(BadReason::Missing), "{required}");
        }
    }
}

// ------------------------------------------------------------------------------ raw, facts and limits

fn raw() -> Decoding {
    Decoding { format: Format::Raw, ..Decoding::default() }
}

#[test]
fn a_raw_payload_is_the_value_byte_for_byte() {
    let ddl = "_offset BIGINT, value BINARY, _partition INT, more STRING";
    for payload in [&b""[..], b"{\"a\":1}", b"\x00\xff", b"null"] {
        let expected = [Value::Integer(41), Value::Bytes(payload.to_vec()), Value::Integer(3), Value::Null];
        assert_eq!(decode(ddl, &raw(), payload), Ok(expected.to_vec()));
    }
    assert_eq!(decode("value STRING", &raw(), "é".as_bytes()), Ok(vec![text("é")]));
    assert_eq!(decode("value STRING", &raw(), b"\xff"), Err(BadReason::Utf8));
    assert_eq!(decode("value INT", &raw(), b"1"), Err(BadReason::Missing));
    assert_eq!(decode("value BINARY, more STRING NOT NULL", &raw(), b"1"), Err(BadReason::Missing));
}

#[test]
fn a_payload_over_the_limit_is_too_large_in_every_format() {
    for format in [Format::Json, Format::Raw] {
        let decoding = Decoding { format, max_record_size: 13, ..Decoding::default() };
        assert!(decode("value STRING", &decoding, br#"{"value":"x"}"#).is_ok());
        assert_eq!(decode("value STRING", &decoding, br#"{"value":"xy"}"#), Err(BadReason::TooLarge));
    }
}

#[test]
fn a_timestamp_that_is_absent_or_absurd_is_null() {
    for timestamp_ms in [None, Some(i64::MAX), Some(i64::MIN), Some(253_402_300_800_000)] {
        let facts = RecordFacts { record: Record { timestamp_ms, ..FACTS.record }, ..FACTS };
        for (ddl, expected) in [("_timestamp TIMESTAMP", true), ("_timestamp TIMESTAMP NOT NULL", false)] {
            let schema = Schema::from_ddl(ddl).unwrap();
            let mut columns = Columns::new(&schema);
            let mut decoder = Decoder::new(&schema, &Decoding::default());
            let outcome = decoder.append(&mut columns, Padded::copied(b"{}", &mut Vec::new()), &facts);
            assert_eq!(columns.rows(), usize::from(expected));
            let counted = u64::from(expected && timestamp_ms.is_some());
            assert_eq!(decoder.take_unfit_timestamps(), counted);
            assert_eq!(decoder.take_unfit_timestamps(), 0);
            let reason = timestamp_ms.map_or(BadReason::Missing, |_| BadReason::Range);
            assert_eq!(outcome.map_err(|bad| bad.reason), if expected { Ok(()) } else { Err(reason) });
        }
    }
}

// ------------------------------------------------------------------------------ keys, headers, topic

const FACT_COLUMNS: &str =
    "_topic STRING, _timestamp_type STRING, _key BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>";
const TEXT_COLUMNS: &str = "_key STRING, _headers ARRAY<STRUCT<key: STRING, value: STRING>>";

fn facts_row(ddl: &str, facts: Record<'_>, headers: &[Header<'_>]) -> Result<Vec<Value>, BadRecord> {
    let mut bytes = Vec::new();
    headers.iter().for_each(|&header| Headers::write(header, &mut bytes));
    let record = Record { headers: Headers::over(&bytes), ..facts };
    let schema = Schema::from_ddl(ddl).unwrap();
    let mut columns = Columns::new(&schema);
    let facts = RecordFacts { record, ..FACTS };
    Decoder::new(&schema, &Decoding::default()).append(
        &mut columns,
        Padded::copied(b"{}", &mut Vec::new()),
        &facts,
    )?;
    Ok(rows_of(&columns.freeze()).remove(0))
}

fn header(name: &str, value: Value) -> Value {
    Value::Row(vec![text(name), value])
}

#[test]
fn topic_key_and_headers_fill_their_columns() {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let record = Record { key: Some(b"\xff\x00"), log_append_time: Some(true), ..FACTS.record };
    let headers: [Header<'_>; 4] =
        [(b"a", Some(b"1")), (b"a", None), (b"b", Some(b"")), (b"a", Some(b"\xff"))];
    let row = facts_row(FACT_COLUMNS, record, &headers).unwrap();
    let kept = [("a", bytes(b"1")), ("a", Value::Null), ("b", bytes(b"")), ("a", bytes(b"\xff"))];
    let kept = kept.map(|(name, value)| header(name, value)).to_vec();
    assert_eq!(row, [text("orders"), text("LogAppendTime"), bytes(b"\xff\x00"), Value::List(kept)]);

    let record = Record { timestamp_ms: None, ..FACTS.record };
    let row = facts_row(FACT_COLUMNS, record, &[]).unwrap();
    assert_eq!(row, [text("orders"), Value::Null, Value::Null, Value::List(vec![])]);
    let record = Record { key: Some(b""), ..FACTS.record };
    assert_eq!(facts_row(FACT_COLUMNS, record, &[]).unwrap()[1..3], [text("CreateTime"), bytes(b"")]);
}

#[test]
fn keys_and_headers_that_are_declared_text_must_be_text() {
    let record = Record { key: Some("é".as_bytes()), ..FACTS.record };
    let row = facts_row(TEXT_COLUMNS, record, &[(b"h", Some(b"v")), (b"n", None)]).unwrap();
    assert_eq!(row, [text("é"), Value::List(vec![header("h", text("v")), header("n", Value::Null)])]);
    let bad_key = Record { key: Some(b"\xff"), ..FACTS.record };
    let bad = facts_row(TEXT_COLUMNS, bad_key, &[]).unwrap_err();
    assert_eq!((bad.reason, bad.detail.as_str()), (BadReason::Utf8, "`_key`: invalid UTF-8 at byte 0"));
    for headers in [[(&b"h"[..], Some(&b"v\xff"[..]))], [(b"\xff", None)]] {
        let bad = facts_row(TEXT_COLUMNS, record, &headers).unwrap_err();
        assert_eq!(bad.reason, BadReason::Utf8);
    }
    let bad = facts_row("_key BINARY NOT NULL", FACTS.record, &[]).unwrap_err();
    assert_eq!(bad.reason, BadReason::Missing);
}

// ------------------------------------------------------------------------------ what is not one row

/// As many rows as the payload has bytes; `?` needs a schema.
struct Bytes;

impl RecordFormat for Bytes {
    fn reader(&self, _: &Schema, _: &Decoding) -> AnyReader {
        AnyReader::Other(Box::new(Bytes))
    }
}

impl RecordReader for Bytes {
    fn read(
        &mut self,
        value: Option<Padded<'_>>,
        _: &RecordFacts<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<ReadRecord, BadRecord> {
        let payload = value.map(Padded::bytes).unwrap_or_default();
        for &byte in payload {
            rows.push(|columns, _| {
                assert!(columns[0].push_long(byte.into()), "`n` is BIGINT");
                Ok(())
            })?;
        }
        Ok(if payload == b"?" { ReadRecord::Needs(SchemaName("7".to_owned())) } else { rows.all() })
    }
}

#[test]
fn where_only_one_row_can_be_counted_nothing_else_passes_for_one() {
    let schema = Schema::from_ddl("n BIGINT").unwrap();
    let (mut decoder, mut columns) =
        (Decoder::of(&Bytes, &schema, &Decoding::default()), Columns::new(&schema));
    for (payload, expected) in [
        (&b"a"[..], None),
        (b"", Some("its format makes no row of it")),
        (b"ab", Some("it would be 2 rows, and must be one")),
        (b"?", Some("schema 7 is not known")),
        (b"b", None),
    ] {
        let appended = decoder
            .append(&mut columns, Padded::copied(payload, &mut Vec::new()), &FACTS)
            .map_err(|bad| bad.detail);
        assert_eq!(appended.err().as_deref(), expected);
    }
    assert_eq!(rows_of(&columns.freeze()), [[Value::Integer(97)], [Value::Integer(98)]]);
}
