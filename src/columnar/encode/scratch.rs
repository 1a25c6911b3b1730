//! What all leaves of an encoder share.

use parquet::errors::ParquetError;

use super::pages::{Compressor, Store};
use crate::error::{Error, ErrorKind};

/// When pages end.
#[derive(Clone, Copy)]
pub(super) struct PageLimits {
    pub(super) page_rows: usize,
    pub(super) page_bytes: usize,
}

/// What all leaves use, one after the other.
pub(super) struct Scratch {
    pub(super) compressor: Compressor,
    pub(super) store: Store,
    /// A page before it is compressed.
    pub(super) raw: Vec<u8>,
}

/// Writing to memory fails only by our mistake.
pub(in crate::columnar) fn internal(error: ParquetError) -> Error {
    Error::new(ErrorKind::Internal, format!("could not encode Parquet: {error}"))
}
