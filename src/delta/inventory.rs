//! Every live file of a table: the whole log replayed, for those who ask.
//!
//! It owns the replay that `table info`, `table verify` and the tests stand
//! on. It keeps every live file in memory, which is why nothing on the commit
//! path may use it.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use serde::Deserialize;

use crate::delta::action::{self, Add, Commit, Line, Remove};
use crate::delta::checkpoint_file;
use crate::delta::checkpoint_schema;
use crate::delta::json_checkpoint;
use crate::delta::log::{self, Found, Snapshot};
use crate::delta::parsed_stats;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::stores::store::{Store, explain};

/// Version files read at once.
const PARALLEL_GETS: usize = 16;

/// A table as its log describes it.
#[derive(Debug)]
pub struct Inventory {
    pub snapshot: Snapshot,
    /// Live files by path and deletion vector.
    pub files: BTreeMap<FileKey, Add>,
    /// The version files that are still there, in order.
    pub history: Vec<Retained>,
    /// Paths that retained versions or the checkpoint remove: their files may still be read.
    pub removed: BTreeSet<String>,
    /// What contradicts itself in the log.
    pub faults: Vec<String>,
}

/// A version whose file is still there.
#[derive(Debug)]
pub struct Retained {
    pub version: Version,
    pub commit: Commit,
    pub adds: Vec<Add>,
    /// It removed files, and said that rows changed by it.
    pub removes_rows: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileKey {
    pub path: String,
    pub deletion_vector: Option<String>,
}

impl FileKey {
    pub fn of(path: &str, vector: Option<&action::DeletionVector>) -> FileKey {
        FileKey { path: path.to_owned(), deletion_vector: vector.map(action::DeletionVector::unique_id) }
    }
}

/// Replays the log; an error where there is no table.
pub async fn take(store: &Store) -> Result<Inventory> {
    let snapshot = log::load_to_read(store).await?.ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, format!("{}: there is no Delta table", store.url))
            .remedy("check the location; a table has a `_delta_log` folder")
    })?;
    let listing = log::list(store, None).await?;
    let mut inventory = Inventory {
        snapshot,
        files: BTreeMap::new(),
        history: Vec::new(),
        removed: BTreeSet::new(),
        faults: Vec::new(),
    };
    // Files as of the newest checkpoint; then the versions after it move them.
    let base = listing.checkpoints.range(..=inventory.snapshot.version).next_back();
    if let Some((_, names)) = base {
        for name in names {
            inventory.read_checkpoint(store, name).await?;
        }
    }
    let base = base.map(|(&version, _)| version);
    let tip = inventory.snapshot.version;
    let listed: Vec<Version> = listing.versions.into_iter().filter(|&version| version <= tip).collect();
    for pair in listed.windows(2).filter(|pair| pair[0].next() != pair[1]) {
        inventory.faults.push(format!("versions before {} are missing", pair[1]));
    }
    let read = |version| async move { (version, log::get(store, version).await) };
    let mut bodies = futures::stream::iter(listed.into_iter().map(read)).buffered(PARALLEL_GETS);
    while let Some((version, found)) = bodies.next().await {
        match found {
            Found::Commit(body) => inventory.read_version(store, version, &body, Some(version) > base)?,
            Found::Missing => inventory.faults.push(format!("version {version} was listed, and is gone")),
            Found::Unclear(error) => return Err(explain(&store.url, &error)),
        }
    }
    drop(bodies);
    Ok(inventory)
}

