//! The Delta table: its store, its log, its files.
//!
//! | file | owns |
//! |---|---|
//! | [`store`] | opening a location; what a store's error means |
//! | [`store_error`] | a store's error in its own words |
//! | [`circuit_breaker`] | a circuit breaker around a cloud store |
//! | [`client`] | the client of a cloud store: options, credentials, limits |
//! | [`profile`] | AWS profiles of the shared files |
//! | [`disk`] | a local store whose writes survive a power cut |
//! | [`probe`] | whether a store arbitrates between racing writers |
//! | [`features`] | the protocol of a table and the features that it lists |
//! | [`action`] | the lines of the log |
//! | [`log`] | reading a table's state |
//! | [`transaction`] | putting a version: the one way in which a table changes |
//! | [`commit_body`] | the bytes of a commit of ours |
//! | [`data_file`] | a file that is in the store, and its line in a commit |
//! | [`checkpoint_file`] | reading the columns of a checkpoint, whoever wrote them |
//! | [`checkpoint_schema`] | the columns of our checkpoints, and another writer's rows in them |
//! | [`json_checkpoint`] | checkpoints whose top level is JSON |
//! | [`parsed_stats`] | statistics that a checkpoint holds as columns |
//! | [`parquet_object`] | reading Parquet from the store by ranges |
//! | [`write_compatibility`] | whether we can write a table correctly |
//! | [`since`] | what others did to a table since our last commit |
//! | [`create`] | version 0, with the anchor in it |
//! | [`dead_letters`] | which dead letters stand above the main table's offsets |
//! | [`dead_letter_tags`] | what files of dead letters say of themselves |
//! | [`dead_letter_rows`] | the dead letters of a dead-letter table, read whole or in part |
//! | [`rows`] | some columns of a file, batch by batch |
//! | [`places`] | where the rows of a table come from, told by the rows |
//! | [`upload`] | the way of a file's parts into the store |
//! | [`orphan_cleaner`] | discarded files, deleted until they are gone |
//! | [`retention`] | how long a table wants remembered what is gone |
//! | [`checkpoint`] | checkpoints and log clean-up, off the commit path |
//! | [`inventory`] | every live file, for those who ask: never on the commit path |
//! | [`verify`] | what is proven, unknown or wrong in a table |
//! | [`offset_overrides`] | which offset overrides and identity transfers were meant |
//! | [`audit`] | every row counted by its offset, every byte compared where asked |
//! | [`info`] | what a table is: schema, sizes, next offsets, leftovers |

pub mod action;
pub mod audit;
pub mod checkpoint;
pub mod checkpoint_file;
mod checkpoint_schema;
pub mod circuit_breaker;
pub mod client;
pub mod commit_body;
pub mod create;
mod credentials;
pub mod data_file;
pub mod dead_letter_rows;
pub mod dead_letter_tags;
pub mod dead_letters;
pub mod disk;
pub mod features;
pub mod info;
pub mod inventory;
mod json_checkpoint;
pub mod log;
pub mod offset_overrides;
pub mod orphan_cleaner;
pub mod parquet_object;
mod parsed_stats;
pub mod places;
pub mod probe;
pub mod profile;
pub mod retention;
pub mod rows;
pub mod since;
pub mod store;
pub mod store_error;
#[cfg(test)]
pub mod testing;
pub mod transaction;
pub mod upload;
pub mod verify;
pub mod write_compatibility;
