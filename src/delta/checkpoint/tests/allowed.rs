//! What Delta's protocol allows a log to hold: one story for each sentence that an appender meets.

use super::*;

const UUID: &str = "80a083e8-7026-4e79-81be-64bd76c43a11";

fn put(table: &HandMade, name: &str, body: impl AsRef<[u8]>) {
    let path = table.directory.path().join("_delta_log").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, body).unwrap();
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn metadata(schema: &str) -> Value {
    json!({"metaData": {"id": "later", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema, "partitionColumns": [], "configuration": {}, "createdTime": 1}})
}

/// The table is what it was, to those who load it, list it and write its checkpoint.
async fn assert_same(table: &HandMade, before: &Inventory) {
    let after = take(table).await;
    assert_eq!(state(&after), state(before));
    assert_eq!(after.faults, before.faults);
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    assert_eq!(state(&take(table).await), state(before), "behind a checkpoint of ours");
}

/// "Staged commits … `_delta_log/_staged_commits`", "sidecar files … `_delta_log/_sidecars`": the log is what
/// lies in `_delta_log` itself.
#[tokio::test]
async fn files_in_folders_of_the_log_are_no_versions_and_are_left_alone() {
    let table = moved_table().await;
    let before = take(&table).await;
    let inside = [
        format!("_staged_commits/00000000000000000009.{UUID}.json"),
        "_commits/00000000000000000005.json".to_owned(),
        "backup/00000000000000000009.json".to_owned(),
        "backup/00000000000000000000.json".to_owned(),
        "backup/00000000000000000009.checkpoint.parquet".to_owned(),
        "a/b/00000000000000000006.json".to_owned(),
    ];
    inside.iter().for_each(|name| put(&table, name, "not of this log"));
    assert_same(&table, &before).await;
    assert!(clean_up(&table.store, i64::MAX).await.unwrap() > 0, "the log itself is cleaned up");
    for name in &inside {
        assert!(table.directory.path().join("_delta_log").join(name).exists(), "{name} was deleted");
    }
}

/// "Log compaction files reside in the `_delta_log` directory … `<x>.<y>.compacted.json`", "version checksum
/// files … `<n>.crc`": readers may use them, and need none.
#[tokio::test]
async fn compacted_logs_checksums_and_whatever_else_lies_there_are_passed_over() {
    let table = moved_table().await;
    let before = take(&table).await;
    for name in [
        "00000000000000000001.00000000000000000003.compacted.json".to_owned(),
        "00000000000000000003.crc".to_owned(),
        ".00000000000000000003.json.crc".to_owned(),
        format!(".00000000000000000009.json.{UUID}.tmp"),
        "00000000000000000009.json.tmp".to_owned(),
        "00000000000000000009.checkpoint.parquet.tmp".to_owned(),
        "9.json".to_owned(),
        "_last_vacuum_info".to_owned(),
        "_changelog".to_owned(),
    ] {
        put(&table, &name, "{");
    }
    assert_same(&table, &before).await;
}

/// "Clients can assume that unrecognized actions, fields, and/or metadata domains are never required in order
/// to correctly interpret the transaction log."
#[tokio::test]
async fn actions_and_fields_that_nobody_knows_do_not_keep_a_log_from_being_read() {
    let mut table = moved_table().await;
    let before = take(&table).await;
    let mut txn = json!({"txn": {"appId": "another-writer", "version": 7, "of tomorrow": {"deep": [1]}}});
    txn["txn"]["lastUpdated"] = Value::Null;
    table
        .commit_lines(&[
            json!({"teleport": {"to": "mars"}}),
            json!({"commitInfo": {"anything": [true, null, {"x": 1}], "timestamp": "text"}}),
            txn,
            json!({"cdc": {"path": "_change_data/x", "partitionValues": {}, "size": 1, "dataChange": false}}),
        ])
        .await;
    let after = take(&table).await;
    assert_eq!(after.files, before.files);
    assert_eq!(after.snapshot.txns, before.snapshot.txns);
    let writers = log::load(&table.store).await.unwrap_err();
    assert!(writers.message.contains("the action `teleport`"), "a writer stops: {writers}");
    let state = |inventory: &Inventory| (inventory.snapshot.txns.clone(), inventory.files.clone());
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    assert_eq!(state(&take(&table).await), state(&before), "behind a checkpoint of ours");
}

