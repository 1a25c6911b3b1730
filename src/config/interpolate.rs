//! References inside a string value: `${env:NAME}`, `${env:NAME:-default}`,
//! `${env:NAME:?message}`, `${file:/path}`, and `$$` for a dollar sign.
//! One final newline of a variable or of a file is left out.
//!
//! It owns their grammar and resolves them. It works on one parsed string at
//! a time, so that no value can change the file's structure.

use std::io::Read;

use super::store_value::without_final_newline;

/// A secret file larger than this is not a secret file.
const FILE_BYTES_MAX: u64 = 64 << 10;

pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is wrong with a reference, and its bytes within the string.
#[derive(PartialEq, Eq, Debug)]
pub struct ReferenceError {
    pub start: usize,
    pub end: usize,
    pub message: String,
    pub remedy: String,
}

pub fn interpolate(text: &str, environment: Environment<'_>) -> Result<String, ReferenceError> {
    let mut out = String::with_capacity(text.len());
    let mut position = 0;
    while let Some(found) = text[position..].find('$') {
        let start = position + found;
        out.push_str(&text[position..start]);
        let rest = &text[start + 1..];
        if rest.starts_with('$') {
            out.push('$');
            position = start + 2;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let Some(length) = inner.find('}') else {
                return Err(ReferenceError {
                    start,
                    end: text.len(),
                    message: "`${` has no closing `}`".to_owned(),
                    remedy: "close it, or write `$$` for a dollar sign".to_owned(),
                });
            };
            let end = start + 2 + length + 1;
            let value = resolve(&inner[..length], environment)
                .map_err(|(message, remedy)| ReferenceError { start, end, message, remedy })?;
            out.push_str(&value);
            position = end;
        } else {
            out.push('$');
            position = start + 1;
        }
    }
    out.push_str(&text[position..]);
    Ok(out)
}

/// `reference` is what stands between the braces. The error is message and remedy.
fn resolve(reference: &str, environment: Environment<'_>) -> Result<String, (String, String)> {
    match reference.split_once(':') {
        Some(("env", variable)) => from_environment(variable, environment),
        Some(("file", path)) => from_file(path),
        _ => {
            let remedy = if is_name(reference) {
                format!("write `${{env:{reference}}}`, or `$$` for a dollar sign")
            } else {
                "write `${env:NAME}` or `${file:/path}`, or `$$` for a dollar sign".to_owned()
            };
            Err((format!("`${{{reference}}}` is not a valid reference"), remedy))
        }
    }
}

fn from_environment(variable: &str, environment: Environment<'_>) -> Result<String, (String, String)> {
    let (name, rest) = variable.split_once(':').map_or((variable, None), |(name, rest)| (name, Some(rest)));
    if !is_name(name) {
        let remedy = "a name has letters, digits and underscores: `${env:NAME}`".to_owned();
        return Err((format!("`{name}` is not the name of an environment variable"), remedy));
    }
    let set = environment(name).map(|value| without_final_newline(&value).to_owned());
    let filled = set.clone().filter(|value| !value.is_empty());
    let missing = |message: &str| (message.to_owned(), format!("set {name} in the environment"));
    match rest {
        None => set.ok_or_else(|| {
            let remedy = format!("set it, or give a default: `${{env:{name}:-default}}`");
            (format!("environment variable {name} is not set"), remedy)
        }),
        Some(rest) => match (rest.strip_prefix('-'), rest.strip_prefix('?')) {
            (Some(default), _) => Ok(filled.unwrap_or_else(|| default.to_owned())),
            (_, Some("")) => {
                filled.ok_or_else(|| missing(&format!("environment variable {name} is empty or not set")))
            }
            (_, Some(message)) => filled.ok_or_else(|| missing(message)),
            _ => Err((
                format!("`:{rest}` is not understood after the name of a variable"),
                format!("write `${{env:{name}:-default}}` or `${{env:{name}:?message}}`"),
            )),
        },
    }
}

fn from_file(path: &str) -> Result<String, (String, String)> {
    let refuse = |what: String| {
        (format!("cannot read `{path}`: {what}"), "check the path and its permissions".to_owned())
    };
    if !path.starts_with('/') {
        return Err(refuse("the path is not absolute".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(|error| refuse(super::source::reason(&error)))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| refuse(super::source::reason(&error)))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(without_final_newline(&text).to_owned())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn resolve(text: &str) -> Result<String, ReferenceError> {
        interpolate(text, &|name| match name {
            "HOST" => Some("kafka".to_owned()),
            "EMPTY" => Some(String::new()),
            "LINE" => Some("s3cret \n".to_owned()),
            "BREAK" => Some("\r\n".to_owned()),
            "NESTED" => Some("${env:HOST}".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn references_are_replaced_once() {
        let cases = [
            ("plain", "plain"),
            ("${env:HOST}:9092,${env:HOST}:9093", "kafka:9092,kafka:9093"),
            ("${env:ABSENT:-a:b-c}", "a:b-c"),
            ("${env:EMPTY:-x}", "x"),
            ("[${env:EMPTY}]", "[]"),
            ("[${env:LINE}]", "[s3cret ]"),
            ("[${env:BREAK:-x}]", "[x]"),
            ("${env:HOST:?needed}", "kafka"),
            ("$${env:HOST} pa$word $", "${env:HOST} pa$word $"),
            ("${env:NESTED}", "${env:HOST}"),
            ("ü${env:HOST}ü", "ükafkaü"),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_broken_reference_names_its_place() {
        let cases = [
            ("a${env:ABSENT}", 1, 14, "environment variable ABSENT is not set"),
            ("${env:EMPTY:?give a host}", 0, 25, "give a host"),
            ("${env:EMPTY:?}", 0, 14, "environment variable EMPTY is empty or not set"),
            ("${HOST}", 0, 7, "`${HOST}` is not a valid reference"),
            ("${env:HOST", 0, 10, "`${` has no closing `}`"),
            ("${env:HOST:+x}", 0, 14, "`:+x` is not understood after the name of a variable"),
            ("${env:A B}", 0, 10, "`A B` is not the name of an environment variable"),
            ("${file:secret}", 0, 14, "cannot read `secret`: the path is not absolute"),
        ];
        for (text, start, end, message) in cases {
            let error = resolve(text).unwrap_err();
            assert_eq!((error.start, error.end, error.message.as_str()), (start, end, message), "{text}");
        }
    }

    #[test]
    fn a_file_loses_one_final_newline() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"s3cret \n\n").unwrap();
        let text = format!("${{file:{}}}", file.path().display());
        assert_eq!(resolve(&text).unwrap(), "s3cret \n");
    }

    #[test]
    fn a_file_has_a_limit() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![b'x'; (FILE_BYTES_MAX + 1) as usize]).unwrap();
        let text = format!("${{file:{}}}", file.path().display());
        assert!(resolve(&text).unwrap_err().message.contains("larger than 65536 bytes"));
    }
}
