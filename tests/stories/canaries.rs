//! Secrets that are planted wherever a config takes one: they are found in no output, whatever goes wrong.
//!
//! What is wrong is made here; what a screen says of it is in `tests/setups`.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Ended, TIMEOUT, get, program_with};
use crate::services;
use crate::story::{FLAT, Story};

/// Each secret has a number behind it, so that a finding says which one it was.
const CANARY: &str = "c4n4ry-";

/// Everything that any library of ours would say.
const LOUD: [(&str, &str); 2] = [
    (
        "RUST_LOG",
        "trace,librdkafka=trace,rdkafka=trace,hyper=trace,hyper_util=trace,h2=trace,reqwest=trace,rustls=trace,tower=trace,object_store=trace",
    ),
    ("CANARY", "c4n4ry-of-a-variable"),
];

/// Settings of librdkafka that hold secrets. Without `auth` they are passed on, and the first two are used.
const PASSED_ON: &str = r#"[kafka.librdkafka]
"sasl.password" = "c4n4ry-1"
"sasl.username" = "c4n4ry-2"
"ssl.key.password" = "c4n4ry-3"
"ssl.keystore.password" = "c4n4ry-4"
"sasl.oauthbearer.config" = "principal=c4n4ry-5"
debug = "all"
"#;

/// Options of a store that a table on a local disk never uses, and one on S3 does.
const STORAGE: &str = r#"[storage.options]
region = "us-east-1"
access_key_id = "c4n4ry-11"
secret_access_key = "c4n4ry-12"
session_token = "c4n4ry-13"
"#;

struct Canaries {
    story: Story,
    /// What was said so far, with what said it.
    said: Vec<(String, String)>,
}

impl Canaries {
    fn table(&self, topic: &str, location: &str) -> String {
        format!(
            "[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n\
             max_latency = \"50ms\"\n"
        )
    }

    /// Runs the commands on a config and keeps what they say. They end by themselves.
    fn fails(&mut self, name: &str, kafka: &str, rest: &str, code: i32) {
        let config = self.story.config_with(kafka, name, rest);
        let path = config.to_str().unwrap();
        for command in [&["check", "-vv"][..], &["run", "--until-end", "--log-format", "json"]] {
            let ended = program_with(&LOUD, &[command, &["-c", path]].concat()).end(TIMEOUT).with(code);
            self.keep(&format!("{name}: {command:?}"), ended);
        }
    }

    fn keep(&mut self, what: &str, ended: Ended) {
        self.said.push((what.to_owned(), ended.stdout));
        self.said.push((what.to_owned(), ended.stderr));
    }

    fn keep_files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.keep_files(&path);
            } else {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                self.said.push((path.display().to_string(), text));
            }
        }
    }

    #[track_caller]
    fn are_silent(&self) {
        assert!(self.said.iter().map(|(_, text)| text.len()).sum::<usize>() > 0, "nothing was said");
        for (what, text) in &self.said {
            if let Some(at) = text.find(CANARY) {
                let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
                panic!("{what} shows a secret: {}", text[line..].lines().next().unwrap_or_default());
            }
        }
    }
}

