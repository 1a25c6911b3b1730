//! Tables with one thing wrong, each named by the verdict; and sound ones.

use serde_json::json;

use super::*;
use crate::audit::places;
use crate::config::Compression;
use crate::dead_letters::tags::{DeadLettersTag, REPLAYED_TAG};
use crate::delta::action::Action;
use crate::delta::checkpoint::{self, CheckpointOptions};
use crate::delta::create;
use crate::delta::testing::{HandMade, NOW_MS, TABLE_ID, full, source, txn, with_rows};

/// Tombstones of the tables here have not expired.
const OPTIONS: CheckpointOptions =
    CheckpointOptions { expired_ms: NOW_MS - 1, compression: Compression::Snappy };

fn span(start: i64, next: i64) -> Span {
    Span { start: Offset(start), next: Offset(next) }
}

fn unknown(span: Span, why: &'static str, rows: Option<u64>, resolved: Option<u64>) -> Unknown {
    Unknown { span, why, rows, resolved }
}

/// Another writer puts one file of these rows in the place of others.
async fn rewrite(table: &mut HandMade, removed: &[&Add], rows: &[(i32, i64)], data_change: bool) {
    let mut rewritten = table.file(rows, &[]);
    rewritten.tags = None;
    rewritten.data_change = data_change;
    let mut lines = vec![json!({"commitInfo": {"operation": "OPTIMIZE"}})];
    lines.extend(removed.iter().map(
        |add| json!({"remove": {"path": add.path, "dataChange": data_change, "deletionTimestamp": NOW_MS}}),
    ));
    lines.push(json!({"add": rewritten}));
    table.commit_lines(&lines).await;
}

/// Every byte is read, and these violations are found.
async fn assert_deep_violations(table: &HandMade, expected: &[&str]) -> Verdict {
    let verdict = verify_to(&table.store, Depth::Everything, Arc::new(|_| {})).await.unwrap();
    let found = &verdict.violations;
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for text in expected {
        assert!(found.iter().any(|violation| violation.contains(text)), "`{text}` in {found:#?}");
    }
    verdict
}

async fn verdict(table: &HandMade) -> Verdict {
    verify(&table.store).await.unwrap()
}

/// The table has these violations, each found by a part of its text, and no other.
async fn assert_violations(table: &HandMade, expected: &[&str]) -> Verdict {
    let verdict = verdict(table).await;
    let found = &verdict.violations;
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for text in expected {
        assert!(found.iter().any(|violation| violation.contains(text)), "`{text}` in {found:#?}");
    }
    verdict
}

#[tokio::test]
async fn a_sound_table_is_proven_from_its_anchor() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10), full(1, 0, 5)]).await;
    // Compaction in the topic left 10 and 11 without a record; 20..25 were markers.
    table.append(&[with_rows(0, 10, 20, 8)]).await;
    table.commit("STREAMING UPDATE", &[with_rows(0, 20, 25, 0)], vec![txn(0, 25)]).await;
    let verdict = assert_violations(&table, &[]).await;
    assert_eq!((verdict.rows, verdict.files, verdict.from_version), (23, 2, Version(0)));
    let [zero, one] = &verdict.partitions[..] else { panic!("{:?}", verdict.partitions) };
    assert_eq!((zero.rows, &zero.proven[..], &zero.unknown[..]), (18, &[span(0, 25)][..], &[][..]));
    assert_eq!((one.rows, &one.proven[..]), (5, &[span(0, 5)][..]));
    assert_eq!(verdict.audit.why_not_all(), None);
    assert_eq!(verdict.audit.rows(), 23);
}

#[tokio::test]
async fn a_partition_that_was_only_anchored_claims_nothing() {
    let verdict = assert_violations(&HandMade::new().await, &[]).await;
    assert_eq!((verdict.partitions[0].span, &verdict.partitions[0].proven[..]), (span(0, 0), &[][..]));
}

