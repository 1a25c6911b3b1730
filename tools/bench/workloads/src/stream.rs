//! The records of a workload, one after the other.
//!
//! It owns order, event time and the malformed ones. What a good record holds
//! is the business of `w1` to `w5`.

use std::str::FromStr;

use crate::checksum::hash;
use crate::outline::Outline;
use crate::random::Random;
use crate::row::Row;
use crate::vary::{Variation, Varied};
use crate::{w1, w2, w3, w4, w5};

/// Event time of the first record, in milliseconds: 2024-06-10T06:13:20Z.
const FIRST_EVENT_MS: i64 = 1_718_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    W1,
    W2,
    W3,
    W4,
    /// W4 with Kafka Connect's schema in each record.
    W4Schema,
    W5,
}

impl Workload {
    pub const ALL: [Workload; 6] =
        [Workload::W1, Workload::W2, Workload::W3, Workload::W4, Workload::W4Schema, Workload::W5];

    /// The schema in Spark DDL; the checksum covers its leaves in this order.
    pub fn ddl(self) -> &'static str {
        match self {
            Workload::W1 => w1::DDL,
            Workload::W2 => w2::DDL,
            Workload::W3 => w3::DDL,
            Workload::W4 => &w4::DDL,
            Workload::W4Schema => &w4::DDL_OF_PAYLOAD,
            Workload::W5 => w5::DDL,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Workload::W1 => "w1",
            Workload::W2 => "w2",
            Workload::W3 => "w3",
            Workload::W4 => "w4",
            Workload::W4Schema => "w4schema",
            Workload::W5 => "w5",
        }
    }

    /// JSON that has an object where the schema has something else.
    fn of_another_schema(self) -> &'static [u8] {
        match self {
            Workload::W1 | Workload::W3 => br#"{"id":{"an":"object"},"actor":7}"#,
            Workload::W2 => br#"{"event_type":{"an":"object"}}"#,
            Workload::W4 => br#"{"op":{"an":"object"}}"#,
            Workload::W4Schema => br#"{"payload":7}"#,
            Workload::W5 => br#"{"size":{"an":"object"}}"#,
        }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Workload, String> {
        let names = Workload::ALL.map(Workload::name);
        let found = Workload::ALL.into_iter().find(|workload| workload.name() == text);
        found.ok_or_else(|| format!("`{text}` is not a workload: {}", names.join(", ")))
    }
}

/// What `Stream::next_record` says about the payload that it wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A row of the table, with its hash.
    Row(u64),
    /// Not a row: no decoder of the schema may accept it.
    Malformed,
}

pub struct Stream {
    workload: Workload,
    random: Random,
    /// Apart from `random`, so that the good records do not depend on the bad ones.
    malformed_random: Random,
    malformed_share: f64,
    index: u64,
    /// From this record on, fields appear that the schema does not have.
    evolves_at: u64,
    now_ms: i64,
    canonical: Vec<u8>,
    outline: Outline,
    varied: Varied,
    scratch: w3::Scratch,
    seed: u64,
    changes: Option<w4::Changes>,
}

impl Stream {
    /// `records` is only there to say where the middle is.
    pub fn new(workload: Workload, seed: u64, records: u64) -> Stream {
        Stream {
            workload,
            random: Random::new(seed),
            malformed_random: Random::new(!seed),
            malformed_share: 0.0,
            index: 0,
            evolves_at: records / 2,
            now_ms: FIRST_EVENT_MS,
            canonical: Vec::with_capacity(2048),
            outline: Outline::default(),
            varied: Varied::new(Variation::default(), seed),
            scratch: w3::Scratch::default(),
            seed,
            changes: None,
        }
    }

    /// Spoils this share of the records, 0..=1.
    pub fn malformed(mut self, share: f64) -> Stream {
        self.malformed_share = share;
        self
    }

    pub fn varied(mut self, variation: Variation, seed: u64) -> Stream {
        self.varied = Varied::new(variation, seed);
        self
    }

