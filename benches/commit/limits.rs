//! A large table against a small one, each figure from a process of its own, and the limits it must keep.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};
use thalweg::config::Compression;
use thalweg::delta::checkpoint as checkpoints;
use thalweg::delta::checkpoint::CheckpointOptions;
use thalweg::delta::log;
use thalweg::stores::orphan_cleaner::OrphanCleaner;
use tokio::runtime::Runtime;

use crate::ingestion::Ingestion;
use crate::process::{self, Stopwatch};
use crate::{COMMITS_MAX, SMALL, bare, table};

const ROUNDS: usize = 5;
/// Of one round, in this order: the twin follows the commits.
const MEASURES: [&str; 4] = ["commit", "bare", "load", "checkpoint"];
/// Of the table nothing has expired.
const OPTIONS: CheckpointOptions = CheckpointOptions { expired_ms: 0, compression: Compression::Zstd(1) };

/// A figure, and what it may be at most: of the large table, against the small one where it says so.
const LIMITS: [(&str, f64); 7] = [
    ("commit_cpu_us", 300.0),
    ("commit_ratio", 1.2),
    ("commit_more_mib", 10.0),
    ("load_ms", 50.0),
    ("checkpoint_ms", 500.0),
    ("checkpoint_more_mib", 32.0),
    ("first_checkpoint_more_mib", 64.0),
];

pub struct Options {
    files: usize,
    version_files: u64,
    keep: Option<PathBuf>,
    enforce: bool,
}

impl Options {
    pub fn of(arguments: &[&str]) -> Options {
        let mut options = Options { files: 1_000_000, version_files: 10_000, keep: None, enforce: true };
        let mut arguments = arguments.iter();
        while let Some(&name) = arguments.next() {
            let mut value = || *arguments.next().unwrap_or_else(|| panic!("{name} has a value"));
            match name {
                "--files" => options.files = value().parse().expect("a number"),
                "--version-files" => options.version_files = value().parse().expect("a number"),
                "--keep" => options.keep = Some(value().into()),
                "--no-limits" => options.enforce = false,
                // Cargo's own.
                "--bench" => {}
                other => panic!("`{other}` is not an option"),
            }
        }
        options
    }
}

