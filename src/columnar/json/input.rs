//! A payload and how far it was read: blocks of bytes, digits, runs of a string.
//!
//! It owns JSON's grammar of strings, numbers and white space, as strict as
//! RFC 8259, and the reading of many bytes at once. It knows no columns.
//!
//! A NUL stands at the payload's end, which JSON has nowhere: whatever is being
//! read stops there, and no loop asks for the end.
//!
//! Invariant: the place never passes the end, because it rises only over bytes
//! that were looked at and are not NUL. So a block may be read wherever it stands.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use super::scan;
use crate::record::{PADDING, Padded};

/// Nothing of a record's row stays: the record is bad. Why stands in the parser's state, or it is
/// no JSON.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Stop;

pub(super) type Parsed<T> = Result<T, Stop>;

/// Its methods are inlined where values are read one after the other, so that it stays in registers;
/// what is rare takes it as a copy and tells where it ended.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    payload: Padded<'a>,
    at: usize,
}

impl<'a> Input<'a> {
    /// The payload must be UTF-8.
    pub(super) fn new(payload: Padded<'a>) -> Input<'a> {
        Input { payload, at: 0 }
    }

    /// The same payload, read up to `at`. Functions that are called for many values take the two apart,
    /// so that their own input never was in memory.
    #[inline(always)]
    pub(super) fn resumed(payload: Padded<'a>, at: usize) -> Input<'a> {
        let mut input = Input::new(payload);
        input.go_to(at);
        input
    }

    #[inline(always)]
    pub(super) fn payload(&self) -> Padded<'a> {
        self.payload
    }

    /// Where the payload ends: the last place that a block may be read from.
    #[inline(always)]
    fn end(&self) -> usize {
        self.bytes().len() - PADDING
    }

    /// The payload and its padding.
    #[inline(always)]
    fn bytes(&self) -> &'a [u8] {
        self.payload.with_padding()
    }

