//! A consumer group shares partitions out: instances come, go, die and freeze,
//! and every record is a row once. Judged by the topic's dump, never by the
//! group's offsets; those are only looked at as lag tools do.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::judge;
use crate::program::{Running, TIMEOUT, program, run, start};
use crate::services::{self, Faults};
use crate::story::{FLAT, Story};

const PARTITIONS: i32 = 6;
/// Records that each partition gets at once.
const PIECE: i64 = 1_500;

/// One table whose partitions are shared out, and what was produced into each.
struct Shared {
    story: Story,
    topic: String,
    location: String,
    produced: i64,
}

impl Shared {
    fn begin(name: &'static str) -> Option<Shared> {
        let story = Story::begin(name)?;
        let location = story.place("table");
        Some(Shared::at(story, location))
    }

    fn at(story: Story, location: String) -> Shared {
        let topic = story.topic("events", PARTITIONS);
        Shared { story, topic, location, produced: 0 }
    }

    /// `kafka`: what stands under [kafka] besides.
    fn config(&self, name: &str, kafka: &str) -> PathBuf {
        self.config_on(name, kafka, "")
    }

    /// `storage`: the section of the store's options.
    fn config_on(&self, name: &str, kafka: &str, storage: &str) -> PathBuf {
        let (brokers, group) = (self.story.brokers, self.group());
        let quick = "\"session.timeout.ms\" = 2000\n\"heartbeat.interval.ms\" = 300\n";
        let kafka =
            format!("brokers = \"{brokers}\"\ngroup = \"{group}\"\n{kafka}\n[kafka.librdkafka]\n{quick}");
        let table = format!(
            "{storage}[[table]]\nid = \"t\"\ntopic = \"{}\"\nlocation = \"{}\"\nschema = \"{FLAT}\"\nmax_latency = \"100ms\"\n",
            self.topic, self.location
        );
        self.story.config_with(&kafka, name, &table)
    }

    fn group(&self) -> String {
        format!("{}-group", self.story.name)
    }

    fn produce(&mut self) {
        for partition in 0..PARTITIONS {
            self.story.produce(&self.topic, partition, self.produced..self.produced + PIECE);
        }
        self.produced += PIECE;
    }

    /// What a lag tool sees: the group's offset of each partition.
    fn offsets(&self) -> Vec<Option<i64>> {
        let asking: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.story.brokers)
            .set("group.id", self.group())
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition(&self.topic, partition);
        }
        let answer = asking.committed_offsets(all, Duration::from_secs(30)).unwrap();
        answer.elements().iter().map(|element| element.offset().to_raw().filter(|&at| at >= 0)).collect()
    }

    /// Waits until lag tools see no lag; each instance has to stay.
    fn caught_up(&self, running: &mut Running) {
        let all = vec![Some(self.produced); PARTITIONS as usize];
        running.watch_until("the group has no lag", || self.offsets() == all);
    }

    fn judge(&self) {
        let rows = judge::equal(&self.story, &self.location, &self.topic, FLAT, &["duckdb"]);
        assert_eq!(rows, (self.produced * i64::from(PARTITIONS)).unsigned_abs());
        program(&["table", "verify", &self.location]).end(TIMEOUT).with(0);
    }
}

/// Three instances: each joins while the others read, one leaves in order, one dies.
fn come_and_go(name: &'static str, assignor: &str) {
    let Some(mut shared) = Shared::begin(name) else { return };
    let config = shared.config("config", &format!("assignor = \"{assignor}\""));
    shared.produce();
    let mut first = run(&config);
    first.until("reading on");
    shared.produce();
    let mut second = run(&config);
    second.until("reading on");
    shared.produce();
    let mut third = run(&config);
    third.until("reading on");
    shared.produce();
    second.ends_in_order();
    shared.produce();
    first.kill();
    shared.produce();
    let mut fourth = run(&config);
    fourth.until("reading on");
    shared.produce();
    shared.caught_up(&mut third);
    third.ends_in_order();
    shared.produce();
    shared.caught_up(&mut fourth);
    fourth.ends_in_order();
    shared.judge();
}

#[test]
fn instances_come_and_go_under_load_cooperatively_and_every_record_is_a_row_once() {
    come_and_go("group-cooperative", "cooperative-sticky");
}

#[test]
fn instances_come_and_go_under_load_eagerly_and_every_record_is_a_row_once() {
    come_and_go("group-eager", "range");
}

