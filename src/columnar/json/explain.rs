//! Plain words for a payload that is no JSON object.
//!
//! It owns what is recognised (a schema registry's bytes, another encoding,
//! compression, several documents) and what a person does about it. It is
//! asked about bad records only, takes time for a payload's length, and shows
//! nothing of what the payload holds.

use serde::de::IgnoredAny;

use super::super::bad::{BadReason, BadRecord, invalid_utf8};

/// A payload that is not UTF-8.
#[cold]
pub(super) fn not_utf8(payload: &[u8], error: std::str::Utf8Error) -> BadRecord {
    let bad = invalid_utf8(error);
    BadRecord { detail: recognised(payload).unwrap_or(bad.detail), ..bad }
}

/// A payload that is no JSON.
#[cold]
pub(super) fn no_json(payload: &[u8]) -> BadRecord {
    let detail = recognised(payload).or_else(|| documents(payload)).unwrap_or_else(|| grammar(payload));
    BadRecord { reason: BadReason::Syntax, detail }
}

/// A payload that is `found`, which is no object.
#[cold]
pub(super) fn no_object(payload: &[u8], found: &str) -> String {
    let expected = format!("expected an object, found {found}");
    match payload.trim_ascii_start().first() {
        Some(b'[') => match serde_json::from_slice::<Vec<IgnoredAny>>(payload) {
            Ok(elements) => {
                format!("{expected} of {}: let the producer send each element as a record", elements.len())
            }
            Err(_) => expected,
        },
        Some(b'"') if holds_an_object(payload) => {
            format!(
                "{expected} that holds a JSON object: the producer encodes it twice, let it send the object"
            )
        }
        _ => expected,
    }
}

fn holds_an_object(payload: &[u8]) -> bool {
    let text = serde_json::from_slice::<String>(payload).unwrap_or_default();
    text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(&text).is_ok()
}

// ----------------------------------------------------------------- what is recognised by its bytes

/// What the first bytes of other formats are called, and what they are.
const COMPRESSED: [(&[u8], &str); 12] = [
    (&[0x1F, 0x8B], "gzip"),
    (&[0x28, 0xB5, 0x2F, 0xFD], "zstd"),
    (&[0x04, 0x22, 0x4D, 0x18], "lz4"),
    (b"\x82SNAPPY\0", "snappy"),
    (&[0xFF, 0x06, 0x00, 0x00, b's', b'N', b'a', b'P', b'p', b'Y'], "snappy"),
    (&[0x78, 0x01], "zlib"),
    (&[0x78, 0x5E], "zlib"),
    (&[0x78, 0x9C], "zlib"),
    (&[0x78, 0xDA], "zlib"),
    (b"BZh", "bzip2"),
    (&[0xFD, b'7', b'z', b'X', b'Z', 0x00], "xz"),
    (b"PK\x03\x04", "zip"),
];

const OTHER_FORMATS: [(&[u8], &str); 4] = [
    (b"Obj\x01", "an Avro file"),
    (b"PAR1", "a Parquet file"),
    (&[0xAC, 0xED, 0x00, 0x05], "a serialized object of Java"),
    (b"<", "XML or HTML"),
];

const KEEP_BYTES: &str = "or keep the bytes as they are with format = \"raw\"";

fn recognised(payload: &[u8]) -> Option<String> {
    if payload.trim_ascii().is_empty() {
        let what = if payload.is_empty() { "it is empty" } else { "it is nothing but white space" };
        return Some(format!("{what}: a record without a value (null) is a tombstone and makes no row"));
    }
    if payload.iter().all(|byte| *byte == 0) {
        let bytes = payload.len();
        return Some(format!(
            "it is nothing but NUL bytes ({bytes}): the producer sent a buffer that it did not fill"
        ));
    }
    encoding(payload).or_else(|| registry(payload)).or_else(|| other_format(payload)).or_else(|| nul(payload))
}

