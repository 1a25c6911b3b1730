//! The source's own rules: who may import whom, what a file begins with, how long it gets.
//!
//! It reads `src/` as text, and `docs/guarantees.md`. Test code is left out: files of its own
//! (`tests.rs`, `testing.rs`, `screens.rs`) and what stands behind `#[cfg(test)]`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports point at least one layer down; within a module anything goes.
const LAYERS: [&[&str]; 10] = [
    &["error", "clock", "ids", "budget", "backoff"],
    &["metrics", "schema", "stdout", "record"],
    &["protocol", "config", "status"],
    &["source", "columnar", "stores", "host"],
    &["delta"],
    &["dead_letters"],
    &["exchange", "sink"],
    &["shard", "committer", "delta_sink", "audit", "member", "preflight", "http_server"],
    &["ingester", "demo", "admin"],
    &["cli"],
];

const LINES_MAX: usize = 700;

struct Source {
    /// Below `src/`.
    name: String,
    /// The first part of its path: `delta` for `delta/log.rs`.
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
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// The items of a `{…}` group whose brace is open, nested groups whole.
fn top_level_items(group: &str) -> Vec<String> {
    let (mut items, mut depth) = (vec![String::new()], 0);
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        items.last_mut().unwrap().push(character);
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

/// A store is asked to create what is not there by these; the probe races for a name of its own.
const CREATES: [&str; 3] = ["delta/transaction.rs", "stores/disk.rs", "stores/probe.rs"];

#[test]
fn a_version_of_a_log_is_put_in_one_place() {
    let sources = sources();
    let holding = |word: &str| -> Vec<&str> {
        sources.iter().filter(|of| of.text.contains(word)).map(|of| of.name.as_str()).collect()
    };
    assert_eq!(holding("PutMode::Create"), CREATES, "who else creates what must not be there?");
    assert_eq!(holding("version_path("), ["delta/log.rs", "delta/transaction.rs", "stores/store.rs"]);
    let transaction = sources.iter().find(|of| of.name == "delta/transaction.rs").unwrap();
    let calls = |of: &str| transaction.text.matches(of).count();
    assert_eq!((calls("version_path("), calls(" put(&store"), calls(" resolve(transaction")), (1, 1, 1));
}

#[test]
fn only_the_source_speaks_to_the_kafka_client() {
    let outside = sources().into_iter().filter(|source| source.module != "source");
    let names_it = |source: &Source| identifiers(&source.text).contains("rdkafka");
    let wrong: Vec<String> = outside.filter(names_it).map(|source| source.name).collect();
    assert!(wrong.is_empty(), "`source` has no type of rdkafka for others: {wrong:?}");
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

/// `delta::log` for `delta/log.rs` and for `delta/log/mod.rs`.
fn module_path(name: &str) -> Vec<String> {
    let mut path: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    path.pop_if(|last| last == "mod");
    path
}

/// Rust without comments and the contents of literals, so that what looks like a path is one.
fn code_only(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let is_literal = |prefix: &str| {
            rest.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '#']))
                && !code.ends_with(char::is_alphanumeric)
        };
        let (length, is_code) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if first == '"' {
            (literal_length(rest), false)
        } else if is_literal("r") && !rest.starts_with("r#\n") && raw_length(&rest[1..]) > 1 {
            (1 + raw_length(&rest[1..]), false)
        } else if first == '\'' {
            (character_length(rest), false)
        } else {
            (first.len_utf8(), true)
        };
        if is_code {
            code.push(first);
        }
        rest = &rest[length..];
    }
    code
}

/// The paths of a `use` tree, whole: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn use_paths(tree: &str) -> Vec<String> {
    let tree = tree.split(" as ").next().unwrap().trim();
    match tree.split_once('{') {
        None => vec![tree.to_owned()],
        Some((before, group)) => {
            let items = top_level_items(group);
            let items = items.iter().filter(|item| !item.trim().is_empty());
            items.flat_map(|item| use_paths(item)).map(|item| format!("{}{item}", before.trim())).collect()
        }
    }
}

