//! Definition and repetition levels, from validity and offsets.
//!
//! It owns how nulls, lists and maps above a leaf become levels. What is
//! uniform stays one number: a column without nulls and lists costs nothing
//! per row.
//!
//! A *slot* is a pair of levels. Most slots stand for an *entry*, a row of
//! the column that is looked at; a null or empty list leaves a slot without
//! an entry below it. Frames hold a slot each: [`PRESENT`], or the level at
//! which something above ended.

use std::ops::Range;

use super::hybrid;
use crate::columnar::columns::Offsets;
use crate::columnar::columns::read::Nulls;

/// The slot of an entry that is there so far. Above every level: types nest 64 deep at most.
pub(super) const PRESENT: u8 = u8::MAX;

/// A range of a column's entries and what is above them.
#[derive(Clone)]
pub(super) struct LevelRange {
    pub(super) entries: Range<usize>,
    /// The definition level of what is present.
    pub(super) level: u8,
    /// Slots below this level have no entry.
    base: u8,
    /// The frame with a slot's state; without one, every slot is present.
    states: Option<usize>,
    /// The frame with a slot's repetition level; without one, all are 0.
    repetition: Option<usize>,
    repetition_level: u8,
}

impl LevelRange {
    pub(super) fn of_rows(rows: Range<usize>) -> LevelRange {
        LevelRange { entries: rows, level: 0, base: 0, states: None, repetition: None, repetition_level: 0 }
    }
}

/// Memory for slots, one frame above the other.
#[derive(Default)]
pub(super) struct Frames {
    frames: Vec<Vec<u8>>,
    used: usize,
    /// The states of the entries only.
    of_entries: Vec<u8>,
}

impl Frames {
    pub(super) fn capacity(&self) -> usize {
        self.frames.iter().map(Vec::capacity).sum::<usize>() + self.of_entries.capacity()
    }

    pub(super) fn release(&mut self) {
        *self = Frames::default();
    }

    /// What to give back to [`Frames::leave`] when what is below is done.
    pub(super) fn enter(&self) -> usize {
        self.used
    }

    pub(super) fn leave(&mut self, entered: usize) {
        self.used = entered;
    }

    /// An empty frame, taken out of the stack to be filled; [`Frames::push`] puts it back.
    fn take(&mut self, above: usize) -> Vec<u8> {
        let at = self.used + above;
        if self.frames.len() <= at {
            self.frames.resize_with(at + 1, Vec::new);
        }
        let mut frame = std::mem::take(&mut self.frames[at]);
        frame.clear();
        frame
    }

    fn push(&mut self, frame: Vec<u8>) -> usize {
        self.frames[self.used] = frame;
        self.used += 1;
        self.used - 1
    }

    /// The place of a column that may hold nulls.
    pub(super) fn optional(&mut self, place: &LevelRange, nulls: Nulls<'_>) -> LevelRange {
        let mut below = LevelRange { level: place.level + 1, ..place.clone() };
        if nulls.any_in(place.entries.clone()) {
            let mut frame = self.take(0);
            match place.states {
                None => frame.extend(place.entries.clone().map(|entry| state(nulls, entry, place.level))),
                Some(states) => {
                    let mut entries = place.entries.clone();
                    frame.extend(self.frames[states].iter().map(|&above| {
                        if above < place.base {
                            return above;
                        }
                        let entry = entries.next().expect("an entry for every slot that has one");
                        if above == PRESENT { state(nulls, entry, place.level) } else { above }
                    }));
                }
            }
            below.states = Some(self.push(frame));
        }
        below
    }

    /// The place of a list's elements or a map's pairs.
    pub(super) fn repeated(&mut self, place: &LevelRange, offsets: &Offsets) -> LevelRange {
        let bounds = &offsets.bounds()[place.entries.start..=place.entries.end];
        let at = |index: usize| usize::try_from(bounds[index]).expect("offsets are never negative");
        let elements = at(0)..at(bounds.len() - 1);
        let (mut states, mut repetition) = (self.take(0), self.take(1));
        let again = place.repetition_level + 1;
        let above = place.states.map(|frame| self.frames[frame].as_slice());
        let repeats = place.repetition.map(|frame| self.frames[frame].as_slice());
        let slots = above.map_or(place.entries.len(), <[u8]>::len);
        let mut found = 0;
        let mut entry = 0;
        for slot in 0..slots {
            let state = above.map_or(PRESENT, |above| above[slot]);
            repetition.push(repeats.map_or(0, |repeats| repeats[slot]));
            if state < place.base {
                states.push(state);
                continue;
            }
            let length = at(entry + 1) - at(entry);
            entry += 1;
            if state != PRESENT || length == 0 {
                states.push(state.min(place.level));
                continue;
            }
            states.resize(states.len() + length, PRESENT);
            repetition.resize(states.len(), again);
            found += length;
        }
        assert_eq!(found, elements.len(), "a list or map that is null has no elements");
        let (states, repetition) = (self.push(states), self.push(repetition));
        LevelRange {
            entries: elements,
            level: place.level + 1,
            base: place.level + 1,
            states: Some(states),
            repetition: Some(repetition),
            repetition_level: again,
        }
    }

