//! Stories of whole ingestions: the built program between a real Kafka and a
//! real table, judged by readers that share no code with it.
//!
//! One broker and one S3 server serve every story (`services`); each story has
//! topics, tables and a directory of its own (`story`). It owns what a user
//! can observe from outside: exit codes, words, rows. What a part does inside
//! is tested beside the part.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod judge;
mod program;
mod services;
mod story;

mod admin;
mod adopt;
mod canaries;
mod checkpoints;
mod clocks;
mod columns;
mod crashes;
mod dead_letters;
mod equality;
mod existing;
mod faults;
mod groups;
mod init;
mod lines;
mod neighbours;
mod offsets;
mod outages;
mod pages;
mod replay;
mod security;
mod setup;
mod setups;
mod shards;
mod signals;
mod starts;
mod statistics;
mod stores;
mod topics;
mod transactions;
mod verify;
