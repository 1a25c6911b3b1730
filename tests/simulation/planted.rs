//! Bugs in the code under test: the oracles must find every one.
//!
//! It owns the search for a seed that shows a bug and runs well without it,
//! and in which kind of world each bug is looked for.

use thalweg::error::ErrorKind;
use thalweg::protocol::planted::{ALL, Bug, plant};

use crate::aims::{self, Aim};
use crate::finding::{Class, Finding};
use crate::{many, on_all_cores, run_aimed, setting};

/// After so many seeds a bug counts as missed.
const SEEDS_MAX: u64 = 1_500;

/// Seeds of each bug's world that must be right without it.
const RIGHT_SEEDS: u64 = 20;

/// Seeds that are tried before all threads are asked whether one has found it.
const AT_ONCE: u64 = 20;

/// The seed that found each bug last: tried first.
const RECORDED: &str = include_str!("planted.tsv");
const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulation/planted.tsv");

/// Bugs that may be found by the code's own assertions: the rule that is broken is what it asserts.
const ASSERTED: [Bug; 1] = [Bug::TakesWorkFromBeforeAReset];

#[derive(Clone)]
pub struct Found {
    pub seed: u64,
    pub finding: Finding,
}

/// In which kind of world a bug is looked for.
#[derive(Clone, Copy)]
pub enum Where {
    OneTable(Aim),
    SeveralTables(many::Aim),
}

impl Where {
    /// What a seed's history says.
    fn run(self, seed: u64) -> Option<Finding> {
        match self {
            Where::OneTable(aim) => run_aimed(seed, aim).err(),
            Where::SeveralTables(aim) => many::run(seed, aim, false).err(),
        }
    }
}

/// A world in which the bug would matter.
fn world(bug: Bug) -> Where {
    match bug {
        Bug::FullTableStopsAll
        | Bug::PausesForEver
        | Bug::SkipsWhatCameInAPause
        | Bug::PausesTheOthersToo
        | Bug::ResumesOnePartition => Where::SeveralTables(many::a_store_stalls),
        Bug::ReadsOnInAPause => Where::SeveralTables(many::a_store_stalls_between_resets),
        Bug::StoppedTableCountsItsWork | Bug::StopForgetsAnothersFiles => {
            Where::SeveralTables(many::a_table_is_taken)
        }
        _ => Where::OneTable(aim(bug)),
    }
}

fn aim(bug: Bug) -> Aim {
    match bug {
        Bug::PassesWhatNeedsASchema | Bug::KeepsRowsThatNeedASchema => aims::schemas_come_later,
        Bug::CommitsFilesOfAnyAge | Bug::TrustsTheTipForEver => aims::weeks_pass,
        Bug::PutsAgainHoweverLate => aims::weeks_pass_over_a_vacuum,
        Bug::BelievesALateCommit => aims::weeks_pass_over_commits,
        Bug::TakesCleanedUpForFree => aims::weeks_pass_over_a_busy_clean_up,
        Bug::TrustsALookThatTookLong => aims::weeks_pass_over_starts,
        Bug::DeletesDeadLettersInDoubt => aims::minutes_pass_over_dead_letters,
        Bug::NoTopicIdBeforeCommit => aims::created_again_unseen,
        Bug::ForgetsTheTablesTopicId => aims::ids_come_before_a_new_topic,
        Bug::AsksForTheEndFirst => aims::another_reads_on,
        Bug::TakesSilenceForDamage | Bug::TakesCleanUpForDamage => aims::the_log_is_cleaned_up,
        Bug::HintGoesBack => aims::weeks_pass_over_two_checkpointers,
        Bug::CleansUpTooMuch => aims::weeks_pass_over_checkpoints,
        Bug::OpensARestoredTable => aims::a_restore,
        Bug::BeginsAgainAfterARestore => aims::a_restore_between_resets,
        Bug::IgnoresAIdentityTransfer => aims::ids_come,
        Bug::BeginsAgainAfterAIdentityTransfer => aims::ids_come_to_rivals,
        Bug::MovesFromAnOldLook
        | Bug::OffsetOverrideLeavesNoEntry
        | Bug::AdoptForgetsAPartition
        | Bug::AdoptLeavesNoEntry
        | Bug::ReplayMovesNoTxn
        | Bug::ReplaysWhatIsNotResolved
        | Bug::ReplayForgetsFormerNames => aims::admin_at_work,
        Bug::ReplayDeletesFilesInDoubt => aims::admin_over_minutes,
        Bug::ReplayIgnoresAnother => aims::admin_that_die,
        Bug::AdoptsOffsetsOfAFormerTopic => aims::a_new_topic_is_adopted,
        Bug::TakesDeadLettersOfAFormerTopic
        | Bug::GuessesWhoseDeadLettersStand
        | Bug::ReplaysDeadLettersOfAFormerTopic => aims::a_new_topic_is_adopted_over_dead_letters,
        Bug::MoveBackForgetsDeadLetters => aims::hands_over_dead_letters_in_doubt,
        Bug::IdentityTransferForgetsDeadLetters => aims::ids_come_over_dead_letters,
        Bug::StopsOnAnOldLook => aims::retention_follows,
        Bug::MoveForgetsDeadLetters => aims::dead_letters_move,
        Bug::JudgesDeadLettersAgain | Bug::ForgetsFormerPlaces => aims::dead_letters_in_doubt,
        Bug::ForgetsAPlaceInDoubt | Bug::DeadLetterOffsetsGoBack => aims::many_dead_letters_in_doubt,
        Bug::IgnoresASchemaChange => aims::columns_come_and_go,
        Bug::LedgerOutlivesAReset => aims::columns_come_and_go_over_what_waits,
        Bug::KeepsBuffersOverAReset
        | Bug::KeepsThePositionOverAReset
        | Bug::TakesWorkFromBeforeAReset
        | Bug::ResetMissesAShard
        | Bug::MoveMissesAReset => aims::shards_begin_again,
        Bug::NoClaim => aims::two_judge,
        Bug::NoClaimOfAnAssignment => aims::the_put_out_claim,
        Bug::ForgetsBuffersOnARevoke
        | Bug::KeepsAFileOfALostPartition
        | Bug::ReadsOnWhatWasLost
        | Bug::TellsTheGroupFirst => aims::a_group,
        Bug::AssignmentForgetsDeadLetters => aims::a_group_with_dead_letters,
        _ => aims::anything,
    }
}

