//! thalweg moves Kafka topics into Delta Lake tables, exactly once, on one
//! machine or on several that share the partitions out.
//!
//! # The promise
//!
//! A record of a topic is a row of the table exactly once, whatever is
//! killed, in whatever order. The proof is one line: the Delta commit that
//! adds the rows of `[start, next)` of a partition also moves that
//! partition's `txn` from `start` to `next`, put-if-absent. There is no
//! second place where offsets count.
//!
//! # A record's way
//!
//! ```text
//!  Kafka broker
//!    │  record batches                                   source
//!    ▼
//!  shard ── one pinned thread per core, owns its partitions, shares nothing
//!    │  decode → columns, reused                         columnar
//!    │  encode → Parquet, in parts
//!    ▼
//!  upload ── on the I/O threads                          stores::upload
//!    │  DataFile + offset ranges                         exchange
//!    ▼
//!  committer ── one serial queue per table, decisions in protocol
//!    │  units of work, in order                          sink
//!    ▼
//!  delta_sink ── dead letters first, then rows and offsets in one commit
//!    │  add + txn, version V+1, put-if-absent            delta::transaction
//!    ▼
//!  Delta table on S3 or a local disk
//! ```
//!
//! Two things flow up: "this much is committed" and "begin again from here".
//!
//! Which partitions a shard has is settled at start, or by a Kafka consumer
//! group of many such processes ([`member`]). The group only says who reads
//! what; the promise rests on the same line.
//!
//! # Layers
//!
//! An import points down, never up or sideways; `tests/tidy.rs` decides.
//!
//! | layer | modules | own |
//! |---|---|---|
//! | 9 | [`cli`] | arguments, exit codes, what a person sees |
//! | 8 | [`ingester`], [`demo`], [`admin`] | threads, signals, drain; the whole shown without Kafka; administrative operations on a table |
//! | 7 | [`shard`], [`committer`], [`member`], [`preflight`], [`http_server`] | the two loops; a shard's place in a consumer group; what must hold before they start; the port of readiness and metrics |
//! | 7 | [`delta_sink`], [`audit`] | what a commit of ours to a Delta table is; what can be proven of a table, which no commit waits for |
//! | 6 | [`exchange`], [`sink`] | the loops' messages, and what they must know of a table; where rows and offsets go in one step |
//! | 5 | [`dead_letters`] | dead-letter tables: what stands in them, and what of it counts |
//! | 4 | [`delta`] | the Delta log: what a table is, and the one way in which it changes |
//! | 3 | [`source`], [`columnar`], [`stores`], [`host`] | Kafka; records, columns and Parquet; object stores and disks; this process |
//! | 2 | [`protocol`], [`config`], [`status`] | every exactly-once decision, pure; the checked config; what each part does now |
//! | 1 | [`schema`], [`record`], [`metrics`], [`stdout`] | what a column is, what a record is; what is seen from outside |
//! | 0 | [`error`], [`clock`], [`ids`], [`budget`], [`backoff`] | what everything may use |
//!
//! # Words
//!
//! The names are Kafka's, Delta's and Parquet's. Beside these, one name for one thing:
//!
//! | name | means |
//! |---|---|
//! | dead letter | a record that cannot become a row, kept in the table's dead-letter table |
//! | already dead-lettered | offsets with a dead letter above the table's own offset |
//! | offset override, identity transfer | an administrative operation moved offsets, or adopted them under another id |
//! | identity check | whether a topic is still the one that the table knows; *confirmed* if it is |
//! | table context | what a loop must know of a table; its *dependencies* are what it runs on |
//! | assignment epoch, request id | the number of a group's assignment to a member; the number of a question to a committer |
//! | log tip | the newest version of a Delta log |
//! | next offset | where a partition is read on |
//! | reset epoch | rises each time that a table is read again from its offsets; a *run* is one life of shards and committers |
//! | resolve a commit | find out whether a version is ours, however unclear the store's answers were |
//! | apply a foreign commit | take over what another writer committed, and judge it |
//! | write compatibility | whether we may append to a table |
//! | orphan | a file that no commit names; the *orphan cleaner* deletes ours |
//!
//! `tests/tidy.rs` refuses the words that these have replaced.
//!
//! # Where to begin reading
//!
//! [`protocol`] for why nothing is lost, [`shard`] and [`committer`] for how
//! it runs, [`delta::transaction`] for how a table changes.
//!
//! | what | where |
//! |---|---|
//! | what becomes of a record | `shard::turn`; of a bad one `shard::bad_records` |
//! | a new format | its name and what it asks of a table in `config::format`, its reader in a file beside `columnar::json`, listed in `columnar::readers` |
//! | a new place for rows and offsets | a [`sink::Sink`] beside [`delta_sink`] |
//! | which finished files may be committed | [`protocol::ledger`] |
//! | where a version is put, and what a late answer is worth | [`delta::transaction`] |
//! | what another writer's commit means | [`protocol::verdict`] |
//! | lag, readiness | [`status`] |
//! | what is proven of a table | [`audit::verify`] |
//!
//! Architecture invariant: shards share nothing. What they know of each other
//! and of the tables arrives as messages, and every queue has a limit.

pub mod admin;
pub mod audit;
pub mod backoff;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod columnar;
pub mod committer;
pub mod config;
pub mod dead_letters;
pub mod delta;
pub mod delta_sink;
pub mod demo;
pub mod error;
pub mod exchange;
pub mod host;
pub mod http_server;
pub mod ids;
pub mod ingester;
pub mod member;
pub mod metrics;
pub mod preflight;
pub mod protocol;
pub mod record;
pub mod schema;
pub mod shard;
pub mod sink;
pub mod source;
pub mod status;
pub mod stdout;
pub mod stores;
