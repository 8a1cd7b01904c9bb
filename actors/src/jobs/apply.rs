//! What events do to a job: the one place where a job's state may change into another.
//!
//! The table and the fold of a snapshot both call it, each with jobs of their own, and keep what follows from the change
//! (indexes, counters, pages) themselves.

use crate::base::bugs::{self, Bug};
use crate::ids::{Attempt, Epoch, Holder, Seq, Timestamp, Token, TokenRef};
use crate::jobs::event::EventKind;
use crate::jobs::model::failure::{FAILURES_KEPT, FailedAttempt, Failure};
use crate::jobs::model::job::{EndedLease, Exhausted, Lease, Misfit, Status};
use crate::jobs::model::payload::Payload;
use crate::jobs::model::policy::{Backoff, POSTPONE_MS_MAX};
use crate::jobs::model::text::{EventText, TextRef};
use crate::jobs::table::packed_job::{EmptyBoxes, PackedJob};

/// When and where an event stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub seq: Seq,
    pub at: Timestamp,
    /// What the state was in when it was applied.
    pub epoch: Epoch,
}

/// What is left of the times of a job when the clock has gone back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetBackLimits {
    pub timeout_ms: u64,
    pub margin_ms: u64,
    pub backoff: Backoff,
    pub backoff_max_ms: u64,
}

/// How long a lease lasts that is given now.
fn whole_ms(holder: &Holder, timeout_ms: u64, margin_ms: u64) -> u64 {
    match holder {
        Holder::Local(_) => timeout_ms.saturating_add(margin_ms),
        Holder::Remote(_) => timeout_ms,
    }
}

impl PackedJob {
    /// Moves the job to the state that the event puts it in.
    ///
    /// Only events that name this job, and `Promote` and `Lead` when they cover it. A job that is moved has its new
    /// profile already.
    pub fn apply(
        &mut self,
        stamp: Stamp,
        timeout_ms: u64,
        kind: EventKind,
        boxes: &mut EmptyBoxes,
    ) -> Result<(), Misfit> {
        let Stamp { seq, at, epoch } = stamp;
        let event = kind.event_type();
        let misfit = |job: &PackedJob| Misfit {
            seq,
            event: event.name(),
            problem: format!(
                "job {} is {} under another lease or in another state",
                job.id,
                job.status.as_str()
            ),
        };
        match kind {
            EventKind::Dispatch { holder, attempt, deadline, .. } => {
                let token = Token { epoch, seq };
                let lease = Lease { holder, token, since: at, deadline, pending_since: self.moment };
                self.take_lease(lease, attempt, boxes).ok_or_else(|| misfit(self))?;
            }
            EventKind::Ack { token, result, .. } => {
                // The job has succeeded: later reports on the lease change nothing, so it is not kept.
                self.close_lease(token.of(epoch), boxes).ok_or_else(|| misfit(self))?;
                self.keep_result(seq, result);
                self.end(Status::Completed, seq, at);
            }
            EventKind::Retry { token, failure, retry_at, result, .. } => {
                self.end_lease(token.of(epoch)).ok_or_else(|| misfit(self))?;
                self.remember(stamp, failure, Some(retry_at), true);
                self.keep_result(seq, result);
                (self.status, self.moment) = (Status::Retrying, retry_at);
            }
            EventKind::Requeue { token, failure, counted, fenced, not_before, .. } => {
                self.end_lease(token.of(epoch)).ok_or_else(|| misfit(self))?;
                if fenced
                    && !bugs::has(Bug::PutBackUnfenced)
                    && let Some(rare) = &mut self.rare
                {
                    rare.last_lease = None;
                }
                self.remember(stamp, failure, not_before, counted);
                (self.status, self.moment) = match not_before {
                    Some(moment) => (Status::Retrying, moment),
                    // Its place in line stays: it was there before those that came while it ran.
                    None => (Status::Pending, at),
                };
            }
            EventKind::Exhaust { token, failure, result, end, .. } => {
                self.end_lease(token.of(epoch)).ok_or_else(|| misfit(self))?;
                self.remember(stamp, failure, None, true);
                self.keep_result(seq, result);
                let status = match end {
                    Exhausted::Dead => Status::Dead,
                    Exhausted::Drop => Status::Cancelled,
                };
                self.end(status, seq, at);
            }
            EventKind::Extend { token, deadline, .. } => {
                self.lease_under(token.of(epoch)).ok_or_else(|| misfit(self))?;
                if let Some(lease) = self.rare.as_mut().and_then(|rare| rare.lease.as_mut()) {
                    lease.deadline = deadline;
                }
            }
            EventKind::Cancel { .. } => {
                if self.status.is_finished() {
                    return Err(misfit(self));
                }
                if let Some(token) = self.lease().map(|lease| lease.token) {
                    self.end_lease(token);
                }
                if let Some(rare) = &mut self.rare {
                    // Nobody wants to see this name run again.
                    rare.successor = None;
                }
                self.end(Status::Cancelled, seq, at);
            }
            EventKind::Kill { failure, .. } => {
                if !self.status.can_be_killed() {
                    return Err(misfit(self));
                }
                if let Some(failure) = failure {
                    self.remember(stamp, failure, None, false);
                }
                self.end(Status::Dead, seq, at);
            }
            EventKind::RunNow { .. } => {
                if !self.status.can_run_now() {
                    return Err(misfit(self));
                }
                self.join_line(seq, at);
            }
            EventKind::Move { .. } => {
                if !self.status.can_be_moved() {
                    return Err(misfit(self));
                }
                if self.status == Status::Pending {
                    self.join_line(seq, at);
                }
            }
            EventKind::Promote { .. } => {
                self.due().ok_or_else(|| misfit(self))?;
                self.join_line(seq, at);
            }
            EventKind::Output { token, result, .. } => {
                let is_meant = self.status.is_finished() && self.is_last_lease(token, epoch);
                if !is_meant {
                    return Err(misfit(self));
                }
                self.keep_result(seq, Some(result));
            }
            EventKind::Follow { next, .. } => {
                let rare = self.rare.as_mut().filter(|rare| rare.lease.is_some());
                let Some(rare) = rare else { return Err(misfit(self)) };
                rare.successor = Some(next);
            }
            EventKind::Lead { grace_ms, margin_ms } => {
                self.spare_lease(stamp, timeout_ms, margin_ms, grace_ms);
            }
            EventKind::Enqueue(_)
            | EventKind::Discard { .. }
            | EventKind::Forget { .. }
            | EventKind::SetPaused { .. }
            | EventKind::RemoveQueue { .. }
            | EventKind::Digest { .. }
            | EventKind::Term { .. }
            | EventKind::SetClock { .. } => return Err(misfit(self)),
        }
        Ok(())
    }

