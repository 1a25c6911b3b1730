//! A dead-letter table as its main table's committer needs it.
//!
//! It owns the tag on its files and the question which dead letters stand above
//! the main table's offsets. What that means is `protocol::dead_letters`; the
//! rows are made in `columnar::dead_letters`.

use std::collections::{BTreeMap, BTreeSet};

use crate::dead_letters::rows as dead_letter_rows;
use crate::dead_letters::tags::DeadLettersTag;
use crate::delta::inventory;
use crate::delta::log::Snapshot;
use crate::delta::write_compatibility;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::app_id::AppId;
use crate::protocol::dead_letters::{AlreadyDeadLettered, Doubt};
use crate::protocol::planted::{Bug, planted};
use crate::schema::Schema;
use crate::stores::store::Store;

/// Whether dead letters fit into a table that is there.
pub fn check(store: &Store, snapshot: &Snapshot) -> Result<()> {
    let schema = write_compatibility::check(&snapshot.protocol, &snapshot.metadata)?;
    let ours = Schema::of_dead_letters();
    if write_compatibility::still_fits(&ours, &schema) {
        return Ok(());
    }
    let message = format!("{}: the table there has not the columns of dead letters", store.url);
    Err(Error::new(ErrorKind::CannotWrite, message)
        .remedy(format!("name another location with `dlq`; the columns are: {ours}")))
}

/// The dead letters of partitions in offsets that are in doubt.
///
/// Only files that may hold them are read: those whose tag reaches into a doubt, and those without a tag,
/// which another engine rewrote.
pub async fn held(store: &Store, in_doubt: &BTreeMap<TopicPartition, Doubt>) -> Result<AlreadyDeadLettered> {
    let mut found: BTreeMap<&TopicPartition, BTreeSet<Offset>> = BTreeMap::new();
    if in_doubt.is_empty() {
        return Ok(AlreadyDeadLettered::new());
    }
    let inventory = inventory::take(store).await?;
    for add in inventory.files.values() {
        let tag = DeadLettersTag::of(add);
        // A topic that was created again has other records at the same offsets.
        let may_hold = |doubt: &Doubt| tag.as_ref().is_none_or(|tag| tag.reaches(doubt));
        let of_file: Vec<_> = in_doubt.iter().filter(|(_, doubt)| may_hold(doubt)).collect();
        if of_file.is_empty() {
            continue;
        }
        let mut dead_letters = dead_letter_rows::open(store, add, &dead_letter_rows::PLAIN, None).await?;
        while let Some(batch) = dead_letters.next().await? {
            for dead_letter in (0..batch.len()).filter_map(|row| batch.dead_letter(row)) {
                let is_of = |(source, doubt): &&(&TopicPartition, &Doubt)| {
                    (source.topic.as_str(), source.partition) == (dead_letter.topic, dead_letter.partition)
                        && doubt.offsets.contains(&dead_letter.offset.0)
                };
                if let Some((source, doubt)) = of_file.iter().find(is_of) {
                    let is_told = tag.is_some() || dead_letter.offset.0 >= doubt.others;
                    if !is_told && !planted(Bug::GuessesWhoseDeadLettersStand) {
                        return Err(not_told(store, source, dead_letter.offset));
                    }
                    found.entry(source).or_default().insert(dead_letter.offset);
                }
            }
        }
    }
    Ok(found.into_iter().map(|(source, offsets)| (source.clone(), offsets.into_iter().collect())).collect())
}

/// Whether a record was settled as a dead letter is not known.
fn not_told(store: &Store, source: &TopicPartition, offset: Offset) -> Error {
    let message = format!(
        "{}: the letter {source} {offset} stands in a file that another engine wrote: it is of this topic, or of \
         another one that had its name",
        store.url
    );
    Error::new(ErrorKind::Disagree, message)
        .remedy("delete the letters of topics that are gone from the table of dead letters, then start again")
}

impl DeadLettersTag {
    /// Dead letters of these names may stand in these offsets.
    fn reaches(&self, doubt: &Doubt) -> bool {
        self.ranges.iter().any(|range| {
            let is_named = |name: &AppId| name.table_id == self.table_id && name.source == range.source;
            range.next.0 > doubt.offsets.start
                && range.start.0 < doubt.offsets.end
                && doubt.names.iter().any(is_named)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::{HandMade, source, with_rows};
    use crate::ids::{OffsetRange, TopicId};

    /// A dead letter of some ingestion's partition 0, and nothing else, in a file of its own.
    async fn dead_letter(table: &mut HandMade, table_id: &str, topic_id: &str, offset: i64) {
        let source = TopicPartition { topic_id: TopicId(topic_id.to_owned()), ..source(0) };
        let range = OffsetRange { source, dead_letters: 1, ..with_rows(0, offset - 1, offset + 1, 0) };
        let tag = DeadLettersTag { table_id: table_id.to_owned(), ranges: vec![range] };
        table.post(&tag, &[(0, offset, b"{")]).await;
    }

    #[tokio::test]
    async fn dead_letters_in_doubt_are_those_of_the_same_log_under_any_of_its_names() {
        let mut dead_letters = HandMade::of_dead_letters().await;
        dead_letter(&mut dead_letters, "orders", "A", 12).await;
        dead_letter(&mut dead_letters, "new", "A", 13).await;
        dead_letter(&mut dead_letters, "new", "-", 14).await;
        dead_letter(&mut dead_letters, "other", "A", 15).await;
        // Of a topic that was created again.
        dead_letter(&mut dead_letters, "new", "B", 16).await;
        dead_letter(&mut dead_letters, "new", "A", 30).await;
        let of = |topic_id: &str| TopicPartition { topic_id: TopicId(topic_id.to_owned()), ..source(0) };
        let names = [("new", "A"), ("orders", "A"), ("new", "-")];
        let names = names.map(|(table_id, topic_id)| AppId::new(table_id, of(topic_id))).to_vec();
        let in_doubt = BTreeMap::from([(of("A"), Doubt { offsets: 10..20, names, others: 17 })]);
        let found = held(&dead_letters.store, &in_doubt).await.unwrap();
        assert_eq!(found, [(of("A"), [12, 13, 14].map(Offset).to_vec())].into());
        dead_letters.post_untold(&[(0, 17, b"{")]).await;
        let found = held(&dead_letters.store, &in_doubt).await.unwrap();
        assert_eq!(found[&of("A")], [12, 13, 14, 17].map(Offset), "no other log reaches so far");
        dead_letters.post_untold(&[(0, 16, b"{")]).await;
        let refused = held(&dead_letters.store, &in_doubt).await.unwrap_err();
        assert!(refused.message.contains("16 stands in a file that another engine wrote"), "{refused}");
    }
}
