//! Objects and arrays: their members, entries and elements.
//!
//! It owns equal keys, missing fields, and members that the schema does not
//! know. What a value may be is `value`'s.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::Parser;
use super::input::{Input, Parsed, Stop};
use super::plan::{FieldPlan, StructPlan};
use super::record::Frame;
use crate::columnar::bad::BadReason;
use crate::columnar::columns::{Column, Data, Slices};
use crate::config::OnNewField;
use crate::record::Padded;

impl<'a> Parser<'_> {
    /// The members of an object that opens here, into a row of child columns; tells where it ended.
    pub(super) fn members(
        &mut self,
        payload: Padded<'a>,
        at: usize,
        plan: &StructPlan,
        children: &mut [Column],
        row: usize,
        frame: &Frame<'_>,
    ) -> Parsed<usize> {
        let mut input = Input::resumed(payload, at);
        let mut filled = 0;
        let origins = self.state.origins.len();
        let mut next = if input.take_lead(&plan.opening) {
            plan.fields.get(plan.first.get())
        } else {
            self.name(&mut input, plan, None, frame)?
        };
        while let Some(field) = next {
            let column = &mut children[field.column];
            let before = filled;
            filled |= field.bit;
            if filled == before && column.len() > row {
                column.truncate(row);
                self.state.forget_origins(origins, |at| at == field.index);
            }
            frame.at.set(field.index);
            self.value(&mut input, column, field, frame)?;
            next = match plan.fields.get(field.follower.get()) {
                Some(follower) if input.take_lead(&follower.lead) => Some(follower),
                _ if input.take(b'}') => break,
                _ => self.name(&mut input, plan, Some(field), frame)?,
            };
        }
        self.state.origins.truncate(origins);
        if filled != plan.all {
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
        filled: u64,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        // Without the fields in front of the first that is missing.
        let first = (!filled).trailing_zeros() as usize;
        for field in plan.fields.iter().skip(first) {
            let column = &mut children[field.column];
            if filled & field.bit != 0 || (field.bit == 0 && column.len() > row) {
                continue;
            }
            if !field.nullable {
                frame.at.set(field.index);
                let detail = "no value, and the column is NOT NULL";
                return Err(self.state.fail(frame, BadReason::Missing, detail));
            }
            column.push_null();
        }
        Ok(())
    }

    /// Reads on to the next value of a field, when its name is not the expected one: from the opening
    /// brace, or from the end of the value `before`. `None` at the object's end. Unknown members are read over.
    #[inline(always)]
    fn name<'p>(
        &mut self,
        input: &mut Input<'a>,
        plan: &'p StructPlan,
        before: Option<&FieldPlan>,
        frame: &Frame<'_>,
    ) -> Parsed<Option<&'p FieldPlan>> {
        let (found, end) = self.name_at(input.payload(), input.at(), plan, before, frame)?;
        input.go_to(end);
        Ok(found)
    }

    #[inline(never)]
    fn name_at<'p>(
        &mut self,
        payload: Padded<'a>,
        at: usize,
        plan: &'p StructPlan,
        before: Option<&FieldPlan>,
        frame: &Frame<'_>,
    ) -> Parsed<(Option<&'p FieldPlan>, usize)> {
        let mut input = Input::resumed(payload, at);
        let mut opens = before.is_none();
        loop {
            let start = input.at();
            if let Some(name) = input.short_name() {
                if let Some(field) = plan.find_short(name.head, name.bytes.len()) {
                    learn(&input, start, field, before);
                    return Ok((Some(field), input.at()));
                }
                input.skip_whitespace();
                self.unknown(&mut input, name.bytes, frame)?;
                continue;
            }
            if opens {
                input.take(b'{');
            }
            input.skip_whitespace();
            if input.take(b'}') {
                return Ok((None, input.at()));
            }
            if !opens {
                if !input.take(b',') {
                    return Err(Stop);
                }
                input.skip_whitespace();
            }
            let name = self.key(&mut input)?;
            input.skip_whitespace();
            if let Some(field) = plan.find(&name) {
                if opens {
                    plan.first.set(field.index);
                    input.teach(start, &plan.opening);
                } else {
                    learn(&input, start, field, before);
                }
                return Ok((Some(field), input.at()));
            }
            self.unknown(&mut input, &name, frame)?;
            opens = false;
        }
    }

    /// A member's name, up to and with the colon.
    fn key(&mut self, input: &mut Input<'a>) -> Parsed<Cow<'a, [u8]>> {
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
    fn unknown(&mut self, input: &mut Input<'a>, name: &[u8], frame: &Frame<'_>) -> Parsed<()> {
        if self.state.on_new_field == OnNewField::Ignore {
            return self.skip_value(input, frame.depth, frame);
        }
        let name = utf8(name)?;
        self.state.check_unknown(frame, name)?;
        let start = input.at();
        self.skip_value(input, frame.depth, frame)?;
        self.state.keep_unknown(frame, name, input.since(start))
    }

    /// Reads over a value inside of `depth` objects and arrays.
    fn skip_value(&mut self, input: &mut Input<'a>, depth: usize, frame: &Frame<'_>) -> Parsed<()> {
        match input.peek() {
            b'"' => {
                input.take(b'"');
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
        input.take(b'{');
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
        input.take(b'[');
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

    /// The elements of an array whose bracket was read; tells where it ended.
    pub(super) fn elements(
        &mut self,
        payload: Padded<'a>,
        at: usize,
        plan: &FieldPlan,
        element: &mut Column,
        frame: &Frame<'_>,
    ) -> Parsed<usize> {
        let mut input = Input::resumed(payload, at);
        input.skip_whitespace();
        if input.take(b']') {
            return Ok(input.at());
        }
        for index in 0.. {
            frame.at.set(index);
            input.take(b' ');
            self.value(&mut input, element, plan, frame)?;
            if !input.continues(b']')? {
                break;
            }
        }
        Ok(input.at())
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
            strings(key).push(&name);
            self.state.keys.push_str(utf8(&name)?);
            input.take(b' ');
            self.value(input, value, plan, frame)?;
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

/// A field came after `before`, and what was read since `start` led to it.
#[inline]
fn learn(input: &Input<'_>, start: usize, field: &FieldPlan, before: Option<&FieldPlan>) {
    if let Some(before) = before {
        before.follower.set(field.index);
    }
    // What leads to one field and has the same length hardly ever differs.
    if field.lead.len() != input.at() - start {
        input.teach(start, &field.lead);
    }
}

/// Names are pieces of a payload that is UTF-8, between ASCII bytes.
fn utf8(name: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(name).map_err(|_| Stop)
}

fn strings(column: &mut Column) -> &mut Slices {
    match column.open() {
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
