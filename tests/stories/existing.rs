//! Tables that others made: appended to where we can, refused by name where not.

use std::fs;

use crate::judge;
use crate::program::{TIMEOUT, run_until_end, start};
use crate::services::python;
use crate::story::{FLAT, Story};

const MAKE: &str = "
import sys, pyarrow as pa, deltalake
kind, place = sys.argv[1:3]
schema = pa.schema([
    ('note', pa.string()), ('id', pa.int64()), ('name', pa.string()), ('_offset', pa.int64()),
    ('price', pa.float64()), ('ok', pa.bool_()), ('_partition', pa.int32()),
    ('_timestamp', pa.timestamp('us', tz='UTC')), ('more', pa.list_(pa.struct([('deep', pa.decimal128(9, 2))]))),
])
table = deltalake.DeltaTable.create(place, schema, partition_by=['name'] if kind == 'partitioned' else None)
if kind == 'constrained':
    table.alter.add_constraint({'id_is_positive': 'id > 0'})
if kind == 'checkpointed':
    for number in range(3):
        table.alter.set_table_properties({'delta.checkpointInterval': str(10 + number)})
    table.create_checkpoint()
";

/// Makes a table by deltalake-python, with columns that our records do not have.
fn made(story: &Story, kind: &str) -> String {
    let location = story.place(kind);
    fs::create_dir_all(&location).unwrap();
    python(MAKE, &[kind, &location]);
    location
}

fn table(topic: &str, location: &str) -> String {
    format!("[[table]]\nid = \"mine\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\n")
}

#[test]
fn a_table_with_a_checkpoint_and_more_columns_is_appended_to() {
    let Some(story) = Story::begin("appended") else { return };
    let topic = story.topic("events", 2);
    story.produce(&topic, 0, 0..500);
    let location = made(&story, "checkpointed");
    let config = story.config("appended", &table(&topic, &location));
    run_until_end(&config).with(0);
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["duckdb", "deltalake"]), 500);
    // Somebody else's version between two of ours.
    let alter = "
import sys, deltalake
deltalake.DeltaTable(sys.argv[1]).alter.set_table_properties({'delta.checkpointInterval': '20'})
";
    python(alter, &[&location]);
    story.produce(&topic, 1, 0..500);
    run_until_end(&config).with(0);
    assert_eq!(judge::equal(&story, &location, &topic, FLAT, &["polars"]), 1_000);
}

#[test]
fn what_we_cannot_write_correctly_is_refused_by_name() {
    let Some(story) = Story::begin("refused") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..10);
    for (kind, word) in [("partitioned", "partitioned by name"), ("constrained", "id_is_positive")] {
        let location = made(&story, kind);
        let versions = || fs::read_dir(format!("{location}/_delta_log")).unwrap().count();
        let before = versions();
        let config = story.config(kind, &table(&topic, &location));
        for command in [&["check"][..], &["run", "--until-end"]] {
            start(command, &config).end(TIMEOUT).with(73).saying(word);
        }
        assert_eq!(versions(), before, "{kind}: something was committed");
    }
}
