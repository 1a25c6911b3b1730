//! The distinct values of a column chunk, in the order they came.
//!
//! It owns interning: a value → its index, in a few nanoseconds for columns
//! of few distinct values. It does not decide whether a dictionary pays.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

const EMPTY: u32 = u32::MAX;
const SLOTS_FIRST: usize = 256;

/// Who chooses the values must not choose the slots; indices do not depend on it.
pub(super) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

const LEFT: u64 = 0x9E37_79B9_7F4A_7C15;
const RIGHT: u64 = 0xD6E8_FEB8_6659_FD93;

/// Zero where one side equals its constant, whatever the other is. So what a producer chooses stands on
/// neither side without a seed.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ LEFT) * u128::from(b ^ RIGHT);
    product as u64 ^ (product >> 64) as u64
}

/// A second seed.
fn other(seed: u64) -> u64 {
    seed.rotate_left(32)
}

/// Open addressing over indices; hashes are given again when it grows.
struct Slots(Vec<u32>);

impl Slots {
    fn new() -> Slots {
        Slots(Vec::new())
    }

    fn clear(&mut self) {
        self.0.fill(EMPTY);
    }

    /// The index that `is_it` accepts, or the free slot where it would stand.
    #[inline]
    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mask = self.0.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let index = self.0[slot];
            if index == EMPTY {
                return Err(slot);
            }
            if is_it(index) {
                return Ok(index);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Makes room for one value more than `hashes` tells; at most half of the slots are taken.
    fn grow(&mut self, count: usize, hashes: impl Iterator<Item = u64>) {
        if (count + 1) * 2 <= self.0.len() {
            return;
        }
        let slots = (self.0.len() * 2).max(SLOTS_FIRST);
        self.0.clear();
        self.0.resize(slots, EMPTY);
        for (index, hash) in (0..).zip(hashes) {
            if let Err(slot) = self.find(hash, |_| false) {
                self.0[slot] = index;
            }
        }
    }
}

/// Distinct numbers, by their bits.
pub(super) struct Numbers {
    seed: u64,
    slots: Slots,
    values: Vec<u64>,
}

impl Numbers {
    pub(super) fn new() -> Numbers {
        Numbers { seed: seed(), slots: Slots::new(), values: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.values.clear();
    }

    pub(super) fn release(&mut self) {
        (self.slots, self.values) = (Slots::new(), Vec::new());
    }

    pub(super) fn values(&self) -> &[u64] {
        &self.values
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.0.capacity() * size_of::<u32>() + self.values.capacity() * size_of::<u64>()
    }

    #[inline]
    pub(super) fn intern(&mut self, value: u64) -> u32 {
        if self.slots.0.is_empty() {
            self.slots.grow(0, [].into_iter());
        }
        let hash = mix(value, self.seed);
        match self.slots.find(hash, |index| self.values[index as usize] == value) {
            Ok(index) => index,
            Err(slot) => self.insert(value, slot),
        }
    }

    #[cold]
    fn insert(&mut self, value: u64, slot: usize) -> u32 {
        let index = self.values.len() as u32;
        self.slots.0[slot] = index;
        self.values.push(value);
        let seed = self.seed;
        self.slots.grow(self.values.len(), self.values.iter().map(|value| mix(*value, seed)));
        index
    }
}

/// What tells byte strings apart at first sight: their first 16 bytes, or a hash of all, and the length.
#[derive(Clone, Copy, Default, PartialEq)]
struct Key {
    low: u64,
    high: u64,
    length: u32,
}

/// Values that are looked up side by side.
const BLOCK: usize = 32;

/// A value that is looked up, and the index that its first slot says.
#[derive(Clone, Copy, Default)]
struct Sought {
    key: Key,
    from: usize,
    hash: u64,
    guess: u32,
}

/// Bytes that a key holds as they are.
const KEY_BYTES: usize = 16;

impl Key {
    /// The key of `bytes[from..from + length]`.
    #[inline]
    fn of(bytes: &[u8], from: usize, length: usize, seed: u64) -> Key {
        if length > KEY_BYTES {
            return Key::of_long(&bytes[from..from + length], seed);
        }
        let wide = match bytes.get(from..from + KEY_BYTES) {
            Some(wide) => u128::from_le_bytes(wide.try_into().expect("16 bytes")),
            None => {
                let mut wide = [0; KEY_BYTES];
                wide[..length].copy_from_slice(&bytes[from..from + length]);
                u128::from_le_bytes(wide)
            }
        };
        let kept = if length == 0 { 0 } else { wide & (u128::MAX >> (128 - 8 * length)) };
        Key { low: kept as u64, high: (kept >> 64) as u64, length: length as u32 }
    }

    fn of_long(value: &[u8], seed: u64) -> Key {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let (mut low, mut high) = (seed, value.len() as u64);
        let pair = |low, pair: &[u8]| mix(low ^ word(&pair[..8]), word(&pair[8..]) ^ other(seed));
        for bytes in value.chunks_exact(KEY_BYTES) {
            low = pair(low, bytes);
            high = high.rotate_left(29) ^ low;
        }
        low = pair(low, &value[value.len() - KEY_BYTES..]);
        Key { low, high, length: value.len() as u32 }
    }

