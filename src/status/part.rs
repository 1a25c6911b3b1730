//! The parts of a process, and the states that each may be in.

use std::fmt;

use crate::error::Error;
use crate::ids::TopicPartition;

/// What a state is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// The brokers, together.
    Kafka,
    /// By its address: `s3://bucket`.
    Store(String),
    /// A topic as the broker tells it.
    Topic(String),
    /// By the table's id, as the parts below.
    Table(String),
    /// Commits to the table.
    Commits(String),
    /// Uploads of the table's files.
    Uploads(String),
    Partition(String, TopicPartition),
}

impl Part {
    pub fn table(id: &str) -> Part {
        Part::Table(id.to_owned())
    }

    pub fn partition(table: &str, source: &TopicPartition) -> Part {
        Part::Partition(table.to_owned(), source.clone())
    }

    /// Many wait for it.
    pub(super) fn is_service(&self) -> bool {
        matches!(self, Part::Kafka | Part::Store(_))
    }

    /// Whether its waiting is logged from here. Of tables and topics those tell who look after them.
    pub(super) fn is_logged(&self) -> bool {
        !matches!(self, Part::Table(_) | Part::Topic(_))
    }

    /// The table that it is a part of.
    pub(super) fn of_table(&self) -> Option<&str> {
        match self {
            Part::Table(id) | Part::Commits(id) | Part::Uploads(id) | Part::Partition(id, _) => Some(id),
            Part::Kafka | Part::Store(_) | Part::Topic(_) => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Kafka => f.write_str("kafka"),
            Part::Store(address) => write!(f, "store {address}"),
            Part::Topic(name) => write!(f, "topic {name}"),
            Part::Table(id) => write!(f, "table {id}"),
            Part::Commits(id) => write!(f, "commits of table {id}"),
            Part::Uploads(id) => write!(f, "uploads of table {id}"),
            Part::Partition(id, source) => write!(f, "table {id} {source}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Starting,
    Reading,
    Paused(Why),
    Waiting(Why),
    Stopped(Why),
}

/// The cause of a state, and what a person can do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Why {
    pub cause: String,
    pub remedy: Option<String>,
}

impl From<&Error> for Why {
    fn from(error: &Error) -> Why {
        Why { cause: error.message.clone(), remedy: error.remedy.clone() }
    }
}

impl From<&str> for Why {
    fn from(cause: &str) -> Why {
        Why { cause: cause.to_owned(), remedy: None }
    }
}

/// The names of the states, as `/readyz` and the label `state` of metrics have them.
pub const STATES: [&str; 5] = ["starting", "reading", "paused", "waiting", "stopped"];

impl State {
    pub fn name(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Reading => "reading",
            State::Paused(_) => "paused",
            State::Waiting(_) => "waiting",
            State::Stopped(_) => "stopped",
        }
    }

    pub(super) fn why(&self) -> Option<&Why> {
        match self {
            State::Starting | State::Reading => None,
            State::Paused(why) | State::Waiting(why) | State::Stopped(why) => Some(why),
        }
    }

    /// A pause is how a table keeps within its share: that alone is no reason to call the process unready.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, State::Reading | State::Paused(_))
    }
}
