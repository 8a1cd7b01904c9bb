//! A job, its states and the one place where a state may change into another.

use serde::{Deserialize, Serialize};

use super::event::Change;
use super::failure::{FAILURES_KEPT, FailedAttempt, Failure};
use super::names::{KindKey, QueueKey};
use super::payload::{Bodies, Body, BodyError, Payload};
use super::policy::Backoff;
use crate::bugs::{self, Bug};
use crate::ids::{Attempt, Holder, JobId, KindName, Lsn, Priority, QueueName, Timestamp, Token};

/// Where a job is in its life. Data that means nothing in a state is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waits for a worker. Entered by `Enqueue`, by `Promote`, by `RunNow`, or by `Requeue` when a lease ended without
    /// a verdict.
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
    /// One worker holds the lease. Left by `Ack`, `Retry`, `Timeout`, `Requeue`, `Dead`, `Drop` or `Cancel`.
    InFlight(Box<Lease>),
    /// Waits after a failed attempt. Entered by `Retry` and `Timeout`, left by `Promote`, `RunNow`, `Kill` or `Cancel`.
    Retrying {
        /// Not before this moment.
        retry_at: Timestamp,
    },
    /// Succeeded. Left only by being forgotten.
    Completed(Finish),
    /// Out of attempts, or killed. Left by `RunNow`, or by being forgotten.
    Dead(Finish),
    /// Withdrawn, or failed for good with the wish to be dropped then. Left only by being forgotten.
    Cancelled(Finish),
}

/// The right of one worker to one job until a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub holder: Holder,
    /// Names it; larger than that of any lease before.
    pub token: Token,
    /// When it began.
    pub since: Timestamp,
    /// When it expires.
    pub deadline: Timestamp,
    /// When the job had joined the pending jobs.
    pub pending_since: Timestamp,
}

/// What becomes of a job whose last attempt failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub exhausted: Exhausted,
    pub backoff: BackoffKey,
    pub payload: Body,
    pub timeout_ms: u64,
    pub max_retry: u32,
    pub attempt: Attempt,
    pub created_at: Timestamp,
    pub state: JobState,
    pub rare: Option<Box<Rare>>,
}

/// Which back-off a job has, in one byte: those with numbers of their own keep them in [`Rare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackoffKey {
    Server,
    Quartic,
    Own,
}

