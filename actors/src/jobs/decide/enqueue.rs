//! A new job: whether it may be accepted, and what its event says.

use crate::ids::{JobId, Seq, Timestamp};
use crate::jobs::command::{JobSpec, Start};
use crate::jobs::event::{Event, EventKind, NewJob};
use crate::jobs::model::job::Status;
use crate::jobs::model::payload::{Content, Payload, PayloadRef, PayloadStore};
use crate::jobs::model::policy::millis;
use crate::jobs::model::profile::Profile;
use crate::jobs::model::text::{Storable as _, TextAt};
use crate::jobs::rejection::Rejection;
use crate::jobs::table::JobTable;
use crate::jobs::table::packed_job::PackedJob;

/// What an offered job is to what the table has under its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing waits under this id, nor follows the job that runs.
    New,
    /// It waits already, just so.
    Known,
    /// Something else waits under this id.
    Conflicts,
}

impl JobTable {
    /// Whether a job like this one waits under its id already, or another one; what waits is the job that has not begun,
    /// or the one that follows it when it has. A text on disk is read only if all the rest is the same; one that cannot be
    /// read is another one.
    #[must_use]
    pub fn offer(&self, spec: &JobSpec, now: Timestamp, payload_store: &dyn PayloadStore) -> Offer {
        let Some(slot) = spec.id.as_ref().and_then(|id| self.slot_of(id)) else { return Offer::New };
        let now = now.max(self.last_at);
        let job = self.job(slot);
        let is_same = match (job.status(), job.successor()) {
            (Status::InFlight, None) => return Offer::New,
            (status, _) if status.is_finished() => return Offer::New,
            (Status::InFlight, Some(next)) => {
                let NewJob { profile, content, run_at, .. } = next;
                let is = |kept: &PayloadRef, wanted: &Payload| kept.here() == Some(wanted);
                self.is_wanted(profile, *run_at, spec, now)
                    && is(&content.payload, &spec.payload)
                    && content.custom == spec.custom
            }
            (status, _) => {
                let profile = self.profile_of(job);
                let names = (self.sections.queues.name(profile.queue), self.kinds.name(profile.kind.0));
                let run_at = job.due().filter(|_| status == Status::Scheduled);
                let custom = job.rare().and_then(|rare| rare.custom.as_ref());
                let is = |kept: &PayloadRef, wanted: &Payload, at| is_text(kept, wanted, at, payload_store);
                self.is_wanted(&profile.named(names.0, names.1), run_at, spec, now)
                    && is(&job.payload, &spec.payload, TextAt::payload(job.enqueued_seq))
                    && match (custom, &spec.custom) {
                        (None, None) => true,
                        (Some(kept), Some(wanted)) => is(kept, wanted, TextAt::custom(job.enqueued_seq)),
                        _ => false,
                    }
            }
        };
        if is_same { Offer::Known } else { Offer::Conflicts }
    }

    /// Whether all but the texts is as `spec` says.
    fn is_wanted(
        &self,
        profile: &Profile,
        run_at: Option<Timestamp>,
        spec: &JobSpec,
        now: Timestamp,
    ) -> bool {
        let Profile { queue, kind, priority, backoff, exhausted, timeout_ms, max_retry, backtrace_lines } =
            profile;
        // A moment that has passed means now, in the job that waits and in this one.
        let coming = |run_at: Option<Timestamp>| run_at.filter(|run_at| *run_at > now);
        (queue, kind, priority) == (&spec.queue, &spec.kind, &spec.priority)
            && (backoff, exhausted) == (&spec.backoff, &spec.exhausted)
            && (*timeout_ms, *max_retry) == self.limits_of(spec)
            && *backtrace_lines == spec.backtrace_lines
            && coming(run_at) == coming(run_at_of(spec.start, now))
    }

    /// How long an attempt may take, in milliseconds, and how many more runs there are after a failed one.
    fn limits_of(&self, spec: &JobSpec) -> (u64, u32) {
        let limits = self.policy.limits_of(&spec.kind);
        let timeout_ms = millis(spec.timeout.unwrap_or(limits.timeout)).max(1);
        (timeout_ms, spec.max_retry.unwrap_or(limits.max_retry))
    }

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
        let (timeout_ms, max_retry) = self.limits_of(&spec);
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
        let run_at = run_at_of(spec.start, now);
        let profile = Profile {
            queue: spec.queue,
            kind: spec.kind,
            priority: spec.priority,
            backoff: spec.backoff,
            exhausted: spec.exhausted,
            timeout_ms,
            max_retry,
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

/// The moment that is meant, if it is not now.
fn run_at_of(start: Start, now: Timestamp) -> Option<Timestamp> {
    match start {
        Start::Now => None,
        Start::After(delay) => Some(now.plus_ms(millis(delay))),
        Start::At(moment) => Some(moment),
    }
}

fn is_text(kept: &PayloadRef, wanted: &Payload, at: TextAt, payload_store: &dyn PayloadStore) -> bool {
    match kept {
        PayloadRef::Here(kept) => kept == wanted,
        PayloadRef::Stored { bytes } if *bytes as usize != wanted.text_len() => false,
        PayloadRef::Stored { .. } => payload_store.read(at).is_ok_and(|kept| kept == *wanted),
    }
}
