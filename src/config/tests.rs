//! Stories of the config: what a file means. What a wrong file says is in
//! `cli::screens`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::resources::Machine;
use super::*;

const MINIMAL: &str = r#"
version = 1
[kafka]
brokers = "k:9092"
[[table]]
id = "orders"
topic = "orders"
location = "data/orders"
"#;

fn machine() -> Machine {
    Machine { cores: 4, pins: vec![0, 1, 2, 3], memory: 64 << 30 }
}

fn parsed(text: &str, variables: &[(&str, &str)]) -> Result<Config> {
    parsed_on(text, variables, &machine())
}

fn parsed_on(text: &str, variables: &[(&str, &str)], machine: &Machine) -> Result<Config> {
    let environment =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    parse_on(text, "thalweg.toml", &environment, machine, PathBuf::from("/work"))
}

/// The error that a variable causes in a file that is right.
fn refused(text: &str, variables: &[(&str, &str)]) -> (String, String) {
    let error = parsed(text, variables).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    (error.message, error.remedy.unwrap_or_default())
}

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect()
}

#[test]
fn three_values_and_a_table_are_a_whole_config() {
    let config = parsed(MINIMAL, &[]).unwrap();
    assert_eq!(config.kafka.brokers, "k:9092");
    assert!(config.kafka.librdkafka.is_empty());
    assert_eq!((config.limits.shards, config.limits.memory, config.limits.pin), (4, 512 << 20, true));
    assert_eq!((config.admin.listen.to_string().as_str(), config.admin.explicit), ("127.0.0.1:9600", false));
    let [table] = config.tables.as_slice() else { panic!("one table") };
    assert_eq!(table.location.as_str(), "file:///work/data/orders");
    assert_eq!((table.decoding.format, table.start), (Format::Json, Start::Earliest));
    assert_eq!(
        (table.decoding.on_new_field, table.on_bad_record),
        (OnNewField::Rescue, OnBadRecord::DeadLetter)
    );
    assert_eq!((table.decoding.max_record_size, table.decoding.max_depth), (16 << 20, 127));
    assert_eq!((table.max_latency, table.target_file_size), (Duration::from_secs(10), 128 << 20));
    assert_eq!((table.compression, table.schema.is_none()), (Compression::Zstd(1), true));
    let names: Vec<&str> = table.metadata_columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["_partition", "_offset", "_timestamp"]);
}

