//! The compressed pages of a row group in progress, and how a page becomes
//! one.
//!
//! It owns the compressor (one for all columns), page headers and the blocks
//! that pages are kept in until their row group ends. It does not know what
//! is in a page.

use std::io::Read;

use zstd_safe::{CCtx, CParameter};

use super::hybrid::{varint, zigzag};
use crate::config::Compression;
use crate::error::{Error, ErrorKind, Result};

/// Memory for pages is taken in pieces of this size.
const BLOCK_BYTES: usize = 64 << 10;

/// What a page's header says besides its sizes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Levels and values; the encoding of the values by its number in the format.
    Data {
        slots: usize,
        encoding: i64,
    },
    Dictionary {
        values: usize,
    },
}

/// Makes pages small.
pub(super) struct Compressor {
    codec: Codec,
    compressed: Vec<u8>,
    header: Vec<u8>,
}

enum Codec {
    None,
    Snappy(Box<snap::raw::Encoder>),
    /// Created when the first page needs it: its tables take a megabyte.
    Zstd {
        level: i32,
        context: Option<CCtx<'static>>,
    },
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Compressor {
        let codec = match compression {
            Compression::None => Codec::None,
            Compression::Snappy => Codec::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Zstd(level) => Codec::Zstd { level, context: None },
        };
        Compressor { codec, compressed: Vec::new(), header: Vec::new() }
    }

    pub(super) fn capacity(&self) -> usize {
        let context = match &self.codec {
            Codec::Zstd { context: Some(context), .. } => context.sizeof(),
            _ => 0,
        };
        context + self.compressed.capacity() + self.header.capacity()
    }

    pub(super) fn release(&mut self) {
        (self.compressed, self.header) = (Vec::new(), Vec::new());
        if let Codec::Zstd { context, .. } = &mut self.codec {
            *context = None;
        }
    }

    /// The header and the compressed bytes of a page.
    pub(super) fn page<'a>(&'a mut self, kind: Kind, raw: &'a [u8]) -> Result<Page<'a>> {
        let compressed = match &mut self.codec {
            Codec::None => raw,
            Codec::Snappy(encoder) => {
                grow(&mut self.compressed, snap::raw::max_compress_len(raw.len()));
                let length = encoder.compress(raw, &mut self.compressed).map_err(failed)?;
                &self.compressed[..length]
            }
            Codec::Zstd { level, context } => {
                grow(&mut self.compressed, zstd_safe::compress_bound(raw.len()));
                let context = match context {
                    Some(context) => context,
                    None => context.insert(zstd_context(*level)?),
                };
                let length = context.compress2(self.compressed.as_mut_slice(), raw).map_err(zstd_failed)?;
                &self.compressed[..length]
            }
        };
        self.header.clear();
        header(kind, raw.len(), compressed.len(), &mut self.header);
        Ok(Page { header: &self.header, body: compressed, raw_bytes: self.header.len() + raw.len() })
    }
}

fn grow(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
}

fn zstd_context(level: i32) -> Result<CCtx<'static>> {
    let mut context = CCtx::try_create().ok_or_else(|| failed("no memory for a compressor"))?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(zstd_failed)?;
    Ok(context)
}

fn zstd_failed(code: usize) -> Error {
    failed(zstd_safe::get_error_name(code))
}

fn failed(reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("could not compress a Parquet page: {reason}"))
}

/// A page as it stands in the file.
pub(super) struct Page<'a> {
    header: &'a [u8],
    body: &'a [u8],
    /// Header included, body not compressed.
    pub(super) raw_bytes: usize,
}

impl Page<'_> {
    pub(super) fn len(&self) -> usize {
        self.header.len() + self.body.len()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.header);
        out.extend_from_slice(self.body);
    }
}

/// `PageHeader` of parquet.thrift, in the compact protocol: every field is a delta and a type, then its value.
fn header(kind: Kind, raw_bytes: usize, compressed_bytes: usize, out: &mut Vec<u8>) {
    const NEXT_I32: u8 = 0x15;
    const STOP: u8 = 0;
    const RLE: i64 = 3;
    let number = |value: i64, out: &mut Vec<u8>| {
        out.push(NEXT_I32);
        varint(zigzag(value), out);
    };
    let (page_type, union_field) = match kind {
        Kind::Data { .. } => (0, 0x2C),
        Kind::Dictionary { .. } => (2, 0x4C),
    };
    number(page_type, out);
    number(raw_bytes as i64, out);
    number(compressed_bytes as i64, out);
    out.push(union_field);
    match kind {
        Kind::Data { slots, encoding } => {
            number(slots as i64, out);
            number(encoding, out);
            number(RLE, out);
            number(RLE, out);
        }
        Kind::Dictionary { values } => {
            const PLAIN: i64 = 0;
            const NEXT_IS_FALSE: u8 = 0x12;
            number(values as i64, out);
            number(PLAIN, out);
            out.push(NEXT_IS_FALSE);
        }
    }
    out.extend_from_slice(&[STOP, STOP]);
}

