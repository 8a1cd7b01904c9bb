//! A job and its states. How they change into each other is written in `jobs/apply.rs`.

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, Holder, JobId, KindName, Priority, QueueName, Seq, Timestamp, Token};
use crate::jobs::model::failure::FailedAttempt;
use crate::jobs::model::payload::Payload;
use crate::jobs::model::policy::Backoff;

/// Where a job is in its life, with what is known of it only there.
///
/// This is a job's state as it is told and written. The table holds jobs packed (`jobs/table/packed_job.rs`): there, one
/// field means something else in each state. `Discard` leads out of every state, and a new `Enqueue` of the same id out of
/// every finished one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waits for a worker. Entered by `Enqueue`, by `Promote`, by `RunNow`, or by `Requeue` when a lease ended without
    /// a verdict. Left by `Dispatch`, `Kill` or `Cancel`.
    Pending {
        /// When it joined the pending jobs.
        since: Timestamp,
    },
    /// Waits for its first moment. Entered by `Enqueue` with a start in the future, left by `Promote`, `RunNow`,
    /// `Kill` or `Cancel`.
    Scheduled {
        /// Not before this moment.
        run_at: Timestamp,
    },
    /// One worker holds the lease. Left by `Ack`, `Retry`, `Requeue`, `Exhaust` or `Cancel`.
    InFlight(Box<Lease>),
    /// Waits after a failed attempt, or after one that could not begin. Entered by `Retry` and `Requeue`, left by
    /// `Promote`, `RunNow`, `Kill` or `Cancel`.
    Retrying {
        /// Not before this moment.
        retry_at: Timestamp,
    },
    /// Succeeded. Left by being forgotten.
    Completed(Finish),
    /// Out of attempts, or killed. Left by `RunNow`, or by being forgotten.
    Dead(Finish),
    /// Withdrawn, or failed for good with the wish to be dropped then. Left by being forgotten.
    Cancelled(Finish),
}

/// The right of one worker to one job until a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// A local worker by its place in the pool, or a remote one by its name.
    pub holder: Holder,
    /// Names it; never given twice.
    pub token: Token,
    /// When it was given out.
    pub since: Timestamp,
    /// When it expires, unless it is extended before.
    pub deadline: Timestamp,
    /// When the job had joined the pending jobs.
    pub pending_since: Timestamp,
}

/// A lease that has ended, while a report on it may still count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndedLease {
    /// Who held it.
    pub holder: Holder,
    /// What named it.
    pub token: Token,
}

/// What becomes of a job whose last attempt failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// It is dead, until its retention is over.
    #[default]
    Dead,
    /// It is cancelled: nobody wants to see it again.
    Drop,
}

/// When and where in the log a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// When the job ended.
    pub at: Timestamp,
    /// Position of the event that ended it.
    pub seq: Seq,
}

/// A state without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// [`JobState::Pending`]
    Pending,
    /// [`JobState::Scheduled`]
    Scheduled,
    /// [`JobState::InFlight`]
    InFlight,
    /// [`JobState::Retrying`]
    Retrying,
    /// [`JobState::Completed`]
    Completed,
    /// [`JobState::Dead`]
    Dead,
    /// [`JobState::Cancelled`]
    Cancelled,
}

impl Status {
    /// All of them, in the order in which people see them.
    pub const ALL: [Status; 7] = [
        Status::Pending,
        Status::Scheduled,
        Status::InFlight,
        Status::Retrying,
        Status::Completed,
        Status::Dead,
        Status::Cancelled,
    ];

