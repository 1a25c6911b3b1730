//! The values of a leaf of INT32, INT64, FLOAT or DOUBLE.
//!
//! It owns what is encoded of the open page, the bounds, and the choice of
//! an encoding: every value is interned until enough of them have been seen;
//! then the smallest form is kept, from chunk to chunk.

use parquet::basic::{BoundaryOrder, Encoding};

use super::coding::{Coding, DICTIONARY_BYTES_MAX, Trial};
use super::delta::Delta;
use super::dictionary;
use super::hybrid;

/// A type that Parquet stores in 4 or 8 bytes.
pub(super) trait Number: Copy + PartialOrd {
    const WIDTH: usize;
    /// Whether differences are exact.
    const IS_INTEGER: bool;
    const LOWEST: Self;
    const HIGHEST: Self;

    fn bits(self) -> u64;
    fn of_bits(bits: u64) -> Self;
    /// For integers only.
    fn integer(self) -> i64;
    /// Zero has two forms in a float: the lower one below, the higher one above.
    fn spread_zero(bounds: (Self, Self)) -> (Self, Self);
}

macro_rules! number {
    ($type:ty, $bits:ty, $is_integer:expr, $low:expr, $high:expr, $integer:expr, $spread:expr) => {
        impl Number for $type {
            const WIDTH: usize = size_of::<$type>();
            const IS_INTEGER: bool = $is_integer;
            const LOWEST: $type = $low;
            const HIGHEST: $type = $high;

            fn bits(self) -> u64 {
                <$bits>::from_le_bytes(self.to_le_bytes()).into()
            }

            fn of_bits(bits: u64) -> $type {
                <$type>::from_le_bytes((bits as $bits).to_le_bytes())
            }

            fn integer(self) -> i64 {
                $integer(self)
            }

            fn spread_zero(bounds: ($type, $type)) -> ($type, $type) {
                $spread(bounds)
            }
        }
    };
}

number!(i32, u32, true, i32::MIN, i32::MAX, i64::from, |bounds| bounds);
number!(i64, u64, true, i64::MIN, i64::MAX, |value| value, |bounds| bounds);
number!(f32, u32, false, f32::NEG_INFINITY, f32::INFINITY, |_| 0, |(min, max)| {
    (if min == 0.0 { -0.0 } else { min }, if max == 0.0 { 0.0 } else { max })
});
number!(f64, u64, false, f64::NEG_INFINITY, f64::INFINITY, |_| 0, |(min, max)| {
    (if min == 0.0 { -0.0 } else { min }, if max == 0.0 { 0.0 } else { max })
});

/// Bounds of values, NaNs aside: none while the first one is above the second.
#[derive(Clone, Copy)]
struct Bounds<T>(T, T);

impl<T: Number> Bounds<T> {
    const NONE: Bounds<T> = Bounds(T::HIGHEST, T::LOWEST);

    /// Widens the bounds to the values; whether one was NaN.
    fn note(&mut self, values: &[T]) -> bool {
        let (mut min, mut max, mut has_nan) = (self.0, self.1, false);
        for &value in values {
            min = if value < min { value } else { min };
            max = if value > max { value } else { max };
            has_nan |= value.partial_cmp(&value).is_none();
        }
        *self = Bounds(min, max);
        has_nan
    }

    fn join(&mut self, other: Bounds<T>) {
        if other.get().is_some() {
            self.note(&[other.0, other.1]);
        }
    }

    fn get(self) -> Option<(T, T)> {
        (self.0 <= self.1).then(|| T::spread_zero((self.0, self.1)))
    }
}

pub(super) struct Numbers<T> {
    coding: Coding,
    trial: Trial,
    dictionary: dictionary::Numbers,
    indices: Vec<u32>,
    plain: Vec<u8>,
    delta: Delta,
    page_bounds: Bounds<T>,
    chunk_bounds: Bounds<T>,
    has_nan: bool,
    /// Of the finished pages of the chunk, by their bits; `None` for a page without bounds.
    pages: Vec<Option<(u64, u64)>>,
}

