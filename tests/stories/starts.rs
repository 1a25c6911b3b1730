//! Where a partition begins: decided once, before its first record.

use jiff::Timestamp;

use crate::judge::{self, range};
use crate::program::{run, run_until_end};
use crate::story::{EPOCH_MS, FLAT, Story};

fn table(story: &Story, topic: &str, start: &str) -> String {
    let (id, location) = (story.name, story.place("table"));
    format!(
        "[[table]]\nid = \"{id}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\nstart = \"{start}\"\n"
    )
}

#[test]
fn latest_is_anchored_before_the_first_record_and_a_kill_loses_nothing() {
    let Some(story) = Story::begin("latest") else { return };
    let topic = story.topic("events", 2);
    story.produce(&topic, 0, 0..100);
    story.produce(&topic, 1, 0..40);
    let config = story.config("latest", &table(&story, &topic, "latest"));
    let mut running = run(&config);
    running.until("table open");
    running.kill();
    story.produce(&topic, 0, 100..150);
    story.produce(&topic, 1, 40..60);
    run_until_end(&config).with(0);
    let expected = range(0, 100..150).chain(range(1, 40..60)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);

    // From now on the table decides.
    story.produce(&topic, 0, 150..160);
    run_until_end(&story.config("earliest", &table(&story, &topic, "earliest"))).with(0);
    let expected = range(0, 100..160).chain(range(1, 40..60)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);
    judge::sound(&story.place("table"));
}

#[test]
fn a_time_is_anchored_at_the_first_record_not_older_than_it() {
    let Some(story) = Story::begin("since") else { return };
    let topic = story.topic("events", 3);
    // Partition 0 has older and newer ones, 1 only older ones, 2 nothing.
    story.produce(&topic, 0, 0..100);
    story.produce(&topic, 1, 0..30);
    let time = Timestamp::from_millisecond(EPOCH_MS + 70_000).unwrap();
    let config = story.config("since", &table(&story, &topic, &time.to_string()));
    let mut running = run(&config);
    running.until("table open");
    running.kill();
    story.produce(&topic, 1, 90..100);
    // Older than the time, and behind the anchor: it counts.
    story.produce(&topic, 2, 0..5);
    run_until_end(&config).with(0);
    let expected = range(0, 70..100).chain(range(1, 30..40)).chain(range(2, 0..5)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);
}

#[test]
fn partitions_added_while_down_are_read_from_their_beginning() {
    let Some(story) = Story::begin("grown") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..50);
    let config = story.config("grown", &table(&story, &topic, "latest"));
    run_until_end(&config).with(0);
    assert!(judge::offsets(&story.place("table")).is_empty());
    story.grow(&topic, 3);
    story.produce(&topic, 0, 50..60);
    story.produce(&topic, 1, 0..20);
    story.produce(&topic, 2, 0..30);
    run_until_end(&config).with(0);
    let expected = range(0, 50..60).chain(range(1, 0..20)).chain(range(2, 0..30)).collect();
    assert_eq!(judge::offsets(&story.place("table")), expected);
    judge::sound(&story.place("table"));
}
