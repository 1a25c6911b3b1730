//! Reading a table's log.
//!
//! It owns reading `_last_checkpoint`, checkpoints and version files into a
//! [`Snapshot`]. The snapshot holds what a writer needs, protocol, schema and
//! every `txn`, and never the file list: loading reads only the row groups and
//! columns that can hold these.
//!
//! Versions are put by `transaction`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use serde::Deserialize;

use crate::delta::action::{self, Commit, Line, MetaData, Protocol};
use crate::delta::checkpoint_file::{bad_checkpoint, may_hold, open_checkpoint, to_json_lines};
use crate::delta::json_checkpoint;
use crate::error::{Error, ErrorKind, Result, plain_json};
use crate::ids::Version;
use crate::protocol::anchor::TableFacts;
use crate::protocol::planted::{Bug, planted};
use crate::stores::store::{Store, answered, explain};

/// Version files read at once while a table is loaded.
const PARALLEL_GETS: usize = 16;
/// Times a log is read that is cleaned up meanwhile.
const TRIES_MAX: u32 = 5;
/// For one version file, the client's own retries included.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What a writer keeps of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub version: Version,
    pub protocol: Protocol,
    pub metadata: MetaData,
    pub txns: BTreeMap<String, i64>,
    /// Data files were added at some time: cheap to know, unlike how many there are.
    pub has_files: bool,
    pub checkpoint: Option<Version>,
    /// The commit id of the tip, where it carries one.
    pub tip_commit_id: Option<String>,
    /// An action that we do not know, and a version that holds it.
    pub unknown_action: Option<(Version, String)>,
}

impl Snapshot {
    /// Takes over a later version.
    pub fn apply(&mut self, version: Version, commit: Commit) {
        assert_eq!(version, self.version.next(), "versions are applied in order");
        self.version = version;
        self.tip_commit_id = commit.commit_id;
        self.txns.extend(commit.txns.into_iter().map(|txn| (txn.app_id, txn.version)));
        self.has_files |= commit.adds > 0;
        if let Some(protocol) = commit.protocol {
            self.protocol = protocol;
        }
        if let Some(metadata) = commit.metadata {
            self.metadata = metadata;
        }
    }

    pub fn facts(&self, offset_columns: bool) -> TableFacts {
        TableFacts { txns: self.txns.clone(), may_hold_our_rows: self.has_files && offset_columns }
    }
}

/// What stands at a version.
#[derive(Debug)]
pub enum Found {
    Commit(Bytes),
    Missing,
    /// The store gave no usable answer.
    Unclear(object_store::Error),
}

/// The version files and checkpoints of `_delta_log`, from some version on.
#[derive(Debug, Default)]
pub struct Listing {
    pub versions: Vec<Version>,
    /// Complete checkpoints with their parts' file names.
    pub checkpoints: BTreeMap<Version, Vec<String>>,
}

pub async fn get(store: &Store, version: Version) -> Found {
    let answer = async { store.objects.get(&store.version_path(version)).await?.bytes().await };
    match in_time(answer).await {
        Ok(body) => Found::Commit(body),
        Err(object_store::Error::NotFound { .. }) => Found::Missing,
        Err(error) => Found::Unclear(error),
    }
}

/// The same where an answer is needed; `None` where there is no such version.
pub async fn find(store: &Store, version: Version) -> Result<Option<Bytes>> {
    match get(store, version).await {
        Found::Commit(body) => Ok(Some(body)),
        Found::Missing => Ok(None),
        Found::Unclear(error) => Err(explain(&store.url, &error)),
    }
}

/// A version file is small: who waits longer for it waits for nothing. What was
/// asked may still take effect, as after any answer that was lost.
pub(super) async fn in_time<T>(
    request: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    tokio::time::timeout(ANSWER_WITHIN, request).await.unwrap_or_else(|_| {
        let source = format!("no answer within {} s", ANSWER_WITHIN.as_secs()).into();
        Err(object_store::Error::Generic { store: "store", source })
    })
}

