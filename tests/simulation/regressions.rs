//! What seeds found once: a named test each.
//!
//! It owns which world a finding is tested in. A plain build asks that
//! nothing is wrong in some of its histories; with the feature `planted` the
//! same histories are run with the mended rule broken again, and one of them
//! must fail: a test that cannot is none.

use crate::aims::{self, Aim};
use crate::setup::Bugs;
use crate::{on_all_cores, run, run_aimed};

/// Histories that must be right.
const SEEDS: u64 = 40;

/// Histories among which the broken rule must show.
#[cfg(feature = "planted")]
const SEEDS_MAX: u64 = 1_500;

fn holds(aim: Aim, broken: &str) {
    let failures: Vec<String> = on_all_cores(SEEDS, |seed| {
        let error = run_aimed(seed, aim).err()?;
        Some(format!("seed {seed}: {error}"))
    })
    .into_iter()
    .flatten()
    .collect();
    assert!(failures.is_empty(), "without {broken}: {failures:#?}");
    #[cfg(feature = "planted")]
    {
        use crate::planted::Where;
        use thalweg::protocol::planted::ALL;
        let bug = ALL.iter().find(|bug| format!("{bug:?}") == broken).expect("a bug of that name");
        assert!(
            crate::planted::seek(*bug, Where::OneTable(aim), SEEDS_MAX).is_some(),
            "{broken} does not show"
        );
    }
}

macro_rules! right {
    ($($name:ident: $seed:literal;)+) => {
        $(#[test] fn $name() { run($seed, Bugs::default(), false).unwrap_or_else(|wrong| panic!("{wrong}")); })+
    };
}

right! {
    a_late_commit_of_one_that_was_killed_does_not_end_its_only_successor: 77_004_184;
    a_put_that_was_held_until_its_files_were_vacuumed_names_none_of_them: 77_019_086;
    a_replay_that_stood_still_for_weeks_names_no_file_that_was_vacuumed: 7_241_601;
    a_stray_version_is_in_no_checkpoint_of_one_that_stood_still: 77_008_496;
    a_topic_that_is_created_again_while_a_table_is_opened_leaves_no_offset_in_it: 6_673_661;
    a_topic_is_not_created_again_under_one_that_began_without_its_id: 77_002_394;
}

macro_rules! found {
    ($($name:ident: $aim:ident, $bug:ident;)+) => {
        $(#[test] fn $name() { holds(aims::$aim, stringify!($bug)); })+
    };
}

found! {
    a_commit_that_took_days_counts_only_if_the_log_still_has_it: weeks_pass_over_commits, BelievesALateCommit;
    a_file_that_a_vacuum_may_have_removed_is_not_named: weeks_pass, CommitsFilesOfAnyAge;
    a_put_is_not_repeated_after_the_machine_stood_still_for_long: weeks_pass_over_a_vacuum, PutsAgainHoweverLate;
    a_log_that_took_days_to_be_read_is_looked_at_again: weeks_pass_over_starts, TrustsALookThatTookLong;
    a_hint_does_not_go_back_behind_that_of_another: weeks_pass_over_two_checkpointers, HintGoesBack;
    a_store_that_does_not_answer_is_no_damage: the_log_is_cleaned_up, TakesSilenceForDamage;
    a_log_that_is_cleaned_up_while_it_is_read_is_no_damage: the_log_is_cleaned_up, TakesCleanUpForDamage;
    a_table_that_was_put_back_is_not_opened: a_restore, OpensARestoredTable;
    a_table_that_was_put_back_is_seen_by_who_begins_again: a_restore_between_resets, BeginsAgainAfterARestore;
    what_went_over_to_a_topic_id_is_not_taken_back: ids_come_to_rivals, BeginsAgainAfterAIdentityTransfer;
    who_began_without_a_topic_id_sees_that_the_tables_topic_was_created_again: ids_come_before_a_new_topic, ForgetsTheTablesTopicId;
    dead_letters_outlive_the_day_on_which_a_broker_tells_ids: ids_come_over_dead_letters, IdentityTransferForgetsDeadLetters;
    a_dead_letter_of_a_topic_that_is_gone_stands_for_no_record_of_the_new_one: a_new_topic_is_adopted_over_dead_letters, GuessesWhoseDeadLettersStand;
    a_dead_letter_of_a_topic_that_is_gone_is_not_replayed_as_one_of_the_new_one: a_new_topic_is_adopted_over_dead_letters, ReplaysDeadLettersOfAFormerTopic;
    a_group_that_adopts_a_new_topic_keeps_to_its_dead_letters: a_group_adopts_a_new_topic, AssignmentForgetsDeadLetters;
    a_group_adopts_no_offsets_of_the_former_topic: a_group_adopts_a_new_topic, AdoptsOffsetsOfAFormerTopic;
    a_partition_that_another_read_on_is_looked_at_again: retention_follows, StopsOnAnOldLook;
}
