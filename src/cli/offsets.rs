//! `thalweg offsets show` and `thalweg offsets set`: their arguments, and what they print.
//!
//! It owns the layout. What is done is `admin::offsets`; what it means is `protocol::offsets`.
//!
//! `show --json` prints `{"tables": […]}`, the members of each are those of `Standing`. `set --json` prints
//! one object; keys are added, never changed:
//!
//! | key | holds |
//! |---|---|
//! | `table_id`, `topic`, `executed` | whose offsets; whether they were moved |
//! | `version` | the version that holds the move; null where nothing was committed |
//! | `moves` | list of `partition`, `topic_id`, `from` (null: none yet), `to`, `given_up`, `read_again` (numbers of offsets) |
//! | `identity_transfers` | what was taken over, a sentence each |
//! | `needs` | options that `--execute` wants besides |

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::config_argument::ConfigArgument;
use super::layout::{columns, laid_out, pretty, runtime};
use crate::admin::offsets::{Asked, Moved, Standing, Target};
use crate::admin::{self, offsets};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, Table};
use crate::error::Result;
use crate::ids::{Offset, Partition};
use crate::protocol::app_id::IdentityTransfer;
use crate::protocol::offsets::Consent;
use crate::source::catalog::Catalog;
use crate::stdout;

#[derive(Subcommand, Clone, Debug)]
pub enum OffsetsCommand {
    /// Print where each partition stands, what the topic holds, and what was overridden
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show(ShowArguments),
    /// Move partitions to other offsets, by a commit that fences a running ingester
    ///
    /// Without `--execute` it prints what would be done and changes nothing. A running ingester drops what it
    /// has not committed, and reads on from the new offsets; a partition that had stopped is read again after
    /// a restart. Each move is an entry of its own in the table: `table verify` and `offsets show` tell it.
    #[command(after_long_help = SET_EXAMPLES)]
    Set(SetArguments),
}

const SHOW_EXAMPLES: &str = "\
Examples:
  thalweg offsets show -c thalweg.toml
  thalweg offsets show -c thalweg.toml --json | jq '.tables[].partitions[] | select(.state != \"ok\")'";

const SET_EXAMPLES: &str = "\
Examples:
  retention deleted records before they were read: go on at the first that is there
    thalweg offsets set -c thalweg.toml --to earliest --accept-loss --execute
  skip a backlog
    thalweg offsets set -c thalweg.toml --to latest --accept-loss --execute
  read a day again, after its rows were deleted from the table
    thalweg offsets set -c thalweg.toml --to 2026-11-22T00:00:00Z --accept-duplicates --execute
  one partition
    thalweg offsets set -c thalweg.toml --partition 3 --to 120000 --accept-duplicates --execute
  the table was cloned, its id was changed, or its topic was created again
    thalweg offsets set -c thalweg.toml --adopt --execute";

