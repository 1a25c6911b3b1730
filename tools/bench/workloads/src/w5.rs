//! W5, the access log of a web server: flat fields and a map of attributes, 120 to 1,500 bytes.
//!
//! Requests and attributes are long strings that hardly repeat.

use std::fmt::Write;

use crate::random::Random;
use crate::row::Row;

pub const DDL: &str = "`@timestamp` TIMESTAMP, clientip STRING, request STRING, status INT, size BIGINT, \
                       attributes MAP<STRING, STRING>";

const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "PUT"];
const STATUSES: [i64; 8] = [200, 304, 404, 302, 206, 500, 403, 503];
const SUFFIXES: [&str; 5] = ["html", "jpg", "js", "css", "json"];
/// What a log pipeline adds; each is there or not.
const ATTRIBUTES: [(&str, Value); 8] = [
    ("trace.id", Value::Hex(2)),
    ("host.name", Value::Host),
    ("user_agent", Value::Agent),
    ("session", Value::Hex(4)),
    ("referer", Value::Link),
    ("k8s.pod.name", Value::Host),
    ("http.cookie", Value::Hex(16)),
    ("error.stack", Value::Stack),
];

/// Records that are near the largest.
const LONG_SHARE: f64 = 0.05;

#[derive(Clone, Copy)]
enum Value {
    /// So many words of 16 digits.
    Hex(u64),
    Host,
    Agent,
    Link,
    Stack,
}

pub(crate) fn write(now_ms: i64, random: &mut Random, row: &mut Row<'_>) {
    row.timestamp_ms("@timestamp", now_ms);
    let address: Vec<String> = (0..4).map(|_| random.below(256).to_string()).collect();
    row.string("clientip", &address.join("."));
    let (method, path) = (METHODS[random.skewed(4) as usize], path(random));
    row.string("request", &format!("{method} {path} HTTP/1.1"));
    row.integer("status", STATUSES[random.skewed(8) as usize]);
    row.integer("size", random.skewed(1_000_000) as i64);
    let long = random.chance(LONG_SHARE);
    row.open_map("attributes");
    for (place, (name, value)) in ATTRIBUTES.iter().enumerate() {
        // The later ones are rarer.
        if long || random.below(2 + place as u64) == 0 {
            row.entry(name, &value.text(random));
        }
    }
    row.close_map();
}

fn path(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(4) {
        let number = random.skewed(100_000);
        push(
            &mut text,
            format_args!("/{}{number}", ["images", "english", "news", "frntpage"][number as usize % 4]),
        );
    }
    push(&mut text, format_args!(".{}", SUFFIXES[random.skewed(5) as usize]));
    text
}

impl Value {
    fn text(self, random: &mut Random) -> String {
        let mut text = String::new();
        match self {
            Value::Hex(words) => {
                (0..words).for_each(|_| push(&mut text, format_args!("{:016x}", random.draw())))
            }
            Value::Host => {
                let (service, replica) = (random.skewed(40), random.below(0x1_0000));
                push(&mut text, format_args!("web-{service}-{replica:04x}.eu-central-1.internal"));
            }
            Value::Agent => {
                let (system, build) = (10 + random.below(5), random.skewed(2000));
                push(
                    &mut text,
                    format_args!(
                        "Mozilla/5.0 (X11; Linux x86_64; rv:{system}.0) Gecko/20100101 Firefox/{system}.0.{build}"
                    ),
                );
            }
            Value::Link => text = format!("https://www.example.com{}", path(random)),
            Value::Stack => {
                for _ in 0..4 {
                    let (module, line) = (random.skewed(500), random.below(2000));
                    push(
                        &mut text,
                        format_args!("\tat com.example.module{module}.Handler.run(Handler.java:{line})\n"),
                    );
                }
            }
        }
        text
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}
