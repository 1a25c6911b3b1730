//! What people call our keys, and where our keys belong.
//!
//! It owns the words of other programs (Kafka's clients, Connect, Flink,
//! Spark, Vector, Benthos), the sections with their keys, and an example of
//! each. How an error is laid out is `source`.

use super::librdkafka;
use super::nearest::nearest;

/// A value that each key takes, as it is written.
const EXAMPLES: [(&str, &str); 32] = [
    ("version", "1"),
    ("brokers", "\"host:9092\""),
    ("auth", "\"sasl\""),
    ("mechanism", "\"scram-sha-512\""),
    ("username", "\"thalweg\""),
    ("password", "\"${env:KAFKA_PASSWORD}\""),
    ("ca", "\"/etc/kafka/ca.pem\""),
    ("cert", "\"/etc/kafka/client.pem\""),
    ("key", "\"/etc/kafka/client.key\""),
    ("key_password", "\"${file:/run/secrets/key}\""),
    ("group", "\"ingest\""),
    ("instance_id", "\"${env:HOSTNAME}\""),
    ("assignor", "\"cooperative-sticky\""),
    ("memory", "\"256MiB\""),
    ("cores", "\"auto\""),
    ("pin", "true"),
    ("listen", "\"127.0.0.1:9600\""),
    ("id", "\"orders\""),
    ("topic", "\"orders\""),
    ("location", "\"s3://bucket/orders\""),
    ("format", "\"json\""),
    ("schema", "\"id BIGINT NOT NULL, tags ARRAY<STRING>\""),
    ("start", "\"earliest\""),
    ("metadata_columns", "[\"_partition\", \"_offset\"]"),
    ("timestamps", "{ created = \"ms\" }"),
    ("on_new_field", "\"rescue\""),
    ("on_bad_record", "\"dlq\""),
    ("dlq", "\"s3://bucket/orders_dead_letters\""),
    ("max_record_size", "\"16MiB\""),
    ("max_depth", "127"),
    ("max_latency", "\"10s\""),
    ("target_file_size", "\"128MiB\""),
];

/// A section of the file, with the keys that stand right under it.
struct Section {
    /// As its header says it; empty for the top of the file.
    header: &'static str,
    /// A key that only this section has: by it an error of the parser tells which one it means.
    mark: &'static str,
    keys: &'static [&'static str],
}

const SECTIONS: [Section; 8] = [
    Section { header: "", mark: "version", keys: &["version"] },
    Section {
        header: "[kafka]",
        mark: "brokers",
        keys: &["brokers", "auth", "group", "instance_id", "assignor"],
    },
    Section { header: "[kafka.sasl]", mark: "mechanism", keys: &["mechanism", "username", "password"] },
    Section { header: "[kafka.tls]", mark: "ca", keys: &["ca", "cert", "key", "key_password"] },
    Section { header: "[storage.options]", mark: "options", keys: &[] },
    Section { header: "[limits]", mark: "memory", keys: &["memory", "cores", "pin"] },
    Section { header: "[admin]", mark: "listen", keys: &["listen"] },
    Section {
        header: "[[table]]",
        mark: "id",
        keys: &[
            "id",
            "topic",
            "location",
            "format",
            "schema",
            "start",
            "metadata_columns",
            "timestamps",
            "on_new_field",
            "on_bad_record",
            "dlq",
            "max_record_size",
            "max_depth",
            "max_latency",
            "target_file_size",
            "compression",
        ],
    },
];

/// Keys of a later version: not worth suggesting.
const LATER: [&str; 4] = ["registry", "topic_pattern", "partition_by", "transform"];

