//! Objects and arrays: their members, entries and elements.
//!
//! It owns equal keys, missing fields, and members that the schema does not
//! know. What a value may be is `value`'s.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::Parser;
use super::input::{Input, Parsed, Stop};
use super::plan::{FieldPlan, Follower, StructPlan};
use super::record::Frame;
use crate::columnar::bad::BadReason;
use crate::columnar::columns::{Column, Data, Slices};
use crate::config::OnNewField;

/// Fields whose presence is one bit; what stands beyond them is asked of its column.
const BITS: usize = u64::BITS as usize;

/// Which fields of one object have a value.
#[derive(Clone, Copy)]
struct Filled(u64);

impl Filled {
    /// Notes a field; false if it has a value already.
    #[inline(always)]
    fn add(&mut self, index: usize, column: &Column, row: usize) -> bool {
        if index >= BITS {
            return column.len() == row;
        }
        let before = self.0;
        self.0 |= 1 << index;
        self.0 != before
    }

    fn has(self, index: usize, column: &Column, row: usize) -> bool {
        if index < BITS { self.0 & 1 << index != 0 } else { column.len() > row }
    }

    /// All of so many fields have a value; false where only their columns know.
    #[inline(always)]
    fn is_complete(self, fields: usize) -> bool {
        fields < BITS && self.0 == (1 << fields) - 1
    }
}

impl<'a> Parser<'_> {
    /// The members of an object whose brace was read, into a row of child columns; tells where it ended.
    ///
    /// The input is a copy that stays in registers while names are the expected ones and values are plain.
    pub(super) fn members(
        &mut self,
        mut input: Input<'_>,
        plan: &StructPlan,
        children: &mut [Column],
        row: usize,
        frame: &Frame<'_>,
    ) -> Parsed<usize> {
        let mut filled = Filled(0);
        let mut follower = &plan.first;
        let origins = self.state.origins.len();
        loop {
            let mut index = follower.get();
            let field = match plan.fields.get(index) {
                Some(field) if input.take_literal(&field.literal) => field,
                _ => {
                    let mut rest = input;
                    let name = self.name(&mut rest, plan, follower, frame)?;
                    input.go_to(rest.at());
                    match name {
                        Name::Field(found) => {
                            index = found;
                            &plan.fields[found]
                        }
                        Name::Unknown if input.continues(b'}')? => continue,
                        Name::Unknown | Name::End => break,
                    }
                }
            };
            follower = &field.follower;
            let column = &mut children[field.column];
            if !filled.add(index, column, row) {
                column.truncate(row);
                self.state.forget_origins(origins, |at| at == index);
            }
            if !input.plain_value(column)? {
                frame.at.set(index);
                let mut rest = input;
                self.value(&mut rest, column, field, frame)?;
                input.go_to(rest.at());
            }
            if !input.continues(b'}')? {
                break;
            }
        }
        self.state.origins.truncate(origins);
        if !filled.is_complete(plan.fields.len()) {
            self.fill_missing(plan, children, row, filled, frame)?;
        }
        Ok(input.at())
    }

    #[inline(never)]
    fn fill_missing(
        &mut self,
        plan: &StructPlan,
        children: &mut [Column],
        row: usize,
        filled: Filled,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        for (index, field) in plan.fields.iter().enumerate() {
            let column = &mut children[field.column];
            if filled.has(index, column, row) {
                continue;
            }
            if !field.nullable {
                frame.at.set(index);
                let detail = "no value, and the column is NOT NULL";
                return Err(self.state.fail(frame, BadReason::Missing, detail));
            }
            column.push_null();
        }
        Ok(())
    }

    /// What stands where a name is expected, when it is not the expected one. An unknown member is
    /// read to its end.
    #[inline(never)]
    fn name(
        &mut self,
        input: &mut Input<'a>,
        plan: &StructPlan,
        follower: &Follower,
        frame: &Frame<'_>,
    ) -> Parsed<Name> {
        let is_first = input.was_just_opened();
        input.skip_whitespace();
        let expected = follower.get();
        if plan.fields.get(expected).is_some_and(|field| input.take_literal(&field.literal)) {
            return Ok(Name::Field(expected));
        }
        if is_first && input.take(b'}') {
            return Ok(Name::End);
        }
        let name = self.key(input)?;
        if let Some(index) = plan.find(&name) {
            follower.set(index);
            return Ok(Name::Field(index));
        }
        self.unknown(input, &name, frame)?;
        Ok(Name::Unknown)
    }

