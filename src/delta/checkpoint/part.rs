//! The parts of a checkpoint, and which row groups hold them.

use parquet::arrow::ProjectionMask;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::delta::checkpoint_file;
use crate::delta::parsed_stats;

/// The parts of a checkpoint, in this order, in row groups of their own: what
/// a start reads is a few kilobytes, and a part that nothing happened to is
/// copied as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// What is about the table and not about a file.
    Table,
    /// Tombstones.
    Removes,
    /// Live files.
    Adds,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Table, Part::Removes, Part::Adds];

    /// The columns that hold it.
    pub fn roots(self) -> &'static [&'static str] {
        match self {
            Part::Table => &["protocol", "metaData", "txn", "domainMetadata"],
            Part::Removes => &["remove"],
            Part::Adds => &["add"],
        }
    }

    /// The leaves whose null counts tell whether it is in a row group.
    pub fn leaves(self) -> &'static [&'static str] {
        match self {
            Part::Table => {
                &["protocol.minReaderVersion", "metaData.id", "txn.appId", "domainMetadata.domain"]
            }
            Part::Removes => &["remove.path"],
            Part::Adds => &["add.path"],
        }
    }

    /// The leaf that names its files.
    pub fn path_leaf(self) -> &'static str {
        self.leaves()[0]
    }

    pub fn may_be_in(self, group: &RowGroupMetaData) -> bool {
        self.leaves().iter().any(|leaf| checkpoint_file::may_hold(group, leaf))
    }

    /// Whether every row of a group is of this part, for sure.
    pub fn fills(self, group: &RowGroupMetaData) -> bool {
        let nulls = |leaf| checkpoint_file::leaf(group, leaf)?.statistics()?.null_count_opt();
        self.leaves().iter().any(|leaf| nulls(leaf) == Some(0))
    }

    pub fn projection(self, file: &ParquetMetaData) -> ProjectionMask {
        let columns = file.file_metadata().schema_descr();
        let is_of =
            |path: &[String]| self.roots().contains(&path[0].as_str()) && parsed_stats::is_wanted(file, path);
        let leaves = (0..columns.num_columns()).filter(|&leaf| is_of(columns.column(leaf).path().parts()));
        ProjectionMask::leaves(columns, leaves)
    }
}
