//! Everything that the samples have at one place.
//!
//! It owns what is remembered of values: kinds, extremes, how often. What
//! type follows is the guess's.

use std::collections::HashMap;

use crate::columnar::json::Observer;
use crate::columnar::text::{self, DECIMAL_PRECISION_MAX, TextError};

/// Everything a field ever was.
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// How often it was there, null or not.
    pub(super) times: u64,
    pub(super) boolean: bool,
    pub(super) numbers: Option<Numbers>,
    pub(super) texts: Option<Texts>,
    pub(super) object: Option<Members>,
    pub(super) array: Option<Box<Seen>>,
}

#[derive(Clone)]
pub(super) struct Numbers {
    pub(super) lowest: f64,
    pub(super) highest: f64,
    /// Some number has a fraction or an exponent.
    pub(super) fractions: bool,
    /// Some integer is beyond BIGINT, and DECIMAL(38, 0) takes it.
    pub(super) large: bool,
    /// Some integer is beyond that, too.
    pub(super) huge: bool,
    /// Some integer does not come back from a DOUBLE as it was written.
    pub(super) rounded: bool,
    /// Some number is beyond DOUBLE.
    pub(super) beyond_double: bool,
}

#[derive(Clone)]
pub(super) struct Texts {
    /// Some text is no timestamp.
    pub(super) not_timestamp: bool,
    /// Digits before and behind the point, if every text is a decimal number.
    pub(super) decimal: Option<(usize, usize)>,
}

/// The members of an object in order of first appearance.
#[derive(Clone, Default)]
pub(super) struct Members {
    /// How many objects there were.
    pub(super) objects: u64,
    pub(super) fields: Vec<(String, Seen)>,
    index: HashMap<String, usize>,
}

impl Seen {
    pub(super) fn merge(&mut self, other: Seen) {
        self.times += other.times;
        self.boolean |= other.boolean;
        if let Some(other) = other.numbers {
            self.add_numbers(other);
        }
        if let Some(other) = other.texts {
            self.add_texts(other);
        }
        if let Some(members) = other.object {
            self.object.get_or_insert_default().merge(members);
        }
        if let Some(element) = other.array {
            self.array.get_or_insert_default().merge(*element);
        }
    }

    fn add_numbers(&mut self, other: Numbers) {
        match &mut self.numbers {
            None => self.numbers = Some(other),
            Some(numbers) => numbers.merge(&other),
        }
    }

    fn add_texts(&mut self, other: Texts) {
        match &mut self.texts {
            None => self.texts = Some(other),
            Some(texts) => texts.merge(&other),
        }
    }
}

impl Numbers {
    fn integer(value: i64) -> Numbers {
        let double = value as f64;
        Numbers {
            lowest: double,
            highest: double,
            fractions: false,
            large: false,
            huge: false,
            rounded: double.abs() >= DOUBLE_EXACT && double.to_string() != value.to_string(),
            beyond_double: false,
        }
    }

    /// A number that is no BIGINT.
    fn other(text: &str) -> Numbers {
        let double: f64 = text.parse().unwrap_or(f64::INFINITY);
        let fractions = text.contains(['.', 'e', 'E']);
        let fits = text::decimal(text, DECIMAL_PRECISION_MAX, 0) != Err(TextError::Range);
        Numbers {
            lowest: double,
            highest: double,
            fractions,
            large: !fractions && fits,
            huge: !fractions && !fits,
            rounded: !fractions && double.to_string() != text,
            beyond_double: double.is_infinite(),
        }
    }

    fn merge(&mut self, other: &Numbers) {
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
        self.fractions |= other.fractions;
        self.large |= other.large;
        self.huge |= other.huge;
        self.rounded |= other.rounded;
        self.beyond_double |= other.beyond_double;
    }
}

/// Below this a DOUBLE holds every integer.
const DOUBLE_EXACT: f64 = 9_007_199_254_740_992.0;

impl Texts {
    fn of(text: &str) -> Texts {
        Texts { not_timestamp: text::timestamp(text).is_err(), decimal: decimal_digits(text) }
    }

    fn merge(&mut self, other: &Texts) {
        self.not_timestamp |= other.not_timestamp;
        let both = self.decimal.zip(other.decimal);
        self.decimal = both.map(|(one, other)| (one.0.max(other.0), one.1.max(other.1)));
    }
}

/// Digits before and behind the point of a decimal number without an exponent.
fn decimal_digits(text: &str) -> Option<(usize, usize)> {
    if text.contains(['e', 'E']) || text::decimal(text, DECIMAL_PRECISION_MAX, 0) == Err(TextError::Form) {
        return None;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Some((whole.trim_start_matches('-').len(), fraction.len()))
}

impl Members {
    pub(super) fn merge(&mut self, other: Members) {
        self.objects += other.objects;
        for (name, seen) in other.fields {
            self.at(&name).merge(seen);
        }
    }

    fn at(&mut self, name: &str) -> &mut Seen {
        let index = match self.index.get(name) {
            Some(index) => *index,
            None => {
                self.index.insert(name.to_owned(), self.fields.len());
                self.fields.push((name.to_owned(), Seen::default()));
                self.fields.len() - 1
            }
        };
        &mut self.fields[index].1
    }
}

impl Observer for Seen {
    fn boolean(&mut self) {
        self.boolean = true;
    }

    fn integer(&mut self, value: i64) {
        self.add_numbers(Numbers::integer(value));
    }

    fn number(&mut self, text: &str) {
        self.add_numbers(Numbers::other(text));
    }

    fn text(&mut self, text: &str) {
        self.add_texts(Texts::of(text));
    }

    fn object(&mut self) {
        self.object.get_or_insert_default().objects += 1;
    }

    fn member(&mut self, name: &str) -> &mut Seen {
        let member = self.object.get_or_insert_default().at(name);
        member.times += 1;
        member
    }

    fn array(&mut self) {
        self.array.get_or_insert_default();
    }

    fn element(&mut self) -> &mut Seen {
        let element = self.array.get_or_insert_default();
        element.times += 1;
        element
    }
}