    /// Where the next byte stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What was read since `start`. Tokens begin and end between characters.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text(start, self.at)
    }

    fn text(&self, start: usize, end: usize) -> &'a str {
        self.bytes().get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.byte(self.at)
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        let [byte] = self.block(at);
        byte
    }

    /// The bytes from a place on that is not behind the end; what stands behind it is anything but for
    /// the first NUL.
    #[inline(always)]
    fn block<const N: usize>(&self, at: usize) -> [u8; N] {
        const { assert!(N <= PADDING) };
        debug_assert!(at <= self.end(), "{at} is behind the payload's end {}", self.end());
        #[expect(unsafe_code, reason = "no comparison for every few bytes of a payload")]
        // SAFETY: by this type's invariant `at` is not behind `end`, and behind that there are `PADDING`
        // bytes, by the type that `new` takes: `N` bytes from `at` on are among them. An array of bytes
        // has no alignment.
        unsafe {
            self.bytes().as_ptr().add(at).cast::<[u8; N]>().read()
        }
    }

    /// By branches, here as in the numbers below: compilers up to Rust 1.96 lose a comparison whose outcome
    /// is both added and branched on (rust-lang/rust#158206).
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        debug_assert_ne!(byte, 0);
        if self.peek() != byte {
            return false;
        }
        self.at += 1;
        true
    }

    /// Reads on to a value if what leads to it is what led to it the last time.
    #[inline(always)]
    pub(super) fn take_lead(&mut self, lead: &Lead) -> bool {
        if !lead.head.is_at(self.block(self.at)) {
            return false;
        }
        let len = lead.len.get();
        if len > LEAD_BLOCK && !self.follows_rest(lead) {
            return false;
        }
        self.at += len;
        true
    }

    #[inline(never)]
    fn follows_rest(self, lead: &Lead) -> bool {
        self.follows(LEAD_BLOCK, &lead.rest.borrow())
    }

    /// Remembers what was read since `start`.
    #[inline]
    pub(super) fn teach(&self, start: usize, lead: &Lead) {
        let start = start.min(self.at);
        lead.learn(self.block(start), &self.bytes()[start..self.at]);
    }

    #[inline(never)]
    fn follows(self, skipped: usize, bytes: &[u8]) -> bool {
        self.bytes().get(self.at + skipped..).is_some_and(|rest| rest.starts_with(bytes))
    }

    /// Reads a comma, a name shorter than [`NAME_HEAD`] and a colon, with hardly any white space. `None`,
    /// and nothing was read: it stands otherwise.
    #[inline]
    pub(super) fn short_name(&mut self) -> Option<ShortName<'a>> {
        let mut input = *self;
        let opens = input.take(b',') && (input.take(b'"') || (input.take(b' ') && input.take(b'"')));
        if !opens {
            return None;
        }
        let block: [u8; NAME_HEAD] = input.block(input.at);
        let ends = scan::run_ends(&block);
        if ends == 0 {
            return None;
        }
        let len = ends.trailing_zeros() as usize;
        let bytes = &input.bytes()[input.at..input.at + len];
        input.at += len;
        if !input.take(b'"') || !input.take(b':') {
            return None;
        }
        input.take(b' ');
        *self = input;
        Some(ShortName { head: u128::from_le_bytes(block) & !(u128::MAX << (8 * len)), bytes })
    }

    pub(super) fn take_word(&mut self, word: &[u8]) -> Parsed<()> {
        if !self.follows(0, word) {
            return Err(Stop);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    pub(super) fn skip_whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// Goes where a copy of this ended, or back.
    #[inline(always)]
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at.min(self.end());
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.end()
    }

    /// Whether another member or element follows, or else `close`; one of them must.
    #[inline(always)]
    pub(super) fn continues(&mut self, close: u8) -> Parsed<bool> {
        loop {
            let byte = self.peek();
            if byte == b',' || byte == close {
                self.at += 1;
                return Ok(byte == b',');
            }
            let at = self.after_whitespace();
            if self.at == at {
                return Err(Stop);
            }
            self.at = at;
        }
    }

    #[inline(never)]
    fn after_whitespace(mut self) -> usize {
        self.skip_whitespace();
        self.at
    }

    #[inline(always)]
    pub(super) fn boolean(&mut self) -> Option<bool> {
        let word: [u8; 4] = self.block(self.at);
        if word == *b"true" {
            self.at += 4;
            return Some(true);
        }
        if word == *b"fals" && self.byte(self.at + 4) == b'e' {
            self.at += 5;
            return Some(false);
        }
        None
    }

    // ------------------------------------------------------------- strings

    /// Appends the string whose opening quote was read, its escapes resolved.
    ///
    /// Blocks are copied while they are looked at, with what stands behind the string's end.
    #[inline(always)]
    pub(super) fn string_into(&mut self, out: &mut Vec<u8>) -> Parsed<()> {
        const BLOCKS: usize = 2 * scan::BLOCK;
        let block: [u8; scan::BLOCK] = self.block(self.at);
        let ends = scan::run_ends(&block);
        if ends != 0 {
            let run = ends.trailing_zeros() as usize;
            append(out, &block, run);
            self.at += run;
            if self.take(b'"') {
                return Ok(());
            }
        } else {
            let ends = scan::run_ends(&self.block(self.at + scan::BLOCK));
            let run = if ends == 0 { BLOCKS } else { scan::BLOCK + ends.trailing_zeros() as usize };
            append(out, &self.block::<BLOCKS>(self.at), run);
            self.at += run;
            if self.take(b'"') {
                return Ok(());
            }
        }
        self.at = Input::rest_of_string(self.payload, self.at, out)?;
        Ok(())
    }

    /// The same for a string that was read up to `at`; tells where it ends.
    #[inline(never)]
    fn rest_of_string(payload: Padded<'a>, at: usize, out: &mut Vec<u8>) -> Parsed<usize> {
        let mut input = Input::resumed(payload, at);
        loop {
            let block: [u8; scan::BLOCK] = input.block(input.at);
            let ends = scan::run_ends(&block);
            if ends == 0 {
                append(out, &block, scan::BLOCK);
                input.at += scan::BLOCK;
                continue;
            }
            let run = ends.trailing_zeros() as usize;
            append(out, &block, run);
            input.at += run;
            if input.take(b'"') {
                return Ok(input.at);
            }
            input.at = input.after_escape(out)?;
        }
    }

    /// Where the run that goes on at `at` ends.
    #[inline(always)]
    fn run_end(&self, mut at: usize) -> usize {
        loop {
            let ends = scan::run_ends(&self.block(at));
            if ends != 0 {
                return at + ends.trailing_zeros() as usize;
            }
            at += scan::BLOCK;
        }
    }

    /// What ended a run of a string, if not its quote: an escape, or a control character.
    #[inline(never)]
    fn after_escape(mut self, out: &mut Vec<u8>) -> Parsed<usize> {
        if !self.take(b'\\') {
            return Err(Stop);
        }
        let escape = self.peek();
        if escape == 0 {
            return Err(Stop);
        }
        self.at += 1;
        out.push(match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.unicode()?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(self.at);
            }
            _ => return Err(Stop),
        });
        Ok(self.at)
    }

    /// The character of a `\u` escape, or of two that are a pair of surrogates.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.code_unit()?;
        let code = match first {
            0xD800..=0xDBFF => {
                self.take_word(b"\\u")?;
                let second = self.code_unit()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(Stop);
                }
                0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(Stop)
    }

    fn code_unit(&mut self) -> Parsed<u32> {
        let digits: [u8; 4] = self.block(self.at);
        let unit = digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(Stop)?;
            Ok(unit << 4 | digit)
        })?;
        self.at += digits.len();
        Ok(unit)
    }

    /// The string whose opening quote was read: as it stands there, or in `scratch` if it has escapes.
    #[inline]
    pub(super) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Parsed<&'s str>
    where
        'a: 's,
    {
        // Runs of a str between ASCII bytes, and characters: always UTF-8.
        std::str::from_utf8(self.string_bytes(scratch)?).map_err(|_| Stop)
    }

    #[inline]
    fn string_bytes<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Parsed<&'s [u8]>
    where
        'a: 's,
    {
        let start = self.at;
        let end = self.run_end(start);
        if self.byte(end) == b'"' {
            self.at = end + 1;
            return Ok(&self.bytes()[start..end]);
        }
        scratch.clear();
        self.string_into(scratch)?;
        Ok(scratch)
    }

    /// A key, likewise; owned if it has escapes.
    #[inline]
    pub(super) fn key(&mut self, scratch: &mut Vec<u8>) -> Parsed<Cow<'a, [u8]>> {
        let start = self.at;
        let end = self.run_end(start);
        if self.byte(end) == b'"' {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.bytes()[start..end]));
        }
        self.string_bytes(scratch).map(|key| Cow::Owned(key.to_owned()))
    }

    /// Reads over a string whose opening quote was read.
    pub(super) fn skip_string(&mut self, scratch: &mut Vec<u8>) -> Parsed<()> {
        loop {
            self.at = self.run_end(self.at);
            if self.take(b'"') {
                return Ok(());
            }
            scratch.clear();
            self.at = self.after_escape(scratch)?;
        }
    }

    // ------------------------------------------------------------- numbers

    /// A plain integer that fits 64 bits, or `None` and nothing was read: [`Input::number`] tells more.
    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<i64> {
        let start = if self.peek() == b'-' { self.at + 1 } else { self.at };
        let negative = start > self.at;
        let (magnitude, digits) = self.digits(start)?;
        let end = start + digits;
        if matches!(self.byte(end), b'.' | b'e' | b'E') {
            return None;
        }
        let value =
            if negative { 0_i64.checked_sub_unsigned(magnitude)? } else { i64::try_from(magnitude).ok()? };
        self.at = end;
        Some(value)
    }

    /// The digits from `start` on, without leading zeros: what they count and how many they are.
    #[inline(always)]
    fn digits(self, start: usize) -> Option<(u64, usize)> {
        let (head, count) = scan::digits(self.block(start));
        if count == 0 || (count > 1 && self.byte(start) == b'0') {
            return None;
        }
        if count < 8 {
            return Some((head, count));
        }
        let (tail, more) = scan::digits(self.block(start + 8));
        let value = head * scan::POWERS[more] + tail;
        if more < 8 {
            return Some((value, 8 + more));
        }
        self.many_digits(value, start + 16).map(|(value, more)| (value, 16 + more))
    }

    /// The digits that follow sixteen.
    #[inline(never)]
    fn many_digits(self, sixteen: u64, start: usize) -> Option<(u64, usize)> {
        let (mut value, mut count) = (sixteen, 0);
        while let digit @ b'0'..=b'9' = self.byte(start + count) {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            count += 1;
        }
        Some((value, count))
    }

    /// A number of few digits as `mantissa / 10^fraction`, or `None` and nothing was read.
    #[inline(always)]
    pub(super) fn short_decimal(&mut self) -> Option<ShortDecimal> {
        let start = if self.peek() == b'-' { self.at + 1 } else { self.at };
        let negative = start > self.at;
        let (head, count) = scan::digits(self.block(start));
        if count == 0 || count == 8 || (count > 1 && self.byte(start) == b'0') {
            return None;
        }
        let mut decimal = ShortDecimal { negative, mantissa: head, fraction: 0 };
        let mut end = start + count;
        if self.byte(end) == b'.' {
            let (tail, more) = scan::digits(self.block(end + 1));
            if more == 0 || more == 8 {
                return None;
            }
            decimal.mantissa = head * scan::POWERS[more] + tail;
            decimal.fraction = more;
            end += 1 + more;
        }
        if matches!(self.byte(end), b'e' | b'E') {
            return None;
        }
        self.at = end;
        Some(decimal)
    }

    /// A number's text.
    pub(super) fn number(&mut self) -> Parsed<&'a str> {
        let start = self.at;
        self.take(b'-');
        let zero = self.peek() == b'0';
        let whole = self.skip_digits();
        if whole == 0 || (zero && whole > 1) {
            return Err(Stop);
        }
        if self.take(b'.') && self.skip_digits() == 0 {
            return Err(Stop);
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            if self.skip_digits() == 0 {
                return Err(Stop);
            }
        }
        Ok(self.since(start))
    }

    fn skip_digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }
}

