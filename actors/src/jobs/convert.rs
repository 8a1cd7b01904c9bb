//! One form of a job from another: as the table holds it, by itself, as it is on a page of an image.

use crate::ids::{KindName, QueueName, Seq, Timestamp};
use crate::jobs::event::EventKind;
use crate::jobs::intern::{KindKey, QueueKey};
use crate::jobs::model::job::{JobState, Misfit};
use crate::jobs::page::{self, Page, PagedJob, RarePart};
use crate::jobs::record::JobRecord;
use crate::jobs::table::packed_job::{EmptyBoxes, PackedJob, Parts};
use crate::jobs::table::profiles::{JobProfile, ProfileId};

impl PackedJob {
    /// One as it comes from an image.
    pub fn of_page(job: PagedJob, profile: ProfileId) -> PackedJob {
        let PagedJob { id, number, order, created_at, state, attempt, payload: body, rare, .. } = job;
        if let (JobState::Pending { since }, None, 0) = (&state, &rare, attempt.0) {
            let accepted = PackedJob::accepted(id, number, created_at, None, body, profile);
            return accepted.pending_since_then(order, *since);
        }
        let RarePart { failures, failed, result, custom } = rare.map(|rare| *rare).unwrap_or_default();
        PackedJob::new(Parts {
            id,
            number,
            order,
            created_at,
            state,
            attempt,
            body,
            profile,
            failures,
            failed,
            result,
            custom,
        })
    }
}

impl JobRecord {
    pub(super) fn of(job: &PackedJob, profile: &JobProfile, queue: &QueueName, kind: &KindName) -> JobRecord {
        JobRecord::joined(job.clone().into_parts(), profile, queue.clone(), kind.clone())
    }

    fn joined(parts: Parts, profile: &JobProfile, queue: QueueName, kind: KindName) -> JobRecord {
        JobRecord {
            id: parts.id,
            number: parts.number,
            order: parts.order,
            queue,
            kind,
            priority: profile.priority,
            payload: parts.body,
            timeout_ms: profile.timeout_ms,
            max_retry: profile.max_retry,
            backoff: profile.backoff,
            exhausted: profile.exhausted,
            attempt: parts.attempt,
            created_at: parts.created_at,
            state: parts.state,
            failures: parts.failures,
            failed: parts.failed,
            result: parts.result,
            custom: parts.custom,
            backtrace_lines: profile.backtrace_lines,
        }
    }

    /// What the job has in common with others, by the numbers of its names.
    pub(super) fn profile(&self, queue: QueueKey, kind: KindKey) -> JobProfile {
        JobProfile {
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

    pub(super) fn into_job(self, profile: ProfileId) -> PackedJob {
        PackedJob::new(Parts {
            id: self.id,
            number: self.number,
            order: self.order,
            created_at: self.created_at,
            state: self.state,
            attempt: self.attempt,
            body: self.payload,
            profile,
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
    pub fn change(self, seq: Seq, at: Timestamp, change: EventKind) -> Result<JobRecord, Misfit> {
        let (mut queue, kind) = (self.queue.clone(), self.kind.clone());
        if let EventKind::Move { queue: to, .. } = &change {
            queue = to.clone();
        }
        // What a profile holds is not changed by events, but for the queue.
        let profile = self.profile(QueueKey(0), KindKey(0));
        let mut job = self.into_job(ProfileId(0));
        job.change(seq, at, change, &mut EmptyBoxes::default())?;
        Ok(JobRecord::joined(job.into_parts(), &profile, queue, kind))
    }
}

impl Page {
    /// The jobs, each by itself.
    pub fn records(self) -> impl Iterator<Item = JobRecord> {
        let profiles = self.profiles;
        self.jobs.into_iter().map(move |job| joined(&profiles[job.profile as usize], job))
    }
}

/// A job by itself.
pub(crate) fn joined(profile: &page::ProfileRecord, job: PagedJob) -> JobRecord {
    let rare = job.rare.map(|rare| *rare).unwrap_or_default();
    JobRecord {
        id: job.id,
        number: job.number,
        order: job.order,
        queue: profile.queue.clone(),
        kind: profile.kind.clone(),
        priority: profile.priority,
        payload: job.payload,
        timeout_ms: profile.timeout_ms,
        max_retry: profile.max_retry,
        backoff: profile.backoff,
        exhausted: profile.exhausted,
        attempt: job.attempt,
        created_at: job.created_at,
        state: job.state,
        failures: rare.failures,
        failed: rare.failed,
        result: rare.result,
        custom: rare.custom,
        backtrace_lines: profile.backtrace_lines,
    }
}
