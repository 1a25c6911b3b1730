//! Waiting for a store that does not answer.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::backoff::Backoff;
use crate::delta::log;
use crate::delta::transaction::WaitPolicy;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::metrics;
use crate::protocol::planted::{Bug, planted};
use crate::status::{Board, Part, State};
use crate::stores::store::{Store, is_hopeless};

/// Waits for a store that gives no answer as long as it takes, seen from outside.
#[derive(Clone)]
pub(super) struct RetryPolicy {
    pub(super) board: Arc<Board>,
    pub(super) table_id: String,
}

impl RetryPolicy {
    /// Commits to the table.
    pub(super) fn part(&self) -> Part {
        Part::Commits(self.table_id.clone())
    }

    /// Repeats a question until it is answered. What a person must mend is an answer, too.
    pub(super) async fn ask<T, F: Future<Output = Result<T>>>(&self, again: impl Fn() -> F) -> Result<T> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let mut waited = false;
        loop {
            match again().await {
                Err(error) if matches!(error.kind, ErrorKind::Disagree | ErrorKind::CannotWrite) => {
                    return Err(error);
                }
                Ok(answer) => {
                    if waited {
                        self.answered();
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    waited = true;
                    self.waiting(&error);
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// It lives, and it is not ready.
    pub(super) fn waiting(&self, error: &Error) {
        self.board.waits(&self.part(), error);
    }
}

impl WaitPolicy for RetryPolicy {
    fn unclear(&self, error: Error, cause: &object_store::Error) -> Result<()> {
        metrics::commit_failed(&self.table_id);
        if is_hopeless(cause) || planted(Bug::DeletesFilesOfAnUnknownCommit) {
            return Err(error);
        }
        // The board logs it where it lasts.
        debug!(table = self.table_id, %error, "the store gave no clear answer; it is asked again");
        self.waiting(&error);
        Ok(())
    }

    async fn counts(&self, store: &Store, version: Version) -> Result<bool> {
        self.ask(|| log::counts(store, version)).await
    }

    fn answered(&self) {
        self.board.set(self.part(), State::Reading);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::testing::ManualClock;

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_an_answer_is_ready_once_it_has_one() {
        let board = Arc::new(Board::new(Arc::new(ManualClock::default())));
        let retry_policy = RetryPolicy { board: Arc::clone(&board), table_id: "t".to_owned() };
        let left = AtomicU32::new(2);
        let asked = async || {
            if left.fetch_sub(1, Ordering::Relaxed) > 1 {
                return Err(Error::new(ErrorKind::Unavailable, "503"));
            }
            assert_eq!(board.not_ready().len(), 1, "it waits");
            Ok(7)
        };
        assert_eq!(retry_policy.ask(asked).await.unwrap(), 7);
        assert!(board.not_ready().is_empty());
    }
}
