//! `decide`: what a command leads to. It changes nothing; time and dice are given to it.

use crate::base::bugs::{self, Bug};
use crate::ids::{
    Attempt, Epoch, Holder, JobId, QueueName, RemoteName, Seq, Term, Timeline, Timestamp, Token, TokenRef,
    WorkerId,
};
use crate::jobs::command::{Command, JobSpec, Start};
use crate::jobs::event::{Event, EventKind, NewJob};
use crate::jobs::model::failure::Failure;
use crate::jobs::model::job::Status;
use crate::jobs::model::payload::{Content, Payload, PayloadRef};
use crate::jobs::model::policy::{Retention, millis};
use crate::jobs::model::profile::Profile;
use crate::jobs::rejection::Rejection;
use crate::jobs::sections::queues::QUEUES_MAX;
use crate::jobs::sections::terms::Terms;
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::table::profiles::JobProfile;
use crate::jobs::table::{FINISHED, JobTable, finished_index};

/// Most jobs that one `Promote` moves, so that a million jobs due at the same moment do not stop the server.
const PROMOTED_AT_ONCE_MAX: usize = 10_000;
/// Most jobs of each status that one `Forget` drops.
const FORGOTTEN_AT_ONCE_MAX: u64 = 1_000;
/// Jobs that are too old are looked for at most this often.
const FORGET_PAUSE_MS: u64 = 1_000;