/// The paths that begin in this crate, as they are written in this code: of `use` trees, and elsewhere.
fn crate_paths(code: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (mut paths, mut rest) = (Vec::new(), String::new());
    let mut left = code;
    while let Some(at) = left.find("use ") {
        let (before, tree) = left.split_at(at);
        rest.push_str(before);
        let end = tree.find(';').unwrap_or(tree.len());
        if before.ends_with(is_name) {
            rest.push_str(&tree[..4]);
            left = &tree[4..];
        } else {
            paths.extend(use_paths(&tree[4..end]));
            left = &tree[end..];
        }
    }
    rest.push_str(left);
    // How far something is visible is no use of it.
    let rest = rest.replace("pub(in ", "pub(in_");
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in rest.match_indices(start) {
            if !rest[..at].ends_with(|c| is_name(c) || c == ':' || c == '$') {
                paths.push(rest[at..].chars().take_while(|&c| is_name(c) || c == ':').collect());
            }
        }
    }
    paths.retain(|path| ["crate::", "super::", "self::"].iter().any(|start| path.starts_with(start)));
    paths
}

/// `child::f` is `self::child::f` where `mod child;` stands.
fn with_self(code: &str) -> String {
    let declared = |rest: &str| {
        let name = leading_word(rest);
        rest[name.len()..].starts_with(';').then_some(name)
    };
    let children: BTreeSet<String> = code.split("mod ").skip(1).filter_map(declared).collect();
    let (mut whole, mut left) = (String::new(), code);
    while let Some(first) = left.chars().next() {
        let word = leading_word(left);
        let length = word.len().max(first.len_utf8());
        let is_path = children.contains(&word) && left[length..].starts_with("::");
        if is_path && !whole.ends_with(':') {
            whole.push_str("self::");
        }
        whole.push_str(&left[..length]);
        left = &left[length..];
    }
    whole
}

fn without_block_comments_and_test_uses(code: &str) -> String {
    let (mut whole, mut left) = (String::new(), code);
    loop {
        let next = [("/*", "*/"), ("#[cfg(test)]\nuse ", ";"), ("#[cfg(test)]\n    use ", ";")]
            .into_iter()
            .filter_map(|(start, end)| Some((left.find(start)?, end)))
            .min();
        let Some((at, end)) = next else { return whole + left };
        whole.push_str(&left[..at]);
        left = left[at..].find(end).map_or("", |length| &left[at + length + end.len()..]);
    }
}

/// The paths of a file, each with the module that it is written in: modules inside a file are modules, too.
fn paths_of(module: &[String], code: &str) -> Vec<(Vec<String>, String)> {
    let code = without_block_comments_and_test_uses(code);
    let code = with_self(&code);
    let code = code.as_str();
    let (mut own, mut paths, mut left) = (String::new(), Vec::new(), code);
    while let Some(at) = left.find("mod ") {
        let (before, rest) = left.split_at(at);
        let name = leading_word(&rest[4..]);
        own.push_str(before);
        let body = &rest[4 + name.len()..];
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') || !body.starts_with(" {") {
            own.push_str(&rest[..4]);
            left = &rest[4..];
            continue;
        }
        let mut depth = 0;
        let closes = |(_, c): &(usize, char)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0 && *c == '}'
        };
        let end = body.char_indices().find(closes).map_or(body.len(), |(at, _)| at);
        let inner: Vec<String> = module.iter().cloned().chain([name]).collect();
        paths.extend(paths_of(&inner, &body[2..end]));
        left = &body[end..];
    }
    own.push_str(left);
    paths.extend(crate_paths(&own).into_iter().map(|path| (module.to_vec(), path)));
    paths
}

/// The file of this crate that a path written in `module` leads into.
fn file_of(path: &str, module: &[String], files: &BTreeMap<Vec<String>, String>) -> Option<String> {
    let mut whole = module.to_vec();
    for (number, part) in path.split("::").map(str::trim).enumerate() {
        match (number, part) {
            (0, "crate") => whole.clear(),
            (0, "self") => {}
            (_, "super") => drop(whole.pop()),
            _ => whole.push(part.to_owned()),
        }
    }
    (1..=whole.len()).rev().find_map(|length| files.get(&whole[..length]).cloned())
}

/// Which files use which.
fn uses(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeMap<Vec<String>, String> =
        sources.iter().map(|of| (module_path(&of.name), of.name.clone())).collect();
    let used = |of: &Source| {
        let paths = paths_of(&module_path(&of.name), &code_only(&of.text)).into_iter();
        paths
            .filter_map(|(module, path)| file_of(&path, &module, &files))
            .filter(|file| *file != of.name)
            .collect()
    };
    sources.iter().map(|of| (of.name.clone(), used(of))).collect()
}

