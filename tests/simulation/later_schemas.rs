//! A second format: JSON of which some records need a schema first, from a registry that takes its time.
//!
//! Payloads and rows are those of JSON, so that the oracle knows what belongs into the table. Each record names
//! one of a few schemas by its bytes; a process that has just started knows none of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use thalweg::columnar::{
    AnyReader, BadRecord, ReadRecord, RecordFacts, RecordFormat, RecordReader, Rows, SchemaName,
};
use thalweg::config::{Decoding, Format};
use thalweg::error::Error;
use thalweg::record::Padded;
use thalweg::schema::Schema;

use crate::chance::Chance;

const SCHEMAS: u32 = 5;

pub struct LaterSchemas {
    known: Arc<Mutex<BTreeSet<SchemaName>>>,
    chance: Mutex<Chance>,
}

impl LaterSchemas {
    pub fn new(chance: Chance) -> LaterSchemas {
        LaterSchemas { known: Arc::default(), chance: Mutex::new(chance) }
    }
}

impl RecordFormat for LaterSchemas {
    fn reader(&self, table: &Schema, decoding: &Decoding) -> AnyReader {
        AnyReader::Other(Box::new(Reader {
            json: Format::Json.reader(table, decoding),
            known: Arc::clone(&self.known),
        }))
    }

    fn fetch(&self, schema: SchemaName) -> BoxFuture<'static, Result<(), Error>> {
        let takes = Duration::from_millis(self.chance.lock().unwrap().below(400));
        let known = Arc::clone(&self.known);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            known.lock().unwrap().insert(schema);
            Ok(())
        })
    }
}

struct Reader {
    json: AnyReader,
    known: Arc<Mutex<BTreeSet<SchemaName>>>,
}

impl RecordReader for Reader {
    fn read(
        &mut self,
        value: Option<Padded<'_>>,
        record: &RecordFacts<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<ReadRecord, BadRecord> {
        let payload = value.map(|payload| payload.bytes()).unwrap_or_default();
        let schema =
            SchemaName((payload.iter().map(|&byte| u32::from(byte)).sum::<u32>() % SCHEMAS).to_string());
        // Some of the rows are there already: they must not stay.
        let read = self.json.read(value, record, rows)?;
        if self.known.lock().unwrap().contains(&schema) { Ok(read) } else { Ok(ReadRecord::Needs(schema)) }
    }
}
