//! A column chunk in progress: the open page and what is known of the
//! finished ones.
//!
//! It owns when a page ends, what a page is made of, and what the footer
//! says of a chunk. Values and their encodings are `numbers`, `strings` and
//! `plain`.

use std::io::Read;

use parquet::basic::{Encoding, PageType, Type as Physical};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnDescPtr;

use super::levels::{Levels, PRESENT, Slots};
use super::numbers::{Number, Numbers};
use super::pages::{Kind, Store, Stored};
use super::plain::{Booleans, Decimals};
use super::scratch::{PageLimits, Scratch, internal};
use super::statistics;
use super::strings::Strings;
use crate::columnar::columns::{Column, Data};
use crate::error::Result;

/// The values of a leaf, by the type that Parquet stores.
enum Values {
    Boolean(Booleans),
    Int32(Numbers<i32>),
    Int64(Numbers<i64>),
    Float(Numbers<f32>),
    Double(Numbers<f64>),
    Decimal(Decimals),
    Bytes(Strings),
}

/// Runs the same code over every type of number.
macro_rules! numbers {
    ($values:expr, $numbers:ident => $body:expr, $($other:tt)*) => {
        match $values {
            Values::Int32($numbers) => $body,
            Values::Int64($numbers) => $body,
            Values::Float($numbers) => $body,
            Values::Double($numbers) => $body,
            $($other)*
        }
    };
}

pub(super) struct Leaf {
    descriptor: ColumnDescPtr,
    definition: Levels,
    repetition: Levels,
    values: Values,
    /// Of the open page.
    open: Counts,
    pages: Vec<DataPage>,
    /// Compressed, with its header; written first.
    dictionary: Vec<u8>,
    has_nan: bool,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    rows: usize,
    slots: usize,
    present: usize,
}

struct DataPage {
    stored: Stored,
    raw_bytes: usize,
    counts: Counts,
    encoding: Encoding,
}

impl Leaf {
    pub(super) fn new(descriptor: ColumnDescPtr) -> Leaf {
        let values = match descriptor.physical_type() {
            Physical::BOOLEAN => Values::Boolean(Booleans::default()),
            Physical::INT32 => Values::Int32(Numbers::new()),
            Physical::INT64 => Values::Int64(Numbers::new()),
            Physical::FLOAT => Values::Float(Numbers::new()),
            Physical::DOUBLE => Values::Double(Numbers::new()),
            Physical::FIXED_LEN_BYTE_ARRAY => {
                let length = usize::try_from(descriptor.type_length()).expect("a length is positive");
                Values::Decimal(Decimals::new(length))
            }
            Physical::BYTE_ARRAY => Values::Bytes(Strings::new()),
            Physical::INT96 => unreachable!("no type of ours is stored as INT96"),
        };
        Leaf {
            definition: Levels::new(descriptor.max_def_level()),
            repetition: Levels::new(descriptor.max_rep_level()),
            descriptor,
            values,
            open: Counts::default(),
            pages: Vec::new(),
            dictionary: Vec::new(),
            has_nan: false,
        }
    }

    /// Memory held, capacity included.
    pub(super) fn capacity(&self) -> usize {
        let values = numbers!(&self.values, numbers => numbers.capacity(),
            Values::Boolean(booleans) => booleans.plain.capacity(),
            Values::Decimal(decimals) => decimals.plain.capacity(),
            Values::Bytes(strings) => strings.capacity(),
        );
        values
            + self.definition.capacity()
            + self.repetition.capacity()
            + self.pages.capacity() * size_of::<DataPage>()
            + self.dictionary.capacity()
    }

    /// Lets memory go that holds nothing now.
    pub(super) fn release(&mut self) {
        numbers!(&mut self.values, numbers => numbers.release(),
            Values::Boolean(booleans) => booleans.plain = Vec::new(),
            Values::Decimal(decimals) => decimals.plain = Vec::new(),
            Values::Bytes(strings) => strings.release(),
        );
        self.definition.release();
        self.repetition.release();
        (self.pages, self.dictionary) = (Vec::new(), Vec::new());
    }

    fn page_bytes(&self) -> usize {
        numbers!(&self.values, numbers => numbers.page_bytes(),
            Values::Boolean(booleans) => booleans.plain.len(),
            Values::Decimal(decimals) => decimals.plain.len(),
            Values::Bytes(strings) => strings.page_bytes(),
        )
    }

    /// Bytes that are not in the store yet: the open page and the dictionary.
    pub(super) fn open_bytes(&self) -> usize {
        let dictionary = numbers!(&self.values, numbers => numbers.dictionary_bytes(),
            Values::Boolean(_) | Values::Decimal(_) => 0,
            Values::Bytes(strings) => strings.dictionary_bytes(),
        );
        dictionary + self.page_bytes()
    }