#[tokio::test]
async fn a_doubled_range_is_named_by_its_version_and_its_files() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    table.append(&[full(0, 5, 15)]).await;
    assert_violations(
        &table,
        &[
            "version 2 settles again offsets 5..10 of orders [0]",
            "offsets 5..10 of orders [0] are in part-1-10.parquet and in part-2-10.parquet",
            "5 rows of orders [0] are there twice",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_hole_is_named_once_and_its_span_is_not_proven() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    table.append(&[full(0, 12, 20)]).await;
    let verdict = assert_violations(&table, &["version 2 skips offsets 10..12 of orders [0]"]).await;
    assert_eq!(verdict.partitions[0].proven, [span(0, 10), span(12, 20)]);
    assert_eq!(verdict.partitions[0].unknown, []);
}

#[tokio::test]
async fn a_txn_that_goes_back_is_named() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    table.commit("STREAMING UPDATE", &[], vec![txn(0, 4)]).await;
    assert_violations(
        &table,
        &["version 2 moves orders [0] back from 10 to 4", "part-1-10.parquet holds orders [0] 0..10, beyond"],
    )
    .await;
}

#[tokio::test]
async fn a_txn_that_moves_without_a_range_is_named() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    table.commit("STREAMING UPDATE", &[], vec![txn(0, 12)]).await;
    assert_violations(&table, &["version 2 settles orders [0] up to 10, and moves its txn to 12"]).await;
}

#[tokio::test]
async fn a_lost_file_is_named_and_its_offsets_are_not_proven() {
    let mut table = HandMade::new().await;
    let lost = table.append(&[full(0, 0, 10)]).await;
    table.append(&[full(0, 10, 20)]).await;
    std::fs::remove_file(table.directory.path().join(&lost.path)).unwrap();
    let verdict = assert_violations(&table, &["part-1-10.parquet is in the log and not in the store"]).await;
    assert_eq!(verdict.partitions[0].proven, [span(10, 20)]);
    assert_eq!(verdict.rows, 10);
}

#[tokio::test]
async fn a_truncated_file_is_named() {
    let mut table = HandMade::new().await;
    let add = table.append(&[full(0, 0, 10)]).await;
    let path = table.directory.path().join(&add.path);
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(add.size as u64 - 1).unwrap();
    let expected = format!("part-1-10.parquet has {} bytes, the log says {}", add.size - 1, add.size);
    assert_violations(&table, &[&expected]).await;
}

#[tokio::test]
async fn a_file_of_the_right_size_that_is_no_parquet_is_named() {
    let mut table = HandMade::new().await;
    let add = table.append(&[full(0, 0, 10)]).await;
    std::fs::write(table.directory.path().join(&add.path), vec![0; add.size as usize]).unwrap();
    assert_violations(&table, &["part-1-10.parquet is not readable Parquet"]).await;
}

#[tokio::test]
async fn rows_that_are_twice_in_one_file_are_counted() {
    let mut table = HandMade::new().await;
    let ranges = [full(0, 0, 4)];
    let add = table.file(&[(0, 0), (0, 1), (0, 1), (0, 3)], &ranges);
    table.commit_file(&add, &ranges).await;
    let verdict = assert_violations(&table, &["1 rows of orders [0] are there twice"]).await;
    let expected = BTreeMap::from([(("orders".to_owned(), source(0).partition), 0..4)]);
    assert_eq!(
        verdict.audit.missing(&expected),
        BTreeMap::from([(("orders".to_owned(), source(0).partition), 1)])
    );
}

#[tokio::test]
async fn rows_outside_of_their_ranges_are_counted() {
    let mut table = HandMade::new().await;
    let ranges = [full(0, 0, 3)];
    let add = table.file(&[(0, 0), (0, 1), (0, 7)], &ranges);
    table.commit_file(&add, &ranges).await;
    assert_violations(&table, &["1 rows of orders [0] lie outside of their file's ranges"]).await;
}

