use super::*;
use crate::config::RESCUED_COLUMN;

fn inferred(samples: &[&str]) -> Inferred {
    infer(samples.iter().map(|sample| sample.as_bytes()), &Decoding::default()).unwrap()
}

fn ddl(samples: &[&str]) -> String {
    inferred(samples).schema.to_string()
}

fn hints(samples: &[&str]) -> Vec<(String, String)> {
    inferred(samples).hints.into_iter().map(|hint| (hint.path, hint.text)).collect()
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
        r#"{"a":1,"b":"x","n":null,"e":[],"o":{},"big":1e400,"s":{"a":true,"b":1}}"#,
        r#"{"a":1,"b":2,"s":{"a":1},"m":[1,"x"]}"#,
    ];
    let expected = [
        ("b", "values of several types"),
        ("n", "always null"),
        ("e[]", "always empty"),
        ("o", "an object without columns"),
        ("big", "numbers beyond DOUBLE"),
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
    assert!(found.first_skipped.unwrap().starts_with("it was cut off"));
    let error = |samples: &[&str]| {
        infer(samples.iter().map(|sample| sample.as_bytes()), &Decoding::default()).unwrap_err()
    };
    assert_eq!(error(&[]), InferError::NoSamples);
    let none = error(&["{", "1"]).to_string();
    assert!(none.starts_with("none of 2 records is a JSON object; the first: it was cut off"), "{none}");
    let registry = error(&["\0\0\0\0\u{7}{}"]).to_string();
    assert!(registry.contains("schema registry (schema 7)"), "{registry}");
    assert_eq!(error(&["{}", r#"{"a":null}"#]), InferError::NoColumns { samples: 2 });
}

#[test]
fn an_object_used_as_a_dictionary_does_not_become_a_thousand_columns() {
    let members: Vec<String> = (0..1000).map(|n| format!("\"k{n}\":1")).collect();
    let found = inferred(&[&format!("{{{}}}", members.join(","))]);
    assert_eq!((found.schema.fields.len(), found.left_out.len()), (COLUMNS_MAX, 1000 - COLUMNS_MAX));
    let deep = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    assert_eq!(
        infer([deep.as_bytes()].into_iter(), &Decoding::default()),
        Err(InferError::NoColumns { samples: 1 })
    );
}

#[test]
fn every_usable_sample_fits_the_inferred_schema() {
    let samples = [
        r#"{"a":-9223372036854775808,"b":"x","c":[[1,2],[]],"d":{"e":[{"f":1e3},null]}}"#,
        r#"{"a":null,"b":7,"c":null,"d":{"e":[{"f":5,"g":"2024-06-10T06:13:20.5+02:00"}]}}"#,
        r#"{"d":null,"A":[],"c":[null],"i":-0,"l":18446744073709551616,"n":1e400,"t":"1.50"}"#,
        r#"{"i":9223372036854775807,"l":-99999999999999999999999999999999999999,"n":1,"x":-0.0,"t":"-20.5"}"#,
    ];
    fit(&samples, inferred(&samples).schema);
}

/// Every sample becomes a row.
fn fit(samples: &[&str], mut schema: Schema) {
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
        r#"{"at":null,"text":"soon","s":{"other":1e400}}"#,
    ];
    let samples = samples.iter().map(|sample| sample.as_bytes());
    let decoding = Decoding { timestamps: BTreeMap::from(declared), ..Decoding::default() };
    let found = infer(samples, &decoding).unwrap();
    assert_eq!(
        found.schema.to_string(),
        "at TIMESTAMP, s STRUCT<at: TIMESTAMP>, l ARRAY<STRUCT<at: TIMESTAMP>>, text STRING"
    );
    let left: Vec<&str> = found.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["s.other", "late"]);
}

#[test]
fn integers_keep_every_digit() {
    let ids: Vec<String> = (0..50).map(|n| format!("{{\"id\":184467440737095516{:02}}}", 16 + n)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(ddl(&ids), "id DECIMAL(38, 0)", "fifty ids were one DOUBLE");
    fit(&ids, inferred(&ids).schema);
    assert_eq!(ddl(&[r#"{"id":9223372036854775807}"#, r#"{"id":-0}"#]), "id BIGINT");
    assert_eq!(ddl(&[r#"{"id":1}"#, r#"{"id":9223372036854775808}"#]), "id DECIMAL(38, 0)");
    let too_long = [r#"{"a":1,"id":1}"#, r#"{"id":100000000000000000000000000000000000000}"#];
    assert_eq!(left_out(&too_long), [("id".to_owned(), "integers beyond DECIMAL(38, 0)")]);
}

#[test]
fn integers_beside_fractions_are_a_double_where_it_keeps_them() {
    assert_eq!(ddl(&[r#"{"x":1}"#, r#"{"x":1.5}"#, r#"{"x":9007199254740992}"#]), "x DOUBLE");
    assert_eq!(
        ddl(&[r#"{"x":1e30}"#, r#"{"x":100000000000000000000}"#]),
        "x DOUBLE",
        "as JavaScript writes it"
    );
    for id in ["9007199254740993", "18446744073709551617"] {
        let samples = [r#"{"a":1,"x":1.5}"#, &format!("{{\"x\":{id}}}")];
        let reason = "integers that a DOUBLE would round, beside fractions";
        assert_eq!(left_out(&samples), [("x".to_owned(), reason)]);
    }
}

#[test]
fn a_number_beyond_double_makes_no_record_unreadable() {
    let found = inferred(&[r#"{"a":1,"x":1e400}"#, r#"{"a":2,"x":1}"#, r#"{"a":3,"x":1e-400,"y":1e-400}"#]);
    assert_eq!((found.samples_used, found.samples_skipped), (3, 0));
    assert_eq!(found.schema.to_string(), "a BIGINT, y DOUBLE");
}

#[test]
fn what_the_decoder_refuses_is_no_sample() {
    let decoding = Decoding { max_depth: 2, max_record_size: 60, ..Decoding::default() };
    let long = format!("{{\"c\":\"{}\"}}", "x".repeat(60));
    let samples =
        [r#"{"a":[1]}"#, r#"{"b":[[1]]}"#, &long, r#"{"d":"\ud800"}"#, r#"{"e":01}"#, r#"{"f":1}{}"#];
    let found = infer(samples.into_iter().map(str::as_bytes), &decoding).unwrap();
    assert_eq!((found.samples_used, found.samples_skipped), (1, 5));
    assert_eq!(found.schema.to_string(), "a ARRAY<BIGINT>");
}

#[test]
fn columns_that_may_be_meant_otherwise_are_hinted_at() {
    let samples = [
        r#"{"ms":1718000000123,"s":1718000000,"us":1718000000123456,"price":"12.50","zip":"00123","n":1718000000}"#,
        r#"{"ms":1719000000123,"s":1718000000.25,"us":1718000000123457,"price":"-7.125","zip":"12345","n":7}"#,
    ];
    let found = hints(&samples);
    let of = |path: &str| {
        found.iter().find(|(at, _)| at == path).map(|(_, text)| text.as_str()).unwrap_or_default()
    };
    assert!(of("ms").contains("2024-06-10 to 2024-06-21"), "{found:?}");
    assert!(of("ms").ends_with(r#"timestamps = { ms = "ms" }"#), "{found:?}");
    assert!(of("s").ends_with(r#"timestamps = { s = "s" }"#), "{found:?}");
    assert!(of("us").ends_with(r#"timestamps = { us = "us" }"#), "{found:?}");
    assert!(of("price").ends_with("DECIMAL(5, 3)"), "{found:?}");
    assert_eq!(found.len(), 5, "and `n` may get fractions: {found:?}");
    assert!(of("n").contains("fraction"), "{found:?}");
    let ids = hints(&[r#"{"id":1,"user_id":2,"orderId":3,"big":18446744073709551616,"l":[{"count":1}]}"#]);
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(ids[0].0 == "big" && ids[0].1.contains("DECIMAL(38, 0)"), "{ids:?}");
}

#[test]
fn a_hint_names_the_map_that_an_object_with_many_keys_may_be() {
    let samples: Vec<String> = (0..20)
        .map(|n| format!("{{\"id\":1,\"totals\":{{\"user{n}\":{n},\"user{}\":0.5}}}}", n + 1))
        .collect();
    let samples: Vec<&str> = samples.iter().map(String::as_str).collect();
    let found = hints(&samples);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0 == "totals" && found[0].1.contains("MAP<STRING, DOUBLE>"), "{found:?}");
    let fields: Vec<String> = (0..20).map(|n| format!("\"f{n}\":\"x\"")).collect();
    let wide = format!("{{\"o\":{{{}}}}}", fields.join(","));
    assert_eq!(hints(&[&wide]), [], "all of them in every record: a wide object");
}
