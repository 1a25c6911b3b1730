//! Whether the topics are still the ones that are read.
//!
//! It owns the identity checker that asks the broker: now and then, and whenever a
//! committer wants to know. In a run a thread sits at it; the simulation
//! works it by hand. It does not decide what a change means for a run.
//!
//! Why a committer asks: a client that reads a topic which is deleted and
//! created again goes on reading at the old offset, silently, once the new
//! log is longer. Topic ids never come back. So an id that is the known one
//! *after* records were fetched says that they are of the known topic, and
//! nothing that was fetched is committed without it. The price is a short
//! question for each commit, none for each record. It is asked while the files
//! are on their way to the store, so that hardly a commit waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use tokio::sync::oneshot;
use tracing::warn;

use super::catalog::{Catalog, Topic};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, Partition, TopicId, TopicPartition};
use crate::metrics;
use crate::protocol::planted::{Bug, planted};
use crate::status::{Board, Part, State};

/// How often topics are looked at unasked.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Questions that wait while files are on their way.
const ASKS_IN_ADVANCE: usize = 128;
/// As metrics name it.
const SERVICE: &str = "kafka";

/// What became of the topic of a table.
#[derive(Debug)]
pub enum Change {
    /// There are partitions that nobody reads yet.
    Grew,
    CreatedAgain(Error),
}

/// The answer to a committer.
#[derive(Debug)]
#[must_use]
pub enum Confirmed {
    /// What was fetched before the question is of the known topic.
    Same,
    CreatedAgain(Error),
    /// There is no such topic now. Unless this is a broker that hears late of a topic that was created
    /// again, what was fetched is of the known one: ask again to be sure.
    Gone,
    /// Nobody knows now: ask again.
    Unanswered(Error),
}

/// Vouches for one table's topic.
#[derive(Clone)]
pub struct IdentityCheck {
    /// `None` where the broker tells no ids: then there is nothing to compare.
    asks: Option<Sender<Ask>>,
    table: usize,
}

/// What the identity checker is asked, in the order in which it is asked.
enum Ask {
    /// A table is read from now on: this is its topic.
    Watch {
        table: usize,
        known: Known,
        table_id: String,
    },
    /// Look at a table's topic without waiting for the next look.
    Look {
        table: usize,
    },
    Confirm {
        table: usize,
        answer: oneshot::Sender<Confirmed>,
    },
}

impl IdentityCheck {
    /// For sources whose topics have no id.
    pub fn of_nothing() -> IdentityCheck {
        IdentityCheck { asks: None, table: 0 }
    }

    /// Whether the broker says at once that the topic is the known one. Asked after a fetch, a yes
    /// holds for all that was fetched; anything else is for the committer to ask again.
    pub async fn confirms(&self) -> bool {
        // Committers are never crowded out.
        let busy = |asks: &Sender<Ask>| asks.capacity().is_some_and(|most| 2 * asks.len() >= most);
        !self.asks.as_ref().is_some_and(busy) && matches!(self.ask().await, Confirmed::Same)
    }

    /// Asks the broker; the answer is younger than the question.
    pub async fn ask(&self) -> Confirmed {
        let Some(asks) = &self.asks else { return Confirmed::Same };
        let (answer, answered) = oneshot::channel();
        let gone = || {
            Confirmed::Unanswered(Error::new(
                ErrorKind::Unavailable,
                "topics are no longer checked: thalweg is stopping",
            ))
        };
        // Half of the queue is for committers: it has room for a question of each.
        if asks.try_send(Ask::Confirm { table: self.table, answer }).is_err() {
            return gone();
        }
        answered.await.unwrap_or_else(|_| gone())
    }
}

/// Who knows topics: a broker's catalog.
pub trait Topics {
    /// Whether the topic is the known one for sure, asked in the shortest way.
    fn confirms(&self, known: &Topic) -> bool;

    /// The topic as it is now, if there is one.
    fn find(&self, name: &str) -> Result<Option<Topic>>;

    /// Where each partition ends now, as far as it is told.
    fn ends(&self, topic: &Topic) -> Result<BTreeMap<Partition, Offset>>;
}

impl Topics for Arc<Catalog> {
    fn confirms(&self, known: &Topic) -> bool {
        Catalog::confirms(self, known)
    }

    fn find(&self, name: &str) -> Result<Option<Topic>> {
        Catalog::find(self, name)
    }

