//! A file that is not a text, and text that is not TOML: what it looks like to a
//! person, and what to write instead.
//!
//! It owns the search for the mistake. The parser says where it gave up and
//! what it would have liked; what was meant is in the line. Nothing of a
//! value that may be a secret is said.

use std::ops::Range;

use super::redact::{names_a_secret, without_secrets};
use super::source::{Source, SourcePosition};
use super::syntax::line_at;
use super::words;
use crate::error::{Error, ErrorKind};

/// Quotes that a word processor or a chat makes of `"` and `'`.
const TYPOGRAPHIC: [char; 11] = ['“', '”', '„', '‟', '‘', '’', '‚', '‛', '«', '»', '″'];
const COMMENTS: [&str; 7] = ["//", "/*", "*/", "--", ";", "<!--", "%"];
const CONFLICT: [&str; 3] = ["<<<<<<<", ">>>>>>>", "======="];
/// What stands for a truth elsewhere.
const TRUTHS: [(&str, &str); 12] = [
    ("True", "true"),
    ("TRUE", "true"),
    ("yes", "true"),
    ("Yes", "true"),
    ("on", "true"),
    ("On", "true"),
    ("False", "false"),
    ("FALSE", "false"),
    ("no", "false"),
    ("No", "false"),
    ("off", "false"),
    ("Off", "false"),
];
const NOTHINGS: [&str; 6] = ["null", "Null", "NULL", "None", "nil", "~"];

/// What the first bytes of a file say that is packed, and what unpacks it.
const PACKED: [(&[u8], &str, &str); 5] = [
    (&[0x1f, 0x8b], "gzip", "gunzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "unzstd"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz", "unxz"),
];

/// A file that is not UTF-8 text, from the byte `at` on: what it looks like.
pub fn no_text(name: &str, bytes: &[u8], at: usize) -> Error {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let unmarked = matches!(bytes, [0, 1..=0x7f, 0, 1..=0x7f, ..] | [1..=0x7f, 0, 1..=0x7f, 0, ..]);
    let packed = PACKED.iter().find(|(magic, ..)| bytes.starts_with(magic));
    let (what, remedy) = if marked || unmarked {
        let from = match bytes {
            _ if marked => "utf-16",
            [0, ..] => "utf-16be",
            _ => "utf-16le",
        };
        ("the file is UTF-16".to_owned(), format!("save it as UTF-8: `iconv -f {from} -t utf-8 {name}`"))
    } else if let Some((_, format, program)) = packed {
        let remedy = format!("unpack it with `{program}`, and name what comes out with `-c FILE`");
        (format!("the file is compressed with {format}"), remedy)
    } else if bytes.contains(&0) {
        ("the file is binary, and no config".to_owned(), "name the config file with `-c FILE`".to_owned())
    } else {
        let what = format!("the byte 0x{:02x} is not UTF-8", bytes[at]);
        (what, format!("save the file as UTF-8; from Latin-1: `iconv -f latin1 -t utf-8 {name}`"))
    };
    Error::new(ErrorKind::Config, what).context(format_args!("{name}:{line}:{column}")).remedy(remedy)
}

/// One mistake of grammar.
pub struct Mistake {
    pub error: Error,
    /// A line that is wrong by itself: without it the rest can be read.
    pub line: Option<Range<usize>>,
}

/// What the parser's first client error is about.
pub fn mistake(source: &Source<'_>, error: &toml::de::Error) -> Mistake {
    let text = source.text;
    let message = error.message().lines().next().unwrap_or_default();
    let span = error.span().unwrap_or(text.len()..text.len());
    let at = |span: Range<usize>, what: String, remedy: String| {
        source.error(&SourcePosition::File(span), what, "").remedy(remedy)
    };
    if let Some((what, remedy)) = another_format(text) {
        let first = text.len() - text.trim_start_matches('\u{feff}').trim_start().len();
        return Mistake { error: at(first..first + 1, what, remedy), line: None };
    }
    if let Some((begun, what, remedy)) = not_closed(text, &span, message) {
        return Mistake { error: at(begun, what, remedy), line: None };
    }
    let line = line_at(text, span.start);
    if message.starts_with("duplicate key") {
        return twice(source, &span, line);
    }
    let seen = SourceLine::of(text, line.clone(), span.start);
    let (what, remedy) = seen.mistake(message).unwrap_or_else(|| general(message));
    let trimmed = seen.text.trim_start();
    let is_alone = !trimmed.starts_with('[') && !CONFLICT.iter().any(|mark| trimmed.starts_with(mark));
    Mistake { error: at(span, what, remedy), line: is_alone.then_some(line) }
}