/// Lists the log from `from` on.
pub async fn list(store: &Store, from: Option<Version>) -> Result<Listing> {
    let log = store.log_path();
    let mut listing = Listing::default();
    let mut parts: BTreeMap<(Version, u32), Vec<String>> = BTreeMap::new();
    let depth = log.parts_count() + 1;
    let names = answered(|| async {
        let stream = match from {
            // `N.` sorts before every file of version N.
            Some(version) => {
                let offset = store.path(&format!("_delta_log/{:020}", version.0));
                store.objects.list_with_offset(Some(&log), &offset)
            }
            None => store.objects.list(Some(&log)),
        };
        // A folder in it, of staged commits, sidecars or somebody's copies, is no part of the log.
        let name = |object: ObjectMeta| {
            let is_direct = object.location.parts_count() == depth;
            futures::future::ready(Ok(object.location.filename().filter(|_| is_direct).map(str::to_owned)))
        };
        stream.try_filter_map(name).try_collect::<Vec<String>>().await
    });
    let names = names.await.map_err(|error| explain(&store.url, &error))?;
    for name in names {
        match LogFile::parse(&name) {
            Some(LogFile::Commit(version)) => listing.versions.push(version),
            Some(LogFile::Checkpoint { version, parts: 1 }) => {
                listing.checkpoints.insert(version, vec![name]);
            }
            Some(LogFile::Checkpoint { version, parts: count }) => {
                let names = parts.entry((version, count)).or_default();
                names.push(name);
                if names.len() == count as usize {
                    names.sort();
                    listing.checkpoints.insert(version, names.clone());
                }
            }
            None => {}
        }
    }
    listing.versions.sort_unstable();
    Ok(listing)
}

#[derive(Debug, PartialEq)]
pub enum LogFile {
    Commit(Version),
    Checkpoint { version: Version, parts: u32 },
}

impl LogFile {
    pub fn parse(name: &str) -> Option<LogFile> {
        let (version, rest) = name.split_at_checked(20)?;
        let version = Version(version.bytes().all(|b| b.is_ascii_digit()).then(|| version.parse().ok())??);
        if rest == ".json" {
            return Some(LogFile::Commit(version));
        }
        let rest = rest.strip_prefix(".checkpoint.")?;
        match rest.split('.').collect::<Vec<_>>()[..] {
            ["parquet"] => Some(LogFile::Checkpoint { version, parts: 1 }),
            // A v2 checkpoint: `<uuid>.parquet`, or `.json`.
            [uuid, "parquet" | "json"] if uuid.len() == 36 => Some(LogFile::Checkpoint { version, parts: 1 }),
            [part, of, "parquet"] if part.len() == 10 && of.len() == 10 => {
                let (part, parts): (u32, u32) = (part.parse().ok()?, of.parse().ok()?);
                (1..=parts).contains(&part).then_some(LogFile::Checkpoint { version, parts })
            }
            _ => None,
        }
    }
}

/// The state of the table now, for one who will write there; `None` where there is no table.
pub async fn load(store: &Store) -> Result<Option<Snapshot>> {
    let snapshot = load_to_read(store).await?;
    match snapshot.as_ref().and_then(|snapshot| snapshot.unknown_action.as_ref()) {
        Some((version, name)) => Err(unknown_action(store, *version, name)),
        None => Ok(snapshot),
    }
}

