//! Every metric: its name, its meaning and its unit, in one place.
//!
//! It owns the names and the recorder. It does not serve them (`admin`) and
//! it does not count: who knows a figure records it with `metrics::counter!`
//! and the constant from here.
//!
//! Labels are `table`, `topic`, `partition`, and those that a description
//! names. A gauge of something left to do is 0 when there is nothing, never
//! negative, never absent.

use metrics::{
    Counter, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::budget::{Budget, Holding};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, TopicPartition};

pub const RECORDS_CONSUMED: &str = "thalweg_records_consumed_total";
pub const ROWS_COMMITTED: &str = "thalweg_rows_committed_total";
pub const BYTES_WRITTEN: &str = "thalweg_bytes_written_total";
pub const FILES_WRITTEN: &str = "thalweg_files_written_total";
pub const BAD_RECORDS: &str = "thalweg_bad_records_total";
pub const UNFIT_TIMESTAMPS: &str = "thalweg_unfit_timestamps_total";
pub const DEAD_LETTERS: &str = "thalweg_dead_letters_total";
pub const COMMITS: &str = "thalweg_commits_total";
pub const COMMIT_CONFLICTS: &str = "thalweg_commit_conflicts_total";
pub const COMMIT_FAILURES: &str = "thalweg_commit_failures_total";
pub const LAG_RECORDS: &str = "thalweg_lag_records";
pub const COMMITTED_OFFSET: &str = "thalweg_committed_offset";
pub const END_OFFSET: &str = "thalweg_end_offset";
pub const TABLES: &str = "thalweg_tables";
pub const PARTITIONS: &str = "thalweg_partitions";
pub const FRESHNESS_SECONDS: &str = "thalweg_freshness_seconds";
pub const LAST_COMMIT_TIMESTAMP_SECONDS: &str = "thalweg_last_commit_timestamp_seconds";
pub const TABLE_VERSION: &str = "thalweg_table_version";
pub const BUFFERED_BYTES: &str = "thalweg_buffered_bytes";
pub const GROUP_REBALANCES: &str = "thalweg_group_rebalances_total";
pub const PARTITIONS_ASSIGNED: &str = "thalweg_partitions_assigned";
pub const STORE_REQUESTS: &str = "thalweg_store_requests_total";
pub const REACHABLE: &str = "thalweg_reachable";
pub const OUTAGES: &str = "thalweg_outages_total";
pub const BUILD_INFO: &str = "thalweg_build_info";
pub const STAGE_DURATION_SECONDS: &str = "thalweg_stage_duration_seconds";

/// A step of a file's way: the label `stage` of [`STAGE_DURATION_SECONDS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its shard took records, or waited for them.
    Poll,
    Decode,
    Encode,
    /// From its end until the store has all of it.
    Upload,
    /// Until the log has it, from when its turn came.
    Commit,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Stage::Poll => "poll",
            Stage::Decode => "decode",
            Stage::Encode => "encode",
            Stage::Upload => "upload",
            Stage::Commit => "commit",
        }
    }
}

/// From the encoding of a few rows to an upload across an ocean.
const STAGE_BUCKETS_SECONDS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Makes our recorder the process's and describes every metric.
///
/// Somebody has to call [`PrometheusHandle::run_upkeep`] every few seconds,
/// or histograms keep each sample: `admin::serve` does.
///
/// # Errors
/// `Internal` if the process has a recorder already.
pub fn install() -> Result<PrometheusHandle> {
    let broken = |error: String| Error::new(ErrorKind::Internal, format!("metrics cannot start: {error}"));
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(STAGE_DURATION_SECONDS.to_owned()), &STAGE_BUCKETS_SECONDS)
        .map_err(|error| broken(error.to_string()))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| broken(error.to_string()))?;
    describe();
    Ok(handle)
}

