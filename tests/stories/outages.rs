//! Services that go away and come back: who waits is alive, says what is down
//! and since when, asks seldom, and goes on by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::judge;
use crate::program::{Running, get, metric, run, run_until_end, start};
use crate::services::{self, Faults, OwnKafka, path};
use crate::story::{FLAT, Story};

/// Longer than the breaker's first rests, shorter than anybody's patience.
const OUTAGE: Duration = Duration::from_secs(12);

fn table(id: &str, topic: &str, location: &str) -> String {
    format!(
        "[[table]]\nid = \"{id}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n\
         max_latency = \"50ms\"\n"
    )
}

fn committed(running: &mut Running, address: &str, rows: f64) {
    running.watch_until("the rows are committed", || metric(address, "thalweg_rows_committed_total") >= rows);
}

fn ready(running: &mut Running, address: &str) {
    running.watch_until("it is ready", || get(address, "/readyz").0.contains("200"));
}

/// What `/readyz` says of a component, once it says it.
fn down(running: &mut Running, address: &str, component: &str) -> serde_json::Value {
    let mut found = None;
    running.watch_until("it says what is down", || {
        let body: serde_json::Value = serde_json::from_str(&get(address, "/readyz").1).unwrap();
        let reasons = body["reasons"].as_array().unwrap();
        found = reasons.iter().find(|reason| reason["component"] == component).cloned();
        found.is_some()
    });
    found.unwrap()
}

/// Two tables on a store behind a proxy, read and idle.
struct Lake {
    story: Story,
    topics: [String; 2],
    faults: Faults,
    config: PathBuf,
}

impl Lake {
    fn begin(name: &'static str) -> Option<Lake> {
        let story = Story::begin(name)?;
        let topics = [story.topic("a", 2), story.topic("b", 2)];
        services::s3().bucket(name);
        let faults = Faults::before(services::s3(), &format!("{name}-proxy"));
        let tables = topics.each_ref().map(|topic| table(topic, topic, &format!("s3://{name}/{topic}")));
        let config = story.config("config", &(faults.options() + &tables.concat()));
        Some(Lake { story, topics, faults, config })
    }

    fn produce(&self, numbers: std::ops::Range<i64>) {
        for topic in &self.topics {
            for partition in 0..2 {
                self.story.produce(topic, partition, numbers.clone());
            }
        }
    }

    fn judge(&self, rows: u64) {
        for topic in &self.topics {
            let location = format!("s3://{}/{topic}", self.story.name);
            assert_eq!(judge::equal(&self.story, &location, topic, FLAT, &["duckdb"]), rows);
            judge::oracle_on(&location, "orphans.py");
        }
    }
}

/// The store answers so for a while; returns how many requests it got once the breaker had seen it.
fn away(name: &'static str, kind: &str, says: &str) -> Option<usize> {
    let lake = Lake::begin(name)?;
    let mut running = run(&lake.config);
    let address = running.address();
    ready(&mut running, &address);
    lake.produce(0..500);
    committed(&mut running, &address, 2_000.0);
    lake.faults.set(&["rate=1", &format!("kinds={kind}")]);
    lake.produce(500..1_000);
    let store = format!("store s3://{name}");
    let reason = down(&mut running, &address, &store);
    assert!(reason["reason"].as_str().unwrap().contains(says), "{reason}");
    assert!(metric(&address, "thalweg_reachable{service=\"s3") < 1.0);
    let before = lake.faults.requests().len();
    assert!(running.watch(OUTAGE), "it ended in the outage");
    let asked = lake.faults.requests().len() - before;
    let reason = down(&mut running, &address, &store);
    assert!(reason["seconds"].as_u64().unwrap() >= OUTAGE.as_secs() - 1, "{reason}");
    assert!(reason["since"].as_str().unwrap().ends_with('Z'), "{reason}");
    assert!(get(&address, "/livez").0.contains("200"));
    lake.faults.set(&["rate=0"]);
    committed(&mut running, &address, 4_000.0);
    ready(&mut running, &address);
    assert!(metric(&address, "thalweg_reachable{service=\"s3") >= 1.0);
    assert!(metric(&address, "thalweg_outages_total{service=\"s3") >= 1.0);
    running.ends_in_order();
    lake.judge(2_000);
    Some(asked)
}

#[test]
fn a_store_that_refuses_everything_gets_few_requests_and_ingestion_resumes_by_itself() {
    let Some(asked) = away("storm", "503", "SlowDown") else { return };
    // One request at a time, each repeated four times by the client inside, and rests between them.
    assert!(asked <= 3 * OUTAGE.as_secs() as usize, "{asked} requests in {OUTAGE:?}");
}

#[test]
fn credentials_that_expire_are_waited_for_until_good_ones_are_there() {
    let Some(asked) = away("expired", "403", "ExpiredToken") else { return };
    assert!(asked <= 3 * OUTAGE.as_secs() as usize, "{asked} requests in {OUTAGE:?}");
}

