//! Seeded workloads: the same seed gives the same bytes, on any machine.
//!
//! It owns the records of W1 to W5 and their checksums. It does not own Kafka:
//! `generate` sends what `Stream` yields, the benches decode it.
//!
//! # The checksum of a row
//! Every leaf of the workload's schema, in schema order, is written as text
//! and ended by `|`: integers in decimal, doubles as their 64 bits read as a
//! signed integer, booleans as `true` or `false`, timestamps as microseconds
//! since the epoch, strings, dates and decimals as they are (with all digits of
//! their scale), null (or missing, or below a null
//! struct) as `~`, a list as `[`, its elements, `]`, a map as the list of its keys and values. A row's checksum is the
//! second half of that text's MD5, read little-endian; a table's is the sum
//! over its rows. The sum does not depend on order, a doubled row shows, and
//! DuckDB computes the same by `sum(md5_number_lower(…))`.

mod checksum;
mod outline;
mod random;
mod row;
mod stream;
mod vary;
mod w1;
mod w2;
mod w3;
mod w4;
mod w5;

pub use checksum::Checksum;
pub use random::Random;
pub use stream::{Record, Stream, Workload};
pub use vary::Variation;