/// A byte order mark, or text in wider units than bytes.
fn encoding(payload: &[u8]) -> Option<String> {
    let utf8 = "let the producer write UTF-8 without a byte order mark";
    let wide = |name: &str| Some(format!("it is {name}: {utf8}"));
    match payload {
        [0xEF, 0xBB, 0xBF, ..] => Some(format!("a byte order mark stands before the JSON: {utf8}")),
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => wide("UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => wide("UTF-16"),
        [1..=0x7F, 0, 0, 0, ..] => wide("UTF-32"),
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] if *first != 0 && *second != 0 => {
            wide("UTF-16")
        }
        _ => None,
    }
}

/// The prefix that serializers of schema registries write.
fn registry(payload: &[u8]) -> Option<String> {
    let is_object = |rest: &[u8]| rest.trim_ascii_start().first() == Some(&b'{');
    let (prefix, schema, rest) = match payload {
        [3, 0 | 5, rest @ ..] if rest.len() >= 16 => {
            ("18 bytes of the Glue schema registry", String::new(), &rest[16..])
        }
        [0, a, b, c, d, rest @ ..] => {
            let id = u32::from_be_bytes([*a, *b, *c, *d]);
            match rest {
                [e, f, g, h, rest @ ..] if id == 0 && is_object(rest) => {
                    let id = u32::from_be_bytes([*e, *f, *g, *h]);
                    ("nine bytes of a schema registry", format!(" (schema {id})"), rest)
                }
                _ => ("five bytes of a schema registry", format!(" (schema {id})"), rest),
            }
        }
        _ => return None,
    };
    Some(match is_object(rest) {
        true => format!(
            "{prefix}{schema} stand before the JSON: let the producer serialize without the registry, {KEEP_BYTES}"
        ),
        false => format!(
            "it begins with {prefix}{schema}, and no JSON follows: Avro and Protobuf are not read, let the \
             producer write JSON, {KEEP_BYTES}"
        ),
    })
}

fn other_format(payload: &[u8]) -> Option<String> {
    let of = |known: &[(&[u8], &'static str)]| {
        known.iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, name)| *name)
    };
    if let Some(name) = of(&COMPRESSED) {
        return Some(format!(
            "it is compressed ({name}): let the producer send plain JSON and set Kafka's own \
             `compression.type`, {KEEP_BYTES}"
        ));
    }
    of(&OTHER_FORMATS).map(|name| format!("it begins like {name}: let the producer write JSON, {KEEP_BYTES}"))
}

fn nul(payload: &[u8]) -> Option<String> {
    let at = payload.iter().position(|byte| *byte == 0)?;
    Some(match payload[at..].iter().all(|byte| *byte == 0) {
        true => format!(
            "NUL bytes stand behind the JSON, from byte {at} on: let the producer send the text without its terminator"
        ),
        false => {
            format!(
                "a NUL byte at byte {at}: this is not text, or it is JSON in which NUL must be written \\u0000"
            )
        }
    })
}

// ----------------------------------------------------------------- JSON that is not one document

/// One document behind the other, as in a file of lines.
fn documents(payload: &[u8]) -> Option<String> {
    if payload.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let mut documents = serde_json::Deserializer::from_slice(payload).into_iter::<IgnoredAny>();
    let whole = documents.by_ref().take_while(Result::is_ok).count();
    let end = documents.byte_offset();
    let is_all = payload[end.min(payload.len())..].trim_ascii().is_empty();
    (whole > 1 && is_all).then(|| {
        format!("{whole} JSON documents in one value: let the producer send each of them as a record")
    })
}

/// What the grammar has against it.
fn grammar(payload: &[u8]) -> String {
    match serde_json::from_slice::<IgnoredAny>(payload) {
        // It looks at no escape more closely than at its form.
        Ok(_) => "half a surrogate pair in a string".to_owned(),
        Err(error) => {
            let text = error.to_string();
            let message = text.split(" at line ").next().unwrap_or_default();
            let plain = plain(message, at(payload, &error));
            format!("{plain} at line {} column {}", error.line(), error.column())
        }
    }
}

/// What stands where an error was found.
fn at<'p>(payload: &'p [u8], error: &serde_json::Error) -> &'p [u8] {
    let line = payload.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    line.get(error.column().saturating_sub(1)..).unwrap_or_default()
}

