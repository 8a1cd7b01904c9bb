//! A job as it is written to an image: by names instead of by numbers, independent of any table.

use super::classes::{Class, ClassKey};
use super::event::Change;
use super::failure::FailedAttempt;
use super::job::{Exhausted, JobState, Misfit};
use super::kept::{Job, Parts, Spare};
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
    pub(super) fn of(job: &Job, class: &Class, queue: &QueueName, kind: &KindName) -> JobRecord {
        JobRecord::joined(job.clone().into_parts(), class, queue.clone(), kind.clone())
    }

    fn joined(parts: Parts, class: &Class, queue: QueueName, kind: KindName) -> JobRecord {
        JobRecord {
            id: parts.id,
            number: parts.number,
            order: parts.order,
            queue,
            kind,
            priority: class.priority,
            payload: parts.body,
            timeout_ms: class.timeout_ms,
            max_retry: class.max_retry,
            backoff: class.backoff,
            exhausted: class.exhausted,
            attempt: parts.attempt,
            created_at: parts.created_at,
            state: parts.state,
            failures: parts.failures,
            failed: parts.failed,
            result: parts.result,
            custom: parts.custom,
            backtrace_lines: class.backtrace_lines,
        }
    }

    /// What the job has in common with others, by the numbers of its names.
    pub(super) fn class(&self, queue: QueueKey, kind: KindKey) -> Class {
        Class {
            queue,
            kind,
            priority: self.priority,
            exhausted: self.exhausted,
            backoff: self.backoff,
            timeout_ms: self.timeout_ms,
            max_retry: self.max_retry,
            backtrace_lines: self.backtrace_lines,
        }
    }

    pub(super) fn into_job(self, class: ClassKey) -> Job {
        Job::new(Parts {
            id: self.id,
            number: self.number,
            order: self.order,
            created_at: self.created_at,
            state: self.state,
            attempt: self.attempt,
            body: self.payload,
            class,
            failures: self.failures,
            failed: self.failed,
            result: self.result,
            custom: self.custom,
        })
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
        // What a class holds is not changed by events, but for the queue.
        let class = self.class(QueueKey(0), KindKey(0));
        let mut job = self.into_job(ClassKey(0));
        job.change(lsn, at, change, &mut Spare::default())?;
        Ok(JobRecord::joined(job.into_parts(), &class, queue, kind))
    }
}
