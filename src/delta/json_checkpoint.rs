//! Checkpoints whose top level is JSON: `n.checkpoint.<uuid>.json`, which a table with v2 checkpoints may have.
//!
//! It owns which files these are, reading them whole, for they are small, and
//! which sidecars they name. Sidecars are Parquet, as all else of a checkpoint.

use serde::Deserialize;

use crate::delta::action::{self, Line};
use crate::delta::checkpoint_file::bad_checkpoint;
use crate::error::Result;
use crate::stores::store::Store;
use bytes::Bytes;
use object_store::ObjectStoreExt;

#[derive(Deserialize)]
struct Sidecar {
    path: String,
}

pub fn is_one(name: &str) -> bool {
    name.ends_with(".json")
}

/// Its lines: the same that version files hold.
pub async fn read(store: &Store, name: &str) -> Result<Bytes> {
    let path = store.path(&format!("_delta_log/{name}"));
    let body = async { store.objects.get(&path).await?.bytes().await };
    body.await.map_err(|error| bad_checkpoint(store, name, error))
}

/// The names of the files beside it that belong to it.
pub fn sidecars(body: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    let mut paths = Vec::new();
    for line in action::lines(body) {
        if let Line::Sidecar(text) = line? {
            paths.push(serde_json::from_str::<Sidecar>(text.get())?.path);
        }
    }
    Ok(paths)
}
