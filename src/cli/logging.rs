//! Log lines on stderr.
//!
//! It owns their format and filter: `info`, more with `-v`, and RUST_LOG over
//! both. librdkafka speaks only from `warn` up unless it is asked for. Names,
//! records and texts of others stand in the lines: whatever they hold, an event
//! is one line, and nothing in it acts on a terminal.

use std::fmt;
use std::io;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::arguments::{LogArguments, LogFormat};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result, one_line};
use crate::stdout;

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
    let colour = stderr_has_colour();
    let started = subscriber(arguments.log_format, filter, colour, io::stderr).try_init();
    started.map_err(|error| Error::new(ErrorKind::Internal, format!("logging was started twice: {error}")))
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        LogFormat::Text => Box::new(
            builder
                .compact()
                .with_ansi(colour)
                .with_target(false)
                .with_timer(Time { pattern: "%H:%M:%S%.3fZ" })
                .fmt_fields(tracing_subscriber::fmt::format::debug_fn(field).delimited(" "))
                .with_writer(writer)
                .finish(),
        ),
        LogFormat::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_timer(Time { pattern: JSON_TIME })
                .with_writer(Escaped(writer))
                .finish(),
        ),
    }
}

/// One field of a line: the message, or `name=value`.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = one_line(format!("{value:?}"));
    match field.name() {
        "message" => writer.write_str(&value),
        // Where an event of a library came from that logs by other means.
        name if name.starts_with("log.") => Ok(()),
        name => write!(writer, "{name}={value}"),
    }
}

/// Writes events as JSON, which leaves much unescaped that a terminal acts on.
struct Escaped<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaped<W> {
    type Writer = EscapedLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        EscapedLine(self.0.make_writer())
    }
}

/// An event arrives whole, with the line's end.
struct EscapedLine<W>(W);

impl<W: io::Write> io::Write for EscapedLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(stdout::json_text(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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

/// On a terminal, unless NO_COLOR is set (<https://no-color.org>) or the terminal is dumb.
pub fn stderr_has_colour() -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    wanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb") && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

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

    /// What stderr would show.
    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_that_acts_on_no_terminal_whoever_wrote_its_parts() {
        let evil = "a\u{1b}[2J\nb\r\u{9b}31m\u{202e}\u{2028}\u{7f}\0";
        for format in [LogFormat::Text, LogFormat::Json] {
            let shown = Shown::default();
            let writer = shown.clone();
            let subscriber = subscriber(format, filter(0, None).unwrap(), false, move || writer.clone());
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(text = evil, shown = %evil, debug = ?evil, "{evil}");
                let span = tracing::info_span!("span", of = evil);
                span.in_scope(|| tracing::warn!(target: "librdkafka", "{evil}"));
            });
            let bytes = shown.0.lock().unwrap().clone();
            let text = String::from_utf8(bytes).unwrap();
            let lines: Vec<&str> = text.strip_suffix('\n').unwrap().split('\n').collect();
            assert_eq!(lines.len(), 2, "{text:?}");
            assert!(!lines.concat().contains(crate::error::acts_on_a_terminal), "{text:?}");
            if format == LogFormat::Json {
                let event: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
                assert_eq!(
                    (&event["text"], &event["message"]),
                    (&evil.into(), &evil.into()),
                    "nothing is lost"
                );
            }
        }
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
