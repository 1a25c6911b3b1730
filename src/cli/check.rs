//! `thalweg check`: what `run` would meet, line by line, and its exit code.

use std::sync::Arc;

use serde::Serialize;

use super::arguments::CheckArguments;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, OnBadRecord, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::http_server;
use crate::preflight::{self, Listener, Ready};
use crate::source::catalog::Catalog;
use crate::source::group::may_join;
use crate::stdout;
use crate::stores::store::Store;

/// Records decoded on trial.
const TRIAL_RECORDS: usize = 100;

pub fn check(arguments: &CheckArguments) -> Result<()> {
    let mut report = Report { prints: !arguments.json, ..Report::default() };
    match super::config_argument::load_config(&arguments.config) {
        Err(error) => report.failed("", "config", error)?,
        Ok(config) => {
            report.passed("", "config", &arguments.config.file.display().to_string())?;
            if arguments.offline {
                offline(&config, &mut report)?;
            } else {
                online(&config, &mut report)?;
            }
        }
    }
    report.finish(arguments.json)
}

/// What can be said without asking anybody.
fn offline(config: &Config, report: &mut Report) -> Result<()> {
    for table in &config.tables {
        match Store::open(&table.location, &table.storage_options) {
            Ok(_) => report.passed(&table.id, "location", table.location.as_str())?,
            Err(error) => report.failed(&table.id, "location", error)?,
        }
    }
    Ok(())
}

fn online(config: &Config, report: &mut Report) -> Result<()> {
    if config.admin.explicit {
        match http_server::bind(config.admin.listen, true) {
            Ok(_) => report.passed("", "admin", &free(config.admin.listen))?,
            Err(error) => report.failed("", "admin", error)?,
        }
    }
    let catalog = match Catalog::connect(&config.kafka) {
        Ok(catalog) => catalog,
        Err(error) => return report.failed("", "broker", error),
    };
    report.passed("", "broker", &config.kafka.brokers)?;
    if let Some(group) = &config.kafka.group {
        match may_join(&config.kafka, group, &config.tables[0].topic) {
            Ok(()) => report.passed("", "group", &format!("`{}`, {}", group.name, group.assignor.name()))?,
            Err(error) => report.failed("", "group", error)?,
        }
    }
    tables(config, &catalog, report)
}

/// All at once, as `run` opens them; told one after the other.
fn tables(config: &Config, catalog: &Catalog, report: &mut Report) -> Result<()> {
    std::thread::scope(|scope| {
        let begin = |table| {
            let body = move || one_table(config, table, catalog);
            std::thread::Builder::new().name("check".to_owned()).spawn_scoped(scope, body)
        };
        let asked: Vec<_> = config.tables.iter().map(begin).collect();
        for asked in asked {
            let asked = asked.map_err(|error| no_thread(&error))?;
            report.take(asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)?;
        }
        Ok(())
    })
}

fn one_table(config: &Config, table: &Table, catalog: &Catalog) -> Result<Report> {
    let clock: SharedClock = Arc::new(SystemClock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| no_thread(&error))?;
    let (mut report, mut steps) = (Report::default(), Steps { table: &table.id, done: Vec::new() });
    let outcome = runtime.block_on(preflight::table(config, table, catalog, &clock, &mut steps));
    for (step, detail) in steps.done {
        report.passed(&table.id, &step, &detail)?;
    }
    match outcome {
        Ok(ready) => {
            for (_, error) in &ready.stopped {
                report.failed(&table.id, "offsets", error.clone())?;
            }
            try_out(config, table, &ready, &clock, &mut report)?;
        }
        Err(error) => report.failed_like_run(&table.id, error)?,
    }
    Ok(report)
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("a thread cannot start: {error}"))
}

fn free(listen: std::net::SocketAddr) -> String {
    let others = if http_server::is_open_to_others(listen) {
        ", and open to other machines without a login"
    } else {
        ""
    };
    format!("{listen} is free{others}")
}

