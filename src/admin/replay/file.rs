//! The file of a batch of dead letters that became rows.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::budget::{Budget, Holding};
use crate::clock::SharedClock;
use crate::columnar::{Columns, ParquetFile};
use crate::config::Compression;
use crate::delta::data_file::DataFile;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Schema;
use crate::stores::orphan_cleaner::OrphanCleaner;
use crate::stores::store::{Store, explain};
use crate::stores::upload::{self, Name, PART_BYTES, Part, Uploaded};

/// Rows that are encoded at once.
const ROWS_MAX: usize = 1_024;
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Parts between the decoder and the store.
const PARTS_WAITING: usize = 2;

/// Where a batch's file goes, and how.
pub(super) struct Target<'a> {
    pub(super) store: &'a Store,
    pub(super) schema: &'a Schema,
    pub(super) compression: Compression,
    pub(super) clock: &'a SharedClock,
    pub(super) orphan_cleaner: &'a OrphanCleaner,
    /// Rows are only counted.
    pub(super) dry_run: bool,
}

/// The file of a batch on its way: rows in, parts out.
pub(super) struct FileWriter<'a> {
    pub(super) columns: Columns,
    target: Target<'a>,
    /// Without a bound: `PARTS_WAITING` is one.
    budget: Budget,
    open: Option<Open>,
}

struct Open {
    parquet: ParquetFile,
    path: String,
    begun: Duration,
    parts: mpsc::Sender<Part>,
    upload: tokio::task::JoinHandle<Uploaded>,
}

impl<'a> FileWriter<'a> {
    pub(super) fn new(target: Target<'a>) -> FileWriter<'a> {
        let budget = Budget::new(usize::MAX / 4);
        FileWriter { columns: Columns::new(target.schema), target, budget, open: None }
    }

    /// A row was appended to the columns.
    pub(super) async fn row(&mut self) -> Result<()> {
        if self.columns.rows() < ROWS_MAX && self.columns.bytes_used() < ROW_GROUP_BYTES / 4 {
            return Ok(());
        }
        self.encode().await
    }

    async fn encode(&mut self) -> Result<()> {
        if self.target.dry_run {
            self.columns.truncate(0);
        }
        if self.columns.rows() == 0 {
            return Ok(());
        }
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        let open = self.open.as_mut().expect("just begun");
        open.parquet.write(&mut self.columns)?;
        self.columns.truncate(0);
        for bytes in open.parquet.take_parts() {
            open.send(bytes, false, &self.budget).await;
        }
        Ok(())
    }

    fn begin(&self) -> Result<Open> {
        let Target { store, schema, compression, clock, orphan_cleaner, .. } = self.target;
        let parquet = ParquetFile::create(schema, compression, ROW_GROUP_BYTES)?.parts_of(PART_BYTES);
        let path = format!("part-{}.{}.parquet", clock.fresh_id_in_order(), compression.name());
        let (parts, mut arriving) = mpsc::channel(PARTS_WAITING);
        let (store, orphan_cleaner, name) = (store.clone(), orphan_cleaner.clone(), path.clone());
        let upload = tokio::spawn(async move {
            let arriving = futures::stream::poll_fn(move |context| arriving.poll_recv(context));
            upload::file(&store, (&name, Name::Fresh), arriving, &(), &orphan_cleaner).await
        });
        Ok(Open { parquet, path, begun: clock.boot(), parts, upload })
    }

    /// The whole file, in the store.
    pub(super) async fn end(mut self) -> Result<Option<DataFile>> {
        self.encode().await?;
        let Some(open) = self.open.take() else { return Ok(None) };
        let Open { parquet, path, begun, parts, upload } = open;
        let closed = parquet.close()?;
        let count = closed.parts.len();
        for (number, bytes) in (1..).zip(closed.parts) {
            let charge = self.budget.charge(Holding::Parts, bytes.len());
            // An upload that ended says why.
            let _ = parts.send(Part { bytes, charge, last: number == count }).await;
        }
        drop(parts);
        let Target { store, clock, .. } = self.target;
        match upload.await {
            Ok(Uploaded::Done) => {}
            Ok(Uploaded::Failed(error)) => return Err(explain(&store.url, &error)),
            Ok(Uploaded::Abandoned) | Err(_) => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!("{}: the upload of {path} was let go", store.url),
                ));
            }
        }
        Ok(Some(DataFile {
            path,
            size: closed.size,
            rows: closed.rows,
            stats: closed.stats,
            checksum: closed.checksum,
            begun,
            modified_ms: clock.wall_ms(),
            oldest_ms: None,
        }))
    }
}

impl Open {
    async fn send(&mut self, bytes: Bytes, last: bool, budget: &Budget) {
        let charge = budget.charge(Holding::Parts, bytes.len());
        // An upload that ended says why when the file does.
        let _ = self.parts.send(Part { bytes, charge, last }).await;
    }
}
