//! Rows of one kind on their way into files of one table.
//!
//! It owns the columns, the file that is being written and the hand-over of
//! its bytes to an upload. When a file ends, and what it settles, the shard
//! decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::dependencies::ShardDependencies;
use crate::budget::{Budget, Charge, Holding};
use crate::columnar::{Columns, Encoder, ParquetFile, Transform, transform};
use crate::config::Compression;
use crate::delta::data_file::DataFile;
use crate::error::Result;
use crate::exchange::TableContext;
use crate::exchange::{ResetEpoch, ToCommitter};
use crate::ids::OffsetRange;
use crate::metrics::{self, Stage};
use crate::protocol::ledger::Work;
use crate::protocol::planted::{Bug, planted};
use crate::schema::Schema;
use crate::status::{self, Board, State};
use crate::stores::orphan_cleaner::Orphan;
use crate::stores::store::{Store, explain, is_hopeless};
use crate::stores::upload::{self, Name, PART_BYTES, Part, Uploaded, Watch};

/// Rows decoded before they are encoded: a batch stays in the cache.
const BATCH_ROWS: usize = 4096;

/// Bytes of records after which the columns are measured: that takes longer than a small row.
const MEASURED_EVERY: usize = 8 << 10;

pub(super) struct Output {
    pub(super) columns: Columns,
    /// Bytes of records since the columns were measured.
    unmeasured: usize,
    store: Store,
    schema: Arc<Schema>,
    compression: Compression,
    transform: Option<Arc<dyn Transform>>,
    /// Its table's.
    budget: Budget,
    file: Option<OpenFile>,
    /// Between two files: what was learned, and the memory to write with.
    encoder: Option<Encoder>,
    columns_held: Charge,
    file_held: Charge,
}

struct OpenFile {
    parquet: ParquetFile,
    begun: Duration,
    transfer: Transfer,
}

/// A file's way to the store.
struct Transfer {
    path: String,
    upload: Option<Upload>,
}

struct Upload {
    parts: mpsc::UnboundedSender<Part>,
    stored: oneshot::Receiver<()>,
}

/// A file that has ended; `stored` resolves when the store has all of it, and
/// fails when the committer was told that it is lost.
pub(super) struct Finished {
    file: DataFile,
    store: Store,
    stored: oneshot::Receiver<()>,
}

/// What carries an output's bytes away, and who hears if that fails.
#[derive(Clone, Copy)]
pub(super) struct Carrier<'a> {
    pub(super) dependencies: &'a ShardDependencies,
    pub(super) table_context: &'a TableContext,
    pub(super) reset_epoch: ResetEpoch,
}

pub(super) fn carrier<'a>(
    dependencies: &'a ShardDependencies,
    table_context: &'a TableContext,
    reset_epoch: ResetEpoch,
) -> Carrier<'a> {
    Carrier { dependencies, table_context, reset_epoch }
}

impl Output {
    pub(super) fn new(
        store: Store,
        schema: Arc<Schema>,
        compression: Compression,
        budget: &Budget,
    ) -> Output {
        Output {
            columns: Columns::new(&schema),
            unmeasured: 0,
            store,
            schema,
            compression,
            transform: None,
            budget: budget.clone(),
            file: None,
            encoder: None,
            columns_held: budget.charge(Holding::Columns, 0),
            file_held: budget.charge(Holding::Files, 0),
        }
    }

    /// Has the rows changed before they are encoded.
    pub(super) fn with_transform(self, transform: Option<Arc<dyn Transform>>) -> Output {
        Output { transform, ..self }
    }

    /// Begins again with another schema; what is open is let go.
    pub(super) fn follow(&mut self, schema: &Arc<Schema>) {
        self.schema = Arc::clone(schema);
        self.forget();
    }

