//! `thalweg table verify` and `thalweg table info`: what they print.
//!
//! It owns the layout. The judgement is `audit::verify`'s, the figures
//! `audit::info`'s.
//!
//! `verify --json` prints one object; keys are added, never changed:
//!
//! | key | holds |
//! |---|---|
//! | `ok` | no violation was found |
//! | `location`, `version`, `from_version` | the table, its version, and the oldest one that was checked |
//! | `rows`, `files`, `foreign_files` | rows and live files; those without our ranges |
//! | `deep`, `checksums` | every byte was read; files whose bytes were compared with their commit's checksum |
//! | `audited`, `not_audited_because` | every row was counted by its offset, or why not |
//! | `partitions` | `table_id`, `topic`, `topic_id`, `partition`, `start`, `next`, `rows`, `skipped`, `tombstones`, `dead_letters`, `replayed` (dead letters that are rows by now), `verdict` (null: see the violations), `proven`, `rows_only`, `given_up`, `read_again` and `unknown`: lists of `start`, `next` (and `why`, `rows`, `resolved`); `rows_again` (rows that stand once more since they were read again), `doubled`, `out_of_range` where audited |
//! | `violations`, `notes` | one line of text each |
//!
//! `info --json` prints the members of [`Info`].

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::arguments::{InfoArguments, TableArguments, VerifyArguments};
use super::config_argument::{ConfigArgument, load_config};
use super::layout::{columns, laid_out, no_runtime, pretty, runtime};
use super::logging;
use crate::audit::count::{Depth, Progress};
use crate::audit::info::{self, Asked, Info};
use crate::audit::verify::{self, PartitionVerdict, Span, Verdict};
use crate::clock::{Clock, SystemClock};
use crate::config::Secret;
use crate::delta::inventory;
use crate::error::{Error, ErrorKind, Result};
use crate::stdout;
use crate::stores::store::Store;

/// Orphans that are named without `--orphans`.
const ORPHANS_SHOWN: usize = 5;

pub fn verify(VerifyArguments { table: arguments, deep }: &VerifyArguments) -> Result<()> {
    let store = open(arguments)?;
    let depth = if *deep { Depth::Everything } else { Depth::Offsets };
    let progress = ProgressLine::start(!arguments.json);
    let listener = Arc::clone(&progress);
    // Decoding takes time: every core helps.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_runtime)?;
    let verdict = runtime.block_on(verify::verify_to(&store, depth, Arc::new(move |now| listener.show(now))));
    progress.end();
    let verdict = verdict?;
    if arguments.json {
        stdout::print_text(&pretty(&as_json(&store, &verdict)))?;
    } else {
        for line in as_text(&verdict) {
            stdout::print(&line)?;
        }
    }
    match verdict.violations.len() {
        0 => Ok(()),
        1 => Err(Error::new(ErrorKind::No, format!("{}: 1 violation", store.url))),
        count => Err(Error::new(ErrorKind::No, format!("{}: {count} violations", store.url))),
    }
}

pub fn info(arguments: &InfoArguments) -> Result<()> {
    let store = open(&arguments.table)?;
    let asked = Asked {
        older_than: arguments.older_than,
        listed_max: if arguments.orphans { usize::MAX } else { ORPHANS_SHOWN },
    };
    let info = runtime()?.block_on(async {
        let inventory = inventory::take(&store).await?;
        info::info(&store, &inventory, SystemClock.wall_ms(), asked).await
    })?;
    if arguments.table.json {
        return stdout::print_text(&pretty(&serde_json::to_value(&info).expect("plain values")));
    }
    info_text(&store, &info).iter().try_for_each(|line| stdout::print(line))
}

fn open(arguments: &TableArguments) -> Result<Store> {
    let (location, options) = table_of(arguments)?;
    Store::open(&location, &options)
}

/// One line on the terminal that is written over and over; nothing elsewhere.
struct ProgressLine {
    shown: bool,
    last: Mutex<Duration>,
}

impl ProgressLine {
    const EVERY: Duration = Duration::from_millis(100);

    fn start(wanted: bool) -> Arc<ProgressLine> {
        let shown = wanted && std::io::stderr().is_terminal() && !logging::is_json();
        Arc::new(ProgressLine { shown, last: Mutex::new(SystemClock.boot()) })
    }