#[test]
fn every_key_of_the_file_arrives() {
    let text = r#"
version = 1
[kafka]
brokers = "b-1:9098, b-2:9098,[::1]:9092"
auth = "sasl"
[kafka.sasl]
mechanism = "SCRAM-SHA-256"
username = "me"
password = "${env:PASSWORD}"
[kafka.librdkafka]
"fetch.queue.backoff.ms" = 5
socket.keepalive.enable = true
"client.id" = "thalweg-1"
[storage.options]
region = "eu-west-1"
allow_http = true
[limits]
memory = "1GiB"
cores = 3
pin = false
[admin]
listen = "0.0.0.0:9700"
[defaults]
max_latency = "500ms"
compression = "snappy"
metadata_columns = ["_offset"]
[defaults.storage]
timeout = "10s"
[[table]]
id = "orders"
topic = "orders"
location = "s3://b/orders/"
format = "json"
schema = "id BIGINT NOT NULL, tags ARRAY<STRING>"
start = "2026-11-22T01:00:00+01:00"
on_new_field = "fail"
on_bad_record = "skip"
max_latency = "1m"
target_file_size = "64MB"
compression = "zstd(9)"
[table.storage]
AWS_REGION = "us-east-1"
[[table]]
id = "returns"
topic = "returns"
location = "/data/returns"
start = "latest"
on_new_field = "ignore"
"#;
    let config = parsed(text, &[("PASSWORD", "p$w")]).unwrap();
    let settings =
        [("fetch.queue.backoff.ms", "5"), ("socket.keepalive.enable", "true"), ("client.id", "thalweg-1")]
            .map(|(key, value)| (key.to_owned(), Secret::new(value)));
    assert_eq!(config.kafka.librdkafka, BTreeMap::from(settings));
    let sasl =
        Sasl { mechanism: Mechanism::ScramSha256, username: "me".to_owned(), password: Secret::new("p$w") };
    assert_eq!(config.kafka.security, Security::Sasl(sasl, Tls::default()));
    assert_eq!((config.limits.shards, config.limits.memory, config.limits.pin), (3, 1 << 30, false));
    assert_eq!((config.admin.listen.to_string().as_str(), config.admin.explicit), ("0.0.0.0:9700", true));
    let [orders, returns] = config.tables.as_slice() else { panic!("two tables") };
    assert_eq!(orders.location.as_str(), "s3://b/orders");
    assert_eq!(orders.schema.as_ref().unwrap().to_string(), "id BIGINT NOT NULL, tags ARRAY<STRING>");
    assert_eq!(orders.start, Start::Time(1_795_305_600_000));
    assert_eq!((orders.decoding.on_new_field, orders.on_bad_record), (OnNewField::Fail, OnBadRecord::Skip));
    assert_eq!((orders.max_latency, orders.target_file_size), (Duration::from_secs(60), 64_000_000));
    assert_eq!(orders.compression, Compression::Zstd(9));
    assert_eq!(
        orders.storage_options,
        options(&[("aws_region", "us-east-1"), ("allow_http", "true"), ("timeout", "10s")]),
        "the table's region replaces the global one, whatever its spelling"
    );
    assert_eq!((returns.max_latency, returns.compression), (Duration::from_millis(500), Compression::Snappy));
    assert_eq!((returns.start, returns.decoding.on_new_field), (Start::Latest, OnNewField::Ignore));
    assert_eq!(returns.metadata_columns, [MetadataColumn::Offset.field()]);
    assert_eq!(returns.storage_options["aws_region"].reveal(), "eu-west-1");
}

#[test]
fn the_environment_is_above_the_file() {
    let text =
        MINIMAL.replace("[[table]]", "[defaults]\nmax_latency = \"1s\"\nstart = \"latest\"\n[[table]]");
    let variables = [
        ("THALWEG__KAFKA__BROKERS", "other:1"),
        ("THALWEG__KAFKA__AUTH", "tls"),
        ("THALWEG__LIMITS__MEMORY", "110MiB"),
        ("THALWEG__LIMITS__CORES", "2"),
        ("THALWEG__LIMITS__PIN", "false"),
        ("THALWEG__ADMIN__LISTEN", "127.0.0.1:1"),
        ("THALWEG__DEFAULTS__MAX_LATENCY", "2s"),
        ("THALWEG__DEFAULTS__METADATA_COLUMNS", "_offset, _partition"),
    ];
    let config = parsed(&text, &variables).unwrap();
    assert_eq!(config.kafka.brokers, "other:1");
    assert_eq!(config.kafka.security, Security::Tls(Tls::default()));
    assert_eq!((config.limits.shards, config.limits.memory, config.limits.pin), (2, 110 << 20, false));
    assert_eq!((config.admin.listen.port(), config.admin.explicit), (1, true));
    let table = &config.tables[0];
    assert_eq!((table.max_latency, table.start), (Duration::from_secs(2), Start::Latest));
    assert_eq!(table.metadata_columns, [MetadataColumn::Offset.field(), MetadataColumn::Partition.field()]);
}

#[test]
fn a_wrong_variable_is_named() {
    let cases = [
        ("THALWEG__LIMITS__MEMORY", "x", "`limits.memory` is `x`, which is not a valid size"),
        ("THALWEG__LIMITS__CORES", "-1", "`limits.cores` is `-1`"),
        ("THALWEG__LIMITS__PIN", "yes", "unknown value `yes` for `limits.pin`"),
        ("THALWEG__KAFKA__BROKERS", "", "`kafka.brokers` is empty"),
        ("THALWEG__DEFAULTS__SCHEMA", "id BIGNT", "in the schema: unknown type `BIGNT`"),
    ];
    for (name, value, message) in cases {
        let (found, remedy) = refused(MINIMAL, &[(name, value)]);
        assert!(found.starts_with(&format!("environment variable {name}: {message}")), "{found}");
        assert!(!remedy.is_empty(), "{name}");
    }
}

