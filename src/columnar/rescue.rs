//! Fields that the schema does not know, kept as JSON text.
//!
//! It owns the text of the column `_rescued`: one object, each unknown member
//! under its path from the top, `{"actor.new":1,"commits[0].gpg":null}`. Path
//! segments that hold `.`, `[`, `]` or a backquote are backquoted, so that no
//! two members share a path. Values are kept as they were written. A null is
//! the same as no member, for an unknown field as for a known one: it is not
//! kept, and of equal paths one that comes last takes the others with it.

use std::collections::HashSet;
use std::ops::Range;

/// Memory that a buffer keeps from record to record.
pub(super) const KEPT_BYTES_MAX: usize = 64 << 10;

/// A value that says as much as a missing member.
const NULL: &str = "null";

/// Members up to which every pair of paths is compared.
const PAIRWISE_MAX: usize = 16;

/// The unknown members of one record.
pub(super) struct Rescued {
    /// Paths and values, back to back.
    text: String,
    members: Vec<Member>,
    /// Members that were not forgotten.
    live: usize,
    bytes_max: usize,
    /// Scratch: the path at hand.
    path: String,
}

struct Member {
    path: Range<usize>,
    value: Range<usize>,
    live: bool,
}

impl Rescued {
    /// `bytes_max` bounds the paths and values of one record: short members below long paths grow.
    pub(super) fn new(bytes_max: usize) -> Rescued {
        Rescued { text: String::new(), members: Vec::new(), live: 0, bytes_max, path: String::new() }
    }

    pub(super) fn clear(&mut self) {
        if self.members.is_empty() {
            return;
        }
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES_MAX);
        self.members.clear();
        self.members.shrink_to(KEPT_BYTES_MAX / size_of::<Member>());
        self.live = 0;
    }

    /// Whether there is something to write: of members with one path the last counts, and no null.
    pub(super) fn resolve(&mut self) -> bool {
        if self.live == 0 {
            return false;
        }
        self.keep_last();
        for member in &mut self.members {
            member.live &= &self.text[member.value.clone()] != NULL;
        }
        self.members.iter().any(|member| member.live)
    }

    /// Members added so far, forgotten ones too: the range between two marks is what came between them.
    pub(super) fn mark(&self) -> usize {
        self.members.len()
    }

    /// Keeps a member; `path` writes where it was found. False when it no longer fits.
    pub(super) fn add(&mut self, path: impl FnOnce(&mut String), value: &str) -> bool {
        if self.live == 0 && value == NULL {
            return true;
        }
        self.path.clear();
        path(&mut self.path);
        let start = self.text.len();
        self.text.push_str(&self.path);
        let middle = self.text.len();
        self.text.push_str(value);
        let end = self.text.len();
        self.members.push(Member { path: start..middle, value: middle..end, live: true });
        self.live += 1;
        end <= self.bytes_max
    }

    /// Forgets what came between two marks: the value that it was found in is replaced by a later one.
    pub(super) fn forget(&mut self, marks: Range<usize>) {
        for member in &mut self.members[marks] {
            self.live -= usize::from(std::mem::replace(&mut member.live, false));
        }
    }

    /// Appends the text of what is left after [`Rescued::resolve`].
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, member) in self.members.iter().filter(|member| member.live).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut *out, &self.text[member.path.clone()])
                .expect("a Vec takes every byte");
            out.push(b':');
            out.extend_from_slice(self.text[member.value.clone()].as_bytes());
        }
        out.push(b'}');
    }

    fn keep_last(&mut self) {
        if self.live > PAIRWISE_MAX {
            let mut seen = HashSet::with_capacity(self.live);
            for member in self.members.iter_mut().rev().filter(|member| member.live) {
                member.live = seen.insert(&self.text[member.path.clone()]);
            }
            return;
        }
        for index in 0..self.members.len() {
            let (member, later) = self.members[index..].split_first_mut().expect("a member is there");
            let path = &self.text[member.path.clone()];
            member.live &= !later.iter().any(|other| other.live && &self.text[other.path.clone()] == path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rescued: &mut Rescued) -> Option<String> {
        let mut out = Vec::new();
        rescued.resolve().then(|| rescued.write(&mut out))?;
        Some(String::from_utf8(out).unwrap())
    }

    fn rescued(members: &[(&str, &str)]) -> Rescued {
        let mut rescued = Rescued::new(10_000);
        for (path, value) in members {
            assert!(rescued.add(|out| out.push_str(path), value));
        }
        rescued
    }

    #[test]
    fn the_last_of_equal_paths_stays() {
        let mut rescued = rescued(&[("a", "1"), ("\"b\"", "[1, 2]"), ("a", "2")]);
        assert_eq!(written(&mut rescued).unwrap(), r#"{"\"b\"":[1, 2],"a":2}"#);
    }

    #[test]
    fn a_null_is_not_kept_and_takes_its_equals_with_it() {
        assert_eq!(written(&mut rescued(&[("a", "null"), ("b.c", "null")])), None);
        assert_eq!(written(&mut rescued(&[("a", "1"), ("a", "null")])), None);
        assert_eq!(written(&mut rescued(&[("a", "null"), ("a", "1")])).unwrap(), r#"{"a":1}"#);
        let mut mixed = rescued(&[("a", "1"), ("b", "null"), ("c", "\"null\""), ("d", "[null]")]);
        assert_eq!(written(&mut mixed).unwrap(), r#"{"a":1,"c":"null","d":[null]}"#);
        let many: Vec<String> = (0..100).map(|n| format!("f{n}")).collect();
        let set = many.iter().map(|path| (path.as_str(), "1"));
        let unset = many.iter().map(|path| (path.as_str(), "null"));
        assert_eq!(written(&mut rescued(&set.chain(unset).collect::<Vec<_>>())), None);
    }

    #[test]
    fn what_is_forgotten_is_not_written() {
        let mut rescued = rescued(&[("actor.new", "1"), ("actor[0].x", "1"), ("actors", "1")]);
        rescued.forget(0..2);
        rescued.forget(1..2);
        assert_eq!(written(&mut rescued).unwrap(), r#"{"actors":1}"#);
        rescued.forget(0..rescued.mark());
        assert_eq!(written(&mut rescued), None);
    }

    #[test]
    fn what_no_longer_fits_is_said() {
        let mut rescued = Rescued::new(4);
        assert!(rescued.add(|out| out.push('a'), "1"));
        assert!(rescued.add(|out| out.push('b'), "2"));
        assert!(!rescued.add(|out| out.push('c'), "3"));
        rescued.clear();
        assert!(!rescued.resolve() && rescued.add(|out| out.push('a'), "1"));
    }
}