/// Describes every metric to the current recorder.
fn describe() {
    let count = Unit::Count;
    describe_counter!(RECORDS_CONSUMED, count, "Records read from Kafka, bad ones included");
    describe_counter!(ROWS_COMMITTED, count, "Rows in committed files");
    describe_counter!(BYTES_WRITTEN, Unit::Bytes, "Bytes of Parquet uploaded");
    describe_counter!(FILES_WRITTEN, count, "Parquet files uploaded");
    describe_counter!(BAD_RECORDS, count, "Records that could not become a row, by `reason`");
    describe_counter!(
        UNFIT_TIMESTAMPS,
        count,
        "Records whose own timestamp is outside of the years 0001 to 9999: it is null in the table"
    );
    describe_counter!(DEAD_LETTERS, count, "Records committed to the dead-letter table");
    describe_counter!(COMMITS, count, "Versions that this process added to a table");
    describe_counter!(COMMIT_CONFLICTS, count, "Versions that another writer took first");
    describe_counter!(COMMIT_FAILURES, count, "Attempts to commit that failed and are tried again");
    describe_gauge!(LAG_RECORDS, count, "Offsets between the end of a partition and what is committed of it");
    describe_gauge!(COMMITTED_OFFSET, count, "Offset before which everything of a partition is committed");
    describe_gauge!(END_OFFSET, count, "Offset at which a partition ended when that was last heard");
    describe_gauge!(TABLES, count, "Tables by `state`: starting, reading, paused, waiting, stopped");
    describe_gauge!(PARTITIONS, count, "Partitions of a table by `state`, as tables");
    describe_gauge!(
        FRESHNESS_SECONDS,
        Unit::Seconds,
        "Age of the oldest record of the last commit when it was committed"
    );
    describe_gauge!(
        LAST_COMMIT_TIMESTAMP_SECONDS,
        Unit::Seconds,
        "When this process last committed, Unix time"
    );
    describe_gauge!(TABLE_VERSION, count, "Version of the table that this process last saw");
    describe_gauge!(
        BUFFERED_BYTES,
        Unit::Bytes,
        "Bytes read and not yet uploaded, by `held` (columns, files, parts), of all shards"
    );
    describe_counter!(
        GROUP_REBALANCES,
        count,
        "Decisions of the consumer group, by `kind`: assigned, revoked, lost"
    );
    describe_gauge!(PARTITIONS_ASSIGNED, count, "Partitions that the consumer group assigns to a `shard`");
    describe_counter!(
        STORE_REQUESTS,
        count,
        "Requests to stores, by `op` and `outcome`: ok, no (there is nothing, or something), failed, held_back (not sent: the store is down)"
    );
    describe_gauge!(REACHABLE, count, "1 while a `service` (kafka, or a store) answers, 0 while it is down");
    describe_counter!(OUTAGES, count, "How often a `service` went down");
    describe_gauge!(BUILD_INFO, count, "1, with the `version` of this process");
    describe_histogram!(
        STAGE_DURATION_SECONDS,
        Unit::Seconds,
        "Time of a file, or of a commit, in a `stage`: poll (waiting for records included), decode, encode, upload, commit"
    );
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// A version that was added to a table.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub version: u64,
    pub rows: u64,
    pub bytes: u64,
    pub files: u64,
    /// The oldest timestamp of a record in it, milliseconds since the epoch.
    pub oldest_ms: Option<i64>,
    pub now_ms: i64,
}

pub fn committed(table: &str, commit: &Committed) {
    let table = table.to_owned();
    counter!(COMMITS, "table" => table.clone()).increment(1);
    counter!(ROWS_COMMITTED, "table" => table.clone()).increment(commit.rows);
    counter!(BYTES_WRITTEN, "table" => table.clone()).increment(commit.bytes);
    counter!(FILES_WRITTEN, "table" => table.clone()).increment(commit.files);
    gauge!(TABLE_VERSION, "table" => table.clone()).set(commit.version as f64);
    gauge!(LAST_COMMIT_TIMESTAMP_SECONDS, "table" => table.clone()).set(commit.now_ms as f64 / 1000.0);
    if let Some(oldest_ms) = commit.oldest_ms {
        let age_ms = commit.now_ms.saturating_sub(oldest_ms).max(0);
        gauge!(FRESHNESS_SECONDS, "table" => table).set(age_ms as f64 / 1000.0);
    }
}

/// What a shard counts for a table: handles, because the hot path looks nothing up.
pub struct ShardCounters {
    table: String,
    consumed: Counter,
    unfit_timestamps: Counter,
    told_of_timestamps: bool,
}

impl ShardCounters {
    pub fn new(table: &str) -> ShardCounters {
        ShardCounters {
            table: table.to_owned(),
            consumed: counter!(RECORDS_CONSUMED, "table" => table.to_owned()),
            unfit_timestamps: counter!(UNFIT_TIMESTAMPS, "table" => table.to_owned()),
            told_of_timestamps: false,
        }
    }

    pub fn consumed(&self, records: usize) {
        self.consumed.increment(records as u64);
    }

    /// Counts timestamps that became null; true for the first of the table's in this process's shard.
    pub fn unfit_timestamps(&mut self, records: u64) -> bool {
        self.unfit_timestamps.increment(records);
        !std::mem::replace(&mut self.told_of_timestamps, true)
    }

    pub fn bad(&self, reason: &'static str) {
        counter!(BAD_RECORDS, "table" => self.table.clone(), "reason" => reason).increment(1);
    }
}