    /// Replaces `payload` by the next record.
    pub fn next_record(&mut self, payload: &mut Vec<u8>) -> Record {
        self.now_ms += self.random.below(3) as i64;
        let evolved = self.index >= self.evolves_at;
        let mut row = Row::begin(payload, &mut self.canonical, &mut self.outline, self.varied.endings());
        match self.workload {
            Workload::W1 => w1::write(self.index, self.now_ms, &mut self.random, &mut row),
            Workload::W3 => {
                w3::write(self.index, evolved, self.now_ms, &mut self.random, &mut self.scratch, &mut row);
            }
            Workload::W2 => w2::write(self.index, self.now_ms, &mut self.random, &mut row),
            Workload::W4 | Workload::W4Schema => {
                let inline_schema = self.workload == Workload::W4Schema;
                self.changes.get_or_insert_with(|| w4::Changes::new(self.seed)).write(
                    inline_schema,
                    self.now_ms,
                    &mut self.random,
                    &mut row,
                );
            }
            Workload::W5 => w5::write(self.now_ms, &mut self.random, &mut row),
        }
        row.end();
        self.varied.apply(payload, &mut self.canonical, &self.outline);
        self.index += 1;
        if self.malformed_random.chance(self.malformed_share) {
            spoil(self.workload, self.malformed_random.below(5), payload);
            return Record::Malformed;
        }
        Record::Row(hash(&self.canonical))
    }
}

