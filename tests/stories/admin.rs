//! The administration port of a running ingestion.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::program::{TIMEOUT, get, metric, run, run_until_end, start};
use crate::story::{FLAT, Story};

#[test]
fn the_port_answers_and_a_taken_one_is_an_error() {
    let Some(story) = Story::begin("admin") else { return };
    let topic = story.topic("events", 1);
    story.produce(&topic, 0, 0..100);
    let location = story.place("table");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = story.config(
        "admin",
        &format!(
            "[admin]\nlisten = \"{address}\"\n[[table]]\nid = \"admin\"\ntopic = \"{topic}\"\nlocation = \"{location}\"\n\
             schema = \"{FLAT}\"\nmax_latency = \"50ms\"\n"
        ),
    );
    run(&config).end(Duration::from_secs(15)).with(69).saying(&address);
    assert!(!std::path::Path::new(&location).exists(), "a table was created");

    drop(taken);
    let mut running = run(&config);
    assert_eq!(running.address(), address);
    running.until("committed");
    running
        .watch_until("the commit is counted", || metric(&address, "thalweg_rows_committed_total") == 100.0);
    for path in ["/livez", "/readyz"] {
        let (status, body) = get(&address, path);
        assert_eq!(status, "HTTP/1.1 200 OK", "{path}: {body}");
    }
    running.watch_until("the lag is reported", || {
        get(&address, "/metrics")
            .1
            .lines()
            .any(|line| line.starts_with("thalweg_lag_records{") && line.ends_with(" 0"))
    });
    running.signal("-TERM");
    running.end(Duration::from_secs(10)).with(0);
}

#[test]
fn a_port_that_is_open_to_others_is_said_loudly() {
    let Some(story) = Story::begin("admin-open") else { return };
    let topic = story.topic("events", 1);
    let config = |listen: &str| {
        let location = story.place("table");
        story.config(
            "admin",
            &format!(
                "[admin]\nlisten = \"{listen}\"\n[[table]]\nid = \"t\"\ntopic = \"{topic}\"\n\
                 location = \"{location}\"\nschema = \"{FLAT}\"\n"
            ),
        )
    };
    let open = config("0.0.0.0:0");
    start(&["check"], &open).end(TIMEOUT).with(0).saying("open to other machines");
    run_until_end(&open).with(0).saying("WARN").saying("open to other machines");
    let closed = config("127.0.0.1:0");
    for ended in [start(&["check"], &closed).end(TIMEOUT), run_until_end(&closed)] {
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(ended.code == 0 && !said.contains("open to other"), "{said}");
    }
}
