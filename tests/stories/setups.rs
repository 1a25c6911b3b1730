//! Every broken set-up of `tests/setups`, met by `check` and by `run`; and a
//! disk that fills up on the way.

use std::fs;
use std::process::Command;

use crate::judge;
use crate::services::{self, path, tool};
use crate::story::{Choices, FLAT, Story};

#[test]
fn every_broken_set_up_has_its_screen_and_check_and_run_agree() {
    let Some(kafka) = services::secured_kafka("setups") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/broken_setups.py");
    let thalweg = env!("CARGO_BIN_EXE_thalweg");
    let s3 = &services::s3().line;
    let arguments = [script, "--thalweg", thalweg, "--kafka", &kafka.line, "--s3", s3];
    // A failure prints the screens that differ.
    let said = tool("python", &arguments);
    let passed = said.lines().last().and_then(|line| line.split(' ').next()?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed >= 50), "{said}");
}

/// Runs the program on a disk of 1.5 MB, gives it more room when it is full, and takes the table away.
const MORE_ROOM: &str = r#"
mount -t tmpfs -o size=1500k thalweg "$1" || exit 99
"$2" run --until-end -c "$3" 2>"$4.log" & pid=$!
for tenth in $(seq 900); do grep -q 'No space left' "$4.log" && break; sleep 0.1; done
# Several uploads have met it by now.
sleep 1
kill -0 $pid && echo "it waits"
mount -o remount,size=512m "$1"
wait $pid; echo "ended=$?"
cat "$4.log"
cp -r "$1/table" "$4"
"#;

#[test]
fn a_full_disk_is_waited_for_and_with_more_room_every_record_is_there_once() {
    let Some(story) = Story::begin("disk-fills") else { return };
    let topic = story.topic("events", 1);
    let mut choices = Choices(7);
    let mut word = || (0..12).map(|_| format!("{:016x}", choices.below(u64::MAX))).collect::<String>();
    story.produce_texts(
        &topic,
        0,
        (0..20_000).map(|number| (number, format!(r#"{{"id":{number},"name":"{}"}}"#, word()))),
    );
    let (disk, copy) = (story.place("disk"), story.place("copy"));
    fs::create_dir_all(&disk).unwrap();
    let table = format!(
        "[[table]]\nid = \"t\"\ntopic = \"{topic}\"\nlocation = \"{disk}/table\"\nschema = \"{FLAT}\"\n\
         target_file_size = \"512KiB\"\n"
    );
    let config = path(&story.config("config", &table));
    let own = Command::new("id").arg("-u").output().unwrap();
    let namespace: &[&str] =
        if own.stdout == b"0\n" { &["--mount"] } else { &["--mount", "--map-root-user"] };
    let ran = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", MORE_ROOM, "sh", &disk, env!("CARGO_BIN_EXE_thalweg"), &config, &copy])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if !said.contains("ended=") {
        return services::leave_out("disk-fills", "this machine mounts nothing");
    }
    assert!(said.contains("it waits\n") && said.contains("ended=0\n"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(!said.contains("panicked at"), "{said}");
    assert_eq!(judge::equal(&story, &copy, &topic, FLAT, &["duckdb"]), 20_000);
}
