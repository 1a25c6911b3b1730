//! Payloads for the columns of a table, judged by serde_json.
//!
//! The first byte chooses the table, the rest are payloads with a record
//! separator (0x1E) between them: one decoder reads them in turn, for it
//! remembers the shape of what it read.
//!
//! | serde_json | ours |
//! |---|---|
//! | refuses a number beyond a double | takes it where no column wants a double |
//! | takes 127 containers inside each other | the same |
//! | keeps the last of equal keys | the same, but the value of each must fit |

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thalweg::columnar::{Columns, Decoder, RecordFacts};
use thalweg::config::{Decoding, OnNewField};
use thalweg::ids::Offset;
use thalweg::record::{Padded, Record};
use thalweg::schema::{DataType, Field, Schema};

use crate::cells::{Cell, rows_of};

const DEPTH_MAX: usize = 127;
const SEPARATOR: u8 = 0x1E;

const TABLES: [(&str, OnNewField); 6] = [
    ("_rescued STRING", OnNewField::Rescue),
    (
        "id BIGINT, name STRING, ok BOOLEAN, score DOUBLE, tags ARRAY<STRING>, \
         actor STRUCT<id: BIGINT, login: STRING NOT NULL>, m MAP<STRING, BIGINT>, _rescued STRING",
        OnNewField::Rescue,
    ),
    (
        "a TINYINT, b SMALLINT, c INT NOT NULL, d FLOAT, e DECIMAL(10, 2), f DECIMAL(38, 10)",
        OnNewField::Ignore,
    ),
    (
        "x ARRAY<ARRAY<STRUCT<y: MAP<STRING, ARRAY<DOUBLE>>>>>, s STRUCT<s: STRUCT<s: STRUCT<t: STRING>>>",
        OnNewField::Ignore,
    ),
    ("a INT, b STRUCT<c: STRING, d: ARRAY<STRUCT<e: BOOLEAN>>>", OnNewField::Fail),
    ("t TIMESTAMP, d DATE, b BINARY, s STRING", OnNewField::Ignore),
];

pub fn check(data: &[u8]) {
    let Some((&choice, payloads)) = data.split_first() else { return };
    let (ddl, on_new_field) = TABLES[usize::from(choice) % TABLES.len()];
    let schema = Schema::from_ddl(ddl).unwrap();
    let decoding = Decoding { on_new_field, ..Decoding::default() };
    let mut decoder = Decoder::new(&schema, &decoding);
    let mut columns = Columns::new(&schema);
    let mut expected = Vec::new();
    for (number, payload) in payloads.split(|&byte| byte == SEPARATOR).enumerate() {
        let facts = RecordFacts { topic: "t", partition: 0, record: Record::bare(Offset(number as i64)) };
        let outcome = decoder.append(&mut columns, Padded::copied(payload, &mut Vec::new()), &facts);
        let row = match Tree::parse(payload) {
            Some(Tree::Object(members)) => row(&members, &schema.fields, on_new_field),
            _ => None,
        };
        let text = String::from_utf8_lossy(payload);
        assert_eq!(outcome.is_ok(), row.is_some(), "{outcome:?} for {text:?} of {ddl}");
        if let Err(bad) = outcome {
            assert!(bad.detail.chars().count() < 400, "{}", bad.detail);
            assert!(!bad.detail.chars().any(char::is_control), "{:?}", bad.detail);
        }
        expected.extend(row.map(|row| (row, rescued_at_the_top(payload, &schema))));
    }
    let rows = rows_of(&columns.freeze());
    assert_eq!(rows.len(), expected.len());
    for (mut row, (mut expected, unknown)) in rows.into_iter().zip(expected) {
        if on_new_field == OnNewField::Rescue {
            same_rescued(&row.pop().unwrap(), &unknown, schema.fields.len() == 1);
            expected.pop();
        }
        for (cell, expected) in row.into_iter().zip(expected) {
            assert_eq!(cell, expected);
        }
    }
}

/// The values at the top that no column has, as they were written, the last of equal keys; no nulls.
fn rescued_at_the_top(payload: &[u8], schema: &Schema) -> Vec<String> {
    let Ok(Members(members)) = serde_json::from_slice::<Members<'_>>(payload) else { return Vec::new() };
    let mut unknown: Vec<(String, String)> = Vec::new();
    for (name, value) in members {
        if name == "_rescued" || schema.field(&name).is_none() {
            unknown.retain(|(other, _)| *other != name);
            unknown.push((name, value.get().to_owned()));
        }
    }
    let mut values: Vec<String> =
        unknown.into_iter().map(|(_, value)| value).filter(|value| value != "null").collect();
    values.sort();
    values
}