/// As long as one in the field that wrote 314 lines.
const TOLD_OUTAGE: Duration = Duration::from_secs(35);

/// What is logged of an outage in which every request meets this fault: a line when it begins, and one when it
/// is over, whatever waited for it.
fn told_once(name: &'static str, kind: &str) {
    let Some(lake) = Lake::begin(name) else { return };
    let mut running = start(&["run", "--log-format", "json"], &lake.config);
    let address = running.address();
    ready(&mut running, &address);
    lake.produce(0..500);
    committed(&mut running, &address, 2_000.0);
    lake.faults.set(&["rate=1", &format!("kinds={kind}")]);
    lake.produce(500..1_000);
    assert!(running.watch(TOLD_OUTAGE), "it ended in the outage");
    lake.faults.set(&["rate=0"]);
    committed(&mut running, &address, 4_000.0);
    ready(&mut running, &address);
    let lines = running.ends_in_order().json_lines();
    let of = |level: &str| lines.iter().filter(|line| line["level"] == level).collect::<Vec<_>>();
    assert!(of("ERROR").is_empty(), "{:#?}", of("ERROR"));
    let [begun] = of("WARN")[..] else { panic!("not one line: {:#?}", of("WARN")) };
    let store = format!("store s3://{name}");
    assert_eq!((begun["component"].as_str(), begun["error"].is_string()), (Some(&*store), true), "{begun:#}");
    let over: Vec<_> = lines.iter().filter(|line| line["message"] == "it goes on").collect();
    let [over] = over[..] else { panic!("not one line: {over:#?}") };
    assert_eq!(over["component"], *store, "{over:#}");
    assert!(over["failures"].as_u64() >= Some(2) && over["seconds"].as_u64() >= Some(10), "{over:#}");
    println!("{name}: {} lines, {} failures told of in one", lines.len(), over["failures"]);
    lake.judge(2_000);
}

#[test]
fn a_store_that_refuses_everything_is_told_by_a_line_at_its_begin_and_one_at_its_end() {
    told_once("told-refused", "503");
}

#[test]
fn a_store_that_answers_nothing_is_told_by_a_line_at_its_begin_and_one_at_its_end() {
    told_once("told-stalled", "stall");
}

#[test]
fn a_store_that_cuts_every_connection_is_told_by_a_line_at_its_begin_and_one_at_its_end() {
    told_once("told-cut", "cut-before");
}

#[test]
fn replies_that_come_after_everybody_gave_up_resolve_their_commits_once() {
    let Some(lake) = Lake::begin("stalls") else { return };
    let mut running = run(&lake.config);
    let address = running.address();
    ready(&mut running, &address);
    // They take effect, at once or when nobody waits any more: a commit's answer is waited for for 15 s.
    lake.faults.set(&["rate=1", "seed=5", "kinds=stall,stall-after", "stall=16", "only=(PUT|POST) "]);
    lake.produce(0..300);
    running.watch_until("a commit was held up", || {
        lake.faults.requests().iter().any(|one| {
            one["kind"].is_string() && one["path"].as_str().is_some_and(|path| path.contains("_delta_log"))
        })
    });
    lake.faults.set(&["rate=0"]);
    committed(&mut running, &address, 1_200.0);
    running.ends_in_order();
    for topic in &lake.topics {
        let location = format!("s3://{}/{topic}", lake.story.name);
        assert_eq!(judge::equal(&lake.story, &location, topic, FLAT, &["duckdb"]), 600);
    }
}

#[test]
fn a_broker_that_is_killed_is_named_and_reading_resumes_when_it_is_back() {
    let Some(story) = Story::begin("broker-gone") else { return };
    let kafka = OwnKafka::start("broker-gone-kafka");
    let story = story.on(&kafka);
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = story.config("config", &table("t", &topic, &location));
    story.produce(&topic, 0, 0..500);
    let mut running = start(&["run", "--log-format", "json"], &config);
    let address = running.address();
    committed(&mut running, &address, 500.0);
    kafka.kill();
    let reason = down(&mut running, &address, "kafka");
    assert!(reason["reason"].as_str().unwrap().contains(&kafka.bootstrap), "{reason}");
    assert!(metric(&address, "thalweg_reachable{service=\"kafka\"}") < 1.0);
    assert!(running.watch(Duration::from_secs(5)), "it ended while the broker was gone");
    assert!(get(&address, "/livez").0.contains("200"));
    kafka.start_again();
    story.produce(&topic, 0, 500..700);
    story.produce(&topic, 1, 0..300);
    committed(&mut running, &address, 1_000.0);
    ready(&mut running, &address);
    let lines = running.ends_in_order().json_lines();
    let of_kafka = |line: &&serde_json::Value| line["level"] == "WARN" && line["component"] == "kafka";
    assert_eq!(lines.iter().filter(of_kafka).count(), 1, "{lines:#?}");
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb"]), 1_000);
}

