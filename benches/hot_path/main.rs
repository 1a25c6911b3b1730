//! The stages of a record's way, each beside stock crates' way of the same, over the same rows in the same run.
//!
//! One program, since linking takes longer than measuring: `cargo bench --bench hot_path -- decode/w1`.
//! Times are CPU time of the process, all its threads, so that other load on
//! the machine disturbs them less; a broker is a process of its own.
//!
//! | file | owns |
//! |---|---|
//! | `source` | Kafka → records: batches beside one poll a message |
//! | `decode` | JSON → columns: every workload and variation |
//! | `parsers` | numbers, decimals, dates, timestamps |
//! | `utf8` | validating text: by value, by record, by column |
//! | `bad_records` | none, few, and many records that are no rows |
//! | `buffers` | freeze, write, recover; allocations |
//! | `encode` | columns → Parquet: the workloads |
//! | `columns` | … each type of column, dictionaries, codecs, bytes, reading back |
//! | `copies` | bytes copied for a record between fetch buffer and file |
//!
//! Not here: Avro, which thalweg does not read yet; end to end, which is
//! `tools/bench/run`; uploads that stall, which is `tests/shard`.

mod bad_records;
mod buffers;
mod columns;
mod copies;
mod cpu_time;
mod decode;
mod encode;
mod parsers;
mod source;
mod utf8;
#[path = "../workload/mod.rs"]
mod workload;

use criterion::Criterion;

use crate::cpu_time::CpuTime;
use crate::workload::counting::Counting;

/// The program's allocator, which librdkafka uses, too.
#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting(mimalloc::MiMalloc);

fn main() {
    if source::is_broker() {
        return source::serve();
    }
    let mut criterion = Criterion::default().with_measurement(CpuTime).configure_from_args();
    source::benches(&mut criterion);
    decode::benches(&mut criterion);
    parsers::benches(&mut criterion);
    utf8::benches(&mut criterion);
    bad_records::benches(&mut criterion);
    buffers::benches(&mut criterion);
    encode::benches(&mut criterion);
    columns::benches(&mut criterion);
    copies::count();
    criterion.final_summary();
}
