//! Where a table lives: a path or a URL (`file://`, `s3://`, `gs://`, `az://`,
//! `abfss://`) becomes one absolute URL.
//!
//! It owns the spelling of locations. It touches neither disk nor network.

use std::path::Path;

use url::Url;

use super::redact::without_userinfo;

const HOST: &str = "a `file://` location names a host";

/// What is wrong with a location and what to write instead.
#[derive(PartialEq, Eq, Debug)]
pub struct LocationError {
    pub message: String,
    pub remedy: String,
}

/// Absolute, without a slash at its end. A relative path starts at `directory`.
pub fn parse(text: &str, directory: &Path) -> Result<Url, LocationError> {
    if text.is_empty() {
        return refuse("a location is empty", "write a path or `s3://bucket/prefix`");
    }
    if text.chars().any(char::is_control) {
        return refuse("a location has a control character", "remove it");
    }
    if text.trim() != text {
        return refuse("a location begins or ends with a blank", "remove the blank");
    }
    match text.split_once(':') {
        Some(("file", rest)) => match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') => file_url(path),
            Some(path) if path.starts_with(['~', '$']) => {
                no_shell(path).and_then(|()| refuse(HOST, "write three slashes: `file:///path`"))
            }
            Some(_) => refuse(HOST, "write three slashes: `file:///path`"),
            None => refuse("a `file:` location has no `//`", "write `file:///path`"),
        },
        Some(("s3" | "s3a" | "s3n", rest)) => match rest.strip_prefix("//") {
            Some(rest) => bucket("s3", rest),
            None => refuse("an `s3:` location has no `//`", "write `s3://bucket/prefix`"),
        },
        Some(("gs", rest)) => cloud("gs", "gcs", cfg!(feature = "gcs"), rest),
        Some((scheme @ ("az" | "abfss"), rest)) => cloud(scheme, "azure", cfg!(feature = "azure"), rest),
        Some((scheme, rest)) if rest.starts_with("//") || is_scheme(scheme) && rest.starts_with('/') => {
            refuse(
                format!("locations with `{scheme}:` are not available in this version"),
                "use a path, `file:///path` or `s3://bucket/prefix`",
            )
        }
        _ => path(text, directory),
    }
}

/// More than the dead letter of a drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn path(text: &str, directory: &Path) -> Result<Url, LocationError> {
    no_shell(text)?;
    if text == "." || text == "./" {
        return refuse("a location is the current directory", "name a directory for the table");
    }
    segments(text)?;
    let relative = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
    match relative {
        "" => local(Path::new("/")),
        _ => local(&directory.join(relative)),
    }
}

/// What a shell or another system would understand, and what would be a folder of that name here.
fn no_shell(text: &str) -> Result<(), LocationError> {
    let drive =
        matches!(text.as_bytes(), [dead_letter, b':', b'/' | b'\\', ..] if dead_letter.is_ascii_alphabetic());
    if drive || text.contains('\\') {
        let example = "write a path of this machine with `/`, such as `/data/lake`, or `s3://bucket/prefix`";
        return refuse("a location is a path of Windows", example);
    }
    let first = text.split('/').next().unwrap_or(text);
    if first.starts_with('~') {
        let rest = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let remedy = match rest {
            Some(rest) => format!("write `${{env:HOME}}{rest}`, or the whole path"),
            None => "write the whole path".to_owned(),
        };
        return refuse("a location begins with `~`, which only a shell understands", remedy);
    }
    no_variable(text)
}

/// `$NAME`, which a location would hold as it stands.
fn no_variable(text: &str) -> Result<(), LocationError> {
    let variable = text.split_once('$').map(|(_, rest)| rest.trim_start_matches('{'));
    let name = variable.map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    match name.and_then(|mut parts| parts.next()).filter(|name| !name.is_empty()) {
        Some(name) => refuse(
            format!("a location has `${name}`, which only a shell understands"),
            format!("write `${{env:{name}}}`"),
        ),
        None => Ok(()),
    }
}

/// `path` starts with a slash; percent signs in it are escapes.
fn file_url(path: &str) -> Result<Url, LocationError> {
    if path.contains(['?', '#']) {
        return refuse("a `file://` location has a `?` or `#`", "write `%3F` or `%23`, or a plain path");
    }
    let url = Url::parse(&format!("file://{path}")).map_err(|error| LocationError {
        message: format!("a location is not a valid URL: {error}"),
        remedy: "write `file:///path`".to_owned(),
    })?;
    no_shell(path.trim_start_matches('/'))?;
    // A URL's own reading takes escaped dots for dots.
    segments(&path.to_ascii_lowercase().replace("%2e", "."))?;
    match url.to_file_path() {
        Ok(path) => {
            segments(&path.to_string_lossy())?;
            local(&path)
        }
        Err(()) => refuse("a `file://` location is not a valid path", "write `file:///path`"),
    }
}

