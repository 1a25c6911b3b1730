//! `thalweg init`: the written config is one that `check` accepts and `run` reads by.

use std::fs;
use std::path::Path;

use crate::judge;
use crate::program::{Ended, TIMEOUT, program, run_until_end, start};
use crate::story::{FLAT, Story};

fn init(story: &Story, topic: &str, location: &str, more: &[&str]) -> Ended {
    let asked = ["init", "--brokers", story.brokers, "--topic", topic, "--location", location];
    program(&[&asked[..], more].concat()).end(TIMEOUT)
}

#[test]
fn a_config_from_a_topic_is_accepted_and_its_run_is_exact() {
    let Some(story) = Story::begin("init") else { return };
    let topic = story.topic("events", 2);
    story.produce(&topic, 0, 0..300);
    story.produce(&topic, 1, 0..200);
    // A field of two types has no column, and its value is not lost.
    let odd = [r#"{"id":500,"odd":1}"#, r#"{"id":501,"odd":"one"}"#];
    story.produce_texts(&topic, 1, odd.iter().map(|text| (300, (*text).to_owned())));
    let (file, location) = (story.place("new.toml"), story.place("table"));
    let ended = init(&story, &topic, &location, &["-o", &file]).with(0);
    ended.saying("no column for `odd`").saying("502 of 502 records").saying(&file);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("id BIGINT") && text.contains("#   odd:"), "{text}");
    start(&["check"], Path::new(&file)).end(TIMEOUT).with(0);
    assert!(!Path::new(&location).exists(), "init or check created the table");
    run_until_end(Path::new(&file)).with(0);
    let rows = judge::equal(&story, &location, &topic, FLAT, &["duckdb"]);
    assert_eq!(rows, 502);

    // The table is there now: its schema stays, and the file is not replaced by accident.
    init(&story, &topic, &location, &["-o", &file]).with(2).saying("--force");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    init(&story, &topic, &location, &["-o", &file, "--force"]).with(0).saying("holds a table");
    run_until_end(Path::new(&file)).with(0);
}

#[test]
fn an_empty_topic_gives_a_config_without_a_schema_and_secrets_stay_out() {
    let Some(story) = Story::begin("init-empty") else { return };
    let topic = story.topic("events", 1);
    let canary = "canary-77c1";
    let secrets =
        ["--kafka", &format!("sasl.password={canary}"), "--storage", &format!("secret_access_key={canary}")];
    let ended = init(&story, &topic, "s3://nowhere/t", &secrets).with(0);
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(canary), "{ended:?}");
    let ended = ended
        .saying("has no records yet")
        .saying("${env:KAFKA_SASL_PASSWORD}")
        .saying("set SECRET_ACCESS_KEY");
    assert!(ended.stdout.starts_with("# thalweg check"), "{}", ended.stdout);
    assert!(!ended.stdout.lines().any(|line| line.starts_with("schema")), "{}", ended.stdout);
    init(&story, "evnts", "here", &[]).with(69).saying("evnts");
    init(&story, &topic, "gs:/b", &["--storage", "regoin=x"]).with(78).saying("regoin");
}

#[test]
fn what_only_later_records_show_is_in_the_schema() {
    let Some(story) = Story::begin("init-later") else { return };
    let topic = story.topic("events", 1);
    let record = |number: i64, price: &str, id: u64| format!(r#"{{"id":{id},"n":{number},"price":{price}}}"#);
    story.produce_texts(&topic, 0, (0..2000).map(|number| (number, record(number, "10", u64::MAX))));
    story.produce_texts(&topic, 0, (2000..4000).map(|number| (number, record(number, "10.5", 7))));
    let ended = init(&story, &topic, &story.place("table"), &[]).with(0);
    assert!(ended.stdout.contains("id DECIMAL(38, 0),\n  n BIGINT,\n  price DOUBLE"), "{}", ended.stdout);
    ended.saying("1000 of 1000 records").saying("n: whole numbers in every sample");

    // No record is a bad one.
    let location = story.place("inferred");
    let table = format!(
        "[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\non_bad_record = \"fail\"\n"
    );
    run_until_end(&story.config("inferred", &table)).with(0);
    assert_eq!(judge::offsets(&location), judge::range(0, 0..4000).collect());
}

#[test]
fn a_topic_whose_records_are_no_json_is_told_what_they_are() {
    let Some(story) = Story::begin("init-registry") else { return };
    let topic = story.topic("events", 1);
    story.produce_raw(&topic, None, b"\0\0\0\0\x07{\"id\":1}", None);
    let ended = init(&story, &topic, &story.place("table"), &[]).with(0);
    ended.saying("five bytes of a schema registry (schema 7) stand before the JSON");
}