impl Inventory {
    fn read_version(
        &mut self,
        store: &Store,
        version: Version,
        body: &[u8],
        moves_files: bool,
    ) -> Result<()> {
        let bad = |error: serde_json::Error| log::damaged(store, version, error);
        let commit = action::past_commit(body).map_err(bad)?;
        let (mut adds, mut removes_rows) = (Vec::new(), false);
        // Its actions have no order: a file of both is there for one reader and gone for another.
        let (mut added, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for line in action::lines(body) {
            match line.map_err(bad)? {
                Line::Add(text) => {
                    let add: Add = serde_json::from_str(text.get()).map_err(bad)?;
                    let key = FileKey::of(&add.path, add.deletion_vector.as_ref());
                    let twice = !added.insert(key.clone());
                    let again = moves_files && self.files.insert(key, add.clone()).is_some();
                    if twice || (again && add.data_change) {
                        self.faults.push(format!("version {version} adds {} again", add.path));
                    }
                    adds.push(add);
                }
                Line::Remove(text) => {
                    let remove: Remove = serde_json::from_str(text.get()).map_err(bad)?;
                    let key = FileKey::of(&remove.path, remove.deletion_vector.as_ref());
                    if moves_files {
                        self.files.remove(&key);
                    }
                    gone.insert(key);
                    removes_rows |= remove.data_change;
                    self.removed.insert(remove.path);
                }
                _ => {}
            }
        }
        let both = added.intersection(&gone);
        self.faults.extend(both.map(|key| format!("version {version} adds and removes {}", key.path)));
        self.history.push(Retained { version, commit, adds, removes_rows });
        Ok(())
    }

    async fn read_checkpoint(&mut self, store: &Store, name: &str) -> Result<()> {
        let sidecars = if json_checkpoint::is_one(name) {
            self.read_json_checkpoint(store, name).await?
        } else {
            self.read_parquet_checkpoint(store, name).await?
        };
        for sidecar in sidecars {
            self.read_parquet_checkpoint(store, &format!("_sidecars/{sidecar}")).await?;
        }
        Ok(())
    }

    /// Returns the names of its sidecars, as the other one does.
    async fn read_json_checkpoint(&mut self, store: &Store, name: &str) -> Result<Vec<String>> {
        let body = json_checkpoint::read(store, name).await?;
        let sidecars = self.take_lines(&body).and_then(|()| json_checkpoint::sidecars(&body));
        sidecars.map_err(|error| checkpoint_file::bad_checkpoint(store, name, error))
    }

    async fn read_parquet_checkpoint(&mut self, store: &Store, name: &str) -> Result<Vec<String>> {
        let builder = checkpoint_file::open_checkpoint(store, name).await?;
        let bad = |error: ParquetError| checkpoint_file::bad_checkpoint(store, name, error);
        let mask = files_of(builder.metadata());
        let mut batches = builder.with_projection(mask).build().map_err(bad)?;
        let mut sidecars: Vec<String> = Vec::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(bad)?;
            let named = checkpoint_file::member_strings(&batch, "sidecar", "path")
                .map_err(|error| bad(error.into()))?;
            sidecars.extend(named.into_iter().flatten().map(str::to_owned));
            let text =
                checkpoint_schema::conform(&batch).and_then(|batch| checkpoint_file::to_json_lines(&batch));
            let text = text.map_err(|error| bad(error.into()))?;
            self.take_lines(&text).map_err(|error| checkpoint_file::bad_checkpoint(store, name, error))?;
        }
        Ok(sidecars)
    }

    /// What the lines of a checkpoint say of files.
    fn take_lines(&mut self, text: &[u8]) -> Result<(), serde_json::Error> {
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let row: CheckpointRow = serde_json::from_slice(line)?;
            if let Some(add) = row.add {
                self.files.insert(FileKey::of(&add.path, add.deletion_vector.as_ref()), add);
            }
            self.removed.extend(row.remove.map(|remove| remove.path));
        }
        Ok(())
    }
}

/// The columns that are about files: of any width, and others may hold what nobody here asks for.
fn files_of(file: &ParquetMetaData) -> ProjectionMask {
    let columns = file.file_metadata().schema_descr();
    let is_wanted = |path: &[String]| match path[0].as_str() {
        "add" | "remove" => parsed_stats::is_wanted(file, path),
        "sidecar" => path.get(1).is_some_and(|member| member == "path"),
        _ => false,
    };
    let leaves = (0..columns.num_columns()).filter(|&leaf| is_wanted(columns.column(leaf).path().parts()));
    ProjectionMask::leaves(columns, leaves)
}

#[derive(Deserialize)]
struct CheckpointRow {
    add: Option<Add>,
    remove: Option<Remove>,
}
