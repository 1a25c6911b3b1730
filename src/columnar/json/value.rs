//! One value into one column.
//!
//! It owns which JSON each type takes, and what is said of a value that it
//! does not take.

use super::Parser;
use super::input::{Parsed, Stop};
use super::plan::{FieldPlan, Plan};
use super::record::{Container, Frame};
use crate::columnar::bad::{BadReason, excerpt};
use crate::columnar::columns::{Column, Data};
use crate::columnar::text::{self, TextError};

impl Parser<'_, '_> {
    /// Reads a value, white space before it included, and appends it to its column.
    #[inline]
    pub(super) fn value(&mut self, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        self.input.take(b' ');
        match &mut column.data {
            Data::Long(values) => {
                if let Some(value) = self.input.integer() {
                    values.push(value);
                    return Ok(());
                }
            }
            Data::String(slices) if self.input.take(b'"') => {
                return slices.try_push_with(|bytes| self.input.string_into(bytes));
            }
            Data::Double(values) => {
                if let Some(decimal) = self.input.short_decimal() {
                    values.push(decimal.to_f64());
                    return Ok(());
                }
            }
            Data::Boolean(bits) => {
                if let Some(value) = self.input.boolean() {
                    bits.push(value);
                    return Ok(());
                }
            }
            Data::Struct { rows, children } => {
                if let (true, Plan::Struct(plan)) = (self.input.take(b'{'), &field.plan) {
                    let inside = frame.inside(Container::Struct(plan));
                    self.state.enter(&inside)?;
                    self.state.charge(frame, plan.width)?;
                    self.members(plan, children, *rows, &inside)?;
                    *rows += 1;
                    return Ok(());
                }
            }
            Data::Array { offsets, element } => {
                if let (true, Plan::Array(plan)) = (self.input.take(b'['), &field.plan) {
                    let inside = frame.inside(Container::Array);
                    self.state.enter(&inside)?;
                    self.elements(plan, element, &inside)?;
                    offsets.push(element.len());
                    return Ok(());
                }
            }
            _ => {}
        }
        self.other_value(column, field, frame)
    }

    /// The types and the values that `value` does not read itself.
    #[inline(never)]
    fn other_value(&mut self, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        self.input.skip_whitespace();
        match self.input.peek() {
            b'n' => {
                self.input.take_word(b"null")?;
                self.null(column, field, frame)
            }
            b'-' | b'0'..=b'9' => self.number(column, field, frame),
            b'"' => self.string(column, field, frame),
            b't' | b'f' => match &mut column.data {
                Data::Boolean(bits) => {
                    bits.push(self.input.boolean().ok_or(Stop)?);
                    Ok(())
                }
                _ => self.mismatch(field, frame),
            },
            b'{' | b'[' => self.container(column, field, frame),
            _ => Err(Stop),
        }
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

    fn container(&mut self, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        match (&mut column.data, &field.plan, self.input.peek()) {
            (Data::Map { offsets, key, value }, Plan::Map(plan), b'{') => {
                self.input.advance(1);
                let inside = frame.inside(Container::Map);
                self.state.enter(&inside)?;
                self.entries(plan, key, value, offsets.end(), &inside)?;
                offsets.push(key.len());
                Ok(())
            }
            (Data::Struct { .. }, Plan::Struct(_), b'{') | (Data::Array { .. }, Plan::Array(_), b'[') => {
                self.value(column, field, frame)
            }
            _ => self.mismatch(field, frame),
        }
    }

    // ------------------------------------------------------------- numbers

    fn number(&mut self, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        match (&mut column.data, &field.plan) {
            (Data::Byte(values), _) => self.narrow(values, field, frame),
            (Data::Short(values), _) => self.narrow(values, field, frame),
            (Data::Integer(values), _) => self.narrow(values, field, frame),
            (Data::Long(values), _) => self.narrow(values, field, frame),
            (Data::Float(values), _) => {
                let start = self.input.at();
                if let Some(value) = self.input.short_decimal().and_then(|decimal| decimal.to_f32()) {
                    values.push(value);
                    return Ok(());
                }
                self.input.back_to(start);
                let number = self.input.number()?;
                match number.parse::<f32>() {
                    Ok(value) if value.is_finite() => values.push(value),
                    _ => return Err(self.misfit(number, field, frame)),
                }
                Ok(())
            }
            (Data::Double(values), _) => {
                if let Some(decimal) = self.input.short_decimal() {
                    values.push(decimal.to_f64());
                    return Ok(());
                }
                let number = self.input.number()?;
                match number.parse::<f64>() {
                    Ok(value) if value.is_finite() => values.push(value),
                    _ => return Err(self.misfit(number, field, frame)),
                }
                Ok(())
            }
            (Data::Timestamp(values), Plan::Epoch(unit)) => {
                let start = self.input.at();
                let micros = match self.input.integer() {
                    Some(value) => text::epoch_whole(value, *unit),
                    None => text::epoch(self.input.number()?, *unit),
                };
                match micros {
                    Ok(micros) => values.push(micros),
                    Err(error) => return Err(self.refuse_text(error, self.input.since(start), field, frame)),
                }
                Ok(())
            }
            (Data::Decimal(values), Plan::Decimal { precision, scale }) => {
                let number = self.input.number()?;
                match text::decimal(number, *precision, *scale) {
                    Ok(value) => values.push(value),
                    Err(error) => return Err(self.refuse_text(error, number, field, frame)),
                }
                Ok(())
            }
            _ => self.mismatch(field, frame),
        }
    }

    /// An integer into a column of its width.
    fn narrow<T: TryFrom<i64>>(
        &mut self,
        values: &mut Vec<T>,
        field: &FieldPlan,
        frame: &Frame<'_>,
    ) -> Parsed<()> {
        let start = self.input.at();
        match self.input.integer().map(T::try_from) {
            Some(Ok(value)) => {
                values.push(value);
                return Ok(());
            }
            Some(Err(_)) => {}
            None => drop(self.input.number()?),
        }
        Err(self.misfit(self.input.since(start), field, frame))
    }

    // ------------------------------------------------------------- strings

    fn string(&mut self, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        self.input.advance(1);
        if let Data::String(slices) = &mut column.data {
            return slices.try_push_with(|bytes| self.input.string_into(bytes));
        }
        let mut scratch = std::mem::take(&mut self.state.scratch);
        let outcome = match self.input.string(&mut scratch) {
            Ok(found) => self.text(found, column, field, frame),
            Err(stop) => Err(stop),
        };
        self.state.scratch = scratch;
        outcome
    }

    /// A string that stands for a value of another type.
    fn text(&mut self, found: &str, column: &mut Column, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        let outcome = match (&mut column.data, &field.plan) {
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
    pub(super) fn found(&mut self) -> Parsed<&'static str> {
        Ok(match self.input.peek() {
            b'"' => "a string",
            b'-' | b'0'..=b'9' => "a number",
            b'[' => "an array",
            b'{' => "an object",
            b't' => self.input.take_word(b"true").map(|()| "true")?,
            b'f' => self.input.take_word(b"false").map(|()| "false")?,
            b'n' => self.input.take_word(b"null").map(|()| "null")?,
            _ => return Err(Stop),
        })
    }

    #[cold]
    fn mismatch(&mut self, field: &FieldPlan, frame: &Frame<'_>) -> Parsed<()> {
        let found = self.found()?;
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
