//! A config file: whatever is in it, it is a config or an error that says where, and no secret is shown.

use thalweg::cli::screen;
use thalweg::config::{self, Config};

/// Stands for a secret where the text refers to a variable.
const SECRET: &str = "canary-b4d5f00d";

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Only files below here are read: a device or a pipe would not end.
    if text.contains("/dev") || text.contains("/proc") || text.contains("/sys") {
        return;
    }
    let environment = |name: &str| name.starts_with("SECRET").then(|| SECRET.to_owned());
    match config::parse(text, "f.toml", &environment) {
        Ok(config) => accepted(text, &config),
        Err(error) => {
            let screen = screen::render(&error, false);
            assert!(!error.message.contains('\n'), "{:?}", error.message);
            assert!(!screen.contains('\u{1b}'), "{screen:?}");
            // Where the text hides a value behind a variable, the screen shows the reference at most.
            assert!(!screen.contains(SECRET) || shows_what_is_no_secret(text), "{screen}");
        }
    }
}

/// A variable may stand anywhere: in a location or a topic it is no secret.
fn shows_what_is_no_secret(text: &str) -> bool {
    text.lines().any(|line| {
        let key = line.split('=').next().unwrap_or_default();
        line.contains("SECRET") && !config::names_a_secret(key)
    })
}

fn accepted(text: &str, config: &Config) {
    toml::from_str::<toml::Table>(text).expect("what we read is TOML");
    assert!(!config.tables.is_empty());
    let debug = format!("{config:?}");
    let secrets = || config.kafka.librdkafka.values().map(|secret| secret.reveal());
    // Short ones stand in every text.
    for secret in secrets().filter(|secret| secret.len() > 8 && !text_outside(config).contains(secret)) {
        assert!(!debug.contains(secret), "{secret:?} in {debug}");
    }
    for table in &config.tables {
        assert!(!table.id.is_empty() && !table.id.contains('/') && !table.id.chars().any(char::is_control));
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(!table.topic.is_empty() && table.topic.chars().all(plain), "{:?}", table.topic);
        assert!(table.location.path_segments().into_iter().flatten().all(|part| part != ".."));
    }
    let again = config::parse(text, "f.toml", &|_| Some(SECRET.to_owned())).map(|config| config.tables.len());
    assert!(again.is_err() || again.unwrap() == config.tables.len());
}

/// What a config shows of itself besides secrets.
fn text_outside(config: &Config) -> String {
    let tables = config.tables.iter().map(|table| format!("{} {} {}", table.id, table.topic, table.location));
    let keys = config.kafka.librdkafka.keys().cloned();
    std::iter::once(config.kafka.brokers.clone()).chain(tables).chain(keys).collect::<Vec<_>>().join(" ")
}