    /// What the file would measure if it ended now.
    pub(super) fn size_estimate(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.parquet.size_estimate())
    }

    /// Bytes that are charged: what is decoded, and what is open.
    pub(super) fn open_bytes(&self) -> usize {
        self.columns_held.bytes() + self.file_held.bytes()
    }

    /// Charges what is held now.
    pub(super) fn note_memory(&mut self) {
        self.columns_held.set(self.columns.bytes());
        let encoder = self.encoder.as_ref().map_or(0, Encoder::memory);
        self.file_held.set(self.file.as_ref().map_or(encoder, |file| file.parquet.memory()));
    }

    /// Buffers without rows are made anew when they are needed.
    pub(super) fn let_go_of_buffers(&mut self) {
        if let Some(encoder) = &mut self.encoder {
            encoder.release();
        }
        if self.columns.rows() == 0 {
            self.columns = Columns::new(&self.schema);
        }
        self.note_memory();
    }

    /// Whether the decoded rows are to be encoded, after a record of so many bytes: there are many, or they come to more than `bytes_max`.
    pub(super) fn batch_is_full(&mut self, row: usize, bytes_max: usize) -> bool {
        self.unmeasured += row;
        if self.columns.rows() >= BATCH_ROWS {
            return true;
        }
        if self.unmeasured < MEASURED_EVERY {
            return false;
        }
        self.unmeasured = 0;
        self.columns.bytes_used() >= bytes_max
    }

    /// Moves the decoded rows into the file.
    pub(super) fn encode(&mut self, carrier: Carrier<'_>) -> Result<()> {
        if self.columns.rows() == 0 {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let encoder = match self.encoder.take() {
                    Some(encoder) => encoder,
                    None => Encoder::new(&self.schema, self.compression)?,
                };
                self.file.insert(OpenFile::create(
                    encoder,
                    &self.schema,
                    self.compression,
                    carrier.dependencies,
                )?)
            }
        };
        if let Some(by) = &self.transform {
            transform(&mut self.columns, &**by)?;
        }
        file.parquet.write(&mut self.columns)?;
        self.columns.truncate(0);
        self.ship(carrier);
        Ok(())
    }

    /// Ends the row group early, and lets its memory go.
    pub(super) fn flush_row_group(&mut self, carrier: Carrier<'_>) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.parquet.shrink()?;
        }
        self.ship(carrier);
        Ok(())
    }

    /// Sends whole parts of the open file on their way.
    fn ship(&mut self, carrier: Carrier<'_>) {
        if let Some(OpenFile { parquet, transfer, .. }) = &mut self.file {
            for part in parquet.take_parts() {
                transfer.send(part, false, &self.store, &self.budget, carrier);
            }
        }
        self.note_memory();
    }

    /// Ends the file; `None` where there is none.
    pub(super) fn finish(
        &mut self,
        oldest_ms: Option<i64>,
        carrier: Carrier<'_>,
    ) -> Result<Option<Finished>> {
        self.encode(carrier)?;
        let Some(OpenFile { parquet, begun, mut transfer }) = self.file.take() else { return Ok(None) };
        let (mut closed, encoder) = parquet.finish()?;
        self.encoder = Some(encoder);
        self.note_memory();
        let end = closed.parts.pop().expect("a file ends with its footer");
        for part in closed.parts {
            transfer.send(part, false, &self.store, &self.budget, carrier);
        }
        transfer.send(end, true, &self.store, &self.budget, carrier);
        let file = DataFile {
            path: transfer.path,
            size: closed.size,
            rows: closed.rows,
            stats: closed.stats,
            checksum: closed.checksum,
            begun,
            modified_ms: carrier.dependencies.clock.wall_ms(),
            oldest_ms,
        };
        let stored = transfer.upload.expect("the last part has begun it").stored;
        Ok(Some(Finished { file, store: self.store.clone(), stored }))
    }

    /// Dropping the file's channel abandons its upload.
    pub(super) fn forget(&mut self) {
        self.columns = Columns::new(&self.schema);
        (self.file, self.encoder) = (None, None);
        self.note_memory();
    }
}

impl OpenFile {
    fn create(
        encoder: Encoder,
        schema: &Schema,
        compression: Compression,
        dependencies: &ShardDependencies,
    ) -> Result<OpenFile> {
        let path = format!("part-{}.{}.parquet", dependencies.clock.fresh_id_in_order(), compression.name());
        let parquet = ParquetFile::with_encoder(encoder, schema, dependencies.row_group_bytes())?;
        Ok(OpenFile {
            parquet: parquet.parts_of(PART_BYTES),
            begun: dependencies.clock.boot(),
            transfer: Transfer { path, upload: None },
        })
    }
}

impl Transfer {
    fn send(
        &mut self,
        bytes: bytes::Bytes,
        last: bool,
        store: &Store,
        budget: &Budget,
        carrier: Carrier<'_>,
    ) {
        let charge = budget.charge(Holding::Parts, bytes.len());
        let upload = self.upload.get_or_insert_with(|| begin_upload(store, self.path.clone(), carrier));
        // A failed upload has closed the channel and told the committer.
        let _ = upload.parts.send(Part { bytes, charge, last });
    }
}

