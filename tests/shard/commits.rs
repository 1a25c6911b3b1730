//! What the commit path keeps of a commit when it is done: nothing.
//!
//! Live bytes are those of the whole process, so that the story has one of its own.

use std::process::Command;

use crate::ingestion::Ingestion;
use crate::table;
use crate::workload::counting::live_bytes;

const COMMITS: usize = 1_200;
/// Checkpoints come and go; between two of them nothing is held for them.
const LOOKED_AT: usize = 100;
/// What a commit may keep: a name would be more.
const KEPT_MAX: i64 = 128;

/// The fewest live bytes while so many commits are made.
fn fewest(ingestion: &mut Ingestion) -> i64 {
    let commit = |_| {
        ingestion.commit_files();
        live_bytes()
    };
    (0..LOOKED_AT).map(commit).min().unwrap()
}

#[test]
fn a_commit_keeps_no_memory() {
    const IS_CHILD: &str = "THALWEG_TEST_COMMITS";
    if std::env::var_os(IS_CHILD).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let name = "commits::a_commit_keeps_no_memory";
        let status = again.args(["--exact", name, "--nocapture"]).env(IS_CHILD, "1").status().unwrap();
        assert!(status.success());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    table::make(directory.path(), 1_000, 10);
    let mut ingestion = Ingestion::open(directory.path());
    fewest(&mut ingestion);
    let before = fewest(&mut ingestion);
    (0..COMMITS).for_each(|_| ingestion.commit_files());
    let after = fewest(&mut ingestion);
    let each = (after - before) / (COMMITS + LOOKED_AT) as i64;
    println!("{before} live bytes before, {after} after: {each} for each commit");
    assert!(each < KEPT_MAX, "{each} bytes are kept of each commit: {before} before, {after} after");
}
