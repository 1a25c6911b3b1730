//! The command line: arguments in, one exit code out.
//!
//! It owns the commands and their options. What a command does is in the
//! file of its name; how an error looks is in `screen`.

mod check;
mod demo;
mod dlq;
mod init;
mod logging;
mod offsets;
mod run;
mod scaffold;
pub mod screen;
#[cfg(test)]
mod screens;
mod table;
mod version;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use dlq::DlqCommand;
pub use offsets::{OffsetsCommand, SetArguments, ShowArguments};

use crate::config::Secret;
use crate::demo::Tamper;
use crate::error::{Error, ErrorKind, Result};
use crate::host;

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
pub struct ConfigArgument {
    /// The config file
    ///
    /// A text in it may hold `${env:NAME}`, `${env:NAME:-default}`, `${env:NAME:?message}` or `${file:/path}`;
    /// `$$` is a dollar sign.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: PathBuf,
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

/// The whole program. Every error ends here, and is shown once.
pub fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    let format = log_format(&given);
    let in_words = std::panic::take_hook();
    host::end_on_panic(move |panic| match format {
        LogFormat::Json => screen::panic(panic),
        LogFormat::Text => in_words(panic),
    });
    let arguments = match Arguments::try_parse_from(&given) {
        Ok(arguments) => arguments,
        Err(wrong) if format == LogFormat::Json && wrong.use_stderr() => {
            let text = wrong.render().to_string();
            return screen::report(&Error::new(ErrorKind::Usage, text.trim_end()), format);
        }
        // Help and the version come this way, too.
        Err(wrong) => wrong.exit(),
    };
    match logging::start(&arguments.log).and_then(|()| dispatch(&arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => screen::report(&error, arguments.log.log_format),
    }
}

/// What the arguments say of the log's format, before it is known whether they are right.
fn log_format(given: &[OsString]) -> LogFormat {
    let is_json = |(at, one): (usize, &OsString)| {
        let next = given.get(at + 1).is_some_and(|next| next == "json");
        one == "--log-format=json" || (one == "--log-format" && next)
    };
    match given.iter().enumerate().any(is_json) {
        true => LogFormat::Json,
        false => LogFormat::Text,
    }
}

fn dispatch(command: &Command) -> Result<()> {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::Init(arguments) => init::init(arguments),
        Command::Demo(arguments) => demo::demo(arguments),
        Command::Table(TableCommand::Verify(arguments)) => table::verify(arguments),
        Command::Table(TableCommand::Info(arguments)) => table::info(arguments),
        Command::Offsets(OffsetsCommand::Show(arguments)) => offsets::show(arguments),
        Command::Offsets(OffsetsCommand::Set(arguments)) => offsets::set(arguments),
        Command::Dlq(DlqCommand::Stats(arguments)) => dlq::stats(arguments),
        Command::Dlq(DlqCommand::Show(arguments)) => dlq::show(arguments),
        Command::Dlq(DlqCommand::Replay(arguments)) => dlq::replay(arguments),
        Command::Version(arguments) => version::version(arguments),
    }
}

/// The config that a command was given, with the environment's overrides.
fn load_config(argument: &ConfigArgument) -> Result<crate::config::Config> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    crate::config::check_variables(names)?;
    crate::config::load(&argument.file, &|name| std::env::var(name).ok())
}

/// The table that a command is about: an address, or one of a config's.
fn table_of(arguments: &TableArguments) -> Result<(url::Url, BTreeMap<String, Secret>)> {
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

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::error::ErrorKind;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_flags_may_stand_after_the_command() {
        let arguments = parse("thalweg run -c a.toml --until-end --log-format json -vv").unwrap();
        assert_eq!((arguments.log.log_format, arguments.log.verbose), (LogFormat::Json, 2));
        let Command::Run(run) = arguments.command else { panic!("not run") };
        assert!(run.until_end);
        assert_eq!(run.config.file, PathBuf::from("a.toml"));
    }

    #[test]
    fn storage_options_keep_equals_signs_in_values() {
        let arguments =
            parse("thalweg table verify s3://b/t --storage token=a=b --storage region=x").unwrap();
        let Command::Table(TableCommand::Verify(verify)) = arguments.command else { panic!("not verify") };
        assert_eq!(verify.table.storage, [("token".into(), "a=b".into()), ("region".into(), "x".into())]);
    }

    #[test]
    fn table_info_takes_the_config_with_its_location_and_options() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let table =
            |id: &str| format!("[[table]]\nid = \"{id}\"\ntopic = \"{id}\"\nlocation = \"s3://b/{id}\"\n");
        let head = "version = 1\n[kafka]\nbrokers = \"k:1\"\n[storage.options]\nregion = \"eu\"\nendpoint = \"http://h:1\"\n";
        std::fs::write(file.path(), format!("{head}{}{}", table("a"), table("b"))).unwrap();
        let of = |rest: &str| {
            let line = format!("thalweg table info -c {} {rest}", file.path().display());
            let Command::Table(TableCommand::Info(info)) = parse(&line).unwrap().command else {
                panic!("not info")
            };
            table_of(&info.table)
        };
        let (location, options) = of("b --storage region=us").unwrap();
        assert_eq!(location.as_str(), "s3://b/b");
        assert_eq!((options["aws_region"].reveal(), options["aws_endpoint"].reveal()), ("us", "http://h:1"));
        let several = of("").unwrap_err();
        assert!(format!("{several:?}").contains('a'), "{several:?}");
        assert!(of("zebra").is_err());
    }

    #[test]
    fn a_wrong_command_line_exits_with_2() {
        for line in [
            "thalweg",
            "thalweg run",
            "thalweg fly",
            "thalweg table info",
            "thalweg table verify x --storage region",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parse("thalweg --help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn the_long_help_lists_every_exit_code() {
        let help = Arguments::command().render_long_help().to_string();
        for kind in ErrorKind::ALL {
            assert!(
                help.contains(&format!("\n  {:>2}  ", kind.exit_code())),
                "{kind:?} is missing in\n{help}"
            );
        }
    }
}
