//! Bugs in the code under test: the oracles must find every one.
//!
//! It owns the search for a seed that shows a bug and runs well without it,
//! and in which kind of world each bug is looked for.

use thalweg::protocol::planted::{ALL, Bug, plant};

use crate::aims::{self, Aim};
use crate::{on_all_cores, run_aimed, setting};

/// After so many seeds a bug counts as missed.
const SEEDS_MAX: u64 = 1_500;

/// Seeds that are tried before all threads are asked whether one has found it.
const AT_ONCE: u64 = 20;

pub struct Found {
    pub seed: u64,
    pub finding: String,
}

/// A world in which the bug would matter.
fn aim(bug: Bug) -> Aim {
    match bug {
        Bug::CommitsFilesOfAnyAge
        | Bug::TrustsTheTipForEver
        | Bug::BelievesALateCommit
        | Bug::PutsAgainHoweverLate
        | Bug::TrustsALookThatTookLong => aims::weeks_pass,
        Bug::TakesSilenceForDamage | Bug::TakesCleanUpForDamage => aims::the_log_is_cleaned_up,
        Bug::CleansUpTooMuch => aims::weeks_pass_over_checkpoints,
        Bug::OpensARestoredTable => aims::a_restore,
        Bug::BeginsAgainAfterARestore => aims::a_restore_between_resets,
        Bug::IgnoresAHandover | Bug::BeginsAgainAfterAHandover => aims::ids_come,
        Bug::HandoverForgetsLetters => aims::ids_come_over_letters,
        Bug::StopsOnAnOldLook => aims::retention_follows,
        Bug::MoveForgetsLetters => aims::letters_move,
        Bug::JudgesLettersAgain
        | Bug::ForgetsFormerPlaces
        | Bug::ForgetsAPlaceInDoubt
        | Bug::NoClaim
        | Bug::LetterOffsetsGoBack => aims::letters_in_doubt,
        Bug::ForgetsBuffersOnARevoke
        | Bug::KeepsAFileOfALostPartition
        | Bug::ReadsOnWhatWasLost
        | Bug::TellsTheGroupFirst => aims::a_group,
        Bug::AssignmentForgetsLetters | Bug::NoClaimOfAnAssignment => aims::a_group_with_letters,
        _ => aims::anything,
    }
}

/// The first seed that fails with the bug and not without it.
pub fn seek(bug: Bug, aim: Aim, seeds: u64) -> Option<Found> {
    let with = |seed, bug| {
        plant(bug);
        let outcome = run_aimed(seed, aim);
        plant(None);
        outcome.err()
    };
    (0..seeds.div_ceil(AT_ONCE)).find_map(|chunk| {
        let seeds = chunk * AT_ONCE..(chunk + 1) * AT_ONCE;
        let findings = on_all_cores(AT_ONCE, |index| {
            let seed = seeds.start + index;
            let finding = with(seed, Some(bug))?;
            with(seed, None).is_none().then_some(Found { seed, finding })
        });
        findings.into_iter().flatten().next()
    })
}

#[test]
fn every_planted_bug_is_found() {
    let wanted = std::env::var("THALWEG_SIM_BUG").ok();
    let seeds = setting("THALWEG_SIM_SEEDS").unwrap_or(SEEDS_MAX);
    let is_wanted = |bug: &&Bug| wanted.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
    let (mut found, mut missed) = (0, Vec::new());
    for bug in ALL.iter().filter(is_wanted) {
        match seek(*bug, aim(*bug), seeds) {
            Some(Found { seed, finding }) => {
                let first = finding.lines().next().unwrap_or_default();
                eprintln!("{:<30} seed {seed:>5}  {first}", format!("{bug:?}"));
                found += 1;
            }
            None => {
                eprintln!("{:<30} NOT FOUND in {seeds} seeds", format!("{bug:?}"));
                missed.push(bug);
            }
        }
    }
    eprintln!("{found} of {} planted bugs found", found + missed.len());
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert!(found > 0, "no bug of that name");
}
