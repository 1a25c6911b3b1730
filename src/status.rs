//! What this process does, part by part: one board that every loop writes.
//!
//! It owns the states of tables, partitions and services, and when a part
//! last showed that it runs. `/readyz`, `/livez` and the gauges of `/metrics`
//! are views of it, and so are the lines that are logged while a part waits;
//! it serves nothing itself (`admin`). Nothing here is for
//! the hot path: a part reports a change, or once for each turn of its loop.
//!
//! | state | what it means | who says so |
//! |---|---|---|
//! | `starting` | asked about and opened, not yet read | the ingester |
//! | `reading` | goes on, or answers | its loop |
//! | `paused` | not read until more of it is committed; goes on by itself | the shard |
//! | `waiting` | for what may come back: a store, a broker, a topic; goes on by itself | its loop |
//! | `stopped` | a person must mend something, and start again | the ingester |
//!
//! Invariant: a table that has stopped stays stopped on the board, whatever
//! its loops still say while they end.

mod lag;
mod outage;
mod part;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::lag::Offsets;
pub use self::lag::lag;
use self::outage::{Line, Outages};
pub use self::part::{Part, STATES, State, Why};
use crate::clock::SharedClock;
use crate::error::Error;
use crate::ids::{Offset, TopicPartition};
use crate::metrics;

/// A part that waits for a store or a broker is alive: a request may take a minute.
pub const ALIVE_FOR: Duration = Duration::from_secs(180);

/// Why the process is not ready, or not alive, as one part tells it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Reason {
    pub component: String,
    pub state: &'static str,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Since when, in UTC.
    pub since: String,
    pub seconds: u64,
}

pub struct Board {
    clock: SharedClock,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    parts: BTreeMap<Part, Entry>,
    offsets: BTreeMap<Part, Offsets>,
    beats: BTreeMap<Part, Beat>,
    outages: Outages,
}

/// A state, and since when the part has been ready, or has not.
struct Entry {
    state: State,
    since_ms: i64,
    since: Duration,
}

/// A promise to beat again before `due`, in boot time.
struct Beat {
    last: Duration,
    due: Duration,
}

impl Board {
    pub fn new(clock: SharedClock) -> Board {
        Board { clock, entries: Mutex::new(Entries::default()) }
    }

    /// A part is in this state now. Register every part that must become ready before the first of them is.
    pub fn set(&self, part: Part, state: State) {
        let why = state.why().cloned();
        tell(&self.note(part, state), why.as_ref());
    }

    /// The same, and what is to be logged of it.
    fn note(&self, part: Part, state: State) -> Vec<(Part, Line)> {
        let (since_ms, since) = (self.clock.wall_ms(), self.clock.boot());
        let mut entries = self.lock();
        let is_over = entries.has_stopped(&part);
        if is_over && !matches!(state, State::Starting | State::Stopped(_)) {
            return Vec::new();
        }
        let blamed = entries.blamed(&part, &state);
        let failed = blamed.and_then(|blamed| {
            let judged = blamed == part;
            entries.outages.failed(blamed, judged, since)
        });
        let of_table = part.of_table().map(str::to_owned);
        match entries.parts.get_mut(&part) {
            // It waits for longer than this reason is known.
            Some(entry) if entry.state.is_ready() == state.is_ready() => entry.state = state,
            _ => {
                entries.parts.insert(part, Entry { state, since_ms, since });
            }
        }
        entries.count(of_table.as_deref());
        failed.into_iter().chain(entries.over(since)).collect()
    }

    /// A table goes no further, and none of its partitions.
    pub fn stop_table(&self, id: &str, why: &Why) {
        {
            let mut entries = self.lock();
            let is_loop = |part: &Part| matches!(part, Part::Commits(of) | Part::Uploads(of) if of == id);
            entries.parts.retain(|part, _| !is_loop(part));
            entries.beats.retain(|part, _| !is_loop(part));
            for (part, entry) in &mut entries.parts {
                if matches!(part, Part::Partition(of, _) if of == id) {
                    entry.state = State::Stopped(why.clone());
                }
            }
        }
        self.set(Part::table(id), State::Stopped(why.clone()));
    }

    /// A part has ended in order: it neither counts nor beats any more.
    pub fn forget(&self, part: &Part) {
        let now = self.clock.boot();
        let mut entries = self.lock();
        entries.parts.remove(part);
        entries.beats.remove(part);
        if entries.offsets.remove(part).is_some()
            && let Part::Partition(table, source) = part
        {
            metrics::lag(table, source, 0);
        }
        entries.count(part.of_table());
        let lines = entries.over(now);
        drop(entries);
        tell(&lines, None);
    }

