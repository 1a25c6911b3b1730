//! What a person does to the table beside whoever writes it: offsets overridden, losses accepted, the
//! table id changed, dead letters replayed.
//!
//! It is the code of `thalweg offsets set` and `thalweg dlq replay` on a runtime of its own, moved on
//! slice by slice. Dropping it is `kill -9`.

use std::sync::Arc;

use thalweg::admin::offsets::{self, Asked, Target};
use thalweg::admin::replay;
use thalweg::clock::SharedClock;
use thalweg::config::{Compression, Decoding, OnNewField, Table};
use thalweg::error::{Error, ErrorKind, Result};
use thalweg::ids::{Offset, Partition};
use thalweg::protocol::offsets::Consent;
use thalweg::source::catalog::Topic;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, LocalSet};

use crate::broker::SharedBroker;
use crate::chance::Chance;
use crate::instance::{place, rest, slice};
use crate::oracle::{DEAD_LETTER_ROOTS, ROOT, TOPIC};
use crate::store::SimStore;
use crate::time::SimClock;

#[derive(Clone, Debug)]
pub enum Deed {
    Set(Asked),
    /// The config decodes what is doubtful, or does not; dead letters of one place.
    Replay {
        strict: bool,
        root: &'static str,
    },
}

pub struct ManualClock {
    pub name: String,
    /// As the person's config names the table.
    pub table_id: &'static str,
    clock: Arc<SimClock>,
    chance: Chance,
    task: JoinHandle<Result<String>>,
    tasks: LocalSet,
    // Last: what the tasks hold of it goes first.
    runtime: Runtime,
}

impl Deed {
    pub fn adopts(&self) -> bool {
        matches!(self, Deed::Set(asked) if asked.adopt)
    }

    /// Of one that was created again: mostly from its beginning.
    pub fn adoption_of_the_new_topic(chance: &mut Chance) -> Deed {
        let to = chance.one_in(4).then_some(Target::Latest);
        Deed::Set(Asked { to, adopt: true, ..Asked::default() })
    }

    pub fn drawn(chance: &mut Chance, broker: &SharedBroker) -> Deed {
        let kind = chance.below(8);
        if kind < 4 {
            let root = DEAD_LETTER_ROOTS[if chance.one_in(4) { 1 } else { 0 }];
            return Deed::Replay { strict: chance.one_in(3), root };
        }
        let broker = broker.lock().unwrap();
        let index = chance.index(broker.partitions.len());
        let log = &broker.partitions[index];
        let to = match chance.below(8) {
            0 => Target::Earliest,
            1 => Target::Latest,
            2 | 3 => Target::PastLost,
            // Now and then none of the log's.
            _ => Target::Offset(Offset(log.low - 1 + chance.below((log.end() - log.low + 3) as u64) as i64)),
        };
        if kind == 4 {
            let to = chance.one_in(8).then_some(to);
            return Deed::Set(Asked { to, adopt: true, ..Asked::default() });
        }
        let all = chance.one_in(6);
        let partitions = if all { Vec::new() } else { vec![Partition(index as i32)] };
        Deed::Set(Asked { to: Some(to), partitions: partitions.into_iter().collect(), adopt: false })
    }
}

impl ManualClock {
    pub fn start(
        name: String,
        deed: Deed,
        chance: Chance,
        objects: &SimStore,
        clock: &Arc<SimClock>,
        broker: &SharedBroker,
        table_id: &'static str,
    ) -> ManualClock {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let objects = objects.named(&name);
        let shared: SharedClock = clock.clone();
        let tasks = LocalSet::new();
        let task = match deed {
            Deed::Set(asked) => {
                let table = table(&objects, table_id, true, DEAD_LETTER_ROOTS[0]);
                // The topic as the person sees it: another one that comes meanwhile is not meant.
                let topic = broker.lock().unwrap().topic();
                tasks.spawn_local(set(objects, table, topic, asked, shared, Arc::clone(broker)))
            }
            Deed::Replay { strict, root } => {
                let table = table(&objects, table_id, strict, root);
                tasks.spawn_local(replayed(objects, table, root, shared))
            }
        };
        ManualClock { name, table_id, clock: Arc::clone(clock), chance, task, tasks, runtime }
    }

    /// Moves on a little; what it came to, if it has ended.
    pub fn step(&mut self) -> Option<Result<String>> {
        let slice = slice(&mut self.chance);
        self.runtime.block_on(self.tasks.run_until(rest(slice)));
        self.clock.advance(slice.1);
        if !self.task.is_finished() {
            return None;
        }
        let ended = self.runtime.block_on(&mut self.task);
        Some(ended.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, panic.to_string()))))
    }
}

fn table(objects: &SimStore, id: &str, strict: bool, dead_letters: &str) -> Table {
    Table {
        id: id.to_owned(),
        topic: TOPIC.to_owned(),
        location: place(objects, ROOT).url,
        decoding: Decoding {
            on_new_field: if strict { OnNewField::Fail } else { OnNewField::Ignore },
            ..Decoding::default()
        },
        dead_letters: Some(place(objects, dead_letters).url),
        compression: Compression::None,
        // A commit for every few dead letters.
        target_file_size: 1_000,
        ..Table::default()
    }
}

async fn set(
    objects: SimStore,
    table: Table,
    topic: Option<Topic>,
    asked: Asked,
    clock: SharedClock,
    broker: SharedBroker,
) -> Result<String> {
    let gone = || Error::new(ErrorKind::Unavailable, "there is no topic");
    let topic = topic.ok_or_else(gone)?;
    let watermarks = || {
        let broker = broker.lock().unwrap();
        match broker.topic().is_some_and(|now| now.id == topic.id) {
            true => Ok(broker.watermarks(false)),
            false => Err(gone()),
        }
    };
    let store = place(&objects, ROOT);
    let all = Consent { loss: true, duplicates: true };
    let moved = offsets::set_in(&store, &table, &topic, watermarks, &asked, all, &clock).await?;
    Ok(format!("{:?} in version {:?}", moved.decision.txns, moved.version))
}

async fn replayed(objects: SimStore, table: Table, root: &str, clock: SharedClock) -> Result<String> {
    let (store, dead_letters) = (place(&objects, ROOT), place(&objects, root));
    let outcome = replay::replay_in(store, dead_letters, &table, replay::Asked::default(), &clock).await?;
    Ok(format!("{outcome:?}"))
}
