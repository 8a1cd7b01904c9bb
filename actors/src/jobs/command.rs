//! What can be asked of the job table, and how it says no.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{JobId, KindName, Priority, QueueName, RemoteName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::model::failure::Failure;
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::payload::Payload;
use crate::jobs::model::policy::Backoff;

/// A job as its producer describes it.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Given by the producer to make the enqueue idempotent; generated when absent.
    pub id: Option<JobId>,
    /// The line it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// What the handler gets.
    pub payload: Payload,
    /// 0 to 9, 9 first.
    pub priority: Priority,
    /// When it may run first.
    pub start: Start,
    /// Longest run of one attempt; the policy's when absent.
    pub timeout: Option<Duration>,
    /// How many more runs after a failed one; the policy's when absent.
    pub max_retry: Option<u32>,
    /// The pauses between them.
    pub backoff: Backoff,
    /// What becomes of it when they have all failed.
    pub exhausted: Exhausted,
    /// Travels with the job; beaver does not read it.
    pub custom: Option<Payload>,
    /// How many lines of a backtrace the producer would like to see; a hint for workers.
    pub backtrace_lines: u32,
    /// Whether a completed job of this id gives way to it, instead of being taken for it.
    pub replaces_completed: bool,
}

impl JobSpec {
    /// A job that may run now, with the defaults for all the rest.
    #[must_use]
    pub fn new(queue: QueueName, kind: KindName, payload: Payload) -> JobSpec {
        JobSpec {
            id: None,
            queue,
            kind,
            payload,
            priority: Priority::default(),
            start: Start::Now,
            timeout: None,
            max_retry: None,
            backoff: Backoff::default(),
            exhausted: Exhausted::default(),
            custom: None,
            backtrace_lines: 0,
            replaces_completed: false,
        }
    }
}

/// What a job takes beside its texts while it waits in a request, roughly; more than its event takes in the log.
const OVERHEAD_BYTES: usize = 128;

impl JobSpec {
    /// Bytes that this job counts for in the limits on requests: its texts, and 128 for the rest.
    #[must_use]
    pub fn weight(&self) -> usize {
        let names = self.queue.as_str().len() + self.kind.as_str().len();
        let custom = self.custom.as_ref().map_or(0, |custom| custom.as_str().len());
        self.payload.as_str().len()
            + custom
            + names
            + self.id.as_ref().map_or(0, JobId::text_len)
            + OVERHEAD_BYTES
    }
}

/// When a job may run first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As soon as a worker is free.
    Now,
    /// So long after it was accepted.
    After(Duration),
    /// At a moment; one that has passed means now.
    At(Timestamp),
}

/// What can be asked. `decide` turns each into at most one event.
#[derive(Debug)]
pub enum Command {
    /// Producer adds a job.
    Enqueue(Box<JobSpec>),
    /// A free local worker takes the next job of a kind that it handles.
    Dispatch {
        /// Who takes it.
        worker: WorkerId,
    },
    /// A remote worker takes the next job of the first of these queues that has one.
    Reserve {
        /// In the order in which it wants them.
        queues: Arc<[QueueName]>,
        /// Who takes it.
        worker: RemoteName,
    },
    /// The holder of the lease reports success.
    Ack {
        /// The job.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What it leaves behind.
        result: Option<Payload>,
    },
    /// The holder of the lease, or whoever watches over it, reports that the attempt failed.
    Fail {
        /// The job.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What went wrong.
        failure: Failure,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
    },
    /// The lease ends without a verdict on the job (worker lost, server stopped): back to pending.
    Requeue {
        /// The job.
        job: JobId,
        /// The lease that ends.
        token: Token,
        /// Why, for the log and for the job's history.
        failure: Failure,
        /// Whether the attempt counts against `max_retry`: it does when the job itself may be the cause.
        counts: bool,
    },
    /// The lease lasts longer.
    Extend {
        /// The job.
        job: JobId,
        /// The lease.
        token: Token,
        /// By how much, in milliseconds.
        by_ms: u64,
    },
    /// Never run it (again).
    Cancel {
        /// The job.
        job: JobId,
    },
    /// A waiting or dead job becomes pending, whatever it waits for.
    RunNow {
        /// The job.
        job: JobId,
    },
    /// A waiting job is declared dead.
    Kill {
        /// The job.
        job: JobId,
    },
    /// It disappears without a trace.
    Discard {
        /// The job.
        job: JobId,
    },
    /// A waiting or dead job goes to another queue; a pending one to its end.
    Move {
        /// The job.
        job: JobId,
        /// Where to.
        queue: QueueName,
    },
    /// Nobody gets a job of this queue any more.
    Pause {
        /// The queue.
        queue: QueueName,
    },
    /// The reverse.
    Resume {
        /// The queue.
        queue: QueueName,
    },
    /// The queue is not known any more, until it is used again.
    RemoveQueue {
        /// The queue.
        queue: QueueName,
    },
    /// Waiting jobs (scheduled, retrying) whose moment has come become pending.
    Promote,
    /// Finished jobs beyond their retention are forgotten.
    Forget,
}

