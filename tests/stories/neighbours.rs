//! Several tables in one process, one of them sick: the others are read as if
//! it were not there, it is named with its cause, and it goes on by itself
//! where that is possible.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::producer::BaseProducer;
use serde_json::Value;

use crate::judge;
use crate::program::{Running, TIMEOUT, get, metric, run, run_until_end};
use crate::services::{self, Faults};
use crate::story::{Choices, FLAT, Story, flat};

fn table(id: &str, topic: &str, location: &str) -> String {
    format!(
        "[[table]]\nid = \"{id}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n\
         max_latency = \"50ms\"\n"
    )
}

/// Rows that a table has, as the process counts them.
fn rows(address: &str, table: &str) -> f64 {
    metric(address, &format!("thalweg_rows_committed_total{{table=\"{table}\"}}"))
}

fn has_rows(running: &mut Running, address: &str, table: &str, wanted: f64) {
    running.watch_until(&format!("{table} has {wanted} rows"), || rows(address, table) >= wanted);
}

/// What `/readyz` says of a component now.
fn told(address: &str, component: &str) -> Option<Value> {
    let body: Value = serde_json::from_str(&get(address, "/readyz").1).unwrap();
    body["reasons"].as_array().unwrap().iter().find(|reason| reason["component"] == component).cloned()
}

/// Waits until `/readyz` has a component in a state, and says why.
fn is_told(running: &mut Running, address: &str, component: &str, state: &str, words: &str) -> Value {
    let mut found = Value::Null;
    running.watch_until(&format!("{component} is {state}: {words}"), || {
        found = told(address, component).unwrap_or_default();
        found["state"] == state && found["reason"].as_str().is_some_and(|said| said.contains(words))
    });
    found
}

fn partitions(address: &str, table: &str, state: &str) -> f64 {
    metric(address, &format!("thalweg_partitions{{table=\"{table}\",state=\"{state}\"}}"))
}

/// Six tables: one on a store behind a proxy, five on the disk.
struct Neighbours {
    story: Story,
    topics: Vec<String>,
    faults: Faults,
    config: PathBuf,
    producer: BaseProducer,
}

const SICK: &str = "sick";

impl Neighbours {
    fn begin(name: &'static str) -> Option<Neighbours> {
        let story = Story::begin(name)?;
        let topics: Vec<String> = (0..6).map(|number| story.topic(&format!("t{number}"), 1)).collect();
        services::s3().bucket(name);
        let faults = Faults::before(services::s3(), &format!("{name}-proxy"));
        let sick = table(SICK, &topics[0], &format!("s3://{name}/sick"));
        let healthy = topics[1..].iter().map(|topic| table(topic, topic, &story.place(topic)));
        let body = faults.options() + &sick + &healthy.collect::<String>();
        let config = story.config("config", &body);
        let producer = story.producer();
        Some(Neighbours { story, topics, faults, config, producer })
    }

    fn healthy(&self) -> &[String] {
        &self.topics[1..]
    }

    fn produce(&self, numbers: std::ops::Range<i64>) {
        for topic in &self.topics {
            let records = numbers.clone().map(|number| (number, flat(number)));
            self.story.produce_by(&self.producer, topic, 0, records);
        }
    }

    fn judge(&self, rows: u64) {
        let places = self.healthy().iter().map(|topic| (topic, self.story.place(topic)));
        let sick = (&self.topics[0], format!("s3://{}/sick", self.story.name));
        for (topic, place) in places.chain([sick]) {
            assert_eq!(judge::equal(&self.story, &place, topic, FLAT, &["duckdb"]), rows, "{topic}");
        }
    }
}

