//! Worlds in which one kind of trouble comes all the time.
//!
//! It owns what must be frequent for some rule to matter: what is rare among
//! all seeds is tested, and looked for, in a world of its own. A world that is
//! aimed is drawn from its seed like any other; only its mix is changed.

use std::time::Duration;

use crate::foreign::Deed;
use crate::group;
use crate::oracle::DEAD_LETTER_ROOTS;
use crate::setup::{Ending, Setup};
use crate::store::Faults;

pub type Aim = fn(&mut Setup);

/// As it was drawn.
pub fn anything(_: &mut Setup) {}

/// Records need schemas that are fetched first.
pub fn schemas_come_later(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.plan.later_schemas = true;
}

/// No acts by hand, and nothing that ends the table or its topic.
fn nobody_interferes(setup: &mut Setup) {
    setup.mix.hand = 0;
    setup.mix.end = None;
}

/// Weeks pass while others write, write checkpoints and clean up; requests take long.
pub fn weeks_pass(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.offset_override = 12;
    setup.mix.foreign = 12;
    setup.mix.deeds =
        vec![Deed::ShortenRetention, Deed::Append, Deed::Checkpoint, Deed::CleanUp, Deed::Vacuum];
    setup.faults.slow = 60;
    setup.faults.refused = 10;
    setup.faults.reply_lost = 10;
    setup.plan.group = None;
}

/// The same with our own checkpoints and clean-up.
pub fn weeks_pass_over_checkpoints(setup: &mut Setup) {
    weeks_pass(setup);
    setup.mix.offset_override = 25;
    setup.plan.checkpoint_every = 2;
    setup.mix.deeds = vec![Deed::ShortenRetention, Deed::Append];
    setup.faults.refused = 4;
}

/// Weeks pass while we and others write checkpoints, and others clean up.
pub fn weeks_pass_over_two_checkpointers(setup: &mut Setup) {
    weeks_pass(setup);
    setup.mix.offset_override = 25;
    setup.mix.steps = 250;
    setup.faults.refused = 2;
    setup.plan.checkpoint_every = 2;
    setup.mix.deeds = vec![Deed::Append, Deed::Checkpoint, Deed::CleanUp];
}

/// Weeks pass while a vacuum is all that happens, and a put is repeated.
pub fn weeks_pass_over_a_vacuum(setup: &mut Setup) {
    weeks_pass(setup);
    setup.mix.offset_override = 25;
    setup.mix.deeds = vec![Deed::Vacuum];
    setup.mix.instances = 1;
    setup.mix.crash = 0;
    setup.faults.refused = 5;
    setup.faults.conflict = 60;
    setup.faults.late = 0;
}

/// Weeks pass over one that opens the table again and again.
pub fn weeks_pass_over_starts(setup: &mut Setup) {
    weeks_pass(setup);
    setup.mix.offset_override = 25;
    setup.mix.policies_change = false;
    setup.mix.live_on = true;
    setup.mix.instances = 1;
    setup.mix.crash = 5;
    setup.mix.steps = 250;
    setup.faults.refused = 2;
    setup.plan.dead_letters = None;
    setup.plan.max_latency = Duration::ZERO;
}

/// The same over one that commits all the time.
pub fn weeks_pass_over_commits(setup: &mut Setup) {
    weeks_pass(setup);
    setup.mix.offset_override = 20;
    setup.mix.stop = 5;
    setup.mix.live_on = true;
    setup.mix.instances = 1;
    setup.mix.crash = 0;
    setup.mix.steps = 250;
    setup.plan.max_latency = Duration::ZERO;
}

/// The same while what others clean up goes at once, between any two requests.
pub fn weeks_pass_over_a_busy_clean_up(setup: &mut Setup) {
    weeks_pass_over_commits(setup);
    setup.mix.cleans_between = 15;
    setup.mix.offset_override = 10;
    setup.mix.stop = 0;
    setup.mix.deeds = vec![Deed::Append, Deed::Append, Deed::Checkpoint, Deed::CleanUp];
}

/// A column comes and goes under files that have it.
pub fn columns_come_and_go(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.foreign = 20;
    setup.mix.deeds = vec![Deed::Alter];
    setup.mix.burst = false;
    setup.mix.offset_override = 0;
    setup.mix.crash = 6;
    setup.mix.steps = 160;
    setup.faults.slow = 60;
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.latest = false;
}

