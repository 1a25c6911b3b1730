//! What an answer of the store means for a commit that was put.
//!
//! It owns one commit's way from its first put to a sure outcome. It does not
//! own the bytes: those are fixed for the whole attempt.
//!
//! | answer to | is | then |
//! |---|---|---|
//! | put | created | won |
//! | put | exists, or anything unclear (time-out, 5xx, 409, 412) | look what stands there |
//! | get | a commit with our id | won |
//! | get | another commit | lost: the version is settled, for good |
//! | get | missing | put the same bytes at the same version again |
//! | get | unclear | look again, later |
//!
//! Invariant: while a put is unresolved neither version nor bytes change. Put
//! answers can be lost and puts can land late; whichever copy lands is this
//! commit and no other.

use super::planted::{Bug, planted};

/// The store's answer to a put-if-absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PutReply {
    Created,
    Exists,
    /// It may or may not have taken effect.
    Unclear,
}

/// What stands at the version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GetReply {
    /// A commit; its id, if it carries one.
    Found(Option<String>),
    /// The store says that there is none. Only a 404 says so.
    Missing,
    Unclear,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    Put { wait: Wait },
    Get { wait: Wait },
    Won,
    Lost,
}

/// Whether to hold off before the step: after an unclear answer the store may be ill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    No,
    /// Back off; the number counts unclear answers in a row, from 1.
    Backoff(u32),
}

#[derive(Clone, Debug)]
pub struct Attempt {
    commit_id: String,
    unclear_in_a_row: u32,
}

impl Attempt {
    pub fn new(commit_id: impl Into<String>) -> Attempt {
        Attempt { commit_id: commit_id.into(), unclear_in_a_row: 0 }
    }

    pub fn after_put(&mut self, reply: PutReply) -> Step {
        match reply {
            PutReply::Created => Step::Won,
            PutReply::Exists if planted(Bug::ExistsIsWon) => Step::Won,
            PutReply::Unclear if planted(Bug::UnclearIsWon) => Step::Won,
            PutReply::Exists => Step::Get { wait: Wait::No },
            PutReply::Unclear => Step::Get { wait: self.back_off() },
        }
    }

    pub fn after_get(&mut self, reply: GetReply) -> Step {
        match reply {
            GetReply::Found(_) if planted(Bug::OwnCommitIsAnothers) => Step::Lost,
            GetReply::Found(id) if id.as_deref() == Some(&*self.commit_id) => Step::Won,
            GetReply::Found(_) => Step::Lost,
            GetReply::Missing => {
                let wait = if self.unclear_in_a_row == 0 { self.back_off() } else { Wait::No };
                Step::Put { wait }
            }
            GetReply::Unclear => Step::Get { wait: self.back_off() },
        }
    }

    fn back_off(&mut self) -> Wait {
        self.unclear_in_a_row += 1;
        Wait::Backoff(self.unclear_in_a_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_reply_is_recognised_as_our_own_success() {
        let mut attempt = Attempt::new("a");
        assert_eq!(attempt.after_put(PutReply::Unclear), Step::Get { wait: Wait::Backoff(1) });
        assert_eq!(attempt.after_get(GetReply::Found(Some("a".into()))), Step::Won);
    }

    #[test]
    fn a_retry_inside_the_client_that_meets_its_own_first_try_is_a_success() {
        let mut attempt = Attempt::new("a");
        assert_eq!(attempt.after_put(PutReply::Exists), Step::Get { wait: Wait::No });
        assert_eq!(attempt.after_get(GetReply::Found(Some("a".into()))), Step::Won);
    }

    #[test]
    fn a_put_that_never_arrived_is_put_again() {
        let mut attempt = Attempt::new("a");
        assert_eq!(attempt.after_put(PutReply::Unclear), Step::Get { wait: Wait::Backoff(1) });
        assert_eq!(attempt.after_get(GetReply::Unclear), Step::Get { wait: Wait::Backoff(2) });
        assert_eq!(attempt.after_get(GetReply::Missing), Step::Put { wait: Wait::No });
        assert_eq!(attempt.after_put(PutReply::Created), Step::Won);
    }

    #[test]
    fn a_foreign_commit_resolves_the_version() {
        for id in [Some("b".to_owned()), None] {
            let mut attempt = Attempt::new("a");
            assert_eq!(attempt.after_put(PutReply::Unclear), Step::Get { wait: Wait::Backoff(1) });
            assert_eq!(attempt.after_get(GetReply::Found(id)), Step::Lost);
        }
    }

    #[test]
    fn a_store_that_says_exists_and_missing_is_not_hammered() {
        let mut attempt = Attempt::new("a");
        assert_eq!(attempt.after_put(PutReply::Exists), Step::Get { wait: Wait::No });
        assert_eq!(attempt.after_get(GetReply::Missing), Step::Put { wait: Wait::Backoff(1) });
    }
}
