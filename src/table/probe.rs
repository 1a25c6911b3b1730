//! Whether a store arbitrates between racing writers.
//!
//! It owns the race: writers create the same fresh key at once, and exactly
//! one must win, and its body must stand there. A store that lets two win
//! would lose or double rows. The probe is a help, not a guarantee: a store
//! that loses rarely may pass. The documentation names the stores that hold.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};

use super::store::{Store, explain};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};

const RACES: usize = 24;
const RACERS: usize = 8;

/// Tries to remove a race's key: what is left hurts nobody, but nobody else removes it.
const REMOVALS: u32 = 6;

/// What a race told.
enum Race {
    /// At most one writer won, and its body stands.
    Held,
    /// So many writers won.
    Lost(usize),
    /// The store gave no clear answer to somebody.
    Unclear(Error),
}

/// Races writers on fresh keys below the table's root and removes the keys.
///
/// Local disks are not probed: their arbiter is `link(2)`. A flaky network
/// spoils single races; the store is unavailable if it spoils all of them.
pub async fn put_if_absent(store: &Store, unique: &str) -> Result<()> {
    if store.is_local() {
        return Ok(());
    }
    let races = (0..RACES).map(|race| race_once(store, format!("_thalweg_probe/{unique}-{race}")));
    let (mut held, mut unclear) = (false, None);
    for race in join_all(races).await {
        match race {
            Race::Held => held = true,
            Race::Lost(winners) => return Err(loses(store, winners)),
            Race::Unclear(error) => unclear = Some(error),
        }
    }
    match unclear {
        Some(error) if !held => Err(error),
        _ => Ok(()),
    }
}

async fn race_once(store: &Store, key: String) -> Race {
    let path = store.path(&key);
    let puts = (0..RACERS).map(|racer| {
        let body = Bytes::from(format!("racer {racer}"));
        let path = &path;
        async move { store.objects.put_opts(path, body.into(), PutMode::Create.into()).await }
    });
    let answers = join_all(puts).await;
    let stands = async { store.objects.get(&path).await?.bytes().await }.await;
    remove(store, &path).await;
    let winners: Vec<usize> = (0..RACERS).filter(|&racer| answers[racer].is_ok()).collect();
    if winners.len() > 1 {
        return Race::Lost(winners.len());
    }
    let trouble = |answer: object_store::Result<_>| match answer {
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => None,
        Err(error) => Some(Race::Unclear(explain(&store.url, &error))),
    };
    if let Some(unclear) = answers.into_iter().find_map(trouble) {
        return unclear;
    }
    match (stands, winners.first()) {
        (Err(error), _) => Race::Unclear(explain(&store.url, &error)),
        // Our own retry after a lost answer meets itself and looks like a loss, so
        // no winner at all is a flaky network, not a broken store.
        (Ok(_), None) => Race::Held,
        (Ok(body), Some(winner)) if body == format!("racer {winner}") => Race::Held,
        (Ok(_), Some(_)) => Race::Lost(2),
    }
}

async fn remove(store: &Store, path: &Path) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
    for _ in 0..REMOVALS {
        match store.objects.delete(path).await {
            Ok(())
            | Err(object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. }) => {
                return;
            }
            Err(error) => tracing::debug!(%path, %error, "removing a probe's key is repeated"),
        }
        tokio::time::sleep(backoff.pause()).await;
    }
    tracing::warn!(%path, "a probe's key is left behind");
}

fn loses(store: &Store, winners: usize) -> Error {
    Error::new(
        ErrorKind::CannotWrite,
        format!("{}: the store let {winners} of {RACERS} racing writers create the same object", store.url),
    )
    .remedy("use a store with a working put-if-absent (If-None-Match: *), such as Amazon S3 or s3proxy: on this one rows would be lost or doubled")
}
