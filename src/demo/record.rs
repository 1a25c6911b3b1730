//! The demo's records: a shop's events as JSON.
//!
//! It owns what a record of a partition and offset says, so that the proof
//! can tell whether a row is the one that was produced.

/// The columns of a record, as the table declares them.
pub const SCHEMA: &str = "id BIGINT NOT NULL, ts TIMESTAMP, event_type STRING, page STRING, country STRING, \
                          price DOUBLE, qty INT, ok BOOLEAN";
/// No record is longer; the pace of the producer rests on it.
pub const BYTES_MAX: usize = 192;

const ID_STEP: i64 = 1_000_000_000_000;
const EVENTS: [&str; 6] = ["page_view", "search", "add_to_cart", "checkout", "payment", "refund"];
const SHELVES: [&str; 6] = ["garden", "kitchen", "workshop", "outdoor", "electronics", "books"];
const COUNTRIES: [&str; 8] = ["DE", "FR", "US", "BR", "IN", "JP", "NG", "AU"];

/// The one id that the record at this place has.
pub fn id_at(partition: i32, offset: i64) -> i64 {
    i64::from(partition + 1) * ID_STEP + offset
}

/// Reads the id back from a record's bytes.
pub fn id_in(record: &[u8]) -> Option<i64> {
    let digits = record.strip_prefix(b"{\"id\":")?;
    let end = digits.iter().position(|&byte| byte == b',')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Appends the record of this place; all but its time follows from the place.
pub fn write(out: &mut Vec<u8>, partition: i32, offset: i64, time: &str) {
    let id = id_at(partition, offset);
    let mut dice = Dice(id as u64);
    let event = dice.pick(&EVENTS);
    let shelf = dice.pick(&SHELVES);
    let item = dice.below(100_000);
    let country = dice.pick(&COUNTRIES);
    let cents = 99 + dice.below(50_000);
    let quantity = 1 + dice.below(9);
    let ok = dice.below(50) != 0;
    use std::io::Write as _;
    write!(
        out,
        "{{\"id\":{id},\"ts\":\"{time}\",\"event_type\":\"{event}\",\"page\":\"/shop/{shelf}/item-{item:05}\",\
         \"country\":\"{country}\",\"price\":{}.{:02},\"qty\":{quantity},\"ok\":{ok}}}",
        cents / 100,
        cents % 100,
    )
    .expect("writing to memory cannot fail");
}

/// SplitMix64: a record's numbers follow from its id alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-22T20:00:00.000Z";

    fn record(partition: i32, offset: i64) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, partition, offset, TIME);
        out
    }

    #[test]
    fn a_place_has_one_record() {
        assert_eq!(record(3, 77), record(3, 77));
        assert_ne!(record(3, 77), record(3, 78));
        assert_ne!(record(3, 77), record(2, 77));
    }

    #[test]
    fn a_record_is_json_of_bounded_length_and_carries_its_id() {
        for (partition, offset) in [(0, 0), (3, 1_000_000), (0, 999_999_999_999)] {
            let record = record(partition, offset);
            let value: serde_json::Value = serde_json::from_slice(&record).unwrap();
            assert_eq!(value["id"], id_at(partition, offset));
            assert_eq!(id_in(&record), Some(id_at(partition, offset)));
            assert!((130..=BYTES_MAX).contains(&record.len()), "{}", record.len());
        }
    }
}
