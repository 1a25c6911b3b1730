//! Opening a location, and what a store's error means to the operator.
//!
//! It owns the choice of the store behind a URL and its retry limits. It does
//! not own what is kept there.
//!
//! The client inside retries for a few seconds only. Whoever must not fail
//! (a commit, an upload) repeats around it, under its own rules.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::disk::Disk;
use crate::error::{Error, ErrorKind, Result};

/// A table's place: an object store and the table's root in it.
#[derive(Clone)]
pub struct Store {
    pub objects: Arc<dyn ObjectStore>,
    pub root: Path,
    pub url: Url,
}

impl Store {
    /// Opens `file://` and `s3://` locations. No request is sent yet.
    pub fn open(url: &Url, options: &BTreeMap<String, String>) -> Result<Store> {
        let (objects, root): (Arc<dyn ObjectStore>, Path) = match url.scheme() {
            "file" => {
                let directory =
                    url.to_file_path().map_err(|()| unusable(url, "not a path of this machine"))?;
                let root = Path::from_absolute_path(directory).map_err(|error| unusable(url, error))?;
                (Arc::new(Disk::new()), root)
            }
            "s3" | "s3a" => {
                let root = Path::from_url_path(url.path()).map_err(|error| unusable(url, error))?;
                (Arc::new(s3(url, options)?), root)
            }
            scheme => return Err(unusable(url, format!("scheme `{scheme}` is not supported"))),
        };
        Ok(Store { objects, root, url: url.clone() })
    }

    /// A path below the table's root. `relative` holds `/` between its parts.
    pub fn path(&self, relative: &str) -> Path {
        relative.split('/').fold(self.root.clone(), |path, part| path.join(part))
    }

    /// The version file of the log.
    pub fn version_path(&self, version: crate::ids::Version) -> Path {
        self.path(&format!("_delta_log/{:020}.json", version.0))
    }

    pub fn log_path(&self) -> Path {
        self.path("_delta_log")
    }

    pub fn is_local(&self) -> bool {
        self.url.scheme() == "file"
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.url)
    }
}

fn unusable(url: &Url, why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("location {url}: {why}"))
        .remedy("a location is a path, file:///path or s3://bucket/prefix")
}

fn s3(url: &Url, options: &BTreeMap<String, String>) -> Result<object_store::aws::AmazonS3> {
    let mut client = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(60));
    let mut builder = AmazonS3Builder::from_env().with_url(url.as_str());
    let mut plain_http = false;
    for (key, value) in options {
        let known: AmazonS3ConfigKey = key.to_ascii_lowercase().parse().map_err(|_| {
            Error::new(ErrorKind::Config, format!("storage option `{key}` is not known"))
                .remedy("use object_store's S3 keys, such as region, endpoint, access_key_id")
        })?;
        plain_http |= matches!(known, AmazonS3ConfigKey::Endpoint) && value.starts_with("http://");
        builder = builder.with_config(known, value);
    }
    plain_http |= builder
        .get_config_value(&AmazonS3ConfigKey::Endpoint)
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    if plain_http {
        client = client.with_allow_http(true);
    }
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(8),
    };
    builder
        .with_retry(retry)
        .with_client_options(client)
        .build()
        .map_err(|error| Error::new(ErrorKind::Config, format!("location {url}: {error}")))
}

/// What a store's error means: its kind, one line, and the remedy.
pub fn explain(url: &Url, error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    let text = innermost(error);
    let io = io_error(error);
    let kind = match (error, io.map(std::io::Error::kind)) {
        (_, Some(std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)) => {
            ErrorKind::CannotWrite
        }
        (_, Some(std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists)) => {
            ErrorKind::CannotWrite
        }
        (Store::Generic { store: "disk" | "LocalFileSystem", .. }, _) => ErrorKind::Io,
        (Store::PermissionDenied { .. } | Store::Unauthenticated { .. }, _) => ErrorKind::Denied,
        _ if is_denied(&text) => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    let remedy = match kind {
        ErrorKind::CannotWrite => "let this user write there, or choose another location",
        ErrorKind::Io => "free space or repair the disk; what is committed is safe",
        ErrorKind::Denied => "check the credentials, and that they may list, read and write this prefix",
        _ if text.contains("NoSuchBucket") => "create the bucket, or correct the location",
        _ => "check the endpoint, the region and the network",
    };
    Error::new(kind, format!("{url}: {text}")).remedy(remedy)
}

/// Trouble that waiting does not heal: repeating is of no use.
pub fn is_hopeless(error: &object_store::Error) -> bool {
    use std::io::ErrorKind as Io;
    matches!(
        io_error(error).map(std::io::Error::kind),
        Some(
            Io::StorageFull
                | Io::PermissionDenied
                | Io::ReadOnlyFilesystem
                | Io::QuotaExceeded
                | Io::NotADirectory
        )
    ) || io_error(error).and_then(std::io::Error::raw_os_error) == Some(libc::EIO)
}

fn is_denied(text: &str) -> bool {
    ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "403 Forbidden", "401 Unauthorized"]
        .iter()
        .any(|mark| text.contains(mark))
}

fn io_error(error: &object_store::Error) -> Option<&std::io::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        source = inner.source();
    }
    None
}

/// The store's own words, without the layers of wrapping and without XML noise.
fn innermost(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if !text.contains(&inner.to_string()) {
            text = format!("{text}: {inner}");
        }
        source = inner.source();
    }
    if let (Some(code), Some(message)) =
        (between(&text, "<Code>", "</Code>"), between(&text, "<Message>", "</Message>"))
    {
        return format!("{code}: {message}");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locations_paths_lie_below_its_root() {
        let store = Store::open(&Url::parse("file:///data/my%20table").unwrap(), &BTreeMap::new()).unwrap();
        assert_eq!(store.path("part-1.parquet").as_ref(), "data/my table/part-1.parquet");
        assert_eq!(
            store.version_path(crate::ids::Version(7)).as_ref(),
            "data/my table/_delta_log/00000000000000000007.json"
        );
    }

    #[test]
    fn a_misspelt_storage_option_is_named() {
        let options = BTreeMap::from([("regoin".to_owned(), "eu".to_owned())]);
        let error = Store::open(&Url::parse("s3://b/t").unwrap(), &options).unwrap_err();
        assert!(error.message.contains("regoin"), "{error}");
    }
}