    /// A table is begun anew: what was said of its partitions no longer counts.
    pub fn forget_partitions(&self, id: &str) {
        let mut entries = self.lock();
        let is_of = |part: &Part| matches!(part, Part::Partition(of, _) if of == id);
        entries.parts.retain(|part, _| !is_of(part));
        entries.count(Some(id));
    }

    /// A part runs, and will say so again within `promise`.
    pub fn heartbeat(&self, part: &Part, promise: Duration) {
        let last = self.clock.boot();
        let beat = Beat { last, due: last.saturating_add(promise) };
        self.lock().beats.insert(part.clone(), beat);
    }

    /// A part waits for something outside: it lives, and it is not ready.
    pub fn waits(&self, part: &Part, error: &Error) {
        self.heartbeat(part, ALIVE_FOR);
        self.set(part.clone(), State::Waiting(error.into()));
    }

    /// The table holds everything of the partition before this offset.
    pub fn committed(&self, table: &str, source: &TopicPartition, next: Offset) {
        metrics::committed_offset(table, source, next);
        self.note_offsets(table, source, |offsets| offsets.committed = Some(next));
    }

    /// The topic's partition ends here now.
    pub fn ends(&self, table: &str, source: &TopicPartition, end: Offset) {
        metrics::end_offset(table, source, end);
        self.note_offsets(table, source, |offsets| offsets.end = Some(end));
    }

    fn note_offsets(&self, table: &str, source: &TopicPartition, note: impl FnOnce(&mut Offsets)) {
        let mut entries = self.lock();
        let offsets = entries.offsets.entry(Part::partition(table, source)).or_default();
        note(offsets);
        if let Some(lag) = offsets.lag() {
            metrics::lag(table, source, lag);
        }
    }

    /// What keeps us from being ready; empty if nothing does. Before any part has reported, that is the
    /// reason. Of a table that is not read its partitions are not named.
    pub fn not_ready(&self) -> Vec<Reason> {
        let now = self.clock.boot();
        let entries = self.lock();
        if entries.parts.is_empty() {
            return vec![self.reason(
                "thalweg".to_owned(),
                "starting",
                "starting".to_owned(),
                Duration::ZERO,
            )];
        }
        let told = |(part, entry): (&Part, &Entry)| {
            let hidden = matches!(part, Part::Partition(table, _) if !entries.is_read(table));
            if entry.state.is_ready() || hidden {
                return None;
            }
            let why = entry.state.why();
            Some(Reason {
                component: part.to_string(),
                state: entry.state.name(),
                reason: why.map_or("starting".to_owned(), |why| why.cause.clone()),
                remedy: why.and_then(|why| why.remedy.clone()),
                since: utc(entry.since_ms),
                seconds: now.saturating_sub(entry.since).as_secs(),
            })
        };
        entries.parts.iter().filter_map(told).collect()
    }

    /// The parts that broke their promise to beat; empty if none did.
    pub fn stalled(&self) -> Vec<Reason> {
        let now = self.clock.boot();
        let entries = self.lock();
        let late = entries.beats.iter().filter(|(_, beat)| now > beat.due).map(|(part, beat)| {
            let silent = now.saturating_sub(beat.last);
            let said = format!("no heartbeat for {} s", silent.as_secs());
            self.reason(part.to_string(), "stalled", said, silent)
        });
        late.collect()
    }

    /// A reason that has held for so long.
    fn reason(&self, component: String, state: &'static str, reason: String, held: Duration) -> Reason {
        let held_ms = i64::try_from(held.as_millis()).unwrap_or(i64::MAX);
        let since = utc(self.clock.wall_ms().saturating_sub(held_ms));
        Reason { component, state, reason, remedy: None, since, seconds: held.as_secs() }
    }

    /// A panic while the lock was held leaves whole entries: they are only ever replaced.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(lines: &[(Part, Line)], why: Option<&Why>) {
    lines.iter().for_each(|(part, line)| line.log(part, why));
}

impl Entries {
    /// What does not answer, if the part waits in this state and others do not tell of it: a service that the
    /// cause names, or else the part itself.
    fn blamed(&self, part: &Part, state: &State) -> Option<Part> {
        let State::Waiting(why) = state else { return None };
        if part.is_service() || !part.is_logged() {
            return part.is_logged().then(|| part.clone());
        }
        let is_named = |of: &&Part| match of {
            Part::Store(address) => why.cause.contains(address.as_str()),
            // A broker may have trouble with one partition, and answer for all others.
            Part::Kafka => why.cause.contains("broker") && !matches!(part, Part::Partition(..)),
            _ => false,
        };
        // Of two addresses the longer one says more.
        let named = self.parts.keys().filter(is_named).max_by_key(|of| of.to_string().len());
        Some(named.unwrap_or(part).clone())
    }

