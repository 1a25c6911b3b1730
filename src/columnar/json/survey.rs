//! One record, told value by value to whoever wants to know what is in it.
//!
//! It owns that a survey reads what the decoder reads: the same grammar, the
//! same limits, and the same answer to which number is an integer. It keeps
//! nothing, and fills no column.

use super::input::{Input, Parsed, Stop};
use crate::config::Decoding;
use crate::record::Padded;

/// Hears what stands at one place of a record.
pub(in crate::columnar) trait Observer {
    fn boolean(&mut self);

    /// A number that BIGINT takes.
    fn integer(&mut self, value: i64);

    /// Any other number, as it is written.
    fn number(&mut self, text: &str);

    fn text(&mut self, text: &str);

    /// An object; [`Observer::member`] hears of its members.
    fn object(&mut self);

    fn member(&mut self, name: &str) -> &mut Self;

    /// An array; [`Observer::element`] hears of its elements.
    fn array(&mut self);

    fn element(&mut self) -> &mut Self;
}

/// Tells of a record that is a JSON object. False: the decoder would not take it, and what was heard
/// is worth nothing.
pub(in crate::columnar) fn survey(payload: &[u8], decoding: &Decoding, observer: &mut impl Observer) -> bool {
    if payload.len() > decoding.max_record_size || std::str::from_utf8(payload).is_err() {
        return false;
    }
    let mut room = Vec::new();
    let mut input = Input::new(Padded::copied(payload, &mut room));
    let mut survey = Survey { scratch: Vec::new(), depth_max: decoding.max_depth };
    input.skip_whitespace();
    if input.peek() != b'{' || survey.value(&mut input, 0, observer).is_err() {
        return false;
    }
    input.skip_whitespace();
    input.is_at_end()
}

struct Survey {
    /// A string, once its escapes are resolved.
    scratch: Vec<u8>,
    depth_max: usize,
}

impl Survey {
    /// A value inside of `depth` objects and arrays.
    fn value<O: Observer>(&mut self, input: &mut Input<'_>, depth: usize, seen: &mut O) -> Parsed<()> {
        input.skip_whitespace();
        match input.peek() {
            b'"' => {
                input.take(b'"');
                seen.text(input.string(&mut self.scratch)?);
            }
            b'-' | b'0'..=b'9' => match input.integer() {
                Some(value) => seen.integer(value),
                None => seen.number(input.number()?),
            },
            b't' | b'f' => {
                input.boolean().ok_or(Stop)?;
                seen.boolean();
            }
            b'n' => input.take_word(b"null")?,
            b'{' | b'[' if depth >= self.depth_max => return Err(Stop),
            b'{' => self.members(input, depth + 1, seen)?,
            b'[' => self.elements(input, depth + 1, seen)?,
            _ => return Err(Stop),
        }
        Ok(())
    }

    fn members<O: Observer>(&mut self, input: &mut Input<'_>, depth: usize, seen: &mut O) -> Parsed<()> {
        seen.object();
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
            let member = seen.member(input.string(&mut self.scratch)?);
            input.skip_whitespace();
            if !input.take(b':') {
                return Err(Stop);
            }
            self.value(input, depth, member)?;
            if !input.continues(b'}')? {
                return Ok(());
            }
        }
    }

    fn elements<O: Observer>(&mut self, input: &mut Input<'_>, depth: usize, seen: &mut O) -> Parsed<()> {
        seen.array();
        input.take(b'[');
        input.skip_whitespace();
        if input.take(b']') {
            return Ok(());
        }
        loop {
            self.value(input, depth, seen.element())?;
            if !input.continues(b']')? {
                return Ok(());
            }
        }
    }
}
