//! Which offsets were seen: one bit each, in pages that are made when needed.
//!
//! It owns the set. What an offset stands for is the audit's.

use std::collections::BTreeMap;

const PAGE_WORDS: usize = 1024;
/// Offsets of a page.
const PAGE: i64 = 64 * PAGE_WORDS as i64;
pub const PAGE_BYTES: usize = 8 * PAGE_WORDS;

#[derive(Debug, Default)]
pub struct OffsetSet {
    pages: BTreeMap<i64, Box<[u64; PAGE_WORDS]>>,
}

impl OffsetSet {
    /// False if it was there.
    pub fn insert(&mut self, offset: i64) -> bool {
        let (page, word, bit) = place(offset);
        let words = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let fresh = words[word] & bit == 0;
        words[word] |= bit;
        fresh
    }

    pub fn contains(&self, offset: i64) -> bool {
        let (page, word, bit) = place(offset);
        self.pages.get(&page).is_some_and(|words| words[word] & bit != 0)
    }

    /// How many of `[start, next)` were seen.
    pub fn count(&self, start: i64, next: i64) -> u64 {
        if start >= next {
            return 0;
        }
        let (first, last) = (start.div_euclid(PAGE), (next - 1).div_euclid(PAGE));
        let mut count = 0;
        for (&page, words) in self.pages.range(first..=last) {
            for (index, &word) in words.iter().enumerate() {
                let at = page * PAGE + 64 * index as i64;
                // Bits of the word below `start`, and those at `next` and above, are left out.
                let low = (start - at).clamp(0, 64) as u32;
                let high = (next - at).clamp(0, 64) as u32;
                if low < high {
                    let kept = (u64::MAX >> (64 - (high - low))) << low;
                    count += u64::from((word & kept).count_ones());
                }
            }
        }
        count
    }

    pub fn first(&self) -> Option<i64> {
        let (&page, words) = self.pages.first_key_value()?;
        let word = words.iter().position(|word| *word != 0)?;
        Some(page * PAGE + 64 * word as i64 + i64::from(words[word].trailing_zeros()))
    }

    pub fn pages(&self) -> usize {
        self.pages.len()
    }
}

fn place(offset: i64) -> (i64, usize, u64) {
    let within = offset.rem_euclid(PAGE);
    (offset.div_euclid(PAGE), (within / 64) as usize, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_seen_once() {
        let mut set = OffsetSet::default();
        for offset in [-1, 0, 63, 64, PAGE - 1, PAGE, i64::MAX, i64::MIN] {
            assert!(!set.contains(offset));
            assert!(set.insert(offset), "{offset}");
            assert!(!set.insert(offset), "{offset}");
            assert!(set.contains(offset));
        }
        assert_eq!(set.first(), Some(i64::MIN));
    }

    #[test]
    fn counts_are_of_the_span_only() {
        let mut set = OffsetSet::default();
        (0..3 * PAGE).step_by(3).for_each(|offset| assert!(set.insert(offset)));
        for (start, next) in [
            (0, 3),
            (0, 4),
            (1, 3),
            (5, 5),
            (9, 2),
            (60, 70),
            (PAGE - 2, PAGE + 2),
            (0, 3 * PAGE),
            (7, 2 * PAGE),
        ] {
            let expected = (start..next).filter(|offset| offset % 3 == 0).count() as u64;
            assert_eq!(set.count(start, next), expected, "{start}..{next}");
        }
    }
}
