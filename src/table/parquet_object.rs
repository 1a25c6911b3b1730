//! Reading Parquet from the store by ranges: only what is asked for is fetched.
//!
//! It owns the fetching. What is read, and why, is the caller's.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, MetadataSuffixFetch};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// Asked for at once at a file's end: most footers are smaller, and take one request.
/// Whoever wants page indexes loads them afterwards: the crate looks for them in the wrong place of this.
const FOOTER_BYTES: usize = 64 << 10;

pub struct ParquetObject {
    objects: Arc<dyn ObjectStore>,
    path: Path,
}

impl ParquetObject {
    pub fn new(objects: &Arc<dyn ObjectStore>, path: Path) -> ParquetObject {
        ParquetObject { objects: Arc::clone(objects), path }
    }
}

impl MetadataSuffixFetch for &mut ParquetObject {
    fn fetch_suffix(&mut self, suffix: usize) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let options =
                GetOptions { range: Some(GetRange::Suffix(suffix as u64)), ..GetOptions::default() };
            let found = self.objects.get_opts(&self.path, options).await.map_err(external)?;
            found.bytes().await.map_err(external)
        }
        .boxed()
    }
}

impl AsyncFileReader for ParquetObject {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.objects.get_range(&self.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.objects.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            let reader = reader.with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_via_suffix_and_finish(self).await?))
        }
        .boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