    fn show(&self, now: Progress) {
        let at = SystemClock.boot();
        let Ok(mut last) = self.last.lock() else { return };
        if self.shown && at.saturating_sub(*last) >= ProgressLine::EVERY {
            *last = at;
            let size = |bytes| bytesize::ByteSize(bytes).to_string();
            let (bytes, all) = (size(now.bytes), size(now.bytes_all));
            // With stderr gone nobody looks.
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{} of {} files, {bytes} of {all}",
                now.files,
                now.files_all
            );
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn as_json(store: &Store, verdict: &Verdict) -> Value {
    let partitions: Vec<Value> = verdict.partitions.iter().map(|one| partition_json(verdict, one)).collect();
    json!({
        "ok": verdict.is_sound(),
        "location": store.url.as_str(),
        "version": verdict.version,
        "from_version": verdict.from_version,
        "rows": verdict.rows,
        "files": verdict.files,
        "foreign_files": verdict.foreign_files,
        "deep": verdict.audit.depth == Depth::Everything,
        "checksums": verdict.audit.checksums,
        "audited": verdict.audit.why_not_all().is_none(),
        "not_audited_because": verdict.audit.why_not_all(),
        "partitions": partitions,
        "violations": verdict.violations,
        "notes": verdict.notes,
    })
}

fn partition_json(verdict: &Verdict, one: &PartitionVerdict) -> Value {
    let counted = verdict.audit.partitions.get(&one.id.source);
    json!({
        "table_id": one.id.table_id,
        "topic": one.id.source.topic,
        "topic_id": one.id.source.topic_id,
        "partition": one.id.source.partition,
        "start": one.span.start,
        "next": one.span.next,
        "rows": one.rows,
        "skipped": one.skipped,
        "tombstones": one.tombstones,
        "dead_letters": one.dead_letters,
        "replayed": one.replayed,
        "verdict": one.word(),
        "proven": one.proven,
        "rows_only": one.rows_only,
        "given_up": one.given_up,
        "read_again": one.read_again,
        "rows_again": one.rows_again,
        "unknown": one.unknown,
        "doubled": counted.map(|counted| counted.doubled),
        "out_of_range": counted.map(|counted| counted.out_of_range),
    })
}

fn as_text(verdict: &Verdict) -> Vec<String> {
    let mut table = columns(&[
        "topic",
        "partition",
        "offsets",
        "rows",
        "skipped",
        "tombstones",
        "dead letters",
        "verdict",
    ]);
    for one in &verdict.partitions {
        table.add_row([
            stdout::shown(&one.id.source.topic),
            one.id.source.partition.to_string(),
            format!("{}..{}", one.span.start, one.span.next),
            one.rows.to_string(),
            one.skipped.to_string(),
            one.tombstones.to_string(),
            one.dead_letters.to_string(),
            said_of(one),
        ]);
    }
    let mut lines = laid_out(table, &[1, 2, 3, 4, 5]);
    lines.push(String::new());
    for one in &verdict.partitions {
        let source = &one.id.source;
        for Span { start, next } in &one.given_up {
            lines.push(format!("given up: offsets {start}..{next} of {source}"));
        }
        for Span { start, next } in &one.read_again {
            lines.push(format!("read again: offsets {start}..{next} of {source}"));
        }
        if one.replayed > 0 {
            lines.push(format!("replayed: {} dead letters of {source} are rows by now", one.replayed));
        }
        if one.rows_again > 0 {
            lines.push(format!("read again: {} rows of {source} stand once more for it", one.rows_again));
        }
        for unknown in &one.unknown {
            let (start, next) = (unknown.span.start, unknown.span.next);
            let counts = match (unknown.rows, unknown.resolved) {
                (Some(rows), Some(resolved)) => format!(" ({rows} of {resolved} rows are there)"),
                (Some(rows), None) => format!(" ({rows} rows are there)"),
                _ => String::new(),
            };
            lines.push(format!("unknown: offsets {start}..{next} of {source}: {}{counts}", unknown.why));
        }
    }
    lines.extend(verdict.notes.iter().map(|note| format!("note: {note}")));
    if let Some(why) = verdict.audit.why_not_all() {
        lines.push(format!("note: not every row was counted by its offset: {why}"));
    }
    lines.extend(verdict.violations.iter().map(|violation| format!("violation: {violation}")));
    if verdict.is_sound() {
        let Verdict { rows, files, partitions, .. } = verdict;
        let deeply = match verdict.audit.depth {
            Depth::Offsets => String::new(),
            Depth::Everything => format!(", every byte read, {} checksums", verdict.audit.checksums),
        };
        lines.push(format!(
            "verified: {rows} rows in {files} files, {} partitions, no violation{deeply}",
            partitions.len()
        ));
    }
    lines
}

fn said_of(one: &PartitionVerdict) -> String {
    let spans = |spans: &[Span]| {
        spans.iter().map(|span| format!("{}..{}", span.start, span.next)).collect::<Vec<_>>().join(" ")
    };
    match one.word() {
        Some("unknown") | None => {
            let known = [("proven", &one.proven), ("rows only", &one.rows_only), ("given up", &one.given_up)];
            let known = known.iter().filter(|(_, of)| !of.is_empty());
            let mut parts: Vec<String> = known.map(|(word, of)| format!("{word} {}", spans(of))).collect();
            parts.push(match (one.unknown.is_empty(), parts.is_empty()) {
                (true, _) => "see violations".to_owned(),
                (false, true) => "unknown".to_owned(),
                (false, false) => "rest unknown".to_owned(),
            });
            parts.join(", ")
        }
        Some(word) => word.to_owned(),
    }
}

fn info_text(store: &Store, info: &Info) -> Vec<String> {
    let version = |version: Option<crate::ids::Version>| version.map_or("none".to_owned(), |v| v.to_string());
    let features: Vec<&str> = info.features.iter().map(String::as_str).collect();
    let mut protocol = format!("reader {}, writer {}", info.min_reader_version, info.min_writer_version);
    if !features.is_empty() {
        protocol = format!("{protocol}, features {}", features.join(" "));
    }
    let size = |bytes: u64| bytesize::ByteSize(bytes).to_string();
    let mut rows = info.rows.to_string();
    if info.files_without_rows > 0 {
        rows = format!("{rows}, and those of {} files without statistics", info.files_without_rows);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_row(["location", store.url.as_str()]);
    table.add_row(["version", &format!("{} (log from {})", info.version, version(info.oldest_version))]);
    table.add_row(["checkpoint", &version(info.checkpoint)]);
    table.add_row(["protocol", &stdout::shown(&protocol)]);
    table.add_row(["rows", &rows]);
    let bytes = size(info.bytes.max(0) as u64);
    table.add_row(["files", &format!("{}, {bytes}, {} of them below 16 MiB", info.files, info.small_files)]);
    let heap = |heap: info::Heap| format!("{} files, {}", heap.files, size(heap.bytes));
    let orphans = info::Heap { files: info.orphans.files, bytes: info.orphans.bytes };
    table.add_row(["orphans", &heap(orphans)]);
    table.add_row(["unnamed yet", &heap(info.young)]);
    table.add_row(["leftovers", &heap(info.leftovers)]);
    table.add_row(["schema", &stdout::shown(&info.schema)]);
    let mut lines = laid_out(table, &[]);
    lines.push(String::new());
    let mut offsets = columns(&["table id", "topic", "topic id", "partition", "next offset"]);
    for one in &info.offsets {
        offsets.add_row([
            stdout::shown(&one.table_id),
            stdout::shown(&one.topic),
            stdout::shown(&one.topic_id.to_string()),
            one.partition.to_string(),
            one.next.to_string(),
        ]);
    }
    lines.extend(laid_out(offsets, &[3, 4]));
    lines.extend(orphan_lines(&info.orphans));
    lines
}

fn orphan_lines(orphans: &info::Orphans) -> Vec<String> {
    if orphans.listed.is_empty() {
        return Vec::new();
    }
    let mut table = columns(&["orphan", "bytes", "written"]);
    for one in &orphans.listed {
        let written = jiff::Timestamp::from_millisecond(one.modified_ms).map(|at| at.to_string());
        table.add_row([stdout::shown(&one.path), one.bytes.to_string(), written.unwrap_or_default()]);
    }
    let mut lines = vec![String::new()];
    lines.extend(laid_out(table, &[1]));
    let more = orphans.files - orphans.listed.len();
    if more > 0 {
        lines.push(format!("and {more} more: --orphans names them all"));
    }
    lines
}

/// The table that a command is about: an address, or one of a config's.
pub(super) fn table_of(arguments: &TableArguments) -> Result<(url::Url, BTreeMap<String, Secret>)> {
    let Some(file) = &arguments.config else {
        let location = arguments.location.as_deref().expect("clap asks for one of the two");
        return crate::config::table_address(location, &arguments.storage);
    };
    let config = load_config(&ConfigArgument { file: file.clone() })?;
    let table = crate::admin::table(&config, arguments.location.as_deref()).map_err(|mut error| {
        error.remedy = error.remedy.map(|remedy| remedy.replace("with `--table`", "behind `-c FILE`"));
        error
    })?;
    let mut options = table.storage_options.clone();
    options.extend(crate::config::storage_options(&arguments.storage)?);
    Ok((table.location.clone(), options))
}