#[derive(Args, Clone, Debug)]
pub struct ShowArguments {
    #[command(flatten)]
    pub config: ConfigArgument,
    /// Only this table of the config
    #[arg(long, value_name = "ID")]
    pub table: Option<String>,
    /// Do not ask the broker
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct SetArguments {
    #[command(flatten)]
    pub config: ConfigArgument,
    /// The table; may be left out where the config has only one
    #[arg(long, value_name = "ID")]
    pub table: Option<String>,
    /// `earliest`, `latest`, a time such as 2026-11-22T00:00:00Z, or an offset
    #[arg(long, value_name = "WHERE", value_parser = target, required_unless_present = "adopt")]
    pub to: Option<Target>,
    /// Only these partitions: numbers, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with = "adopt")]
    pub partition: Vec<i32>,
    /// The offsets between may be given up: nobody will read them
    #[arg(long)]
    pub accept_loss: bool,
    /// The offsets between may be read again: rows that are still there will stand twice
    #[arg(long)]
    pub accept_duplicates: bool,
    /// Take over what was written under another table id, from a topic that was created again, or before
    /// the table was cloned
    ///
    /// Goes on where the other left off: at its offsets, behind the rows of a clone, or at the beginning of a
    /// topic that was created again. `--to` says otherwise. Whoever had the offsets before is stopped for good.
    #[arg(long)]
    pub adopt: bool,
    /// Do it; without it nothing is changed
    #[arg(long)]
    pub execute: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn target(text: &str) -> Result<Target, String> {
    const FORMS: &str =
        "write `earliest`, `latest`, an offset, or a time with a zone as in 2026-11-22T00:00:00Z";
    match (text, text.parse::<i64>()) {
        ("earliest", _) => Ok(Target::Earliest),
        ("latest", _) => Ok(Target::Latest),
        (_, Ok(offset)) if offset >= 0 => Ok(Target::Offset(Offset(offset))),
        (_, Ok(_)) => Err("an offset is not negative".to_owned()),
        (time, Err(_)) => time
            .parse::<jiff::Timestamp>()
            .map(|at| Target::Time(at.as_millisecond()))
            .map_err(|_| FORMS.to_owned()),
    }
}

pub fn show(arguments: &ShowArguments) -> Result<()> {
    let config = super::config_argument::load_config(&arguments.config)?;
    let tables = match &arguments.table {
        Some(id) => vec![admin::table(&config, Some(id))?],
        None => config.tables.iter().collect(),
    };
    let offline = || crate::error::Error::new(crate::error::ErrorKind::Usage, "it was not to be asked");
    let catalog = if arguments.offline { Err(offline()) } else { Catalog::connect(&config.kafka) };
    let runtime = runtime()?;
    let mut all = Vec::new();
    for table in tables {
        let standing = runtime.block_on(offsets::show(table, catalog.as_ref()));
        all.push(standing.map_err(|error| error.context(format!("table `{}`", table.id)))?);
    }
    if arguments.json {
        return stdout::print_text(&pretty(&json!({"tables": all})));
    }
    for (number, standing) in all.iter().enumerate() {
        if number > 0 {
            stdout::print("")?;
        }
        standing_text(standing).iter().try_for_each(|line| stdout::print(line))?;
    }
    Ok(())
}

fn standing_text(standing: &Standing) -> Vec<String> {
    let version = standing.version.map_or("no table yet".to_owned(), |version| format!("version {version}"));
    let Standing { table_id, topic, topic_id, location, .. } = standing;
    let mut lines = vec![format!("table {table_id}, topic {topic} (id {topic_id}), {location}, {version}")];
    let number = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    let mut table = columns(&["partition", "next", "first", "end", "lag", "state"]);
    for one in &standing.partitions {
        table.add_row([
            one.partition.to_string(),
            number(one.next.map(|offset| offset.0)),
            number(one.low.map(|offset| offset.0)),
            number(one.end.map(|offset| offset.0)),
            number(one.lag),
            one.state.clone(),
        ]);
    }
    if !standing.partitions.is_empty() {
        lines.extend(laid_out(table, &[0, 1, 2, 3, 4]));
    }
    for offset_override in &standing.offset_overrides {
        let (low, high) =
            (offset_override.from.min(offset_override.to), offset_override.from.max(offset_override.to));
        let times = if offset_override.times > 1 {
            format!(", {} times", offset_override.times)
        } else {
            String::new()
        };
        lines.push(format!(
            "{}: offsets {low}..{high} of partition {}{times}",
            offset_override.kind, offset_override.partition
        ));
    }
    lines.extend(standing.identity_transfers.iter().map(|told| format!("handed over: {told}")));
    lines.extend(standing.trouble.iter().map(|why| format!("stopped: {why}")));
    lines.extend(standing.remedy.iter().map(|what| format!("  remedy: {what}")));
    lines.extend(standing.broker.iter().map(|why| format!("note: the broker was not asked: {why}")));
    lines
}

pub fn set(arguments: &SetArguments) -> Result<()> {
    let config = super::config_argument::load_config(&arguments.config)?;
    let table = admin::table(&config, arguments.table.as_deref())?;
    let asked = Asked {
        to: arguments.to,
        partitions: arguments.partition.iter().copied().map(Partition).collect::<BTreeSet<_>>(),
        adopt: arguments.adopt,
    };
    let consent = Consent { loss: arguments.accept_loss, duplicates: arguments.accept_duplicates };
    let clock: SharedClock = Arc::new(SystemClock);
    let catalog = Catalog::connect(&config.kafka)?;
    let moved = runtime()?.block_on(async {
        match arguments.execute {
            true => offsets::set(table, &catalog, &asked, consent, &clock).await,
            false => offsets::look_ahead(table, &catalog, &asked, &clock).await,
        }
    })?;
    if arguments.json {
        return stdout::print_text(&pretty(&moved_json(table, &moved, arguments.execute, consent)));
    }
    moved_text(table, &moved, arguments.execute, consent).iter().try_for_each(|line| stdout::print(line))
}

fn moved_text(table: &Table, moved: &Moved, executed: bool, consent: Consent) -> Vec<String> {
    let decision = &moved.decision;
    if decision.txns.is_empty() {
        return vec![format!("table {}: every partition stands there already", table.id)];
    }
    let mut rows = columns(&["partition", "from", "to", "means"]);
    for one in &decision.moves {
        let means = match (one.from, one.given_up(), one.again()) {
            (_, Some(lost), _) => format!("{} offsets are given up", lost.end - lost.start),
            (_, _, Some(again)) => format!("{} offsets are read again", again.end - again.start),
            (None, ..) => "begins here".to_owned(),
            (Some(_), ..) => "goes on here".to_owned(),
        };
        let from = one.from.map_or("-".to_owned(), |from| from.to_string());
        rows.add_row([one.source.partition.to_string(), from, one.to.to_string(), means]);
    }
    let mut lines = vec![format!("table {}, topic {}", table.id, table.topic)];
    lines.extend(laid_out(rows, &[0, 1, 2]));
    lines.extend(
        decision
            .identity_transfers
            .iter()
            .map(|identity_transfer| format!("handed over: {}", identity_transfer.told())),
    );
    lines.push(match (executed, moved.version) {
        (true, Some(version)) => {
            format!("done: version {version} holds it; a running ingester reads on from there")
        }
        (true, None) => "nothing was changed".to_owned(),
        (false, _) => {
            let options: Vec<&str> = decision.needs(consent).into_iter().chain(["--execute"]).collect();
            format!("dry run, nothing was changed: to do it add `{}`", options.join(" "))
        }
    });
    lines
}

fn moved_json(table: &Table, moved: &Moved, executed: bool, consent: Consent) -> Value {
    let decision = &moved.decision;
    let count = |range: Option<std::ops::Range<i64>>| range.map_or(0, |range| range.end - range.start);
    let moves: Vec<Value> = decision
        .moves
        .iter()
        .map(|one| {
            json!({
                "partition": one.source.partition,
                "topic_id": one.source.topic_id,
                "from": one.from,
                "to": one.to,
                "given_up": count(one.given_up()),
                "read_again": count(one.again()),
            })
        })
        .collect();
    json!({
        "table_id": table.id,
        "topic": table.topic,
        "executed": executed,
        "version": moved.version,
        "moves": moves,
        "identity_transfers": decision.identity_transfers.iter().map(IdentityTransfer::told).collect::<Vec<_>>(),
        "needs": decision.needs(consent),
    })
}

/// Before a run: lets what retention took go, and says so.
pub(super) fn pass_lost(config: &Config) -> Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let catalog = Catalog::connect(&config.kafka)?;
    let passed = runtime()?.block_on(offsets::pass_lost(config, &catalog, &clock));
    for (table, moved) in passed {
        for one in &moved.decision.moves {
            let (from, to) = (one.from.unwrap_or(one.to), one.to);
            tracing::warn!(table, partition = %one.source, %from, %to, "offsets are given up: retention deleted them before they were read");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_word_an_offset_or_a_time() {
        assert_eq!(target("earliest"), Ok(Target::Earliest));
        assert_eq!(target("latest"), Ok(Target::Latest));
        assert_eq!(target("17"), Ok(Target::Offset(Offset(17))));
        assert_eq!(target("1970-01-01T00:00:01Z"), Ok(Target::Time(1000)));
        for text in ["-1", "yesterday", "", "2026-11-22", "1.5"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
