//! `typed`: W1's records by sonic-rs into a struct, and that into plain vectors: the least that a table needs.
//!
//! Owns that one stage, run so often that callgrind can tell what a row costs.
//! The rows are those of `benches/instructions.rs`, a line each, so that the counts compare.
//! A struct that borrows every string and lacks nothing is the fastest; rows with
//! escapes or without some keys need one that knows of both.
//!
//! usage: typed FILE PASSES

use std::borrow::Cow;

use serde::Deserialize;

/// Each key is there, and strings borrow from the record.
#[derive(Deserialize)]
struct Click<'a> {
    id: i64,
    user_id: i64,
    ts: i64,
    event_type: &'a str,
    page: &'a str,
    country: &'a str,
    device: &'a str,
    price: f64,
    qty: i64,
    ok: bool,
}

/// Keys may be missing, and strings may have escapes.
#[derive(Deserialize)]
struct Loose<'a> {
    id: Option<i64>,
    user_id: Option<i64>,
    ts: Option<i64>,
    #[serde(borrow)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    page: Option<Cow<'a, str>>,
    #[serde(borrow)]
    country: Option<Cow<'a, str>>,
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    price: Option<f64>,
    qty: Option<i64>,
    ok: Option<bool>,
}

#[derive(Default)]
struct Columns {
    integers: [Vec<i64>; 4],
    strings: [(Vec<u8>, Vec<i32>); 4],
    doubles: Vec<f64>,
    flags: Vec<bool>,
    /// By column: which rows have a value.
    valid: [Vec<bool>; 10],
}

impl Columns {
    fn append_loose(&mut self, row: &Loose<'_>) {
        let integers = [row.id, row.user_id, row.ts, row.qty];
        let strings = [&row.event_type, &row.page, &row.country, &row.device];
        let valid = integers.map(|value| value.is_some()).into_iter();
        let valid = valid.chain(strings.map(Option::is_some)).chain([row.price.is_some(), row.ok.is_some()]);
        self.valid.iter_mut().zip(valid).for_each(|(column, is_there)| column.push(is_there));
        self.append(&Click {
            id: row.id.unwrap_or_default(),
            user_id: row.user_id.unwrap_or_default(),
            ts: row.ts.unwrap_or_default(),
            event_type: strings[0].as_deref().unwrap_or_default(),
            page: strings[1].as_deref().unwrap_or_default(),
            country: strings[2].as_deref().unwrap_or_default(),
            device: strings[3].as_deref().unwrap_or_default(),
            price: row.price.unwrap_or_default(),
            qty: row.qty.unwrap_or_default(),
            ok: row.ok.unwrap_or_default(),
        });
    }

    fn append(&mut self, row: &Click<'_>) {
        for (column, value) in self.integers.iter_mut().zip([row.id, row.user_id, row.ts, row.qty]) {
            column.push(value);
        }
        let strings = [row.event_type, row.page, row.country, row.device];
        for ((bytes, ends), value) in self.strings.iter_mut().zip(strings) {
            bytes.extend_from_slice(value.as_bytes());
            ends.push(bytes.len() as i32);
        }
        self.doubles.push(row.price);
        self.flags.push(row.ok);
    }

    /// The memory stays.
    fn clear(&mut self) {
        self.integers.iter_mut().for_each(Vec::clear);
        for (bytes, ends) in &mut self.strings {
            bytes.clear();
            ends.clear();
        }
        self.doubles.clear();
        self.flags.clear();
        self.valid.iter_mut().for_each(Vec::clear);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, passes] = &arguments[..] else { panic!("usage: typed FILE PASSES") };
    let text = std::fs::read_to_string(file).expect("the file of rows");
    let rows: Vec<&str> = text.lines().collect();
    let mut columns = Columns::default();
    let strict = rows.iter().all(|row| sonic_rs::from_str::<Click<'_>>(row).is_ok());
    for _ in 0..=passes.parse::<u64>().expect("a number of passes") {
        for row in &rows {
            match strict {
                true => columns.append(&sonic_rs::from_str(row).expect("each of them was tried")),
                false => columns.append_loose(&sonic_rs::from_str(row).expect("generated rows fit")),
            }
        }
        assert_eq!(columns.doubles.len(), rows.len());
        columns.clear();
    }
}