    fn ends(&self, topic: &Topic) -> Result<BTreeMap<Partition, Offset>> {
        Catalog::ends(self, topic)
    }
}

/// A topic as it was when its table was opened.
#[derive(Clone)]
pub struct Known {
    /// Under the id that the table knows it by.
    topic: Topic,
    /// A broker that told no id then is not waited for to tell one.
    tells_id: bool,
}

impl Known {
    /// `told`: as the broker told it. Where it told no id, the table's is the one to compare.
    pub fn new(told: &Topic, in_table: &TopicId) -> Known {
        let tells_id = !told.id.is_unknown();
        let id = if tells_id || planted(Bug::ForgetsTheTablesTopicId) { &told.id } else { in_table };
        Known { topic: Topic { id: id.clone(), ..told.clone() }, tells_id }
    }
}

/// What is seen of the topics. The identity checker closes when this and every identity check are gone.
pub struct Watch {
    pub changes: Receiver<(usize, Change)>,
    asks: Sender<Ask>,
}

/// Where questions are answered.
pub struct IdentityChecker<T> {
    topics: T,
    /// By table.
    watched: BTreeMap<usize, Watched>,
    /// Growth is of interest.
    growth: bool,
    asked: Receiver<Ask>,
    seen: Sender<(usize, Change)>,
    trouble: Trouble,
    board: Arc<Board>,
}

/// A table's topic, and what was said of it.
struct Watched {
    known: Known,
    table_id: String,
    /// Its change was told.
    is_changed: bool,
    /// It was not there when it was asked for last.
    is_gone: bool,
}

impl Watch {
    /// Watches the topics of at most so many tables, on a thread of its own. Where `growth` does not matter,
    /// nobody looks unasked.
    pub fn start(catalog: Arc<Catalog>, tables: usize, growth: bool, board: Arc<Board>) -> Result<Watch> {
        let (watch, mut identity_checker) = Watch::with_identity_checker(catalog, tables, growth, board);
        let looks = if growth { tick(LOOK_EVERY) } else { never() };
        std::thread::Builder::new()
            .name("topics".to_owned())
            .spawn(move || identity_checker.sit(&looks))
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("the topics' thread cannot start: {error}"))
            })?;
        Ok(watch)
    }

    /// The same without the thread: nothing is answered until somebody works the identity checker.
    pub fn with_identity_checker<T: Topics>(
        topics: T,
        tables: usize,
        growth: bool,
        board: Arc<Board>,
    ) -> (Watch, IdentityChecker<T>) {
        metrics::service_begins(SERVICE);
        let (asks, asked) = bounded(3 * tables + ASKS_IN_ADVANCE);
        let (seen, changes) = bounded(4 * tables.max(1));
        let watch = Watch { changes, asks };
        let watched = BTreeMap::new();
        (watch, IdentityChecker { topics, watched, growth, asked, seen, trouble: Trouble::default(), board })
    }

    /// A table is read from now on, in place of what was known of it.
    pub fn watch(&self, table: usize, table_id: &str, known: Known) -> IdentityCheck {
        let asks = (!known.topic.id.is_unknown()).then(|| self.asks.clone());
        // The identity checker goes on for as long as this does. It is asked in order: whoever confirms knows the topic.
        let _ = self.asks.send(Ask::Watch { table, known, table_id: table_id.to_owned() });
        IdentityCheck { asks, table }
    }

    /// Looks at a table's topic without waiting for the next look.
    pub fn look_at(&self, table: usize) {
        // A full queue holds questions enough.
        let _ = self.asks.try_send(Ask::Look { table });
    }
}

impl<T: Topics> IdentityChecker<T> {
    /// Answers and looks until nobody can ask any more.
    fn sit(&mut self, looks: &Receiver<std::time::Instant>) {
        loop {
            select! {
                recv(self.asked) -> ask => match ask {
                    Err(_) => return,
                    // What was asked meanwhile is older than the answer, too.
                    Ok(ask) => {
                        let asks = std::iter::once(ask).chain(self.asked.try_iter()).collect();
                        self.answer(asks);
                    }
                },
                recv(looks) -> _ => self.look(),
            }
        }
    }

    /// Answers all that was asked until now.
    pub fn answer_all(&mut self) {
        let asks: Vec<Ask> = self.asked.try_iter().collect();
        if !asks.is_empty() {
            self.answer(asks);
        }
    }