/// The table says no. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No job has this id.
    #[error("no job {job}")]
    NotFound {
        /// The id that was asked for.
        job: JobId,
    },
    /// The lease is not (or no longer) the one that the job is held under.
    #[error("stale token {token} for job {job}: its lease ended or was given to another worker")]
    StaleToken {
        /// The job.
        job: JobId,
        /// The token that was presented.
        token: Token,
    },
    /// It is not in flight at the remote worker that reports on it.
    #[error("job {job} is not held by {worker}: its lease ended or was given to another worker")]
    NotHeld {
        /// The job.
        job: JobId,
        /// Who reports.
        worker: RemoteName,
    },
    /// It has already ended.
    #[error("job {job} is already {status}")]
    Finished {
        /// The job.
        job: JobId,
        /// How it ended.
        status: &'static str,
    },
    /// It is in a state in which that cannot be done.
    #[error("job {job} is {status}: it cannot {action}")]
    WrongState {
        /// The job.
        job: JobId,
        /// Its state.
        status: &'static str,
        /// What was asked for.
        action: &'static str,
    },
    /// There are as many queues as can be told apart.
    #[error("there are {queues_max} queues already: use one of them, or remove some")]
    TooManyQueues {
        /// What is allowed.
        queues_max: usize,
    },
    /// The payload is larger than the policy allows.
    #[error("payload has {bytes} bytes, and at most {bytes_max} are allowed (payload_bytes_max)")]
    PayloadTooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// All jobs of a request together are larger than the server takes at once.
    #[error(
        "the request holds {bytes} bytes of jobs, and at most {bytes_max} are allowed (request_bytes_max): send fewer at once"
    )]
    RequestTooLarge {
        /// What was given: see [`JobSpec::weight`].
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// There are as many unfinished jobs as the policy allows.
    #[error("the queue is full: {jobs_max} unfinished jobs (jobs_max)")]
    TooManyJobs {
        /// What is allowed.
        jobs_max: u64,
    },
    /// The log cannot grow. What was accepted still runs; new jobs must wait.
    #[error("the disk of the log is full: free some space and try again")]
    DiskFull,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl Rejection {
    /// Stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Rejection::NotFound { .. } => "not_found",
            Rejection::StaleToken { .. } => "stale_token",
            Rejection::NotHeld { .. } => "not_held",
            Rejection::Finished { .. } => "finished",
            Rejection::WrongState { .. } => "wrong_state",
            Rejection::TooManyQueues { .. } => "too_many_queues",
            Rejection::PayloadTooLarge { .. } => "payload_too_large",
            Rejection::RequestTooLarge { .. } => "request_too_large",
            Rejection::TooManyJobs { .. } => "too_many_jobs",
            Rejection::DiskFull => "disk_full",
            Rejection::Stopping => "stopping",
        }
    }
}

/// An answer to an enqueue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Enqueued {
    /// The job's id, as given or as generated.
    pub id: JobId,
    /// False when a job with this id existed already; then nothing was added.
    pub created: bool,
    /// Where the log stood: everything up to here was durable when this was answered.
    #[serde(skip)]
    pub seq: Seq,
}