    /// The lines of outages for which nobody waits any more.
    fn over(&mut self, now: Duration) -> Vec<(Part, Line)> {
        if self.outages.is_empty() {
            return Vec::new();
        }
        let blamed: Vec<Part> =
            self.parts.iter().filter_map(|(part, entry)| self.blamed(part, &entry.state)).collect();
        self.outages.over(&blamed, now)
    }

    /// The table of this part has stopped.
    fn has_stopped(&self, part: &Part) -> bool {
        let table = part.of_table().map(Part::table);
        let entry = table.and_then(|table| self.parts.get(&table));
        entry.is_some_and(|entry| matches!(entry.state, State::Stopped(_)))
    }

    fn is_read(&self, table: &str) -> bool {
        self.parts.get(&Part::table(table)).is_none_or(|entry| entry.state.is_ready())
    }

    /// Tells the gauges how many tables, and partitions of this table, are in each state.
    fn count(&self, table: Option<&str>) {
        let Some(table) = table else { return };
        for state in STATES {
            let of = |is_counted: &dyn Fn(&Part) -> bool| {
                let mut all = self.parts.iter().filter(|(part, _)| is_counted(part));
                all.by_ref().filter(|(_, entry)| entry.state.name() == state).count()
            };
            metrics::tables_in(state, of(&|part| matches!(part, Part::Table(_))));
            let is_counted = |part: &Part| matches!(part, Part::Partition(of, _) if of == table);
            metrics::partitions_in(table, state, of(&is_counted));
        }
    }
}

fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::clock::testing::ManualClock;
    use crate::ids::{Partition, TopicId};

    fn reasons(list: &[Reason]) -> Vec<(&str, &str, &str)> {
        list.iter().map(|of| (of.component.as_str(), of.state, of.reason.as_str())).collect()
    }

    fn waiting(cause: &str) -> State {
        State::Waiting(cause.into())
    }

    fn source(partition: i32) -> TopicPartition {
        let topic_id = TopicId::unknown();
        TopicPartition { topic: "orders".to_owned(), topic_id, partition: Partition(partition) }
    }

    #[test]
    fn nothing_is_ready_before_the_first_part_has_reported() {
        let board = Board::new(Arc::new(ManualClock::default()));
        assert_eq!(reasons(&board.not_ready()), [("thalweg", "starting", "starting")]);
        board.set(Part::Kafka, waiting("no broker"));
        board.set(Part::table("orders"), State::Reading);
        assert_eq!(reasons(&board.not_ready()), [("kafka", "waiting", "no broker")]);
        board.set(Part::Kafka, State::Reading);
        assert!(board.not_ready().is_empty());
    }

    #[test]
    fn a_part_that_does_not_beat_is_stalled_until_it_beats_again() {
        let clock = Arc::new(ManualClock::default());
        let board = Board::new(clock.clone());
        let commits = Part::Commits("orders".to_owned());
        board.heartbeat(&commits, Duration::from_secs(30));
        clock.0.store(30, Ordering::Relaxed);
        assert!(board.stalled().is_empty());
        clock.0.store(31, Ordering::Relaxed);
        let expected = [("commits of table orders", "stalled", "no heartbeat for 31 s")];
        assert_eq!(reasons(&board.stalled()), expected);
        board.heartbeat(&commits, Duration::from_secs(30));
        assert!(board.stalled().is_empty());
    }

    #[test]
    fn a_part_waits_since_it_was_last_ready_whatever_it_says_meanwhile() {
        let clock = Arc::new(ManualClock::default());
        let board = Board::new(clock.clone());
        let store = || Part::Store("s3://lake".to_owned());
        for (second, state) in
            [(10, State::Reading), (20, waiting("503")), (30, waiting("no route")), (30, waiting("503"))]
        {
            clock.0.store(second, Ordering::Relaxed);
            board.set(store(), state);
        }
        clock.0.store(50, Ordering::Relaxed);
        let [told] = &board.not_ready()[..] else { panic!("one part waits") };
        assert_eq!((told.reason.as_str(), told.seconds), ("503", 30));
        assert_eq!(told.since, "2023-11-14T22:13:40Z");
        board.set(store(), State::Reading);
        board.set(store(), waiting("503"));
        assert_eq!(board.not_ready()[0].seconds, 0);
    }

    #[test]
    fn a_part_that_ended_is_not_missed() {
        let clock = Arc::new(ManualClock::default());
        let board = Board::new(clock.clone());
        let commits = Part::Commits("orders".to_owned());
        board.set(Part::table("orders"), State::Reading);
        board.set(commits.clone(), waiting("assigning"));
        board.heartbeat(&commits, Duration::from_secs(1));
        board.forget(&commits);
        clock.0.store(9, Ordering::Relaxed);
        assert!(board.stalled().is_empty() && board.not_ready().is_empty());
    }

    #[test]
    fn a_stopped_table_is_named_with_its_remedy_whatever_its_loops_still_say() {
        let clock = Arc::new(ManualClock::default());
        let board = Board::new(clock.clone());
        let commits = Part::Commits("orders".to_owned());
        board.set(Part::table("orders"), State::Reading);
        board.set(Part::table("clicks"), State::Reading);
        board.set(Part::partition("orders", &source(0)), State::Reading);
        board.heartbeat(&commits, Duration::from_secs(1));
        let why = Why { cause: "created again".to_owned(), remedy: Some("another id".to_owned()) };
        board.stop_table("orders", &why);
        board.set(commits.clone(), State::Reading);
        board.set(commits, waiting("503"));
        board.set(Part::table("orders"), State::Reading);
        board.set(Part::partition("orders", &source(0)), State::Reading);
        clock.0.store(9, Ordering::Relaxed);
        let told = board.not_ready();
        assert_eq!(reasons(&told), [("table orders", "stopped", "created again")]);
        assert_eq!(told[0].remedy.as_deref(), Some("another id"));
        assert!(board.stalled().is_empty());
        board.set(Part::table("orders"), State::Starting);
        assert_eq!(board.not_ready()[0].state, "starting");
    }

    #[test]
    fn a_partition_that_stopped_is_named_and_one_that_is_paused_is_not_missed() {
        let board = Board::new(Arc::new(ManualClock::default()));
        board.set(Part::table("orders"), State::Reading);
        board.set(Part::partition("orders", &source(0)), State::Paused("64 files wait".into()));
        board.set(Part::partition("orders", &source(1)), State::Stopped("offsets 1..5 are gone".into()));
        let told = board.not_ready();
        assert_eq!(reasons(&told), [("table orders orders [1]", "stopped", "offsets 1..5 are gone")]);
    }

    #[test]
    fn an_outage_of_a_store_is_one_however_many_tables_wait_for_it() {
        let clock = Arc::new(ManualClock::default());
        let board = Board::new(clock.clone());
        let store = Part::Store("s3://lake".to_owned());
        let commits = |table: &str| Part::Commits(table.to_owned());
        board.set(store.clone(), State::Reading);
        board.set(Part::Store("s3://lakeside".to_owned()), State::Reading);
        let mut told = Vec::new();
        for second in 0..75 {
            clock.0.store(second, Ordering::Relaxed);
            for table in ["a", "b", "c"] {
                told.extend(board.note(commits(table), waiting(&format!("s3://lake/{table}: 503"))));
                let why = waiting(&format!("s3://lake/{table}: 503"));
                told.extend(board.note(Part::Uploads(table.to_owned()), why));
            }
            if second > 20 {
                told.extend(board.note(store.clone(), waiting("503")));
            }
        }
        let lines = [Line::Waits { failures: 61 }, Line::StillWaits { seconds: 70, failures: 470 }];
        assert_eq!(told, lines.map(|line| (store.clone(), line)));
        told = board.note(store.clone(), State::Reading);
        for table in ["a", "b", "c"] {
            told.extend(board.note(commits(table), State::Reading));
            board.forget(&Part::Uploads(table.to_owned()));
        }
        told.extend(board.note(commits("c"), State::Reading));
        assert_eq!(told, [], "the last one to go on was told by `forget`");
        assert!(board.lock().outages.is_empty());
    }

    #[test]
    fn who_waits_for_what_no_service_is_named_for_is_told_itself() {
        let clock = Arc::new(ManualClock::default());
        let board = Board::new(clock.clone());
        board.set(Part::Store("s3://lake".to_owned()), State::Reading);
        let commits = Part::Commits("a".to_owned());
        assert_eq!(board.note(commits.clone(), waiting("another instance is in the way")), []);
        clock.0.store(12, Ordering::Relaxed);
        let line = board.note(commits.clone(), waiting("another instance is in the way"));
        assert_eq!(line, [(commits.clone(), Line::Waits { failures: 2 })]);
        clock.0.store(15, Ordering::Relaxed);
        let line = board.note(commits.clone(), State::Reading);
        assert_eq!(line, [(commits, Line::GoesOn { seconds: 15, failures: 2 })]);
    }
}
