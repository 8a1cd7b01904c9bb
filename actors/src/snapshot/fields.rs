//! The fields of a job in an image, in the order in which they are written.
//!
//! They are never named on disk, only placed; fields may be appended, nothing else. Those that the first schema does
//! not have are worked out from the others.

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, Holder, JobId, KindName, Lsn, Priority, QueueName, Timestamp, Token, WorkerId};
use crate::jobs::failure::{FailedAttempt, Failure, FailureKind};
use crate::jobs::job::{Finish, JobState, Lease, Status};
use crate::jobs::record::JobRecord;
use crate::jobs::{Backoff, Body, Exhausted, Payload};
use crate::stored::{BackoffFields, backoff_fields, backoff_of, exhausted_number, exhausted_of, remote_of};

/// A state as a number and up to four values; what a state does not have is 0.
type StateFields = (u8, u64, u64, u64, u64);

/// A job as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct JobFields<'a> {
    id: JobId,
    number: Lsn,
    order: Lsn,
    pub queue: &'a str,
    pub kind: &'a str,
    priority: u8,
    payload: &'a str,
    timeout_ms: u64,
    max_retry: u32,
    attempt: Attempt,
    created_at: Timestamp,
    state: StateFields,
    #[serde(borrow)]
    failures: Vec<(Attempt, Timestamp, u8, &'a str)>,
    #[serde(borrow)]
    result: Option<&'a str>,
    /// Since the second schema.
    #[serde(borrow, default)]
    more: Option<MoreFields<'a>>,
}

/// What the second schema adds.
#[derive(Serialize, Deserialize)]
struct MoreFields<'a> {
    /// In flight at a remote worker: which.
    #[serde(borrow)]
    remote: Option<&'a str>,
    /// Pending and in flight: since when the job had been pending.
    pending_since: Timestamp,
    failed: u32,
    backoff: BackoffFields,
    exhausted: u8,
    #[serde(borrow)]
    custom: Option<&'a str>,
    backtrace_lines: u32,
    /// Of each of `failures`: when the next attempt was due (0: at once, or never), the name of the error, and where.
    failures: Vec<(Timestamp, String, Vec<String>)>,
}

/// A job as it is written.
pub(super) fn fields_of(job: &JobRecord) -> JobFields<'_> {
    let (state, remote, pending_since) = state_fields(&job.state);
    let details = job.failures.iter().map(|failed| {
        let Failure { errtype, backtrace, .. } = &failed.failure;
        (failed.next_at.unwrap_or_default(), errtype.clone(), backtrace.clone())
    });
    JobFields {
        id: job.id.clone(),
        number: job.number,
        order: job.order,
        queue: job.queue.as_str(),
        kind: job.kind.as_str(),
        priority: job.priority.level(),
        payload: job.payload.here().map_or("", Payload::as_str),
        timeout_ms: job.timeout_ms,
        max_retry: job.max_retry,
        attempt: job.attempt,
        created_at: job.created_at,
        state,
        failures: job.failures.iter().map(failure_fields).collect(),
        result: job.result.as_ref().map(Payload::as_str),
        more: Some(MoreFields {
            remote,
            pending_since,
            failed: job.failed,
            backoff: backoff_fields(job.backoff),
            exhausted: exhausted_number(job.exhausted),
            custom: job.custom.as_ref().map(Payload::as_str),
            backtrace_lines: job.backtrace_lines,
            failures: details.collect(),
        }),
    }
}