/// Appends the first bytes of a block; the others are written behind the end, where they mean nothing.
#[inline(always)]
fn append<const N: usize>(out: &mut Vec<u8>, block: &[u8; N], len: usize) {
    out.reserve(N);
    let (end, len) = (out.len(), len.min(N));
    #[expect(unsafe_code, reason = "one copy of a known size, and one new length")]
    // SAFETY: there is room for `N` bytes behind the end, all of them are written, and at most `N` of
    // them become part of it. A block is no part of `out`, which is borrowed alone.
    unsafe {
        out.as_mut_ptr().add(end).cast::<[u8; N]>().write(*block);
        out.set_len(end + len);
    }
}

/// Whether a payload is ASCII; what lies behind it may be taken for a part of it.
pub(super) fn is_ascii(payload: Padded<'_>) -> bool {
    const WORDS: usize = PADDING / 8;
    let covering = payload.len().next_multiple_of(8 * WORDS);
    let (words, _) = payload.with_padding()[..covering].as_chunks::<8>();
    let (blocks, _) = words.as_chunks::<WORDS>();
    let all = blocks.iter().fold([0; WORDS], |all, block| {
        std::array::from_fn(|word| all[word] | u64::from_le_bytes(block[word]))
    });
    all.iter().fold(0, |any, word| any | word) & 0x8080_8080_8080_8080 == 0
}