    /// Appends rows; `column` holds their values.
    pub(super) fn append(&mut self, column: &Column, slots: &Slots<'_>, rows: usize, scratch: &mut Gathered) {
        self.definition.extend_definition(slots);
        self.repetition.extend_repetition(slots);
        self.open.rows += rows;
        self.open.slots += slots.count;
        self.open.present += slots.present;
        let entries = slots.entries.clone();
        match (&mut self.values, column.data()) {
            (Values::Boolean(booleans), Data::Boolean(bits)) => match slots.of_entries {
                None => booleans.extend(bits, entries),
                Some(states) => {
                    let present = entries.zip(states).filter(|(_, state)| **state == PRESENT);
                    booleans.extend(bits, present.map(|(entry, _)| entry));
                }
            },
            (Values::Int32(numbers), Data::Integer(values) | Data::Date(values)) => {
                numbers.extend(gather(&values[entries], slots, &mut scratch.int32, |value| value));
            }
            (Values::Int32(numbers), Data::Byte(values)) => {
                numbers.extend(convert(&values[entries], slots, &mut scratch.int32, i32::from));
            }
            (Values::Int32(numbers), Data::Short(values)) => {
                numbers.extend(convert(&values[entries], slots, &mut scratch.int32, i32::from));
            }
            (Values::Int32(numbers), Data::Decimal(values)) => {
                numbers.extend(convert(&values[entries], slots, &mut scratch.int32, |value| value as i32));
            }
            (Values::Int64(numbers), Data::Long(values) | Data::Timestamp(values)) => {
                numbers.extend(gather(&values[entries], slots, &mut scratch.int64, |value| value));
            }
            (Values::Int64(numbers), Data::Decimal(values)) => {
                numbers.extend(convert(&values[entries], slots, &mut scratch.int64, |value| value as i64));
            }
            (Values::Float(numbers), Data::Float(values)) => {
                numbers.extend(gather(&values[entries], slots, &mut scratch.float, |value| value));
            }
            (Values::Double(numbers), Data::Double(values)) => {
                numbers.extend(gather(&values[entries], slots, &mut scratch.double, |value| value));
            }
            (Values::Decimal(decimals), Data::Decimal(values)) => {
                decimals.extend(gather(&values[entries], slots, &mut scratch.decimal, |value| value));
            }
            (Values::Bytes(strings), Data::String(slices) | Data::Binary(slices)) => {
                strings.extend(slices, entries, slots.of_entries);
            }
            _ => unreachable!("columns and leaves follow from one schema"),
        }
    }

    /// Ends the page if it is full.
    pub(super) fn end_full_page(&mut self, limits: PageLimits, scratch: &mut Scratch) -> Result<()> {
        let gives_up = numbers!(&mut self.values, numbers => numbers.gives_up(),
            Values::Boolean(_) | Values::Decimal(_) => false,
            Values::Bytes(strings) => strings.gives_up(),
        );
        if gives_up || self.open.rows >= limits.page_rows || self.page_bytes() >= limits.page_bytes {
            self.end_page(scratch)?;
        }
        Ok(())
    }

    fn end_page(&mut self, scratch: &mut Scratch) -> Result<()> {
        let raw = &mut scratch.raw;
        raw.clear();
        self.repetition.finish(raw);
        self.definition.finish(raw);
        let encoding = match &mut self.values {
            Values::Boolean(booleans) => {
                booleans.finish_page(raw);
                Encoding::PLAIN
            }
            Values::Decimal(decimals) => {
                raw.append(&mut decimals.plain);
                Encoding::PLAIN
            }
            Values::Int32(numbers) => numbers.finish_page(raw),
            Values::Int64(numbers) => numbers.finish_page(raw),
            Values::Float(numbers) => numbers.finish_page(raw),
            Values::Double(numbers) => numbers.finish_page(raw),
            Values::Bytes(strings) => strings.finish_page(raw),
        };
        let counts = std::mem::take(&mut self.open);
        let kind = Kind::Data { slots: counts.slots, encoding: encoding as i64 };
        let page = scratch.compressor.page(kind, raw)?;
        let stored = scratch.store.push(&page);
        self.pages.push(DataPage { stored, raw_bytes: page.raw_bytes, counts, encoding });
        Ok(())
    }