/// A file that was meant for another parser altogether.
fn another_format(text: &str) -> Option<(String, String)> {
    let lines = || text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let mut first = lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = first.next()?;
    let remedy = "write TOML, as in `key = \"value\"`; `thalweg init` writes a config to begin with";
    let format = if line.starts_with('{') {
        "JSON"
    } else if line.starts_with("<?xml") || line.starts_with("<!DOCTYPE") || line.starts_with("<html") {
        "XML or HTML"
    } else if line == "---" || is_yaml(line) && first.all(|line| !line.contains(" = ")) {
        "YAML"
    } else {
        return None;
    };
    Some((format!("the file is {format}, and a config is TOML"), remedy.to_owned()))
}

/// `key:` or `key: value`
fn is_yaml(line: &str) -> bool {
    let key = line.split_once(':').filter(|(_, rest)| rest.is_empty() || rest.starts_with(' '));
    key.is_some_and(|(key, _)| is_bare_key(key))
}

fn is_bare_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// A text over several lines or a list that nobody closed: the parser gives up far behind it.
fn not_closed(text: &str, span: &Range<usize>, message: &str) -> Option<(Range<usize>, String, String)> {
    let before = &text[..line_at(text, span.start).end];
    if message.contains("multi-line") {
        let quotes = if message.contains("literal") { "'''" } else { "\"\"\"" };
        let start = before.rfind(quotes)?;
        let key = super::syntax::key_of_line(text, start);
        let what = format!("the text of `{key}` is not closed");
        return Some((start..start + 3, what, format!("write `{quotes}` behind its last line")));
    }
    if !message.contains("array") || message.contains("extend") || message.contains("array table") {
        return None;
    }
    // The nearest line before that begins a list and does not end it.
    let mut end = before.len();
    for _ in 0..200 {
        let line = line_at(text, end);
        let (key, value) = text[line.clone()].split_once('=').unwrap_or_default();
        let value_at = line.end - value.len() + (value.len() - value.trim_start().len());
        if value.trim_start().starts_with('[') {
            let open = value.matches('[').count() > value.matches(']').count();
            let key = key.trim();
            let what = format!("the list of `{key}` is not closed");
            let remedy = "write `]` behind its last value, and a comma between two".to_owned();
            return open.then(|| (value_at..value_at + 1, what, remedy));
        }
        end = line.start.checked_sub(1)?;
    }
    None
}

/// A key or a section that stands there already.
fn twice(source: &Source<'_>, span: &Range<usize>, line: Range<usize>) -> Mistake {
    let header = source.text[line.clone()].trim_start().starts_with('[');
    let key = source.text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let place = SourcePosition::File(span.clone());
    if header {
        let header = source.text[line].trim();
        let header = header.split('#').next().unwrap_or(header).trim();
        let remedy = match key {
            "table" => "write two brackets, `[[table]]`, before each table".to_owned(),
            _ => format!("keep one `{header}`, with the keys of both"),
        };
        let error = source.error(&place, format!("`{header}` stands twice"), "already there above");
        return Mistake { error: error.remedy(remedy), line: None };
    }
    let error = source.error(&place, format!("`{key}` is set twice"), "already set above");
    Mistake { error: error.remedy("keep one of the two"), line: Some(line) }
}

/// A line, what is before and behind its first `=`, and where the parser gave up.
struct SourceLine<'a> {
    text: &'a str,
    key: &'a str,
    /// Without a comment behind it, as far as quotes tell.
    value: Option<&'a str>,
    /// What may be said of the value.
    shown: Option<String>,
}

