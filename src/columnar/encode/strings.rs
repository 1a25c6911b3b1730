//! The values of a leaf of BYTE_ARRAY: strings and binary.
//!
//! It owns what is encoded of the open page, the bounds, and the choice
//! between a dictionary and PLAIN, which is kept from chunk to chunk.

use parquet::basic::Encoding;

use super::coding::{Coding, DICTIONARY_BYTES_MAX, Trial};
use super::dictionary;
use super::levels::PRESENT;
use super::numbers::pack;
use crate::columnar::columns::Slices;

pub(super) struct Strings {
    coding: Coding,
    trial: Trial,
    dictionary: dictionary::Strings,
    indices: Vec<u32>,
    plain: Vec<u8>,
    /// Of the values that are not in the dictionary.
    bounds: Bounds,
}

impl Strings {
    pub(super) fn new() -> Strings {
        Strings {
            coding: Coding::Undecided,
            trial: Trial::default(),
            dictionary: dictionary::Strings::new(),
            indices: Vec::new(),
            plain: Vec::new(),
            bounds: Bounds::default(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.dictionary.capacity() + self.indices.capacity() * size_of::<u32>() + self.plain.capacity()
    }

    pub(super) fn release(&mut self) {
        self.dictionary.release();
        (self.indices, self.plain) = (Vec::new(), Vec::new());
    }

    /// Bytes of the open page.
    pub(super) fn page_bytes(&self) -> usize {
        self.plain.len() + self.indices.len() * size_of::<u32>()
    }

    pub(super) fn dictionary_bytes(&self) -> usize {
        self.dictionary.page().len()
    }

    /// Appends values; `states` tells which of them are there.
    pub(super) fn extend(&mut self, slices: &Slices, entries: std::ops::Range<usize>, states: Option<&[u8]>) {
        let (bounds, bytes) = slices.parts();
        let bounds = &bounds[entries.start..=entries.end];
        let ranges = bounds.windows(2).map(|pair| (pair[0] as usize, pair[1] as usize));
        match states {
            None => self.extend_ranges(ranges, bytes),
            Some(states) => {
                let present = ranges.zip(states).filter(|(_, state)| **state == PRESENT);
                self.extend_ranges(present.map(|(range, _)| range), bytes);
            }
        }
    }

    fn extend_ranges(&mut self, ranges: impl Iterator<Item = (usize, usize)>, bytes: &[u8]) {
        if self.coding == Coding::Plain {
            for (from, to) in ranges {
                let value = &bytes[from..to];
                self.bounds.note(value);
                self.plain.extend_from_slice(&(value.len() as u32).to_le_bytes());
                self.plain.extend_from_slice(value);
            }
            return;
        }
        self.indices.reserve(ranges.size_hint().1.unwrap_or(0));
        self.dictionary.intern(bytes, ranges, &mut self.indices);
        if self.coding == Coding::Undecided && self.indices.len() >= Trial::VALUES {
            self.decide();
        }
    }

    /// Whether the dictionary has outgrown its use: the page ends, and the next one has another form.
    pub(super) fn gives_up(&mut self) -> bool {
        if self.dictionary_bytes() <= DICTIONARY_BYTES_MAX {
            return false;
        }
        if self.coding == Coding::Undecided {
            self.decide();
        }
        let gives_up = self.coding == Coding::Dictionary;
        if gives_up {
            self.coding = Coding::Plain;
        }
        gives_up
    }

    /// Keeps the dictionary of what was seen so far, or spells the values out.
    fn decide(&mut self) {
        self.trial.note(self.indices.len());
        if self.dictionary.len() <= self.indices.len() / 2 {
            self.coding = Coding::Dictionary;
            return;
        }
        self.coding = Coding::Plain;
        for &index in &self.indices {
            let value = self.dictionary.get(index);
            self.plain.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.plain.extend_from_slice(value);
        }
        self.note_dictionary();
        self.indices.clear();
        self.dictionary.release();
    }

    fn note_dictionary(&mut self) {
        for index in 0..self.dictionary.len() as u32 {
            self.bounds.note(self.dictionary.get(index));
        }
    }

    /// Appends the values of the page to `out`.
    pub(super) fn finish_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        if self.coding == Coding::Undecided && !self.indices.is_empty() {
            self.decide();
        }
        // The page that gives its dictionary up still has its form.
        if !self.indices.is_empty() {
            pack(&self.indices, self.dictionary.len(), out);
            self.indices.clear();
            Encoding::RLE_DICTIONARY
        } else {
            out.append(&mut self.plain);
            Encoding::PLAIN
        }
    }

    /// The dictionary as PLAIN, and how many values it has.
    pub(super) fn dictionary(&self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(self.dictionary.page());
        self.dictionary.len()
    }

    /// The least and the greatest value of the chunk.
    pub(super) fn bounds(&mut self) -> Option<(&[u8], &[u8])> {
        self.note_dictionary();
        self.bounds.get()
    }

    /// Begins another chunk.
    pub(super) fn finish_chunk(&mut self) {
        self.dictionary.clear();
        self.bounds.has_values = false;
        self.coding = self.trial.next_chunk(self.coding);
    }
}

/// The least and the greatest value, each with its first eight bytes as a number that orders alike.
#[derive(Default)]
struct Bounds {
    has_values: bool,
    min: (u64, Vec<u8>),
    max: (u64, Vec<u8>),
}

impl Bounds {
    #[inline]
    fn note(&mut self, value: &[u8]) {
        let prefix = prefix(value);
        if !self.has_values || prefix <= self.min.0 || prefix >= self.max.0 {
            self.note_near(prefix, value);
        }
    }

    fn note_near(&mut self, prefix: u64, value: &[u8]) {
        let set = |bound: &mut (u64, Vec<u8>)| {
            bound.0 = prefix;
            bound.1.clear();
            bound.1.extend_from_slice(value);
        };
        if !self.has_values || value < self.min.1.as_slice() {
            set(&mut self.min);
        }
        if !self.has_values || value > self.max.1.as_slice() {
            set(&mut self.max);
        }
        self.has_values = true;
    }

    fn get(&self) -> Option<(&[u8], &[u8])> {
        self.has_values.then_some((self.min.1.as_slice(), self.max.1.as_slice()))
    }
}

#[inline]
fn prefix(value: &[u8]) -> u64 {
    match value.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..value.len()].copy_from_slice(value);
            u64::from_be_bytes(first)
        }
    }
}