/// A way from a file back to itself, if there is one.
fn circle(from: &str, uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in uses.get(way.last().unwrap()).into_iter().flatten() {
                let way: Vec<String> = way.iter().cloned().chain([next.clone()]).collect();
                if next == from {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let sources: Vec<Source> =
        sources().into_iter().filter(|of| !["lib.rs", "main.rs"].contains(&of.name.as_str())).collect();
    let uses = uses(&sources);
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 500, "imports are seen");
    let circles: BTreeSet<String> =
        uses.keys().filter_map(|file| circle(file, &uses)).map(|way| way.join(" -> ")).collect();
    assert!(
        circles.is_empty(),
        "move what both need into a file of its own:\n{}",
        Vec::from_iter(circles).join("\n")
    );
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        module: String::new(),
        text: text.to_owned(),
    };
    let sources = [
        source("a.rs", "use crate::b::{c::{D, E}};"),
        source("b.rs", "// crate::a\npub(in crate::a) fn f() { \"crate::a\"; self::c::g() }"),
        source(
            "b/c.rs",
            "fn g(x: super::super::a::X<'_>) {} mod inside { use super::Y; use super::super::super::d::Z; }",
        ),
        source("d/mod.rs", "use self::e::X;"),
        source("d/e.rs", "use super::X as _;"),
        source("f/mod.rs", "mod g; mod h; use g::X; fn f() { h::f() }"),
        source("f/g.rs", "/* use super::X; */ use super::h::Y;"),
        source("f/h.rs", "#[cfg(test)]\nuse super::X;\nuse super::Z;"),
    ];
    let uses = uses(&sources);
    let found = |from: &str| circle(from, &uses).map(|way| way.join(" "));
    assert_eq!(found("a.rs").unwrap(), "a.rs b/c.rs a.rs");
    assert_eq!(found("b.rs"), None);
    assert_eq!(found("d/mod.rs").unwrap(), "d/mod.rs d/e.rs d/mod.rs");
    assert_eq!(found("f/mod.rs").unwrap(), "f/mod.rs f/h.rs f/mod.rs");
    assert_eq!(uses["f/g.rs"], BTreeSet::from(["f/h.rs".to_owned()]), "a comment is no use");
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

/// Words that `src/lib.rs` has another name for. Each is a whole word of an identifier:
/// `tips` stands in `tell_tips` and in `TipsOf`.
const RETIRED: [&str; 46] = [
    "admit",
    "admitted",
    "by_hand",
    "complaint",
    "complaints",
    "desk",
    "gate",
    "gated",
    "generation",
    "guard",
    "guarded",
    "guards",
    "hands",
    "handover",
    "handovers",
    "jump",
    "jumps",
    "lane",
    "lanes",
    "letter",
    "letters",
    "meet",
    "ordeal",
    "patience",
    "question",
    "questions",
    "settle",
    "settled",
    "settles",
    "sweeper",
    "tenancies",
    "tenancy",
    "tenants",
    "tenure",
    "tenures",
    "terms",
    "turns",
    "tips",
    "void",
    "voided",
    "vouch",
    "vouched",
    "vouches",
    "weather",
    "wiring",
    "witness",
];

/// Names that others gave.
const NOT_OURS: [&str; 4] = ["MutexGuard", "RwLockReadGuard", "RwLockWriteGuard", "c_void"];

/// The identifiers of Rust text: comments and literals left out.
fn identifiers(text: &str) -> BTreeSet<String> {
    let (mut found, mut rest) = (BTreeSet::new(), text);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            literal_length(rest)
        } else if first == '\'' {
            character_length(rest)
        } else if first.is_alphabetic() || first == '_' {
            let word = leading_word(rest);
            let is_raw = ["r", "br"].contains(&word.as_str()) && rest[word.len()..].starts_with(['"', '#']);
            let length = if is_raw { word.len() + raw_length(&rest[word.len()..]) } else { word.len() };
            found.extend((!is_raw).then_some(word));
            length
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// The length of a character's literal, or of the quote alone before a lifetime.
fn character_length(text: &str) -> usize {
    let mut inside = text.char_indices().skip(1).map(|(at, character)| (at, character == '\''));
    match text.strip_prefix("'\\") {
        Some(_) => inside.skip(2).find(|&(_, is_end)| is_end).map_or(text.len(), |(at, _)| at + 1),
        None => inside.nth(1).filter(|&(_, is_end)| is_end).map_or(1, |(at, _)| at + 1),
    }
}

/// The length of a string literal, both quotes in it.
fn literal_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The same of `#"…"#`, as many `#` as there are.
fn raw_length(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    if !text[hashes..].starts_with('"') {
        return hashes;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[hashes + 1..].find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len())
}

/// `DataFile`, `data_file` and `DATA_FILE` are the words `data` and `file`.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous = '_';
    for character in identifier.chars() {
        if character == '_' || (character.is_uppercase() && previous.is_lowercase()) {
            words.push(String::new());
        }
        if character != '_' {
            words.last_mut().unwrap().extend(character.to_lowercase());
        }
        previous = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The retired word in an identifier. `dead_letters` is what a letter is called; the name of a test is a sentence.
fn retired(identifier: &str) -> Option<&'static str> {
    let words = words(identifier);
    let is_sentence = words.len() > 5 && identifier.chars().all(|character| !character.is_uppercase());
    if is_sentence || NOT_OURS.contains(&identifier) {
        return None;
    }
    let joined = format!("_{}_", words.join("_"))
        .replace("_dead_letter_", "_dead_")
        .replace("_dead_letters_", "_dead_");
    RETIRED.into_iter().find(|word| joined.contains(&format!("_{word}_")))
}

#[test]
fn a_retired_word_is_no_identifier() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        collect(&root.join(folder), &mut paths);
    }
    let mut wrong = Vec::new();
    for path in paths.iter().filter(|path| !path.ends_with("tests/tidy.rs")) {
        let name = path.strip_prefix(root).unwrap().display();
        let found = identifiers(&fs::read_to_string(path).unwrap());
        wrong.extend(
            found.iter().filter_map(|of| Some(format!("{name}: `{of}`: {} is retired", retired(of)?))),
        );
    }
    assert!(wrong.is_empty(), "`src/lib.rs` has the words:\n{}", wrong.join("\n"));
}

