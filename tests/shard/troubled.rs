//! A partition of which the broker gives no records, and says why: it is named until something arrives.

use thalweg::config::Compression;

use crate::scripted::{Gives, Scripted, Setting, in_memory};
use crate::workload;

fn scripted() -> Scripted {
    let mut scripted = Scripted::new(Setting {
        workload: workload::named(workload::NAMES[0], workload::ROWS),
        store: in_memory(),
        compression: Compression::None,
        target_file_size: 1 << 30,
        budget: 1 << 30,
    });
    let _ = scripted.turn();
    scripted
}

/// The next turn, in which the broker gives this, and whether the partition is named after it.
fn is_named_after(scripted: &mut Scripted, gives: Gives) -> bool {
    *scripted.gives.lock().unwrap() = gives;
    let _ = scripted.turn();
    let told = scripted.board.not_ready();
    for reason in &told {
        assert_eq!((reason.component.as_str(), reason.state), ("table t t [0]", "waiting"));
        assert!(reason.reason.contains("bad checksum"), "{reason:?}");
    }
    !told.is_empty()
}

#[test]
fn a_partition_whose_fetches_fail_is_named_until_records_arrive() {
    let mut scripted = scripted();
    assert!(!is_named_after(&mut scripted, Gives::Records));
    assert!(is_named_after(&mut scripted, Gives::Trouble));
    assert!(is_named_after(&mut scripted, Gives::Nothing));
    assert!(!is_named_after(&mut scripted, Gives::Records));
}

#[test]
fn a_partition_at_its_end_is_named_until_its_trouble_is_not_told_again() {
    let mut scripted = scripted();
    assert!(is_named_after(&mut scripted, Gives::Trouble));
    scripted.clock.pass(40);
    assert!(is_named_after(&mut scripted, Gives::Trouble));
    scripted.clock.pass(40);
    assert!(is_named_after(&mut scripted, Gives::Nothing));
    scripted.clock.pass(40);
    assert!(!is_named_after(&mut scripted, Gives::Nothing));
}
