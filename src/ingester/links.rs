//! The channels between shards, committers and the members of a consumer group.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::watch;

use super::run::Run;
use crate::delta_sink::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ToShard;
use crate::ids::{NextOffsets, Partition, TopicPartition};
use crate::member::{GroupSettings, Known, Members};
use crate::protocol::membership::AssignmentEpoch;
use crate::shard::GroupLink;
use crate::source::catalog::Topic;

/// The ends of what connects members with shards and committers; empty without a group.
#[derive(Default)]
pub(super) struct Links {
    pub(super) topics: BTreeMap<String, Known>,
    pub(super) shards: Vec<GroupLink>,
    pub(super) left: Vec<Receiver<(usize, TopicPartition, AssignmentEpoch)>>,
}

/// A bounded run ends where the topic ended at its start; members of a group would wait for each other.
pub(super) fn refuse_bounded(run: &Run) -> Result<()> {
    if run.until_end && run.config.kafka.group.is_some() {
        let message = "`--until-end` reads every partition, and `kafka.group` shares them out";
        return Err(Error::new(ErrorKind::Usage, message)
            .remedy("leave `--until-end` out, or `group`: the table's offsets are the same"));
    }
    Ok(())
}

impl Links {
    pub(super) fn new(run: &Run, shards: usize, partitions: usize) -> Links {
        let mut links = Links::default();
        if run.config.kafka.group.is_some() {
            // A shard may be through with all of them at once, and with those of an assignment before.
            let ends = (0..shards).map(|_| bounded(2 * partitions.max(1)));
            (links.shards, links.left) = ends.unzip();
        }
        links
    }

    pub(super) fn of_shard(&self, index: usize) -> Option<GroupLink> {
        self.shards.get(index).cloned()
    }

    /// A table whose partitions members may be assigned: nothing of it is read until they are. Returns
    /// where its committer tells how far it is.
    pub(super) fn table(
        &mut self,
        index: usize,
        topic: &Topic,
        opened: &mut Opened,
    ) -> Option<watch::Sender<NextOffsets>> {
        if self.shards.is_empty() {
            return None;
        }
        let stopped: BTreeSet<Partition> =
            opened.plan.stopped.iter().map(|(partition, _)| *partition).collect();
        let source = |&partition| {
            let topic_id = opened.plan.topic_id.clone();
            (partition, TopicPartition { topic: topic.name.clone(), topic_id, partition })
        };
        let read = topic.partitions.iter().filter(|partition| !stopped.contains(partition));
        let sources = read.map(source).collect();
        let (told, next_offsets) = watch::channel(NextOffsets::new());
        self.topics.insert(topic.name.clone(), Known { table: index, sources, stopped, next_offsets });
        opened.plan.starts.clear();
        Some(told)
    }

    /// Joins the group, where there is one.
    pub(super) fn join(self, run: &Run, shards: &[Sender<ToShard>]) -> Result<Members> {
        let Some(group) = &run.config.kafka.group else { return Ok(Members::none()) };
        let options = GroupSettings {
            group: group.clone(),
            topics: self.topics,
            clock: std::sync::Arc::clone(&run.clock),
        };
        Members::join(&run.config.kafka, options, shards, self.left)
    }
}