/// Decodes the topic's first records as the table would.
fn try_out(
    config: &Config,
    table: &Table,
    ready: &Ready,
    clock: &SharedClock,
    report: &mut Report,
) -> Result<()> {
    let sampled =
        match preflight::sample(&config.kafka, &ready.topic, &ready.watermarks, TRIAL_RECORDS, clock) {
            Ok(sampled) => sampled,
            Err(error) => return report.failed(&table.id, "records", error),
        };
    let (rows, bad) = preflight::try_out(&ready.schema, &table.decoding, &sampled);
    match bad {
        None => {
            report.passed(&table.id, "records", &format!("{rows} of {} sampled become rows", sampled.len()))
        }
        Some(first) => {
            let message = format!(
                "{rows} of {} sampled records become rows; the first that does not: {first}",
                sampled.len()
            );
            match table.on_bad_record {
                OnBadRecord::Skip | OnBadRecord::DeadLetter => report.passed(&table.id, "records", &message),
                OnBadRecord::Fail => report.failed(
                    &table.id,
                    "records",
                    Error::new(ErrorKind::Data, message)
                        .remedy("correct the schema, mend the producer, or set on_bad_record = \"skip\""),
                ),
            }
        }
    }
}

struct Steps<'a> {
    table: &'a str,
    done: Vec<(String, String)>,
}

impl Listener for Steps<'_> {
    fn done(&mut self, step: &str, detail: &str) {
        tracing::debug!(table = self.table, step, detail);
        self.done.push((step.to_owned(), detail.to_owned()));
    }
}

#[derive(Serialize)]
struct CheckLine {
    ok: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    table: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    step: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
}

#[derive(Default)]
struct Report {
    /// Each line as it comes.
    prints: bool,
    lines: Vec<CheckLine>,
    first_failure: Option<Error>,
}

impl Report {
    fn passed(&mut self, table: &str, step: &str, detail: &str) -> Result<()> {
        self.line(CheckLine {
            ok: true,
            table: table.to_owned(),
            step: step.to_owned(),
            detail: detail.to_owned(),
            remedy: None,
            exit_code: None,
        })
    }

    fn failed(&mut self, table: &str, step: &str, error: Error) -> Result<()> {
        self.line(CheckLine {
            ok: false,
            table: table.to_owned(),
            step: step.to_owned(),
            detail: error.message.clone(),
            remedy: error.remedy.clone(),
            exit_code: Some(error.kind.exit_code()),
        })?;
        self.first_failure.get_or_insert(error);
        Ok(())
    }

    /// A failure that `run` ends with too: the error says the table, as it does there.
    fn failed_like_run(&mut self, table: &str, error: Error) -> Result<()> {
        let first = self.first_failure.take();
        self.failed(table, "", error.clone())?;
        self.first_failure = first.or_else(|| Some(error.context(format!("table `{table}`"))));
        Ok(())
    }

    /// Takes over what was asked meanwhile.
    fn take(&mut self, other: Report) -> Result<()> {
        other.lines.into_iter().try_for_each(|line| self.line(line))?;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        Ok(())
    }

    fn line(&mut self, line: CheckLine) -> Result<()> {
        if self.prints {
            let mark = if line.ok { "√" } else { "x" };
            let place = [line.table.as_str(), line.step.as_str()].into_iter().filter(|part| !part.is_empty());
            let place = place.collect::<Vec<_>>().join(" ");
            let colon = if place.is_empty() { "" } else { ": " };
            stdout::print(&format!("{mark} {place}{colon}{}", line.detail))?;
        }
        self.lines.push(line);
        Ok(())
    }

    /// The first failure is the command's error, so that its remedy and exit code are `run`'s.
    fn finish(self, json: bool) -> Result<()> {
        if json {
            let ok = self.first_failure.is_none();
            let report = serde_json::json!({"ok": ok, "checks": self.lines});
            stdout::print_text(&stdout::json(&report))?;
        }
        self.first_failure.map_or(Ok(()), Err)
    }
}
