//! A job as it is written to an image: by names instead of by numbers, independent of any table.

use super::event::Change;
use super::failure::FailedAttempt;
use super::job::{BackoffKey, Exhausted, Job, JobState, Misfit, Rare};
use super::names::{KindKey, QueueKey};
use super::payload::{Body, Payload};
use super::policy::Backoff;
use crate::ids::{Attempt, JobId, KindName, Lsn, Priority, QueueName, Timestamp};

/// One job, complete and by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// Position of the event that created it.
    pub number: Lsn,
    /// Position at which it last joined the pending jobs.
    pub order: Lsn,
    /// The line it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// 0 to 9, 9 first.
    pub priority: Priority,
    /// What the producer gave.
    pub payload: Body,
    /// Longest run of one attempt.
    pub timeout_ms: u64,
    /// How many more runs after a failed one.
    pub max_retry: u32,
    /// The pauses between them.
    pub backoff: Backoff,
    /// What becomes of it when they have all failed.
    pub exhausted: Exhausted,
    /// How often it was started.
    pub attempt: Attempt,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: JobState,
    /// Its last failed attempts.
    pub failures: Vec<FailedAttempt>,
    /// How many attempts failed that count against `max_retry`.
    pub failed: u32,
    /// What its last attempt left behind.
    pub result: Option<Payload>,
    /// Travels with the job unread.
    pub custom: Option<Payload>,
    /// How many lines of a backtrace its producer would like to see.
    pub backtrace_lines: u32,
}

impl JobRecord {
    pub(super) fn of(job: &Job, queue: &QueueName, kind: &KindName) -> JobRecord {
        let rare = job.rare.as_deref();
        JobRecord {
            id: job.id.clone(),
            number: job.number,
            order: job.order,
            queue: queue.clone(),
            kind: kind.clone(),
            priority: job.priority,
            payload: job.payload.clone(),
            timeout_ms: job.timeout_ms,
            max_retry: job.max_retry,
            backoff: job.backoff(),
            exhausted: job.exhausted,
            attempt: job.attempt,
            created_at: job.created_at,
            state: job.state.clone(),
            failures: rare.map_or_else(Vec::new, |rare| rare.failures.clone()),
            failed: job.failed(),
            result: rare.and_then(|rare| rare.result.clone()),
            custom: rare.and_then(|rare| rare.custom.clone()),
            backtrace_lines: rare.map_or(0, |rare| rare.backtrace_lines),
        }
    }

    pub(super) fn into_job(self, queue: QueueKey, kind: KindKey) -> Job {
        let backoff = match self.backoff {
            Backoff::Server => BackoffKey::Server,
            Backoff::Quartic => BackoffKey::Quartic,
            Backoff::Fixed { .. } | Backoff::Exponential { .. } => BackoffKey::Own,
        };
        let rare = Rare {
            failures: self.failures,
            failed: self.failed,
            result: self.result,
            backoff: match backoff {
                BackoffKey::Own => self.backoff,
                _ => Backoff::Server,
            },
            custom: self.custom,
            backtrace_lines: self.backtrace_lines,
        };
        let has_rare = rare != Rare::default();
        Job {
            id: self.id,
            number: self.number,
            order: self.order,
            queue,
            kind,
            priority: self.priority,
            exhausted: self.exhausted,
            backoff,
            payload: self.payload,
            timeout_ms: self.timeout_ms,
            max_retry: self.max_retry,
            attempt: self.attempt,
            created_at: self.created_at,
            state: self.state,
            rare: has_rare.then(|| Box::new(rare)),
        }
    }

    /// A job by itself as an accepted one begins.
    #[must_use]
    pub fn accepted(lsn: Lsn, at: Timestamp, new: super::event::NewJob) -> JobRecord {
        JobRecord {
            id: new.id,
            number: lsn,
            order: lsn,
            queue: new.queue,
            kind: new.kind,
            priority: new.priority,
            payload: new.payload,
            timeout_ms: new.timeout_ms,
            max_retry: new.max_retry,
            backoff: new.backoff,
            exhausted: new.exhausted,
            attempt: Attempt(0),
            created_at: at,
            state: match new.run_at {
                Some(run_at) => JobState::Scheduled { run_at },
                None => JobState::Pending { since: at },
            },
            failures: Vec::new(),
            failed: 0,
            result: None,
            custom: new.custom,
            backtrace_lines: new.backtrace_lines,
        }
    }

    /// As `apply` changes this one job, without a table.
    ///
    /// # Errors
    /// The change does not fit the job's state.
    pub fn change(self, lsn: Lsn, at: Timestamp, change: Change) -> Result<JobRecord, Misfit> {
        let (mut queue, kind) = (self.queue.clone(), self.kind.clone());
        if let Change::Move { queue: to, .. } = &change {
            queue = to.clone();
        }
        let mut job = self.into_job(QueueKey(0), KindKey(0));
        job.change(lsn, at, change)?;
        Ok(JobRecord::taken_from(job, queue, kind))
    }

    fn taken_from(job: Job, queue: QueueName, kind: KindName) -> JobRecord {
        let (backoff, failed) = (job.backoff(), job.failed());
        let rare = job.rare.map(|rare| *rare).unwrap_or_default();
        JobRecord {
            queue,
            kind,
            backoff,
            failed,
            failures: rare.failures,
            result: rare.result,
            custom: rare.custom,
            backtrace_lines: rare.backtrace_lines,
            id: job.id,
            number: job.number,
            order: job.order,
            priority: job.priority,
            exhausted: job.exhausted,
            payload: job.payload,
            timeout_ms: job.timeout_ms,
            max_retry: job.max_retry,
            attempt: job.attempt,
            created_at: job.created_at,
            state: job.state,
        }
    }
}
