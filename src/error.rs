//! Errors, sorted by what the operator does about them.
//!
//! It owns the kinds, their exit codes and the three parts that a person
//! reads: what happened, where, and the remedy. It does not print: the
//! command line does that, once, where the error is handled.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the operator does. Each kind is one exit code, the same for every command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The answer is no: `verify` found a violation, the demo's proof failed.
    No,
    /// The command line is wrong.
    Usage,
    /// A record that the policy does not let pass.
    Data,
    /// Broker, store, topic or bucket cannot be reached at start.
    Unavailable,
    /// A bug of ours.
    Internal,
    /// The table cannot be created or written correctly.
    CannotWrite,
    /// Input/output failed: disk full, I/O error.
    Io,
    /// Another writer moved our offsets.
    Fenced,
    /// The log and the table disagree; a person must decide.
    Disagree,
    /// Credentials were refused.
    Denied,
    /// The configuration is wrong.
    Config,
}

impl ErrorKind {
    pub const ALL: [ErrorKind; 11] = [
        ErrorKind::No,
        ErrorKind::Usage,
        ErrorKind::Data,
        ErrorKind::Unavailable,
        ErrorKind::Internal,
        ErrorKind::CannotWrite,
        ErrorKind::Io,
        ErrorKind::Fenced,
        ErrorKind::Disagree,
        ErrorKind::Denied,
        ErrorKind::Config,
    ];

    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::No => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Data => 65,
            ErrorKind::Unavailable => 69,
            ErrorKind::Internal => 70,
            ErrorKind::CannotWrite => 73,
            ErrorKind::Io => 74,
            ErrorKind::Fenced => 75,
            ErrorKind::Disagree => 76,
            ErrorKind::Denied => 77,
            ErrorKind::Config => 78,
        }
    }
}

/// What happened, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Error {
    pub kind: ErrorKind,
    /// What happened and to what: one line, lowercase, no full stop.
    pub message: String,
    /// What the operator can do, where we know it.
    pub remedy: Option<String>,
    /// The config file's text around the mistake, already laid out.
    pub snippet: Option<String>,
    /// What else was found in the same look, where one look finds several.
    pub more: Vec<Error>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: one_line(message.into()), remedy: None, snippet: None, more: Vec::new() }
    }

    /// The first error with the others behind it; `None` if there is none.
    pub fn together(errors: Vec<Error>) -> Option<Error> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        for mut error in errors {
            let more = std::mem::take(&mut error.more);
            first.more.push(error);
            first.more.extend(more);
        }
        Some(first)
    }

    /// The opposite of [`Error::together`].
    pub fn apart(mut self) -> Vec<Error> {
        let more = std::mem::take(&mut self.more);
        std::iter::once(self).chain(more).collect()
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Error {
        self.remedy = Some(one_line(remedy.into()));
        self
    }

    /// Puts the place before the message: `context: message`.
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.message = one_line(format!("{context}: {}", self.message));
        self
    }
}

/// Parts of an error, of a log line or of a result may be anybody's text: nothing in it begins a line or
/// acts on a terminal.
pub fn one_line(text: String) -> String {
    if !text.contains(acts_on_a_terminal) {
        return text;
    }
    text.chars().map(|c| if acts_on_a_terminal(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Control characters, and those that turn the direction of what follows.
pub fn acts_on_a_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_it_quotes_an_error_is_one_line_that_acts_on_no_terminal() {
        let error = Error::new(ErrorKind::Config, "`a\u{1b}[2J\nb` is no reference")
            .remedy("write `\u{9b}31m` differently")
            .context("f\r.toml");
        assert_eq!(error.message, "f\u{fffd}.toml: `a\u{fffd}[2J\u{fffd}b` is no reference");
        assert_eq!(error.remedy.as_deref(), Some("write `\u{fffd}31m` differently"));
    }
}