fn same_rescued(cell: &Cell, unknown: &[String], nothing_below: bool) {
    let values = match cell {
        Cell::Null => Vec::new(),
        Cell::Text(text) => {
            let Members(members) = serde_json::from_str(text).expect("rescued members are an object");
            assert!(!members.is_empty(), "an empty object is null");
            let mut values: Vec<String> =
                members.into_iter().map(|(_, value)| value.get().to_owned()).collect();
            assert!(!values.iter().any(|value| value == "null"), "a null is nothing to rescue: {text}");
            values.sort();
            values
        }
        other => panic!("{other:?}"),
    };
    if nothing_below {
        assert_eq!(values, unknown);
    } else {
        assert!(unknown.iter().all(|value| values.contains(value)), "{unknown:?} in {values:?}");
    }
}

/// JSON with everything that the text says: equal keys, the text of numbers.
enum Tree {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// `None`: not JSON, as serde_json says, but for numbers that only a double finds too large.
    fn parse(payload: &[u8]) -> Option<Tree> {
        let text = std::str::from_utf8(payload).ok()?;
        match serde_json::from_str::<serde_json::Value>(text) {
            Err(error) if !error.to_string().starts_with("number out of range") => None,
            _ => Tree::of(text.trim_matches([' ', '\t', '\n', '\r']), 1),
        }
    }

    fn of(text: &str, depth: usize) -> Option<Tree> {
        let container = text.starts_with(['[', '{']);
        if container && depth > DEPTH_MAX {
            return None;
        }
        Some(match text.as_bytes().first()? {
            b'n' => Tree::Null,
            b't' => Tree::Boolean(true),
            b'f' => Tree::Boolean(false),
            b'"' => Tree::Text(serde_json::from_str(text).ok()?),
            b'[' => {
                let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let value = |value: &RawValue| Tree::of(value.get(), depth + 1);
                Tree::List(values.into_iter().map(value).collect::<Option<_>>()?)
            }
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let pair = |(key, value): (String, &RawValue)| Some((key, Tree::of(value.get(), depth + 1)?));
                Tree::Object(members.into_iter().map(pair).collect::<Option<_>>()?)
            }
            _ => Tree::Number(text.to_owned()),
        })
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
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

/// What the columns must hold; `None`: the record does not fit. `_rescued` is judged apart.
fn row(members: &[(String, Tree)], fields: &[Field], on_new_field: OnNewField) -> Option<Vec<Cell>> {
    let mut row = vec![None; fields.len()];
    for (name, tree) in members {
        match fields.iter().position(|field| field.name == *name && name != "_rescued") {
            Some(index) => {
                let field = &fields[index];
                row[index] = Some(value(tree, &field.data_type, field.nullable, on_new_field)?);
            }
            None if on_new_field == OnNewField::Fail => return None,
            None => {}
        }
    }
    let missing = |(cell, field): (Option<Cell>, &Field)| cell.or(field.nullable.then_some(Cell::Null));
    row.into_iter().zip(fields).map(missing).collect()
}

fn value(tree: &Tree, data_type: &DataType, nullable: bool, policy: OnNewField) -> Option<Cell> {
    let int = |number: &str, min: i128, max: i128| {
        let value = number.parse::<i128>().ok()?;
        (min..=max).contains(&value).then_some(Cell::Integer(value))
    };
    Some(match (tree, data_type) {
        (Tree::Null, _) => return nullable.then_some(Cell::Null),
        (Tree::Boolean(value), DataType::Boolean) => Cell::Boolean(*value),
        (Tree::Number(n), DataType::Byte) => int(n, i8::MIN.into(), i8::MAX.into())?,
        (Tree::Number(n), DataType::Short) => int(n, i16::MIN.into(), i16::MAX.into())?,
        (Tree::Number(n), DataType::Integer) => int(n, i32::MIN.into(), i32::MAX.into())?,
        (Tree::Number(n), DataType::Long) => int(n, i64::MIN.into(), i64::MAX.into())?,
        (Tree::Number(n), DataType::Double) => {
            Cell::Float(n.parse::<f64>().ok().filter(|v| v.is_finite())?.to_bits())
        }
        (Tree::Number(n), DataType::Float) => {
            Cell::Float(f64::from(n.parse::<f32>().ok().filter(|v| v.is_finite())?).to_bits())
        }
        (Tree::Number(n) | Tree::Text(n), DataType::Decimal { precision, scale }) => {
            Cell::Integer(exact(n, *precision, *scale)?)
        }
        (Tree::Text(text), DataType::String) => Cell::Text(text.clone()),
        (Tree::Text(text), DataType::Date) => Cell::Integer(date(text)?),
        (Tree::Text(text), DataType::Timestamp) => Cell::Integer(timestamp(text)?),
        (Tree::Text(text), DataType::Binary) => Cell::Bytes(base64(text)?),
        (Tree::List(values), DataType::Array { element, contains_null }) => Cell::List(
            values.iter().map(|tree| value(tree, element, *contains_null, policy)).collect::<Option<_>>()?,
        ),
        (Tree::Object(members), DataType::Struct(fields)) => Cell::Row(row(members, fields, policy)?),
        (Tree::Object(members), DataType::Map { value: of, value_contains_null, .. }) => {
            let mut entries: Vec<(Cell, Cell)> = Vec::new();
            for (name, tree) in members {
                let key = Cell::Text(name.clone());
                entries.retain(|(other, _)| *other != key);
                entries.push((key, value(tree, of, *value_contains_null, policy)?));
            }
            Cell::Map(entries)
        }
        _ => return None,
    })
}

/// Long division of text: the digits around the point moved by `scale + exponent`.
fn exact(number: &str, precision: u8, scale: u8) -> Option<i128> {
    serde_json::from_str::<&RawValue>(number)
        .ok()
        .filter(|raw| raw.get() == number && number.starts_with(|c: char| c == '-' || c.is_ascii_digit()))?;
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let far = 1 << 40;
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { -far } else { far });
    let shift = exponent.clamp(-far, far) + i64::from(scale) - fraction.len() as i64;
    let moved = if shift >= 0 {
        let length = usize::try_from(shift).ok()?.checked_add(digits.len())?;
        (length <= usize::from(precision)).then(|| format!("{digits}{}", "0".repeat(shift as usize)))?
    } else {
        let cut = digits.len().checked_sub(shift.unsigned_abs() as usize).filter(|cut| *cut > 0)?;
        digits[cut..].bytes().all(|b| b == b'0').then(|| digits[..cut].to_owned())?
    };
    let value: i128 = (moved.len() <= usize::from(precision)).then(|| moved.parse().unwrap())?;
    Some(if number.starts_with('-') { -value } else { value })
}

