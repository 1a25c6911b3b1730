//! `group` under `[kafka]` and what belongs to it.
//!
//! It owns the keys, their words, and the limits of the group protocol as
//! librdkafka will know them. What a group's decisions mean is
//! `protocol::membership`.

use std::time::Duration;

use super::raw;
use super::reader::Reader;
use super::security::Secret;
use crate::error::{Result, acts_on_a_terminal};

/// librdkafka's own defaults.
const SESSION: Duration = Duration::from_secs(45);
const MAX_POLL: Duration = Duration::from_secs(300);

/// A consumer group whose members share the partitions out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    pub name: String,
    /// Static membership: each shard adds its number.
    pub instance_id: Option<String>,
    pub assignor: Assignor,
    /// A member that is silent for so long is out.
    pub session: Duration,
    /// Members have so long to join again when partitions are shared out anew.
    pub max_poll: Duration,
}

/// How the group shares partitions out: `partition.assignment.strategy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assignor {
    /// Only what goes to another member stops meanwhile.
    CooperativeSticky,
    Range,
    RoundRobin,
}

impl Assignor {
    const ALL: [Assignor; 3] = [Assignor::CooperativeSticky, Assignor::Range, Assignor::RoundRobin];

    pub fn name(self) -> &'static str {
        match self {
            Assignor::CooperativeSticky => "cooperative-sticky",
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
        }
    }
}

impl Reader<'_> {
    pub(super) fn group(
        &self,
        raw: &raw::Kafka,
        librdkafka: &std::collections::BTreeMap<String, Secret>,
    ) -> Result<Option<Group>> {
        let instance_id = self.text("THALWEG__KAFKA__INSTANCE_ID", &raw.instance_id)?;
        let assignor = self.text("THALWEG__KAFKA__ASSIGNOR", &raw.assignor)?;
        let Some(name) = self.text("THALWEG__KAFKA__GROUP", &raw.group)? else {
            return match [("instance_id", &instance_id), ("assignor", &assignor)]
                .into_iter()
                .find_map(|(key, given)| Some((key, given.as_ref()?)))
            {
                Some((key, given)) => {
                    let message = format!("`kafka.{key}` has no effect without `group`");
                    Err(self
                        .at(given, message)
                        .remedy("write `group = \"…\"` under [kafka], or leave it out"))
                }
                None => Ok(None),
            };
        };
        for (key, given) in [("group", Some(&name)), ("instance_id", instance_id.as_ref())] {
            if let Some(given) = given.filter(|given| given.text.contains(acts_on_a_terminal)) {
                return Err(self
                    .at(given, format!("`kafka.{key}` has a control character"))
                    .remedy("remove it: a copied line break is a frequent cause"));
            }
            if let Some(given) = given.filter(|given| given.text.trim().is_empty()) {
                return Err(self
                    .at(given, format!("`kafka.{key}` is empty"))
                    .remedy("write a name, or leave the key out"));
            }
        }
        let assignor = match assignor {
            None => Assignor::CooperativeSticky,
            Some(given) => match Assignor::ALL.into_iter().find(|of| of.name() == given.text) {
                Some(assignor) => assignor,
                None => {
                    return Err(self.unknown_word(
                        &given,
                        "kafka.assignor",
                        &Assignor::ALL.map(Assignor::name),
                    ));
                }
            },
        };
        let time = |key: &str, default: Duration| {
            let set = librdkafka.get(key).and_then(|value| value.reveal().parse().ok());
            set.map_or(default, Duration::from_millis)
        };
        Ok(Some(Group {
            name: name.text,
            instance_id: instance_id.map(|given| given.text),
            assignor,
            session: time("session.timeout.ms", SESSION),
            max_poll: time("max.poll.interval.ms", MAX_POLL),
        }))
    }

    /// A shard reads a partition once, and a group knows one offset for it: a topic feeds one table.
    pub(super) fn a_topic_for_each_table(&self, file: &raw::File) -> Result<()> {
        let topics: Vec<_> = file.table.iter().filter_map(|table| table.get_ref().topic.as_ref()).collect();
        for (index, topic) in topics.iter().enumerate() {
            if let Some(first) = topics[..index].iter().find(|first| first.get_ref() == topic.get_ref()) {
                let place = super::source::SourcePosition::File(topic.span());
                let message = format!("two tables read the topic `{}`", topic.get_ref());
                let first = super::source::SourcePosition::File(first.span());
                return Err(self
                    .source
                    .collision(&place, message, &first, "first read here")
                    .remedy("run one of them from a config of its own, with another `group` if it has one"));
            }
        }
        Ok(())
    }
}