    /// The slots of a leaf.
    pub(super) fn slots(&mut self, place: &LevelRange) -> Slots<'_> {
        let states = place.states.map(|frame| self.frames[frame].as_slice());
        let repetition = place.repetition.map(|frame| self.frames[frame].as_slice());
        let entries = place.entries.clone();
        let count = states.map_or(entries.len(), <[u8]>::len);
        let present = match states {
            Some(states) => states.iter().filter(|&&state| state == PRESENT).count(),
            None => count,
        };
        let mut of_entries = None;
        if let Some(states) = states
            && present < entries.len()
        {
            self.of_entries.clear();
            self.of_entries.extend(states.iter().copied().filter(|&state| state >= place.base));
            of_entries = Some(self.of_entries.as_slice());
        }
        Slots { count, present, level: place.level, states, repetition, entries, of_entries }
    }
}

fn state(nulls: Nulls<'_>, entry: usize, level: u8) -> u8 {
    if nulls.contains(entry) { level } else { PRESENT }
}

/// The slots of a leaf and which of its entries are values.
pub(super) struct Slots<'a> {
    pub(super) count: usize,
    /// Slots with a value.
    pub(super) present: usize,
    level: u8,
    states: Option<&'a [u8]>,
    repetition: Option<&'a [u8]>,
    pub(super) entries: Range<usize>,
    /// The states of the entries, when some are no values.
    pub(super) of_entries: Option<&'a [u8]>,
}

/// The levels of one kind of a page.
#[derive(Default)]
pub(super) struct Levels {
    width: usize,
    /// While all are equal: the level and how often.
    uniform: (u8, usize),
    each: Vec<u8>,
}

impl Levels {
    pub(super) fn new(max: i16) -> Levels {
        let max = u32::try_from(max).expect("levels are never negative");
        Levels { width: if max == 0 { 0 } else { hybrid::bits_for(max) }, ..Levels::default() }
    }

    pub(super) fn capacity(&self) -> usize {
        self.each.capacity()
    }

    pub(super) fn release(&mut self) {
        self.each = Vec::new();
    }

    pub(super) fn extend_definition(&mut self, slots: &Slots<'_>) {
        match slots.states {
            Some(states) if slots.present < slots.count => {
                let level = slots.level;
                self.extend(slots.count, states.iter().map(|&state| state.min(level)));
            }
            _ => self.extend_uniform(slots.level, slots.count),
        }
    }

    pub(super) fn extend_repetition(&mut self, slots: &Slots<'_>) {
        if let Some(repetition) = slots.repetition {
            self.extend(slots.count, repetition.iter().copied());
        }
    }

    fn extend(&mut self, count: usize, levels: impl Iterator<Item = u8>) {
        self.spell_out(count);
        self.each.extend(levels);
    }

    fn extend_uniform(&mut self, level: u8, count: usize) {
        if self.width == 0 {
            return;
        }
        if self.each.is_empty() && (self.uniform.1 == 0 || self.uniform.0 == level) {
            self.uniform = (level, self.uniform.1 + count);
        } else {
            self.spell_out(count);
            self.each.resize(self.each.len() + count, level);
        }
    }

    fn spell_out(&mut self, more: usize) {
        let (level, count) = std::mem::take(&mut self.uniform);
        self.each.reserve(count + more);
        self.each.resize(self.each.len() + count, level);
    }

    /// Appends the page's levels behind their length; none are left here. Nothing where all are 0.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.width == 0 {
            return;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let (level, count) = std::mem::take(&mut self.uniform);
        if count > 0 {
            hybrid::run(level.into(), count, self.width, out);
        } else {
            hybrid::encode(&self.each, self.width, out);
            self.each.clear();
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}
