//! What a person sees of an error, on stderr.
//!
//! It owns the layout of an error and the question of colour. It does not
//! word anything: the error does.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use serde_json::json;

use super::arguments::LogFormat;
use super::logging;
use crate::error::{Error, ErrorKind};
use crate::stdout;

/// A longer remedy goes over several lines, under its first word.
const REMEDY_CHARS_MAX: usize = 90;

/// A file that is no config at all has no end of mistakes.
const MORE_MAX: usize = 19;

/// Shows an error and gives its exit code.
pub fn report(error: &Error, format: LogFormat) -> ExitCode {
    let code = error.kind.exit_code();
    match format {
        LogFormat::Json if tracing::enabled!(tracing::Level::ERROR) => {
            for error in std::iter::once(error).chain(&error.more) {
                tracing::error!(exit_code = code, kind = ?error.kind, remedy = error.remedy, "{}", error.message);
            }
        }
        // A filter that lets no error pass, or is none, must not hide why we end.
        LogFormat::Json => {
            for error in std::iter::once(error).chain(&error.more) {
                line(&error.message, &json!({"exit_code": code, "remedy": error.remedy}));
            }
        }
        LogFormat::Text => to_stderr(&render(error, logging::stderr_has_colour())),
    }
    ExitCode::from(code)
}

/// Where a thread panicked, and why, as one line of JSON.
pub fn panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let code = ErrorKind::Internal.exit_code();
    line(&panic.to_string(), &json!({"exit_code": code, "thread": thread.name()}));
}

/// Something beside a command's result, for who looks on.
pub fn note(text: &str) {
    match logging::is_json() {
        true => tracing::info!("{text}"),
        false => to_stderr(&format!("note: {}\n", stdout::shown(text))),
    }
}

/// One JSON object as the log's lines are, where there may be no log.
fn line(message: &str, more: &serde_json::Value) {
    let mut line = json!({"timestamp": logging::json_time(), "level": "ERROR", "message": message});
    let more = more.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    line.as_object_mut().expect("it is one").extend(more.map(|(key, value)| (key.clone(), value.clone())));
    to_stderr(&format!("{}\n", stdout::json_text(&line.to_string())));
}

/// With stderr gone there is nobody left to tell; the exit code still does.
fn to_stderr(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// `error: …`, the place in the file, and the remedy.
pub fn render(error: &Error, colour: bool) -> String {
    let paint = if colour {
        Paint { red: "\x1b[1;31m", cyan: "\x1b[1;36m", off: "\x1b[0m" }
    } else {
        Paint::default()
    };
    let mut out = format!("{}error{}: {}\n", paint.red, paint.off, error.message);
    if let Some(snippet) = &error.snippet {
        out.push_str(snippet.trim_end_matches('\n'));
        out.push('\n');
    }
    if let Some(remedy) = &error.remedy {
        let remedy = wrapped(remedy, REMEDY_CHARS_MAX).join("\n          ");
        writeln!(out, "  {}remedy{}: {remedy}", paint.cyan, paint.off)
            .expect("writing to a String cannot fail");
    }
    for more in error.more.iter().take(MORE_MAX) {
        out.push_str(&render(more, colour));
    }
    if error.more.len() > MORE_MAX {
        writeln!(out, "and {} more", error.more.len() - MORE_MAX).expect("writing to a String cannot fail");
    }
    if error.kind == ErrorKind::Internal {
        out.push_str("  this is a bug of thalweg: please report it with the lines above\n");
    }
    out
}

/// Lines of whole words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[derive(Default)]
struct Paint {
    red: &'static str,
    cyan: &'static str,
    off: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_what_where_and_the_remedy() {
        let mut error = Error::new(ErrorKind::Config, "t.toml:1:1: unknown key `x`").remedy("remove it");
        error.snippet = Some("  |\n1 | x = 1\n  | ^\n".to_owned());
        let expected = "error: t.toml:1:1: unknown key `x`\n  |\n1 | x = 1\n  | ^\n  remedy: remove it\n";
        assert_eq!(render(&error, false), expected);
        assert!(render(&error, true).starts_with("\x1b[1;31merror\x1b[0m: t.toml"));
    }

    #[test]
    fn several_errors_fit_a_screen() {
        let error = |number: usize| Error::new(ErrorKind::Config, format!("mistake {number}"));
        let all = Error::together((0..30).map(error).collect()).unwrap();
        let shown = render(&all, false);
        assert!(shown.starts_with("error: mistake 0\nerror: mistake 1\n"), "{shown}");
        assert!(shown.ends_with("error: mistake 19\nand 10 more\n"), "{shown}");
        assert!(Error::together(Vec::new()).is_none());
    }

    #[test]
    fn a_bug_is_called_a_bug() {
        let error = Error::new(ErrorKind::Internal, "a range ends before it starts");
        assert_eq!(
            render(&error, false),
            "error: a range ends before it starts\n  this is a bug of thalweg: please report it with the lines above\n"
        );
    }
}