    /// Ends the chunk: what the footer says of it. Its bytes are [`Leaf::chunk`].
    pub(super) fn close(
        &mut self,
        codec: parquet::basic::Compression,
        properties: &WriterProperties,
        scratch: &mut Scratch,
    ) -> Result<ColumnCloseResult> {
        if self.open.rows > 0 {
            self.end_page(scratch)?;
        }
        let mut raw_bytes: usize = self.pages.iter().map(|page| page.raw_bytes).sum();
        raw_bytes += self.end_dictionary(scratch)?;
        let bytes = self.dictionary.len() + self.pages.iter().map(|page| page.stored.length).sum::<usize>();
        let total = |of: fn(&Counts) -> usize| self.pages.iter().map(|page| of(&page.counts)).sum::<usize>();
        let (rows, slots, present) =
            (total(|counts| counts.rows), total(|counts| counts.slots), total(|counts| counts.present));
        let (offset_index, column_index) = (self.offset_index(), self.column_index());
        let metadata = ColumnChunkMetaData::builder(self.descriptor.clone())
            .set_compression(codec)
            .set_encodings(self.encodings())
            .set_page_encoding_stats(self.page_encodings())
            .set_total_compressed_size(bytes as i64)
            .set_total_uncompressed_size(raw_bytes as i64)
            .set_num_values(slots as i64)
            .set_data_page_offset(self.dictionary.len() as i64)
            .set_dictionary_page_offset((!self.dictionary.is_empty()).then_some(0))
            .set_statistics(self.statistics((slots - present) as u64, properties))
            .build()
            .map_err(internal)?;
        Ok(ColumnCloseResult {
            bytes_written: bytes as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index,
            offset_index: Some(offset_index),
        })
    }

    /// Encodes the dictionary if a page needs it; its bytes before compression, header included.
    fn end_dictionary(&mut self, scratch: &mut Scratch) -> Result<usize> {
        self.dictionary.clear();
        if !self.pages.iter().any(|page| page.encoding == Encoding::RLE_DICTIONARY) {
            return Ok(0);
        }
        scratch.raw.clear();
        let values = numbers!(&self.values, numbers => numbers.dictionary(&mut scratch.raw),
            Values::Boolean(_) | Values::Decimal(_) => unreachable!("no page has a dictionary"),
            Values::Bytes(strings) => strings.dictionary(&mut scratch.raw),
        );
        let page = scratch.compressor.page(Kind::Dictionary { values }, &scratch.raw)?;
        page.write(&mut self.dictionary);
        Ok(page.raw_bytes)
    }

    /// In the order of the format: of the dictionary, of levels and indices, of the pages.
    fn encodings(&self) -> Vec<Encoding> {
        let mut encodings = vec![Encoding::RLE];
        if !self.dictionary.is_empty() {
            encodings.push(Encoding::PLAIN);
        }
        encodings.extend(self.pages.iter().map(|page| page.encoding));
        encodings
    }

    fn page_encodings(&self) -> Vec<PageEncodingStats> {
        let mut stats: Vec<PageEncodingStats> = Vec::new();
        if !self.dictionary.is_empty() {
            stats.push(PageEncodingStats {
                page_type: PageType::DICTIONARY_PAGE,
                encoding: Encoding::PLAIN,
                count: 1,
            });
        }
        for page in &self.pages {
            let same = |stats: &&mut PageEncodingStats| {
                stats.page_type == PageType::DATA_PAGE && stats.encoding == page.encoding
            };
            match stats.iter_mut().find(same) {
                Some(stats) => stats.count += 1,
                None => stats.push(PageEncodingStats {
                    page_type: PageType::DATA_PAGE,
                    encoding: page.encoding,
                    count: 1,
                }),
            }
        }
        stats
    }

    fn statistics(
        &mut self,
        nulls: u64,
        properties: &WriterProperties,
    ) -> parquet::file::statistics::Statistics {
        let (descriptor, bytes_max) = (&self.descriptor, properties.statistics_truncate_length());
        match &mut self.values {
            Values::Boolean(booleans) => statistics::of_booleans(descriptor, booleans.take_bounds(), nulls),
            Values::Int32(numbers) => statistics::of_int32(descriptor, numbers.bounds(), nulls),
            Values::Int64(numbers) => statistics::of_int64(descriptor, numbers.bounds(), nulls),
            Values::Float(numbers) => statistics::of_floats(descriptor, numbers.bounds(), nulls),
            Values::Double(numbers) => statistics::of_doubles(descriptor, numbers.bounds(), nulls),
            Values::Decimal(decimals) => {
                let fixed = |bytes: Vec<u8>| FixedLenByteArray::from(ByteArray::from(bytes));
                let bounds = decimals.take_bounds().map(|(min, max)| (fixed(min), fixed(max)));
                statistics::of_fixed(descriptor, bounds, nulls)
            }
            Values::Bytes(strings) => statistics::of_bytes(descriptor, strings.bounds(), nulls, bytes_max),
        }
    }

