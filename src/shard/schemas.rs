//! Partitions that wait until a schema is known.
//!
//! It owns the wait. A record that needs a schema is not taken: its partition is
//! released where it stands, the format fetches the schema on the I/O threads,
//! and then the partition is assigned again, at that record. Others go on.
//!
//! Invariant: what is read before a wait and after it chains; nothing between
//! them is passed. A schema that will never be known stops its partitions by
//! name.

use std::sync::Arc;

use tracing::info;

use super::fetches::Fetched;
use super::partition::{PartitionState, slot};
use super::turn::Shard;
use crate::columnar::SchemaName;
use crate::error::Result;
use crate::ids::Offset;
use crate::protocol::planted::{Bug, planted};
use crate::source::Source;
use crate::status::State;

impl<S: Source> Shard<S> {
    /// Reads no more of the partition until the schema is known.
    pub(super) fn wait_for_schema(&mut self, index: usize, schema: SchemaName) {
        let partition = &mut self.partitions[index];
        let table = partition.table;
        if planted(Bug::PassesWhatNeedsASchema) {
            partition.progress.pass(Offset(partition.progress.position().0 + 1));
        }
        partition.needs = Some(schema.clone());
        self.source.release(slot(index));
        self.show(index, State::Waiting(format!("schema {schema} is not known yet").as_str().into()));
        if self.fetches.under_way.contains(&(table, schema.clone())) {
            return;
        }
        self.fetches.under_way.push((table, schema.clone()));
        let format = Arc::clone(&self.tables[table].table_context.format);
        let fetched = self.fetches.fetched.clone();
        self.dependencies.runtime.spawn(async move {
            let outcome = format.fetch(schema.clone()).await;
            // A shard that has ended waits for nothing.
            let _ = fetched.send(Fetched { table, format, schema, outcome });
        });
    }

    /// Reads on where a schema has come.
    pub(super) fn take_schemas(&mut self) -> Result<bool> {
        let mut worked = false;
        while let Ok(Fetched { table, format, schema, outcome }) = self.fetches.arriving.try_recv() {
            worked = true;
            self.fetches.under_way.retain(|of| *of != (table, schema.clone()));
            // It was closed and opened again meanwhile: what the former format says is not of this one.
            if !Arc::ptr_eq(&format, &self.tables[table].table_context.format) {
                self.read_on(table, &schema)?;
                continue;
            }
            match outcome {
                Ok(()) => {
                    let table_id = &self.tables[table].table_context.table_id;
                    info!(table = table_id, %schema, "schema known; reading on");
                    self.read_on(table, &schema)?;
                }
                Err(error) => {
                    for index in self.take_waiting(table, &schema) {
                        if self.partitions[index].reading {
                            self.stop_partition(index, error.clone());
                        }
                    }
                }
            }
        }
        Ok(worked)
    }

    /// The partitions that waited for a schema, and wait no more.
    fn take_waiting(&mut self, table: usize, schema: &SchemaName) -> Vec<usize> {
        let waits = |of: &PartitionState| of.table == table && of.needs.as_ref() == Some(schema);
        let waited: Vec<usize> =
            (0..self.partitions.len()).filter(|&index| waits(&self.partitions[index])).collect();
        for &index in &waited {
            self.partitions[index].needs = None;
        }
        waited
    }

    fn read_on(&mut self, table: usize, schema: &SchemaName) -> Result<()> {
        let waited = self.take_waiting(table, schema);
        self.assign(&waited)
    }
}
