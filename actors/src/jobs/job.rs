//! A job, its states and the one place where a state may change into another.

use serde::{Deserialize, Serialize};

use super::event::Change;
use super::names::{KindKey, QueueKey};
use super::payload::Payload;
use crate::bugs::{self, Bug};
use crate::ids::{Attempt, JobId, KindName, Lsn, Priority, QueueName, Timestamp, Token, WorkerId};

/// How many of a job's last failed attempts are kept with it.
pub const FAILURES_KEPT: usize = 5;
/// Longest failure message that is kept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Where a job is in its life. Data that means nothing in a state is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waits for a worker. Entered by `Enqueue`, by `Promote`, or by `Requeue` when a lease ended without a verdict.
    Pending,
    /// Waits for its first moment. Entered by `Enqueue` with a start in the future, left by `Promote` or `Cancel`.
    Scheduled {
        /// Not before this moment.
        run_at: Timestamp,
    },
    /// One worker holds the lease. Left by `Ack`, `Retry`, `Timeout`, `Requeue`, `Dead` or `Cancel`.
    InFlight(Lease),
    /// Waits after a failed attempt. Entered by `Retry` and `Timeout`, left by `Promote` or `Cancel`.
    Retrying {
        /// Not before this moment.
        retry_at: Timestamp,
    },
    /// Succeeded. Left only by being forgotten.
    Completed(Finish),
    /// Out of attempts. Left only by being forgotten.
    Dead(Finish),
    /// Withdrawn. Left only by being forgotten.
    Cancelled(Finish),
}

/// The right of one worker to one job until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub worker: WorkerId,
    /// Names it; larger than that of any lease before.
    pub token: Token,
    /// When it began.
    pub since: Timestamp,
    /// When it expires.
    pub deadline: Timestamp,
}

/// When and where in the log a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// The moment.
    pub at: Timestamp,
    /// The event.
    pub lsn: Lsn,
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

    /// Whether a job in it will never run again.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Status::Completed | Status::Dead | Status::Cancelled)
    }
}

impl JobState {
    /// The state without its data.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            JobState::Pending => Status::Pending,
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

/// Why an attempt did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The handler said so.
    Error,
    /// The handler panicked.
    Panic,
    /// It ran longer than its timeout, or its lease expired.
    Timeout,
    /// The worker or the server ended while it ran.
    Lost,
}

impl FailureKind {
    /// As it is written on disk.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            FailureKind::Error => 0,
            FailureKind::Panic => 1,
            FailureKind::Timeout => 2,
            FailureKind::Lost => 3,
        }
    }

    /// The reverse of [`FailureKind::number`].
    #[must_use]
    pub fn from_number(number: u8) -> Option<FailureKind> {
        let all = [FailureKind::Error, FailureKind::Panic, FailureKind::Timeout, FailureKind::Lost];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

/// One attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort.
    pub kind: FailureKind,
    /// In the handler's words, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
}

impl Failure {
    /// A failure with its message cut to what is kept.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
            message.truncate(end);
        }
        Failure { kind, message }
    }
}

/// A failed attempt as it is kept with its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Which run.
    pub attempt: Attempt,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    pub failure: Failure,
}

/// A job as the table holds it. What most jobs do not have is behind one pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub id: JobId,
    /// Position of the event that created it: its number, never used twice.
    pub number: Lsn,
    /// Its place in line: the position at which it last joined the pending jobs.
    pub order: Lsn,
    pub queue: QueueKey,
    pub kind: KindKey,
    pub priority: Priority,
    pub payload: Payload,
    pub timeout_ms: u64,
    pub max_retry: u32,
    pub attempt: Attempt,
    pub created_at: Timestamp,
    pub state: JobState,
    pub past: Option<Box<Past>>,
}

/// What a job has behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// The last failed attempts, oldest first, at most [`FAILURES_KEPT`].
    pub failures: Vec<FailedAttempt>,
    /// What the last attempt that had something to say left behind.
    pub result: Option<Payload>,
}

/// An event does not fit the job it names: the log and the state disagree, which only damage or a bug can cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {lsn} ({change}) does not fit: {problem}")]
pub struct Misfit {
    /// The event's position.
    pub lsn: Lsn,
    /// Its type's name.
    pub change: &'static str,
    /// What is in the way.
    pub problem: String,
}

impl Job {
    /// Moves the job to the state that `change`, logged at `lsn` and `at`, puts it in.
    ///
    /// Only changes that name this job, and `Promote` when it covers it. The caller keeps the indexes.
    pub fn change(&mut self, lsn: Lsn, at: Timestamp, change: Change) -> Result<(), Misfit> {
        let name = change.name();
        let misfit = |job: &Job| Misfit {
            lsn,
            change: name,
            problem: format!(
                "job {} is {} under another lease or in another state",
                job.id,
                job.state.status().as_str()
            ),
        };
        match change {
            Change::Dispatch { worker, attempt, deadline, .. } => {
                if self.state != JobState::Pending || attempt <= self.attempt {
                    return Err(misfit(self));
                }
                self.attempt = attempt;
                self.state = JobState::InFlight(Lease { worker, token: Token(lsn.0), since: at, deadline });
            }
            Change::Ack { token, result, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.keep_result(result);
                self.state = JobState::Completed(Finish { at, lsn });
            }
            Change::Retry { token, failure, retry_at, result, .. }
            | Change::Timeout { token, failure, retry_at, result, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.remember(at, failure);
                self.keep_result(result);
                self.state = JobState::Retrying { retry_at };
            }
            Change::Requeue { token, failure, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.remember(at, failure);
                // Its place in line stays: it was there before those that came while it ran.
                self.state = JobState::Pending;
            }
            Change::Dead { token, failure, result, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.remember(at, failure);
                self.keep_result(result);
                self.state = JobState::Dead(Finish { at, lsn });
            }
            Change::Extend { token, deadline, .. } => {
                let lease = *self.lease_under(token).ok_or_else(|| misfit(self))?;
                self.state = JobState::InFlight(Lease { deadline, ..lease });
            }
            Change::Cancel { .. } => {
                if self.state.status().is_finished() {
                    return Err(misfit(self));
                }
                self.state = JobState::Cancelled(Finish { at, lsn });
            }
            Change::Promote { .. } => {
                self.state.due().ok_or_else(|| misfit(self))?;
                self.order = lsn;
                self.state = JobState::Pending;
            }
            Change::Enqueue(_) | Change::Forget { .. } | Change::Digest { .. } => return Err(misfit(self)),
        }
        Ok(())
    }

    /// The lease, if `token` names the one that the job is held under.
    pub fn lease_under(&self, token: Token) -> Option<&Lease> {
        match &self.state {
            JobState::InFlight(lease) if lease.token == token || bugs::has(Bug::NoTokenCheck) => Some(lease),
            _ => None,
        }
    }

    fn leave_lease(&self, token: Token) -> Option<()> {
        self.lease_under(token).map(|_| ())
    }

    fn keep_result(&mut self, result: Option<Payload>) {
        if result.is_some() {
            self.past.get_or_insert_default().result = result;
        }
    }

    fn remember(&mut self, at: Timestamp, failure: Failure) {
        let past = self.past.get_or_insert_default();
        if past.failures.len() == FAILURES_KEPT {
            past.failures.remove(0);
        }
        past.failures.push(FailedAttempt { attempt: self.attempt, at, failure });
    }
}

/// A job as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView {
    /// Its name.
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
    /// How many more runs it gets after a failed one.
    pub max_retry: u32,
    /// Longest run of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Scheduled or retrying: not before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// In flight: who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
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
    /// What the producer gave.
    pub payload: Payload,
}
