//! The command line: arguments in, one exit code out.
//!
//! It owns the commands and their options. What a command does is in the
//! file of its name; how an error looks is in `screen`.

mod arguments;
mod check;
mod config_argument;
mod demo;
mod dlq;
mod init;
mod layout;
mod logging;
mod offsets;
mod run;
mod scaffold;
pub mod screen;
#[cfg(test)]
mod screens;
mod table;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub use arguments::{
    Arguments, CheckArguments, Command, DemoArguments, InfoArguments, InitArguments, LogArguments, LogFormat,
    RunArguments, TableArguments, TableCommand, VerifyArguments, VersionArguments,
};
pub use config_argument::ConfigArgument;
pub use dlq::DlqCommand;
pub use offsets::{OffsetsCommand, SetArguments, ShowArguments};

use crate::error::{Error, ErrorKind, Result};
use crate::host;

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use std::path::PathBuf;

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
            table::table_of(&info.table)
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