/// Words for our keys, by the section of the key. Case, `.`, `-` and `_` do not count.
const CALLED: [(&str, &str, &[&str]); 26] = [
    (
        "[kafka]",
        "brokers",
        &[
            "bootstrap",
            "bootstrap.servers",
            "bootstrap_server",
            "kafka.bootstrap.servers",
            "properties.bootstrap.servers",
            "metadata.broker.list",
            "broker",
            "broker_list",
            "seed_brokers",
            "seeds",
            "server",
            "servers",
            "hosts",
            "addresses",
            "address",
            "endpoint",
            "connection",
        ],
    ),
    (
        "[kafka]",
        "group",
        &[
            "group.id",
            "group_name",
            "groups",
            "consumer_group",
            "consumer_group_id",
            "consumer.group.id",
            "properties.group.id",
            "kafka.group.id",
        ],
    ),
    ("[kafka]", "auth", &["security", "security.protocol", "authentication", "protocol"]),
    ("[kafka]", "instance_id", &["group.instance.id", "member_id", "static_member", "client_instance_id"]),
    ("[kafka]", "assignor", &["partition.assignment.strategy", "partition_assignment", "strategy"]),
    ("[kafka.sasl]", "mechanism", &["mechanisms", "sasl_mechanism", "sasl.mechanisms", "type"]),
    ("[kafka.sasl]", "username", &["user", "sasl_username", "sasl.user", "login"]),
    ("[kafka.sasl]", "password", &["pass", "passwd", "pwd", "sasl_password", "secret"]),
    ("[kafka.sasl]", "username", &["jaas", "jaas.config", "sasl.jaas.config"]),
    (
        "[kafka.tls]",
        "ca",
        &[
            "ca_file",
            "ca_cert",
            "ca_path",
            "ca.location",
            "root_cas_file",
            "truststore",
            "truststore.location",
            "ssl.ca.location",
            "ssl.truststore.location",
            "ssl_cafile",
        ],
    ),
    (
        "[kafka.tls]",
        "cert",
        &[
            "certificate",
            "cert_file",
            "crt_file",
            "client_cert",
            "cert_path",
            "ssl.certificate.location",
            "keystore",
            "keystore.location",
            "ssl.keystore.location",
            "ssl_certfile",
        ],
    ),
    (
        "[kafka.tls]",
        "key",
        &["key_file", "client_key", "key_path", "private_key", "ssl.key.location", "ssl_keyfile"],
    ),
    ("[kafka.tls]", "key_password", &["key_pass", "passphrase", "ssl.key.password", "ssl_password"]),
    (
        "[[table]]",
        "topic",
        &["topics", "topic_name", "topic_names", "source", "source_topic", "input", "subscribe", "stream"],
    ),
    (
        "[[table]]",
        "location",
        &[
            "path",
            "uri",
            "url",
            "table_path",
            "table_uri",
            "table_location",
            "target",
            "output",
            "destination",
            "base_path",
            "dir",
            "directory",
            "bucket",
            "prefix",
            "sink",
            "key_prefix",
            "s3_path",
        ],
    ),
    ("[[table]]", "id", &["name", "table", "table_id", "table_name", "identity"]),
    (
        "[[table]]",
        "start",
        &[
            "auto.offset.reset",
            "offset_reset",
            "starting_offsets",
            "start_offset",
            "start_from",
            "start_from_oldest",
            "scan.startup.mode",
            "startup_mode",
            "offset",
            "offsets",
            "from",
        ],
    ),
    (
        "[[table]]",
        "format",
        &[
            "value.format",
            "value.converter",
            "codec",
            "decoding",
            "decoding.codec",
            "encoding",
            "data_format",
        ],
    ),
    ("[[table]]", "schema", &["columns", "fields", "ddl"]),
    (
        "[[table]]",
        "max_latency",
        &[
            "latency",
            "interval",
            "period",
            "linger",
            "trigger",
            "processing_time",
            "flush_interval",
            "flush_interval_ms",
            "commit_interval",
            "checkpoint_interval",
            "batch_timeout",
            "timeout_secs",
            "rotate.interval.ms",
            "allowed_latency",
            "rolling_interval",
        ],
    ),
    (
        "[[table]]",
        "target_file_size",
        &[
            "file_size",
            "max_file_size",
            "target_size",
            "flush_size",
            "max_bytes",
            "batch_size",
            "min_bytes_per_file",
        ],
    ),
    (
        "[[table]]",
        "on_bad_record",
        &["errors.tolerance", "on_error", "on_errors", "error_policy", "bad_records", "drop_on_error"],
    ),
    (
        "[[table]]",
        "dlq",
        &[
            "dead_letter",
            "dead_letters",
            "dead_letter_queue",
            "dead_letter_location",
            "dlq_location",
            "dlq_table",
            "dlq_topic",
            "errors.deadletterqueue.topic.name",
        ],
    ),
    (
        "[limits]",
        "memory",
        &["max_memory", "memory_limit", "memory_max", "mem", "ram", "heap", "buffer_size"],
    ),
    (
        "[limits]",
        "cores",
        &[
            "threads",
            "workers",
            "num_workers",
            "parallelism",
            "concurrency",
            "tasks_max",
            "cpus",
            "cpu",
            "shards",
        ],
    ),
    (
        "[admin]",
        "listen",
        &[
            "port",
            "bind",
            "host",
            "http_port",
            "metrics_port",
            "metrics_address",
            "listen_address",
            "web.listen_address",
        ],
    ),
];