/// The same under many small files that arrive in any order: some wait when the others begin again.
pub fn columns_come_and_go_over_what_waits(setup: &mut Setup) {
    columns_come_and_go(setup);
    setup.mix.partitions = 1;
    setup.mix.instances = 1;
    setup.mix.crash = 0;
    setup.mix.drain = 0;
    setup.mix.stop = 0;
    setup.mix.live_on = true;
    setup.faults = Faults { slow: 70, ..Faults::default() };
    setup.plan.most_at_once = Some(2);
    setup.plan.shards = 1;
    setup.plan.dead_letters = None;
    setup.plan.lost_one_in = 0;
    setup.plan.group = None;
}

/// Two instances of two shards fence each other, again and again.
pub fn shards_begin_again(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.partitions = 3;
    setup.mix.instances = 2;
    setup.mix.foreign = 0;
    setup.mix.offset_override = 6;
    setup.mix.crash = 1;
    setup.mix.drain = 0;
    setup.mix.steps = 160;
    setup.mix.live_on = true;
    setup.faults = Faults { slow: 50, ..Faults::default() };
    setup.plan.shards = 2;
    setup.plan.rivals_show = false;
    setup.plan.latest = false;
    setup.plan.group = None;
}

/// Minutes pass while two instances write dead letters.
pub fn minutes_pass_over_dead_letters(setup: &mut Setup) {
    dead_letters_in_doubt(setup);
    setup.mix.crash = 1;
    setup.mix.crash_after_dead_letters = 0;
    setup.mix.stop_after_dead_letters = 60;
    setup.mix.instances = 2;
    setup.mix.policies_change = false;
    setup.mix.offset_override = 8;
    setup.mix.is_doubtful = true;
    setup.mix.foreign = 0;
    setup.plan.rivals_show = false;
    setup.plan.strict = true;
    setup.faults.slow = 60;
    setup.plan.group = None;
}

/// Others clean up all the time, and requests fail.
pub fn the_log_is_cleaned_up(setup: &mut Setup) {
    weeks_pass(setup);
    setup.mix.crash = 6;
    setup.faults.refused = 20;
    setup.plan.checkpoint_every = 3;
}

/// The table is put back early in a run of many starts.
pub fn a_restore(setup: &mut Setup) {
    setup.mix.hand = 0;
    setup.mix.end = Some((15, Ending::Another(Deed::Restore)));
    setup.mix.crash = 10;
    setup.mix.drain = 10;
    setup.mix.offset_override = 0;
    setup.mix.steps = 80;
    setup.plan.group = None;
}

/// The table is put back while uploads fail, so that instances begin again.
pub fn a_restore_between_resets(setup: &mut Setup) {
    setup.mix.hand = 0;
    setup.mix.end = Some((20, Ending::Another(Deed::Restore)));
    setup.mix.steps = 80;
    setup.mix.offset_override = 0;
    setup.mix.crash = 0;
    setup.mix.drain = 0;
    setup.mix.foreign = 0;
    setup.faults.refused = 25;
    setup.faults.reply_lost = 20;
    setup.plan.lost_one_in = 0;
}

/// A broker begins to tell topic ids while two instances read, and uploads fail.
pub fn ids_come(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.without_ids = true;
    setup.mix.instances = 2;
    setup.mix.crash = 8;
    setup.mix.offset_override = 0;
    setup.mix.foreign = 0;
    setup.faults.refused = 20;
    setup.plan.group = None;
}

/// The same under three instances that fence each other, so that they look at the table anew.
pub fn ids_come_to_rivals(setup: &mut Setup) {
    ids_come(setup);
    setup.mix.instances = 3;
    setup.mix.partitions = 1;
    setup.mix.steps = 160;
    setup.faults.refused = 5;
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.rivals_show = false;
    setup.plan.dead_letters = None;
}

/// The broker begins to tell ids while several open the table, and the topic is created again after that.
pub fn ids_come_before_a_new_topic(setup: &mut Setup) {
    ids_come(setup);
    setup.mix.end = Some((20, Ending::CreatedAgain));
    setup.mix.instances = 3;
    setup.mix.partitions = 2;
    setup.mix.steps = 120;
    setup.mix.hand = 0;
    setup.mix.foreign = 0;
    setup.mix.retain = 0;
    setup.faults.slow = 10;
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.rivals_show = false;
    setup.plan.group = None;
}