/// Five ways of not being a row, none of which is open to interpretation.
fn spoil(workload: Workload, way: u64, payload: &mut Vec<u8>) {
    match way {
        0 => payload.truncate(payload.len() / 2),
        1 => *payload = b"not json".to_vec(),
        2 => *payload = workload.of_another_schema().to_vec(),
        3 => payload.push(b'}'),
        _ => {
            // The closing brace gives way to a string that is not UTF-8.
            payload.pop();
            payload.extend_from_slice(b",\"id\":\"\xff\xfe\"}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(workload: Workload, seed: u64, share: f64) -> Vec<(Vec<u8>, Record)> {
        let mut stream = Stream::new(workload, seed, 2_000).malformed(share);
        let mut payload = Vec::new();
        let mut records = Vec::new();
        for _ in 0..2_000 {
            let record = stream.next_record(&mut payload);
            records.push((payload.clone(), record));
        }
        records
    }

    #[test]
    fn a_seed_is_its_records() {
        for workload in Workload::ALL {
            assert_eq!(run(workload, 1, 0.0), run(workload, 1, 0.0));
            assert_ne!(run(workload, 1, 0.0), run(workload, 2, 0.0));
        }
    }

    #[test]
    fn sizes_are_those_of_the_definition() {
        let sizes =
            |workload| run(workload, 42, 0.0).iter().map(|(payload, _)| payload.len()).collect::<Vec<_>>();
        let w1 = sizes(Workload::W1);
        let mean = w1.iter().sum::<usize>() / w1.len();
        assert!((150..=200).contains(&mean), "{mean}");
        assert!(w1.iter().all(|size| (140..=200).contains(size)));
        for (workload, expected) in
            [(Workload::W2, 360..=410), (Workload::W3, 900..=1_100), (Workload::W5, 300..=700)]
        {
            let sizes = sizes(workload);
            let mean = sizes.iter().sum::<usize>() / sizes.len();
            assert!(expected.contains(&mean), "{workload:?}: {mean}");
        }
        assert!(sizes(Workload::W5).iter().all(|size| (120..=1_500).contains(size)));
    }

    #[test]
    fn good_records_are_json_and_do_not_depend_on_the_bad_ones() {
        for workload in Workload::ALL {
            let (clean, spoilt) = (run(workload, 42, 0.0), run(workload, 42, 0.1));
            let bad = spoilt.iter().filter(|(_, record)| *record == Record::Malformed).count();
            assert!((100..300).contains(&bad), "{bad}");
            for (clean, spoilt) in clean.iter().zip(&spoilt) {
                assert!(serde_json::from_slice::<serde_json::Value>(&clean.0).is_ok());
                assert!(spoilt.1 == Record::Malformed || clean == spoilt);
            }
        }
    }

    /// Members of a JSON value, and those of what is in it.
    fn members(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
            serde_json::Value::Array(list) => list.iter().map(members).sum(),
            _ => 0,
        }
    }

    fn leaves(canonical: &[u8]) -> usize {
        let mut depth = 0;
        let is_leaf = |&byte: &u8| {
            depth += i32::from(byte == b'[') - i32::from(byte == b']');
            byte == b'|' && depth == 0
        };
        canonical.iter().copied().filter(is_leaf).count()
    }

    /// The rows as JSON, and the leaves of their canonical texts.
    fn varied(workload: Workload, variation: Variation) -> Vec<(serde_json::Value, usize)> {
        let mut stream = Stream::new(workload, 42, 2_000).varied(variation, 42);
        let mut payload = Vec::new();
        let row = |_| {
            stream.next_record(&mut payload);
            let json = serde_json::from_slice(&payload).expect("generated rows are JSON");
            (json, leaves(&stream.canonical))
        };
        (0..2_000).map(row).collect()
    }

    #[test]
    fn a_varied_row_is_json_and_has_as_many_leaves() {
        let variation = Variation {
            shuffled: true,
            missing: 0.2,
            escapes: true,
            non_ascii: true,
            ..Variation::default()
        };
        for workload in Workload::ALL {
            let (plain, varied) = (varied(workload, Variation::default()), varied(workload, variation));
            let count = |rows: &[(serde_json::Value, usize)]| -> usize {
                rows.iter().map(|(row, _)| row.as_object().map_or(0, serde_json::Map::len)).sum()
            };
            let share = count(&varied) as f64 / count(&plain) as f64;
            assert!((0.77..0.83).contains(&share), "{share}");
            assert!(plain.iter().zip(&varied).all(|(plain, varied)| plain.1 == varied.1));
        }
    }

    #[test]
    fn shuffled_rows_say_what_they_said_and_missing_members_are_missing_at_every_depth() {
        let shuffled = Variation { shuffled: true, ..Variation::default() };
        for workload in Workload::ALL {
            assert_eq!(varied(workload, shuffled), varied(workload, Variation::default()));
        }
        let missing = Variation { missing: 1.0, ..Variation::default() };
        assert!(varied(Workload::W3, missing).iter().all(|(row, _)| *row == serde_json::json!({})));
        let commits = |rows: Vec<(serde_json::Value, usize)>| -> usize {
            rows.iter().map(|(row, _)| members(&row["payload"]["commits"])).sum()
        };
        let missing = Variation { missing: 0.2, ..Variation::default() };
        let share = commits(varied(Workload::W3, missing)) as f64
            / commits(varied(Workload::W3, Variation::default())) as f64;
        assert!(
            (0.3..0.6).contains(&share),
            "payload, commits, author and its members, each of them: {share}"
        );
    }

    #[test]
    fn ten_shapes_are_ten_orders_of_keys() {
        let variation = Variation { shapes: 10, ..Variation::default() };
        let mut stream = Stream::new(Workload::W1, 42, 2_000).varied(variation, 42);
        let mut payload = Vec::new();
        let mut shapes = std::collections::BTreeMap::new();
        for _ in 0..2_000 {
            stream.next_record(&mut payload);
            let text = std::str::from_utf8(&payload).expect("W1 is ASCII");
            // No value of W1 has a colon.
            let keys = text.split(':').filter_map(|part| part.trim_end_matches('"').rsplit('"').next());
            let keys: Vec<String> = keys.filter(|key| !key.contains('}')).map(str::to_owned).collect();
            *shapes.entry(keys).or_insert(0) += 1;
        }
        assert_eq!(shapes.len(), 10, "{shapes:?}");
        assert!(shapes.values().all(|&rows| rows > 100), "{shapes:?}");
    }

    #[test]
    fn unknown_members_change_no_leaf() {
        let variation = Variation { unknown: 7, ..Variation::default() };
        for (plain, more) in
            varied(Workload::W1, Variation::default()).iter().zip(varied(Workload::W1, variation))
        {
            assert_eq!(more.1, plain.1);
            assert_eq!(more.0.as_object().map(serde_json::Map::len), Some(17));
        }
    }

    #[test]
    fn new_fields_appear_in_the_second_half_of_w3() {
        let records = run(Workload::W3, 42, 0.0);
        let with_org = |range: &[(Vec<u8>, Record)]| {
            range.iter().filter(|(payload, _)| payload.windows(6).any(|window| window == b"\"org\":")).count()
        };
        assert_eq!((with_org(&records[..1_000]), with_org(&records[1_000..])), (0, 1_000));
    }
}