#[test]
fn a_variable_that_replaces_nothing_is_refused() {
    let names = |name: &str| ["HOME".to_owned(), name.to_owned()];
    assert!(check_variables(names("THALWEG__LIMITS__MEMORY")).is_ok());
    let error = check_variables(names("THALWEG__LIMIT__MEMORY")).unwrap_err();
    assert_eq!(error.remedy.as_deref(), Some("did you mean `THALWEG__LIMITS__MEMORY`?"));
}

#[test]
fn memory_is_at_most_a_quarter_of_the_machine() {
    let memory = |cores, memory| {
        let machine = Machine { cores, pins: vec![], memory };
        parsed_on(MINIMAL, &[], &machine).unwrap().limits.memory
    };
    assert_eq!(memory(2, 64 << 30), 256 << 20);
    assert_eq!(memory(16, 4 << 30), 1 << 30);
    assert_eq!(memory(1, 32 << 20), 80 << 20, "with less than this a shard cannot work");
}

#[test]
fn less_memory_than_the_shards_need_is_refused_with_what_they_need() {
    let text = MINIMAL.replace("[[table]]", "[limits]\nmemory = \"103MiB\"\ncores = 2\n[[table]]");
    let (message, remedy) = refused(&text, &[]);
    assert!(message.contains("`limits.memory` is `103MiB`, too small for `cores = 2`"), "{message}");
    let expected = "choose at least `104MiB` (the program takes 56MiB, each core 24MiB), or fewer `cores`";
    assert_eq!(remedy, expected);
    assert!(parsed(&text.replace("103", "104"), &[]).is_ok());
}

#[test]
fn the_environment_cannot_turn_put_if_absent_off() {
    let text = MINIMAL.replace("data/orders", "s3://b/orders");
    let (message, _) = refused(&text, &[("AWS_CONDITIONAL_PUT", "disabled")]);
    assert!(message.starts_with("environment variable AWS_CONDITIONAL_PUT: "), "{message}");
    assert!(parsed(&text, &[("AWS_CONDITIONAL_PUT", "etag")]).is_ok());
    assert!(parsed(MINIMAL, &[("AWS_CONDITIONAL_PUT", "disabled")]).is_ok(), "no S3, no matter");
}

#[test]
fn security_is_what_auth_says_and_librdkafka_has_its_say_without_it() {
    let with = |lines: &str| {
        let text = MINIMAL.replace("[[table]]", &format!("{lines}\n[[table]]"));
        parsed(&text, &[]).unwrap().kafka
    };
    assert_eq!(with("").security, Security::None);
    assert_eq!(with("auth = \"none\"").security, Security::None);
    assert_eq!(with("auth = \"tls\"").security, Security::Tls(Tls::default()));
    let own = with("[kafka.librdkafka]\n\"security.protocol\" = \"sasl_ssl\"");
    assert_eq!(own.security, Security::None);
    assert_eq!(own.librdkafka["security.protocol"].reveal(), "sasl_ssl");
    let pem = tempfile::NamedTempFile::new().unwrap();
    let pem = pem.path().to_str().unwrap();
    let lines = format!("auth = \"tls\"\n[kafka.tls]\nca = \"{pem}\"\ncert = \"{pem}\"\nkey = \"{pem}\"");
    let client = ClientCertificate { cert: pem.to_owned(), key: pem.to_owned(), key_password: None };
    let tls = Tls { ca: Some(pem.to_owned()), client: Some(client) };
    assert_eq!(with(&lines).security, Security::Tls(tls));
}

#[test]
fn variables_alone_can_log_in() {
    let variables = [
        ("THALWEG__KAFKA__AUTH", "sasl"),
        ("THALWEG__KAFKA__SASL__USERNAME", "me"),
        ("THALWEG__KAFKA__SASL__PASSWORD", "p"),
    ];
    let Security::Sasl(sasl, tls) = parsed(MINIMAL, &variables).unwrap().kafka.security else { panic!() };
    assert_eq!((sasl.mechanism, sasl.username.as_str()), (Mechanism::ScramSha512, "me"));
    assert_eq!(tls, Tls::default());
    let (message, remedy) = refused(MINIMAL, &variables[..2]);
    assert_eq!(
        message,
        "environment variable THALWEG__KAFKA__AUTH: `auth = \"sasl\"` needs `kafka.sasl.password`"
    );
    assert!(remedy.contains("${env:KAFKA_PASSWORD}"), "{remedy}");
}

