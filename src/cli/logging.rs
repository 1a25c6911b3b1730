//! Log lines on stderr.
//!
//! It owns their format and filter: `info`, more with `-v`, and RUST_LOG over
//! both. librdkafka speaks only from `warn` up unless it is asked for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::{LogArguments, LogFormat, screen};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

/// Libraries that would drown our lines at the level of `-v`.
const QUIET: &str = "librdkafka=warn,rdkafka=warn,hyper=warn,h2=warn,reqwest=warn,rustls=warn,tower=warn";

const JSON_TIME: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether every line on stderr is a JSON object.
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Starts logging; once in a process.
pub fn start(arguments: &LogArguments) -> Result<()> {
    IS_JSON.store(arguments.log_format == LogFormat::Json, Ordering::Relaxed);
    let filter = filter(arguments.verbose, std::env::var("RUST_LOG").ok().as_deref())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match arguments.log_format {
        LogFormat::Text => builder
            .compact()
            .with_ansi(screen::stderr_has_colour())
            .with_target(false)
            .with_timer(Time { pattern: "%H:%M:%S%.3fZ" })
            .try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_timer(Time { pattern: JSON_TIME }).try_init()
        }
    };
    started.map_err(|error| Error::new(ErrorKind::Internal, format!("logging was started twice: {error}")))
}

fn filter(verbose: u8, rust_log: Option<&str>) -> Result<EnvFilter> {
    // The store's client tells of each retry at `info`: a storm of 503 would drown everything else.
    let (level, store) = match verbose {
        0 => ("info", "warn"),
        1 => ("debug", "info"),
        _ => ("trace", "trace"),
    };
    let wanted = rust_log.filter(|text| !text.trim().is_empty());
    let directives = format!("{level},{QUIET},object_store={store},{}", wanted.unwrap_or(level));
    EnvFilter::builder().parse(&directives).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("environment variable RUST_LOG: {error}"))
            .remedy("write it as in `RUST_LOG=info,thalweg::committer=debug`")
    })
}

/// Now, as the JSON lines have it.
pub fn json_time() -> String {
    let now = Timestamp::from_millisecond(SystemClock.wall_ms());
    now.map_or_else(|_| String::new(), |now| now.strftime(JSON_TIME).to_string())
}

/// UTC, by our clock.
struct Time {
    pattern: &'static str,
}

impl FormatTime for Time {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = Timestamp::from_millisecond(SystemClock.wall_ms()).map_err(|_| fmt::Error)?;
        write!(writer, "{}", now.strftime(self.pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(verbose: u8, rust_log: Option<&str>) -> String {
        let filter = filter(verbose, rust_log).unwrap().to_string();
        let mut directives: Vec<&str> = filter.split(',').collect();
        directives.retain(|directive| directive.starts_with("librdkafka") || !directive.contains("=warn"));
        directives.sort_unstable();
        directives.join(",")
    }

    #[test]
    fn librdkafka_and_the_stores_client_are_quiet_unless_asked_for() {
        assert_eq!(shown(0, None), "info,librdkafka=warn");
        assert!(filter(0, None).unwrap().to_string().contains("object_store=warn"));
        assert_eq!(shown(1, None), "debug,librdkafka=warn,object_store=info");
        assert_eq!(shown(9, Some(" ")), "librdkafka=warn,object_store=trace,trace");
        assert_eq!(shown(0, Some("librdkafka=debug")), "info,librdkafka=debug");
        assert_eq!(shown(0, Some("error,thalweg=debug")), "error,librdkafka=warn,thalweg=debug");
    }

    #[test]
    fn a_wrong_filter_is_a_usage_error() {
        let error = filter(0, Some("thalweg=loud")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.message.starts_with("environment variable RUST_LOG: "), "{error}");
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let mut text = String::new();
        Time { pattern: "%H:%M:%S%.3fZ" }.format_time(&mut Writer::new(&mut text)).unwrap();
        assert_eq!(text.len(), "12:34:56.789Z".len(), "{text}");
    }
}
