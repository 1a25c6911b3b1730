//! A shard's thread allocates nothing for a record batch, decoded and encoded, between two files.
//!
//! Allocations are counted on its thread alone: uploads have threads of their own.

use thalweg::config::Compression;
use thalweg::shard::Turn;

use crate::scripted::{BATCH, Scripted, Setting, in_memory};
use crate::workload::counting::allocations;
use crate::workload::{self, Workload};

/// Batches of a file.
const FILE: usize = 64;

/// Allocations of each turn between two files, after `files` files.
fn batches_between_files(workload: Workload, files: usize) -> Vec<u64> {
    let mut scripted = Scripted::new(Setting {
        workload,
        store: in_memory(),
        compression: Compression::Zstd(1),
        target_file_size: 1 << 30,
        budget: 1 << 30,
    });
    let turn = |scripted: &mut Scripted| {
        let before = allocations();
        assert_eq!(scripted.turn(), Turn::Worked);
        allocations() - before
    };
    for _ in 0..files {
        for _ in 0..FILE {
            turn(&mut scripted);
        }
        scripted.clock.pass(11);
        turn(&mut scripted);
        let work = scripted.commit_next();
        assert!(work.file.is_some_and(|file| file.rows as usize >= FILE * BATCH));
    }
    // The first batch begins the file.
    for _ in 0..4 {
        turn(&mut scripted);
    }
    (4..FILE).map(|_| turn(&mut scripted)).collect()
}

/// Workloads whose columns all have many values. A column with fewer in a file than settle its encoding, as
/// W2 has them, chooses anew in each file when its first page ends, and choosing allocates.
fn is_steady(name: &str) -> bool {
    name.starts_with("w1_") || name == "w3_nested"
}

#[test]
fn a_shard_allocates_nothing_for_a_batch_between_two_files() {
    let mut wrong = Vec::new();
    for name in workload::NAMES.into_iter().filter(|name| is_steady(name)) {
        let workload = workload::named(name, workload::ROWS);
        let batches = batches_between_files(workload, 2);
        let allocating = batches.iter().filter(|&&count| count > 0).count();
        println!("{name}: {} batches, {allocating} of which allocate", batches.len());
        if allocating > 0 {
            wrong.push(format!("{name}: allocations by batch {batches:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