#[tokio::test]
async fn rows_that_statistics_ranges_and_file_count_differently_are_named() {
    let mut table = HandMade::new().await;
    let ranges = [full(0, 0, 3)];
    let mut add = table.file(&[(0, 0), (0, 2)], &ranges);
    add.stats = Some(r#"{"numRecords":5}"#.to_owned());
    table.commit_file(&add, &ranges).await;
    assert_violations(
        &table,
        &["holds 2 rows, its statistics say 5", "holds 2 rows, its ranges say 3", "the range says 3"],
    )
    .await;
}

#[tokio::test]
async fn a_commit_whose_files_hold_fewer_rows_than_it_resolves_is_named() {
    let mut table = HandMade::new().await;
    table.commit("STREAMING UPDATE", &[full(0, 0, 10)], vec![txn(0, 10)]).await;
    let verdict =
        assert_violations(&table, &["version 1 settles 10 rows of orders [0], its files hold 0"]).await;
    assert_eq!(verdict.partitions[0].proven, []);
}

#[tokio::test]
async fn a_table_whose_log_was_cleaned_up_is_proven_from_its_live_files() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    table.commit("STREAMING UPDATE", &[with_rows(0, 10, 15, 0)], vec![txn(0, 15)]).await;
    table.append(&[full(0, 15, 20)]).await;
    checkpoint::write(
        &table.store,
        table.tip(),
        OPTIONS,
        &crate::stores::orphan_cleaner::OrphanCleaner::here(),
    )
    .await
    .unwrap();
    table.append(&[full(0, 20, 30)]).await;
    table.forget_until(Version(3));
    let verdict = assert_violations(&table, &[]).await;
    assert_eq!(verdict.from_version, Version(4));
    let zero = &verdict.partitions[0];
    assert_eq!(zero.proven, [span(0, 10), span(15, 30)]);
    // Who knows what was there: never "missing".
    assert_eq!(zero.unknown, [unknown(span(10, 15), CLEANED_UP, Some(0), None)]);
    assert_eq!(zero.word(), Some("unknown"));
}

#[tokio::test]
async fn rows_that_another_writer_deleted_are_unknown_and_never_missing() {
    let mut table = HandMade::new().await;
    let first = table.append(&[full(0, 0, 10)]).await;
    table.append(&[full(0, 10, 20)]).await;
    let mut rewritten = table.file(&[(0, 0), (0, 1)], &[]);
    rewritten.tags = None;
    table
        .commit_lines(&[
            json!({"commitInfo": {"operation": "DELETE"}}),
            json!({"remove": {"path": first.path, "dataChange": true, "deletionTimestamp": NOW_MS}}),
            json!({"add": rewritten}),
        ])
        .await;
    let verdict = assert_violations(&table, &[]).await;
    assert_eq!(verdict.foreign_files, 1);
    assert_eq!(verdict.partitions[0].proven, [span(10, 20)]);
    assert_eq!(verdict.partitions[0].unknown, [unknown(span(0, 10), CHANGED, Some(2), Some(10))]);
    assert_eq!(verdict.audit.why_not_all(), None);
}

#[tokio::test]
async fn rows_behind_a_deletion_vector_are_not_counted_and_unknown() {
    let mut table = HandMade::new().await;
    let add = table.append(&[full(0, 0, 10)]).await;
    let vector = json!({"storageType": "i", "pathOrInlineDv": "x", "sizeInBytes": 1, "cardinality": 3});
    let mut hidden = serde_json::to_value(&add).unwrap();
    hidden["deletionVector"] = vector;
    table
        .commit_lines(&[
            json!({"remove": {"path": add.path, "dataChange": true, "deletionTimestamp": NOW_MS}}),
            json!({"add": hidden}),
        ])
        .await;
    let verdict = verdict(&table).await;
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(verdict.rows, 7);
    assert_eq!(verdict.partitions[0].unknown, [unknown(span(0, 10), CHANGED, None, Some(10))]);
    assert!(verdict.audit.why_not_all().unwrap().contains("deletion vector"));
}

