//! What the API answers, said once for the server that writes it and the command line that reads it.
//!
//! What a job, a queue or a worker looks like belongs to the engine and the registry; here is what stands around it.

use std::borrow::Cow;

use beaver_actors::ids::{JobId, QueueName};
use beaver_actors::jobs::Status;
use serde::{Deserialize, Serialize};

/// The code of a refusal after which nobody knows whether it was done.
pub(crate) const UNKNOWN: &str = "unknown";
/// The phase of a queue without a server, and the code for what only a server has.
pub(crate) const OFFLINE: &str = "offline";

/// One job of an enqueue, read from what the engine calls [`Enqueued`](beaver_actors::jobs::command::Enqueued).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnqueuedJob {
    /// The job's id, as given or as generated.
    pub(crate) id: JobId,
    /// False when a job with this id existed already; then nothing was added.
    pub(crate) created: bool,
}

/// A job was withdrawn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CancelledJob {
    /// The job that was withdrawn.
    pub(crate) id: JobId,
    /// [`Status::Cancelled`]
    pub(crate) status: Status,
}

/// The first jobs of a set.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobList<J> {
    /// No more than were asked for, and than fit into an answer.
    pub(crate) jobs: Vec<J>,
    /// Whether there are further ones.
    pub(crate) more: bool,
}

/// The same was done to a set of jobs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChangedJobs {
    /// To how many.
    pub(crate) changed: u64,
}

/// A queue was paused or resumed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PausedQueue {
    /// Its name.
    pub(crate) queue: QueueName,
    /// False when it was resumed.
    pub(crate) paused: bool,
}

/// Somebody said that the clock is right.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConfirmedClock {
    /// Whether anybody doubted it.
    pub(crate) was_doubted: bool,
}

/// A queue was removed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RemovedQueue {
    /// The name that it had.
    pub(crate) queue: QueueName,
    /// How many pending jobs went with it.
    pub(crate) discarded: u64,
}

/// Queues were removed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RemovedQueues {
    /// How many.
    pub(crate) removed: u64,
    /// How many pending jobs went with them.
    pub(crate) discarded: u64,
}

/// The body of every refusal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorAnswer {
    /// What is wrong.
    pub(crate) error: ErrorBody,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// Stable name for programs.
    pub(crate) code: Cow<'static, str>,
    /// For people; its words may change.
    pub(crate) message: String,
    /// Which line of the request's body is meant, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    /// Which job of the request is meant, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<usize>,
}

impl ErrorBody {
    /// What is wrong in one sentence, with the job that is meant if it is one of several.
    pub(crate) fn told(&self) -> String {
        let of_one = self.index.map(|index| format!("job {index}: "));
        match of_one {
            // What is found while a body is read says it already.
            Some(of_one) if !self.message.starts_with(&of_one) => of_one + &self.message,
            _ => self.message.clone(),
        }
    }
}
