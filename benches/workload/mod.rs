//! Seeded payloads in the shapes that we measure with: W1 (clickstream, flat)
//! and W3 (repository events, nested), and variations of W1.

use std::fmt::Write;

use thalweg::columnar::RecordFacts;
use thalweg::ids::Offset;
use thalweg::record::{PADDING, Padded, Record};
use thalweg::schema::Schema;

pub const ROWS: usize = 4096;

const W1: &str = "id BIGINT, user_id BIGINT, ts BIGINT, event_type STRING, page STRING, country STRING, \
                      device STRING, price DOUBLE, qty BIGINT, ok BOOLEAN";

const W3: &str = "id STRING, type STRING, actor STRUCT<id: BIGINT, login: STRING, gravatar_id: STRING, \
    url: STRING, avatar_url: STRING>, repo STRUCT<id: BIGINT, name: STRING, url: STRING>, \
    payload STRUCT<push_id: BIGINT, size: BIGINT, ref: STRING, commits: ARRAY<STRUCT<sha: STRING, \
    author: STRUCT<email: STRING, name: STRING>, message: STRING, distinct: BOOLEAN, url: STRING>>>, \
    public BOOLEAN, created_at BIGINT";

/// Payloads and the schema of their table.
pub struct Workload {
    pub name: &'static str,
    pub schema: Schema,
    pub payloads: Vec<String>,
    /// The payloads as they lie in a record batch.
    arena: Vec<u8>,
}

impl Workload {
    fn new(
        name: &'static str,
        ddl: &str,
        rows: usize,
        mut payload: impl FnMut(u64, &mut Random) -> String,
    ) -> Workload {
        let mut random = Random(42);
        let payloads: Vec<String> = (0..rows as u64).map(|row| payload(row, &mut random)).collect();
        let mut arena: Vec<u8> = payloads.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
        arena.resize(arena.len() + PADDING, 0);
        Workload { name, schema: Schema::from_ddl(ddl).expect("a constant schema"), payloads, arena }
    }

    /// The payloads as a decoder is given them.
    pub fn padded(&self) -> impl Iterator<Item = Padded<'_>> {
        let mut start = 0;
        self.payloads.iter().map(move |payload| {
            let range = start..start + payload.len();
            start = range.end + 1;
            Padded::within(&self.arena, range)
        })
    }

    /// Mean bytes of a payload.
    pub fn bytes_per_row(&self) -> usize {
        self.payloads.iter().map(String::len).sum::<usize>() / self.payloads.len()
    }
}

/// The facts of a record with nothing but an offset.
pub fn facts(offset: i64) -> RecordFacts<'static> {
    let record = Record::bare(Offset(offset));
    RecordFacts { topic: "topic", partition: 0, record }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Small numbers are likelier, about as in Zipf's law.
    fn skewed(&mut self, limit: u64) -> u64 {
        let exponent = self.below(1 << 20) as f64 / f64::from(1 << 20);
        ((limit as f64).powf(exponent) as u64).min(limit - 1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.skewed(from.len() as u64) as usize]
    }
}

pub const NAMES: [&str; 4] = ["w1_stable", "w1_shuffled", "w1_missing", "w3_nested"];

/// So many rows of a workload.
///
/// - `w1_stable`: keys in one order, none missing;
/// - `w1_shuffled`: in any order;
/// - `w1_missing`: each key missing in a third of the rows;
/// - `w3_nested`: W3.
pub fn named(name: &str, rows: usize) -> Workload {
    let clicks = |vary: fn(&mut Members, &mut Random)| {
        move |row, random: &mut Random| {
            let mut members = clickstream(row, random);
            vary(&mut members, random);
            object(&members)
        }
    };
    match name {
        "w1_stable" => Workload::new(NAMES[0], W1, rows, clicks(|_, _| {})),
        "w1_shuffled" => Workload::new(NAMES[1], W1, rows, clicks(shuffle)),
        "w1_missing" => Workload::new(
            NAMES[2],
            W1,
            rows,
            clicks(|members, random| members.retain(|_| random.below(3) > 0)),
        ),
        "w3_nested" => Workload::new(NAMES[3], W3, rows, repository_event),
        _ => panic!("{name} is none of {NAMES:?}"),
    }
}

type Members = Vec<(&'static str, String)>;

fn shuffle(members: &mut Members, random: &mut Random) {
    for last in (1..members.len()).rev() {
        members.swap(last, random.below(last as u64 + 1) as usize);
    }
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn clickstream(row: u64, random: &mut Random) -> Members {
    const EVENTS: [&str; 6] = ["view", "click", "add_to_cart", "purchase", "search", "login"];
    const COUNTRIES: [&str; 10] = ["DE", "US", "FR", "GB", "IT", "ES", "PL", "NL", "SE", "IN"];
    const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];
    let price = random.below(100_000);
    vec![
        ("id", (10_000_000 + row).to_string()),
        ("user_id", random.below(1_000_000).to_string()),
        ("ts", (1_718_000_000_000 + row * 2 + random.below(3)).to_string()),
        ("event_type", format!("\"{}\"", random.pick(&EVENTS))),
        ("page", format!("\"/shop/item/{}\"", random.skewed(20_000))),
        ("country", format!("\"{}\"", random.pick(&COUNTRIES))),
        ("device", format!("\"{}\"", random.pick(&DEVICES))),
        ("price", format!("{}.{:02}", price / 100, price % 100)),
        ("qty", (1 + random.below(9)).to_string()),
        ("ok", (random.below(10) > 0).to_string()),
    ]
}

fn repository_event(row: u64, random: &mut Random) -> String {
    let (actor, repo) = (random.below(300_000), random.skewed(100_000));
    let site = "https://api.example.com";
    let mut commits = String::new();
    for commit in 0..2 {
        let sha = format!("{:016x}{:016x}{:08x}", random.next(), random.next(), random.next() as u32);
        let developer = random.below(50_000);
        let comma = if commit > 0 { "," } else { "" };
        write!(
            commits,
            r#"{comma}{{"sha":"{sha}","author":{{"email":"dev{developer}@example.com","name":"Dev {developer}"}},"message":"Fix {} in module {}","distinct":{},"url":"{site}/repos/org{}/repo{repo}/commits/{sha}"}}"#,
            random.below(9999), random.below(200), random.below(2) == 0, repo % 977
        )
        .expect("a String takes every byte");
    }
    format!(
        r#"{{"id":"{}","type":"PushEvent","actor":{{"id":{actor},"login":"user{actor}","gravatar_id":"","url":"{site}/users/user{actor}","avatar_url":"https://avatars.example.com/u/{actor}?"}},"repo":{{"id":{repo},"name":"org{1}/repo{repo}","url":"{site}/repos/org{1}/repo{repo}"}},"payload":{{"push_id":{2},"size":2,"ref":"refs/heads/main","commits":[{commits}]}},"public":true,"created_at":{3}}}"#,
        20_000_000_000 + row,
        repo % 977,
        9_000_000_000 + row * 3,
        1_718_000_000_000 + row * 2
    )
}
