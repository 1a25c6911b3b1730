//! `thalweg init`: a config file from what the topic holds.
//!
//! It owns the questions and where the file goes. The text is `scaffold`'s,
//! the schema `columnar::infer`'s. It creates nothing besides the file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::arguments::InitArguments;
use super::scaffold::{Columns, Scaffold, Wanted, scaffold};
use super::screen::note;
use crate::clock::{SharedClock, SystemClock};
use crate::columnar::{InferError, infer};
use crate::config::{self, Config, Start};
use crate::delta::log;
use crate::error::{Error, ErrorKind, Result};
use crate::preflight::{self, SAMPLE_RECORDS};
use crate::source::catalog::Catalog;
use crate::stdout;
use crate::stores::store::Store;

pub fn init(arguments: &InitArguments) -> Result<()> {
    let output = arguments.output.as_deref().filter(|path| *path != Path::new("-"));
    if let Some(path) = output {
        refuse_to_overwrite(path, arguments.force)?;
    }
    let wanted = Wanted {
        brokers: &arguments.brokers,
        topic: &arguments.topic,
        id: arguments.id.as_deref().unwrap_or(&arguments.topic),
        location: &arguments.location,
        librdkafka: &arguments.kafka,
        storage: &arguments.storage,
    };
    // What is asked with is what is written: the file is read as `check` reads it.
    let config = read(&scaffold(&wanted, &Columns::Unknown("not asked yet".to_owned())))?;
    let written = scaffold(&wanted, &columns(&config)?);
    read(&written)?;
    for variable in written.secrets.keys() {
        note(&format!("set {variable} before you use the config: its value is not written"));
    }
    match output {
        None => stdout::print_text(written.text.trim_end()),
        Some(path) => {
            write(path, &written.text, arguments.force)?;
            let path = path.display();
            stdout::print(&format!("wrote {path}; next: thalweg check -c {path}"))
        }
    }
}

fn read(scaffold: &Scaffold) -> Result<Config> {
    let environment = |name: &str| scaffold.secrets.get(name).cloned().or_else(|| std::env::var(name).ok());
    config::parse(&scaffold.text, "the new config", &environment)
}

/// The columns that the file is to hold.
fn columns(config: &Config) -> Result<Columns> {
    let table = config.tables.first().expect("the file has one table");
    if holds_a_table(table) {
        note("the location holds a table: its schema stays");
        return Ok(Columns::OfTable);
    }
    let catalog = Catalog::connect(&config.kafka)?;
    let topic = catalog.topic(&table.topic)?;
    let watermarks = catalog.watermarks(&topic, Start::Earliest)?;
    let clock: SharedClock = Arc::new(SystemClock);
    let sampled = preflight::sample(&config.kafka, &topic, &watermarks, SAMPLE_RECORDS, &clock)?;
    let inferred = match infer(sampled.iter().map(|record| &*record.payload), &table.decoding) {
        Ok(inferred) => inferred,
        Err(error) => {
            let why = match error {
                InferError::NoSamples => format!("topic `{}` has no records yet", topic.name),
                error => error.to_string(),
            };
            note(&format!("no schema could be inferred: {why}"));
            return Ok(Columns::Unknown(why));
        }
    };
    note(&format!("{} of {} records sampled are JSON objects", inferred.samples_used, sampled.len()));
    for field in &inferred.left_out {
        note(&format!("no column for `{}`: {}; it goes to `_rescued`", field.path, field.reason));
    }
    if inferred.samples_skipped > 0 {
        note(&format!(
            "{} records are no JSON objects: they are bad records, see `on_bad_record`; the first: {}",
            inferred.samples_skipped,
            inferred.first_skipped.as_deref().unwrap_or_default()
        ));
    }
    for hint in &inferred.hints {
        note(&format!("{}: {}", hint.path, hint.text));
    }
    Ok(Columns::Inferred {
        schema: inferred.schema,
        samples: inferred.samples_used,
        left_out: inferred.left_out,
        hints: inferred.hints,
    })
}

/// A location that cannot be looked at is `check`'s to explain: the file can be written all the same.
fn holds_a_table(table: &config::Table) -> bool {
    let look = || {
        let store = Store::open(&table.location, &table.storage_options)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::new(ErrorKind::Io, format!("the I/O runtime cannot start: {error}")))?;
        runtime.block_on(log::load(&store))
    };
    look().map(|snapshot| snapshot.is_some()).unwrap_or_else(|error: Error| {
        note(&format!("the location could not be looked at: {error}"));
        false
    })
}

fn refuse_to_overwrite(path: &Path, force: bool) -> Result<()> {
    match path.exists() && !force {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::Usage, format!("{} is there already", path.display()))
            .remedy("name another file with `-o`, or replace it with `--force`")),
    }
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        Error::new(ErrorKind::Io, format!("{} cannot be written: {error}", path.display()))
            .remedy("name a file in a directory that is there and writable")
    })
}
