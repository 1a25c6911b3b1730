//! W3, events in the manner of GitHub's archive: nested, about 1 KB, a payload
//! whose fields depend on the type, and fields that appear mid-run.
//!
//! The schema is the one of the first half; what appears later
//! (`org`, `actor.site_admin`, `payload.repository_id`) is unknown to it.

use std::fmt::Write;

use crate::random::Random;
use crate::row::Row;

pub const DDL: &str = "id STRING, type STRING, \
    actor STRUCT<id: BIGINT, login: STRING, display_login: STRING, gravatar_id: STRING, url: STRING, \
    avatar_url: STRING>, \
    repo STRUCT<id: BIGINT, name: STRING, url: STRING>, \
    payload STRUCT<push_id: BIGINT, size: BIGINT, distinct_size: BIGINT, ref: STRING, head: STRING, \
    before: STRING, commits: ARRAY<STRUCT<sha: STRING, author: STRUCT<email: STRING, name: STRING>, \
    message: STRING, distinct: BOOLEAN, url: STRING>>, \
    action: STRING, number: BIGINT, \
    pull_request: STRUCT<id: BIGINT, title: STRING, state: STRING, merged: BOOLEAN, additions: BIGINT, \
    deletions: BIGINT, body: STRING>, \
    issue: STRUCT<id: BIGINT, title: STRING, labels: ARRAY<STRING>, body: STRING>, \
    comment: STRUCT<id: BIGINT, body: STRING>>, \
    public BOOLEAN, created_at TIMESTAMP";

/// Leaves of the payload's parts, in the schema's order.
const PUSH_LEAVES: usize = 7;
const PULL_REQUEST_LEAVES: usize = 7;
const ISSUE_LEAVES: usize = 4;
const COMMENT_LEAVES: usize = 2;

const WORDS: [&str; 48] = [
    "fix", "add", "remove", "update", "refactor", "test", "parser", "reader", "writer", "schema", "offset",
    "commit", "branch", "merge", "release", "version", "index", "buffer", "encode", "decode", "timeout",
    "retry", "the", "a", "of", "for", "when", "with", "without", "after", "before", "module", "config",
    "option", "docs", "build", "cache", "error", "panic", "table", "column", "row", "value", "null",
    "default", "limit", "page", "batch",
];
const LABELS: [&str; 8] =
    ["bug", "enhancement", "question", "good first issue", "wontfix", "duplicate", "docs", "help wanted"];
const BRANCHES: [&str; 4] = ["main", "master", "develop", "release/2.x"];
const ISSUE_ACTIONS: [&str; 3] = ["opened", "closed", "reopened"];

/// Text buffers of the record being written, kept from record to record.
#[derive(Default)]
pub(crate) struct Scratch {
    text: String,
    url: String,
    sha: String,
}

pub(crate) fn write(
    index: u64,
    evolved: bool,
    now_ms: i64,
    random: &mut Random,
    scratch: &mut Scratch,
    row: &mut Row<'_>,
) {
    row.string("id", format_in(&mut scratch.text, format_args!("{}", 20_000_000_000 + index)));
    let kind = random.below(100);
    row.string("type", type_name(kind));
    actor(evolved, random, scratch, row);
    let repo = random.skewed(100_000);
    repository(repo, scratch, row);
    row.open("payload");
    match kind {
        0..70 => push(index, repo, random, scratch, row),
        70..80 => pull_request(random, scratch, row),
        80..95 => issue_or_comment(kind >= 88, random, scratch, row),
        _ => watch(row),
    }
    if evolved {
        row.unknown("repository_id", format_in(&mut scratch.text, format_args!("{repo}")));
    }
    row.close();
    row.boolean("public", random.below(50) != 0);
    row.timestamp("created_at", now_ms / 1000);
    if evolved {
        let org = repo % 977;
        let json = format_args!(r#"{{"id":{org},"login":"org{org}"}}"#);
        row.unknown("org", format_in(&mut scratch.text, json));
    }
}

fn type_name(kind: u64) -> &'static str {
    match kind {
        0..70 => "PushEvent",
        70..80 => "PullRequestEvent",
        80..88 => "IssuesEvent",
        88..95 => "IssueCommentEvent",
        _ => "WatchEvent",
    }
}

fn actor(evolved: bool, random: &mut Random, scratch: &mut Scratch, row: &mut Row<'_>) {
    let actor = random.skewed(300_000);
    let text = &mut scratch.text;
    row.open("actor");
    row.integer("id", actor as i64);
    row.string("login", format_in(text, format_args!("user{actor}")));
    row.string("display_login", format_in(text, format_args!("user{actor}")));
    row.string("gravatar_id", "");
    row.string("url", format_in(text, format_args!("https://api.github.com/users/user{actor}")));
    row.string(
        "avatar_url",
        format_in(text, format_args!("https://avatars.githubusercontent.com/u/{actor}?")),
    );
    if evolved {
        row.unknown("site_admin", if actor == 0 { "true" } else { "false" });
    }
    row.close();
}

fn repository(repo: u64, scratch: &mut Scratch, row: &mut Row<'_>) {
    let (org, text) = (repo % 977, &mut scratch.text);
    row.open("repo");
    row.integer("id", 1_000_000 + repo as i64);
    row.string("name", format_in(text, format_args!("org{org}/repo{repo}")));
    row.string("url", format_in(text, format_args!("https://api.github.com/repos/org{org}/repo{repo}")));
    row.close();
}