/// "The metadata that applies is the latest one": what a later version replaces need be no more than complete.
#[tokio::test]
async fn a_metadata_that_a_later_version_replaces_need_not_be_readable() {
    const SCHEMA: &str = r#"{"type":"struct","fields":[]}"#;
    let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
    let mut broken = metadata("no schema at all");
    broken["metaData"]["configuration"] = json!({"delta.appendOnly": true});
    broken["metaData"]["name"] = json!(7);
    let mut table = HandMade::new().await;
    // As another writer begins: the first metaData lacks what the second one says.
    put(&table, "00000000000000000000.json", text(&[protocol.clone(), broken.clone()]));
    table.commit_lines(&[metadata(SCHEMA)]).await;
    let before = take(&table).await;
    assert_eq!(before.snapshot.metadata.id, "later");
    assert_same(&table, &before).await;
    // The newest one counts, and is damage where it cannot be read.
    table.commit_lines(&[broken]).await;
    for error in [
        log::load(&table.store).await.unwrap_err(),
        write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
            .await
            .unwrap_err(),
    ] {
        assert!(error.message.contains("version 2 of the log"), "{error}");
    }
    // What lacks a member is damage in any version, as the kernel takes it.
    let mut table = HandMade::new().await;
    put(&table, "00000000000000000000.json", text(&[protocol, json!({"metaData": {"id": "first"}})]));
    table.commit_lines(&[metadata(SCHEMA)]).await;
    assert!(log::load(&table.store).await.unwrap_err().message.contains("version 0 of the log"));
}

/// "The order of actions within a version is not significant."
#[tokio::test]
async fn the_lines_of_a_version_have_no_order_and_may_be_blank_or_none() {
    let mut table = HandMade::new().await;
    let mut first = first_version(&table);
    first.reverse();
    put(&table, "00000000000000000000.json", format!("\n{}\r\n\n", text(&first).replace('\n', "\r\n")));
    table.commit_lines(&[]).await;
    table.commit_lines(&[json!({"commitInfo": {}})]).await;
    table.append(&[full(0, 0, 3)]).await;
    let before = take(&table).await;
    assert_eq!((before.files.len(), before.snapshot.version), (1, Version(3)));
    assert_same(&table, &before).await;
}

/// "`_last_checkpoint` … readers are encouraged to use it": a hint may be old, damaged, or of what is gone.
#[tokio::test]
async fn a_hint_is_no_more_than_a_hint() {
    for hint in [
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        json!({"version": 0, "size": 1}).to_string(),
        json!({"version": 99, "size": 1}).to_string(),
        json!({"version": -1, "size": 1}).to_string(),
        json!({"version": 2, "size": 1, "parts": 7}).to_string(),
        json!({"version": 2, "size": 5, "sizeInBytes": 9, "numOfAddFiles": 1, "checkpointSchema": {"x": []},
            "checksum": "ab", "tags": {"k": "v"}, "v2Checkpoint": {"path": "x", "sidecarFiles": []}})
        .to_string(),
    ] {
        let mut table = moved_table().await;
        write(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here()).await.unwrap();
        table.append(&[full(1, 9, 12)]).await;
        let before = take(&table).await;
        put(&table, "_last_checkpoint", &hint);
        assert_eq!(state(&take(&table).await), state(&before), "{hint}");
    }
}

