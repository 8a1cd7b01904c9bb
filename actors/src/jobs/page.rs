//! Jobs as they come from an image: a page at a time, with what they have in common said once.

use std::sync::Arc;

use crate::ids::{Attempt, JobId, KindName, Priority, QueueName, Seq, Timestamp};
use crate::jobs::model::failure::FailedAttempt;
use crate::jobs::model::job::{Exhausted, JobState};
use crate::jobs::model::payload::{Payload, PayloadRef};
use crate::jobs::model::policy::Backoff;

/// What many jobs have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRecord {
    /// The line they wait in.
    pub queue: QueueName,
    /// Which handler runs them.
    pub kind: KindName,
    /// 0 to 9, 9 first.
    pub priority: Priority,
    /// The pauses between their attempts.
    pub backoff: Backoff,
    /// What becomes of them when they have all failed.
    pub exhausted: Exhausted,
    /// Longest run of one attempt.
    pub timeout_ms: u64,
    /// How many more runs after a failed one.
    pub max_retry: u32,
    /// How many lines of a backtrace their producer would like to see.
    pub backtrace_lines: u32,
}

/// What most jobs do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RarePart {
    /// The last failed attempts.
    pub failures: Vec<FailedAttempt>,
    /// How many attempts failed that count against `max_retry`.
    pub failed: u32,
    /// What the last attempt left behind.
    pub result: Option<Payload>,
    /// Travels with the job unread.
    pub custom: Option<Payload>,
}

/// A job as it is on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedJob {
    /// Its name.
    pub id: JobId,
    /// Position of the event that created it.
    pub number: Seq,
    /// Position at which it last joined the pending jobs.
    pub order: Seq,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: JobState,
    /// How often it was started.
    pub attempt: Attempt,
    /// Which of the page's profiles it is of.
    pub profile: u32,
    /// The payload, if it is small; else its length.
    pub payload: PayloadRef,
    /// What most jobs do not have.
    pub rare: Option<Box<RarePart>>,
}

/// Jobs in the order of their numbers, with what they have in common.
#[derive(Clone, Debug)]
pub struct Page {
    /// By the number that a job says; shared with the page before if they are the same.
    pub profiles: Arc<[ProfileRecord]>,
    /// The jobs.
    pub jobs: Vec<PagedJob>,
}
