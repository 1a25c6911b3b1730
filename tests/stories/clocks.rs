//! The machine's wall clock jumps by years, and nobody's rows depend on it.

use std::fs;
use std::process::Command;

use crate::judge;
use crate::program::{metric, program_with, run_until_end};
use crate::services::path;
use crate::story::{FLAT, Story};

/// Stands before the C library's clock and adds the seconds that a file holds.
const SHIFTED: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, at);
    if (status != 0 || id != CLOCK_REALTIME) return status;
    char text[32] = {0};
    int file = open(getenv("CLOCK_SHIFT"), O_RDONLY);
    if (file >= 0 && read(file, text, sizeof text - 1) > 0) at->tv_sec += atoll(text);
    if (file >= 0) close(file);
    return status;
}
"#;
const YEAR_SECONDS: i64 = 365 * 24 * 3600;

#[test]
fn a_clock_that_jumps_by_years_under_a_run_and_between_runs_loses_and_doubles_nothing() {
    let Some(story) = Story::begin("clock") else { return };
    let (source, library, shift) =
        (story.dir.join("shifted.c"), story.dir.join("shifted.so"), story.dir.join("shift"));
    fs::write(&source, SHIFTED).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(built.unwrap().success(), "cc is what links this program, too");
    let topic = story.topic("events", 1);
    let location = story.place("table");
    let table = format!(
        "[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{FLAT}\"\n\
         max_latency = \"20ms\"\n"
    );
    let config = story.config("config", &table);
    let mut produced = 0;
    for years in [[0, 10], [-20, 0], [5, -5]] {
        fs::write(&shift, (years[0] * YEAR_SECONDS).to_string()).unwrap();
        let environment = [("LD_PRELOAD", path(&library)), ("CLOCK_SHIFT", path(&shift))];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut running = program_with(&environment, &["run", "-c", &path(&config)]);
        let address = running.address();
        for (turn, years) in years.into_iter().enumerate() {
            fs::write(&shift, (years * YEAR_SECONDS).to_string()).unwrap();
            story.produce(&topic, 0, produced..produced + 500);
            produced += 500;
            let rows = 500.0 * (turn + 1) as f64;
            running.watch_until("the rows are committed", || {
                metric(&address, "thalweg_rows_committed_total") >= rows
            });
        }
        running.kill();
    }
    run_until_end(&config).with(0);
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb"]), produced.unsigned_abs());
    // The clock was felt: commits carry times of years that are not ours.
    let log = fs::read_to_string(format!("{location}/_delta_log/00000000000000000000.json")).unwrap();
    let first = fs::read_dir(format!("{location}/_delta_log")).unwrap().count();
    assert!(first > 6 && log.contains("commitInfo"));
}
