//! Every kept input of every target, and simple mutations of them, on any Rust.
//!
//! `THALWEG_FUZZ_SECONDS` is how long each target's inputs are mutated, 2 by
//! default, or `THALWEG_FUZZ_RUNS` times, whichever ends first. The mutations
//! follow from a fixed seed: what fails here fails again, and a number of runs
//! is the same runs on every machine. A finding is kept below `fuzz/artifacts`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "how long to go on is no part of what is tested")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thalweg_fuzz::TARGETS;

const INPUT_BYTES_MAX: usize = 16 << 10;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

/// The kept inputs, in the order of their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<(String, Vec<u8>)> = fs::read_dir(folder("corpus", target))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// The words of a dictionary in libFuzzer's form: `"word"` on a line, `\xAB` for a byte.
fn words(target: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder("dictionaries", &format!("{target}.dict"))).unwrap();
    let word = |line: &str| {
        let inner = line.trim().strip_prefix('"')?.strip_suffix('"')?;
        let (mut bytes, mut rest) = (Vec::new(), inner);
        while let Some(character) = rest.chars().next() {
            let escaped = rest.strip_prefix('\\');
            let taken = match escaped.and_then(|escaped| escaped.strip_prefix('x')) {
                Some(hex) => {
                    bytes.push(u8::from_str_radix(&hex[..2], 16).unwrap());
                    4
                }
                None if escaped.is_some() => {
                    bytes.push(rest.as_bytes()[1]);
                    2
                }
                None => {
                    bytes.extend(character.to_string().bytes());
                    character.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        Some(bytes)
    };
    text.lines().filter_map(word).collect()
}

/// xorshift64*
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }

    fn mutate(&mut self, inputs: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 => drop(bytes.drain(at..end)),
                3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                4 => drop(bytes.splice(at..end, words[self.below(words.len())].iter().copied())),
                5 => drop(bytes.splice(at..at, words[self.below(words.len())].iter().copied())),
                _ => {
                    let other = &inputs[self.below(inputs.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn run(target: &str) {
    let (_, check) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let inputs = corpus(target);
    assert!(inputs.len() >= 8, "{target} has {} inputs", inputs.len());
    for (name, input) in &inputs {
        let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
        assert!(outcome.is_ok(), "fuzz/corpus/{target}/{name} fails");
    }
    let seconds = setting("THALWEG_FUZZ_SECONDS").unwrap_or(2);
    let runs_max = setting("THALWEG_FUZZ_RUNS").unwrap_or(u64::MAX);
    let (inputs, words) = (inputs.into_iter().map(|(_, input)| input).collect::<Vec<_>>(), words(target));
    let (begun, mut choices, mut runs) = (Instant::now(), Choices(0x7468_616C_7765_6721), 0);
    while begun.elapsed() < Duration::from_secs(seconds) && runs < runs_max {
        let input = choices.mutate(&inputs, &words);
        if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
            let kept = folder("artifacts", target);
            fs::create_dir_all(&kept).unwrap();
            fs::write(kept.join("mutated"), &input).unwrap();
            panic!(
                "run {runs}: fuzz/artifacts/{target}/mutated fails: {:?}",
                String::from_utf8_lossy(&input)
            );
        }
        runs += 1;
    }
    eprintln!("{target}: {} inputs, {runs} mutations of them", inputs.len());
}

#[test]
fn batches_hold_what_was_put_in() {
    run("batch");
}

#[test]
fn configs_are_read_or_say_where_they_are_wrong() {
    run("config");
}

#[test]
fn schemas_that_are_printed_are_read_back() {
    run("ddl");
}

#[test]
fn payloads_are_what_serde_json_reads() {
    run("json");
}

#[test]
fn logs_are_what_delta_kernel_reads() {
    run("log");
}

#[test]
fn places_stay_below_their_root() {
    run("place");
}

/// A second opinion that refuses everything has none.
#[test]
fn sound_logs_are_compared_and_not_passed_over() {
    for (name, input) in corpus("log").iter().filter(|(name, _)| name.starts_with("sound")) {
        assert!(thalweg_fuzz::log::accepts(input), "{name} was not compared");
    }
}