fn push(index: u64, repo: u64, random: &mut Random, scratch: &mut Scratch, row: &mut Row<'_>) {
    let commits = 1 + random.skewed(3) as i64;
    row.integer("push_id", 9_000_000_000 + 3 * index as i64);
    row.integer("size", commits);
    row.integer("distinct_size", 1 + random.below(commits as u64) as i64);
    let branch = BRANCHES[random.skewed(4) as usize];
    row.string("ref", format_in(&mut scratch.text, format_args!("refs/heads/{branch}")));
    row.string("head", sha(random, &mut scratch.sha));
    row.string("before", sha(random, &mut scratch.sha));
    row.open_list("commits");
    for _ in 0..commits {
        commit(repo, random, scratch, row);
    }
    row.close_list();
    row.absent(2 + PULL_REQUEST_LEAVES + ISSUE_LEAVES + COMMENT_LEAVES);
}

fn commit(repo: u64, random: &mut Random, scratch: &mut Scratch, row: &mut Row<'_>) {
    row.open_element();
    row.string("sha", sha(random, &mut scratch.sha));
    let author = random.skewed(50_000);
    row.open("author");
    let text = &mut scratch.text;
    row.string("email", format_in(text, format_args!("dev{author}@example.com")));
    row.string("name", format_in(text, format_args!("Dev {author}")));
    row.close();
    message(random, scratch, row);
    row.boolean("distinct", random.below(4) != 0);
    let org = repo % 977;
    let url = format_args!("https://api.github.com/repos/org{org}/repo{repo}/commits/{}", scratch.sha);
    row.string("url", format_in(&mut scratch.url, url));
    row.close();
}

/// One in ten has a line break and quotes, one in twenty is not ASCII (half of those by escapes).
fn message(random: &mut Random, scratch: &mut Scratch, row: &mut Row<'_>) {
    let length = 4 + random.below(10);
    let text = &mut scratch.text;
    words(length, random, text);
    match random.below(40) {
        0..4 => text.push_str("\n\nCo-authored-by: \"Dev\" <dev@example.com>\tC:\\temp"),
        4 => text.push_str(" größer — 修正 🚀"),
        5 => {
            text.push_str(" naïve 🎉");
            return row.string_ascii("message", text);
        }
        _ => {}
    }
    row.string("message", text);
}

fn pull_request(random: &mut Random, scratch: &mut Scratch, row: &mut Row<'_>) {
    row.absent(PUSH_LEAVES);
    let merged = random.below(2) == 0;
    row.string("action", if merged { "closed" } else { "opened" });
    row.integer("number", 1 + random.skewed(20_000) as i64);
    row.open("pull_request");
    row.integer("id", random.below(1 << 40) as i64);
    words(6, random, &mut scratch.text);
    row.string("title", &scratch.text);
    row.string("state", if merged { "closed" } else { "open" });
    row.boolean("merged", merged);
    row.integer("additions", random.skewed(10_000) as i64);
    row.integer("deletions", random.skewed(10_000) as i64);
    body(random, scratch, row);
    row.close();
    row.absent(ISSUE_LEAVES + COMMENT_LEAVES);
}

fn issue_or_comment(has_comment: bool, random: &mut Random, scratch: &mut Scratch, row: &mut Row<'_>) {
    row.absent(PUSH_LEAVES);
    row.string("action", if has_comment { "created" } else { random.pick(&ISSUE_ACTIONS) });
    row.absent(1 + PULL_REQUEST_LEAVES);
    row.open("issue");
    row.integer("id", random.below(1 << 40) as i64);
    words(6, random, &mut scratch.text);
    row.string("title", &scratch.text);
    row.open_list("labels");
    for _ in 0..random.below(4) {
        row.string_element(random.pick(&LABELS));
    }
    row.close_list();
    body(random, scratch, row);
    row.close();
    if !has_comment {
        return row.absent(COMMENT_LEAVES);
    }
    row.open("comment");
    row.integer("id", random.below(1 << 40) as i64);
    body(random, scratch, row);
    row.close();
}

fn watch(row: &mut Row<'_>) {
    row.absent(PUSH_LEAVES);
    row.string("action", "started");
    row.absent(1 + PULL_REQUEST_LEAVES + ISSUE_LEAVES + COMMENT_LEAVES);
}

/// A text of some 60 words; one in five is null.
fn body(random: &mut Random, scratch: &mut Scratch, row: &mut Row<'_>) {
    if random.below(5) == 0 {
        return row.null("body");
    }
    let length = 20 + random.below(80);
    words(length, random, &mut scratch.text);
    row.string("body", &scratch.text);
}

fn words(count: u64, random: &mut Random, out: &mut String) {
    out.clear();
    for word in 0..count {
        if word > 0 {
            out.push(' ');
        }
        out.push_str(random.pick(&WORDS));
    }
}

fn sha<'a>(random: &mut Random, out: &'a mut String) -> &'a str {
    let (high, middle, low) = (random.draw(), random.draw(), random.draw() as u32);
    format_in(out, format_args!("{high:016x}{middle:016x}{low:08x}"))
}

fn format_in<'a>(out: &'a mut String, arguments: std::fmt::Arguments<'_>) -> &'a str {
    out.clear();
    out.write_fmt(arguments).expect("writing to a string does not fail");
    out
}
