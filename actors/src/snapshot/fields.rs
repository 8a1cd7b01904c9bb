//! The fields of a job in an image of the schemas 1 and 2, in the order in which they were written.
//!
//! They are never named on disk, only placed. Those that the first schema does not have are worked out from the others.

use serde::Deserialize;

use crate::ids::{Attempt, Holder, JobId, KindName, Priority, QueueName, Seq, Timestamp, Token, WorkerId};
use crate::jobs::model::failure::{FailedAttempt, Failure, FailureKind};
use crate::jobs::model::job::{Finish, JobState, Lease, Status};
use crate::jobs::record::JobRecord;
use crate::jobs::stored::{
    BackoffFields, backoff_fields, backoff_of, exhausted_number, exhausted_of, remote_of,
};
use crate::jobs::{Backoff, Exhausted, Payload, PayloadRef};

/// A state as a number and up to four values; what a state does not have is 0.
type StateFields = (u8, u64, u64, u64, u64);

/// A job as it is written.
#[derive(Deserialize)]
pub(super) struct JobFields<'a> {
    id: JobId,
    number: Seq,
    order: Seq,
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
#[derive(Deserialize)]
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

/// The job, for names that have been read already.
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
        payload: PayloadRef::Here(Payload::trusted(fields.payload)),
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

fn state_of(
    (number, a, b, c, d): StateFields,
    remote: Option<&str>,
    pending_since: Timestamp,
) -> Option<JobState> {
    let finish = Finish { at: Timestamp(a), seq: Seq(b) };
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