#[test]
fn a_store_that_takes_requests_and_answers_nothing_holds_up_its_own_table_only() {
    let Some(lake) = Neighbours::begin("neighbours-stall") else { return };
    let mut running = run(&lake.config);
    let address = running.address();
    lake.produce(0..100);
    for topic in &lake.topics[1..] {
        has_rows(&mut running, &address, topic, 100.0);
    }
    has_rows(&mut running, &address, SICK, 100.0);
    lake.faults.set(&["rate=1", "kinds=stall", "stall=600"]);
    // Each piece is a unit of work of its own: more than a table may have uncommitted.
    let mut next = 100;
    while partitions(&address, SICK, "paused") == 0.0 {
        lake.produce(next..next + 10);
        next += 10;
        for topic in lake.healthy() {
            has_rows(&mut running, &address, topic, next as f64);
        }
        assert!(next < 4_000, "it is read without end while nothing of it is committed");
    }
    // Paused or not, the others go on, and nobody is told anything wrong.
    lake.produce(next..next + 300);
    next += 300;
    for topic in lake.healthy() {
        has_rows(&mut running, &address, topic, next as f64);
        assert_eq!(partitions(&address, topic, "reading"), 1.0, "{topic}");
        assert_eq!(told(&address, &format!("table {topic}")), None);
    }
    assert!(get(&address, "/livez").0.contains("200"));
    assert_eq!(rows(&address, SICK), 100.0);
    // Its lag is what is not committed, and fresh although nothing of it is polled.
    let lag = format!("thalweg_lag_records{{table=\"{SICK}\"");
    running.watch_until("its lag is told", || metric(&address, &lag) == (next - 100) as f64);
    lake.faults.set(&["rate=0"]);
    has_rows(&mut running, &address, SICK, next as f64);
    running.watch_until("it is read again", || partitions(&address, SICK, "reading") == 1.0);
    running.watch_until("it has no lag", || metric(&address, &lag) == 0.0);
    running.ends_in_order();
    lake.judge(next as u64);
}

#[test]
fn a_flood_into_a_table_that_cannot_commit_leaves_memory_for_the_others() {
    let Some(lake) = Neighbours::begin("neighbours-flood") else { return };
    let mut running = run(&lake.config);
    let address = running.address();
    lake.produce(0..10);
    has_rows(&mut running, &address, SICK, 10.0);
    lake.faults.set(&["rate=1", "kinds=stall", "stall=600"]);
    // Text that hardly compresses: what is read of it is what it takes.
    let mut choices = Choices(7);
    let mut text = || (0..88).map(|_| format!("{:016x}", choices.below(u64::MAX))).collect::<String>();
    let flood = (10..60_010).map(|number| (number, format!("{{\"id\":{number},\"name\":\"{}\"}}", text())));
    lake.story.produce_texts(&lake.topics[0], 0, flood);
    running.watch_until("it is paused", || partitions(&address, SICK, "paused") == 1.0);
    for topic in lake.healthy() {
        lake.story.produce_wide(topic, 0, 10..20_010);
    }
    for topic in lake.healthy() {
        has_rows(&mut running, &address, topic, 20_010.0);
    }
    assert_eq!(rows(&address, SICK), 10.0);
    lake.faults.set(&["rate=0"]);
    has_rows(&mut running, &address, SICK, 60_010.0);
    running.ends_in_order();
}

/// Five tables, of which two can be started: the others lack a store, a sound log, a topic.
fn three_sick(story: &Story, closed: &str) -> PathBuf {
    let (good, more, absent) =
        (story.topic("good", 2), story.topic("more", 1), format!("{}-absent", story.name));
    let refused = story.place("refused");
    fs::create_dir_all(format!("{refused}/_delta_log")).unwrap();
    fs::write(format!("{refused}/_delta_log/00000000000000000000.json"), "no action\n").unwrap();
    let unreachable = format!(
        "{}[table.storage]\nendpoint = \"{closed}\"\naccess_key_id = \"a\"\nsecret_access_key = \"b\"\n\
         region = \"us-east-1\"\nallow_http = \"true\"\n",
        table("unreachable", &story.topic("unreachable", 1), "s3://nowhere/t")
    );
    let body = unreachable
        + &table("refused", &story.topic("refused", 1), &refused)
        + &table("absent", &absent, &story.place("absent"))
        + &table("good", &good, &story.place("good"))
        + &table("more", &more, &story.place("more"));
    story.config("config", &body)
}