/// A file, or a commit, has passed a stage.
pub fn stage(stage: Stage, took: std::time::Duration) {
    histogram!(STAGE_DURATION_SECONDS, "stage" => stage.as_str()).record(took.as_secs_f64());
}

pub fn dead_letters(table: &str, dead_letters: u64) {
    counter!(DEAD_LETTERS, "table" => table.to_owned()).increment(dead_letters);
}

/// What the shards hold together: each of them says the same.
pub fn buffered(budget: &Budget) {
    for holding in Holding::ALL {
        gauge!(BUFFERED_BYTES, "held" => holding.as_str()).set(budget.held_by_all(holding) as f64);
    }
}

pub fn store_request(op: &'static str, outcome: &'static str) {
    counter!(STORE_REQUESTS, "op" => op, "outcome" => outcome).increment(1);
}

/// A service that is used: it answers, until somebody says otherwise, and its outages are counted from 0.
pub fn service_begins(service: &str) {
    reachable(service, true);
    counter!(OUTAGES, "service" => service.to_owned()).increment(0);
}

pub fn reachable(service: &str, answers: bool) {
    gauge!(REACHABLE, "service" => service.to_owned()).set(f64::from(u8::from(answers)));
}

pub fn outage(service: &str) {
    counter!(OUTAGES, "service" => service.to_owned()).increment(1);
}

/// Every counter of a table is there from its start, with 0.
pub fn table_begins(table: &str, reasons: impl Iterator<Item = &'static str>) {
    for name in [
        RECORDS_CONSUMED,
        ROWS_COMMITTED,
        BYTES_WRITTEN,
        FILES_WRITTEN,
        DEAD_LETTERS,
        COMMITS,
        COMMIT_CONFLICTS,
        COMMIT_FAILURES,
    ] {
        counter!(name, "table" => table.to_owned()).increment(0);
    }
    for reason in reasons {
        counter!(BAD_RECORDS, "table" => table.to_owned(), "reason" => reason).increment(0);
    }
}

pub fn tables_in(state: &'static str, count: usize) {
    gauge!(TABLES, "state" => state).set(count as f64);
}

pub fn partitions_in(table: &str, state: &'static str, count: usize) {
    gauge!(PARTITIONS, "table" => table.to_owned(), "state" => state).set(count as f64);
}

pub fn lag(table: &str, source: &TopicPartition, offsets: i64) {
    gauge!(LAG_RECORDS, &of_partition(table, source)).set(offsets.max(0) as f64);
}

pub fn committed_offset(table: &str, source: &TopicPartition, next: Offset) {
    gauge!(COMMITTED_OFFSET, &of_partition(table, source)).set(next.0 as f64);
}

pub fn end_offset(table: &str, source: &TopicPartition, end: Offset) {
    gauge!(END_OFFSET, &of_partition(table, source)).set(end.0 as f64);
}

fn of_partition(table: &str, source: &TopicPartition) -> [(&'static str, String); 3] {
    [
        ("table", table.to_owned()),
        ("topic", source.topic.clone()),
        ("partition", source.partition.to_string()),
    ]
}

pub fn rebalance(kind: &'static str) {
    counter!(GROUP_REBALANCES, "kind" => kind).increment(1);
}

pub fn partitions_assigned(shard: usize, partitions: usize) {
    gauge!(PARTITIONS_ASSIGNED, "shard" => shard.to_string()).set(partitions as f64);
}

pub fn commit_conflict(table: &str) {
    counter!(COMMIT_CONFLICTS, "table" => table.to_owned()).increment(1);
}

pub fn commit_failed(table: &str) {
    counter!(COMMIT_FAILURES, "table" => table.to_owned()).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_rendered_with_its_description() {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(STAGE_DURATION_SECONDS.to_owned()), &STAGE_BUCKETS_SECONDS)
            .unwrap()
            .build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(ROWS_COMMITTED, "table" => "orders").increment(3);
            stage(Stage::Commit, std::time::Duration::from_millis(20));
        });
        let text = recorder.handle().render();
        for line in [
            "# HELP thalweg_rows_committed_total Rows in committed files",
            "# TYPE thalweg_rows_committed_total counter",
            "thalweg_rows_committed_total{table=\"orders\"} 3",
            "# TYPE thalweg_stage_duration_seconds histogram",
            "thalweg_stage_duration_seconds_bucket{stage=\"commit\",le=\"0.01\"} 0",
            "thalweg_stage_duration_seconds_bucket{stage=\"commit\",le=\"0.025\"} 1",
            "thalweg_stage_duration_seconds_count{stage=\"commit\"} 1",
            concat!("thalweg_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
