//! A job as it is written to an image: by names instead of by numbers, independent of any table.

use crate::ids::{Attempt, JobId, KindName, Priority, QueueName, Seq, Timestamp};
use crate::jobs::event::NewJob;
use crate::jobs::model::failure::FailedAttempt;
use crate::jobs::model::job::{Exhausted, JobState};
use crate::jobs::model::payload::{Payload, PayloadRef};
use crate::jobs::model::policy::Backoff;

/// One job, complete and by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// Position of the event that created it.
    pub number: Seq,
    /// Position at which it last joined the pending jobs.
    pub order: Seq,
    /// The line it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// 0 to 9, 9 first.
    pub priority: Priority,
    /// What the producer gave.
    pub payload: PayloadRef,
    /// Longest run of one attempt.
    pub timeout_ms: u64,
    /// How many more runs after a failed one.
    pub max_retry: u32,
    /// The pauses between them.
    pub backoff: Backoff,
    /// What becomes of it when they have all failed.
    pub exhausted: Exhausted,
    /// How often it was started.
    pub attempt: Attempt,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: JobState,
    /// Its last failed attempts.
    pub failures: Vec<FailedAttempt>,
    /// How many attempts failed that count against `max_retry`.
    pub failed: u32,
    /// What its last attempt left behind.
    pub result: Option<Payload>,
    /// Travels with the job unread.
    pub custom: Option<Payload>,
    /// How many lines of a backtrace its producer would like to see.
    pub backtrace_lines: u32,
}

impl JobRecord {
    /// A job by itself as an accepted one begins.
    #[must_use]
    pub fn accepted(seq: Seq, at: Timestamp, new: NewJob) -> JobRecord {
        JobRecord {
            id: new.id,
            number: seq,
            order: seq,
            queue: new.queue,
            kind: new.kind,
            priority: new.priority,
            payload: new.payload,
            timeout_ms: new.timeout_ms,
            max_retry: new.max_retry,
            backoff: new.backoff,
            exhausted: new.exhausted,
            attempt: Attempt(0),
            created_at: at,
            state: match new.run_at {
                Some(run_at) => JobState::Scheduled { run_at },
                None => JobState::Pending { since: at },
            },
            failures: Vec::new(),
            failed: 0,
            result: None,
            custom: new.custom,
            backtrace_lines: new.backtrace_lines,
        }
    }
}
