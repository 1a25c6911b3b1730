//! Transactions, empty and silent partitions: a bounded run ends by itself.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::judge;
use crate::program::run_until_end;
use crate::services::tool;
use crate::story::{FLAT, Story};

/// A transactional producer whose last transaction is open while this lives.
struct OpenTransaction(Child);

impl OpenTransaction {
    /// Returns when all is produced. Partition 2 of 3 stays silent.
    fn begin(story: &Story, topic: &str, mode: &str) -> OpenTransaction {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(root.join("tools/python"))
            .arg(root.join("tests/oracle/produce.py"))
            .args(["--brokers", story.brokers, "--topic", topic, "--mode", mode, "--records", "3000"])
            .args(["--partitions", "3", "--fill", "2", "--leave-open"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut counts = String::new();
        BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut counts).unwrap();
        assert!(counts.contains("\"open\""), "the producer said {counts:?}");
        OpenTransaction(child)
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bounded_run_ends_at_the_last_stable_offset() {
    let Some(story) = Story::begin("transactions") else { return };
    let nested = format!("{}/tests/oracle/produce.py", env!("CARGO_MANIFEST_DIR"));
    let nested = tool("python", &[&nested, "--ddl"]).trim().to_owned();
    // Aborted transactions between good ones; long holes of aborted ones; nothing at all; markers at the very end.
    let (mixed, gaps) = ("transactions-mixed".to_owned(), "transactions-gaps".to_owned());
    let empty = story.topic("empty", 2);
    let _open = OpenTransaction::begin(&story, &mixed, "transactional");
    let _holes = OpenTransaction::begin(&story, &gaps, "gaps");
    let closed = "transactions-closed".to_owned();
    let script = format!("{}/tests/oracle/produce.py", env!("CARGO_MANIFEST_DIR"));
    tool(
        "python",
        &[
            &script,
            "--brokers",
            story.brokers,
            "--topic",
            &closed,
            "--mode",
            "gaps",
            "--records",
            "1000",
            "--partitions",
            "2",
        ],
    );

    let topics = [(&mixed, &*nested), (&gaps, &nested), (&closed, &nested), (&empty, FLAT)];
    let table = |topic: &str, schema: &str| {
        let location = story.place(topic);
        format!(
            "[[table]]\nid = \"{topic}\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{schema}\"\n"
        )
    };
    let together: String = topics.iter().map(|(topic, schema)| table(topic, schema)).collect();
    run_until_end(&story.config("transactions", &together)).with(0);
    for (topic, schema) in topics {
        let rows = judge::equal(&story, &story.place(topic), topic, schema, &["duckdb"]);
        assert_eq!(rows == 0, *topic == empty, "{topic}: {rows} rows");
    }
}
