//! W2, the events of Nexmark's auction: persons, auctions and bids in one topic, 360 to 410 bytes in the mean.
//!
//! Of the three structs two are null in every record, as in Nexmark's own union.
//! Fifty events are one person, three auctions and 46 bids.

use crate::random::Random;
use crate::row::Row;

pub const DDL: &str = "event_type INT, \
    person STRUCT<id: BIGINT, name: STRING, emailAddress: STRING, creditCard: STRING, city: STRING, \
    state: STRING, dateTime: TIMESTAMP, extra: STRING>, \
    auction STRUCT<id: BIGINT, itemName: STRING, description: STRING, initialBid: BIGINT, reserve: BIGINT, \
    dateTime: TIMESTAMP, expires: TIMESTAMP, seller: BIGINT, category: BIGINT, extra: STRING>, \
    bid STRUCT<auction: BIGINT, bidder: BIGINT, price: BIGINT, channel: STRING, url: STRING, \
    dateTime: TIMESTAMP, extra: STRING>";

const PERSON_LEAVES: usize = 8;
const AUCTION_LEAVES: usize = 10;
const BID_LEAVES: usize = 7;

const FIRST_NAMES: [&str; 8] = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie"];
const LAST_NAMES: [&str; 8] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones"];
const CITIES: [(&str, &str); 6] = [
    ("Phoenix", "AZ"),
    ("Los Angeles", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Seattle", "WA"),
];
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

const EVENTS: u64 = 50;
const AUCTIONS: u64 = 3;
/// Ids begin here, as in Nexmark.
const FIRST_ID: i64 = 1000;

pub(crate) fn write(index: u64, now_ms: i64, random: &mut Random, row: &mut Row<'_>) {
    let kind = match index % EVENTS {
        0 => 0,
        1..=AUCTIONS => 1,
        _ => 2,
    };
    row.integer("event_type", kind);
    match kind {
        0 => person(index, now_ms, random, row),
        _ => row.null_of("person", PERSON_LEAVES),
    }
    match kind {
        1 => auction(index, now_ms, random, row),
        _ => row.null_of("auction", AUCTION_LEAVES),
    }
    match kind {
        2 => bid(index, now_ms, random, row),
        _ => row.null_of("bid", BID_LEAVES),
    }
}

fn person(index: u64, now_ms: i64, random: &mut Random, row: &mut Row<'_>) {
    let (first, last) = (random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES));
    let (city, state) = CITIES[random.skewed(6) as usize];
    row.open("person");
    row.integer("id", FIRST_ID + (index / EVENTS) as i64);
    row.string("name", &format!("{first} {last}"));
    row.string("emailAddress", &format!("{}@{}.com", letters(7, random), letters(5, random)));
    let card: Vec<String> = (0..4).map(|_| format!("{:04}", random.below(10_000))).collect();
    row.string("creditCard", &card.join(" "));
    row.string("city", city);
    row.string("state", state);
    row.timestamp_ms("dateTime", now_ms);
    row.string("extra", &letters(100, random));
    row.close();
}

fn auction(index: u64, now_ms: i64, random: &mut Random, row: &mut Row<'_>) {
    let first_bid = random.skewed(100_000) as i64;
    row.open("auction");
    row.integer("id", FIRST_ID + index as i64);
    row.string("itemName", &letters(12, random));
    row.string("description", &letters(60, random));
    row.integer("initialBid", first_bid);
    row.integer("reserve", first_bid + random.skewed(100_000) as i64);
    row.timestamp_ms("dateTime", now_ms);
    row.timestamp_ms("expires", now_ms + random.below(3_600_000) as i64);
    row.integer("seller", FIRST_ID + random.below(1 + index / EVENTS) as i64);
    row.integer("category", 10 + random.below(5) as i64);
    row.string("extra", &letters(60, random));
    row.close();
}

fn bid(index: u64, now_ms: i64, random: &mut Random, row: &mut Row<'_>) {
    let channel = random.pick(&CHANNELS);
    let (seller, item) = (random.below(1000), letters(11, random));
    row.open("bid");
    row.integer("auction", FIRST_ID + random.below(1 + index) as i64);
    row.integer("bidder", FIRST_ID + random.below(1 + index / EVENTS) as i64);
    row.integer("price", 100 + random.skewed(10_000_000) as i64);
    row.string("channel", channel);
    let url = format!(
        "https://www.nexmark.com/{item}/seller{seller}/item.htm?query=1&channel_id={}",
        seller * 7919
    );
    row.string("url", &url);
    row.timestamp_ms("dateTime", now_ms);
    row.string("extra", &letters(128, random));
    row.close();
}

/// Small letters, between 7/8 and 9/8 of `length`.
fn letters(length: u64, random: &mut Random) -> String {
    let length = length - length / 8 + random.below(1 + length / 4);
    (0..length).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}