fn local(path: &Path) -> Result<Url, LocationError> {
    if path.parent().is_none() {
        return refuse("a location is the root directory", "name a directory for the table");
    }
    let mut url = Url::from_file_path(path).map_err(|()| LocationError {
        message: "the path of a location is not absolute".to_owned(),
        remedy: "write an absolute path".to_owned(),
    })?;
    let mut trimmed = url.path().trim_end_matches('/').to_owned();
    // As a URL it is read again, and must not be taken for what a shell understands.
    if no_shell(trimmed.trim_start_matches('/')).is_err() {
        trimmed = trimmed.replace('~', "%7E").replace('$', "%24").replace(':', "%3A");
    }
    url.set_path(&trimmed);
    Ok(url)
}

/// A store that is compiled in by a feature, or not.
fn cloud(scheme: &str, feature: &str, compiled_in: bool, rest: &str) -> Result<Url, LocationError> {
    match rest.strip_prefix("//") {
        Some(_) if !compiled_in => refuse(
            format!("locations with `{scheme}://` are not in this build: it has no feature `{feature}`"),
            format!("build it with `cargo build --release --features {feature}`"),
        ),
        Some(rest) => bucket(scheme, rest),
        None => refuse(
            format!("an `{scheme}:` location has no `//`"),
            format!("write `{scheme}://bucket/prefix`"),
        ),
    }
}

/// `bucket/prefix`; Azure's full form is `container@account.dfs.core.windows.net/prefix`.
fn bucket(scheme: &str, rest: &str) -> Result<Url, LocationError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return refuse(
            format!("an `{scheme}://` location has no bucket"),
            format!("write `{scheme}://bucket/prefix`"),
        );
    }
    let allowed = if scheme == "abfss" { "._-@" } else { "._-" };
    if let Some(wrong) = bucket.chars().find(|c| !(c.is_ascii_alphanumeric() || allowed.contains(*c))) {
        return refuse(
            format!("the bucket `{}` has the character `{wrong}`", without_userinfo(bucket)),
            "a bucket has letters, digits, `.`, `-`; endpoint and keys go into [storage.options]",
        );
    }
    // Of some buckets the client makes the name of a host.
    let host = format!("https://{bucket}.s3.amazonaws.com");
    if scheme == "s3" && (Url::parse(&host).is_err() || host.parse::<http::Uri>().is_err()) {
        return refuse(
            format!("the bucket `{bucket}` cannot be part of a host name"),
            "check the name of the bucket",
        );
    }
    // What a URL would escape is another key to readers that take escapes as they stand.
    if let Some(wrong) = prefix.chars().find(|c| !c.is_ascii_graphic() || "\"#%<>?\\^`{}".contains(*c)) {
        return refuse(
            format!("an `{scheme}://` location has the character `{wrong}`"),
            "use letters, digits, `/`, `-`, `_`, `.` and `=` in the prefix",
        );
    }
    no_variable(prefix)?;
    let prefix = prefix.trim_end_matches('/');
    if prefix.starts_with('/') {
        return refuse("a location has two slashes in a row", "write one slash");
    }
    segments(prefix)?;
    let text = if prefix.is_empty() {
        format!("{scheme}://{bucket}")
    } else {
        format!("{scheme}://{bucket}/{prefix}")
    };
    Url::parse(&text).map_err(|error| LocationError {
        message: format!("a location is not a valid URL: {error}"),
        remedy: format!("write `{scheme}://bucket/prefix`"),
    })
}