/// Words for a whole section, or for what is not a key at all: the words and what to do.
const ELSEWHERE: [(&[&str], &str); 11] = [
    (
        &["partition_by", "partitions", "partition_columns", "partition"],
        "leave it out: tables are written without partitions",
    ),
    (
        &["tables", "sources", "sinks", "outputs", "inputs", "streams", "pipelines", "pipeline", "delta"],
        TABLES,
    ),
    (
        &["broker", "consumer", "kafka_source", "kafka_consumer", "cluster"],
        "write `brokers = \"host:9092\"` under [kafka]",
    ),
    (
        &["s3", "aws", "store", "object_store", "object_storage", "minio", "credentials", "gcs", "azure"],
        "write the options of the store under [storage.options]",
    ),
    (
        &["http", "metrics", "prometheus", "monitoring", "api"],
        "write `listen = \"127.0.0.1:9600\"` under [admin]",
    ),
    (&["resources", "limit", "performance"], "write `memory` and `cores` under [limits]"),
    (
        &["log", "logging", "logs", "log_level", "log_format"],
        "leave it out: `-v`, `--log-format` and RUST_LOG set the log",
    ),
    (
        &["ssl", "tls", "security", "certificates"],
        "write `auth = \"tls\"` under [kafka], and `ca`, `cert`, `key` under [kafka.tls]",
    ),
    (
        &["sasl", "authentication"],
        "write `auth = \"sasl\"` under [kafka], and `username`, `password` under [kafka.sasl]",
    ),
    (&["librdkafka", "rdkafka", "properties", "kafka_options", "consumer_config", "options"], LIBRDKAFKA),
    (
        &["key.deserializer", "value.deserializer", "key.converter", "deserializer"],
        "leave it out: `format` in the [[table]] says what records are",
    ),
];
/// Words for options of the store, without what Hadoop and others put before them.
const STORES: [(&[&str], &str); 8] = [
    (&["access_key", "key_id", "access_id", "keyid", "user"], "write `access_key_id = \"…\"`"),
    (&["secret_key", "secret", "access_secret", "password"], "write `secret_access_key = \"…\"`"),
    (
        &["endpoint_override", "s3_endpoint", "service_url", "host", "url", "address"],
        "write `endpoint = \"http://host:9000\"`",
    ),
    (
        &[
            "path_style_access",
            "force_path_style",
            "use_path_style",
            "path_style",
            "addressing_style",
            "url_style",
        ],
        "leave it out: the bucket stands in the path; `virtual_hosted_style_request = true` is the other style",
    ),
    (
        &["ssl", "use_ssl", "insecure", "disable_ssl", "connection.ssl.enabled", "verify_ssl", "ssl_verify"],
        "leave it out: `endpoint` says `http://` or `https://`; `allow_invalid_certificates` trusts anybody",
    ),
    (
        &["role", "assume_role", "assumed.role.arn"],
        "write `role_arn = \"arn:aws:iam::…\"` and `web_identity_token_file`",
    ),
    (
        &["kms_key", "kms_key_id", "encryption.key"],
        "write `sse_kms_key_id = \"…\"` and `server_side_encryption = \"aws:kms\"`",
    ),
    (&["bucket_name", "prefix", "path"], "leave it out: `location` in the [[table]] names bucket and prefix"),
];
const PREFIXES: [&str; 5] = ["fs.s3a.", "spark.hadoop.fs.s3a.", "aws.", "aws_", "s3."];