/// Carries a file to the store, and tells the committer if it is lost.
fn begin_upload(store: &Store, path: String, carrier: Carrier<'_>) -> Upload {
    #[expect(clippy::disallowed_methods, reason = "bounded by the budget that every part is charged to")]
    let (parts, mut receiver) = mpsc::unbounded_channel();
    let (told, stored) = oneshot::channel();
    let (store, orphan_cleaner, reset_epoch) =
        (store.clone(), carrier.table_context.orphan_cleaner.clone(), carrier.reset_epoch);
    let watched = Watched::new(carrier.table_context, &store);
    carrier.dependencies.runtime.spawn(async move {
        let arriving = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
        match upload::file(&store, (&path, Name::Fresh), arriving, &watched, &orphan_cleaner).await {
            Uploaded::Abandoned => {}
            Uploaded::Done => {
                if told.send(()).is_err() {
                    orphan_cleaner.sweep(&store, Orphan::whole(store.path(&path)));
                }
            }
            Uploaded::Failed(error) => {
                let hopeless = is_hopeless(&error);
                let error = explain(&store.url, &error);
                // A committer that is gone has told why.
                let _ = watched.to_committer.send(ToCommitter::UploadFailed { reset_epoch, error, hopeless });
            }
        }
    });
    Upload { parts, stored }
}

/// Hands work to the committer once all its files are in the store. If one of
/// them is lost, the others are discarded.
pub(super) fn hand_over(
    unit: u64,
    rows: Option<Finished>,
    dead_letters: Option<Finished>,
    ranges: Vec<OffsetRange>,
    carrier: Carrier<'_>,
) {
    let to_committer = carrier.table_context.to_committer.clone();
    let (reset_epoch, shard) = (carrier.reset_epoch, carrier.dependencies.index);
    let file_of = |finished: &Option<Finished>| finished.as_ref().map(|of| of.file.clone());
    let (file, dead_letters_file) = (file_of(&rows), file_of(&dead_letters));
    let mut work = Work { shard, unit, file, dead_letters: dead_letters_file, ranges, confirmed: false };
    let files: Vec<Finished> = rows.into_iter().chain(dead_letters).collect();
    if files.is_empty() {
        // A committer that is gone has told why.
        let _ = to_committer.send(ToCommitter::Finished { reset_epoch, work });
        return;
    }
    let (orphan_cleaner, identity_check) =
        (carrier.table_context.orphan_cleaner.clone(), carrier.table_context.identity_check.clone());
    let (clock, begun) = (Arc::clone(&carrier.dependencies.clock), carrier.dependencies.clock.boot());
    carrier.dependencies.runtime.spawn(async move {
        let mut stored = Vec::new();
        let count = files.len();
        let uploaded = async {
            for Finished { file, store, stored: waits } in files {
                if planted(Bug::CommitsBeforeTheUploadEnds) || waits.await.is_ok() {
                    stored.push((store, file));
                }
            }
            metrics::stage(Stage::Upload, clock.boot().saturating_sub(begun));
        };
        // All that the files hold is fetched by now: the question need not wait for the store.
        let ((), confirmed) = futures::future::join(uploaded, identity_check.confirms()).await;
        work.confirmed = confirmed;
        let is_whole = stored.len() == count;
        // A committer that is gone has told why, and commits these files no more.
        if !is_whole || to_committer.send(ToCommitter::Finished { reset_epoch, work }).is_err() {
            for (store, file) in stored {
                orphan_cleaner.sweep(&store, Orphan::whole(store.path(&file.path)));
            }
        }
    });
}

/// What an upload's trouble means for the rest of us.
struct Watched {
    url: url::Url,
    part: status::Part,
    board: Arc<Board>,
    to_committer: mpsc::UnboundedSender<ToCommitter>,
}

impl Watched {
    fn new(table_context: &TableContext, store: &Store) -> Watched {
        Watched {
            url: store.url.clone(),
            part: status::Part::Uploads(table_context.table_id.clone()),
            board: Arc::clone(&table_context.board),
            to_committer: table_context.to_committer.clone(),
        }
    }
}

impl Watch for Watched {
    fn goes_on(&self, error: &object_store::Error) -> bool {
        let error = explain(&self.url, error);
        // The board logs it where it lasts.
        tracing::debug!(component = %self.part, %error, "upload failed, retrying");
        self.board.set(self.part.clone(), State::Waiting((&error).into()));
        !self.to_committer.is_closed()
    }

    fn answered(&self) {
        self.board.forget(&self.part);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.board.forget(&self.part);
    }
}
