//! Whether a store arbitrates between racing writers.
//!
//! It owns the race: writers create the same fresh key at once, and exactly
//! one must win, and its body must stand there. A store that lets two win
//! would lose or double rows. The probe is a help, not a guarantee: a store
//! that loses rarely may pass. The documentation names the stores that hold.
//!
//! It also owns what is remembered of it: a mark beside the table names the
//! place that was raced. A server may change behind its name, so that a known
//! place is asked again at every start, by less:
//!
//! | asked | of a place that is not known | of a known one |
//! |---|---|---|
//! | once for all tables of a bucket | is it known? [`RACES`] races | is it known? one race |
//! | for each table | may we create its mark? it is removed again | its mark must not be created again |

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::stores::circuit_breaker::{self, CircuitBreaker, Raced};
use crate::stores::store::{Store, explain};

const RACES: usize = 24;
const RACERS: usize = 8;
/// Races before a store that answers only some requests is given up.
const RACE_TRIES_MAX: u32 = 5;
/// A mark that is older counts for nothing.
const KNOWN_FOR_MS: i64 = 30 * 24 * 3600 * 1000;
const MARK: &str = "_thalweg_probe/held.json";

/// Tries to remove a race's key: what is left hurts nobody, but nobody else removes it.
const REMOVALS: u32 = 6;

/// What a race told.
enum Race {
    /// At most one writer won, and its body stands.
    Held,
    /// So many writers won.
    Lost(usize),
    /// The store gave no clear answer to somebody, and perhaps one to others.
    Unclear { error: Error, answered: bool },
}

/// A place that was raced, as a mark names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Mark {
    /// Endpoint and bucket: a bucket that was copied elsewhere is another place.
    place: String,
    /// [`NEVER`] in one that is put to see whether we may.
    raced_ms: i64,
}

/// As old as to count for nothing.
const NEVER: i64 = 0;

/// A store that has held.
#[derive(Debug)]
pub struct PassedProbe {
    store: Store,
    mark: Mark,
    /// It was before this start: the mark stays as it is.
    is_known: bool,
}

impl PassedProbe {
    /// Marks the place, so that the next start asks less. Only where there is a table: an empty location
    /// stays empty.
    pub async fn remember(&self) {
        if self.is_known {
            return;
        }
        let written = self.store.objects.put(&self.store.path(MARK), self.mark.body().into()).await;
        if let Err(error) = written {
            tracing::debug!(url = %self.store.url, %error, "the probe is not remembered");
        }
    }
}

impl Mark {
    fn body(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain values").into()
    }
}

/// Races writers on fresh keys below the table's root and removes the keys.
///
/// Local disks are not probed: their arbiter is `link(2)`. A flaky network
/// spoils single races; the store is unavailable if it spoils all of them.
pub async fn put_if_absent(
    store: &Store,
    options: &BTreeMap<String, Secret>,
    clock: &dyn Clock,
) -> Result<Option<PassedProbe>> {
    match store.is_local() {
        true => Ok(None),
        false => judged(store, &circuit_breaker::of(&store.url, options), clock).await.map(Some),
    }
}

async fn judged(store: &Store, circuit_breaker: &CircuitBreaker, clock: &dyn Clock) -> Result<PassedProbe> {
    let of_all = async {
        let (unique, now_ms) = (clock.fresh_id(), clock.wall_ms());
        let mark = mark(store, circuit_breaker, now_ms).await?;
        race(store, &unique, if mark.is_some() { 1 } else { RACES }).await?;
        let raced_ms = mark.as_ref().map_or(now_ms, |mark| mark.raced_ms);
        Ok(Raced { raced_ms, by_mark: mark.is_some() })
    };
    let Raced { raced_ms, by_mark } = *circuit_breaker.raced().get_or_try_init(|| of_all).await?;
    let is_marked = is_marked(store, circuit_breaker).await?;
    let mark = Mark { place: circuit_breaker.place().to_owned(), raced_ms };
    Ok(PassedProbe { store: store.clone(), mark, is_known: is_marked && by_mark })
}

/// The mark beside the table, if it is of this place and not too old.
async fn mark(store: &Store, circuit_breaker: &CircuitBreaker, now_ms: i64) -> Result<Option<Mark>> {
    let body = async { store.objects.get(&store.path(MARK)).await?.bytes().await };
    let body = match body.await {
        Ok(body) => body,
        // Who may not look at a single object that is not there is told that it may not.
        Err(object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(explain(&store.url, &error)),
    };
    let counts = |mark: &Mark| {
        mark.place == circuit_breaker.place()
            && (0..KNOWN_FOR_MS).contains(&now_ms.saturating_sub(mark.raced_ms))
    };
    Ok(serde_json::from_slice(&body).ok().filter(counts))
}

/// Whether a mark stands beside the table, which a writer who may write there must not be able to create again.
async fn is_marked(store: &Store, circuit_breaker: &CircuitBreaker) -> Result<bool> {
    let path = store.path(MARK);
    let body = Mark { place: circuit_breaker.place().to_owned(), raced_ms: NEVER }.body();
    match store.objects.put_opts(&path, body.into(), PutMode::Create.into()).await {
        Err(object_store::Error::AlreadyExists { .. }) => Ok(true),
        Ok(_) => {
            remove(store, &path).await;
            Ok(false)
        }
        Err(error) => Err(explain(&store.url, &error)),
    }
}

/// Races until one is clear. A store that answers some requests and cuts others is asked again a few times;
/// one that answers nothing is not.
async fn race(store: &Store, unique: &str, races: usize) -> Result<()> {
    let mut tries = 1;
    loop {
        let keys = (0..races).map(|race| format!("_thalweg_probe/{unique}-{tries}-{race}"));
        let (mut held, mut unclear) = (false, None);
        for race in join_all(keys.map(|key| race_once(store, key))).await {
            match race {
                Race::Held => held = true,
                Race::Lost(winners) => return Err(loses(store, winners)),
                Race::Unclear { error, answered } => unclear = Some((error, answered)),
            }
        }
        match unclear {
            Some((_, true)) if !held && tries < RACE_TRIES_MAX => tries += 1,
            Some((error, _)) if !held => return Err(error),
            _ => return Ok(()),
        }
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
    let is_clear = |answer: &object_store::Result<_>| {
        matches!(answer, Ok(_) | Err(object_store::Error::AlreadyExists { .. }))
    };
    let answered = answers.iter().any(is_clear);
    let trouble = |answer: object_store::Result<_>| match answer {
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => None,
        Err(error) => Some(Race::Unclear { error: explain(&store.url, &error), answered }),
    };
    if let Some(unclear) = answers.into_iter().find_map(trouble) {
        return unclear;
    }
    match (stands, winners.first()) {
        (Err(error), _) => Race::Unclear { error: explain(&store.url, &error), answered },
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
    // Of a store that does not even do that the start tells anyway.
    tracing::debug!(%path, "a probe's key is left behind");
}

fn loses(store: &Store, winners: usize) -> Error {
    Error::new(
        ErrorKind::CannotWrite,
        format!("{}: the store let {winners} of {RACERS} racing writers create the same object", store.url),
    )
    .remedy("use a store with a working put-if-absent (If-None-Match: *), such as Amazon S3 or s3proxy: on this one rows would be lost or doubled")
}

#[cfg(test)]
mod tests;
