//! Rows that are less friendly than their workload: keys in any order, keys that are missing, strings that need escapes.
//!
//! It owns what is done to a row after it was written, in the JSON and in the
//! canonical text alike. Its randomness is its own, so that what a workload
//! writes does not depend on it.

use crate::random::Random;
use crate::row::Member;

/// What is done to each row; nothing by default.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Variation {
    /// The members of the outermost object come in a new order in every row.
    pub shuffled: bool,
    /// Share of the outermost members that are left out, 0..=1.
    pub missing: f64,
    /// A third of the strings end in something that is escaped or is not ASCII.
    pub escapes: bool,
}

pub(crate) struct Varied {
    variation: Variation,
    random: Random,
    kept: Vec<usize>,
    json: Vec<u8>,
    canonical: Vec<u8>,
}

impl Varied {
    pub fn new(variation: Variation, seed: u64) -> Varied {
        let random = Random::new(seed.rotate_left(17));
        Varied { variation, random, kept: Vec::new(), json: Vec::new(), canonical: Vec::new() }
    }

    /// What draws the strings that get an ending.
    pub fn endings(&mut self) -> Option<&mut Random> {
        self.variation.escapes.then_some(&mut self.random)
    }

    /// Leaves members out and shuffles the rest.
    pub fn apply(&mut self, json: &mut Vec<u8>, canonical: &mut Vec<u8>, members: &[Member]) {
        if !self.variation.shuffled && self.variation.missing == 0.0 {
            return;
        }
        self.canonical.clear();
        self.kept.clear();
        for (index, member) in members.iter().enumerate() {
            if self.random.chance(self.variation.missing) {
                self.canonical.extend(b"~|".iter().cycle().take(2 * member.leaves));
            } else {
                let end = members.get(index + 1).map_or(canonical.len(), |next| next.canonical);
                self.canonical.extend_from_slice(&canonical[member.canonical..end]);
                self.kept.push(index);
            }
        }
        if self.variation.shuffled {
            for last in (1..self.kept.len()).rev() {
                self.kept.swap(last, self.random.below(last as u64 + 1) as usize);
            }
        }
        self.json.clear();
        self.json.push(b'{');
        for (place, &index) in self.kept.iter().enumerate() {
            if place > 0 {
                self.json.push(b',');
            }
            // A comma or the closing brace stands behind each member.
            let end = members.get(index + 1).map_or(json.len(), |next| next.json) - 1;
            self.json.extend_from_slice(&json[members[index].json..end]);
        }
        self.json.push(b'}');
        std::mem::swap(json, &mut self.json);
        std::mem::swap(canonical, &mut self.canonical);
    }
}
