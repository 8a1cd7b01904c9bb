//! One form of a job from another: as the table holds it, by itself, as it is on a page of an image.

use crate::ids::{KindName, Lsn, QueueName, Timestamp};
use crate::jobs::event::Change;
use crate::jobs::intern::{KindKey, QueueKey};
use crate::jobs::model::job::{JobState, Misfit};
use crate::jobs::page::{self, Page, PagedJob, RarePart};
use crate::jobs::record::JobRecord;
use crate::jobs::table::packed_job::{Job, Parts, Spare};
use crate::jobs::table::profiles::{Class, ClassKey};

impl Job {
    /// One as it comes from an image.
    pub fn of_page(job: PagedJob, class: ClassKey) -> Job {
        let PagedJob { id, number, order, created_at, state, attempt, payload: body, rare, .. } = job;
        if let (JobState::Pending { since }, None, 0) = (&state, &rare, attempt.0) {
            let accepted = Job::accepted(id, number, created_at, None, body, class);
            return accepted.pending_since_then(order, *since);
        }
        let RarePart { failures, failed, result, custom } = rare.map(|rare| *rare).unwrap_or_default();
        Job::new(Parts {
            id,
            number,
            order,
            created_at,
            state,
            attempt,
            body,
            class,
            failures,
            failed,
            result,
            custom,
        })
    }
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

impl Page {
    /// The jobs, each by itself.
    pub fn records(self) -> impl Iterator<Item = JobRecord> {
        let classes = self.classes;
        self.jobs.into_iter().map(move |job| joined(&classes[job.class as usize], job))
    }
}

/// A job by itself.
pub(crate) fn joined(class: &page::Class, job: PagedJob) -> JobRecord {
    let rare = job.rare.map(|rare| *rare).unwrap_or_default();
    JobRecord {
        id: job.id,
        number: job.number,
        order: job.order,
        queue: class.queue.clone(),
        kind: class.kind.clone(),
        priority: class.priority,
        payload: job.payload,
        timeout_ms: class.timeout_ms,
        max_retry: class.max_retry,
        backoff: class.backoff,
        exhausted: class.exhausted,
        attempt: job.attempt,
        created_at: job.created_at,
        state: job.state,
        failures: rare.failures,
        failed: rare.failed,
        result: rare.result,
        custom: rare.custom,
        backtrace_lines: class.backtrace_lines,
    }
}