impl JobTable {
    /// What `command` leads to: an event to log and apply, nothing (`None`), or a rejection.
    ///
    /// `None` means: a job with this id exists (`Enqueue`), no job is ready (`Dispatch`, `Reserve`), nothing is due
    /// (`Promote`, `Forget`), it is so already (`Pause`, `Resume`, `RemoveQueue`, `Move`).
    ///
    /// # Errors
    /// A [`Rejection`] that the caller can act on.
    pub fn decide(
        &self,
        command: Command,
        now: Timestamp,
        dice: &mut fastrand::Rng,
    ) -> Result<Option<Event>, Rejection> {
        let now = now.max(self.last_at);
        // Each arm has looked the job up and says its number, so that nobody has to look it up again.
        let of = |job_seq: Seq, kind: EventKind| Ok(Some(Event { at: now, job_seq, kind }));
        let event = |kind: EventKind| Event { at: now, job_seq: Seq::ZERO, kind };
        let epoch = self.epoch();
        match command {
            Command::Enqueue(spec) => self.decide_enqueue(*spec, now, dice),
            Command::Dispatch { worker } => Ok(self.decide_dispatch(worker, now)),
            Command::Ack { job, token, result } => {
                let seq = self.held_under(&job, token)?.enqueued_seq;
                of(seq, EventKind::Ack { job, token: token.seen_from(epoch), result })
            }
            Command::Fail { job, token, failure, result } => {
                let held = self.held_under(&job, token)?;
                let end = (job, token.seen_from(epoch), failure, result);
                of(held.enqueued_seq, self.decide_fail(held, end, now, dice))
            }
            Command::Requeue { job, token, failure, counts: counted } => {
                let held = self.held_under(&job, token)?;
                let (profile, token) = (self.profile_of(held), token.seen_from(epoch));
                let kind = match (counted && out_of_attempts(held, profile)) || cannot_count_on(held) {
                    true => end_of(profile, (job, token, failure, None)),
                    false => {
                        let failure = Box::new(failure);
                        EventKind::Requeue { job, token, failure, counted, not_before: None }
                    }
                };
                of(held.enqueued_seq, kind)
            }
            Command::Extend { job, token, by_ms } => {
                let held = self.held_under(&job, token)?;
                let deadline = held.lease_under(token).map_or(now, |lease| lease.deadline).plus_ms(by_ms);
                of(held.enqueued_seq, EventKind::Extend { job, token: token.seen_from(epoch), deadline })
            }
            Command::Cancel { job } => {
                let found = self.find(&job)?;
                let (seq, status) = (found.enqueued_seq, found.status());
                if status.is_finished() {
                    return Err(Rejection::Finished { job, status: status.as_str() });
                }
                of(seq, EventKind::Cancel { job })
            }
            Command::Reserve { queues, worker } => Ok(self.decide_reserve(&queues, worker, now)),
            Command::RunNow { job } => {
                let seq = self.expect_status(&job, Status::can_run_now, "be made pending")?.enqueued_seq;
                of(seq, EventKind::RunNow { job })
            }
            Command::Kill { job } => {
                let seq = self.expect_status(&job, Status::can_be_killed, "be declared dead")?.enqueued_seq;
                of(seq, EventKind::Kill { job })
            }
            Command::Discard { job } => {
                let seq = self.find(&job)?.enqueued_seq;
                of(seq, EventKind::Discard { job })
            }
            Command::Move { job, queue } => {
                self.admit_queue(&queue)?;
                let found = self.expect_status(&job, Status::can_be_moved, "go to another queue")?;
                match *self.sections.queues.name(self.profile_of(found).queue) == queue {
                    true => Ok(None),
                    false => of(found.enqueued_seq, EventKind::Move { job, queue }),
                }
            }
            Command::Output { job, token, result } => {
                let seq = self.ended_under(&job, token)?.enqueued_seq;
                of(seq, EventKind::Output { job, token: token.seen_from(epoch), result })
            }
            Command::SetPaused { queue, paused } => {
                Ok(self.is_paused(&queue, !paused).then(|| event(EventKind::SetPaused { queue, paused })))
            }
            Command::RemoveQueue { queue } => {
                Ok(self.has_queue(&queue).then(|| event(EventKind::RemoveQueue { queue })))
            }
            Command::Promote => Ok(self.decide_promote(now).map(event)),
            Command::Forget => Ok(self.decide_forget(now).map(event)),
            Command::BeginTerm => Ok(Some(event(next_term(self.sections.terms, dice)))),
            Command::SpareLeases { grace_ms } => {
                let margin_ms = millis(self.policy.lease_margin);
                let has_leases = self.counts.of(Status::InFlight) > 0;
                Ok(has_leases.then(|| event(EventKind::Lead { grace_ms, margin_ms })))
            }
        }
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

    /// Whether there may be a queue of this name; asked once for every job of a request, before the first.
    ///
    /// # Errors
    /// [`Rejection::TooManyQueues`].
    pub fn admit_queue(&self, queue: &QueueName) -> Result<(), Rejection> {
        match self.sections.queues.len() < QUEUES_MAX || self.sections.queues.find(queue).is_some() {
            true => Ok(()),
            false => Err(Rejection::TooManyQueues { queues_max: QUEUES_MAX }),
        }
    }

    /// As [`JobTable::decide`] for `Enqueue`, without a box for the command.
    ///
    /// # Errors
    /// As [`JobTable::decide`].
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
        if older.is_some_and(stays) {
            return Ok(None);
        }
        let run_at = match spec.start {
            Start::Now => None,
            Start::After(delay) => Some(now.plus_ms(millis(delay))),
            Start::At(moment) => Some(moment),
        };
        let profile = Profile {
            queue: spec.queue,
            kind: spec.kind,
            priority: spec.priority,
            backoff: spec.backoff,
            exhausted: spec.exhausted,
            timeout_ms: millis(spec.timeout.unwrap_or(self.policy.timeout)).max(1),
            max_retry: spec.max_retry.unwrap_or(self.policy.max_retry),
            backtrace_lines: spec.backtrace_lines,
        };
        let content = Content { payload: PayloadRef::Here(spec.payload), custom: spec.custom };
        // Strictly in the future: every promotion so far ended at or before `now`.
        let run_at = run_at.filter(|run_at| *run_at > now);
        let job_seq = older.map_or(Seq::ZERO, |older| older.enqueued_seq);
        let new = Box::new(NewJob { id, profile, content, run_at });
        Ok(Some(Event { at: now, job_seq, kind: EventKind::Enqueue(new) }))
    }

    fn generate_id(&self, now: Timestamp, dice: &mut fastrand::Rng) -> JobId {
        loop {
            let id = JobId::generate(now, dice.u128(..));
            if self.is_free(&id) {
                return id;
            }
        }
    }

    fn decide_dispatch(&self, worker: WorkerId, now: Timestamp) -> Option<Event> {
        let job = self.next_job(self.ready.first(&self.handled)?);
        let lease_ms = self.profile_of(job).timeout_ms.saturating_add(millis(self.policy.lease_margin));
        let kind = EventKind::Dispatch {
            job: job.id.clone(),
            holder: Holder::Local(worker),
            attempt: Attempt(job.attempt().0.saturating_add(1)),
            deadline: now.plus_ms(lease_ms),
        };
        Some(Event { at: now, job_seq: job.enqueued_seq, kind })
    }

