//! Is the text of a column UTF-8? Asked of each value, of each record, of the whole column.
//!
//! thalweg asks once a record, and only of records with a byte that is not ASCII.

use criterion::{Criterion, Throughput};

use crate::cpu_time::CpuTime;
use crate::workload::{self, ROWS};

pub fn benches(criterion: &mut Criterion<CpuTime>) {
    for (name, rows) in ["w1_stable", "w1_non_ascii", "w3_events", "w3_escapes"]
        .map(|name| (name, workload::named(name, ROWS)))
    {
        // The values of a column lie one behind the other.
        let column: Vec<u8> = rows.payloads.concat();
        let values: Vec<&[u8]> = rows.payloads.iter().map(Vec::as_slice).collect();
        let ends: Vec<usize> = values
            .iter()
            .scan(0, |end, value| {
                *end += value.len();
                Some(*end)
            })
            .collect();
        let mut group = criterion.benchmark_group(format!("utf8/{name}"));
        group.throughput(Throughput::Bytes(column.len() as u64)).sample_size(20);
        group.bench_function("each_value_std", |bencher| {
            bencher.iter(|| values.iter().all(|value| std::str::from_utf8(value).is_ok()));
        });
        group.bench_function("each_value_simd", |bencher| {
            bencher.iter(|| values.iter().all(|value| simdutf8::basic::from_utf8(value).is_ok()));
        });
        group.bench_function("ours_not_ascii_only", |bencher| {
            bencher.iter(|| {
                values.iter().all(|value| value.is_ascii() || simdutf8::basic::from_utf8(value).is_ok())
            });
        });
        group.bench_function("whole_column_simd", |bencher| {
            bencher.iter(|| {
                let text = simdutf8::basic::from_utf8(&column).expect("generated rows are UTF-8");
                // Two halves of a character would pass as one.
                assert!(ends.iter().all(|&end| text.is_char_boundary(end)));
            });
        });
    }
}