/// What most jobs do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    /// The last failed attempts, oldest first, at most [`FAILURES_KEPT`].
    pub failures: Vec<FailedAttempt>,
    /// How many attempts failed that count against `max_retry`.
    pub failed: u32,
    /// What the last attempt that had something to say left behind.
    pub result: Option<Payload>,
    /// For [`BackoffKey::Own`].
    pub backoff: Backoff,
    /// What travels with the job unread.
    pub custom: Option<Payload>,
    /// How much of a backtrace its producer would like to see.
    pub backtrace_lines: u32,
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
                self.lease(lsn, at, Holder::Local(worker), attempt, deadline).ok_or_else(|| misfit(self))?;
            }
            Change::Reserve { worker, attempt, deadline, .. } => {
                self.lease(lsn, at, Holder::Remote(worker), attempt, deadline).ok_or_else(|| misfit(self))?;
            }
            Change::Ack { token, result, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.keep_result(result);
                self.state = JobState::Completed(Finish { at, lsn });
            }
            Change::Retry { token, failure, retry_at, result, .. }
            | Change::Timeout { token, failure, retry_at, result, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.remember(at, failure, Some(retry_at), true);
                self.keep_result(result);
                self.state = JobState::Retrying { retry_at };
            }
            Change::Requeue { token, failure, counted, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.remember(at, failure, None, counted);
                // Its place in line stays: it was there before those that came while it ran.
                self.state = JobState::Pending { since: at };
            }
            Change::Dead { token, failure, result, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.remember(at, failure, None, true);
                self.keep_result(result);
                self.state = JobState::Dead(Finish { at, lsn });
            }
            Change::Drop { token, failure, result, .. } => {
                self.leave_lease(token).ok_or_else(|| misfit(self))?;
                self.remember(at, failure, None, true);
                self.keep_result(result);
                self.state = JobState::Cancelled(Finish { at, lsn });
            }
            Change::Extend { token, deadline, .. } => {
                let lease = self.lease_under(token).ok_or_else(|| misfit(self))?;
                self.state = JobState::InFlight(Box::new(Lease { deadline, ..lease.clone() }));
            }
            Change::Cancel { .. } => {
                if self.state.status().is_finished() {
                    return Err(misfit(self));
                }
                self.state = JobState::Cancelled(Finish { at, lsn });
            }
            Change::Kill { .. } => {
                if !self.state.status().can_be_killed() {
                    return Err(misfit(self));
                }
                self.state = JobState::Dead(Finish { at, lsn });
            }
            Change::RunNow { .. } => {
                if !self.state.status().can_run_now() {
                    return Err(misfit(self));
                }
                self.order = lsn;
                self.state = JobState::Pending { since: at };
            }
            Change::Move { .. } => {
                // The caller has changed the queue: here it is a name, there it is a number.
                if !self.state.status().can_be_moved() {
                    return Err(misfit(self));
                }
                if let JobState::Pending { since } = &mut self.state {
                    (self.order, *since) = (lsn, at);
                }
            }
            Change::Promote { .. } => {
                self.state.due().ok_or_else(|| misfit(self))?;
                self.order = lsn;
                self.state = JobState::Pending { since: at };
            }
            Change::Enqueue(_)
            | Change::Discard { .. }
            | Change::Forget { .. }
            | Change::Pause { .. }
            | Change::Resume { .. }
            | Change::RemoveQueue { .. }
            | Change::Digest { .. } => return Err(misfit(self)),
        }
        Ok(())
    }

    fn lease(
        &mut self,
        lsn: Lsn,
        at: Timestamp,
        holder: Holder,
        attempt: Attempt,
        deadline: Timestamp,
    ) -> Option<()> {
        let JobState::Pending { since: pending_since } = self.state else { return None };
        if attempt <= self.attempt {
            return None;
        }
        self.attempt = attempt;
        let token = Token(lsn.0);
        self.state =
            JobState::InFlight(Box::new(Lease { holder, token, since: at, deadline, pending_since }));
        Some(())
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
            self.rare.get_or_insert_default().result = result;
        }
    }

    fn remember(&mut self, at: Timestamp, failure: Failure, next_at: Option<Timestamp>, counted: bool) {
        let rare = self.rare.get_or_insert_default();
        rare.failed = rare.failed.saturating_add(u32::from(counted));
        if rare.failures.len() == FAILURES_KEPT {
            rare.failures.remove(0);
        }
        rare.failures.push(FailedAttempt { attempt: self.attempt, at, next_at, failure });
    }

    /// When it last joined the pending jobs, while it is one of them or runs.
    pub fn pending_since(&self) -> Option<Timestamp> {
        match &self.state {
            JobState::Pending { since } => Some(*since),
            JobState::InFlight(lease) => Some(lease.pending_since),
            _ => None,
        }
    }

    /// How many attempts failed that count against `max_retry`.
    pub fn failed(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.failed)
    }

    /// The pauses between its attempts.
    pub fn backoff(&self) -> Backoff {
        match self.backoff {
            BackoffKey::Server => Backoff::Server,
            BackoffKey::Quartic => Backoff::Quartic,
            BackoffKey::Own => self.rare.as_ref().map_or(Backoff::Server, |rare| rare.backoff),
        }
    }
}

/// A job as people and programs see it; inside of the engine with a [`Body`] that may still be on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView<P = Payload> {
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
    /// When it last joined the pending jobs; `created_at` before that.
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
    /// What the producer gave for whoever reads it; beaver does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Payload>,
    /// How many lines of a backtrace its producer would like to see; a hint for workers.
    #[serde(skip_serializing_if = "is_zero")]
    pub backtrace_lines: u32,
    /// What the producer gave for the handler.
    pub payload: P,
}

impl JobView<Body> {
    /// With the payload itself, read back if it has to be.
    ///
    /// # Errors
    /// It is not in memory and cannot be read.
    pub fn whole(self, number: Lsn, bodies: &dyn Bodies) -> Result<JobView, BodyError> {
        let payload = match &self.payload {
            Body::Here(payload) => payload.clone(),
            Body::Stored { .. } => bodies.read(number)?,
        };
        Ok(self.with(payload))
    }

    /// With this payload.
    #[must_use]
    pub fn with(self, payload: Payload) -> JobView {
        let JobView {
            id,
            status,
            queue,
            kind,
            priority,
            attempt,
            failed,
            max_retry,
            backoff,
            exhausted,
            timeout_ms,
            created_at,
            enqueued_at,
            run_at,
            worker,
            started_at,
            deadline,
            token,
            finished_at,
            errors,
            result,
            custom,
            backtrace_lines,
            payload: _,
        } = self;
        JobView {
            id,
            status,
            queue,
            kind,
            priority,
            attempt,
            failed,
            max_retry,
            backoff,
            exhausted,
            timeout_ms,
            created_at,
            enqueued_at,
            run_at,
            worker,
            started_at,
            deadline,
            token,
            finished_at,
            errors,
            result,
            custom,
            backtrace_lines,
            payload,
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
