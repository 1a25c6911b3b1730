//! What becomes of each row group of the checkpoint before.
//!
//! It owns the choice: a row group is copied as it stands, unless something
//! happened to a row of it or it is merged, or dropped whole.
//!
//! Small row groups are merged as a binary counter carries: one joins what is
//! new once that has grown to its size. So a row is rewritten about as often
//! as its group doubles until it is full, and of `n` files there are at most
//! about `n / (GroupMax::rows / 2)` full groups and a few small ones. What removes
//! left small is merged too, when there are more than [`SMALL_MAX`]. One
//! checkpoint merges no more than one full group's worth.

use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::old::OldFile;
use super::output::GroupMax;
use super::part::Part;
use crate::delta::checkpoint_file;
use crate::error::Result;
use crate::stores::store::Store;

/// Small row groups that may stand side by side.
const SMALL_MAX: usize = 16;
/// Expired tombstones may stay this long in a row group with younger ones, so
/// that it is rewritten once in a while and not each time that one expires.
const EXPIRED_MAY_STAY_MS: i64 = 24 * 3600 * 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Splice,
    Rewrite,
}

#[derive(Debug)]
pub(super) struct Chosen {
    /// The file's place among the old files.
    pub file: usize,
    pub group: usize,
    pub fate: Fate,
    rows: usize,
    small: bool,
}

/// The row groups that hold rows of this part, and what becomes of them.
/// `paths`, in order, are those that something happened to; `fresh` is how many new rows there are.
pub(super) async fn plan(
    store: &Store,
    old: &[OldFile],
    part: Part,
    paths: &[&str],
    fresh: usize,
    expired_ms: i64,
    max: GroupMax,
) -> Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    for (index, file) in old.iter().enumerate() {
        for (group, metadata) in file.metadata().row_groups().iter().enumerate() {
            if !part.may_be_in(metadata) {
                continue;
            }
            let splices = file.is_ours() && part != Part::Table && part.fills(metadata);
            let fate = match Age::of(metadata, part, expired_ms) {
                Age::Expired if splices => continue,
                Age::Mixed => Fate::Rewrite,
                _ if splices && !file.names_any(store, group, part, paths).await? => Fate::Splice,
                _ => Fate::Rewrite,
            };
            let rows = usize::try_from(metadata.num_rows()).unwrap_or(usize::MAX);
            let small = rows < max.rows / 2 && metadata.compressed_size() < max.bytes as i64 / 2;
            chosen.push(Chosen { file: index, group, fate, rows, small });
        }
    }
    merge_small(&mut chosen, fresh, max.rows);
    Ok(chosen)
}

/// Has small row groups rewritten together with what is new.
fn merge_small(chosen: &mut [Chosen], fresh: usize, rows_max: usize) {
    let rewritten: usize = chosen.iter().filter(|one| one.fate == Fate::Rewrite).map(|one| one.rows).sum();
    let mut small: Vec<&mut Chosen> =
        chosen.iter_mut().filter(|one| one.small && one.fate == Fate::Splice).collect();
    small.sort_by_key(|one| one.rows);
    let (mut left, mut merged) = (small.len(), 0);
    for one in small {
        let is_due = one.rows <= fresh + rewritten + merged || left > SMALL_MAX;
        if !is_due || merged + one.rows > rows_max {
            break;
        }
        one.fate = Fate::Rewrite;
        merged += one.rows;
        left -= 1;
    }
}

/// How old the tombstones of a row group are.
#[derive(PartialEq, Eq)]
enum Age {
    /// No tombstones, or none that has to go now.
    Young,
    /// Some have to go.
    Mixed,
    /// All have to go.
    Expired,
}

impl Age {
    fn of(group: &RowGroupMetaData, part: Part, expired_ms: i64) -> Age {
        let leaf = checkpoint_file::leaf(group, "remove.deletionTimestamp").filter(|_| part == Part::Removes);
        let Some(Statistics::Int64(deleted)) = leaf.and_then(|leaf| leaf.statistics()) else {
            return Age::Young;
        };
        match (deleted.min_opt(), deleted.max_opt()) {
            (_, Some(&newest)) if newest <= expired_ms => Age::Expired,
            (Some(&oldest), _) if oldest <= expired_ms.saturating_sub(EXPIRED_MAY_STAY_MS) => Age::Mixed,
            _ => Age::Young,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP_ROWS: usize = 32_768;

    fn group(rows: usize) -> Chosen {
        Chosen { file: 0, group: 0, fate: Fate::Splice, rows, small: rows < GROUP_ROWS / 2 }
    }

    /// Appends `fresh` rows so often, and returns the groups and how many rows were written in all.
    fn appended(mut groups: Vec<usize>, fresh: usize, times: usize) -> (Vec<usize>, usize) {
        let mut written = 0;
        for _ in 0..times {
            let mut chosen: Vec<Chosen> = groups.iter().map(|&rows| group(rows)).collect();
            merge_small(&mut chosen, fresh, GROUP_ROWS);
            let (kept, merged): (Vec<_>, Vec<_>) = chosen.iter().partition(|one| one.fate == Fate::Splice);
            let mut new = fresh + merged.iter().map(|one| one.rows).sum::<usize>();
            written += new;
            groups = kept.iter().map(|one| one.rows).collect();
            while new > 0 {
                groups.push(new.min(GROUP_ROWS));
                new -= new.min(GROUP_ROWS);
            }
        }
        (groups, written)
    }

    #[test]
    fn row_groups_stay_few_and_rows_are_rewritten_rarely() {
        for fresh in [1, 7, 400, 1600, 20_000] {
            let times = 1_000_000usize.div_ceil(fresh).min(20_000);
            let (groups, written) = appended(Vec::new(), fresh, times);
            let files = fresh * times;
            let full = files / (GROUP_ROWS / 2);
            assert!(groups.len() <= full + SMALL_MAX, "{fresh}: {} groups", groups.len());
            let doublings = (GROUP_ROWS / fresh).max(1).ilog2() as usize + 2;
            assert!(written <= files * doublings, "{fresh}: each row written {} times", written / files);
        }
    }

    #[test]
    fn groups_that_removes_left_small_are_merged_in_time() {
        let (groups, written) = appended(vec![100; 1000], 10, 200);
        assert!(groups.len() <= SMALL_MAX + 10, "{} groups", groups.len());
        assert!(written <= 200 * (GROUP_ROWS + 10));
    }

    #[test]
    fn nothing_is_rewritten_where_nothing_happened() {
        let mut chosen = vec![group(GROUP_ROWS), group(GROUP_ROWS), group(500)];
        merge_small(&mut chosen, 0, GROUP_ROWS);
        assert!(chosen.iter().all(|one| one.fate == Fate::Splice));
    }
}