    #[inline]
    fn take_lease(&mut self, lease: Lease, attempt: Attempt, boxes: &mut EmptyBoxes) -> Option<()> {
        if self.status != Status::Pending || attempt <= self.attempt() {
            return None;
        }
        self.set_attempt(attempt);
        let rare = self.rare.get_or_insert_with(|| boxes.take());
        (rare.lease, rare.last_lease) = (Some(lease), None);
        self.status = Status::InFlight;
        self.moment = Timestamp(0);
        Some(())
    }

    /// The lease has ended; what named it is kept, as there may still be a word about it.
    #[inline]
    fn end_lease(&mut self, token: Token) -> Option<()> {
        self.lease_under(token)?;
        let rare = self.rare.as_mut()?;
        let Lease { holder, token, .. } = rare.lease.take()?;
        rare.last_lease = Some(EndedLease { holder, token });
        Some(())
    }

    /// The lease has ended, perhaps a while ago, and nothing more is to be said about it.
    #[inline]
    fn close_lease(&mut self, token: Token, boxes: &mut EmptyBoxes) -> Option<()> {
        let is_held = self.lease_under(token).is_some();
        if !is_held && !self.may_succeed_late(token) {
            return None;
        }
        let rare = self.rare.as_mut()?;
        match is_held {
            true => rare.lease = None,
            false => rare.last_lease = None,
        }
        if rare.is_empty()
            && let Some(rare) = self.rare.take()
        {
            boxes.put(rare);
        }
        Some(())
    }

    fn is_last_lease(&self, token: TokenRef, epoch: Epoch) -> bool {
        self.last_lease().is_some_and(|last| last.token == token.of(epoch))
    }

    /// Lets the lease last as long as one that is given now would, but at most for `grace_ms` longer; if it was given
    /// before this event.
    fn spare_lease(&mut self, stamp: Stamp, timeout_ms: u64, margin_ms: u64, grace_ms: u64) {
        if let Some(lease) = self.rare.as_mut().and_then(|rare| rare.lease.as_mut())
            && lease.token.seq < stamp.seq
        {
            let whole_ms = whole_ms(&lease.holder, timeout_ms, margin_ms);
            lease.deadline = lease.deadline.max(stamp.at.plus_ms(whole_ms.min(grace_ms)));
        }
    }

    /// The clock went back to `at`: the lease lasts no longer than one that is given now, and the job waits no longer for its
    /// next attempt than if the last one failed now.
    pub fn set_back(&mut self, at: Timestamp, limits: SetBackLimits) {
        let SetBackLimits { timeout_ms, margin_ms, backoff, backoff_max_ms } = limits;
        match self.status {
            Status::InFlight => {
                if let Some(lease) = self.rare.as_mut().and_then(|rare| rare.lease.as_mut()) {
                    let whole_ms = whole_ms(&lease.holder, timeout_ms, margin_ms);
                    lease.deadline = lease.deadline.min(at.plus_ms(whole_ms));
                }
            }
            Status::Retrying => {
                let longest_ms = backoff.longest_ms(self.failed(), backoff_max_ms).max(POSTPONE_MS_MAX);
                self.moment = self.moment.min(at.plus_ms(longest_ms));
            }
            _ => {}
        }
    }

    #[inline]
    fn join_line(&mut self, seq: Seq, at: Timestamp) {
        (self.status, self.line_seq, self.moment) = (Status::Pending, seq, at);
    }

    #[inline]
    fn end(&mut self, status: Status, seq: Seq, at: Timestamp) {
        (self.status, self.line_seq, self.moment) = (status, seq, at);
    }

    fn keep_result(&mut self, seq: Seq, result: Option<Payload>) {
        if let Some(result) = result {
            self.rare.get_or_insert_default().result = Some(EventText { seq, text: TextRef::Here(result) });
        }
    }

    fn remember(&mut self, stamp: Stamp, failure: Box<Failure>, next_at: Option<Timestamp>, counted: bool) {
        let Stamp { seq, at, .. } = stamp;
        let attempt = self.attempt();
        let rare = self.rare.get_or_insert_default();
        rare.failed = rare.failed.saturating_add(u32::from(counted));
        let failure = EventText { seq, text: TextRef::Here(failure) };
        let ended = FailedAttempt { attempt, at, next_at, counted, failure };
        // Of attempts that could not begin only the last is told: they must not push out what the job itself did.
        if ended.postponed_for_ms().is_some() {
            rare.failures.pop_if(|before| before.postponed_for_ms().is_some());
        }
        if rare.failures.len() == FAILURES_KEPT {
            rare.failures.remove(0);
        }
        rare.failures.push(ended);
    }
}
