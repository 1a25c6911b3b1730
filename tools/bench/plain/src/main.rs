//! `plain`: Kafka → Delta by stock crates, written the way a competent engineer would.
//!
//! It is what thalweg is measured against: one thread a core, each with its
//! own consumer, decoder and file; one committer; exactly once by the table's
//! `txn`. It owns the arguments and the start and end of the threads. It is
//! never made slower than these crates are.

mod columns;
mod commit;
mod ddl;
mod file;
mod shard;
mod statistics;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use serde_json::json;

use crate::columns::Layout;
use crate::commit::{Committer, Table};
use crate::shard::{Shard, Source};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Finished files that wait for the committer before a shard waits for it.
const FILES_WAITING_MAX: usize = 4;

/// Kafka to Delta Lake with rdkafka, arrow-json, ArrowWriter and deltalake
#[derive(Parser, Debug)]
struct Arguments {
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    topic: String,
    /// Directory of the table; created if it is not there
    #[arg(long)]
    location: PathBuf,
    /// Columns as Spark DDL
    #[arg(long)]
    schema: String,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Longest time that a record waits for its file to be cut
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// A file is cut at about this size
    #[arg(long, default_value_t = 128 << 20)]
    target_file_bytes: usize,
    /// Ends when everything that was in the topic at the start is committed
    #[arg(long)]
    until_end: bool,
    /// A librdkafka setting over ours, KEY=VALUE
    #[arg(short = 'X', long = "librdkafka", value_parser = setting)]
    librdkafka: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE expected")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.threads > 0, "--threads must be above 0");
    let layout = Arc::new(Layout::new(ddl::parse(&arguments.schema).context("--schema")?));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let source = Arc::new(Source {
        brokers: arguments.brokers.clone(),
        topic: arguments.topic.clone(),
        librdkafka: arguments.librdkafka.clone(),
    });
    let ends = source.ends()?;
    let table = runtime.block_on(Table::open_or_create(&arguments.location, &layout))?;
    let next = runtime.block_on(table.next_offsets(&arguments.topic, ends.len() as i32))?;

    let (sender, receiver) = crossbeam_channel::bounded(FILES_WAITING_MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let mut shards = Vec::new();
    for index in 0..arguments.threads.min(ends.len()) {
        let shard = Shard {
            source: source.clone(),
            layout: layout.clone(),
            directory: arguments.location.clone(),
            latency: arguments.latency,
            target_file_bytes: arguments.target_file_bytes,
            files: sender.clone(),
            stop: stop.clone(),
        };
        let mine: Vec<_> = (index..ends.len()).step_by(arguments.threads).collect();
        let assignment =
            mine.iter().map(|&p| (p as i32, next[p], arguments.until_end.then_some(ends[p]))).collect();
        let name = format!("shard-{index}");
        shards.push(std::thread::Builder::new().name(name).spawn(move || shard.run(assignment))?);
    }
    drop(sender);
    let committed = Committer { table, topic: arguments.topic.clone(), runtime }.run(&receiver, &stop);
    drop(receiver);
    for shard in shards {
        shard.join().map_err(|_| anyhow!("a shard panicked"))??;
    }
    let committed = committed?;
    println!("{}", json!({"rows": committed.rows, "files": committed.files, "commits": committed.commits}));
    Ok(())
}
