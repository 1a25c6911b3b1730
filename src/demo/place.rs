//! The demo's folder: a table, a config, a log, and the mark that it is ours.
//!
//! It owns what is removed before a new run: nothing but its own, and nothing
//! from a folder that does not carry the mark.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

use super::broker::TOPIC;
use super::record;
use crate::error::{Error, ErrorKind, Result};

const MARK: &str = ".thalweg-demo";

pub struct DemoDirectory {
    pub config: PathBuf,
    pub log: PathBuf,
    /// As the user named it, for what is printed.
    pub shown: String,
    table: PathBuf,
    /// Held locked: two demos in one folder would be two writers of one table.
    _mark: File,
}

impl DemoDirectory {
    pub fn prepare(dir: &Path) -> Result<DemoDirectory> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("{}: {error}", dir.display())).remedy("choose another --dir")
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let path = fs::canonicalize(dir).map_err(failed)?;
        let empty = fs::read_dir(&path).map_err(failed)?.next().is_none();
        if !empty && !path.join(MARK).is_file() {
            return Err(Error::new(
                ErrorKind::CannotWrite,
                format!("{} exists and is not a folder of the demo", dir.display()),
            )
            .remedy("choose another --dir, or empty this one"));
        }
        let mark = File::create(path.join(MARK)).map_err(failed)?;
        mark.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Error::new(ErrorKind::CannotWrite, format!("another demo runs in {}", dir.display()))
                    .remedy("choose another --dir")
            }
            TryLockError::Error(error) => failed(error),
        })?;
        let place = DemoDirectory {
            config: path.join("demo.toml"),
            log: path.join("thalweg.log"),
            shown: shown(dir),
            table: path.join(TOPIC),
            _mark: mark,
        };
        for left in [fs::remove_dir_all(&place.table), fs::remove_file(&place.log)] {
            left.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
                .map_err(failed)?;
        }
        Ok(place)
    }

    pub fn table_url(&self) -> Result<Url> {
        Url::from_directory_path(&self.table)
            .map_err(|()| Error::new(ErrorKind::Internal, "a canonical path is absolute"))
    }

    pub fn write_config(&self, brokers: &str) -> Result<()> {
        // A JSON string is a TOML string.
        let location = serde_json::Value::from(self.table.to_string_lossy());
        let text = format!(
            "version = 1\n\n[kafka]\nbrokers = \"{brokers}\"\n\n[[table]]\nid = \"{TOPIC}\"\ntopic = \"{TOPIC}\"\n\
             location = {location}\nmax_latency = \"150ms\"\nschema = \"{}\"\n",
            record::SCHEMA
        );
        fs::write(&self.config, text)
            .map_err(|error| Error::new(ErrorKind::Io, format!("{}: {error}", self.config.display())))
    }
}

fn shown(dir: &Path) -> String {
    let text = dir.display().to_string();
    if dir.is_absolute() || text.starts_with('.') { text } else { format!("./{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thalweg.log"), "mine").unwrap();
        let error = DemoDirectory::prepare(folder.path()).err().unwrap();
        assert_eq!(error.kind, ErrorKind::CannotWrite);
        assert_eq!(fs::read_to_string(folder.path().join("thalweg.log")).unwrap(), "mine");
    }

    #[test]
    fn a_second_demo_begins_anew_and_two_at_once_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = DemoDirectory::prepare(folder.path()).unwrap();
        fs::create_dir(folder.path().join("events")).unwrap();
        assert_eq!(DemoDirectory::prepare(folder.path()).err().unwrap().kind, ErrorKind::CannotWrite);
        assert!(folder.path().join("events").exists());
        drop(place);
        DemoDirectory::prepare(folder.path()).unwrap();
        assert!(!folder.path().join("events").exists());
    }
}
