//! Fields that the schema does not know, kept as JSON text.
//!
//! It owns the text of the column `_rescued`: one object, each unknown member
//! under its path from the top, `{"actor.new":1,"commits[0].gpg":null}`. Path
//! segments that hold `.`, `[`, `]` or a backquote are backquoted, so that no
//! two members share a path. Values are kept as they were written.

use std::ops::Range;

/// The unknown members of one record.
#[derive(Default)]
pub(super) struct Rescued {
    /// Paths and values, back to back.
    text: String,
    members: Vec<Member>,
    /// Scratch: the path at hand.
    path: String,
}

struct Member {
    path: Range<usize>,
    value: Range<usize>,
}

impl Rescued {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.members.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Keeps a member; `path` writes where it was found.
    pub(super) fn add(&mut self, path: impl FnOnce(&mut String), value: &str) {
        self.path.clear();
        path(&mut self.path);
        let start = self.text.len();
        self.text.push_str(&self.path);
        let middle = self.text.len();
        self.text.push_str(value);
        self.members.push(Member { path: start..middle, value: middle..self.text.len() });
    }

    /// Forgets what was found at or below a path: its value is being replaced by a later one.
    pub(super) fn forget(&mut self, path: impl FnOnce(&mut String)) {
        self.path.clear();
        path(&mut self.path);
        self.members.retain(|member| {
            let rest = self.text[member.path.clone()].strip_prefix(&self.path);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
    }

    /// Appends the object's text to `out`. Of two members with one path the last stays.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        self.keep_last();
        out.push(b'{');
        for (index, member) in self.members.iter().enumerate() {
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
        if self.members.len() < 2 {
            return;
        }
        let mut seen = std::collections::HashSet::with_capacity(self.members.len());
        let text = &self.text;
        let mut keep: Vec<bool> =
            self.members.iter().rev().map(|member| seen.insert(&text[member.path.clone()])).collect();
        self.members.retain(|_| keep.pop().expect("one flag per member"));
    }
}

/// Appends a member name to a path.
pub(super) fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    if !name.is_empty() && !name.contains(['.', '[', ']', '`']) {
        return path.push_str(name);
    }
    path.push('`');
    path.push_str(&name.replace('`', "``"));
    path.push('`');
}

/// What the grammar lets pass in a value that is kept as text, and we do not.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Unfit {
    /// A `\u` escape names half a surrogate pair.
    Surrogate,
    /// More containers inside each other than allowed.
    Depth,
}

/// Checks the text of a well-formed JSON value.
pub(super) fn check(text: &str, depth_max: usize) -> Result<(), Unfit> {
    let bytes = text.as_bytes();
    let (mut depth, mut at, mut in_string) = (0, 0, false);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => at = after_escape(bytes, at).ok_or(Unfit::Surrogate)?,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > depth_max {
                    return Err(Unfit::Depth);
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// Where the escape whose backslash stands before `at` ends.
fn after_escape(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'u') {
        return Some(at + 1);
    }
    match code_unit(bytes, at + 1)? {
        0xDC00..=0xDFFF => None,
        0xD800..=0xDBFF if bytes.get(at + 5..at + 7) == Some(b"\\u") => {
            matches!(code_unit(bytes, at + 7)?, 0xDC00..=0xDFFF).then_some(at + 11)
        }
        0xD800..=0xDBFF => None,
        _ => Some(at + 5),
    }
}

fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = std::str::from_utf8(bytes.get(at..at + 4)?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rescued: &mut Rescued) -> String {
        let mut out = Vec::new();
        rescued.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_last_of_equal_paths_stays() {
        let mut rescued = Rescued::default();
        rescued.add(|path| push_name(path, "a"), "1");
        rescued.add(|path| push_name(path, "\"b\""), "[1, 2]");
        rescued.add(|path| push_name(path, "a"), "null");
        assert_eq!(written(&mut rescued), r#"{"\"b\"":[1, 2],"a":null}"#);
    }

    #[test]
    fn forgetting_a_field_forgets_what_was_below_it() {
        let mut rescued = Rescued::default();
        for path in ["actor.new", "actor[0].x", "actors", "actor"] {
            rescued.add(|out| out.push_str(path), "1");
        }
        rescued.forget(|path| path.push_str("actor"));
        assert_eq!(written(&mut rescued), r#"{"actors":1}"#);
    }

    #[test]
    fn no_two_names_share_a_path() {
        let path = |names: &[&str]| {
            let mut path = String::new();
            names.iter().for_each(|name| push_name(&mut path, name));
            path
        };
        assert_eq!(path(&["a", "b"]), "a.b");
        assert_eq!(path(&["a.b"]), "`a.b`");
        assert_eq!(path(&["`a`.b", ""]), "```a``.b`.``");
    }

    #[test]
    fn surrogates_and_depth_are_checked_where_they_count() {
        assert_eq!(check(r#""\ud83d\ude00 \\u\"[[[""#, 0), Ok(()));
        assert_eq!(check(r#"{"a":["\\ud83d"]}"#, 2), Ok(()));
        assert_eq!(check(r#"[[],[[]]]"#, 2), Err(Unfit::Depth));
        for text in [r#""\ud83d""#, r#""\ude00\ud83d""#, r#""\ud83d\u0041""#, r#""\ud83dx""#] {
            assert_eq!(check(text, 0), Err(Unfit::Surrogate), "{text}");
        }
    }
}
