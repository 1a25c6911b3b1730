//! The checked config: what a run is told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::decoding::Decoding;
use super::group::Group;
use super::metadata::MetadataColumn;
use super::security::{Secret, Security};
use crate::schema::{Field, Schema};

#[derive(Clone, Debug)]
pub struct Config {
    pub kafka: Kafka,
    pub limits: Limits,
    pub admin: Admin,
    /// At least one; ids and locations are distinct.
    pub tables: Vec<Table>,
}

#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port,host:port`
    pub brokers: String,
    pub security: Security,
    /// `None`: this process reads every partition.
    pub group: Option<Group>,
    /// librdkafka settings, passed on as written; keys that we own are refused when parsed.
    /// Passwords may be among them.
    pub librdkafka: BTreeMap<String, Secret>,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes for everything that grows with load, all shards together.
    pub memory: u64,
    /// Number of shards: usable cores (affinity mask, cgroup), or what the file says.
    pub shards: usize,
    /// Pin each shard to its core.
    pub pin: bool,
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    /// The address was written down: failing to bind it is an error. The
    /// default address moves to a free port instead.
    pub explicit: bool,
}

#[derive(Clone)]
pub struct Table {
    /// The exactly-once identity of this ingestion: part of every `txn`.
    pub id: String,
    pub topic: String,
    /// Absolute `file://` or `s3://` URL, without a slash at its end.
    pub location: url::Url,
    pub decoding: Decoding,
    /// Columns of the records, without metadata columns. `None`: the table's, else inferred.
    pub schema: Option<Schema>,
    pub start: Start,
    /// Columns of facts about the record, on tables that we create; see [`MetadataColumn`].
    pub metadata_columns: Vec<Field>,
    pub on_bad_record: OnBadRecord,
    /// Where bad records are kept: set exactly with [`OnBadRecord::DeadLetter`]. In the same
    /// store as the table, with its options.
    pub dead_letters: Option<url::Url>,
    /// A row is committed at most about this long after it was read.
    pub max_latency: Duration,
    /// Bytes of Parquet after which a file is closed.
    pub target_file_size: u64,
    pub compression: Compression,
    /// Options of `object_store` under their full names (`aws_region`), the
    /// global ones with this table's over them. `AWS_*` of the environment is
    /// not in here.
    pub storage_options: BTreeMap<String, Secret>,
}

/// Where a partition begins when its table has no offset for it yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Earliest,
    Latest,
    /// The first record whose timestamp is at or after this, milliseconds since the epoch.
    Time(i64),
}

/// What happens to a record that cannot become a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnBadRecord {
    /// It becomes a row of the dead-letter table.
    DeadLetter,
    /// Its partition stops.
    Fail,
    /// It is counted and left out.
    Skip,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    Zstd(i32),
    Snappy,
    None,
}

/// Names the storage options and hides their values: keys are among them.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("location", &self.location.as_str())
            .field("start", &self.start)
            .field("max_latency", &self.max_latency)
            .field("storage_options", &self.storage_options.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Compression {
    /// As it stands in the names of data files.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Zstd(_) => "zstd",
            Compression::Snappy => "snappy",
            Compression::None => "uncompressed",
        }
    }
}

impl Default for Table {
    /// Every default of a `[[table]]`; `id`, `topic` and `location` are placeholders.
    fn default() -> Table {
        Table {
            id: String::new(),
            topic: String::new(),
            location: url::Url::parse("file:///").expect("a constant URL"),
            decoding: Decoding::default(),
            schema: None,
            start: Start::Earliest,
            metadata_columns: MetadataColumn::DEFAULT.map(MetadataColumn::field).to_vec(),
            on_bad_record: OnBadRecord::DeadLetter,
            dead_letters: None,
            max_latency: Duration::from_secs(10),
            target_file_size: 128 << 20,
            compression: Compression::Zstd(1),
            storage_options: BTreeMap::new(),
        }
    }
}
