//! Opening a location, and what a store's error means to the operator.
//!
//! It owns the choice of the store behind a URL. It does not own how a cloud's
//! client is put together (`client`), nor what is kept there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use url::Url;

use crate::backoff::Backoff;
use crate::config::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::stores::circuit_breaker;
use crate::stores::client;
use crate::stores::disk::Disk;
use crate::stores::store_error::innermost;

/// Answers that were cut off before a question is given up.
const CUT_OFF_MAX: u32 = 4;

/// A table's place: an object store and the table's root in it.
#[derive(Clone)]
pub struct Store {
    pub objects: Arc<dyn ObjectStore>,
    /// Uploads whose parts can be put again; a local disk needs none.
    pub parts: Option<Arc<dyn MultipartStore>>,
    pub root: Path,
    pub url: Url,
}

impl Store {
    /// Opens a location. No request is sent yet.
    pub fn open(url: &Url, options: &BTreeMap<String, Secret>) -> Result<Store> {
        if url.scheme() == "file" {
            let directory = url.to_file_path().map_err(|()| unusable(url, "not a path of this machine"))?;
            let root = Path::from_absolute_path(directory).map_err(|error| unusable(url, error))?;
            let objects = circuit_breaker::before_disk(Disk::new(), &circuit_breaker::of(url, options));
            return Ok(Store { objects, parts: None, root, url: url.clone() });
        }
        let root = Path::from_url_path(url.path()).map_err(|error| unusable(url, error))?;
        let client = circuit_breaker::before(client::open(url, options)?, &circuit_breaker::of(url, options));
        Ok(Store { objects: client.objects, parts: Some(client.parts), root, url: url.clone() })
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
        _ if is_denied(&text) || has_no_credentials(&text) => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    let remedy = match kind {
        ErrorKind::CannotWrite => "let this user write there, or choose another location",
        ErrorKind::Io => "free space or repair the disk; what is committed is safe",
        ErrorKind::Denied if has_no_credentials(&text) => {
            "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or `aws_profile`"
        }
        ErrorKind::Denied => "check the credentials, and that they may list, read and write this prefix",
        _ if text.contains("NoSuchBucket") => "create the bucket, or correct the location",
        _ => "check the endpoint, the region and the network",
    };
    Error::new(kind, format!("{url}: {text}")).remedy(remedy)
}

/// Asks again what was cut off in the middle of its answer: the client inside
/// repeats only requests that got no answer at all.
pub async fn answered<T, F: Future<Output = object_store::Result<T>>>(
    request: impl Fn() -> F,
) -> object_store::Result<T> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
    for _ in 0..CUT_OFF_MAX {
        match request().await {
            Err(error) if innermost(&error).contains("response body") => {
                tracing::debug!(%error, "an answer was cut off; asked again");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(backoff.pause()).await;
    }
    request().await
}

/// Trouble that waiting does not heal: repeating is of no use.
pub fn is_hopeless(error: &object_store::Error) -> bool {
    use std::io::ErrorKind as Io;
    let kind = io_error(error).map(std::io::Error::kind);
    matches!(kind, Some(Io::PermissionDenied | Io::ReadOnlyFilesystem | Io::NotADirectory))
}

/// A disk that is full, or fails: a person mends that while a run waits, and before it starts.
pub fn is_disk_trouble(error: &object_store::Error) -> bool {
    use std::io::ErrorKind as Io;
    let io = io_error(error);
    matches!(io.map(std::io::Error::kind), Some(Io::StorageFull | Io::QuotaExceeded))
        || io.and_then(std::io::Error::raw_os_error) == Some(libc::EIO)
}

fn is_denied(text: &str) -> bool {
    [
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "AccessDenied",
        "ExpiredToken",
        "InvalidToken",
        "403 Forbidden",
        "401 Unauthorized",
    ]
    .iter()
    .any(|mark| text.contains(mark))
}

/// With nothing else to go by the client asks the machine for its role, and gets no answer.
fn has_no_credentials(text: &str) -> bool {
    text.contains("/latest/api/token") || text.contains("/latest/meta-data/iam")
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

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_cut_off_is_asked_for_again_and_a_refusal_is_not() {
        for (said, tries) in [("Error getting list response body: end of file", 5), ("503 SlowDown", 1)] {
            let asked = std::cell::Cell::new(0);
            let request = || async {
                asked.set(asked.get() + 1);
                Err::<(), _>(object_store::Error::Generic { store: "S3", source: said.into() })
            };
            assert!(answered(request).await.is_err());
            assert_eq!(asked.get(), tries, "{said}");
        }
    }

    #[test]
    fn a_misspelt_storage_option_is_named() {
        let options = BTreeMap::from([("regoin".to_owned(), Secret::new("eu"))]);
        let error = Store::open(&Url::parse("s3://b/t").unwrap(), &options).unwrap_err();
        assert!(error.message.contains("regoin"), "{error}");
    }
}
