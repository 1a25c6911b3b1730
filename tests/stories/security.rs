//! TLS and SASL against a real broker: what is right works, and no output holds a password.
//!
//! What is wrong is in `tests/setups`.

use std::fs;
use std::path::PathBuf;

use crate::judge;
use crate::program::{TIMEOUT, get, run_until_end, start};
use crate::services::{self, Kafka};
use crate::story::{FLAT, Story};

/// The password of the broker's user: long enough to be told apart in any output.
const PASSWORD: &str = "thalweg-secret";

struct Secured {
    story: Story,
    topic: String,
    kafka: &'static Kafka,
}

fn begin(name: &'static str) -> Option<Secured> {
    let kafka = services::secured_kafka(name)?;
    let story = Story::begin(name)?;
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..300);
    Some(Secured { story, topic, kafka })
}

impl Secured {
    fn config(&self, name: &str, brokers: &str, section: &str) -> (PathBuf, String) {
        let location = self.story.place(name);
        let body = format!(
            "[[table]]\nid = \"{name}\"\ntopic = \"{}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n",
            self.topic
        );
        let kafka = format!("brokers = \"{brokers}\"\n{section}");
        (self.story.config_with(&kafka, name, &body), location)
    }

    fn ca(&self) -> String {
        format!("[kafka.tls]\nca = \"{}/ca.pem\"", self.kafka.tls)
    }
}

#[test]
fn scram_and_plain_over_tls_read_every_record() {
    let Some(secured) = begin("sasl") else { return };
    for mechanism in ["scram-sha-512", "plain"] {
        let section = format!(
            "auth = \"sasl\"\n[kafka.sasl]\nmechanism = \"{mechanism}\"\nusername = \"thalweg\"\npassword = \"{PASSWORD}\"\n{}",
            secured.ca()
        );
        let (config, location) = secured.config(mechanism, &secured.kafka.sasl_ssl, &section);
        start(&["check"], &config).end(TIMEOUT).with(0).saying("sampled become rows");
        run_until_end(&config).with(0);
        assert_eq!(judge::equal(&secured.story, &location, &secured.topic, FLAT, &["duckdb"]), 300);
    }
}

#[test]
fn a_client_certificate_over_tls_reads_every_record() {
    let Some(secured) = begin("mtls") else { return };
    let tls = &secured.kafka.tls;
    let section =
        format!("auth = \"tls\"\n{}\ncert = \"{tls}/client.pem\"\nkey = \"{tls}/client.key\"", secured.ca());
    let (config, location) = secured.config("mtls", &secured.kafka.ssl, &section);
    start(&["check"], &config).end(TIMEOUT).with(0);
    run_until_end(&config).with(0);
    assert_eq!(judge::equal(&secured.story, &location, &secured.topic, FLAT, &["duckdb"]), 300);
}

#[test]
fn a_password_is_in_no_output() {
    let Some(secured) = begin("canary") else { return };
    let section = format!(
        "auth = \"sasl\"\n[kafka.sasl]\nusername = \"thalweg\"\npassword = \"{PASSWORD}\"\n{}",
        secured.ca()
    );
    let (config, location) = secured.config("canary", &secured.kafka.sasl_ssl, &section);
    let checked = start(&["check", "--json", "-vv"], &config).end(TIMEOUT).with(0);
    let mut running = start(&["run", "-vv"], &config);
    let address = running.address();
    running.until("committed");
    let pages: Vec<String> =
        ["/metrics", "/readyz", "/livez"].iter().map(|page| get(&address, page).1).collect();
    running.signal("-TERM");
    let ran = running.end(TIMEOUT).with(0);
    let mut outputs = vec![checked.stdout, checked.stderr, ran.stdout, ran.stderr];
    outputs.extend(pages);
    for file in fs::read_dir(format!("{location}/_delta_log")).unwrap() {
        outputs.push(fs::read_to_string(file.unwrap().path()).unwrap());
    }
    for text in outputs {
        assert!(!text.contains(PASSWORD), "the password is in:\n{text}");
    }
    // A wrong password, in a config that is wrong besides, is not shown either.
    let wrong = fs::read_to_string(&config).unwrap().replace("password =", "passwrod =");
    fs::write(&config, wrong).unwrap();
    let ended = start(&["check"], &config).end(TIMEOUT).with(78).saying("passwrod");
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(PASSWORD));
}
