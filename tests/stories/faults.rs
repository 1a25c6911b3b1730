//! A store that refuses, cuts and forgets, whose credentials count, and what it is asked with.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::judge;
use crate::program::{TIMEOUT, get, metric, program_with, run, run_until_end};
use crate::services::{self, Faults};
use crate::story::{FLAT, Story};

const RECORDS: i64 = 25_000;
const KINDS: &str = "503,429,500,500-after,cut-before,cut-request,cut-after,cut-reply,slow";

fn table(story: &Story, topic: &str, more: &str) -> String {
    let id = story.name;
    format!(
        "[[table]]\nid = \"{id}\"\ntopic = \"{topic}\"\nlocation = \"s3://{id}/t\"\nschema = \"{FLAT}\"\n{more}"
    )
}

#[test]
fn every_fifth_request_fails_and_rows_are_exact_and_a_clean_stop_leaves_no_orphan() {
    let Some(story) = Story::begin("faults") else { return };
    let topic = story.topic("events", 2);
    services::s3().bucket("faults");
    let faults = Faults::before(services::s3(), "faults-proxy");
    let small_files = "max_latency = \"100ms\"\ntarget_file_size = \"64KiB\"\n";
    let config = story.config("faults", &(faults.options() + &table(&story, &topic, small_files)));
    for partition in 0..2 {
        story.produce(&topic, partition, 0..RECORDS);
    }
    faults.set(&["rate=0.1", "seed=952", &format!("kinds={KINDS}")]);
    let mut running = run(&config);
    let address = running.address();
    running.until("table open");
    faults.set(&["rate=0.2"]);
    running
        .watch_until("a part is committed", || metric(&address, "thalweg_rows_committed_total") >= 5_000.0);
    running.signal("-TERM");
    running.end(Duration::from_secs(12)).with(0);
    judge::oracle_on("s3://faults/t", "orphans.py");
    faults.set(&["rate=0.1"]);
    run_until_end(&config).with(0);
    judge::oracle_on("s3://faults/t", "orphans.py");
    let rows = judge::equal(&story, "s3://faults/t", &topic, FLAT, &["duckdb"]);
    assert_eq!(rows, 2 * RECORDS.unsigned_abs());
    let met: BTreeSet<String> = faults.kinds().into_iter().flatten().collect();
    assert_eq!(met.len(), KINDS.split(',').count(), "every kind of fault was met: {met:?}");
}

#[test]
fn while_the_store_refuses_everything_the_process_lives_and_says_why_it_is_not_ready() {
    let Some(story) = Story::begin("outage") else { return };
    let topic = story.topic("events", 1);
    services::s3().bucket("outage");
    let faults = Faults::before(services::s3(), "outage-proxy");
    let config =
        story.config("outage", &(faults.options() + &table(&story, &topic, "max_latency = \"50ms\"\n")));
    let mut running = run(&config);
    let address = running.address();
    running.watch_until("it is ready", || get(&address, "/readyz").0.contains("200"));
    faults.set(&["rate=1", "kinds=503"]);
    story.produce(&topic, 0, 0..1_000);
    running.watch_until("it says why", || {
        let (status, body) = get(&address, "/readyz");
        status.contains("503") && body.contains("SlowDown")
    });
    assert!(get(&address, "/livez").0.contains("200"));
    faults.set(&["rate=0"]);
    running.watch_until("all is committed", || metric(&address, "thalweg_rows_committed_total") >= 1_000.0);
    running.watch_until("it is ready again", || get(&address, "/readyz").0.contains("200"));
    running.signal("-TERM");
    running.end(Duration::from_secs(12)).with(0);
    assert_eq!(judge::equal(&story, "s3://outage/t", &topic, FLAT, &["duckdb"]), 1_000);
    judge::oracle_on("s3://outage/t", "orphans.py");
}

#[test]
fn proxy_and_session_token_of_the_options_are_used() {
    let Some(story) = Story::begin("proxied") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..100);
    services::s3().bucket("proxied");
    let proxy = Faults::before(services::s3(), "proxied-proxy");
    let options = format!(
        "{}session_token = \"canary-token\"\nproxy_url = \"{}\"\n",
        services::s3().options(),
        proxy.endpoint
    );
    let config = story.config("proxied", &(options + &table(&story, &topic, "")));
    run_until_end(&config).with(0);
    let requests = proxy.requests();
    assert!(
        !requests.is_empty() && requests.iter().all(|one| one["absolute"] == true && one["token"] == true)
    );
    assert_eq!(judge::equal(&story, "s3://proxied/t", &topic, FLAT, &["duckdb"]), 100);
}

/// s3proxy encrypts nothing and says so: what it was asked for is in the proxy's log.
#[test]
fn encryption_is_asked_for_with_every_put_and_a_store_without_it_is_named() {
    let Some(story) = Story::begin("encrypted") else { return };
    let topic = story.topic("events", 1);
    services::s3().bucket("encrypted");
    let proxy = Faults::before(services::s3(), "encrypted-proxy");
    let options = proxy.options() + "server_side_encryption = \"aws:kms\"\nsse_kms_key_id = \"key-7\"\n";
    let config = story.config("encrypted", &(options + &table(&story, &topic, "")));
    run_until_end(&config).with(69).saying("Server-side encryption is not supported");
    let puts: Vec<_> = proxy.requests().into_iter().filter(|one| one["method"] == "PUT").collect();
    assert!(!puts.is_empty());
    for put in puts {
        assert_eq!(put["headers"]["x-amz-server-side-encryption"], "aws:kms", "{put}");
        assert_eq!(put["headers"]["x-amz-server-side-encryption-aws-kms-key-id"], "key-7", "{put}");
    }
}

#[test]
fn credentials_of_environment_and_profile_open_the_store_and_wrong_ones_are_refused() {
    const SECRET: &str = "canary-of-a-secret";
    let Some(story) = Story::begin("credentials") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..10);
    services::s3().bucket("credentials");
    let head = format!("[storage.options]\nendpoint = \"{}\"\n", services::s3().endpoint);
    let config = story.config("environment", &(head.clone() + &table(&story, &topic, "")));
    let config = config.to_str().unwrap();
    let shared = story.dir.join("shared-credentials");
    let text = format!(
        "[right]\naws_access_key_id = test\naws_secret_access_key = testtest1\n\
         [wrong]\naws_access_key_id = test\naws_secret_access_key = {SECRET}\n"
    );
    fs::write(&shared, text).unwrap();
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap());
    let key = ("AWS_ACCESS_KEY_ID", "test");
    let cases: [(&[(&str, &str)], i32); 5] = [
        (&[key, ("AWS_SECRET_ACCESS_KEY", "testtest1")], 0),
        (&[key, ("AWS_SECRET_ACCESS_KEY", SECRET)], 77),
        (&[shared, ("AWS_PROFILE", "right")], 0),
        (&[shared, ("AWS_PROFILE", "wrong")], 77),
        (&[shared, ("AWS_PROFILE", "nobody")], 78),
    ];
    for (environment, code) in cases {
        let both = [&["run", "--until-end", "-vv", "-c", config][..], &["check", "-c", config]];
        for command in if code == 0 { &both[..1] } else { &both } {
            let ended = program_with(environment, command).end(TIMEOUT).with(code);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!said.contains(SECRET) && !said.contains("testtest1"), "a secret is shown:\n{said}");
            if code == 77 {
                assert!(
                    said.contains("SignatureDoesNotMatch") && said.contains("check the credentials"),
                    "{said}"
                );
            }
        }
    }
    assert_eq!(judge::equal(&story, "s3://credentials/t", &topic, FLAT, &["duckdb"]), 10);
}