    /// As it is written everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Scheduled => "scheduled",
            Status::InFlight => "in_flight",
            Status::Retrying => "retrying",
            Status::Completed => "completed",
            Status::Dead => "dead",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether a job in it will never run again, unless somebody asks for it.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Status::Completed | Status::Dead | Status::Cancelled)
    }

    /// Whether a job in it can be declared dead: it waits.
    #[must_use]
    pub fn can_be_killed(self) -> bool {
        matches!(self, Status::Pending | Status::Scheduled | Status::Retrying)
    }

    /// Whether a job in it can be made pending at once: it waits for a moment, or is dead.
    #[must_use]
    pub fn can_run_now(self) -> bool {
        matches!(self, Status::Scheduled | Status::Retrying | Status::Dead)
    }

    /// Whether a job in it can go to another queue: it waits, or is dead.
    #[must_use]
    pub fn can_be_moved(self) -> bool {
        self.can_be_killed() || self == Status::Dead
    }
}

impl JobState {
    /// The state without its data.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            JobState::Pending { .. } => Status::Pending,
            JobState::Scheduled { .. } => Status::Scheduled,
            JobState::InFlight(_) => Status::InFlight,
            JobState::Retrying { .. } => Status::Retrying,
            JobState::Completed(_) => Status::Completed,
            JobState::Dead(_) => Status::Dead,
            JobState::Cancelled(_) => Status::Cancelled,
        }
    }

    /// The moment a waiting job (scheduled, retrying) waits for.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            JobState::Scheduled { run_at: due } | JobState::Retrying { retry_at: due } => Some(*due),
            _ => None,
        }
    }

    /// How a finished job ended.
    #[must_use]
    pub fn finish(&self) -> Option<Finish> {
        match self {
            JobState::Completed(finish) | JobState::Dead(finish) | JobState::Cancelled(finish) => {
                Some(*finish)
            }
            _ => None,
        }
    }
}

/// An event does not fit the job it names: the log and the state disagree, which only damage or a bug can cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} ({event}) does not fit: {problem}")]
pub struct Misfit {
    /// Position of the event in the log.
    pub seq: Seq,
    /// Name of the event's type, such as `ACK`.
    pub event: &'static str,
    /// What is in the way.
    pub problem: String,
}

/// A job as people and programs see it; inside of the engine with a [`crate::jobs::PayloadRef`] that may still be on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView<P = Payload> {
    /// As its producer gave it, or as it was generated.
    pub id: JobId,
    /// Where it is in its life.
    pub status: Status,
    /// The line it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// 0 to 9, 9 first.
    pub priority: Priority,
    /// How often it was started.
    pub attempt: Attempt,
    /// How many attempts failed that count against `max_retry`; an orderly stop of the server does not.
    pub failed: u32,
    /// How many more runs it gets after a failed one.
    pub max_retry: u32,
    /// The pauses between its attempts.
    #[serde(skip_serializing_if = "Backoff::is_server")]
    pub backoff: Backoff,
    /// What becomes of it when they have all failed.
    pub exhausted: Exhausted,
    /// Longest run of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Pending or in flight: when it joined the pending jobs. Else as `created_at`.
    pub enqueued_at: Timestamp,
    /// Scheduled or retrying: not before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// In flight: who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<Holder>,
    /// In flight: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// In flight: when its lease expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// In flight: the fencing token of its lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// Completed, dead or cancelled: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Its last failed attempts, oldest first.
    pub errors: Vec<FailedAttempt>,
    /// What its last attempt left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
    /// Data of the producer's own for handlers and tools; beaver does not read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Payload>,
    /// How many lines of a backtrace its producer would like to see; a hint for workers.
    #[serde(skip_serializing_if = "is_zero")]
    pub backtrace_lines: u32,
    /// Whether another job of its name was accepted while it ran, and follows when it has ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_followed: bool,
    /// Texts of the job that cannot be read back from the disk, and why; each is null or missing here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// What the producer gave for the handler.
    pub payload: P,
}

impl JobView {
    /// How long those of its texts are that may be long.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let texts = [Some(&self.payload), self.custom.as_ref(), self.result.as_ref()];
        let errors = self.errors.iter().map(|attempt| attempt.failure.text_bytes());
        texts.into_iter().flatten().map(|text| text.as_str().len()).chain(errors).sum()
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
