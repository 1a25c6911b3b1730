//! What another writer's commit means for ours.
//!
//! It owns the judgement of one winner. It does not own reading the log
//! (`delta::log`), nor what a changed schema allows (`delta::write_compatibility`).

use std::fmt;

use super::fence::Writer;
use super::planted::{Bug, planted};

/// What a commit that took our version did, as far as it matters to us.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Winner {
    /// Who wrote it, if it was one of us.
    pub writer: Option<Writer>,
    /// `commitInfo.operation`
    pub operation: Option<String>,
    /// App ids whose `txn` it moved.
    pub txns: Vec<String>,
    pub changes_protocol: bool,
    pub changes_metadata: bool,
    /// Paths of the files that it took out of the table, as the log writes them.
    pub removes: Vec<String>,
    /// Names of actions that we do not know.
    pub unknown_actions: Vec<String>,
}

/// What an app id is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    Foreign,
    /// The offset of a partition that we read.
    Ours,
    /// A partition that we read, under another topic id or table id: its offsets were handed over.
    Successor,
    /// The entry of an override of a partition that we read.
    OffsetOverride,
}

/// What of ours another commit can touch.
pub trait Stake {
    /// What an app id is to us.
    fn relation(&self, app_id: &str) -> Relation;

    /// Whether our change takes this file out of the table, too.
    fn removes(&self, _path: &str) -> bool {
        false
    }
}

/// Whoever only appends has nothing but its offsets at stake.
impl<F: Fn(&str) -> Relation> Stake for F {
    fn relation(&self, app_id: &str) -> Relation {
        self(app_id)
    }
}

/// The judgement. Earlier rows win.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// It holds something that we do not understand: stop rather than guess.
    Unknown(String),
    /// The table was put back to another state: a person must decide.
    Replaced(String),
    /// It took our partitions over under another topic id or table id: what we would
    /// commit under the old one, nobody would see as a conflict.
    Transferred(Option<Writer>, Entries),
    /// A person moved our offsets: what we hold no longer fits, and we read on from the new ones.
    OffsetsSet(Option<Writer>, Entries),
    /// It moved one of our offsets: what we hold is somebody else's by now.
    Fenced(Option<Writer>),
    /// It took a file out of the table that our change takes out: what we made of it is of an old state.
    FileRemoved(String),
    /// Protocol or schema changed: look at the table again before committing.
    Reload,
    /// It stands beside ours.
    Harmless,
}

/// App ids of a commit that say why.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entries(pub Vec<String>);

impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.iter().take(ENTRIES_TOLD).map(String::as_str).collect::<Vec<_>>();
        f.write_str(&first.join(", "))?;
        match self.0.len().saturating_sub(ENTRIES_TOLD) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// A topic may have a thousand partitions, and all of them move.
const ENTRIES_TOLD: usize = 8;

/// Operations that put a table into an earlier or another state.
const REPLACING: [&str; 3] = ["RESTORE", "CLONE", "REPLACE TABLE"];

