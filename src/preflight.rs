//! Everything that must hold before a table is written, asked step by step.
//!
//! It owns the questions and their order: broker, topic, store,
//! put-if-absent, table, schema. `check` prints the answers, `run` goes on
//! only with good ones, so that the two agree. Nothing is created here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::columnar::{Columns, Decoder, Inferred, infer};
use crate::config::{ColumnsFrom, Config, Decoding, OnNewField, RESCUED_COLUMN, Table};
use crate::dead_letters::standing::check;
use crate::delta::log;
use crate::delta::log::Snapshot;
use crate::delta::since;
use crate::delta::write_compatibility;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Partition;
use crate::protocol::anchor::{self, Watermarks};
use crate::record::Padded;
use crate::schema::{DataType, Field, Schema};
use crate::source::catalog::{Catalog, Topic};
use crate::stores::disk;
use crate::stores::probe;
use crate::stores::probe::PassedProbe;
use crate::stores::store::Store;

mod sample;

pub use self::sample::{Sampled, sample};

/// Records read to infer a schema.
pub const SAMPLE_RECORDS: usize = 1_000;
/// With less room on its disk no table is begun.
const DISK_FREE_MIN: u64 = 1 << 20;

/// A table that can be written as far as one can tell beforehand.
#[derive(Debug)]
pub struct Ready {
    pub store: Store,
    /// Where bad records are kept.
    pub dead_letters: Option<Store>,
    /// Cloud stores that arbitrate, to be remembered once there is a table.
    pub held: Vec<PassedProbe>,
    pub topic: Topic,
    pub watermarks: BTreeMap<Partition, Watermarks>,
    /// The schema of the table, or the one it is to be created with.
    pub schema: Schema,
    /// The table, if there is one, as it was at this boot time: not replaced, and of a schema that suits.
    pub seen: Option<(Snapshot, Duration)>,
    /// The same of the table of its dead letters.
    pub dead_letters_seen: Option<(Snapshot, Duration)>,
    pub inferred: Option<Inferred>,
    /// Partitions that cannot be read on, each with what a person should know.
    pub stopped: Vec<(Partition, Error)>,
}

/// Hears of each step as it is done: its name and what was found.
pub trait Listener {
    fn done(&mut self, step: &str, detail: &str);
}

/// For those who only want the outcome.
pub struct Silent;

impl Listener for Silent {
    fn done(&mut self, _: &str, _: &str) {}
}

/// Asks everything about one table.
pub async fn table(
    config: &Config,
    table: &Table,
    catalog: &Catalog,
    clock: &SharedClock,
    listener: &mut dyn Listener,
) -> Result<Ready> {
    let topic = catalog.topic(&table.topic)?;
    listener
        .done("topic", &format!("`{}`, {} partitions, id {}", topic.name, topic.partitions.len(), topic.id));
    let store = Store::open(&table.location, &table.storage_options)?;
    let looked = clock.boot();
    let snapshot = load(&store).await?;
    listener.done("store", store.url.as_str());
    let mut held: Vec<PassedProbe> = Vec::new();
    held.extend(probe::put_if_absent(&store, &table.storage_options, &**clock).await?);
    let arbiter =
        if store.is_local() { "hard links on a local disk" } else { "racing creates have one winner" };
    listener.done("put-if-absent", arbiter);
    let (dead_letters, dead_letters_seen) =
        dead_letters(table, &store, clock, &mut held, listener).await?.unzip();
    let dead_letters_seen = dead_letters_seen.flatten();
    let mut inferred = None;
    let mut stopped = Vec::new();
    // Asked for after the table is loaded: an instance that commits meanwhile is not taken for ahead.
    let watermarks = catalog.watermarks(&topic, table.start)?;
    let (schema, seen) = match snapshot {
        Some(snapshot) => {
            let schema = write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?;
            if let Some(wanted) = &table.schema {
                contradicts(wanted, &schema)?;
            }
            listener.done("table", &format!("version {}, {} columns", snapshot.version, schema.fields.len()));
            since::not_replaced(&store, &snapshot, &table.id).await?;
            let facts = snapshot.facts(write_compatibility::has_offset_columns(&schema));
            stopped = anchor::plan(&table.id, &topic.name, &topic.id, &facts, &watermarks)?.stopped;
            (schema, Some((snapshot, looked)))
        }
        None => {
            let columns = match &table.schema {
                Some(columns) => columns.clone(),
                None => match table.decoding.format.columns_from() {
                    ColumnsFrom::Format(columns) => columns,
                    ColumnsFrom::Samples => {
                        let found = infer_from(config, table, &topic, &watermarks, clock)?;
                        if !found.left_out.is_empty() {
                            listener.done("left out", &found.left_out_text());
                        }
                        inferred.insert(found).schema.clone()
                    }
                },
            };
            listener.done("table", "does not exist yet and will be created");
            (complete(&columns, table), None)
        }
    };
    suits(&schema, &table.decoding)?;
    listener.done("schema", &schema.to_string());
    Ok(Ready {
        store,
        dead_letters,
        held,
        topic,
        watermarks,
        schema,
        seen,
        dead_letters_seen,
        inferred,
        stopped,
    })
}

