//! A job as it is written to an image: by names instead of by numbers, independent of any table.

use super::event::Change;
use super::job::{FailedAttempt, Job, JobState, Misfit, Past};
use super::names::{KindKey, QueueKey};
use super::payload::Payload;
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
    pub payload: Payload,
    /// Longest run of one attempt.
    pub timeout_ms: u64,
    /// How many more runs after a failed one.
    pub max_retry: u32,
    /// How often it was started.
    pub attempt: Attempt,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: JobState,
    /// Its last failed attempts.
    pub failures: Vec<FailedAttempt>,
    /// What its last attempt left behind.
    pub result: Option<Payload>,
}

impl JobRecord {
    pub(super) fn of(job: &Job, queue: &QueueName, kind: &KindName) -> JobRecord {
        let past = job.past.as_deref();
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
            attempt: job.attempt,
            created_at: job.created_at,
            state: job.state.clone(),
            failures: past.map_or_else(Vec::new, |past| past.failures.clone()),
            result: past.and_then(|past| past.result.clone()),
        }
    }

    pub(super) fn into_job(self, queue: QueueKey, kind: KindKey) -> Job {
        let has_past = !self.failures.is_empty() || self.result.is_some();
        Job {
            id: self.id,
            number: self.number,
            order: self.order,
            queue,
            kind,
            priority: self.priority,
            payload: self.payload,
            timeout_ms: self.timeout_ms,
            max_retry: self.max_retry,
            attempt: self.attempt,
            created_at: self.created_at,
            state: self.state,
            past: has_past.then(|| Box::new(Past { failures: self.failures, result: self.result })),
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
            attempt: Attempt(0),
            created_at: at,
            state: match new.run_at {
                Some(run_at) => JobState::Scheduled { run_at },
                None => JobState::Pending,
            },
            failures: Vec::new(),
            result: None,
        }
    }

    /// As `apply` changes this one job, without a table.
    ///
    /// # Errors
    /// The change does not fit the job's state.
    pub fn change(self, lsn: Lsn, at: Timestamp, change: Change) -> Result<JobRecord, Misfit> {
        let (queue, kind) = (self.queue.clone(), self.kind.clone());
        let mut job = self.into_job(QueueKey(0), KindKey(0));
        job.change(lsn, at, change)?;
        Ok(JobRecord {
            queue,
            kind,
            failures: job.past.as_mut().map_or_else(Vec::new, |past| std::mem::take(&mut past.failures)),
            result: job.past.and_then(|past| past.result),
            id: job.id,
            number: job.number,
            order: job.order,
            priority: job.priority,
            payload: job.payload,
            timeout_ms: job.timeout_ms,
            max_retry: job.max_retry,
            attempt: job.attempt,
            created_at: job.created_at,
            state: job.state,
        })
    }
}
