//! The bytes of an open file, cut into parts as they come.
//!
//! It owns the cutting: a part's memory is allocated once and never copied,
//! however large the row group is that fills it. It does not know where parts
//! go.

use std::io::{self, Write};
use std::mem;

use bytes::Bytes;

/// Below this a part grows by doubling: most files of a quiet table are small.
const FIRST_BYTES: usize = 256 << 10;

/// Takes a file's bytes and gives them out in parts of one size.
pub struct PartSink {
    part_bytes: usize,
    full: Vec<Bytes>,
    open: Vec<u8>,
}

impl PartSink {
    pub fn new(part_bytes: usize) -> PartSink {
        assert!(part_bytes > 0, "parts hold something");
        PartSink { part_bytes, full: Vec::new(), open: Vec::new() }
    }

    /// Sets the size of a part, before the first byte.
    pub fn parts_of(&mut self, part_bytes: usize) {
        assert_eq!(self.held(), 0, "parts have one size");
        *self = PartSink::new(part_bytes);
    }

    /// Bytes that were not taken.
    pub fn held(&self) -> usize {
        self.full.iter().map(Bytes::len).sum::<usize>() + self.open.len()
    }

    /// The parts that are full.
    pub fn take_full(&mut self) -> Vec<Bytes> {
        mem::take(&mut self.full)
    }

    /// What is left at the end of the file: parts of one size, the last one smaller or as large.
    pub fn take_all(&mut self) -> Vec<Bytes> {
        let mut parts = self.take_full();
        if !self.open.is_empty() {
            parts.push(mem::take(&mut self.open).into());
        }
        parts
    }

    /// Room for more bytes of the open part: by doubling first, then for all of it.
    fn make_room(&mut self) {
        let doubled = (2 * self.open.len()).clamp(FIRST_BYTES.min(self.part_bytes), self.part_bytes);
        let capacity = if doubled > self.part_bytes / 4 { self.part_bytes } else { doubled };
        self.open.reserve_exact(capacity - self.open.len());
    }
}

impl Write for PartSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.open.len() == self.open.capacity() {
                self.make_room();
            }
            let room = self.open.capacity().min(self.part_bytes) - self.open.len();
            let (now, later) = rest.split_at(rest.len().min(room));
            self.open.extend_from_slice(now);
            rest = later;
            if self.open.len() == self.part_bytes {
                self.full.push(mem::take(&mut self.open).into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_but_the_last_has_the_size_of_a_part() {
        for part_bytes in [1, 7, 1000, 3 << 20] {
            let mut sink = PartSink::new(part_bytes);
            let written: Vec<u8> = (0..7_000_000 / if part_bytes < 1000 { 1000 } else { 1 })
                .map(|at: u32| (at % 251) as u8)
                .collect();
            let mut parts = Vec::new();
            for chunk in written.chunks(999) {
                sink.write_all(chunk).unwrap();
                assert_eq!(sink.held() + parts.iter().map(Bytes::len).sum::<usize>(), {
                    let begun = chunk.as_ptr() as usize - written.as_ptr() as usize;
                    begun + chunk.len()
                });
                parts.append(&mut sink.take_full());
            }
            assert!(parts.iter().all(|part| part.len() == part_bytes));
            parts.append(&mut sink.take_all());
            assert!(parts.last().unwrap().len() <= part_bytes);
            assert_eq!(parts.concat(), written);
            assert_eq!(sink.held(), 0);
        }
    }
}