impl<T: Number> Numbers<T> {
    pub(super) fn new() -> Numbers<T> {
        Numbers {
            coding: Coding::Undecided,
            trial: Trial::default(),
            dictionary: dictionary::Numbers::new(),
            indices: Vec::new(),
            plain: Vec::new(),
            delta: Delta::new(T::WIDTH == 4),
            page_bounds: Bounds::NONE,
            chunk_bounds: Bounds::NONE,
            has_nan: false,
            pages: Vec::new(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.dictionary.capacity()
            + self.indices.capacity() * size_of::<u32>()
            + self.plain.capacity()
            + self.delta.capacity()
    }

    pub(super) fn release(&mut self) {
        self.dictionary.release();
        self.delta.release();
        (self.indices, self.plain) = (Vec::new(), Vec::new());
    }

    /// Bytes of the open page.
    pub(super) fn page_bytes(&self) -> usize {
        self.plain.len() + self.delta.len() + self.indices.len() * size_of::<u32>()
    }

    pub(super) fn dictionary_bytes(&self) -> usize {
        self.dictionary.values().len() * T::WIDTH
    }

    pub(super) fn extend(&mut self, values: &[T]) {
        self.has_nan |= self.page_bounds.note(values);
        match self.coding {
            Coding::Undecided | Coding::Dictionary => {
                self.indices.reserve(values.len());
                for &value in values {
                    self.indices.push(self.dictionary.intern(value.bits()));
                }
                if self.coding == Coding::Undecided && self.indices.len() >= Trial::VALUES {
                    self.decide();
                }
            }
            Coding::Delta => self.delta.extend(values.iter().map(|value| value.integer())),
            Coding::Plain => put(values, &mut self.plain),
        }
    }

    /// Whether the dictionary has outgrown its use: the page ends, and the next one has another form.
    pub(super) fn gives_up(&mut self) -> bool {
        if self.dictionary_bytes() <= DICTIONARY_BYTES_MAX {
            return false;
        }
        if self.coding == Coding::Undecided {
            self.decide();
        }
        let gives_up = self.coding == Coding::Dictionary;
        if gives_up {
            self.coding = if T::IS_INTEGER { Coding::Delta } else { Coding::Plain };
        }
        gives_up
    }

    /// Gives the values that were only interned so far the form that is smallest.
    fn decide(&mut self) {
        let (count, distinct) = (self.indices.len(), self.dictionary.values().len());
        self.trial.note(count);
        let value = |index: &u32| T::of_bits(self.dictionary.values()[*index as usize]);
        let mut packed = Vec::new();
        pack(&self.indices, distinct, &mut packed);
        // Entries are shared by more values than were seen.
        let as_dictionary = packed.len() + distinct * T::WIDTH / 4;
        let as_plain = count * T::WIDTH;
        let mut least = as_plain;
        if T::IS_INTEGER {
            self.delta.extend(self.indices.iter().map(|index| value(index).integer()));
            least = least.min(self.delta.len() * 5 / 4);
        }
        if distinct <= count / 4 && as_dictionary < least {
            self.coding = Coding::Dictionary;
            self.delta.clear();
            return;
        }
        if least == as_plain {
            self.delta.clear();
            let values: Vec<T> = self.indices.iter().map(value).collect();
            put(&values, &mut self.plain);
            self.coding = Coding::Plain;
        } else {
            self.coding = Coding::Delta;
        }
        self.indices.clear();
        self.dictionary.release();
    }

    /// Appends the values of the page to `out`.
    pub(super) fn finish_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        if self.coding == Coding::Undecided && !self.indices.is_empty() {
            self.decide();
        }
        self.chunk_bounds.join(self.page_bounds);
        self.pages.push(self.page_bounds.get().map(|(min, max)| (min.bits(), max.bits())));
        self.page_bounds = Bounds::NONE;
        // The page that gives its dictionary up still has its form.
        if !self.indices.is_empty() {
            pack(&self.indices, self.dictionary.values().len(), out);
            self.indices.clear();
            Encoding::RLE_DICTIONARY
        } else if !self.delta.is_empty() {
            self.delta.finish(out);
            Encoding::DELTA_BINARY_PACKED
        } else {
            out.append(&mut self.plain);
            Encoding::PLAIN
        }
    }

    /// The dictionary as PLAIN, and how many values it has.
    pub(super) fn dictionary(&self, out: &mut Vec<u8>) -> usize {
        for bits in self.dictionary.values() {
            out.extend_from_slice(&bits.to_le_bytes()[..T::WIDTH]);
        }
        self.dictionary.values().len()
    }

    pub(super) fn bounds(&self) -> Option<(T, T)> {
        self.chunk_bounds.get()
    }

    /// What a reader may skip by; `None`: some page has values without bounds.
    pub(super) fn page_bounds(&self) -> (&[Option<(u64, u64)>], BoundaryOrder) {
        let all = || self.pages.iter().flatten().map(|&(min, max)| (T::of_bits(min), T::of_bits(max)));
        let in_order = |holds: fn(&T, &T) -> bool| {
            all().zip(all().skip(1)).all(|(one, next)| holds(&one.0, &next.0) && holds(&one.1, &next.1))
        };
        let order = if in_order(T::le) {
            BoundaryOrder::ASCENDING
        } else if in_order(T::ge) {
            BoundaryOrder::DESCENDING
        } else {
            BoundaryOrder::UNORDERED
        };
        (&self.pages, order)
    }

    /// Begins another chunk; whether this one had a NaN.
    pub(super) fn finish_chunk(&mut self) -> bool {
        self.dictionary.clear();
        self.pages.clear();
        self.chunk_bounds = Bounds::NONE;
        self.coding = self.trial.next_chunk(self.coding);
        std::mem::take(&mut self.has_nan)
    }
}

/// A page's indices behind their width.
pub(super) fn pack(indices: &[u32], distinct: usize, out: &mut Vec<u8>) {
    let width = hybrid::bits_for(distinct.saturating_sub(1) as u32);
    out.push(width as u8);
    hybrid::encode(indices, width, out);
}

/// Appends values as they lie in memory.
fn put<T: Number>(values: &[T], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len() * T::WIDTH, 0);
    for (bytes, value) in out[start..].chunks_exact_mut(T::WIDTH).zip(values) {
        bytes.copy_from_slice(&value.bits().to_le_bytes()[..T::WIDTH]);
    }
}