#[test]
fn an_instance_that_froze_beyond_its_session_reads_on_what_it_is_assigned_then() {
    let Some(mut shared) = Shared::begin("group-zombie") else { return };
    let config = shared.config("config", "");
    shared.produce();
    let (mut first, mut second) = (run(&config), run(&config));
    first.until("reading on");
    second.until("reading on");
    shared.produce();
    for _ in 0..2 {
        shared.produce();
        // It holds records that it has read and not committed.
        first.signal("-STOP");
        shared.produce();
        second.until("reading on");
        shared.produce();
        first.signal("-CONT");
        first.until("lost by the group");
        first.until("reading on");
    }
    shared.produce();
    shared.caught_up(&mut second);
    assert!(first.watch(Duration::ZERO), "it is fenced for what it lost, and goes on");
    first.ends_in_order();
    second.ends_in_order();
    shared.judge();
}

/// The store fails for the instance that has everything, so that it cannot hand over what it read.
fn held_up(name: &'static str, only: &str) {
    let Some(story) = Story::begin(name) else { return };
    services::s3().bucket(name);
    let faults = Faults::before(services::s3(), &format!("{name}-proxy"));
    let mut shared = Shared::at(story, format!("s3://{name}/t"));
    let hampered = shared.config_on("hampered", "", &faults.options());
    let free = shared.config_on("free", "", &services::s3().options());
    shared.produce();
    let mut first = run(&hampered);
    shared.caught_up(&mut first);
    faults.set(&["rate=1", "kinds=503", &format!("only={only}")]);
    shared.produce();
    first.watch(Duration::from_millis(500));
    let mut second = run(&free);
    first.until("of lost partitions is dropped");
    second.until("reading on");
    shared.produce();
    faults.set(&["rate=0"]);
    shared.caught_up(&mut second);
    first.ends_in_order();
    second.ends_in_order();
    let rows = judge::equal(&shared.story, &shared.location, &shared.topic, FLAT, &["duckdb"]);
    assert_eq!(rows, (shared.produced * i64::from(PARTITIONS)).unsigned_abs());
}

#[test]
fn what_cannot_be_committed_by_the_deadline_is_dropped_and_read_by_the_new_owner() {
    held_up("group-commits", "PUT .*_delta_log.*");
}

#[test]
fn files_that_arrive_after_their_partitions_were_dropped_never_count() {
    held_up("group-uploads", "(PUT|POST) .*part-.*");
}

#[test]
fn an_instance_that_is_ended_while_it_hands_over_loses_and_doubles_nothing() {
    let Some(story) = Story::begin("group-ended") else { return };
    services::s3().bucket(story.name);
    let faults = Faults::before(services::s3(), "group-ended-proxy");
    let mut shared = Shared::at(story, "s3://group-ended/t".to_owned());
    let slow = shared.config_on("slow", "", &faults.options());
    let free = shared.config_on("free", "", &services::s3().options());
    shared.produce();
    let mut first = run(&slow);
    shared.caught_up(&mut first);
    // Commits wait: what it has to hand over is not settled when it is told to end.
    faults.set(&["rate=1", "kinds=503", "only=PUT .*_delta_log.*"]);
    shared.produce();
    let mut second = run(&free);
    first.until("revoked by the group");
    first.signal("-TERM");
    faults.set(&["rate=0"]);
    first.end(Duration::from_secs(12)).with(0);
    second.until("reading on");
    shared.produce();
    shared.caught_up(&mut second);
    second.ends_in_order();
    let rows = judge::equal(&shared.story, &shared.location, &shared.topic, FLAT, &["duckdb"]);
    assert_eq!(rows, (shared.produced * i64::from(PARTITIONS)).unsigned_abs());
}

