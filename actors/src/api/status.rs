//! The whole server at a glance, as people and programs see it.

use serde::Serialize;

use crate::ids::{KindName, QueueName, Seq, Timestamp};
use crate::jobs::sections::totals::Totals;
use crate::jobs::{Counts, JobTable};

/// The whole queue at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineStatus {
    /// Jobs in each status.
    pub jobs: Counts,
    /// Every queue that exists.
    pub queues: Vec<QueueStatus>,
    /// Attempts that ended, since ever.
    pub totals: Totals,
    /// Pending jobs that no worker here handles, but for those in paused queues.
    pub waiting_for_worker: Vec<WaitingKind>,
    /// The pool of local workers.
    pub workers: WorkersStatus,
    /// How far the log is, and whether it takes new jobs.
    pub log: LogStatus,
    /// The newest snapshot, if there is one.
    pub snapshot: Option<SnapshotStatus>,
    /// What boot found and how long it took.
    pub recovery: RecoveryStatus,
}

/// One named line of jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueStatus {
    /// The name that producers and workers call it by.
    pub queue: QueueName,
    /// Whether nobody gets jobs of it.
    pub paused: bool,
    /// How long the oldest of its pending jobs has been waiting, in milliseconds.
    pub latency_ms: u64,
    /// Jobs in each status.
    pub jobs: Counts,
}

impl QueueStatus {
    /// Every queue that exists, by name.
    pub(crate) fn all(table: &JobTable, now: Timestamp) -> Vec<QueueStatus> {
        let mut queues: Vec<_> = table
            .queues()
            .map(|queue| QueueStatus {
                latency_ms: queue.oldest_at.map_or(0, |oldest| now.since_ms(oldest)),
                queue: queue.queue,
                paused: queue.paused,
                jobs: queue.jobs,
            })
            .collect();
        queues.sort_unstable_by(|one, other| one.queue.cmp(&other.queue));
        queues
    }
}

/// A kind that no worker here handles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaitingKind {
    /// The name that handlers are registered under.
    pub kind: KindName,
    /// How many jobs wait.
    pub pending: u64,
}

impl WaitingKind {
    /// Every kind with pending jobs that no worker here handles, and that do not wait for their queue.
    pub(crate) fn all(table: &JobTable) -> Vec<WaitingKind> {
        let waiting = table.pending_without_worker();
        waiting.map(|(kind, pending)| WaitingKind { kind: kind.clone(), pending }).collect()
    }
}

/// The pool of workers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkersStatus {
    /// How many there should be.
    pub count: usize,
    /// How many are up and run a job.
    pub busy: usize,
    /// How many are up and wait for one.
    pub idle: usize,
    /// How often one was restarted since the server started.
    pub restarts: u64,
    /// Which kinds they handle.
    pub kinds: Vec<KindName>,
}

/// How far the log is, and whether it takes new jobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogStatus {
    /// Position of the last event.
    pub seq: Seq,
    /// Everything up to here is on disk.
    pub durable_seq: Seq,
    /// False while new jobs are refused because the disk is full.
    pub accepts_jobs: bool,
}

/// The newest snapshot that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SnapshotStatus {
    /// Position up to which it holds everything.
    pub seq: Seq,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Size of all of its layers.
    pub bytes: u64,
    /// Jobs in all statuses that it holds.
    pub jobs: u64,
}

/// What boot found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RecoveryStatus {
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Jobs that came from the snapshot.
    pub snapshot_jobs: u64,
    /// Events that were replayed from the log.
    pub events: u64,
    /// Jobs that were in flight when the process before ended.
    pub interrupted: u64,
    /// Bytes of an unfinished last write that were moved to quarantine.
    pub torn_bytes: u64,
}
