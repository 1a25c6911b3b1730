//! What a world is made of: how often what happens in it, and what is planted.

use std::time::Duration;

use crate::broker::SourceBug;
use crate::chance::Chance;
use crate::foreign::{Deed, EVERYDAY};
use crate::group;
use crate::instance::Plan;
use crate::oracle::{DEAD_LETTER_ROOTS, TABLE_IDS};
use crate::store::{Faults, Single, StoreBug};

/// What a test plants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bugs {
    pub store: StoreBug,
    pub source: SourceBug,
}

/// What can happen, and how often: drawn from the seed, so that seeds differ in kind.
#[derive(Clone, Debug)]
pub struct Mix {
    pub steps: u64,
    pub partitions: usize,
    pub instances: usize,
    pub crash: u64,
    pub drain: u64,
    /// An instance stands still for a while, and another one may start.
    pub stop: u64,
    /// An instance is killed, or stands still, when dead letters have just been committed.
    pub crash_after_dead_letters: u64,
    pub stop_after_dead_letters: u64,
    /// An instance stands still when it has just listed a log of dead letters, as who takes them over does.
    pub stop_over_dead_letters: u64,
    /// Another writer does something, one of these.
    pub foreign: u64,
    pub deeds: Vec<Deed>,
    /// A person sets offsets, changes the table id, or replays dead letters.
    pub hand: u64,
    /// All that a person does is to replay dead letters, by a config that makes more of them rows.
    pub only_replays: bool,
    /// A minute passes at once, or weeks.
    pub offset_override: u64,
    pub grow: u64,
    /// Retention deletes records, read or not.
    pub retain: u64,
    /// Foreign commits at once, so that a checkpoint falls due.
    pub burst: bool,
    /// What another writer cleans up goes at once, before any request to the store: before so many in a
    /// hundred. 0: one file in a step.
    pub cleans_between: u64,
    /// Configs differ from one instance to the next in where bad records go.
    pub policies_change: bool,
    /// Much of what is produced is a row for one config and none for another.
    pub is_doubtful: bool,
    /// When faults stop, who runs goes on; otherwise a new instance does.
    pub live_on: bool,
    /// The broker tells no topic ids, and begins to at some time.
    pub without_ids: bool,
    /// What happens once, after so many steps, and ends the run: nothing of ours may follow.
    pub end: Option<(u64, Ending)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    CreatedAgain,
    Another(Deed),
}

/// Everything that is fixed before a world begins.
#[derive(Clone)]
pub struct Setup {
    pub faults: Faults,
    pub mix: Mix,
    pub plan: Plan,
    /// The one fault of a world that has no other.
    pub single: Option<Single>,
    pub bugs: Bugs,
}

impl Setup {
    /// A mix of faults from a seed.
    pub fn drawn(chance: &mut Chance, bugs: Bugs) -> Setup {
        let mut percent = |most: u64| if chance.one_in(3) { 0 } else { chance.below(most + 1) };
        let faults = Faults {
            refused: percent(15),
            reply_lost: percent(15),
            conflict: percent(10),
            own_retry: percent(15),
            late: percent(20),
            slow: percent(60),
        };
        let mut rare = |most: u64| if chance.one_in(3) { 0 } else { chance.below(most + 1) };
        let mut mix = Mix {
            crash: rare(6),
            drain: rare(3),
            stop: rare(2),
            crash_after_dead_letters: 0,
            stop_after_dead_letters: 0,
            stop_over_dead_letters: 0,
            cleans_between: 0,
            foreign: rare(10),
            offset_override: rare(6),
            grow: rare(2),
            retain: if rare(4) == 1 { 2 } else { 0 },
            burst: rare(20) == 1,
            policies_change: rare(1) == 1,
            without_ids: rare(6) == 1,
            steps: 40 + chance.below(120),
            partitions: 1 + chance.index(3),
            instances: if chance.one_in(3) { 2 } else { 1 },
            deeds: EVERYDAY.to_vec(),
            hand: 0,
            only_replays: false,
            is_doubtful: chance.one_in(6),
            live_on: chance.one_in(2),
            end: None,
        };
        if chance.one_in(8) {
            let endings =
                [Ending::CreatedAgain, Ending::Another(Deed::Restore), Ending::Another(Deed::Unknown)];
            mix.end = Some((chance.below(mix.steps), endings[chance.index(endings.len())]));
        }
        let plan = Plan {
            table_id: TABLE_IDS[0],
            shards: 1 + chance.index(2),
            max_latency: Duration::from_millis(if chance.one_in(2) { 0 } else { chance.below(100) }),
            memory: if chance.one_in(3) { 1 } else { 1 << 20 },
            until_end: false,
            latest: chance.one_in(4),
            rivals_show: chance.one_in(4),
            lost_one_in: if chance.one_in(4) { 40 } else { 0 },
            checkpoint_every: if chance.one_in(2) { 100 } else { 2 + chance.below(12) },
            silent: if chance.one_in(2) { 0 } else { chance.below(30) },
            most_at_once: None,
            bug: bugs.source,
            later_schemas: false,
            strict: chance.one_in(2),
            dead_letters: if chance.one_in(4) { None } else { Some(DEAD_LETTER_ROOTS[0]) },
            group: chance.one_in(3).then(|| group::GroupSettings {
                eager: chance.one_in(2),
                session: Duration::from_millis(200 + chance.below(2_000)),
                max_poll: Duration::from_millis(200 + chance.below(3_000)),
                wrongly_out_one_in: if chance.one_in(2) { 0 } else { 40 + chance.below(100) },
                deaf: 0,
            }),
        };
        if plan.group.is_some() {
            mix.instances = 1 + chance.index(3);
        }
        // Drawn apart: the other parts of a seed are what they were.
        let mut apart = chance.clone().fork();
        if apart.one_in(3) {
            mix.hand = 1 + apart.below(8);
        }
        let later_schemas = apart.one_in(4);
        Setup { faults, mix, plan: Plan { later_schemas, ..plan }, single: None, bugs }
    }

    /// A short run in which nothing goes wrong.
    pub fn calm() -> Setup {
        Setup {
            faults: Faults::default(),
            mix: Mix {
                steps: 40,
                partitions: 2,
                instances: 1,
                crash: 0,
                drain: 0,
                stop: 0,
                crash_after_dead_letters: 0,
                stop_after_dead_letters: 0,
                stop_over_dead_letters: 0,
                cleans_between: 0,
                foreign: 0,
                deeds: Vec::new(),
                hand: 0,
                only_replays: false,
                offset_override: 0,
                grow: 0,
                retain: 0,
                burst: false,
                policies_change: false,
                without_ids: false,
                is_doubtful: false,
                live_on: true,
                end: None,
            },
            plan: Plan {
                table_id: TABLE_IDS[0],
                shards: 1,
                max_latency: Duration::ZERO,
                memory: 1 << 20,
                until_end: false,
                latest: false,
                rivals_show: false,
                lost_one_in: 0,
                checkpoint_every: 100,
                silent: 0,
                group: None,
                most_at_once: None,
                bug: SourceBug::None,
                later_schemas: false,
                strict: true,
                dead_letters: Some(DEAD_LETTER_ROOTS[0]),
            },
            single: None,
            bugs: Bugs::default(),
        }
    }
}