#[tokio::test]
async fn a_version_that_is_missing_is_named() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    table.append(&[full(0, 10, 20)]).await;
    checkpoint::write(
        &table.store,
        table.tip(),
        OPTIONS,
        &crate::stores::orphan_cleaner::OrphanCleaner::here(),
    )
    .await
    .unwrap();
    std::fs::remove_file(table.directory.path().join("_delta_log/00000000000000000001.json")).unwrap();
    let verdict = verdict(&table).await;
    assert!(verdict.violations.iter().any(|violation| violation.contains("versions before 2 are missing")));
}

#[tokio::test]
async fn an_empty_place_is_no_table() {
    let directory = tempfile::tempdir().unwrap();
    let url = url::Url::from_file_path(directory.path()).unwrap();
    let store = Store::open(&url, &BTreeMap::new()).unwrap();
    assert_eq!(verify(&store).await.unwrap_err().kind.exit_code(), 69);
}

#[test]
fn gaps_are_what_the_spans_leave() {
    let spans = [span(2, 4), span(6, 8)];
    assert_eq!(gaps(span(0, 10), &spans), [span(0, 2), span(4, 6), span(8, 10)]);
    assert_eq!(gaps(span(3, 7), &spans), [span(4, 6)]);
    assert_eq!(gaps(span(2, 4), &spans), []);
    assert_eq!(gaps(span(5, 5), &[]), []);
    assert_eq!(gaps(span(9, 3), &[]), []);
}

#[tokio::test]
async fn rows_that_were_only_rewritten_are_told_by_their_offsets() {
    let mut table = HandMade::new().await;
    let first = table.append(&[full(0, 0, 5), full(1, 0, 2)]).await;
    // 5 and 6 were compacted away in the topic.
    let ranges = [with_rows(0, 5, 10, 3)];
    let second = table.file(&[(0, 7), (0, 8), (0, 9)], &ranges);
    table.commit_file(&second, &ranges).await;
    table.append(&[full(0, 10, 20)]).await;
    let rows = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (0, 7), (0, 8), (0, 9)];
    rewrite(&mut table, &[&first, &second], &rows, false).await;
    let verdict = assert_deep_violations(&table, &[]).await;
    let [zero, one] = &verdict.partitions[..] else { panic!("{:?}", verdict.partitions) };
    assert_eq!((&zero.rows_only[..], &zero.proven[..]), (&[span(0, 10)][..], &[span(10, 20)][..]));
    assert_eq!((zero.word(), one.word(), zero.rows, one.rows), (Some("rows only"), Some("rows only"), 18, 2));
    assert!(zero.unknown.is_empty() && one.unknown.is_empty());
}

#[tokio::test]
async fn a_rewrite_that_lost_a_row_is_named() {
    let mut table = HandMade::new().await;
    let first = table.append(&[full(0, 0, 3)]).await;
    rewrite(&mut table, &[&first], &[(0, 0), (0, 2)], false).await;
    let verdict = assert_violations(
        &table,
        &["3 rows were settled at offsets 0..3 of orders [0], 2 are there, and no version deleted any"],
    )
    .await;
    assert_eq!(verdict.partitions[0].word(), None);
}