pub fn judge(winner: &Winner, stake: &impl Stake) -> Verdict {
    if let Some(name) = winner.unknown_actions.first().filter(|_| !planted(Bug::IgnoresUnknownActions)) {
        return Verdict::Unknown(name.clone());
    }
    if let Some(operation) = &winner.operation
        && !planted(Bug::IgnoresARestore)
        && REPLACING.iter().any(|name| operation.to_ascii_uppercase().contains(name))
    {
        return Verdict::Replaced(operation.clone());
    }
    let that = |wanted| {
        let entries = winner.txns.iter().filter(|app_id| stake.relation(app_id) == wanted).cloned();
        Some(Entries(entries.collect())).filter(|entries| !entries.0.is_empty())
    };
    if let Some(entries) = that(Relation::Successor)
        && !planted(Bug::IgnoresAIdentityTransfer)
    {
        return Verdict::Transferred(winner.writer.clone(), entries);
    }
    if let Some(entries) = that(Relation::OffsetOverride) {
        return Verdict::OffsetsSet(winner.writer.clone(), entries);
    }
    if that(Relation::Ours).is_some() && !planted(Bug::IgnoresAFence) {
        return Verdict::Fenced(winner.writer.clone());
    }
    if let Some(path) = winner.removes.iter().find(|path| stake.removes(path)) {
        return Verdict::FileRemoved(path.clone());
    }
    if winner.changes_protocol || winner.changes_metadata {
        return Verdict::Reload;
    }
    Verdict::Harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(app_id: &str) -> Relation {
        match app_id {
            "ours" => Relation::Ours,
            "ours under another topic id" => Relation::Successor,
            "a jump of ours" => Relation::OffsetOverride,
            _ => Relation::Foreign,
        }
    }

    #[test]
    fn partitions_that_were_handed_over_are_not_fought_for() {
        let txns = vec!["ours".into(), "ours under another topic id".into()];
        let entries = Entries(vec!["ours under another topic id".into()]);
        assert_eq!(judge(&Winner { txns, ..Winner::default() }, &ours), Verdict::Transferred(None, entries));
    }

    #[test]
    fn offsets_that_a_person_moved_are_no_rivals_and_the_entry_is_named() {
        let txns = vec!["ours".into(), "a jump of ours".into()];
        let entries = Entries(vec!["a jump of ours".into()]);
        assert_eq!(judge(&Winner { txns, ..Winner::default() }, &ours), Verdict::OffsetsSet(None, entries));
        let txns = vec!["a jump of ours".into(), "ours under another topic id".into()];
        let verdict = judge(&Winner { txns, ..Winner::default() }, &ours);
        assert!(matches!(verdict, Verdict::Transferred(None, _)), "{verdict:?}");
    }

    #[test]
    fn many_entries_are_told_by_the_first_and_their_number() {
        assert_eq!(Entries(vec!["a".into(), "b".into()]).to_string(), "a, b");
        let many = Entries((0..11).map(|number| number.to_string()).collect());
        assert_eq!(many.to_string(), "0, 1, 2, 3, 4, 5, 6, 7 and 3 more");
    }

    #[test]
    fn an_append_beside_ours_is_harmless() {
        let winner =
            Winner { txns: vec!["spark".into()], operation: Some("WRITE".into()), ..Winner::default() };
        assert_eq!(judge(&winner, &ours), Verdict::Harmless);
    }

    #[test]
    fn a_moved_offset_fences_even_when_the_schema_changed_too() {
        let winner = Winner { txns: vec!["ours".into()], changes_metadata: true, ..Winner::default() };
        assert_eq!(judge(&winner, &ours), Verdict::Fenced(None));
    }

    #[test]
    fn a_changed_schema_or_protocol_is_looked_at() {
        assert_eq!(judge(&Winner { changes_metadata: true, ..Winner::default() }, &ours), Verdict::Reload);
        assert_eq!(judge(&Winner { changes_protocol: true, ..Winner::default() }, &ours), Verdict::Reload);
    }

    #[test]
    fn a_file_that_both_take_out_is_a_conflict_and_one_that_only_the_other_takes_is_none() {
        struct Rewrites(&'static str);
        impl Stake for Rewrites {
            fn relation(&self, _: &str) -> Relation {
                Relation::Foreign
            }

            fn removes(&self, path: &str) -> bool {
                path == self.0
            }
        }
        let winner = Winner { removes: vec!["a".into(), "b".into()], ..Winner::default() };
        assert_eq!(judge(&winner, &Rewrites("b")), Verdict::FileRemoved("b".into()));
        assert_eq!(judge(&winner, &Rewrites("c")), Verdict::Harmless);
        assert_eq!(judge(&winner, &ours), Verdict::Harmless, "an append does not mind");
    }

    #[test]
    fn what_is_not_understood_stops_us() {
        let winner = Winner { unknown_actions: vec!["sidecar".into()], ..Winner::default() };
        assert_eq!(judge(&winner, &ours), Verdict::Unknown("sidecar".into()));
    }

    #[test]
    fn a_restored_table_is_a_persons_matter() {
        for operation in ["RESTORE", "CLONE", "CREATE OR REPLACE TABLE AS SELECT"] {
            let winner = Winner { operation: Some(operation.into()), ..Winner::default() };
            assert_eq!(judge(&winner, &ours), Verdict::Replaced(operation.into()));
        }
    }
}
