//! The Delta log: what a table is, and the one way in which it changes.
//!
//! | file | owns |
//! |---|---|
//! | [`action`] | the lines of the log |
//! | [`features`] | the protocol of a table and the features that it lists |
//! | [`log`] | reading a table's state |
//! | [`transaction`] | putting a version: the one way in which a table changes |
//! | [`commit_body`] | the bytes of a commit of ours |
//! | [`data_file`] | a file that is in the store, and its line in a commit |
//! | [`create`] | version 0, with the anchor in it |
//! | [`since`] | what others did to a table since our last commit |
//! | [`write_compatibility`] | whether we can write a table correctly |
//! | [`inventory`] | every live file, for those who ask: never on the commit path |
//! | [`live_file`] | a live file: its place, its rows, and what is said where it cannot be read |
//! | [`rows`] | some columns of a file, batch by batch |
//! | [`checkpoint`] | checkpoints and log clean-up, off the commit path |
//! | [`checkpoint_file`] | reading the columns of a checkpoint, whoever wrote them |
//! | `checkpoint_schema` | the columns of our checkpoints, and another writer's rows in them |
//! | `json_checkpoint` | checkpoints whose top level is JSON |
//! | `parsed_stats` | statistics that a checkpoint holds as columns |
//! | [`retention`] | how long a table wants remembered what is gone |

pub mod action;
pub mod checkpoint;
pub mod checkpoint_file;
mod checkpoint_schema;
pub mod commit_body;
pub mod create;
pub mod data_file;
pub mod features;
pub mod inventory;
mod json_checkpoint;
pub mod live_file;
pub mod log;
mod parsed_stats;
pub mod retention;
pub mod rows;
pub mod since;
#[cfg(test)]
pub mod testing;
pub mod transaction;
pub mod write_compatibility;
