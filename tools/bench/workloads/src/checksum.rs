//! The order-independent checksum of rows.
//!
//! It owns hash and sum. The text that is hashed is written by `row`.

use md5::{Digest, Md5};

/// Rows and the sum of their hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checksum {
    pub rows: u64,
    /// At most 2^64 rows of at most 2^64 each: no overflow.
    pub sum: u128,
}

impl Checksum {
    pub fn add(&mut self, row_hash: u64) {
        self.rows += 1;
        self.sum += u128::from(row_hash);
    }

    pub fn merge(&mut self, other: Checksum) {
        self.rows += other.rows;
        self.sum += other.sum;
    }
}

/// DuckDB's `md5_number_lower`: the second half of the digest, little-endian.
pub(crate) fn hash(canonical: &[u8]) -> u64 {
    let digest: [u8; 16] = Md5::digest(canonical).into();
    u64::from_le_bytes(digest[8..].try_into().expect("half of 16 bytes is 8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_equals_duckdbs_md5_number_lower() {
        assert_eq!(hash(b"abc"), 8250560606382298838);
    }
}