    fn decide_reserve(&self, queues: &[QueueName], worker: RemoteName, now: Timestamp) -> Option<Event> {
        let first = |name| self.ready.first_in(self.sections.queues.find(name)?);
        let job = self.next_job(queues.iter().find_map(first)?);
        let kind = EventKind::Dispatch {
            job: job.id.clone(),
            holder: Holder::Remote(worker),
            attempt: Attempt(job.attempt().0.saturating_add(1)),
            deadline: now.plus_ms(self.profile_of(job).timeout_ms),
        };
        Some(Event { at: now, job_seq: job.enqueued_seq, kind })
    }

    fn decide_fail(
        &self,
        held: &PackedJob,
        end: AttemptEnded,
        now: Timestamp,
        dice: &mut fastrand::Rng,
    ) -> EventKind {
        let profile = self.profile_of(held);
        if out_of_attempts(held, profile) {
            return end_of(profile, end);
        }
        let failed = held.failed().saturating_add(1);
        let delay_ms = self.policy.retry_delay_ms(profile.backoff, failed, dice).max(1);
        let retry_at = now.plus_ms(delay_ms);
        let (job, token, failure, result) = end;
        EventKind::Retry { job, token, failure: Box::new(failure), retry_at, result }
    }

    fn decide_promote(&self, now: Timestamp) -> Option<EventKind> {
        let due = self.waiting.iter().take_while(|(due, ..)| *due <= now);
        let (due, through, _) = *due.take(PROMOTED_AT_ONCE_MAX).last()?;
        Some(EventKind::Promote { due, through })
    }

    fn decide_forget(&self, now: Timestamp) -> Option<EventKind> {
        let [completed, dead, cancelled] = FINISHED.map(|status| self.forget_through(status, now));
        let nothing = [completed, dead, cancelled] == [Seq::ZERO; 3];
        (!nothing).then_some(EventKind::Forget { completed, dead, cancelled })
    }

    /// Where the finished jobs end that `status` should no longer keep; zero when it may keep all.
    fn forget_through(&self, status: Status, now: Timestamp) -> Seq {
        let retention = self.retention(status);
        let list = &self.finished[finished_index(status)];
        let surplus = match self.is_over_count(status) {
            true => list.len() - retention.count,
            false => 0,
        };
        let age_ms = millis(retention.age);
        let mut through = Seq::ZERO;
        for (nth, slot) in (0..FORGOTTEN_AT_ONCE_MAX).zip(list.iter(&self.links)) {
            let finish = self.finish_of(slot);
            if nth >= surplus && finish.at.plus_ms(age_ms) > now {
                break;
            }
            through = finish.seq;
        }
        through
    }

    /// When the oldest finished job may be forgotten; now, if there are too many.
    pub(super) fn next_forget(&self) -> Option<Timestamp> {
        let of = |status| {
            let slot = self.finished[finished_index(status)].head()?;
            Some(match self.is_over_count(status) {
                true => self.last_at,
                // Rounded up, so that a stream of jobs is forgotten a second's worth at a time.
                false => Timestamp(
                    self.finish_of(slot)
                        .at
                        .plus_ms(millis(self.retention(status).age))
                        .0
                        .saturating_add(FORGET_PAUSE_MS - 1)
                        / FORGET_PAUSE_MS
                        * FORGET_PAUSE_MS,
                ),
            })
        };
        FINISHED.into_iter().filter_map(of).min()
    }

    /// A little over is allowed, so that not every finished job brings a `Forget` of its own.
    fn is_over_count(&self, status: Status) -> bool {
        let count = self.retention(status).count;
        let slack = (count / 10).min(FORGOTTEN_AT_ONCE_MAX - 1);
        self.finished[finished_index(status)].len() > count.saturating_add(slack)
    }

    fn retention(&self, status: Status) -> Retention {
        match status {
            Status::Dead => self.policy.dead,
            Status::Cancelled => self.policy.cancelled,
            _ => self.policy.completed,
        }
    }

