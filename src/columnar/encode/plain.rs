//! The values of leaves that have one encoding: booleans, and decimals too
//! large for an integer.
//!
//! It owns what is encoded of the open page, and the bounds.

use crate::columnar::columns::Bits;

/// Booleans, a bit each.
#[derive(Default)]
pub(super) struct Booleans {
    pub(super) plain: Vec<u8>,
    /// Values in `plain`.
    count: usize,
    /// Whether false was seen in the chunk, and true.
    seen: [bool; 2],
}

impl Booleans {
    pub(super) fn extend(&mut self, bits: &Bits, entries: impl Iterator<Item = usize>) {
        let bytes = bits.bytes();
        for entry in entries {
            let value = bytes[entry / 8] >> (entry % 8) & 1;
            self.push(value);
        }
    }

    fn push(&mut self, value: u8) {
        if self.count.is_multiple_of(8) {
            self.plain.push(0);
        }
        self.plain[self.count / 8] |= value << (self.count % 8);
        self.count += 1;
        self.seen[usize::from(value)] = true;
    }

    pub(super) fn finish_page(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.plain);
        self.count = 0;
    }

    /// The bounds of the chunk; another one begins.
    pub(super) fn take_bounds(&mut self) -> Option<(bool, bool)> {
        let [has_false, has_true] = std::mem::take(&mut self.seen);
        (has_false || has_true).then_some((!has_false, has_true))
    }
}

/// Decimals of more than 18 digits: big-endian, as many bytes as their precision needs.
pub(super) struct Decimals {
    pub(super) plain: Vec<u8>,
    length: usize,
    bounds: Option<(i128, i128)>,
}

impl Decimals {
    pub(super) fn new(length: usize) -> Decimals {
        Decimals { plain: Vec::new(), length, bounds: None }
    }

    pub(super) fn extend(&mut self, values: &[i128]) {
        for &value in values {
            self.plain.extend_from_slice(self.cut(&value.to_be_bytes()));
            let (min, max) = self.bounds.unwrap_or((value, value));
            self.bounds = Some((min.min(value), max.max(value)));
        }
    }

    fn cut<'a>(&self, wide: &'a [u8; 16]) -> &'a [u8] {
        &wide[wide.len() - self.length..]
    }

    /// The bounds of the chunk; another one begins.
    pub(super) fn take_bounds(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (min, max) = self.bounds.take()?;
        Some((self.cut(&min.to_be_bytes()).to_vec(), self.cut(&max.to_be_bytes()).to_vec()))
    }
}
