//! A partition of which the broker gives no records, and says why: it is named until something arrives.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::memory::InMemory;
use thalweg::config::Compression;
use thalweg::table::store::Store;

use crate::scripted::{Scripted, Setting};
use crate::workload;

#[test]
fn a_partition_whose_fetches_fail_is_named_until_records_arrive() {
    let store = Store {
        objects: Arc::new(InMemory::new()),
        parts: None,
        root: "table".into(),
        url: "memory:///table".parse().unwrap(),
    };
    let mut scripted = Scripted::new(Setting {
        workload: workload::named(workload::NAMES[0], workload::ROWS),
        store,
        compression: Compression::None,
        target_file_size: 1 << 30,
        budget: 1 << 30,
    });
    let _ = scripted.turn();
    assert!(scripted.board.not_ready().is_empty());
    scripted.is_troubled.store(true, Ordering::Relaxed);
    let _ = scripted.turn();
    let told = scripted.board.not_ready();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].component.as_str(), told[0].state), ("table t t [0]", "waiting"));
    assert!(told[0].reason.contains("bad checksum"), "{told:?}");
    scripted.is_troubled.store(false, Ordering::Relaxed);
    let _ = scripted.turn();
    assert!(scripted.board.not_ready().is_empty());
}