/// The reverse of [`fields_of`], for names that have been read already.
pub(super) fn record_of(
    fields: JobFields<'_>,
    queue: QueueName,
    kind: KindName,
) -> Result<JobRecord, String> {
    let more = match fields.more {
        Some(more) => more,
        None => worked_out(&fields)?,
    };
    if more.failures.len() != fields.failures.len() {
        let problem = format!("{} failures with {} details", fields.failures.len(), more.failures.len());
        return Err(problem);
    }
    let failures = fields.failures.into_iter().zip(more.failures);
    let failures = failures.map(|((attempt, at, sort, message), (next_at, errtype, backtrace))| {
        let sort = FailureKind::from_number(sort).ok_or_else(|| format!("unknown sort of failure {sort}"))?;
        let failure = Failure::new(sort, message).of_type(errtype).with_backtrace(backtrace);
        Ok(FailedAttempt { attempt, at, next_at: (next_at != Timestamp(0)).then_some(next_at), failure })
    });
    let state = state_of(fields.state, more.remote, more.pending_since)
        .ok_or_else(|| format!("unknown state {}", fields.state.0))?;
    Ok(JobRecord {
        id: fields.id,
        number: fields.number,
        order: fields.order,
        queue,
        kind,
        priority: Priority::new(fields.priority).map_err(|error| error.to_string())?,
        payload: Body::Here(Payload::trusted(fields.payload)),
        timeout_ms: fields.timeout_ms,
        max_retry: fields.max_retry,
        backoff: backoff_of(more.backoff)?,
        exhausted: exhausted_of(more.exhausted)?,
        attempt: fields.attempt,
        created_at: fields.created_at,
        state,
        failures: failures.collect::<Result<_, String>>()?,
        failed: more.failed,
        result: fields.result.map(Payload::trusted),
        custom: more.custom.map(Payload::trusted),
        backtrace_lines: more.backtrace_lines,
    })
}

/// What the first schema leaves to be worked out: an attempt that ended without success had failed.
fn worked_out<'a>(fields: &JobFields<'a>) -> Result<MoreFields<'a>, String> {
    let state = state_of(fields.state, None, fields.created_at)
        .ok_or_else(|| format!("unknown state {}", fields.state.0))?;
    let not_failed = match state.status() {
        Status::InFlight | Status::Completed => 1,
        _ => 0,
    };
    Ok(MoreFields {
        remote: None,
        pending_since: fields.created_at,
        failed: match fields.failures.is_empty() {
            true => 0,
            false => fields.attempt.0.saturating_sub(not_failed),
        },
        backoff: backoff_fields(Backoff::Server),
        exhausted: exhausted_number(Exhausted::Dead),
        custom: None,
        backtrace_lines: 0,
        failures: vec![Default::default(); fields.failures.len()],
    })
}

fn failure_fields(failed: &FailedAttempt) -> (Attempt, Timestamp, u8, &str) {
    (failed.attempt, failed.at, failed.failure.kind.number(), &failed.failure.message)
}

/// A state, the remote worker that holds the lease, and since when the job had been pending.
fn state_fields(state: &JobState) -> (StateFields, Option<&str>, Timestamp) {
    let none = Timestamp(0);
    match state {
        JobState::Pending { since } => ((0, 0, 0, 0, 0), None, *since),
        JobState::Scheduled { run_at } => ((1, run_at.0, 0, 0, 0), None, none),
        JobState::InFlight(lease) => {
            let (local, remote) = match &lease.holder {
                Holder::Local(worker) => (u64::from(worker.0), None),
                Holder::Remote(worker) => (0, Some(worker.as_str())),
            };
            ((2, local, lease.token.0, lease.since.0, lease.deadline.0), remote, lease.pending_since)
        }
        JobState::Retrying { retry_at } => ((3, retry_at.0, 0, 0, 0), None, none),
        JobState::Completed(finish) => ((4, finish.at.0, finish.lsn.0, 0, 0), None, none),
        JobState::Dead(finish) => ((5, finish.at.0, finish.lsn.0, 0, 0), None, none),
        JobState::Cancelled(finish) => ((6, finish.at.0, finish.lsn.0, 0, 0), None, none),
    }
}

fn state_of(
    (number, a, b, c, d): StateFields,
    remote: Option<&str>,
    pending_since: Timestamp,
) -> Option<JobState> {
    let finish = Finish { at: Timestamp(a), lsn: Lsn(b) };
    Some(match number {
        0 => JobState::Pending { since: pending_since },
        1 => JobState::Scheduled { run_at: Timestamp(a) },
        2 => JobState::InFlight(Box::new(Lease {
            holder: match remote {
                Some(name) => Holder::Remote(remote_of(name).ok()?),
                None => Holder::Local(WorkerId(u32::try_from(a).ok()?)),
            },
            token: Token(b),
            since: Timestamp(c),
            deadline: Timestamp(d),
            pending_since,
        })),
        3 => JobState::Retrying { retry_at: Timestamp(a) },
        4 => JobState::Completed(finish),
        5 => JobState::Dead(finish),
        6 => JobState::Cancelled(finish),
        _ => return None,
    })
}
