//! What a JobManagerActor is given and never changes.

use std::sync::Arc;

use actix::Recipient;

use crate::api::status::RecoveryStatus;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::engine::admission::intake::Intake;
use crate::engine::messages::{Append, Subscribe};
use crate::ids::KindName;
use crate::jobs::PayloadStore;

/// Asks the file system of the log for the bytes that are left; none if nobody can tell.
pub type FreeSpace = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What a JobManagerActor is made of, beside the table.
pub struct ManagerSettings {
    /// Moments and deadlines of jobs are told by it.
    pub clock: Arc<dyn Clock>,
    /// The log, which takes groups of events.
    pub wal: Recipient<Append>,
    /// Tells it who hears what is durable.
    pub subscribe: Recipient<Subscribe>,
    /// Payloads that are not in memory.
    pub payload_store: Arc<dyn PayloadStore>,
    /// Payloads take at most about this much memory, beside the small ones.
    pub payload_memory_bytes: u64,
    /// Receives the counts of jobs and attempts.
    pub metrics: Arc<Metrics>,
    /// Says whether new jobs are accepted.
    pub intake: Arc<Intake>,
    /// Asked about what is more than the log has allocated.
    pub free_space: FreeSpace,
    /// How many workers there will be.
    pub worker_count: usize,
    /// Kinds that they handle.
    pub kinds: Vec<KindName>,
    /// What boot found; part of the engine's status.
    pub recovery: RecoveryStatus,
}