    #[inline]
    fn hash(self, seed: u64) -> u64 {
        mix(self.low ^ seed, self.high ^ u64::from(self.length) ^ other(seed))
    }
}

/// Distinct byte strings, laid out as a dictionary page: length, bytes, length, bytes …
pub(super) struct Strings {
    seed: u64,
    slots: Slots,
    keys: Vec<Key>,
    /// Where each value begins in `page`, past its length.
    starts: Vec<u32>,
    page: Vec<u8>,
}

impl Strings {
    pub(super) fn new() -> Strings {
        Strings { seed: seed(), slots: Slots::new(), keys: Vec::new(), starts: Vec::new(), page: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.keys.clear();
        self.starts.clear();
        self.page.clear();
    }

    pub(super) fn release(&mut self) {
        *self = Strings::new();
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The values as PLAIN.
    pub(super) fn page(&self) -> &[u8] {
        &self.page
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &[u8] {
        let start = self.starts[index as usize] as usize;
        &self.page[start..start + self.keys[index as usize].length as usize]
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.0.capacity() * size_of::<u32>()
            + self.keys.capacity() * size_of::<Key>()
            + self.starts.capacity() * size_of::<u32>()
            + self.page.capacity()
    }

    /// Appends the index of every `bytes[from..to]` to `indices`.
    ///
    /// Memory decides what this costs: first the slots of a block are asked for, then the keys, so that
    /// they arrive side by side.
    pub(super) fn intern(
        &mut self,
        bytes: &[u8],
        mut ranges: impl Iterator<Item = (usize, usize)>,
        indices: &mut Vec<u32>,
    ) {
        if self.slots.0.is_empty() {
            self.slots.grow(0, [].into_iter());
        }
        let mut block = [Sought::default(); BLOCK];
        loop {
            let mut count = 0;
            let mask = self.slots.0.len() - 1;
            for (sought, (from, to)) in block.iter_mut().zip(&mut ranges) {
                let key = Key::of(bytes, from, to - from, self.seed);
                let hash = key.hash(self.seed);
                *sought = Sought { key, from, hash, guess: self.slots.0[hash as usize & mask] };
                count += 1;
            }
            for sought in &block[..count] {
                let value = &bytes[sought.from..sought.from + sought.key.length as usize];
                indices.push(if self.is(sought.guess, sought.key, value) {
                    sought.guess
                } else {
                    self.find_or_insert(sought, value)
                });
            }
            if count < BLOCK {
                return;
            }
        }
    }

    /// Whether the value of an index is this one.
    #[inline]
    fn is(&self, index: u32, key: Key, value: &[u8]) -> bool {
        self.keys.get(index as usize) == Some(&key) && (value.len() <= KEY_BYTES || self.get(index) == value)
    }

    fn find_or_insert(&mut self, sought: &Sought, value: &[u8]) -> u32 {
        match self.slots.find(sought.hash, |index| self.is(index, sought.key, value)) {
            Ok(index) => index,
            Err(slot) => self.insert(sought.key, value, slot),
        }
    }

    #[cold]
    fn insert(&mut self, key: Key, value: &[u8], slot: usize) -> u32 {
        let index = self.keys.len() as u32;
        self.slots.0[slot] = index;
        self.keys.push(key);
        self.page.extend_from_slice(&key.length.to_le_bytes());
        self.starts.push(self.page.len() as u32);
        self.page.extend_from_slice(value);
        let seed = self.seed;
        self.slots.grow(self.keys.len(), self.keys.iter().map(|key| key.hash(seed)));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_be_chosen_to_share_a_slot() {
        let seed = seed();
        let pair = |n: u64, length: u64| [n.to_le_bytes(), (RIGHT ^ length).to_le_bytes()].concat();
        let short = |n| pair(n, KEY_BYTES as u64);
        let long = |n| pair(n, 0).repeat(3);
        for value in [&short as &dyn Fn(u64) -> Vec<u8>, &long] {
            let hash = |n| Key::of(&value(n), 0, value(n).len(), seed).hash(seed);
            let hashes: std::collections::HashSet<u64> = (0..1000).map(hash).collect();
            assert_eq!(hashes.len(), 1000);
        }
    }

    #[test]
    fn equal_values_have_one_index_and_others_another() {
        let texts: Vec<String> = (0..5000)
            .flat_map(|n| {
                [
                    format!("{n}"),
                    format!("a long common beginning {n}"),
                    format!("{n:016}"),
                    format!("{n:017}"),
                ]
            })
            .chain([String::new(), "a".into(), "a\0".into(), "\0".into()])
            .collect();
        let all = texts.concat().into_bytes();
        let mut strings = Strings::new();
        for round in 0..3 {
            let mut end = 0;
            let ranges = texts.iter().map(|text| {
                end += text.len();
                (end - text.len(), end)
            });
            let mut indices = Vec::new();
            strings.intern(&all, ranges, &mut indices);
            assert_eq!(indices, (0..texts.len() as u32).collect::<Vec<_>>());
            assert!(texts.iter().zip(indices).all(|(text, index)| strings.get(index) == text.as_bytes()));
            if round == 1 {
                strings.clear();
            }
        }
        let mut numbers = Numbers::new();
        for _ in 0..2 {
            for value in 0..5000 {
                assert_eq!(numbers.intern(value * 0x1_0000_0001), value as u32);
            }
        }
    }
}