/// Pages of all columns, in the order they were finished.
#[derive(Default)]
pub(super) struct Store {
    blocks: Vec<Box<[u8]>>,
    used: usize,
}

/// Where a page lies.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    at: usize,
    pub(super) length: usize,
}

impl Store {
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// Forgets all pages; their memory stays.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn release(&mut self) {
        *self = Store::default();
    }

    pub(super) fn push(&mut self, page: &Page<'_>) -> Stored {
        let stored = Stored { at: self.used, length: page.len() };
        self.append(page.header);
        self.append(page.body);
        stored
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (block, at) = (self.used / BLOCK_BYTES, self.used % BLOCK_BYTES);
            if block == self.blocks.len() {
                self.blocks.push(vec![0; BLOCK_BYTES].into_boxed_slice());
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - at));
            self.blocks[block][at..at + now.len()].copy_from_slice(now);
            self.used += now.len();
            bytes = later;
        }
    }

    /// The bytes of a page from its byte `skip` on, as far as they lie in one piece.
    fn piece(&self, page: Stored, skip: usize) -> &[u8] {
        let at = page.at + skip;
        let length = (page.length - skip).min(BLOCK_BYTES - at % BLOCK_BYTES);
        &self.blocks[at / BLOCK_BYTES][at % BLOCK_BYTES..][..length]
    }

    /// A column chunk, one page after the other.
    pub(super) fn read<'a>(
        &'a self,
        dictionary: &'a [u8],
        pages: impl Iterator<Item = Stored> + 'a,
    ) -> impl Read + 'a {
        Reader { store: self, dictionary, pages, page: None }
    }
}

struct Reader<'a, I> {
    store: &'a Store,
    dictionary: &'a [u8],
    pages: I,
    /// The page that is being read, and how much of it is.
    page: Option<(Stored, usize)>,
}

impl<I: Iterator<Item = Stored>> Read for Reader<'_, I> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if !self.dictionary.is_empty() {
            return self.dictionary.read(out);
        }
        let (page, done) = match self.page.take().filter(|(page, done)| *done < page.length) {
            Some(open) => open,
            None => match self.pages.next() {
                Some(next) => (next, 0),
                None => return Ok(0),
            },
        };
        let read = self.store.piece(page, done).read(out)?;
        self.page = Some((page, done + read));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use parquet::basic::Encoding;
    use parquet::column::page::{CompressedPage, Page as Theirs, PageWriter};
    use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

    #[test]
    fn pages_are_what_the_crate_writes() {
        for length in [0, 100, 30_000, 200_000] {
            let raw: Vec<u8> = (0..length).map(|at: u32| (at % 7) as u8).collect();
            let theirs = [
                Theirs::DataPage {
                    buf: Bytes::from(raw.clone()),
                    num_values: 20_480,
                    encoding: Encoding::DELTA_BINARY_PACKED,
                    def_level_encoding: Encoding::RLE,
                    rep_level_encoding: Encoding::RLE,
                    statistics: None,
                },
                Theirs::DictionaryPage {
                    buf: Bytes::from(raw.clone()),
                    num_values: 300,
                    encoding: Encoding::PLAIN,
                    is_sorted: false,
                },
            ];
            let kinds = [
                Kind::Data { slots: 20_480, encoding: Encoding::DELTA_BINARY_PACKED as i64 },
                Kind::Dictionary { values: 300 },
            ];
            for (theirs, kind) in theirs.into_iter().zip(kinds) {
                let mut expected = TrackedWrite::new(Vec::new());
                let page = CompressedPage::new(theirs, raw.len());
                SerializedPageWriter::new(&mut expected).write_page(page).unwrap();
                let mut compressor = Compressor::new(Compression::None);
                let mut ours = Vec::new();
                compressor.page(kind, &raw).unwrap().write(&mut ours);
                assert_eq!(ours, expected.into_inner().unwrap());
            }
        }
    }

    #[test]
    fn what_is_stored_is_read_in_the_order_asked_for() {
        let mut store = Store::default();
        for round in 0..2 {
            let mut compressor = Compressor::new(Compression::None);
            let raw: Vec<Vec<u8>> = (0..9).map(|page| vec![page; 40_000]).collect();
            let kind = Kind::Dictionary { values: round };
            let stored: Vec<Stored> =
                raw.iter().map(|raw| store.push(&compressor.page(kind, raw).unwrap())).collect();
            let mut expected = b"first".to_vec();
            for raw in [&raw[8], &raw[0], &raw[4]] {
                compressor.page(kind, raw).unwrap().write(&mut expected);
            }
            let mut read = Vec::new();
            let pages = [stored[8], stored[0], stored[4]].into_iter();
            store.read(b"first", pages).read_to_end(&mut read).unwrap();
            assert!(read == expected);
            assert_eq!(store.capacity(), store.used().next_multiple_of(BLOCK_BYTES));
            store.clear();
        }
    }
}
