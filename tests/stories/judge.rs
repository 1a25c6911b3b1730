//! What independent readers say of a table: `tests/oracle`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::services::{self, path, python, tool};
use crate::story::Story;

/// (partition, offset) of every row, as deltalake-python reads them.
const OFFSETS: &str = "
import json, sys, deltalake
read = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_table(columns=['_partition', '_offset'])
print(json.dumps(list(zip(read['_partition'].to_pylist(), read['_offset'].to_pylist()))))
";

/// Every field of every committed record stands in the table once, the log is
/// sound, and the table's position is the end of every partition. Returns the
/// number of rows.
pub fn equal(story: &Story, location: &str, topic: &str, schema: &str, readers: &[&str]) -> u64 {
    let dump = path(&story.dir.join(format!("{topic}.parquet")));
    let dumped = oracle(&["dump.py", "--brokers", story.brokers, "--topic", topic, "--out", &dump]);
    let storage = storage(location);
    let storage: Vec<&str> = storage.iter().map(String::as_str).collect();
    let mut rows = 0;
    for reader in readers {
        let asked =
            ["compare.py", "--dump", &dump, "--table", location, "--schema", schema, "--reader", reader];
        rows = oracle(&[&asked[..], &storage].concat())["rows"].as_u64().unwrap();
    }
    let table = sound(location);
    for (partition, range) in dumped["partitions"].as_object().unwrap() {
        assert_eq!(
            position(&table, topic, partition),
            &range["end"],
            "{topic} partition {partition}: the table's position against the last stable offset"
        );
    }
    rows
}

/// The log is sound at every version, and three readers count its rows. What
/// table.py says.
pub fn sound(location: &str) -> Value {
    oracle_on(location, "table.py")
}

/// Runs a script of `tests/oracle` on a table; its findings fail.
pub fn oracle_on(location: &str, script: &str) -> Value {
    let storage = storage(location);
    let storage: Vec<&str> = storage.iter().map(String::as_str).collect();
    oracle(&[&[script, location][..], &storage].concat())
}

/// Every row's place in the topic. A row that stands twice fails.
pub fn offsets(location: &str) -> BTreeSet<(i64, i64)> {
    let rows: Vec<(i64, i64)> = serde_json::from_str(&python(OFFSETS, &[location])).unwrap();
    let set: BTreeSet<(i64, i64)> = rows.iter().copied().collect();
    assert_eq!(set.len(), rows.len(), "{location}: rows stand twice");
    set
}

/// The offsets of a range of one partition.
pub fn range(partition: i64, offsets: std::ops::Range<i64>) -> impl Iterator<Item = (i64, i64)> {
    offsets.map(move |offset| (partition, offset))
}

fn position<'a>(table: &'a Value, topic: &str, partition: &str) -> &'a Value {
    let offsets = table["offsets"].as_object().unwrap();
    let is_it = |id: &str| {
        let parts: Vec<&str> = id.split('/').collect();
        parts.len() == 5 && parts[2] == topic && parts[4] == partition
    };
    offsets.iter().find(|(id, _)| is_it(id)).map_or(&Value::Null, |(_, at)| at)
}

fn storage(location: &str) -> Vec<String> {
    match location.starts_with("s3://") {
        true => vec!["--storage".to_owned(), format!("endpoint={}", services::s3().endpoint)],
        false => Vec::new(),
    }
}

/// Runs a script of `tests/oracle` and reads its JSON line. A finding fails.
pub fn oracle(arguments: &[&str]) -> Value {
    let script = format!("{}/tests/oracle/{}", env!("CARGO_MANIFEST_DIR"), arguments[0]);
    let printed = tool("python", &[&[script.as_str()], &arguments[1..]].concat());
    serde_json::from_str(printed.trim()).unwrap_or_else(|error| panic!("{script}: {error}: {printed}"))
}
