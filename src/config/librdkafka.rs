//! Settings of librdkafka that are not passed on, and what to write instead.

/// What a client holds in memory follows from one number.
const BOUNDED: &str = "leave it out: it follows from `memory` under [limits]";
/// A setting is a text in a file: it must not be a program, a library or an address in memory.
pub(super) const FOREIGN: &str = "leave it out: thalweg loads no foreign code and runs no commands";
pub(super) const INSIDE: &str = "leave it out: thalweg answers librdkafka itself";

/// Settings of librdkafka that exactly-once, the memory bound or the safety of the machine depends on,
/// and what to write instead.
const OWNED: [(&str, &str); 36] = [
    ("bootstrap.servers", "write `brokers` under [kafka]"),
    ("metadata.broker.list", "write `brokers` under [kafka]"),
    ("group.id", "write `group` under [kafka]"),
    ("group.instance.id", "write `group` and `instance_id` under [kafka]"),
    ("partition.assignment.strategy", "write `group` and `assignor` under [kafka]"),
    ("group.protocol", "leave it out: thalweg speaks the classic group protocol"),
    ("group.protocol.type", "leave it out: thalweg speaks the classic group protocol"),
    ("group.remote.assignor", "leave it out: thalweg speaks the classic group protocol"),
    ("enable.auto.commit", "leave it out: offsets live in the table"),
    ("auto.commit.enable", "leave it out: offsets live in the table"),
    ("auto.commit.interval.ms", "leave it out: offsets live in the table"),
    ("enable.auto.offset.store", "leave it out: offsets live in the table"),
    ("offset.store.method", "leave it out: offsets live in the table"),
    ("offset.store.path", "leave it out: offsets live in the table"),
    ("offset.store.sync.interval.ms", "leave it out: offsets live in the table"),
    ("auto.offset.reset", "write `start` in the [[table]]"),
    ("topic.auto.offset.reset", "write `start` in the [[table]]"),
    ("enable.partition.eof", "leave it out: thalweg needs it on"),
    ("isolation.level", "leave it out: aborted records must never become rows"),
    ("queued.min.messages", BOUNDED),
    ("queued.max.messages.kbytes", BOUNDED),
    ("fetch.max.bytes", BOUNDED),
    ("fetch.message.max.bytes", BOUNDED),
    ("max.partition.fetch.bytes", BOUNDED),
    ("plugin.library.paths", FOREIGN),
    ("sasl.kerberos.kinit.cmd", FOREIGN),
    ("ssl.engine.location", FOREIGN),
    ("ssl.engine.id", FOREIGN),
    ("ssl.providers", FOREIGN),
    ("interceptors", FOREIGN),
    ("enabled_events", INSIDE),
    ("log.queue", INSIDE),
    ("opaque", INSIDE),
    ("default_topic_conf", INSIDE),
    ("internal.termination.signal", INSIDE),
    ("ssl_engine_callback_data", INSIDE),
];

/// Why a setting is not passed on; `None`: it is.
pub fn refusal(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("topic.").filter(|_| !name.ends_with(".reset")).unwrap_or(&name);
    match OWNED.iter().find(|(owned, _)| name == *owned) {
        Some((_, remedy)) => Some(remedy),
        // Addresses of functions, and brokers that are none.
        None if name.ends_with("_cb") || name.starts_with("ut_") => Some(INSIDE),
        None if name.starts_with("test.mock.") => Some("write the real `brokers` under [kafka]"),
        None => None,
    }
}