    fn offset_index(&self) -> OffsetIndexMetaData {
        let mut builder = OffsetIndexBuilder::new();
        let mut offset = self.dictionary.len();
        for page in &self.pages {
            builder.append_offset_and_size(offset as i64, page.stored.length as i32);
            builder.append_row_count(page.counts.rows as i64);
            offset += page.stored.length;
        }
        builder.build()
    }

    /// The bounds of each page: numbers only, whose order in a topic often follows time.
    fn column_index(&self) -> Option<ColumnIndexMetaData> {
        numbers!(&self.values, numbers => self.column_index_of(numbers),
            Values::Boolean(_) | Values::Decimal(_) | Values::Bytes(_) => None,
        )
    }

    fn column_index_of<T: Number>(&self, numbers: &Numbers<T>) -> Option<ColumnIndexMetaData> {
        let (bounds, order) = numbers.page_bounds();
        let mut builder = ColumnIndexBuilder::new(self.descriptor.physical_type());
        for (page, bounds) in self.pages.iter().zip(bounds) {
            let bytes = |bits: u64| bits.to_le_bytes()[..T::WIDTH].to_vec();
            let nulls = (page.counts.slots - page.counts.present) as i64;
            match bounds {
                Some((min, max)) => builder.append(false, bytes(*min), bytes(*max), nulls),
                None if page.counts.present == 0 => builder.append(true, Vec::new(), Vec::new(), nulls),
                None => return None,
            }
        }
        builder.set_boundary_order(order);
        builder.build().ok()
    }

    /// The bytes of a closed chunk.
    pub(super) fn chunk<'a>(&'a self, store: &'a Store) -> Chunk<'a> {
        Chunk { leaf: self, store }
    }

    /// Begins another chunk.
    pub(super) fn begin(&mut self) {
        self.has_nan |= numbers!(&mut self.values, numbers => numbers.finish_chunk(),
            Values::Boolean(_) | Values::Decimal(_) => false,
            Values::Bytes(strings) => {
                strings.finish_chunk();
                false
            }
        );
        self.pages.clear();
    }

    /// Whether a NaN was written since this was last asked.
    pub(super) fn take_nan(&mut self) -> bool {
        std::mem::take(&mut self.has_nan)
    }
}

/// A chunk, as the crate's writer reads it.
pub(super) struct Chunk<'a> {
    leaf: &'a Leaf,
    store: &'a Store,
}

impl Length for Chunk<'_> {
    fn len(&self) -> u64 {
        let pages: usize = self.leaf.pages.iter().map(|page| page.stored.length).sum();
        (self.leaf.dictionary.len() + pages) as u64
    }
}

impl<'a> ChunkReader for Chunk<'a> {
    type T = Box<dyn Read + 'a>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        if start != 0 {
            return Err(ParquetError::General("a chunk is read from its start".to_owned()));
        }
        let pages = self.leaf.pages.iter().map(|page| page.stored);
        Ok(Box::new(self.store.read(&self.leaf.dictionary, pages)))
    }

    fn get_bytes(&self, _: u64, _: usize) -> parquet::errors::Result<bytes::Bytes> {
        Err(ParquetError::General("a chunk is read as a whole".to_owned()))
    }
}

/// Memory for the values that are there, and for those that Parquet stores wider.
#[derive(Default)]
pub(super) struct Gathered {
    int32: Vec<i32>,
    int64: Vec<i64>,
    float: Vec<f32>,
    double: Vec<f64>,
    decimal: Vec<i128>,
}

impl Gathered {
    pub(super) fn capacity(&self) -> usize {
        4 * (self.int32.capacity() + self.float.capacity())
            + 8 * (self.int64.capacity() + self.double.capacity())
            + 16 * self.decimal.capacity()
    }
}

/// The values that are there: all of them where they lie, or a copy.
fn gather<'a, T: Copy + Default>(
    values: &'a [T],
    slots: &Slots<'_>,
    into: &'a mut Vec<T>,
    same: impl Fn(T) -> T,
) -> &'a [T] {
    if slots.of_entries.is_none() { values } else { convert(values, slots, into, same) }
}

fn convert<'a, F: Copy, T: Copy + Default>(
    values: &[F],
    slots: &Slots<'_>,
    into: &'a mut Vec<T>,
    convert: impl Fn(F) -> T,
) -> &'a [T] {
    into.clear();
    let Some(states) = slots.of_entries else {
        into.extend(values.iter().map(|value| convert(*value)));
        return into;
    };
    into.resize(values.len() + 1, T::default());
    let mut count = 0;
    // Every value is written; one that is not there is written over.
    for (value, state) in values.iter().zip(states) {
        into[count] = convert(*value);
        count += usize::from(*state == PRESENT);
    }
    &into[..count]
}
