//! What can happen. An event is a fact: everything that was decided is in it, so that applying it needs
//! no clock and no dice. How events look on disk is written in [`crate::wal::codec`].

use crate::ids::{
    Attempt, JobId, KindName, Priority, QueueName, RemoteName, Seq, Timestamp, Token, WorkerId,
};
use crate::jobs::model::failure::Failure;
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::payload::{Payload, PayloadRef};
use crate::jobs::model::policy::Backoff;

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was decided. Never earlier than the event before.
    pub at: Timestamp,
    /// Number of the job that it changes; of the one that gives way, for `Enqueue`. Zero if there is none.
    ///
    /// Folding a log into a snapshot finds the job by it.
    pub number: Seq,
    /// What happened.
    pub change: EventKind,
}

/// A job as it was accepted, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its name.
    pub id: JobId,
    /// The line it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// What the handler gets.
    pub payload: PayloadRef,
    /// 0 to 9, 9 first.
    pub priority: Priority,
    /// Not before this moment, if that was in the future.
    pub run_at: Option<Timestamp>,
    /// Longest run of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// How many more runs after a failed one.
    pub max_retry: u32,
    /// The pauses between them.
    pub backoff: Backoff,
    /// What becomes of it when they have all failed.
    pub exhausted: Exhausted,
    /// Travels with the job unread.
    pub custom: Option<Payload>,
    /// How many lines of a backtrace its producer would like to see.
    pub backtrace_lines: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A job was accepted.
    Enqueue(Box<NewJob>),
    /// A worker was given the lease; the event's position is the token.
    Dispatch {
        /// The job.
        job: JobId,
        /// Who runs it.
        worker: WorkerId,
        /// Which run this is.
        attempt: Attempt,
        /// When the lease expires.
        deadline: Timestamp,
    },
    /// A remote worker was given the lease; the event's position is the token.
    Reserve {
        /// The job.
        job: JobId,
        /// Who runs it.
        worker: RemoteName,
        /// Which run this is.
        attempt: Attempt,
        /// When the lease expires.
        deadline: Timestamp,
    },
    /// It succeeded.
    Ack {
        /// The job.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What it leaves behind.
        result: Option<Payload>,
    },
    /// The attempt failed and another will follow.
    Retry {
        /// The job.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What went wrong.
        failure: Box<Failure>,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
        /// When it may run again.
        retry_at: Timestamp,
    },
    /// The attempt took too long and another will follow.
    Timeout {
        /// The job.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What went wrong.
        failure: Box<Failure>,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
        /// When it may run again.
        retry_at: Timestamp,
    },
    /// The lease ended without a verdict on the job; it is pending again, at its old place in line.
    Requeue {
        /// The job.
        job: JobId,
        /// The lease that ended.
        token: Token,
        /// Why it ended.
        failure: Box<Failure>,
        /// Whether the attempt counts against `max_retry`.
        counted: bool,
    },
    /// The attempt failed and was the last.
    Dead {
        /// The job.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What went wrong.
        failure: Box<Failure>,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
    },
    /// The attempt failed and was the last, and nobody wants to see the job again.
    Drop {
        /// The job.
        job: JobId,
        /// The lease it was run under.
        token: Token,
        /// What went wrong.
        failure: Box<Failure>,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
    },
    /// The lease lasts longer.
    Extend {
        /// The job.
        job: JobId,
        /// The lease.
        token: Token,
        /// When it expires now.
        deadline: Timestamp,
    },
    /// It was withdrawn.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// It waited, and was declared dead.
    Kill {
        /// The job.
        job: JobId,
    },
    /// It waited or was dead, and became pending.
    RunNow {
        /// The job.
        job: JobId,
    },
    /// It disappeared.
    Discard {
        /// The job.
        job: JobId,
    },
    /// It went to another queue; if it was pending, to its end.
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
    /// Jobs of this queue are given out again.
    Resume {
        /// The queue.
        queue: QueueName,
    },
    /// This queue is not known any more, until it is used again; it is not paused either.
    RemoveQueue {
        /// The queue.
        queue: QueueName,
    },
    /// Every waiting job up to this one, in the order of (moment, number), became pending.
    ///
    /// One event for all that are due: a mark instead of a list keeps it small, and still tells for each job
    /// alone whether it was meant, which folding a log into a snapshot job by job relies on.
    Promote {
        /// Moment that the last of them waited for.
        due: Timestamp,
        /// Number of the last of them.
        number: Seq,
    },
    /// What the state sums up to: see [`crate::jobs::table::digest`]. Changes nothing.
    Digest {
        /// The sum.
        digest: u64,
    },
    /// Finished jobs were forgotten: of each status those that ended up to a position.
    Forget {
        /// Completed ones that ended at or before this.
        completed: Seq,
        /// Dead ones that ended at or before this.
        dead: Seq,
        /// Cancelled ones that ended at or before this.
        cancelled: Seq,
    },
}

impl EventKind {
    /// The type's name as people see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::Enqueue(_) => "ENQUEUE",
            EventKind::Dispatch { .. } => "DISPATCH",
            EventKind::Reserve { .. } => "RESERVE",
            EventKind::Ack { .. } => "ACK",
            EventKind::Retry { .. } => "RETRY",
            EventKind::Timeout { .. } => "TIMEOUT",
            EventKind::Requeue { .. } => "REQUEUE",
            EventKind::Dead { .. } => "DEAD",
            EventKind::Drop { .. } => "DROP",
            EventKind::Kill { .. } => "KILL",
            EventKind::RunNow { .. } => "RUN_NOW",
            EventKind::Discard { .. } => "DISCARD",
            EventKind::Move { .. } => "MOVE",
            EventKind::Pause { .. } => "PAUSE",
            EventKind::Resume { .. } => "RESUME",
            EventKind::RemoveQueue { .. } => "REMOVE_QUEUE",
            EventKind::Extend { .. } => "EXTEND",
            EventKind::Cancel { .. } => "CANCEL",
            EventKind::Promote { .. } => "PROMOTE",
            EventKind::Forget { .. } => "FORGET",
            EventKind::Digest { .. } => "DIGEST",
        }
    }

    /// The job it names, if it names one.
    #[must_use]
    pub fn job(&self) -> Option<&JobId> {
        match self {
            EventKind::Enqueue(new) => Some(&new.id),
            EventKind::Dispatch { job, .. }
            | EventKind::Reserve { job, .. }
            | EventKind::Ack { job, .. }
            | EventKind::Retry { job, .. }
            | EventKind::Timeout { job, .. }
            | EventKind::Requeue { job, .. }
            | EventKind::Dead { job, .. }
            | EventKind::Drop { job, .. }
            | EventKind::Extend { job, .. }
            | EventKind::Kill { job }
            | EventKind::RunNow { job }
            | EventKind::Discard { job }
            | EventKind::Move { job, .. }
            | EventKind::Cancel { job } => Some(job),
            EventKind::Pause { .. }
            | EventKind::Resume { .. }
            | EventKind::RemoveQueue { .. }
            | EventKind::Promote { .. }
            | EventKind::Forget { .. }
            | EventKind::Digest { .. } => None,
        }
    }
}