/// Whether a finding shows the bug: an oracle says so, or an instance ends as nobody should see it end.
/// That the code trips over itself is luck, unless it asserts this very rule.
fn shows(bug: Bug, finding: &Finding) -> bool {
    match finding.class {
        Class::Verdict => true,
        Class::Ended(kind) if kind != ErrorKind::Internal => true,
        Class::Ended(_) | Class::Panicked => ASSERTED.contains(&bug),
    }
}

/// What a seed says of a bug that it shows, and is right without.
fn shown_by(bug: Bug, world: Where, seed: u64) -> Option<Found> {
    let run = |planted| {
        plant(planted);
        let outcome = world.run(seed);
        plant(None);
        outcome
    };
    let finding = run(Some(bug)).filter(|finding| shows(bug, finding))?;
    run(None).is_none().then_some(Found { seed, finding })
}

/// The first seed that shows the bug.
pub fn seek(bug: Bug, world: Where, seeds: u64) -> Option<Found> {
    (0..seeds.div_ceil(AT_ONCE)).find_map(|chunk| {
        let found = on_all_cores(AT_ONCE, |index| shown_by(bug, world, chunk * AT_ONCE + index));
        found.into_iter().flatten().next()
    })
}

fn recorded(bug: Bug) -> Option<u64> {
    let name = format!("{bug:?}");
    let line = RECORDED.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix('\t'));
    line.map(|seed| seed.parse().expect("planted.tsv has a seed for each bug"))
}

/// The bug that is asked for, or all.
fn wanted() -> (Option<String>, Vec<Bug>) {
    let wanted = std::env::var("THALWEG_SIM_BUG").ok();
    let is_wanted = |bug: &&Bug| wanted.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
    let bugs: Vec<Bug> = ALL.iter().filter(is_wanted).copied().collect();
    assert!(!bugs.is_empty(), "there is no bug {}", wanted.unwrap_or_default());
    (wanted, bugs)
}

/// In these worlds the trouble is that no everyday seed has: they must be right, too.
#[test]
fn every_world_in_which_a_bug_is_looked_for_is_right_without_it() {
    let seeds = setting("THALWEG_SIM_SEEDS").unwrap_or(RIGHT_SEEDS);
    let (_, bugs) = wanted();
    let failures = on_all_cores(bugs.len() as u64 * seeds, |index| {
        let (bug, seed) = (bugs[(index / seeds) as usize], index % seeds);
        let finding = world(bug).run(seed)?;
        Some(format!("the world of {bug:?}, seed {seed}: {}", finding.said))
    });
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    eprintln!("{} worlds without a bug, {seeds} seeds each: {} violations", bugs.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_planted_bug_is_found() {
    let seeds = setting("THALWEG_SIM_SEEDS").unwrap_or(SEEDS_MAX);
    let (wanted, bugs) = wanted();
    let at_once = on_all_cores(bugs.len() as u64, |index| {
        let bug = bugs[index as usize];
        shown_by(bug, world(bug), recorded(bug)?)
    });
    let (mut moved, mut missed, mut record) = (0, Vec::new(), String::new());
    for (&bug, at_once) in bugs.iter().zip(at_once) {
        let name = format!("{bug:?}");
        let Some(Found { seed, finding }) = at_once.clone().or_else(|| seek(bug, world(bug), seeds)) else {
            eprintln!("{name:<30} NOT FOUND in {seeds} seeds");
            missed.push(bug);
            continue;
        };
        let before = match recorded(bug) {
            Some(before) if before != seed => format!(" (no longer {before})"),
            _ => String::new(),
        };
        moved += usize::from(at_once.is_none());
        let first = finding.said.lines().next().unwrap_or_default();
        eprintln!("{name:<30} seed {seed:>5}{before}  {:?}: {first}", finding.class);
        record.push_str(&format!("{name}\t{seed}\n"));
    }
    let found = bugs.len() - missed.len();
    eprintln!("{found} of {} planted bugs found, {moved} by another seed than is recorded", bugs.len());
    if std::env::var_os("THALWEG_SIM_RECORD").is_some() && wanted.is_none() {
        std::fs::write(RECORD, record).expect("the record can be written");
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