/// A number whose digits fit 53 bits: up to seven before and seven behind the point.
pub(super) struct ShortDecimal {
    pub(super) negative: bool,
    pub(super) mantissa: u64,
    pub(super) fraction: usize,
}

impl ShortDecimal {
    /// The nearest double: both operands are exact, so that the division rounds once.
    #[inline(always)]
    pub(super) fn to_f64(&self) -> f64 {
        let magnitude = self.mantissa.cast_signed() as f64 / scan::POWERS_F64[self.fraction];
        if self.negative { -magnitude } else { magnitude }
    }

    /// The nearest float, where its 24 bits hold the digits.
    #[inline(always)]
    pub(super) fn to_f32(&self) -> Option<f32> {
        if self.mantissa >= 1 << 24 {
            return None;
        }
        let magnitude = self.mantissa as f32 / scan::POWERS_F64[self.fraction] as f32;
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

/// Bytes of a name that are compared at once.
pub(super) const NAME_HEAD: usize = scan::BLOCK;

/// A name without escapes that is shorter than its head.
pub(super) struct ShortName<'a> {
    /// Its bytes, and zeros behind them.
    pub(super) head: u128,
    pub(super) bytes: &'a [u8],
}

/// Bytes of a lead that are compared at once.
const LEAD_BLOCK: usize = 16;

/// More than this is not remembered: hostile white space.
const LEAD_MAX: usize = 256;

/// The bytes between two values as they were seen last, from the end of the first to the beginning of the
/// second: comma, name, colon and the white space around them. Where they come again, they mean the same.
pub(super) struct Lead {
    head: LeadBlock,
    /// What does not fit the head.
    rest: RefCell<Vec<u8>>,
    len: Cell<usize>,
}

/// Some bytes and which of them count.
struct LeadBlock {
    bytes: Cell<u128>,
    mask: Cell<u128>,
}

impl LeadBlock {
    #[inline(always)]
    fn is_at(&self, bytes: [u8; LEAD_BLOCK]) -> bool {
        (u128::from_le_bytes(bytes) ^ self.bytes.get()) & self.mask.get() == 0
    }
}

impl Lead {
    pub(super) fn unknown() -> Lead {
        let head = LeadBlock { bytes: Cell::new(0), mask: Cell::new(0) };
        let lead = Lead { head, rest: RefCell::default(), len: Cell::new(0) };
        lead.forget();
        lead
    }