/// `YYYY-MM-DD` of the years 0001 to 9999.
fn date(text: &str) -> Option<i128> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let day: jiff::civil::Date = shape.then(|| text.parse().ok())??;
    let epoch = jiff::civil::date(1970, 1, 1);
    (day.year() >= 1).then(|| i128::from(epoch.until(day).unwrap().get_days()))
}

/// RFC 3339, and what else is documented: a space for the `T`, no offset, `+HHMM`, `+HH`, a leap second.
fn timestamp(text: &str) -> Option<i128> {
    let (day, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone);
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, rest)| (time, Some(rest)));
    let [hour, minute, second] = numbers(time.split(':'))?;
    let micros = match fraction {
        None => 0,
        Some(fraction) => {
            let good = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
            good.then(|| format!("{fraction:0<6}")[..6].parse::<i128>().unwrap())?
        }
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = date(day)? * 86_400 + hour * 3600 + minute * 60 + second.min(59) - offset(zone)? * 60;
    let micros = seconds * 1_000_000 + micros;
    (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&micros).then_some(micros)
}

/// Minutes.
fn offset(zone: &str) -> Option<i128> {
    if zone.is_empty() || zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("-", zone) => (-1, zone),
        ("+", zone) => (1, zone),
        _ => return None,
    };
    let [hours, minutes] = match zone.len() {
        2 => numbers([zone, "00"].into_iter())?,
        4 => numbers([zone.get(..2)?, zone.get(2..)?].into_iter())?,
        _ => numbers(zone.split(':'))?,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// So many numbers of two digits each.
fn numbers<'a, const COUNT: usize>(parts: impl Iterator<Item = &'a str>) -> Option<[i128; COUNT]> {
    let number = |part: &str| {
        let good = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| part.parse::<i128>().unwrap())
    };
    parts.map(number).collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Of the standard alphabet, padded to whole groups or not at all.
fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let bare = text.trim_end_matches('=');
    let padding = text.len() - bare.len();
    if padding > 2 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config).decode(bare).ok()
}
