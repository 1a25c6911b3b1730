//! The log of a large table against that of a small one: commits, loading, checkpoints.
//!
//! Without arguments criterion's benches; `THALWEG_BENCH_FILES` is the large table's size (100,000).
//! `limits` measures what they cannot, each figure in a process of its own, and exits 1 past a limit:
//! `cargo bench --bench commit -- limits [--files N] [--version-files N] [--keep DIRECTORY] [--no-limits]`.

mod bare;
mod ingestion;
mod limits;
mod process;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use criterion::Criterion;
use thalweg::delta::log;

use crate::ingestion::Ingestion;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SMALL: usize = 1000;
/// Of a table's past, as a busy log keeps them.
const VERSION_FILES: u64 = 1000;
/// Fewer commits than there are between two checkpoints.
const COMMITS_MAX: u64 = 90;

fn main() -> ExitCode {
    process::keep_little_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["child", what, place] => limits::measure(what, Path::new(place)),
        ["limits", ref options @ ..] => return limits::run(&limits::Options::of(options)),
        _ => benches(&mut Criterion::default().configure_from_args()),
    }
    ExitCode::SUCCESS
}

fn benches(criterion: &mut Criterion) {
    let large = std::env::var("THALWEG_BENCH_FILES").ok().and_then(|files| files.parse().ok());
    let directory = tempfile::tempdir().expect("room for a table");
    for files in [SMALL, large.unwrap_or(100_000)] {
        let place = directory.path().join(files.to_string());
        table::make(&place, files, VERSION_FILES);
        limits::checkpoint(&limits::runtime(), &place);
        let name = format!("commit/{files}_files");
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).measurement_time(Duration::from_secs(4));
        group.bench_function("commit_cpu", |bencher| bencher.iter_custom(|times| commits(&place, times)));
        group.bench_function("load", |bencher| {
            let (runtime, store) = (limits::runtime(), table::store(&place));
            bencher.iter(|| runtime.block_on(log::load(&store)).expect("a sound table"));
        });
        group.sample_size(10);
        group.bench_function("checkpoint", |bencher| bencher.iter_custom(|times| checkpoints(&place, times)));
    }
}

/// CPU time of so many commits. Checkpoints in between are not counted.
fn commits(place: &Path, times: u64) -> Duration {
    let (mut spent, mut left) = (Duration::ZERO, times);
    while left > 0 {
        limits::checkpoint(&limits::runtime(), place);
        let mut ingestion = Ingestion::open(place);
        let some = left.min(COMMITS_MAX);
        for _ in 0..some {
            let files = ingestion.files();
            let before = process::cpu();
            ingestion.commit(files);
            spent += process::cpu() - before;
        }
        left -= some;
    }
    spent
}

/// Wall time of so many checkpoints, each after twenty commits.
fn checkpoints(place: &Path, times: u64) -> Duration {
    let runtime = limits::runtime();
    let one = |_| {
        let mut ingestion = Ingestion::open(place);
        (0..20).for_each(|_| ingestion.commit_files());
        drop(ingestion);
        limits::checkpoint(&runtime, place)
    };
    (0..times).map(one).sum()
}
