//! Reports on attempts: under which lease they are good, and whether another attempt follows.

use crate::base::bugs::{self, Bug};
use crate::ids::{Holder, JobId, RemoteName, Timestamp, Token, TokenRef};
use crate::jobs::event::EventKind;
use crate::jobs::model::failure::{Failure, KeptFailure};
use crate::jobs::model::payload::Payload;
use crate::jobs::model::policy::POSTPONE_MS_MAX;
use crate::jobs::rejection::Rejection;
use crate::jobs::table::JobTable;
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::table::profiles::JobProfile;

/// The pause after an attempt that could not begin, in milliseconds. It doubles up to [`POSTPONE_MS_MAX`].
const POSTPONE_MS: u64 = 1_000;

impl JobTable {
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

    /// As [`JobTable::held_by`], for a report of success: it also counts under the job's last lease, while the job waits and
    /// nobody was given it since.
    ///
    /// # Errors
    /// As [`JobTable::held_by`].
    pub fn succeeded_by(
        &self,
        id: &JobId,
        worker: &RemoteName,
        token: Option<Token>,
    ) -> Result<Token, Rejection> {
        self.held_by(id, worker, token).or_else(|rejection| {
            let last = self.find(id)?.last_lease().filter(|last| {
                let is_theirs = matches!(&last.holder, Holder::Remote(name) if name == worker);
                is_theirs && token.is_none_or(|token| token == last.token)
            });
            match last.map(|last| last.token) {
                Some(token) if self.find(id)?.may_succeed_late(token) => Ok(token),
                _ => Err(rejection),
            }
        })
    }

    /// The job, if a report of success under this token counts.
    pub(super) fn succeeded_under(&self, id: &JobId, token: Token) -> Result<&PackedJob, Rejection> {
        self.held_under(id, token).or_else(|rejection| {
            let job = self.find(id)?;
            if job.may_succeed_late(token) { Ok(job) } else { Err(rejection) }
        })
    }

    pub(super) fn held_under(&self, id: &JobId, token: Token) -> Result<&PackedJob, Rejection> {
        let job = self.find(id)?;
        match (job.status(), job.lease_under(token)) {
            (_, Some(_)) => Ok(job),
            (status, None) if status.is_finished() => {
                Err(Rejection::Finished { job: id.clone(), status: status.as_str() })
            }
            (_, None) => Err(Rejection::StaleToken { job: id.clone(), token }),
        }
    }

    /// A job that has ended, and whose last lease was this.
    pub(super) fn ended_under(&self, id: &JobId, token: Token) -> Result<&PackedJob, Rejection> {
        let job = self.find(id)?;
        let is_last = job.last_lease().is_some_and(|last| last.token == token);
        match job.status().is_finished() && is_last {
            true => Ok(job),
            false => Err(Rejection::StaleToken { job: id.clone(), token }),
        }
    }

    pub(super) fn decide_fail(
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

    /// The server lacked something: no attempt, and another after a pause that doubles while that goes on.
    pub(super) fn decide_postpone(&self, held: &PackedJob, end: AttemptEnded, now: Timestamp) -> EventKind {
        if cannot_count_on(held) {
            return end_of(self.profile_of(held), end);
        }
        let last = held.rare().and_then(|rare| rare.failures.last());
        let last = last.filter(|last| last.attempt.0.checked_add(1) == Some(held.attempt().0));
        let pause_ms = match last.and_then(KeptFailure::postponed_for_ms) {
            Some(pause_ms) => pause_ms.saturating_mul(2).clamp(POSTPONE_MS, POSTPONE_MS_MAX),
            None => POSTPONE_MS,
        };
        let (job, token, failure, _) = end;
        let not_before = Some(now.plus_ms(pause_ms));
        EventKind::Requeue {
            job,
            token,
            failure: Box::new(failure),
            counted: false,
            fenced: false,
            not_before,
        }
    }
}

/// An attempt that failed: of which job, under which lease, why, and what it leaves behind.
pub(super) type AttemptEnded = (JobId, TokenRef, Failure, Option<Payload>);

/// Whether one more failed attempt is the last.
pub(super) fn out_of_attempts(job: &PackedJob, profile: &JobProfile) -> bool {
    job.failed() >= profile.max_retry || cannot_count_on(job)
}

/// Attempts never decrease and never stand still; at the end of what the number can hold, there is no next one.
pub(super) fn cannot_count_on(job: &PackedJob) -> bool {
    job.attempt().0 == u32::MAX
}

/// How a job ends whose last attempt failed.
pub(super) fn end_of(profile: &JobProfile, (job, token, failure, result): AttemptEnded) -> EventKind {
    let failure = Box::new(failure);
    EventKind::Exhaust { job, token, failure, result, end: profile.exhausted }
}
