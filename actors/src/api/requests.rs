//! What can be asked of a running engine, beyond a single job's name.

use crate::ids::{QueueName, RemoteName, Token};
use crate::jobs::{Failure, JobView, Payload};

/// A job that a remote worker is given. Unless it is accepted, it is given back when this is dropped: an answer may
/// come when nobody waits for it any more.
#[derive(Debug)]
pub struct Delivery {
    /// All of it.
    pub job: Box<JobView>,
    /// The lease that it was given under.
    pub token: Token,
    give_back: GiveBack,
}

impl Delivery {
    pub(crate) fn new(job: JobView, token: Token, give_back: impl FnOnce() + Send + 'static) -> Delivery {
        Delivery { job: Box::new(job), token, give_back: GiveBack(Some(Box::new(give_back))) }
    }

    /// Takes the job, and with it the duty to report on it: from now on only its lease gives it back.
    #[must_use]
    pub fn accept(mut self) -> (Box<JobView>, Token) {
        self.give_back.0 = None;
        (self.job, self.token)
    }
}

/// Runs when it is dropped.
struct GiveBack(Option<Box<dyn FnOnce() + Send>>);

impl std::fmt::Debug for GiveBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GiveBack")
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

/// By what right a remote worker reports on a job.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who it is.
    pub worker: RemoteName,
    /// The lease, if it is known: without it, the worker's name decides.
    pub token: Option<Token>,
}

/// How a remote worker's attempt ended.
#[derive(Debug)]
pub enum AttemptEnd {
    /// It succeeded, and left this behind.
    Success(Option<Payload>),
    /// It failed.
    Failure(Failure),
}

impl AttemptEnd {
    /// Bytes that it counts for in the limits on requests: its texts.
    pub(crate) fn weight(&self) -> usize {
        match self {
            AttemptEnd::Success(result) => result.as_ref().map_or(0, |result| result.as_str().len()),
            AttemptEnd::Failure(failure) => {
                let backtrace: usize = failure.backtrace.iter().map(String::len).sum();
                failure.message.len() + failure.errtype.len() + backtrace
            }
        }
    }
}

/// Which queues are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueSet {
    /// All that exist.
    All,
    /// Those.
    Named(Vec<QueueName>),
}

/// What can be done to a set of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetAction {
    /// Scheduled, retrying and dead ones become pending.
    RunNow,
    /// Pending, scheduled and retrying ones are declared dead.
    Kill,
    /// They disappear.
    Discard,
    /// Unfinished ones are cancelled.
    Cancel,
    /// Pending, scheduled, retrying and dead ones go to another queue.
    Move(QueueName),
}
