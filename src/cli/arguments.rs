//! The commands and their options.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::config_argument::ConfigArgument;
use super::dlq::DlqCommand;
use super::offsets::OffsetsCommand;
use crate::demo::Tamper;

const EXIT_CODES: &str = "\
Exit codes, the same for every command:
   0  done
   1  the answer is no: `table verify` or `demo` found a violation
   2  the command line is wrong
  65  data: a record that the policy does not let pass
  69  unavailable at start: broker, store, topic, bucket, address
  70  a bug of thalweg
  73  the table cannot be created or written correctly
  74  input/output failed
  75  fenced: another writer moved this table's offsets
  76  the log and the table disagree; a person must decide
  77  credentials were refused
  78  the config is wrong

Results go to stdout, logs and errors to stderr. RUST_LOG and NO_COLOR are honoured.";

/// Moves Kafka topics into Delta Lake tables, exactly once.
#[derive(Parser, Clone, Debug)]
#[command(name = "thalweg", version, propagate_version = false, after_long_help = EXIT_CODES, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArguments,
}

#[derive(Args, Clone, Debug, Default)]
pub struct LogArguments {
    /// How log lines and errors are written on stderr
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// One short line for each event
    #[default]
    Text,
    /// One JSON object for each event
    Json,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Read topics into tables until stopped
    ///
    /// SIGTERM and SIGINT stop reading, write and commit what was read, and exit with 0. A second one
    /// stops at once; nothing is lost, the next run reads again from the last commit.
    ///
    /// Each table is read on its own: one that cannot be started, or stops, keeps no other from being read. What
    /// may come back (a store, a topic, a disk) is tried again; what a person must mend stops the table, and
    /// `/readyz` names it. The process ends when no table is left, with the code of the first that stopped.
    Run(RunArguments),
    /// Say whether `run` would work, and if not, why
    ///
    /// Exits with 0 if every table can be read, else with the code of the first that cannot.
    Check(CheckArguments),
    /// Write a config from what a topic holds
    ///
    /// Reads up to 1,000 records, infers the schema and writes a commented config. Without `-o` it goes to
    /// stdout. Secrets are never written: `${env:NAME}` stands for them. Values may be such references
    /// themselves.
    Init(InitArguments),
    /// Show exactly-once on this machine, without Kafka and without a config
    ///
    /// Starts a broker in this process and a second process that reads its topic into a local table. That
    /// one is killed twice on the way; then every record is looked for in the table's files. Ctrl-C goes
    /// to the proof at once.
    Demo(DemoArguments),
    /// Look at a table
    #[command(subcommand)]
    Table(TableCommand),
    /// Show where each partition stands, and override offsets
    #[command(subcommand)]
    Offsets(OffsetsCommand),
    /// Look at a table's dead letters, and try them again
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Print the version
    Version(VersionArguments),
}

#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    #[command(flatten)]
    pub config: ConfigArgument,
    /// Stop when everything that was in the topics at start is committed
    #[arg(long)]
    pub until_end: bool,
    /// At start, go on behind what the topic's retention deleted before it was read
    ///
    /// What is given up is committed as such: `table verify` and `offsets show` name it from then on.
    #[arg(long)]
    pub accept_loss: bool,
}

#[derive(Args, Clone, Debug)]
pub struct CheckArguments {
    #[command(flatten)]
    pub config: ConfigArgument,
    /// Only read the config: ask neither broker nor store
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct InitArguments {
    /// Where Kafka is: `host:port`, several separated by commas
    #[arg(long, value_name = "HOST:PORT")]
    pub brokers: String,
    /// The topic to read
    #[arg(long)]
    pub topic: String,
    /// Where the table goes: a path, `file:///path` or `s3://bucket/prefix`
    #[arg(long)]
    pub location: String,
    /// The table's exactly-once identity; the topic's name if it is left out
    #[arg(long)]
    pub id: Option<String>,
    /// Setting of librdkafka, such as `security.protocol=ssl`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub kafka: Vec<(String, String)>,
    /// Option of the object store, such as `region=eu-west-1`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub storage: Vec<(String, String)>,
    /// Write there; `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Clone, Debug)]
pub struct DemoArguments {
    /// Where the table goes
    #[arg(long, value_name = "DIR", default_value = "thalweg-demo")]
    pub dir: PathBuf,
    /// How long records are produced
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Spoil the table before the proof, to see it fail
    #[arg(long, value_enum, value_name = "HOW")]
    pub tamper: Option<Tamper>,
}

#[derive(Subcommand, Clone, Debug)]
pub enum TableCommand {
    /// Prove from the table's log and its files that every offset is there once
    ///
    /// Exits with 0 if nothing contradicts it and with 1 if something does: a gap, an overlap, a lost file.
    /// Each partition is `proven`, `rows only` (another writer rewrote its files, and every row is there) or
    /// `unknown` (the log is cleaned up, or another writer deleted rows).
    Verify(VerifyArguments),
    /// Print version, schema, files, committed offsets and orphans
    ///
    /// Orphans are data files in the table's root that no retained version names: what a killed writer left
    /// behind. Readers never see them, a VACUUM removes them. Younger ones are counted apart: they may belong
    /// to a commit on its way. Parts of an upload that was cut off are no files and cannot be listed here:
    /// give the bucket a lifecycle rule that aborts incomplete multipart uploads.
    Info(InfoArguments),
}

#[derive(Args, Clone, Debug)]
pub struct InfoArguments {
    #[command(flatten)]
    pub table: TableArguments,
    /// Name every orphan, not only the oldest few
    #[arg(long)]
    pub orphans: bool,
    /// How old a file that no version names must be to count as an orphan
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub older_than: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub table: TableArguments,
    /// Read every byte of every file: checksums, every column, the statistics against the data
    #[arg(long)]
    pub deep: bool,
}

#[derive(Args, Clone, Debug)]
pub struct TableArguments {
    /// A path, `file:///path` or `s3://bucket/prefix`; with `-c` a table's id, or left out for the only table
    #[arg(value_name = "LOCATION", required_unless_present = "config")]
    pub location: Option<String>,
    /// The config file that has the table, with its location and its storage options
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Option of the object store, such as `region=eu-west-1`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub storage: Vec<(String, String)>,
}

#[derive(Args, Clone, Debug)]
pub struct VersionArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