    fn find(&self, job: &JobId) -> Result<&PackedJob, Rejection> {
        match self.slot_of(job) {
            Some(slot) => Ok(self.job(slot)),
            None => Err(Rejection::NotFound { job: job.clone() }),
        }
    }

    fn expect_status(
        &self,
        job: &JobId,
        fits: fn(Status) -> bool,
        action: &'static str,
    ) -> Result<&PackedJob, Rejection> {
        let found = self.find(job)?;
        let status = found.status();
        match fits(status) {
            true => Ok(found),
            false => Err(Rejection::WrongState { job: job.clone(), status: status.as_str(), action }),
        }
    }

    /// Whether there is such a queue, and it is, or is not, paused.
    fn is_paused(&self, name: &QueueName, paused: bool) -> bool {
        let state = self.sections.queues.find(name).map(|key| self.sections.queues.get(key));
        state.is_some_and(|state| state.paused == paused) && self.has_queue(name)
    }

    /// The lease under which a remote worker holds a job; `token` says which one it means, if it knows.
    ///
    /// # Errors
    /// [`Rejection::NotFound`], [`Rejection::Finished`], [`Rejection::NotHeld`].
    pub fn held_by(&self, id: &JobId, worker: &RemoteName, token: Option<Token>) -> Result<Token, Rejection> {
        let job = self.find(id)?;
        match (job.lease(), job.status()) {
            (Some(lease), _) => {
                let is_theirs = matches!(&lease.holder, Holder::Remote(name) if name == worker);
                let is_meant = token.is_none_or(|token| token == lease.token);
                match (is_theirs && is_meant) || bugs::has(Bug::NoTokenCheck) {
                    true => Ok(lease.token),
                    false => Err(Rejection::NotHeld { job: id.clone(), worker: worker.clone() }),
                }
            }
            (None, status) if status.is_finished() => {
                Err(Rejection::Finished { job: id.clone(), status: status.as_str() })
            }
            _ => Err(Rejection::NotHeld { job: id.clone(), worker: worker.clone() }),
        }
    }

    /// A job that has ended, and whose last lease was this.
    fn ended_under(&self, id: &JobId, token: Token) -> Result<&PackedJob, Rejection> {
        let job = self.find(id)?;
        let is_last = job.rare().is_some_and(|rare| rare.last_token == Some(token));
        match job.status().is_finished() && is_last {
            true => Ok(job),
            false => Err(Rejection::StaleToken { job: id.clone(), token }),
        }
    }

    fn held_under(&self, id: &JobId, token: Token) -> Result<&PackedJob, Rejection> {
        let job = self.find(id)?;
        match (job.status(), job.lease_under(token)) {
            (_, Some(_)) => Ok(job),
            (status, None) if status.is_finished() => {
                Err(Rejection::Finished { job: id.clone(), status: status.as_str() })
            }
            (_, None) => Err(Rejection::StaleToken { job: id.clone(), token }),
        }
    }
}

/// Whether one more failed attempt is the last.
fn out_of_attempts(job: &PackedJob, profile: &JobProfile) -> bool {
    job.failed() >= profile.max_retry || cannot_count_on(job)
}

/// An attempt that failed: of which job, under which lease, why, and what it leaves behind.
type AttemptEnded = (JobId, TokenRef, Failure, Option<Payload>);

/// How a job ends whose last attempt failed.
fn end_of(profile: &JobProfile, (job, token, failure, result): AttemptEnded) -> EventKind {
    let failure = Box::new(failure);
    EventKind::Exhaust { job, token, failure, result, end: profile.exhausted }
}

/// The term that follows; the first one of a store begins its timeline.
fn next_term(terms: Terms, dice: &mut fastrand::Rng) -> EventKind {
    let Terms { epoch: Epoch { timeline, term }, .. } = terms;
    let is_first = terms.epoch.is_none();
    let timeline = if is_first { Timeline(dice.u32(1..)) } else { timeline };
    let epoch = Epoch { timeline, term: Term(term.0.saturating_add(1)) };
    let (parent, branched_at) =
        if is_first { (timeline, Seq::ZERO) } else { (terms.parent, terms.branched_at) };
    EventKind::Term { epoch, parent, branched_at }
}

/// Attempts never decrease and never stand still; at the end of what the number can hold, there is no next one.
fn cannot_count_on(job: &PackedJob) -> bool {
    job.attempt().0 == u32::MAX
}
