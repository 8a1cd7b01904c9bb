//! `decide`: what a command leads to. It changes nothing; time and dice are given to it.
//!
//! Here is the one match over all commands, and what they share. By what they are about: `enqueue`, `dispatch` (which job a
//! worker gets, and when a waiting one may be got), `finish` (reports on attempts), `queues`, `retention`, `clock`.

pub(crate) mod clock;
mod dispatch;
pub(crate) mod enqueue;
mod finish;
mod queues;
mod retention;

use crate::ids::{Epoch, JobId, Seq, Term, Timeline, Timestamp};
use crate::jobs::command::Command;
use crate::jobs::decide::finish::{cannot_count_on, end_of, out_of_attempts};
use crate::jobs::event::{Event, EventKind};
use crate::jobs::model::job::{Exhausted, Status};
use crate::jobs::rejection::Rejection;
use crate::jobs::sections::terms::Terms;
use crate::jobs::table::JobTable;
use crate::jobs::table::packed_job::PackedJob;

impl JobTable {
    /// What `command` leads to: an event to log and apply, nothing (`None`), or a rejection.
    ///
    /// `None` means: a job with this id exists (`Enqueue`), no job is ready (`Dispatch`, `Reserve`), nothing is due
    /// (`Promote`, `Forget`, `ForgetQueue`, `Succeed`), it is so already, or there is no such queue (`SetPaused`, `RemoveQueue`, `Move`), no job
    /// is in flight (`SpareLeases`), the clock goes on as it should or is not doubted (`SetClock`, `TrustClock`).
    ///
    /// # Errors
    /// A [`Rejection`] that the caller can act on.
    pub fn decide(
        &self,
        command: Command,
        now: Timestamp,
        dice: &mut fastrand::Rng,
    ) -> Result<Option<Event>, Rejection> {
        let wall = now;
        let now = wall.max(self.last_at);
        // Each arm has looked the job up and says its number, so that nobody has to look it up again.
        let of = |job_seq: Seq, kind: EventKind| Ok(Some(Event { at: now, job_seq, kind }));
        let event = |kind: EventKind| Event { at: now, job_seq: Seq::ZERO, kind };
        let epoch = self.epoch();
        match command {
            Command::Enqueue(spec) => self.decide_enqueue(*spec, now, dice),
            Command::Dispatch { worker } => Ok(self.decide_dispatch(worker, now)),
            Command::Ack { job, token, result } => {
                let seq = self.succeeded_under(&job, token)?.enqueued_seq;
                of(seq, EventKind::Ack { job, token: token.seen_from(epoch), result })
            }
            Command::Fail { job, token, failure, result } => {
                let held = self.held_under(&job, token)?;
                let end = (job, token.seen_from(epoch), failure, result);
                of(held.enqueued_seq, self.decide_fail(held, end, now, dice))
            }
            Command::Requeue { job, token, failure, counts: counted, fences: fenced } => {
                let held = self.held_under(&job, token)?;
                let (profile, token) = (self.profile_of(held), token.seen_from(epoch));
                let kind = match (counted && out_of_attempts(held, profile)) || cannot_count_on(held) {
                    true => end_of(profile, (job, token, failure, None)),
                    false => {
                        let failure = Box::new(failure);
                        EventKind::Requeue { job, token, failure, counted, fenced, not_before: None }
                    }
                };
                of(held.enqueued_seq, kind)
            }
            Command::Postpone { job, token, failure } => {
                let held = self.held_under(&job, token)?;
                let end = (job, token.seen_from(epoch), failure, None);
                of(held.enqueued_seq, self.decide_postpone(held, end, now))
            }
            Command::LosePayload { job, token: None, failure } => {
                let found = self.expect_status(&job, Status::can_be_killed, "lose its payload")?;
                of(found.enqueued_seq, EventKind::Kill { job, failure: Some(Box::new(failure)) })
            }
            Command::LosePayload { job, token: Some(token), failure } => {
                let (seq, token) = (self.held_under(&job, token)?.enqueued_seq, token.seen_from(epoch));
                let failure = Box::new(failure);
                of(seq, EventKind::Exhaust { job, token, failure, result: None, end: Exhausted::Dead })
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
                of(seq, EventKind::Kill { job, failure: None })
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
            Command::ForgetQueue { queue, idle_ms } => {
                Ok(self.decide_forget_queue(queue, idle_ms, now).map(event))
            }
            Command::Promote => Ok(self.decide_promote(now).map(event)),
            Command::Forget => Ok(self.decide_forget(now).map(event)),
            Command::Succeed => Ok(self.decide_succeed(now)),
            Command::BeginTerm => Ok(Some(event(next_term(self.sections.terms, dice)))),
            Command::SetClock { expected, is_synchronised } => {
                Ok(self.decide_set_clock(wall, expected, is_synchronised))
            }
            Command::TrustClock => Ok(self.decide_trust_clock().map(event)),
            Command::SpareLeases { away_ms } => Ok(self.decide_spare_leases(away_ms).map(event)),
        }
    }

    fn find(&self, job: &JobId) -> Result<&PackedJob, Rejection> {
        match self.slot_of(job) {
            Some(slot) => Ok(self.decide_about(slot)),
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
