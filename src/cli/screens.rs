//! Every mistake in a config, as a person sees it.
//!
//! Wrong files are `tests/screens/config/*.toml`, each beside its screen.
//! `THALWEG_SCREENS=write` writes the screens anew: read the difference
//! before you commit it.

use std::path::{Path, PathBuf};

use super::screen;
use crate::config::parse_on;
use crate::config::resources::Machine;
use crate::error::ErrorKind;

/// Every wrong file and its screen.
#[test]
fn a_wrong_file_says_where_and_what_to_do() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens/config");
    let write = std::env::var("THALWEG_SCREENS").is_ok_and(|value| value == "write");
    let mut wrong = Vec::new();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() > 50, "the screens are gone");
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let screen = rendered(&std::fs::read_to_string(&path).unwrap(), &name);
        let expected = path.with_extension("txt");
        if write {
            std::fs::write(&expected, &screen).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != screen {
            wrong.push(format!("{name}:\n{screen}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nTHALWEG_SCREENS=write writes them anew", wrong.join("\n"));
}

fn rendered(text: &str, name: &str) -> String {
    let machine = Machine { cores: 4, pins: vec![], memory: 64 << 30 };
    let environment = |name: &str| (name == "DDL").then(|| "id BIGNT".to_owned());
    let error = match parse_on(text, "thalweg.toml", &environment, &machine, PathBuf::from("/work")) {
        Ok(_) => panic!("{name}: the file is accepted"),
        Err(error) => error,
    };
    assert_eq!(error.kind, ErrorKind::Config, "{name}");
    assert!(error.message.starts_with("thalweg.toml:"), "{name}: {}", error.message);
    assert!(error.snippet.is_some(), "{name}");
    let screen = screen::render(&error, false);
    assert!(screen.lines().skip(1).all(|line| line.chars().count() <= 120), "{name}:\n{screen}");
    screen
}