    /// Looks at every topic unasked.
    pub fn look(&mut self) {
        self.answer(self.watched.keys().map(|&table| Ask::Look { table }).collect());
        self.look_at_ends();
    }

    /// Tells where partitions end: those that are not read now, too.
    fn look_at_ends(&self) {
        for Watched { known: Known { topic, .. }, table_id, .. } in self.watched.values() {
            // Who does not answer is told of by the look at the topics.
            for (partition, end) in self.topics.ends(topic).unwrap_or_default() {
                let (name, topic_id) = (topic.name.clone(), topic.id.clone());
                let source = TopicPartition { topic: name, topic_id, partition };
                self.board.ends(table_id, &source, end);
            }
        }
    }

    fn answer(&mut self, asks: Vec<Ask>) {
        let mut answers: BTreeMap<String, Result<Option<Topic>>> = BTreeMap::new();
        let mut confirmed: BTreeMap<String, bool> = BTreeMap::new();
        for ask in asks {
            let (table, answer) = match ask {
                Ask::Watch { table, known, table_id } => {
                    let watched = Watched { known, table_id, is_changed: false, is_gone: false };
                    self.watched.insert(table, watched);
                    continue;
                }
                Ask::Look { table } => (table, None),
                Ask::Confirm { table, answer } => (table, Some(answer)),
            };
            let Some(watched) = self.watched.get_mut(&table) else { continue };
            let was = &watched.known.topic;
            // A committer does not care for growth: the short question will do, unless there is more to say.
            let mut is_confirmed =
                || *confirmed.entry(was.name.clone()).or_insert_with(|| self.topics.confirms(was));
            let (confirmed, change) = if answer.is_some() && is_confirmed() {
                (Confirmed::Same, None)
            } else {
                let now = answers.entry(was.name.clone()).or_insert_with(|| self.topics.find(&was.name));
                compare(&watched.known, now)
            };
            watched.tell_gone(&confirmed, &self.board);
            let is_wanted = |change: &Change| self.growth || !matches!(change, Change::Grew);
            if let Some(change) = change.filter(|_| !std::mem::replace(&mut watched.is_changed, true))
                && is_wanted(&change)
            {
                // There is room for a change of every table.
                let _ = self.seen.try_send((table, change));
            }
            if let Some(answer) = answer {
                // A committer that has ended does not wait.
                let _ = answer.send(confirmed);
            }
        }
        self.trouble.report(answers.values().find_map(|answer| answer.as_ref().err()), &self.board);
    }
}

/// How it stands between us and the broker.
#[derive(Default)]
struct Trouble {
    told: bool,
}

impl Trouble {
    fn report(&mut self, error: Option<&Error>, board: &Board) {
        let Some(error) = error else {
            if std::mem::take(&mut self.told) {
                metrics::reachable(SERVICE, true);
                board.set(Part::Kafka, State::Reading);
            }
            return;
        };
        if !self.told {
            metrics::reachable(SERVICE, false);
            metrics::outage(SERVICE);
        }
        self.told = true;
        // The board logs an outage, and counts what it is told.
        board.set(Part::Kafka, State::Waiting(error.into()));
    }
}

impl Watched {
    /// Says that a topic is not there, once, and keeps saying it on `/readyz`: it may come back.
    fn tell_gone(&mut self, confirmed: &Confirmed, board: &Board) {
        let name = &self.known.topic.name;
        let part = Part::Topic(name.clone());
        match confirmed {
            Confirmed::Gone if !self.is_gone => {
                warn!(topic = name, "the topic does not exist any more");
                board.set(part, State::Waiting("it does not exist any more".into()));
                self.is_gone = true;
            }
            Confirmed::Gone | Confirmed::Unanswered(_) => {}
            // One that was created again is told as such.
            Confirmed::Same | Confirmed::CreatedAgain(_) => {
                if std::mem::take(&mut self.is_gone) {
                    board.set(part, State::Reading);
                }
            }
        }
    }
}

