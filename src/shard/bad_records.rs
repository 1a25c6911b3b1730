//! What becomes of a record that is no row: kept as a dead letter, skipped, or the end of its partition.
//!
//! The table's config decides (`on_bad_record`). Why the record is no row, the
//! decoder says; that its dead letter is there before its offset is settled is
//! `protocol::dead_letters`.

use super::dependencies::{BATCH_BYTES, ShardDependencies};
use super::output::carrier;
use super::table::TableState;
use crate::columnar::BadRecord;
use crate::columnar::dead_letters::{self, DeadLetter};
use crate::config::OnBadRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::progress::RecordFate;
use crate::source::batch::{Padded, Record};

/// What became of a bad record.
pub(super) enum BadRecordFate {
    Counted(RecordFate),
    /// Nothing of its partition goes further, itself included.
    Stops(Error),
}

impl TableState {
    /// Bad records are kept, with their headers.
    pub(super) fn keeps_bad_records(&self) -> bool {
        self.table_context.on_bad_record == OnBadRecord::DeadLetter
    }

    /// Carries the table's policy out.
    pub(super) fn take_bad_record(
        &mut self,
        source: &TopicPartition,
        record: &Record<'_>,
        bad: &BadRecord,
        dependencies: &ShardDependencies,
    ) -> Result<BadRecordFate> {
        self.counters.bad(bad.reason.as_str());
        Ok(match self.table_context.on_bad_record {
            OnBadRecord::DeadLetter => {
                self.write_dead_letter(source, record, bad, dependencies)?;
                BadRecordFate::Counted(RecordFate::DeadLetter)
            }
            OnBadRecord::Skip => BadRecordFate::Counted(RecordFate::Skipped),
            OnBadRecord::Fail => BadRecordFate::Stops(is_no_row(source, record.offset, bad)),
        })
    }

    fn write_dead_letter(
        &mut self,
        source: &TopicPartition,
        record: &Record<'_>,
        bad: &BadRecord,
        dependencies: &ShardDependencies,
    ) -> Result<()> {
        let output = self.dead_letters.as_mut().expect("a table that keeps bad records has a place for them");
        let dead_letter = DeadLetter {
            topic: &source.topic,
            partition: source.partition.0,
            offset: record.offset.0,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value.map(Padded::bytes).unwrap_or_default(),
        };
        let unfit = u64::from(dead_letter.has_unfit_timestamp());
        dead_letters::append(&mut output.columns, &dead_letter, record.headers, bad);
        if output.batch_is_full(record.size(), dependencies.batch_bytes(BATCH_BYTES)) {
            output.encode(carrier(dependencies, &self.table_context, self.reset_epoch))?;
        }
        self.note_unfit_timestamps(unfit);
        Ok(())
    }
}

fn is_no_row(source: &TopicPartition, offset: Offset, bad: &BadRecord) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("{source} offset {offset}: the record is not a row: {}: {}", bad.reason.as_str(), bad.detail),
    )
    .remedy("mend the producer and skip the record with on_bad_record = \"skip\", or correct the schema")
}
