//! `thalweg dlq stats`, `show` and `replay`: their arguments, and what they print.
//!
//! It owns the layout. What is read is `admin::dead_letters`', what is done `admin::replay`'s.
//!
//! With `--json` each prints one object; keys are added, never changed:
//!
//! | command | holds |
//! |---|---|
//! | `stats` | `table_id`, `dead_letters`, `by`; `counts`: list of the members of `by`, `dead_letters`, `first_offset`, `last_offset`, `oldest_ms`, `newest_ms` |
//! | `show` | `table_id`, `dead_letters` (how many there are), `shown`: list of `topic`, `partition`, `offset`, `timestamp_ms`, `reason`, `error`, `key`, `value`, `value_bytes`, `headers` |
//! | `replay` | `table_id`, `dry_run`, and the members of `ReplayOutcome` |

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::config_argument::ConfigArgument;
use super::layout::{columns, laid_out, pretty, runtime};
use crate::admin;
use crate::admin::dead_letters::{self, By, Filter, ShowLimits, Shown};
use crate::admin::replay::{self, Asked, ReplayOutcome};
use crate::clock::{SharedClock, SystemClock};
use crate::columnar::BadReason;
use crate::error::Result;
use crate::ids::{Offset, Partition};
use crate::stdout;

#[derive(Subcommand, Clone, Debug)]
pub enum DlqCommand {
    /// Count dead letters
    #[command(after_long_help = STATS_EXAMPLES)]
    Stats(StatsArguments),
    /// Print dead letters: where they are from, why they are no rows, and their payload
    ///
    /// Payloads are escaped and cut. Dead letters stand in the order of partition and offset.
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show(ShowArguments),
    /// Try dead letters again with the table's schema and the config of now; what fits becomes rows
    ///
    /// Exactly once: a dead letter becomes one row at most, whatever is killed. Run it again and it goes on behind its
    /// last commit. An ingester may run beside it. Dead letters that fail again stay dead letters, are named, and are not
    /// tried again without `--again`.
    /// The dead-letter table is only read.
    #[command(after_long_help = REPLAY_EXAMPLES)]
    Replay(ReplayArguments),
}

const STATS_EXAMPLES: &str = "\
Examples:
  thalweg dlq stats -c thalweg.toml
  thalweg dlq stats -c thalweg.toml --by day --by reason --since 2026-11-01T00:00:00Z";

const SHOW_EXAMPLES: &str = "\
Examples:
  thalweg dlq show -c thalweg.toml --reason unknown_field --limit 5
  thalweg dlq show -c thalweg.toml --partition 3 --offset 120044 --chars 100000";

const REPLAY_EXAMPLES: &str = "\
Examples:
  a producer sent a field that the table did not have; the table has the column now
    thalweg dlq replay -c thalweg.toml --dry-run
    thalweg dlq replay -c thalweg.toml
  after a further change: those that failed again, too
    thalweg dlq replay -c thalweg.toml --again";

#[derive(Args, Clone, Debug)]
pub struct Of {
    #[command(flatten)]
    pub config: ConfigArgument,
    /// The table whose dead letters they are; may be left out where the config has only one
    #[arg(long, value_name = "ID")]
    pub table: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Wanted {
    /// Only these partitions: numbers, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub partition: Vec<i32>,
    /// Only these reasons, separated by commas
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = reasons())]
    pub reason: Vec<String>,
    /// Only the dead letter of this offset
    #[arg(long, value_name = "N")]
    pub offset: Option<i64>,
    /// Only records from this time on, such as 2026-11-22T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<i64>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<i64>,
}

#[derive(Args, Clone, Debug)]
pub struct StatsArguments {
    #[command(flatten)]
    pub of: Of,
    #[command(flatten)]
    pub wanted: Wanted,
    /// What to count by; may be repeated
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [By::Topic, By::Partition, By::Reason])]
    pub by: Vec<By>,
}

#[derive(Args, Clone, Debug)]
pub struct ShowArguments {
    #[command(flatten)]
    pub of: Of,
    #[command(flatten)]
    pub wanted: Wanted,
    /// At most so many dead letters
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// The last ones instead of the first
    #[arg(long)]
    pub last: bool,
    /// At most so many characters of a key, a value or a header
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub chars: usize,
}

#[derive(Args, Clone, Debug)]
pub struct ReplayArguments {
    #[command(flatten)]
    pub of: Of,
    /// Try those again, too, that failed in an earlier replay
    ///
    /// Which of them are rows by now is told by the table's `_partition` and `_offset`. Rows of replayed dead letters
    /// that were deleted since come back: delete such dead letters from the dead-letter table, too.
    #[arg(long)]
    pub again: bool,
    /// Only decode, and say what would become of them
    #[arg(long)]
    pub dry_run: bool,
}

fn reasons() -> clap::builder::PossibleValuesParser {
    BadReason::ALL.map(BadReason::as_str).into()
}

fn time(text: &str) -> Result<i64, String> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(|at| at.as_millisecond())
        .map_err(|_| "write a time with a zone, as in 2026-11-22T00:00:00Z".to_owned())
}

impl Wanted {
    fn filter(&self) -> Filter {
        Filter {
            partitions: self.partition.iter().copied().map(Partition).collect(),
            reasons: self.reason.iter().cloned().collect(),
            offset: self.offset.map(Offset),
            since_ms: self.since,
            until_ms: self.until,
        }
    }
}

