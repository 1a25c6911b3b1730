//! The versions of a Delta log: our replay and delta kernel's say the same, before and after our checkpoint.
//!
//! The bytes are version files with a line `---` between them. What one of the two refuses is no
//! finding as long as we are the one that refuses: reading fails closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use buoyant_kernel::Snapshot;
use buoyant_kernel_engine::executor::tokio::TokioBackgroundExecutor;
use buoyant_kernel_engine::{DefaultEngine, DefaultEngineBuilder};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use thalweg::config::Compression;
use thalweg::delta::checkpoint::{self, CheckpointOptions};
use thalweg::delta::inventory;
use thalweg::delta::write_compatibility;
use thalweg::schema::Schema;
use thalweg::stores::orphan_cleaner::OrphanCleaner;
use thalweg::stores::store::Store;
use tokio::runtime::Runtime;
use url::Url;

const VERSIONS_MAX: usize = 12;

struct World {
    objects: Arc<InMemory>,
    engine: DefaultEngine<TokioBackgroundExecutor>,
    runtime: Runtime,
    store: Store,
}

thread_local! {
    static WORLD: World = world();
}

static URL: LazyLock<Url> = LazyLock::new(|| Url::parse("memory:///t/").unwrap());

fn world() -> World {
    let objects = Arc::new(InMemory::new());
    let engine = DefaultEngineBuilder::new(Arc::clone(&objects) as Arc<dyn ObjectStore>).build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store {
        objects: Arc::clone(&objects) as Arc<dyn ObjectStore>,
        parts: None,
        root: Path::from("t"),
        url: URL.clone(),
    };
    World { objects, engine, runtime, store }
}

/// What a reader knows of a table.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    version: u64,
    columns: Vec<String>,
    txns: BTreeMap<String, i64>,
    files: BTreeMap<String, i64>,
}

pub fn check(data: &[u8]) {
    accepts(data);
}

/// Whether both read it; they agree then.
pub fn accepts(data: &[u8]) -> bool {
    WORLD.with(|world| {
        world.clear();
        world.write(data);
        let outcome = world.compare();
        world.clear();
        outcome
    })
}

impl World {
    fn clear(&self) {
        self.runtime.block_on(async {
            for name in self.names().await {
                self.objects.delete(&name).await.unwrap();
            }
        });
    }

    async fn names(&self) -> Vec<Path> {
        self.objects.list(None).map_ok(|object| object.location).try_collect().await.unwrap()
    }

    fn write(&self, data: &[u8]) {
        self.runtime.block_on(async {
            for (version, body) in versions(data).into_iter().enumerate() {
                let path = Path::from(format!("t/_delta_log/{version:020}.json"));
                self.objects.put(&path, body.into()).await.unwrap();
            }
        });
    }

    fn compare(&self) -> bool {
        let Ok(Some((ours, writable))) = self.ours() else { return false };
        let kernels = match self.kernels(ours.txns.keys()) {
            Ok(kernels) => kernels,
            // The kernel also judges what we leave to readers; what we would write to, it must read.
            Err(error) if writable => panic!("we would write to what the kernel does not read: {error}"),
            Err(_) => return false,
        };
        assert_eq!(ours, kernels);
        if writable {
            self.checkpoint(ours.version);
            let (after, _) = self.ours().unwrap().unwrap();
            assert_eq!(after, ours, "our checkpoint, read by us");
            assert_eq!(self.kernels(ours.txns.keys()).unwrap(), ours, "our checkpoint, read by the kernel");
        }
        writable
    }

    /// `None`: it may be right, and nothing here compares it.
    fn ours(&self) -> Result<Option<(Seen, bool)>, thalweg::error::Error> {
        self.runtime.block_on(async {
            let inventory = inventory::take(&self.store).await?;
            let snapshot = &inventory.snapshot;
            let Ok(schema) = Schema::from_delta(&snapshot.metadata.schema_string) else { return Ok(None) };
            // Keys of the log that decide what a reader sees, and that only readers act on.
            let expires =
                snapshot.metadata.configuration.contains_key("delta.setTransactionRetentionDuration");
            let vectors = inventory.files.keys().any(|key| key.deletion_vector.is_some());
            if expires || vectors || !inventory.faults.is_empty() {
                return Ok(None);
            }
            let writable = write_compatibility::check(&snapshot.protocol, &snapshot.metadata).is_ok();
            let seen = Seen {
                version: snapshot.version.0,
                columns: schema.fields.iter().map(|field| field.name.clone()).collect(),
                txns: snapshot.txns.clone(),
                files: inventory.files.iter().map(|(key, add)| (key.path.clone(), add.size)).collect(),
            };
            Ok(Some((seen, writable)))
        })
    }

    fn kernels<'a>(&self, app_ids: impl Iterator<Item = &'a String>) -> Result<Seen, buoyant_kernel::Error> {
        let snapshot = Snapshot::builder_for(URL.as_str()).build(&self.engine)?;
        let mut txns = BTreeMap::new();
        for app_id in app_ids {
            if let Some(version) = snapshot.get_app_id_version(app_id, &self.engine)? {
                txns.insert(app_id.clone(), version);
            }
        }
        let mut files = Vec::new();
        for part in Arc::clone(&snapshot).scan_builder().build()?.scan_metadata(&self.engine)? {
            files = part?.visit_scan_files(files, |files, file| files.push((file.path, file.size)))?;
        }
        let unique: BTreeSet<&String> = files.iter().map(|(path, _)| path).collect();
        assert_eq!(unique.len(), files.len(), "the kernel sees a file twice");
        Ok(Seen {
            version: snapshot.version(),
            columns: snapshot.schema().fields().map(|field| field.name().clone()).collect(),
            txns,
            files: files.into_iter().collect(),
        })
    }

    /// Writes a checkpoint and takes away what it covers.
    fn checkpoint(&self, version: u64) {
        self.runtime.block_on(async {
            let options = CheckpointOptions { expired_ms: 0, compression: Compression::Snappy };
            checkpoint::write(&self.store, thalweg::ids::Version(version), options, &OrphanCleaner::here())
                .await
                .expect("what we read we can write down");
            for name in self.names().await {
                if name.as_ref().ends_with(".json") {
                    self.objects.delete(&name).await.unwrap();
                }
            }
        });
    }
}

fn versions(data: &[u8]) -> Vec<Vec<u8>> {
    let mut versions = vec![Vec::new()];
    for line in data.split(|&byte| byte == b'\n') {
        if line == b"---" && versions.len() < VERSIONS_MAX {
            versions.push(Vec::new());
        } else {
            let last = versions.last_mut().unwrap();
            last.extend_from_slice(line);
            last.push(b'\n');
        }
    }
    versions
}