/// What to write for an option of the store that is not known.
pub fn of_store(key: &str) -> Option<String> {
    let lower = key.to_ascii_lowercase();
    let rest = PREFIXES.iter().find_map(|prefix| lower.strip_prefix(prefix)).unwrap_or(&lower);
    let found = STORES.iter().find(|(words, _)| words.iter().any(|word| same(word, rest)));
    let ours =
        ["endpoint", "region", "session_token"].into_iter().find(|ours| rest != key && same(ours, rest));
    found
        .map(|(_, remedy)| (*remedy).to_owned())
        .or_else(|| ours.map(|ours| format!("write `{ours} = \"…\"`")))
}

const TABLES: &str = "write one `[[table]]` for each topic, with `id`, `topic` and `location`";
const LIBRDKAFKA: &str = "write settings of librdkafka under [kafka.librdkafka]";
pub const ONE_TOPIC: &str = "write one [[table]] with `topic = \"name\"` for each topic";
const ALONE: &str = "leave it out: then this process reads every partition";

/// What somebody most likely means by a key that its section does not have.
pub struct Meant {
    /// The key of this section, where it is one.
    pub ours: Option<&'static str>,
    pub remedy: String,
}

/// `key` as it is written, with its dots; `known` are the keys of its section.
pub fn meant(key: &str, known: &[&str]) -> Option<Meant> {
    let section = SECTIONS.iter().find(|section| known.contains(&section.mark))?;
    // A section's own words first: `type` under [kafka.sasl] is not a key of a table.
    let of_section = |(header, ..): &&(&str, &str, &[&str])| *header == section.header;
    let called = |(_, _, words): &&(&str, &str, &[&str])| words.iter().any(|word| same(word, key));
    let mut found = CALLED.iter().filter(called);
    if let Some((_, ours, _)) = found.clone().find(of_section) {
        return Some(Meant { ours: Some(ours), remedy: of_key(ours, None) });
    }
    if section.header == "[kafka]" && key.contains('.') {
        match librdkafka::refusal(key) {
            Some(remedy) => return Some(Meant { ours: None, remedy: remedy.to_owned() }),
            None if found.clone().next().is_some() => {}
            None => {
                let remedy = format!("{LIBRDKAFKA}, the key in quotes: `\"{key}\" = …`");
                return Some(Meant { ours: None, remedy });
            }
        }
    }
    let elsewhere = || ELSEWHERE.iter().find(|(words, _)| words.iter().any(|word| same(word, key)));
    let home = || {
        let of =
            |home: &&Section| home.header != section.header && home.keys.iter().any(|own| same(own, key));
        let home = SECTIONS.iter().find(of)?;
        Some((home.header, *home.keys.iter().find(|own| same(own, key))?))
    };
    let remedy = match (section.header, elsewhere()) {
        ("" | "[kafka]", Some((_, remedy))) => (*remedy).to_owned(),
        // Only one key stands under [storage].
        ("[storage.options]", _) => {
            format!("write it under [storage.options], as in `[storage.options]` and `{key} = …`")
        }
        (_, also) => match (home(), found.next(), also) {
            (Some((header, ours)), ..) => of_key(ours, Some(header)),
            (None, Some((header, ours, _)), _) => of_key(ours, Some(header)),
            (None, None, Some((_, remedy))) => (*remedy).to_owned(),
            (None, None, None) => return None,
        },
    };
    Some(Meant { ours: None, remedy })
}