#[tokio::test]
async fn a_row_that_another_writer_brought_back_is_there_twice() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 3)]).await;
    rewrite(&mut table, &[], &[(0, 1), (0, 9)], true).await;
    assert_violations(
        &table,
        &[
            "1 rows of orders [0] are there twice",
            "1 rows of orders [0] lie outside of their file's ranges or beyond",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_rewritten_table_without_its_log_is_rows_only_where_no_offset_lacks_its_row() {
    let mut table = HandMade::new().await;
    let first = table.append(&[full(0, 0, 3), with_rows(1, 0, 5, 1)]).await;
    rewrite(&mut table, &[&first], &[(0, 0), (0, 1), (0, 2), (1, 0)], false).await;
    checkpoint::write(
        &table.store,
        table.tip(),
        OPTIONS,
        &crate::stores::orphan_cleaner::OrphanCleaner::here(),
    )
    .await
    .unwrap();
    table.forget_until(table.tip());
    let verdict = assert_violations(&table, &[]).await;
    let [zero, one] = &verdict.partitions[..] else { panic!("{:?}", verdict.partitions) };
    assert_eq!(zero.word(), Some("rows only"));
    assert_eq!(one.unknown, [unknown(span(0, 5), CLEANED_UP, Some(1), None)]);
}

#[tokio::test]
async fn a_flipped_byte_is_named_wherever_it_is() {
    let mut table = HandMade::new().await;
    let add = table.append(&[full(0, 0, 100)]).await;
    table.append(&[full(0, 100, 200)]).await;
    let path = table.directory.path().join(&add.path);
    let sound = std::fs::read(&path).unwrap();
    for place in [4, sound.len() / 3, sound.len() - 20] {
        let mut bytes = sound.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let verdict = verify_to(&table.store, Depth::Everything, Arc::new(|_| {})).await.unwrap();
        let expected = format!("{} holds other bytes than were written", add.path);
        assert!(verdict.violations.iter().any(|found| found.contains(&expected)), "{:?}", verdict.violations);
        assert_eq!(verdict.partitions[0].proven, [span(100, 200)]);
    }
    std::fs::write(&path, sound).unwrap();
    let verdict = assert_deep_violations(&table, &[]).await;
    assert_eq!((verdict.audit.checksums, verdict.partitions[0].word()), (2, Some("proven")));
}

#[tokio::test]
async fn statistics_that_do_not_hold_the_data_are_named_by_column() {
    let mut table = HandMade::new().await;
    let ranges = [full(0, 0, 10)];
    let rows: Vec<(i32, i64)> = (0..10).map(|offset| (0, offset)).collect();
    let mut add = table.file(&rows, &ranges);
    add.stats = add.stats.map(|stats| stats.replace(r#""_offset":9"#, r#""_offset":8"#));
    table.commit_file(&add, &ranges).await;
    let expected = format!("{}: its statistics put the maximum of _offset below a value", add.path);
    assert_deep_violations(&table, &[&expected]).await;
    assert_violations(&table, &[]).await;
}

#[tokio::test]
async fn offsets_that_a_person_gave_up_are_neither_missing_nor_proven() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    let offset_override = "thalweg/gap/t/orders/id/0/10-15";
    table
        .commit_lines(&[
            json!({"txn": {"appId": offset_override, "version": 1}}),
            json!({"txn": {"appId": "thalweg/t/orders/id/0", "version": 15}}),
        ])
        .await;
    table.append(&[full(0, 15, 20)]).await;
    let verdict = assert_violations(&table, &[]).await;
    let zero = &verdict.partitions[0];
    assert_eq!(
        (&zero.given_up[..], &zero.proven[..]),
        (&[span(10, 15)][..], &[span(0, 10), span(15, 20)][..])
    );
    assert_eq!(zero.word(), Some("proven besides what was given up"));
}

/// What `offsets set` commits.
async fn moved_by_an_administrator(table: &mut HandMade, from: i64, to: i64, times: i64) {
    let offset_override = format!("thalweg/gap/t/orders/id/0/{from}-{to}");
    let lines = [("thalweg/t/orders/id/0", to), (offset_override.as_str(), times)]
        .map(|(name, version)| json!({"txn": {"appId": name, "version": version}}));
    table.commit_lines(&lines).await;
}

#[tokio::test]
async fn rows_that_a_person_had_read_again_are_explained_and_counted() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    moved_by_an_administrator(&mut table, 10, 4, 1).await;
    let verdict = assert_violations(&table, &[]).await;
    assert_eq!((verdict.partitions[0].span, verdict.partitions[0].word()), (span(0, 4), Some("proven")));
    table.append(&[full(0, 4, 12)]).await;
    let verdict = assert_deep_violations(&table, &[]).await;
    let zero = &verdict.partitions[0];
    assert_eq!((&zero.read_again[..], zero.rows_again, zero.rows), (&[span(4, 10)][..], 6, 18));
    assert_eq!((zero.word(), &zero.given_up[..]), (Some("proven"), &[][..]));
}

#[tokio::test]
async fn rows_that_stand_oftener_than_they_were_read_again_are_named() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    moved_by_an_administrator(&mut table, 10, 4, 1).await;
    table.append(&[full(0, 4, 10)]).await;
    let rows = [(0, 3), (0, 9)];
    rewrite(&mut table, &[], &rows, true).await;
    assert_violations(&table, &["2 rows of orders [0] are there twice"]).await;
}

#[tokio::test]
async fn a_move_back_that_did_not_start_where_the_partition_stood_is_named() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    moved_by_an_administrator(&mut table, 9, 4, 1).await;
    assert_violations(
        &table,
        &["was overridden from 9 to 4: it stood at 10 and went to 4", "beyond the table"],
    )
    .await;
}