    /// From now on it matches nothing: no UTF-8 has a byte of ones.
    fn forget(&self) {
        self.head.bytes.set(u128::MAX);
        self.head.mask.set(u128::MAX);
        self.len.set(0);
    }

    pub(super) fn len(&self) -> usize {
        self.len.get()
    }

    /// `head` begins with the bytes, as far as it reaches.
    #[inline]
    fn learn(&self, head: [u8; LEAD_BLOCK], bytes: &[u8]) {
        if bytes.is_empty() || bytes.len() > LEAD_MAX {
            // What was known led to another value, perhaps of another field.
            return self.forget();
        }
        self.head.bytes.set(u128::from_le_bytes(head));
        self.head.mask.set(u128::MAX >> (8 * (LEAD_BLOCK - bytes.len().min(LEAD_BLOCK))));
        self.len.set(bytes.len());
        if let Some(rest) = bytes.get(LEAD_BLOCK..).filter(|rest| !rest.is_empty()) {
            let mut kept = self.rest.borrow_mut();
            kept.clear();
            kept.extend_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<T>(text: &str, read: impl FnOnce(&mut Input<'_>) -> T) -> (T, String) {
        let mut room = Vec::new();
        let mut input = Input::new(Padded::copied(text.as_bytes(), &mut room));
        let outcome = read(&mut input);
        (outcome, text.get(input.at()..).unwrap_or_default().to_owned())
    }

    #[test]
    fn what_led_to_a_value_is_known_again_and_nothing_else_is() {
        for led in
            [":", "{\"a\":", ", \"fourteen_byt\":", ",\"é\" :\n\t", ", \"a_name_longer_than_a_comparison\": "]
        {
            let lead = Lead::unknown();
            assert!(!read(led, |input| input.take_lead(&lead)).0);
            read(led, |input| {
                input.go_to(led.len());
                input.teach(0, &lead);
            });
            let text = format!("{led}1");
            assert_eq!(read(&text, |input| input.take_lead(&lead)), (true, "1".to_owned()));
            for at in 0..led.len() {
                let mut other = text.clone().into_bytes();
                other[at] ^= 1;
                let other = String::from_utf8_lossy(&other).into_owned();
                assert_eq!(read(&other, |input| input.take_lead(&lead)), (false, other.clone()));
                let cut = &led[..led.floor_char_boundary(at)];
                assert_eq!(read(cut, |input| input.take_lead(&lead)), (false, cut.to_owned()));
            }
        }
    }

    #[test]
    fn a_lead_of_hostile_length_is_not_kept() {
        let (lead, text) = (Lead::unknown(), format!(",{}\"a\":", " ".repeat(LEAD_MAX)));
        read(&text, |input| {
            input.go_to(text.len());
            input.teach(0, &lead);
        });
        assert!(!read(&text, |input| input.take_lead(&lead)).0);
    }

    proptest! {
        #[test]
        fn ascii_is_told_from_all_else(text in "[ -~]{0,70}é?[ -~]{0,70}") {
            prop_assert_eq!(is_ascii(Padded::copied(text.as_bytes(), &mut Vec::new())), text.is_ascii());
        }

        #[test]
        fn integers_are_what_the_standard_library_reads(text in "-?(0|[1-9][0-9]{0,20}|[0-9]{1,20})([,.eE}x]|)") {
            let digits = text.trim_end_matches([',', '}', 'x']);
            let expected = digits.parse::<i64>().ok().filter(|_| {
                let unsigned = digits.trim_start_matches('-');
                unsigned == "0" || !unsigned.starts_with('0')
            });
            let (found, rest) = read(&text, |input| input.integer());
            prop_assert_eq!(found, expected);
            prop_assert_eq!(rest, if found.is_some() { &text[digits.len()..] } else { &text[..] });
        }

        #[test]
        fn short_decimals_are_rounded_once(text in "-?(0|[1-9][0-9]{0,8})([.][0-9]{1,9})?") {
            if let (Some(decimal), rest) = read(&text, |input| input.short_decimal()) {
                prop_assert_eq!(rest, "");
                prop_assert_eq!(decimal.to_f64().to_bits(), text.parse::<f64>().unwrap().to_bits());
                if let Some(float) = decimal.to_f32() {
                    prop_assert_eq!(float.to_bits(), text.parse::<f32>().unwrap().to_bits());
                }
            } else {
                prop_assert!(text.split('.').any(|digits| digits.trim_start_matches('-').len() > 7), "{}", text);
            }
        }

        #[test]
        fn numbers_and_strings_are_those_of_serde_json(
            text in "(-?[0-9.eE+-]{0,12}|\"([ -~é]|\\\\[\"\\\\/bfnrtux]|\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\ud83d\\\\ude00|\t){0,40}\"?)",
        ) {
            let number = |input: &mut Input<'_>| input.number().map(str::to_owned);
            if let (Ok(found), rest) = read(&text, number) {
                prop_assert!(found.parse::<f64>().is_ok());
                prop_assert_eq!(rest.is_empty(), serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
            } else if !text.starts_with('"') {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
            }
            if text.starts_with('"') {
                // serde_json passes over white space behind the string.
                let expected = serde_json::from_str::<String>(&text).ok().filter(|_| text.ends_with('"'));
                let string = |input: &mut Input<'_>| {
                    input.take(b'"');
                    input.string(&mut Vec::new()).map(str::to_owned)
                };
                let (found, rest) = read(&text, string);
                prop_assert_eq!(found.ok().filter(|_| rest.is_empty()), expected.clone());
                let (skipped, rest) = read(&text, |input| {
                    input.take(b'"');
                    input.skip_string(&mut Vec::new())
                });
                prop_assert_eq!(skipped.is_ok() && rest.is_empty(), expected.is_some());
            }
        }
    }
}