/// What to write for one of our keys, and under which header if it is another.
fn of_key(ours: &str, header: Option<&str>) -> String {
    let place = match header {
        None => String::new(),
        Some("") => " at the top of the file".to_owned(),
        Some(header) => format!(" under {header}"),
    };
    match (ours, place.is_empty()) {
        ("topic", _) => ONE_TOPIC.to_owned(),
        ("group", _) => format!("write `group = \"name\"`{place}, or {ALONE}"),
        ("id", _) => format!("write `id = \"orders\"`{place}: it is part of every committed offset"),
        ("username" | "password", false) => {
            "write `username` and `password` under [kafka.sasl], and `auth = \"sasl\"` under [kafka]"
                .to_owned()
        }
        _ => match example(ours) {
            Some(example) => format!("write `{ours} = {example}`{place}"),
            None => format!("write `{ours}`{place}"),
        },
    }
}

/// A value that a key takes.
pub fn example(key: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(name, _)| *name == key).map(|(_, example)| *example)
}

/// The key of a section that a misspelt one is near to.
pub fn near<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    nearest(key, known.iter().copied().filter(|known| !LATER.contains(known)))
}

/// The keys of a section that this version has.
pub fn of_now<'a>(known: &[&'a str]) -> Vec<&'a str> {
    known.iter().copied().filter(|key| !LATER.contains(key)).collect()
}

/// `bootstrapServers`, `bootstrap.servers` and `BOOTSTRAP-SERVERS` are one word.
pub fn same(one: &str, other: &str) -> bool {
    let dead_letters = |text: &str| {
        let text = text.chars().filter(|c| !"._-".contains(*c) && !c.is_whitespace());
        text.map(|c| c.to_ascii_lowercase()).collect::<String>()
    };
    dead_letters(one) == dead_letters(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKA: [&str; 4] = ["brokers", "auth", "group", "librdkafka"];
    const TABLE: [&str; 3] = ["id", "topic", "location"];

    fn remedy(key: &str, known: &[&str]) -> String {
        meant(key, known).unwrap_or_else(|| panic!("{key}")).remedy
    }

    #[test]
    fn a_word_of_another_program_names_our_key_and_its_place() {
        for key in ["bootstrap.servers", "bootstrapServers", "BOOTSTRAP_SERVERS", "metadata.broker.list"] {
            assert_eq!(remedy(key, &KAFKA), "write `brokers = \"host:9092\"`", "{key}");
            assert_eq!(remedy(key, &["version"]), "write `brokers = \"host:9092\"` under [kafka]", "{key}");
        }
        assert_eq!(remedy("auto.offset.reset", &KAFKA), "write `start` in the [[table]]");
        assert_eq!(
            remedy("session.timeout.ms", &KAFKA),
            format!("{LIBRDKAFKA}, the key in quotes: `\"session.timeout.ms\" = …`")
        );
        assert_eq!(remedy("flush_interval", &TABLE), "write `max_latency = \"10s\"`");
        assert_eq!(remedy("brokers", &TABLE), "write `brokers = \"host:9092\"` under [kafka]");
        assert!(meant("zebra", &KAFKA).is_none());
    }

    #[test]
    fn no_word_stands_for_two_keys_of_a_section_nor_for_a_key_that_is_there() {
        for (at, (header, ours, words)) in CALLED.iter().enumerate() {
            for word in *words {
                let others =
                    CALLED.iter().enumerate().filter(|(other, (of, ..))| *other != at && of == header);
                assert!(
                    others.clone().all(|(_, (_, _, words))| !words.iter().any(|of| same(of, word))),
                    "{word}"
                );
                let section = SECTIONS.iter().find(|section| section.header == *header).unwrap();
                assert!(section.keys.contains(ours), "{ours}");
                assert!(!section.keys.iter().any(|key| same(key, word)), "{word}");
            }
        }
    }
}
