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

/// What a parser of JSON says, for people who do not write one: `EOF while parsing a list at line 1 column 9`
/// ends in the middle of a list. Any other text stays as it is.
pub fn plain_json(text: &str) -> String {
    let (message, place) = match text.rsplit_once(" at line ") {
        Some((message, place)) => (message, format!(", at line {place}")),
        None => (text, String::new()),
    };
    let plain = |name: &str| match JSON_TYPES.iter().find(|(theirs, _)| name.starts_with(theirs)) {
        Some((_, ours)) => (*ours).to_owned(),
        None => name.to_owned(),
    };
    let said = match message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("found {} where {} belongs", plain(found), plain(expected)),
        None => match JSON_WORDS.iter().find(|(theirs, _)| message.starts_with(theirs)) {
            Some((_, ours)) => (*ours).to_owned(),
            None => message.to_owned(),
        },
    };
    said + &place
}

const JSON_TYPES: [(&str, &str); 18] = [
    ("null", "null"),
    ("unit", "null"),
    ("integer", "a whole number"),
    ("floating point", "a number with a fraction"),
    ("boolean", "true or false"),
    ("a boolean", "true or false"),
    ("string", "a text"),
    ("a string", "a text"),
    ("a borrowed string", "a text"),
    ("sequence", "a list"),
    ("a sequence", "a list"),
    ("map", "an object"),
    ("a map", "an object"),
    ("struct", "an object"),
    ("i64", "a whole number"),
    ("i32", "a whole number"),
    ("u64", "a whole number"),
    ("u32", "a whole number"),
];

const JSON_WORDS: [(&str, &str); 17] = [
    ("EOF while parsing a string", "it ends in the middle of a text"),
    ("EOF while parsing a list", "it ends in the middle of a list"),
    ("EOF while parsing an object", "it ends in the middle of an object"),
    ("EOF while parsing", "it ends too early"),
    ("expected ident", "a word that is not true, false or null"),
    ("expected value", "this is not a JSON value"),
    ("expected `:`", "a `:` is missing behind a name"),
    ("expected `,` or `]`", "a `,` or `]` is missing in a list"),
    ("expected `,` or `}`", "a `,` or `}` is missing in an object"),
    ("key must be a string", "a name stands without quotes"),
    ("trailing comma", "a comma too many"),
    ("trailing characters", "more follows behind the JSON"),
    ("invalid escape", "an escape that JSON does not have"),
    ("control character", "a control character in a text"),
    ("lone leading surrogate", "half a surrogate pair in a text"),
    ("unexpected end of hex escape", "an escape that is not complete"),
    ("recursion limit exceeded", "lists or objects lie too deep inside one another"),
];

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
    fn what_a_parser_of_json_says_becomes_plain_words() {
        use std::collections::BTreeMap;
        type Lists = BTreeMap<String, Vec<i64>>;
        for (json, said) in [
            ("{\"a\"", "it ends in the middle of an object"),
            ("{\"a\":[1,", "it ends too early"),
            ("{\"a\":\n[x]}", "this is not a JSON value"),
            ("nope", "a word that is not true, false or null"),
            ("[]", "found a list where an object belongs"),
            ("{\"a\":{}}", "found an object where a list belongs"),
            ("{\"a\":[\"x\"]}", "found a text where a whole number belongs"),
            ("{\"a\":[]} x", "more follows behind the JSON"),
        ] {
            let error = serde_json::from_str::<Lists>(json).unwrap_err();
            let place = format!(", at line {} column {}", error.line(), error.column());
            assert_eq!(plain_json(&error.to_string()), format!("{said}{place}"), "{json}: {error}");
        }
        assert_eq!(plain_json("it was listed, and is gone"), "it was listed, and is gone");
    }

    #[test]
    fn whatever_it_quotes_an_error_is_one_line_that_acts_on_no_terminal() {
        let error = Error::new(ErrorKind::Config, "`a\u{1b}[2J\nb` is not a valid reference")
            .remedy("write `\u{9b}31m` differently")
            .context("f\r.toml");
        assert_eq!(error.message, "f\u{fffd}.toml: `a\u{fffd}[2J\u{fffd}b` is not a valid reference");
        assert_eq!(error.remedy.as_deref(), Some("write `\u{fffd}31m` differently"));
    }
}
