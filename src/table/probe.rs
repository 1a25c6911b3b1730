//! Whether a store arbitrates between racing writers.
//!
//! It owns the race: writers create the same fresh key at once, and exactly
//! one must win, and its body must stand there. A store that lets two win
//! would lose or double rows. The probe is a help, not a guarantee: a store
//! that loses rarely may pass. The documentation names the stores that hold.

use bytes::Bytes;
use futures::future::join_all;
use object_store::{ObjectStoreExt, PutMode};

use super::store::{Store, explain};
use crate::error::{Error, ErrorKind, Result};

const RACES: usize = 24;
const RACERS: usize = 8;

/// Races writers on fresh keys below the table's root and removes the keys.
///
/// Local disks are not probed: their arbiter is `link(2)`.
pub async fn put_if_absent(store: &Store, unique: &str) -> Result<()> {
    if store.is_local() {
        return Ok(());
    }
    let races = (0..RACES).map(|race| race_once(store, format!("_thalweg_probe/{unique}-{race}")));
    join_all(races).await.into_iter().collect()
}

async fn race_once(store: &Store, key: String) -> Result<()> {
    let path = store.path(&key);
    let puts = (0..RACERS).map(|racer| {
        let body = Bytes::from(format!("racer {racer}"));
        let path = &path;
        async move { store.objects.put_opts(path, body.into(), PutMode::Create.into()).await }
    });
    let answers = join_all(puts).await;
    let winners: Vec<usize> = (0..RACERS).filter(|&racer| answers[racer].is_ok()).collect();
    let stands = async { store.objects.get(&path).await?.bytes().await }.await;
    // A probe that cannot be removed hurts nobody; the verdict counts.
    let _ = store.objects.delete(&path).await;
    for answer in answers {
        match answer {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(explain(&store.url, &error)),
        }
    }
    let stands = stands.map_err(|error| explain(&store.url, &error))?;
    // Our own retry after a lost answer meets itself and looks like a loss, so
    // no winner at all is a flaky network, not a broken store.
    let body_is_a_winners = winners.iter().any(|winner| stands == format!("racer {winner}"));
    if winners.len() > 1 || (winners.len() == 1 && !body_is_a_winners) {
        return Err(Error::new(
            ErrorKind::CannotWrite,
            format!("{}: the store let {} of {RACERS} racing writers create the same object", store.url, winners.len().max(2)),
        )
        .remedy("use a store with a working put-if-absent (If-None-Match: *), such as Amazon S3 or s3proxy: on this one rows would be lost or doubled"));
    }
    Ok(())
}
