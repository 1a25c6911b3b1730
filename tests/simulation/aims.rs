//! Worlds in which one kind of trouble comes all the time.
//!
//! It owns what must be frequent for some rule to matter: what is rare among
//! all seeds is tested, and looked for, in a world of its own. A world that is
//! aimed is drawn from its seed like any other; only its mix is changed.

use std::time::Duration;

use crate::foreign::Deed;
use crate::group;
use crate::oracle::LETTER_ROOTS;
use crate::world::{Ending, Setup};

pub type Aim = fn(&mut Setup);

/// As it was drawn.
pub fn anything(_: &mut Setup) {}

/// Weeks pass while others write, write checkpoints and clean up; requests take long.
pub fn weeks_pass(setup: &mut Setup) {
    setup.mix.jump = 12;
    setup.mix.foreign = 12;
    setup.mix.end = None;
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
    setup.mix.jump = 25;
    setup.plan.checkpoint_every = 2;
    setup.mix.deeds = vec![Deed::ShortenRetention, Deed::Append];
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
    setup.mix.end = Some((15, Ending::Another(Deed::Restore)));
    setup.mix.crash = 10;
    setup.mix.drain = 10;
    setup.mix.jump = 0;
    setup.mix.steps = 80;
    setup.plan.group = None;
}

/// The table is put back while uploads fail, so that instances begin again.
pub fn a_restore_between_resets(setup: &mut Setup) {
    setup.mix.end = Some((20, Ending::Another(Deed::Restore)));
    setup.mix.steps = 80;
    setup.mix.jump = 0;
    setup.mix.crash = 0;
    setup.mix.drain = 0;
    setup.mix.foreign = 0;
    setup.faults.refused = 25;
    setup.faults.reply_lost = 20;
    setup.plan.lost_one_in = 0;
}

/// A broker begins to tell topic ids while two instances read, and uploads fail.
pub fn ids_come(setup: &mut Setup) {
    setup.mix.without_ids = true;
    setup.mix.end = None;
    setup.mix.instances = 2;
    setup.mix.crash = 8;
    setup.mix.jump = 0;
    setup.mix.foreign = 0;
    setup.faults.refused = 20;
    setup.plan.group = None;
}

/// A broker begins to tell topic ids while dead letters are in doubt and configs change.
pub fn ids_come_over_letters(setup: &mut Setup) {
    ids_come(setup);
    letters_in_doubt(setup);
    setup.mix.instances = 1;
}

/// Processes die between dead letters and the offsets that settle them, and the next config judges otherwise.
pub fn letters_in_doubt(setup: &mut Setup) {
    setup.mix.policies_change = true;
    setup.mix.end = None;
    setup.mix.crash = 15;
    setup.mix.drain = 0;
    setup.mix.steps = 160;
    setup.mix.jump = 0;
    setup.faults.refused = 10;
    setup.plan.letters = Some(LETTER_ROOTS[0]);
    setup.plan.max_latency = Duration::ZERO;
    setup.plan.latest = false;
}

/// The same while partitions move between shards.
pub fn letters_move(setup: &mut Setup) {
    letters_in_doubt(setup);
    setup.plan.shards = 2;
    setup.mix.partitions = 3;
    setup.mix.instances = 1;
    setup.plan.group = None;
}

/// Retention deletes what was read, under two instances.
pub fn retention_follows(setup: &mut Setup) {
    setup.mix.instances = 2;
    setup.mix.partitions = 1;
    setup.mix.retain = 12;
    setup.mix.crash = 8;
    setup.mix.end = None;
    setup.mix.jump = 0;
    setup.faults.slow = 60;
    setup.plan.letters = None;
    setup.plan.group = None;
}

/// Partitions go from member to member.
pub fn a_group(setup: &mut Setup) {
    setup.mix.partitions = 3;
    setup.mix.instances = 2;
    setup.mix.end = None;
    setup.mix.jump = 0;
    setup.mix.stop = 4;
    setup.mix.steps = 160;
    setup.plan.shards = 1;
    setup.plan.max_latency = Duration::from_millis(60);
    setup.plan.group = Some(group::Terms {
        eager: setup.plan.latest,
        session: Duration::from_millis(400),
        max_poll: Duration::from_millis(600),
        wrongly_out_one_in: 40,
    });
}

/// The same with dead letters in doubt.
pub fn a_group_with_letters(setup: &mut Setup) {
    a_group(setup);
    letters_in_doubt(setup);
    setup.mix.crash = 4;
}
