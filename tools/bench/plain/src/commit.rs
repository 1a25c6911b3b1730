//! The table and its one committer: files and offsets in one Delta commit.
//!
//! It owns the table's state. A partition's `txn` version is the next offset
//! to read; another writer that moves it makes deltalake refuse our commit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use crossbeam_channel::Receiver;
use deltalake::DeltaTable;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, StructType, Transaction};
use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_for};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, OutputMode, SaveMode};
use deltalake::table::state::DeltaTableState;

use crate::columns::Layout;
use crate::shard::Finished;

pub struct Table {
    log: LogStoreRef,
    state: DeltaTableState,
}

/// What this run has added.
#[derive(Default)]
pub struct Committed {
    pub rows: u64,
    pub files: u64,
    pub commits: u64,
}

pub struct Committer {
    pub table: Table,
    pub topic: String,
    pub runtime: tokio::runtime::Runtime,
}

impl Table {
    pub async fn open_or_create(directory: &Path, layout: &Layout) -> Result<Table> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let url = url::Url::from_directory_path(&directory).expect("a canonical path is absolute");
        let log = logstore_for(&url, StorageConfig::default())?;
        let schema: StructType = layout.table.as_ref().try_into_kernel()?;
        let table: DeltaTable = CreateBuilder::new()
            .with_log_store(log.clone())
            .with_columns(schema.fields().cloned())
            .with_save_mode(SaveMode::Ignore)
            .await?;
        let state = table.snapshot()?.clone();
        Ok(Table { log, state })
    }

    /// Per partition the next offset, where the table has one.
    pub async fn next_offsets(&self, topic: &str, partitions: i32) -> Result<Vec<Option<i64>>> {
        let mut next = Vec::new();
        for partition in 0..partitions {
            next.push(self.state.transaction_version(self.log.as_ref(), app_id(topic, partition)).await?);
        }
        Ok(next)
    }

    async fn commit(&mut self, topic: &str, files: Vec<Finished>) -> Result<()> {
        let mut next = BTreeMap::new();
        let mut actions = Vec::new();
        for file in files {
            // One shard owns a partition and sends its files in order: the later offset is the higher.
            next.extend(file.next);
            actions.push(Action::Add(file.add));
        }
        let transactions = next.into_iter().map(|(p, offset)| Transaction::new(app_id(topic, p), offset));
        let properties = CommitProperties::default().with_application_transactions(transactions.collect());
        let operation = DeltaOperation::StreamingUpdate {
            output_mode: OutputMode::Append,
            query_id: topic.to_owned(),
            epoch_id: self.state.version() as i64,
        };
        let commit = CommitBuilder::from(properties).with_actions(actions);
        let finalized = commit.build(Some(&self.state), self.log.clone(), operation).await?;
        self.state = finalized.snapshot();
        Ok(())
    }
}

impl Committer {
    /// Commits until the last shard has ended; what waits goes in one commit.
    pub fn run(mut self, files: &Receiver<Finished>, stop: &AtomicBool) -> Result<Committed> {
        let mut committed = Committed::default();
        while let Ok(first) = files.recv() {
            let waiting: Vec<_> = std::iter::once(first).chain(files.try_iter()).collect();
            committed.rows += waiting.iter().map(|file| file.rows).sum::<u64>();
            committed.files += waiting.len() as u64;
            committed.commits += 1;
            if let Err(error) = self.runtime.block_on(self.table.commit(&self.topic, waiting)) {
                stop.store(true, Ordering::Relaxed);
                return Err(error.context("cannot commit"));
            }
        }
        Ok(committed)
    }
}

fn app_id(topic: &str, partition: i32) -> String {
    format!("plain/{topic}/{partition}")
}