impl<'a> SourceLine<'a> {
    fn of(text: &'a str, range: Range<usize>, position: usize) -> SourceLine<'a> {
        let line = &text[range.clone()];
        let end = position.clamp(range.start, range.end);
        let hidden = without_secrets(text, end);
        let hidden = hidden.lines().nth(text[..range.start].matches('\n').count()).unwrap_or_default();
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key.trim(), Some(without_comment(value.trim()))),
            None => (line.trim(), None),
        };
        let key = key.trim_matches(['"', '\'']);
        let secret =
            names_a_secret(key) || hidden != line || value.is_some_and(|value| value.contains(['"', '\\']));
        let shown = value.filter(|_| !secret).map(str::to_owned);
        SourceLine { text: line, key, value, shown }
    }

    fn mistake(&self, message: &str) -> Option<(String, String)> {
        let line = self.text.trim();
        let say = |what: &str, remedy: &str| Some((what.to_owned(), remedy.to_owned()));
        if CONFLICT.iter().any(|mark| line.starts_with(mark)) {
            return say(
                "the line is the mark of a merge conflict",
                "keep one of the two sides, and remove the marks",
            );
        }
        if let Some(quote) = line.chars().find(|c| TYPOGRAPHIC.contains(c)) {
            let what = format!("the line has a typographic quote, `{quote}`");
            return Some((what, "write straight quotes: `\"`".to_owned()));
        }
        if let Some(c) = line.chars().find(|c| is_blank_to_the_eye(*c)) {
            let what = format!("the line has the invisible character U+{:04X}", u32::from(c));
            return Some((what, "remove it, or write a blank".to_owned()));
        }
        if COMMENTS.iter().any(|mark| line.starts_with(mark)) {
            return say("the line is a comment of another language", "begin comments with `#`");
        }
        if line.starts_with('[') {
            return say(
                "the header of a section is not right",
                "write it alone on its line, as in `[kafka]`, or `[[table]]` for each table",
            );
        }
        match self.value {
            None => self.without_equals(line),
            Some(value) => self.key_mistake(value).or_else(|| self.value_mistake(value, message)),
        }
    }

    fn without_equals(&self, line: &str) -> Option<(String, String)> {
        if line.starts_with("- ") || line == "-" {
            let remedy =
                "write a list as in `key = [\"a\", \"b\"]`, and each table under its own `[[table]]`";
            return Some(("the line is a list of YAML".to_owned(), remedy.to_owned()));
        }
        let (key, rest) = line.split_once(':').unwrap_or((line, ""));
        let key = key.trim().trim_matches(['"', '\'']);
        if line.contains(':') && is_bare_key(key) {
            let what = format!("`{key}` has a `:` where `=` belongs");
            let value =
                if rest.trim().is_empty() { "a section is written `[name]`" } else { "a text in quotes" };
            return Some((what, format!("write `{key} = …`; {value}")));
        }
        if line.starts_with(['}', '{']) {
            let remedy = "write sections as in `[kafka]`; a `{…}` stands on one line";
            return Some(("the line is not a TOML key".to_owned(), remedy.to_owned()));
        }
        let first = line.split_whitespace().next().filter(|word| words::example(word).is_some());
        match first {
            Some(key) => {
                let example = words::example(key).unwrap_or_default();
                Some((format!("`{key}` has no `=`"), format!("write `{key} = {example}`")))
            }
            None => Some((
                "the line has no `=`".to_owned(),
                "write `key = \"value\"`, or begin the line with `#` if it is a comment".to_owned(),
            )),
        }
    }

    fn key_mistake(&self, value: &str) -> Option<(String, String)> {
        let key = self.key;
        if key.is_empty() {
            return Some(("there is no key before `=`".to_owned(), "write `key = \"value\"`".to_owned()));
        }
        if key.ends_with(':') || value.starts_with(['=', '>', '~']) {
            let key = key.trim_end_matches(':').trim_end();
            return Some((format!("`{key}` has more than one `=`"), format!("write `{key} = …`")));
        }
        if let Some((first, _)) = key.split_once(char::is_whitespace)
            && ["export", "set", "let", "var", "const"].contains(&first)
        {
            return Some((format!("`{first}` is not valid TOML"), "write only `key = \"value\"`".to_owned()));
        }
        // More than a word before the sign may be anything.
        if !is_bare_key(key) && !key.contains(['"', '\'']) {
            let remedy = if key.contains(char::is_whitespace) {
                "write the key without blanks, as in `max_latency`"
            } else {
                "keys have letters, digits, `-` and `_`; put others in quotes"
            };
            return Some(("this is not a key".to_owned(), remedy.to_owned()));
        }
        None
    }

    fn value_mistake(&self, value: &str, message: &str) -> Option<(String, String)> {
        let key = self.key;
        let written = |shown: &str| format!("write `{key} = {shown}`");
        let Some(first) = value.chars().next() else {
            let remedy =
                words::example(key).map_or("write a value behind it, or remove the line".to_owned(), written);
            return Some((format!("`{key}` has no value"), remedy));
        };
        match first {
            '"' | '\'' => return self.quoted_mistake(value, first, message),
            '[' | '{' => return None,
            '(' => {
                let remedy = "write a list in brackets: `[\"a\", \"b\"]`".to_owned();
                return Some((format!("the value of `{key}` is in parentheses"), remedy));
            }
            '`' => {
                return Some((
                    format!("the value of `{key}` is in backquotes"),
                    "write straight quotes: `\"`".to_owned(),
                ));
            }
            _ => {}
        }
        let word = value.trim_end_matches([',', ';']);
        if let Some((_, truth)) = TRUTHS.iter().find(|(theirs, _)| *theirs == word) {
            let remedy = if key == "pin" || words::example(key).is_none() {
                written(truth)
            } else {
                written(words::example(key).unwrap_or_default())
            };
            return Some((format!("`{key}` is `{word}`, which is not a TOML value"), remedy));
        }
        if NOTHINGS.contains(&word) {
            return Some((
                format!("`{key}` is `{word}`, which is not a TOML value"),
                "leave the key out".to_owned(),
            ));
        }
        if word != value && (word.parse::<f64>().is_ok() || word == "true" || word == "false") {
            return Some(behind(&value[word.len()..]));
        }
        let plain: String = word.chars().filter(|c| *c != ',').collect();
        let plain = plain.trim_start_matches('0');
        if !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit()) && self.shown.is_some() {
            return Some((format!("`{key}` is not a TOML number"), written(plain)));
        }
        let remedy = match &self.shown {
            Some(_) if !word.is_empty() => written(&format!("\"{word}\"")),
            _ => "put the value in quotes".to_owned(),
        };
        Some((format!("the value of `{key}` has no quotes"), remedy))
    }

    fn quoted_mistake(&self, value: &str, quote: char, message: &str) -> Option<(String, String)> {
        let key = self.key;
        if quote == '"' && ["escape", "unicode", "invalid value"].iter().any(|word| message.contains(word)) {
            let remedy = "write `\\\\` for one, or put the text in single quotes";
            return Some((format!("a `\\` in the text of `{key}` begins an escape"), remedy.to_owned()));
        }
        if message.contains("control") || value.contains(|c: char| c.is_control() && c != '\t') {
            let remedy = "remove it; a text over several lines stands between `\"\"\"` and `\"\"\"`";
            return Some((format!("the text of `{key}` has a control character"), remedy.to_owned()));
        }
        let Some(length) = closed(value, quote) else {
            return Some((
                format!("the text of `{key}` has no closing quote"),
                format!("write `{quote}` at its end"),
            ));
        };
        let rest = value[length..].trim_start();
        if rest.is_empty() { None } else { Some(behind(rest)) }
    }
}