/// The same for a reader: what a version holds beyond what we know is never needed to understand the log, as
/// Delta's protocol says.
pub async fn load_to_read(store: &Store) -> Result<Option<Snapshot>> {
    let mut tries = 1;
    loop {
        let hint = last_checkpoint(store).await?;
        let mut listing = list(store, hint).await?;
        if let Some(hint) = hint
            && !listing.checkpoints.contains_key(&hint)
        {
            // The hint names a checkpoint that is gone or incomplete: look at everything.
            listing = list(store, None).await?;
        }
        match load_listed(store, &listing).await {
            Err(_)
                if tries < TRIES_MAX
                    && !planted(Bug::TakesCleanUpForDamage)
                    && has_shrunk(store, &listing).await? =>
            {
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Whether the version of a commit of ours that took long is one that the table is made of. It is none
/// where another one was written there, went into a checkpoint, and was cleaned up before ours came.
pub async fn counts(store: &Store, version: Version) -> Result<bool> {
    let is_replayed = |checkpoint: Option<Version>| checkpoint.is_none_or(|checkpoint| checkpoint < version);
    Ok(load(store).await?.is_some_and(|now| now.version >= version && is_replayed(now.checkpoint)))
}

/// Whether another writer has cleaned up since: then what is needed stands further on.
async fn has_shrunk(store: &Store, before: &Listing) -> Result<bool> {
    let now = list(store, None).await?;
    Ok(before.versions.iter().any(|version| now.versions.binary_search(version).is_err())
        || before.checkpoints.keys().any(|version| !now.checkpoints.contains_key(version)))
}

async fn load_listed(store: &Store, listing: &Listing) -> Result<Option<Snapshot>> {
    let mut state = Partial::default();
    let checkpoint = listing.checkpoints.last_key_value();
    if let Some((&version, names)) = checkpoint {
        for name in names {
            read_checkpoint(store, name, &mut state).await?;
        }
        state.version = Some(version);
    }
    let later: Vec<Version> =
        listing.versions.iter().copied().filter(|&version| Some(version) > state.version).collect();
    let mut bodies = futures::stream::iter(later.into_iter().map(|version| async move {
        match get(store, version).await {
            Found::Commit(body) => Ok((version, body)),
            Found::Missing => Err(damaged(store, version, "it was listed, and is gone")),
            Found::Unclear(error) => Err(explain(&store.url, &error)),
        }
    }))
    .buffered(PARALLEL_GETS);
    while let Some(read) = bodies.next().await {
        let (version, body) = read?;
        let expected = state.version.map_or(Version(0), Version::next);
        if version != expected {
            return Err(damaged(store, expected, "it is missing, and later versions are there"));
        }
        let commit = action::past_commit(&body).map_err(|error| damaged(store, version, error))?;
        state.apply(version, commit);
    }
    state.finish(store, checkpoint.map(|(&version, _)| version))
}

/// A snapshot while it is put together.
#[derive(Default)]
struct Partial {
    version: Option<Version>,
    protocol: Option<Protocol>,
    metadata: Option<MetaData>,
    /// The newest metaData is that of this version, and no reader could take it.
    unreadable: Option<(Version, String)>,
    unknown_action: Option<(Version, String)>,
    txns: BTreeMap<String, i64>,
    has_files: bool,
    tip_commit_id: Option<String>,
}

impl Partial {
    fn apply(&mut self, version: Version, commit: Commit) {
        self.version = Some(version);
        self.tip_commit_id = commit.commit_id;
        self.protocol = commit.protocol.or(self.protocol.take());
        if let Some(name) = commit.winner.unknown_actions.into_iter().next() {
            self.unknown_action = Some((version, name));
        }
        if let Some(why) = commit.unreadable {
            self.unreadable = Some((version, why));
        } else if commit.metadata.is_some() {
            (self.metadata, self.unreadable) = (commit.metadata, None);
        }
        self.txns.extend(commit.txns.into_iter().map(|txn| (txn.app_id, txn.version)));
        self.has_files |= commit.adds > 0;
    }

    /// Takes over what a checkpoint holds.
    fn take(&mut self, held: CheckpointAction) {
        match held {
            CheckpointAction::Txn(txn) => {
                self.txns.insert(txn.app_id, txn.version);
            }
            CheckpointAction::Protocol(protocol) => self.protocol = Some(protocol),
            CheckpointAction::MetaData(metadata) => self.metadata = Some(*metadata),
            CheckpointAction::Files => self.has_files = true,
        }
    }

    fn finish(self, store: &Store, checkpoint: Option<Version>) -> Result<Option<Snapshot>> {
        let Some(version) = self.version else { return Ok(None) };
        if let Some((version, why)) = self.unreadable {
            return Err(damaged(store, version, why));
        }
        let missing = |what| damaged(store, version, format!("the log up to it holds no {what}"));
        Ok(Some(Snapshot {
            version,
            protocol: self.protocol.ok_or_else(|| missing("protocol"))?,
            metadata: self.metadata.ok_or_else(|| missing("metaData"))?,
            txns: self.txns,
            has_files: self.has_files,
            checkpoint,
            tip_commit_id: self.tip_commit_id,
            unknown_action: self.unknown_action,
        }))
    }
}

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
pub struct Hint {
    pub version: Version,
    parts: Option<u32>,
}

impl Hint {
    /// The files of the checkpoint that it names, unless that is one with a name of its own (v2).
    pub fn names(&self) -> Vec<String> {
        let version = self.version.0;
        match self.parts {
            None => vec![format!("{version:020}.checkpoint.parquet")],
            Some(parts) => (1..=parts)
                .map(|part| format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"))
                .collect(),
        }
    }
}

/// The version that `_last_checkpoint` names; a damaged hint is no hint.
pub async fn last_checkpoint(store: &Store) -> Result<Option<Version>> {
    Ok(hint(store).await?.map(|hint| hint.version))
}

pub async fn hint(store: &Store) -> Result<Option<Hint>> {
    match store.objects.get(&store.path("_delta_log/_last_checkpoint")).await {
        Ok(found) => {
            let body = found.bytes().await.map_err(|error| explain(&store.url, &error))?;
            Ok(serde_json::from_slice(&body).ok())
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(explain(&store.url, &error)),
    }
}

/// Reads protocol, metadata and txns of a checkpoint part: only the row
/// groups whose statistics leave room for them, only their columns.
async fn read_checkpoint(store: &Store, name: &str, state: &mut Partial) -> Result<()> {
    if json_checkpoint::is_one(name) {
        let body = json_checkpoint::read(store, name).await?;
        let held = action_lines(&body).map_err(|error| bad_checkpoint(store, name, error))?;
        held.into_iter().for_each(|held| state.take(held));
        return Ok(());
    }
    const ROOTS: [(&str, &str); 3] =
        [("txn", "txn.appId"), ("protocol", "protocol.minReaderVersion"), ("metaData", "metaData.id")];
    let builder = open_checkpoint(store, name).await?;
    let file = Arc::clone(builder.metadata());
    let groups: Vec<usize> = (0..file.num_row_groups())
        .filter(|&group| ROOTS.iter().any(|(_, leaf)| may_hold(file.row_group(group), leaf)))
        .collect();
    // A sidecar holds nothing but files.
    let names_files = |group| may_hold(group, "add.path") || may_hold(group, "sidecar.path");
    state.has_files |= file.row_groups().iter().any(names_files);
    let columns = file.file_metadata().schema_descr();
    let leaves = (0..columns.num_columns()).filter(|&leaf| {
        let column = columns.column(leaf);
        ROOTS.iter().any(|(name, _)| *name == column.path().parts()[0])
    });
    let mask = ProjectionMask::leaves(columns, leaves);
    let mut batches = builder
        .with_row_groups(groups)
        .with_projection(mask)
        .build()
        .map_err(|error| bad_checkpoint(store, name, error))?;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| bad_checkpoint(store, name, error))?;
        let lines = to_json_lines(&batch).map_err(|error| bad_checkpoint(store, name, error))?;
        let held = action_lines(&lines).map_err(|error| bad_checkpoint(store, name, error))?;
        held.into_iter().for_each(|held| state.take(held));
    }
    Ok(())
}

enum CheckpointAction {
    Txn(action::Txn),
    Protocol(Protocol),
    MetaData(Box<MetaData>),
    Files,
}

/// Rows of a checkpoint as the same JSON that version files hold, so that
/// there is one way of reading an action.
fn action_lines(lines: &[u8]) -> Result<Vec<CheckpointAction>, serde_json::Error> {
    let mut held = Vec::new();
    for line in action::lines(lines) {
        match line? {
            Line::Txn(txn) => held.push(CheckpointAction::Txn(txn)),
            Line::Protocol(protocol) => held.push(CheckpointAction::Protocol(protocol)),
            Line::MetaData(text) => held.push(CheckpointAction::MetaData(serde_json::from_str(text.get())?)),
            // A sidecar holds nothing but files.
            Line::Add(_) | Line::Sidecar(_) => held.push(CheckpointAction::Files),
            _ => {}
        }
    }
    Ok(held)
}

/// What is not understood may change what we have to write: stop rather than guess.
pub fn unknown_action(store: &Store, version: Version, name: &str) -> Error {
    let what = format!("version {version} holds the action `{name}`, which this version does not know");
    Error::new(ErrorKind::CannotWrite, format!("{}: {what}", store.url))
        .remedy("use a newer thalweg for this table")
}

pub fn damaged(store: &Store, version: Version, why: impl std::fmt::Display) -> Error {
    let why = plain_json(&why.to_string());
    Error::new(ErrorKind::Disagree, format!("{}: version {version} of the log: {why}", store.url))
        .remedy("restore the log from a copy, or write into another location")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_log_are_told_apart() {
        let version = Version(12);
        let cases = [
            ("00000000000000000012.json", Some(LogFile::Commit(version))),
            ("00000000000000000012.checkpoint.parquet", Some(LogFile::Checkpoint { version, parts: 1 })),
            (
                "00000000000000000012.checkpoint.0000000001.0000000003.parquet",
                Some(LogFile::Checkpoint { version, parts: 3 }),
            ),
            (
                "00000000000000000012.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet",
                Some(LogFile::Checkpoint { version, parts: 1 }),
            ),
            ("00000000000000000012.crc", None),
            ("00000000000000000012.json#7", None),
            ("_last_checkpoint", None),
            ("12.json", None),
        ];
        for (name, expected) in cases {
            assert_eq!(LogFile::parse(name), expected, "{name}");
        }
    }
}