#[tokio::test]
async fn rows_read_again_and_rewritten_are_told_by_their_offsets() {
    let mut table = HandMade::new().await;
    let first = table.append(&[full(0, 0, 4)]).await;
    moved_by_an_administrator(&mut table, 4, 2, 1).await;
    let second = table.append(&[full(0, 2, 6)]).await;
    let rows = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 2), (0, 3), (0, 4), (0, 5)];
    rewrite(&mut table, &[&first, &second], &rows, false).await;
    let verdict = assert_violations(&table, &[]).await;
    assert_eq!((verdict.partitions[0].word(), verdict.partitions[0].rows_again), (Some("rows only"), 2));
}

#[tokio::test]
async fn a_table_whose_id_was_changed_is_judged_under_the_new_one() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    let entries = [
        ("thalweg/new/orders/id/0", 10),
        ("thalweg/new/orders/id/1", 0),
        ("thalweg/adopt/new/orders/id/t/id", 1),
    ];
    let lines = entries.map(|(name, version)| json!({"txn": {"appId": name, "version": version}}));
    table.commit_lines(&lines).await;
    let ranges = [full(0, 10, 20)];
    let add = table.file(&(10..20).map(|offset| (0, offset)).collect::<Vec<_>>(), &ranges);
    let next = create::txn("thalweg/new/orders/id/0".to_owned(), 20, NOW_MS);
    table.commit("STREAMING UPDATE", &ranges, vec![next, Action::Add(add)]).await;
    let verdict = assert_violations(&table, &[]).await;
    let [zero, _] = &verdict.partitions[..] else { panic!("{:?}", verdict.partitions) };
    assert_eq!((zero.id.table_id.as_str(), zero.span, zero.word()), ("new", span(0, 20), Some("proven")));
    assert_eq!(verdict.notes, ["table id `new` goes on with `orders` where `t` stood"]);
}

#[tokio::test]
async fn offsets_that_were_handed_over_and_taken_back_are_proven_all_along() {
    let mut table = HandMade::new().await;
    table.append(&[full(0, 0, 10)]).await;
    let (mut from, mut at) = ("t", 10);
    for (count, to) in [(1, "new"), (2, "t")] {
        let entries = [
            (format!("thalweg/{to}/orders/id/0"), at),
            (format!("thalweg/{to}/orders/id/1"), 0),
            (format!("thalweg/adopt/{to}/orders/id/{from}/id"), count),
        ];
        let lines = entries.map(|(name, version)| json!({"txn": {"appId": name, "version": version}}));
        table.commit_lines(&lines).await;
        let ranges = [full(0, at, at + 10)];
        let add = table.file(&(at..at + 10).map(|offset| (0, offset)).collect::<Vec<_>>(), &ranges);
        (from, at) = (to, at + 10);
        let next = create::txn(format!("thalweg/{to}/orders/id/0"), at, NOW_MS);
        table.commit("STREAMING UPDATE", &ranges, vec![next, Action::Add(add)]).await;
    }
    let verdict = assert_violations(&table, &[]).await;
    let [zero, _] = &verdict.partitions[..] else { panic!("{:?}", verdict.partitions) };
    assert_eq!((zero.id.table_id.as_str(), zero.span, zero.word()), ("t", span(0, 30), Some("proven")));
}