/// What an answer of the broker says of a known topic.
fn compare(known: &Known, now: &Result<Option<Topic>>) -> (Confirmed, Option<Change>) {
    let was = &known.topic;
    let now = match now {
        Ok(Some(now)) => now,
        Ok(None) => return (Confirmed::Gone, None),
        Err(error) => return (Confirmed::Unanswered(error.clone()), None),
    };
    if was.id.is_unknown() || (now.id.is_unknown() && !known.tells_id) {
        return (Confirmed::Same, grown(was, now));
    }
    if now.id.is_unknown() {
        let error = Error::new(
            ErrorKind::Unavailable,
            format!("the broker does not report the id of `{}`", was.name),
        );
        return (Confirmed::Unanswered(error), None);
    }
    if now.id != was.id {
        let error = created_again(was, now);
        return (Confirmed::CreatedAgain(error.clone()), Some(Change::CreatedAgain(error)));
    }
    (Confirmed::Same, grown(was, now))
}

fn grown(was: &Topic, now: &Topic) -> Option<Change> {
    (now.partitions.len() != was.partitions.len()).then_some(Change::Grew)
}

fn created_again(was: &Topic, now: &Topic) -> Error {
    let message = format!("topic `{}` was created again: its id is {}, it was {}", was.name, now.id, was.id);
    Error::new(ErrorKind::Disagree, message).remedy(
        "ingest the new topic under another table id and location; what was committed stays; to read the \
             new one into this table, too: `thalweg offsets set --adopt`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, TopicId};

    fn topic(id: &str, partitions: i32) -> Topic {
        Topic {
            name: "t".to_owned(),
            id: TopicId(id.to_owned()),
            partitions: (0..partitions).map(Partition).collect(),
        }
    }

    fn known(told: &str, in_table: &str) -> Known {
        Known::new(&topic(told, 2), &TopicId(in_table.to_owned()))
    }

    #[test]
    fn what_the_table_knows_counts_where_the_broker_told_no_id_at_first() {
        let was = known("-", "A");
        assert!(matches!(compare(&was, &Ok(Some(topic("-", 2)))), (Confirmed::Same, None)));
        assert!(matches!(compare(&was, &Ok(Some(topic("A", 2)))), (Confirmed::Same, None)));
        assert!(matches!(compare(&was, &Ok(Some(topic("B", 2)))), (Confirmed::CreatedAgain(_), Some(_))));
    }

    #[test]
    fn only_the_known_id_is_confirmed() {
        let was = known("A", "A");
        assert!(matches!(compare(&was, &Ok(Some(topic("A", 2)))), (Confirmed::Same, None)));
        let (confirmed, change) = compare(&was, &Ok(Some(topic("B", 2))));
        let Confirmed::CreatedAgain(error) = confirmed else { panic!("{confirmed:?}") };
        assert_eq!(error.kind, ErrorKind::Disagree);
        assert!(matches!(change, Some(Change::CreatedAgain(_))));
        assert!(matches!(compare(&was, &Ok(Some(topic("-", 2)))), (Confirmed::Unanswered(_), None)));
        assert!(matches!(compare(&was, &Ok(None)), (Confirmed::Gone, None)));
        let silent = Error::new(ErrorKind::Unavailable, "no answer");
        assert!(matches!(compare(&was, &Err(silent)), (Confirmed::Unanswered(_), None)));
    }

    #[test]
    fn readiness_says_why_the_broker_does_not_answer_until_it_does() {
        let board = Board::new(Arc::new(crate::clock::SystemClock));
        board.set(Part::Kafka, State::Reading);
        let mut trouble = Trouble::default();
        trouble.report(Some(&Error::new(ErrorKind::Denied, "refused")), &board);
        assert_eq!(board.not_ready()[0].reason, "refused");
        trouble.report(Some(&Error::new(ErrorKind::Unavailable, "silent")), &board);
        assert_eq!(board.not_ready()[0].reason, "silent");
        trouble.report(None, &board);
        assert!(board.not_ready().is_empty());
    }

    #[test]
    fn growth_is_no_change_of_identity() {
        assert!(matches!(
            compare(&known("A", "A"), &Ok(Some(topic("A", 3)))),
            (Confirmed::Same, Some(Change::Grew))
        ));
        assert!(matches!(
            compare(&known("-", "-"), &Ok(Some(topic("-", 3)))),
            (Confirmed::Same, Some(Change::Grew))
        ));
    }

    #[tokio::test]
    async fn a_topic_without_an_id_is_not_asked_for() {
        assert!(matches!(IdentityCheck::of_nothing().ask().await, Confirmed::Same));
    }
}
