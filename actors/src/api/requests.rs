//! What can be asked of a running engine, beyond a single job's name.

use std::fmt;
use std::sync::Arc;

use crate::ids::{JobId, QueueName, RemoteName, Token};
use crate::jobs::{Command, Failure, FailureKind, JobView, Payload, UnreadablePayload};

/// Looks at the name of a queue.
pub type QueueTest = Arc<dyn Fn(&QueueName) -> bool + Send + Sync>;

/// Some of the queues that exist, in the order of their names.
#[derive(Clone)]
pub struct QueuePage {
    /// Only those that pass this.
    pub test: Option<QueueTest>,
    /// Only those behind this name.
    pub after: Option<QueueName>,
    /// At most this many.
    pub limit: usize,
}

impl QueuePage {
    /// The queue of this name, if there is one.
    #[must_use]
    pub fn only(name: QueueName) -> QueuePage {
        QueuePage { test: Some(Arc::new(move |queue| *queue == name)), after: None, limit: 1 }
    }

    pub(crate) fn has(&self, queue: &QueueName) -> bool {
        self.after.as_ref().is_none_or(|after| queue > after)
            && self.test.as_ref().is_none_or(|test| test(queue))
    }
}

impl fmt::Debug for QueuePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueuePage { test, after, limit } = self;
        let mut page = f.debug_struct("QueuePage");
        page.field("test", &test.is_some()).field("after", after).field("limit", limit).finish()
    }
}

/// A job that a remote worker is given. Unless it is accepted, it is given back when this is dropped: an answer may
/// come when nobody waits for it any more.
#[derive(Debug)]
pub struct Delivery {
    /// The job as it stands, with its payload.
    pub job: Box<JobView>,
    /// The lease that it was given under.
    pub token: Token,
    give_back: OnDrop,
}

impl Delivery {
    pub(crate) fn new(job: JobView, token: Token, give_back: impl FnOnce() + Send + 'static) -> Delivery {
        Delivery { job: Box::new(job), token, give_back: OnDrop(Some(Box::new(give_back))) }
    }

    /// Takes the job, and with it the duty to report on it: from now on only its lease gives it back.
    #[must_use]
    pub fn accept(mut self) -> (Box<JobView>, Token) {
        self.give_back.0 = None;
        (self.job, self.token)
    }
}

/// Runs when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl fmt::Debug for OnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDrop")
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

/// By what right a remote worker reports on a job.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The worker that asks or reports.
    pub worker: RemoteName,
    /// The lease, if it is known: without it, the worker's name decides.
    pub token: Option<Token>,
}

/// How an attempt ended, of a local worker or of a remote one.
#[derive(Debug)]
pub enum AttemptEnd {
    /// It succeeded, and left this result.
    Success(Option<Payload>),
    /// It failed, and may have left a result all the same.
    Failure(Failure, Option<Payload>),
    /// It never began, as the server lacked what it takes: the message says what.
    Undelivered(String),
    /// It never began, and cannot: the payload is damaged, and the message says where.
    PayloadLost(String),
    /// It was ended because its job was cancelled or its lease lost: that has been logged. What it left behind is kept, if
    /// the job has ended by that.
    Cancelled(Option<Payload>),
    /// It was ended because the server stops: the job is pending again, and the attempt does not count.
    Interrupted,
}

impl From<&UnreadablePayload> for AttemptEnd {
    fn from(error: &UnreadablePayload) -> AttemptEnd {
        match error.is_lost {
            true => AttemptEnd::PayloadLost(error.to_string()),
            false => AttemptEnd::Undelivered(error.to_string()),
        }
    }
}

impl AttemptEnd {
    /// What it asks the job table to do, if anything.
    pub(crate) fn into_command(self, job: JobId, token: Token) -> Option<Command> {
        Some(match self {
            AttemptEnd::Success(result) => Command::Ack { job, token, result },
            AttemptEnd::Failure(failure, result) => Command::Fail { job, token, failure, result },
            AttemptEnd::Undelivered(message) => {
                Command::Postpone { job, token, failure: Failure::new(FailureKind::Undelivered, message) }
            }
            AttemptEnd::PayloadLost(message) => {
                let failure = Failure::new(FailureKind::PayloadLost, message);
                Command::LosePayload { job, token: Some(token), failure }
            }
            AttemptEnd::Interrupted => {
                let failure = Failure::new(FailureKind::Lost, "interrupted: the server was stopped");
                Command::Requeue { job, token, failure, counts: false, fences: false }
            }
            AttemptEnd::Cancelled(_) => return self.into_output(job, token),
        })
    }

    /// The same when its job was taken away from it meanwhile: what it left behind is kept, and no more.
    pub(crate) fn into_output(self, job: JobId, token: Token) -> Option<Command> {
        match self {
            AttemptEnd::Success(result) | AttemptEnd::Failure(_, result) | AttemptEnd::Cancelled(result) => {
                result.map(|result| Command::Output { job, token, result })
            }
            AttemptEnd::Undelivered(_) | AttemptEnd::PayloadLost(_) | AttemptEnd::Interrupted => None,
        }
    }

    /// Bytes that it counts for in the limits on requests: its texts.
    pub(crate) fn weight(&self) -> usize {
        let text = |result: &Option<Payload>| result.as_ref().map_or(0, |result| result.as_str().len());
        match self {
            AttemptEnd::Success(result) | AttemptEnd::Cancelled(result) => text(result),
            AttemptEnd::Failure(failure, result) => {
                let backtrace: usize = failure.backtrace.iter().map(String::len).sum();
                failure.message.len() + failure.errtype.len() + backtrace + text(result)
            }
            AttemptEnd::Undelivered(message) | AttemptEnd::PayloadLost(message) => message.len(),
            AttemptEnd::Interrupted => 0,
        }
    }
}

/// Which queues are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueSet {
    /// All queues that exist.
    All,
    /// The queues of these names.
    Named(Vec<QueueName>),
}

/// What can be done to a set of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetAction {
    /// Scheduled, retrying and dead ones become pending.
    RunNow,
    /// Those in flight go back in line: their leases end, and a run in this process is told to stop. No attempt is counted.
    Requeue,
    /// Pending, scheduled and retrying ones are declared dead.
    Kill,
    /// They are discarded.
    Discard,
    /// Unfinished ones are cancelled.
    Cancel,
    /// Pending, scheduled, retrying and dead ones go to another queue.
    Move(QueueName),
}
