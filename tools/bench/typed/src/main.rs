//! `typed`: W1's records by sonic-rs into a struct, and that into plain vectors: the least that a table needs.
//!
//! Owns that one stage, run so often that callgrind can tell what a row costs.
//! The rows are those of `benches/instructions.rs`, a line each, so that the counts compare.
//!
//! usage: typed FILE PASSES

use serde::Deserialize;

/// Strings borrow from the record.
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

#[derive(Default)]
struct Columns {
    integers: [Vec<i64>; 4],
    strings: [(Vec<u8>, Vec<i32>); 4],
    doubles: Vec<f64>,
    flags: Vec<bool>,
}

impl Columns {
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
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, passes] = &arguments[..] else { panic!("usage: typed FILE PASSES") };
    let text = std::fs::read_to_string(file).expect("the file of rows");
    let rows: Vec<&str> = text.lines().collect();
    let mut columns = Columns::default();
    for _ in 0..=passes.parse::<u64>().expect("a number of passes") {
        for row in &rows {
            columns.append(&sonic_rs::from_str(row).expect("generated rows fit"));
        }
        assert_eq!(columns.doubles.len(), rows.len());
        columns.clear();
    }
}
