//! Reading Parquet from the store by ranges: only what is asked for is fetched.
//!
//! It owns the fetching. What is read, and why, is the caller's.
//!
//! Invariant: all ranges are of the object whose footer was read. Where another
//! writer has put another one in its place since, the store refuses.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, coalesce_ranges,
};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, MetadataSuffixFetch};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// Asked for at once at a file's end: most footers are smaller, and take one request.
/// Whoever wants page indexes loads them afterwards: the crate looks for them in the wrong place of this.
const FOOTER_BYTES: usize = 64 << 10;

#[derive(Clone)]
pub struct ParquetObject {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    /// Of the object whose footer was read, where the store tells them apart.
    e_tag: Option<String>,
}

impl ParquetObject {
    pub fn new(objects: &Arc<dyn ObjectStore>, path: Path) -> ParquetObject {
        ParquetObject { objects: Arc::clone(objects), path, e_tag: None }
    }

    async fn get(&self, range: GetRange) -> object_store::Result<GetResult> {
        let options =
            GetOptions { range: Some(range), if_match: self.e_tag.clone(), ..GetOptions::default() };
        self.objects.get_opts(&self.path, options).await
    }

    async fn bytes(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        self.get(range.into()).await?.bytes().await
    }
}

impl MetadataSuffixFetch for &mut ParquetObject {
    fn fetch_suffix(&mut self, suffix: usize) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let found = self.get(GetRange::Suffix(suffix as u64)).await.map_err(external)?;
            self.e_tag.clone_from(&found.meta.e_tag);
            found.bytes().await.map_err(external)
        }
        .boxed()
    }
}

impl AsyncFileReader for ParquetObject {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.bytes(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move {
            let fetched = coalesce_ranges(&ranges, |range| self.bytes(range), OBJECT_STORE_COALESCE_DEFAULT);
            fetched.await.map_err(external)
        }
        .boxed()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::{HandMade, full};

    #[tokio::test]
    async fn what_was_put_in_its_place_meanwhile_is_not_read_as_the_same() {
        let mut table = HandMade::new().await;
        let add = table.append(&[full(0, 0, 10)]).await;
        let mut object = ParquetObject::new(&table.store.objects, table.store.path(&add.path));
        object.get_metadata(None).await.unwrap();
        assert_eq!(object.get_bytes(0..4).await.unwrap(), "PAR1");
        let place = table.directory.path().join(&add.path);
        let mut other = std::fs::read(&place).unwrap();
        other.push(0);
        std::fs::write(&place, other).unwrap();
        assert!(object.get_bytes(0..4).await.is_err());
        assert!(object.get_byte_ranges(vec![0..4, 8..10]).await.is_err());
    }
}