/// Dot segments would be resolved differently by each reader, and empty ones
/// are another object on S3 but the same file on disk.
fn segments(path: &str) -> Result<(), LocationError> {
    let lower = path.to_ascii_lowercase();
    let mut rest = lower.trim_end_matches('/');
    rest = rest.strip_prefix("./").unwrap_or(rest);
    rest = rest.strip_prefix('/').unwrap_or(rest);
    if rest.is_empty() {
        return Ok(());
    }
    for segment in rest.split('/') {
        match segment {
            ".." => return refuse("a location has a `..`", "write the location without `..`"),
            "." => return refuse("a location has a `.` within it", "write the location without `.`"),
            "" => return refuse("a location has two slashes in a row", "write one slash"),
            "_delta_log" => {
                return refuse("a location lies inside a `_delta_log`", "name the table's directory");
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse<T>(message: impl Into<String>, remedy: impl Into<String>) -> Result<T, LocationError> {
    Err(LocationError { message: message.into(), remedy: remedy.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Result<String, String> {
        parse(text, Path::new("/work")).map(|url| url.to_string()).map_err(|error| error.message)
    }

    #[test]
    fn every_spelling_becomes_one_absolute_url() {
        let cases = [
            ("orders", "file:///work/orders"),
            ("./orders/", "file:///work/orders"),
            ("data/orders v2", "file:///work/data/orders%20v2"),
            ("a:b", "file:///work/a:b"),
            ("100%/x", "file:///work/100%25/x"),
            ("%2e/x", "file:///work/%252e/x"),
            ("file:///work/%252e/x", "file:///work/%252e/x"),
            ("/data/orders", "file:///data/orders"),
            ("file:///data/orders/", "file:///data/orders"),
            ("file:///data/a%20b", "file:///data/a%20b"),
            ("s3://b/orders/", "s3://b/orders"),
            ("s3a://b/orders", "s3://b/orders"),
            ("s3://b", "s3://b"),
            ("s3://b/", "s3://b"),
            ("s3://my.bucket-1/dt=2026/x", "s3://my.bucket-1/dt=2026/x"),
        ];
        for (text, expected) in cases {
            assert_eq!(location(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_store_that_is_not_in_this_build_is_named_with_its_feature() {
        let cases = [
            ("gs://b/orders", "gcs", cfg!(feature = "gcs")),
            ("az://c/orders", "azure", cfg!(feature = "azure")),
            ("abfss://c@account.dfs.core.windows.net/orders", "azure", cfg!(feature = "azure")),
        ];
        for (text, feature, compiled_in) in cases {
            match location(text) {
                Ok(url) => assert!(compiled_in && url == text, "{url}"),
                Err(message) => {
                    assert!(
                        !compiled_in && message.contains(&format!("no feature `{feature}`")),
                        "{message}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_only_a_shell_or_windows_understands_becomes_no_folder_of_that_name() {
        let refused = |text: &str| parse(text, Path::new("/work")).expect_err(text);
        for (text, remedy) in [
            ("~/lake", "write `${env:HOME}/lake`, or the whole path"),
            ("~", "write `${env:HOME}`, or the whole path"),
            ("~kafka/lake", "write the whole path"),
            ("$HOME/lake", "write `${env:HOME}`"),
            ("/data/$DAY", "write `${env:DAY}`"),
            ("s3://b/$DAY/x", "write `${env:DAY}`"),
            ("file://~/lake", "write `${env:HOME}/lake`, or the whole path"),
            ("file:///~/lake", "write `${env:HOME}/lake`, or the whole path"),
            ("file://$HOME/lake", "write `${env:HOME}`"),
        ] {
            let error = refused(text);
            assert!(error.message.ends_with("which only a shell understands"), "{text}: {error:?}");
            assert_eq!(error.remedy, remedy, "{text}");
        }
        for text in ["C:\\lake", "C:/lake", "c:\\a\\b", "\\\\server\\share", "data\\lake", "file:///C:/lake"]
        {
            assert_eq!(refused(text).message, "a location is a path of Windows", "{text}");
        }
        assert_eq!(
            location("file:///data/%24DAY").as_deref(),
            Ok("file:///data/%24DAY"),
            "who means it can say it"
        );
        for text in ["/~kafka/lake", "/C:/lake", "file:///data/%24DAY", "file:///%7E/lake"] {
            let url = location(text).unwrap();
            assert_eq!(location(&url), Ok(url.clone()), "{text}: what is remembered of it is read again");
        }
        assert_eq!(location("./~lake").as_deref(), Ok("file:///work/~lake"));
        assert_eq!(location("a~b").as_deref(), Ok("file:///work/a~b"));
    }

    #[test]
    fn tricks_are_refused() {
        let cases = [
            ("", "a location is empty"),
            ("a\nb", "a location has a control character"),
            ("../orders", "a location has a `..`"),
            ("/data/../etc", "a location has a `..`"),
            ("file:///data/%2e%2E/etc", "a location has a `..`"),
            ("file:///data/..", "a location has a `..`"),
            ("s3://b/a/../../c", "a location has a `..`"),
            ("s3://b/a//c", "a location has two slashes in a row"),
            ("s3://b//c", "a location has two slashes in a row"),
            ("s3:///orders", "an `s3://` location has no bucket"),
            ("s3://", "an `s3://` location has no bucket"),
            ("s3:/b/x", "an `s3:` location has no `//`"),
            ("s3://key:secret@b/x", "the bucket `***@b` has the character `:`"),
            ("s3://xn--a/x", "the bucket `xn--a` cannot be part of a host name"),
            ("s3://b/x?versionId=1", "an `s3://` location has the character `?`"),
            ("s3://b/%2e%2e/x", "an `s3://` location has the character `%`"),
            ("s3://b/my orders", "an `s3://` location has the character ` `"),
            ("s3://b/größe", "an `s3://` location has the character `ö`"),
            ("file://host/data", "a `file://` location names a host"),
            ("file:/data", "a `file:` location has no `//`"),
            ("file:///", "a location is the root directory"),
            ("/", "a location is the root directory"),
            ("./", "a location is the current directory"),
            ("hdfs://b/x", "locations with `hdfs:` are not available in this version"),
            ("dbfs:/x", "locations with `dbfs:` are not available in this version"),
            (" s3://b/x", "a location begins or ends with a blank"),
            ("/data/x ", "a location begins or ends with a blank"),
            ("s3://b/orders/_delta_log", "a location lies inside a `_delta_log`"),
        ];
        for (text, message) in cases {
            assert_eq!(location(text).as_deref().unwrap_err(), message, "{text}");
        }
    }
}