/// The messages of `serde_json` for people who do not parse JSON; they hold nothing of the payload.
fn plain<'m>(message: &'m str, at: &[u8]) -> &'m str {
    match message {
        "expected value" | "key must be a string" | "invalid number" => match at {
            [b'\'', ..] => "single quotes: JSON has double quotes,",
            [b'N', b'a', ..] | [b'I', b'n', ..] => "NaN and Infinity are no numbers of JSON,",
            [b'T' | b'F' | b'N', ..] => "True, False and None are Python's: JSON has true, false and null,",
            [b'/' | b'#', ..] => "a comment, which JSON does not have,",
            _ if message == "expected value" => "a value is missing, or is no JSON,",
            _ if message == "invalid number" => "a number that JSON does not allow,",
            [b'}', ..] => "a comma with nothing behind it,",
            _ => "a name without double quotes,",
        },
        "expected ident" => "a word that is not true, false or null,",
        "trailing comma" => "a comma with nothing behind it,",
        "trailing characters" => "something follows the JSON,",
        "expected `:`" => "no `:` behind a name,",
        "expected `,` or `}`" => "neither `,` nor `}` behind a member of an object,",
        "expected `,` or `]`" => "neither `,` nor `]` behind an element of an array,",
        "EOF while parsing a value" => "it was cut off where a value is due,",
        "EOF while parsing an object" => "it was cut off inside of an object,",
        "EOF while parsing a list" => "it was cut off inside of an array,",
        "EOF while parsing a string" => "it was cut off inside of a string,",
        "invalid escape" => "an escape that JSON does not have,",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "half a surrogate pair in a string,"
        }
        _ if message.starts_with("control character") => "a control character in a string, not escaped,",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columnar::{Columns, Decoder, RecordFacts};
    use crate::config::Decoding;
    use crate::ids::Offset;
    use crate::record::{Padded, Record};
    use crate::schema::Schema;

    fn refused(payload: &[u8]) -> BadRecord {
        let schema = Schema::from_ddl("other INT").unwrap();
        let facts = RecordFacts { topic: "t", partition: 0, record: Record::bare(Offset(0)) };
        let mut decoder = Decoder::new(&schema, &Decoding::default());
        decoder
            .append(&mut Columns::new(&schema), Padded::copied(payload, &mut Vec::new()), &facts)
            .unwrap_err()
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn what_stands_before_or_around_the_json_is_named_with_its_remedy() {
        let json = br#"{"a":1}"#;
        let behind = |prefix: &[u8]| [prefix, json].concat();
        const RAW: &str = "format = \"raw\"";
        let cases: Vec<(Vec<u8>, BadReason, &[&str])> = vec![
            (
                behind(&[0, 0, 0, 0, 7]),
                BadReason::Syntax,
                &["five bytes of a schema registry (schema 7)", RAW],
            ),
            (behind(&[0, 0, 0, 0, 0, 0, 0, 0, 7]), BadReason::Syntax, &["nine bytes", "(schema 7)"]),
            (behind(&[[3, 0].as_slice(), &[9; 16]].concat()), BadReason::Syntax, &["Glue"]),
            (vec![0, 0, 0, 1, 0, 2, 8, 8], BadReason::Syntax, &["(schema 256)", "Avro and Protobuf", RAW]),
            (vec![0, 0, 0, 1, 0, 0xFE, 0xFF], BadReason::Utf8, &["(schema 256)", "Avro and Protobuf", RAW]),
            (behind(b"\xEF\xBB\xBF"), BadReason::Syntax, &["byte order mark", "UTF-8 without"]),
            (behind(b"\xEF\xBB\xBF\n"), BadReason::Syntax, &["byte order mark"]),
            (utf16(r#"{"a":1}"#, u16::to_le_bytes), BadReason::Syntax, &["UTF-16", "UTF-8 without"]),
            (utf16(r#"{"a":1}"#, u16::to_be_bytes), BadReason::Syntax, &["UTF-16"]),
            (utf16("\u{FEFF}{}", u16::to_le_bytes), BadReason::Utf8, &["UTF-16"]),
            (utf16("\u{FEFF}{}", u16::to_be_bytes), BadReason::Utf8, &["UTF-16"]),
            (b"{\0\0\0\"\0\0\0".to_vec(), BadReason::Syntax, &["UTF-32"]),
            (b"\x1F\x8B\x08\0\0\0\0\0".to_vec(), BadReason::Utf8, &["gzip", "compression.type", RAW]),
            (b"\x28\xB5\x2F\xFD\x04\x00".to_vec(), BadReason::Utf8, &["zstd"]),
            (b"\x04\x22\x4D\x18\x40".to_vec(), BadReason::Syntax, &["lz4"]),
            (b"\x82SNAPPY\0\0".to_vec(), BadReason::Utf8, &["snappy"]),
            (b"\x78\x9C\xAB".to_vec(), BadReason::Utf8, &["zlib"]),
            (b"Obj\x01\x04".to_vec(), BadReason::Syntax, &["Avro file"]),
            (b"<a>1</a>".to_vec(), BadReason::Syntax, &["XML"]),
            (
                [json.as_slice(), b"\0"].concat(),
                BadReason::Syntax,
                &["NUL bytes stand behind the JSON, from byte 7"],
            ),
            (b"{\"a\":\0 1}".to_vec(), BadReason::Syntax, &["a NUL byte at byte 5"]),
            (vec![0; 10], BadReason::Syntax, &["nothing but NUL bytes (10)"]),
            (b"".to_vec(), BadReason::Syntax, &["it is empty", "tombstone"]),
            (b" \n".to_vec(), BadReason::Syntax, &["white space"]),
            (
                b"{\"a\":1}\n{\"a\":2}\n".to_vec(),
                BadReason::Syntax,
                &["2 JSON documents in one value", "each"],
            ),
            (br#"{"a":1}{"a":2} [3]"#.to_vec(), BadReason::Syntax, &["3 JSON documents in one value"]),
            (
                br#"[{"a":1},{"a":2}]"#.to_vec(),
                BadReason::NotObject,
                &["found an array of 2", "each element"],
            ),
            (br#"[{"a":1}"#.to_vec(), BadReason::NotObject, &["found an array"]),
            (br#""{\"a\":1}""#.to_vec(), BadReason::NotObject, &["found a string", "twice"]),
        ];
        for (payload, reason, words) in cases {
            let bad = refused(&payload);
            assert_eq!(bad.reason, reason, "{bad}");
            assert!(words.iter().all(|word| bad.detail.contains(word)), "{words:?} of {payload:?}: {bad}");
            assert!(bad.detail.chars().count() < 250 && !bad.detail.contains('\n'), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_in_the_grammar_is_said_in_plain_words() {
        let cases = [
            ("text", "a word that is not true, false or null, at line 1 column 2"),
            ("hello", "a value is missing, or is no JSON, at line 1 column 1"),
            ("{'a':1}", "single quotes: JSON has double quotes, at line 1 column 2"),
            (r#"{"a":NaN}"#, "NaN and Infinity are no numbers of JSON, at line 1 column 6"),
            (
                r#"{"a":None}"#,
                "True, False and None are Python's: JSON has true, false and null, at line 1 column 6",
            ),
            ("{\"a\":1,\n b:2}", "a name without double quotes, at line 2 column 2"),
            (r#"{"a":1,}"#, "a comma with nothing behind it, at line 1 column 8"),
            (r#"{"a" 1}"#, "no `:` behind a name, at line 1 column 6"),
            (r#"{"a":[1 2]}"#, "neither `,` nor `]` behind an element of an array, at line 1 column 9"),
            (r#"{"a":"x"#, "it was cut off inside of a string, at line 1 column 7"),
            (r#"{"a":1} x"#, "something follows the JSON, at line 1 column 9"),
            (r#"{"a":01}"#, "a number that JSON does not allow, at line 1 column 7"),
            ("{\"a\":\"\t\"}", "a control character in a string, not escaped, at line 1 column 6"),
            (r#"{"a":"\x"}"#, "an escape that JSON does not have, at line 1 column 8"),
        ];
        for (payload, detail) in cases {
            assert_eq!(refused(payload.as_bytes()).detail, detail, "{payload}");
        }
    }
}