#[test]
fn a_secret_is_not_in_the_debug_text() {
    let text = MINIMAL.replace(
        "[[table]]",
        "auth = \"sasl\"\n[kafka.sasl]\nusername = \"me\"\npassword = \"hunter2\"\n\
         [kafka.librdkafka]\n\"ssl.keystore.password\" = \"hunter2\"\n\
         [storage.options]\ntoken = \"hunter2\"\n[[table]]",
    );
    let shown = format!("{:?}", parsed(&text, &[]).unwrap());
    assert!(shown.contains("ssl.keystore.password") && shown.contains("\"me\""), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_file_that_is_no_config_is_named_for_what_it_is() {
    let mut latin: Vec<u8> = MINIMAL.replace("orders\"", "gr\u{f6}\u{df}e\"").bytes().collect();
    latin = String::from_utf8(latin).unwrap().chars().map(|c| c as u8).collect();
    let wide = |text: &str| [0xff, 0xfe].into_iter().chain(text.bytes().flat_map(|b| [b, 0])).collect();
    let bare = |text: &str| text.bytes().flat_map(|b| [b, 0]).collect();
    let cases: [(Vec<u8>, &str, &str); 8] = [
        (bare(MINIMAL), ":2:1: the file is UTF-16", "iconv -f utf-16le -t utf-8"),
        (b"PK\x03\x04\0\xff".to_vec(), ":1:6: the file is compressed with zip", "`unzip`"),
        (latin, ":6:9: the byte 0xf6 is not UTF-8", "iconv -f latin1 -t utf-8"),
        (wide(MINIMAL), ":1:1: the file is UTF-16", "iconv -f utf-16 -t utf-8"),
        (
            b"PAR1\0\0\x01".to_vec(),
            ":1:5: the file is binary, and no config",
            "name the config file with `-c FILE`",
        ),
        (vec![0x1f, 0x8b, 8, 0, 0xff], ":1:2: the file is compressed with gzip", "`gunzip`"),
        (vec![0xff; 300], ":1:1: the byte 0xff is not UTF-8", "save the file as UTF-8"),
        (
            vec![b'#'; 20 << 20],
            "it is larger than 4MiB, and no config",
            "name the config file with `-c FILE`",
        ),
    ];
    for (bytes, what, remedy) in cases {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let error = load(file.path(), &|_| None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains(what), "{error} is not {what}");
        assert!(error.remedy.as_deref().unwrap().contains(remedy), "{:?}", error.remedy);
    }
    let directory = tempfile::tempdir().unwrap();
    let error = load(directory.path(), &|_| None).unwrap_err();
    assert!(error.message.ends_with("is a directory"), "{error}");
}

#[test]
fn a_missing_file_says_how_to_name_one() {
    let error = load(Path::new("/nowhere/thalweg.toml"), &|_| None).unwrap_err();
    assert_eq!(error.message, "cannot read /nowhere/thalweg.toml: no such file or directory");
    assert_eq!(error.kind, ErrorKind::Config);
}

#[test]
fn a_command_line_address_has_the_same_refusals() {
    let pairs = [("region".to_owned(), "eu".to_owned())];
    let (url, found) = table_address("s3://b/t/", &pairs).unwrap();
    assert_eq!((url.as_str(), found), ("s3://b/t", options(&[("aws_region", "eu")])));
    assert_eq!(table_address("hdfs://b/t", &[]).unwrap_err().kind, ErrorKind::Usage);
    let unsafe_rename = [("allow_unsafe_rename".to_owned(), "true".to_owned())];
    assert_eq!(table_address("s3://b/t", &unsafe_rename).unwrap_err().kind, ErrorKind::Usage);
}
