//! Which columns of a table have statistics, as its properties say.
//!
//! It owns the two properties of Delta and their spelling. What the
//! statistics hold is not its concern.

use std::collections::BTreeMap;

/// Columns with statistics where a table does not say.
const FIRST: usize = 32;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Indexed {
    /// So many of the first columns, members of structs counted each.
    First(usize),
    /// These columns, and all members of those that are structs.
    Named(Vec<Vec<String>>),
}

impl Default for Indexed {
    fn default() -> Indexed {
        Indexed::First(FIRST)
    }
}

impl Indexed {
    /// What a table's properties ask for. A value that means nothing is none.
    pub fn of(properties: &BTreeMap<String, Option<String>>) -> Indexed {
        let property = |key: &str| properties.get(key).and_then(Option::as_deref);
        if let Some(named) = property("delta.dataSkippingStatsColumns").and_then(paths) {
            return Indexed::Named(named);
        }
        match property("delta.dataSkippingNumIndexedCols").and_then(|count| count.trim().parse::<i64>().ok())
        {
            Some(-1) => Indexed::First(usize::MAX),
            Some(count) => usize::try_from(count).map_or_else(|_| Indexed::default(), Indexed::First),
            None => Indexed::default(),
        }
    }

    /// Whether a column has statistics: its place among the columns, and its path.
    pub fn takes(&self, place: usize, path: &[&str]) -> bool {
        match self {
            Indexed::First(count) => place < *count,
            Indexed::Named(named) => named.iter().any(|name| {
                let is_below = name.len() <= path.len();
                is_below && name.iter().zip(path).all(|(one, other)| one.eq_ignore_ascii_case(other))
            }),
        }
    }
}

/// Paths between commas, their names between points; what stands in backquotes is one name.
fn paths(text: &str) -> Option<Vec<Vec<String>>> {
    let (mut paths, mut path, mut name) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut dead_letters) = (false, text.chars().peekable());
    while let Some(dead_letter) = dead_letters.next() {
        match dead_letter {
            // Two in a quoted name stand for one.
            '`' if quoted && dead_letters.next_if_eq(&'`').is_some() => name.push('`'),
            '`' => quoted = !quoted,
            '.' if !quoted => path.push(std::mem::take(&mut name)),
            ',' if !quoted => {
                path.push(std::mem::take(&mut name));
                paths.push(std::mem::take(&mut path));
            }
            dead_letter if quoted || !dead_letter.is_whitespace() => name.push(dead_letter),
            _ => {}
        }
    }
    path.push(name);
    paths.push(path);
    let is_sound = !quoted && paths.iter().flatten().all(|name| !name.is_empty());
    is_sound.then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(properties: &[(&str, &str)]) -> Indexed {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), Some((*value).to_owned()));
        Indexed::of(&properties.iter().map(pair).collect())
    }

    const COUNT: &str = "delta.dataSkippingNumIndexedCols";
    const NAMES: &str = "delta.dataSkippingStatsColumns";

    #[test]
    fn properties_say_which_columns_have_statistics() {
        assert_eq!(of(&[]), Indexed::First(32));
        assert_eq!(of(&[(COUNT, "2")]), Indexed::First(2));
        assert_eq!(of(&[(COUNT, "0")]), Indexed::First(0));
        assert_eq!(of(&[(COUNT, "-1")]), Indexed::First(usize::MAX));
        for senseless in ["-2", "all", ""] {
            assert_eq!(of(&[(COUNT, senseless)]), Indexed::First(32), "{senseless}");
        }
        let named = of(&[(COUNT, "1"), (NAMES, "id, s.`a.b`,`tick``ed`")]);
        for (path, is_taken) in [
            (&["id"][..], true),
            (&["ID"], true),
            (&["s"], false),
            (&["s", "a.b"], true),
            (&["s", "a.b", "deep"], true),
            (&["s", "a"], false),
            (&["tick`ed"], true),
            (&["other"], false),
        ] {
            assert_eq!(named.takes(0, path), is_taken, "{path:?}");
        }
        for senseless in ["", "a,", "`a", "a..b"] {
            assert_eq!(of(&[(NAMES, senseless)]), Indexed::First(32), "{senseless}");
        }
    }
}
