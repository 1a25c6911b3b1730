//! A running ingestion: shards, and the tables that they read, from start to drain.
//!
//! It owns threads and tasks, signals, and the question when the whole is
//! over and with what outcome. It does not touch a record or a commit. What
//! becomes of one table is `tables`, what a consumer group changes is `group`.

mod group;
mod ingestion;
mod links;
mod run;
mod table_life;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use tracing::{info, warn};

use self::ingestion::{Ended, Ingestion, may_come_back};
use self::links::refuse_bounded;
pub use self::run::Run;
use crate::error::Result;
use crate::host;
use crate::http_server;
use crate::metrics;
use crate::protocol::fence::Writer;
use crate::status::{Board, Part, State};
use crate::stores::circuit_breaker;
use crate::stores::orphan_cleaner::OrphanCleaner;

/// A run that began goes on trying to begin again, this often.
const BEGIN_AGAIN_EVERY: Duration = Duration::from_secs(3);

/// Runs until told to stop, until the end is committed, or until nothing is left to do.
pub fn run(run: &Run) -> Result<()> {
    refuse_bounded(run)?;
    let runtime = host::io_runtime()?;
    let recorder = metrics::install()?;
    let board = Arc::new(Board::new(Arc::clone(&run.clock)));
    for table in &run.config.tables {
        board.set(Part::table(&table.id), State::Starting);
        circuit_breaker::of(&table.location, &table.storage_options).tell(&board);
    }
    let listener = http_server::bind(run.config.admin.listen, run.config.admin.explicit)?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving /metrics, /livez and /readyz");
        if http_server::is_open_to_others(address) {
            warn!(%address, "the administration port is open to other machines and has no authentication");
        }
    }
    runtime.spawn(http_server::serve(listener, Arc::clone(&board), recorder, std::future::pending()));
    let group = run.config.kafka.group.as_ref().map(|group| group.name.clone());
    let writer = Writer { group, ..host::this_process(&*run.clock) };
    let outcome = ingest(run, &runtime, &board, &writer);
    // What is unresolved stays so: the log decides at the next start. A thread that opens a table may still
    // need the runtime, and the process ends now: it goes with that.
    std::mem::forget(runtime);
    outcome
}

/// One ingestion after the other, until one ends for good.
fn ingest(run: &Run, runtime: &tokio::runtime::Runtime, board: &Arc<Board>, writer: &Writer) -> Result<()> {
    let orphan_cleaner = OrphanCleaner::new(runtime.handle().clone());
    let mut began = false;
    loop {
        let began_at = run.clock.boot();
        let ingestion = Ingestion::start(run, runtime.handle(), board, writer, &orphan_cleaner);
        match ingestion.and_then(Ingestion::supervise) {
            Ok(Ended::Done) => return Ok(()),
            Ok(Ended::BeginAgain) => {
                info!("the group's topics or members changed, reopening from the tables' offsets");
                began = true;
            }
            // Running, nothing that may come back ends us.
            Err(error) if began && may_come_back(error.kind) => {
                warn!(%error, remedy = error.remedy, "cannot reopen yet, retrying");
            }
            Err(error) => return Err(error),
        }
        // Brokers do not hear of it all at once: who began a moment ago may not yet see it.
        let lived = run.clock.boot().saturating_sub(began_at);
        let rest = BEGIN_AGAIN_EVERY.saturating_sub(lived);
        if !matches!(run.stop.recv_timeout(rest), Err(RecvTimeoutError::Timeout)) {
            return Ok(());
        }
    }
}
