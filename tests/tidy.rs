//! The source's own rules: who may import whom, what a file begins with, how long it gets.
//!
//! It reads `src/` as text, and `docs/guarantees.md`. Test code is left out: files of its own
//! (`tests.rs`, `testing.rs`, `screens.rs`) and what stands behind `#[cfg(test)]`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports point at least one layer down; within a module anything goes.
const LAYERS: [&[&str]; 8] = [
    &["error", "clock", "ids", "budget", "backoff"],
    &["metrics", "schema", "stdout", "record"],
    &["protocol", "config", "status"],
    &["source", "columnar", "table", "host"],
    &["exchange"],
    &["shard", "committer", "member", "preflight", "admin"],
    &["ingester", "demo", "hands"],
    &["cli"],
];

const LINES_MAX: usize = 700;

struct Source {
    /// Below `src/`.
    name: String,
    /// The first part of its path: `table` for `table/log.rs`.
    module: String,
    /// Without test code.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let is_test =
        |path: &PathBuf| ["tests.rs", "testing.rs", "screens.rs"].iter().any(|name| path.ends_with(name));
    paths.iter().filter(|path| !is_test(path)).map(|path| source(&root, path)).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn source(root: &Path, path: &Path) -> Source {
    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let module = name.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
    Source { name, module, text: without_tests(&fs::read_to_string(path).unwrap()) }
}

/// The text up to its test module, which is the last thing in a file.
fn without_tests(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].to_owned()
}

/// The modules of this crate that the text names: `crate::a`, `crate::{b, c::d}`.
fn named_modules(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let after_crate = code.split("crate::").skip(1);
    after_crate
        .flat_map(|rest| match rest.strip_prefix('{') {
            None => vec![leading_word(rest)],
            Some(group) => {
                top_level_items(group).iter().map(|item| leading_word(item.trim_start())).collect()
            }
        })
        .filter(|word| !word.is_empty())
        .collect()
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|dead_letter| dead_letter.is_alphanumeric() || *dead_letter == '_').collect()
}

/// The items of a `{…}` group whose brace is open, nested groups whole.
fn top_level_items(group: &str) -> Vec<String> {
    let (mut items, mut depth) = (vec![String::new()], 0);
    for dead_letter in group.chars() {
        match dead_letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        items.last_mut().unwrap().push(dead_letter);
    }
    items
}

#[test]
fn what_others_wrote_reaches_a_terminal_through_one_function() {
    let macros = ["println!(", "print!(", "dbg!("];
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.name != "stdout.rs") {
        let printing = |line: &&str| macros.iter().any(|name| line.contains(name));
        found.extend(source.text.lines().filter(printing).map(|line| format!("{}: {line}", source.name)));
    }
    assert!(found.is_empty(), "`stdout` prints, and shows nothing that acts: {found:#?}");
}

#[test]
fn imports_point_down() {
    let layers: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, names)| names.iter().map(move |&name| (name, layer)))
        .collect();
    let layer = |name: &str| layers.get(name).unwrap_or_else(|| panic!("module `{name}` has no layer"));
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&source.module.as_str())) {
        let own = layer(&source.module);
        for named in named_modules(&source.text) {
            if named != source.module && layer(&named) >= own {
                wrong.push(format!("{} (layer {own}) uses {named} (layer {})", source.name, layer(&named)));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    let text = "use crate::ids::Offset;\nuse crate::{error::{A, B}, table::log,\n  config};\nfn f(x: crate::shard::S) {}\n// crate::cli\n";
    assert_eq!(named_modules(text), ["ids", "error", "table", "config", "shard"]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n crate::cli }"), "a");
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.name)
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.text.lines().count() > LINES_MAX)
        .map(|source| format!("{}: {} lines", source.name, source.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines without tests: {long:?}");
}

#[test]
fn the_protocol_is_pure() {
    let impure = [
        "clock",
        "tokio",
        "std::fs",
        "std::io",
        "std::net",
        "std::thread",
        "Instant::",
        "SystemTime",
        "rand::",
    ];
    for source in sources().iter().filter(|source| source.module == "protocol") {
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in impure {
                assert!(!code.contains(word), "{}:{}: `{word}` in {line:?}", source.name, number + 1);
            }
        }
    }
}

/// The names of all tests of this repository.
fn tests_of(folder: &Path, names: &mut BTreeSet<String>) {
    let mut paths = Vec::new();
    collect(folder, &mut paths);
    for path in paths {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line != "#[test]" && !line.starts_with("#[tokio::test") {
                continue;
            }
            let name =
                lines.find_map(|line| line.split_once("fn ").filter(|(before, _)| !before.contains('/')));
            names.extend(name.map(|(_, rest)| leading_word(rest)));
        }
    }
}

/// What a rule's last column names, each between backquotes.
fn named_proofs(document: &str) -> Vec<(String, Vec<String>)> {
    let from = document.find("\n## Pitfalls").expect("the lists begin there");
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let names = cells.last()?.split('`').skip(1).step_by(2).map(str::to_owned);
        Some((line.to_owned(), names.collect()))
    };
    let rows = document[from..].lines().filter(|line| line.starts_with("| ") && !line.ends_with(" fail |"));
    rows.filter_map(row).collect()
}

/// Every rule in `docs/guarantees.md` has a test that would fail, and the test is there.
#[test]
fn every_guarantee_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests", "fuzz/tests"] {
        tests_of(&root.join(folder), &mut tests);
    }
    assert!(tests.len() > 300 && tests.contains("every_guarantee_names_a_test_that_exists"));
    let planted = read("src/protocol/planted.rs");
    let exists = |name: &str| match name.strip_prefix("Bug::") {
        Some(bug) => planted.contains(&format!("\n    {bug},\n")),
        None if name.contains('/') => root.join(name).exists(),
        None => tests.contains(name),
    };
    let rules = named_proofs(&read("docs/guarantees.md"));
    assert!(rules.len() > 70, "the lists are gone: {}", rules.len());
    let mut wrong = Vec::new();
    for (line, names) in &rules {
        if names.is_empty() {
            wrong.push(format!("no test: {line}"));
        }
        wrong.extend(names.iter().filter(|name| !exists(name)).map(|name| format!("no such test: {name}")));
    }
    assert!(wrong.is_empty(), "docs/guarantees.md:\n{}", wrong.join("\n"));
}
