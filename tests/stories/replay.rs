//! Dead dead letters tried again: what fits becomes rows, once, as a fresh ingest would have them.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::judge::{self, range};
use crate::program::{Ended, TIMEOUT, metric, program, run, run_until_end, start};
use crate::services::python;
use crate::story::{FLAT, Story, wide};

const ADD_COLUMN: &str = "
import sys, deltalake
from deltalake.schema import Field, PrimitiveType
deltalake.DeltaTable(sys.argv[1]).alter.add_columns([Field('extra', PrimitiveType('string'), nullable=True)])
";

/// Two tables hold the same rows, column for column.
const SAME: &str = "
import sys, deltalake
one, other = (deltalake.DeltaTable(at).to_pyarrow_table() for at in sys.argv[1:])
order = [('_partition', 'ascending'), ('_offset', 'ascending')]
one, other = one.select(other.column_names).sort_by(order), other.sort_by(order)
same = one.to_pylist() == other.to_pylist()
print('same' if same else 'different', one.num_rows, other.num_rows)
";

const OPTIMIZE: &str = "import sys, deltalake; deltalake.DeltaTable(sys.argv[1]).optimize.compact()";

fn table(topic: &str, location: &str, schema: &str, more: &str) -> String {
    format!(
        "[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\nschema = \"{schema}\"\n{more}"
    )
}

fn dlq(command: &str, config: &Path, options: &[&str]) -> Ended {
    start(&[&["dlq", command], options].concat(), config).end(TIMEOUT)
}

/// What `table verify` says, with no violation.
fn verified(location: &str) -> Value {
    let ended = program(&["table", "verify", "--deep", "--json", location]).end(TIMEOUT).with(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn replayed(verdict: &Value) -> u64 {
    verdict["partitions"].as_array().unwrap().iter().map(|one| one["replayed"].as_u64().unwrap()).sum()
}

/// Every tenth record has a member that the schema does not know, every fiftieth is no JSON.
fn record(number: i64) -> (i64, String) {
    let text = match number {
        _ if number % 50 == 7 => format!("{{\"id\":{number}"),
        _ if number % 10 == 3 => format!("{{\"id\":{number},\"extra\":\"e{number}\",\"price\":0.5}}"),
        _ => format!("{{\"id\":{number},\"name\":\"n{number}\"}}"),
    };
    (number, text)
}

#[test]
fn dead_letters_that_fit_a_changed_schema_are_the_rows_of_a_fresh_ingest() {
    let Some(story) = Story::begin("replay") else { return };
    let topic = story.topic("events", 2);
    (0..2).for_each(|partition| story.produce_texts(&topic, partition, (0..200).map(record)));
    let (location, fresh) = (story.place("table"), story.place("fresh"));
    let strict = "on_new_field = \"fail\"\n";
    let old = story.config("old", &table(&topic, &location, FLAT, strict));
    run_until_end(&old).with(0);
    let dead_letters = [" 20 ", " 4 ", "48 dead letters", "unknown_field"];
    dead_letters.iter().fold(dlq("stats", &old, &[]).with(0), |ended, said| ended.saying(said));
    dlq("show", &old, &["--reason", "syntax", "--limit", "1"])
        .with(0)
        .saying("events [0] offset 7")
        .saying(r#"value   {"id":7 (7 bytes)"#)
        .saying("1 of 8 dead letters");
    dlq("replay", &old, &[]).with(0).saying("0 of 48 dead letters became rows").saying("8 syntax");

    // Another engine adds the column: what was refused for it fits now.
    python(ADD_COLUMN, &[&location]);
    let wider = format!("{FLAT}, extra STRING");
    let new = story.config("new", &table(&topic, &location, &wider, strict));
    dlq("replay", &new, &[]).with(0).saying("0 of 0").saying("48 were tried by an earlier replay");
    dlq("replay", &new, &["--again", "--dry-run"]).with(0).saying("40 of 48 dead letters would become rows");
    assert_eq!(judge::offsets(&location).len(), 352);
    dlq("replay", &new, &["--again"])
        .with(0)
        .saying("40 of 48 dead letters became rows")
        .saying("8 failed again and stay dead letters: 8 syntax")
        .saying("events [1] offset 7: syntax");
    dlq("replay", &new, &["--again"]).with(0).saying("0 of 8 dead letters").saying("40 are rows already");

    run_until_end(&story.config("fresh", &table(&topic, &fresh, &wider, strict))).with(0);
    let same = || python(SAME, &[&location, &fresh]);
    assert!(same().starts_with("same 392 392"), "{}", same());
    assert_eq!(replayed(&verified(&location)), 40);
    judge::sound(&location);

    // The table goes on, also where another engine rewrites what was replayed.
    story.produce_texts(&topic, 0, (200..220).map(record));
    run_until_end(&new).with(0);
    python(OPTIMIZE, &[&location]);
    dlq("replay", &new, &["--again"]).with(0).saying("0 of 9 dead letters").saying("40 are rows already");
    let verdict = verified(&location);
    assert_eq!(verdict["partitions"][1]["verdict"], "rows only", "{verdict:#}");
    assert_eq!(judge::offsets(&location).len(), 411);
}

#[test]
fn a_replay_that_is_killed_and_run_again_doubles_no_dead_letter_beside_a_running_ingester() {
    let Some(story) = Story::begin("replay-killed") else { return };
    let topic = story.topic("events", 2);
    let strange = |number: i64| (number, wide(number, ",\"new\":1"));
    (0..2).for_each(|partition| story.produce_texts(&topic, partition, (0..6_000).map(strange)));
    let location = story.place("table");
    let config = |name: &str, on_new_field: &str| {
        let more = format!(
            "on_new_field = \"{on_new_field}\"\ntarget_file_size = \"16KiB\"\nmax_latency = \"50ms\"\n"
        );
        story.config(name, &table(&topic, &location, FLAT, &more))
    };
    let mut running = run(&config("strict", "fail"));
    let address = running.address();
    running.watch_until("the letters are committed", || {
        metric(&address, "thalweg_dead_letters_total") >= 12_000.0
    });
    story.produce(&topic, 0, 6_000..6_010);
    running
        .watch_until("the rows are committed", || metric(&address, "thalweg_rows_committed_total") >= 10.0);

    let mild = config("mild", "ignore");
    let mut kills = 0;
    loop {
        let mut replay = start(&["dlq", "replay"], &mild);
        // Killed after a commit, or on the way to the next.
        replay.until("dead letters replayed");
        replay.watch(Duration::from_millis(kills * 3));
        replay.kill();
        kills += 1;
        story.produce(&topic, 1, (6_000 + kills as i64)..(6_001 + kills as i64));
        if kills == 5 {
            break;
        }
    }
    let rows = judge::offsets(&location).len();
    assert!((10..12_010).contains(&rows), "the kills were no kills on the way: {rows} rows");
    dlq("replay", &mild, &[]).with(0).saying("became rows");
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
    run_until_end(&config("last", "fail")).with(0);
    let expected = range(0, 0..6_010).chain(range(1, 0..6_000 + kills as i64)).collect();
    assert_eq!(judge::offsets(&location), expected);
    assert_eq!(replayed(&verified(&location)), 12_000);
    judge::sound(&location);
    dlq("replay", &mild, &["--again"]).with(0).saying("0 of 0").saying("12000 are rows already");
}
