//! W1, a clickstream: flat, 150–200 bytes, no nulls.

use crate::random::Random;
use crate::row::Row;

pub const DDL: &str = "id BIGINT, user_id BIGINT, ts BIGINT, event_type STRING, page STRING, country STRING, \
                       device STRING, price DOUBLE, qty BIGINT, ok BOOLEAN";

const EVENT_TYPES: [&str; 8] =
    ["page_view", "click", "scroll", "search", "add_to_cart", "login", "purchase", "logout"];
const COUNTRIES: [&str; 20] = [
    "US", "DE", "IN", "GB", "FR", "BR", "JP", "CA", "IT", "ES", "NL", "MX", "AU", "PL", "SE", "CH", "AT",
    "BE", "NO", "PT",
];
const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];
const SECTIONS: [&str; 4] = ["/shop/item/", "/shop/category/", "/help/article/", "/account/orders/"];

/// Far enough from zero that every id has the same width.
const FIRST_ID: i64 = 10_000_000;

pub(crate) fn write(index: u64, now_ms: i64, random: &mut Random, row: &mut Row<'_>) {
    row.integer("id", FIRST_ID + index as i64);
    row.integer("user_id", random.below(1_000_000) as i64);
    row.integer("ts", now_ms);
    row.string("event_type", EVENT_TYPES[random.skewed(8) as usize]);
    let section = SECTIONS[random.skewed(4) as usize];
    let mut page = [0u8; 32];
    row.string("page", page_path(section, random.skewed(20_000), &mut page));
    row.string("country", COUNTRIES[random.skewed(20) as usize]);
    row.string("device", random.pick(&DEVICES));
    row.cents("price", random.below(100_000) as u32);
    row.integer("qty", 1 + random.below(9) as i64);
    row.boolean("ok", random.below(10) != 0);
}

/// `section` followed by `item`, without an allocation.
fn page_path<'a>(section: &str, item: u64, buffer: &'a mut [u8; 32]) -> &'a str {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(item);
    let length = section.len() + digits.len();
    buffer[..section.len()].copy_from_slice(section.as_bytes());
    buffer[section.len()..length].copy_from_slice(digits.as_bytes());
    std::str::from_utf8(&buffer[..length]).expect("two strings in a row are a string")
}