#[test]
fn of_two_tables_of_a_group_the_one_whose_topic_is_created_again_stops_and_the_other_goes_on() {
    let Some(story) = Story::begin("group-tables") else { return };
    let topics = [story.topic("left", 4), story.topic("right", 4)];
    let place = |of: usize| story.place(&format!("t{of}"));
    let kafka = format!(
        "brokers = \"{}\"\ngroup = \"tables\"\n[kafka.librdkafka]\n\
         \"session.timeout.ms\" = 6000\n\"heartbeat.interval.ms\" = 500\n",
        story.brokers
    );
    let table = |of: usize| {
        format!(
            "[[table]]\nid = \"t{of}\"\ntopic = \"{}\"\nlocation = \"{}\"\nschema = \"{FLAT}\"\nmax_latency = \"100ms\"\n",
            topics[of],
            place(of)
        )
    };
    let config = story.config_with(&kafka, "config", &format!("{}{}", table(0), table(1)));
    let produce = |of: usize, numbers: std::ops::Range<i64>| {
        (0..4).for_each(|partition| story.produce(&topics[of], partition, numbers.clone()));
    };
    (0..2).for_each(|of| produce(of, 0..200));
    let (mut first, mut second) = (run(&config), run(&config));
    let rows = |of: usize| judge::offsets(&place(of)).len();
    first.until("reading on");
    second.until("reading on");
    second.watch_until("all is read", || rows(0) == 800 && rows(1) == 800);
    story.create_again(&topics[0], 4);
    produce(0, 0..300);
    for instance in [&mut first, &mut second] {
        instance.until("a table has stopped");
    }
    produce(1, 200..300);
    second.watch_until("the other table is read on", || rows(1) == 1_200);
    // Whoever is alone reads all of it.
    first.ends_in_order();
    produce(1, 300..350);
    second.watch_until("one alone reads it all", || rows(1) == 1_400);
    second.ends_in_order();
    for of in 0..2 {
        judge::sound(&place(of));
    }
    let all = |next: i64| (0..4).flat_map(move |partition| judge::range(partition, 0..next)).collect();
    assert_eq!(judge::offsets(&place(0)), all(200));
    assert_eq!(judge::offsets(&place(1)), all(350));
}

#[test]
fn a_static_member_that_restarts_within_its_session_moves_nobodys_partitions() {
    let Some(mut shared) = Shared::begin("group-static") else { return };
    let long = "\"session.timeout.ms\" = 2000";
    let of = |id: &str| {
        let config = shared.config(id, &format!("instance_id = \"{id}\""));
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace(long, "\"session.timeout.ms\" = 45000")).unwrap();
        config
    };
    let (a, b) = (of("a"), of("b"));
    let (mut first, mut second) = (run(&a), run(&b));
    shared.produce();
    first.until("reading on");
    second.until("reading on");
    shared.caught_up(&mut second);
    let before = second.times_said("by the group");
    first.ends_in_order();
    shared.produce();
    let mut first = run(&a);
    first.until("reading on");
    shared.caught_up(&mut first);
    assert_eq!(second.times_said("by the group"), before, "nothing was shared out anew");
    // Dead without a word, it has its partitions when it comes back, too.
    first.kill();
    shared.produce();
    let mut first = run(&a);
    first.until("reading on");
    shared.caught_up(&mut first);
    assert_eq!(second.times_said("by the group"), before, "nothing was shared out anew");
    // Somebody else of its name: one of the two ends and says so.
    let third = run(&a);
    first.end(TIMEOUT).with(75).saying("`a-0` in the group").saying("instance_id");
    third.ends_in_order();
    second.ends_in_order();
    shared.judge();
}

#[test]
fn partitions_that_a_group_knows_first_are_read_from_their_first_record() {
    let Some(mut shared) = Shared::begin("group-grows") else { return };
    let config = shared.config("config", "");
    shared.produce();
    let mut running = run(&config);
    shared.caught_up(&mut running);
    shared.story.grow(&shared.topic, PARTITIONS as usize + 1);
    shared.story.produce(&shared.topic, PARTITIONS, 0..100);
    running.until("reopening from the tables' offsets");
    running.until(&format!("[{PARTITIONS}]"));
    running.watch_until("the new partition's rows", || {
        judge::offsets(&shared.location).len() as i64 == shared.produced * i64::from(PARTITIONS) + 100
    });
    running.ends_in_order();
    let old = (0..i64::from(PARTITIONS)).flat_map(|of| judge::range(of, 0..shared.produced));
    let expected = old.chain(judge::range(PARTITIONS.into(), 0..100)).collect();
    assert_eq!(judge::offsets(&shared.location), expected);
    judge::sound(&shared.location);
}

#[test]
fn a_bounded_run_of_a_group_is_refused() {
    let Some(shared) = Shared::begin("group-bounded") else { return };
    let config = shared.config("config", "");
    start(&["run", "--until-end"], &config).end(TIMEOUT).with(2).saying("`--until-end`").saying("group");
}
