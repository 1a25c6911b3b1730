//! What a run with a consumer group does differently.
//!
//! It owns the wiring: which loop learns where a table stands, and which partitions
//! a member may be assigned. Nothing is read before the group assigns it.

use tracing::error;

use super::ingestion::Ingestion;
use crate::error::Result;
use crate::member::News;

impl Ingestion<'_> {
    /// Joins the group once every table was tried: a member's topics are settled when it joins. Nothing
    /// happens where there is no group, or it is joined already.
    pub(super) fn join_group(&mut self) -> Result<()> {
        if self.is_group()
            && !self.draining
            && self.start_failed().is_none()
            && let Some(links) = self.links.take()
        {
            self.members = links.join(self.run, &self.shards)?;
        }
        Ok(())
    }

    /// `None`: the members have ended.
    pub(super) fn hear_of_the_group(&mut self, news: Option<News>) {
        match news {
            Some(News::Outdated) if !self.draining => self.begin_again(),
            Some(News::Outdated) => {}
            Some(News::Ended(outcome)) => {
                self.members.ended();
                if let Err(error) = outcome {
                    error!(%error, remedy = error.remedy, "a member of the group has ended");
                    self.first_stop.get_or_insert(error);
                    self.drain();
                }
            }
            None => self.members.news = crossbeam_channel::never(),
        }
    }
}
