//! The twin of a commit: nothing but its system calls, on the same directory.
//!
//! What these cost is the machine's. They are the calls that `table/disk` makes for a put-if-absent: a
//! file beside its name, synced, linked, and the directory synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{self, Stopwatch};
use crate::{COMMITS_MAX, table};

/// CPU and wall time of as many puts as there are commits, each with the bytes of the log's last version.
pub fn puts(place: &Path) -> Value {
    let log = place.join("_delta_log");
    let body = newest_version(&log);
    put(&log, 0, &body).expect("the log is writable");
    let cpu = process::cpu();
    let mut walls: Vec<Duration> = (1..COMMITS_MAX)
        .map(|number| {
            let watch = Stopwatch::start();
            put(&log, number, &body).expect("the log is writable");
            watch.elapsed()
        })
        .collect();
    let cpu = (process::cpu() - cpu) / walls.len() as u32;
    (0..COMMITS_MAX).for_each(|number| fs::remove_file(log.join(name(number))).expect("just written"));
    walls.sort();
    json!({"cpu_us": cpu.as_micros() as u64, "p50_us": walls[walls.len() / 2].as_micros() as u64,
        "bytes": body.len(), "files": table::FILES})
}

fn put(log: &Path, number: u64, body: &[u8]) -> io::Result<()> {
    let (target, unfinished) = (log.join(name(number)), log.join(format!("{}#1", name(number))));
    let mut file = File::create(&unfinished)?;
    file.write_all(body)?;
    file.sync_all()?;
    fs::hard_link(&unfinished, &target)?;
    fs::remove_file(&unfinished)?;
    File::open(log)?.sync_all()
}

/// No name that anybody looks for in a log.
fn name(number: u64) -> String {
    format!("{number:020}.bare")
}

fn newest_version(log: &Path) -> Vec<u8> {
    let names = fs::read_dir(log).expect("a log").map(|entry| entry.expect("a readable directory").path());
    let newest = names.filter(|path| path.extension().is_some_and(|extension| extension == "json")).max();
    fs::read(newest.expect("commits were made")).expect("a version stays")
}