/// Where the last byte of the first batch from this offset on stands, and where that batch begins.
fn last_byte_of_a_batch(segment: &[u8], from: i64) -> (usize, i64) {
    let mut at = 0;
    loop {
        let base = i64::from_be_bytes(segment[at..at + 8].try_into().unwrap());
        let length = u32::from_be_bytes(segment[at + 8..at + 12].try_into().unwrap());
        at += 12 + length as usize;
        if base >= from {
            return (at - 1, base);
        }
    }
}

fn flip(file: &Path, at: usize) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], at as u64).unwrap();
}

#[test]
fn a_batch_that_is_damaged_on_the_brokers_disk_is_waited_for_by_name_and_no_record_is_passed_over() {
    let Some(story) = Story::begin("damaged-batch") else { return };
    let kafka = OwnKafka::start("damaged-batch-kafka");
    let story = story.on(&kafka);
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = story.config("config", &table("t", &topic, &location));
    for hundred in 0..3 {
        story.produce(&topic, 0, 100 * hundred..100 * (hundred + 1));
    }
    let segment = kafka.segment(&topic, 0);
    let (at, base) = last_byte_of_a_batch(&std::fs::read(&segment).unwrap(), 100);
    flip(&segment, at);
    let mut running = start(&["run", "--log-format", "json"], &config);
    let address = running.address();
    let reason = down(&mut running, &address, &format!("table t {topic} [0]"));
    assert!(reason["reason"].as_str().unwrap().contains("CRC32C"), "{reason}");
    assert!(metric(&address, "thalweg_partitions{table=\"t\",state=\"waiting\"}") >= 1.0);
    // Other partitions are read, and what comes behind the batch is not.
    story.produce(&topic, 1, 0..100);
    story.produce(&topic, 0, 300..400);
    let before = (base + 100) as f64;
    committed(&mut running, &address, before);
    assert!(running.watch(Duration::from_secs(5)), "it ended");
    assert!(metric(&address, "thalweg_rows_committed_total") <= before, "records were passed over");
    down(&mut running, &address, &format!("table t {topic} [0]"));
    flip(&segment, at);
    committed(&mut running, &address, 500.0);
    ready(&mut running, &address);
    running.ends_in_order().json_lines();
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb"]), 500);
}

/// Some syncs of every thread fail, as on a disk that is about to die, or a network's.
#[test]
fn a_disk_that_fails_now_and_then_is_tried_again_and_every_record_is_a_row_once() {
    let Some(story) = Story::begin("disk-fails") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let few_rows = "target_file_size = \"8KiB\"\n";
    let config = path(&story.config("config", &(table("t", &topic, &location) + few_rows)));
    // A start that meets a broken disk ends: the table is there, and the first syncs of each thread pass.
    run_until_end(Path::new(&config)).with(0);
    for partition in 0..2 {
        story.produce_wide(&topic, partition, 0..30_000);
    }
    let faults = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=5..7"];
    let ran = Command::new("strace")
        .args(["-f", "-qq", "-o", &story.place("trace")])
        .args(faults)
        .args([env!("CARGO_BIN_EXE_thalweg"), "run", "--until-end", "-c", &config])
        .output();
    let Ok(ran) = ran else { return services::leave_out("disk-fails", "there is no strace") };
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let trace = std::fs::read_to_string(story.place("trace")).unwrap_or_default();
    if trace.is_empty() {
        return services::leave_out("disk-fails", "strace may not trace here");
    }
    assert!(ran.status.success(), "{said}");
    assert!(trace.contains("EIO"), "no fault was met:\n{said}");
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb"]), 60_000);
}

#[test]
fn an_instance_that_was_frozen_while_another_took_over_commits_nothing_and_gives_way() {
    let Some(story) = Story::begin("zombie") else { return };
    let topic = story.topic("events", 2);
    let location = story.place("table");
    let config = story.config("config", &table("t", &topic, &location));
    story.produce(&topic, 0, 0..1_000);
    let mut frozen = run(&config);
    let address = frozen.address();
    committed(&mut frozen, &address, 1_000.0);
    frozen.signal("-STOP");
    story.produce(&topic, 1, 0..500);
    let mut heir = run(&config);
    let address = heir.address();
    committed(&mut heir, &address, 500.0);
    // It wakes with records that the heir has committed long since.
    frozen.signal("-CONT");
    story.produce(&topic, 0, 1_000..1_200);
    let pid = heir.pid();
    frozen.end(Duration::from_secs(60)).with(75).saying(&format!("pid {pid}"));
    committed(&mut heir, &address, 700.0);
    heir.ends_in_order();
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb"]), 1_700);
}
