//! The records of a workload, one after the other.
//!
//! It owns order, event time and the malformed ones. What a good record holds
//! is `w1`'s and `w3`'s.

use std::str::FromStr;

use crate::checksum::hash;
use crate::random::Random;
use crate::row::{Member, Row};
use crate::vary::{Variation, Varied};
use crate::{w1, w3};

/// Event time of the first record, in milliseconds: 2024-06-10T06:13:20Z.
const FIRST_EVENT_MS: i64 = 1_718_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    W1,
    W3,
}

impl Workload {
    /// The schema in Spark DDL; the checksum covers its leaves in this order.
    pub fn ddl(self) -> &'static str {
        match self {
            Workload::W1 => w1::DDL,
            Workload::W3 => w3::DDL,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Workload::W1 => "w1",
            Workload::W3 => "w3",
        }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Workload, String> {
        match text {
            "w1" => Ok(Workload::W1),
            "w3" => Ok(Workload::W3),
            _ => Err(format!("`{text}` is not a workload: w1 or w3")),
        }
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
    members: Vec<Member>,
    varied: Varied,
    scratch: w3::Scratch,
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
            members: Vec::with_capacity(16),
            varied: Varied::new(Variation::default(), seed),
            scratch: w3::Scratch::default(),
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
        let mut row = Row::begin(payload, &mut self.canonical, &mut self.members, self.varied.endings());
        match self.workload {
            Workload::W1 => w1::write(self.index, self.now_ms, &mut self.random, &mut row),
            Workload::W3 => {
                w3::write(self.index, evolved, self.now_ms, &mut self.random, &mut self.scratch, &mut row);
            }
        }
        row.end();
        self.varied.apply(payload, &mut self.canonical, &self.members);
        self.index += 1;
        if self.malformed_random.chance(self.malformed_share) {
            spoil(self.malformed_random.below(5), payload);
            return Record::Malformed;
        }
        Record::Row(hash(&self.canonical))
    }
}

/// Five ways of not being a row, none of which is open to interpretation.
fn spoil(way: u64, payload: &mut Vec<u8>) {
    match way {
        0 => payload.truncate(payload.len() / 2),
        1 => *payload = b"not json".to_vec(),
        2 => *payload = br#"{"id":{"an":"object"},"actor":7}"#.to_vec(),
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
        for workload in [Workload::W1, Workload::W3] {
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
        let w3 = sizes(Workload::W3);
        let mean = w3.iter().sum::<usize>() / w3.len();
        assert!((900..=1_100).contains(&mean), "{mean}");
    }

    #[test]
    fn good_records_are_json_and_do_not_depend_on_the_bad_ones() {
        for workload in [Workload::W1, Workload::W3] {
            let (clean, spoilt) = (run(workload, 42, 0.0), run(workload, 42, 0.1));
            let bad = spoilt.iter().filter(|(_, record)| *record == Record::Malformed).count();
            assert!((100..300).contains(&bad), "{bad}");
            for (clean, spoilt) in clean.iter().zip(&spoilt) {
                assert!(serde_json::from_slice::<serde_json::Value>(&clean.0).is_ok());
                assert!(spoilt.1 == Record::Malformed || clean == spoilt);
            }
        }
    }

    #[test]
    fn a_varied_row_is_json_and_has_as_many_leaves() {
        let variation = Variation { shuffled: true, missing: 0.2, escapes: true };
        for workload in [Workload::W1, Workload::W3] {
            let mut plain = Stream::new(workload, 42, 2_000);
            let mut varied = Stream::new(workload, 42, 2_000).varied(variation, 42);
            let (mut payload, mut other) = (Vec::new(), Vec::new());
            let (mut members, mut members_left) = (0, 0);
            for _ in 0..2_000 {
                plain.next_record(&mut payload);
                varied.next_record(&mut other);
                let object = |payload: &[u8]| -> serde_json::Map<String, serde_json::Value> {
                    serde_json::from_slice(payload).expect("generated rows are JSON objects")
                };
                let (all, left) = (object(&payload), object(&other));
                members += all.len();
                members_left += left.len();
                assert!(left.keys().all(|name| all.contains_key(name)));
                let leaves = |canonical: &[u8]| {
                    let mut depth = 0;
                    canonical
                        .iter()
                        .filter(|&&byte| {
                            depth += i32::from(byte == b'[') - i32::from(byte == b']');
                            byte == b'|' && depth == 0
                        })
                        .count()
                };
                assert_eq!(leaves(&plain.canonical), leaves(&varied.canonical));
            }
            let share = members_left as f64 / members as f64;
            assert!((0.77..0.83).contains(&share), "{share}");
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