#[test]
fn identifiers_are_told_from_text_and_cut_into_words() {
    let text =
        "let a_lane = \"sweeper \\\" void\"; // desk\nstruct TenureOf; r#\"a \"jump\" b\"#; fn f<'gate>() {}";
    let found: Vec<String> = identifiers(text).into_iter().collect();
    assert_eq!(found, ["TenureOf", "a_lane", "f", "fn", "gate", "let", "struct"]);
    let named = |identifier| retired(identifier).unwrap_or("-");
    assert_eq!(
        ["a_lane", "TenureOf", "dead_letters", "LETTERS_MAX"].map(named),
        ["lane", "tenure", "-", "letters"]
    );
    assert_eq!(["set_by_hand", "MutexGuard", "planet"].map(named), ["by_hand", "-", "-"]);
}

/// A name that several modules give to types of their own says nothing.
#[test]
fn no_type_name_is_given_four_times() {
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for line in source.text.lines() {
            let item = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
            let item = item.trim_start_matches("pub ");
            let kinds = ["struct ", "enum ", "type ", "trait "];
            let Some(rest) = kinds.iter().find_map(|kind| item.strip_prefix(kind)) else { continue };
            if line.starts_with(|character: char| !character.is_whitespace()) {
                given.entry(leading_word(rest)).or_default().push(source.name.clone());
            }
        }
    }
    let many: Vec<_> = given.iter().filter(|(_, files)| files.len() > 3).collect();
    assert!(many.is_empty(), "one name for one thing: {many:#?}");
}

/// A page that somebody opens first is read to its end only if it is short.
#[test]
fn the_readme_is_a_front_door() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(text.lines().count() <= 150, "{} lines: reference belongs into docs/", text.lines().count());
}

/// Relative links of a Markdown text, without their anchors.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains("://")).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    assert_eq!(links("[a](b.md#c) [d](https://e) [f](#g) ![h](i/j.svg)"), ["b.md", "i/j.svg"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![root.join("README.md"), root.join("CHANGELOG.md"), root.join("tools/README.md")];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        documents
            .extend(Some(entry.unwrap().path()).filter(|path| path.extension().is_some_and(|of| of == "md")));
    }
    let mut wrong = Vec::new();
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        let lost = links(&text).into_iter().filter(|link| !document.parent().unwrap().join(link).exists());
        wrong.extend(lost.map(|link| format!("{}: {link}", document.display())));
    }
    assert!(wrong.is_empty(), "links to nothing: {wrong:#?}");
}
