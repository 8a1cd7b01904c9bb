//! What can be asked of the job table.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{JobId, KindName, Priority, QueueName, RemoteName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::model::failure::Failure;
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::payload::Payload;
use crate::jobs::model::policy::Backoff;

/// What a job takes beside its texts while it waits in a request, roughly; more than its event takes in the log.
const OVERHEAD_BYTES: usize = 128;

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
    /// Whether it follows a running job of this id when that has ended, instead of being taken for it. With it, a job that
    /// waits under the id is compared: see [`Enqueued::conflicts`].
    pub follows_running: bool,
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
            follows_running: false,
        }
    }

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
    /// This long after it was accepted.
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
        /// The idle worker, by its place in the pool.
        worker: WorkerId,
    },
    /// A remote worker takes the next job of the first of these queues that has one.
    Reserve {
        /// In the order in which it wants them.
        queues: Arc<[QueueName]>,
        /// The name that the lease is given to.
        worker: RemoteName,
    },
    /// The holder of the lease reports success.
    Ack {
        /// The job that succeeded.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What it leaves behind.
        result: Option<Payload>,
    },
    /// The holder of the lease, or its supervisor, reports that the attempt failed.
    Fail {
        /// The job whose attempt failed.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What went wrong, as it is kept with the job.
        failure: Failure,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
    },
    /// The lease ends without a verdict on the job (worker lost, server stopped): back to pending.
    Requeue {
        /// The job that goes back in line.
        job: JobId,
        /// The lease that ends.
        token: Token,
        /// Why, for the log and for the job's history.
        failure: Failure,
        /// Whether the attempt counts against `max_retry`: it does when the job itself may be the cause.
        counts: bool,
        /// Whether a late report of success is refused from now on: it is when somebody wants the job to run again, or when
        /// its worker never got it.
        fences: bool,
    },
    /// The server lacked what it takes to run the job: the lease ends, and it is tried again after a pause that doubles.
    Postpone {
        /// The job that waits.
        job: JobId,
        /// The lease that ends.
        token: Token,
        /// What was lacking.
        failure: Failure,
    },
    /// The job's payload is damaged on disk: it can never run, and is dead even if its producer wants it dropped, so that
    /// somebody sees it.
    LosePayload {
        /// The job that is dead.
        job: JobId,
        /// The lease that ends; none if it waits.
        token: Option<Token>,
        /// Where it should have been, and what is wrong there.
        failure: Failure,
    },
    /// The lease lasts longer.
    Extend {
        /// The job in flight.
        job: JobId,
        /// The lease that is lengthened.
        token: Token,
        /// By how much, in milliseconds.
        by_ms: u64,
    },
    /// Never run it (again).
    Cancel {
        /// The job, in any state but a final one.
        job: JobId,
    },
    /// A waiting or dead job becomes pending at once.
    RunNow {
        /// The job: scheduled, retrying or dead.
        job: JobId,
    },
    /// A waiting job is declared dead.
    Kill {
        /// The job: pending, scheduled or retrying.
        job: JobId,
    },
    /// It disappears without a trace.
    Discard {
        /// The job, in any state.
        job: JobId,
    },
    /// A waiting or dead job goes to another queue; a pending one to its end.
    Move {
        /// The job: pending, scheduled, retrying or dead.
        job: JobId,
        /// The queue that it goes to.
        queue: QueueName,
    },
    /// Nobody gets a job of this queue any more; or workers get them again.
    SetPaused {
        /// A queue that exists; of others, nothing is noted.
        queue: QueueName,
        /// `false` resumes the queue.
        paused: bool,
    },
    /// The queue is not known any more, until it is used again.
    RemoveQueue {
        /// A queue that exists; its jobs stay.
        queue: QueueName,
    },
    /// The queue is not known any more if nobody uses it: no job is in it, in any status, it is not paused, and no job came for
    /// some time.
    ForgetQueue {
        /// The queue that is perhaps not used.
        queue: QueueName,
        /// How long no job may have come into it, in milliseconds.
        idle_ms: u64,
    },
    /// Waiting jobs (scheduled, retrying) whose moment has come become pending.
    Promote,
    /// Finished jobs beyond their retention are forgotten.
    Forget,
    /// A job that has ended gives way to the one that was to follow it.
    Succeed,
    /// What the last attempt at a job left behind became known after the job had ended.
    Output {
        /// The job, which has ended.
        job: JobId,
        /// The lease that the attempt ran under.
        token: Token,
        /// What it left behind.
        result: Payload,
    },
    /// The server has been started: a new term begins, in this store's timeline or, in a new store, in one that is drawn.
    BeginTerm,
    /// The clock has jumped, the server starts, or the time is doubted: what is to be held of the clock from now on.
    SetClock {
        /// What it should say by what is known: what it said last, and the time that has passed since.
        expected: Timestamp,
        /// Whether the machine says that its clock is synchronised.
        is_synchronised: bool,
    },
    /// Somebody says that the clock is right.
    TrustClock,
    /// Time was lost in which no worker could report: no lease ends before it is made up for, at most by its job's timeout.
    SpareLeases {
        /// How long nobody could report, in milliseconds; the most there is gives each lease its whole timeout.
        away_ms: u64,
    },
}

/// An answer to an enqueue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Enqueued {
    /// The job's id, as given or as generated.
    pub id: JobId,
    /// False when a job with this id existed already; then nothing was added.
    pub created: bool,
    /// Whether nothing was added because a job waits under this id that is another one. Only looked for if the job
    /// [`follows_running`](JobSpec::follows_running).
    #[serde(skip)]
    pub conflicts: bool,
    /// Where the log stood: everything up to here was durable when this was answered.
    #[serde(skip)]
    pub seq: Seq,
}