/// Measures everything; prints each measurement, and last the medians with what is past its limit.
pub fn run(options: &Options) -> ExitCode {
    let directory = tempfile::tempdir().expect("room for a table");
    let small = directory.path().join("small");
    let large = options.keep.clone().unwrap_or_else(|| directory.path().join("large"));
    let mut first = Value::Null;
    for (place, files) in [(&small, SMALL), (&large, options.files)] {
        table::make(place, files, options.version_files);
        child("commit", place);
        // Another writer's checkpoint until now, ours from here on.
        first = child("checkpoint", place);
        println!("{}", json!({"files": files, "first checkpoint": first}));
    }
    child("commit", &large);
    let beside = child("beside", &large);
    println!("{}", json!({"commits beside a checkpoint": beside}));
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (place, rounds) in [(&small, &mut of_small), (&large, &mut of_large)] {
            let round = MEASURES.map(|what| (what, child(what, place)));
            println!("{}", json!(round));
            rounds.push(round.map(|(_, figures)| figures));
        }
    }
    let figures = figures(&first, &of_small, &of_large);
    let past: Vec<&str> =
        LIMITS.iter().filter(|(name, most)| figures[name] > *most).map(|limit| limit.0).collect();
    let mut line =
        json!({"files": options.files + ROUNDS * COMMITS_MAX as usize * table::FILES, "past": past});
    line.as_object_mut().expect("an object").extend(
        figures.into_iter().map(|(name, figure)| (name.to_owned(), json!((figure * 100.0).round() / 100.0))),
    );
    println!("{line}");
    if past.is_empty() || !options.enforce { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of the large table the first checkpoint, and the medians of all rounds, by name.
fn figures(
    first: &Value,
    small: &[[Value; 4]],
    large: &[[Value; 4]],
) -> std::collections::BTreeMap<&'static str, f64> {
    let median = |rounds: &[[Value; 4]], measure: usize, name: &str| {
        let mut all: Vec<f64> =
            rounds.iter().map(|round| round[measure][name].as_f64().expect("a figure")).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let [commit, bare, load, checkpoint] = [0, 1, 2, 3];
    let first = |name: &str| first[name].as_f64().expect("a figure");
    let (cpu, of_small) = (median(large, commit, "cpu_us"), median(small, commit, "cpu_us"));
    [
        ("commit_cpu_us", cpu),
        ("commit_ratio", cpu / of_small),
        ("commit_more_mib", (median(large, commit, "peak_kib") - median(small, commit, "peak_kib")) / 1024.0),
        ("commit_p50_us", median(large, commit, "p50_us")),
        ("bare_calls_cpu_us", median(large, bare, "cpu_us")),
        ("bare_calls_p50_us", median(large, bare, "p50_us")),
        ("load_ms", median(large, load, "wall_us") / 1000.0),
        ("load_cpu_ms", median(large, load, "cpu_us") / 1000.0),
        ("load_more_mib", median(large, load, "more_kib") / 1024.0),
        ("checkpoint_ms", median(large, checkpoint, "wall_us") / 1000.0),
        ("checkpoint_cpu_ms", median(large, checkpoint, "cpu_us") / 1000.0),
        ("checkpoint_more_mib", median(large, checkpoint, "more_kib") / 1024.0),
        ("checkpoint_mb", median(large, checkpoint, "bytes") / 1e6),
        ("small_checkpoint_more_mib", median(small, checkpoint, "more_kib") / 1024.0),
        ("first_checkpoint_ms", first("wall_us") / 1000.0),
        ("first_checkpoint_more_mib", first("more_kib") / 1024.0),
    ]
    .into()
}

fn child(what: &str, place: &Path) -> Value {
    let program = std::env::current_exe().expect("this program");
    let done = Command::new(program).args(["child", what]).arg(place).output().expect("it starts");
    assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("a line of JSON")
}

/// One measurement in this process, as a line of JSON.
pub fn measure(what: &str, place: &Path) {
    let figures = match what {
        "commit" => commits(place),
        "beside" => commits_beside_a_checkpoint(place),
        "bare" => bare::puts(place),
        "load" => load(place),
        "checkpoint" => one_checkpoint(place),
        other => panic!("`{other}` is not measured"),
    };
    println!("{figures}");
}

/// Opens the table, and commits.
fn commits(place: &Path) -> Value {
    let mut ingestion = Ingestion::open(place);
    // The first one makes the threads that the others find.
    ingestion.commit_files();
    let mut cpu = Duration::ZERO;
    let mut walls: Vec<Duration> = (1..COMMITS_MAX)
        .map(|_| {
            let files = ingestion.files();
            let (watch, before) = (Stopwatch::start(), process::cpu());
            ingestion.commit(files);
            cpu += process::cpu() - before;
            watch.elapsed()
        })
        .collect();
    let cpu = cpu / walls.len() as u32;
    drop(ingestion);
    walls.sort();
    json!({"cpu_us": us(cpu), "p50_us": us(walls[walls.len() / 2]), "max_us": us(walls[walls.len() - 1]),
        "peak_kib": process::peak()})
}

/// What a commit waits for while a checkpoint is written.
fn commits_beside_a_checkpoint(place: &Path) -> Value {
    let mut ingestion = Ingestion::open(place);
    ingestion.commit_files();
    let mut walls = Vec::new();
    std::thread::scope(|scope| {
        let checkpoint = scope.spawn(|| checkpoint(&runtime(), place));
        while !checkpoint.is_finished() {
            let files = ingestion.files();
            let watch = Stopwatch::start();
            ingestion.commit(files);
            walls.push(watch.elapsed());
        }
    });
    drop(ingestion);
    walls.sort();
    json!({"commits": walls.len(), "p50_us": us(walls[walls.len() / 2]), "max_us": us(walls[walls.len() - 1])})
}

fn load(place: &Path) -> Value {
    let (runtime, store) = (runtime(), table::store(place));
    let (memory, watch, cpu) = (process::Watch::start(), Stopwatch::start(), process::cpu());
    let snapshot = runtime.block_on(log::load(&store)).expect("a sound table").expect("a table");
    let (wall, cpu) = (watch.elapsed(), process::cpu() - cpu);
    json!({"wall_us": us(wall), "cpu_us": us(cpu), "more_kib": memory.more(),
        "version": snapshot.version})
}

fn one_checkpoint(place: &Path) -> Value {
    let runtime = runtime();
    let memory = process::Watch::start();
    let cpu = process::cpu();
    let wall = checkpoint(&runtime, place);
    let cpu = process::cpu() - cpu;
    let checkpoints = std::fs::read_dir(place.join("_delta_log")).expect("a log");
    let newest = checkpoints
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .max();
    let bytes = std::fs::metadata(newest.expect("just written")).expect("just written").len();
    json!({"wall_us": us(wall), "cpu_us": us(cpu), "more_kib": memory.more(), "bytes": bytes})
}

/// Writes a checkpoint of the table as it is now; how long that took.
pub fn checkpoint(runtime: &Runtime, place: &Path) -> Duration {
    let store = table::store(place);
    runtime.block_on(async {
        let tip = log::load(&store).await.expect("a sound table").expect("a table").version;
        let watch = Stopwatch::start();
        checkpoints::write(&store, tip, OPTIONS, &OrphanCleaner::here()).await.expect("a sound table");
        watch.elapsed()
    })
}

/// As the ingester has it.
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("threads")
}

fn us(time: Duration) -> u64 {
    time.as_micros() as u64
}
