//! The parts of a status and of a job that people are shown, read from what the API says.

use beaver_actors::ids::Timestamp;
use beaver_actors::jobs::failure::FailedAttempt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::queues::{CountsByStatus, QueueRow};
use super::workers::RemoteView;

/// The parts of a queue's status that people are shown.
#[derive(Debug, Deserialize)]
pub(super) struct QueueAnswer {
    pub(super) phase: Value,
    pub(super) version: String,
    pub(super) jobs: CountsByStatus,
    pub(super) queues: Vec<QueueRow>,
    pub(super) totals: AttemptTotals,
    pub(super) waiting_for_worker: Vec<WaitingRow>,
    pub(super) left_out: LeftOutRows,
    pub(super) workers: Workers,
    pub(super) log: Log,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) clock: ClockAnswer,
    pub(super) recovery: Recovery,
    /// None of a directory that no server works on.
    pub(super) remote: Option<RemoteView>,
    /// The same.
    pub(super) connections: Option<ConnectionsAnswer>,
    /// The same.
    #[serde(default)]
    pub(super) memory: Vec<MemoryAnswer>,
}

/// How much of a part of the memory is taken.
#[derive(Debug, Deserialize)]
pub(super) struct MemoryAnswer {
    pub(super) part: String,
    pub(super) bytes: u64,
    pub(super) limit_bytes: u64,
}

/// What is held of the clock.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ClockAnswer {
    pub(super) doubted_since: Option<Timestamp>,
    pub(super) set_back_to: Option<Timestamp>,
}

/// How many connections there may be.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectionsAnswer {
    pub(super) descriptors: u64,
    pub(super) kept_back: u64,
    pub(super) http: u64,
    pub(super) faktory: Option<u64>,
    pub(super) monitoring: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AttemptTotals {
    pub(super) processed: u64,
    pub(super) failed: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct WaitingRow {
    pub(super) kind: String,
    pub(super) pending: u64,
}

/// What is not shown one by one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LeftOutRows {
    pub(super) queues: u64,
    pub(super) paused_pending: u64,
    pub(super) kinds: u64,
    pub(super) kinds_pending: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Workers {
    pub(super) count: u64,
    pub(super) busy: u64,
    pub(super) idle: u64,
    pub(super) restarts: u64,
    pub(super) kinds: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Log {
    pub(super) seq: u64,
    pub(super) durable_seq: u64,
    pub(super) accepts_jobs: bool,
    pub(super) refusal: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Snapshot {
    pub(super) seq: u64,
    pub(super) taken_at: Timestamp,
    pub(super) bytes: u64,
    pub(super) jobs: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Recovery {
    pub(super) duration_ms: f64,
    pub(super) snapshot_jobs: u64,
    pub(super) events: u64,
    pub(super) interrupted: u64,
    pub(super) torn_bytes: u64,
}

/// Where a job is in its life.
#[derive(Debug, Deserialize)]
pub(super) struct StatusOfJob {
    pub(super) status: String,
}

/// Which line a job is in.
#[derive(Debug, Deserialize)]
pub(super) struct QueueOfJob {
    pub(super) queue: String,
}

/// The parts of a job that people are shown.
#[derive(Debug, Deserialize)]
pub(super) struct JobAnswer {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) queue: String,
    pub(super) kind: String,
    pub(super) priority: u8,
    pub(super) attempt: u64,
    pub(super) max_retry: u64,
    pub(super) backoff: Option<Value>,
    pub(super) exhausted: Option<String>,
    pub(super) custom: Option<Box<RawValue>>,
    pub(super) timeout_ms: u64,
    pub(super) created_at: Timestamp,
    pub(super) run_at: Option<Timestamp>,
    /// Only said if it is so.
    #[serde(default)]
    pub(super) is_followed: bool,
    /// A number here, a name elsewhere.
    pub(super) worker: Option<Value>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) errors: Vec<FailedAttempt>,
    pub(super) result: Option<Box<RawValue>>,
    /// Texts that cannot be read back from the disk.
    #[serde(default)]
    pub(super) unreadable: Vec<String>,
    pub(super) payload: Box<RawValue>,
}