fn begin(name: &'static str) -> Option<(Canaries, String)> {
    let story = Story::begin(name)?;
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..50);
    story.produce_texts(&topic, 0, [(50, r#"{"id":"no number"}"#.to_owned())].into_iter());
    Some((Canaries { story, said: Vec::new() }, topic))
}

#[test]
fn secrets_are_in_no_error_whoever_refuses_them() {
    let Some((mut canaries, topic)) = begin("canaries-refused") else { return };
    let kafka = services::secured_kafka("canaries-refused").unwrap();
    let plain = format!("brokers = \"{}\"\n", kafka.bootstrap);
    let local = canaries.story.place("table");
    let table = canaries.table(&topic, &local);
    let sasl = format!(
        "brokers = \"{}\"\nauth = \"sasl\"\n[kafka.sasl]\nusername = \"thalweg\"\npassword = \"${{env:CANARY}}\"\n\
         [kafka.tls]\nca = \"{}/ca.pem\"\n[kafka.librdkafka]\ndebug = \"all\"\n",
        kafka.sasl_ssl, kafka.tls
    );
    canaries.fails("wrong-password", &sasl, &table, 77);
    let passed_on = format!(
        "brokers = \"{}\"\n{PASSED_ON}\"security.protocol\" = \"sasl_ssl\"\n\"sasl.mechanism\" = \"PLAIN\"\n\"ssl.ca.location\" = \"{}/ca.pem\"\n",
        kafka.sasl_ssl, kafka.tls
    );
    canaries.fails("wrong-password-passed-on", &passed_on, &table, 77);
    let on_s3 = canaries.table(&topic, "s3://canaries/t");
    let endpoint = format!("endpoint = \"{}\"\n", services::s3().endpoint);
    services::s3().bucket("canaries");
    canaries.fails("wrong-keys", &plain, &format!("{STORAGE}{endpoint}{on_s3}"), 77);
    let proxy = "endpoint = \"https://s3.invalid\"\nproxy_url = \"http://me:c4n4ry-15@127.0.0.1:1\"\n";
    canaries.fails("proxy-down", &plain, &format!("{STORAGE}{proxy}{on_s3}"), 69);
    canaries.are_silent();
}

#[test]
fn secrets_are_in_no_error_of_a_config_that_is_wrong() {
    let Some((mut canaries, topic)) = begin("canaries-wrong") else { return };
    let table = canaries.table(&topic, &canaries.story.place("table"));
    let brokers = "brokers = \"127.0.0.1:1\"\n";
    for (name, section) in [
        ("misspelt", "auth = \"sasl\"\n[kafka.sasl]\npasswrod = \"c4n4ry-21\"\n"),
        ("misspelt-below", "[kafka.librdkafka]\n\"sasl.passwrd\" = \"c4n4ry-22\"\n"),
        ("inline", "auth = \"sasl\"\nsasl = { username = \"me\", password = \"c4n4ry-23\", x = 1 }\n"),
        ("unclosed", "auth = \"sasl\"\n[kafka.sasl]\npassword = \"c4n4ry-24\n"),
        ("without-quotes", "auth = \"sasl\"\n[kafka.sasl]\npassword = c4n4ry-25\n"),
        ("list", "auth = \"sasl\"\n[kafka.sasl]\npassword = [\"c4n4ry-26\"]\n"),
        (
            "default",
            "auth = \"sasl\"\n[kafka.sasl]\nusername = \"u\"\npassword = \"${env:NOBODY:-c4n4ry-27}\"\nx = \"${env:NOBODY}\"\n",
        ),
        ("several-lines", "auth = \"sasl\"\n[kafka.sasl]\npassword = \"\"\"\nc4n4ry-28\n\"\"\" x\n"),
        ("no-key", "auth = \"tls\"\n[kafka.tls]\nkey_password = \"c4n4ry-29\"\n"),
        ("no-pem", "[kafka.librdkafka]\n\"security.protocol\" = \"ssl\"\n\"ssl.key.pem\" = \"c4n4ry-30\"\n"),
        (
            "no-number",
            "[kafka.librdkafka]\n\"sasl.oauthbearer.config\" = \"c4n4ry-31\"\n\"socket.timeout.ms\" = \"x\"\n",
        ),
        ("no-table", "sasl = \"me:c4n4ry-32\"\n"),
        ("comment", "[kafka.librdkafka]\n\"group.id\" = \"g\" # sasl.password = c4n4ry-33\n"),
    ] {
        canaries.fails(name, &format!("{brokers}{section}"), &table, 78);
    }
    canaries.fails("userinfo", "brokers = \"me:c4n4ry-34@k:9092\"\n", &table, 78);
    let elsewhere = canaries.table(&topic, "s3://key:c4n4ry-35@bucket/t");
    canaries.fails("location", brokers, &elsewhere, 78);
    let twice = format!("{STORAGE}aws_secret_access_key = \"c4n4ry-36\"\n{table}");
    canaries.fails("twice", brokers, &twice, 78);
    canaries.are_silent();
}

#[test]
fn secrets_are_in_nothing_that_a_run_leaves_behind() {
    let Some((mut canaries, topic)) = begin("canaries-run") else { return };
    let bootstrap = services::kafka("canaries-run").unwrap();
    let folder = canaries.story.place("tables");
    let table = canaries.table(&topic, &format!("{folder}/rows"));
    let config = canaries.story.config_with(
        &format!("brokers = \"{bootstrap}\"\n{PASSED_ON}"),
        "run",
        &format!("{STORAGE}{table}"),
    );
    let path = config.to_str().unwrap().to_owned();
    let mut running = program_with(&LOUD, &["run", "-vv", "-c", &path]);
    let address = running.address();
    running.until("committed");
    for page in ["/metrics", "/readyz", "/livez", "/", "/api/v1/status", "/debug"] {
        let (status, body) = get(&address, page);
        canaries.said.push((page.to_owned(), format!("{status}\n{body}")));
    }
    running.signal("-TERM");
    let ended = running.end(TIMEOUT).with(0);
    // The settings were there to be shown: librdkafka says that it hides them.
    assert!(ended.stderr.contains("sasl.password"), "librdkafka did not list its settings");
    canaries.keep("run", ended);
    for arguments in [
        &[
            "table",
            "info",
            "--json",
            &format!("{folder}/rows"),
            "--storage",
            "aws_secret_access_key=c4n4ry-41",
        ][..],
        &["table", "verify", "--deep", &format!("{folder}/rows"), "--storage", "token=c4n4ry-42"],
        &[
            "table",
            "info",
            "s3://b/t",
            "--storage",
            "secret_access_key=c4n4ry-43",
            "--storage",
            "secret_acess_key=c4n4ry-44",
        ],
        &["table", "info", "s3://b/t", "--storage", "proxy_url=http://me:c4n4ry-45@x y"],
    ] {
        let ended = program_with(&LOUD, arguments).end(TIMEOUT);
        canaries.keep(&format!("{arguments:?}"), ended);
    }
    canaries.keep_files(Path::new(&folder));
    assert!(canaries.said.iter().any(|(what, _)| what.contains("_delta_log")), "no log was read");
    canaries.are_silent();
}

/// Runs it, lets it crash once it has committed, and tells whether the kernel wrote its memory down.
fn dumps_core(canaries: &mut Canaries, config: &Path, allowed: bool) -> bool {
    let script = format!(
        "ulimit -c unlimited; cd \"$1\"; {} exec \"$2\" run -c \"$3\"",
        if allowed { "THALWEG_CORE_DUMPS=1" } else { "" }
    );
    let folder = canaries.story.place("crash");
    fs::create_dir_all(&folder).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", &script, "sh", &folder, env!("CARGO_BIN_EXE_thalweg"), config.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(format!("{folder}/stderr")).unwrap())
        .spawn()
        .unwrap();
    let deadline = crossbeam_channel::after(TIMEOUT);
    let tick = crossbeam_channel::tick(std::time::Duration::from_millis(50));
    while !fs::read_to_string(format!("{folder}/stderr")).unwrap().contains("committed") {
        assert!(deadline.is_empty(), "no commit in time");
        tick.recv().unwrap();
    }
    let status = Command::new("kill").args(["-ABRT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    canaries.said.push(("a crash".to_owned(), fs::read_to_string(format!("{folder}/stderr")).unwrap()));
    fs::remove_dir_all(&folder).unwrap();
    status.core_dumped()
}

#[test]
fn a_crash_writes_no_memory_to_the_disk_unless_it_is_asked_to() {
    let Some((mut canaries, topic)) = begin("canaries-core") else { return };
    let bootstrap = services::kafka("canaries-core").unwrap();
    let table = canaries.table(&topic, &canaries.story.place("table"));
    let config = canaries.story.config_with(
        &format!("brokers = \"{bootstrap}\"\n{PASSED_ON}"),
        "core",
        &format!("{STORAGE}{table}"),
    );
    assert!(!dumps_core(&mut canaries, &config, false), "a core was dumped");
    // Something to commit, and a machine that writes no cores proves nothing.
    canaries.story.produce(&topic, 0, 51..60);
    if !dumps_core(&mut canaries, &config, true) {
        eprintln!("this machine writes no cores at all");
    }
    canaries.are_silent();
}
