//! A new job: whether it may be accepted, and what its event says.

use crate::ids::{JobId, Seq, Timestamp};
use crate::jobs::command::{JobSpec, Start};
use crate::jobs::event::{Event, EventKind, NewJob};
use crate::jobs::model::job::Status;
use crate::jobs::model::payload::{Content, PayloadRef};
use crate::jobs::model::policy::millis;
use crate::jobs::model::profile::Profile;
use crate::jobs::rejection::Rejection;
use crate::jobs::table::JobTable;
use crate::jobs::table::packed_job::PackedJob;

impl JobTable {
    /// Whether `jobs` more jobs may be accepted; asked once for all jobs of a request, before the first.
    ///
    /// # Errors
    /// [`Rejection::TooManyJobs`].
    pub fn admit(&self, jobs: usize) -> Result<(), Rejection> {
        let jobs_max = self.policy.jobs_max;
        match self.counts.unfinished().saturating_add(jobs as u64) <= jobs_max {
            true => Ok(()),
            false => Err(Rejection::TooManyJobs { jobs_max }),
        }
    }

    /// Whether this job may be accepted; the other jobs of its request do not matter.
    ///
    /// # Errors
    /// [`Rejection::PayloadTooLarge`].
    pub fn admit_job(&self, job: &JobSpec) -> Result<(), Rejection> {
        let (bytes, bytes_max) = (job.payload.as_str().len(), self.policy.payload_bytes_max);
        match bytes <= bytes_max {
            true => Ok(()),
            false => Err(Rejection::PayloadTooLarge { bytes, bytes_max }),
        }
    }

    /// As [`JobTable::decide`] for `Enqueue`, without a box for the command.
    ///
    /// # Errors
    /// [`Rejection::PayloadTooLarge`].
    pub fn decide_enqueue(
        &self,
        spec: JobSpec,
        now: Timestamp,
        dice: &mut fastrand::Rng,
    ) -> Result<Option<Event>, Rejection> {
        let now = now.max(self.last_at);
        self.admit_job(&spec)?;
        let (id, older) = match spec.id {
            Some(id) => {
                let older = self.slot_of(&id).map(|slot| self.job(slot));
                (id, older)
            }
            None => (self.generate_id(now, dice), None),
        };
        let stays = |older: &PackedJob| match older.status() {
            Status::Completed => !spec.replaces_completed,
            status => !status.is_finished(),
        };
        // It is taken for the new one; while it runs, it may be followed by it instead.
        let stays = older.filter(|older| stays(older));
        if stays.is_some_and(|older| !(spec.follows_running && older.status() == Status::InFlight)) {
            return Ok(None);
        }
        let run_at = match spec.start {
            Start::Now => None,
            Start::After(delay) => Some(now.plus_ms(millis(delay))),
            Start::At(moment) => Some(moment),
        };
        let limits = self.policy.limits_of(&spec.kind);
        let profile = Profile {
            queue: spec.queue,
            kind: spec.kind,
            priority: spec.priority,
            backoff: spec.backoff,
            exhausted: spec.exhausted,
            timeout_ms: millis(spec.timeout.unwrap_or(limits.timeout)).max(1),
            max_retry: spec.max_retry.unwrap_or(limits.max_retry),
            backtrace_lines: spec.backtrace_lines,
        };
        let content = Content { payload: PayloadRef::Here(spec.payload), custom: spec.custom };
        // Strictly in the future: every promotion so far ended at or before `now`.
        let run_at = run_at.filter(|run_at| *run_at > now);
        let job_seq = older.map_or(Seq::ZERO, |older| older.enqueued_seq);
        let new = Box::new(NewJob { id, profile, content, run_at });
        let kind = match stays {
            Some(_) => EventKind::Follow { job: new.id.clone(), next: new },
            None => EventKind::Enqueue(new),
        };
        Ok(Some(Event { at: now, job_seq, kind }))
    }

    /// The job that was to follow the one which has ended first.
    pub(super) fn decide_succeed(&self, now: Timestamp) -> Option<Event> {
        let job = self.job(self.succeeded.first()?.1);
        let next = job.successor()?.clone();
        let run_at = next.run_at.filter(|run_at| *run_at > now);
        let kind = EventKind::Enqueue(Box::new(NewJob { run_at, ..next }));
        Some(Event { at: now, job_seq: job.enqueued_seq, kind })
    }

    fn generate_id(&self, now: Timestamp, dice: &mut fastrand::Rng) -> JobId {
        loop {
            let id = JobId::generate(now, dice.u128(..));
            if self.is_free(&id) {
                return id;
            }
        }
    }
}
