//! Rows that are less friendly than their workload: keys in any order, keys that are missing, many shapes in
//! turn, fields that nobody knows, strings that need escapes.
//!
//! It owns what is done to a row after it was written, in the JSON and in the
//! canonical text alike, in objects at every depth. Its randomness is its own,
//! so that what a workload writes does not depend on it.

use std::ops::Range;

use crate::outline::{Member, Outline};
use crate::random::Random;

/// What is done to each row; nothing by default.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Variation {
    /// The members of each object come in a new order in every row.
    pub shuffled: bool,
    /// Share of the members that are left out, 0..=1.
    pub missing: f64,
    /// So many shapes take turns at random: each has an order of its own and leaves out a fifth of the members, always
    /// the same ones.
    pub shapes: u64,
    /// So many members of the outermost object that the schema does not know.
    pub unknown: usize,
    /// A third of the strings end in something that has to be escaped.
    pub escapes: bool,
    /// A third of the strings end in something that is not ASCII.
    pub non_ascii: bool,
}

/// Of the members, what a shape leaves out.
const LEFT_OUT_OF_A_SHAPE: f64 = 0.2;

/// What the schema does not know, again and again.
const UNKNOWN: [&str; 5] = [
    r#":"a0d1c6a2-7b3e-4f53-9c55-1f0c2f5b7f11""#,
    ":1234567",
    r#":{"a":[1,2,3],"b":null}"#,
    ":true",
    r#":"said \"no\"""#,
];

pub(crate) struct Varied {
    variation: Variation,
    seed: u64,
    random: Random,
    /// By member.
    left_out: Vec<bool>,
    /// The members of the objects that are being written, each in its new order.
    order: Vec<usize>,
    json: Vec<u8>,
    canonical: Vec<u8>,
}

/// What strings get at their ends.
pub(crate) struct Endings<'a> {
    pub escapes: bool,
    pub non_ascii: bool,
    pub random: &'a mut Random,
}

impl Varied {
    pub fn new(variation: Variation, seed: u64) -> Varied {
        Varied {
            variation,
            seed,
            random: Random::new(seed.rotate_left(17)),
            left_out: Vec::new(),
            order: Vec::new(),
            json: Vec::new(),
            canonical: Vec::new(),
        }
    }

    pub fn endings(&mut self) -> Option<Endings<'_>> {
        let Variation { escapes, non_ascii, .. } = self.variation;
        (escapes || non_ascii).then_some(Endings { escapes, non_ascii, random: &mut self.random })
    }

    /// Leaves members out, puts the rest in another order, adds unknown ones.
    pub fn apply(&mut self, json: &mut Vec<u8>, canonical: &mut Vec<u8>, outline: &Outline) {
        let Variation { shuffled, missing, shapes, unknown, .. } = self.variation;
        if !shuffled && missing == 0.0 && shapes == 0 && unknown == 0 {
            return;
        }
        let members = &outline.members;
        let shape = (shapes > 0).then(|| self.random.below(shapes));
        self.left_out.clear();
        for member in members {
            let left_out = match shape {
                Some(shape) => Random::new(self.traits(shape, json, member)).chance(LEFT_OUT_OF_A_SHAPE),
                None => self.random.chance(missing),
            };
            self.left_out.push(left_out);
        }
        self.canonical.clear();
        self.leaves(canonical, members, 0..members.len(), 0..canonical.len());
        self.json.clear();
        self.json.push(b'{');
        self.object(json, members, 0..members.len(), shape);
        self.add_unknown();
        self.json.push(b'}');
        std::mem::swap(json, &mut self.json);
        std::mem::swap(canonical, &mut self.canonical);
    }

    /// What a shape does with all members of one name.
    fn traits(&self, shape: u64, json: &[u8], member: &Member) -> u64 {
        let name = json[member.json.start + 1..].split(|&byte| byte == b'"').next().unwrap_or_default();
        let start = Random::new(self.seed ^ shape << 32).draw();
        name.iter().fold(start, |mixed, &byte| Random::new(mixed ^ u64::from(byte)).draw())
    }

    /// The canonical text of some neighbouring members and of what stands around them.
    fn leaves(&mut self, from: &[u8], members: &[Member], of: Range<usize>, text: Range<usize>) {
        let (mut at, mut next) = (text.start, of.start);
        while next < of.end {
            let member = &members[next];
            self.canonical.extend_from_slice(&from[at..member.canonical.start]);
            if self.left_out[next] {
                self.canonical.extend(b"~|".iter().cycle().take(2 * member.leaves));
            } else {
                self.leaves(from, members, next + 1..member.after, member.canonical.clone());
            }
            (at, next) = (member.canonical.end, member.after);
        }
        self.canonical.extend_from_slice(&from[at..text.end]);
    }

    /// The members of one object, without its braces.
    fn object(&mut self, from: &[u8], members: &[Member], of: Range<usize>, shape: Option<u64>) {
        let first = self.order.len();
        let mut next = of.start;
        while next < of.end {
            if !self.left_out[next] {
                self.order.push(next);
            }
            next = members[next].after;
        }
        self.arrange(first, from, members, shape);
        for place in first..self.order.len() {
            if place > first {
                self.json.push(b',');
            }
            self.member(from, members, self.order[place], shape);
        }
        self.order.truncate(first);
    }

    fn arrange(&mut self, first: usize, from: &[u8], members: &[Member], shape: Option<u64>) {
        if let Some(shape) = shape {
            let mut order = std::mem::take(&mut self.order);
            order[first..].sort_unstable_by_key(|&index| self.traits(!shape, from, &members[index]));
            self.order = order;
        } else if self.variation.shuffled {
            for last in (first + 1..self.order.len()).rev() {
                let other = first + self.random.below((last - first) as u64 + 1) as usize;
                self.order.swap(last, other);
            }
        }
    }

    /// A member, and the objects in its value.
    fn member(&mut self, from: &[u8], members: &[Member], index: usize, shape: Option<u64>) {
        let member = &members[index];
        let (mut at, mut next) = (member.json.start, index + 1);
        while next < member.after {
            let (start, mut last) = (next, next);
            while next < member.after && members[next].object == members[start].object {
                (last, next) = (next, members[next].after);
            }
            self.json.extend_from_slice(&from[at..members[start].json.start]);
            self.object(from, members, start..next, shape);
            at = members[last].json.end;
        }
        self.json.extend_from_slice(&from[at..member.json.end]);
    }

    fn add_unknown(&mut self) {
        for number in 0..self.variation.unknown {
            if self.json.len() > 1 {
                self.json.push(b',');
            }
            self.json.extend_from_slice(format!("\"unknown_{number}\"").as_bytes());
            self.json.extend_from_slice(UNKNOWN[number % UNKNOWN.len()].as_bytes());
        }
    }
}
