//! A table that goes no further: nothing of it is read again, whatever its committer has still said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use thalweg::config::Compression;
use thalweg::exchange::{ResetEpoch, ToShard};
use thalweg::ids::Offset;
use thalweg::shard::Turn;

use crate::scripted::{BATCH, Scripted, Setting, in_memory, source};
use crate::workload;

#[test]
fn a_reset_wakes_no_partition_of_a_table_that_has_stopped() {
    let workload = workload::named(workload::NAMES[0], workload::ROWS);
    let schema = Arc::new(workload.schema.clone());
    let setting = Setting {
        workload,
        store: in_memory(),
        compression: Compression::None,
        target_file_size: 1 << 30,
        budget: 1 << 30,
    };
    let mut scripted = Scripted::until(setting, Some(Offset(BATCH as i64)));
    assert_eq!(scripted.turn(), Turn::Worked);
    let polls = scripted.polls.load(Ordering::Relaxed);
    let starts = BTreeMap::from([(source(), Offset(0))]);
    let reset_epoch = ResetEpoch(1);
    scripted.tell(ToShard::Stop { table: 0 });
    scripted.tell(ToShard::Reset { table: 0, reset_epoch, schema, starts, held: Arc::default() });
    assert_eq!(scripted.turn(), Turn::Done);
    assert_eq!(scripted.polls.load(Ordering::Relaxed), polls, "a stopped table was read");
}
