//! One value into one column.
//!
//! It owns which JSON each type takes, and what is said of a value that it
//! does not take.

use std::str::FromStr;

use super::Parser;
use super::input::{Input, Parsed, Stop};
use super::plan::{FieldPlan, Plan, StructPlan};
use super::record::{Container, Frame};
use crate::columnar::bad::{BadReason, excerpt};
use crate::columnar::columns::{Column, Data};
use crate::columnar::text::{self, TextError};
use crate::record::Padded;

impl Input<'_> {
    /// Reads a value of the commonest types, as it is usually written, into its column. False, and
    /// nothing was read: [`Parser::any_value`] takes everything.
    #[inline(always)]
    pub(super) fn plain_value(&mut self, column: &mut Column) -> Parsed<bool> {
        match column.open() {
            Data::Long(values) => {
                let Some(value) = self.integer() else { return Ok(false) };
                values.push(value);
            }
            Data::String(slices) if self.take(b'"') => {
                self.string_into(slices.open_row())?;
                slices.close_row();
            }
            Data::Double(values) => {
                let Some(decimal) = self.short_decimal() else { return Ok(false) };
                values.push(decimal.to_f64());
            }
            Data::Boolean(bits) => {
                let Some(value) = self.boolean() else { return Ok(false) };
                bits.push(value);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'a> Parser<'_> {
    /// Reads a value and appends it to its column.
    #[inline(always)]
    pub(super) fn value(
        &mut self,
        input: &mut Input<'a>,
        column: &mut Column,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        if input.plain_value(column)? {
            return Ok(());
        }
        let (payload, at) = (input.payload(), input.at());
        let end = match (column.open(), &field.plan) {
            (Data::Struct { rows, children }, Plan::Struct(plan)) if input.peek() == b'{' => {
                self.structure(payload, at, plan, children, rows, frame)?
            }
            _ => self.any_value(payload, at, column, field, frame)?,
        };
        input.go_to(end);
        Ok(())
    }

    /// Reads any value, white space before it included, and appends it; tells where it ended.
    #[inline(never)]
    fn any_value(
        &mut self,
        payload: Padded<'a>,
        at: usize,
        column: &mut Column,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<usize> {
        let mut input = Input::resumed(payload, at);
        input.skip_whitespace();
        match input.peek() {
            b'{' | b'[' => self.container(&mut input, column, field, frame)?,
            b'n' => {
                input.take_word(b"null")?;
                self.null(column, field, frame)?;
            }
            b'-' | b'0'..=b'9' => self.number(&mut input, column, field, frame)?,
            b'"' => self.string(&mut input, column, field, frame)?,
            b't' | b'f' => match column.open() {
                Data::Boolean(bits) => bits.push(input.boolean().ok_or(Stop)?),
                _ => self.mismatch(&mut input, field, frame)?,
            },
            _ => return Err(Stop),
        }
        Ok(input.at())
    }

    /// An object that opens here, as a row of a struct; tells where it ended.
    #[inline(always)]
    fn structure(
        &mut self,
        payload: Padded<'a>,
        at: usize,
        plan: &StructPlan,
        children: &mut [Column],
        rows: &mut usize,
        frame: &Frame<'_>,
    ) -> Parsed<usize> {
        let inside = frame.inside(Container::Struct(plan));
        self.state.enter(&inside)?;
        self.state.charge(frame, plan.width)?;
        let mark = self.state.rescued.mark();
        let end = self.members(payload, at, plan, children, *rows, &inside)?;
        self.state.note_origin(frame, *rows, mark);
        *rows += 1;
        Ok(end)
    }

    fn null(&mut self, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        if !field.nullable {
            return Err(self.state.fail(frame, BadReason::Missing, "null, and null is not allowed here"));
        }
        if let Plan::Struct(members) = &field.plan {
            self.state.charge(frame, members.width)?;
        }
        column.push_null();
        Ok(())
    }

    fn container(
        &mut self,
        input: &mut Input<'a>,
        column: &mut Column,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        let (payload, entry, mark) = (input.payload(), column.len(), self.state.rescued.mark());
        match (column.open(), &field.plan, input.peek()) {
            (Data::Struct { rows, children }, Plan::Struct(plan), b'{') => {
                let end = self.structure(payload, input.at(), plan, children, rows, frame)?;
                input.go_to(end);
                return Ok(());
            }
            (Data::Array { offsets, element }, Plan::Array(plan), b'[') => {
                input.take(b'[');
                let inside = frame.inside(Container::Array);
                self.state.enter(&inside)?;
                let end = self.elements(payload, input.at(), plan, element, &inside)?;
                input.go_to(end);
                offsets.push(element.len());
            }
            (Data::Map { offsets, key, value }, Plan::Map(plan), b'{') => {
                input.take(b'{');
                let inside = frame.inside(Container::Map);
                self.state.enter(&inside)?;
                self.entries(input, plan, key, value, offsets.end(), &inside)?;
                offsets.push(key.len());
            }
            _ => return self.mismatch(input, field, frame),
        }
        self.state.note_origin(frame, entry, mark);
        Ok(())
    }

    // ------------------------------------------------------------- numbers

    fn number(
        &mut self,
        input: &mut Input<'a>,
        column: &mut Column,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        match (column.open(), &field.plan) {
            (Data::Byte(values), _) => self.narrow(input, values, field, frame),
            (Data::Short(values), _) => self.narrow(input, values, field, frame),
            (Data::Integer(values), _) => self.narrow(input, values, field, frame),
            (Data::Long(values), _) => self.narrow(input, values, field, frame),
            (Data::Float(values), _) => {
                let start = input.at();
                if let Some(value) = input.short_decimal().and_then(|decimal| decimal.to_f32()) {
                    values.push(value);
                    return Ok(());
                }
                input.go_to(start);
                self.nearest(input, values, f32::is_finite, field, frame)
            }
            (Data::Double(values), _) => {
                if let Some(decimal) = input.short_decimal() {
                    values.push(decimal.to_f64());
                    return Ok(());
                }
                self.nearest(input, values, f64::is_finite, field, frame)
            }
            (Data::Timestamp(values), Plan::Epoch(unit)) => {
                let start = input.at();
                let micros = match input.integer() {
                    Some(value) => text::epoch_whole(value, *unit),
                    None => text::epoch(input.number()?, *unit),
                };
                match micros {
                    Ok(micros) => values.push(micros),
                    Err(error) => return Err(self.refuse_text(error, input.since(start), field, frame)),
                }
                Ok(())
            }
            (Data::Decimal(values), Plan::Decimal { precision, scale }) => {
                let number = input.number()?;
                match text::decimal(number, *precision, *scale) {
                    Ok(value) => values.push(value),
                    Err(error) => return Err(self.refuse_text(error, number, field, frame)),
                }
                Ok(())
            }
            _ => self.mismatch(input, field, frame),
        }
    }

    /// The nearest value of a type to a number of any length.
    fn nearest<T: Copy + FromStr>(
        &mut self,
        input: &mut Input<'_>,
        values: &mut Vec<T>,
        is_finite: fn(T) -> bool,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        let number = input.number()?;
        match number.parse() {
            Ok(value) if is_finite(value) => values.push(value),
            _ => return Err(self.misfit(number, field, frame)),
        }
        Ok(())
    }

    /// An integer into a column of its width.
    fn narrow<T: TryFrom<i64>>(
        &mut self,
        input: &mut Input<'_>,
        values: &mut Vec<T>,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        let start = input.at();
        match input.integer().map(T::try_from) {
            Some(Ok(value)) => {
                values.push(value);
                return Ok(());
            }
            Some(Err(_)) => {}
            None => drop(input.number()?),
        }
        Err(self.misfit(input.since(start), field, frame))
    }

    // ------------------------------------------------------------- strings

    fn string(
        &mut self,
        input: &mut Input<'a>,
        column: &mut Column,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        input.take(b'"');
        if let Data::String(slices) = column.open() {
            return slices.try_push_with(|bytes| input.string_into(bytes));
        }
        let mut scratch = std::mem::take(&mut self.state.scratch);
        let outcome = match input.string(&mut scratch) {
            Ok(found) => self.text(found, column, field, frame),
            Err(stop) => Err(stop),
        };
        self.state.scratch = scratch;
        outcome
    }

    /// A string that stands for a value of another type.
    fn text(&mut self, found: &str, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        let outcome = match (column.open(), &field.plan) {
            (Data::Timestamp(values), _) => text::timestamp(found).map(|micros| values.push(micros)),
            (Data::Date(values), _) => text::date(found).map(|days| values.push(days)),
            (Data::Binary(slices), _) => slices.try_push_with(|bytes| text::base64(found, bytes)),
            (Data::Decimal(values), Plan::Decimal { precision, scale }) => {
                text::decimal(found, *precision, *scale).map(|value| values.push(value))
            }
            _ => {
                let found = format!("the string \"{}\"", excerpt(found));
                return Err(self.unexpected(&found, field, frame));
            }
        };
        outcome.map_err(|error| self.refuse_text(error, found, field, frame))
    }

    // ------------------------------------------------------------ refusals

    /// What stands here, in words.
    pub(super) fn found(&mut self, input: &mut Input<'a>) -> Parsed<&'static str> {
        Ok(match input.peek() {
            b'"' => "a string",
            b'-' | b'0'..=b'9' => "a number",
            b'[' => "an array",
            b'{' => "an object",
            b't' => input.take_word(b"true").map(|()| "true")?,
            b'f' => input.take_word(b"false").map(|()| "false")?,
            b'n' => input.take_word(b"null").map(|()| "null")?,
            _ => return Err(Stop),
        })
    }

    #[cold]
    fn mismatch(&mut self, input: &mut Input<'a>, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        let found = self.found(input)?;
        Err(self.unexpected(found, field, frame))
    }

    #[cold]
    fn unexpected(&mut self, found: &str, field: &FieldPlan, frame: &Frame<'_>) -> Stop {
        let detail = format!("expected {}, found {found}", field.expected);
        self.state.fail(frame, BadReason::Type, &detail)
    }

    #[cold]
    fn misfit(&mut self, found: &str, field: &FieldPlan, frame: &Frame<'_>) -> Stop {
        let detail = format!("{} does not fit {}", excerpt(found), field.expected);
        self.state.fail(frame, BadReason::Range, &detail)
    }

    #[cold]
    fn refuse_text(&mut self, error: TextError, found: &str, field: &FieldPlan, frame: &Frame<'_>) -> Stop {
        match error {
            TextError::Form => self.unexpected(&format!("\"{}\"", excerpt(found)), field, frame),
            TextError::Range => self.misfit(found, field, frame),
        }
    }
}