#[test]
fn tables_that_cannot_be_started_keep_no_other_from_it_and_start_when_they_can() {
    let Some(story) = Story::begin("neighbours-start") else { return };
    let config = three_sick(&story, "http://127.0.0.1:9");
    story.produce("neighbours-start-good", 0, 0..500);
    story.produce("neighbours-start-more", 0, 0..500);
    let mut running = run(&config);
    let address = running.address();
    has_rows(&mut running, &address, "good", 500.0);
    has_rows(&mut running, &address, "more", 500.0);
    let absent = is_told(&mut running, &address, "table absent", "waiting", "does not exist");
    assert!(absent["remedy"].as_str().unwrap().contains("create the topic"), "{absent}");
    is_told(&mut running, &address, "table unreachable", "waiting", "nowhere");
    let refused = is_told(&mut running, &address, "table refused", "stopped", "refused");
    assert!(refused["remedy"].is_string(), "{refused}");
    assert_eq!(metric(&address, "thalweg_tables{state=\"reading\"}"), 2.0);
    assert_eq!(metric(&address, "thalweg_tables{state=\"waiting\"}"), 2.0);
    assert_eq!(metric(&address, "thalweg_tables{state=\"stopped\"}"), 1.0);
    for counter in ["rows_committed", "dead_letters", "commits", "commit_conflicts"] {
        let name = format!("thalweg_{counter}_total{{table=\"absent\"}} 0");
        assert!(get(&address, "/metrics").1.lines().any(|line| line == name), "{name} is missing");
    }
    // What it lacked comes while the others are read.
    let absent = story.topic("absent", 1);
    story.produce(&absent, 0, 0..100);
    has_rows(&mut running, &address, "absent", 100.0);
    assert_eq!(told(&address, "table absent"), None);
    running.ends_in_order();
    assert_eq!(judge::equal(&story, &story.place("good"), "neighbours-start-good", FLAT, &["duckdb"]), 500);
}

#[test]
fn a_bounded_run_commits_what_it_can_and_ends_with_the_code_of_the_first_that_failed() {
    let Some(story) = Story::begin("neighbours-bounded") else { return };
    let (sound, also) = (story.topic("sound", 2), story.topic("also", 1));
    story.produce(&sound, 0, 0..300);
    story.produce(&also, 0, 0..300);
    let refused = story.place("refused");
    fs::create_dir_all(format!("{refused}/_delta_log")).unwrap();
    fs::write(format!("{refused}/_delta_log/00000000000000000000.json"), "no action\n").unwrap();
    let body = table("refused", &story.topic("refused", 1), &refused)
        + &table("sound", &sound, &story.place("sound"))
        + &table("also", &also, &story.place("also"));
    let ended = run_until_end(&story.config("config", &body));
    let alone =
        run_until_end(&story.config("alone", &table("refused", "neighbours-bounded-refused", &refused)));
    assert_eq!(ended.code, alone.code, "{}", ended.stderr);
    assert_ne!(ended.code, 0);
    let _ = ended.saying("table `refused`");
    for (topic, place) in [(&sound, "sound"), (&also, "also")] {
        assert_eq!(judge::equal(&story, &story.place(place), topic, FLAT, &["duckdb"]), 300);
    }
}

#[test]
fn another_instance_of_one_table_stops_that_table_only() {
    let Some(story) = Story::begin("neighbours-fenced") else { return };
    let (shared, own) = (story.topic("shared", 1), story.topic("own", 1));
    let (place, own_place) = (story.place("shared"), story.place("own"));
    let both = story.config("both", &(table("shared", &shared, &place) + &table("own", &own, &own_place)));
    let rival = story.config("rival", &table("shared", &shared, &place));
    story.produce(&shared, 0, 0..100);
    story.produce(&own, 0, 0..100);
    let mut running = run(&both);
    let address = running.address();
    has_rows(&mut running, &address, "shared", 100.0);
    has_rows(&mut running, &address, "own", 100.0);
    let mut other = run(&rival);
    other.until("table open");
    story.produce(&shared, 0, 100..200);
    // Whoever gives way: the process with two tables keeps the one that is its own.
    let mut number = 200;
    running.watch_until("one of the two gives way", || {
        story.produce(&shared, 0, number..number + 10);
        number += 10;
        told(&address, "table shared").is_some_and(|said| said["state"] == "stopped")
            || !other.watch(Duration::ZERO)
    });
    story.produce(&own, 0, 100..300);
    has_rows(&mut running, &address, "own", 300.0);
    let said = is_told(&mut running, &address, "table shared", "stopped", "gives way");
    assert!(said["remedy"].as_str().unwrap().contains("one instance"), "{said}");
    running.ends_in_order();
    other.signal("-TERM");
    other.end(TIMEOUT).with(0);
    assert_eq!(judge::equal(&story, &own_place, &own, FLAT, &["duckdb"]), 300);
    assert_eq!(judge::equal(&story, &place, &shared, FLAT, &["duckdb"]), number as u64);
}
