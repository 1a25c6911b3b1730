//! Seeded workloads: the same seed gives the same bytes, on any machine.
//!
//! The library owns the records of W1 and W3 and their checksums. It does not
//! own Kafka: the binary sends what `Stream` yields.
//!
//! # The checksum of a row
//! Every leaf of the workload's schema, in schema order, is written as text
//! and ended by `|`: integers in decimal, doubles as their 64 bits read as a
//! signed integer, booleans as `true` or `false`, timestamps as microseconds
//! since the epoch, strings as they are, null (or missing, or below a null
//! struct) as `~`, a list as `[`, its elements, `]`. A row's checksum is the
//! second half of that text's MD5, read little-endian; a table's is the sum
//! over its rows. The sum does not depend on order, a doubled row shows, and
//! DuckDB computes the same by `sum(md5_number_lower(…))`.

mod checksum;
mod random;
mod row;
mod stream;
mod vary;
mod w1;
mod w3;

pub use checksum::Checksum;
pub use random::Random;
pub use stream::{Record, Stream, Workload};
pub use vary::Variation;