    /// A member's name, up to and with the colon.
    fn key(&mut self, input: &mut Input<'a>) -> Parsed<Cow<'a, str>> {
        if !input.take(b'"') {
            return Err(Stop);
        }
        let key = input.key(&mut self.state.scratch)?;
        if !input.take(b':') {
            input.skip_whitespace();
            if !input.take(b':') {
                return Err(Stop);
            }
        }
        Ok(key)
    }

    /// Reads over the value of a member that the schema does not know.
    fn unknown(&mut self, input: &mut Input<'a>, name: &str, frame: &Frame<'_>) -> Parsed<()> {
        self.state.admit_unknown(frame, name)?;
        input.skip_whitespace();
        let start = input.at();
        self.skip_value(input, frame.depth, frame)?;
        if self.state.on_new_field == OnNewField::Rescue {
            self.state.keep_unknown(frame, name, input.since(start))?;
        }
        Ok(())
    }

    /// Reads over a value inside of `depth` objects and arrays.
    fn skip_value(&mut self, input: &mut Input<'a>, depth: usize, frame: &Frame<'_>) -> Parsed<()> {
        match input.peek() {
            b'"' => {
                input.advance(1);
                input.skip_string(&mut self.state.scratch)
            }
            b'-' | b'0'..=b'9' => input.number().map(|_| ()),
            b't' => input.take_word(b"true"),
            b'f' => input.take_word(b"false"),
            b'n' => input.take_word(b"null"),
            b'{' | b'[' if depth >= self.state.depth_max => Err(self.state.too_deep(frame)),
            b'{' => self.skip_object(input, depth + 1, frame),
            b'[' => self.skip_array(input, depth + 1, frame),
            _ => Err(Stop),
        }
    }

    fn skip_object(&mut self, input: &mut Input<'a>, depth: usize, frame: &Frame<'_>) -> Parsed<()> {
        input.advance(1);
        input.skip_whitespace();
        if input.take(b'}') {
            return Ok(());
        }
        loop {
            input.skip_whitespace();
            if !input.take(b'"') {
                return Err(Stop);
            }
            input.skip_string(&mut self.state.scratch)?;
            input.skip_whitespace();
            if !input.take(b':') {
                return Err(Stop);
            }
            input.skip_whitespace();
            self.skip_value(input, depth, frame)?;
            if !input.continues(b'}')? {
                return Ok(());
            }
        }
    }

    fn skip_array(&mut self, input: &mut Input<'a>, depth: usize, frame: &Frame<'_>) -> Parsed<()> {
        input.advance(1);
        input.skip_whitespace();
        if input.take(b']') {
            return Ok(());
        }
        loop {
            input.skip_whitespace();
            self.skip_value(input, depth, frame)?;
            if !input.continues(b']')? {
                return Ok(());
            }
        }
    }

    /// The elements of an array whose bracket was read.
    pub(super) fn elements(
        &mut self,
        input: &mut Input<'a>,
        plan: &FieldPlan,
        element: &mut Column,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        input.skip_whitespace();
        if input.take(b']') {
            return Ok(());
        }
        for index in 0.. {
            frame.at.set(index);
            self.any_value(input, element, plan, frame)?;
            if !input.continues(b']')? {
                break;
            }
        }
        Ok(())
    }

    /// The entries of a map whose brace was read; its entries begin at `start`.
    pub(super) fn entries(
        &mut self,
        input: &mut Input<'a>,
        plan: &FieldPlan,
        key: &mut Column,
        value: &mut Column,
        start: usize,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        input.skip_whitespace();
        if input.take(b'}') {
            return Ok(());
        }
        let (keys, origins) = (self.state.keys.len(), self.state.origins.len());
        frame.at.set(keys);
        loop {
            input.skip_whitespace();
            let name = self.key(input)?;
            strings(key).push(name.as_bytes());
            self.state.keys.push_str(&name);
            self.any_value(input, value, plan, frame)?;
            self.state.keys.truncate(keys);
            if !input.continues(b'}')? {
                break;
            }
        }
        let range = start..key.len();
        if has_duplicates(strings(key), range, &mut self.state.order) {
            let kept = keep_last(key, value, start);
            self.state.forget_origins(origins, |at| kept.binary_search(&at).is_err());
        }
        self.state.origins.truncate(origins);
        Ok(())
    }
}

/// What stood in an object where a name was expected.
enum Name {
    Field(usize),
    /// A member that the schema does not know, its value read.
    Unknown,
    End,
}

fn strings(column: &mut Column) -> &mut Slices {
    match &mut column.data {
        Data::String(slices) => slices,
        _ => unreachable!("only maps with STRING keys are planned"),
    }
}

/// Entries up to which every pair of keys is compared.
const PAIRWISE_MAX: usize = 16;

/// Whether keys from `start` on are equal; `order` is scratch.
fn has_duplicates(keys: &Slices, range: Range<usize>, order: &mut Vec<usize>) -> bool {
    if range.len() <= PAIRWISE_MAX {
        let start = range.start;
        return range.into_iter().any(|at| (start..at).any(|before| keys.get(before) == keys.get(at)));
    }
    order.clear();
    order.extend(range);
    order.sort_unstable_by(|a, b| keys.get(*a).cmp(keys.get(*b)));
    order.windows(2).any(|pair| keys.get(pair[0]) == keys.get(pair[1]))
}

/// Of entries with one key keeps the last, at its place, and says where those were. Rare: the entries are
/// copied out and back.
#[cold]
fn keep_last(key: &mut Column, value: &mut Column, start: usize) -> Vec<usize> {
    let end = key.len();
    let (mut kept_keys, mut kept_values) = (key.empty_like(), value.empty_like());
    let keys = strings(key);
    let mut seen = HashSet::new();
    let mut keep: Vec<usize> = (start..end).rev().filter(|at| seen.insert(keys.get(*at))).collect();
    keep.reverse();
    for at in &keep {
        kept_keys.push_from(key, *at);
        kept_values.push_from(value, *at);
    }
    key.truncate(start);
    value.truncate(start);
    for at in 0..keep.len() {
        key.push_from(&kept_keys, at);
        value.push_from(&kept_values, at);
    }
    keep
}