/// The place of the table's dead letters, if it keeps any, and the table there: there must be no other.
async fn dead_letters(
    table: &Table,
    main: &Store,
    clock: &SharedClock,
    held: &mut Vec<PassedProbe>,
    listener: &mut dyn Listener,
) -> Result<Option<(Store, Option<(Snapshot, Duration)>)>> {
    let Some(url) = &table.dead_letters else { return Ok(None) };
    let store = Store::open(url, &table.storage_options)?;
    let looked = clock.boot();
    let snapshot = load(&store).await?;
    // The same bucket or disk arbitrates here as there.
    if (store.url.scheme(), store.url.host_str()) != (main.url.scheme(), main.url.host_str()) {
        held.extend(probe::put_if_absent(&store, &table.storage_options, &**clock).await?);
    }
    if let Some(snapshot) = &snapshot {
        check(&store, snapshot)?;
    }
    listener.done("dead letters", store.url.as_str());
    Ok(Some((store, snapshot.zip(Some(looked)))))
}

/// The table as it is: whoever can say that has also met a missing bucket, wrong credentials or an
/// unreadable directory.
async fn load(store: &Store) -> Result<Option<Snapshot>> {
    if store.is_local() {
        writable(store)?;
    }
    log::load(store).await
}

/// The directories that are there must let us write, and have room.
fn writable(store: &Store) -> Result<()> {
    let Ok(root) = store.url.to_file_path() else { return Ok(()) };
    for directory in [root.join("_delta_log"), root] {
        let nearest = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let refused = |kind: ErrorKind, what: String, remedy: &str| {
            let message = format!("{}: {}: {what}", store.url, nearest.display());
            Err(Error::new(kind, message).remedy(remedy))
        };
        let elsewhere = "let this user write there, or choose another location";
        if !nearest.is_dir() {
            return refused(ErrorKind::CannotWrite, "it is not a directory".to_owned(), elsewhere);
        }
        if let Err(error) = disk::may_write(nearest) {
            return refused(ErrorKind::CannotWrite, error.to_string(), elsewhere);
        }
        // What cannot be told (network file systems) is not held against the place.
        if let Some(free) = disk::free_bytes(nearest).filter(|&free| free < DISK_FREE_MIN) {
            let what = format!("no space left on device: {free} bytes are free");
            return refused(ErrorKind::Io, what, "free space on this disk, or choose another location");
        }
    }
    Ok(())
}

/// The config's schema must say the same of each column as the table.
fn contradicts(wanted: &Schema, table: &Schema) -> Result<()> {
    for column in &wanted.fields {
        let problem = match table.field(&column.name) {
            None => "the table has no such column".to_owned(),
            Some(found) if !found.data_type.same_as(&column.data_type) => {
                format!("the table has it as {}", found.data_type)
            }
            Some(_) => continue,
        };
        return Err(Error::new(
            ErrorKind::CannotWrite,
            format!(
                "the config's schema contradicts the table: column `{} {}`: {problem}",
                column.name, column.data_type
            ),
        )
        .remedy("leave `schema` out to take the table's, or alter the table"));
    }
    Ok(())
}

/// The record's columns with metadata columns before and `_rescued` behind.
fn complete(columns: &Schema, table: &Table) -> Schema {
    let Decoding { format, on_new_field, .. } = &table.decoding;
    let rescues = format.can_rescue() && *on_new_field == OnNewField::Rescue;
    let rescued = rescues.then(|| Field::new(RESCUED_COLUMN, DataType::String, true));
    let fields = table.metadata_columns.iter().chain(&columns.fields).cloned().chain(rescued);
    Schema::of(fields.collect())
}

/// The schema has what the decoding relies on.
fn suits(schema: &Schema, decoding: &Decoding) -> Result<()> {
    decoding
        .format
        .suits(schema)
        .map_err(|unfit| Error::new(ErrorKind::CannotWrite, unfit.message).remedy(unfit.remedy))?;
    let known = schema.timestamps();
    let unknown = decoding.timestamps.keys().find(|path| !known.contains(path));
    unknown.map_or(Ok(()), |path| {
        let message = format!("`timestamps` names `{path}`, and the schema has no such TIMESTAMP column");
        let remedy = match known.is_empty() {
            true => "declare the column as TIMESTAMP in `schema`".to_owned(),
            false => format!("its TIMESTAMP columns are `{}`", known.join("`, `")),
        };
        Err(Error::new(ErrorKind::Config, message).remedy(remedy))
    })
}

fn infer_from(
    config: &Config,
    table: &Table,
    topic: &Topic,
    watermarks: &BTreeMap<Partition, Watermarks>,
    clock: &SharedClock,
) -> Result<Inferred> {
    let payloads = sample(&config.kafka, topic, watermarks, SAMPLE_RECORDS, clock)?;
    let payloads = payloads.iter().map(|record| &*record.payload);
    infer(payloads, &table.decoding).map_err(|error| {
        Error::new(ErrorKind::Config, format!("topic `{}`: no schema can be inferred: {error}", topic.name))
            .remedy("set schema = \"column TYPE, …\" in the [[table]]")
    })
}

/// Decodes sampled records as the table would: how many become rows, and the first that does not.
pub fn try_out(schema: &Schema, decoding: &Decoding, sampled: &[Sampled]) -> (usize, Option<String>) {
    let mut decoder = Decoder::new(schema, decoding);
    let mut columns = Columns::new(schema);
    let (mut rows, mut first_bad) = (0, None);
    for record in sampled {
        match decoder.append(&mut columns, Padded::copied(&record.payload, &mut Vec::new()), &record.facts())
        {
            Ok(()) => rows += 1,
            Err(bad) if first_bad.is_none() => {
                first_bad = Some(format!(
                    "partition {} offset {}: {}: {}",
                    record.partition,
                    record.offset,
                    bad.reason.as_str(),
                    bad.detail
                ));
            }
            Err(_) => {}
        }
    }
    (rows, first_bad)
}
