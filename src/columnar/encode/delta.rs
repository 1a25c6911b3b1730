//! DELTA_BINARY_PACKED: integers as differences, block by block.
//!
//! It owns the form of the bytes. Blocks are encoded as values arrive, so
//! that a page takes little more than its encoded bytes.

use super::hybrid::{varint, zigzag};

const BLOCK: usize = 256;
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

/// The integers of a page.
pub(super) struct Delta {
    /// Differences wrap around at 32 bits, as those who read INT32 expect.
    narrow: bool,
    count: usize,
    first: i64,
    last: i64,
    /// Differences of the block that is open.
    open: usize,
    differences: [i64; BLOCK],
    blocks: Vec<u8>,
}

impl Delta {
    pub(super) fn new(narrow: bool) -> Delta {
        Delta { narrow, count: 0, first: 0, last: 0, open: 0, differences: [0; BLOCK], blocks: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        (self.count, self.open) = (0, 0);
        self.blocks.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that the page's values take so far.
    pub(super) fn len(&self) -> usize {
        self.blocks.len() + self.open * size_of::<i64>()
    }

    pub(super) fn capacity(&self) -> usize {
        self.blocks.capacity()
    }

    pub(super) fn release(&mut self) {
        self.blocks = Vec::new();
    }

    pub(super) fn extend(&mut self, values: impl ExactSizeIterator<Item = i64>) {
        let mut values = values;
        if self.count == 0 {
            let Some(first) = values.next() else { return };
            (self.first, self.last, self.count) = (first, first, 1);
        }
        self.count += values.len();
        for value in values {
            let difference = value.wrapping_sub(self.last);
            self.last = value;
            self.differences[self.open] = if self.narrow { i64::from(difference as i32) } else { difference };
            self.open += 1;
            if self.open == BLOCK {
                self.close_block();
            }
        }
    }

    /// Appends the page's values to `out`; none are left here.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.open > 0 {
            self.close_block();
        }
        varint(BLOCK as u64, out);
        varint(MINIBLOCKS as u64, out);
        varint(self.count as u64, out);
        varint(zigzag(self.first), out);
        out.extend_from_slice(&self.blocks);
        self.clear();
    }

    fn close_block(&mut self) {
        let (held, rest) = self.differences.split_at_mut(self.open);
        let least = held.iter().copied().min().unwrap_or(0);
        held.iter_mut().for_each(|difference| *difference = difference.wrapping_sub(least));
        rest.fill(0);
        varint(zigzag(least), &mut self.blocks);
        let widths_at = self.blocks.len();
        self.blocks.extend_from_slice(&[0; MINIBLOCKS]);
        let needed = self.open.div_ceil(MINIBLOCK);
        for (index, miniblock) in self.differences.chunks_exact(MINIBLOCK).take(needed).enumerate() {
            let all = miniblock.iter().fold(0, |all, difference| all | *difference as u64);
            let width = (u64::BITS - all.leading_zeros()) as usize;
            self.blocks[widths_at + index] = width as u8;
            pack(miniblock, width, &mut self.blocks);
        }
        self.open = 0;
    }
}

/// Appends the lowest `width` bits of each value of a miniblock.
fn pack(values: &[i64], width: usize, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut bits, mut held) = (0_u128, 0);
    for &value in values {
        bits |= u128::from(value as u64) << held;
        held += width;
        if held >= 64 {
            out.extend_from_slice(&(bits as u64).to_le_bytes());
            bits >>= 64;
            held -= 64;
        }
    }
    debug_assert_eq!(held, 0, "64 values of any width fill whole words");
}