/// "A multi-part checkpoint … all parts must be there for it to count."
#[tokio::test]
async fn a_checkpoint_in_parts_counts_when_all_of_them_are_there() {
    let mut table = moved_table().await;
    let mut replay = Replay::default();
    for version in 0..table.next.0 {
        let body =
            std::fs::read(table.directory.path().join(format!("_delta_log/{version:020}.json"))).unwrap();
        let lines: Vec<Value> =
            serde_json::Deserializer::from_slice(&body).into_iter().map(Result::unwrap).collect();
        replay.apply(&lines);
    }
    let before = take(&table).await;
    let version = table.tip();
    // A part of one that was never ended, and what is no part of any.
    for part in ["0000000002.0000000003", "0000000000.0000000001", "0000000003.0000000002"] {
        put(&table, &format!("{:020}.checkpoint.{part}.parquet", version.0), "half");
    }
    assert_eq!(take(&table).await.snapshot.checkpoint, None);
    foreign_checkpoint(&table, &replay);
    table.forget_until(version);
    let after = take(&table).await;
    assert_eq!(after.snapshot.checkpoint, Some(version));
    assert_eq!((after.files.keys().collect::<Vec<_>>()), before.files.keys().collect::<Vec<_>>());
    assert_eq!(after.snapshot.txns, before.snapshot.txns);
    table.append(&[full(1, 9, 12)]).await;
    write_within(&table.store, table.tip(), OPTIONS, &OrphanCleaner::here(), TINY, &SystemClock)
        .await
        .unwrap();
    assert_eq!(take(&table).await.snapshot.checkpoint, Some(table.tip()));
}

/// "The top-level v2 checkpoint … `n.checkpoint.u.{json/parquet}` … its file actions may be in sidecars."
#[tokio::test]
async fn a_v2_checkpoint_is_read_whatever_its_top_level_is_and_one_of_ours_follows_it() {
    for (is_json, has_sidecar) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut table = HandMade::new().await;
        let mut replay = Replay::default();
        replay.apply(&first_version(&table));
        let adds: Vec<Value> = (0..20).map(file).collect();
        table.commit_lines(&adds).await;
        let before = take(&table).await;
        let mut top = replay.lines();
        if has_sidecar {
            put(&table, "_sidecars/.keep", "");
            let beside = table.directory.path().join("_delta_log/_sidecars/files.parquet");
            write_parquet(&beside, &batch_of(&adds));
        } else {
            top.extend(adds.clone());
        }
        let stem = format!("{:020}.checkpoint.{UUID}", table.tip().0);
        if is_json {
            top.insert(
                0,
                json!({"checkpointMetadata": {"version": table.tip().0, "tags": {"of": "tomorrow"}}}),
            );
            let sidecar =
                json!({"sidecar": {"path": "files.parquet", "sizeInBytes": 1, "modificationTime": 1}});
            top.extend(has_sidecar.then_some(sidecar));
            put(&table, &format!("{stem}.json"), text(&top));
        } else {
            let batch = if has_sidecar { with_sidecar(top, "files.parquet") } else { batch_of(&top) };
            write_parquet(&table.directory.path().join(format!("_delta_log/{stem}.parquet")), &batch);
        }
        table.forget_until(table.tip());
        let after = take(&table).await;
        assert_eq!(state(&after), state(&before), "JSON {is_json}, sidecar {has_sidecar}");
        assert_eq!(after.snapshot.checkpoint, Some(table.tip()));
        assert!(after.snapshot.has_files);
        let remove = json!({"remove": {"path": "part-000003.parquet", "dataChange": true,
            "deletionTimestamp": NOW_MS}});
        table.commit_lines(&[file(20), remove]).await;
        let moved = take(&table).await;
        assert_eq!(moved.files.len(), 20);
        assert_same(&table, &moved).await;
        let last = table.tip();
        std::fs::remove_file(table.directory.path().join(format!("_delta_log/{:020}.json", last.0))).unwrap();
        assert_eq!(state(&take(&table).await), state(&moved), "nothing hangs on what was before");
    }
}
