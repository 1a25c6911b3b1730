//! Ids, topics, locations and names in a log: what is written is read back, and nothing leaves its root.
//!
//! The bytes are lines: a table id, a topic, a location, the path of a file as a log has it, a name
//! in `_delta_log`, an app id.

use std::collections::BTreeMap;

use thalweg::config;
use thalweg::delta::live_file;
use thalweg::delta::log::LogFile;
use thalweg::ids::{Offset, Partition, TopicId, TopicPartition};
use thalweg::protocol::app_id::{AppId, OffsetOverride};
use thalweg::protocol::dead_letters;
use thalweg::stores::store::Store;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (id, topic, location, path, name, app_id) = (next(), next(), next(), next(), next(), next());
    identity(id, topic);
    root(location, path);
    in_the_log(name);
    if let Some(read) = AppId::parse(app_id) {
        assert_eq!(AppId::parse(&read.to_string()), Some(read));
    }
    if let Some(offset_override) = OffsetOverride::parse(app_id) {
        assert_eq!(OffsetOverride::parse(&offset_override.to_string()), Some(offset_override));
        assert_eq!(AppId::parse(app_id), None, "a jump is no next offset");
    }
}

/// Whatever id and topic a config lets through, their offsets have a name that is theirs alone.
fn identity(id: &str, topic: &str) {
    let quoted = |text: &str| toml::Value::String(text.replace('$', "$$")).to_string();
    let file = format!(
        "version = 1\n[kafka]\nbrokers = \"k\"\n[[table]]\nid = {}\ntopic = {}\nlocation = \"/t\"\n",
        quoted(id),
        quoted(topic)
    );
    let Ok(config) = config::parse(&file, "f.toml", &|_| None) else { return };
    assert_eq!((config.tables[0].id.as_str(), config.tables[0].topic.as_str()), (id, topic));
    let source = TopicPartition {
        topic: topic.to_owned(),
        topic_id: TopicId("mDp1Ot3CTkWoEyMOVyTBcA".to_owned()),
        partition: Partition(7),
    };
    let app_id = AppId::new(id, source.clone());
    let text = app_id.to_string();
    assert_eq!(AppId::parse(&text).as_ref(), Some(&app_id));
    let offset_override = OffsetOverride { id: app_id, from: Offset(3), to: Offset(9) };
    assert_eq!(OffsetOverride::parse(&offset_override.to_string()).as_ref(), Some(&offset_override));
    assert_eq!(AppId::parse(&offset_override.to_string()), None);
    assert_eq!(AppId::parse(&dead_letters::app_id(id, &source)), None);
}

fn root(location: &str, path: &str) {
    let Ok((url, _)) = config::table_address(location, &[]) else { return };
    let again = config::table_address(url.as_str(), &[]).map(|(url, _)| url);
    assert_eq!(again.as_ref().ok(), Some(&url), "{location:?}");
    assert!(url.username().is_empty() && url.password().is_none() && url.query().is_none(), "{url}");
    let options = BTreeMap::from([("aws_region".to_owned(), config::Secret::new("r"))]);
    let Ok(store) = Store::open(&url, &options) else { return };
    let below = |place: &object_store::path::Path| {
        let parts = place.parts().count();
        assert!(place.prefix_matches(&store.root) && parts > store.root.parts().count(), "{place} of {url}");
        assert!(place.parts().all(|part| part.as_ref() != ".." && part.as_ref() != "."), "{place}");
    };
    below(&store.path("part-1.parquet"));
    below(&store.log_path());
    let relative = path.trim_matches('/');
    if !relative.is_empty() {
        below(&store.path(relative));
    }
    if let Some(place) = live_file::location(&store, path) {
        below(&place);
    }
}

fn in_the_log(name: &str) {
    match LogFile::parse(name) {
        Some(LogFile::Commit(version)) => assert_eq!(format!("{:020}.json", version.0), name),
        Some(LogFile::Checkpoint { version, .. }) => {
            assert!(name.starts_with(&format!("{:020}.checkpoint.", version.0)), "{name}");
        }
        None => {}
    }
}