/// What follows a value that is complete.
fn behind(rest: &str) -> (String, String) {
    let (what, remedy) = match rest.chars().next() {
        Some(',') if rest.trim_end().len() > 1 => {
            ("there is more behind the value", "write each key on a line of its own")
        }
        Some(sign @ (',' | ';')) => {
            return (format!("there is a `{sign}` behind the value"), "remove it".to_owned());
        }
        Some('/' | '-') => ("there is text behind the value", "begin comments with `#`"),
        _ => (
            "there is text behind the value",
            "write each key on a line of its own; a `\"` within a text is written `\\\"`",
        ),
    };
    (what.to_owned(), remedy.to_owned())
}

/// The length of a quoted text with both quotes.
fn closed(value: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in value.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

fn without_comment(value: &str) -> &str {
    if value.starts_with(['"', '\'', '[', '{']) {
        return value;
    }
    value.split('#').next().unwrap_or(value).trim_end()
}

/// A blank that is none to the parser, and what has no width.
fn is_blank_to_the_eye(c: char) -> bool {
    c != ' ' && c != '\t' && !c.is_ascii() && c.is_whitespace()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}')
}

/// The parser's words where the line says nothing.
fn general(message: &str) -> (String, String) {
    let remedy = "check quotes, brackets and commas here and on the line before";
    let what = match message {
        message if message.contains("extra comma") => "there is a comma too many",
        message if message.contains("missing comma") => "there is no comma between two values",
        message if message.contains("inline table") => "the `{…}` is not right",
        message if message.contains("extend value") => "a section or key stands where a value is already",
        message if message.contains("recur") => "lists or tables lie too deep inside one another",
        message if message.contains("overflow") => "the number is too large",
        message if message.contains("carriage return") => "the line ends with a carriage return alone",
        message if message.contains("comment") => "the comment has a control character",
        _ => "this is not valid TOML",
    };
    (what.to_owned(), remedy.to_owned())
}