/// Ten offsets of which 3 and 7 are dead letters, and what `dlq replay` makes of these dead letters.
async fn with_replayed(dead_letters: &[i64]) -> (HandMade, Vec<Add>) {
    let mut table = HandMade::new().await;
    let resolved = [OffsetRange { dead_letters: 2, ..with_rows(0, 0, 10, 8) }];
    let rows: Vec<(i32, i64)> =
        (0..10).filter(|offset| ![3, 7].contains(offset)).map(|offset| (0, offset)).collect();
    let first = table.file(&rows, &resolved);
    table.commit_file(&first, &resolved).await;
    let tried = OffsetRange { dead_letters: 0, ..with_rows(0, 3, 8, dead_letters.len() as u64) };
    let rows: Vec<(i32, i64)> = dead_letters.iter().map(|&offset| (0, offset)).collect();
    let mut second = table.file(&rows, &[]);
    let tag = json!({"tableId": "t", "ranges": [tried]}).to_string();
    second.tags = Some([(REPLAYED_TAG.to_owned(), Some(tag))].into());
    let writer = json!({"instance": "i", "host": "h", "pid": 1, "started": 2});
    let facts = json!({"writer": writer, "version": "0", "ranges": [], "replayed": [tried]});
    table
        .commit_lines(&[
            json!({"commitInfo": {"operation": "REPLAY DEAD LETTERS", "txnId": "x", "thalweg": facts}}),
            json!({"txn": {"appId": "thalweg-replay/t/orders/id/0", "version": 8}}),
            json!({"add": second}),
        ])
        .await;
    (table, vec![first, second])
}

#[tokio::test]
async fn replayed_dead_letters_are_counted_once_also_where_another_engine_rewrote_them() {
    let (mut table, adds) = with_replayed(&[3, 7]).await;
    let verdict = assert_deep_violations(&table, &[]).await;
    let zero = &verdict.partitions[0];
    assert_eq!((zero.replayed, zero.rows, zero.dead_letters, zero.word()), (2, 10, 2, Some("proven")));
    assert_eq!(verdict.foreign_files, 0);
    let rows: Vec<(i32, i64)> = (0..10).map(|offset| (0, offset)).collect();
    rewrite(&mut table, &[&adds[0], &adds[1]], &rows, false).await;
    let verdict = assert_violations(&table, &[]).await;
    assert_eq!(verdict.partitions[0].word(), Some("rows only"));
}

#[tokio::test]
async fn a_dead_letter_that_was_replayed_over_a_row_is_there_twice() {
    let (table, _) = with_replayed(&[3, 4]).await;
    assert_violations(&table, &["1 rows of orders [0] are there twice"]).await;
}

#[tokio::test]
async fn rows_of_replayed_dead_letters_are_found_in_files_of_replays_and_of_other_engines() {
    let (mut table, adds) = with_replayed(&[3]).await;
    let wanted = [3, 7].map(|offset| (source(0), Offset(offset))).into();
    assert_eq!(places::replayed_rows(&table.store, &wanted).await.unwrap(), [(source(0), Offset(3))].into());
    rewrite(&mut table, &[&adds[1]], &[(0, 3)], false).await;
    assert_eq!(places::replayed_rows(&table.store, &wanted).await.unwrap(), [(source(0), Offset(3))].into());
}

#[tokio::test]
async fn files_of_dead_letters_are_ours_and_those_that_do_not_tell_are_others() {
    let mut dead_letters = HandMade::of_dead_letters().await;
    let tag = DeadLettersTag { table_id: TABLE_ID.to_owned(), ranges: vec![full(0, 0, 2)] };
    dead_letters.post(&tag, &[(0, 1, b"{")]).await;
    let verdict = verify(&dead_letters.store).await.unwrap();
    assert_eq!((verdict.files, verdict.foreign_files, verdict.notes), (1, 0, Vec::new()));
    dead_letters.post_untold(&[(0, 1, b"{")]).await;
    let verdict = verify(&dead_letters.store).await.unwrap();
    assert_eq!((verdict.files, verdict.foreign_files, verdict.notes.len()), (2, 1, 1));
}