pub fn stats(StatsArguments { of, wanted, by }: &StatsArguments) -> Result<()> {
    let config = super::config_argument::load_config(&of.config)?;
    let table = admin::table(&config, of.table.as_deref())?;
    let counts = runtime()?.block_on(dead_letters::stats(table, &wanted.filter(), by))?;
    let all: u64 = counts.iter().map(|(_, count)| count.dead_letters).sum();
    if of.json {
        let counts: Vec<Value> = counts
            .iter()
            .map(|(key, count)| {
                let by = by.iter().zip(key).map(|(by, value)| (by.name().to_owned(), by.json(value)));
                let mut members: Map<String, Value> = by.collect();
                let Value::Object(counted) = serde_json::to_value(count).expect("plain values") else {
                    unreachable!("a struct is an object")
                };
                members.extend(counted);
                Value::Object(members)
            })
            .collect();
        let by: Vec<&str> = by.iter().map(|by| by.name()).collect();
        return stdout::print_text(&pretty(
            &json!({"table_id": table.id, "dead_letters": all, "by": by, "counts": counts}),
        ));
    }
    if !counts.is_empty() {
        let names = ["dead letters", "first offset", "last offset", "oldest", "newest"];
        let mut rows = columns(&by.iter().map(|by| by.name()).chain(names).collect::<Vec<_>>());
        for (key, count) in &counts {
            let offset = |offset: Option<Offset>| offset.map(|of| of.to_string()).unwrap_or_default();
            let counted = [
                count.dead_letters.to_string(),
                offset(count.first_offset),
                offset(count.last_offset),
                at(count.oldest_ms),
                at(count.newest_ms),
            ];
            rows.add_row(key.iter().map(|of| stdout::shown(of)).chain(counted));
        }
        let right: Vec<usize> = (by.len()..by.len() + 3).collect();
        laid_out(rows, &right).iter().try_for_each(|line| stdout::print(line))?;
    }
    stdout::print(&format!("{all} dead letters"))
}

pub fn show(ShowArguments { of, wanted, limit, last, chars }: &ShowArguments) -> Result<()> {
    let config = super::config_argument::load_config(&of.config)?;
    let table = admin::table(&config, of.table.as_deref())?;
    let limits = ShowLimits { dead_letters: *limit, last: *last, characters: *chars };
    let (shown, all) = runtime()?.block_on(dead_letters::show(table, &wanted.filter(), limits))?;
    if of.json {
        return stdout::print_text(&pretty(
            &json!({"table_id": table.id, "dead_letters": all, "shown": shown}),
        ));
    }
    for dead_letter in &shown {
        dead_letter_text(dead_letter).iter().try_for_each(|line| stdout::print(line))?;
    }
    stdout::print(&format!("{} of {all} dead letters", shown.len()))
}

fn dead_letter_text(dead_letter: &Shown) -> Vec<String> {
    let Shown { topic, partition, offset, reason, error, .. } = dead_letter;
    let mut lines = vec![
        format!("{topic} [{partition}] offset {offset}, {}", at(dead_letter.timestamp_ms)),
        format!("  {reason}: {error}"),
    ];
    lines.extend(dead_letter.key.iter().map(|key| format!("  key     {key}")));
    for (name, value) in &dead_letter.headers {
        lines.push(format!("  header  {name} = {}", value.as_deref().unwrap_or("null")));
    }
    lines.push(format!("  value   {} ({} bytes)", dead_letter.value, dead_letter.value_bytes));
    lines
}

pub fn replay(ReplayArguments { of, again, dry_run }: &ReplayArguments) -> Result<()> {
    let config = super::config_argument::load_config(&of.config)?;
    let table = admin::table(&config, of.table.as_deref())?;
    let clock: SharedClock = Arc::new(SystemClock);
    let asked = Asked { again: *again, dry_run: *dry_run };
    let outcome = runtime()?.block_on(replay::replay(table, asked, &clock))?;
    if of.json {
        let mut all = json!({"table_id": table.id, "dry_run": dry_run});
        let Value::Object(outcome) = serde_json::to_value(&outcome).expect("plain values") else {
            unreachable!("a struct is an object")
        };
        all.as_object_mut().expect("it was made one").extend(outcome);
        return stdout::print_text(&pretty(&all));
    }
    outcome_text(&outcome, *dry_run).iter().try_for_each(|line| stdout::print(line))
}

fn outcome_text(outcome: &ReplayOutcome, dry_run: bool) -> Vec<String> {
    let ReplayOutcome { tried, rows, tried_before, rows_before, unresolved, unplaced, .. } = outcome;
    let mut lines = Vec::new();
    for failure in &outcome.failures {
        let (topic, partition, offset) = (&failure.topic, failure.partition, failure.offset);
        lines.push(format!("{topic} [{partition}] offset {offset}: {}: {}", failure.reason, failure.error));
    }
    let failed: u64 = outcome.failed.values().sum();
    let more = failed - outcome.failures.len() as u64;
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let become_rows = if dry_run { "would become rows" } else { "became rows" };
    lines.push(format!("{rows} of {tried} dead letters {become_rows}"));
    let reasons: Vec<String> =
        outcome.failed.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if failed > 0 {
        lines.push(format!("{failed} failed again and stay dead letters: {}", reasons.join(", ")));
    }
    let also = [
        (*tried_before, "were tried by an earlier replay; to try those again that are no rows: `--again`"),
        (*rows_before, "are rows already"),
        (*unresolved, "are not settled in the table yet: let the ingester commit once more"),
        (*unplaced, "are of a topic or a table id that this table does not know"),
    ];
    lines.extend(also.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    match (dry_run, outcome.version) {
        (true, _) => lines.push("dry run, nothing was changed".to_owned()),
        (false, Some(version)) => {
            lines.push(format!("done: {} commits, the last is version {version}", outcome.commits))
        }
        (false, None) => lines.push("nothing was changed".to_owned()),
    }
    lines
}

/// `-` where a record has no time.
fn at(ms: Option<i64>) -> String {
    let at = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}