/// The topic is created again while the broker hardly answers questions.
pub fn created_again_unseen(setup: &mut Setup) {
    setup.mix.hand = 0;
    setup.mix.end = Some((25, Ending::CreatedAgain));
    setup.mix.without_ids = false;
    setup.mix.partitions = 1;
    setup.mix.instances = 1;
    setup.mix.crash = 0;
    setup.mix.drain = 0;
    setup.mix.offset_override = 0;
    setup.mix.retain = 0;
    setup.mix.steps = 160;
    setup.faults = Faults::default();
    setup.plan.silent = 75;
    setup.plan.latest = false;
    setup.plan.lost_one_in = 0;
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.group = None;
}

/// One instance reads on while another one opens the table.
pub fn another_reads_on(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.policies_change = false;
    setup.mix.partitions = 1;
    setup.mix.instances = 2;
    setup.mix.crash = 5;
    setup.mix.drain = 5;
    setup.mix.offset_override = 0;
    setup.mix.foreign = 0;
    setup.mix.retain = 0;
    setup.mix.steps = 160;
    setup.faults = Faults { slow: 60, ..Faults::default() };
    setup.plan.dead_letters = None;
    setup.plan.latest = false;
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.group = None;
}

/// A broker begins to tell topic ids while dead letters are in doubt and configs change.
pub fn ids_come_over_dead_letters(setup: &mut Setup) {
    ids_come(setup);
    dead_letters_in_doubt(setup);
    setup.mix.instances = 1;
}

/// Processes die between dead letters and the offsets that settle them, and the next config judges otherwise.
pub fn dead_letters_in_doubt(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.policies_change = true;
    setup.mix.crash = 3;
    setup.mix.crash_after_dead_letters = 60;
    setup.mix.drain = 0;
    setup.mix.steps = 250;
    setup.mix.offset_override = 0;
    setup.faults.refused = 10;
    setup.plan.dead_letters = Some(DEAD_LETTER_ROOTS[0]);
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.latest = false;
}

/// The same with many dead letters.
pub fn many_dead_letters_in_doubt(setup: &mut Setup) {
    dead_letters_in_doubt(setup);
    setup.mix.is_doubtful = true;
    setup.mix.partitions = 2;
    setup.mix.foreign = 0;
    setup.plan.group = None;
}

/// The same under two instances that judge otherwise and stand still now and then.
pub fn two_judge(setup: &mut Setup) {
    dead_letters_in_doubt(setup);
    setup.mix.is_doubtful = true;
    setup.mix.partitions = 1;
    setup.mix.instances = 2;
    setup.mix.stop = 6;
    setup.mix.foreign = 0;
    setup.faults = Faults { slow: 60, refused: 15, ..Faults::default() };
    setup.plan.rivals_show = false;
    setup.plan.group = None;
}

/// The same while partitions move between shards.
pub fn dead_letters_move(setup: &mut Setup) {
    dead_letters_in_doubt(setup);
    setup.mix.is_doubtful = true;
    setup.plan.shards = 2;
    setup.mix.partitions = 3;
    setup.mix.instances = 1;
    setup.plan.group = None;
}

/// Retention deletes what was read, under two instances.
pub fn retention_follows(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.instances = 2;
    setup.mix.partitions = 1;
    setup.mix.retain = 20;
    setup.mix.crash = 5;
    setup.mix.drain = 5;
    setup.mix.steps = 250;
    setup.mix.offset_override = 0;
    setup.mix.foreign = 0;
    setup.faults = Faults { slow: 60, ..Faults::default() };
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.dead_letters = None;
    setup.plan.group = None;
}

/// Partitions go from member to member.
pub fn a_group(setup: &mut Setup) {
    nobody_interferes(setup);
    setup.mix.partitions = 3;
    setup.mix.instances = 2;
    setup.mix.offset_override = 0;
    setup.mix.stop = 4;
    setup.mix.steps = 160;
    setup.plan.shards = 1;
    setup.plan.max_latency = Duration::from_millis(60);
    setup.plan.group = Some(group::GroupSettings {
        eager: setup.plan.latest,
        session: Duration::from_millis(400),
        max_poll: Duration::from_millis(600),
        wrongly_out_one_in: 40,
        deaf: 0,
    });
}

