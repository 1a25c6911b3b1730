//! How long a table wants remembered what is gone.
//!
//! It owns the table properties of it. What is then forgotten is the
//! checkpoint's.

use jiff::{Span, SpanRelativeTo, Unit};

use crate::delta::action::MetaData;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// In milliseconds; what is kept for ever has `i64::MAX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Of files that were removed: their tombstones stand in checkpoints.
    pub tombstones_ms: i64,
    /// Of version files and checkpoints.
    pub log_ms: i64,
}

impl Retention {
    /// Delta's defaults, where the table says nothing.
    pub const DEFAULT: Retention = Retention { tombstones_ms: 7 * DAY_MS, log_ms: 30 * DAY_MS };

    pub fn of(metadata: &MetaData) -> Retention {
        let property = |name: &str| metadata.configuration.get(name)?.as_deref();
        let interval = |name, default| property(name).map_or(default, |text| ms(text).unwrap_or(i64::MAX));
        let tombstones_ms = interval("delta.deletedFileRetentionDuration", Retention::DEFAULT.tombstones_ms);
        // Who trusts what he saw of the log a minute ago must not find its versions gone.
        let log_ms = interval("delta.logRetentionDuration", Retention::DEFAULT.log_ms).max(DAY_MS);
        match property("delta.enableExpiredLogCleanup") {
            Some(text) if text.eq_ignore_ascii_case("false") => Retention { tombstones_ms, log_ms: i64::MAX },
            _ => Retention { tombstones_ms, log_ms },
        }
    }
}

/// `interval 30 days`, `1 week`, `interval '2' weeks 12 hours`; `None` where it is no span of a known length.
fn ms(text: &str) -> Option<i64> {
    let text = text.to_ascii_lowercase().replace('\'', "");
    let span: Span = text.trim().trim_start_matches("interval").trim().parse().ok()?;
    let ms = span.total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours())).ok()?;
    (ms >= 0.0).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::HandMade;

    #[tokio::test]
    async fn what_a_table_wants_kept_is_kept_and_what_is_not_understood_for_ever() {
        let table = HandMade::new().await;
        let mut metadata = crate::delta::log::load(&table.store).await.unwrap().unwrap().metadata;
        assert_eq!(Retention::of(&metadata), Retention::DEFAULT);
        let cases = [
            ("interval 30 days", 30 * DAY_MS),
            ("INTERVAL 1 WEEK", 7 * DAY_MS),
            ("interval '2' weeks 12 hours", 14 * DAY_MS + DAY_MS / 2),
            ("365 days", 365 * DAY_MS),
            ("interval 1 year", i64::MAX),
            ("for ever", i64::MAX),
        ];
        for (text, expected) in cases {
            for name in ["delta.deletedFileRetentionDuration", "delta.logRetentionDuration"] {
                metadata.configuration.insert(name.to_owned(), Some(text.to_owned()));
            }
            let expected = Retention { tombstones_ms: expected, log_ms: expected };
            assert_eq!(Retention::of(&metadata), expected, "{text}");
        }
        let short = Some("interval 0 seconds".to_owned());
        metadata.configuration.insert("delta.logRetentionDuration".to_owned(), short);
        assert_eq!(Retention::of(&metadata).log_ms, DAY_MS);
        metadata.configuration.insert("delta.enableExpiredLogCleanup".to_owned(), Some("false".to_owned()));
        assert_eq!(Retention::of(&metadata).log_ms, i64::MAX);
    }
}