/// The same with dead letters in doubt.
pub fn a_group_with_dead_letters(setup: &mut Setup) {
    a_group(setup);
    dead_letters_in_doubt(setup);
}

/// The same while members stand still before they claim what they were assigned, and hear late that it is
/// another's by now.
pub fn the_put_out_claim(setup: &mut Setup) {
    a_group_with_dead_letters(setup);
    setup.mix.is_doubtful = true;
    setup.mix.partitions = 4;
    setup.mix.crash = 1;
    setup.mix.crash_after_dead_letters = 0;
    setup.mix.stop = 0;
    setup.mix.stop_over_dead_letters = 15;
    setup.mix.steps = 300;
    setup.mix.foreign = 0;
    setup.faults = Faults { slow: 60, ..Faults::default() };
    setup.plan.shards = 2;
    if let Some(options) = &mut setup.plan.group {
        options.deaf = 80;
        options.wrongly_out_one_in = 20;
    }
}

/// Persons move offsets, change the table id and replay dead letters all the time, beside one that writes.
pub fn admin_at_work(setup: &mut Setup) {
    setup.mix.hand = 30;
    setup.mix.end = None;
    setup.mix.crash = 1;
    setup.mix.offset_override = 0;
    setup.mix.foreign = 0;
    setup.mix.steps = 200;
    setup.mix.partitions = 2;
    setup.mix.policies_change = true;
    setup.mix.is_doubtful = true;
    setup.mix.without_ids = false;
    setup.plan.dead_letters = Some(DEAD_LETTER_ROOTS[0]);
    setup.plan.max_latency = Duration::ZERO;
}

/// Dead letters are replayed all the time by commands that are killed, and what they have put lands late: beside
/// the next one.
pub fn admin_that_die(setup: &mut Setup) {
    admin_at_work(setup);
    setup.mix.only_replays = true;
    setup.mix.policies_change = false;
    setup.mix.hand = 100;
    setup.mix.crash = 15;
    setup.mix.drain = 0;
    setup.mix.instances = 1;
    setup.mix.steps = 250;
    setup.plan.max_latency = Duration::from_millis(60);
    setup.plan.strict = true;
    setup.plan.latest = false;
    setup.faults.late = 60;
    setup.faults.reply_lost = 10;
    setup.plan.group = None;
}

/// Dead letters are replayed all the time, while minutes pass over a store that now and then does not answer.
pub fn admin_over_minutes(setup: &mut Setup) {
    admin_at_work(setup);
    setup.mix.only_replays = true;
    setup.mix.policies_change = false;
    setup.mix.crash = 0;
    setup.mix.offset_override = 12;
    setup.plan.strict = true;
    setup.plan.latest = false;
    setup.faults = Faults { refused: 2, slow: 60, ..Faults::default() };
    setup.plan.group = None;
}

/// The same while configs change where dead letters go, so that places are left and forgotten.
pub fn hands_over_dead_letters_in_doubt(setup: &mut Setup) {
    admin_at_work(setup);
    setup.mix.instances = 1;
    setup.mix.crash = 0;
    setup.mix.drain = 8;
    setup.mix.steps = 300;
    setup.plan.group = None;
    setup.plan.latest = false;
}

/// The topic is created again, and a person adopts the new one: under the same table id, or another.
pub fn a_new_topic_is_adopted(setup: &mut Setup) {
    admin_at_work(setup);
    setup.mix.end = Some((40, Ending::CreatedAgain));
    setup.plan.group = None;
}

/// The same while processes die between dead letters and the offsets that settle them, and another engine
/// rewrites files of dead letters: whose they were is not told any more.
pub fn a_new_topic_is_adopted_over_dead_letters(setup: &mut Setup) {
    a_new_topic_is_adopted(setup);
    setup.mix.crash_after_dead_letters = 40;
    setup.mix.foreign = 20;
    setup.mix.deeds = vec![Deed::Optimize];
    setup.plan.strict = true;
    setup.plan.latest = false;
}

/// A group adopts it, while its members die over dead letters and lose partitions.
pub fn a_group_adopts_a_new_topic(setup: &mut Setup) {
    a_group_with_dead_letters(setup);
    let group = setup.plan.group;
    a_new_topic_is_adopted_over_dead_letters(setup);
    setup.plan.group = group;
    setup.mix.instances = 2;
}
